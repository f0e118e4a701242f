r"""Tokens as colours: principal components of a group of images, shown where the patches are.

The features of a patch are its coordinates in all subspaces, :math:`(U_1^\top z, \dots, U_K^\top z)` (of a ViT, its
keys), as in arXiv 2308.16271, Figures 3, 6 and 9. The first component tells foreground from background, the next
three become red, green and blue. Components are fixed up to a sign only; here the signs are fixed too, so that the
same tokens give the same picture on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from crate_mini.model import CRATE
from crate_mini.passes import run
from crate_mini.recorder import layer_numbers, record

COMPONENTS = 4
"""One for the foreground, three for the colours."""
DIM = 0.3
"""How bright the background stays."""


@dataclass(frozen=True)
class TokenPCA:
    """Axes that were fitted to one group of tokens, to be used on these and on others.

    Attributes:
        mean: of the features, ``(f,)``.
        components: unit vectors as rows, ``(4, f)``, by falling variance.
        variances: of the fitted tokens along the components, ``(4,)``.
        low, high: scores that become 0 and 1 of each colour, ``(3,)``: the fitted tokens' 2 % and 98 % quantiles.
    """

    mean: Float[Tensor, " f"]
    components: Float[Tensor, "c f"]
    variances: Float[Tensor, " c"]
    low: Float[Tensor, " rgb"]
    high: Float[Tensor, " rgb"]

    def scores(self, features: Float[Tensor, "*batch f"]) -> Float[Tensor, "*batch c"]:
        """Coordinates along the components."""
        return (features.to(self.mean.dtype) - self.mean) @ self.components.mT

    def foreground(self, features: Float[Tensor, "*batch f"]) -> Bool[Tensor, "*batch"]:
        """Tokens on the positive side of the first component."""
        return self.scores(features)[..., 0] > 0

    def colours(self, features: Float[Tensor, "*batch f"], *, dim: float = DIM) -> Float[Tensor, "*batch 3"]:
        """Red, green and blue in [0, 1] from components 2 to 4; the background's times ``dim``."""
        scores = self.scores(features)
        span = torch.where(self.high > self.low, self.high - self.low, 1)
        colours = ((scores[..., 1:] - self.low) / span).clamp(0, 1)
        return colours * torch.where(scores[..., :1] > 0, 1.0, dim)


def fit_token_pca(features: Float[Tensor, "n f"], border: Bool[Tensor, " m"] | None = None) -> TokenPCA:
    r"""Principal components of tokens, in float64.

    Signs: a component's largest coordinate is positive, as scikit-learn has it. The first one is turned once more, if
    need be, so that tokens of the border score lower on average than the others: what the first component sets
    apart from the edge of the picture is called foreground. That is a convention, not a finding.

    Args:
        features: one row a token, of all images of the group.
        border: which tokens lie on the edge of their image; None leaves the first sign as the others.

    Raises:
        ValueError: fewer than two tokens, fewer than four features, values that are not finite, or a ``border`` of
            another length.
    """
    if features.ndim != 2 or len(features) < 2 or features.shape[1] < COMPONENTS:
        raise ValueError(
            f"features must be (tokens, features) with two tokens and {COMPONENTS} features at least, "
            f"got shape {tuple(features.shape)}"
        )
    if not torch.isfinite(features).all():
        raise ValueError("features hold NaN or infinite entries")
    if border is not None and border.shape != features.shape[:1]:
        raise ValueError(
            f"border must say yes or no for each of {len(features)} tokens, got {tuple(border.shape)}"
        )
    x = features.detach().cpu().double()
    mean = x.mean(0)
    centred = x - mean
    variances, vectors = torch.linalg.eigh(centred.mT @ centred / (len(x) - 1))
    variances, components = variances[-COMPONENTS:].flip(0), vectors[:, -COMPONENTS:].flip(1).mT
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    components = components * torch.where(largest < 0, -1, 1)
    if border is not None and border.any() and not border.all():
        first = centred @ components[0]
        if first[border].mean() > first[~border].mean():
            components[0] = -components[0]
    scores = centred @ components[1:].mT
    low, high = scores.quantile(torch.tensor([0.02, 0.98], dtype=x.dtype), dim=0)
    return TokenPCA(mean, components, variances.clamp(min=0), low, high)


def patch_features(
    model: CRATE,
    images: Shaped[Tensor, "b 3 H W"],
    layers: Sequence[int] | None = None,
    *,
    batch_size: int = 64,
) -> dict[int, Float[Tensor, "b n f"]]:
    """What :func:`fit_token_pca` is meant for: the patches' coordinates in all heads, by layer, on the CPU.

    Args:
        model: any model of :mod:`crate_mini.model`.
        images: uint8, or float in [0, 1].
        layers: layer numbers; all if None.
        batch_size: images a forward pass.
    """
    numbers = layer_numbers(model, layers)

    def look(batch: Tensor) -> dict[int, Tensor]:
        rec = record(model, batch, "projections", layers=numbers)
        return {i: rearrange(rec.patches("projections", i), "b k n p -> b n (k p)") for i in numbers}

    return run(model, images, look, batch_size=batch_size)


def border(h: int, w: int) -> Bool[Tensor, "h w"]:
    """The outermost patches of a grid."""
    edge = torch.ones(h, w, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    return edge
