"""Chapter 9: masks of one map by hand, what a temperature moves, and what the page says that is no number."""

from __future__ import annotations

import pytest
import torch
from scoreboard import COARSE

from crate_mini.chapters import chapter_09 as chapter
from crate_mini.segmentation import score_maps


def test_masks_of_one_map():
    one = torch.tensor([[0.4, 0.3], [0.2, 0.1]])
    objects = torch.tensor([4, 2, 0, 0])
    hits, misses = objects.cumsum(0), (4 - objects).cumsum(0)
    overlap = hits / (objects.sum() + misses)
    kept = chapter.masks_of(one, overlap, objects, 4)
    assert kept == {"best": 2, "equal area": 2, "paper's rule": 2, "DINO's rule": 2}
    flat = torch.full((2, 2), 0.25)
    assert chapter.masks_of(flat, overlap, objects, 4)["DINO's rule"] == 3, (
        "the area follows from the sharpness"
    )
    scores = {rule: torch.rand(3, 2) for rule in chapter.RULES}
    facts = chapter.map_facts(scores, (2, 1), overlap, kept)
    assert facts["ap"] == pytest.approx(float(scores["ap"][2, 1]))
    assert facts["equal"] == pytest.approx(6 / 8)


def test_a_temperature_moves_sharpness_alone():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(5, 4, 4, generator=generator).flatten(1).softmax(1).view(5, 4, 4)
    counts = (
        torch.randint(0, 9, (5, 16), generator=generator),
        torch.randint(1, 9, (5, 16), generator=generator),
    )
    own, cold, hot = chapter.temperature_points(maps, counts, (1.0, 0.05, 40.0))
    assert own[1] == pytest.approx(float(score_maps(maps.flatten(1).double(), *counts)["mass"].mean()))
    assert cold[0] < own[0] < hot[0] <= 1 + 1e-6
    moved = (maps.log() / 7).flatten(1).softmax(1)
    before, after = (score_maps(m, *counts) for m in (maps.flatten(1), moved))
    for rule in ("auroc", "ap", "best_iou", "patch"):
        assert torch.allclose(before[rule], after[rule]), rule


def test_what_the_best_temperature_brings():
    points = {"CRATE": [(0.4, 0.5), (0.1, 0.2), (0.7, 0.6)], "ViT": [(0.3, 0.4), (0.5, 0.35)]}
    facts = chapter.sharpness_facts(points)
    assert (facts["crate_best"], facts["vit_best"]) == (60, 40)
    assert (facts["least_gain"], facts["most_gain"]) == (pytest.approx(0), pytest.approx(10))


def test_a_difference_from_the_file_is_found():
    kept = {"rules": {rule: {"heads": [[0.5, 0.6]]} for rule in chapter.RULES}}
    live = {"rules": {rule: {"heads": [[0.5, 0.6]]} for rule in chapter.RULES}}
    assert chapter.largest_difference(live, kept) == 0
    live["rules"]["mass"] = {"heads": [[0.5, 0.63]]}
    assert chapter.largest_difference(live, kept) == pytest.approx(0.03)


class TestOfThePage:
    """What the sentences say that are not numbers."""

    def test_the_papers_numbers_are_those_of_the_scoreboard(self):
        asked = ("CRATE-S/8", "ViT-S/8, supervised", "ViT-S/8, DINO")
        assert [COARSE[name] for name in asked] == list(chapter.PAPER.values())

    def test_the_ellipse_is_above_crate_and_the_vit_below_chance(self):
        facts = chapter.answer_facts()
        assert facts["paper_vit"] < facts["random"] < facts["best_of_6_random"] < facts["paper_crate"]
        assert facts["paper_crate"] < facts["disc"] < facts["ceiling"] < 50
        floors = chapter.floor_facts()
        assert floors["crate_over_six"] > floors["readings"] / 2, "by most readings above chance"
        assert floors["crate_over_disc"] < floors["readings"] / 2
        assert floors["ceiling_low"] < facts["ceiling"] < floors["ceiling_high"]

    def test_every_control_of_a_row_is_by_its_own_rule(self):
        rows = {row["%"]: row for row in chapter.rule_rows()}
        assert list(rows) == list(chapter.RULES.values())
        assert rows["AUROC"]["whole image"] == 50
        assert rows["AUROC"]["shuffled"] == pytest.approx(50, abs=1)
        assert rows["the paper's rule"]["whole image"] == rows["DINO's rule"]["whole image"]
        assert rows["AUROC"]["disc"] > rows["best IoU"]["disc"] > rows["the paper's rule"]["disc"]

    def test_much_of_a_good_score_is_the_middle(self):
        facts = chapter.answer_facts()
        assert facts["trainings"] >= 2
        assert 50 < facts["elsewhere"] < facts["auroc"]
        assert facts["middle"] - 50 > 0.5 * (facts["auroc"] - 50)
        seen = chapter.middle_facts()
        assert (
            min(seen[f"{place}_{kind}_low"] for place in ("pets", "horses") for kind in ("crate", "vit")) > 0
        )
        assert seen["pets_off"] > 50

    def test_heads_that_differ_are_worth_more_than_luck(self):
        facts = chapter.head_facts()
        assert facts["more"] > 5 * facts["more_by_chance"] > 0
        assert facts["trainings"] >= 2

    def test_figures(self):
        paper = chapter.paper_figure().axes[0]
        assert [tick.get_text() for tick in paper.get_yticklabels()][-1] == "paper: ViT-S/8, DINO"
        lines = [line for line in chapter.heads_figure().axes[0].lines if line.get_linestyle() == "-"]
        assert len(lines) == sum(len(chapter.scored(kind, "pets/test")) for kind in ("CRATE", "ViT"))
        for line in lines:
            assert list(line.get_xdata()) == list(range(1, 7))
