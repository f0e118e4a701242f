"""The objects of a set: which image each is in, its pixels in every patch, and what cannot be scored, by name."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from crate_mini.data.imageset import IGNORE, PIXELWISE, ImageSet
from crate_mini.segmentation.ranking import count_patches, majority

OBJECTS = {
    "mask": ("masks", "masks", "object"),
    "parts": ("parts", "parts", "part"),
    "instances": ("instances", "masks of objects one by one", "object"),
}
"""One object an image, every part (or class), or every object: the field of the set, what it holds, one of them."""


@dataclass(frozen=True)
class Objects:
    """The objects of a set: ``of`` which image (a place in ``images``), and their pixels in every patch."""

    images: list[int]
    of: Tensor
    truth: Tensor
    counts: Tensor
    background: Tensor
    left_out: list[str]


def find_objects(
    dataset: ImageSet, grid: tuple[int, int], objects: str, resolution: str, leave_out: bool
) -> Objects:
    """Find every object, count its pixels in every patch, and name what cannot be scored.

    Args:
        dataset: images with masks, or with parts.
        grid: patches down and across.
        objects: ``"mask"``; ``"parts"``: every value of the part masks is an object against all else; or
            ``"instances"``: every object that is marked by itself.
        resolution: ``"pixel"``, or ``"patch"``: a patch is object where most of its counted pixels are.
        leave_out: list what cannot be scored instead of an error.

    Raises:
        ValueError: no such masks; an object without a pixel (a patch), or that fills all that counts, by name.
    """
    if objects not in OBJECTS:
        raise ValueError(f"objects must be {', '.join(map(repr, OBJECTS))}; got {objects!r}")
    field, kind, one_of = OBJECTS[objects]
    labels = getattr(dataset, field)
    if labels is None:
        raise ValueError(f"the set {dataset.name!r} has no {kind} to score against")
    labels = labels.cpu()
    if objects == "mask" and (strange := sorted(set(labels.unique().tolist()) - {0, 1, IGNORE})):
        raise ValueError(
            f"masks of {dataset.name!r} hold the values {strange}; they must be 0 background, 1 object, "
            f"{IGNORE} not counted"
        )
    images, of, truth, left_out = [], [], [], []
    found: list[tuple[Tensor, Tensor]] = []
    for i, label in enumerate(labels):
        present = [1] if objects == "mask" else [v for v in label.unique().tolist() if v not in (0, IGNORE)]
        if objects == "instances" and dataset.instance_classes:  # also those too small to have a pixel left
            present = list(range(1, len(dataset.instance_classes[i]) + 1))
        name = dataset.files[i] if dataset.files else f"image {i}"
        kept = 0
        if not present:
            left_out.append(f"{name} of {dataset.name!r} shows no {one_of}")
        for value in present:
            # the object becomes 1, what is not counted stays, everything else becomes background
            one = torch.where(label == value, 1, torch.where(label == IGNORE, IGNORE, 0)).to(torch.uint8)
            counts, background = count_patches(one, grid)
            if resolution == "patch":
                counts, background = majority(counts, background)
                one = torch.where(counts == 1, 1, torch.where(background == 1, 0, IGNORE)).to(torch.uint8)
                one = one.view(grid)
            what = "" if objects == "mask" else f"; {one_of} {value}"
            if counts.sum() == 0:
                cell = "pixel" if resolution == "pixel" else "patch"
                left_out.append(f"{name} of {dataset.name!r} has no object {cell} in its mask{what}")
            elif background.sum() == 0:
                left_out.append(f"{name} of {dataset.name!r} has no background in its mask{what}")
            else:
                found.append((counts, background))
                truth.append(one)
                of.append(len(images))
                kept += 1
        if kept:
            images.append(i)
    if left_out and not leave_out:
        raise ValueError(
            f"{left_out[0]}; leave such images out with subset(), or have them listed: leave_out=True, --leave-out"
            + (f" ({len(left_out)} in all)" if len(left_out) > 1 else "")
        )
    empty = torch.zeros(0, grid[0] * grid[1], dtype=torch.int32)
    counts, background = (torch.stack(c) for c in zip(*found, strict=True)) if found else (empty, empty)
    return Objects(
        images,
        torch.tensor(of, dtype=torch.long),
        torch.stack(truth) if truth else labels[:0],
        counts,
        background,
        left_out,
    )


def offset(truth: Shaped[Tensor, "m h w"]) -> Float[Tensor, " m"]:
    """Distance of the middle of each object from the middle of the image, in halves of the sides."""
    inside = (truth == 1).double()
    area = inside.sum((1, 2))
    middles = []
    for dim in (1, 2):
        place = (torch.arange(truth.shape[dim]) + 0.5) / truth.shape[dim] * 2 - 1
        middles.append((inside.sum(3 - dim) * place).sum(1) / area)
    return torch.stack(middles).norm(dim=0)


def at_size(dataset: ImageSet, size: int) -> ImageSet:
    """The set resized to squares of ``size`` pixels: images smoothly, masks and their like by the nearest pixel."""
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    if tuple(dataset.images.shape[-2:]) == (size, size):
        return dataset

    def nearest(labels: Tensor | None) -> Tensor | None:
        if labels is None:
            return None
        return F.interpolate(labels[:, None].float(), (size, size), mode="nearest-exact")[:, 0].to(
            torch.uint8
        )

    images = torch.cat(
        [
            F.interpolate(part.float(), (size, size), mode="bicubic", antialias=True)
            for part in dataset.images.split(64)
        ]
    )
    images = images.round().clamp(0, 255).to(torch.uint8)
    return replace(dataset, images=images, **{k: nearest(getattr(dataset, k)) for k in PIXELWISE})
