"""The operators of CRATE and of the ViT: MSSA and MHSA, ISTA and MLP."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from crate_mini.compression import attend
from crate_mini.operators.contract import Attention, Feed, Mask, SubspaceAttention, register
from crate_mini.sparsification import PROXIMAL_MAPS, move_matrix


@register("mssa")
class MSSA(SubspaceAttention):
    """Multi-head subspace self-attention as a layer, through PyTorch's fused attention.

    The same function as :func:`crate_mini.compression.mssa`, with the ``n x n`` attention never kept for the backward
    pass. Query, key and value of a head are one and the same projection.

    Args:
        dim: token dimension ``d``.
        heads: number of subspaces ``K``.
        head_dim: dimension ``p`` of a subspace; ``d / K`` if not given.
        tied: if true the output basis is the input basis and there is no ``out`` layer (the theory);
            if false it is a learned linear map with bias (the released code).
    """

    symmetric = True

    def __init__(self, dim: int, heads: int, head_dim: int | None = None, *, tied: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = head_dim or dim // heads
        self.project = nn.Linear(dim, heads * self.head_dim, bias=False)
        self.out = None if tied else nn.Linear(heads * self.head_dim, dim)

    def queries_keys(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys, ``(batch, K, n, p)`` each, from what ``project`` returned. Here they are equal."""
        Zk = self.coordinates(projected)
        return Zk, Zk

    def forward(self, Z: Float[Tensor, "b n d"], mask: Mask | None = None) -> Float[Tensor, "b n d"]:
        """The update that is added to the tokens, not the updated tokens."""
        Zk = self.coordinates(self.project(Z))
        heads = attend(Zk, Zk, Zk, mask)
        heads = rearrange(heads, "b k n p -> b n (k p)")
        if self.out is None:
            return heads @ self.project.weight
        return self.out(heads)

    def multiply_adds(self, tokens: int, batch: int = 1) -> dict[str, int]:
        """One linear map in, one out, and the two products of attention."""
        return _multiply_adds(self, 2, tokens, batch)

    def page_settings(self) -> dict[str, Any] | None:
        """Known to ``crate.js``; a subclass, which may compute something else, is not."""
        return {"attention": "mssa", "tied": self.out is None} if type(self) is MSSA else None

    def extra_repr(self) -> str:
        """What print(model) shows of this layer."""
        return f"heads={self.heads}, head_dim={self.head_dim}, tied={self.out is None}"


@register("mhsa")
class MHSA(Attention):
    """Multi-head self-attention of the ViT: separate queries, keys and values (arXiv 2010.11929).

    Its bases and coordinates are those of the keys.
    """

    def __init__(self, dim: int, heads: int, head_dim: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = head_dim or dim // heads
        self.project = nn.Linear(dim, 3 * heads * self.head_dim)
        self.out = nn.Linear(heads * self.head_dim, dim)

    @property
    def U(self) -> Float[Tensor, "K d p"]:
        """The bases of the keys, a view of the projection's weight."""
        return rearrange(self.project.weight, "(three k p) d -> three k d p", three=3, k=self.heads)[1]

    def coordinates(self, projected: Tensor) -> Float[Tensor, "b K n p"]:
        """The keys, their bias included."""
        return self._split(projected)[1]

    def queries_keys(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys, ``(batch, K, n, p)`` each, from what ``project`` returned."""
        q, k, _ = self._split(projected)
        return q, k

    def _split(self, projected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return rearrange(projected, "b n (three k p) -> three b k n p", three=3, k=self.heads).unbind(0)

    def forward(self, Z: Float[Tensor, "b n d"], mask: Mask | None = None) -> Float[Tensor, "b n d"]:
        """The update that is added to the tokens."""
        heads = attend(*self._split(self.project(Z)), mask)
        return self.out(rearrange(heads, "b k n p -> b n (k p)"))

    def multiply_adds(self, tokens: int, batch: int = 1) -> dict[str, int]:
        """Three linear maps in, one out, and the two products of attention."""
        return _multiply_adds(self, 4, tokens, batch)

    def page_settings(self) -> dict[str, Any] | None:
        """Known to ``crate.js``; a subclass, which may compute something else, is not."""
        return {"attention": "mhsa", "tied": False} if type(self) is MHSA else None


@register("ista")
class ISTA(Feed):
    r""":func:`crate_mini.sparsification.ista_step` as a layer with a learned dictionary.

    .. math:: \mathrm{ISTA}(Y) = \mathrm{ReLU}\big(Y + \eta\, Y B - \eta\lambda \mathbf 1\big), \qquad
        B = D - D^\top D

    One product with the tokens, whatever their number, so that an image's code does not depend on the images that
    it shares a batch with. Under autocast that product alone is in half precision: the token is added in its own.

    There is no skip connection around it: the code takes the place of the token. The dictionary starts
    uniform in ``+-sqrt(6/d)``, as in the released code.

    Args:
        dim: token dimension ``d``; the dictionary is square.
        step: :math:`\eta`.
        lam: :math:`\lambda`.
        proximal: ``"relu"`` or ``"soft"``.

    Raises:
        ValueError: an unknown ``proximal``.
    """

    skip = False

    def __init__(self, dim: int, *, step: float = 0.1, lam: float = 0.1, proximal: str = "relu") -> None:
        super().__init__()
        if proximal not in PROXIMAL_MAPS:
            raise ValueError(f"proximal must be one of {PROXIMAL_MAPS}, got {proximal!r}")
        self.step, self.lam, self.proximal = step, lam, proximal
        self.D = nn.Parameter(torch.empty(dim, dim))
        nn.init.kaiming_uniform_(self.D)
        self._formed: tuple[Tensor, Tensor] | None = None

    def forward(self, Y: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """The codes that take the tokens' place."""
        moved = torch.add(Y, Y @ self._move_matrix(Y.dtype), alpha=self.step)
        # in place: no backward pass needs what is overwritten
        if self.proximal == "relu":
            return moved.sub_(self.step * self.lam).relu_()
        return F.softshrink(moved, self.step * self.lam)

    def _move_matrix(self, dtype: torch.dtype) -> Float[Tensor, "d d"]:
        """:func:`move_matrix` in the tokens' precision; without gradients on a CPU formed once."""
        D = self.D
        if (
            D.device.type != "cpu"
            or torch.compiler.is_compiling()
            or (torch.is_grad_enabled() and D.requires_grad)
        ):
            return move_matrix(D).to(dtype)
        # compared entry by entry, which is cheap beside d^3: whoever writes into D, and however, is noticed
        if self._formed is None or self._formed[0].dtype != D.dtype or not torch.equal(self._formed[0], D):
            self._formed = (D.detach().clone(), move_matrix(D.detach()))
        return self._formed[1].to(dtype)

    def code(self, Y: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """What comes out is the code."""
        return self.forward(Y)

    @property
    def neurons(self) -> nn.Module:
        """Itself: what comes out is the code."""
        return self

    @property
    def writes(self) -> Float[Tensor, "d d"]:
        """The identity: the code takes the token's place."""
        return torch.eye(len(self.dictionary), device=self.dictionary.device)

    @property
    def dictionary(self) -> Float[Tensor, "d d"]:
        """``D``."""
        return self.D

    def multiply_adds(self, tokens: int, batch: int = 1) -> dict[str, int]:
        """One product with the tokens of the whole batch, and once the matrix of it."""
        d = self.D.shape[0]
        return {"feed": tokens * batch * d**2 + d**3}

    def page_settings(self) -> dict[str, Any] | None:
        """Known to ``crate.js``; a subclass, which may compute something else, is not."""
        settings = {"feed": "ista", "step": self.step, "lam": self.lam, "proximal": self.proximal}
        return settings if type(self) is ISTA else None

    def extra_repr(self) -> str:
        """What print(model) shows of this layer."""
        return f"dim={self.D.shape[0]}, step={self.step}, lam={self.lam}, proximal={self.proximal!r}"


@register("mlp")
class MLP(nn.Sequential, Feed):
    """The feed-forward block of the ViT: expand, GELU, contract.

    Args:
        dim: token dimension ``d``.
        mlp_ratio: hidden width in units of ``dim``.
    """

    def __init__(self, dim: int, mlp_ratio: int = 4) -> None:
        super().__init__(nn.Linear(dim, mlp_ratio * dim), nn.GELU(), nn.Linear(mlp_ratio * dim, dim))

    @property
    def neurons(self) -> nn.Module:
        """The GELU: its outputs, ``mlp_ratio * dim`` of them, are what is usually called neurons."""
        return self[1]

    @property
    def writes(self) -> Float[Tensor, "m d"]:
        """The second linear map."""
        return self[2].weight.detach().T

    def multiply_adds(self, tokens: int, batch: int = 1) -> dict[str, int]:
        """Two linear maps."""
        return {"feed": 2 * tokens * batch * self[0].weight.numel()}

    def page_settings(self) -> dict[str, Any] | None:
        """Known to ``crate.js``; a subclass, which may compute something else, is not."""
        ratio = self[0].out_features // self[0].in_features
        return {"feed": "mlp", "mlp_ratio": ratio} if type(self) is MLP else None


def _multiply_adds(attention: MSSA | MHSA, maps: int, tokens: int, batch: int) -> dict[str, int]:
    d, m = attention.project.in_features, attention.heads * attention.head_dim
    return {"linear maps": maps * batch * tokens * d * m, "attention": 2 * batch * tokens**2 * m}
