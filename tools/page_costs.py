"""What pages of the built book cost a reader: weight, what shifts while they load, how soon a picture is there.

    python tools/page_costs.py               all pages, after make book: some minutes; written to a file
    python tools/page_costs.py book/intro    a look at some; nothing is written

*Weight* is that of every file that a page loads, in kB. *Shift* is the sum of the browser's layout shifts while it
loads, at 1280 and at 360 pixels: the moved share of the window times how far it moved; 0.1 counts as little. *First
picture* is a ratio, for no clock agrees with another: the time until the first picture or widget of the article is
drawn, divided by that of a page with a sentence and a picture and nothing else, opened in turns (medians).

All pages are written to ``results/benchmarks/pages.json``, which the status page shows. :func:`dearer` holds every
build to it, but for the time.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import unquote, urlsplit

from browser import SETTLED, chromium, offline_context
from build_book import HTML, ROOT, toc_entries
from playwright.sync_api import Browser, BrowserContext, Page

from crate_mini.results import add_dirty, provenance, require_clean, write

RESULT = ROOT / "results" / "benchmarks" / "pages.json"
HEAVY, LITTLE = 8000, 0.25  # kB and shift of a page that nobody has measured; of others, so much shift more
SIZES = {"wide": {"width": 1280, "height": 900}, "narrow": {"width": 360, "height": 800}}
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"  # of one pixel
PLAIN = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>p</title><link rel="icon" href="data:,">'
    f'<article class="bd-article"><p>A sentence.</p><img width="100" height="100" alt="" src="{PIXEL}"></article>'
)
# Runs before anything of the page does. A picture is there when it has a size and what it shows has been read.
WATCH = """(() => {
  window.costs = {shift: 0, picture: null};
  new PerformanceObserver(list => { for (const e of list.getEntries()) window.costs.shift += e.value; })
    .observe({type: 'layout-shift', buffered: true});
  const there = e => {
    const box = e.getBoundingClientRect();
    return box.width > 40 && box.height > 40 && (!e.matches('img') || (e.complete && e.naturalWidth > 0));
  };
  const look = () => {
    const all = document.querySelectorAll('.bd-article img, .bd-article canvas, .crate-play svg');
    if ([...all].some(there)) window.costs.picture = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})()"""


@contextmanager
def watched(browser: Browser, size: str) -> Iterator[BrowserContext]:
    """Tabs of a size whose pages are watched from their beginning."""
    with offline_context(browser, [], viewport=SIZES[size]) as context:
        context.add_init_script(WATCH)
        yield context


def opened(context: BrowserContext, page: Path) -> Page:
    """A page, settled, in a new tab."""
    tab = context.new_page()
    tab.goto(page.as_uri())
    tab.evaluate(SETTLED)
    return tab


def weight(requests: Iterable[str]) -> int:
    """Of the files that were asked for, in kB; data that stand in the page are part of it."""
    files = {Path(unquote(urlsplit(url).path)) for url in requests if url.startswith("file:")}
    return round(sum(file.stat().st_size for file in files if file.is_file()) / 1e3)


def shift_of(tab: Page) -> float:
    """What has shifted on a watched page up to now."""
    return round(tab.evaluate("costs.shift"), 3)


def measured(browser: Browser, page: Path, rounds: int = 1) -> dict[str, float | None]:
    """Weight in kB, shift in either size, and how many times as long as on the plain page it takes until a picture is
    there, None if the page has none.
    """
    found: dict[str, float | None] = {}
    times: dict[str, list[float | None]] = {"plain": [], "page": []}
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.html"
        plain.write_text(PLAIN, encoding="utf-8")
        for _ in range(rounds):
            for name, which in (("plain", plain), ("page", page)):
                with watched(browser, "wide") as context:
                    asked: list[str] = []
                    context.on("request", lambda request, asked=asked: asked.append(request.url))
                    tab = opened(context, which)
                    times[name].append(tab.evaluate("costs.picture"))
                    found |= {"kB": weight(asked), "shift_wide": shift_of(tab)}
    with watched(browser, "narrow") as context:
        found["shift_narrow"] = shift_of(opened(context, page))
    seen = None not in times["page"]
    found["first_picture"] = round(median(times["page"]) / median(times["plain"]), 1) if seen else None
    return found


def dearer(page: str, kB: int, shift: float) -> list[str]:
    """What a page of this weight, with this shift in a wide window, costs beyond what was measured; in sentences."""
    measured_pages = json.loads(RESULT.read_text(encoding="utf-8"))["pages"] if RESULT.exists() else {}
    kept = measured_pages.get(page)
    most, furthest = (HEAVY, LITTLE) if kept is None else (1.1 * kept["kB"] + 20, kept["shift_wide"] + LITTLE)
    told = "make it lighter, or measure anew: python tools/page_costs.py"
    found = []
    if kB > most:
        found.append(f"{page} weighs {kB} kB, and {most:.0f} are allowed: {told}")
    if shift > furthest:
        found.append(f"{page} shifts by {shift:.3f}, and {furthest:.3f} are allowed: {told}")
    return found


def built_from(html: Path) -> str | None:
    """The commit that the pages were built from, as their status page says."""
    page = html / "book" / "status.html"
    found = (
        re.search(r"commit ([0-9a-f]{12}\+?)", page.read_text(encoding="utf-8")) if page.exists() else None
    )
    return found[1] if found else None


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pages", nargs="*", help="such as book/intro; all pages if none is named")
    parser.add_argument("--html", type=Path, default=HTML, help="folder of the rendered pages")
    parser.add_argument("--rounds", type=int, default=3, help="how often the time to a picture is taken")
    add_dirty(parser)
    a = parser.parse_args()
    html, rows = a.html.resolve(), {}
    try:
        if not a.pages:
            require_clean(a.dirty)
        with chromium() as browser:
            for page in a.pages or toc_entries():
                file = html / f"{page}.html"
                if not file.exists():
                    raise FileNotFoundError(
                        f"{page}.html is not in the built book: run `make book`, or mend the name"
                    )
                rows[page] = measured(browser, file, a.rounds)
                print(page, json.dumps(rows[page]), flush=True)
            version = browser.version
        if not a.pages:
            facts: dict[str, Any] = {"built_from": built_from(html), "browser": f"Chromium {version}"}
            write(RESULT, provenance(**facts, rounds=a.rounds, pages=rows), allow_dirty=a.dirty)
    except (OSError, RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
