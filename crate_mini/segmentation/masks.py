"""Masks made from maps, scored against true masks, beside masks that never saw a network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Shaped, UInt8
from torch import Tensor

from crate_mini.attention_maps import mass_mask, patch_mask
from crate_mini.data.imageset import IGNORE
from crate_mini.stats import iou_from_counts, refuse_nan

MASK_RULES: dict[str, Callable] = {"mass": mass_mask, "patch": patch_mask}
"""Name -> how a map becomes a mask: by its share of attention (DINO) or of patches (arXiv 2308.16271, B.3)."""


def iou(
    predicted: Bool[Tensor, "*#batch H W"], truth: UInt8[Tensor, "*#batch H W"]
) -> Float[Tensor, "*batch"]:
    r"""Intersection over union, :math:`|A\cap B| / |A\cup B|`, pixels marked :data:`~crate_mini.data.IGNORE` left out.

    Args:
        predicted: boolean masks; leading dimensions broadcast.
        truth: 0 background, 1 object, 255 not counted; leading dimensions broadcast.

    Returns:
        One value for each mask; NaN where neither mask has a pixel.
    """
    counted = truth != IGNORE
    object_ = truth == 1
    sizes = ((m & counted).sum((-2, -1)) for m in (predicted & object_, predicted, object_))
    return iou_from_counts(*sizes)


def centre_prior(size: tuple[int, int], share: float) -> Bool[Tensor, "H W"]:
    """A centred ellipse that covers ``share`` of the image: what knows only that photographers aim."""
    h, w = size
    y = (torch.arange(h) + 0.5) / h - 0.5
    x = (torch.arange(w) + 0.5) / w - 0.5
    radius = y[:, None] ** 2 + x[None, :] ** 2
    return radius <= radius.flatten().kthvalue(max(1, round(share * h * w))).values


def best_head(scores: Float[Tensor, "n L K"]) -> dict[str, Shaped[Tensor, "..."]]:
    """Two ways to choose a head, which answer two questions.

    Returns:
        - ``fixed``, ``(L, K)``: mean over images of each head, the same head for all images.
        - ``oracle``, ``(L,)``: mean over images of each image's best head in a layer, chosen by the true mask. It
          grows with the number of heads even for meaningless maps.
    """
    refuse_nan(scores, "scores")
    return {"fixed": scores.mean(0), "oracle": scores.amax(-1).mean(0)}
