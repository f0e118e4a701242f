"""Does every link to the outside still lead somewhere? Needs a network, so no part of ``make test``.

    python tools/outside_links.py        every address in pages, notebooks, docstrings and the README

A server that is busy or slow is asked again, four times, later each time. One that answers but refuses programs (401,
403, 405, 429) is there. What is left is listed with the files that name it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter, Retry

ROOT = Path(__file__).resolve().parent.parent
KINDS = {".md", ".ipynb", ".py", ".bib", ".cff", ".toml", ".yml"}
ADDRESS = re.compile(r"https?://[^\s<>\"'`\\)\]}|]+")
# of examples, of namespaces, what only a running machine has, and what a program fills in
NOT_MEANT = re.compile(
    r"https?://(?:localhost|127\.|(?:[\w.-]+\.)?example\.|www\.w3\.org/(?:2000|1999)|x\.org)|.*(?:[{$(*]|OWNER)"
    r"|https://(?:github\.com/|colab\.research\.google\.com)$"
)
THERE = {401, 403, 405, 429}


def addresses(files: Iterable[Path]) -> dict[str, list[str]]:
    """Every address, without what follows ``#``, and the files that name it."""
    found: dict[str, list[str]] = {}
    for file in files:
        for link in ADDRESS.findall(file.read_text(encoding="utf-8")):
            link = link.partition("#")[0].rstrip(".,;:!?*_")
            if not NOT_MEANT.match(link):
                names = found.setdefault(link, [])
                if file.name not in names:
                    names.append(file.name)
    return found


def session(retries: int = 4, backoff: float = 2.0) -> requests.Session:
    """Asks again what may come back: a server that is down, busy or slow."""
    again = Retry(
        total=retries, backoff_factor=backoff, status_forcelist=(500, 502, 503, 504, 429),
        allowed_methods=("HEAD", "GET"), raise_on_status=False, respect_retry_after_header=True,
    )  # fmt: skip
    made = requests.Session()
    for kind in ("http://", "https://"):
        made.mount(kind, HTTPAdapter(max_retries=again))
    made.headers["User-Agent"] = "crate-mini link check"
    return made


def trouble(link: str, asker: requests.Session) -> str | None:
    """What is wrong with an address; None if it leads somewhere."""
    try:
        status = asker.head(link, timeout=30, allow_redirects=True).status_code
        if status >= 400 and status not in THERE:  # not every server answers HEAD
            with asker.get(link, timeout=30, stream=True) as answer:
                status = answer.status_code
    except requests.RequestException as error:
        return type(error).__name__
    return None if status < 400 or status in THERE else f"answers {status}"


def tracked() -> list[Path]:
    """Files of the repository that may hold addresses; what tests make up is none."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [ROOT / name for name in listed.splitlines() if not name.startswith("tests/")]
    return [path for path in paths if path.suffix in KINDS and path.is_file()]


def main() -> int:
    """Command line."""
    links = addresses(tracked())
    with session() as asker, ThreadPoolExecutor(8) as pool:
        answers = dict(zip(links, pool.map(lambda link: trouble(link, asker), links), strict=True))
    broken = {link: what for link, what in answers.items() if what}
    for link, what in sorted(broken.items()):
        print(f"{link}: {what}; named in {', '.join(links[link])}")
    print(f"{len(links)} addresses, {len(broken)} lead nowhere")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
