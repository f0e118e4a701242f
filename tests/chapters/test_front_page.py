"""The front page: its numbers come from results, its sentences are true of them, its picture is not the best one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sphinx_front
import torch
from scoreboard import COARSE

from crate_mini import stats, weights
from crate_mini.chapters import chapter_00, chapter_09b, chapter_10, front_page
from crate_mini.chapters.family import FAMILY, WIDE
from crate_mini.segmentation import score_images

INTRO = (Path(__file__).resolve().parents[2] / "book" / "intro.md").read_text(encoding="utf-8")
SHEET = (Path(__file__).resolve().parents[2] / "book" / "summary_sheet.md").read_text(encoding="utf-8")
FIELD = re.compile(r"{{ (\w+) }}")


@pytest.fixture(scope="module")
def told() -> dict[str, str]:
    return front_page.facts() | sphinx_front.paper()


def test_every_field_has_a_number_and_every_number_a_field(told):
    assert set(FIELD.findall(INTRO)) == set(told) - {"horses_trainings"}
    assert told["horses_trainings"] == told["pets_trainings"], "the page says it once, for both"


def test_no_number_of_a_result_is_typed_in():
    """Above the doors no digit stands but the name of a size and what lays out the cards."""
    results = FIELD.sub("", INTRO.partition("## Three doors")[0])
    results = re.sub(r"\]\(\S+\)|{[\w:]+}`[^`]*`|^:+.*$|S/8", "", results, flags=re.MULTILINE)
    assert re.findall(r".*\d.*", results) == []


def test_most_trainings_of_crate_and_not_all_are_above_the_middle(told):
    assert (
        "most trainings of CRATE, and not all, have a head that finds animals better than the middle" in INTRO
    )
    for prefix, place in front_page.PHOTOGRAPHS.items():
        of = front_page.scores_on(place)["CRATE"]
        above = sum(100 * score > float(told[f"{prefix}_middle"]) for score in of)
        assert told[f"{prefix}_crate_above"] == f"{above} of {len(of)}"
        assert len(of) / 2 < above < len(of), "rewrite the sentence below the cards"


def test_where_nobody_looked_before_training_shows_and_the_middle_is_ahead(told):
    """Both sentences, that of the front page and that of the summary sheet, for every training."""
    assert "every training is above untrained networks, and below the middle of the picture" in INTRO
    rows = front_page.unseen()
    scores = {kind: [row["score"][0] for row in of] for kind, of in rows.items()}
    for kind in front_page.NETWORKS:
        assert max(scores[f"{kind}, untrained"]) < min(scores[kind]), "rewrite the sentence below the cards"
        assert max(scores[kind]) < rows[kind][0]["centre"][0], "rewrite the sentence below the cards"
    assert "every trained network ranks them above the background better than untrained ones" in SHEET
    assert chapter_00.maps_sentence(chapter_00.sets()).startswith("On all these photographs every trained")


def test_what_came_out_on_the_summary_sheet():
    assert "Not decided by three trainings of each, in any of four comparisons" in SHEET
    planned = chapter_09b.planned()
    assert {line.state for line in planned} == {"does not differ"}, "rewrite the row of the table"
    assert len(planned) == 4
    assert {len(line.scores[kind]) for line in planned for kind in front_page.NETWORKS} == {3}
    assert "nor by three of each at the paper's width, in any of six" in SHEET
    wide = chapter_09b.planned("flagship")
    assert {line.state for line in wide} == {"does not differ"}, "rewrite the row of the table"
    assert len(wide) == 6
    assert {len(line.scores[kind]) for line in wide for kind in front_page.NETWORKS} == {3}
    assert "in every training of both widths. A ViT of as many parameters loses less than a point" in SHEET
    for networks in (FAMILY, WIDE):
        lost = chapter_09b.lost_in_last(chapter_09b.readings(networks))
        assert max(lost["ViT"]) < 1 < 10 < min(lost["CRATE"]), "rewrite the row of the table"
    assert "Less often than one box in the middle, the same for every image, finds them." in SHEET
    assert "no training reaches one box in the middle" in chapter_10.coco_sentence(chapter_10.coco())


def test_it_is_called_undecided_as_long_as_it_is(told):
    """A comparison counts when it stands up to there being two of them; on the page neither does."""
    assert "trainings a side do not decide" in INTRO
    values = [front_page.scores_on(place) for place in front_page.PHOTOGRAPHS.values()]
    p = sorted(stats.welch_test(of["CRATE"], of["ViT"]) for of in values)
    assert p[0] > 0.05 / len(p), "rewrite the sentence below the cards"
    assert {told["pets_verdict"], told["horses_verdict"]} == {"Not decided."}
    assert not front_page.wide()["differs"], "rewrite the sentence below the cards"


def test_what_a_verdict_says():
    assert front_page.verdict(0.2, False) == front_page.verdict(-0.2, False) == "Not decided."
    assert front_page.verdict(0.2, True) == "CRATE is ahead."
    assert front_page.verdict(-0.2, True) == "The ViT is ahead."


def test_the_papers_scores_beside_the_ellipse(told):
    ellipse = [row["scores"]["disc"][0] for row in front_page.readings()]
    assert told["voc_ellipse"] == f"{100 * ellipse[0]:.1f}"
    assert told["paper_crate"] == str(COARSE["CRATE-S/8"])
    above = {kind: int(told[f"paper_{kind}_above"]) for kind in ("crate", "vit")}
    assert 0 <= above["vit"] <= above["crate"] <= len(ellipse) == int(told["voc_readings"])
    assert front_page.above_ellipse(100.0) == told["voc_readings"]
    assert front_page.above_ellipse(0.0) == "0"


def test_the_picture_is_the_one_with_the_median_gap():
    """Of five pictures, whose gaps in the last layer are known, the one in the middle."""
    layers = len(front_page.chosen_heads("CRATE"))
    head = {name: front_page.chosen_heads(name)[-1] for name in front_page.NETWORKS}
    scores = {name: torch.full((5, layers, 6), 0.5) for name in front_page.NETWORKS}
    gaps = torch.tensor([0.3, -0.1, 0.05, 0.2, 0.0])
    scores["CRATE"][:, -1, head["CRATE"]] += gaps
    found = front_page.measure(scores, torch.linspace(0.5, 0.9, 5))
    assert found["picture"] == 2
    assert found["median_gap"] == pytest.approx(0.05, abs=1e-4)
    assert found["middle"] == pytest.approx(0.7, abs=1e-4)
    assert found["scores"]["CRATE"] == [0.5] * (layers - 1) + [0.55]


def test_what_was_measured_of_it_is_so():
    """The scores that the page says, again."""
    found, pictures = front_page.shown(), front_page.drawings()
    assert (found["pictures"], found["rule"]) == (len(pictures), front_page.RULE)
    one = pictures.subset([found["picture"]])
    for name, file in front_page.NETWORKS.items():
        assert found["heads"][name] == front_page.chosen_heads(name)
        scores = score_images(weights.load_pretrained(file), one, rule=front_page.RULE)
        by_layer = scores[f"heads/{front_page.RULE}"][0]
        chosen = [float(by_layer[layer, head]) for layer, head in enumerate(found["heads"][name])]
        assert found["scores"][name] == pytest.approx(chosen, abs=2e-3)
    assert found["middle"] == pytest.approx(float(scores[f"centre/{front_page.RULE}"][0]), abs=1e-4)
