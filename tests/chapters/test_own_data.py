"""The stand-in for a reader's own pictures is laid out as the page tells the reader to lay out theirs."""

from __future__ import annotations

import pytest
import torch

from crate_mini import data, segmentation
from crate_mini.chapters.own_data import beside_controls, stand_in
from crate_mini.model import create_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return stand_in(tmp_path_factory.mktemp("own") / "pictures", train=60, val=20, masks=8)


def test_folders_are_read_as_what_was_drawn(folder):
    drawn = data.load("embedded", "train", n=60, image_size=64)
    read = data.load("folder", "train", image_size=64, root=folder)
    assert len(read) == 60
    names = {drawn.classes[label] for label in drawn.labels.tolist()}
    assert set(read.classes) == names
    first = read.classes[0]
    mine = [i for i, label in enumerate(drawn.labels.tolist()) if drawn.classes[label] == first]
    assert torch.equal(read.images[read.labels == 0], drawn.images[mine]), "not a pixel was lost"
    assert len(data.load("folder", "val", image_size=64, root=folder)) == 20


def test_masks_are_those_of_the_drawings(folder):
    drawn = data.load("embedded", "test", n=8, image_size=128)
    read = data.load("masks", "test", image_size=128, root=folder)
    assert torch.equal(read.images, drawn.images)
    assert torch.equal(read.masks == 1, drawn.masks == 1)


def test_a_score_stands_beside_its_controls(folder):
    torch.manual_seed(0)
    model = create_model("crate_nano", num_classes=3).eval()
    pictures = data.load("masks", "test", image_size=64, root=folder)
    result = segmentation.evaluate(model, pictures, rule="auroc")
    rows = beside_controls(result)
    assert [row["map"] for row in rows] == [
        "one head, chosen on other pictures", "the same, untrained network", "a bell in the middle of the picture"
    ]  # fmt: skip
    assert rows[0]["AUROC"] == pytest.approx(result.values("auroc", "cross_fitted").mean().item(), abs=1e-3)
    assert all(row["from"] <= row["AUROC"] <= row["to"] for row in rows)
    alone = segmentation.evaluate(model, pictures, rule="auroc", untrained=False)
    assert len(beside_controls(alone)) == 2
