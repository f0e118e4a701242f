"""What notebooks show besides figures: the package's own source, and texts with numbers worked out beforehand."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

from crate_mini.tables import number


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


_FIELD = re.compile(r"(?<!:::)(?<![\\\w}^_{])\{([A-Za-z]\w*)(?::([^{}`\s]*))?\}(?![`{])")
_ENDS_ALIKE = re.compile(r"(?<!from )(?<![\w.,−+])([−+]?\d[\d.,]*%?)\sto\s\1(?![\w.,]*\d)")
_PER_CENT = re.compile(r"(?<=\d)%(?=[\s.,;:)]|$)")


def say(text: str, **facts: Any) -> Any:
    r"""A text with numbers as Markdown, for the last line of a cell: ``{name}`` or ``{name:.2f}`` is a fact's value.

    Roles such as ``{eq}``, directives such as ``:::{note}`` and the braces of formulas stay as they are. Write the text
    as a raw string, and formulas with letters in single braces (``\sqrt{x}``) as usual; only braces that stand for
    themselves are fields. A range whose two ends are written alike, ``0.69 to 0.69``, becomes one number, and 12% is
    written 12 %, as everywhere in the book.

    Args:
        text: Markdown.
        facts: name -> number or words. Numbers are written by the field's format (three significant digits where it
            has none; ``:e`` is a power of ten), with a true minus sign.

    Raises:
        KeyError: a field has no fact.
    """
    from IPython.display import Markdown

    def filled(field: re.Match[str]) -> str:
        name, form = field[1], field[2]
        if name not in facts:
            raise KeyError(f"the text has a field {{{name}}}, and the facts are {', '.join(facts) or 'none'}")
        value = facts[name]
        return value if isinstance(value, str) else number(value, form or ".3g")

    said = _FIELD.sub(filled, textwrap.dedent(text).strip())
    return Markdown(_PER_CENT.sub("\N{NO-BREAK SPACE}%", _ENDS_ALIKE.sub(r"\1", said)))
