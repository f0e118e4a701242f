"""The playground of chapter 18 in a browser: what is left of a step is what the package's MSSA leaves."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from crate_mini.chapters.chapter_18 import play_data
from crate_mini.compression import mssa

DATA = play_data()


def left(c: float, sign: int, norm: bool, times: int) -> float:
    """Per cent of the step that a way back leaves."""
    Z, U = (torch.tensor(DATA[k], dtype=torch.float64) for k in ("Z", "U"))
    Y = X = Z + c * mssa(Z, U)
    for _ in range(times):
        X = Y + sign * c * mssa(Z.shape[1] ** 0.5 * F.normalize(X, dim=1) if norm else X, U)
    return 100 * ((X - Z).norm() / (Y - Z).norm()).item()


@pytest.mark.parametrize(
    ("c", "way", "norm", "times"),
    [(0.5, "minus", True, 1), (1.2, "minus", False, 1), (0.3, "plus", True, 1), (1.0, "minus", True, 4)],
)
def test_numbers_are_those_of_the_package(open_play, c, way, norm, times):
    tab = open_play("undo", DATA).slide("size of the step c", c).choose("the way back", way)
    tab.tick("LayerNorm before attention", norm).slide("times", times)
    expected = left(c, -1 if way == "minus" else 1, norm, times)
    said = float(tab.readout("left of the step").removesuffix(" %"))
    assert said == pytest.approx(expected, abs=0.06 if expected < 10 else 0.6)


def test_what_there_is_to_see(open_play):
    tab = open_play("undo", DATA)
    assert "Minus undoes most" in tab.note()
    assert "at least twice" in tab.choose("the way back", "plus").note()
    tab.choose("the way back", "minus").slide("size of the step c", 1).tick(
        "LayerNorm before attention", False
    )
    assert "worse than doing nothing" in tab.note()
    tab.tick("LayerNorm before attention").slide("times", 6)
    assert "cannot be gone back" in tab.note()
    assert "Once leaves 7 %, 6 times 0 %" in tab.slide("size of the step c", 0.3).note()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_a_narrow_page(open_play, theme):
    tab = open_play("undo", DATA, width=360, theme=theme)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
