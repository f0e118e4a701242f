"""The playground of chapter 12 in a browser: its averages are those of crate_mini.heads.best_of."""

from __future__ import annotations

import pytest
import torch

from crate_mini.heads import best_of


@pytest.fixture(scope="module")
def data() -> dict:
    dice = torch.Generator().manual_seed(0)
    return {
        "parts": ["body", "leg"],
        "random": (0.5 + 0.08 * torch.randn(2, 80, generator=dice)).round(decimals=4).tolist(),
        "heads": (0.5 + 0.1 * torch.randn(2, 16, generator=dice)).round(decimals=4).tolist(),
    }


@pytest.mark.parametrize(("part", "k"), [("body", 1), ("leg", 16), ("body", 64)])
def test_numbers_are_those_of_the_package(open_play, data, part, k):
    i = data["parts"].index(part)
    tab = open_play("best_of_many", data)
    tab.choose("part", part).slide("looks", k)
    pool = torch.tensor(data["random"][i], dtype=torch.float64)
    top = max(data["heads"][i])
    assert tab.number("best of them, on average") == pytest.approx(float(best_of(pool, k)), abs=6e-4)
    assert tab.number("best of 16 learned heads") == pytest.approx(top, abs=6e-4)
    # the chance, by the same formula on what is one where the head is reached and zero elsewhere
    reached = 100 * float(best_of((pool >= top).double(), k))
    assert float(tab.readout("chance that they reach it").split()[0]) == pytest.approx(reached, abs=0.06)


def test_the_picture_and_the_note_answer(open_play, data):
    tab = open_play("best_of_many", data)
    seen = tab.pixels()
    assert "as many looks" in tab.note()
    tab.slide("looks", 20)
    assert tab.pixels() != seen
    assert "as many looks" not in tab.note()
    seen = tab.pixels()
    tab.choose("part", "leg")
    assert tab.pixels() != seen
    assert "For leg" in tab.note()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_a_narrow_page(open_play, data, theme):
    tab = open_play("best_of_many", data, width=360, theme=theme)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
