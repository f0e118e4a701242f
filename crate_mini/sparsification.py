r"""Sparsification: one proximal-gradient step on a LASSO becomes a layer with a ReLU (ISTA).

Tokens are rows, ``(..., n, d)``; the dictionary ``D`` is ``(d, d)`` and codes a token ``y`` as ``y ~ D z``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

PROXIMAL_MAPS = ("relu", "soft")


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

    which descends :math:`\tfrac12\lVert y - D z\rVert^2 + \lambda \lVert z \rVert_1` over :math:`z \ge 0`
    (arXiv 2306.01129, eq. 17) for every step :math:`\eta \le 1/\lVert D\rVert^2`. Two matrix products suffice,
    :math:`D^\top (y - Dy)`; the released code forms :math:`D^\top D y` and :math:`D^\top y` apart, with three.
    For more tokens than dimensions one is enough: the step is linear, and :func:`folded_step` is its matrix.

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
    if proximal not in PROXIMAL_MAPS:
        raise ValueError(f"proximal must be one of {PROXIMAL_MAPS}, got {proximal!r}")
    y = Y.reshape(-1, Y.shape[-1])
    if len(y) > len(D):
        moved = y @ folded_step(D, step).to(y.dtype)
    else:
        # addmm does a product, its scaling and the addition in one pass over memory
        residual = torch.addmm(y, y, D.mT, alpha=-1)
        moved = torch.addmm(y, residual, D, alpha=step)
    # in place: no backward pass needs what is overwritten
    if proximal == "relu":
        return moved.sub_(step * lam).relu_().view(Y.shape)
    return F.softshrink(moved, step * lam).view(Y.shape)


def folded_step(D: Float[Tensor, "d d"], step: float) -> Float[Tensor, "d d"]:
    r"""The gradient step of :func:`ista_step` as one matrix for tokens as rows, ``Y -> Y @ M``.

    .. math:: Y + \eta (Y - Y D^\top) D = Y M, \qquad M = I + \eta D - \eta D^\top D

    Multiplying the matrices first costs :math:`d^3` and saves a product with all the tokens, in the backward pass
    two. Formed in single precision at least: beside the identity, half precision would round the step away.
    """
    with torch.autocast(D.device.type, enabled=False):
        D = D.to(torch.promote_types(D.dtype, torch.float32))
        M = torch.addmm(step * D, D.mT, D, alpha=-step)
        return M + torch.eye(len(D), dtype=M.dtype, device=M.device)


class ISTA(nn.Module):
    """:func:`ista_step` as a layer with a learned dictionary.

    There is no skip connection around it: the code takes the place of the token. The dictionary starts
    uniform in ``+-sqrt(6/d)``, as in the released code.
    """

    def __init__(self, dim: int, *, step: float = 0.1, lam: float = 0.1, proximal: str = "relu") -> None:
        super().__init__()
        if proximal not in PROXIMAL_MAPS:
            raise ValueError(f"proximal must be one of {PROXIMAL_MAPS}, got {proximal!r}")
        self.step, self.lam, self.proximal = step, lam, proximal
        self.D = nn.Parameter(torch.empty(dim, dim))
        nn.init.kaiming_uniform_(self.D)

    def forward(self, Y: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """The codes that take the tokens' place."""
        return ista_step(Y, self.D, self.step, self.lam, proximal=self.proximal)

    def extra_repr(self) -> str:
        """What print(model) shows of this layer."""
        return f"dim={self.D.shape[0]}, step={self.step}, lam={self.lam}, proximal={self.proximal!r}"
