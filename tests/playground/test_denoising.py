"""The playground of chapter 13: its layers are crate_mini's for all knobs, and its note tells what happens."""

from __future__ import annotations

import math

import pytest
import torch

from crate_mini.chapters import denoising
from crate_mini.data.subspaces import Mixture

DATA = {"n": 40, "K": 4, "p": 24, "tau": 0.9, "seed": 5}


def normals(seed: int, count: int) -> torch.Tensor:
    """The kit's random numbers (mulberry32, normal by Box and Muller), written down a second time."""
    state, mask, found = seed, 0xFFFFFFFF, []

    def uniform() -> float:
        nonlocal state
        state = (state + 0x6D2B79F5) & mask
        t = ((state ^ (state >> 15)) * (state | 1)) & mask
        t ^= (t + (((t ^ (t >> 7)) * (t | 61)) & mask)) & mask
        return ((t ^ (t >> 14)) & mask) / 2**32

    for _ in range(count):
        radius = math.sqrt(-2 * math.log(1 - uniform()))
        found.append(radius * math.cos(2 * math.pi * uniform()))
    return torch.tensor(found, dtype=torch.float64)


def mixture(delta: float) -> Mixture:
    n, K, p = DATA["n"], DATA["K"], DATA["p"]
    labels = torch.arange(n) * K // n
    coordinates = normals(DATA["seed"], K * n * p).view(K, n, p)
    coordinates = torch.where((labels == torch.arange(K)[:, None])[..., None], 1.0, delta) * coordinates
    bases = torch.eye(K * p, dtype=torch.float64).view(K * p, K, p).movedim(1, 0)
    return Mixture(coordinates.movedim(0, 1).reshape(n, K * p), bases, labels)


KINDS = {
    "threshold": f"threshold τ = {DATA['tau']}",
    "softmax": "softmax, β = 1/√p",
    "centred": "softmax − mean",
}


def turn(tab, *, delta: float, step: float, layers: int, kind: str, keep: bool):
    tab.slide("noise δ", delta).slide("step η", step).slide("layers", layers)
    tab.choose("attention", KINDS[kind])
    return tab.tick("rescale after every layer", keep)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keep", [False, True], ids=["as they grow", "rescaled"])
def test_numbers_are_the_package_s(open_play, kind, keep):
    soft = kind != "threshold"
    tab = open_play("denoising", DATA)
    for delta, step, layers in [(0.1, 0.5, 6), (0.3, 0.25, 9), (0.6, 1.0, 3)]:
        turn(tab, delta=delta, step=step, layers=layers, kind=kind, keep=keep)
        expected = denoising.run(
            mixture(delta),
            step=step,
            depth=layers,
            tau=None if soft else DATA["tau"],
            sharpness=DATA["p"] ** -0.5 if soft else 1.0,
            length="kept" if keep else "grow",
            centred=kind == "centred",
        )
        assert tab.number("the law: times") == pytest.approx(1 + step * (1 if soft else DATA["tau"]))
        assert tab.number("at the start") == pytest.approx(float(expected.snr[0]), rel=0.006)
        assert tab.number("highest") == pytest.approx(float(expected.snr.max()), rel=0.006)
        assert tab.number("at layer") == int(expected.snr.argmax())
        assert tab.number("at the end") == pytest.approx(float(expected.snr[-1]), rel=0.006)
        own = 100 * float(expected.own[0]) / (1 if soft else DATA["tau"])
        assert float(tab.readout("own head: looks at itself").strip(" %")) == pytest.approx(own, abs=0.06)


def test_the_law_holds_then_breaks_and_rescaling_repairs_it(open_play):
    tab = open_play("denoising", DATA)
    turn(tab, delta=0.1, step=0.5, layers=3, kind="threshold", keep=False)
    assert tab.note().startswith("On the law")
    turn(tab, delta=0.1, step=0.5, layers=16, kind="threshold", keep=False)
    assert "Now rescale" in tab.note()
    assert tab.number("at the end") < tab.number("at the start")
    broken = tab.pixels()
    tab.tick("rescale after every layer")
    assert tab.note().startswith("On the law")
    assert tab.number("at the end") > 100 * tab.number("at the start")
    assert tab.pixels() != broken
    assert (
        "look at themselves" in turn(tab, delta=0.7, step=0.5, layers=4, kind="threshold", keep=True).note()
    )
    assert "falls again" in turn(tab, delta=0.1, step=0.5, layers=16, kind="softmax", keep=True).note()
    plain = tab.number("at the end")
    assert "to the end" in turn(tab, delta=0.1, step=0.5, layers=16, kind="centred", keep=True).note()
    assert tab.number("at the end") > 5 * plain


def test_fewer_layers_are_the_first_of_many(open_play):
    tab = open_play("denoising", DATA)
    turn(tab, delta=0.2, step=0.3, layers=5, kind="softmax", keep=True)
    five = tab.readout("at the end")
    tab.slide("layers", 20)
    assert tab.slide("layers", 5).readout("at the end") == five


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_narrow_page(open_play, theme):
    tab = open_play("denoising", DATA, width=360, theme=theme)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
