"""Photograph pages of the built book: wide and narrow, light and dark.

    python tools/screenshots.py --out _build/screenshots book/intro notebooks/05_crate

Without page names, all pages of the table of contents. A page is cut into pieces of ``--height`` pixels, so
that each picture can be looked at.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from browser import SETTLED, chromium, offline_context
from build_book import HTML, toc_entries
from playwright.sync_api import Page

WIDTHS = {"wide": 1280, "narrow": 360}
THEMES = ("light", "dark")
CHOOSE_THEME = """theme => {
  localStorage.setItem('mode', theme); localStorage.setItem('theme', theme);
  document.documentElement.dataset.mode = theme; document.documentElement.dataset.theme = theme;
}"""


def pieces(tab: Page, width: int, height: int) -> Iterator[bytes]:
    """A page from top to bottom, in pictures of so many pixels.

    Each is what a window of this size shows. A picture of the whole page, cut out by the browser, is another thing: it
    lets the window grow to take it, and what follows the window's size is drawn anew, too wide for the page.
    """
    tab.set_viewport_size({"width": width, "height": height})
    tab.evaluate(SETTLED)
    total = tab.evaluate("document.documentElement.scrollHeight")
    for top in range(0, max(total, 1), height):
        tab.evaluate("top => scrollTo({top, behavior: 'instant'})", top)
        tab.evaluate(SETTLED)
        hidden = top - tab.evaluate("scrollY")  # of the last window, what the one before it has shown
        yield tab.screenshot(clip={"x": 0, "y": hidden, "width": width, "height": min(height, total - top)})


def photograph(
    pages: list[str], out: Path, *, widths: list[str], themes: list[str], height: int, html: Path = HTML
) -> list[Path]:
    """Write the pictures and return their paths.

    Raises:
        FileNotFoundError: a page is not in the built book.
    """
    for page in pages:
        if not (html / f"{page}.html").exists():
            raise FileNotFoundError(
                f"{page}.html is not in the built book: run `make book`, or mend the name"
            )
    out.mkdir(parents=True, exist_ok=True)
    written = []
    with chromium() as browser:
        for width in widths:
            size = {"width": WIDTHS[width], "height": 900}
            with offline_context(browser, [], viewport=size, device_scale_factor=1) as context:
                tab = context.new_page()
                for page in pages:
                    for theme in themes:
                        tab.set_viewport_size(size)
                        tab.goto((html / f"{page}.html").as_uri())
                        tab.evaluate(CHOOSE_THEME, theme)
                        tab.evaluate(SETTLED)
                        name = f"{page.replace('/', '-')}-{width}-{theme}"
                        for index, picture in enumerate(pieces(tab, WIDTHS[width], height)):
                            path = out / f"{name}-{index}.png"
                            path.write_bytes(picture)
                            written.append(path)
    return written


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", help="such as book/intro; all pages if none is named")
    parser.add_argument(
        "--out", type=Path, default=HTML.parent / "screenshots", help="folder for the pictures"
    )
    parser.add_argument("--width", choices=WIDTHS, action="append", help="default: both")
    parser.add_argument("--theme", choices=THEMES, action="append", help="default: both")
    parser.add_argument("--height", type=int, default=2000, help="pixels of page in one picture")
    parser.add_argument(
        "--html", type=Path, default=HTML, help="folder of the rendered pages, if not the book's"
    )
    a = parser.parse_args()
    try:
        written = photograph(
            [page.removesuffix(".html") for page in a.pages] or toc_entries(),
            a.out,
            widths=a.width or list(WIDTHS),
            themes=a.theme or list(THEMES),
            height=a.height,
            html=a.html.resolve(),
        )
    except (FileNotFoundError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(map(str, written)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
