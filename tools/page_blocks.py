"""Pages with numbers: what stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->`` is worked out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping


def fill(text: str, blocks: Mapping[str, Callable[[], str]]) -> str:
    """The page's text with every block as it should be.

    Args:
        text: of the page.
        blocks: name -> Markdown between its marks.

    Raises:
        ValueError: a block has no place in the text.
    """
    for name, block in blocks.items():
        marks = re.compile(rf"(<!-- begin {name} -->\n).*?(\n<!-- end {name} -->)", re.DOTALL)
        if not marks.search(text):
            raise ValueError(f"no place for {name!r} in the page")
        text = marks.sub(lambda found, block=block: found[1] + "\n" + block() + "\n" + found[2], text)
    return text
