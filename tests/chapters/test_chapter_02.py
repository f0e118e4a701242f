"""Figures and facts of chapter 02: that they are computed as the text says, and that the text is true."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import nn

from crate_mini.chapters import chapter_02 as chapter
from crate_mini.data.subspaces import mixture_of_subspaces
from crate_mini.rates import class_coding_rate, coding_rate, mcr2

EPS_SQ = 0.1
D, K, P, N = 12, 3, 4, 240


@pytest.fixture(scope="module")
def sphere():
    return chapter.on_a_sphere(EPS_SQ)


@pytest.fixture(scope="module")
def climbed():
    """The tangled mixture, the linear map that climbs from it, its features and the history."""
    mixed = mixture_of_subspaces(N, d=D, K=K, p=P, orthogonal=False, seed=1)
    W, history = torch.eye(D, dtype=torch.float64, requires_grad=True), []

    def objective(Z):
        whole, parts = coding_rate(Z, EPS_SQ), class_coding_rate(Z, mixed.labels, EPS_SQ)
        history.append((whole.item(), parts.item()))
        return whole - parts

    Z = chapter.ascend(lambda: mixed.tokens @ W, [W], objective, steps=250)
    return mixed, W.detach(), Z, history


def test_only_the_difference_gives_each_class_room_of_its_own(sphere):
    facts = chapter.sphere_facts(*sphere, EPS_SQ)
    assert facts["cross"] < 1e-3
    assert facts["small"] == pytest.approx(1, abs=1e-3)
    assert facts["large"] == pytest.approx(2, abs=1e-3)
    assert facts["both"] > 1 > 5 * facts["only_Rc"] > 5 * facts["only_R"] > facts["start"]
    assert len(chapter.spheres_figure(*sphere, EPS_SQ).axes) == 4


def test_directions_are_counted():
    Z = torch.cat([torch.eye(3), -torch.eye(3)]).double()
    assert chapter.filled_directions(Z) == pytest.approx(3)
    assert chapter.filled_directions(Z[:1]) == pytest.approx(1)


def test_the_best_is_the_rate_reduction_of_evenly_filled_classes():
    Z = torch.eye(D, dtype=torch.float64)
    y = torch.arange(D) // P
    assert chapter.best(P, D, K, EPS_SQ) == pytest.approx(mcr2(Z, y, EPS_SQ).item(), rel=1e-10)


def test_precision_limits_are_where_the_text_says():
    sure, local = chapter.precision_limits(K, D, P)
    assert chapter.best_r(P, D, K, 0.99 * sure) == P
    assert sure < 1 < local
    assert chapter.best_r(P, D, K, 1.0) < P
    x = chapter.tangent_point(1 / K)
    slope = (chapter.gain(x + 1e-5, 1 / K) - chapter.gain(x - 1e-5, 1 / K)) / 2e-5
    assert slope == pytest.approx(chapter.gain(x, 1 / K) / x, rel=1e-6)


def test_a_run_between_the_limits_stays_in_the_trap():
    facts = chapter.precision_facts(chapter.precision_run(1.0, D, K), P, D, K, at=1.0)
    assert facts["r"] < P
    assert facts["value"] < facts["best_r"] - 0.005
    assert facts["full"] > 0.5


def test_a_linear_map_reaches_the_optimum(climbed):
    mixed, _, Z, history = climbed
    optimum = chapter.best(P, D, K, EPS_SQ)
    facts = chapter.progress_facts(history, mixed.tokens, Z, mixed.labels, optimum, EPS_SQ)
    assert facts["off"] < 1e-6
    assert facts["cross"] < 1e-4 < 0.5 < facts["cross_before"]
    assert facts["uneven"] < 1e-3
    assert facts["Rc_last"] > facts["Rc_first"]
    assert facts["reached"] > facts["label"] == pytest.approx(math.log(3))
    assert len(chapter.progress_figure(history, mixed.tokens, Z, mixed.labels, optimum).axes) == 2


def test_longer_vectors_beat_better_places():
    mixed = mixture_of_subspaces(N, d=D, K=K, p=P, orthogonal=False, seed=1)
    clean = mixture_of_subspaces(N, d=D, K=K, p=P, seed=1)
    facts = chapter.scale_facts(mixed.tokens, clean.tokens, mixed.labels, EPS_SQ)
    assert facts["before"] < facts["fair"] < facts["blown_up"]


def test_sparsity_chooses_the_axes_at_no_cost(climbed):
    mixed, W, _, _ = climbed
    turned = W @ chapter.rotation(D)
    sparse = {0: F.normalize(mixed.tokens @ turned, dim=-1)}
    sparse |= {lam: chapter.sparsify(mixed.tokens, turned, mixed.labels, EPS_SQ, lam) for lam in (1.0, 30.0)}
    facts = chapter.sparse_facts(sparse, mixed.labels, EPS_SQ)
    assert facts["without"] - facts["with_it"] < 0.01
    assert facts["thin"] < P + 0.1 < 11 < facts["dense"]
    assert facts["at_most"] < facts["without"] - 1
    assert len(chapter.sparse_figure(sparse, mixed.labels, EPS_SQ, 7.5).axes) == 3


def test_two_networks_on_digits():
    digits = chapter.load_digits()
    by_rate, (by_label, own) = chapter.train_on_rates(digits), chapter.train_on_labels(digits)
    nets = {"rate reduction": by_rate, "cross-entropy": by_label, "pixels": nn.Identity()}
    facts = chapter.digits_facts(
        digits, {name: chapter.examine(digits, net) for name, net in nets.items()}, own
    )
    assert facts["held_out"] == 597
    scores = [facts["own"], facts["rate_r6"], facts["pixels_r6"]]
    assert max(scores) - min(scores) < 4 * facts["error"], "little between them"
    assert facts["rate_directions"] > 2 * facts["label_directions"]
    assert facts["rate_read"] > facts["label_read"] + 0.05
    assert facts["rate_r1"] < facts["label_r1"]
    assert 0.85 * facts["most"] < facts["gained"] < facts["most"]
    assert len(chapter.readings_figure(digits, nets).axes) == 40


def test_rates_do_not_see_what_sparsity_sees():
    drawn = mixture_of_subspaces(60, d=D, K=K, p=P, seed=1)
    clean = drawn.tokens @ drawn.bases.movedim(0, 1).reshape(D, D)  # turned to the axes
    clean[clean.abs() < 1e-12] = 0
    U = torch.eye(D, dtype=torch.float64).view(D, K, P).movedim(1, 0)
    sets = {"clean": clean, "mixed": chapter.mixed_across_classes(clean, K)}
    assert torch.allclose(sets["mixed"].norm(dim=-1), torch.ones(60, dtype=torch.float64))
    rows = {row.pop(""): row for row in chapter.mixing_rows(sets, drawn.labels, U, EPS_SQ)}
    same = [name for name, row in rows.items() if row["clean"] == row["mixed"]]
    assert same == ["R, nats", "Rᶜ of the subspaces, nats"]
    nonzeros = rows["entries that are not zero, a vector"]
    assert (float(nonzeros["clean"]), float(nonzeros["mixed"])) == (P, D)


def test_even_subspaces_and_the_gradient():
    facts = chapter.even_facts(D, K, P, EPS_SQ)
    assert facts["bases"] == pytest.approx(facts["coarser"], abs=1e-9)
    assert facts["classes"] < facts["bases"] < facts["R"]
    assert facts["negative"] < 0
    mixed = mixture_of_subspaces(60, d=D, K=K, p=P, orthogonal=False, seed=1)
    assert chapter.gradient_gap(mixed.tokens, mixed.bases, EPS_SQ) < 1e-10


def test_figures_are_figures(sphere):
    assert isinstance(chapter.spheres_figure(*sphere, EPS_SQ), Figure)
