"""``crate-mini export``."""

from __future__ import annotations

import argparse
from importlib.util import find_spec

import torch

from crate_mini.cli.common import WEIGHTS, try_file, weights_named
from crate_mini.cli.said import file_or_folder, note
from crate_mini.export import FORMATS, export, largest_difference

LARGEST = 1e-4
"""Difference from the model that is still rounding."""


def fill(p: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    p.description = (
        "Write a model as ONNX or by torch.export, with batch, height and width open: images in, logits and the class "
        "token's attention of every layer out. The file is then run and held against the model."
    )
    p.add_argument("--weights", default="crate_mini_all_lion_s0", help=WEIGHTS)
    p.add_argument(
        "--out", type=file_or_folder, required=True, metavar="FILE", help=f"ends in {' or '.join(FORMATS)}"
    )
    p.add_argument(
        "--logits-only", action="store_true",
        help="leave the attention out, as of a model whose class token looks at nothing (TSSA, CBSA)",
    )  # fmt: skip
    p.set_defaults(run=_export)


def _export(a: argparse.Namespace) -> None:
    try_file(a.out, a.weights)
    model = weights_named(a.weights)
    note("writing the file and running it takes up to a minute")
    written, c = export(model, a.out, attention=not a.logits_only), model.config
    print(f"wrote {written} ({FORMATS[written.suffix]}, {written.stat().st_size / 2**20:.1f} MB)")
    print(f"  images     (batch, 3, {c.patch_size} rows, {c.patch_size} columns), float32 in [0, 1]")
    print(f"  logits     (batch, {c.num_classes})")
    if not a.logits_only:
        print(f"  attention  (batch, {c.depth} layers, {c.heads} heads, rows, columns)")
    if written.suffix == ".onnx" and find_spec("onnxruntime") is None:
        note("not run to check it: that takes onnxruntime, pip install 'crate-mini[export]'")
        return
    draw = torch.Generator().manual_seed(0)
    side, patch = c.image_size, c.patch_size
    sizes = ((2, side, side), (1, side + patch, side + 3 * patch))
    off = max(largest_difference(model, written, torch.rand(b, 3, h, w, generator=draw)) for b, h, w in sizes)
    if not off <= LARGEST:
        raise FloatingPointError(
            f"{written} differs from the model by {off:.1e}, more than rounding: do not use it"
        )
    told = " and ".join(f"{h} x {w}" for _, h, w in sizes)
    print(f"run at {told} pixels: off by {off:.1e} at most")
