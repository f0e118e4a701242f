"""The playground of chapter 02 in a browser: its numbers are crate_mini's, and its pictures answer."""

from __future__ import annotations

import math

import pytest
import torch

from crate_mini.rates import class_coding_rate, coding_rate, mcr2

OFFSETS = [[-1.2, -0.4, 0.1, 0.5, 0.9, 1.4], [-0.9, -0.7, 0.0, 0.3, 0.6, 1.1]]
DATA = {"eps_sq": 0.1, "offsets": OFFSETS}


def tokens(between: float, spread: float, turn: float) -> tuple[torch.Tensor, torch.Tensor]:
    rows = []
    for k, offsets in enumerate(OFFSETS):
        for i, offset in enumerate(offsets):
            angle = math.radians(turn + k * between + spread * offset)
            rows.append([(-1) ** i * math.cos(angle), (-1) ** i * math.sin(angle)])
    return torch.tensor(rows, dtype=torch.float64), torch.arange(12) // 6


@pytest.mark.parametrize(
    ("between", "spread", "turn", "lam"), [(35, 5, 25, 0), (90, 0, 0, 0.5), (60, 20, -40, 1), (0, 0, 90, 0.2)]
)
def test_numbers_are_those_of_the_package(open_play, between, spread, turn, lam):
    tab = open_play("rate_reduction", DATA)
    tab.slide("angle between the classes", between).slide("spread within a class", spread)
    tab.slide("turn everything", turn).slide("λ, weight of sparsity", lam)
    Z, labels = tokens(between, spread, turn)
    gain = mcr2(Z, labels, 0.1).item()
    expected = {
        "R": coding_rate(Z, 0.1).item(),
        "R of the classes": class_coding_rate(Z, labels, 0.1).item(),
        "ΔR": gain,
        "ΔR − λ·ℓ1": gain - lam * Z.abs().sum().item() / len(Z),
    }
    for label, value in expected.items():
        assert tab.number(label) == pytest.approx(value, abs=6e-4), label
    assert tab.number("non-zeros a token") == pytest.approx((Z.abs() > 1e-9).double().sum().item() / len(Z))


def test_the_picture_and_the_advice_answer(open_play):
    tab = open_play("rate_reduction", DATA)
    before, advice = tab.pixels(), tab.note()
    tab.slide("angle between the classes", 90)
    assert tab.pixels() != before
    assert tab.note() != advice
    gain = tab.number("ΔR")
    tab.slide("turn everything", -60)
    assert tab.number("ΔR") == pytest.approx(gain, abs=1e-9), "turning must not change a rate"
    tab.slide("λ, weight of sparsity", 0.6)
    turned = tab.number("ΔR − λ·ℓ1")
    tab.slide("turn everything", 0)
    assert tab.number("ΔR − λ·ℓ1") > turned
    assert "Aligned" in tab.note()
    tab.slide("spread within a class", 0)
    assert tab.number("non-zeros a token") == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_a_narrow_page(open_play, theme):
    tab = open_play("rate_reduction", DATA, width=360, theme=theme)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
