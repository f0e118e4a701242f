"""Tables of a page: numbers on the right, units in the head, what a number may be off by small beside it.

A table is Markdown, so that it looks like those of the text, on the page, in JupyterLab and in Colab.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_ONE = r"[−+]?\d[\d.,]*"
_ENDS = rf"{_ONE}(?:(?:,| to| and) {_ONE})*"
WRITTEN_NUMBER = re.compile(rf"{_ENDS}(?: \({_ENDS}\))?")
"""A number, several (``2.18, 2.15``), a range (``70 to 77``), or a mean and its range (``0.79 (0.77 to 0.83)``)."""


class PlusMinus(NamedTuple):
    """A number and what it may be off by: a standard error, half an interval.

    Attributes:
        value: the number.
        by: the distance to either side; not negative.
    """

    value: float
    by: float


def table(rows: Sequence[Mapping[str, Any]], formats: Mapping[str, str] | None = None) -> Any:
    """Rows as a Markdown table, for the last line of a cell.

    A column of numbers, ranges and blanks stands on the right, one of words on the left. Put units and percent signs
    into the heads.

    Args:
        rows: head of a column -> cell; all with the same heads in the same order. A cell is text, a number,
            :class:`PlusMinus`, or None where there is nothing to say.
        formats: head -> format of its numbers, such as ``".2f"``; three significant digits where none is given.

    Returns:
        An :class:`IPython.display.Markdown`; its text is ``.data``.

    Raises:
        ValueError: there are no rows, a row has other heads than the first, or ``formats`` names a
            column that is not there.
    """
    from IPython.display import Markdown

    return Markdown(markdown_table(rows, formats))


def markdown_table(rows: Sequence[Mapping[str, Any]], formats: Mapping[str, str] | None = None) -> str:
    """The text of :func:`table`."""
    if not rows:
        raise ValueError("a table needs at least one row")
    heads, formats = list(rows[0]), dict(formats or {})
    for row in rows:
        if list(row) != heads:
            raise ValueError(f"every row has the heads {heads}, in that order; got {list(row)}")
    if unknown := set(formats) - set(heads):
        raise ValueError(f"formats for {sorted(unknown)}, but the columns are {heads}")
    columns = [[row[head] for row in rows] for head in heads]
    right = [
        all(not isinstance(cell, str) or not cell or _is_number(cell) for cell in column)
        for column in columns
    ]
    lines = [
        heads,
        ["---:" if numbers else ":---" for numbers in right],
        *([written(row[head], formats.get(head, ".3g")) for head in heads] for row in rows),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _is_number(cell: str) -> bool:
    return WRITTEN_NUMBER.fullmatch(cell.replace("\N{NO-BREAK SPACE}", " ")) is not None


def written(cell: Any, form: str = ".3g") -> str:
    """One cell: text as it is, numbers with a true minus sign, an en dash for None."""
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell.replace("|", "\\|")
    if isinstance(cell, PlusMinus):
        return f"{number(cell.value, form)} <small>± {number(cell.by, form)}</small>"
    return number(cell, form)


def number(value: Any, form: str = ".3g") -> str:
    r"""A number for a text: by Python's format, with a true minus sign, none before zero; ``"e"`` is a power of ten.

    >>> number(-0.25, ".1f"), number(3.2e-7, "e"), number(0.123, ".0%")
    ('−0.2', '$3 \\times 10^{-7}$', '12%')
    """
    if form == "e":
        digit, exponent = f"{float(value):.0e}".split("e")
        if float(value) == 0:
            return "0"
        return f"${digit} \\times 10^{{{int(exponent)}}}$"
    text = format(value if isinstance(value, int) else float(value), form).replace("-", "−")
    return text.lstrip("−+") if not text.strip("−+0.%") else text
