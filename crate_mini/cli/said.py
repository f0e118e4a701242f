"""What went wrong, said as on the command line: one sentence, in flags and files.

The package speaks to those who call it from Python: ``batch_size must be at least 1``, ``pass heads=6``. Here such a
message is said in the words of the command that was given. What a user can cause is an error of :data:`EXPECTED`, or of
memory; everything else is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from crate_mini.errors import DataError

EXPECTED = (ValueError, DataError, FloatingPointError, ImportError, OSError)
_NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "buffer size",
    "size calculation overflowed",
)


class UsageError(ValueError):
    """A line that cannot be read; the message says what is wrong and where help is."""


def file_or_folder(text: str) -> Path:
    """A type for argparse: a file or folder. An empty word, as of a variable that is not set, is not this folder."""
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError(f"must name a file or folder, got {text!r}")
    return Path(text)


class Formatter(argparse.HelpFormatter):
    """Narrow columns, and defaults that say something."""

    def __init__(self, prog: str, **settings: int | None) -> None:
        super().__init__(prog, max_help_position=24, **settings)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        told = action.default not in (None, False, argparse.SUPPRESS, "", []) and action.option_strings
        shown = action.help and told and "default" not in action.help
        return f"{action.help} (default: %(default)s)" if shown else action.help


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and which tells the command that it has read the line for it.

    Attributes:
        settable: arguments without a flag of their own, which ``--set NAME=VALUE`` sets.
    """

    settable: Collection[str] = ()

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **{"formatter_class": Formatter} | kwargs)
        self.set_defaults(parser=self)  # the deepest one wins

    def parse_args(self, args=None, namespace=None):
        """As argparse does it, but what is too much is told by the command that does not know it."""
        try:
            found, unknown = self.parse_known_args(args, namespace)
        except UsageError:
            # of a flag that is misspelt the value is taken for a word of its own; the flag is the mistake
            known, words = self._all_flags(), sys.argv[1:] if args is None else args
            flags = [str(word).partition("=")[0] for word in words if str(word).startswith("--")]
            if wrong := [flag for flag in flags if not any(k.startswith(flag) for k in known)]:
                self._refuse(wrong, known)
            raise
        if unknown:
            flags = [flag for action in found.parser._actions for flag in action.option_strings]
            found.parser._refuse(unknown, flags)
        return found

    def _all_flags(self) -> list[str]:
        """Flags of this parser and of all below."""
        flags = [flag for action in self._actions for flag in action.option_strings]
        kinds = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        below = [command for action in kinds for command in action.choices.values()]
        return flags + [flag for command in below for flag in command._all_flags()]

    def _refuse(self, unknown: Sequence[str], flags: Sequence[str]) -> NoReturn:
        close = {u: match[0] for u in unknown if (match := difflib.get_close_matches(u, flags, 1))}
        hint = f"; did you mean {' or '.join(close.values())}?" if close else ""
        self.error(f"there is no {', '.join(close or unknown)}{hint}")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        """As argparse does it, with the nearest of the choices before all of them."""
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            close = difflib.get_close_matches(str(value), choices, 1)
            hint = f"did you mean {close[0]}? It" if close else "it"
            raise argparse.ArgumentError(
                action, f"there is no {value!r}; {hint} is one of {', '.join(choices)}"
            )

    def error(self, message: str) -> NoReturn:
        """Raises UsageError, where argparse would print its usage and leave."""
        told = message.removeprefix("argument ").replace(": must ", " must ")
        raise UsageError(f"{told} (see {self.prog} --help)")

    @property
    def flags(self) -> dict[str, str]:
        """Names of arguments as the package has them, and the flags that set them."""
        named = [a for a in reversed(self._actions) if a.option_strings and a.dest != "help"]
        flags = {a.dest: a.option_strings[0] for a in named}  # the first flag, where several set one argument
        return {name: f"--set {name}" for name in self.settable} | flags


def sentence(error: BaseException, flags: Mapping[str, str] | None = None) -> str | None:
    """One sentence on an error that a user can cause; None where it is a fault of ours."""
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _NO_MEMORY)
    ):
        known = ("--batch-size", "--image-size", "--size", "--n")
        smaller = " or ".join(flag for flag in known if flag in (flags or {}).values())
        return f"there is not enough memory for this; {f'try a smaller {smaller}' if smaller else 'ask for less'}"
    if not isinstance(error, EXPECTED):
        return None
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror[:1].lower()}{error.strerror[1:]}"
    return in_flags(str(error), flags or {})


def in_flags(message: str, flags: Mapping[str, str]) -> str:
    """A message of the package with the arguments in it called by their flags.

    ``n=...`` and ``download=True`` become ``--n`` and ``--download``, ``heads=6`` becomes ``--heads 6``, ``batch_size``
    becomes ``--batch-size``, and so do the names in front of ``must``: ``epochs and lr must be positive``. What has no
    flag of its own is called by ``--set``: ``--set heads=6``.
    """
    for name in sorted(flags, key=len, reverse=True):
        word, flag = rf"(?<![^\s(,:]){re.escape(name)}", flags[name]
        if not flag.startswith("--set "):
            message = re.sub(rf"{word}=(?:\.\.\.|True\b)", flag, message)
        equals = "=" if flag.startswith("--set ") else " "
        message = re.sub(rf"{word}=(?=[\w'\"/.~-])", f"{flag}{equals}", message)
        if "_" in name:
            message = re.sub(rf"{word}(?![\w/.=-])", flag, message)
    opening, must, rest = message.partition(" must ")
    if must and re.fullmatch(r"[\w, -]+", opening):
        opening = re.sub(r"(?<![\w-])(?<!--set )\w+", lambda word: flags.get(word[0], word[0]), opening)
    return opening + must + rest


def note(message: str) -> None:
    """A line beside the result, where it does not get into a file or a pipe."""
    print(f"crate-mini: {message}", file=sys.stderr, flush=True)


def note_once(message: str, told: set[str]) -> None:
    """:func:`note`, unless it was told already; that a font lacks letters is said once, not letter by letter."""
    if re.search(r"^Glyph \d+ .* missing from", message):
        message = "no font here has all letters of these names; in the picture boxes stand for them"
    if message not in told:
        told.add(message)
        note(message)
