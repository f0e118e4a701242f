"""Chapter 16: its tables and sentences say what the results say, and its page runs what was trained."""

from __future__ import annotations

import pytest
import torch
from matplotlib.figure import Figure

from crate_mini.chapters import chapter_16 as chapter
from crate_mini.results import read


@pytest.fixture(scope="module")
def found():
    return chapter.scores()


@pytest.fixture(scope="module")
def back():
    return chapter.induction()


def test_two_trainings_a_side(found, back):
    for name in chapter.NAMES:
        assert [r["seed"] for r in chapter.of(found, name)] == [0, 1]
    for kind in chapter.INDUCTION:
        assert [r["seed"] for r in chapter.of_kind(back, kind)] == [0, 1]


def test_the_bar(found):
    """Numbers that were computed apart, from the formulas: another split or another count would show."""
    ngrams = [3.347, 2.486, 2.049, 1.774, 1.669, 1.698, 1.779]
    assert found["beside"]["ngrams"] == pytest.approx(ngrams, abs=6e-4)
    assert found["beside"]["bz2"] == pytest.approx(1.662, abs=6e-4)
    (alone,) = chapter.of(found, "crate_text_alone")
    assert alone["loss"] == pytest.approx(found["beside"]["ngrams"][1], abs=0.01), (
        "each token sees itself alone"
    )


def test_what_the_page_says_of_losses(found):
    facts = chapter.loss_facts(found)
    assert facts["passes"] == ["gpt_text"] * 2, (
        "the page says that the GPT passes the counts, and CRATE does not"
    )
    assert facts["trigram"] > facts["crate_loss_most"] > facts["crate_loss_least"] > facts["fivegram"]
    assert facts["gpt_loss_most"] < min(facts["fivegram"], facts["bz2"])
    assert facts["crate_two_loss_least"] > facts["trigram"] > facts["gpt_two_loss_most"] > facts["fourgram"]
    assert (facts["crate_passes"], facts["gpt_passes"], facts["gpt_two_passes"]) == (10, 10, 2)
    rows = chapter.loss_rows(found)
    losses = [float(row["nats a character"].split(",")[0]) for row in rows]
    assert losses == sorted(losses, reverse=True)


def test_what_the_page_says_of_looking_back(found, back):
    facts = chapter.induction_facts(back)
    assert facts["query_mlp_right_least"] > facts["mssa_mlp_right_most"] + 30
    assert facts["query_ista_right_least"] > facts["crate_right_most"] + 10
    assert min(facts["gpt_right_least"], facts["query_mlp_right_least"]) > 95
    assert facts["mssa_mlp_right_least"] > facts["crate_right_most"]
    assert facts["query_mlp_right_least"] > facts["query_ista_right_most"]
    looked = chapter.looking_facts(found)
    assert looked["crate_not_longer_most"] == 0 < looked["crate_prefers_least"]


def test_what_the_page_says_of_units(found):
    facts = chapter.unit_facts(found)
    for row in found["networks"]:
        if "units" in row:
            assert row["rotated"]["mean"] > row["units"]["mean"], (
                "random directions tell more, in every network"
            )
    assert facts["crate_units_least"] > facts["gpt_units_most"]
    assert facts["crate_turned_least"] > facts["gpt_turned_most"]
    assert facts["crate_units_least"] > facts["crate_untrained_units_most"] + 0.05
    assert facts["crate_holds"] == facts["gpt_holds"] == 2
    assert facts["held_ahead_crate"] == facts["held_ahead_gpt"] == 1, "in one training of each, in words"
    assert facts["held_ahead_crate_two"] == 2, "as the page tells of the shorter ones"
    assert len(chapter.held_rows(found)) == 4


def test_figure_and_tables(found, back):
    figure = chapter.induction_figure(back)
    assert isinstance(figure, Figure)
    assert len(figure.axes[0].lines) == 11
    assert len(chapter.loss_figure(found).axes[0].lines) == 6
    assert len(chapter.induction_rows(back)) == len(chapter.INDUCTION)
    assert [row["units of"] for row in chapter.unit_rows(found)] == [shown for _, shown in chapter.UNITS]


def test_the_page_runs_the_training_that_was_scored(found):
    """In half precision: the loss of a part of the text that any machine has is the same to three digits."""
    model, row = chapter.network(), chapter.of(found, "crate_text")[0]
    card = read_card()
    assert card["held_out"]["loss"] == pytest.approx(row["loss"], abs=1e-3)
    data = chapter.play_data(model, chapter.held_units(row))
    assert len(data["weights"]) < 330_000, "characters in the page"
    assert sum(torch.tensor(shape).prod().item() for _, shape in data["tensors"]) == row["parameters"]
    assert len({name for name, *_ in data["held"]}) == len(data["held"]) > 1
    assert read("text/scores")["networks"], "results ship"


def read_card():
    import json
    from importlib import resources

    return json.loads((resources.files("crate_mini") / "weights" / "text" / "crate_text.json").read_text())
