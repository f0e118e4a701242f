"""Chapter 03: its sentences hold for what it measures, and its figures are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from crate_mini import data
from crate_mini.chapters import chapter_03 as chapter
from crate_mini.checkpoints import load_pretrained
from crate_mini.compression import gather, softmax_attention, softmax_step
from crate_mini.rates import project
from crate_mini.recorder import Record, record


@pytest.fixture(scope="module")
def toy():
    return chapter.drawn_tokens()


@pytest.fixture(scope="module")
def network():
    model = load_pretrained("crate_mini_all_lion_s0")
    photographs = torch.stack(list(data.photographs(image_size=128).values()))
    return model, record(model, photographs, chapter.RECORDED)


@pytest.fixture(scope="module")
def cosines(network):
    return chapter.descent_cosines(*network)


@pytest.fixture(scope="module")
def changes(network):
    return chapter.control(*network)


def test_share_outside_counts_squared_length_by_hand(toy):
    """Tokens are of length one, so what is inside is the squared length of their own coordinates."""
    inside = [
        project(z[None], toy.bases)[k].square().sum() for z, k in zip(toy.tokens, toy.labels, strict=True)
    ]
    assert chapter.share_outside(toy.tokens, toy) == pytest.approx(1 - float(torch.stack(inside).mean()))
    clean = torch.stack([toy.bases[k, :, 0] for k in toy.labels])
    assert chapter.share_outside(clean, toy) == pytest.approx(0, abs=1e-12)


def test_the_exact_step_goes_down_and_the_series_goes_up_where_it_is_not_valid(toy):
    facts = chapter.step_facts(toy)
    assert facts["condition_coarse"] < 1 < facts["condition_fine"]
    assert facts["exact_coarse"] < facts["before_coarse"]
    assert facts["exact_fine"] < facts["before_fine"] < facts["cut_fine"]
    assert facts["exact_coarse"] < facts["cut_coarse"] < facts["before_coarse"]
    assert facts["cosine_fine"] < -0.5 < 0.9 < facts["cosine_coarse"]
    _, ratios = chapter.rate_ratios(toy)
    assert max(ratios["exact gradient"]) < 1
    assert ratios["Neumann"][0] > 2


def test_the_softmax_cleans_where_the_exact_step_does_not(toy):
    facts = chapter.softmax_facts(toy)
    assert facts["exact"] > 0.9 * facts["before"]
    assert facts["softmax"] < 0.65 * facts["before"]
    assert facts["beta"] == pytest.approx(96 / 4)


def test_the_foreign_heads_do_the_cleaning(toy):
    facts = chapter.softmax_facts(toy)
    assert facts["self"] > 0.99
    assert facts["home"] < 1.1
    assert facts["abroad"] > facts["n"] / 2
    assert facts["alone"] == pytest.approx(facts["softmax"], abs=0.005)
    # the other way round: attention in the own head alone cleans nothing but what shrinking cleans
    Z, U = toy.tokens, toy.bases
    own = (toy.labels == torch.arange(len(U))[:, None])[..., None]
    S = torch.where(own, softmax_attention(Z, U, facts["beta"]), torch.eye(len(Z), dtype=Z.dtype))
    assert chapter.share_outside(0.5 * Z + 0.5 * gather(S, Z, U), toy) == pytest.approx(
        facts["before"], abs=0.01
    )


def test_cleaning_needs_room():
    (narrow, narrow_after), (wide, wide_after) = chapter.room(1), chapter.room(16)
    assert narrow_after > 0.9 * narrow
    assert wide_after < 0.6 * wide


def test_plus_is_up_as_it_is_and_down_at_length_one(toy):
    for beta in (1.0, 6.0, chapter.network_sharpness(toy.bases)):
        sweep, raw, unit = chapter.sign_sweep(toy, beta)
        assert sweep[12] == pytest.approx(0, abs=1e-6)
        assert (raw[12], unit[12]) == (pytest.approx(0, abs=1e-4), pytest.approx(0, abs=1e-4))
        assert raw[-1] > 0 > unit[-1]
    facts = chapter.sign_facts(toy)
    assert facts["raw"] > 1
    assert 0.005 < facts["unit"] < 0.03


def test_the_networks_step_is_twice_the_downhill_one(toy):
    moved = chapter.steps(toy, chapter.COARSE)
    half = softmax_step(toy.tokens, toy.bases, 0.5, sharpness=24.0)
    assert torch.allclose(moved["Z + MSSA (β = 24)"], 2 * half)


def test_a_low_rate_does_not_say_that_a_step_was_good(toy):
    coarse, fine = (
        {row["step"]: row for row in chapter.ledger(toy, eps_sq)} for eps_sq in (chapter.COARSE, chapter.FINE)
    )
    at_one = "$R^c$ at length one (%)"
    assert min(fine, key=lambda step: fine[step][at_one]) == "Neumann"
    assert coarse["softmax (β = 24)"][at_one] == pytest.approx(coarse["exact gradient"][at_one], abs=0.2)
    assert coarse["exact gradient"]["cosine with descent"] == pytest.approx(1)
    assert coarse["softmax (β = 24)"]["outside (%)"] < coarse["exact gradient"]["outside (%)"] - 5


def test_the_posterior_mean_is_the_best_guess_and_attention_comes_close_at_little_noise():
    for noise in (0.05, 0.3, 0.6):
        errors = chapter.denoising_errors(noise, count=5000)
        assert min(errors, key=errors.get) == "posterior"
    facts = chapter.denoising_facts()
    assert facts["attention_few"] == pytest.approx(facts["posterior_few"], rel=0.01)
    assert facts["noisy_few"] == pytest.approx(2, rel=0.03)  # one for each coordinate of the plane


def test_norm_changes_length_and_direction(network):
    facts = chapter.norm_facts(*network)
    assert facts["length_low"] < 0.8 < 1.3 < facts["length_high"]
    assert facts["cosine_low"] < 0.9
    assert 0 < facts["share_low"] < 0.5 < facts["share_high"] < 1
    assert facts["condition_low"] > 10
    assert facts["tied_high"] < 0.1
    assert facts["sum_high"] < 0.8


def test_the_direction_is_lost_where_the_output_is_learned(cosines):
    assert list(cosines) == list(chapter.MOVES)
    assert min(cosines["softmax"]) > 0.6
    assert max(cosines["Z dropped"]) < 0
    assert np.abs(cosines["as run"]).max() < 0.25


def test_the_rate_falls_and_a_random_turn_lowers_it_as_well(cosines, changes):
    facts = chapter.trained_facts(cosines, changes)
    assert facts["down_unit"] > facts["layers"] / 2
    assert 0 < facts["beyond"] < facts["layers"]
    assert facts["opposite_down"] == facts["layers"] / 2, "the summary says half"
    assert 0.5 < facts["common"] < 1
    assert facts["common_last"] > 0.5
    assert changes["turned, length one"].shape == (5, facts["layers"])


def test_a_move_of_nothing_changes_nothing(network):
    model, run = network
    still = Record(run)
    still["tokens_mid"] = still["tokens_in"]
    for values in chapter.control(model, still, turns=2).values():
        assert np.abs(values).max() < 1e-9


def test_the_tied_form_learns_less_in_the_same_time():
    facts = chapter.tied_facts()
    free, tied = ([float(v) for v in facts[f"{name}_top1"].split(" and ")] for name in ("free", "tied"))
    assert len(free) == len(tied) == facts["seeds"]
    assert max(tied) < min(free)
    assert facts["tied_parameters"] < facts["free_parameters"]


def test_the_playground_gets_four_orthonormal_bases():
    given = chapter.playground_tokens()
    U = torch.tensor(given["bases"], dtype=torch.float64)
    assert torch.allclose(U.mT @ U, torch.eye(8, dtype=torch.float64), atol=1e-5)
    assert len(given["tokens"]) == len(given["labels"]) == 64


def test_figures_are_drawn(toy, cosines, changes):
    drawn = [
        chapter.three_ways(),
        chapter.where_the_series_breaks(toy),
        chapter.what_softmax_adds(toy),
        chapter.sign_question(toy),
        chapter.denoising_picture(),
        chapter.chain_by_layer(cosines),
        chapter.draw_control(changes),
    ]
    for figure in drawn:
        assert isinstance(figure, Figure)
        assert len(figure.axes) >= 1
        assert all(ax.has_data() for ax in figure.axes)
