"""``crate-mini evaluate KIND``; without a kind, ``accuracy``.

Every kind is a module of its own with one public function, ``add``, which adds it to the parser.
"""

from __future__ import annotations

import argparse

from crate_mini.cli import accuracy, heads, maskcut, reading, segmentation, text, transfer

KINDS = (accuracy, segmentation, maskcut, heads, reading, transfer, text)


def fill(p: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    accuracy.add_options(p)
    kinds = p.add_subparsers(required=False, metavar="kind", title="kinds (accuracy where none is named)")
    for kind in KINDS:
        kind.add(kinds)
