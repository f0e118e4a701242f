"""What each chapter of the derivation owes its reader, as far as a test can tell.

The exercises have their own tests (``test_exercises.py``); how the pages look is tested on the built book.
"""

from __future__ import annotations

import re

import nbformat
import notebook_form
import pytest

CHAPTERS = [
    path
    for path in notebook_form.all_notebooks()
    if path.stem[:2].isdigit() and path.stem[:2] != "00"  # a first look, with no formulas
]
DISPLAYED = re.compile(r"^\$\$\n(.*?)^\$\$(.*?)$", re.MULTILINE | re.DOTALL)


def markdown(path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def code(path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "code")


def labels(text: str) -> list[str]:
    return [
        found[1] for _, tail in DISPLAYED.findall(text) if (found := re.fullmatch(r" \((eq-[\w-]+)\)", tail))
    ]


@pytest.fixture(scope="module")
def everything() -> str:
    """All prose of the book, where a formula may be referred to."""
    pages = [path.read_text(encoding="utf-8") for path in sorted((notebook_form.ROOT / "book").glob("*.md"))]
    return "\n".join([*pages, *map(markdown, notebook_form.all_notebooks())])


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
class TestChapter:
    def test_says_what_one_learns_and_for_how_long(self, path):
        text = markdown(path)
        assert ":::{admonition} What you will learn" in text
        box = text.split(":::{admonition} What you will learn")[1].split(":::")[0]
        assert re.search(r"\b\d+ minutes\b", box), "minutes of reading"
        assert re.search(r"^## Summary", text, re.MULTILINE)
        assert "{doc}" in text, "links to its neighbours"

    def test_every_displayed_formula_has_a_number_and_is_referred_to(self, path, everything):
        text = markdown(path)
        found = DISPLAYED.findall(text)
        assert found
        unlabelled = [body.strip()[:60] for body, tail in found if not re.fullmatch(r" \(eq-[\w-]+\)", tail)]
        assert unlabelled == []
        unused = [label for label in labels(text) if f"{{eq}}`{label}`" not in everything]
        assert unused == [], "numbered, and nobody refers to them"

    def test_shows_the_packages_own_source(self, path):
        assert "show_source(" in code(path)

    def test_has_something_to_play_with(self, path):
        assert re.search(r"\bplay\(|inspect_images\(", code(path))

    def test_pictures_come_with_words(self, path):
        """A cell that ends in a figure function of its own carries alternative text."""
        alts = [
            c.metadata.get("mystnb", {}).get("image", {}).get("alt", "") for c in nbformat.read(path, 4).cells
        ]
        alts = [alt for alt in alts if alt]
        assert len(alts) >= 2
        assert all(len(alt) > 30 for alt in alts)


def test_labels_are_unique():
    every = [label for path in notebook_form.all_notebooks() for label in labels(markdown(path))]
    assert len(every) == len(set(every))
