"""``crate-mini``: train, evaluate, measure layer by layer, inspect and look at data from the command line.

Every command is a module of its own with one public function, ``add``, which adds it to the parser.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import crate_mini
from crate_mini.cli import data, evaluate, import_official, inspect, layerwise, train
from crate_mini.data import DataError
from crate_mini.weights import CheckpointError

COMMANDS = (train, evaluate, layerwise, inspect, data, import_official)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point. Returns 0, or 2 with one line on standard error where the input was at fault."""
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (ValueError, DataError, CheckpointError, FloatingPointError, ImportError, OSError) as error:
        print(f"crate-mini: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        told = str(stop) or "stopped; run the same command again to go on or start over"
        print(f"\ncrate-mini: {told}", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="crate-mini", description=__doc__.split("\n\n")[0])
    top.add_argument("--version", action="version", version=f"crate-mini {crate_mini.__version__}")
    commands = top.add_subparsers(required=True, metavar="command")
    for command in COMMANDS:
        command.add(commands)
    return top
