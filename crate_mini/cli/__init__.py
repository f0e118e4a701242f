"""``crate-mini``: train, evaluate, measure layer by layer, inspect and look at data from the command line.

Every command is a module of its own with one public function, ``add``, which adds it to the parser.

How a command ends:

====  ===================================================================================
0     it did what was asked
1     ``doctor`` found something wrong; with a traceback: a fault of crate-mini, please report it
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

import crate_mini
from crate_mini.cli import (
    completion,
    data,
    doctor,
    evaluate,
    export,
    import_official,
    inspect,
    layerwise,
    train,
)
from crate_mini.cli.said import Parser, UsageError, in_flags, note, sentence

COMMANDS = (train, evaluate, layerwise, inspect, export, data, import_official, doctor, completion)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point. Returns how the command ended; the module's docstring has the table."""
    for stream in (
        sys.stdout,
        sys.stderr,
    ):  # a name that the terminal cannot show is escaped, and ends nothing
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    flags: dict[str, str] = {}
    try:
        arguments = parser().parse_args(argv)
        flags = arguments.parser.flags
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: note(in_flags(str(message), flags))
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
        told = str(error) if isinstance(error, UsageError) else sentence(error, flags)
        if told is None:
            raise
        note(told)
        return 2


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = Parser(prog="crate-mini", description=__doc__.split("\n\n")[0])
    top.add_argument("--version", action="version", version=f"crate-mini {crate_mini.__version__}")
    top.set_defaults(top=top)
    commands = top.add_subparsers(required=True, metavar="command")
    for command in COMMANDS:
        command.add(commands)
    return top
