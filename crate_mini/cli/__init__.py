"""``crate-mini``: train, evaluate, measure layer by layer, inspect and look at data from the command line.

Every command is a module of its own with one public function, ``fill``, which gives the command its options. A module
is imported when its command is asked for: what needs no PyTorch does not wait for it.

How a command ends:

====  ===================================================================================
0     it did what was asked
1     ``doctor`` or ``data --check`` found something wrong; with a traceback: a fault of
      crate-mini, please report it
2     it cannot do what was asked; one line on standard error says why
130   it was stopped (Ctrl-C, or the signal that ends a job); the same line again goes on
141   what read its output has gone, as in ``crate-mini data | head -1``
====  ===================================================================================
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

import crate_mini
from crate_mini import progress
from crate_mini.cli.said import Parser, UsageError, in_flags, note, note_once, sentence

COMMANDS = {
    "train": "train a model; run it again to resume",
    "evaluate": "accuracy, segmentation and more: measure weights",
    "layerwise": "R^c, R and sparsity by layer and head",
    "inspect": "see what every head sees in photos of your own",
    "export": "write a model as a file that runs without this package",
    "data": "which data sets are here, and a look at one",
    "import": "what a weights file of the authors' code holds, and a copy that we can load",
    "doctor": "what this machine has, and what is wrong with it",
    "completion": "let the shell complete commands and flags",
}
"""Every command, and what it is for."""
MODULES = {"import": "import_official"}
"""Modules that are not called as their command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point. Returns how the command ended; the module's docstring has the table."""
    for stream in (
        sys.stdout,
        sys.stderr,
    ):  # a name that the terminal cannot show is escaped, and ends nothing
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    words = sys.argv[1:] if argv is None else argv
    flags: dict[str, str] = {}
    told: set[str] = set()
    try:
        arguments = parser(words).parse_args(words)
        flags = arguments.parser.flags
        with warnings.catch_warnings(), progress.shown():
            warnings.showwarning = lambda message, *_, **__: note_once(in_flags(str(message), flags), told)
            return arguments.run(arguments) or 0
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or Python complains once more at its end
        return 141
    except KeyboardInterrupt as stop:
        print(file=sys.stderr)
        note(str(stop) or "stopped; run the same command again to go on or start over")
        return 130
    except Exception as error:
        said = str(error) if isinstance(error, UsageError) else sentence(error, flags)
        if said is None:
            raise
        note(said)
        return 2


def parser(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The whole command line; or, for the words of a line, all commands and the options of the one in it."""
    top = Parser(prog="crate-mini", description=__doc__.split("\n\n")[0])
    top.add_argument("--version", action="version", version=f"crate-mini {crate_mini.__version__}")
    commands = top.add_subparsers(required=True, metavar="command")
    asked = None if words is None else next((word for word in words if word in COMMANDS), "")
    for name, told in COMMANDS.items():
        command = commands.add_parser(name, help=told)
        if asked in (None, name):
            import_module(f"crate_mini.cli.{MODULES.get(name, name)}").fill(command)
    return top
