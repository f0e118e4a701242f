"""How long pages of the book are, and how soon there is something to play with, in pixels of a browser.

python tools/page_sizes.py notebooks/01_coding_rate notebooks/02_rate_reduction
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from browser import SETTLED, chromium, offline_context
from build_book import HTML, toc_entries

SCREEN = {"width": 1280, "height": 900}
MEASURE = """() => {
  const box = (what) => document.querySelector(what)?.getBoundingClientRect();
  const article = box('.bd-article'), exercises = box('section#exercises'), toy = box('.crate-play, .crate-heads');
  return {
    height: Math.round(article.height - (exercises?.height ?? 0)),
    toy: toy ? Math.round(toy.top + scrollY) : null,
  };
}"""


def measure(tab: Any) -> dict[str, int | None]:
    """Pixels of a settled page: ``height`` of its text without exercises, ``toy`` from its top to the first thing to
    play with, None if there is none. Meant for a tab of :data:`SCREEN`.
    """
    return tab.evaluate(MEASURE)


def measured(browser: Any, page: Path) -> dict[str, int | None]:
    """:func:`measure` of a page in a tab of its own."""
    with offline_context(browser, [], viewport=SCREEN) as context:
        tab = context.new_page()
        tab.goto(page.as_uri())
        tab.evaluate(SETTLED)
        return measure(tab)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", help="such as notebooks/05_crate; all pages if none is named")
    parser.add_argument(
        "--html", type=Path, default=HTML, help="folder of the rendered pages, if not the book's"
    )
    a = parser.parse_args()
    print(f"{'page':<40} {'height':>8} {'to play':>8}")
    with chromium() as browser:
        for page in a.pages or toc_entries():
            found = measured(browser, a.html.resolve() / f"{page}.html")
            print(f"{page:<40} {found['height']:>8} {found['toy'] or '–':>8}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
