r"""MaskCut: objects without labels, by cutting the graph of an image's patches in two, again and again.

Patches are joined where their features are alike. The second eigenvector of that graph says how to cut it with the
least harm (the normalised cut of Shi and Malik, 2000); the side with the strongest entry is taken for an object, its
patches are painted over, and what is left is cut again. The procedure is that of MaskCut (arXiv 2301.11320),
written from its description, with the setting of arXiv 2308.16271, section C: features are CRATE's projections
:math:`U_k^\top z` (of a ViT its keys), three masks, :math:`\tau = 0.15`, no refinement of the edges.

What is special here is the solver. The affinity is :math:`A = \varepsilon 11^\top + (1 - \varepsilon) S` with ``S`` a
matrix of zeros and ones, so one product with ``S`` and one sum are all that an iterative solver needs; painting
patches over only switches rows of ``S`` off. :func:`maskcut` therefore forms ``S`` once for all masks, where the usual
way solves a dense eigenproblem for each.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from scipy import ndimage
from scipy.linalg import eigh
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from crate_mini.model import CRATE
from crate_mini.recorder import layer_numbers
from crate_mini.token_pca import patch_features

TAU = 0.15
"""Patches whose features have a cosine above this are joined."""
EPSILON = 1e-5
"""Affinity of patches that are not joined."""
LARGEST_OVERLAP = 0.5
"""A further mask that overlaps an earlier one by more (IoU) is the same object again."""
SMALLEST_AREA = 0.01
"""A further mask must cover more than this share of the image."""
SOLVERS = ("iterative", "dense")

TOLERANCE = 3e-4  # of the eigenvector's direction: far below what can move a patch over the threshold
NEARLY_APART = 0.99  # an eigenvalue above it: pieces that hang together by EPSILON alone, beyond float32
SMALL = 100  # up to so many patches the whole spectrum costs less than the overhead of iterating
ITERATIONS = 90
CHECK_EVERY = 3

Graph = Float[Tensor, "*b n n"]
Vector = Float[Tensor, " n"]
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
    return _search(features[None], grid, n_masks, tau, eps, dense=solver == "dense")[0]


def neighbours(
    features: Float[Tensor, "*b n d"],
    tau: float = TAU,
) -> Graph:
    r"""The graph ``S``: 1 where :math:`\cos(f_i, f_j) > \tau`, else 0. A feature of length zero has no neighbour."""
    unit = F.normalize(features.float(), dim=-1)
    return (unit @ unit.mT).gt_(tau)


def affinity(
    features: Float[Tensor, "n d"],
    tau: float = TAU,
    eps: float = EPSILON,
) -> Graph:
    r""":math:`A`: 1 between patches whose cosine is above :math:`\tau`, ``eps`` between all others; float64."""
    return neighbours(features, tau).double().clamp(min=eps)


def second_eigenvector(
    A: Float[Tensor, "n n"],
) -> tuple[float, Vector]:
    r"""The usual way: :math:`(D - A) v = \lambda D v` as a dense generalised eigenproblem, by SciPy.

    Returns:
        The second smallest eigenvalue and its vector, of length one.
    """
    W = A.double().cpu().numpy()
    D = np.diag(W.sum(1))
    values, vectors = eigh(D - W, D, subset_by_index=[1, 1])
    v = torch.from_numpy(vectors[:, 0])
    return float(values[0]), F.normalize(v, dim=0)


def normalised_product(
    S: Float[Tensor, "b n n"],
    alive: Float[Tensor, "b n"],
    eps: float,
) -> tuple[Callable[[Tensor], Tensor], Float[Tensor, "b n"]]:
    r"""The map :math:`x \mapsto D^{-1/2} A D^{-1/2} x` and the degrees, without forming ``A``.

    .. math:: A x = \varepsilon\, 1 (1^\top x) + (1 - \varepsilon)\, a \odot S (a \odot x)

    with ``a`` 0 for patches that are painted over: their features are zero, so they have no neighbours.
    """
    n = S.shape[-1]

    def joined(x: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        return alive * (S @ (alive * x)[..., None])[..., 0]

    degrees = (1 - eps) * joined(alive) + eps * n
    root = degrees.rsqrt()

    def product(x: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        y = root * x
        everyone = y.sum(-1, keepdim=True)
        return root * ((1 - eps) * joined(y) + eps * everyone)

    return product, degrees


def lanczos(
    product: Callable[[Tensor], Tensor],
    known: Float[Tensor, "b n"],
    start: Float[Tensor, "b n"],
    *,
    tolerance: float = TOLERANCE,
    iterations: int = ITERATIONS,
) -> tuple[Float[Tensor, "b 2"], Float[Tensor, "b 2 n"], Float[Tensor, " b"], int]:
    r"""The two largest eigenvalues of a symmetric map on the complement of one eigenvector that is known.

    Lanczos with full reorthogonalisation. It stops when the first vector is within ``tolerance`` of an
    eigenvector for every member of the batch: the residual over the distance to the next value bounds the error
    (Davis and Kahan).

    Returns:
        Values and vectors, the error bound of the first vector, and the number of products taken.
    """
    noise = torch.Generator().manual_seed(0)
    b, n = start.shape
    iterations = min(iterations, n - 1)
    basis = start.new_zeros(b, iterations + 1, n)
    basis[:, 0] = F.normalize(known, dim=-1)
    T = torch.zeros(b, iterations, iterations, dtype=torch.float64)
    x = start
    for k in range(iterations):
        x = _orthogonal(x, basis[:, : k + 1])
        length = x.norm(dim=-1, keepdim=True)
        # nothing new: this direction is a sum of few eigenvectors; go on with another
        lost = length[:, 0] <= 1e-6 * (1 if k else start.norm(dim=-1))
        if lost.any():
            other = torch.randn(b, n, generator=noise).to(start)
            x = torch.where(lost[:, None], _orthogonal(other, basis[:, : k + 1]), x)
            length = torch.where(lost[:, None], x.norm(dim=-1, keepdim=True), length)
        if k:
            T[:, k, k - 1] = T[:, k - 1, k] = torch.where(lost, 0, length[:, 0]).double().cpu()
        basis[:, k + 1] = x / length
        x = product(basis[:, k + 1])
        T[:, k, k] = (x * basis[:, k + 1]).sum(-1).double().cpu()
        last = k + 1 == iterations
        if k >= 3 and (last or k % CHECK_EVERY == 0):
            x = _orthogonal(x, basis[:, : k + 2])
            values, vectors = torch.linalg.eigh(T[:, : k + 1, : k + 1])
            residual = x.norm(dim=-1).double().cpu() * vectors[:, -1, -1].abs()
            error = residual / (values[:, -1] - values[:, -2]).clamp(min=1e-12)
            if last or bool((error <= tolerance).all()):
                break
    weights = vectors[:, :, [-1, -2]].to(basis)
    return values[:, [-1, -2]], weights.mT @ basis[:, 1 : k + 2], error, k + 1


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
    features: Tensor, grid: tuple[int, int], n_masks: int, tau: float, eps: float, dense: bool = False
) -> list[list[Round]]:
    """All rounds of all images of a batch."""
    _check(features, grid, n_masks, tau, eps)
    b, n, _ = features.shape
    S = neighbours(features, tau)
    alive = torch.ones(b, n, device=S.device)
    start = None
    rounds: list[list[Round]] = [[] for _ in range(b)]
    searching = [i for i in range(b) if _cuttable(S[i])]
    for _ in range(n_masks):
        if not searching:
            break
        if dense:
            # as it is usually done: features of painted patches zeroed, and all from the start
            solved = [_dense(features[i] * alive[i, :, None], tau, eps) for i in searching]
            values, vectors, products = [s[0] for s in solved], [s[1] for s in solved], 0
        else:
            whole = len(searching) == b
            part = slice(None) if whole else searching
            values, pair, products = _iterative(
                S[part], alive[part], eps, start if start is None or whole else start[searching]
            )
            vectors = pair[:, 0].cpu()
            if start is None:
                start = S.new_zeros(b, n)
            start[searching] = pair[:, 1].to(start)  # the next best cut is a good guess at the next object
        for i, value, vector in zip(list(searching), values, vectors, strict=True):
            cut = _judge(value, vector, grid, rounds[i], products)
            rounds[i].append(cut)
            alive[i] *= 1 - cut.mask.flatten().to(alive) * (not cut.dropped)
            if cut.dropped:
                searching.remove(i)
    return rounds


def _iterative(
    S: Tensor, alive: Tensor, eps: float, start: Tensor | None
) -> tuple[list[float], Float[Tensor, "b 2 n"], int]:
    """Second and third eigenvalue's generalised eigenvectors, by whatever is exact enough and costs least."""
    n = S.shape[-1]
    if n <= SMALL:
        A = (1 - eps) * alive[:, :, None].double() * S.double() * alive[:, None].double() + eps
        root = A.sum(-1).rsqrt()
        values, vectors = torch.linalg.eigh(root[:, :, None] * A * root[:, None])
        pair = vectors[:, :, [-2, -3]].mT * root[:, None]
        return values[:, -2].tolist(), F.normalize(pair, dim=-1), 0
    product, degrees = normalised_product(S, alive, eps)
    known = degrees.sqrt()
    noise = torch.randn(n, generator=torch.Generator().manual_seed(1)).to(S)
    if start is None:
        start = noise.expand(len(S), n)
    else:
        # away from the eigenvector's own scale, patches painted over left out, and a little of everything
        start = F.normalize(alive * start * known, dim=-1) + 0.1 * F.normalize(noise, dim=-1)
    values, pair, error, products = lanczos(product, known, start)
    pair = F.normalize(pair.double() / known[:, None].double(), dim=-1)
    pair = _on_painted(pair, values, alive)
    first = values[:, 0].tolist()
    for i in ((error > TOLERANCE) | (values[:, 0] > NEARLY_APART)).nonzero()[:, 0].tolist():
        first[i], pair[i] = _precise(S[i], alive[i], eps, pair[i])
    return first, pair, products


def _on_painted(
    pair: Float[Tensor, "b 2 n"], values: Float[Tensor, "b 2"], alive: Float[Tensor, "b n"]
) -> Tensor:
    """Entries of painted patches, whose degrees are so small that rounding is large there, from all others.

    For a painted patch the eigenproblem reads: mean of v = eigenvalue times its entry. All are equal, so the mean is
    that of the living and of m times this entry.
    """
    n, living = alive.shape[-1], alive[:, None].to(pair)
    scaled = n * values.to(pair)[..., None]
    share = scaled - (1 - living).sum(-1, keepdim=True)
    exact = (pair * living).sum(-1, keepdim=True) / torch.where(share.abs() < 0.02 * n, 1, share)
    rough = pair.sum(-1, keepdim=True) / torch.where(scaled.abs() < 0.02 * n, 1, scaled)
    entry = torch.where(share.abs() < 0.02 * n, rough, exact)
    usable = scaled.abs() >= 0.02 * n
    return F.normalize(torch.where((living > 0) | ~usable, pair, entry), dim=-1)


def _precise(S: Tensor, alive: Tensor, eps: float, guess: Tensor) -> tuple[float, Float[Tensor, "2 n"]]:
    """The same in float64, by ARPACK: for values so close together, or so close to one, that float32 cannot tell."""
    S, alive = S[None].double().cpu(), alive[None].double().cpu()
    product, degrees = normalised_product(S, alive, eps)
    n, known = S.shape[-1], F.normalize(degrees.sqrt(), dim=-1)[0].numpy()

    def deflated(x: np.ndarray) -> np.ndarray:
        # the known vector's eigenvalue, 1, is moved to -1: out of the way of the largest
        y = product(torch.from_numpy(np.ascontiguousarray(x.reshape(1, n))))[0].numpy()
        return y - 2 * known * (known @ x.reshape(n))

    start = guess[0].cpu().numpy() * known + 1e-3 * known.mean() * np.random.default_rng(0).normal(size=n)
    values, vectors = eigsh(
        LinearOperator((n, n), matvec=deflated, dtype=np.float64), k=2, which="LA", v0=start, ncv=min(n, 40)
    )
    order = np.argsort(-values)
    pair = torch.from_numpy(vectors[:, order].T.copy()) / degrees.sqrt()
    return float(values[order[0]]), F.normalize(pair, dim=-1)


def _dense(features: Tensor, tau: float, eps: float) -> tuple[float, Tensor]:
    value, vector = second_eigenvector(affinity(features, tau, eps))
    return 1 - value, vector


def _judge(value: float, vector: Tensor, grid: tuple[int, int], earlier: list[Round], products: int) -> Round:
    """Turn an eigenvector into a mask, and say whether it is one."""
    vector, foreground, seed, found = split(vector, grid)
    mask = found.clone()
    dropped = ""
    for before in earlier:
        mask &= ~before.mask
        overlap = (found & before.found).sum() / (found | before.found).sum()
        if overlap > LARGEST_OVERLAP:
            dropped = "an earlier object again"
    if earlier and not dropped:
        if found.sum() <= SMALLEST_AREA * found.numel():
            dropped = "too small"
        elif not mask.any():
            dropped = "nothing new"
    return Round(value, vector, foreground, seed, found, mask, dropped, products)


def _cuttable(S: Tensor) -> bool:
    """Whether the graph tells any two patches apart: neither all joined nor none."""
    n = len(S)
    joined = S.sum()
    return bool((joined > S.diagonal().sum()) & (joined < n * n)) or bool(
        (joined > 0) & (joined < n)  # some patches without any features, the others alone
    )


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
    if not isinstance(n_masks, int) or n_masks < 1:
        raise ValueError(f"n_masks must be an integer of at least 1, got {n_masks!r}")
    if not 0 <= tau < 1:
        raise ValueError(f"tau must lie in [0, 1), got {tau}")
    if not 0 < eps < 1:
        raise ValueError(f"eps must lie in (0, 1), got {eps}")


def _orthogonal(x: Tensor, basis: Float[Tensor, "b k n"]) -> Tensor:
    """What of x is orthogonal to the rows of the basis; twice, which is enough."""
    for _ in range(2):
        x = x - ((basis @ x[..., None]).mT @ basis)[:, 0]
    return x


class _CallableModule(ModuleType):
    """A module that can be called: ``crate_mini.maskcut(...)`` is :func:`maskcut`, whatever was imported before."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.maskcut(*args, **kwargs)


# crate_mini has a public function and a module of one name, and Python puts the module in the function's place as soon
# as anybody imports it. So the module is both: what it holds is found in it, and called it is the function.
sys.modules[__name__].__class__ = _CallableModule
__signature__ = inspect.signature(maskcut)  # what help() and editors show of it
