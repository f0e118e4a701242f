"""Embeddings: what goes into a model becomes tokens.

:class:`ImageEmbedding` cuts images into patches, :class:`TokenEmbedding` looks up words of a vocabulary. Both return
:class:`Tokens`, which say what they are, so that no reader need know the model it reads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn


class Tokens(NamedTuple):
    """Tokens, and what they stand for.

    Attributes:
        values: ``(b, n, d)``: the prefix first, then the rest.
        prefix: how many of them stand for no place in the input, such as the class token.
        grid: rows and columns that the rest is laid out in, row by row; None if it is in no grid.
    """

    values: Float[Tensor, "b n d"]
    prefix: int = 0
    grid: tuple[int, int] | None = None

    @property
    def rest(self) -> Float[Tensor, "b m d"]:
        """The tokens behind the prefix: of an image, its patches."""
        return self.values[:, self.prefix :]


EMBEDDINGS = {
    "normed": "LayerNorm, linear map, LayerNorm; positions start at random",
    "linear": "a linear map alone; positions start as sines and cosines",
}
"""How a patch becomes a token. A LayerNorm on the pixels hides how bright a patch is, and how much contrast it has."""


def sincos_positions(rows: int, columns: int, dim: int, longest: float = 10_000.0) -> Float[Tensor, "n d"]:
    r"""Positions of a grid, row by row (arXiv 2111.06377): half of the numbers tell the column, half the row.

    .. math:: \sin(x \omega_k),\ \cos(x \omega_k), \qquad \omega_k = \ell^{-4k/d}

    Args:
        rows: of the grid.
        columns: of the grid.
        dim: :math:`d`.
        longest: :math:`\ell`, how much slower than the first the last sine is. On a small grid most of those of the
            paper's 10,000 hardly change.

    Raises:
        ValueError: ``dim`` is no multiple of 4.
    """
    if dim % 4:
        raise ValueError(f"positions of sines and cosines need a dim that is a multiple of 4, got {dim}")
    speed = longest ** -(torch.arange(dim // 4) / (dim / 4))

    def along(places: Tensor) -> Tensor:
        angles = places[:, None] * speed
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.cat([along(column.flatten()), along(row.flatten())], dim=1)


class ImageEmbedding(nn.Module):
    """Images as tokens: a class token, then one token for each patch, row by row.

    A patch, flattened row by row with the channel fastest, goes through LayerNorm, linear map, LayerNorm, or through
    the linear map alone. To each token its position embedding is added. For images of another size than ``image_size``
    that of the patches is interpolated, bicubically.

    Args:
        dim: token dimension ``d``.
        image_size, patch_size: in pixels, of square images and patches.
        mean, std: channel statistics that images in [0, 1] are normalised by.
        kind: a key of :data:`EMBEDDINGS`.

    Raises:
        ValueError: an unknown ``kind``, or a ``dim`` that its positions cannot have.
    """

    prefix = 1

    def __init__(
        self,
        dim: int,
        image_size: int,
        patch_size: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        kind: str = "normed",
    ) -> None:
        super().__init__()
        if kind not in EMBEDDINGS:
            raise ValueError(f"kind must be one of {', '.join(EMBEDDINGS)}; got {kind!r}")
        pixels = 3 * patch_size**2
        self.patch_size, self.side = patch_size, image_size // patch_size
        norms = [nn.LayerNorm(size) if kind == "normed" else nn.Identity() for size in (pixels, dim)]
        self.patches = nn.Sequential(norms[0], nn.Linear(pixels, dim), norms[1])
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.position = nn.Parameter(torch.randn(1, self.prefix + self.side**2, dim))
        if kind == "linear":
            places = sincos_positions(self.side, self.side, dim, longest=max(2, 2.5 * self.side))
            with torch.no_grad():  # loud, beside patches whose numbers have a variance of about one
                self.position[:, self.prefix :] = 2 * places
                self.position[:, : self.prefix] = 0
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)

    def forward(self, images: Shaped[Tensor, "b 3 h w"], kept: Int[Tensor, "b m"] | None = None) -> Tokens:
        """The tokens that enter the first layer.

        Args:
            images: uint8, or float in [0, 1], with sides that are multiples of the patch.
            kept: numbers of the patches that become tokens; all if None. Then they lie in no grid.

        Raises:
            ValueError, TypeError: as :func:`check_images`.
        """
        check_images(images, self.patch_size, check_range=not self.training)
        p = self.patch_size
        pixels = rearrange(images, "b c (h i) (w j) -> b (h w) (i j c)", i=p, j=p)
        grid = self.grid(images)
        position = self.positions(*grid)
        prefix, places = position[:, : self.prefix], position[:, self.prefix :]
        if kept is not None:  # the others are not even normalised
            pixels = pixels.gather(1, kept[..., None].expand(-1, -1, pixels.shape[-1]))
            places, grid = places[0][kept], None
        scale = 255 if images.dtype == torch.uint8 else 1
        mean, std = self.mean.repeat(p * p), self.std.repeat(p * p)
        pixels = (pixels.to(mean.dtype) / scale - mean) / std
        prefix = (self.cls_token + prefix).expand(images.shape[0], -1, -1)
        values = torch.cat([prefix, self.patches(pixels) + places], dim=1)
        return Tokens(values, self.prefix, grid)

    def grid(self, images: Shaped[Tensor, "*b 3 h w"]) -> tuple[int, int]:
        """Rows and columns of patches that these images have."""
        return images.shape[-2] // self.patch_size, images.shape[-1] // self.patch_size

    def positions(self, rows: int, columns: int) -> Float[Tensor, "1 n d"]:
        """The position embedding for a grid of any size, the prefix first."""
        # An export leaves the size open. There it is interpolated always, which changes nothing at the grid's own.
        if isinstance(rows, int) and (rows, columns) == (self.side, self.side):
            return self.position
        prefix, patches = self.position[:, : self.prefix], self.position[:, self.prefix :]
        patches = rearrange(patches, "1 (h w) d -> 1 d h w", h=self.side)
        patches = F.interpolate(patches, size=(rows, columns), mode="bicubic", align_corners=False)
        return torch.cat([prefix, rearrange(patches, "1 d h w -> 1 (h w) d")], dim=1)

    def extra_repr(self) -> str:
        """What print(model) shows of this layer."""
        return f"patch_size={self.patch_size}, grid={self.side}x{self.side}"


class TokenEmbedding(nn.Module):
    """A sequence of numbers, such as characters, as tokens: a learned vector for each, plus one for its place.

    Args:
        vocabulary: how many different numbers there are, from 0.
        dim: token dimension ``d``.
        length: how many tokens a sequence may have.
    """

    prefix = 0

    def __init__(self, vocabulary: int, dim: int, length: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, dim)
        self.position = nn.Parameter(torch.randn(1, length, dim))

    def forward(self, numbers: Int[Tensor, "b n"]) -> Tokens:
        """The tokens that enter the first layer.

        Raises:
            ValueError: longer than ``length``, or a number that is not in the vocabulary.
        """
        n, length = numbers.shape[-1], self.position.shape[1]
        if n > length:
            raise ValueError(
                f"a sequence of {n} tokens is longer than the {length} that there are positions for"
            )
        # Looking at values makes a GPU wait, which has its own way of refusing them.
        if numbers.device.type == "cpu" and not torch.compiler.is_compiling() and numbers.numel():
            low, high = (int(v) for v in numbers.aminmax())
            if low < 0 or high >= self.words.num_embeddings:
                raise ValueError(
                    f"tokens are numbers from 0 to {self.words.num_embeddings - 1}, found {low} to {high}"
                )
        return Tokens(self.words(numbers) + self.position[:, :n])


def check_images(images: Tensor, patch_size: int, *, check_range: bool = True) -> None:
    """Refuse what no model of ours can read, saying what was expected.

    Raises:
        ValueError: not ``(b, 3, h, w)``, sides no multiple of the patch, or values outside [0, 1].
        TypeError: neither uint8 nor floating point.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be (batch, 3, height, width), got shape {tuple(images.shape)}")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise TypeError(f"images must be uint8, or float in [0, 1]; got {images.dtype}")
    h, w = images.shape[-2:]
    if h % patch_size or w % patch_size or not h * w:
        fitting = "x".join(str(max(1, side // patch_size) * patch_size) for side in (h, w))
        raise ValueError(
            f"height and width must be multiples of the patch size {patch_size}, got {h}x{w}; "
            f"resize or crop, for example to {fitting}"
        )
    # Looking at values makes a GPU wait, so training (which augments within range) skips it.
    if check_range and images.is_floating_point() and not torch.compiler.is_compiling() and images.numel():
        low, high = images.detach().aminmax()
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            raise ValueError(
                f"float images must lie in [0, 1], found [{low:.3g}, {high:.3g}]; "
                "do not normalise them first, the model does that"
            )
