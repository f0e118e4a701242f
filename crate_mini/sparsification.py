r"""Sparsification: one proximal-gradient step on a LASSO becomes a layer with a ReLU (ISTA).

Tokens are rows, ``(..., n, d)``; the dictionary ``D`` is ``(d, d)`` and codes a token ``y`` as ``y ~ D z``. The
functions come in the order of the derivation: the objective, then the step that lowers it, which a network runs
(:class:`crate_mini.operators.ISTA` is the layer), and :func:`odl`, several steps in a dictionary with more atoms.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

PROXIMAL_MAPS = ("relu", "soft")


def lasso_objective(
    Y: Float[Tensor, "*batch d"],
    D: Float[Tensor, "d m"],
    Z: Float[Tensor, "*batch m"],
    lam: float,
    *,
    nonnegative: bool = True,
) -> Float[Tensor, "*batch"]:
    r"""What a sparse code is to make small, for each token.

    .. math:: F(z) = \tfrac12 \lVert y - D z \rVert^2 + \lambda \lVert z \rVert_1
        \quad\text{over } z \ge 0

    (arXiv 2306.01129, section 2.4, prints it without the :math:`\tfrac12`: that is the same problem with twice the
    :math:`\lambda`.) A code with a negative entry is outside the problem and costs infinity, unless
    ``nonnegative`` is false.

    Args:
        Y: tokens, ``(..., d)``.
        D: dictionary, ``(d, m)``; its columns are the atoms.
        Z: codes, ``(..., m)``.
        lam: :math:`\lambda \ge 0`, price of a unit of code.
        nonnegative: whether negative codes are forbidden.

    Returns:
        ``(...)``, one number for each token; in single precision at least. Differentiable in ``Z`` where finite.

    Raises:
        ValueError: shapes that do not fit, NaN or infinite entries, or a negative ``lam``.
    """
    _check(Y, D, lam, Z)
    Y, D, Z = (t.to(_wide(Y, D, Z)) for t in (Y, D, Z))
    error = 0.5 * (Y - Z @ D.mT).square().sum(-1)
    value = error + lam * Z.abs().sum(-1)
    if nonnegative:
        value = value.masked_fill((Z < 0).any(-1), math.inf)
    return value


def largest_step(D: Float[Tensor, "d m"]) -> float:
    r"""The longest step at which every step of ISTA rests on a bound: :math:`1/\lVert D \rVert^2`.

    The gradient of :math:`\tfrac12\lVert y - Dz\rVert^2` changes by at most :math:`\lVert D\rVert^2` times the way
    gone (spectral norm). Up to this step the parabola that a step minimises lies above the objective, and the
    objective falls like 1/iterations. Descent itself holds up to twice this step, :math:`2/\lVert D \rVert^2`;
    beyond, a gradient step overshoots along the leading singular vector and may climb.

    Raises:
        ValueError: ``D`` is no matrix, not finite, or zero (any step would do).
    """
    _check_dictionary(D)
    norm = torch.linalg.matrix_norm(D.detach().to(_wide(D)), 2)
    return 1 / norm.item() ** 2


def proximal_map(
    V: Float[Tensor, "*shape"], threshold: float, *, proximal: str = "relu"
) -> Float[Tensor, "*shape"]:
    r"""The cheapest point near ``V``: what a step does after its gradient.

    .. math:: \mathrm{prox}(v) = \arg\min_{z}\; \tfrac12 (z - v)^2 + \tau \lvert z \rvert
        = \begin{cases} \max(v - \tau, 0) & z \ge 0 \quad\text{(relu)} \\
        \mathrm{sign}(v) \max(\lvert v \rvert - \tau, 0) & z \in \mathbb R \quad\text{(soft)} \end{cases}

    entry by entry. (Parikh & Boyd, Proximal Algorithms, 2014; :math:`\tau \ge 0` is ``threshold``.)

    Raises:
        ValueError: unknown ``proximal``, or a negative threshold.
    """
    _check_proximal(proximal, threshold)
    if proximal == "relu":
        return torch.relu(V - threshold)
    return F.softshrink(V, threshold)


def proximal_step(
    Z: Float[Tensor, "*batch m"],
    Y: Float[Tensor, "*batch d"],
    D: Float[Tensor, "d m"],
    step: float,
    lam: float,
    *,
    proximal: str = "relu",
) -> Float[Tensor, "*batch m"]:
    r"""From any code ``Z``: a gradient step on the squared error, then the proximal map.

    .. math:: z^+ = \mathrm{prox}_{\eta\lambda}\big(z + \eta D^\top (y - D z)\big)

    For :math:`\eta \le 2/\lVert D \rVert^2` it never raises :func:`lasso_objective`, if ``Z`` is a point of the
    problem (non-negative for ``"relu"``). From any other start, and for :math:`\eta \le 1/\lVert D \rVert^2`, the
    code lies at most :math:`\lVert z - u\rVert^2 / 2\eta` above any point ``u`` of the problem. Started at ``Z = Y``
    it is :func:`ista_step`.

    Raises:
        ValueError: unknown ``proximal``.
    """
    downhill = Z + step * ((Y - Z @ D.mT) @ D)
    return proximal_map(downhill, step * lam, proximal=proximal)


def sparse_codes(
    Y: Float[Tensor, "*batch d"],
    D: Float[Tensor, "d m"],
    lam: float,
    *,
    step: float | None = None,
    start: Float[Tensor, "*batch m"] | None = None,
    proximal: str = "relu",
    accelerated: bool = False,
) -> Iterator[Float[Tensor, "*batch m"]]:
    r"""ISTA without end: yields the code it starts from, then the code after each step.

    Args:
        Y: tokens, ``(..., d)``.
        D: dictionary, ``(d, m)``.
        lam: :math:`\lambda \ge 0`.
        step: :math:`\eta`; :func:`largest_step` if None.
        start: the first code; all zeros if None.
        proximal: ``"relu"`` or ``"soft"``.
        accelerated: FISTA (Beck & Teboulle 2009): each step starts from a point beyond the last code, along the
            way just gone. The objective need not fall at every step, but reaches the bottom far sooner.

    Raises:
        ValueError: at the first code: shapes that do not fit, NaN or infinite entries, negative ``lam``, a step
            that is not positive, or an unknown ``proximal``.
    """
    _check(Y, D, lam)
    _check_proximal(proximal)
    step = largest_step(D) if step is None else step
    if not step > 0:
        raise ValueError(f"step must be positive, got {step}")
    Z = Y.new_zeros(*Y.shape[:-1], D.shape[-1]) if start is None else start
    ahead, momentum = Z, 1.0
    yield Z
    while True:
        before, Z = Z, proximal_step(ahead, Y, D, step, lam, proximal=proximal)
        yield Z
        ahead = Z
        if accelerated:
            slower = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
            ahead = Z + (momentum - 1) / slower * (Z - before)
            momentum = slower


def sparse_code(
    Y: Float[Tensor, "*batch d"],
    D: Float[Tensor, "d m"],
    lam: float,
    *,
    steps: int = 500,
    step: float | None = None,
    proximal: str = "relu",
) -> Float[Tensor, "*batch m"]:
    """The sparse code of every token, by ``steps`` accelerated steps from zero; see :func:`sparse_codes`.

    How near the bottom that is, :func:`duality_gap` tells.

    Raises:
        ValueError: as :func:`sparse_codes`, and if ``steps`` is negative.
    """
    if steps < 0:
        raise ValueError(f"steps must not be negative, got {steps}")
    codes = sparse_codes(Y, D, lam, step=step, proximal=proximal, accelerated=True)
    return deque(itertools.islice(codes, steps + 1), maxlen=1).pop()


def duality_gap(
    Y: Float[Tensor, "*batch d"],
    D: Float[Tensor, "d m"],
    Z: Float[Tensor, "*batch m"],
    lam: float,
    *,
    nonnegative: bool = True,
) -> Float[Tensor, "*batch"]:
    r"""How far above the smallest possible objective a code is at most, without knowing the smallest.

    .. math:: F(z) - \Big(\tfrac12\lVert y\rVert^2 - \tfrac12\lVert y - \theta\rVert^2\Big), \qquad
        \theta = s\,(y - Dz),\quad D^\top\theta \le \lambda

    The bracket is the dual problem's value at :math:`\theta`, the residual shrunk by :math:`s \in [0, 1]` until no
    atom correlates with it by more than :math:`\lambda`; no code can do better than that. Zero at the solution.
    Shapes and errors as :func:`lasso_objective`.
    """
    primal = lasso_objective(Y, D, Z, lam, nonnegative=nonnegative)
    Y, D, Z = (t.to(primal.dtype) for t in (Y, D, Z))
    residual = Y - Z @ D.mT
    correlation = residual @ D
    top = (correlation if nonnegative else correlation.abs()).amax(-1)
    shrink = torch.where(top > lam, lam / top, 1.0)[..., None]
    # as 1/2 (2y - theta)'theta the difference of two large squares is never formed
    return primal - 0.5 * ((2 * Y - shrink * residual) * shrink * residual).sum(-1)


def ista_step(
    Y: Float[Tensor, "*batch d"],
    D: Float[Tensor, "d d"],
    step: float = 0.1,
    lam: float = 0.1,
    *,
    proximal: str = "relu",
) -> Float[Tensor, "*batch d"]:
    r"""One proximal-gradient step towards the sparse code of ``Y`` in the dictionary ``D``, from ``Y`` itself.

    .. math:: z^+ = \mathrm{ReLU}\big(y + \eta D^\top (y - D y) - \eta\lambda \mathbf 1\big)

    (arXiv 2306.01129, eq. 17): :func:`proximal_step` at :math:`z = y`. It lowers :func:`lasso_objective` if
    :math:`\eta \le 2/\lVert D\rVert^2` and :math:`y \ge 0`; for other tokens, see :func:`proximal_step`. Two matrix
    products suffice, :math:`D^\top (y - Dy)`; the released code forms :math:`D^\top D y` and :math:`D^\top y` apart,
    with three. With the :func:`move_matrix` at hand one is enough, which is what :class:`ISTA` does.

    Args:
        Y: tokens, ``(..., d)``.
        D: dictionary, ``(d, d)``.
        step: :math:`\eta`.
        lam: :math:`\lambda`, the weight of the sparsity term.
        proximal: ``"relu"`` for the non-negative LASSO, ``"soft"`` for soft thresholding without the sign
            constraint (the variant "crate-sth" of arXiv 2308.16271, Fig. 13).

    Raises:
        ValueError: if ``proximal`` is not one of the two.
    """
    _check_proximal(proximal)
    move = (Y - Y @ D.mT) @ D
    return proximal_map(Y + step * move, step * lam, proximal=proximal)


def move_matrix(D: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    r"""Where the gradient step of :func:`ista_step` moves tokens as rows, as one matrix: ``Y + step * Y @ B``.

    .. math:: (Y - Y D^\top) D = Y B, \qquad B = D - D^\top D

    Multiplying the matrices first costs :math:`d^3` and saves a product with all the tokens, in the backward pass
    two. Formed in single precision at least, so that half precision rounds it once.
    """
    with torch.autocast(D.device.type, enabled=False):
        D = D.to(torch.promote_types(D.dtype, torch.float32))
        return torch.addmm(D, D.mT, D, alpha=-1)


def folded_step(
    D: Float[Tensor, "d d"],
    step: float,
) -> Float[Tensor, "d d"]:
    r"""The whole gradient step of :func:`ista_step` as one matrix for tokens as rows, ``Y -> Y @ M``.

    .. math:: Y + \eta (Y - Y D^\top) D = Y M, \qquad M = I + \eta D - \eta D^\top D

    A network does not compute it so: in half precision the product would round the identity, and the token with it.
    :class:`ISTA` keeps :math:`Y` apart and multiplies by :func:`move_matrix` alone.
    """
    B = move_matrix(D)
    return torch.eye(len(D), dtype=B.dtype, device=B.device) + step * B


def odl(
    Y: Float[Tensor, "*batch d"],
    D: Float[Tensor, "d m"],
    D1: Float[Tensor, "d m"] | None = None,
    step: float = 0.1,
    lam: float = 0.1,
    *,
    steps: int = 2,
) -> Float[Tensor, "*batch d"]:
    r"""A few proximal steps from zero in an overcomplete dictionary, and back to tokens.

    .. math:: z^{0} = 0, \qquad z^{t+1} = \big[z^t + \eta D^\top (y - D z^t) - \eta\lambda \mathbf 1\big]_+, \qquad
        D_1 z^{T}

    (arXiv 2405.20299; :math:`T = 2` and :math:`\eta = \lambda = 0.1` in its code.) :class:`crate_mini.operators.ODL`
    is the layer. Other than :func:`ista_step`, which starts at the token and needs a square dictionary, it may have as
    many atoms as it likes.

    Args:
        Y: tokens, ``(..., d)``.
        D: dictionary of the code, ``(d, m)``.
        D1: dictionary of the way back, ``(d, m)``; ``D`` if None.
        step: :math:`\eta`.
        lam: :math:`\lambda`.
        steps: :math:`T`.
    """
    Z = Y.new_zeros(*Y.shape[:-1], D.shape[-1])
    for _ in range(steps):
        Z = proximal_step(Z, Y, D, step, lam)
    return Z @ (D if D1 is None else D1).mT


def majorise_minimise_step(
    Z: Float[Tensor, "*batch n d"],
    D: Float[Tensor, "d d"],
    eps_sq: float,
    lam: float,
    *,
    curvature: float = 9 / 4,
) -> Float[Tensor, "*batch n d"]:
    r"""The other derivation of the layer: a step on the rate itself, without a skip connection.

    .. math:: Z^+ = \mathrm{ReLU}\Big(\big(1 + \tfrac{1}{c(1+\alpha)}\big) Z D - \tfrac{\lambda}{c\alpha}\mathbf 1\Big),
        \qquad \alpha = \frac{d}{n\varepsilon^2}

    It minimises, over :math:`Z^+ \ge 0`, a parabola of curvature :math:`c\alpha` that lies above
    :math:`-R(Z^+) + \lambda\lVert Z^+ \rVert_1` and touches it at :math:`ZD` (rows; the papers' :math:`D^* Z`),
    if the tokens are orthonormal, so that :math:`\nabla R(Z) = \frac{\alpha}{1+\alpha} Z`, and ``D`` orthogonal.
    With :math:`c = 9/4` it is arXiv 2306.01129, eq. 92. The Hessian of :math:`R` has its eigenvalues between
    :math:`-\alpha/8` and :math:`\alpha`, so every :math:`c \ge 1/8` gives such a parabola.

    Args:
        Z: tokens as rows, ``(..., n, d)``.
        D: dictionary, ``(d, d)``.
        eps_sq: :math:`\varepsilon^2 > 0`.
        lam: :math:`\lambda \ge 0`, nats per unit of absolute sum.
        curvature: :math:`c > 0`, in units of :math:`\alpha`.

    Raises:
        ValueError: ``eps_sq`` or ``curvature`` not positive, a negative ``lam``, or shapes that do not fit.
    """
    _check_positive(eps_sq, curvature)
    _check(Z, D, lam)
    n, d = Z.shape[-2:]
    alpha = d / (n * eps_sq)
    gain = 1 + 1 / (curvature * (1 + alpha))
    return proximal_map(gain * (Z @ D), lam / (curvature * alpha))


def _check(Y: Tensor, D: Tensor, lam: float, Z: Tensor | None = None) -> None:
    if D.ndim != 2 or D.shape[0] != Y.shape[-1]:
        raise ValueError(
            f"D must be (d, m) with the d of the tokens, {Y.shape[-1]}; got shape {tuple(D.shape)}"
        )
    if not (torch.isfinite(Y).all() and torch.isfinite(D).all()):
        raise ValueError("tokens or dictionary hold NaN or infinite entries")
    if not lam >= 0:
        raise ValueError(f"lam is the price of a unit of code and must not be negative, got {lam}")
    if Z is not None and Z.shape != (*Y.shape[:-1], D.shape[-1]):
        raise ValueError(
            f"Z must hold a code of {D.shape[-1]} numbers for each token, shape "
            f"{(*Y.shape[:-1], D.shape[-1])}; got {tuple(Z.shape)}"
        )


def _check_dictionary(D: Tensor) -> None:
    if D.ndim != 2 or not torch.isfinite(D).all() or not D.any():
        raise ValueError(
            f"D must be a finite (d, m) matrix that is not zero throughout; got shape {tuple(D.shape)}"
        )


def _check_positive(eps_sq: float, curvature: float) -> None:
    if not (eps_sq > 0 and curvature > 0):
        raise ValueError(f"eps_sq and curvature must be positive, got {eps_sq} and {curvature}")


def _check_proximal(proximal: str, threshold: float = 0.0) -> None:
    if proximal not in PROXIMAL_MAPS:
        raise ValueError(f"proximal must be one of {PROXIMAL_MAPS}, got {proximal!r}")
    if not threshold >= 0:
        raise ValueError(f"the threshold must not be negative, got {threshold}")


def _wide(*tensors: Tensor) -> torch.dtype:
    """The widest of their types, and single precision at least."""
    return functools.reduce(torch.promote_types, (t.dtype for t in tensors), torch.float32)


def __getattr__(name: str) -> Any:
    # The layer lives with the other operators, which build on this module: it is imported when asked for.
    if name == "ISTA":
        from crate_mini.operators import ISTA

        return ISTA
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
