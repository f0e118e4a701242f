"""Images brought to one size: squares cut or letterboxed, whole patches, many files at once."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from crate_mini.data.opening import as_rgb, open_image
from crate_mini.errors import DataError
from crate_mini.progress import bar

AROUND = (124, 116, 104)
"""Colour around a letterboxed picture: the mean of ImageNet, which a model of this package reads as zero."""


def fit_image(image: Image.Image, size: int, *, nearest: bool = False) -> Image.Image:
    """Resize so that the shorter side is ``size``, and crop the centre square."""
    if image.size == (size, size):
        return image
    return ImageOps.fit(
        image, (size, size), Image.Resampling.NEAREST if nearest else Image.Resampling.BICUBIC
    )


def centre_square(sides: tuple[int, int]) -> tuple[int, int, int, int]:
    """The pixels that :func:`fit_image` keeps, whole and in part: ``(left, top, right, bottom)``."""
    width, height = sides
    side = min(sides)
    left, top = (width - side) / 2, (height - side) / 2
    return math.floor(left), math.floor(top), math.ceil(left + side), math.ceil(top + side)


def letterbox(sides: tuple[int, int], size: int) -> tuple[int, int, int, int]:
    """Where an image of these sides lies in a square that holds all of it: ``(left, top, width, height)``."""
    width, height = (max(1, round(side * size / max(sides))) for side in sides)
    return (size - width) // 2, (size - height) // 2, width, height


def letterbox_image(image: Image.Image, size: int, *, outside: int | None = None) -> Image.Image:
    """Resize so that the longer side is ``size``, and lay it in the middle of a square.

    Args:
        image: a picture, or a mask.
        size: side of the square.
        outside: value around a mask, which is then resized by the nearest pixel; None for a picture, which gets
            the colour :data:`AROUND`.
    """
    left, top, width, height = letterbox(image.size, size)
    nearest = outside is not None
    resized = image.resize((width, height), Image.Resampling.NEAREST if nearest else Image.Resampling.BICUBIC)
    colour = outside if nearest else AROUND
    square = Image.new(image.mode, (size, size), colour)
    square.paste(resized, (left, top))
    return square


def to_patch_grid(image: Image.Image | Tensor, size: int, patch: int) -> Tensor:
    """A photo as a model can read it: shorter side about ``size``, both sides multiples of ``patch``.

    The aspect ratio is kept; what does not fill a patch is cropped, half on either side.

    Args:
        image: a picture of any kind, or uint8 ``(3, h, w)``.
        size: pixels of the shorter side, at least one patch.
        patch: pixels of a patch.

    Returns:
        uint8 ``(3, h, w)``.

    Raises:
        ValueError: ``size`` below one patch, a tensor of another kind, or an image so long that its longer side
            would exceed 32 x ``size``.
        DataError: a picture whose pixels cannot be read as colours.
    """
    if isinstance(image, Tensor):
        if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
            raise ValueError(
                f"an image must be uint8 of shape (3, h, w), got {image.dtype} {tuple(image.shape)}"
            )
        image = Image.fromarray(image.permute(1, 2, 0).cpu().numpy())
    image = as_rgb(image)
    if size < patch:
        raise ValueError(f"size must be at least one patch, {patch} pixels; got {size}")
    shorter, longer = sorted(image.size)
    if longer > 32 * shorter:
        raise ValueError(
            f"an image of {image.size[0]}x{image.size[1]} pixels is too long and thin to be cut into patches"
        )
    scale = size // patch * patch / shorter
    sides = [max(patch, int(side * scale + 1e-6) // patch * patch) for side in image.size]
    fitted = ImageOps.fit(image, tuple(sides), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(fitted)).permute(2, 0, 1)


def read_square(path: str | os.PathLike, size: int) -> np.ndarray:
    """An image file as uint8 ``(size, size, 3)``: the one way in which every set of files is read."""
    return np.asarray(fit_image(open_image(path), size))


def read_squares(
    files: Sequence[str | os.PathLike], size: int, *, title: str = "", progress: bool | None = None
) -> Tensor:
    """Decode image files on all cores: uint8 ``(n, 3, size, size)``.

    Raises:
        DataError: an image that cannot be read, or more of them than this machine's memory holds.
    """
    must_fit(len(files), size)
    images = np.empty((len(files), size, size, 3), np.uint8)
    for i, image in on_all_cores(lambda file: read_square(file, size), files, title=title, progress=progress):
        images[i] = image
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def on_all_cores(
    one: Callable, items: Sequence, *, title: str = "", progress: bool | None = None
) -> Iterator[tuple[int, Any]]:
    """``(i, one(items[i]))`` in order, computed by threads ahead of the caller."""
    with ThreadPoolExecutor() as pool:
        results = pool.map(one, items)
        yield from enumerate(bar(results, total=len(items), desc=title, unit="image", progress=progress))


def must_fit(n: int, size: int) -> None:
    """Refuse images that would fill the memory; where a system does not tell how much it has, none are refused.

    Raises:
        DataError: more of them than this machine's memory holds.
    """
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return
    if (needed := 2 * 3 * n * size**2) > memory:  # twice: once as read, once as a tensor
        raise DataError(
            f"{n:,} images of {size}x{size} pixels take {needed / 2**30:.0f} GiB while they are "
            f"read, and this machine has {memory / 2**30:.0f}; take fewer, or smaller ones, or stream them"
        )


def photographs(image_size: int | None = None) -> dict[str, Tensor]:
    """The photographs that come with scikit-image, public domain or CC0, as uint8 ``(3, h, w)``.

    Args:
        image_size: fit into a square of this side; original size if None.

    Returns:
        ``{"cat": ..., "astronaut": ..., "coffee": ..., "rocket": ...}``.
    """
    from skimage import data as samples

    sources = {
        "cat": samples.chelsea,
        "astronaut": samples.astronaut,
        "coffee": samples.coffee,
        "rocket": samples.rocket,
    }
    pictures = {name: Image.fromarray(source()) for name, source in sources.items()}
    if image_size is not None:
        pictures = {name: fit_image(p, image_size) for name, p in pictures.items()}
    return {name: torch.from_numpy(np.array(p)).permute(2, 0, 1) for name, p in pictures.items()}
