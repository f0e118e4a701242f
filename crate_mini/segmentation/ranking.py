r"""Scores of a map that need no threshold, exact at pixel resolution and yet computed on patches.

A map has one value a patch. At pixel resolution every patch is a block of equal values, so all that a score can
depend on is how many object pixels and how many background pixels each patch holds. Counting them once replaces
the enlarging of every map: :func:`count_patches`, then :func:`score_maps`.
"""

from __future__ import annotations

import math

import torch
from einops import reduce
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor

from crate_mini.data.imageset import IGNORE

Counts = Int[Tensor, "*batch n"]


def count_patches(
    truth: UInt8[Tensor, "*batch H W"], grid: tuple[int, int]
) -> tuple[Int[Tensor, "*batch n"], Int[Tensor, "*batch n"]]:
    """Object pixels and background pixels of every patch, row by row; ignored pixels are in neither.

    Args:
        truth: 1 object, :data:`~crate_mini.data.IGNORE` not counted, anything else background.
        grid: patches down and across; they must divide the mask.

    Raises:
        ValueError: a mask that does not divide into the patches.
    """
    (H, W), (h, w) = truth.shape[-2:], grid
    if H % h or W % w:
        raise ValueError(f"a mask of {H}x{W} pixels does not divide into {h}x{w} patches")

    def count(pixels: Tensor) -> Tensor:
        return reduce(pixels.int(), "... (h i) (w j) -> ... (h w)", "sum", h=h, w=w)

    return count(truth == 1), count((truth != 1) & (truth != IGNORE))


def majority(objects: Counts, background: Counts) -> tuple[Counts, Counts]:
    """The truth on the grid of patches: a patch is object if most of its counted pixels are; one count a patch."""
    return (objects > background).int(), ((background >= objects) & (background > 0)).int()


def score_maps(
    maps: Float[Tensor, "*batch n"],
    objects: Shaped[Tensor, "*#batch n"],
    background: Shaped[Tensor, "*#batch n"],
    *,
    share: float = 0.6,
) -> dict[str, Float[Tensor, "*batch"]]:
    r"""All five scores of maps, from one sorting.

    With :math:`TP_t` and :math:`FP_t` the object and background pixels in patches whose value is at least :math:`t`,
    :math:`P` and :math:`N` those of the image, and :math:`t` running over the distinct values of the map:

    .. math::
        \mathrm{best\ IoU} = \max_t \frac{TP_t}{P + FP_t}, \qquad
        \mathrm{AUROC} = \sum_t \frac{TP_t + TP_{t^+}}{2P} \cdot \frac{FP_t - FP_{t^+}}{N}, \qquad
        \mathrm{AP} = \sum_t \frac{TP_t - TP_{t^+}}{P} \cdot \frac{TP_t}{TP_t + FP_t}

    where :math:`t^+` is the next higher value. ``"mass"`` and ``"patch"`` are the IoU of
    :func:`~crate_mini.attention_maps.mass_mask` and :func:`~crate_mini.attention_maps.patch_mask`.

    Args:
        maps: one value a patch, not negative for ``mass``. Patches of equal value stand and fall together, except
            under the two mask rules, where the patch that comes first wins.
        objects: object pixels of every patch, from :func:`count_patches` or :func:`majority`; leading dimensions
            broadcast.
        background: the same for background pixels.
        share: of the attention (``mass``) or of the patches (``patch``).

    Returns:
        ``best_iou``, ``auroc``, ``ap``, ``mass``, ``patch``, in float64. NaN where there is no object, and for
        ``auroc`` where there is no background.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], got {share}")
    ranked, order = maps.double().sort(dim=-1, descending=True, stable=True)
    tp, fp = (_running(counts, order) for counts in (objects, background))
    P, N = tp[..., -1], fp[..., -1]
    overlap = tp / (P[..., None] + fp)

    # A threshold passes whole groups of equal values.
    # Only where a group ends is there anything to read.
    end = torch.ones_like(ranked, dtype=torch.bool)
    end[..., :-1] = ranked[..., 1:] != ranked[..., :-1]
    tp_before, fp_before = (_at_previous_end(c, end) for c in (tp, fp))
    rise, run = (tp - tp_before) * end, (fp - fp_before) * end
    precision = tp / (tp + fp).clamp(min=1)

    mass_before = ranked.cumsum(-1) - ranked  # as in mass_mask
    inside = mass_before < share * ranked.sum(-1, keepdim=True)
    by_mass = inside.sum(-1, keepdim=True).clamp(min=1)
    by_patch = max(1, round(share * maps.shape[-1]))
    return {
        "best_iou": overlap.masked_fill(~end, 0).amax(-1),
        "auroc": ((tp + tp_before) / 2 * run).sum(-1) / (P * N),
        "ap": (rise * precision).sum(-1) / P,
        "mass": overlap.gather(-1, by_mass - 1)[..., 0],
        "patch": overlap[..., by_patch - 1],
    }


def _running(
    counts: Shaped[Tensor, "*#batch n"], order: Int[Tensor, "*batch n"]
) -> Float[Tensor, "*batch n"]:
    """Pixels in the first 1, 2, ..., n patches of an order."""
    return counts.expand(order.shape).gather(-1, order).double().cumsum(-1)


def _at_previous_end(counts: Tensor, end: Tensor) -> Tensor:
    """What a growing count was where the group before this one ended; 0 in the first group."""
    seen = counts.masked_fill(~end, 0).cummax(-1).values  # counts grow, so the largest is the latest
    return torch.cat([torch.zeros_like(seen[..., :1]), seen[..., :-1]], -1)


def expected_best_of(scores: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch K"]:
    r"""The best of 1, 2, ..., K heads, on average over all choices of so many heads.

    .. math:: \mathbb E \max_{i \in S} s_i = \sum_{i=k}^{K} \binom{i-1}{k-1} \Big/ \binom{K}{k} \; s_{(i)},
        \qquad |S| = k, \quad s_{(1)} \le \dots \le s_{(K)}

    The first entry is the mean of the heads, the last their maximum. Networks with different numbers of heads can be
    compared at the same number.
    """
    K = scores.shape[-1]
    weights = torch.zeros(K, K, dtype=scores.dtype)
    for i in range(K):  # score i + 1 is the best of k + 1 heads
        for k in range(i + 1):
            weights[i, k] = math.comb(i, k) / math.comb(K, k + 1)
    return scores.sort(-1).values @ weights


def chance_iou(area: float, share: float, patches: int, heads: int = 1) -> float:
    r"""What the best of several random masks scores on average, exactly.

    A mask of :math:`m` of the :math:`n` patches hits an object of :math:`s` patches in :math:`h` of them with
    probability :math:`\binom{s}{h}\binom{n-s}{m-h} / \binom{n}{m}`, and its IoU is then :math:`h / (m + s - h)`.
    For many patches and one head this is :math:`Pa / (P + a - Pa)`.

    Args:
        area: share :math:`a` of the patches that are object.
        share: share :math:`P` of the patches that the mask keeps.
        patches: how many there are.
        heads: how many masks there are to choose the best of.

    Raises:
        ValueError: shares outside (0, 1], or no patch or head.
    """
    if not (0 < area <= 1 and 0 < share <= 1 and min(patches, heads) >= 1):
        raise ValueError(
            "area and share must lie in (0, 1], "
            "patches and heads be at least 1; "
            f"got {area}, {share}, {patches}, {heads}"
        )
    s, m = (max(1, round(v * patches)) for v in (area, share))
    ways = math.comb(patches, m)
    below = mean = 0.0
    for h in range(max(0, m + s - patches), min(m, s) + 1):
        p = math.comb(s, h) * math.comb(patches - s, m - h) / ways
        best_is_h = (below + p) ** heads - below**heads
        mean += h / (m + s - h) * best_is_h
        below += p
    return mean
