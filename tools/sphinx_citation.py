"""A Sphinx extension with the directive ``{how-to-cite}``: what ``CITATION.cff`` says, for a list of references.

The version is the package's, the address is there once one is written (``address.py``), and the commit is that of this
copy of the book, so that a number on a page can be found again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from crate_mini.results import commit

FILE = Path(__file__).resolve().parent.parent / "CITATION.cff"


def bibtex(cited: dict[str, Any], year: str, of_commit: str | None = None) -> str:
    """An entry for BibTeX from what a citation file says."""
    fields = {
        "title": f"{{{cited['title']}}}",
        "author": f"{{{' and '.join(author['name'] for author in cited['authors'])}}}",
        "year": year,
        "version": cited["version"],
        "license": cited["license"],
    }
    if url := cited.get("url") or cited.get("repository-code"):
        fields["url"] = url
    if of_commit:
        fields["note"] = f"commit {of_commit}"
    lines = [f"  {name:<7} = {{{value}}}" for name, value in fields.items()]
    return "@software{crate_mini,\n" + ",\n".join(lines) + "\n}"


class HowToCite(SphinxDirective):
    """The entry, ready to be copied."""

    has_content = False
    option_spec: ClassVar[dict] = {}

    def run(self) -> list[nodes.Node]:
        """Docutils calls this."""
        self.env.note_dependency(str(FILE))
        text = bibtex(
            yaml.safe_load(FILE.read_text(encoding="utf-8")), str(self.config.copyright)[:4], commit()
        )
        return [nodes.literal_block(text, text, language="bibtex")]


def setup(app: Sphinx) -> dict[str, object]:
    """Sphinx calls this when it loads the extension."""
    app.add_directive("how-to-cite", HowToCite)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
