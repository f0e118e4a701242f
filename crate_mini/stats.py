r"""Statistics, once: rankings, the best of several, counts, intervals over images and over trainings.

Stands on the ground and knows nothing of networks: what is measured comes in as tensors. Nothing is ever ranked that
holds NaN; such input is refused, for NaN has no place in an order and sorting gives it one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import comb
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from scipy.special import stdtr, stdtrit
from torch import Tensor

Interval = tuple[float, float, float]
"""A value, and the lower and upper end of its interval."""

LEVEL = 0.95
"""How often an interval covers, unless something else is said."""

# ---- rankings -------------------------------------------------------------------------------------------------------


class Ranking:
    r"""Items by falling score. Those of equal score form a group, which a threshold passes as a whole.

    With :math:`TP_t` and :math:`FP_t` the weight of the positives and of the negatives whose score is at least
    :math:`t`, every score of a ranking follows from these two, :meth:`at_ends` of :meth:`cumulated`: the area under the
    curve (:func:`curve_auroc`), average precision, the best IoU.

    Args:
        scores: ``(..., n)``, higher is ranked first; among equals the one that comes first.

    Attributes:
        scores: sorted.
        order: which item stands at each place.
        end: whether a group of equals ends at this place: only there is there anything to read.

    Raises:
        ValueError: a score is NaN.
    """

    def __init__(self, scores: Shaped[Tensor, "*batch n"]) -> None:
        refuse_nan(scores, "scores")
        self.scores, self.order = scores.sort(dim=-1, descending=True, stable=True)
        self.end = torch.ones_like(self.scores, dtype=torch.bool)
        self.end[..., :-1] = self.scores[..., 1:] != self.scores[..., :-1]
        self.tied = not bool(self.end.all())

    def cumulated(self, weights: Shaped[Tensor, "*any n"]) -> Float[Tensor, "*out n"]:
        """Weight of the first 1, 2, ..., n items in order; leading dimensions broadcast. Integers become float64."""
        shape = torch.broadcast_shapes(self.order.shape, weights.shape)
        ranked = weights.expand(shape).gather(-1, self.order.expand(shape))
        return (ranked if ranked.is_floating_point() else ranked.double()).cumsum(-1)

    def at_ends(self, cumulated: Float[Tensor, "*any n"]) -> Float[Tensor, "*any n"]:
        """What a growing count was where the latest group ended, here or before; 0 within the first group."""
        if not self.tied:
            return cumulated
        return cumulated.masked_fill(~self.end, 0).cummax(-1).values  # growing: the largest is the latest


def curve_auroc(tp: Float[Tensor, "*any n"], fp: Float[Tensor, "*any n"]) -> Float[Tensor, "*any"]:
    r"""Area under the curve of true against false positives at the ends of a :class:`Ranking`, by trapezia; float64.

    .. math:: \sum_t \frac{TP_t + TP_{t^+}}{2P} \cdot \frac{FP_t - FP_{t^+}}{N}

    with :math:`t^+` the next higher score. NaN where there is no positive or no negative.
    """
    first = tp[..., 0].double() * fp[..., 0]
    area = ((tp[..., 1:] + tp[..., :-1]) * fp.diff(dim=-1)).sum(-1, dtype=torch.float64)
    return (first + area) / 2 / (tp[..., -1].double() * fp[..., -1])


def curve_average_precision(
    tp: Float[Tensor, "*any n"], fp: Float[Tensor, "*any n"]
) -> Float[Tensor, "*any"]:
    r"""Precision, averaged over recall without interpolation, as scikit-learn has it. NaN without a positive.

    .. math:: \sum_t \frac{TP_t - TP_{t^+}}{P} \cdot \frac{TP_t}{TP_t + FP_t}
    """
    rise = tp.diff(dim=-1, prepend=torch.zeros_like(tp[..., :1]))
    precision = tp / (tp + fp)
    return (rise * precision.masked_fill_(tp == 0, 0)).sum(-1) / tp[..., -1]


def curve_best_iou(tp: Float[Tensor, "*any n"], fp: Float[Tensor, "*any n"]) -> Float[Tensor, "*any"]:
    r"""The highest intersection over union of any threshold, :math:`\max_t TP_t / (P + FP_t)`."""
    return iou_from_counts(tp, tp + fp, tp[..., -1:]).amax(-1)


def auroc(
    scores: Shaped[Tensor, "*#batch n"],
    positive: Shaped[Tensor, "*#batch n"],
    negative: Shaped[Tensor, "*#batch n"],
) -> Float[Tensor, "*batch"]:
    r"""The chance that a positive has the higher score than a negative, ties counting half: the area under the ROC.

    .. math:: \frac{\sum_{i,j} a_i b_j \big([s_i > s_j] + \tfrac12 [s_i = s_j]\big)}{\sum_i a_i \sum_j b_j}

    Item ``i`` stands for :math:`a_i` positives and :math:`b_i` negatives, such as the pixels of a patch. 0.5 is
    chance; NaN where there is no positive or no negative.

    Args:
        scores: of the items.
        positive: weights :math:`a`; leading dimensions broadcast.
        negative: weights :math:`b`.

    Raises:
        ValueError: a score or a weight is NaN.
    """
    refuse_nan(positive, "positive weights")
    refuse_nan(negative, "negative weights")
    ranking = Ranking(scores)
    return curve_auroc(*(ranking.at_ends(ranking.cumulated(w)) for w in (positive, negative)))


def rank_correlation(a: Float[Tensor, "*#batch n"], b: Float[Tensor, "*#batch n"]) -> Float[Tensor, "*batch"]:
    """Spearman's correlation over the last dimension, ties sharing the mean of their places; others broadcast.

    1 for the same order, -1 for the reverse, about 0 for unrelated values. NaN where all values are equal.

    Raises:
        ValueError: a value is NaN.
    """
    centred = [ranks - ranks.mean(-1, keepdim=True) for ranks in (_places(a), _places(b))]
    return (centred[0] * centred[1]).sum(-1) / (centred[0].norm(dim=-1) * centred[1].norm(dim=-1))


def _places(values: Tensor) -> Float[Tensor, "*batch n"]:
    refuse_nan(values, "values")
    values = values.double().contiguous()
    ranked = values.sort(-1).values
    below, up_to = (torch.searchsorted(ranked, values, right=right) for right in (False, True))
    return (below + up_to).double() / 2


def refuse_nan(values: Tensor, what: str) -> None:
    """Raise ValueError where there is no order to speak of."""
    if values.is_floating_point() and bool((missing := values.isnan()).any()):
        raise ValueError(
            f"{int(missing.sum())} of {values.numel()} {what} are NaN, and NaN cannot be ranked: look where they "
            "come from (weights that are not finite?), or leave them out"
        )


# ---- the best of several --------------------------------------------------------------------------------------------


def expected_best_of(values: Float[Tensor, "*batch R"], k: int | None = None) -> Float[Tensor, "..."]:
    r"""The expected highest of ``k`` of the values, drawn without putting back: exact, no draws.

    .. math:: \mathbb E \max_{i \in S} v_i = \sum_{r=k}^{R} \binom{r-1}{k-1} \Big/ \binom{R}{k}\; v_{(r)},
        \qquad |S| = k, \quad v_{(1)} \le \dots \le v_{(R)}

    The largest of ``k`` is the ``r``-th in order if the others lie below. For ``k = 1`` it is the mean, for ``k = R``
    the maximum. Networks with different numbers of heads can be compared at the same number.

    Args:
        values: the pool in the last dimension.
        k: how many are drawn; None for 1, 2, ..., R, in the last dimension of the result.

    Raises:
        ValueError: ``k`` is not between 1 and the size of the pool, or a value is NaN.
    """
    R = values.shape[-1]
    if k is not None and not 1 <= k <= R:
        raise ValueError(f"k must lie between 1 and the size of the pool, {R}; got {k}")
    refuse_nan(values, "values")
    chances = torch.tensor(
        [[comb(r, j - 1) / comb(R, j) for j in ([k] if k else range(1, R + 1))] for r in range(R)],
        dtype=values.dtype,
        device=values.device,
    )
    found = values.sort(-1).values @ chances
    return found[..., 0] if k else found


# ---- counts ---------------------------------------------------------------------------------------------------------


def iou_from_counts(both: Tensor, first: Tensor, second: Tensor) -> Tensor:
    r"""Intersection over union of two sets by their sizes, :math:`|A\cap B| / (|A| + |B| - |A\cap B|)`.

    NaN where both sets are empty.
    """
    return both / (first + second - both)


def patch_counts(marked: Bool[Tensor, "*batch H W"], grid: tuple[int, int]) -> Int[Tensor, "*batch n"]:
    """How many marked pixels every patch holds, row by row.

    Args:
        marked: which pixels count.
        grid: patches down and across.

    Raises:
        ValueError: a mask that does not divide into the patches.
    """
    (H, W), (h, w) = marked.shape[-2:], grid
    if min(h, w) < 1 or H % h or W % w:
        raise ValueError(f"a mask of {H}x{W} pixels does not divide into {h}x{w} patches")
    by_patch = marked.unflatten(-1, (w, W // w)).unflatten(-3, (h, H // h))
    return by_patch.sum((-3, -1)).flatten(-2)


# ---- mean and spread ------------------------------------------------------------------------------------------------


class Running:
    """Mean and spread of values that arrive batch by batch, in memory that does not grow with their number."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, None, None

    def add(self, values: Float[Tensor, "b ..."]) -> None:
        """Take in one value (or one array of values) for each image of a batch; Chan's update, in float64."""
        values = values.detach().cpu().double()
        b, mean = len(values), values.mean(0)
        squares = (values - mean).square().sum(0)
        if self.mean is None:
            self.count, self.mean, self.squares = b, mean, squares
            return
        n, shift = self.count + b, mean - self.mean
        self.mean = self.mean + shift * (b / n)
        self.squares = self.squares + squares + shift.square() * (self.count * b / n)
        self.count = n

    def summary(self) -> dict[str, Tensor]:
        """``mean``, ``std``, and the mean's interval, ``low`` to ``high``; NaN but for the mean from one image."""
        if self.count < 2:
            nothing = torch.full_like(self.mean, torch.nan)
            return {"mean": self.mean, "std": nothing, "low": nothing, "high": nothing}
        std = (self.squares / (self.count - 1)).sqrt()
        low, high = normal_interval(self.mean, std, self.count)
        return {"mean": self.mean, "std": std, "low": low, "high": high}


# ---- intervals ------------------------------------------------------------------------------------------------------


def normal_interval(mean: Any, std: Any, count: int) -> tuple[Any, Any]:
    """Ends of a mean's 95 % interval by the normal approximation, for many values; numbers or tensors."""
    half = 1.96 * std / count**0.5
    return mean - half, mean + half


def resamples(count: int, draws: int, seed: int) -> Int[Tensor, "draws count"]:
    """Places of a bootstrap: in each draw as many as there are, with replacement. The global random state is kept."""
    if count < 1 or draws < 1:
        raise ValueError(f"a bootstrap needs something to draw from and a draw, got {count} and {draws}")
    return torch.randint(count, (draws, count), generator=torch.Generator().manual_seed(seed))


def mean_interval(values: Float[Tensor, " n"], *, draws: int = 2000, seed: int = 0) -> Interval:
    """Mean with its 95 % bootstrap interval over images: ``(mean, low, high)``.

    Of two networks on the same images the paired difference, ``mean_interval(a - b)``: what makes an image hard for
    both cancels.

    Raises:
        ValueError: no values, or NaN among them.
    """
    refuse_nan(values, "values")
    drawn = values[resamples(len(values), draws, seed)].mean(1)
    low, high = drawn.quantile(values.new_tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2])).tolist()
    return float(values.mean()), low, high


def bootstrap_interval(
    statistic: Callable[[Tensor], Sequence[float]], count: int, *, draws: int = 500, seed: int = 0
) -> list[Interval]:
    """Any statistics of a set of images, each with its 95 % bootstrap interval.

    Args:
        statistic: from the places of images, ``(count,)``, to one number or several. NaN in a draw, such as one
            without any object, is left out of the interval.
        count: how many images there are.
        draws: of the bootstrap.
        seed: of the draws.
    """
    whole = statistic(torch.arange(count))
    drawn = torch.tensor(
        [list(statistic(index)) for index in resamples(count, draws, seed)], dtype=torch.float64
    )
    ends = drawn.new_tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = drawn.nanquantile(ends, dim=0).tolist()
    return [(float(value), *end) for value, *end in zip(whole, low, high, strict=True)]


def t_interval(values: Sequence[float]) -> Interval:
    """Mean of a few values, such as one a training, with its 95 % interval by Student's t: ``(mean, low, high)``.

    Low and high are NaN for a single value: it does not say how far another one would lie from it.
    """
    x = torch.tensor(list(values), dtype=torch.float64)
    refuse_nan(x, "values")
    mean = float(x.mean())
    if len(x) < 2:
        return mean, float("nan"), float("nan")
    half = float(stdtrit(len(x) - 1, (1 + LEVEL) / 2) * x.std() / len(x) ** 0.5)
    return mean, mean - half, mean + half


def prediction_interval(values: Sequence[float]) -> Interval:
    r"""Mean of a few values, and where 95 % of further ones fall, if all are normal: ``(mean, low, high)``.

    .. math:: \bar v \pm t_{n-1}\, s \sqrt{1 + 1/n}

    :math:`\sqrt{n + 1}` times as wide as :func:`t_interval`, which says where the mean of all lies.
    """
    mean, low, high = t_interval(values)
    wider = (len(values) + 1) ** 0.5
    return mean, mean - wider * (mean - low), mean + wider * (high - mean)


def welch_interval(a: Sequence[float], b: Sequence[float]) -> Interval:
    r"""Difference of two means with the 95 % interval of Welch's t: ``(a - b, low, high)``.

    .. math:: \bar a - \bar b \pm t_\nu \sqrt{s_a^2/n_a + s_b^2/n_b}, \qquad
        \nu = \frac{(s_a^2/n_a + s_b^2/n_b)^2}{(s_a^2/n_a)^2/(n_a - 1) + (s_b^2/n_b)^2/(n_b - 1)}

    For a few trainings of one network against a few of another, each training one value. Low and high are NaN if
    either side has one only.
    """
    return contrast_interval([a, b], [1, -1])


def welch_test(a: Sequence[float], b: Sequence[float]) -> float:
    """Two-sided p-value of Welch's t: how often two means differ as much where there is no difference.

    Raises:
        ValueError: fewer than two values on a side, NaN, or values that do not spread on either side.
    """
    return contrast_test([a, b], [1, -1])


def contrast_interval(groups: Sequence[Sequence[float]], weights: Sequence[float | int]) -> Interval:
    r"""A weighted sum of the means of several groups, with its 95 % interval: :func:`welch_interval` for more than two.

    .. math:: \sum_g w_g \bar x_g \pm t_\nu \sqrt{\textstyle\sum_g v_g}, \qquad
        v_g = w_g^2 s_g^2 / n_g, \qquad \nu = \frac{(\sum_g v_g)^2}{\sum_g v_g^2 / (n_g - 1)}

    The degrees of freedom are Satterthwaite's (1946), as in Welch (1947); no two groups need spread alike.

    Args:
        groups: each training of a kind of network one value.
        weights: one a group; they usually add up to 0.

    Returns:
        Low and high are NaN where a group has one value only.

    Raises:
        ValueError: as many weights as groups were expected; or NaN.
    """
    value, parts = _contrast(groups, weights)
    if any(free < 1 for _, free in parts):
        return value, float("nan"), float("nan")
    return _t_about(value, sum(v for v, _ in parts), parts)


def contrast_test(groups: Sequence[Sequence[float]], weights: Sequence[float | int]) -> float:
    """Two-sided p-value of :func:`contrast_interval`'s value against 0.

    Raises:
        ValueError: fewer than two values in a group, NaN, or values that do not spread in any group.
    """
    value, parts = _contrast(groups, weights)
    if any(free < 1 for _, free in parts):
        sizes = " and ".join(str(len(group)) for group in groups)
        raise ValueError(f"a test needs two values a side at least, got {sizes}")
    if all(len({*group}) == 1 for group in groups):
        raise ValueError("the values of no side spread, so there is nothing to hold a difference against")
    return float(2 * stdtr(_freedom(parts), -abs(value) / sum(v for v, _ in parts) ** 0.5))


def _contrast(
    groups: Sequence[Sequence[float]], weights: Sequence[float | int]
) -> tuple[float, list[tuple[float, int]]]:
    """The value, and of every group the variance that it brings, with its degrees of freedom."""
    if len(groups) != len(weights):
        raise ValueError(f"expected a weight for each of {len(groups)} groups, got {len(weights)}")
    values = [torch.tensor(list(group), dtype=torch.float64) for group in groups]
    refuse_nan(torch.cat(values), "values")
    value = sum(w * float(x.mean()) for w, x in zip(weights, values, strict=True))
    spread = [0.0 if len(x) < 2 else float(x.var()) / len(x) for x in values]
    return value, [(w * w * v, len(x) - 1) for w, v, x in zip(weights, spread, values, strict=True)]


def holm(p_values: Sequence[float], level: float = 0.05, tests: int | None = None) -> list[bool]:
    r"""Which of several tests reject, so that any false rejection has a probability of at most ``level``.

    The smallest p-value is held against :math:`\alpha/m`, the next against :math:`\alpha/(m - 1)`, and so on until one
    does not pass (Holm, 1979).

    Args:
        p_values: of the tests that were made.
        level: :math:`\alpha`.
        tests: :math:`m`, where more were planned than made; by default as many.

    Raises:
        ValueError: more tests made than planned, or what is no p-value.
    """
    m = len(p_values) if tests is None else tests
    if m < len(p_values) or not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"expected at most {m} p-values between 0 and 1, got {list(p_values)}")
    kept = [False] * len(p_values)
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[i] > level / (m - rank):
            break
        kept[i] = True
    return kept


def hierarchical_interval(
    a: Float[Tensor, "A n"], b: Float[Tensor, "B n"], *, draws: int = 2000, seed: int = 0
) -> Interval:
    """Difference of two kinds of network over new trainings *and* new images: ``(a - b, low, high)``, 95 %.

    :func:`hierarchical_contrast` of two kinds, with the weights 1 and -1.

    Args:
        a: one row a training, one column an image; two trainings or more.
        b: of the other kind, on the same images; not necessarily as many trainings.
        draws: of the bootstrap.
        seed: of the draws.
    """
    return hierarchical_contrast([a, b], [1, -1], draws=draws, seed=seed)


def hierarchical_contrast(
    groups: Sequence[Float[Tensor, "_ _"]],
    weights: Sequence[float | int],
    *,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    r"""A weighted sum of the means of kinds of network, over new trainings *and* new images: ``(value, low, high)``.

    Every draw takes trainings anew, each kind its own, and images anew, the same for all. The draws give the standard
    error; the 95 % interval is a t interval about the value, its degrees of freedom by Satterthwaite from the spreads
    over trainings and the one over images. (The quantiles of the draws themselves would be too narrow: three trainings
    have ten different draws. For the same reason each training's distance from its kind's mean is stretched by
    :math:`\sqrt{S / (S - 1)}`, which makes the drawn variance that of a mean of ``S``.)

    Args:
        groups: a kind of network each: one row a training, one column an image, the same images for all; two trainings
            or more, not necessarily as many of each.
        weights: one a kind; they usually add up to 0.
        draws: of the bootstrap.
        seed: of the draws.

    Returns:
        Low and high are NaN if any kind has one training only: :func:`mean_interval` of the sum then speaks of these
        networks, and nothing speaks of others.

    Raises:
        ValueError: different numbers of images, as many weights as kinds were expected, or NaN.
    """
    if len(counts := {group.shape[1] for group in groups}) > 1:
        raise ValueError(f"all sides need the same images, got {' and '.join(map(str, sorted(counts)))}")
    kinds, n = [group.double() for group in groups], groups[0].shape[1]
    value, parts = _contrast([kind.mean(1).tolist() for kind in kinds], weights)
    if any(free < 1 for _, free in parts):
        return value, float("nan"), float("nan")
    images = _times_drawn(resamples(n, draws, seed)) / n
    drawn = torch.zeros(draws, dtype=torch.float64)
    for own, (weight, kind) in enumerate(zip(weights, kinds, strict=True), start=1):
        S, mean = len(kind), kind.mean(0)
        stretched = mean + (S / (S - 1)) ** 0.5 * (kind - mean)
        trainings = _times_drawn(resamples(S, draws, (len(kinds) + 1) * seed + own)) / S
        drawn += weight * ((trainings @ stretched) * images).sum(1)
    total = float(drawn.var())
    return _t_about(value, total, [*parts, (max(0.0, total - sum(v for v, _ in parts)), n - 1)])


def variance_shares(values: Float[Tensor, "a b d"]) -> tuple[float, float, float]:
    r"""How much of a variance comes with the row, how much with the column, and how much with neither alone.

    Two-way analysis of variance with random effects and one value a cell, :math:`x_{ij} = m + r_i + c_j + e_{ij}`:

    .. math:: \hat\sigma_e^2 = \frac{\sum_{ij} \lVert x_{ij} - \bar x_{i\cdot} - \bar x_{\cdot j} + \bar x \rVert^2}
        {(a - 1)(b - 1)}, \qquad
        \hat\sigma_r^2 = \frac{\sum_i \lVert \bar x_{i\cdot} - \bar x \rVert^2}{a - 1} - \frac{\hat\sigma_e^2}{b},
        \qquad
        \hat\sigma_c^2 = \frac{\sum_j \lVert \bar x_{\cdot j} - \bar x \rVert^2}{b - 1} - \frac{\hat\sigma_e^2}{a}

    The last contains what row and column do together. A variance that comes out below zero is zero.

    Args:
        values: ``(a, b, d)``: a vector for each of ``a`` rows and ``b`` columns.

    Returns:
        Shares of rows, of columns and of the rest; their sum is 1.

    Raises:
        ValueError: fewer than two rows or columns, NaN, or values that are all equal.
    """
    a, b = values.shape[:2]
    if a < 2 or b < 2:
        raise ValueError(f"two rows and two columns at least are needed, got {a} and {b}")
    refuse_nan(values, "values")
    x = values.double()
    x = x - x.mean((0, 1))
    rows, columns = x.mean(1), x.mean(0)
    rest = (x - rows[:, None] - columns).square().sum().item() / ((a - 1) * (b - 1))
    parts = (
        max(rows.square().sum().item() / (a - 1) - rest / b, 0.0),
        max(columns.square().sum().item() / (b - 1) - rest / a, 0.0),
        rest,
    )
    if not (total := sum(parts)) > 0:
        raise ValueError("all values are equal: there is no variance to share out")
    rows_share, columns_share, rest_share = (part / total for part in parts)
    return rows_share, columns_share, rest_share


def _times_drawn(index: Int[Tensor, "draws n"]) -> Float[Tensor, "draws n"]:
    """How often each place is in each draw."""
    counts = torch.zeros(index.shape, dtype=torch.float64)
    return counts.scatter_add_(1, index, torch.ones_like(counts))


def _t_about(value: float, variance: float, parts: Sequence[tuple[float, int]]) -> Interval:
    """A t interval, its degrees of freedom from variances and their own degrees (Satterthwaite)."""
    if variance == 0:
        return value, value, value
    half = float(stdtrit(_freedom(parts), (1 + LEVEL) / 2)) * variance**0.5
    return value, value - half, value + half


def _freedom(parts: Sequence[tuple[float, int]]) -> float:
    return sum(v for v, _ in parts) ** 2 / sum(v**2 / max(1, f) for v, f in parts)


def simultaneous(
    scores: Float[Tensor, " n *entries"], *, level: float = LEVEL, draws: int = 1000, seed: int = 0
) -> dict[str, Float[Tensor, "*entries"]]:
    r"""Means with intervals that hold for all entries *at once*, so that the best of them may be looked at.

    The bootstrap draws pictures; in every draw the entry that strays farthest, in units of its own standard error,
    is noted, and the ``level`` quantile of these maxima, :math:`c`, makes all intervals:
    :math:`\text{mean} \pm c\,\text{se}`. For one entry :math:`c` is about 1.96.

    Args:
        scores: one row a picture, NaN where a picture has nothing to say on an entry.
        level: how often all intervals together cover.
        draws: bootstrap draws.
        seed: of the draws.

    Returns:
        ``mean``, ``low``, ``high``, ``se``, ``c``; NaN where fewer than two pictures say something.
    """
    flat = scores.double().flatten(1)
    seen = (~flat.isnan()).double()
    flat = flat.nan_to_num()
    usable = seen.sum(0) >= 2
    weight = _times_drawn(resamples(len(scores), draws, seed))
    mean = flat.sum(0) / seen.sum(0)
    drawn = (weight @ flat) / (weight @ seen)  # NaN in the rare draw that has none of an entry's pictures
    se = torch.stack(
        [d[~d.isnan()].std() if u else torch.tensor(torch.nan) for d, u in zip(drawn.T, usable, strict=True)]
    )
    stray = ((drawn - mean).abs() / se).nan_to_num(0.0, 0.0, 0.0)
    c = stray.amax(1).quantile(level)
    parts = {"mean": mean, "low": mean - c * se, "high": mean + c * se, "se": se}
    parts = {k: torch.where(usable, v, torch.nan).view(scores.shape[1:]) for k, v in parts.items()}
    return parts | {"c": c}
