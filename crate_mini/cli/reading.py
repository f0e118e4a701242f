"""``crate-mini evaluate reading``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from crate_mini.cli.common import COUNT, add_data, add_evaluation, add_layers, model_and_images, report
from crate_mini.data import ImageSet
from crate_mini.heads import named_right
from crate_mini.model import CRATE
from crate_mini.reading import right_without_reading
from crate_mini.recorder import layer_numbers
from crate_mini.results import provenance
from crate_mini.segmentation import mean_interval


def add(kinds: argparse._SubParsersAction) -> None:
    """Add the kind to the parser of ``evaluate``."""
    p = kinds.add_parser(
        "reading",
        help="in which layers the class token reads what the answer needs",
        description="Accuracy when the attention of one layer, or of that layer and all after it, leaves the class "
        "token as it is. Differences have 95 % intervals over the images.",
    )
    add_evaluation(p)
    add_data(p, None, None)
    add_layers(p, "in which it does not read")
    p.add_argument("--batch-size", type=COUNT, metavar="N", default=128, help="images a forward pass")
    p.set_defaults(run=_reading)


def _reading(a: argparse.Namespace) -> None:
    model, images, device = model_and_images(a)
    layers = layer_numbers(model, a.layers)
    result = provenance(device, weights=a.weights, untrained_weights=a.untrained)
    result |= {"data": images.name, "images": len(images), "image_size": a.image_size}
    result["reading"] = {"layers": layers} | measure(model, images, layers, batch_size=a.batch_size)
    report(a, result, _print)


def measure(
    model: CRATE, images: ImageSet, layers: Sequence[int] | None = None, *, batch_size: int = 128
) -> dict[str, Any]:
    """Accuracy, and what is lost without reading in a layer (``alone``) or from it on (``onwards``)."""
    whole = named_right(model, images, batch_size=batch_size).float()
    lost = {}
    for name, on in (("alone", False), ("onwards", True)):
        right = right_without_reading(model, images, layers=layers, onwards=on, batch_size=batch_size)
        lost[name] = whole[:, None] - right.float()
    return {"top1": _interval(whole)} | {
        name: [_interval(column) for column in values.unbind(1)] for name, values in lost.items()
    }


def _interval(values: Tensor) -> list[float]:
    return [round(v, 4) for v in mean_interval(values)]


def _print(result: dict[str, Any]) -> None:
    found = result["reading"]
    print(
        f"{result['weights']} on {result['images']} images of {result['data']}: {found['top1'][0]:.1%} right"
    )
    print("points lost when the class token does not read in")
    for layer, alone, onwards in zip(found["layers"], found["alone"], found["onwards"], strict=True):
        shown = [f"{100 * v[0]:5.1f} ({100 * v[1]:.1f} to {100 * v[2]:.1f})" for v in (alone, onwards)]
        print(f"  layer {layer}: {shown[0]:<22} and all after it: {shown[1]}")
