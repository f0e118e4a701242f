r"""Scores of a map that need no threshold, exact at pixel resolution and yet computed on patches.

A map has one value a patch. At pixel resolution every patch is a block of equal values, so all that a score can
depend on is how many object pixels and how many background pixels each patch holds. Counting them once replaces
the enlarging of every map: :func:`count_patches`, then :func:`score_maps`.
"""

from __future__ import annotations

import math

from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor

from crate_mini.data.imageset import IGNORE
from crate_mini.stats import (
    Ranking,
    curve_auroc,
    curve_average_precision,
    curve_best_iou,
    iou_from_counts,
    patch_counts,
)

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
    return patch_counts(truth == 1, grid), patch_counts((truth != 1) & (truth != IGNORE), grid)


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

    Raises:
        ValueError: a share outside (0, 1], or a map that holds NaN.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], got {share}")
    ranking = Ranking(maps)
    tp, fp = ranking.cumulated(objects), ranking.cumulated(background)
    curve = ranking.at_ends(tp), ranking.at_ends(fp)
    overlap = iou_from_counts(tp, tp + fp, tp[..., -1:])
    ranked = ranking.scores.double()
    mass_before = ranked.cumsum(-1) - ranked  # as in mass_mask
    inside = mass_before < share * ranked.sum(-1, keepdim=True)
    by_mass = inside.sum(-1, keepdim=True).clamp(min=1)
    by_patch = max(1, round(share * maps.shape[-1]))
    return {
        "best_iou": curve_best_iou(*curve),
        "auroc": curve_auroc(*curve),
        "ap": curve_average_precision(*curve),
        "mass": overlap.gather(-1, by_mass - 1)[..., 0],
        "patch": overlap[..., by_patch - 1],
    }


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
