"""Chapter 08: its scores are those of the package, its pictures are not the best ones, its sentences follow numbers."""

from __future__ import annotations

import pytest
import torch
from matplotlib.figure import Figure

from crate_mini.chapters import chapter_08 as chapter
from crate_mini.chapters.family import SHOWN
from crate_mini.checkpoints import load_pretrained
from crate_mini.model import create_model
from crate_mini.segmentation import iou, score_images
from crate_mini.segmentation.evaluation import untrained_twin


@pytest.fixture(scope="module", autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def page():
    """What the page looks at, with the trainings that are shown alone, and fewer other drawings."""
    drawn, others = chapter.drawings(), chapter.choices().subset(range(20))
    looked = [chapter.look(kind, name, load_pretrained(name), drawn, others) for kind, name in SHOWN.items()]
    twin = untrained_twin(looked[0].model)
    return drawn, [*looked, chapter.look("CRATE", "untrained", twin, drawn, others)]


def looked(kind, name, *scores, others=0.0):
    """A network of two layers of two heads; the chosen one has these scores, all others have one score."""
    auroc = torch.full((len(scores), 2, 2), float(others))
    auroc[:, 1, 0] = torch.tensor(scores)
    return chapter.Looked(
        kind, name, create_model("crate_nano", depth=1), 1, 0, torch.rand(len(scores), 2, 2, 4, 4), auroc
    )


# ---- what the page says ---------------------------------------------------------------------------------------------


def test_what_trainings_allow_to_say():
    assert chapter.told_apart([0.9], [0.1, 0.2]).endswith(
        "one training a side says nothing about architectures."
    )
    assert chapter.told_apart([0.9, 0.8, 0.7], [0.8, 0.7, 0.75]).endswith("not decided.")
    ahead = chapter.told_apart([0.9, 0.91, 0.92], [0.7, 0.71, 0.72])
    assert ahead.startswith("On these drawings CRATE minus ViT is +20.0 points (+17.")
    assert ahead.endswith(": CRATE is ahead.")
    assert chapter.told_apart([0.7, 0.71], [0.9, 0.91]).endswith("the ViT is ahead.")


def test_sentences_follow_the_numbers():
    assert chapter.headline(6, 6).startswith("In every training one head")
    assert chapter.headline(2, 6).startswith("In 2 of 6 trainings")
    assert chapter.headline(0, 6).startswith("In no training")
    good, bad = looked("CRATE", "a", 0.9, 0.9), looked("ViT", "b", 0.6, 0.6)
    fresh = looked("CRATE", "untrained", 0.5, 0.5, others=0.7)
    assert chapter.picking_beats([fresh], [good, bad]).startswith("more than the chosen heads of 1 of the 2")
    assert chapter.picking_beats([fresh], [bad]) == "more than the chosen head of any training has"
    assert "still below" in chapter.picking_beats([fresh], [good])
    assert chapter.link_says(0.1) == "sharpness says little of the score"
    assert chapter.link_says(0.5).endswith("higher")
    assert chapter.link_says(-0.5).endswith("lower")
    kept = {"crate_kept": 0.5, "vit_kept": 0.6}
    assert "proves little" in chapter.noise_says(kept | {"vit_fresh_kept": 0.55})
    assert "survive less" in chapter.noise_says(kept | {"vit_fresh_kept": 0.4})
    first = {"crate_first": 0.8, "vit_first": 0.7}
    assert chapter.component_says(first | {"middle_here": 0.9}) == "Neither network is above the middle."
    assert chapter.component_says(first | {"middle_here": 0.75}) == "Only CRATE is above the middle."
    assert chapter.component_says(first | {"middle_here": 0.6}) == "Both networks are above the middle."
    assert chapter.span([0.811, 0.812]) == "0.81"
    assert chapter.span([0.9, 0.81]) == "0.81 to 0.90"


def test_the_answer_counts_trainings_above_the_middle():
    masks = torch.zeros(2, 16, 16, dtype=torch.uint8)
    masks[:, 4:12, 4:12] = 1
    middle = float(chapter.middle_scores(masks)["auroc"].mean())
    assert 0.9 < middle < 1
    every = [
        looked("CRATE", "a", middle + 0.01, middle + 0.01),
        looked("CRATE", "b", middle - 0.01, middle - 0.01),
        looked("CRATE", "untrained", 0.5, 0.5, others=0.8),
        looked("ViT", "c", 0.6, 0.8),
        looked("ViT", "d", 0.6, 0.84),
        looked("ViT", "untrained", 0.4, 0.4, others=0.7),
    ]
    facts = chapter.answer_facts(every, masks)
    assert (facts["crate_above"], facts["crates"], facts["vit_above"], facts["vits"]) == (1, 2, 0, 2)
    assert facts["headline"].startswith("In 1 of 4 trainings")
    assert facts["vit"] == "0.70 to 0.72"
    assert (facts["fresh"], facts["fresh_picked"]) == ("0.40 to 0.50", "0.70 to 0.80")
    assert facts["heads"] == 4
    assert chapter.shown(every)["ViT"].name == "c", "the first, whatever the others say"


def test_what_finer_maps_do_on_photographs():
    def one(*scores):
        ways = ("voc_auroc", "voc_auroc_smooth", "voc_auroc_shifts")
        return {
            "scores": {way: {"images": 78, "score": [s, 0, 1]} for way, s in zip(ways, scores, strict=True)}
        }

    assert chapter.finer_on_photographs([one(0.70, 0.72, 0.715), one(0.60, 0.61, 0.63)]) == (
        "On 78 photographs of VOC the mean map of each of the 2 trainings changes by +1.0 to +2.0 points when it is "
        "enlarged, and by another −0.5 to +2.0 points with the shifts."
    )
    assert len(chapter.family_scores()) == sum(map(len, chapter.trainings().values()))


def test_finer_and_gallery_sentences():
    heads = ("map", "CRATE, AUROC", "ViT, AUROC")
    rows = [dict(zip(heads, row, strict=True)) for row in (("a", 0.8, 0.7), ("b", 0.81, 0.68))]
    assert chapter.finer_says(rows) == (
        "The AUROC goes from 0.800 (a) to 0.810 (b) in CRATE, and from 0.700 (a) to 0.680 (b) in the ViT."
    )
    scores = [{"CRATE": 0.9, "ViT": 0.8, "middle": 0.85}, {"CRATE": 0.6, "ViT": 0.7, "middle": 0.5}]
    pixels = torch.zeros(3, 8, 8, dtype=torch.uint8)
    entries = [chapter.Entry("a", pixels, pixels[0], {}, {k: (v, 0.0) for k, v in s.items()}) for s in scores]
    facts = chapter.gallery_facts(entries)
    assert (facts["crate_behind_middle"], facts["vit_behind_middle"], facts["crate_behind_vit"]) == (0, 1, 1)


# ---- scores and pictures --------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_package():
    """The page's short way against the long one of :mod:`crate_mini.segmentation`."""
    torch.manual_seed(0)
    model = create_model("crate_nano", num_classes=3).eval()
    drawn, others = chapter.drawings(4, 64), chapter.choices().subset(range(4))
    found = chapter.look("CRATE", "a", model, drawn, others)
    scores = score_images(model, drawn, rule="auroc", progress=False)
    torch.testing.assert_close(found.auroc, scores["heads/auroc"], atol=1e-5, rtol=0)
    elsewhere = score_images(model, others, rule="auroc", progress=False)["heads/auroc"].mean(0)
    assert elsewhere[found.layer, found.head] == elsewhere.max()
    assert (found.picked >= found.chosen).all()
    centre = chapter.middle_scores(drawn.masks)["auroc"]
    torch.testing.assert_close(centre, scores["centre/auroc"], atol=1e-5, rtol=0)


def test_the_mask_of_the_gallery_is_the_best_one(page):
    drawn, (crate, *_) = page
    for i in range(3):
        attention = crate.maps[i, 7, 1]
        mask = chapter.best_mask(attention, drawn.masks[i])
        large = mask.repeat_interleave(8, 0).repeat_interleave(8, 1)
        best = chapter.map_scores(attention[None], drawn.masks[i : i + 1])["best_iou"]
        torch.testing.assert_close(iou(large, drawn.masks[i])[None], best)


def test_the_page_opens_with_a_picture_near_the_median_gap(page):
    _, looked = page
    gaps = chapter.gaps(looked)
    picture = chapter.opening(looked)
    assert abs(gaps[picture] - gaps.median()) <= 0.005
    below = int((gaps < gaps[picture]).sum())
    assert abs(below - len(gaps) / 2) <= 1, "as many drawings have a smaller gap as have a larger one"


def test_the_gallery_leaves_nothing_out(page):
    drawn, looked = page
    entries = chapter.gallery(looked, drawn)
    names = {drawn.classes[int(drawn.labels[i])] for i in range(12 - len(chapter.OUTLINES))}
    assert len(entries) == 12
    assert {e.title.removeprefix("a drawn ") for e in entries} == names | set(chapter.NAMES.values())
    scores = [entry.scores["CRATE"][0] for entry in entries]
    assert scores == sorted(scores, reverse=True)
    assert isinstance(chapter.gallery_figure(entries), Figure)


def test_outlines_by_hand_grow_with_the_photograph():
    for name in chapter.OUTLINES:
        _, small = chapter.outlined(name, 80)
        image, large = chapter.outlined(name, 160)
        assert image.shape[-2:] == large.shape == (160, 160)
        assert 0.02 < large.float().mean() < 0.6
        assert small.float().mean() == pytest.approx(float(large.float().mean()), rel=0.1)


def test_every_figure_is_drawn_and_every_fact_is_a_number(page):
    drawn, looked = page
    i = chapter.opening(looked)
    index = chapter.few_with(i, 3)
    assert index[0] == i
    assert len(set(index)) == 3
    finer = {kind: chapter.finer(one, drawn, index) for kind, one in chapter.shown(looked).items()}
    rows = chapter.finer_rows(finer, drawn.masks[index])
    assert len(rows) == 3
    assert all(0.3 < v < 1 for row in rows for k, v in row.items() if k != "map")
    for drawn_figure in (
        chapter.every_head_figure(looked, i),
        chapter.finer_figure(looked, drawn, i, finer),
        chapter.lit_figure(looked, drawn, i),
        chapter.colours_figure(looked, drawn),
    ):
        assert isinstance(drawn_figure, Figure)
    facts = chapter.noise_facts(looked, drawn) | chapter.component_facts(looked, drawn)
    assert {"crate_kept", "vit_after", "crate_fresh_floor", "crate_first", "vit_first"} <= set(facts)
    assert all(isinstance(v, str) or torch.isfinite(torch.tensor(float(v))) for v in facts.values())
    pictures, titles, masks = chapter.viewer_pictures(drawn, i)
    assert len(pictures) == len(titles) == len(masks) == 8
    assert torch.equal(pictures[0], drawn.images[i])
    settings = chapter.viewer_settings(looked, drawn, i)
    assert settings["layer"] == {(one.kind, "training 1"): one.layer for one in looked[:2]}
    again = chapter.viewer_settings([*looked[:2], *looked[:2], *looked[:2]], drawn, i)
    assert [list(found) for found in again["models"].values()] == [["training 1", "training 2"]] * 2
    told = chapter.spread_facts(looked)
    assert told["all_heads"] == 2 * 48
    play = chapter.temperature_data(looked, drawn, i)
    assert len(play["heads"]) == 12
    assert len(play["objects"]) == len(play["heads"][0]["scores"]) == play["side"] ** 2
