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


SAID = re.compile(r'^say\(\n    r"""\n(.*?)"""', re.MULTILINE | re.DOTALL)


def markdown(path) -> str:
    """All prose: Markdown cells, and texts whose numbers are filled in."""
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(
        text
        for cell in cells
        for text in ([cell.source] if cell.cell_type == "markdown" else SAID.findall(cell.source))
    )


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

    def test_every_formula_that_is_referred_to_is_there(self, path, everything):
        missing = set(re.findall(r"\{eq\}`([\w-]+)`", markdown(path))) - set(labels(everything))
        assert missing == set()

    def test_shows_the_packages_own_source(self, path):
        assert "show_source(" in code(path)

    def test_has_something_to_play_with(self, path):
        assert re.search(r"\bplay\(|inspect_images\(|\bacting\(", code(path))

    def test_pictures_come_with_words(self, path):
        """A cell that ends in a figure function of its own carries alternative text."""
        alts = [
            c.metadata.get("mystnb", {}).get("image", {}).get("alt", "") for c in nbformat.read(path, 4).cells
        ]
        alts = [alt for alt in alts if alt]
        assert len(alts) >= 2
        assert all(len(alt) > 30 for alt in alts)


CHOICE = re.compile(
    r'<details class="choice( right)?"><summary>(.+?)</summary>\n\n(.+?)\n\n</details>(\n+(?=<details))?',
    re.DOTALL,
)


def questions(text: str) -> list[list[tuple[bool, str, str]]]:
    """The choices of every question: whether it is the right one, what it says, and why."""
    found, group = [], []
    for right, choice, why, more in CHOICE.findall(text):
        group.append((bool(right), choice, why))
        if not more:
            found.append(group)
            group = []
    return found


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
class TestSecondEdition:
    def test_two_questions_with_choices_say_why(self, path):
        text = markdown(path)
        asked = questions(text)
        assert len(asked) == 2
        assert sum(map(len, asked)) == text.count("<details"), "a choice that is not in the common form"
        for choices in asked:
            assert len(choices) >= 3
            assert [right for right, _, _ in choices].count(True) == 1
            assert all(len(why) > 20 for _, _, why in choices), "say why"

    def test_every_figure_has_a_number_a_caption_and_words_for_who_cannot_see_it(self, path):
        drawn = [
            c.metadata.mystnb
            for c in nbformat.read(path, 4).cells
            if "figure" in c.metadata.get("mystnb", {})
        ]
        names = [mystnb.figure.name for mystnb in drawn]
        assert len(names) == len(set(names)) >= 2
        assert all(name.startswith(f"fig-{path.stem[:2]}-") for name in names)
        assert all(len(mystnb.figure.caption) > 30 for mystnb in drawn), "what is there to see?"
        assert all(len(mystnb.image.alt) > 30 for mystnb in drawn)

    def test_every_exercise_has_two_hints(self, path):
        text = markdown(path)
        tasks = text.count("### Exercise ")
        assert text.count(":::{dropdown} Hint\n") == text.count(":::{dropdown} Second hint\n") == tasks

    def test_no_bar_hangs_above_prose_and_little_is_hidden(self, path):
        for cell in nbformat.read(path, as_version=4).cells:
            if "hide-input" in cell.metadata.get("tags", ()):
                assert not re.search(r"\b(?:Markdown|say|table)\(|^# @title Imports", cell.source), (
                    cell.source
                )
        assert notebook_form.hidden_lines(path) <= 150

    def test_code_fits_its_column(self, path):
        """Longer lines go on below (book.css), where nobody expects it of Python."""
        shown = [
            c
            for c in nbformat.read(path, 4).cells
            if c.cell_type == "code" and not notebook_form.is_hidden(c)
        ]
        assert [line for cell in shown for line in cell.source.splitlines() if len(line) > 76] == []

    def test_says_what_may_be_skipped_and_takes_twenty_minutes(self, path):
        text = markdown(path)
        assert "20 minutes of reading" in text
        assert re.search(r"may be skipped|Optional", text, re.IGNORECASE)


def test_labels_are_unique():
    every = [label for path in notebook_form.all_notebooks() for label in labels(markdown(path))]
    assert len(every) == len(set(every))
