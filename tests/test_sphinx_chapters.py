"""What the book's own Sphinx extension does to a page: links at first use, and figures for the dark."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sphinx_chapters
from docutils import nodes
from docutils.utils import new_document
from PIL import Image
from sphinx import addnodes

ROOT = Path(__file__).resolve().parent.parent
TERMS = ("coding rate", "rate", "Gram matrix", "entropy", "LASSO", "token")


def page(*children: nodes.Node) -> nodes.document:
    document = new_document("page")
    document += nodes.section("", *children)
    return document


def paragraph(*parts: str | nodes.Node) -> nodes.paragraph:
    return nodes.paragraph("", "", *(nodes.Text(part) if isinstance(part, str) else part for part in parts))


def links(document: nodes.document) -> list[tuple[str, str]]:
    return [(node.astext(), node["reftarget"]) for node in document.findall(addnodes.pending_xref)]


def test_the_first_use_is_linked_and_no_other():
    first = paragraph("Coding rates of tokens. A token, a coding rate; tokenise, no-token, lasso.")
    document = page(first, paragraph("One ", nodes.strong("", "Gram matrix"), ", entropies, LASSO, a rate."))
    before = document.astext()
    sphinx_chapters.link_first_uses(document, TERMS, "notebooks/01")
    assert links(document) == [
        ("Coding rates", "coding rate"), ("tokens", "token"), ("Gram matrix", "Gram matrix"),
        ("entropies", "entropy"), ("LASSO", "LASSO"), ("rate", "rate"),
    ]  # fmt: skip
    assert document.astext() == before, "no word is lost"


def test_titles_code_links_and_tables_are_left_alone():
    table = nodes.table(
        "", nodes.tgroup("", nodes.tbody("", nodes.row("", nodes.entry("", paragraph("token")))))
    )
    marked = sphinx_chapters.term_reference("sets of vectors", "coding rate", "notebooks/01")
    document = page(
        nodes.title("", "The token"),
        paragraph(nodes.literal("", "token"), nodes.reference("", "", nodes.Text("token"))),
        table,
        paragraph(marked, " and the coding rate"),
    )
    sphinx_chapters.link_first_uses(document, TERMS, "notebooks/01")
    assert links(document) == [("sets of vectors", "coding rate")]


def test_terms_of_the_books_glossary():
    terms = sphinx_chapters.glossary_terms((ROOT / "book" / "glossary.md").read_text(encoding="utf-8"))
    assert {"coding rate", "MSSA", "Sylvester's identity"} <= set(terms)
    assert len(terms) > 60
    assert set(terms) >= sphinx_chapters.AMBIGUOUS
    assert sphinx_chapters.pattern(tuple(terms))


@pytest.mark.parametrize(
    ("day", "alpha"), [((1, 1, 1), 0), ((0, 0, 0), 1), ((0.5, 0.5, 0.5), 0.5), ((0, 0.45, 0.7), 1)]
)
def test_white_is_clear_and_dark_is_light(day, alpha):
    night = sphinx_chapters.on_dark(np.array([[day]], dtype=float))[0, 0]
    assert night[3] == pytest.approx(alpha)
    if alpha:
        ground = night[:3] * night[3] + 0.07 * (1 - night[3])
        assert ground.max() >= 0.45, "to be read on black"
        assert (np.argsort(ground[:3]) == np.argsort(day)).all() or len(set(day)) == 1, "of the same hue"


def test_an_image_of_class_ink_gets_a_twin_and_others_do_not(tmp_path):
    for name in ("a", "b"):
        Image.new("RGB", (4, 3), "white").save(tmp_path / f"{name}.png")
    document = page(
        nodes.figure("", nodes.image(uri="/a.png", alt="A line", classes=["ink"]), nodes.caption("", "c")),
        nodes.image(uri="/b.png", classes=[]),
    )
    sphinx_chapters.give_twins(document, tmp_path)
    images = [(image["uri"], image["classes"]) for image in document.findall(nodes.image)]
    assert images == [("/a.png", ["ink", "ink-light"]), ("/a-dark.png", ["ink", "ink-dark"]), ("/b.png", [])]
    assert next(iter(document.findall(nodes.figure)))[1]["alt"] == "A line"
    twin = Image.open(tmp_path / "a-dark.png")
    assert (twin.mode, twin.size, twin.getextrema()[3]) == ("RGBA", (4, 3), (0, 0))


@pytest.mark.parametrize(
    ("page", "number"),
    [
        ("notebooks/09_a", 9),
        ("notebooks/09b_a", "9b"),
        ("notebooks/10_a", 10),
        ("notebooks/own_data", None),
        ("book/09_a", None),
    ],
)
def test_a_chapter_has_the_number_of_its_file(page, number):
    assert sphinx_chapters.own_number(page) == number


def test_a_page_between_two_chapters_moves_none():
    """Sphinx has counted 9, 10, 11; the files say 9, 9b, 10, and titles, figures and equations follow them."""
    pages = [f"notebooks/{name}" for name in ("09_a", "09b_b", "10_c")]
    titles = {page: nodes.title("", "", secnumber=[n]) for n, page in enumerate(pages, 9)}
    tocs = {
        page: nodes.bullet_list("", nodes.reference("", "", secnumber=[n]), nodes.reference("", ""))
        for n, page in enumerate(pages, 9)
    }
    env = SimpleNamespace(
        toc_secnumbers={page: {"": (n,), "#deep": ()} for n, page in enumerate(pages, 9)} | {"book/x": {}},
        toc_fignumbers={
            pages[1]: {"figure": {"fig-b": (10, 2)}},
            pages[2]: {"displaymath": {"eq-c": (11, 1)}},
        },
        titles=titles,
        tocs=tocs,
    )
    assert sphinx_chapters.number_by_file(None, env) == pages[1:]
    assert [env.toc_secnumbers[page] for page in pages] == [{"": (n,), "#deep": ()} for n in (9, "9b", 10)]
    assert [titles[page]["secnumber"] for page in pages] == [[9], ["9b"], [10]]
    assert [[link.get("secnumber") for link in tocs[page]] for page in pages[1:]] == [
        [["9b"], None],
        [[10], None],
    ]
    assert env.toc_fignumbers[pages[1]]["figure"]["fig-b"] == ("9b", 2)
    assert env.toc_fignumbers[pages[2]]["displaymath"]["eq-c"] == (10, 1)


def test_pictures_in_a_figure_stay_and_what_is_written_around_them_turns(tmp_path):
    figure = np.full((60, 90, 3), 255, np.uint8)
    figure[10:50, 10:50] = (40, 20, 90)  # a picture
    figure[20:30, 25:35] = 255  # with something white inside it
    figure[45:50, 20:30] = 255  # and at its edge
    figure[5, 60:80] = 0  # a line
    figure[20:24, 60:64] = 0  # a letter
    Image.fromarray(figure).save(tmp_path / "a.png")
    twin = Image.open(sphinx_chapters.make_twin(tmp_path / "a.png", pictures=True))
    assert twin.mode == "P", "few colours: every reader loads it"
    night = np.asarray(twin.convert("RGBA"))
    assert np.abs(night[10:50, 10:50, :3].astype(int) - figure[10:50, 10:50]).max() <= 8
    assert (night[10:50, 10:50, 3] == 255).all()
    assert night[5, 60:80, :3].min() > 200
    assert night[20:24, 60:64, :3].min() > 200
    around = np.ones((60, 90), bool)
    around[10:50, 10:50] = around[5, 60:80] = around[20:24, 60:64] = False
    assert (night[around, 3] == 0).all(), "the paper is clear"
    turned = np.asarray(Image.open(sphinx_chapters.make_twin(tmp_path / "a.png")))
    assert turned[15, 15, :3].tolist() != figure[15, 15].tolist(), (
        "lightened, where nothing else was asked for"
    )
