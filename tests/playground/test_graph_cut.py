"""The graph cut in the page against crate_mini.maskcut on the same features."""

from __future__ import annotations

import base64

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from crate_mini.maskcut import EPSILON, maskcut_rounds, neighbours

GRID = 8
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def features(seed: int) -> torch.Tensor:
    """Two things on a ground, with noise."""
    generator = torch.Generator().manual_seed(seed)
    ground, one, two = torch.randn(3, 12, generator=generator)
    made = ground.expand(GRID, GRID, 12).clone()
    made[1:4, 1:5], made[5:7, 3:7] = one, two
    return (made + 1.2 * torch.randn(GRID, GRID, 12, generator=generator)).flatten(0, 1)


FEATURES = [features(seed) for seed in (0, 1)]


def cosines(f: torch.Tensor) -> str:
    unit = F.normalize(f, dim=-1)
    pairs = torch.triu_indices(len(f), len(f), offset=1)
    values = (unit @ unit.T)[pairs[0], pairs[1]].numpy()
    return base64.b64encode(np.round((values + 1) * 32767.5).astype("<u2").tobytes()).decode()


DATA = {
    "grid": GRID,
    "eps": EPSILON,
    "tau": 0.15,
    "patch": [2, 2],
    "pictures": [
        {"name": f"scene {i}", "photo": f"data:image/png;base64,{PIXEL}", "cosines": cosines(f)}
        for i, f in enumerate(FEATURES)
    ],
}


@pytest.fixture
def tab(open_play):
    return open_play("graph_cut", DATA)


@pytest.mark.parametrize(("picture", "tau"), [(0, 0.15), (1, 0.15), (0, 0.4), (1, 0.05), (1, 0.6)])
def test_numbers_are_the_packages(tab, picture, tau):
    tab.choose("picture", f"scene {picture}").slide("τ", tau)
    f = FEATURES[picture]
    rounds = maskcut_rounds(f, (GRID, GRID), tau=tau)
    S = neighbours(f, tau)
    share = float(S.sum() - len(f)) / (len(f) * (len(f) - 1))
    for number, word in enumerate(("first", "second", "third"), 1):
        tab.choose("cut", word)
        cut = rounds[:number][-1]
        assert float(tab.readout("pairs joined").removesuffix(" %")) == pytest.approx(100 * share, abs=0.06)
        assert tab.number("second eigenvalue") == pytest.approx(1 - cut.eigenvalue, abs=1e-4)
        assert tab.readout("patches in the mask") == ("none" if cut.dropped else str(int(cut.mask.sum())))


def test_nothing_to_cut_is_said(tab):
    tab.slide("τ", 0.95)
    if "Nothing is joined" not in tab.note():
        assert "hang together" in tab.note()
    assert "hang together" not in tab.slide("τ", 0.1).note()


def test_the_picture_follows(tab):
    before = tab.pixels()
    assert tab.slide("τ", 0.5).pixels() != before
    tab.slide("τ", 0.15)
    assert tab.pixels() == before
    tab.page.get_by_role("slider", name="the patch", exact=True).press("Shift+ArrowDown")
    neighbours = tab.settle().pixels()  # who moves the ring sees neighbours
    assert neighbours != before
    assert tab.choose("show", "eigenvector").pixels() != neighbours
    assert tab.choose("picture", "scene 1").pixels() != before


def test_it_fits_a_narrow_page(open_play):
    tab = open_play("graph_cut", DATA, width=360)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
