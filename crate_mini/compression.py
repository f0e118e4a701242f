r"""Compression: a gradient step on :math:`R^c` becomes multi-head subspace self-attention (MSSA).

The functions stand in the order of the derivation, one replacement each: :func:`gradient_step` (exact),
:func:`neumann_gradient` (a series cut off), :func:`softmax_step` (a bounded attention in place of the exact one),
:func:`mssa` (what a network runs; :class:`crate_mini.operators.MSSA` is the layer). :func:`tssa` and :func:`cbsa` are
what later papers put in its place. :func:`denoise` is the second way to the same idea.

Tokens are rows, ``(..., n, d)``. The bases of the ``K`` subspaces are ``U``, ``(K, d, p)``. Throughout,
:math:`Z_k = Z U_k`, :math:`G_k = Z_k Z_k^\top` and :math:`\gamma = p / (n\varepsilon^2)`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from crate_mini.rates import all_finite, compression_rate_gradient, project, ridge

Tokens = Float[Tensor, "*batch n d"]
Bases = Float[Tensor, "K d p"]
Attention = Float[Tensor, "*batch K n n"]
Coordinates = Float[Tensor, "*batch K n p"]
PerHead = Float[Tensor, "*batch K"]
Mask = Bool[Tensor, "..."]
"""Which tokens may be looked at: true at ``[..., i, j]`` if token ``i`` may look at token ``j``.

Of any shape that broadcasts to ``(..., K, n, n)``. Every token must have one that it may look at, if only itself.
"""


def rate_scale(Z: Tokens, U: Bases, eps_sq: float) -> float:
    r"""The factor :math:`\gamma = p / (n\varepsilon^2)` in front of the Gram matrix inside :math:`R^c`.

    Raises:
        ValueError: if ``eps_sq`` is not positive or ``Z`` is empty or not finite.
    """
    if not eps_sq > 0:
        raise ValueError(f"eps_sq is the squared precision and must be positive, got {eps_sq}")
    if Z.ndim < 2 or 0 in Z.shape[-2:]:
        raise ValueError(f"Z must be (..., n, d) with at least one token, got shape {tuple(Z.shape)}")
    if not all_finite(Z):
        raise ValueError("Z holds NaN or infinite entries; the steps are defined for finite tokens only")
    return U.shape[-1] / (Z.shape[-2] * eps_sq)


def gradient_step(Z: Tokens, U: Bases, eps_sq: float, step: float) -> Tokens:
    r"""One step of gradient descent on the compression rate, nothing approximated.

    .. math:: Z - \kappa\, \nabla R^c(Z \mid U_{[K]})

    For orthonormal bases that are orthogonal to each other it multiplies every singular value :math:`\sigma` of a
    :math:`Z_k` by :math:`1 - \kappa\gamma / (1 + \gamma\sigma^2)`: weak directions shrink, strong ones hardly.

    Args:
        Z: tokens as rows, ``(..., n, d)``.
        U: bases, ``(K, d, p)``.
        eps_sq: :math:`\varepsilon^2 > 0`.
        step: :math:`\kappa`; negative for ascent.

    Raises:
        ValueError: as :func:`crate_mini.rates.compression_rate`.
    """
    return Z - step * compression_rate_gradient(Z, U, eps_sq)


def ridge_attention(Z: Tokens, U: Bases, eps_sq: float) -> Attention:
    r"""The attention that the exact gradient contains.

    .. math:: A_k = \gamma G_k (I + \gamma G_k)^{-1}, \qquad
        \nabla R^c = \gamma \sum_k (I - A_k) Z_k U_k^\top

    Row ``i`` of :math:`A_k` holds the weights with which ridge regression predicts token ``i`` from all tokens, as
    head ``k`` sees them. Symmetric, with eigenvalues :math:`\gamma\sigma^2 / (1 + \gamma\sigma^2)` in [0, 1).

    Returns:
        ``(..., K, n, n)``, in the precision of the tokens; solved in float64 where the device has it.

    Raises:
        ValueError: as :func:`rate_scale`, and if the ``d`` of ``U`` is not that of ``Z``.
    """
    gamma, Zk = rate_scale(Z, U, eps_sq), project(Z, U)
    wide = _wide(Zk)
    # gamma Zk (I + gamma Zk' Zk)^{-1} Zk': a p x p system in place of the n x n one (push-through identity)
    return (ridge(wide, gamma) @ wide.mT).to(Zk.dtype)


def gather(attention: Attention, Z: Tokens, U: Bases) -> Tokens:
    r"""What the heads gather, lifted back and summed: :math:`\sum_k A_k Z_k U_k^\top`.

    Args:
        attention: one matrix for each head, ``(..., K, n, n)``; row ``i`` says where token ``i`` looks.
        Z: tokens as rows, ``(..., n, d)``.
        U: bases, ``(K, d, p)``.
    """
    Zk = project(Z, U)
    return lift(attention.to(Zk.dtype) @ Zk, U)


def lift(Zk: Coordinates, U: Bases) -> Tokens:
    r"""From coordinates in the subspaces back to tokens, :math:`\sum_k Z_k U_k^\top`; transpose of ``project``."""
    return torch.einsum("...knp,kdp->...nd", Zk, U.to(Zk.dtype))


def neumann_condition(Z: Tokens, U: Bases, eps_sq: float) -> PerHead:
    r"""What must stay below one for the Neumann series to converge, for each head.

    .. math:: \gamma\, \sigma_{\max}(Z_k)^2

    Unit tokens have :math:`1/(K\varepsilon^2)` or more in some head if the ``K`` bases split the space: orthonormal,
    orthogonal to each other, and :math:`Kp = d`.

    Raises:
        ValueError: as :func:`rate_scale`, and if the ``d`` of ``U`` is not that of ``Z``.
    """
    gamma, Zk = rate_scale(Z, U, eps_sq), project(Z, U)
    return gamma * torch.linalg.matrix_norm(_wide(Zk), 2).square()


def neumann_gradient(Z: Tokens, U: Bases, eps_sq: float) -> Tokens:
    r"""The gradient with its inverse cut off after the first order of the Neumann series.

    .. math:: (I + \gamma G_k)^{-1} \approx I - \gamma G_k \quad\Longrightarrow\quad
        \nabla R^c \approx \gamma \sum_k (I - \gamma G_k) Z_k U_k^\top

    (arXiv 2306.01129, App. A.2.) Valid where :func:`neumann_condition` is below one; beyond, its step makes strong
    directions grow and the rate with them.

    Raises:
        ValueError: as :func:`rate_scale`, and if the ``d`` of ``U`` is not that of ``Z``.
    """
    gamma, Zk = rate_scale(Z, U, eps_sq), project(Z, U)
    # the brackets: the same product, without an n x n matrix
    residual = Zk - gamma * Zk @ (Zk.mT @ Zk)
    return gamma * lift(residual, U)


def softmax_attention(
    Z: Tokens,
    U: Bases,
    sharpness: float = 1.0,
) -> Attention:
    r"""Softmax of the Gram matrix of each head, row by row: :math:`S_k = \mathrm{softmax}(\beta\, G_k)`.

    Args:
        Z: tokens as rows, ``(..., n, d)``.
        U: bases, ``(K, d, p)``.
        sharpness: :math:`\beta`. The derivation has 1; the network has :math:`p^{-1/2}` on tokens of length
            :math:`\sqrt d`, which is :math:`d/\sqrt p` on unit tokens.

    Returns:
        ``(..., K, n, n)``; entries are positive and rows sum to one.
    """
    Zk = project(Z, U)
    return (sharpness * Zk @ Zk.mT).softmax(-1)


def threshold_attention(Z: Tokens, U: Bases, tau: float, sharpness: float = 1.0) -> Attention:
    r"""Softmax attention behind a hard threshold, as the attention-only transformer's theorem has it.

    .. math:: \varphi(s)_{ij} = \begin{cases} \tau & \text{if } s_{ij} > \tau \\ 0 & \text{otherwise,} \end{cases}
        \qquad s = \mathrm{softmax}(\beta\, G_k) \text{ row by row}

    (arXiv 2506.03790. An entry that passes becomes :math:`\tau` and does not keep its value.) For
    :math:`\tau \ge 1/2` at most one entry of a row passes: a token looks at one token, or at none.

    Args:
        Z: tokens as rows, ``(..., n, d)``.
        U: bases, ``(K, d, p)``.
        tau: :math:`\tau`, above 0 and below 1.
        sharpness: :math:`\beta` of :func:`softmax_attention`; the theorem has 1.

    Returns:
        ``(..., K, n, n)``; entries are 0 or :math:`\tau`.

    Raises:
        ValueError: if ``tau`` is not between 0 and 1, or the ``d`` of ``U`` is not that of ``Z``.
    """
    if not 0 < tau < 1:
        raise ValueError(f"tau is a threshold on a softmax and must lie between 0 and 1, got {tau}")
    weights = softmax_attention(Z, U, sharpness)
    return tau * (weights > tau).to(weights.dtype)  # torch.where would round tau to single precision


def softmax_step(
    Z: Tokens,
    U: Bases,
    share: float,
    *,
    sharpness: float = 1.0,
    weight: float = 1.0,
) -> Tokens:
    r"""The compression step with a softmax in place of the exact attention, and the sum over subspaces dropped.

    .. math:: (1 - c)\, Z + c\, w \sum_k S_k Z_k U_k^\top, \qquad c = \kappa\gamma

    (arXiv 2306.01129, eq. 10, has the weight :math:`w = \gamma`, a leftover of the Neumann step. With ``w = 1`` the
    softmax takes the place of :func:`ridge_attention` itself, and the step is a weighted mean.)

    Args:
        Z: tokens as rows, ``(..., n, d)``.
        U: bases, ``(K, d, p)``.
        share: :math:`c = \kappa\gamma`, the share of the way from the token to what it gathers; negative for ascent.
        sharpness: :math:`\beta` of :func:`softmax_attention`.
        weight: :math:`w`, the weight of what is gathered.
    """
    gathered = gather(softmax_attention(Z, U, sharpness), Z, U)
    return (1 - share) * Z + share * weight * gathered


def mssa(
    Z: Float[Tensor, "*batch n d"],
    U: Float[Tensor, "K d p"],
    W: Float[Tensor, "d Kp"] | None = None,
    b: Float[Tensor, " d"] | None = None,
    mask: Bool[Tensor, "..."] | None = None,
) -> Float[Tensor, "*batch n d"]:
    r"""Multi-head subspace self-attention, written as its equation; the layer computes the same faster.

    .. math:: \mathrm{SSA}_k = \mathrm{softmax}\!\big(p^{-1/2} Z_k Z_k^\top\big) Z_k, \quad Z_k = Z U_k, \qquad
        \mathrm{MSSA}(Z) = [\mathrm{SSA}_1, \dots, \mathrm{SSA}_K] W^\top + b

    (arXiv 2306.01129, eq. 11 and 115.) Query, key and value of a head are one and the same projection. Without
    ``W`` the output basis is tied to the input basis, as the derivation has it:
    :math:`\sum_k \mathrm{SSA}_k U_k^\top`, up to the step size. Where ``mask``, which broadcasts to
    ``(..., K, n, n)``, is false at ``i, j``, token ``i`` does not look at token ``j``.

    Raises:
        ValueError: if the ``d`` of ``U`` is not that of ``Z``.
    """
    Zk = project(Z, U)
    scores = Zk @ Zk.mT / math.sqrt(U.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    heads = scores.softmax(-1) @ Zk
    if W is None:
        return lift(heads, U)
    return F.linear(rearrange(heads, "... k n p -> ... n (k p)"), W, b)


def attend(
    queries: Coordinates, keys: Coordinates, values: Coordinates, mask: Bool[Tensor, "..."] | None = None
) -> Coordinates:
    r"""Softmax attention, :math:`\mathrm{softmax}(Q K^\top / \sqrt p)\, V`, by the fastest way there is.

    That is PyTorch's fused kernel, which never keeps the ``n x n`` attention, with one exception: in half precision
    on a CPU, :class:`ExplicitAttention` is faster while the tokens are few, and in training up to a thousand of them
    (64 images of 65 tokens, forward and backward on one core: 17 ms against 145, torch 2.15).

    Args:
        queries: ``Q``, ``(..., n, p)``.
        keys: ``K``, of the same shape.
        values: ``V``, of the same shape.
        mask: broadcasts to ``(..., n, n)``; where it is false at ``i, j``, query ``i`` does not see key ``j``. Every
            query must see one key at least.
    """
    n = queries.shape[-2]
    if queries.device.type == "cpu" and queries.dtype in (torch.bfloat16, torch.float16):
        learning = torch.is_grad_enabled() and any(t.requires_grad for t in (queries, keys, values))
        if n <= (FEW_TOKENS_TRAINING if learning else FEW_TOKENS):
            if learning and not torch.compiler.is_compiling():
                return ExplicitAttention.apply(queries, keys, values, mask)
            return explicit_attention(queries, keys, values, mask)
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)


FEW_TOKENS, FEW_TOKENS_TRAINING = 128, 1024
"""Up to how many tokens two plain products beat the fused kernel in half precision on a CPU, by measurement."""


def explicit_attention(
    queries: Coordinates, keys: Coordinates, values: Coordinates, mask: Mask | None = None
) -> Coordinates:
    r"""The equation of :func:`attend` as it stands, with an ``n x n`` attention for every head."""
    scores = (queries * queries.shape[-1] ** -0.5) @ keys.mT
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(-1).to(values.dtype) @ values


class ExplicitAttention(torch.autograd.Function):
    r""":func:`explicit_attention` with its backward pass written out, for training in half precision on a CPU.

    With :math:`A = \mathrm{softmax}(S)`, :math:`S = QK^\top/\sqrt p` and :math:`G` the gradient of what comes out,

    .. math:: \bar V = A^\top G, \qquad \bar S = A \odot \big(GV^\top - \mathrm{rowsum}(A \odot GV^\top)\big),
        \qquad \bar Q = \bar S K / \sqrt p, \qquad \bar K = \bar S^\top Q / \sqrt p

    Autograd would copy the heads for every product. Here each of the three is laid out once, and where they are one
    and the same tensor (MSSA) it is laid out once for all three, and the three gradients add up inside the products.
    """

    @staticmethod
    def forward(  # noqa: D102
        ctx, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        ctx.same = queries is keys and keys is values
        ctx.shape, n, p = queries.shape, *queries.shape[-2:]
        Q = queries.reshape(-1, n, p)
        K, V = (Q, Q) if ctx.same else (keys.reshape(-1, n, p), values.reshape(-1, n, p))
        # the scale inside the product: scores are rounded once, not twice
        S = torch.baddbmm(Q.new_empty(()), Q, K.mT, beta=0, alpha=p**-0.5)
        if mask is not None:  # where attention is 0, so is what flows back: the backward pass need not know
            S.view(*queries.shape[:-1], n).masked_fill_(~mask, -math.inf)
        A = S.softmax(-1)
        ctx.save_for_backward(*((Q,) if ctx.same else (Q, K, V)), A)
        return (A @ V).view(ctx.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        *operands, A = ctx.saved_tensors
        Q, K, V = operands * 3 if ctx.same else operands
        scale = Q.shape[-1] ** -0.5
        G = gradient.reshape(Q.shape)
        dS = torch.ops.aten._softmax_backward_data(G @ V.mT, A, -1, A.dtype)
        if ctx.same:
            total = torch.baddbmm(A.mT @ G, dS, K, alpha=scale)
            return torch.baddbmm(total, dS.mT, Q, alpha=scale).view(ctx.shape), None, None, None
        empty = Q.new_empty(())
        dQ = torch.baddbmm(empty, dS, K, beta=0, alpha=scale)
        dK = torch.baddbmm(empty, dS.mT, Q, beta=0, alpha=scale)
        return *(t.view(ctx.shape) for t in (dQ, dK, A.mT @ G)), None


ENERGIES = ("sum", "mean")
"""What the energy of a token in a channel is a share of: the sum over all tokens, or their mean."""


def token_statistics(
    Zk: Float[Tensor, "*batch K n p"],
    temperature: Float[Tensor, " K"],
    *,
    energy: str = "sum",
    causal: bool = False,
    place: Float[Tensor, "K n"] | None = None,
) -> tuple[Float[Tensor, "*batch K n"], Float[Tensor, "*batch K n p"]]:
    r"""What :func:`tssa` makes of the tokens' coordinates: memberships, and moved coordinates.

    .. math:: \Pi_{ik} = \mathrm{softmax}_k\Big(\tau_k \sum_j
        \frac{(Z_k)_{ij}^2}{\sum_l (Z_k)_{lj}^2}\Big), \qquad
        m_{kj} = \frac{\sum_i \Pi_{ik} (Z_k)_{ij}^2}{\sum_i \Pi_{ik}}, \qquad
        -\Pi_{ik} \frac{(Z_k)_{ij}}{1 + m_{kj}}

    Args:
        Zk: coordinates of the tokens in every head.
        temperature: :math:`\tau_k` of each head.
        energy: ``"sum"`` as above; with ``"mean"`` the sum over tokens in the first fraction is their mean, so that
            memberships do not hang on how many tokens there are.
        causal: every sum over tokens runs up to the token itself.
        place: a number added to every channel's share, by head and token.

    Returns:
        ``Pi``, summing to one over the heads, and the moved coordinates.
    """
    square = Zk.square()
    total = square.cumsum(-2) if causal else square.sum(-2, keepdim=True)
    share = square / total.clamp_min(1e-24)
    if place is not None:
        share = share + place[..., None]
    energies = share.sum(-1)
    if energy == "mean":
        n = Zk.shape[-2]
        energies = energies * (torch.arange(1, n + 1, device=Zk.device) if causal else n)
    Pi = (temperature[:, None] * energies).softmax(-2)
    if causal:
        moments = (Pi[..., None] * square).cumsum(-2) / (Pi.cumsum(-1) + 1e-8)[..., None]
    else:
        moments = (Pi[..., None, :] @ square) / (Pi.sum(-1) + 1e-8)[..., None, None]
    return Pi, -Pi[..., None] * Zk / (1 + moments)


def tssa(
    Z: Tokens,
    U: Bases,
    temperature: Float[Tensor, " K"],
    W: Float[Tensor, "d Kp"] | None = None,
    b: Float[Tensor, " d"] | None = None,
    *,
    energy: str = "sum",
    causal: bool = False,
    place: Float[Tensor, "K n"] | None = None,
) -> Tokens:
    r"""Token statistics self-attention: each token is moved by itself and by :math:`Kp` second moments of all.

    .. math:: \mathrm{TSSA}(Z) = -\Big[\Pi_{ik} \frac{(Z_k)_{ij}}{1 + m_{kj}}\Big]_{i,\,kj} W^\top + b

    with :math:`\Pi` and :math:`m` of :func:`token_statistics` (arXiv 2412.17810, and its code, which has neither
    :math:`\varepsilon` nor :math:`n`). It comes from a bound of the compression rate by second moments alone: for
    concave :math:`f` with :math:`f(0) = 0`, the sum of :math:`f` over the eigenvalues of a matrix is at most that over
    its diagonal, in any basis. Where a head is narrower than the space that its tokens fill, that is no bound.

    Without ``W`` the output basis is tied to the input basis. Arguments as of :func:`token_statistics`.

    Raises:
        ValueError: if the ``d`` of ``U`` is not that of ``Z``.
    """
    heads = token_statistics(project(Z, U), temperature, energy=energy, causal=causal, place=place)[1]
    return lift(heads, U) if W is None else F.linear(rearrange(heads, "... k n p -> ... n (k p)"), W, b)


def contract_and_broadcast(
    Zk: Float[Tensor, "*batch K n p"],
    pooling: Float[Tensor, "m n"],
    contract: Float[Tensor, " K"],
    broadcast: Float[Tensor, " K"],
) -> tuple[Float[Tensor, "*batch K m n"], Float[Tensor, "*batch K n p"]]:
    r"""What :func:`cbsa` makes of the tokens' coordinates: contraction :math:`A_k`, and the update.

    .. math:: Q_k = P Z_k, \qquad A_k = \mathrm{softmax}\big(p^{-1/2} Q_k Z_k^\top\big), \qquad
        Q_k' = Q_k + s_k A_k Z_k, \qquad t_k A_k^\top\, \mathrm{softmax}\big(p^{-1/2} Q_k' Q_k'^\top\big) Q_k'

    Args:
        Zk: coordinates of the tokens in every head.
        pooling: ``P``, whose rows average tokens into representatives.
        contract: :math:`s_k` of each head.
        broadcast: :math:`t_k` of each head.
    """
    scale = Zk.shape[-1] ** -0.5
    Q = pooling.to(Zk.dtype) @ Zk
    A = (scale * Q @ Zk.mT).softmax(-1)
    Q = Q + contract[:, None, None] * (A @ Zk)
    C = (scale * Q @ Q.mT).softmax(-1) @ Q
    return A, broadcast[:, None, None] * (A.mT @ C)


def cbsa(
    Z: Tokens,
    U: Bases,
    pooling: Float[Tensor, "m n"],
    contract: Float[Tensor, " K"],
    broadcast: Float[Tensor, " K"],
    W: Float[Tensor, "d Kp"] | None = None,
    b: Float[Tensor, " d"] | None = None,
) -> Tokens:
    r"""Contract-and-broadcast self-attention: :func:`mssa` among a few representatives, passed on to all tokens.

    .. math:: \mathrm{CBSA}(Z) = \big[t_k A_k^\top\, \mathrm{softmax}\big(p^{-1/2} Q_k' Q_k'^\top\big) Q_k'\big]_k
        W^\top + b

    with :math:`A` and :math:`Q'` of :func:`contract_and_broadcast` (arXiv 2509.16875, and its code). Without ``W`` the
    output basis is tied to the input basis. Arguments as of :func:`contract_and_broadcast`.

    Raises:
        ValueError: if the ``d`` of ``U`` is not that of ``Z``.
    """
    heads = contract_and_broadcast(project(Z, U), pooling, contract, broadcast)[1]
    return lift(heads, U) if W is None else F.linear(rearrange(heads, "... k n p -> ... n (k p)"), W, b)


def denoise(X: Tokens, U: Bases, sigma: float) -> Tokens:
    r"""Denoise each token on its own by attention over the subspaces: the heads compete, not the tokens.

    .. math:: \hat z(x) = \sum_k w_k(x)\, U_k U_k^\top x, \qquad
        w(x) = \mathrm{softmax}_k\Big(\frac{\lVert U_k^\top x\rVert^2}{2\sigma^2}\Big)

    (arXiv 2306.01129, Approximation 2.) The limit of :func:`posterior_mean` for noise small beside the spread.

    Args:
        X: noisy tokens as rows, ``(..., n, d)``.
        U: orthonormal bases, ``(K, d, p)``.
        sigma: standard deviation of the noise in each coordinate.

    Raises:
        ValueError: if ``sigma`` is not positive or the ``d`` of ``U`` is not that of ``X``.
    """
    return mix_subspaces(X, U, 1 / _positive(sigma, "sigma") ** 2)


def posterior_mean(X: Tokens, U: Bases, sigma: float, spread: float = 1.0) -> Tokens:
    r"""The best denoiser there is for a mixture of subspaces: the mean of the clean token, given the noisy one.

    Clean tokens are normal with standard deviation :math:`\tau` in each coordinate of one of ``K`` equally likely
    subspaces, and the noise is :math:`\mathcal N(0, \sigma^2 I)`. Then, exactly,

    .. math:: \mathbb E[z \mid x] = s \sum_k w_k\, U_k U_k^\top x, \qquad
        w = \mathrm{softmax}_k\Big(s\,\frac{\lVert U_k^\top x\rVert^2}{2\sigma^2}\Big), \qquad
        s = \frac{\tau^2}{\tau^2 + \sigma^2}

    which by Tweedie's formula is :math:`x + \sigma^2 \nabla \log q(x)`, with :math:`q` the density of the noisy
    tokens. :func:`denoise` puts ``s = 1``.

    Args:
        X: noisy tokens as rows, ``(..., n, d)``.
        U: orthonormal bases, ``(K, d, p)``.
        sigma: standard deviation of the noise in each coordinate.
        spread: :math:`\tau`.

    Raises:
        ValueError: if ``sigma`` or ``spread`` is not positive or the ``d`` of ``U`` is not that of ``X``.
    """
    signal, noise = _positive(spread, "spread") ** 2, _positive(sigma, "sigma") ** 2
    shrink = signal / (signal + noise)
    return shrink * mix_subspaces(X, U, shrink / noise)


def mix_subspaces(X: Tokens, U: Bases, sharpness: float) -> Tokens:
    r"""Projections on all subspaces, weighted by a softmax over the subspaces.

    .. math:: \sum_k w_k\, U_k U_k^\top x, \qquad
        w = \mathrm{softmax}_k\big(\tfrac12 \beta\, \lVert U_k^\top x \rVert^2\big)

    with ``sharpness`` for :math:`\beta`. Shapes and errors as :func:`denoise`.
    """
    Xk = project(X, U)
    energy = Xk.square().sum(-1, keepdim=True)
    weights = (0.5 * sharpness * energy).softmax(-3)
    return lift(weights * Xk, U)


def _wide(Z: Tensor) -> Tensor:
    """In the widest precision of the device, for what half precision has no factorisation for."""
    return Z.to(torch.float32 if Z.device.type == "mps" else torch.float64)


def _positive(value: float, name: str) -> float:
    if not value > 0:
        raise ValueError(f"{name} is a standard deviation and must be positive, got {value}")
    return value


def __getattr__(name: str) -> Any:
    # The layer lives with the other operators, which build on this module: it is imported when asked for.
    if name == "MSSA":
        from crate_mini.operators import MSSA

        return MSSA
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
