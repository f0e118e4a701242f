"""Tabs of one browser that tests take turns with: to open one is more work than most of what is asked of a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from browser import offline_context
from playwright.sync_api import Error


class Tab:
    """A page, what it asked for outside of this machine, and what it wrote to its console."""

    def __init__(self, context: Any, refused: list[str]) -> None:
        self.refused = refused
        self.messages: list[tuple[str, str]] = []
        self.page = context.new_page()
        self.page.on("console", lambda message: self.messages.append((message.type, message.text)))
        self.page.on("pageerror", lambda error: self.messages.append(("error", str(error))))

    def clear(self) -> None:
        """As new: an empty page, the mouse outside of it, nothing kept and nothing said."""
        self.page.evaluate(
            "() => { try { localStorage.clear(); sessionStorage.clear(); } catch { /* none here */ } }"
        )
        self.page.goto("about:blank")
        self.page.mouse.move(-10, -10)
        self.refused.clear()
        self.messages.clear()


class Tabs:
    """Those that are open. A tab of the usual kind is used again, one with ``options`` of its own is closed."""

    def __init__(self, browser: Any) -> None:
        self._browser, self._free = browser, []
        self._contexts = ExitStack()

    def close(self) -> None:
        """All of them."""
        self._contexts.close()

    def _new(self, contexts: ExitStack, **options: Any) -> Tab:
        refused: list[str] = []
        return Tab(contexts.enter_context(offline_context(self._browser, refused, **options)), refused)

    @contextmanager
    def of_a_test(self, *complaints: str) -> Iterator[Callable[..., Any]]:
        """A function that opens an empty page of a width and height, as many as are asked for.

        At the end a request that would have left this machine fails the test, and so does a message of those kinds.
        """
        used: list[Tab] = []
        with ExitStack() as own:

            def page(width: int, height: int, **options: Any) -> Any:
                size = {"width": width, "height": height}
                if options:
                    tab = self._new(own, viewport=size, **options)
                else:
                    tab = self._free.pop() if self._free else self._new(self._contexts)
                    tab.page.set_viewport_size(size)
                    own.callback(self._take_back, tab)
                used.append(tab)
                return tab.page

            yield page
            refused = [url for tab in used for url in tab.refused]
            said = [text for tab in used for kind, text in tab.messages if kind in complaints]
        assert refused == []
        assert said == []

    def _take_back(self, tab: Tab) -> None:
        """For the next test; one that broke is left alone."""
        with suppress(Error):
            tab.clear()
            self._free.append(tab)
