"""Tabs that tests take turns with: nothing of one test reaches the next, and what a page does wrong fails its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tabs import Tabs


@pytest.fixture
def tabs(browser) -> Iterator[Tabs]:
    opened = Tabs(browser)
    yield opened
    opened.close()


def test_a_tab_is_used_again_and_empty(tabs):
    with tabs.of_a_test("error") as page_of:
        first, second = page_of(300, 200), page_of(300, 200)
        assert first is not second
        first.set_content("<script>window.left = 1; onmousemove = () => { left = 2 }</script>text")
        first.mouse.move(50, 50)
        assert first.evaluate("left") == 2
    with tabs.of_a_test("error") as page_of:
        again = page_of(400, 300)
        assert again is first
        assert again.evaluate("[typeof left, innerWidth, document.body.textContent]") == [
            "undefined",
            400,
            "",
        ]


def test_a_tab_of_its_own_kind_is_closed(tabs):
    with tabs.of_a_test("error") as page_of:
        dark = page_of(300, 200, color_scheme="dark")
        assert dark.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert dark.is_closed()


@pytest.mark.parametrize(
    "wrong", ["throw new Error('thrown')", "console.error('said')", "fetch('https://a.example')"]
)
def test_what_a_page_does_wrong_fails_its_test_and_no_other(tabs, wrong):
    def visit(script: str) -> None:
        with tabs.of_a_test("error") as page_of:
            page = page_of(300, 200)
            page.set_content(f"<script>{script}</script>")
            page.evaluate("new Promise(done => setTimeout(done, 50))")

    with pytest.raises(AssertionError):
        visit(wrong)
    visit("console.log('fine')")
