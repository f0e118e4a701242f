"""A Sphinx extension that puts the repository's address into the pages, if there is one: see ``address.py``.

Buttons to the repository, to its issues and to Colab, what is to be typed, and the address that a page gives as its
own. With none, nothing of this is there.
"""

from __future__ import annotations

import address
from sphinx.application import Sphinx
from sphinx.config import Config


def set_buttons(app: Sphinx, config: Config) -> None:
    """Tell the theme where its buttons lead."""
    url = address.of_book()
    options = dict(config.html_theme_options)
    options |= {
        "repository_url": url or "",
        "repository_branch": address.BRANCH,
        "use_repository_button": bool(url),
        "use_issues_button": bool(url),
        "launch_buttons": {"notebook_interface": "classic"},
    }
    # the cell that installs the package on Colab knows the address only where it was written
    if url and url == address.written() and address.colab_of(url, ""):
        options["launch_buttons"] |= {"colab_url": "https://colab.research.google.com"}
    config.html_theme_options = options
    config.html_baseurl = (url and address.pages_of(url)) or ""


def fill_blocks(app: Sphinx, name: str, source: list[str]) -> None:
    """What is to be typed, with the address that the pages take."""
    source[0] = address.with_blocks(source[0], address.of_book())


def setup(app: Sphinx) -> dict[str, object]:
    """Sphinx calls this when it loads the extension."""
    app.connect("config-inited", set_buttons, priority=1)
    app.connect("source-read", fill_blocks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
