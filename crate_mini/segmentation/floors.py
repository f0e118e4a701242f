r"""What masks and boxes score that never saw an image, under the rules of arXiv 2308.16271: the rows its tables lack.

The rule for masks (its appendix B.3, as written): of a map over the patches the highest 60 % become the mask; for every
class that an image shows, the best head's IoU; their mean over the classes of an image, then over images. A mask of
that rule always covers 60 %, so much is settled before any network is run: what a centred disc scores, what random
masks do, and what no mask can exceed, :func:`ceiling`. The paper does not say whether an image is resized or cropped
to a square, whether background is a class, or whether the true mask is one of patches or of pixels; and a mean over
classes is as usual as one over images. :data:`READINGS` are all of these.

The rule for boxes (COCO's AP, one class, as MaskCut is scored): :func:`score_boxes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from PIL import Image
from torch import Tensor

from crate_mini.attention_maps import patch_mask
from crate_mini.average_precision import average_precision_interval, box_overlaps, box_shares
from crate_mini.data.images import fit_image
from crate_mini.data.imageset import IGNORE
from crate_mini.data.scenes import Boxes
from crate_mini.stats import (
    Interval,
    bootstrap_interval,
    expected_best_of,
    iou_from_counts,
    mean_interval,
    patch_counts,
)

GRID = 28
"""Patches a side of an image of 224 pixels cut into patches of 8."""
SHARE = 0.6
"""Of the patches, in the mask."""
BEST_OF = (6, 12)
"""Heads of the paper's S/8 and B/8, the best of which is taken for every class."""


@dataclass(frozen=True)
class Reading:
    """One way to read the rule.

    Attributes:
        crop: the image is cropped to its centre square; else all of it is squeezed into one.
        background: background is one of the classes of an image.
        over: ``"images"``, the mean over the classes of an image, then over images; or ``"classes"``, the mean over the
            images that show a class, then over classes.
        truth: ``"patch"``, the true mask has one value a patch, that of its middle; or ``"pixel"``, 8 x 8.
    """

    crop: bool = False
    background: bool = False
    over: str = "images"
    truth: str = "patch"


READINGS = tuple(
    Reading(crop, background, over, truth)
    for truth, over, background, crop in product(
        ("patch", "pixel"), ("images", "classes"), (False, True), (False, True)
    )
)
"""All of them; the first is the paper's rule as it is written."""


class Objects(NamedTuple):
    """What the classes of several images score, one row a class of an image.

    Attributes:
        image: which image it is of.
        label: the class, 0 background.
        scores: by the name of what is scored.
    """

    image: Tensor
    label: Tensor
    scores: dict[str, Float[Tensor, " m"]]


def score_classes(
    masks: Iterable[Image.Image], *, crop: bool = False, truth: str = "patch", random: int = 60, seed: int = 0
) -> Objects:
    """IoU of masks that saw nothing with every class of every image.

    Args:
        masks: values are classes, 0 background, 255 not counted; of any size.
        crop: as for :class:`Reading`.
        truth: as for :class:`Reading`.
        random: random masks drawn for each image; ``random`` is their mean, ``best of k`` the exact expectation of the
            best of k of them.
        seed: of these.

    Raises:
        ValueError: no masks, another kind of truth, or fewer random masks than the best is taken of.
    """
    if truth not in ("patch", "pixel"):
        raise ValueError(f"truth must be 'patch' or 'pixel', got {truth!r}")
    if random < max(BEST_OF):
        raise ValueError(f"the best of {max(BEST_OF)} random masks needs as many, got {random}")
    generator = torch.Generator().manual_seed(seed)
    disc = patch_mask(-_from_centre(GRID), SHARE).flatten()
    side = GRID if truth == "patch" else 8 * GRID
    images, labels, rows = [], [], []
    for i, mask in enumerate(masks):
        square = (
            fit_image(mask, side, nearest=True)
            if crop
            else mask.resize((side, side), Image.Resampling.NEAREST)
        )
        values = torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8).view(side, side)
        present = [v for v in values.unique().tolist() if v != IGNORE]
        noise = patch_mask(torch.rand(random, GRID, GRID, generator=generator), SHARE).flatten(1)
        if not present:
            continue
        inside = torch.stack([patch_counts(values == v, (GRID, GRID)) for v in present])
        outside = patch_counts(values != IGNORE, (GRID, GRID)) - inside
        lucky = score_masks(noise, inside, outside)
        rows.append(
            {
                "disc": score_masks(disc[None], inside, outside)[:, 0],
                "random": lucky.mean(1),
                **{f"best of {k} random": expected_best_of(lucky, k) for k in BEST_OF},
                "everything": score_masks(torch.ones_like(disc)[None], inside, outside)[:, 0],
                "ceiling": ceiling(inside, outside, round(SHARE * GRID**2)),
            }
        )
        images += [i] * len(present)
        labels += present
    if not rows:
        raise ValueError("no mask shows a class")
    scores = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
    return Objects(torch.tensor(images), torch.tensor(labels), scores)


def score_masks(
    masks: Bool[Tensor, "r n"], inside: Shaped[Tensor, "m n"], outside: Shaped[Tensor, "m n"]
) -> Float[Tensor, "m r"]:
    """IoU of each mask of patches with each object, given by its pixels in every patch and the counted others there."""
    both, other = (counts.double() @ masks.double().mT for counts in (inside, outside))
    return iou_from_counts(both, both + other, inside.double().sum(1, keepdim=True))


def ceiling(inside: Shaped[Tensor, "m n"], outside: Shaped[Tensor, "m n"], area: int) -> Float[Tensor, " m"]:
    r"""The highest IoU that any mask of ``area`` patches has with an object: exact.

    A ratio :math:`\sum_{i \in A} a_i \big/ \big(\sum_i a_i + \sum_{i \in A} b_i\big)` exceeds :math:`\lambda` where the
    patches with the largest :math:`a_i - \lambda b_i` make it do so (Dinkelbach, 1967); from the mask found for
    :math:`\lambda` follows the next one, and what no further mask exceeds is the highest.

    Args:
        inside: pixels of the object in every patch, :math:`a`.
        outside: counted pixels there that are not of it, :math:`b`.
        area: patches in the mask.
    """
    a, b = inside.double(), outside.double()
    best = torch.zeros(len(a), dtype=torch.float64)
    while True:
        chosen = (a - best[:, None] * b).topk(area, dim=1).indices
        found = a.gather(1, chosen).sum(1) / (a.sum(1) + b.gather(1, chosen).sum(1))
        if not bool((found > best).any()):
            return best
        best = torch.maximum(best, found)


def read_as(
    objects: Objects, reading: Reading, images: int, *, draws: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """The scores by one reading, each with its 95 % bootstrap interval over images.

    Args:
        objects: of :func:`score_classes` with the crop and the truth of this reading.
        reading: which classes count, and what the mean is over.
        images: how many were scored.
        draws: of the bootstrap.
        seed: of the draws.
    """
    kept = torch.ones_like(objects.label, dtype=torch.bool) if reading.background else objects.label > 0
    table = torch.full(
        (images, int(objects.label.max()) + 1, len(objects.scores)), torch.nan, dtype=torch.float64
    )
    at = objects.image[kept], objects.label[kept]
    table[at] = torch.stack(list(objects.scores.values()), dim=1)[kept].double()
    if reading.over == "images":
        found = table.nanmean(1)
        found = found[~found[:, 0].isnan()]
        return {
            name: mean_interval(found[:, k], draws=draws, seed=seed) for k, name in enumerate(objects.scores)
        }
    intervals = bootstrap_interval(
        lambda index: table[index].nanmean(0).nanmean(0).tolist(), images, draws=draws, seed=seed
    )
    return dict(zip(objects.scores, intervals, strict=True))


def score_boxes(truths: Sequence[Boxes], sides: Sequence[float], *, draws: int = 200) -> dict[str, Interval]:
    """COCO's AP, without classes, of the same centred boxes in every image.

    Args:
        truths: true boxes, of :func:`crate_mini.data.coco_boxes`.
        sides: of each box, as shares of those of the image, in the order in which boxes count: the first has score 1,
            the next 1/2, then 1/3.
        draws: of the bootstrap over images.

    Returns:
        ``{"AP", "AP50", "AP75"}``, each with its 95 % interval.
    """
    overlaps, crowds = [], []
    for truth in truths:
        size = torch.tensor(truth.size, dtype=torch.float64)
        drawn = torch.stack([torch.cat([size * (1 - s) / 2, size * (1 + s) / 2]) for s in sides])
        overlaps.append(box_overlaps(drawn, truth.things))
        crowds.append(box_shares(drawn, truth.crowds))
    scores = [1 / torch.arange(1.0, 1 + len(sides), dtype=torch.float64)] * len(truths)
    return average_precision_interval(overlaps, scores, crowds, draws=draws)


def _from_centre(side: int) -> Float[Tensor, "side side"]:
    """Squared distance of every patch from the centre of the image, equal on ellipses; in whole numbers, exact."""
    at = 2 * torch.arange(side) + 1 - side
    return (at[:, None] ** 2 + at[None, :] ** 2).double()
