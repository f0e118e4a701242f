"""Chapter 12: which names all trainings have, what is left after each test, and what the page may say of it."""

from __future__ import annotations

import copy

import pytest
import torch
from matplotlib.figure import Figure

from crate_mini import data, heads
from crate_mini.chapters import chapter_12 as chapter


def named(part, earned=True, layer=0, head=0, **more):
    about = {"layer": layer, "head": head, "part": part, "auroc": 0.8, "mass": 0.2, "area": 0.1}
    return about | {"earned": earned, "strongest_on": 0.5, "strongest_ground": 0.3} | more


def row(model, seed, names, trained=True, **more):
    without = {
        "right": 0.5, "cost": [[0.1, 0.0], [0.02, -0.01]], "low": [[0.05, -0.1], [-0.01, -0.1]],
        "telling": ["horn", "fin"], "rho": 0.1, "p": 0.4,
    }  # fmt: skip
    counts = {
        "pairs": 8,
        "above": 4,
        "looks": 3,
        "rare": len(names),
        "earned": sum(n["earned"] for n in names),
    }
    return {
        "name": f"{model}_{'' if trained else 'untrained_'}s{seed}", "model": model, "seed": seed,
        "trained": trained, "named": names, "correlation": 0.8, "reported": [0.7, 0.6],
        "known": {"pictures": 1.0, "classes": 0.9, "mixed": 0.25}, "without": without,
    } | counts | more  # fmt: skip


@pytest.fixture
def found():
    rows = [
        row("crate_nano", 0, [named("leg", strongest_on=0.4), named("fin", earned=False, layer=1)]),
        row("crate_nano", 1, [named("leg", mass=0.4), named("neck", layer=1, head=1)], above=6),
        row("vit_nano", 0, [named("ear")]),
        row("vit_nano", 1, [named("ear"), named("leg", layer=1)]),
        row("crate_nano", 0, [], trained=False, above=2),
        row("vit_nano", 0, [], trained=False, above=1),
    ]
    alike = [
        {"pair": ["crate_nano_s0", "crate_nano_s1"], "matched": [0.5, 0.2], "random_high": [0.4, 0.3]},
        {"pair": ["crate_nano_s0", "crate_nano_untrained_s0"], "matched": [0.1, 0.2], "random_high": [0.4, 0.3]},
        {"pair": ["crate_nano_s1", "crate_nano_untrained_s0"], "matched": [0.5, 0.2], "random_high": [0.4, 0.3]},
    ]  # fmt: skip
    return {
        "networks": rows, "alike": alike, "parts": ["leg", "neck"], "pool": [[0.1, 0.2]] * 2,
        "drawings": {"pictures": 7, "named": 9},
    }  # fmt: skip


def test_names_are_counted_over_trainings(found):
    facts = chapter.answer_facts(found)
    assert (facts["often"], facts["often_in"]) == ("leg", 2)
    assert [facts[key] for key in ("with_names", "vits_with_names", "most_names", "heads")] == [2, 2, 2, 4]
    assert facts["lost"] == 1, "the fin"
    assert (facts["above_low"], facts["above_high"]) == (0.5, 0.75)
    assert facts["fresh_above_high"] == 0.25
    assert (facts["on_low"], facts["on_high"]) == (0.4, 0.5), "of all names that CRATE has"
    assert facts["lift_high"] == pytest.approx(4)
    assert chapter.how_often(found["networks"][2:4]) == {"ear": 2, "leg": 1}


def test_a_training_without_a_name_counts(found):
    other = copy.deepcopy(found)
    other["networks"][1]["named"] = [named("neck", earned=False)]
    facts = chapter.answer_facts(other)
    assert (facts["crates"], facts["with_names"], facts["often_in"]) == (2, 1, 1)
    assert chapter.name_rows(other)[0]["without a name"] == "1 of 2"


def test_heads_of_two_trainings_and_of_none(found):
    facts = chapter.stay_facts(found)
    assert (facts["among_alike"], facts["among_of"]) == (1, 2)
    assert (facts["beside_alike"], facts["beside_of"]) == (1, 4)
    assert (facts["classes_low"], facts["mixed_high"]) == (0.9, 0.25)
    assert (facts["pictures_known"], facts["classes_known"]) == ("100 %", "90.0 % or more")


def test_what_silence_costs(found):
    found["networks"][1]["without"] = found["networks"][1]["without"] | {"p": 0.001, "rho": -0.3}
    facts = chapter.silence_facts(found)
    assert (facts["needed_low"], facts["needed_high"]) == (1, 1)
    assert facts["most_high"] == pytest.approx(10)
    assert (facts["named_low"], facts["named_high"]) == (pytest.approx(-1), pytest.approx(10))
    assert (facts["with_names"], facts["missed_named"]) == (2, 2)
    assert facts["rho_low"] == -0.3
    assert [facts[f"rho_{key}"] for key in ("positive", "above", "below")] == [1, 0, 1]


def test_rows(found):
    rows = [list(row.values()) for row in chapter.name_rows(found)]
    assert rows == [
        ["CRATE", "leg 2, neck 1", "0 of 2"],
        ["ViT", "ear 2, leg 1", "0 of 2"],
        ["untrained", "–", "2 of 2"],
    ], "what is not earned, the fin, is not named"


def test_figures_of_measurements(found):
    lines = chapter.tests_figure(found).axes[0].lines
    assert sorted(list(line.get_ydata())[-1] for line in lines) == [0, 0, 1, 1, 2, 2]
    left, right = chapter.alike_figure(found).axes
    assert (len(left.lines), len(right.lines)) == (2, 4)
    assert len(chapter.cost_figure(found).axes) == 2


@pytest.fixture(scope="module")
def pictures():
    return data.load("embedded", "test", n=60, image_size=64, seed=12)


def test_the_viewer_shows_the_part_that_it_names(pictures):
    found = chapter.viewer_settings(
        pictures, [named("leg", earned=False, layer=1), named("leg", layer=2, head=3)]
    )
    assert (found["layer"], found["head"]) == (2, 3), "the first that earned its name"
    for image, title, mask in zip(found["images"], found["titles"], found["masks"], strict=True):
        kind, part = title.split(": ")
        i = next(j for j, one in enumerate(pictures.images) if torch.equal(one, image))
        assert pictures.classes[int(pictures.labels[i])] == kind
        assert torch.equal(mask.bool(), pictures.parts[i] == pictures.part_names.index(part))
        assert mask.any()


def test_figures_of_pictures(pictures):
    maps = torch.randn(60, 2, 3, 64)
    pixels = heads.pixel_counts(pictures.parts, 8, len(pictures.part_names))
    scores = heads.mean_seen(heads.part_scores(maps, pixels))
    parts = pictures.part_names[1:]
    assert isinstance(chapter.opening_figure(pictures, maps, 1), Figure)
    framed = torch.zeros_like(scores, dtype=torch.bool)
    framed[1, 2, 3] = True
    assert len(chapter.score_figure(scores, parts, framed).axes[0].patches) == 1
    assert len(chapter.own_and_other_figure(scores, scores, parts).axes[0].collections) == len(parts)
    measured = row("crate_nano", 3, [named("leg", layer=1, head=2), named("fin", earned=False)])
    shown = chapter.strongest_figure(pictures, maps, measured, count=4)
    assert len(shown.axes) == 4, "a row for each name that was earned"


class TestOfThePage:
    """What the sentences say that are not numbers."""

    def test_before_training_no_head_has_a_name(self):
        assert chapter.answer_facts(chapter.measured())["fresh_named"] == 0

    def test_there_are_trainings_to_speak_of(self):
        facts = chapter.answer_facts(chapter.measured())
        assert facts["crates"] == facts["vits"] == 8, "the page says eight times each"
        assert facts["fresh"] == 4
        assert 0 < facts["with_names"] < facts["crates"], "in one training legs, in another no name"
        assert facts["often"] == "leg", "of which the page speaks"
        assert facts["lost"] == 0, "the page says that the fourth test had nothing to refuse"
        row, other = (chapter.row_of(chapter.measured(), name) for name in (chapter.NETWORK, chapter.OTHER))
        assert (1, 2, "leg") in [(n["layer"], n["head"], n["part"]) for n in row["named"] if n["earned"]], (
            "silenced"
        )
        assert not chapter.names_of(other), "the page says that it has none"

    def test_what_the_page_says_of_its_first_edition(self):
        before = chapter.networks(chapter.first_edition(), "crate_nano")
        assert len(before) == 3
        assert all("leg" in chapter.names_of(row) for row in before)

    def test_where_a_head_looks_does_not_say_what_it_is_for(self):
        facts = chapter.silence_facts(chapter.measured())
        assert facts["rho_above"] == 0
        assert 0 < facts["rho_positive"] < facts["trained"], "in some above nothing, in others below"

    def test_heads_are_known_again(self):
        facts = chapter.stay_facts(chapter.measured())
        assert min(facts["pictures_low"], facts["classes_low"]) > 0.9
        assert facts["mixed_high"] < 0.35
        assert facts["among_alike"] > facts["among_of"] / 2
