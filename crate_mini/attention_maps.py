"""What the class token looks at: maps of every layer and head, and masks made from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from crate_mini.model import CRATE
from crate_mini.passes import run
from crate_mini.recorder import Record, layer_numbers, record
from crate_mini.stats import refuse_nan

Maps = Float[Tensor, "*batch h w"]


def cls_attention_maps(
    model: CRATE,
    images: Shaped[Tensor, "b 3 H W"],
    layers: Sequence[int] | None = None,
    *,
    shifts: int = 1,
    smooth: bool = False,
    batch_size: int = 64,
) -> Float[Tensor, "b L K h w"]:
    r"""Attention of the class token on the patches, for every head.

    .. math:: A_k^l(i) = \frac{\exp(p^{-1/2}\langle U_k^\top z_i, U_k^\top z_{\mathrm{CLS}} \rangle)}
        {\sum_j \exp(p^{-1/2}\langle U_k^\top z_j, U_k^\top z_{\mathrm{CLS}} \rangle)}

    over the patches ``i`` only (arXiv 2308.16271, eq. 10, with the scale that the network uses and on the
    normalised tokens that it uses); for a ViT with its queries and keys. Larger images give finer maps; so do
    ``shifts`` and ``smooth``, from the same network at the same size.

    Args:
        model: any model of :mod:`crate_mini.model`.
        images: uint8 or float in [0, 1], sides multiples of the patch.
        layers: layer numbers; all if None.
        shifts: the mean over pictures that are moved by 0, 1, ..., ``shifts - 1`` cells, down and across, a cell being
            a patch's side divided by ``shifts``: ``shifts``\ :sup:`2` passes, and maps of as many cells a patch.
        smooth: enlarge the maps to the pixels, bilinearly.
        batch_size: images a forward pass.

    Returns:
        ``(b, layers, heads, h, w)`` on the CPU, float32; each map sums to 1. ``h`` and ``w`` count patches; cells with
        ``shifts``, pixels with ``smooth``.

    Raises:
        ValueError: layers that are not there, images that do not divide into patches, or patches into ``shifts``.
    """
    layers = layer_numbers(model, layers)
    patch = model.config.patch_size
    if shifts < 1 or patch % shifts:
        raise ValueError(f"shifts must divide the patch of {patch} pixels, got {shifts}")

    def look(batch: Tensor) -> Tensor:
        return recorded_maps(record(model, batch, "cls_scores", layers=layers), layers)

    def maps_of(pictures: Tensor) -> Tensor:
        return run(model, pictures, look, batch_size=batch_size)

    maps = maps_of(images) if shifts == 1 else _mean_over_shifts(maps_of, images, shifts, patch // shifts)
    return smooth_maps(maps, tuple(images.shape[-2:])) if smooth else maps


def recorded_maps(rec: Record, layers: Sequence[int]) -> Float[Tensor, "b L K h w"]:
    """:func:`cls_attention_maps` of a pass that kept ``cls_scores`` of these layers, counted from 0."""
    # Softmax over the patches alone. Attention over all tokens, renormalised, would be the same but for
    # rounding: where the class token looks at itself almost only, float32 leaves 0/0 for the patches.
    maps = torch.stack([rec.patches("cls_scores", i) for i in layers], 1).float().softmax(-1)
    h, w = rec.grid
    return rearrange(maps, "b l k (h w) -> b l k h w", h=h, w=w)


def smooth_maps(maps: Maps, size: tuple[int, int]) -> Float[Tensor, "*batch H W"]:
    """Maps enlarged bilinearly, each with the sum that it had."""
    large = upsample(maps, size, mode="bilinear")
    return large * (maps.sum((-2, -1), keepdim=True) / large.sum((-2, -1), keepdim=True))


def _mean_over_shifts(
    maps_of: Callable[[Tensor], Tensor], images: Shaped[Tensor, "b 3 H W"], shifts: int, cell: int
) -> Float[Tensor, "b L K h w"]:
    """Mean over the pictures moved up and left by whole cells, of the maps moved back: one value a cell.

    What a picture lacks at its end is its last row or column again. Where the map that is moved back does not reach,
    at the beginning, the mean is one over those that do.
    """
    total = reached = None
    for down, across in product(range(shifts), repeat=2):
        moved = images[..., down * cell :, across * cell :]
        moved = F.pad(moved.float(), (0, across * cell, 0, down * cell), mode="replicate").to(images.dtype)
        fine = maps_of(moved).repeat_interleave(shifts, -2).repeat_interleave(shifts, -1)
        if total is None:
            total, reached = torch.zeros_like(fine), torch.zeros(fine.shape[-2:])
        total[..., down:, across:] += fine[..., : fine.shape[-2] - down, : fine.shape[-1] - across]
        reached[down:, across:] += 1
    total /= reached
    return total / total.sum((-2, -1), keepdim=True)


def mass_mask(maps: Maps, share: float = 0.6) -> Bool[Tensor, "*batch h w"]:
    """The fewest patches that hold ``share`` of the attention: DINO's rule.

    A sharp map gives a small mask, a flat one a large mask.
    """
    _check_share(share)
    refuse_nan(maps, "values of maps")
    # in float64, where rounding does not add a patch to a share that is reached exactly
    flat = maps.flatten(-2).to("cpu", torch.float64)
    ranked, order = flat.sort(dim=-1, descending=True, stable=True)
    # a patch belongs while the mass ranked before it has not reached the share
    before = ranked.cumsum(-1) - ranked
    keep = before < share * flat.sum(-1, keepdim=True)
    return torch.zeros_like(keep).scatter(-1, order, keep).view(maps.shape).to(maps.device)


def patch_mask(maps: Maps, share: float = 0.6) -> Bool[Tensor, "*batch h w"]:
    """The ``share`` of patches that are attended to most: the rule of arXiv 2308.16271, App. B.3, as written.

    Every mask has the same area, whatever the map, and at least one patch. Ties go to the patch that comes first.
    """
    _check_share(share)
    refuse_nan(maps, "values of maps")
    flat = maps.flatten(-2)
    order = flat.argsort(dim=-1, descending=True, stable=True)[..., : max(1, round(share * flat.shape[-1]))]
    mask = torch.zeros_like(flat, dtype=torch.bool)
    return mask.scatter(-1, order, torch.ones_like(order, dtype=torch.bool)).view(maps.shape)


def spread(maps: Maps) -> Float[Tensor, "*batch"]:
    r"""How many patches a map rests on: the exponential of its entropy.

    .. math:: \exp\Big(-\sum_i A(i) \log A(i)\Big)

    1 for a map that sees one patch, ``h w`` for an even one; what a flat map of the same entropy would cover.
    """
    flat = maps.flatten(-2).double()
    entropy = torch.special.entr(flat / flat.sum(-1, keepdim=True)).sum(-1)
    return entropy.exp().to(maps.dtype)


def upsample(
    maps: Shaped[Tensor, "*batch h w"], size: tuple[int, int], mode: str = "nearest"
) -> Shaped[Tensor, "*batch H W"]:
    """Maps or masks at pixel resolution; boolean masks stay boolean (with ``mode="nearest"``)."""
    if maps.dtype == torch.bool and mode != "nearest":
        raise ValueError("boolean masks can only be enlarged with mode='nearest'")
    flat = maps.reshape(-1, 1, *maps.shape[-2:]).float()
    kwargs = {} if mode == "nearest" else {"align_corners": False}
    large = F.interpolate(flat, size=size, mode=mode, **kwargs).view(*maps.shape[:-2], *size)
    return large.to(maps.dtype) if maps.dtype == torch.bool else large


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], got {share}")
