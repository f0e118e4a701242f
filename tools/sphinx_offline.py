"""A Sphinx extension that makes the rendered book need no network.

Math comes from the book's own folder: MathJax is taken from the installed package ``sphinx-mathjax-offline``,
and its one-file SVG output is copied into the built pages. SVG, not the default of HTML with web fonts:
browsers differ in whether a page opened from disk may load fonts, and paths need none. Only what a page can
ask for is copied, the voices for screen readers included: 8 MB of the package's 24.

Jupyter Book also puts the scripts of thebe (live code from a server elsewhere) on every page, twice, so that
each page begins with an error. This book does not use thebe, and its scripts are taken off again.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.fileutil import copy_asset

PARTS = ("tex-svg.js", "input/tex/extensions", "a11y", "sre")
LAST = 999  # after every other extension has had its say


def mathjax_folder() -> Path:
    """Where the installed package keeps MathJax."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise ExtensionError("sphinx-mathjax-offline is not installed: pip install 'crate-mini[book]'")
    folder = Path(spec.origin).parent / "static" / "mathjax"
    missing = [part for part in PARTS if not (folder / part).exists()]
    if missing:
        raise ExtensionError(
            f"{', '.join(missing)} not in {folder}; install the version in requirements.lock"
        )
    return folder


def copy_mathjax(app: Sphinx, exception: Exception | None) -> None:
    """Copy MathJax beside the pages once they are written."""
    if exception is not None or app.builder.format != "html":
        return
    source, target = mathjax_folder(), Path(app.outdir) / "_static" / "mathjax"
    for part in PARTS:
        destination = target / part
        destination.parent.mkdir(parents=True, exist_ok=True)
        copy_asset(source / part, destination if (source / part).is_dir() else destination.parent)


def drop_thebe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Leave the scripts and styles of thebe off the page."""
    for kind in ("script_files", "css_files"):
        kept = []
        for file in context.get(kind, ()):
            words = f"{getattr(file, 'filename', file)} {getattr(file, 'attributes', '')}"
            if "thebe" not in words.lower():
                kept.append(file)
        context[kind] = kept


def drop_thebe_configuration(app: Sphinx, doctree: Any, name: str) -> None:
    """Leave out the block in which a page would tell thebe which server to ask."""
    for node in list(doctree.findall(lambda n: n.tagname == "raw" and "text/x-thebe-config" in n.astext())):
        node.parent.remove(node)


def setup(app: Sphinx) -> dict[str, object]:
    """Sphinx calls this when it loads the extension."""
    mathjax_folder()
    app.config.mathjax_path = "mathjax/tex-svg.js"
    app.connect("build-finished", copy_mathjax)
    app.connect("doctree-resolved", drop_thebe_configuration, priority=LAST)
    app.connect("html-page-context", drop_thebe, priority=LAST)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
