"""The whole book as one PDF: ``_build/book.pdf``.

    python tools/book_pdf.py                          after make book; up to ten minutes on two cores
    python tools/book_pdf.py book/intro --out x.pdf   some pages of it

Every rendered page is printed by the browser of the tests, then all are joined: bookmarks by the table of contents, and
links between pages lead to places in the file. What can only be played with on a page stands as it looks when the page
opens, and says where it lives. Code that a page folds stays out, but for solutions, which are shown.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import address
import yaml
from browser import SETTLED, chromium, offline_context
from build_book import BUILD, HTML, ROOT, toc_entries
from playwright.sync_api import Page
from pypdf import PdfReader, PdfWriter
from pypdf.annotations import Link
from pypdf.generic import Fit

PAPER = {
    "format": "A4",
    "margin": dict.fromkeys(("top", "bottom"), "17mm") | dict.fromkeys(("left", "right"), "16mm"),
}
FOOT = (
    '<div style="font: 7.5pt sans-serif; color: #666; width: 100%; padding: 0 16mm; display: flex; '
    'justify-content: space-between"><span class="title"></span><span></span></div>'
)
# Live parts keep their picture; folded code goes, solutions are opened; nothing waits to be scrolled into view.
PREPARE = """({where}) => {
  for (const key of ['mode', 'theme']) document.documentElement.dataset[key] = 'light';
  for (const live of document.querySelectorAll('.crate-play, .crate-heads')) {
    const note = document.createElement('p');
    note.className = 'print-note';
    note.textContent = where ? 'To play with: ' : 'To play with, in the rendered book: ';
    const link = document.createElement('a');
    if (where) link.href = where;
    link.textContent = where || location.pathname.split('/').slice(-2).join('/');
    note.append(link);
    live.after(note);
  }
  for (const code of document.querySelectorAll('div[class*=highlight], .cell_input, pre'))
    if (code.offsetHeight > 700) code.style.breakInside = 'auto';
  for (const fold of document.querySelectorAll('details')) {
    if (fold.closest('.tag_solution') || !fold.closest('.cell')) fold.open = true;
    else if (fold.matches('.hide.above-input')) fold.remove();
  }
}"""


def printed(tab: Page, page: str, html: Path = HTML, book: str | None = None) -> bytes:
    """One rendered page as a PDF of its own.

    Args:
        tab: of a browser.
        page: as in the table of contents.
        html: folder of the rendered pages.
        book: where the book is published, for what can only be played with there.

    Raises:
        FileNotFoundError: it is not in the built book.
    """
    file = html / f"{page}.html"
    if not file.exists():
        raise FileNotFoundError(f"{page}.html is not in the built book: run `make book`, or mend the name")
    tab.emulate_media(
        color_scheme="light", reduced_motion="reduce"
    )  # what opens is open at once, not half-way
    tab.goto(file.as_uri())
    tab.evaluate(SETTLED)
    tab.evaluate(PREPARE, {"where": f"{book}{page}.html" if book else ""})
    tab.emulate_media(media="print")
    tab.evaluate(SETTLED)
    return tab.pdf(
        **PAPER, print_background=True, outline=True, tagged=True, display_header_footer=True,
        header_template="<span></span>", footer_template=FOOT,
    )  # fmt: skip


def join(parts: Mapping[str, bytes], captions: Mapping[str, str], html: Path = HTML) -> PdfWriter:
    """The printed pages as one file, in their order.

    Args:
        parts: page -> PDF.
        captions: page -> the heading of the table of contents that it is the first one under.
        html: folder of the rendered pages, which links between them name.
    """
    writer, first = PdfWriter(), {}
    parent = None
    for page, content in parts.items():
        reader = PdfReader(io.BytesIO(content))
        first[page] = len(writer.pages)
        writer.append(reader, import_outline=False)
        if page in captions:
            parent = writer.add_outline_item(title=captions[page], page_number=first[page], bold=True)
        writer.add_outline_item(title=title_of(reader, page), page_number=first[page], parent=parent)
    for sheet in writer.pages:
        for entry in list(sheet.get("/Annots", ())):
            lead_inside(writer, sheet, entry.get_object(), first, html)
    return writer


def lead_inside(writer: PdfWriter, sheet: object, link: dict, first: Mapping[str, int], html: Path) -> None:
    """Let a link to a file of the book lead to where that page begins; take the address off one to any other file."""
    target = link.get("/A", {}).get("/URI")
    if link.get("/Subtype") != "/Link" or target is None or not str(target).startswith("file:"):
        return
    file = Path(unquote(urlsplit(str(target)).path))
    page = file.relative_to(html).with_suffix("").as_posix() if file.is_relative_to(html) else None
    del link["/A"]
    if page in first:
        box = tuple(float(v) for v in link["/Rect"])
        inside = Link(rect=box, target_page_index=first[page], fit=Fit.fit_horizontally())
        added = writer.add_annotation(sheet.page_number, inside)
        # older versions of pypdf leave the page's number there, which not every reader of PDF understands
        added["/Dest"][0] = writer.pages[first[page]].indirect_reference


def title_of(reader: PdfReader, page: str) -> str:
    """The title of a printed page, without the book's behind it."""
    title = reader.metadata.title if reader.metadata else None
    return title.partition(" — ")[0] if title else page


def captions() -> dict[str, str]:
    """For the first page under every heading of the table of contents that heading."""
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    return {part["chapters"][0]["file"]: part["caption"] for part in parts if part.get("caption")}


def make(pages: Iterable[str], out: Path, html: Path = HTML) -> int:
    """Print pages into one file; returns how many sheets it has."""
    url = address.of_book()
    book = address.pages_of(url) if url else None
    parts = {}
    with (
        chromium() as browser,
        offline_context(browser, [], viewport={"width": 1000, "height": 1400}) as context,
    ):
        for page in pages:
            tab = context.new_page()
            parts[page] = printed(tab, page, html, book)
            tab.close()
    writer = join(parts, captions(), html)
    writer.add_metadata(
        {"/Title": yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["title"]}
    )
    writer.compress_identical_objects()
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.partial")
    writer.write(temporary)
    temporary.replace(out)
    return len(writer.pages)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", help="such as book/intro; all pages if none is named")
    parser.add_argument("--out", type=Path, default=BUILD / "book.pdf", help="the file to write")
    parser.add_argument("--html", type=Path, default=HTML, help="folder of the rendered pages")
    a = parser.parse_args()
    try:
        sheets = make(a.pages or toc_entries(), a.out, a.html.resolve())
    except (FileNotFoundError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{a.out}: {sheets} sheets, {a.out.stat().st_size / 2**20:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
