"""Images, masks and attention maps made from a seed, and pages opened offline, as functions that tests ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor


def _maps(b: int, layers: int, heads: int, h: int, w: int, seed: int = 0, sharpness: float = 1.5) -> Tensor:
    """Softmax of noise: positive, sums to 1, some maps flat and some sharp."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(b, layers, heads, h * w, generator=generator)
    scores *= sharpness * torch.rand(b, layers, heads, 1, generator=generator).add(0.1)
    return scores.softmax(-1).view(b, layers, heads, h, w)


def _images(b: int, h: int, w: int, seed: int = 0) -> Tensor:
    """Colours that run smoothly over the picture."""
    coarse = torch.rand(b, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, size=(h, w), mode="bilinear")
    return (255 * fine).byte()


def _mask(h: int, w: int) -> Tensor:
    """A disc with a ring around it that does not count."""
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    radius = ((y - 0.55 * h) / h) ** 2 + ((x - 0.4 * w) / w) ** 2
    mask = (radius < 0.09).to(torch.uint8)
    mask[(radius >= 0.09) & (radius < 0.11)] = 255
    return mask


@pytest.fixture(scope="session")
def make_maps() -> Callable[..., Tensor]:
    return _maps


@pytest.fixture(scope="session")
def make_images() -> Callable[..., Tensor]:
    return _images


@pytest.fixture(scope="session")
def make_mask() -> Callable[..., Tensor]:
    return _mask


@pytest.fixture
def open_viewer(tabs) -> Iterator[Callable]:
    """Open a page; at the end any request outside, error or warning fails the test."""
    with tabs.of_a_test("error", "warning") as page_of:

        def open_(path: Path, *, width: int = 1000, height: int = 900, **options):
            tab = page_of(width, height, **options)
            tab.goto(path.as_uri())
            tab.locator(".ch-body").first.wait_for()
            return tab

        yield open_
