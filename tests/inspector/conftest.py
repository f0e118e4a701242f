"""Images, masks and attention maps made from a seed, and pages opened offline, as functions that tests ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from browser import offline_context
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
def open_viewer(browser) -> Iterator[Callable]:
    """Open a page; at the end any request outside, error or warning fails the test."""
    refused, errors, contexts = [], [], []

    def open_(path: Path, **options):
        manager = offline_context(
            browser, refused, **({"viewport": {"width": 1000, "height": 900}} | options)
        )
        contexts.append(manager)
        tab = manager.__enter__().new_page()
        tab.on("console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(path.as_uri())
        tab.locator(".ch-body").first.wait_for()
        return tab

    yield open_
    for manager in contexts:
        manager.__exit__(None, None, None)
    assert refused == []
    assert errors == []
