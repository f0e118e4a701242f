"""Images with noise on a share of their pixels, and how much of a map survives it."""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from crate_mini import stats


def gaussian_noise(
    images: Shaped[Tensor, "b c H W"], sigma: float | int, share: float | int = 0.5, *, seed: int = 0
) -> Shaped[Tensor, "b c H W"]:
    r"""Gaussian noise on a share of the pixels, as in the robustness experiment of arXiv 2308.16271.

    .. math:: \tilde x_{cq} = \mathrm{clip}_{[0, 255]}(x_{cq} + \sigma\, m_q\, g_{cq}),
        \qquad g_{cq} \sim \mathcal N(0, 1), \quad m_q \sim \mathrm{Bernoulli}(\mathrm{share})

    A pixel ``q`` is hit in all its channels or in none. With one seed, only ``sigma`` and ``share`` differ: noise of
    twice the ``sigma`` is twice the same noise, and the pixels hit at a small share are among those hit at a larger.

    Args:
        images: uint8, or float in [0, 1].
        sigma: standard deviation in grey levels, of 255.
        share: of the pixels that are hit, in [0, 1].
        seed: of the noise; the global random state is left alone.

    Returns:
        Images of the same type and range.

    Raises:
        ValueError: a negative ``sigma``, or a share outside [0, 1].
    """
    if sigma < 0:
        raise ValueError(f"sigma must not be negative, got {sigma}")
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1], got {share}")
    generator = torch.Generator().manual_seed(seed)
    b, _, H, W = images.shape
    hit = torch.rand(b, 1, H, W, generator=generator) < share
    noise = sigma * torch.randn(images.shape, generator=generator) * hit
    noise = noise.to(images.device)
    if images.dtype == torch.uint8:
        return (images + noise).round().clamp(0, 255).to(torch.uint8)
    return (images + noise.to(images.dtype) / 255).clamp(0, 1)


def rank_correlation(
    a: Float[Tensor, "*#batch h w"], b: Float[Tensor, "*#batch h w"]
) -> Float[Tensor, "*out"]:
    r"""Spearman's correlation of two maps: do they put the patches in the same order?

    1 for the same order, -1 for the reverse, about 0 for unrelated maps. Any increasing function of the values, such
    as the softmax at another temperature, leaves it alone. Leading dimensions broadcast; NaN for a map of one value.

    Raises:
        ValueError: a value is NaN.
    """
    return stats.rank_correlation(a.flatten(-2), b.flatten(-2))
