r"""Compression: a gradient step on :math:`R^c` becomes multi-head subspace self-attention (MSSA).

Tokens are rows, ``(batch, n, d)``. The bases of the ``K`` subspaces are ``U``, ``(K, d, p)``.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from crate_mini.rates import project


def mssa(
    Z: Float[Tensor, "*batch n d"],
    U: Float[Tensor, "K d p"],
    W: Float[Tensor, "d Kp"] | None = None,
    b: Float[Tensor, " d"] | None = None,
) -> Float[Tensor, "*batch n d"]:
    r"""Multi-head subspace self-attention, written as its equation; :class:`MSSA` computes the same faster.

    .. math:: \mathrm{SSA}_k = \mathrm{softmax}\!\big(p^{-1/2} Z_k Z_k^\top\big) Z_k, \quad Z_k = Z U_k, \qquad
        \mathrm{MSSA}(Z) = [\mathrm{SSA}_1, \dots, \mathrm{SSA}_K] W^\top + b

    (arXiv 2306.01129, eq. 11 and 115.) Query, key and value of a head are one and the same projection. Without
    ``W`` the output basis is tied to the input basis, as the derivation has it:
    :math:`\sum_k \mathrm{SSA}_k U_k^\top`, up to the step size.

    Raises:
        ValueError: if the ``d`` of ``U`` is not that of ``Z``.
    """
    Zk = project(Z, U)
    attention = (Zk @ Zk.mT / math.sqrt(U.shape[-1])).softmax(-1)
    heads = attention @ Zk
    if W is None:
        return torch.einsum("...knp,kdp->...nd", heads, U)
    return F.linear(rearrange(heads, "... k n p -> ... n (k p)"), W, b)


class MSSA(nn.Module):
    """Multi-head subspace self-attention as a layer, through PyTorch's fused attention.

    The same function as :func:`mssa`, with the ``n x n`` attention never kept for the backward pass.

    Args:
        dim: token dimension ``d``.
        heads: number of subspaces ``K``.
        head_dim: dimension ``p`` of a subspace; ``d / K`` if not given.
        tied: if true the output basis is the input basis and there is no ``out`` layer (the theory);
            if false it is a learned linear map with bias (the released code).
    """

    def __init__(self, dim: int, heads: int, head_dim: int | None = None, *, tied: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = head_dim or dim // heads
        self.project = nn.Linear(dim, heads * self.head_dim, bias=False)
        self.out = None if tied else nn.Linear(heads * self.head_dim, dim)

    @property
    def U(self) -> Float[Tensor, "K d p"]:
        """The bases, a view of the projection's weight."""
        return rearrange(self.project.weight, "(k p) d -> k d p", k=self.heads)

    def queries_keys(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys, ``(batch, K, n, p)`` each, from what ``project`` returned. Here they are equal."""
        Zk = rearrange(projected, "b n (k p) -> b k n p", k=self.heads)
        return Zk, Zk

    def forward(self, Z: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """The update that is added to the tokens, not the updated tokens."""
        Zk, _ = self.queries_keys(self.project(Z))
        heads = rearrange(F.scaled_dot_product_attention(Zk, Zk, Zk), "b k n p -> b n (k p)")
        return heads @ self.project.weight if self.out is None else self.out(heads)

    def extra_repr(self) -> str:
        """What print(model) shows of this layer."""
        return f"heads={self.heads}, head_dim={self.head_dim}, tied={self.out is None}"
