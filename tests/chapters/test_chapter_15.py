"""Chapter 15: what the rate is worth, the values of a collapse, and that each loss collapses without its guard."""

from __future__ import annotations

import math

import pytest
from matplotlib.figure import Figure

from crate_mini.chapters import chapter_15 as chapter


@pytest.fixture(scope="module")
def films():
    return {name: chapter.film(**how) for name, how in chapter.KINDS.items()}


def test_what_the_rate_is_worth():
    worth = {(row["images"], row["processes"]): row["weight"] for row in chapter.weights_of_the_rate()}
    expected = {(64, 8): 0.450, (256, 2): 1.80, (512, 1): 2.28, (64, 1): 2.75, (75, 32): 0.185}
    assert worth == {k: pytest.approx(v, rel=0.01) for k, v in expected.items()}


def test_signatures():
    found = chapter.signatures()
    assert found["equal"] == pytest.approx(0.083, abs=5e-4)
    assert found["directions"] == pytest.approx(0.60, abs=0.01)
    assert found["random"] == pytest.approx(2.67, abs=0.01)
    assert found["most"] == pytest.approx(2.75, abs=0.01)


def test_each_loss_collapses_without_its_guard(films):
    facts = chapter.collapse_facts(films)
    assert facts["rate_simdino"] > 0.9
    assert facts["aligned_without_the_rate"] > 0.995
    assert facts["rate_without_the_rate"] < 0.35 < facts["rate_dino"]
    assert facts["loss_without_sharpening"] == pytest.approx(math.log(chapter.CHOICES), abs=0.01)
    assert facts["rate_without_sharpening"] == pytest.approx(facts["one_direction"], abs=0.02)
    assert facts["loss_without_the_centre"] < 0.1
    assert facts["rate_without_the_centre"] < facts["rate_dino"] - 0.15


def test_figure(films):
    figure = chapter.collapse_figure(films)
    assert isinstance(figure, Figure)
    assert [len(ax.lines) for ax in figure.axes] == [5, 6, 5]
