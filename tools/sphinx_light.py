"""A Sphinx extension that takes off the pages what they would load for nothing.

*MathJax*, 2.1 MB, from pages without a formula: Sphinx gives it to a page as soon as one that it lists has a formula.

*Icons*: the theme's script carries all two thousand of Font Awesome, 1.5 MB, of which this book shows some twenty.
Those that no page and no script names are taken out of it.

*The index of the search*, .3 MB, from all pages but that of the search itself: the theme brings it for results while
one types, which this book has not turned on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

LAST = 999  # after every other extension has had its say
ICON = re.compile(r'"?([\w-]+)"?:\[\d+,\d+,\[([^\]]*)\],"[0-9a-f]+",(?:"[^"]*"|\[[^\]]*\])\],?')
"""An icon in the theme's script: its name, its size, other names, its letter, its one or two paths."""
NAMED = re.compile(r"\bfa-([a-z0-9]+(?:-[a-z0-9]+)*)")
SEARCH = re.compile(
    r'\s*<script src="(?:\.\./)*(?:_static/searchtools|_static/language_data|searchindex)\.js[^"]*"></script>'
)


def drop_mathjax(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Leave MathJax off a page without a formula."""
    if doctree is None or any(doctree.findall(lambda n: isinstance(n, nodes.math | nodes.math_block))):
        return
    context["script_files"] = [
        file
        for file in context.get("script_files", ())
        if "mathjax" not in f"{getattr(file, 'filename', file)} {getattr(file, 'attributes', '')}".lower()
    ]


def named(texts: Iterable[str]) -> set[str]:
    """Names of icons that pages or scripts ask for, and other words of that form."""
    return {name for text in texts for name in NAMED.findall(text)}


def only_icons(script: str, names: set[str]) -> str:
    """The theme's script with the icons of these names alone."""

    def kept(found: re.Match[str]) -> str:
        others = re.findall(r'"([^"]+)"', found[2])
        return found[0] if names.intersection([found[1], *others]) else ""

    return ICON.sub(kept, script)


def lighten(app: Sphinx, exception: Exception | None) -> None:
    """Do so with the written pages."""
    script = Path(app.outdir) / "_static" / "scripts" / "fontawesome.js"
    if exception is not None or not script.exists():
        return
    texts = []
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        texts.append(text)
        if page.name != "search.html" and SEARCH.search(text):
            page.write_text(SEARCH.sub("", text), encoding="utf-8")
    texts += [other.read_text(encoding="utf-8") for other in script.parent.glob("*.js") if other != script]
    whole = script.read_text(encoding="utf-8")
    script.write_text(only_icons(whole, named(texts)), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, object]:
    """Sphinx calls this when it loads the extension."""
    app.connect("html-page-context", drop_mathjax, priority=LAST)
    app.connect("build-finished", lighten)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
