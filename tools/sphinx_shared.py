"""A Sphinx extension that takes out of the pages what several outputs or several pages share, into files.

Networks that run in the page are carried as text, some 2 MB each: that is right for a notebook and for a file that is
sent to a friend, and too much for a page that many only read. In the book they lie in ``_static/weights/``, by what
they hold, so that two pages with the same network share a file, which is loaded when a reader asks for it. Each of
the files is a script, for a page that was opened from disk may load one, and may fetch nothing else.

The scripts of viewers and playgrounds lie in ``_static/shared/``: a page loads each once, however many of its outputs
need it. A style sheet stands where it is needed first.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

WEIGHTS = re.compile(r'<script type="text/plain" data-weights="(\d+)">([A-Za-z0-9+/=]+)</script>')
LIBRARY = re.compile(r'<script data-library="([0-9a-f]+)">(.*?)</script>', re.DOTALL)
STYLE = re.compile(r"<style>.*?</style>", re.DOTALL)


def move_out(body: str, folder: Path, address: str) -> str:
    """A page without its weights and scripts; these are written below ``folder``, which it knows as ``address``."""
    seen: set[str] = set()

    def written(kind: str, name: str, text: str, encoding: str) -> str:
        path = folder / kind / f"{name}.js"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding=encoding)
        return f"{address}/{kind}/{path.name}"

    def weights(found: re.Match[str]) -> str:
        number, text = found.groups()
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        text = f'(window.crateWeights ??= {{}})["{name}.js"] = "{text}";\n'
        file = written("weights", name, text, "ascii")
        return f'<script type="text/plain" data-weights="{number}" data-file="{file}"></script>'

    def script(found: re.Match[str]) -> str:
        name, text = found.groups()
        if name in seen:
            return ""
        seen.add(name)
        return f'<script src="{written("shared", name, text, "utf-8")}"></script>'

    def style(found: re.Match[str]) -> str:
        known = found[0] in seen
        seen.add(found[0])
        return "" if known else found[0]

    return STYLE.sub(style, LIBRARY.sub(script, WEIGHTS.sub(weights, body)))


def lighten(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Do so with a page that is about to be written."""
    if "body" in context and app.builder.format == "html":
        address = context["pathto"]("_static", 1)
        context["body"] = move_out(context["body"], Path(app.outdir) / "_static", address)


def setup(app: Sphinx) -> dict[str, object]:
    """Sphinx calls this when it loads the extension."""
    app.connect("html-page-context", lighten)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
