"""Chapter 07: its sentences hold for every training that was measured, and its figures are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

from crate_mini import data
from crate_mini.chapters import chapter_07 as chapter
from crate_mini.model import create_model
from crate_mini.rates import compression_rate
from crate_mini.recorder import Record, record


@pytest.fixture(scope="module")
def trainings():
    return chapter.trainings()


@pytest.fixture(scope="module")
def control():
    return chapter.stored(chapter.MEASURED["untrained"])


@pytest.fixture(scope="module")
def small():
    """A small network that nobody trained, and what it makes of three drawings."""
    torch.manual_seed(0)
    model = create_model("crate_nano", dim=32, depth=2, num_classes=5).eval()
    images = data.load("embedded", "test", n=3).images
    return model, images, record(model, images, chapter.PLACES)


def test_all_trainings_are_measured_alike_on_pictures_they_never_saw(trainings, control):
    assert chapter.NETWORK in trainings
    assert len(trainings) >= 3
    assert all(
        not r["untrained"] and r["data"].endswith("/val") and r["images"] >= 500 for r in trainings.values()
    )
    assert all(len(r["layers"]) == len(control["layers"]) for r in trainings.values())
    assert control["untrained"]


def test_what_the_page_says_of_attention_is_true_of_all_trainings(trainings, control):
    """If a training turns this round, the page must be written anew."""
    facts = chapter.answer_facts(trainings, control)
    unit = chapter.by_layer(trainings, lambda r: chapter.mean(r, "Rc", "compress", "token"))
    assert ((unit < 0).sum(1) >= unit.shape[1] - 1).all(), "“nearly every layer of every training”"
    assert 0 < facts["raw_up_low"] < facts["raw_up_high"] < facts["layers"], "“it depends on the layer”"
    raw = chapter.by_layer(trainings, lambda r: chapter.mean(r, "Rc", "compress"))
    assert len({tuple(one) for one in raw > 0}) == len(raw), "“no two trainings agree on the layers”"
    assert facts["raw_sum_up"] == facts["trainings"], "“summed over layers the rate rises”"
    assert facts["raw_last_low"] > 10, "“the last layer raises it”"
    assert facts["turn_down"] >= 0.9 * facts["pairs"]
    assert facts["stretch_up"] >= 0.9 * facts["pairs"]
    assert facts["cosine"] < 0.2, "“nearly at a right angle”"
    assert facts["back_up"] == facts["pairs"], "“either way tokens get longer”"
    assert facts["times_low"] > 5, "“about a tenth”"


def test_what_the_page_says_of_ista_is_true_of_all_trainings(trainings, control):
    facts = chapter.sparsity_facts(trainings, control)
    assert facts["zeros_low"] > 0.5, "“more than half of all entries”"
    assert facts["untrained_low"] > 0.5, "“and did not have to learn it”"
    assert facts["fewer_last"] == len(chapter.alike(trainings, control)), "“always in the last one”"
    assert 0 < facts["back_low"] <= facts["back_high"] < 1, "“gives back a part”"


def test_what_the_page_says_of_curves_and_bases(trainings, control):
    facts = chapter.curve_facts(trainings, control)
    n = facts["trainings"]
    assert (
        facts["released_falls"] == facts["released_ups"] == facts["caption_rises"] == facts["unit_falls"] == n
    )
    assert facts["before_last"] > facts["before_first"], "“untrained it rises”"
    bases = chapter.bases_facts(trainings, control)
    assert bases["bent_more"] == bases["alike"] >= 3
    signs = chapter.alignment_facts(trainings, control)
    assert signs["aligned_high"] < -signs["aligned_before_most"], "“learning leans to the minus”"


def test_the_tied_minus_lowers_the_rate_by_both_readings_in_every_training():
    for normalise in ("none", "token"):
        changes = chapter.ends("tied, minus", lambda p, n=normalise: chapter.change(p, normalise=n))
        assert len(changes) >= 3
        assert (changes < 0).all()
    assert (chapter.ends("tied, minus", chapter.descent) > 0.1).all(), "“goes downhill”"
    for name in ("free", "tied"):
        assert (chapter.ends(name, chapter.descent) < 0.01).all(), "“the only one without the factor”"
    facts = chapter.variant_facts()
    assert facts["clear"]
    assert facts["minus_everywhere"] == "every"
    assert facts["same_function"] < 1e-3
    starts = [chapter.ends(name, chapter.change, index=0) for name in ("tied", "tied, factor")]
    assert starts[0].min() > 0 > starts[1].max(), "“two answers for one function”"


def test_a_training_that_says_otherwise_changes_the_verdict(trainings, control):
    """The table is read off the measurements: with its changes turned round, attention lowers no rate."""

    def turned_round(result):
        changes = {
            key: steps
            | {
                "compress": steps["compress"]
                | {"Rc": {k: (-np.array(v)).tolist() for k, v in steps["compress"]["Rc"].items()}}
            }
            for key, steps in result["changes"].items()
        }
        return dict(result) | {"changes": changes}

    def verdicts(results):
        return {row["claim"]: row["true?"] for row in chapter.truth_rows(results, control)}

    claim = "Attention lowers $R^c$ at length one"
    assert verdicts(trainings)[claim] == "**yes**"
    assert verdicts({name: turned_round(r) for name, r in trainings.items()})[claim] == "**no**"
    assert [chapter._verdict(k, 10) for k in (10, 9, 5, 1, 0)] == ["yes", "yes", "not in general", "no", "no"]


def test_a_cosine_along_the_sphere_is_one_for_a_step_straight_downhill(small):
    model, _, seen = small
    moved = {"tokens_in": [], "tokens_mid": []}
    for layer, block in enumerate(model.blocks):
        Z = F.normalize(seen["tokens_in"][layer].double(), dim=-1).requires_grad_()
        rate = compression_rate(Z, block.attention.U.detach().double(), chapter.EPS_SQ).sum()
        (slope,) = torch.autograd.grad(rate, Z)
        moved["tokens_in"].append(Z.detach())
        moved["tokens_mid"].append((Z - 1e-5 * slope).detach())
    assert chapter.sphere_cosines(model, Record(moved)) == pytest.approx([1] * len(model.blocks), abs=1e-3)


def test_the_common_part_and_the_rest_are_the_whole_move(small):
    model, _, seen = small
    parts = chapter.common_part(model, seen)
    assert all(0 < share < 1 for share in parts["energy"])
    assert set(parts) == {"energy", "common forwards", "common backwards", "rest forwards", "rest backwards"}
    facts = chapter.common_facts(model, seen)
    assert 0 <= facts["energy_low"] <= facts["energy_high"] <= 1
    assert facts["layers"] == len(model.blocks)


def test_the_playground_gets_the_spectra_of_both_networks(small):
    model, images, seen = small
    shown = chapter.playground_spectra({"one": model}, images[:1])
    spectra = shown["models"]["one"]["spectra"]["none"]["before"][0][0]
    Zk = seen["tokens_in"][0][0].double() @ model.blocks[0].attention.U[0].detach().double()
    energy = torch.linalg.svdvals(Zk).square() / len(Zk)
    assert spectra[0] == pytest.approx(1000 * float(energy[0].log()), abs=2)
    assert len(spectra) == shown["p"]


def test_kendalls_tau_counts_pairs():
    assert chapter.kendall(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0])) == 1
    assert chapter.kendall(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])) == -1
    assert chapter.kendall(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])) == pytest.approx(1 / 3)


def test_figures_and_tables_are_drawn(trainings, control):
    drawn = [
        chapter.answer_figure(trainings, control),
        chapter.turn_figure(trainings),
        chapter.variant_figure(),
        chapter.definitions_figure(trainings, control),
        chapter.along_training(),
    ]
    assert all(isinstance(figure, Figure) and figure.axes for figure in drawn)
    assert len(chapter.training_rows(trainings)) == len(trainings)
    assert chapter.vit_facts(trainings)["vit_down"] > 0
    assert len(chapter.variant_rows()) == len(chapter.VARIANTS)
