"""COCO's three ways to write down a mask, read as pycocotools reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_FINER = 5  # a polygon is walked on a grid of a fifth of a pixel


def mask_of(segmentation: Any, height: int, width: int) -> np.ndarray:
    """A mask, ``(height, width)`` bool.

    Args:
        segmentation: polygons, each ``[x0, y0, x1, y1, ...]``; or ``{"size": [h, w], "counts": ...}`` with run lengths
            down the columns, as numbers or packed into a string.
        height: of the image.
        width: of the image.

    Raises:
        ValueError: none of these, or one of another size.
    """
    if isinstance(segmentation, dict):
        counts, size = segmentation.get("counts"), segmentation.get("size")
        if size != [height, width] or not isinstance(counts, list | str):
            raise ValueError(f"run lengths of size {size} for an image of {[height, width]}")
        runs = np.array(_unpacked(counts) if isinstance(counts, str) else counts, np.int64)
        if (runs < 0).any() or runs.sum() != height * width:
            raise ValueError(f"run lengths of {runs.sum()} pixels for an image of {height * width}")
        return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("a mask that is neither polygons nor run lengths")
    return np.logical_or.reduce([_inside(polygon, height, width) for polygon in segmentation])


def _unpacked(text: str) -> list[int]:
    """Run lengths from their string: five bits a letter, and from the third on differences to the one before last."""
    runs: list[int] = []
    number, shift = 0, 0
    for letter in text.encode("ascii", "replace"):
        bits = letter - 48
        if not 0 <= bits < 64:
            raise ValueError(f"run lengths with the letter {chr(letter)!r}")
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                number -= 1 << shift
            runs.append(number + (runs[-2] if len(runs) > 2 else 0))
            number, shift = 0, 0
    return runs


def _inside(polygon: Sequence, height: int, width: int) -> np.ndarray:
    """Pixels inside a polygon, bit for bit those of pycocotools (``rleFrPoly`` in its maskApi.c)."""
    if len(polygon) < 6 or len(polygon) % 2:
        raise ValueError(f"a polygon of {len(polygon)} numbers; expected x and y of three corners or more")
    corners = np.array(polygon, np.float64).reshape(-1, 2)
    corners = np.trunc(_FINER * corners + 0.5).astype(np.int64)
    xs, ys = [], []
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, 0), strict=True):
        dx, dy = abs(x1 - x0), abs(y1 - y0)
        steps = np.arange(max(dx, dy) + 1)
        along_x = dx >= dy
        # every edge is walked from its lower end, so that rounding does not depend on its direction
        flip = (along_x and x0 > x1) or (not along_x and y0 > y1)
        (a, b), (c, d) = ((x1, y1), (x0, y0)) if flip else ((x0, y0), (x1, y1))
        t = steps[::-1] if flip else steps
        if along_x:
            xs.append(t + a)
            ys.append(np.trunc(b + (d - b) / max(dx, 1) * t + 0.5).astype(np.int64))
        else:
            ys.append(t + b)
            xs.append(np.trunc(a + (c - a) / dy * t + 0.5).astype(np.int64))
    u, v = np.concatenate(xs), np.concatenate(ys)
    # where the outline crosses the middle of a column of pixels, all below it in this column change sides
    crossing = u[1:] != u[:-1]
    x = np.where(u[1:] < u[:-1], u[1:], u[1:] - 1)[crossing]
    y = np.where(v[1:] < v[:-1], v[1:], v[:-1])[crossing]
    column = (x + 0.5) / _FINER - 0.5
    middle = (np.floor(column) == column) & (column >= 0) & (column <= width - 1)
    row = np.ceil(np.clip((y[middle] + 0.5) / _FINER - 0.5, 0, height))
    changes = np.bincount((column[middle] * height + row).astype(np.int64), minlength=height * width + 1)
    return (np.cumsum(changes[: height * width]) % 2 == 1).reshape(width, height).T
