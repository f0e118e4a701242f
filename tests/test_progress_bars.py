"""Progress bars: wherever work takes longer than a moment, where somebody looks, and nowhere else."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
import torch
from PIL import Image

from crate_mini import progress
from crate_mini.cli import main
from crate_mini.model import create_model
from crate_mini.progress import bar, shown
from crate_mini.weights import save_model


@pytest.fixture
def weights(tmp_path, pictures):
    """A network of ten numbers that knows the pictures' classes, and names the pictures as its data."""
    torch.manual_seed(0)
    model = create_model("crate_nano", dim=16, depth=2, heads=2, num_classes=2, image_size=32)
    card = {"data": {"train": "folder/train", "held_out": "folder/val"}, "recipe": {}}
    return save_model(model, tmp_path / "w.safetensors", card, classes=("dark", "light"))


MASKED = "--data embedded --n 3 --image-size 32"
LINES = {
    "evaluate --root PICTURES": "accuracy",
    "evaluate reading --root PICTURES": "without reading",
    "evaluate transfer --data folder --root PICTURES --split val --image-size 32": "penalties",
    "layerwise --root PICTURES": "layers",
    f"evaluate heads --random 3 {MASKED}": "scores",
    f"evaluate segmentation --no-control {MASKED}": "embedded",
    f"evaluate maskcut {MASKED}": "maskcut",
    "inspect photo.png --compare= --out page.html": "layers",
}


@pytest.mark.parametrize("line", LINES)
def test_every_measuring_command_says_how_far_it_is(
    line, weights, pictures, tmp_path, watched, capfd, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 40), "red").save("photo.png")
    words = [str(pictures) if word == "PICTURES" else word for word in line.split()]
    device = [] if line.startswith("inspect") else ["--device", "cpu"]
    assert main([*words, "--weights", str(weights), *device]) == 0
    told = capfd.readouterr().err
    assert f"{LINES[line]}" in told
    assert "100%" in told


def test_a_large_picture_moves_the_bar_layer_by_layer(weights, tmp_path, watched, capfd):
    Image.new("RGB", (40, 40), "red").save(tmp_path / "photo.png")
    line = [
        "inspect",
        tmp_path / "photo.png",
        "--weights",
        weights,
        "--compare",
        "",
        "--out",
        tmp_path / "p.html",
    ]
    assert main(list(map(str, line))) == 0
    assert "2/2" in capfd.readouterr().err, "two layers, run once for maps and strip"


def test_nothing_is_drawn_into_a_file_or_a_pipe(weights, pictures):
    """What a job writes to its log has no bars in it."""
    line = [sys.executable, "-m", "crate_mini", "evaluate", "--weights", weights, "--root", pictures]
    done = subprocess.run([*line, "--device", "cpu"], capture_output=True, text=True, check=True)
    assert "%|" not in done.stderr
    assert "\r" not in done.stderr


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("rank", "seen"), [("0", True), ("1", False)])
def test_of_several_processes_the_first_draws(rank, seen, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("RANK", rank)
    assert progress.watched() is seen


def test_who_is_asked_first(watched, capfd):
    def drawn(**told: bool) -> bool:
        list(bar(range(3), **told))
        return "3/3" in capfd.readouterr().err

    assert not drawn()
    assert drawn(progress=True)
    with shown():
        assert drawn()
        assert not drawn(progress=False)
        with shown(False):
            assert not drawn()
        assert drawn()
    assert not drawn()
