"""The check of links to the outside, against a server of this machine that misbehaves."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import outside_links
import pytest


@pytest.fixture
def server():
    """Answers by path: a status, or first busy and then well."""
    asked: dict[str, int] = {}

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked[self.path] = asked.get(self.path, 0) + 1
            status = (503 if asked[self.path] < 3 else 200) if self.path == "/busy" else int(self.path[1:])
            if self.command == "HEAD" and self.path == "/200":
                status = 404  # answers GET alone
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *words) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


def test_what_leads_nowhere_is_told_from_what_is_busy_or_shy(server):
    asker = outside_links.session(backoff=0.0)
    told = {
        path: outside_links.trouble(f"{server}/{path}", asker)
        for path in ("200", "busy", "403", "404", "410")
    }
    assert told == {"200": None, "busy": None, "403": None, "404": "answers 404", "410": "answers 410"}


def test_a_server_that_is_not_there(server):
    asker = outside_links.session(retries=1, backoff=0.0)
    assert outside_links.trouble("http://127.0.0.1:9/", asker) == "ConnectionError"


def test_finds_addresses_and_who_names_them(tmp_path):
    page, code = tmp_path / "page.md", tmp_path / "code.py"
    page.write_text(
        "See [it](https://arxiv.org/abs/2308.16271#page=3), <https://pytorch.org/docs/>. http://localhost:8000/"
    )
    code.write_text('"""After https://arxiv.org/abs/2308.16271."""\nURL = f"https://{host}/x"\n')
    assert outside_links.addresses([page, code]) == {
        "https://arxiv.org/abs/2308.16271": ["page.md", "code.py"],
        "https://pytorch.org/docs/": ["page.md"],
    }


def test_there_are_addresses_to_try():
    assert len(outside_links.addresses(outside_links.tracked())) > 20
