r"""Tokens near a union of low-dimensional subspaces: the data that the whole derivation assumes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Mixture:
    """What :func:`mixture_of_subspaces` drew.

    Attributes:
        tokens: ``(n, d)``, one token a row; those of one subspace lie together, subspace after subspace.
        bases: ``(K, d, p)``, orthonormal columns.
        labels: ``(n,)``, the subspace that each token was drawn from.
    """

    tokens: Float[Tensor, "n d"]
    bases: Float[Tensor, "K d p"]
    labels: Int[Tensor, " n"]


def mixture_of_subspaces(
    n: int,
    *,
    d: int,
    K: int,
    p: int,
    noise: float = 0.0,
    orthogonal: bool = True,
    unit_length: bool = True,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Mixture:
    r"""Draw ``n`` tokens from ``K`` subspaces of dimension ``p`` in ``d`` dimensions, in equal shares.

    A token is :math:`x = U_k a + \sigma w`, where :math:`a \sim \mathcal N(0, I_p/p)` and
    :math:`w \sim \mathcal N(0, I_d/d)`, so that the part within the subspace has expected squared length 1 and
    the noise :math:`\sigma^2`, in any dimension. (The model of arXiv 2306.01129, section 2.2, in which the noise
    has variance :math:`\sigma^2` per coordinate: multiply by :math:`\sqrt d` to translate.)

    Args:
        n: number of tokens; shares differ by one at most where ``K`` does not divide it.
        d: dimension of a token.
        K: number of subspaces.
        p: dimension of each.
        noise: :math:`\sigma \ge 0`, expected length of the noise beside a signal of length 1.
        orthogonal: if true the subspaces are mutually orthogonal, which needs ``K p <= d``; if false each has a
            random direction of its own.
        unit_length: scale every token to length 1 at the end, as the theory assumes.
        seed: the same seed gives the same tokens.
        dtype: of tokens and bases.

    Raises:
        ValueError: sizes that do not fit or are not positive, or negative noise.
    """
    for name, value in {"n": n, "d": d, "K": K, "p": p}.items():
        if value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value}")
    if p > d or (orthogonal and K * p > d):
        raise ValueError(
            f"{K} {'orthogonal ' if orthogonal else ''}subspaces of dimension {p} do not fit into {d} dimensions"
            + ("; pass orthogonal=False or a larger d" if p <= d else "")
        )
    if not noise >= 0:
        raise ValueError(f"noise is a length and must not be negative, got {noise}")
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    if orthogonal:
        bases = torch.linalg.qr(normal(d, K * p)).Q.view(d, K, p).movedim(1, 0)
    else:
        bases = torch.linalg.qr(normal(K, d, p)).Q
    labels = torch.arange(n) * K // n
    within = normal(n, p) / p**0.5
    tokens = torch.einsum("np,ndp->nd", within, bases[labels]) + noise / d**0.5 * normal(n, d)
    if unit_length:
        tokens = torch.nn.functional.normalize(tokens, dim=-1)
    return Mixture(tokens.to(dtype), bases.contiguous().to(dtype), labels)


def mixture_with_crosstalk(
    n: int,
    *,
    d: int,
    K: int,
    p: int,
    crosstalk: float,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Mixture:
    r"""Draw ``n`` tokens whose noise is what they have in the subspaces of others, in equal shares.

    A token of class ``k`` is :math:`z = U_k a + \sum_{j \ne k} U_j e_j`, where :math:`a \sim \mathcal N(0, I_p)` and
    :math:`e_j \sim \mathcal N(0, \delta^2 I_p)`, with bases that are orthonormal and orthogonal to each other (the
    model of the theorem of arXiv 2506.03790). Its length is about :math:`\sqrt{p\,(1 + (K-1)\delta^2)}`, and the
    signal-to-noise ratio of a class about :math:`1/(\delta\sqrt{K-1})`.

    Args:
        n: number of tokens; shares differ by one at most where ``K`` does not divide it.
        d: dimension of a token, at least ``K p``.
        K: number of subspaces.
        p: dimension of each.
        crosstalk: :math:`\delta \ge 0`, deviation of each coordinate in a subspace of others, beside 1 in the own.
        seed: the same seed gives the same tokens.
        dtype: of tokens and bases.

    Raises:
        ValueError: sizes that do not fit or are not positive, or negative crosstalk.
    """
    if not crosstalk >= 0:
        raise ValueError(f"crosstalk is a deviation and must not be negative, got {crosstalk}")
    bases = mixture_of_subspaces(n, d=d, K=K, p=p, seed=seed).bases
    generator = torch.Generator().manual_seed(seed + 1_000_003)  # apart from what drew the bases
    labels = torch.arange(n) * K // n
    coordinates = torch.randn(K, n, p, generator=generator, dtype=torch.float64)
    foreign = labels != torch.arange(K)[:, None]
    coordinates[foreign] *= crosstalk
    tokens = torch.einsum("knp,kdp->nd", coordinates, bases)
    return Mixture(tokens.to(dtype), bases.to(dtype), labels)
