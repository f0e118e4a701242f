"""The playground of chapter 15 in a browser: what is learned is what the package's loss and autograd give."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from crate_mini.chapters.chapter_15 import play_data
from crate_mini.rates import coding_rate, largest_rate
from crate_mini.stats import variance_shares
from crate_mini.training.selfsupervised import alignment

DATA = play_data()


def percent(tab, label: str) -> float:
    return float(tab.readout(label).removesuffix(" %"))


def learned(share: str, weight: float, steps: int) -> tuple[float, float, tuple[float, float, float]]:
    """Agreement, rate and shares after some steps of plain gradient descent."""
    pictures, views, W = (torch.tensor(DATA[k], dtype=torch.float64) for k in ("pictures", "views", "W"))
    scenes, animals, most = DATA["scenes"], DATA["animals"], largest_rate(len(pictures), 2, DATA["eps_sq"])
    for t in range(steps + 1):
        W = W.detach().requires_grad_()
        other = views[1]
        if share == "animal":
            other = other.unflatten(0, (scenes, animals)).roll(-1 - t % (scenes - 1), 0).flatten(0, 1)
        one, two = (F.normalize(v @ W.T, dim=1) for v in (views[0], other))
        pairs = alignment(torch.stack([one, two]), torch.stack([one, two]))
        rate = coding_rate(one, DATA["eps_sq"]) / most
        (up,) = torch.autograd.grad(pairs + weight * rate, W)
        last, W = W, W + DATA["rate"] * up
    said = F.normalize(pictures @ last.detach().T, dim=1).unflatten(0, (scenes, animals))
    return pairs.item(), rate.item(), variance_shares(said)


@pytest.mark.parametrize(
    ("share", "weight", "steps"),
    [("picture", 1, 0), ("picture", 1, 8), ("animal", 0.5, 12), ("animal", 2, 5)],
)
def test_numbers_are_those_of_autograd(open_play, share, weight, steps):
    labels = {"picture": "two crops of one picture", "animal": "two pictures of one animal"}
    tab = open_play("views", DATA).choose("the two views are", labels[share])
    tab.slide("weight of the rate", weight).slide("steps", steps)
    agreement, rate, (scene, animal, _) = learned(share, weight, steps)
    assert tab.number("agreement C") == pytest.approx(agreement, abs=0.006)
    assert percent(tab, "rate, of the largest") == pytest.approx(100 * rate, abs=0.6)
    assert percent(tab, "comes with the scene") == pytest.approx(100 * scene, abs=0.6)
    assert percent(tab, "comes with the animal") == pytest.approx(100 * animal, abs=0.6)


def test_what_views_share_is_what_is_learned(open_play):
    tab = open_play("views", DATA).slide("steps", 120)
    assert percent(tab, "comes with the scene") > 80 > 20 > percent(tab, "comes with the animal")
    assert "It was the scene" in tab.note()
    tab.choose("the two views are", "two pictures of one animal")
    assert percent(tab, "comes with the animal") > 80 > 20 > percent(tab, "comes with the scene")
    assert "it says the animal" in tab.note()
    tab.slide("weight of the rate", 0)
    assert percent(tab, "rate, of the largest") < 80
    assert "nothing keeps pictures apart" in tab.note()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_a_narrow_page(open_play, theme):
    tab = open_play("views", DATA, width=360, theme=theme)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
