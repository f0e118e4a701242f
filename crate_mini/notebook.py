"""What notebooks show besides figures: the package's own source, so that a page cannot drift from what runs."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any


def show_source(*things: Callable | type, body_only: bool = False) -> Any:
    """Source of functions, methods or classes as highlighted code, for the last line of a cell.

    The file that it stands in is named above it, once where several come from the same.

    Args:
        things: what to show, one below the other.
        body_only: leave out the docstring, where the page says the same in its own words.
    """
    from IPython.display import Code

    blocks, last = [], None
    for thing in things:
        file = f"# {inspect.getmodule(thing).__name__.replace('.', '/')}.py"
        blocks.append((f"{file}\n" if file != last else "") + source(thing, body_only=body_only))
        last = file
    return Code("\n\n\n".join(blocks), language="python")


def source(thing: Callable | type, *, body_only: bool = False) -> str:
    """Source of a function, method or class, moved to the left margin; without its own docstring if asked."""
    text = textwrap.dedent(inspect.getsource(thing)).rstrip()
    if not body_only:
        return text
    (definition,) = ast.parse(text).body
    first = definition.body[0]
    if ast.get_docstring(definition) is None or len(definition.body) == 1:
        return text
    lines = text.split("\n")
    rest = lines[first.end_lineno :]
    while rest and not rest[0].strip():
        rest.pop(0)
    return "\n".join(lines[: first.lineno - 1] + rest)
