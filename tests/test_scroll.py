"""What scrolls sideways in its own box takes the focus and fades out where it goes on, and nothing else does."""

from __future__ import annotations

from browser import offline_context
from build_book import ROOT

PAGE = """<!doctype html><html><head><meta charset="utf-8"><title>p</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="book.css"></head><body><article class="bd-article">
<div class="cell_output" id="wide"><div style="width: 600px; height: 20px"></div></div>
<div class="cell_output" id="slim"><div style="width: 60px; height: 20px"></div></div>
<details><summary>more</summary><div class="cell_output" id="folded"><div style="width: 600px; height: 9px"></div></div>
</details></article><script src="scroll.js"></script></body></html>"""
REACHED = "[...document.querySelectorAll('[tabindex=\"0\"]')].map(e => e.id)"


def test_boxes_that_scroll_can_be_reached_by_keyboard(browser, tmp_path):
    for name in ("book.css", "scroll.js"):
        (tmp_path / name).write_bytes((ROOT / "book" / "_assets" / name).read_bytes())
    (tmp_path / "page.html").write_text(PAGE, encoding="utf-8")
    with offline_context(browser, [], viewport={"width": 360, "height": 800}) as context:
        tab = context.new_page()
        tab.goto((tmp_path / "page.html").as_uri())
        tab.wait_for_function(f"() => {REACHED}.join() === 'wide,folded'", timeout=20_000)
        fades = "[...document.querySelectorAll('.goes-on')].map(e => e.id)"
        tab.wait_for_function(f"() => {fades}.includes('wide')")
        tab.evaluate("document.getElementById('wide').scrollLeft = 600")  # its end
        tab.wait_for_function(f"() => !{fades}.includes('wide')")
        tab.set_viewport_size({"width": 1280, "height": 800})
        tab.wait_for_function(f"() => {REACHED}.length === 0", timeout=20_000)
