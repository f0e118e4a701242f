"""Scripts that outputs of one page share: each carries what it needs, and the first that runs serves them all.

A notebook shows its outputs one by one, in any order, so each of them must stand alone. In the book all stand on one
page: there a Sphinx extension (``tools/sphinx_shared.py``) puts the script into a file that is loaded once.
"""

from __future__ import annotations

import hashlib


def library(text: str, function: str) -> tuple[str, str]:
    """A script element that defines ``function``, and how a script after it calls that function.

    Args:
        text: plain JavaScript; wrapped, its names neither leak into the page nor clash with another library's.
        function: the one of its functions that a page calls.
    """
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    place = f'(window.crateScripts ??= {{}})["{name}"]'
    body = f"{place} ??= (() => {{\n{text}\nreturn {function};\n}})();"
    return f'<script data-library="{name}">{body}</script>', f'crateScripts["{name}"]'
