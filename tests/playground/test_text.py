"""The playground of chapter 16 in a browser: it runs the network as PyTorch does, and writes."""

from __future__ import annotations

import copy

import pytest
import torch

from crate_mini.atoms import clamped
from crate_mini.chapters.chapter_16 import play_data
from crate_mini.language import LanguageConfig, LanguageModel, text_losses

ABC = "\n abcdeABC"
START = "abc\nBAd "


def network() -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(LanguageConfig(dim=24, heads=3, depth=2, alphabet=ABC, length=8)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5).add_(0.02)
            parameter.copy_(parameter.half().float())
    return model


MODEL = network()
DATA = play_data(MODEL, [["a unit", 0, 5, 20.0], ["another", 1, 2, 20.0]], START)


def opened(open_play, **settings):
    tab = open_play("text", DATA, **settings)
    tab.page.wait_for_function("() => document.querySelector('.cp-readout output').textContent !== ''")
    return tab


def nats(text: str, unit: int | None = None, share: float = 1.0) -> float:
    """Of the last eight characters."""
    numbers = torch.tensor([ABC.index(c) for c in text[-8:]])
    model = copy.deepcopy(MODEL).double()
    with torch.no_grad():
        if unit is None:
            return text_losses(model, numbers).mean().item()
        _, layer, number, most = DATA["held"][unit]
        with clamped(model.encoder.blocks[layer].feed, number, share * most):
            return text_losses(model, numbers).mean().item()


def test_numbers_are_those_of_the_network(open_play):
    tab = opened(open_play)
    assert tab.number("nats a character") == pytest.approx(nats(START), abs=0.006)
    assert tab.readout("capitals, of the letters") == "33 %"
    tab.page.locator("textarea").fill("cabAcA\nbad")
    assert tab.settle().number("nats a character") == pytest.approx(nats("cabAcA\nbad"), abs=0.006)
    for unit, label in enumerate(("a unit", "another")):
        tab.choose("hold a unit", label).slide("at, of its highest value", 0.5)
        expected = nats("cabAcA\nbad", unit, 0.5)
        assert abs(expected - nats("cabAcA\nbad")) > 0.02, "or this would show nothing"
        assert tab.number("nats a character") == pytest.approx(expected, abs=0.006)


def test_it_types_along_and_stops(open_play):
    tab = opened(open_play)
    tab.press("Type on")
    tab.page.wait_for_function("() => document.querySelector('textarea').value.length > 30")
    tab.press("Stop")
    written = tab.page.locator("textarea").input_value()
    assert written.startswith(START)
    assert set(written) <= set(ABC)
    tab.page.wait_for_timeout(150)
    assert tab.page.locator("textarea").input_value() == written
    tab.press("Begin again")
    assert tab.page.locator("textarea").input_value() == START
    tab.page.locator("textarea").fill("ab§c")
    assert "never seen §" in tab.settle().note()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_a_narrow_page(open_play, theme):
    tab = opened(open_play, width=360, theme=theme)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
