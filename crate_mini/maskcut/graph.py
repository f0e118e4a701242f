r"""The graph of an image's patches: who is joined, and its normalised affinity as a map that forms no matrix."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

TAU = 0.15
"""Patches whose features have a cosine above this are joined."""
EPSILON = 1e-5
"""Affinity of patches that are not joined."""

Graph = Float[Tensor, "*b n n"]


def neighbours(
    features: Float[Tensor, "*b n d"],
    tau: float = TAU,
) -> Graph:
    r"""The graph ``S``: 1 where :math:`\cos(f_i, f_j) > \tau`, else 0. A feature of length zero has no neighbour."""
    unit = F.normalize(features.float(), dim=-1)
    return (unit @ unit.mT).gt_(tau)


def affinity(
    features: Float[Tensor, "n d"],
    tau: float = TAU,
    eps: float = EPSILON,
) -> Graph:
    r""":math:`A`: 1 between patches whose cosine is above :math:`\tau`, ``eps`` between all others; float64."""
    return neighbours(features, tau).double().clamp(min=eps)


def normalised_product(
    S: Float[Tensor, "b n n"],
    alive: Float[Tensor, "b n"],
    eps: float,
) -> tuple[Callable[[Tensor], Tensor], Float[Tensor, "b n"]]:
    r"""The map :math:`x \mapsto D^{-1/2} A D^{-1/2} x` and the degrees, without forming ``A``.

    .. math:: A x = \varepsilon\, 1 (1^\top x) + (1 - \varepsilon)\, a \odot S (a \odot x)

    with ``a`` 0 for patches that are painted over: their features are zero, so they have no neighbours.
    """
    n = S.shape[-1]

    def joined(x: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        return alive * (S @ (alive * x)[..., None])[..., 0]

    degrees = (1 - eps) * joined(alive) + eps * n
    root = degrees.rsqrt()

    def product(x: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        y = root * x
        everyone = y.sum(-1, keepdim=True)
        return root * ((1 - eps) * joined(y) + eps * everyone)

    return product, degrees


def cuttable(S: Tensor) -> bool:
    """Whether the graph tells any two patches apart: neither all joined nor none."""
    n = len(S)
    joined = S.sum()
    return bool((joined > S.diagonal().sum()) & (joined < n * n)) or bool(
        (joined > 0) & (joined < n)  # some patches without any features, the others alone
    )
