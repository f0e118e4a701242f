"""Chapter 04: its sentences hold for what it measures, and its figures are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from crate_mini import data
from crate_mini.chapters import chapter_04 as chapter
from crate_mini.checkpoints import load_pretrained
from crate_mini.recorder import record
from crate_mini.sparsification import ista_step, largest_step, lasso_objective
from crate_mini.tables import markdown_table


@pytest.fixture(scope="module")
def network():
    model = load_pretrained("crate_mini_all_lion_s0").requires_grad_(False)
    photographs = torch.stack(list(data.photographs(image_size=160).values()))
    return model, record(model, photographs, chapter.RECORDED)


@pytest.fixture(scope="module")
def achieved(network):
    return chapter.achieved(*network)


@pytest.fixture(scope="module")
def zeros(network):
    return chapter.sources_of_zeros(*network)


@pytest.fixture(scope="module")
def cat(network):
    """Tokens of a cat as the ISTA of layer 4 sees them, and its dictionary."""
    model, run = network
    return run["feed_in"][4][0, ::20].double(), model.blocks[4].feed.D.double()


def test_the_picture_is_about_an_entry_that_becomes_zero():
    y, D = torch.tensor([0.7, 1.3], dtype=torch.float64), chapter.two_atoms()
    assert torch.allclose(D.norm(dim=0), torch.ones(2, dtype=torch.float64))
    assert ista_step(y, D, largest_step(D), 0.4)[0] == 0


def test_an_orthogonal_dictionary_leaves_the_rate_alone_and_a_fresh_one_does_not():
    facts = chapter.rotation_facts()
    assert facts["orthogonal"] == pytest.approx(facts["codes"])
    assert facts["fresh"] > 1.1 * facts["codes"]


def test_a_step_climbs_beyond_twice_the_bound_only():
    facts = chapter.climb_facts()
    assert facts["one"] == facts["two"] == 0 < facts["more"] < facts["four"]


def test_one_bowl_lies_above_and_the_flat_one_does_not():
    for factor, above in ((1.0, True), (4.0, False)):
        t, objective, bowl, start = chapter.bowl_along_a_line(factor)
        here = int((t - start).abs().argmin())
        assert objective[here] == pytest.approx(float(bowl[here]))
        assert bool((bowl >= objective - 1e-12).all()) == above
        assert (objective[int(bowl.argmin())] < objective[here]) == above


def test_no_layer_amplifies_a_token_along_itself_beyond_the_bound(network):
    values = chapter.gain_values(network[0])
    assert values.max() <= 1.025 + 1e-9
    assert (values > 1).double().mean() > 0.2


def test_the_fixed_step_is_near_its_bound_before_and_after_training(network):
    facts = chapter.step_facts(network[0])
    assert 0.65 < facts["start_low"] <= facts["start_high"] < 1
    assert facts["wide"] == pytest.approx(8, rel=0.1)
    assert 0.5 < facts["low"] < facts["high"] < 2
    assert facts["over"] < facts["layers"] / 2
    assert facts["smallest"] < 1e-3


def test_steps_fall_up_to_two_and_a_half_here_and_not_at_four(cat):
    Y, D = cat
    ends = {factor: chapter.objective_over_steps(Y, D, factor) for factor in (0.25, 1.0, 2.5, 4.0)}
    start = lasso_objective(Y, D, Y.clamp(min=0), chapter.LAM).mean()
    assert ends[1.0][0] == pytest.approx(float(start))
    assert all((values[-1] < values[0]) == (factor < 3) for factor, values in ends.items())
    assert np.all(np.diff(ends[1.0]) < 0)


def test_forbidding_negative_entries_costs_and_makes_the_zeros(cat):
    facts = chapter.sign_facts(*cat)
    assert facts["relu_left"] > 0.5
    assert 4 < facts["times"] < 7
    assert facts["soft_zeros_one"] < 0.02 < 0.5 < facts["relu_zeros_one"]


def test_the_layer_goes_down_and_ends_above_the_empty_code(achieved):
    facts = chapter.achieved_facts(achieved)
    assert facts["lowered"] == 1
    assert facts["worse"] > 0.9
    assert facts["from_zero"] == facts["layers"] == 8
    assert facts["chance"] < facts["overlap"] < 0.5
    assert abs(facts["alike"]) < 0.5
    for row in achieved:
        assert row["minimum"] < row["from zero"] < row["empty"] < row["layer"] < row["start"]


def test_the_sign_behind_the_norm_makes_the_zeros(zeros):
    facts = chapter.zero_facts(zeros)
    assert 0 < facts["threshold_low"] <= facts["threshold_high"] < 1
    assert facts["after"] > facts["before"] + 20
    assert facts["changed"] < 15
    assert facts["unshifted"] > facts["before"] + 20, "the shift is not the cause"
    assert facts["skew"] > 0.2, "a long tail of positive entries, in every layer but the first"


def test_the_network_notices_the_matrix_and_not_the_threshold():
    facts = chapter.variant_facts()
    assert abs(facts["none"]) < facts["none_95"] + 1
    assert abs(facts["ten"]) < facts["ten_95"] + 1
    assert facts["lost"] == -facts["still"] > facts["still_95"] + 10
    assert facts["fresh_top1"] < facts["still_top1"] < facts["trained_top1"]
    assert facts["solved_top1"] < 2 * facts["guessing"] == 2 * 100 / 200
    rows = chapter.variant_rows()
    assert [row["second half"] for row in rows] == list(chapter.VARIANTS.values())
    assert "−14.8 <small>± 2.3</small>" in markdown_table(rows, {"change (points)": ".1f"})


def test_the_rate_bends_down_by_an_eighth_of_alpha_at_most():
    low, high = chapter.curvature_ends()
    assert -1 / 8 - 1e-6 < low < -0.12
    assert 0.9 < high < 1 + 1e-6
    sharp, loose = chapter.costs_over_steps(1 / 8), chapter.costs_over_steps(9 / 4)
    for costs in (sharp, loose):
        assert np.diff(costs).max() <= 1e-9
    assert sharp[-1] < loose[-1]


def test_figures_are_drawn(network, achieved, zeros, cat):
    drawn = [
        chapter.layer_in_the_plane(),
        chapter.proximal_maps(),
        chapter.majorisers(),
        chapter.gains(network[0]),
        chapter.spectra(network[0]),
        chapter.falling(*cat),
        chapter.ladder(achieved),
        chapter.zero_bars(zeros),
        chapter.two_bowls(),
        chapter.settling(*cat),
    ]
    for figure in drawn:
        assert isinstance(figure, Figure)
        assert all(ax.has_data() for ax in figure.axes)
