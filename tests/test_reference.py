"""The reference in the book: made from docstrings, whole, and without a name that leads nowhere."""

from __future__ import annotations

import io
import re
from pathlib import Path

import build_book
import pytest
from sphinx.application import Sphinx

import crate_mini

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "book" / "api").glob("*.md"))
# what a reader of the package does not call: the book's own, the command line, what stands below everything
NOT_TOLD = {
    "chapters", "checkpoints", "cli", "distributed", "errors", "exercises", "figures", "lock", "logbook", "memory",
    "noise", "notebook", "operations", "outputs", "playground", "progress", "provenance", "tables",
}  # fmt: skip

GOOD = """
Page
====

.. public-names::

   {names}

.. automodule:: crate_mini.rates
   :members: coding_rate, compression_rate

.. automodule:: crate_mini.operators
   :members: ISTA

.. automodule:: crate_mini.data
   :members: IGNORE, ImageSet

.. autoclass:: crate_mini.model.EncoderConfig

From elsewhere: :py:class:`ISTA`, :py:data:`crate_mini.data.IGNORE`; a module of a package:
:py:mod:`crate_mini.data.imageset`; not told: :py:func:`crate_mini.inspector.strip.layer_strip`; not ours:
:py:class:`torch.utils.data.DataLoader`.
"""
BAD = """
Page
====

.. py:module:: crate_mini.rates

Nowhere: :py:func:`coding_rte`, :py:func:`crate_mini.rates.coding_rte`, :py:mod:`crate_mini.rate`,
:py:class:`torch.nn.Modul`.
"""


def render(folder: Path, text: str) -> tuple[str, list[str]]:
    """A page as text, and the warnings on the way."""
    (folder / "source").mkdir()
    (folder / "source" / "index.rst").write_text(text, encoding="utf-8")
    warnings = io.StringIO()
    settings = {"extensions": ["sphinx_reference"], "nitpicky": True}
    app = Sphinx(
        folder / "source", None, folder / "out", folder / "trees", "text", confoverrides=settings, status=None,
        warning=warnings,
    )  # fmt: skip
    app.build()
    # one process renders several times here, of which Sphinx warns
    told = [line for line in warnings.getvalue().splitlines() if "already registered" not in line]
    return (folder / "out" / "index.txt").read_text(encoding="utf-8"), told


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> str:
    names = " ".join(name for name in crate_mini.__all__ if name != "__version__")
    text, warnings = render(tmp_path_factory.mktemp("good"), GOOD.format(names=names))
    # what these few pieces refer to besides each other
    assert [w for w in warnings if "reference target not found" not in w] == []
    wanted = "ISTA|IGNORE|imageset|layer_strip|DataLoader"
    assert [w for w in warnings if re.search(wanted, w.rpartition(":")[2])] == []
    return re.sub(r"\s+", " ", text)


def test_google_form_is_taken_at_its_word(good):
    assert "**eps_sq** -- \\varepsilon^2 > 0, the squared precision." in good
    assert "**keep, move** --" in good, "several names on one line"
    assert '"(...)", one rate for each set of tokens, in float64 whatever the dtype' in good
    assert '**ValueError** -- if "Z" has fewer than two dimensions' in good


def test_constants_have_their_docstring_and_value_where_a_package_takes_them_from_a_module(good):
    (told,) = re.findall(r"crate_mini\.data\.IGNORE (.+?) class", good)
    assert told == (
        'Mask value of pixels that no score may count, such as the border ring of a trimap. Its value is "255".'
    )


def test_the_table_of_public_names(good):
    for name in crate_mini.__all__:
        assert name in good
    assert "evaluate_segmentation" in good
    assert 'Lossy coding rate of "n" tokens in "d" dimensions, in nats.' in good


def test_what_leads_nowhere_is_a_warning(tmp_path):
    _, warnings = render(tmp_path, BAD)
    targets = [re.search(r"target not found: ([\w.]+)", w)[1] for w in warnings]
    assert sorted(targets) == [
        "coding_rte",
        "crate_mini.rate",
        "crate_mini.rates.coding_rte",
        "torch.nn.Modul",
    ]


def test_a_public_name_cannot_be_left_out(tmp_path):
    names = " ".join(name for name in crate_mini.__all__ if name not in ("__version__", "record"))
    _, warnings = render(tmp_path, GOOD.format(names=f"{names} records").partition(".. automodule")[0])
    assert any("others: record, records" in line for line in warnings)


def test_every_module_is_told_once():
    told = re.findall(
        r"^\.\. automodule:: crate_mini\.(\w+)$", "".join(p.read_text() for p in PAGES), re.MULTILINE
    )
    there = {
        p.stem for p in (ROOT / "crate_mini").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    wanted = {name for name in there if not name.startswith("_")} - NOT_TOLD
    assert sorted(told) == sorted(wanted), "a module belongs on a page of book/api, or to what is not told"
    assert {f"book/api/{page.stem}" for page in PAGES} <= set(build_book.toc_entries())
