"""The tool that scores networks trained without labels: what is there, what is missing, pixels as a control."""

from __future__ import annotations

import score_views
import torch

from crate_mini import data
from crate_mini.data import ImageSet
from crate_mini.model import create_model
from crate_mini.recipes import get_sweep
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
    assert score_views.pixels(train, test)["knn"] == score_views.pixels(train, test)["probe"] == 1
    shuffled = ImageSet(
        images=train.images,
        labels=train.labels[torch.randperm(60, generator=torch.Generator().manual_seed(2))],
        classes=train.classes,
    )
    assert score_views.pixels(shuffled, test)["knn"] < 0.8


def test_networks_that_are_there_and_controls(tmp_path, capsys):
    name = next(iter(get_sweep("views")))
    save_model(create_model("crate_nano", num_classes=1), tmp_path / name / "model.safetensors")
    found = {about["name"]: about for about, _ in score_views.networks(tmp_path)}
    assert found[name] == {"name": name, "model": "crate_nano", "task": "simdino", "seed": 0}
    assert found["crate_nano_embedded"]["task"] == "classification"
    assert found["vit_nano_untrained_s2"]["task"] == "untrained"
    missing = [n for n in get_sweep("views") if n not in found]
    assert [f"{n}: not trained yet" for n in missing] == capsys.readouterr().out.splitlines()[: len(missing)]


def test_scores_of_a_network():
    torch.manual_seed(0)
    model = create_model("crate_nano", dim=16, heads=2, depth=1, num_classes=1).eval()
    sets = {split: data.load("embedded", split, n=40) for split in ("train", "val", "test")}
    found = score_views.scores(model, sets)
    assert 0 <= found["knn"] <= 1
    assert 0 <= found["probe"] <= 1
    assert set(found["maps"]) == set(score_views.RULES)
    assert 0.2 < found["maps"]["auroc"]["mean_of_heads"]["last"][0] < 0.9
