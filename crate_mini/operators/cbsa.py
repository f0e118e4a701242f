"""CBSA, the attention of CBT: tokens meet in a few representatives."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from crate_mini.compression import contract_and_broadcast
from crate_mini.operators.contract import Layout, Mask, SubspaceAttention, register


@register("cbsa")
class CBSA(SubspaceAttention):
    r"""Contract-and-broadcast self-attention: a few representatives are compressed, and pass it on to all tokens.

    .. math:: Q_k = P Z_k, \qquad A_k = \mathrm{softmax}\big(p^{-1/2} Q_k Z_k^\top\big), \qquad
        Q_k' = Q_k + s_k A_k Z_k,
    .. math:: \mathrm{CBSA}(Z) = \big[t_k A_k^\top\, \mathrm{softmax}\big(p^{-1/2} Q_k' Q_k'^\top\big) Q_k'\big]_k
        W^\top + b

    (arXiv 2509.16875, and its code.) :math:`P` averages the patches over a grid of ``representatives`` by
    ``representatives`` fields, without parameters: :math:`m` of them for :math:`n` tokens, at a cost of :math:`nm`. The
    same function as :func:`crate_mini.compression.cbsa`.

    Where it is otherwise than the released code:

    * There the class token stands first and the pooling takes all tokens *but the last*, so that it enters the
      grid, the last patch drops out, and all others move on by one. Here representatives are made of the patches, all
      of them; the class token is contracted and broadcast to as every token.
    * There :math:`s_k` and :math:`t_k` are drawn from a normal distribution, half of them negative. The free output
      map can absorb the sign of :math:`t_k`, and nothing that of :math:`s_k`, which turns contraction into expansion.
      Here both start at one half.
    * The grid need not be square, nor larger than the representatives.

    Columns of :math:`A_k` do not sum to one, so that a token which no representative looks at gets little.

    Args:
        dim: token dimension ``d``.
        heads: number of heads ``K``.
        head_dim: dimension ``p`` of a head; ``d / K`` if not given.
        representatives: along a side; 8 in the released code, which is for larger images than ours.

    Raises:
        ValueError: fewer than one representative.
    """

    on_grid = True

    def __init__(
        self, dim: int, heads: int, head_dim: int | None = None, *, representatives: int = 8
    ) -> None:
        super().__init__()
        if representatives < 1:
            raise ValueError(f"representatives along a side must be 1 or more, got {representatives}")
        self.heads, self.representatives = heads, representatives
        self.head_dim = head_dim or dim // heads
        self.project = nn.Linear(dim, heads * self.head_dim, bias=False)
        self.contract = nn.Parameter(torch.full((heads,), 0.5))
        self.broadcast = nn.Parameter(torch.full((heads,), 0.5))
        self.out = nn.Linear(heads * self.head_dim, dim)

    def contraction(self, Z: Float[Tensor, "b n d"], layout: Layout) -> Float[Tensor, "b K m n"]:
        r""":math:`A_k`: what each representative is made of, behind its first average.

        Raises:
            ValueError: tokens that lie in no grid.
        """
        # project is not called, so that hooks on it see the forward pass alone
        Zk = self.coordinates(self.project.forward(Z))
        return contract_and_broadcast(Zk, self._pooling(Z, layout), self.contract, self.broadcast)[0]

    def forward(
        self, Z: Float[Tensor, "b n d"], mask: Mask | None = None, layout: Layout | None = None
    ) -> Float[Tensor, "b n d"]:
        """The update that is added to the tokens.

        Args:
            Z: tokens behind their LayerNorm.
            mask: None, and nothing else.
            layout: where the patches lie.

        Raises:
            ValueError: a mask, or tokens that lie in no grid.
        """
        if mask is not None:
            raise ValueError("CBSA takes no mask: its tokens meet in averages over all of them")
        Zk = self.coordinates(self.project(Z))
        heads = contract_and_broadcast(Zk, self._pooling(Z, layout), self.contract, self.broadcast)[1]
        return self.out(rearrange(heads.to(Z.dtype), "b k n p -> b n (k p)"))

    def _pooling(self, Z: Tensor, layout: Layout | None) -> Float[Tensor, "m n"]:
        if layout is None or layout.grid is None:
            raise ValueError(
                "CBSA averages patches over their grid, and these tokens lie in none: give it whole images (a "
                "training with keep_patches=1), or another attention"
            )
        rows, columns = (_fields(side, self.representatives, Z) for side in layout.grid)
        places = torch.einsum("ar,bc->abrc", rows, columns).flatten(2).flatten(0, 1)
        return torch.cat([places.new_zeros(places.shape[0], layout.prefix), places], 1)

    def multiply_adds(self, tokens: int, batch: int = 1) -> dict[str, int]:
        """One linear map in and one out; four products of tokens with representatives, two of these with each other.

        The matrix of averages, which no token enters, is not counted.
        """
        r, m = self.representatives**2, self.heads * self.head_dim
        return {
            "linear maps": 2 * batch * tokens * self.project.in_features * m,
            "attention": batch * m * (4 * tokens * r + 2 * r**2),
        }

    def page_settings(self) -> dict[str, Any] | None:
        """No page runs it."""
        return None

    def extra_repr(self) -> str:
        """What print(model) shows of this layer."""
        return f"heads={self.heads}, head_dim={self.head_dim}, representatives={self.representatives}"


def _fields(side: int, count: int, like: Tensor) -> Float[Tensor, "count side"]:
    """Averages over the fields of a side, as ``adaptive_avg_pool1d`` has them; a side may be left open."""
    field = torch.arange(count, device=like.device)[:, None]
    place = torch.arange(side, device=like.device)
    first, last = field * side // count, -(-(field + 1) * side // count)
    inside = ((place >= first) & (place < last)).to(torch.promote_types(like.dtype, torch.float32))
    return inside / inside.sum(1, keepdim=True)
