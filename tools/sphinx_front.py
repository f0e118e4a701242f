"""A Sphinx extension for the front page: the viewer by a directive, ``{glance}``, and every number by its name.

The numbers are substitutions, ``{{ pets_crate }}``, filled with what ``crate_mini.chapters.front_page.facts`` reads
from the results when the book is built. A name that is not there is an error of the build.
"""

from __future__ import annotations

from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.docutils import SphinxDirective

from crate_mini.chapters import front_page


class ShowGlance(SphinxDirective):
    """The viewer of the front page."""

    has_content = False
    option_spec: ClassVar[dict] = {}

    def run(self) -> list[nodes.Node]:
        """Docutils calls this."""
        return [nodes.raw("", front_page.glance()._repr_html_(), format="html")]


def fill(app: Sphinx, config: Config) -> None:
    """Let pages ask for numbers by name."""
    config.myst_substitutions = dict(config.myst_substitutions) | front_page.facts()


def setup(app: Sphinx) -> dict[str, object]:
    """Sphinx calls this when it loads the extension."""
    app.add_directive("glance", ShowGlance)
    app.connect("config-inited", fill)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
