"""A Sphinx extension that makes the rendered book need no network: math comes from the book's own folder.

MathJax is taken from the installed package ``sphinx-mathjax-offline`` and its one-file SVG output is copied into
the built pages. SVG, not the default of HTML with web fonts: browsers differ in whether a page opened from disk
may load fonts, and paths need none. Only what a page can ask for is copied (3 MB of the package's 24).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.fileutil import copy_asset

PARTS = ("tex-svg.js", "input/tex/extensions", "a11y")


def mathjax_folder() -> Path:
    """Where the installed package keeps MathJax."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise ExtensionError("sphinx-mathjax-offline is not installed: pip install 'crate-mini[book]'")
    folder = Path(spec.origin).parent / "static" / "mathjax"
    missing = [part for part in PARTS if not (folder / part).exists()]
    if missing:
        raise ExtensionError(
            f"sphinx-mathjax-offline has no {', '.join(missing)}; use the version in requirements.lock"
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


def setup(app: Sphinx) -> dict[str, object]:
    """Sphinx calls this when it loads the extension."""
    mathjax_folder()
    app.config.mathjax_path = "mathjax/tex-svg.js"
    app.connect("build-finished", copy_mathjax)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
