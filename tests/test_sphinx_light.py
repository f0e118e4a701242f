"""What a page would load for nothing is not there, and all that it needs is."""

from __future__ import annotations

import types

import pytest
import sphinx_light
from docutils import nodes

SCRIPT = (
    'var a={"bars":[448,512,["navicon"],"f0c9","M0 96C0"],sun:[512,512,[9728],"f185",["M1","M2"]],'
    '"file-pdf":[512,512,[],"f1c1","M64 464"]};run(a)'
)


@pytest.mark.parametrize(
    ("page", "kept"),
    [
        ('<i class="fa-solid fa-bars"></i>', '{"bars":[448,512,["navicon"],"f0c9","M0 96C0"],}'),
        ('<i class="fas fa-navicon"></i>', '{"bars":[448,512,["navicon"],"f0c9","M0 96C0"],}'),
        ('<i class="fa-solid fa-sun fa-lg"></i>', '{sun:[512,512,[9728],"f185",["M1","M2"]],}'),
        ('<i class="fas fa-file-pdf"></i>', '{"file-pdf":[512,512,[],"f1c1","M64 464"]}'),
        ('<i class="fas fa-file"></i>', "{}"),
    ],
)
def test_icons_that_nobody_names_are_taken_out(page, kept):
    assert sphinx_light.only_icons(SCRIPT, sphinx_light.named([page])) == f"var a={kept};run(a)"


@pytest.mark.parametrize("formula", [nodes.math("", "x"), nodes.math_block("", "x"), None])
def test_mathjax_stays_where_a_formula_is(formula):
    page = nodes.document(None, None)
    if formula is not None:
        page += nodes.paragraph("", "", formula)
    context = {"script_files": ["_static/mathjax/tex-svg.js", "progress.js"]}
    sphinx_light.drop_mathjax(None, "page", "page.html", context, page)
    assert context["script_files"] == ["_static/mathjax/tex-svg.js"] * (formula is not None) + ["progress.js"]


def test_the_index_is_loaded_by_the_search_alone(tmp_path):
    scripts = tmp_path / "_static" / "scripts"
    scripts.mkdir(parents=True)
    (scripts / "fontawesome.js").write_text(SCRIPT)
    (scripts / "theme.js").write_text('add("fa-solid fa-bars")')
    head = '<script src="progress.js"></script>'
    whole = head + "".join(
        f'\n  <script src="{name}"></script>'
        for name in ("../_static/searchtools.js", "../_static/language_data.js?v=1", "../searchindex.js")
    )
    for name in ("page", "search"):
        (tmp_path / f"{name}.html").write_text(whole)
    sphinx_light.lighten(types.SimpleNamespace(outdir=tmp_path), None)
    assert (tmp_path / "page.html").read_text() == head
    assert (tmp_path / "search.html").read_text() == whole
    assert '"bars"' in (scripts / "fontawesome.js").read_text()
    assert "sun" not in (scripts / "fontawesome.js").read_text()
