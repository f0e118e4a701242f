"""Chapter 06: its sentences hold for the trainings at hand, and its figures are drawn, on a training of a second."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from crate_mini import data
from crate_mini.chapters import chapter_06 as chapter
from crate_mini.model import CRATEConfig, create_model
from crate_mini.provenance import read_result
from crate_mini.segmentation.evaluation import untrained_twin
from crate_mini.stats import auroc
from crate_mini.training import Recipe, train
from crate_mini.weights import load_pretrained

ROOT = Path(__file__).parents[2]
RECIPE = Recipe(epochs=2, batch_size=16, crop_area=(1.0, 1.0), keep_patches=0.25, warmup_epochs=1)


@pytest.fixture(scope="module")
def watched():
    """A training of a second, its film, and the drawings it was looked at on."""
    images = chapter.drawings("test", 24, 64)
    torch.manual_seed(0)
    model = create_model("crate_nano", dim=32, depth=2, num_classes=len(chapter.FIVE))
    film = chapter.Film(model, images, every=2)
    some = chapter.drawings("train", 40)
    run = train(model, some, chapter.drawings("val", 20), RECIPE, on_epoch=film, progress=False)
    return model, film, run, images


@pytest.fixture(scope="module")
def exam(watched):
    model, _, _, images = watched
    return chapter.examine({"after": model, "before": untrained_twin(model)}, images)


def test_drawings_are_those_of_the_five_kinds_with_their_own_numbers():
    every, some = data.load("embedded", "val", n=30), chapter.drawings("val", 30)
    kept = [i for i, label in enumerate(every.labels) if every.classes[label] in chapter.FIVE]
    assert torch.equal(some.images, every.images[kept])
    assert [some.classes[i] for i in some.labels] == [every.classes[every.labels[i]] for i in kept]
    assert torch.equal(some.masks, every.masks[kept])


def test_a_film_has_a_frame_before_the_first_step_and_scores_by_pixel(watched):
    _, film, _, images = watched
    assert film.epochs == [0, 2]
    assert not torch.equal(film.maps[0], film.maps[1])
    maps = film.maps[1][3, 1, 2]
    value = maps.repeat_interleave(8, 0).repeat_interleave(8, 1).flatten()
    inside = (images.masks[3] == 1).flatten()
    by_pixel = auroc(value.double(), inside.double(), (~inside).double())
    assert float(film.aurocs()[1][3, 1, 2]) == pytest.approx(float(by_pixel), abs=1e-5)
    share = float(value[inside].sum() / value.sum())
    assert float(film.shares()[1][3, 1, 2]) == pytest.approx(share, abs=1e-5)


def test_a_head_is_never_chosen_on_the_images_it_is_measured_on():
    """The head that is best on the even images is worst on the odd ones: cross-fitting must not report the best."""
    values = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]).repeat(5, 1, 1)
    assert chapter.cross_fitted(values).tolist() == [0.0] * 10


def test_the_playground_gets_every_frame_of_every_head(watched):
    _, film, run, images = watched
    shown = film.playground(run, count=2)
    assert [p["name"] for p in shown["pictures"]] == [images.classes[i] for i in images.labels[:2]]
    n, heads = shown["side"] ** 2, len(shown["heads"])
    assert all(len(maps) == 2 * n * heads for p in shown["pictures"] for maps in p["maps"])
    assert shown["right"] == [None, run["val_top1"][1]]
    first = bytes.fromhex(shown["pictures"][0]["maps"][1])[:n]
    expected = film.maps[1][0, 0, 0].flatten()
    assert first.index(255) == int(expected.argmax())


def test_an_outline_goes_around_the_mask():
    mask = torch.zeros(32, 32, dtype=torch.uint8)
    mask[8:24, 4:12] = 1
    (line,) = chapter.outlines(mask)
    x, y = zip(*line, strict=True)
    assert min(x) == pytest.approx(4 / 32, abs=0.02)
    assert max(x) == pytest.approx(12 / 32, abs=0.02)
    assert max(y) == pytest.approx(1 - 8 / 32, abs=0.02)
    assert min(y) == pytest.approx(1 - 24 / 32, abs=0.02)


def test_the_examination_scores_all_under_one_rule(watched, exam):
    *_, images = watched
    assert exam.mean("auroc", "everything") == 0.5
    assert exam.mean("mass", "everything") == pytest.approx(float((images.masks == 1).double().mean()))
    assert "random patches" not in exam.scores["auroc"]
    assert all(len(v) == len(images) for rule in exam.scores.values() for v in rule.values())


def test_live_facts_are_means_over_the_images(watched, exam):
    _, film, run, _ = watched
    facts = chapter.live_facts(run, film, exam)
    assert facts["gain"] == pytest.approx(facts["trained"] - facts["untrained"])
    assert facts["gain_low"] <= facts["gain"] <= facts["gain_high"]
    assert facts["bell_word"] == chapter.compared(facts["bell_low"], facts["bell_high"])
    assert (chapter.compared(0.1, 0.2), chapter.compared(-0.2, -0.1)) == ("above", "below")
    assert chapter.compared(-0.1, 0.1) == "level with"


def test_the_examination_is_on_drawings_of_another_seed():
    """The recipe was tried out on the drawings of seed 0; the page must not report on those."""
    tried, unseen = (chapter.drawings("test", 20, seed=seed) for seed in (0, chapter.UNSEEN_SEED))
    assert chapter.UNSEEN_SEED != 0
    assert not any((picture == tried.images).flatten(1).all(1).any() for picture in unseen.images)
    page = (ROOT / "notebooks" / "06_training.ipynb").read_text(encoding="utf-8")
    assert "chapter.SIZE, chapter.UNSEEN_SEED)" in page


def test_what_the_page_says_of_trainings_on_photographs_is_true_of_all_of_them():
    """If a family of networks turns this round, the page must be written anew."""
    facts = chapter.long_facts()
    assert facts["longest"] == len(chapter.LONGEST) >= 3
    assert facts["learned_above"] == facts["of_every"], "“each is above the untrained network, on both sets”"
    assert facts["of_longest"] / 2 < facts["longest_above"] < facts["of_longest"], "“in most, not in all”"
    assert facts["pets_short_above"] == 0, "“the others are below it on cats and dogs”"
    assert facts["horses_short_above"] == facts["short"], "“and above it on horses”"


def test_the_trainings_differ_in_what_the_page_says_and_in_no_size():
    cards = json.loads(read_result("training/cards.json"))
    short, longest = (chapter.ON_THE_WAY[1.0], *chapter.OTHERS), chapter.LONGEST
    shapes = {
        name: asdict(CRATEConfig.from_dict(cards[name]["config"] | {"num_classes": 1}))
        for name in (*short, *longest)
    }
    assert len(shapes) == len(short) + len(longest)
    assert all(shapes[name] == shapes[longest[0]] for name in (*short, *longest))

    def views(name):
        return cards[name]["data"]["images"] * cards[name]["recipe"]["epochs"]

    assert min(map(views, longest)) > max(map(views, short)), "“the longest”"


def test_what_the_page_says_of_the_recipe():
    facts = chapter.ablation_facts()
    assert facts["crops"] > 0, "crops made the short training worse"
    assert facts["spread"] > 1, "“differ by several points”"
    cost = chapter.cost_facts(create_model("crate_nano", num_classes=5), RECIPE, 40)
    assert cost["seen"] == 2 * 32
    assert cost["times"] > 2


def test_figures_are_drawn(watched, exam):
    model, film, run, images = watched
    drawn = [
        chapter.pictures(images, replace(RECIPE, keep_patches=0.5)),
        chapter.naming_and_looking(film, run),
        chapter.exam_bars(exam),
        chapter.gallery({"after": model}, images, count=4),
        chapter.on_the_way(),
        chapter.what_it_buys(),
        chapter.smoothing(),
    ]
    assert all(isinstance(figure, Figure) and figure.axes for figure in drawn)
    assert {s[0] for s in chapter.calculator(RECIPE, 40)["sets"]} >= {"this page's", "ImageNet-21k"}


def test_who_passes_over_the_training_goes_on_with_a_network_of_the_book():
    """It answers as the whole one does, of five kinds; and film and run are as complete as those of the page."""
    held_out = chapter.drawings("val", 40)
    images = held_out.subset(range(4))
    model, film, run = chapter.kept(held_out, images)
    whole = load_pretrained(chapter.KEPT)
    five = [whole.classes.index(name) for name in chapter.FIVE]
    with torch.no_grad():
        torch.testing.assert_close(model(images.images), whole(images.images)[:, five])
    (row,) = run.history
    assert film.epochs == [0, row["epoch"]]
    assert row["val_top1"] > 0.3 > 1 / len(chapter.FIVE)
    shown = film.playground(run, count=2)
    assert shown["right"] == [None, row["val_top1"]]
