"""What stands in the head of a page, taken from its text."""

from __future__ import annotations

import types
from pathlib import Path

import pytest
from docutils.core import publish_doctree
from sphinx_head import LONGEST, PICTURE, POLICY, add_tags, description_of, shortened

ROOT = Path(__file__).resolve().parent.parent


def test_a_description_is_the_first_paragraph_of_the_text():
    text = "Title\n=====\n\n.. note::\n   Not this one, which stands in a box beside the text itself.\n\nToo short.\n\n"
    text += "Counting balls that cover a cloud leads to one *number* of it, its rate.\n\nAnother paragraph.\n"
    assert (
        description_of(publish_doctree(text))
        == "Counting balls that cover a cloud leads to one number of it, its rate."
    )
    assert description_of(publish_doctree("Title\n=====\n")) == ""


def test_a_long_one_ends_with_a_sentence():
    text = "One sentence of some length, with 3.5 in it. " * 9
    cut = shortened(text.strip())
    assert len(cut) <= LONGEST
    assert cut.endswith("with 3.5 in it.")
    assert cut.count("One sentence") == 4
    words = shortened("word " * 100)
    assert len(words) <= LONGEST
    assert words.endswith("word…")


def test_the_policy_lets_nothing_in_from_outside():
    assert "http" not in POLICY
    assert "*" not in POLICY
    assert "unsafe-eval" not in POLICY


@pytest.mark.parametrize("base", ["https://someone.github.io/book/", ""])
def test_a_page_with_a_public_address_shows_a_picture_beside_its_link(base):
    config = types.SimpleNamespace(project="CRATE", html_title="The book", html_baseurl=base)
    context = {"title": "Rates <em>&amp; balls</em>", "body": ""}
    page = publish_doctree(
        "Title\n=====\n\nCounting balls that cover a cloud leads to one number of it, its rate.\n"
    )
    add_tags(types.SimpleNamespace(config=config), "notebooks/01_a", "page.html", context, page)
    tags = context["metatags"]
    assert 'property="og:title" content="Rates &amp; balls"' in tags
    assert tags.count("Counting balls") == 2
    assert (f'property="og:url" content="{base}notebooks/01_a.html"' in tags) == bool(base)
    assert (f'property="og:image" content="{base}{PICTURE}"' in tags) == bool(base)
    assert (ROOT / "book" / "_assets" / Path(PICTURE).name).exists()
