"""The error of data that cannot be used. It stands on the ground: who tells of it need not load what raises it."""

from __future__ import annotations


class DataError(RuntimeError):
    """A data set that is not there, not whole, or not readable; the message says what to do.

    Names of files that are no valid text are written with escapes, so that every message can be printed.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """The text with escapes for bytes of file names that are no text."""
    return text.encode("utf-8", "backslashreplace").decode()
