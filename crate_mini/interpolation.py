r"""Masked patches guessed without a network: what a masked autoencoder has to be held against.

An image is its patches, ``(b, n, m)``: ``n`` of them row by row, each flattened with the channel fastest, as
:class:`~crate_mini.embeddings.ImageEmbedding` has them. ``kept`` are the numbers of those that are seen, ``(b, k)``.
Errors are mean squares over the pixels of the patches that are not seen, images in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from einops import rearrange
from jaxtyping import Float, Int, Shaped
from torch import Tensor

Patches = Float[Tensor, "b n m"]
Colours = Float[Tensor, "b n c"]
Kept = Int[Tensor, "b k"]

POWER = 3.0
"""Weights of :func:`blended` fall with this power of the distance."""


def to_patches(images: Shaped[Tensor, "b c h w"], patch_size: int) -> Patches:
    """Images, uint8 or float in [0, 1], as patches of numbers in [0, 1]."""
    p, scale = patch_size, 255 if images.dtype == torch.uint8 else 1
    return rearrange(images, "b c (h i) (w j) -> b (h w) (i j c)", i=p, j=p).float() / scale


def to_images(patches: Patches, grid: tuple[int, int], channels: int = 3) -> Float[Tensor, "b c h w"]:
    """The inverse of :func:`to_patches`, for ``grid`` rows and columns of square patches."""
    p = round((patches.shape[-1] / channels) ** 0.5)
    return rearrange(patches, "b (h w) (i j c) -> b c (h i) (w j)", h=grid[0], w=grid[1], i=p, j=p)


def hidden(kept: Kept, patches: int) -> Shaped[Tensor, "b n"]:
    """True for the patches that are not seen."""
    everywhere = torch.ones(len(kept), patches, dtype=torch.bool, device=kept.device)
    return everywhere.scatter(1, kept, False)


def masked_errors(guess: Patches, patches: Patches, kept: Kept) -> Float[Tensor, " b"]:
    r"""Mean square of the pixels of the patches that are not seen, for each image.

    .. math:: \frac1{|M|\,m} \sum_{i \in M} \lVert \hat x_i - x_i \rVert^2

    Args:
        guess: of every patch, ``(b, n, m)``.
        patches: the true ones.
        kept: numbers of those that are seen, and do not count.
    """
    off = (guess - patches).square().mean(-1)
    return off[hidden(kept, patches.shape[1])].view(len(off), -1).mean(-1)


def masked_error(guess: Patches, patches: Patches, kept: Kept) -> Float[Tensor, ""]:
    """The mean of :func:`masked_errors`."""
    return masked_errors(guess, patches, kept).mean()


def colours(patches: Patches, channels: int = 3) -> Colours:
    """The mean colour of every patch."""
    return patches.unflatten(-1, (-1, channels)).mean(-2)


def painted(of: Colours, pixels: int) -> Patches:
    """Patches of ``pixels`` pixels, each of one colour."""
    return of.repeat(1, 1, pixels)


def distances(grid: tuple[int, int], device: torch.device | str = "cpu") -> Float[Tensor, "n n"]:
    """From patch to patch, in patches."""
    rows, columns = (torch.arange(side, dtype=torch.float32, device=device) for side in grid)
    places = torch.cartesian_prod(rows, columns)
    return torch.cdist(places, places)


def overall(of: Colours, kept: Kept) -> Colours:
    """Everywhere the mean of the patches that are seen."""
    return _seen(of, kept).mean(1, keepdim=True).expand_as(of)


def nearest(of: Colours, kept: Kept, grid: tuple[int, int]) -> Colours:
    """Everywhere the nearest patch that is seen; of several as near, their mean."""
    near = _to_seen(grid, kept)
    weights = (near <= near.amin(-1, keepdim=True) + 1e-4).to(of.dtype)
    return (weights / weights.sum(-1, keepdim=True)) @ _seen(of, kept)


def blended(of: Colours, kept: Kept, grid: tuple[int, int], power: float = POWER) -> Colours:
    r"""Everywhere a mean of the patches that are seen, each weighted by its distance.

    .. math:: \hat c_i = \frac{\sum_{j \text{ seen}} d_{ij}^{-a} c_j}{\sum_{j \text{ seen}} d_{ij}^{-a}}
    """
    weights = _to_seen(grid, kept).clamp(min=1e-3).pow(-power).to(of.dtype)
    return (weights / weights.sum(-1, keepdim=True)) @ _seen(of, kept)


def _seen(of: Colours, kept: Kept) -> Float[Tensor, "b k c"]:
    return of.gather(1, kept[..., None].expand(-1, -1, of.shape[-1]))


def _to_seen(grid: tuple[int, int], kept: Kept) -> Float[Tensor, "b n k"]:
    """Distances of all patches from those that are seen."""
    return distances(grid, kept.device)[:, kept].movedim(0, 1)


class LinearGuess:
    r"""The best guess that is linear in the colours that are seen: what second moments of images tell.

    .. math:: \hat x = \mu_x + \Sigma_{xs} (\Sigma_{ss} + \rho I)^{-1} (s - \mu_s)

    with :math:`x` the pixels, :math:`s` the mean colours of the patches that are seen, and means and covariances over
    other images. It learns from them, but has no network.

    Args:
        patches: of the images that it learns from, ``(b, n, m)``.
        ridge: :math:`\rho`, a variance of colours that is taken for noise.
    """

    def __init__(self, patches: Patches, ridge: float = 1e-4) -> None:
        shades = colours(patches).double().flatten(1)
        self.mean, self.shade = patches.double().mean(0), shades.mean(0)
        around = shades - self.shade
        self.within = around.mT @ around / len(shades)
        # patch after patch, for in one piece the pixels fill the memory in double precision
        parts = (patches[:, i].double() - self.mean[i] for i in range(patches.shape[1]))
        self.across = torch.stack([part.mT @ around / len(shades) for part in parts])
        self.ridge = ridge

    def __call__(self, patches: Patches, kept: Kept) -> Patches:
        """The guess of every patch, from the colours of those ``kept`` alone."""
        shades = colours(patches).double()
        width = shades.shape[-1]
        index = (kept[..., None] * width + torch.arange(width)).flatten(1)
        guesses = [self._one(s.flatten()[i], i) for s, i in zip(shades, index, strict=True)]
        return torch.stack(guesses).to(patches.dtype)

    def _one(self, seen: Float[Tensor, " s"], index: Int[Tensor, " s"]) -> Float[Tensor, "n m"]:
        within = self.within[index][:, index] + self.ridge * torch.eye(len(index), dtype=torch.float64)
        return self.mean + self.across[..., index] @ torch.linalg.solve(within, seen - self.shade[index])


def guesses(
    patches: Patches,
    kept: Kept,
    grid: tuple[int, int],
    mean: Float[Tensor, " c"],
    linear: LinearGuess | None = None,
) -> Iterator[tuple[str, Patches]]:
    """Every guess by its name, the weakest first; the last looks at the answer.

    Args:
        patches: ``(b, n, m)``.
        kept: numbers of the patches that are seen.
        grid: rows and columns.
        mean: the mean colour of the images that are learned from.
        linear: fitted on them.
    """
    of = colours(patches)
    pixels = patches.shape[-1] // of.shape[-1]
    yield "mean colour of the set", painted(mean.expand_as(of), pixels)
    yield "mean colour of what is seen", painted(overall(of, kept), pixels)
    yield "nearest patch seen", painted(nearest(of, kept, grid), pixels)
    yield "blend by distance", painted(blended(of, kept, grid), pixels)
    if linear is not None:
        yield "best linear guess", linear(patches, kept)
    yield "true colour of each patch", painted(of, pixels)
