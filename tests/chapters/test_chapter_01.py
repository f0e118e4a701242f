"""Figures and facts of chapter 01: that they are computed as the text says, and that the text is true."""

from __future__ import annotations

import math

import pytest
import torch
from matplotlib.figure import Figure

from crate_mini import data
from crate_mini.chapters import chapter_01 as chapter
from crate_mini.rates import coding_rate


@pytest.fixture(scope="module")
def cat():
    return chapter.patches(data.photographs()["cat"])


def plain(Z, eps_sq):
    n, d = Z.shape
    return 0.5 * torch.logdet(torch.eye(d, dtype=Z.dtype) + d / (n * eps_sq) * Z.T @ Z)


def test_patches_go_back_to_their_places(cat):
    Z, (h, w) = cat
    image = data.photographs()["cat"].double().mean(0) / 255
    assert torch.allclose(chapter.image_of(Z, (h, w)), image[: 8 * h, : 8 * w])


def test_whitened_tokens_and_twins_have_exactly_the_moments_they_claim(cat):
    Z = chapter.whitened(50, 4)
    assert torch.allclose(Z.T @ Z / 50, torch.eye(4, dtype=torch.float64), atol=1e-12)
    tokens = cat[0][:300]
    centred = tokens - tokens.mean(0)
    twin = chapter.twin(tokens)
    assert torch.allclose(twin.T @ twin, centred.T @ centred, atol=1e-8)


def test_a_file_gives_back_what_it_was_made_of_within_the_error(cat):
    Z = cat[0][:500]
    for error in (0.01, 0.1):
        row = chapter.weigh(Z, error)
        assert row["made"] <= error
        assert torch.allclose(row["received"], Z, atol=8 * error)
        assert row["rate"] == pytest.approx(
            float(coding_rate(Z - Z.mean(0), 64 * error**2)) / (64 * math.log(2)), rel=1e-9
        )
    assert chapter.weigh(Z, 0.01)["file"] > chapter.weigh(Z, 0.1)["file"]


def test_the_rate_is_near_to_what_files_weigh(cat):
    """The headline: within a fifth on the cat, and within two fifths on every set of the figure."""
    weights = [chapter.weigh(cat[0], error) for error in (0.01, 0.03, 0.1)]
    assert chapter.weighed_facts(weights)["worst"] < 0.2
    facts = chapter.files_facts(chapter.weigh_photographs(["cat"], [0.01, 0.02, 0.1]))
    assert 0.6 < facts["real_low"] <= facts["real_high"] < 1.4
    assert 0.6 < facts["twin_low"] <= facts["twin_high"] < 1.4
    assert facts["lighter"] == facts["pairs"] == 2, "at fine precision a photograph is lighter than its twin"
    assert facts["worst_error"] <= 1


def test_directions_are_counted_softly():
    Z = chapter.whitened(100, 8)
    assert chapter.soft_count(Z, 8.0) == pytest.approx(4), (
        "variance 1, error 1 a coordinate: each counts half"
    )
    eps_sq, step = 0.3, 1e-5
    slope = (coding_rate(Z, eps_sq * (1 + step)) - coding_rate(Z, eps_sq * (1 - step))) / (2 * step)
    assert chapter.soft_count(Z, eps_sq) == pytest.approx(-2 * slope.item(), rel=1e-6)


def test_what_changes_and_what_does_not():
    Z = chapter.whitened(200, 16) * torch.tensor([1.0] * 4 + [0.1] * 12, dtype=torch.float64)
    rows = {row["what is done"]: row["change"] for row in chapter.what_changes(Z, 0.5)}
    still = [name for name, change in rows.items() if change is None]
    assert still == [
        "nothing", "turn the space, or flip the sign of a coordinate",
        "mix the tokens among each other by a rotation", "write every token down three times",
        "twice as long, and ε twice as large",
    ]  # fmt: skip
    assert rows["add as many tokens that are zero"] < 0 < rows["add as many coordinates that are zero"]


def test_the_best_code_does_not_pay_for_empty_coordinates():
    facts = chapter.empty_coordinates_facts()
    assert facts["least"] == pytest.approx(facts["least_many"])
    assert facts["least"] < facts["few"] < facts["many"]
    lam = torch.tensor([4.0, 0.01], dtype=torch.float64)
    assert chapter.water_filling(lam, 0.2) == pytest.approx(0.5 * math.log(4 / 0.19), rel=1e-6)


def test_the_smaller_side_is_the_cheaper_one():
    assert chapter.side_facts(785, 64)["ratio"] > 30
    assert chapter.side_facts(64, 64)["ratio"] == 1
    assert chapter.side_facts(196, 384)["ratio"] < 1


def test_a_determinant_comes_out_wrong_in_float32():
    facts = chapter.determinant_facts()
    assert facts["exact"] == 1 + 8222**2 + 8722**2
    assert abs(facts["got"] / facts["exact"] - 1) > 0.5


def test_float32_fails_in_the_gradient_first():
    flat = (chapter.whitened(32, 4) @ chapter.whitened(64, 4, seed=1).T).float()
    found = chapter.stress(flat, 0.01, torch.logspace(-2, 3, 31).tolist(), plain32)
    facts = chapter.stress_facts(found, mark=80.0)
    assert facts["worst_value"] < 1e-6
    assert facts["worst_gradient"] < 1e-3
    assert facts["gradient_fails"] < facts["value_fails"]
    assert facts["mixed_at"] > 2 * facts["truth_at"]
    assert isinstance(chapter.stress_figure(found, mark=80.0), Figure)


def plain32(Z, eps_sq):
    n, d = Z.shape
    return 0.5 * torch.logdet(torch.eye(d) + d / (n * eps_sq) * Z.T @ Z)


def test_every_figure_is_drawn(cat):
    Z, grid = cat
    weights = [chapter.weigh(Z, 0.1)]
    found = {("cat", False): weights, ("cat", True): weights}
    levels = {1.0: 2, 0.01: 6}
    spread = torch.cat([torch.full((k,), v**0.5, dtype=torch.float64) for v, k in levels.items()])
    drawn = [
        chapter.weighed_figure(Z, grid, weights, (slice(0, 80), slice(0, 80))),
        chapter.files_figure(found),
        chapter.directions_figure(chapter.whitened(50, 8) * spread, levels),
        chapter.vanishing_figure(lambda Z: Z.shape[1] * torch.linalg.svdvals(Z) ** 2 / len(Z), Z[:200]),
        chapter.apart_figure(coding_rate, Z[:200]),
    ]
    assert all(isinstance(figure, Figure) and figure.axes for figure in drawn)
    assert [len(figure.axes) for figure in drawn] == [2, 1, 2, 1, 1]
