"""The playground of chapter 03: its rates and steps are crate_mini's, its curves move, its note tells the truth."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from crate_mini.compression import (
    gather,
    gradient_step,
    neumann_condition,
    neumann_gradient,
    rate_scale,
    softmax_attention,
)
from crate_mini.compression import softmax_step as softmax
from crate_mini.data.subspaces import mixture_of_subspaces
from crate_mini.rates import compression_rate, project

MIX = mixture_of_subspaces(64, d=32, K=4, p=8, noise=0.6, seed=6)
DATA = {
    "tokens": MIX.tokens.numpy().round(4).tolist(),
    "bases": MIX.bases.numpy().round(7).tolist(),
    "labels": MIX.labels.tolist(),
}
Z = torch.tensor(DATA["tokens"], dtype=torch.float64)
U = torch.tensor(DATA["bases"], dtype=torch.float64)


def share_outside(tokens: torch.Tensor) -> float:
    energy = project(tokens, U).square().sum(-1)
    return float((1 - energy[MIX.labels, torch.arange(len(Z))] / energy.sum(0)).mean())


def moved(step: str, eps_sq: float, share: float, beta: float) -> torch.Tensor:
    gamma = rate_scale(Z, U, eps_sq)
    return {
        "exact": lambda: gradient_step(Z, U, eps_sq, share / gamma),
        "Neumann": lambda: Z - share / gamma * neumann_gradient(Z, U, eps_sq),
        "softmax": lambda: softmax(Z, U, share, sharpness=beta),
        "Z + MSSA": lambda: Z + share * gather(softmax_attention(Z, U, beta), Z, U),
    }[step]()


@pytest.mark.parametrize("step", ["exact", "Neumann", "softmax", "Z + MSSA"])
def test_numbers_are_the_package_s(open_play, slide, choose, readout, step):
    tab = open_play("compression", DATA)
    choose(tab, "step", step)
    for eps_sq, share, beta in [(0.5, 0.5, 4.0), (0.02, 1.0, 12.0), (1.5, -0.7, 0.5)]:
        slide(tab, "ε²", eps_sq)
        slide(tab, "κγ", share)
        if step in ("softmax", "Z + MSSA"):
            slide(tab, "β", beta)
        end = moved(step, eps_sq, share, beta)
        for label, tidy in (("rate", lambda t: t), ("rate at length one", lambda t: F.normalize(t, dim=-1))):
            shown = [float(v) for v in readout(tab, label).split("→")]
            expected = [float(compression_rate(tidy(t), U, eps_sq)) for t in (Z, end)]
            assert shown == pytest.approx(expected, abs=0.006)
        stray = [share_outside(t) for t in (Z, end)]
        shown = [float(v.strip(" %")) for v in readout(tab, "outside").split("→")]
        assert shown == pytest.approx([100 * v for v in stray], abs=0.06)
        assert tab.number("largest γσ²") == pytest.approx(
            float(neumann_condition(Z, U, eps_sq).max()), abs=0.006
        )


def test_the_neumann_step_explodes_beyond_its_range(open_play, slide, choose):
    tab = open_play("compression", DATA)
    choose(tab, "step", "Neumann")
    slide(tab, "ε²", 2)
    assert tab.number("largest γσ²") < 1
    assert "converges" in tab.note()
    calm = tab.pixels()
    slide(tab, "ε²", 0.01)
    assert tab.number("largest γσ²") > 1
    assert "goes up instead of down" in tab.note()
    assert tab.pixels() != calm


def test_a_full_step_of_the_network_is_twice_a_half_step(open_play, slide, choose, readout):
    tab = open_play("compression", DATA)
    choose(tab, "step", "softmax")
    slide(tab, "κγ", 0.5)
    half = readout(tab, "rate at length one"), readout(tab, "rate")
    choose(tab, "step", "Z + MSSA")
    slide(tab, "κγ", 1)
    assert readout(tab, "rate at length one") == half[0]
    assert readout(tab, "rate") != half[1]
    assert "got longer" in tab.note()


def test_sharpness_is_offered_where_there_is_a_softmax(open_play, choose):
    tab = open_play("compression", DATA)
    beta = tab.page.get_by_role("slider", name="β", exact=True)
    assert not beta.is_visible()
    choose(tab, "step", "softmax")
    assert beta.is_visible()


def test_it_fits_a_narrow_page(open_play):
    tab = open_play("compression", DATA, width=360)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
