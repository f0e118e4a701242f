"""``crate-mini evaluate maskcut``: objects found without labels, against true masks and boxes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crate_mini import data
from crate_mini.attention_maps import upsample
from crate_mini.average_precision import (
    average_precision,
    average_precision_interval,
    box_overlaps,
    correct_localisation,
    mask_overlaps,
)
from crate_mini.cli.common import (
    COUNT,
    PIXELS,
    add_data,
    add_evaluation,
    add_layers,
    add_letterbox,
    card_of,
    model_and_images,
    number,
    report,
)
from crate_mini.cli.said import note
from crate_mini.maskcut import TAU, boxes_of, discover
from crate_mini.outputs import write_atomically
from crate_mini.progress import bar
from crate_mini.recorder import layer_numbers
from crate_mini.results import provenance
from crate_mini.segmentation import centre_prior, mean_interval

CHUNK = 4  # images between two writes of what there is so far
CENTRE_SHARE = 0.5
"""Of the image, under the ellipse that stands beside the networks. Fixed beforehand, for all sets."""


def add(kinds: argparse._SubParsersAction) -> None:
    """Add the kind to the parser of ``evaluate``."""
    p = kinds.add_parser("maskcut", help="MaskCut's objects against true masks: AP, CorLoc")
    add_evaluation(p)
    add_data(p, "embedded", 480)
    add_letterbox(p)
    p.add_argument(
        "--size",
        dest="image_size",
        type=PIXELS,
        metavar="N",
        default=argparse.SUPPRESS,
        help="same as --image-size",
    )
    add_layers(p, "whose features are cut")
    p.add_argument(
        "--n-masks", type=COUNT, metavar="N", default=3, help="the most objects to look for in an image"
    )
    p.add_argument(
        "--tau",
        type=number(lambda x: 0 <= x < 1, "lie in [0, 1)"),
        metavar="X",
        default=TAU,
        help="cosine above which two patches are joined",
    )
    p.add_argument(
        "--objects", choices=("mask", "parts", "instances"), default="mask",
        help="one object an image, or one for each value of the part masks (the classes of VOC), or all objects one "
        "by one (VOC, COCO)",
    )  # fmt: skip
    p.set_defaults(run=_maskcut)


def _maskcut(a: argparse.Namespace) -> None:
    model, images, device = model_and_images(a)
    layers = layer_numbers(model, a.layers)
    truths, crowds = (
        [true_objects(images, i, a.objects) for i in range(len(images))],
        a.objects == "instances",
    )
    settings = {
        "weights": a.weights, "data": images.name, "images": len(images), "seed": a.seed,
        "untrained": a.untrained, "image_size": a.image_size, "n_masks": a.n_masks, "tau": a.tau,
        "objects": a.objects, "layers": layers, **({"letterbox": True} if a.letterbox else {}),
        "sha256": None if a.untrained else card_of(a.weights).get("sha256"),
    }  # fmt: skip

    def measure(i: int) -> dict[str, dict]:
        found = discover(model, images.images[i : i + 1], layers, n_masks=a.n_masks, tau=a.tau)
        return {str(layer): overlaps(masks[0], *truths[i], crowds) for layer, masks in found.items()}

    tables = _resumable(len(images), measure, settings, a.out, sum(int(t[0].sum()) for t in truths))
    result = provenance(device, **settings)
    result["by_layer"] = {str(layer): summary([image[str(layer)] for image in tables]) for layer in layers}
    result["baselines"] = baselines(truths, crowds)
    report(a, result, _print)
    if a.out is not None:
        _partial(a.out).unlink(missing_ok=True)


def true_objects(images: data.ImageSet, i: int, objects: str = "mask") -> tuple[Tensor, Tensor]:
    """Masks of the objects of an image ``(g, H, W)``, and which pixels count ``(H, W)``.

    Instances may be none, and those that are too small to have a pixel at this size are there all the same, empty: they
    are objects that cannot be found.

    Raises:
        ValueError: the set has no such masks, or, but for instances, none with an object pixel for this image.
    """
    source = {"mask": images.masks, "parts": images.parts, "instances": images.instances}[objects]
    where = images.files[i] if images.files else f"image {i}"
    if source is None:
        kinds = {"mask": "masks", "parts": "part masks", "instances": "masks of objects one by one"}
        raise ValueError(f"the set {images.name!r} has no {kinds[objects]}")
    values = [v for v in source[i].unique().tolist() if v not in (0, data.IGNORE)]
    if objects == "instances":
        count = len(images.instance_classes[i]) if images.instance_classes else max(values, default=0)
        return source[i] == torch.arange(1, count + 1, dtype=torch.uint8)[:, None, None], source[
            i
        ] != data.IGNORE
    if not values:
        raise ValueError(
            f"{where} of {images.name!r} has no object pixel in its mask; take such images out of the set"
        )
    counted = source[i] != data.IGNORE
    if images.masks is not None:
        counted &= images.masks[i] != data.IGNORE
    return torch.stack([source[i] == v for v in values]), counted


def overlaps(masks: Tensor, truth: Tensor, counted: Tensor, crowds: bool = False) -> dict[str, Any]:
    """Overlaps of predicted masks, on a grid of patches or of pixels, with the true ones: of masks and of boxes.

    With ``crowds``, what does not count is a crowd, as of COCO, or lies outside of the picture: beside the overlaps the
    share of every prediction that lies there.
    """
    large = upsample(masks, tuple(truth.shape[-2:]))
    boxes, true_boxes = boxes_of(large), torch.zeros(len(truth), 4)
    seen = truth.flatten(1).any(1)
    true_boxes[seen] = boxes_of(truth[seen])
    found = {
        "mask": mask_overlaps(large, truth, counted).tolist(),
        "box": box_overlaps(boxes, true_boxes).tolist(),
        "objects": len(truth),
    }
    if crowds:
        inside = [(~counted)[y0:y1, x0:x1] for x0, y0, x1, y1 in boxes.int().tolist()]
        found["crowd"] = {
            "mask": [float((~counted)[mask].float().mean()) for mask in large],
            "box": [float(part.float().mean()) for part in inside],
        }
    return found


def summary(tables: list[dict]) -> dict:
    """AP of masks and boxes with intervals, CorLoc, and the first mask's mean IoU, from the tables of all images.

    A mask's score is one over its place in the order of discovery: MaskCut gives no other.
    """
    result = {}
    for kind in ("mask", "box"):
        by_image, scores, crowds = _tables(tables, kind)
        result[kind] = average_precision_interval(by_image, scores, crowds, draws=200)
        by_image = [table for table in by_image if table.shape[1]]  # there is something to find
        if not by_image:
            raise ValueError("no image of the set shows an object")
        if kind == "mask":
            first = torch.tensor([float(t[0].max()) if len(t) else 0.0 for t in by_image])
            result["first_iou"] = mean_interval(first)
            result["first_iou_of_image"] = [round(v, 4) for v in first.tolist()]
            result["masks_per_image"] = sum(map(len, by_image)) / len(by_image)
        else:
            located = correct_localisation(by_image)
            result["corloc"] = mean_interval(located.float())
            result["corloc_of_image"] = located.int().tolist()
    return result


def baselines(truths: list[tuple[Tensor, Tensor]], crowds: bool = False) -> dict[str, dict]:
    """What needs no network: the whole image, a centred ellipse fixed beforehand, and the best of nine.

    ``centre`` covers :data:`CENTRE_SHARE` of the image. ``best ellipse`` is, of nine that cover 10 % to 90 %, the one
    with the best AP of masks on these images: chosen here, so more than any such ellipse scores elsewhere.
    """
    size = tuple(truths[0][0].shape[-2:])

    def marked(mask: Tensor) -> list[dict]:
        return [overlaps(mask[None], *t, crowds) for t in truths]

    shares = bar([s / 10 for s in range(1, 10)], desc="ellipses", unit="size", leave=False)
    ellipses = {share: marked(centre_prior(size, share)) for share in shares}
    best = max(ellipses, key=lambda share: average_precision(*_tables(ellipses[share], "mask"))["AP"])
    return {
        "everything": summary(marked(torch.ones(size, dtype=torch.bool))),
        "centre": summary(ellipses[CENTRE_SHARE]) | {"share": CENTRE_SHARE},
        "best ellipse": summary(ellipses[best]) | {"share": best},
    }


def _tables(images: list[dict], kind: str) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Overlaps, scores and crowds as :func:`~crate_mini.average_precision.average_precision` takes them."""
    by_image = [
        torch.tensor(t[kind], dtype=torch.float64).reshape(len(t[kind]), t["objects"]) for t in images
    ]
    scores = [1 / torch.arange(1.0, 1 + len(t)) for t in by_image]
    crowds = [torch.tensor(t.get("crowd", {}).get(kind, [0.0] * len(t[kind])))[:, None] for t in images]
    return by_image, scores, crowds


def _partial(out: Path) -> Path:
    return out.with_name(f".{out.name}.partial")


def _resumable(
    n: int, measure: Callable[[int], dict], settings: dict, out: Path | None, fingerprint: int
) -> list[dict]:
    """``[measure(0), …, measure(n - 1)]``, written beside ``out`` every few images and taken up again from there."""
    asked = settings | {"fingerprint": fingerprint}
    done: list[dict] = []
    if out is not None and _partial(out).is_file():
        earlier = json.loads(_partial(out).read_text(encoding="utf-8"))
        if earlier["settings"] == json.loads(json.dumps(asked)):
            done = earlier["tables"]
            note(f"going on after {len(done)} of {n} images")
        else:
            note(f"{_partial(out).name} is of a run with other settings: starting over")
    with bar(total=n, initial=len(done), desc="maskcut", unit="image") as shown:
        for i in range(len(done), n):
            done.append(measure(i))
            shown.update()
            if out is not None and (len(done) % CHUNK == 0 or len(done) == n):
                text = json.dumps({"settings": asked, "tables": done})
                write_atomically(
                    _partial(out), lambda temporary, text=text: temporary.write_text(text, encoding="utf-8")
                )
    return done


def _print(result: dict) -> None:
    print(f"MaskCut on {result['images']} images of {result['data']}, {result['image_size']} px, in per cent")
    print("             masks: AP  AP50  AP75   boxes: AP  AP50  AP75   CorLoc   IoU of the first")
    rows = {f"layer {k}": v for k, v in result["by_layer"].items()} | result["baselines"]
    for name, row in rows.items():
        mask, box = ([100 * row[k][m][0] for m in ("AP", "AP50", "AP75")] for k in ("mask", "box"))
        print(
            f"  {name:<12}  " + "".join(f"{v:6.1f}" for v in mask) + "        " + "".join(f"{v:6.1f}" for v in box)
            + f"   {100 * row['corloc'][0]:6.1f}   {100 * row['first_iou'][0]:16.1f}"
        )  # fmt: skip
