"""The one file of ``book/minimal_crate.py`` is the package's CRATE: same numbers, same weights, same gradients."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from crate_mini.model import CRATE, CRATEConfig

FILE = Path(__file__).resolve().parent.parent / "book" / "minimal_crate.py"


@pytest.fixture(scope="module")
def minimal():
    spec = importlib.util.spec_from_file_location("minimal_crate", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("image_size", "patch_size", "dim", "heads", "depth"), [(64, 8, 96, 4, 4), (32, 4, 24, 3, 2)]
)
def test_it_is_the_packages_crate(minimal, image_size, patch_size, dim, heads, depth):
    torch.manual_seed(0)
    sizes = {"image_size": image_size, "patch_size": patch_size, "dim": dim, "heads": heads, "depth": depth}
    small = minimal.CRATE(minimal.Config(**sizes, classes=7))
    large = CRATE(CRATEConfig(**sizes, num_classes=7))
    large.load_state_dict(small.state_dict())  # the package knows these names
    images = torch.rand(2, 3, image_size, image_size)
    normalised = (images - large.mean) / large.std
    ours, theirs = small(normalised), large(images)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    ours[0, 0].backward()
    theirs[0, 0].backward()
    torch.testing.assert_close(small.blocks[0].feed.D.grad, large.blocks[0].feed.D.grad, rtol=1e-3, atol=1e-6)


def test_it_fits_on_a_screen_and_needs_nothing_but_torch():
    lines = FILE.read_text(encoding="utf-8").splitlines()
    code = [line for line in lines if line.strip() and not line.strip().startswith(("#", '"""'))]
    assert len(code) <= 64
    assert max(map(len, lines)) <= 76, "or the page scrolls sideways"
    imported = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert imported == {"torch", "dataclasses"}
