"""The tool that scores networks trained without labels: what is there, what is missing, pixels as a control."""

from __future__ import annotations

import itertools
import json

import pytest
import score_views
import torch

from crate_mini import data
from crate_mini.data import ImageSet
from crate_mini.data.embedded import crossed
from crate_mini.model import create_model
from crate_mini.recipes import find_run, get_recipe, get_sweep
from crate_mini.training import TASKS
from crate_mini.training.selfsupervised import settings_of
from crate_mini.weights import save_model


def colours(n: int, seed: int) -> ImageSet:
    """Three classes that differ in their brightest channel."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    images = torch.randint(0, 120, (n, 3, 32, 32), generator=generator, dtype=torch.uint8)
    images[torch.arange(n), labels] += 90
    return ImageSet(images=images, labels=labels, classes=("red", "green", "blue"))


def test_pixels_that_tell_everything_and_pixels_that_tell_nothing():
    train, test = colours(60, 0), colours(30, 1)
    assert score_views.pixels({"train": train, "test": test})["knn"] == 1
    shuffled = ImageSet(
        images=train.images,
        labels=train.labels[torch.randperm(60, generator=torch.Generator().manual_seed(2))],
        classes=train.classes,
    )
    assert score_views.pixels({"train": shuffled, "test": test})["knn"] < 0.8


def test_networks_that_are_there_and_controls(tmp_path, capsys):
    name = next(iter(get_sweep("views")))
    for there in (name, "vit_nano_simdino_pairs_s1"):
        save_model(create_model("crate_nano", num_classes=1), tmp_path / there / "model.safetensors")
    found = {about["name"]: about for about, _ in score_views.networks(tmp_path)}
    assert found[name] == {"name": name, "model": "crate_nano", "task": "simdino", "seed": 0, "varied": ""}
    assert found["vit_nano_simdino_pairs_s1"] == {
        "name": "vit_nano_simdino_pairs_s1", "model": "vit_nano", "task": "simdino", "seed": 1, "varied": "pairs",
    }  # fmt: skip
    assert sum(about["task"] == "untrained" for about in found.values()) == 4
    assert "vit_nano_dino_s1: not trained yet" in capsys.readouterr().out


def test_networks_that_learned_from_photographs_and_their_controls(tmp_path, capsys):
    name = next(iter(get_sweep("views_animals")))
    save_model(create_model("vit_nano", num_classes=1), tmp_path / name / "model.safetensors")
    found = {about["name"]: (about, model) for about, model in score_views.animal_networks(tmp_path)}
    assert found[name][0] == {"name": name, "model": "crate_mini", "task": "simdino", "seed": 0}
    assert "vit_mini_animals_dino_s1: not trained yet" in capsys.readouterr().out
    tasks = [about["task"] for about, _ in found.values()]
    assert tasks == ["simdino", *["classification"] * 2, *["untrained"] * 4]
    one, other = (found[f"crate_mini_untrained_s{seed}"][1] for seed in (0, 1))
    assert one.config == other.config
    assert not torch.equal(one.blocks[0].attention.U, other.blocks[0].attention.U)


def test_the_varied_ones_are_command_lines_that_train():
    for name, (_, model, seed, flags) in score_views.varied().items():
        words = flags.split()
        run = find_run(words[words.index("--recipe") + 1])
        assert (run.model, run.seed, get_recipe(run).task) == (model, seed, "simdino"), name
        asked = [w.split("=")[0] for before, w in itertools.pairwise(words) if before == "--task-set"]
        assert asked
        assert set(asked) <= set(settings_of(TASKS["simdino"]))
        of_two = {"pairs": "embedded-pairs", "kinds": "embedded-kinds"}
        assert get_recipe(run).data == of_two.get(name.split("_")[3], "embedded")


def test_shares_of_a_network_that_sees_the_scene_only_and_of_one_that_sees_the_animal_only():
    scene = torch.randn(6, 1, 8, generator=torch.Generator().manual_seed(0)).expand(6, 10, 8)
    animal = torch.randn(1, 10, 8, generator=torch.Generator().manual_seed(1)).expand(6, 10, 8)
    assert score_views.shares(scene.flatten(0, 1)) == pytest.approx({"scene": 1, "animal": 0, "rest": 0})
    assert score_views.shares(animal.flatten(0, 1))["animal"] == pytest.approx(1)


def test_a_row(monkeypatch):
    monkeypatch.setenv("CRATE_MINI_DIRTY", "1")
    drawn = {
        split: data.load("embedded", split, n=20, image_size=32, seed=3) for split in ("train", "test", "val")
    }
    sets = {"train": drawn["train"], "test": drawn["test"], "choice": drawn["val"], "maps": drawn["test"]}
    model = create_model("vit_nano", num_classes=1, image_size=32)
    row, beside = score_views.scores(model, sets | {"crossed": crossed(2, seed=3, image_size=32)}, 2)
    assert {"knn", "probe", "scene", "animal", "rest"} <= set(row)
    assert row["scene"] + row["animal"] + row["rest"] == pytest.approx(1, abs=1e-5)
    assert set(row["maps"]) == set(beside["centre"]) == set(score_views.RULES)
    value, low, high = row["maps"]["auroc"]["fixed"]
    assert low <= value <= high
    json.dumps([row, beside], allow_nan=False)
