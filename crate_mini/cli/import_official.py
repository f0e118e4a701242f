"""``crate-mini import``."""

from __future__ import annotations

import argparse

from crate_mini.cli.common import COUNT, try_file
from crate_mini.cli.said import file_or_folder, in_flags
from crate_mini.official import describe_official, from_official, load_official
from crate_mini.weights import CheckpointError, save_model


def fill(p: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    p.add_argument(
        "file", type=file_or_folder, help="their .pth file: weights alone, or a training checkpoint"
    )
    p.add_argument(
        "--heads",
        type=COUNT,
        metavar="N",
        help="by default as published for the width; the demo weights have 6",
    )
    p.add_argument(
        "--out",
        type=file_or_folder,
        help="write it as .safetensors, with a card; by default it is only described",
    )
    p.set_defaults(run=_import)


def _import(a: argparse.Namespace) -> None:
    if a.out is not None:
        try_file(a.out, a.file)
    state = load_official(a.file)
    report = describe_official(state, heads=a.heads)
    print(in_flags(str(report), a.parser.flags))
    if a.out is None:
        return
    try:
        model = from_official(state, heads=a.heads)
    except CheckpointError as error:  # the report, which it ends with, stands above
        raise CheckpointError(f"{a.file}: {str(error).splitlines()[0]}") from error
    card = {"source": f"imported from {a.file.name} of the authors' code", "looks_like": report.looks_like}
    save_model(model, a.out, card)
    print(f"wrote {a.out}: {model.config.heads} heads, {report.numbers:,} numbers")
