"""The book as one file: in order, with bookmarks, and with links that stay inside of it."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import book_pdf
import pytest
from pypdf import PdfReader

TOOL = Path(__file__).resolve().parent.parent / "tools" / "book_pdf.py"
PAGE = """<!doctype html><html><head><title>{title}</title></head><body>
<h1>{title}</h1><p>{text}</p><a href="{link}">there</a> <a href="https://arxiv.org/abs/2308.16271">paper</a>
<div class="crate-play"><svg width="80" height="40"><rect width="80" height="40"/></svg></div>
<div class="cell tag_hide-input">
<details class="hide above-input"><summary>Show</summary><pre>folded = 1</pre></details></div>
<div class="cell tag_solution">
<details class="hide above-input"><summary>Solution</summary><pre>solved = 1</pre></details></div>
</body></html>"""


@pytest.fixture
def html(tmp_path):
    """Three rendered pages that lead to each other, and to one that is in no book."""
    (tmp_path / "notebooks").mkdir()
    for page, title, link in (
        ("intro", "Beginning", "notebooks/01_a.html#here"),
        ("notebooks/01_a", "First chapter", "../intro.html"),
        ("notebooks/02_b", "Second chapter", "../elsewhere.html"),
    ):
        text = "A line of text. " * 400
        (tmp_path / f"{page}.html").write_text(
            PAGE.format(title=title, text=text, link=link), encoding="utf-8"
        )
    return tmp_path


@pytest.fixture
def parts(browser, html):
    """Each of them printed."""
    context = browser.new_context()
    tab = context.new_page()
    yield {page: book_pdf.printed(tab, page, html) for page in ("intro", "notebooks/01_a", "notebooks/02_b")}
    context.close()


def test_pages_one_after_the_other(parts, html, tmp_path):
    book_pdf.join(parts, {"notebooks/01_a": "The chapters"}, html).write(tmp_path / "book.pdf")
    book = PdfReader(tmp_path / "book.pdf")
    lengths = [len(PdfReader(io.BytesIO(part)).pages) for part in parts.values()]
    assert min(lengths) > 1
    assert len(book.pages) == sum(lengths)
    first, chapters, inside = book.outline
    assert first.title == "Beginning"
    assert chapters.title == "The chapters"
    assert [entry.title for entry in inside] == ["First chapter", "Second chapter"]
    assert [book.get_destination_page_number(entry) for entry in inside] == [lengths[0], sum(lengths[:2])]

    links = [
        (number, annotation.get_object())
        for number, sheet in enumerate(book.pages)
        for annotation in sheet.get("/Annots", ())
    ]
    outside = [str(link["/A"]["/URI"]) for _, link in links if "/URI" in link.get("/A", {})]
    assert outside == ["https://arxiv.org/abs/2308.16271"] * 3, (
        "none leads to a file of the machine that made it"
    )
    targets = [link["/Dest"][0].get_object() for _, link in links if "/Dest" in link]
    assert targets == [book.pages[lengths[0]].get_object(), book.pages[0].get_object()]


def test_what_is_live_says_where_it_lives(browser, html):
    tab = browser.new_page()
    text = "".join(
        sheet.extract_text()
        for sheet in PdfReader(io.BytesIO(book_pdf.printed(tab, "intro", html, "https://x.org/"))).pages
    )
    tab.close()
    assert "To play with: https://x.org/intro.html" in " ".join(text.split())
    assert "solved = 1" in text
    assert "folded" not in text


def test_a_page_that_is_not_there(browser, html):
    tab = browser.new_page()
    with pytest.raises(FileNotFoundError, match=r"nowhere\.html is not in the built book: run `make book`"):
        book_pdf.printed(tab, "nowhere", html)
    tab.close()


def test_headings_of_the_table_of_contents():
    found = book_pdf.captions()
    assert set(found) <= set(book_pdf.toc_entries())
    assert len(set(found.values())) == len(found) >= 2


def test_the_command_writes_one_file(html, tmp_path):
    book = tmp_path / "out" / "book.pdf"
    command = [sys.executable, TOOL, "intro", "notebooks/01_a", "--html", html, "--out", book]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(PdfReader(book).pages)} sheets" in done.stdout
    assert [path.name for path in book.parent.iterdir()] == ["book.pdf"]
