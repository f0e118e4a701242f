r"""Coding rates: how many nats a set of vectors costs, up to a given precision.

Tokens are rows here, ``Z`` is ``(..., n, d)``; the papers write them as columns. All rates are in nats.
``eps_sq`` is :math:`\varepsilon^2`, the squared precision. (The authors' code calls the same number ``eps``.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

Rate = Float[Tensor, "*batch"]
Tokens = Float[Tensor, "*batch n d"]
Bases = Float[Tensor, "K d p"]
Labels = Shaped[Tensor, " n"] | Float[Tensor, "n K"]
Gram = Float[Tensor, "*batch m m"]


def coding_rate(Z: Tokens, eps_sq: float) -> Rate:
    r"""Lossy coding rate of ``n`` tokens in ``d`` dimensions, in nats.

    .. math:: R(Z) = \tfrac12 \log\det\!\Big(I + \frac{d}{n\varepsilon^2} Z^\top Z\Big)

    The number of nats a token takes under a Gaussian code with squared error ``eps_sq`` per token
    (Ma et al. 2007; Yu et al. 2020, eq. 1; arXiv 2306.01129, eq. 7).

    The smaller of the two Gram matrices is formed (Sylvester: both determinants agree) and factorised by
    Cholesky in float64, where ``det`` would overflow. Tokens so large beside the precision that the identity would
    be lost in rounding go through singular values instead.

    Args:
        Z: tokens as rows, ``(..., n, d)``; leading dimensions are a batch.
        eps_sq: :math:`\varepsilon^2 > 0`, the squared precision.

    Returns:
        ``(...)``, one rate for each set of tokens, in float64 whatever the dtype of ``Z`` (float32 on devices
        without float64, such as MPS). Never negative, zero for tokens that are zero. Differentiable, with a gradient
        in the dtype of ``Z``.

    Raises:
        ValueError: if ``Z`` has fewer than two dimensions, is empty or not finite, or ``eps_sq`` is not positive.
    """
    Z = _checked(Z, eps_sq)
    n, d = Z.shape[-2:]
    return rate_from_gram(small_gram(Z), d / (n * eps_sq), lambda: Z)


def largest_rate(n: int, d: int, eps_sq: float) -> float:
    r"""The largest coding rate that ``n`` vectors of length one can have in ``d`` dimensions, in nats.

    .. math:: \tfrac12\, r \log\Big(1 + \frac{d}{r\varepsilon^2}\Big), \qquad r = \min(n, d)

    reached where all ``r`` singular values agree: the rate is concave in their squares, which sum to ``n``.

    Raises:
        ValueError: a count below one, or ``eps_sq`` not positive.
    """
    if n < 1 or d < 1 or not eps_sq > 0:
        raise ValueError(f"n and d must be at least 1 and eps_sq positive, got {n}, {d} and {eps_sq}")
    r = min(n, d)
    return 0.5 * r * math.log1p(d / (r * eps_sq))


def rate_from_gram(gram: Gram, alpha: float, tokens: Callable[[], Tensor]) -> Rate:
    r"""A coding rate from a Gram matrix that is at hand, as when the same tokens are measured at several precisions.

    .. math:: \tfrac12 \log\det(I + \alpha G)

    Args:
        gram: of :func:`small_gram`, ``(..., m, m)``.
        alpha: :math:`\alpha`; for :func:`coding_rate` it is :math:`d / (n \varepsilon^2)`.
        tokens: gives the tokens that ``gram`` is made of. They are asked for only where the identity would be lost in
            rounding beside :math:`\alpha G`: squares of small singular values are lost there, too, so that the rate
            must come from the singular values themselves.

    Returns:
        ``(...)``, in the dtype of ``gram``. What one set of tokens gives does not hang on the others of its batch.
    """
    scaled = alpha * gram
    drowned = _drowns_the_identity(scaled)
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    factor = torch.linalg.cholesky(identity + scaled.masked_fill(drowned[..., None, None], 0))
    rate = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    if drowned.any():
        values = torch.linalg.svdvals(tokens().to(gram.dtype))
        rate = torch.where(drowned, 0.5 * (alpha * values.square()).log1p().sum(-1), rate)
    return rate


def small_gram(Z: Tokens) -> Gram:
    r""":math:`Z Z^\top` or :math:`Z^\top Z`, whichever is smaller, in the widest precision of the device."""
    wide = Z.to(torch.float32 if Z.device.type == "mps" else torch.float64)
    return wide @ wide.mT if Z.shape[-2] <= Z.shape[-1] else wide.mT @ wide


def compression_rate(Z: Tokens, U: Bases, eps_sq: float) -> Rate:
    r"""Coding rate of the tokens as seen by ``K`` subspaces, in nats.

    .. math:: R^c(Z \mid U_{[K]}) = \sum_k R(Z U_k)
        = \tfrac12 \sum_k \log\det\!\Big(I + \frac{p}{n\varepsilon^2} (Z U_k)^\top (Z U_k)\Big)

    (arXiv 2306.01129, eq. 8.) The factor is ``p``, the dimension of a subspace, and not ``d``.

    Args:
        Z: tokens as rows, ``(..., n, d)``.
        U: bases as columns, ``(K, d, p)``. They need not be orthonormal; the equation is used as it stands.
        eps_sq: :math:`\varepsilon^2 > 0`.

    Raises:
        ValueError: as :func:`coding_rate`, and if the ``d`` of ``U`` is not that of ``Z``.
    """
    return coding_rate(project(Z, U), eps_sq).sum(-1)


def rate_reduction(Z: Tokens, U: Bases, eps_sq: float) -> Rate:
    r"""What is gained by knowing the subspaces, in nats: :math:`\Delta R = R(Z) - R^c(Z \mid U_{[K]})`."""
    return coding_rate(Z, eps_sq) - compression_rate(Z, U, eps_sq)


def sparse_rate_reduction(
    Z: Tokens, U: Bases, eps_sq: float, lam: float, *, norm: Literal["l0", "l1"] = "l0"
) -> Rate:
    r"""The objective a CRATE is unrolled from, to be maximised.

    .. math:: R(Z) - R^c(Z \mid U_{[K]}) - \lambda \lVert Z \rVert_0

    (arXiv 2306.01129, eq. 1 and 5.) With ``norm="l1"`` the count of non-zero entries is relaxed to their
    absolute sum, the form that has a proximal step.

    Args:
        Z: tokens as rows, ``(..., n, d)``.
        U: bases, ``(K, d, p)``.
        eps_sq: :math:`\varepsilon^2 > 0`.
        lam: :math:`\lambda \ge 0`, nats per non-zero entry (or per unit of absolute sum).
        norm: which norm counts.
    """
    if lam < 0:
        raise ValueError(f"lam weighs the sparsity term and must not be negative, got {lam}")
    if norm not in ("l0", "l1"):
        raise ValueError(f"norm must be 'l0' or 'l1', got {norm!r}")
    gain = rate_reduction(Z, U, eps_sq)
    # summed in the precision of the rates: half precision cannot even count the entries of one image
    size = Z != 0 if norm == "l0" else Z.abs()
    return gain - lam * size.sum((-2, -1), dtype=gain.dtype)


def coding_rate_gradient(Z: Tokens, eps_sq: float) -> Tokens:
    r"""Gradient of the coding rate in closed form.

    .. math:: \nabla_Z R = \alpha Z (I_d + \alpha Z^\top Z)^{-1}, \qquad \alpha = \frac{d}{n\varepsilon^2}

    Shapes and errors as :func:`coding_rate`; the result has the shape of ``Z``.
    """
    n, d = _checked(Z, eps_sq).shape[-2:]
    alpha = d / (n * eps_sq)
    return ridge(Z, alpha)


def compression_rate_gradient(Z: Tokens, U: Bases, eps_sq: float) -> Tokens:
    r"""Gradient of the compression rate in closed form.

    .. math:: \nabla_Z R^c = \gamma \sum_k Z_k (I_p + \gamma Z_k^\top Z_k)^{-1} U_k^\top,
        \qquad Z_k = Z U_k,\quad \gamma = \frac{p}{n\varepsilon^2}

    This is arXiv 2306.01129, App. A.2, with the ``p x p`` inverse in place of the ``n x n`` one.
    Shapes and errors as :func:`compression_rate`; the result has the shape of ``Z``.
    """
    Zk = project(_checked(Z, eps_sq), U)
    n, p = Zk.shape[-2:]
    by_head = ridge(Zk, p / (n * eps_sq))
    return torch.einsum("...knp,kdp->...nd", by_head, U.to(Zk.dtype)).to(Z.dtype)


def class_coding_rate(Z: Tokens, labels: Labels, eps_sq: float) -> Rate:
    r"""Coding rate of tokens whose classes are known, each class by a code of its own, in nats.

    .. math:: R^c(Z \mid \Pi) = \sum_k \pi_k R(Z_k)
        = \sum_k \frac{\pi_k}{2} \log\det\!\Big(I + \frac{d}{n_k\varepsilon^2} Z^\top \Pi_k Z\Big)

    with :math:`n_k = \operatorname{tr} \Pi_k` and :math:`\pi_k = n_k / n` (Yu et al. 2020, arXiv 2006.08558). Beside
    :func:`compression_rate`: labels in place of subspaces, every class weighed by its share :math:`\pi_k`, and the
    factor is ``d`` over the size of the class.

    Args:
        Z: tokens as rows, ``(..., n, d)``; leading dimensions are a batch that shares the labels.
        labels: the class of each token, ``(n,)`` integers, any numbering; or memberships, ``(n, K)`` floats that
            are not negative and sum to one over the classes: the diagonals of :math:`\Pi_k` as columns.
        eps_sq: :math:`\varepsilon^2 > 0`.

    Returns:
        ``(...)``. Differentiable in ``Z`` and, where they are positive, in the memberships.

    Raises:
        ValueError: as :func:`coding_rate`, and if there is not one label (or row of memberships) for each token.
    """
    rates = [
        share * coding_rate(scale * Z[..., members, :], eps_sq)
        for members, scale, share in _classes(_checked(Z, eps_sq), labels)
    ]
    return torch.stack(rates).sum(0)


def mcr2(Z: Tokens, labels: Labels, eps_sq: float) -> Rate:
    r"""Rate reduction for known classes, in nats: what a token costs less when its class is known.

    .. math:: \Delta R(Z \mid \Pi) = R(Z) - R^c(Z \mid \Pi) \ge 0

    The objective of maximal coding rate reduction, MCR² (Yu et al. 2020), to be maximised over features of
    fixed length. Never negative, since ``logdet`` is concave. Arguments as :func:`class_coding_rate`.
    """
    return coding_rate(Z, eps_sq) - class_coding_rate(Z, labels, eps_sq)


def class_coding_rate_gradient(Z: Tokens, labels: Labels, eps_sq: float) -> Tokens:
    r"""Gradient of :func:`class_coding_rate` in ``Z``, in closed form.

    .. math:: \nabla_Z R^c = \sum_k \pi_k \Pi_k Z\, \alpha_k (I + \alpha_k Z^\top \Pi_k Z)^{-1},
        \qquad \alpha_k = \frac{d}{n_k\varepsilon^2}

    (Chan et al. 2022, arXiv 2105.10446.) Arguments and errors as there; the result has the shape of ``Z``.
    """
    gradient = torch.zeros_like(Z)
    for members, scale, share in _classes(_checked(Z, eps_sq), labels):
        inner = coding_rate_gradient(scale * Z[..., members, :], eps_sq)
        gradient[..., members, :] += (share * scale * inner).to(Z.dtype)
    return gradient


def snr(Z: Tokens, U: Bases, labels: Int[Tensor, " n"]) -> Float[Tensor, "*batch K"]:
    r"""Signal-to-noise ratio of each class: its tokens within its own subspace, over what lies outside.

    .. math:: \mathrm{SNR}_k = \frac{\lVert Z_{(k)} P_k \rVert_F}{\lVert Z_{(k)} (I - P_k) \rVert_F},
        \qquad P_k \text{ the projection onto } \mathrm{span}\,U_k

    (arXiv 2506.03790, where :math:`P_k = U_k U_k^\top`, as for orthonormal columns.) :math:`Z_{(k)}` holds the tokens
    whose label is ``k``. A ratio of lengths, not of energies and not in decibels.

    Args:
        Z: tokens as rows, ``(..., n, d)``; leading dimensions are a batch that shares the labels.
        U: bases, ``(K, d, p)``, of linearly independent columns that need not be orthonormal.
        labels: the subspace of each token, ``(n,)``, from 0 to ``K - 1``.

    Returns:
        ``(..., K)``, in the dtype of the tokens. Infinite for a class without noise, NaN for one without tokens.

    Raises:
        ValueError: labels that are not ``n`` integers from 0 to ``K - 1``, or a ``U`` that does not fit.
    """
    n, K = Z.shape[-2], len(U)
    if labels.shape != (n,) or labels.dtype.is_floating_point or bool(((labels < 0) | (labels >= K)).any()):
        raise ValueError(
            f"labels must be {n} integers from 0 to {K - 1}, one for each token; "
            f"got {labels.dtype} of shape {tuple(labels.shape)}"
        )
    Q = orthonormal(U)
    ratios = []
    for Qk, coordinates, k in zip(Q, project(Z, Q).unbind(-3), range(K), strict=True):
        inside = coordinates[..., labels == k, :]
        # the noise itself, and not a difference of two energies: that would lose a small one
        outside = Z[..., labels == k, :] - inside @ Qk.mT.to(inside.dtype)
        ratios.append(inside.norm(dim=(-2, -1)) / outside.norm(dim=(-2, -1)))
    return torch.stack(ratios, -1).to(Z.dtype)


def orthonormal(U: Bases) -> Bases:
    """Bases of the same subspaces with orthonormal columns; ``U`` itself, where its columns are so to rounding."""
    gram = U.mT @ U
    eye = torch.eye(U.shape[-1], dtype=U.dtype, device=U.device)
    # a comparison costs a twentieth of a factorisation, and most bases pass it
    rounding = 16 * torch.finfo(U.dtype).eps
    return U if torch.allclose(gram, eye, rtol=0, atol=rounding) else torch.linalg.qr(U).Q


def project(Z: Tokens, U: Bases) -> Float[Tensor, "*batch K n p"]:
    """Coordinates of every token in every subspace, ``Z U_k``: ``(..., n, d), (K, d, p) -> (..., K, n, p)``."""
    if U.ndim != 3 or U.shape[1] != Z.shape[-1]:
        raise ValueError(
            f"U must be (K, d, p) with the d of the tokens, {Z.shape[-1]}; got shape {tuple(U.shape)}"
        )
    dtype = torch.promote_types(Z.dtype, U.dtype)
    return torch.einsum("...nd,kdp->...knp", Z.to(dtype), U.to(dtype))


def _classes(Z: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Of each class that has members: where they are, the square root of their relative weight, their share.

    Scaled by ``sqrt(pi / mean pi)``, the members alone have the rate of the equation: its factor becomes
    ``d / (members * mean pi) = d / tr Pi_k``. With integer labels the scale is one.
    """
    n = Z.shape[-2]
    if labels.ndim == 1 and len(labels) == n and not labels.dtype.is_floating_point:
        weights = torch.stack([labels == k for k in labels.unique()]).to(Z)
    elif labels.ndim == 2 and len(labels) == n and labels.dtype.is_floating_point:
        ones = torch.ones(n, dtype=labels.dtype, device=labels.device)
        if (labels < 0).any() or not torch.allclose(labels.sum(-1), ones, atol=1e-3):
            raise ValueError("memberships must not be negative and must sum to one for every token")
        weights = labels.mT.to(Z)
    else:
        raise ValueError(
            f"labels must be ({n},) integers or ({n}, K) floats, one row for each token; "
            f"got {labels.dtype} of shape {tuple(labels.shape)}"
        )
    found = []
    for pi in weights:
        members = pi > 0
        if members.any():
            pi_k = pi[members]
            found.append((members, (pi_k / pi_k.mean()).sqrt()[:, None], pi.mean()))
    return found


def ridge(Z: Tokens, alpha: float) -> Tokens:
    r""":math:`\alpha Z (I + \alpha Z^\top Z)^{-1}`, by solving on the small side (push-through identity).

    Tokens so large that the identity would be lost in rounding go through singular values :math:`\sigma`, each of
    which becomes :math:`\alpha\sigma / (1 + \alpha\sigma^2)`; those that are rounding errors of the largest count as
    zero, which they are for tokens of low rank.
    """
    n, d = Z.shape[-2:]
    gram = small_gram(Z)
    drowned = _drowns_the_identity(alpha * gram)
    wide, lost = Z.to(gram.dtype), drowned[..., None, None]
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=Z.device)
    system, right = identity + alpha * gram.masked_fill(lost, 0), alpha * wide
    found = torch.linalg.solve(system, right) if n <= d else torch.linalg.solve(system, right.mT).mT
    if drowned.any():
        U, sigma, Vh = torch.linalg.svd(wide, full_matrices=False)
        error = max(n, d) * torch.finfo(gram.dtype).eps * sigma[..., :1]
        shrunk = torch.where(sigma > error, 1 / (1 / (alpha * sigma) + sigma), 0)
        found = torch.where(lost, (U * shrunk[..., None, :]) @ Vh, found)
    return found.to(Z.dtype)


def _drowns_the_identity(gram: Tensor) -> Tensor:
    """Whether rounding errors of each Gram matrix reach the ones of an identity added to it, ``(...)``.

    They are its largest eigenvalue times the machine precision, and end up in the rate as they are. In float64
    they may be a millionth of a nat; in float32 they cannot be kept that small. Told from the size alone, which is the
    same on every machine; whether a factorisation succeeds beyond it hangs on the last bits.
    """
    largest = gram.diagonal(dim1=-2, dim2=-1).sum(-1)  # the trace is never below the largest eigenvalue
    allowed = 1e-6 if gram.dtype == torch.float64 else 1e-2
    return largest * torch.finfo(gram.dtype).eps > allowed


def _checked(Z: Tensor, eps_sq: float) -> Tensor:
    if not eps_sq > 0:
        raise ValueError(f"eps_sq is the squared precision and must be positive, got {eps_sq}")
    if Z.ndim < 2 or 0 in Z.shape[-2:]:
        raise ValueError(f"Z must be (..., n, d) with at least one token, got shape {tuple(Z.shape)}")
    if not all_finite(Z):
        raise ValueError("Z holds NaN or infinite entries; a coding rate is defined for finite tokens only")
    return Z


def all_finite(Z: Shaped[Tensor, "..."]) -> bool:
    """Whether no entry is NaN or infinite.

    One such entry makes the sum NaN or infinite, and a sum costs a fraction of looking at every entry; these are
    looked at only where the sum is not finite, since that of very large entries is not either.
    """
    Z = Z.detach()
    return bool(torch.isfinite(Z.sum())) or bool(torch.isfinite(Z).all())
