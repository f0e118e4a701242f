"""Chapter 00: every training is shown, its sentences follow the numbers, the paper's numbers are the paper's."""

from __future__ import annotations

import json

import torch
from matplotlib.figure import Figure
from scoreboard import COARSE

from crate_mini import data, results
from crate_mini.chapters import chapter_00 as chapter
from crate_mini.chapters import front_page
from crate_mini.chapters.family import FAMILY


def scored(crate, vit, middle=0.7, title="horses"):
    untrained = {"CRATE": [0.5], "ViT": [0.5]}
    return chapter.Scored(title, 9, {"CRATE": crate, "ViT": vit}, untrained, middle, "Not decided.")


def test_the_headline_holds_for_all_trainings_or_says_which():
    assert chapter.headline([scored([0.8, 0.9], [0.8])]) == "It looks at the thing, in every training."
    one_less = [scored([0.8, 0.9], [0.8]), scored([0.8, 0.9], [0.8, 0.6])]
    assert chapter.headline(one_less).endswith("every training of CRATE.")
    assert chapter.headline([scored([0.6], [0.8])]).endswith("every training of the ViT.")
    assert chapter.headline([scored([0.6], [0.6])]).startswith("In some trainings")


def test_all_trainings_and_controls_are_there():
    found = chapter.sets()
    assert [one.title for one in found][:2] == ["cats and dogs", "horses"]
    for one in found:
        assert set(one.trained) == set(FAMILY)
        assert min(map(len, one.trained.values())) >= 2, "no claim from one training a side"
        assert all(one.untrained.values())
        assert 0.5 < one.middle < 1
    assert isinstance(chapter.trainings_figure(found), Figure)


def test_voc_comes_in_when_it_was_scored(tmp_path, monkeypatch):
    folder = tmp_path / "family"
    folder.mkdir()
    monkeypatch.setattr(results, "folder", lambda: tmp_path)
    monkeypatch.setattr(results, "read", lambda name: json.loads((tmp_path / f"{name}.json").read_text()))
    assert chapter.scored_voc() is None
    for kind, score in (("CRATE", 0.9), ("ViT", 0.8), ("CRATE, untrained", 0.6)):
        row = {"images": 78, "score": [score, 0, 1], "centre": [0.75, 0, 1]}
        (folder / f"{kind}.json").write_text(json.dumps({"kind": kind, "scores": {front_page.UNSEEN: row}}))
    line = {"score": front_page.UNSEEN, "differs": True}
    (folder / "comparisons.json").write_text(json.dumps({"comparisons": [line]}))
    voc = chapter.scored_voc()
    assert (voc.images, voc.trained, voc.middle) == (78, {"CRATE": [0.9], "ViT": [0.8]}, 0.75)
    assert voc.untrained == {"CRATE": [0.6], "ViT": []}
    assert voc.verdict == "CRATE is ahead."
    said = chapter.unseen([voc])
    assert "78 photographs" in said
    assert "CRATE has 90 %, the ViT 80 % and the middle 75 %" in said
    assert chapter.unseen([]) == ""


def test_what_the_maps_show_is_counted_beside_what_learned_nothing():
    two = [scored([0.8, 0.9], [0.6]), scored([0.6, 0.8], [0.75], title="pets")]
    said = chapter.maps_sentence(two)
    assert said.startswith("On all these photographs every trained network")
    assert "on horses 2 of 2 CRATEs and 0 of 1 ViTs; on pets 1 of 2 CRATEs and 1 of 1 ViTs." in said
    assert chapter.maps_sentence([scored([0.8, 0.4], [0.6])]).startswith("Not every trained network")


def test_numbers_of_the_page():
    told = chapter.facts()
    assert {"pets_fresh", "horses_fresh", "headline", "cosine"} <= set(told)
    assert 0 < told["cosine"] < 0.2, "“next to nothing of the derived direction”"
    assert told["layers_down"] >= 0.75 * told["layers"] > 0, "“still lowers the rate”"
    assert float(told["voc_ellipse"]) > told["paper_crate"] > told["paper_vit"], "“less than the ellipse”"
    for name, value in chapter.PAPER.items():
        assert COARSE[name] == value


def test_the_viewer_opens_with_the_picture_of_the_front_page(monkeypatch):
    few = data.load("embedded", "test", n=12, seed=1, image_size=32)
    monkeypatch.setattr(front_page, "drawings", lambda: few)
    pictures, titles, masks = chapter.viewed()
    assert torch.equal(pictures[0], few.images[front_page.shown()["picture"]])
    assert len(pictures) == len(set(titles)) == len(masks)
