"""Errors and how they are said. They stand on the ground: who tells of one need not load what raises it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

ALL_AT_ONCE = 20
"""A list of more names than this hides the one that was meant."""


class DataError(RuntimeError):
    """A data set that is not there, not whole, or not readable; the message says what to do.

    Names of files that are no valid text are written with escapes, so that every message can be printed.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """The text with escapes for bytes of file names that are no text."""
    return text.encode("utf-8", "backslashreplace").decode()


def unknown_name(kind: str, name: str, known: Iterable[str], where: str = "") -> str:
    """A sentence on a name that nothing has: what may have been meant, and what there is.

    Args:
        kind: of what, such as ``"model"``.
        name: as it was given.
        known: all names that would have been right.
        where: what lists them all, for names that are too many for a sentence.
    """
    known = list(known)
    close = difflib.get_close_matches(str(name), known, 1)
    said = [f"unknown {kind} {name!r}"]
    if close:
        said.append(f"did you mean {close[0]}?")
    if len(known) <= ALL_AT_ONCE:
        said.append(f"known are {', '.join(known)}")
    elif not close:
        said.append(f"there are {len(known)}, such as {', '.join(known[:3])}")
    if len(known) > ALL_AT_ONCE and where:
        said.append(f"{where} has all")
    return "; ".join(said)
