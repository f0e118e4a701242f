"""Widgets on a phone and at rest: what the tests of the book ask of every page, tried on pages that have the faults."""

from __future__ import annotations

import pytest
import widgets
from browser import offline_context
from build_book import ROOT

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>p</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width"><style>{style}</style></head><body style="margin: 0">
<div class="crate-play" id="it" style="width: 100%">
<svg id="plot" width="300" height="200"><text id="word" x="10" y="20">word</text><circle r="5"></circle></svg>
<table id="numbers"><tr><td>1</td><td class="last">2</td></tr></table>
<div id="between"></div>
<input id="slider" type="range" min="0" max="10" value="3" aria-label="how much">
</div><script>
document.getElementById('slider').oninput = e => document.querySelector('circle').setAttribute('cx', e.target.value);
{script}</script></body></html>"""
HIDDEN = "@media (max-width: 400px) { .last { display: none } }"
WIDE = "#between::after { content: ''; display: block; width: 400px; height: 9px }"
TIMER = "let x = 0; setInterval(() => document.querySelector('circle').setAttribute('cx', x++), 20);"


@pytest.fixture
def opened(browser, tmp_path):
    """A page with one widget, seen wide and then asked of a phone."""
    with offline_context(browser, [], viewport={"width": 1280, "height": 800}) as context:

        def open_(style: str = "", script: str = ""):
            (tmp_path / "page.html").write_text(PAGE.format(style=style, script=script), encoding="utf-8")
            tab = context.new_page()
            tab.goto((tmp_path / "page.html").as_uri())
            widgets.mark(tab)
            return tab

        yield open_


@pytest.mark.parametrize(
    ("style", "fault"),
    [
        ("", None),
        (HIDDEN, "TD.last is hidden"),
        ("#numbers { width: 500px }", "sticks out"),
        ("#between { width: 200px; overflow: hidden }" + WIDE, "is cut off"),
        ("#word { transform: translateX(290px) }", 'the words "word" are cut off'),
        ("#between { height: 600px }", '"how much" stands'),
        ("#between { height: 300px }", None),
    ],
)
def test_what_a_phone_does_not_show(opened, style, fault):
    found = widgets.faults(opened(style))
    assert bool(found) == (fault is not None), found
    assert fault is None or any(fault in line for line in found)


def test_what_does_not_rest(opened):
    assert widgets.restless(opened()) == []
    assert any("moves by itself" in line for line in widgets.restless(opened(script=TIMER)))
    gliding = "html { scroll-behavior: smooth } #slider { transition: opacity 1s } #plot::before { animation: none }"
    found = widgets.restless(opened(gliding))
    assert [line.split()[-1] for line in found] == ["moves", "glides"]


def test_the_book_stops_what_its_theme_moves(opened):
    book = (ROOT / "book" / "_assets" / "book.css").read_text(encoding="utf-8")
    moving = "@keyframes k { to { opacity: 0 } } #slider { transition: opacity 1s; animation: k 1s infinite }"
    assert widgets.restless(opened(moving)) != []
    assert widgets.restless(opened(f"{moving} {book}")) == []
