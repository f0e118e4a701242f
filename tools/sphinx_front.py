"""A Sphinx extension for the front page: the viewer by a directive, ``{glance}``, and every number by its name.

The numbers are substitutions, ``{{ pets_crate }}``, filled when the book is built: ours with what
``crate_mini.chapters.front_page.facts`` reads from the results, the paper's from the table of the scoreboard. A name
that is not there is an error of the build.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.docutils import SphinxDirective


class ShowGlance(SphinxDirective):
    """The viewer of the front page."""

    has_content = False
    option_spec: ClassVar[dict] = {}

    def run(self) -> list[nodes.Node]:
        """Docutils calls this."""
        from crate_mini.chapters import front_page  # with PyTorch: only for a book that has such a page

        return [nodes.raw("", front_page.glance()._repr_html_(), format="html")]


def paper() -> dict[str, str]:
    """The paper's score of either network, and in how many readings of its rule it is above an ellipse's."""
    from scoreboard import COARSE

    from crate_mini.chapters import front_page

    told = {}
    for kind, name in {"crate": "CRATE-S/8", "vit": "ViT-S/8, supervised"}.items():
        told[f"paper_{kind}"] = f"{COARSE[name]:.1f}"
        told[f"paper_{kind}_above"] = front_page.above_ellipse(COARSE[name])
    return told


def fill(app: Sphinx, config: Config) -> None:
    """Let pages ask for numbers by name, in a book that has a front page measured."""
    if (Path(app.srcdir) / "results" / "front_page.json").exists():
        from crate_mini.chapters import front_page

        config.myst_substitutions = dict(config.myst_substitutions) | front_page.facts() | paper()


def setup(app: Sphinx) -> dict[str, object]:
    """Sphinx calls this when it loads the extension."""
    app.add_directive("glance", ShowGlance)
    app.connect("config-inited", fill)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
