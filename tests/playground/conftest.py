"""Playgrounds opened in a real browser with the network cut off, and how tests turn their knobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crate_mini.playground import Playground, play

PAGE = (
    '<!doctype html><html lang="en" data-theme="{theme}"><head><meta charset="utf-8"><title>playground</title>'
    '<link rel="icon" href="data:,"></head><body style="margin: 0">{body}</body></html>'
)


class Tab:
    """One opened playground."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def settle(self) -> Tab:
        """Wait until what was asked for has been drawn."""
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())))"
        )
        return self

    def slide(self, label: str, value: float) -> Tab:
        """Set the slider of that label to a value, in its own units even where its scale is logarithmic."""
        self.page.get_by_role("slider", name=label, exact=True).evaluate(
            "(input, v) => input.playSet(v)", value
        )
        return self.settle()

    def choose(self, label: str, text: str) -> Tab:
        """Take the option of that text in the choice of that label."""
        select = self.page.locator(f'select[aria-label="{label}"]')
        if select.count():
            select.select_option(label=text)
        else:
            group = self.page.get_by_role("group", name=label, exact=True)
            group.get_by_role("radio", name=text, exact=True).check(force=True)
        return self.settle()

    def tick(self, label: str, on: bool = True) -> Tab:
        """Set the check box of that label."""
        self.page.get_by_role("checkbox", name=label, exact=True).set_checked(on)
        return self.settle()

    def press(self, label: str) -> Tab:
        """Press the button of that label."""
        self.page.get_by_role("button", name=label, exact=True).click()
        return self.settle()

    def readout(self, label: str) -> str:
        """The text that stands beside that label, with a plain minus sign."""
        return self.page.locator(f'.cp-readout[data-label="{label}"] output').inner_text().replace("−", "-")

    def number(self, label: str) -> float:
        """The readout as a number."""
        return float(self.readout(label))

    def note(self) -> str:
        """The line that says what to see."""
        return self.page.locator(".cp-note").first.inner_text()

    def pixels(self) -> bytes:
        """A picture of the plots, to be compared with another."""
        return self.page.locator(".cp-plots").screenshot()


@pytest.fixture
def open_play(tabs) -> Iterator[Callable[..., Tab]]:
    """``open_play(name, data)`` opens a playground; at the end any error or outside request fails the test."""
    with tabs.of_a_test("error") as page_of:

        def open_(
            name: str | Playground,
            data: Any = None,
            *,
            width: int = 900,
            theme: str = "light",
            **options: Any,
        ) -> Tab:
            shown = name if isinstance(name, Playground) else play(name, data, title="A title")
            page = page_of(width, 900, **options)
            page.set_content(PAGE.format(theme=theme, body=shown._repr_html_()))
            return Tab(page).settle()

        yield open_


@pytest.fixture
def slide() -> Callable[..., Tab]:
    return Tab.slide


@pytest.fixture
def choose() -> Callable[..., Tab]:
    return Tab.choose


@pytest.fixture
def readout() -> Callable[..., str]:
    return Tab.readout
