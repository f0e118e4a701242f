"""Photographs whose things are outlined by hand, and how a map is held against an outline: chapters 8 and 9b."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib.path import Path as Outline
from torch import Tensor

from crate_mini import data
from crate_mini.segmentation import count_patches, score_maps

OUTLINES: Mapping[str, Sequence[tuple[int, int]]] = {
    "astronaut": (
        (72, 4), (60, 8), (52, 15), (48, 25), (48, 38), (53, 46), (45, 50), (38, 58), (37, 68), (28, 75), (18, 82),
        (12, 95), (8, 115), (6, 140), (8, 160), (88, 160), (88, 148), (90, 135), (98, 122), (112, 112), (112, 100),
        (108, 88), (100, 80), (95, 74), (94, 64), (88, 54), (85, 48), (92, 40), (93, 26), (88, 15), (80, 8),
    ),
    "coffee": (
        (76, 6), (95, 9), (110, 17), (119, 28), (124, 42), (122, 58), (116, 78), (111, 96), (98, 98), (90, 104),
        (88, 112), (80, 114), (63, 110), (60, 105), (52, 120), (44, 122), (38, 115), (40, 104), (50, 93), (38, 78),
        (31, 60), (28, 45), (30, 32), (38, 20), (50, 11), (62, 7),
    ),
    "rocket": ((80, 48), (77, 52), (76, 60), (76, 75), (75, 152), (86, 152), (85, 75), (85, 60), (83, 52)),
}  # fmt: skip
"""What photographs show, outlined by hand for this book, to a few pixels of 160: the person, the cup, the rocket."""
NAMES = {"astronaut": "an astronaut", "coffee": "a cup of coffee", "rocket": "a rocket"}


def outlined(name: str, size: int) -> tuple[UInt8[Tensor, "3 H W"], UInt8[Tensor, "H W"]]:
    """A photograph of scikit-image and its outline of :data:`OUTLINES`."""
    corners = np.array(OUTLINES[name]) * size / 160
    at = (np.indices((size, size)).reshape(2, -1).T[:, ::-1] + 0.5).astype(float)
    inside = Outline(corners).contains_points(at).reshape(size, size)
    return data.photographs(size)[name], torch.from_numpy(inside.astype(np.uint8))


def map_scores(maps: Float[Tensor, "n *any h w"], masks: UInt8[Tensor, "n H W"]) -> dict[str, Tensor]:
    """AUROC and best IoU of maps of any number of heads against the outline of their picture: ``(n, *any)``."""
    counts = count_patches(masks, tuple(maps.shape[-2:]))
    objects, background = (c.view(len(c), *[1] * (maps.ndim - 3), -1) for c in counts)
    found = score_maps(maps.flatten(-2), objects, background)
    return {rule: found[rule].float() for rule in ("auroc", "best_iou")}
