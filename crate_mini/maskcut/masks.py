"""From eigenvectors to masks: which side is the object, which piece of it, and when the search ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from scipy import ndimage
from torch import Tensor

from crate_mini.maskcut.eigenvectors import Vector, dense, strongest
from crate_mini.maskcut.graph import EPSILON, TAU, cuttable, neighbours
from crate_mini.model import CRATE
from crate_mini.recorder import layer_numbers
from crate_mini.stats import iou_from_counts
from crate_mini.token_pca import patch_features

LARGEST_OVERLAP = 0.5
"""A further mask that overlaps an earlier one by more (IoU) is the same object again."""
SMALLEST_AREA = 0.01
"""A further mask must cover more than this share of the image."""
SOLVERS = ("iterative", "dense")

Sides = tuple[Float[Tensor, "h w"], Bool[Tensor, "h w"], tuple[int, int], Bool[Tensor, "h w"]]


@dataclass(frozen=True)
class Round:
    r"""One cut, step by step.

    Attributes:
        eigenvalue: of the normalised affinity, the second largest; :math:`1 - \lambda` of the cut.
        vector: second eigenvector of :math:`(D - A)v = \lambda D v`, of length one, turned so that the object's
            side is the upper one, ``(h, w)``.
        foreground: entries above the mean.
        seed: row and column of the strongest entry of the foreground.
        found: the piece of the foreground that hangs together with the seed.
        mask: what of it no earlier mask has painted.
        dropped: why the round gave no mask, or an empty string.
        products: how many products with the graph the solver took; 0 where it went another way.
    """

    eigenvalue: float
    vector: Float[Tensor, "h w"]
    foreground: Bool[Tensor, "h w"]
    seed: tuple[int, int]
    found: Bool[Tensor, "h w"]
    mask: Bool[Tensor, "h w"]
    dropped: str
    products: int


def maskcut(
    features: Shaped[Tensor, "..."],
    grid: tuple[int, int],
    *,
    n_masks: int = 3,
    tau: float = TAU,
    eps: float = EPSILON,
    solver: str = "iterative",
) -> Bool[Tensor, "m h w"]:
    """Masks of up to ``n_masks`` objects on the grid of patches, the first found first; they do not overlap.

    The first cut always counts. A further one is dropped, and ends the search, where it finds an earlier object
    again (IoU above :data:`LARGEST_OVERLAP`) or :data:`SMALLEST_AREA` of the image or less. Features that do not
    tell any two patches apart (all equal, all zero) give no mask at all: ``(0, h, w)``.

    Args:
        features: ``(h w, d)``, one row a patch, row by row of the image, without the class token.
        grid: rows and columns of patches.
        n_masks: the most masks to look for.
        tau: cosine above which two patches are joined.
        eps: affinity of all others.
        solver: ``"iterative"``, or ``"dense"``: the same by SciPy's generalised eigenproblem, for comparison.

    Raises:
        ValueError: features that are not finite or do not fit the grid, fewer than 4 patches, no mask asked for,
            ``tau`` outside [0, 1), ``eps`` outside (0, 1), an unknown solver.
    """
    rounds = maskcut_rounds(features, grid, n_masks=n_masks, tau=tau, eps=eps, solver=solver)
    return _masks(rounds, grid)


def maskcut_batch(
    features: Shaped[Tensor, "..."],
    grid: tuple[int, int],
    *,
    n_masks: int = 3,
    tau: float = TAU,
    eps: float = EPSILON,
) -> list[Bool[Tensor, "m h w"]]:
    """:func:`maskcut` of several images of one size, features ``(b, h w, d)``.

    They are iterated side by side: faster on small grids and on a GPU.
    """
    return [_masks(rounds, grid) for rounds in _search(features, grid, n_masks, tau, eps)]


def discover(
    model: CRATE,
    images: Shaped[Tensor, "b 3 H W"],
    layers: Sequence[int] | None = None,
    *,
    n_masks: int = 3,
    tau: float = TAU,
) -> dict[int, list[Bool[Tensor, "m h w"]]]:
    """Objects that a model's features tell apart: :func:`maskcut` of its projections (a ViT's keys), all heads side
    by side, by layer. One forward pass for all layers; masks on the grid of patches.

    Args:
        model: any model of :mod:`crate_mini.model`.
        images: uint8, or float in [0, 1], sides multiples of the patch.
        layers: layer numbers; all if None.
        n_masks: the most masks to look for in an image.
        tau: cosine above which two patches are joined.
    """
    features = patch_features(model, images, layers)
    grid = tuple(side // model.config.patch_size for side in images.shape[-2:])
    return {
        i: maskcut_batch(features[i], grid, n_masks=n_masks, tau=tau) for i in layer_numbers(model, layers)
    }


def maskcut_rounds(
    features: Shaped[Tensor, "..."],
    grid: tuple[int, int],
    *,
    n_masks: int = 3,
    tau: float = TAU,
    eps: float = EPSILON,
    solver: str = "iterative",
) -> list[Round]:
    """What :func:`maskcut` does, round by round; the last may be one that was dropped. Arguments as there."""
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {SOLVERS}, got {solver!r}")
    if features.ndim != 2:
        raise ValueError(f"features must be (patches, d), got shape {tuple(features.shape)}")
    return _search(features[None], grid, n_masks, tau, eps, slowly=solver == "dense")[0]


def split(
    vector: Vector,
    grid: tuple[int, int],
) -> Sides:
    """From the eigenvector to an object: which side, which piece of it.

    The two sides lie above and below the mean. A side that has three corners of the image or more is the background;
    without such a side, the one with the strongest entry is the object. Both hold whichever sign the solver gave.
    Of the object's side, the piece that hangs together (over edges, not corners, of patches) with its strongest
    entry is kept.

    Returns:
        The vector with the object's side up, that side, the seed, and the piece.
    """
    v = vector.double().reshape(grid)
    above = v > v.mean()
    corners = int(above[[0, 0, -1, -1], [0, -1, 0, -1]].sum())
    strongest = _first_of_the_largest(v.abs())
    if corners >= 3 or (corners == 2 and not above[strongest]):
        v, above = -v, ~above
    seed = _first_of_the_largest(v)
    pieces = ndimage.label(above.numpy())[0]
    return v, above, seed, torch.from_numpy(pieces == pieces[seed])


def _first_of_the_largest(v: Float[Tensor, "h w"]) -> tuple[int, int]:
    """Row and column; of entries that differ by no more than a solver's rounding, the first."""
    reach = v.max() - 1e-4 * (v.max() - v.min())
    return divmod(int((v >= reach).flatten().to(torch.uint8).argmax()), v.shape[1])


def boxes_of(masks: Bool[Tensor, "m h w"]) -> Float[Tensor, "m 4"]:
    """The tightest boxes around masks: left, top, right, bottom, the last two one past the mask.

    Raises:
        ValueError: an empty mask.
    """
    boxes = torch.zeros(len(masks), 4)
    for i, mask in enumerate(masks):
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        if not len(rows):
            raise ValueError(f"mask {i} is empty and has no box")
        boxes[i] = torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return boxes


def _search(
    features: Tensor, grid: tuple[int, int], n_masks: int, tau: float, eps: float, slowly: bool = False
) -> list[list[Round]]:
    """All rounds of all images of a batch."""
    _check(features, grid, n_masks, tau, eps)
    b, n, _ = features.shape
    S = neighbours(features, tau)
    alive = torch.ones(b, n, device=S.device)
    start = None
    rounds: list[list[Round]] = [[] for _ in range(b)]
    searching = [i for i in range(b) if cuttable(S[i])]
    for _ in range(n_masks):
        if not searching:
            break
        if slowly:
            # as it is usually done: features of painted patches zeroed, and all from the start
            solved = [dense(features[i] * alive[i, :, None], tau, eps) for i in searching]
            values, vectors, products = [s[0] for s in solved], [s[1] for s in solved], 0
        else:
            whole = len(searching) == b
            part = slice(None) if whole else searching
            values, pair, products = strongest(
                S[part], alive[part], eps, start if start is None or whole else start[searching]
            )
            vectors = pair[:, 0].cpu()
            if start is None:
                start = S.new_zeros(b, n)
            start[searching] = pair[:, 1].to(start)  # the next best cut is a good guess at the next object
        for i, value, vector in zip(list(searching), values, vectors, strict=True):
            cut = judge(value, vector, grid, rounds[i], products)
            rounds[i].append(cut)
            alive[i] *= 1 - cut.mask.flatten().to(alive) * (not cut.dropped)
            if cut.dropped:
                searching.remove(i)
    return rounds


def judge(value: float, vector: Tensor, grid: tuple[int, int], earlier: list[Round], products: int) -> Round:
    """Turn an eigenvector into a mask, and say whether it is one."""
    vector, foreground, seed, found = split(vector, grid)
    mask = found.clone()
    dropped = ""
    for before in earlier:
        mask &= ~before.mask
        overlap = iou_from_counts((found & before.found).sum(), found.sum(), before.found.sum())
        if overlap > LARGEST_OVERLAP:
            dropped = "an earlier object again"
    if earlier and not dropped:
        if found.sum() <= SMALLEST_AREA * found.numel():
            dropped = "too small"
        elif not mask.any():
            dropped = "nothing new"
    return Round(value, vector, foreground, seed, found, mask, dropped, products)


def _masks(rounds: list[Round], grid: tuple[int, int]) -> Tensor:
    kept = [r.mask for r in rounds if not r.dropped]
    return torch.stack(kept) if kept else torch.zeros(0, *grid, dtype=torch.bool)


def _check(features: Tensor, grid: tuple[int, int], n_masks: int, tau: float, eps: float) -> None:
    if features.ndim != 3:
        raise ValueError(f"features must be (images, patches, d), got shape {tuple(features.shape)}")
    h, w = grid
    n = features.shape[1]
    if h < 1 or w < 1 or h * w != n:
        raise ValueError(
            f"a grid of {h} x {w} has {h * w} patches, features have {n} rows; leave the class token out"
        )
    if n < 4:
        raise ValueError(f"a cut needs at least 4 patches, got {n}")
    if not features.is_floating_point() or not torch.isfinite(features).all():
        raise ValueError("features must be finite numbers; these hold NaN, infinite or integer entries")
    if not torch.isfinite(features.float().square().sum(-1)).all():  # whose cosines would all be zero
        raise ValueError("features must be finite numbers; these are so large that their lengths are not")
    if not isinstance(n_masks, int) or n_masks < 1:
        raise ValueError(f"n_masks must be an integer of at least 1, got {n_masks!r}")
    if not 0 <= tau < 1:
        raise ValueError(f"tau must lie in [0, 1), got {tau}")
    if not 0 < eps < 1:
        raise ValueError(f"eps must lie in (0, 1), got {eps}")
