"""A Sphinx extension that takes the weights out of the pages, into files that are loaded when a reader asks for them.

A viewer that runs networks in the page carries them as text, some 2 MB each: that is right for a notebook and for a
file that is sent to a friend, and too much for a page that many only read. In the book they lie in
``_static/weights/``, by what they hold, so that two pages with the same network share a file. It is a script, for a
page that was opened from disk may load one, and may fetch nothing else.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

WEIGHTS = re.compile(r'<script type="text/plain" data-weights="(\d+)">([A-Za-z0-9+/=]+)</script>')
FOLDER = "_static/weights"


def move_out(body: str, folder: Path, address: str) -> str:
    """A page without its weights; these are written to ``folder``, which the page knows as ``address``."""

    def moved(found: re.Match[str]) -> str:
        number, text = found.groups()
        name = f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.js"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(
            f'(window.crateWeights ??= {{}})["{name}"] = "{text}";\n', encoding="ascii"
        )
        return f'<script type="text/plain" data-weights="{number}" data-file="{address}/{name}"></script>'

    return WEIGHTS.sub(moved, body)


def lighten(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Do so with a page that is about to be written."""
    if "body" in context and app.builder.format == "html":
        address = context["pathto"](FOLDER, 1)
        context["body"] = move_out(context["body"], Path(app.outdir) / FOLDER, address)


def setup(app: Sphinx) -> dict[str, object]:
    """Sphinx calls this when it loads the extension."""
    app.connect("html-page-context", lighten)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
