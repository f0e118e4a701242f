"""TSSA, the attention of ToST: heads share the tokens out, and no token looks at another."""

from __future__ import annotations

import math
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from crate_mini.compression import ENERGIES, token_statistics
from crate_mini.operators.contract import CannotAnswer, Mask, SubspaceAttention, causal_mask, register


@register("tssa")
class TSSA(SubspaceAttention):
    r"""Token statistics self-attention, in time and memory linear in the number of tokens.

    .. math:: \Pi_{ik} = \mathrm{softmax}_k\big(\tau_k e_{ik}\big), \qquad
        m_{kj} = \frac{\sum_i \Pi_{ik} (Z_k)_{ij}^2}{\sum_i \Pi_{ik}}, \qquad
        \mathrm{TSSA}(Z) = -\Big[\Pi_{ik} \frac{(Z_k)_{ij}}{1 + m_{kj}}\Big]_{i,\,kj} W^\top + b

    (arXiv 2412.17810, and its code.) The energies :math:`e_{ik} = \sum_j (Z_k)_{ij}^2 / \sum_l (Z_k)_{lj}^2` say how
    much of a token each head holds; the softmax is over *heads*. The same function as
    :func:`crate_mini.compression.tssa`.

    Three things to know before comparing one:

    * Memberships start out nearly even. The energies of a token are about :math:`p/n`, as every channel sums to one
      over the tokens, so that at :math:`\tau = 1`, where training starts, the softmax hardly sees them; and a trained
      network groups otherwise when the image grows. ``energy="mean"`` divides by the mean over tokens in place of the
      sum: then :math:`\tau = 1/4` means the same at every size.
    * The class token cannot gather. Others reach a token only through the :math:`Kp` second moments. ToST reads its
      class by two layers of ordinary class attention at the end; here ``readout="mean"`` reads the mean of the
      patches. Whoever compares must give every side the same readout.
    * The minus sign stands before a free output map, so that after training it says nothing.

    Args:
        dim: token dimension ``d``.
        heads: number of groups ``K``.
        head_dim: dimension ``p`` of a head; ``d / K`` if not given.
        temperature: what every learned :math:`\tau_k` starts from.
        energy: ``"sum"`` as published, or ``"mean"``.
        causal: the form for language: energies, memberships and moments over the tokens up to each.
        length: of the causal form: how many places have a learned bias :math:`b_{ki}` inside the energies, which starts
            at zero; without it there is none.

    Raises:
        ValueError: a temperature that is not positive, an unknown ``energy``, or a length of the form that knows no
            order.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        head_dim: int | None = None,
        *,
        temperature: float = 1.0,
        energy: str = "sum",
        causal: bool = False,
        length: int | None = None,
    ) -> None:
        super().__init__()
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"temperature must be a positive number, got {temperature}")
        if energy not in ENERGIES:
            raise ValueError(f"energy must be one of {ENERGIES}, got {energy!r}")
        if length is not None and not causal:
            raise ValueError("length is for the causal form: without an order no token has a place")
        self.heads, self.energy, self.causal = heads, energy, causal
        self.head_dim = head_dim or dim // heads
        self.project = nn.Linear(dim, heads * self.head_dim, bias=False)
        self.temperature = nn.Parameter(torch.full((heads,), float(temperature)))
        self.place = None if length is None else nn.Parameter(torch.zeros(heads, length))
        self.out = nn.Linear(heads * self.head_dim, dim)

    def queries_keys(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """There are none.

        Raises:
            CannotAnswer: always; :meth:`memberships` are what there is to look at.
        """
        raise CannotAnswer(
            f"{type(self).__name__} has no queries and keys: no token looks at another; look at its memberships"
        )

    def memberships(self, projected: Tensor) -> Float[Tensor, "b K n"]:
        r""":math:`\Pi`, summing to one over the heads."""
        return self._statistics(projected)[0]

    def _statistics(self, projected: Tensor) -> tuple[Float[Tensor, "b K n"], Float[Tensor, "b K n p"]]:
        """Memberships, and what every head makes of its coordinates, in single precision at least."""
        with torch.autocast(projected.device.type, enabled=False):
            Zk = self.coordinates(projected)
            wide = Zk.to(torch.promote_types(Zk.dtype, torch.float32))
            place = None if self.place is None else self.place[:, : Zk.shape[-2]].to(wide.dtype)
            return token_statistics(
                wide, self.temperature.to(wide.dtype), energy=self.energy, causal=self.causal, place=place
            )

    def forward(self, Z: Float[Tensor, "b n d"], mask: Mask | None = None) -> Float[Tensor, "b n d"]:
        """The update that is added to the tokens.

        Raises:
            ValueError: a mask that the form does not have in it already, or more tokens than there are places.
        """
        n = Z.shape[-2]
        if mask is not None and not (
            self.causal and mask.shape[-2:] == (n, n) and bool((mask == causal_mask(n, mask.device)).all())
        ):
            has = "causal_mask, which it has in it, and no other mask" if self.causal else "no mask"
            raise ValueError(
                f"TSSA takes {has}: its tokens meet in sums over all of them, of which none can be left out"
            )
        if self.place is not None and n > self.place.shape[-1]:
            raise ValueError(f"{n} tokens, and places for {self.place.shape[-1]}: give a longer length")
        heads = self._statistics(self.project(Z))[1].to(Z.dtype)
        return self.out(rearrange(heads, "b k n p -> b n (k p)"))

    def multiply_adds(self, tokens: int, batch: int = 1) -> dict[str, int]:
        """One linear map in and one out; the second moments, a number a coordinate (running sums are no products)."""
        m = self.heads * self.head_dim
        counts = {"linear maps": 2 * batch * tokens * self.project.in_features * m}
        return counts if self.causal else counts | {"attention": batch * tokens * m}

    def page_settings(self) -> dict[str, Any] | None:
        """No page runs it."""
        return None

    def extra_repr(self) -> str:
        """What print(model) shows of this layer."""
        return f"heads={self.heads}, head_dim={self.head_dim}, energy={self.energy!r}, causal={self.causal}"
