"""What transfers is asked of every network in one way: the same sets, the same recipe, and fresh ones beside."""

from __future__ import annotations

import pytest
import score_transfer
import torch

from crate_mini.data import ImageSet


def two_colours(n: int = 40) -> ImageSet:
    """Red or blue pictures of different brightness."""
    labels = torch.arange(n) % 2
    images = torch.zeros(n, 3, 64, 64, dtype=torch.uint8)
    for i, label in enumerate(labels.tolist()):
        images[i, 2 * label] = 100 + i
    return ImageSet(images, labels, classes=("red", "blue"), name="colours")


def test_pixels_know_colours_and_no_labels_by_chance():
    known = two_colours()
    assert score_transfer.of_pixels(known, known) == 1
    torch.manual_seed(0)
    mixed = ImageSet(known.images, torch.randint(2, (40,)), classes=known.classes)
    assert score_transfer.of_pixels(known, mixed) == pytest.approx(0.5, abs=0.25)


def test_fresh_networks_stand_beside_under_the_same_recipe(tmp_path, capsys):
    found = list(score_transfer.networks("tiny-imagenet-50", tmp_path))
    assert [(model, seed, trained) for model, seed, trained, _ in found] == [
        ("crate_mini", 0, False),
        ("vit_mini_6", 0, False),
    ]
    assert capsys.readouterr().out.count("not trained yet") == 4
    family = [row[:3] for row in score_transfer.networks("pets", tmp_path)]
    assert [row for row in family if row[2]] == [
        (model, seed, True) for seed in range(3) for model in ("crate_mini", "vit_mini_6")
    ]
    how = [score_transfer.recipe("tiny-imagenet-50", seed) for seed in (0, 1)]
    assert (how[0].epochs, how[0].optimizer, how[0].seed, how[1].seed) == (4, "lion", 0, 1)
