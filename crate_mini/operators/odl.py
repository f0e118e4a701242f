"""ODL, the feed of CRATE-alpha: a sparse code in an overcomplete dictionary, and back."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from crate_mini.operators.contract import Feed, register


@register("odl")
class ODL(Feed):
    r"""Overcomplete dictionary learning: a few proximal steps from zero, and back by a dictionary of its own.

    .. math:: z^{0} = 0, \qquad z^{t+1} = \big[z^t + \eta D^\top (y - D z^t) - \eta\lambda \mathbf 1\big]_+, \qquad
        \mathrm{ODL}(y) = D_1 z^{T}

    (arXiv 2405.20299; two steps in its code.) The same function as :func:`crate_mini.sparsification.odl`, which forms
    :math:`D^\top y` anew in every step; here it is formed once, so that :math:`T` steps take :math:`2T` products with
    the tokens. At the MLP's hidden width two steps cost twice the MLP.

    Three things to know before reading one:

    * The stream of tokens is neither sparse nor non-negative: with its skip connection the operator returns a move.
      The sparse code is :math:`z^T`, inside; :meth:`code` returns it, and the recorder keeps it as ``"code"``.
    * The start decides whether a step descends. Uniform in :math:`\pm\sqrt{6/d}`, as the published models in JAX had
      it and as it is here, a dictionary four times overcomplete has :math:`\eta\lVert D\rVert^2 \approx 1.8` at
      :math:`\eta = 0.1`, just below 2, where descent ends. PyTorch's ``kaiming_uniform_`` counts the other side and
      would give :math:`\pm\sqrt{6/4d}` and 0.45. Learning may pass 2.
    * The paper's formula has one dictionary and no skip connection, ``tied_feed=True, residual=False`` here; its
      best models have two and one.

    Args:
        dim: token dimension ``d``.
        mlp_ratio: atoms ``m`` in units of ``dim``.
        step: :math:`\eta`.
        lam: :math:`\lambda`.
        steps: proximal steps :math:`T`.
        tied_feed: decode by :math:`D` itself instead of by :math:`D_1`.
        residual: the block adds the tokens to what comes out; if not, it takes their place.

    Raises:
        ValueError: fewer than one step.
    """

    def __init__(
        self,
        dim: int,
        mlp_ratio: int = 4,
        *,
        step: float = 0.1,
        lam: float = 0.1,
        steps: int = 2,
        tied_feed: bool = False,
        residual: bool = True,
    ) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps must be 1 or more proximal steps, got {steps}")
        self.step, self.lam, self.steps, self.skip = step, lam, steps, residual
        self.D = _dictionary(dim, mlp_ratio)
        self.D1 = None if tied_feed else _dictionary(dim, mlp_ratio)

    def code(self, Y: Float[Tensor, "b n d"]) -> Float[Tensor, "b n m"]:
        """The sparse code :math:`z^T` of each token, non-negative."""
        towards = self.step * (Y @ self.D) - self.step * self.lam
        Z = torch.relu(towards)
        for _ in range(self.steps - 1):
            back = (Z @ self.D.mT) @ self.D
            Z = torch.relu(Z + towards - self.step * back)
        return Z

    def forward(self, Y: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """What the code says in the other dictionary."""
        return self.code(Y) @ (self.D if self.D1 is None else self.D1).mT

    @property
    def dictionary(self) -> Float[Tensor, "d m"]:
        """``D``, in which the code is found."""
        return self.D

    def multiply_adds(self, tokens: int, batch: int = 1) -> dict[str, int]:
        """Two products a step, less the one with the zero that it starts from, and one back."""
        return {"feed": 2 * self.steps * tokens * batch * self.D.numel()}

    def page_settings(self) -> dict[str, Any] | None:
        """No page runs it."""
        return None

    def extra_repr(self) -> str:
        """What print(model) shows of this layer."""
        d, m = self.D.shape
        return (
            f"dim={d}, atoms={m}, step={self.step}, lam={self.lam}, steps={self.steps}, "
            f"tied_feed={self.D1 is None}, residual={self.skip}"
        )


def _dictionary(dim: int, ratio: int) -> nn.Parameter:
    bound = math.sqrt(6 / dim)
    return nn.Parameter(torch.empty(dim, ratio * dim).uniform_(-bound, bound))
