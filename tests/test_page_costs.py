"""Weight, shift and first picture of pages, on small ones that have a known price."""

from __future__ import annotations

import json

import page_costs
import pytest

HEAD = '<!doctype html><html lang="en"><meta charset="utf-8"><title>p</title><link rel="icon" href="data:,">'
SHIFTS = """<article class="bd-article"><div id="late"></div>
<p style="height: 450px; background: #eee">moves</p></article>
<script>
requestAnimationFrame(() => requestAnimationFrame(() => { document.getElementById('late').style.height = '300px'; }));
</script>"""


def test_every_file_is_weighed_once(browser, tmp_path):
    (tmp_path / "book.css").write_text("p { color: red }" * 1000)
    (tmp_path / "page.html").write_text(
        f'{HEAD}<link rel="stylesheet" href="book.css"><link rel="stylesheet" href="book.css"><p>x</p>'
    )
    (tmp_path / "not_asked_for.js").write_text("1" * 10_000)
    found = page_costs.measured(browser, tmp_path / "page.html")
    assert found == {"kB": 16, "shift_wide": 0, "shift_narrow": 0, "first_picture": None}


def test_what_moves_while_it_loads_is_seen(browser, tmp_path):
    (tmp_path / "page.html").write_text(HEAD + SHIFTS)
    found = page_costs.measured(browser, tmp_path / "page.html")
    assert found["shift_wide"] > 0.1
    assert found["shift_narrow"] > 0.1


def test_the_first_picture(browser, tmp_path):
    (tmp_path / "plain.html").write_text(page_costs.PLAIN)
    assert page_costs.measured(browser, tmp_path / "plain.html", rounds=2)["first_picture"] > 0


def test_a_page_that_became_dearer_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(page_costs, "RESULT", tmp_path / "pages.json")
    page_costs.RESULT.write_text(json.dumps({"pages": {"a": {"kB": 1000, "shift_wide": 0.02}}}))
    assert page_costs.dearer("a", 1100, 0.1) == []
    assert page_costs.dearer("new", 5000, 0.1) == []
    (heavy,) = page_costs.dearer("a", 1200, 0.1)
    assert "a weighs 1200 kB, and 1120 are allowed" in heavy
    (shifts,) = page_costs.dearer("new", 5000, 0.3)
    assert "new shifts by 0.300" in shifts


@pytest.mark.parametrize(("text", "commit"), [("commit 0123456789ab.", "0123456789ab"), ("nothing", None)])
def test_the_commit_of_a_build_stands_on_its_status_page(tmp_path, text, commit):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "status.html").write_text(text)
    assert page_costs.built_from(tmp_path) == commit
