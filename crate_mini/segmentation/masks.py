"""Masks made from maps, scored against true masks, beside masks that never saw a network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Shaped, UInt8
from torch import Tensor
from tqdm.auto import tqdm

from crate_mini.attention_maps import cls_attention_maps, mass_mask, patch_mask, upsample
from crate_mini.data.imageset import IGNORE, ImageSet
from crate_mini.model import CRATE
from crate_mini.stats import iou_from_counts

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


def score_heads(
    model: CRATE,
    data: ImageSet,
    *,
    rule: str = "mass",
    share: float = 0.6,
    batch_size: int = 32,
    progress: bool = False,
) -> Float[Tensor, "n L K"]:
    """IoU of every layer's every head with the object, image by image, at pixel resolution.

    Args:
        model: any model of :mod:`crate_mini.model`.
        data: images with masks.
        rule: a key of :data:`MASK_RULES`.
        share: of attention or of patches.
        batch_size: images a forward pass.
        progress: show a progress bar.

    Raises:
        ValueError: unknown rule, no masks, or a mask without any object pixel.
    """
    if rule not in MASK_RULES:
        raise ValueError(f"rule must be one of {tuple(MASK_RULES)}, got {rule!r}")
    truth = _require_masks(data)
    scores = []
    for start in tqdm(range(0, len(data), batch_size), desc="masks", disable=not progress):
        part = slice(start, start + batch_size)
        maps = cls_attention_maps(model, data.images[part])
        masks = upsample(MASK_RULES[rule](maps, share), tuple(truth.shape[-2:]))
        scores.append(iou(masks, truth[part, None, None]))
    return torch.cat(scores)


def score_baselines(data: ImageSet, *, seed: int = 0) -> dict[str, Float[Tensor, " n"]]:
    """IoU of masks that never saw a network.

    ``everything`` marks the whole image, ``centre`` is the best centred ellipse of areas 10 % to 90 % for the set
    as a whole (chosen on it, so flattering), ``random`` marks 60 % of 8 x 8 cells at random.
    """
    truth = _require_masks(data)
    size = tuple(truth.shape[-2:])
    everything = torch.ones(size, dtype=torch.bool)
    discs = [iou(centre_prior(size, s / 10).expand(truth.shape), truth) for s in range(1, 10)]
    noise = torch.rand(len(data), 8, 8, generator=torch.Generator().manual_seed(seed))
    return {
        "everything": iou(everything.expand(truth.shape), truth),
        "centre": max(discs, key=lambda scores: float(scores.mean())),
        "random": iou(upsample(patch_mask(noise, 0.6), size), truth),
    }


def best_head(scores: Float[Tensor, "n L K"]) -> dict[str, Shaped[Tensor, "..."]]:
    """Two ways to choose a head, which answer two questions.

    Returns:
        ``fixed`` ``(L, K)``: mean over images of each head, the same head for all images.
        ``oracle`` ``(L,)``: mean over images of each image's best head in a layer, chosen by the true mask.
            It grows with the number of heads even for meaningless maps.
    """
    return {"fixed": scores.mean(0), "oracle": scores.amax(-1).mean(0)}


def _require_masks(data: ImageSet) -> Tensor:
    if data.masks is None:
        raise ValueError(f"the set {data.name!r} has no masks to score against")
    if bool((empty := (data.masks == 1).flatten(1).sum(1) == 0).any()):
        first = int(empty.nonzero()[0])
        where = data.files[first] if data.files else f"image {first}"
        raise ValueError(
            f"{where} of {data.name!r} has no object pixel in its mask; leave such images out with subset()"
        )
    return data.masks
