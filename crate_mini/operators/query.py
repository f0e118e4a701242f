"""MSSA with a query of its own: what an equal query and key forbid, it may do."""

from __future__ import annotations

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from crate_mini.compression import attend
from crate_mini.operators.contract import Attention, Mask, register


@register("mssa_query")
class QueryMSSA(Attention):
    r"""MSSA whose queries are another projection; keys and values stay one and the same.

    .. math:: \mathrm{softmax}\big(Z Q_k (Z U_k)^\top / \sqrt p\big)\, Z U_k , \qquad k = 1, \dots, K

    side by side, then a learned linear map with bias. Half-way from MSSA to MHSA, for the question which of the two
    equalities matters: that of query and key, or that of key and value. No paper derives it.

    Args:
        dim: token dimension ``d``.
        heads: number of subspaces ``K``.
        head_dim: dimension ``p`` of a subspace; ``d / K`` if not given.
    """

    def __init__(self, dim: int, heads: int, head_dim: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = head_dim or dim // heads
        self.project = nn.Linear(dim, 2 * heads * self.head_dim, bias=False)
        self.out = nn.Linear(heads * self.head_dim, dim)

    @property
    def U(self) -> Float[Tensor, "K d p"]:
        """The bases of keys and values, a view of the projection's weight."""
        return rearrange(self.project.weight, "(two k p) d -> two k d p", two=2, k=self.heads)[1]

    def coordinates(self, projected: Tensor) -> Float[Tensor, "b K n p"]:
        """Coordinates in every subspace, ``Z U_k``."""
        return self.queries_keys(projected)[1]

    def queries_keys(self, projected: Tensor) -> tuple[Float[Tensor, "b K n p"], Float[Tensor, "b K n p"]]:
        """Queries ``Z Q_k`` and keys ``Z U_k``."""
        return rearrange(projected, "b n (two k p) -> two b k n p", two=2, k=self.heads).unbind(0)

    def forward(self, Z: Float[Tensor, "b n d"], mask: Mask | None = None) -> Float[Tensor, "b n d"]:
        """The update that is added to the tokens."""
        queries, Zk = self.queries_keys(self.project(Z))
        heads = attend(queries, Zk, Zk, mask)
        return self.out(rearrange(heads, "b k n p -> b n (k p)"))

    def multiply_adds(self, tokens: int, batch: int = 1) -> dict[str, int]:
        """Two linear maps in, one out, and the two products of attention."""
        d, m = self.project.in_features, self.heads * self.head_dim
        return {"linear maps": 3 * batch * tokens * d * m, "attention": 2 * batch * tokens**2 * m}
