"""The balls of the coding-rate playground: they cover the ellipse, they are counted right, and R is the package's."""

from __future__ import annotations

import math

import pytest
import torch

from crate_mini.rates import coding_rate

SHAPES = [
    (0.9, 0.35, 25, 0.45),
    (1.0, 1.0, 0, 0.3),
    (0.9, 0.0, 140, 0.2),
    (0.3, 0.8, 60, 0.6),
    (0.1, 0.1, 0, 1.4),
]

# Pictures of the cloud, in pixels: every ball, and the corners of the polygon that stands for the ellipse.
DRAWN = """() => {
  const svg = document.querySelectorAll("figure svg")[0];
  const number = (e, names) => names.map(name => Number(e.getAttribute(name)));
  const balls = [...svg.querySelectorAll("ellipse")].map(e => number(e, ["cx", "cy", "rx", "ry"]));
  const rim = svg.querySelector("polygon").getAttribute("points").split(" ").map(p => p.split(",").map(Number));
  return [balls, rim];
}"""


def whitened(n: int = 150) -> torch.Tensor:
    """Points with mean zero and second moment one in every direction, as the notebook hands them over."""
    Z = torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    Z = Z - Z.mean(0)
    return Z @ torch.linalg.inv(torch.linalg.cholesky(Z.T @ Z / n)).T


@pytest.fixture
def tab(open_play):
    return open_play("coding_rate", {"points": whitened()})


def shape(tab, first, second, turn, eps):
    tab.slide("Spread along one axis", first).slide("Spread along the other", second)
    return tab.slide("Rotation", turn).slide("Radius ε of a ball", eps)


@pytest.mark.parametrize(("first", "second", "turn", "eps"), SHAPES)
def test_numbers_and_balls(tab, first, second, turn, eps):
    shape(tab, first, second, turn, eps)
    Z = whitened() * torch.tensor([first, second])
    R = coding_rate(Z, eps**2).item()
    assert tab.number("coding rate R") == pytest.approx(R, abs=0.006)

    balls, rim = (torch.tensor(found, dtype=torch.float64) for found in tab.page.evaluate(DRAWN))
    assert tab.number("balls") == len(balls)
    assert tab.number("ln(balls)") == pytest.approx(math.log(len(balls)), abs=0.006)
    # at least the ratio of volumes, as any cover; and not far more balls than e^R
    assert len(balls) >= 2 * first * second / eps**2 - 1e-9
    assert 0.95 * math.exp(R) <= len(balls) <= 2.01 * math.exp(R)

    # every point of the ellipse lies in a ball: the rim shrunk to many sizes, but for slivers no one can see
    assert torch.allclose(balls[:, 2], balls[:, 3])
    centre = rim.mean(0)
    inside = torch.cat([centre + f * (rim - centre) for f in torch.linspace(0, 1, 60)])
    outside = (torch.cdist(inside, balls[:, :2]).amin(1) / balls[0, 2]).amax()
    assert outside < 1.01


def test_rotation_changes_the_picture_and_no_number(tab):
    before, picture = [tab.readout(label) for label in ("balls", "coding rate R")], tab.pixels()
    tab.slide("Rotation", 110)
    assert [tab.readout(label) for label in ("balls", "coding rate R")] == before
    assert tab.pixels() != picture


def test_the_line_below_says_how_many_axes_count(tab):
    assert "One half-axis is longer" in shape(tab, 0.9, 0.0, 0, 0.3).note()
    assert "Both half-axes are longer" in shape(tab, 0.9, 0.9, 0, 0.3).note()
    assert "Neither half-axis" in shape(tab, 0.05, 0.0, 0, 0.3).note()
    assert tab.readout("balls") == "1"


def test_smaller_balls_are_more_and_the_two_numbers_move_together(tab):
    found = []
    for eps in (1.2, 0.8, 0.5, 0.3, 0.2, 0.15):
        shape(tab, 0.9, 0.5, 30, eps)
        found.append((tab.number("balls"), tab.number("coding rate R")))
    assert found == sorted(found)
    assert all(R - 0.05 <= math.log(N) <= R + 0.7 for N, R in found)


def test_the_curve_of_the_balls_is_completed_frame_by_frame(tab):
    shape(tab, 1.0, 0.97, 0, 0.15)
    points = """() => document.querySelectorAll("figure svg")[1].querySelectorAll("polyline")[1]
        .getAttribute("points").split(" ").length"""
    tab.page.wait_for_function(f"({points})() === 19")
    tab.slide("Spread along one axis", 0.5)
    assert tab.number("coding rate R") == pytest.approx(
        coding_rate(whitened() * torch.tensor([0.5, 0.97]), 0.15**2).item(), abs=0.006
    )
    tab.page.wait_for_function(f"({points})() === 19")
