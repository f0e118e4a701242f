"""The data sets from the command line: the list, the check of every file, training from a stream."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from crate_mini.cli import main
from crate_mini.data import SETS
from crate_mini.weights import load_model


def test_list(tmp_path, capsys):
    (tmp_path / "VOCdevkit" / "VOC2012").mkdir(parents=True)
    assert main(["data", "--root", str(tmp_path)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert set(lines) == set(SETS)
    assert "here" in lines["voc2012"]
    assert "splits: train, trainval, val" in lines["voc2012"]
    assert "not here" in lines["stl10"]


def test_check(pictures, capsys):
    line = ["data", "folder", "--root", str(pictures), "--check"]
    assert main(line) == 0
    assert capsys.readouterr().out == "all 24 images of folder/train can be read\n"
    damaged = [pictures / "train" / "dark" / "1.png", pictures / "train" / "light" / "3.png"]
    damaged[0].write_bytes(damaged[0].read_bytes()[:200])
    damaged[1].write_bytes(b"")
    assert main(line) == 1
    told = capsys.readouterr()
    assert [row.split(" is ")[0] for row in told.out.splitlines()] == [str(path) for path in damaged]
    assert "2 of the 24 images of folder/train cannot be read" in told.err
    assert main([*line, "--split", "val"]) == 0


def test_check_says_what_was_not_taken(pictures, capsys):
    (pictures / "train" / "dark" / "IMG_7.HEIC").write_bytes(b"a photo of a telephone")
    (pictures / "train" / "dark" / "notes").write_text("no picture")
    assert main(["data", "folder", "--root", str(pictures), "--check"]) == 0
    told, whole = capsys.readouterr().out.splitlines()
    assert told == (
        "2 files not taken: 1 .heic, 1 without a suffix "
        f"(for example {pictures / 'train' / 'dark' / 'IMG_7.HEIC'})"
    )
    assert whole == "all 24 images of folder/train can be read"


def test_check_reads_masks_and_what_comes_in_one_piece(tmp_path, capsys):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for name, value in (("a", 255), ("b", 77)):
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / f"{name}.jpg")
        Image.new("L", (8, 8), value).save(tmp_path / "masks" / f"{name}.png")
    Image.fromarray(np.full((8, 8), 3.5, np.float32)).save(tmp_path / "images" / "b.tif")
    (tmp_path / "images" / "b.jpg").unlink()
    line = ["data", "masks", "--root", str(tmp_path), "--check"]
    assert main(line) == 1
    told = capsys.readouterr()
    assert "b.tif stores floating-point numbers" in told.out
    assert "1 of the 2 images of masks/test cannot be read" in told.err
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "b.tif")
    assert main(line) == 1
    assert "b.png holds values other than" in capsys.readouterr().out
    Image.new("L", (8, 8)).save(tmp_path / "masks" / "b.png")
    assert main(line) == 0
    assert main(["data", "cifar10", "--root", str(tmp_path), "--check"]) == 2
    assert "cifar-10-batches-py is missing. Expected in " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            ["train", "--data", "folder", "--out", "run"],
            "train/<class>/*.jpg, and in the same way val and test",
        ),
        (["data", "pets"], "oxford-iiit-pet/images, annotations/trimaps"),
        (["data", "coco"], "coco/val2017, train2017, annotations/instances_{val,train}2017.json"),
        (["data", "voc2012", "--split", "nope"], "'voc2012' has the splits train, trainval, val; got 'nope'"),
        (["data", "embedded", "--image-size", "0"], "--image-size must be at least 1, got 0"),
        (["data", "embedded", "--image-size", "1000000"], "--image-size must be at most 4,096, got 1000000"),
    ],
)
def test_messages_speak_of_files_not_of_python(tmp_path, capsys, monkeypatch, line, told):
    monkeypatch.chdir(tmp_path)
    assert main([*line, "--root", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert told in said
    for python in ("root=", "n=", "download=", "()", "True", "image_size"):
        assert python not in said


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_train_from_a_stream(pictures, tmp_path):
    plain = [
        "train",
        "--model",
        "crate_nano",
        "--data",
        "folder",
        "--root",
        str(pictures),
        "--image-size",
        "32",
    ]
    plain += ["--epochs", "2", "--batch-size", "4", "--device", "cpu", "--warmup-epochs", "1"]
    for name, more in (("memory", []), ("stream", ["--stream", "--workers", "1"])):
        assert main([*plain, "--out", str(tmp_path / name), *more]) == 0
    ours, theirs = (load_model(tmp_path / k / "model.safetensors").state_dict() for k in ("memory", "stream"))
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_stream_of_a_set_in_one_piece(tmp_path, capsys):
    assert main(["train", "--data", "embedded", "--stream", "--out", str(tmp_path)]) == 2
    assert "'embedded' is not made of files with labels" in capsys.readouterr().err


@pytest.mark.filterwarnings("always:Glyph")
def test_letters_that_no_font_has_are_told_once(pictures, tmp_path, capsys, monkeypatch):
    """Private letters, which no font has, stand for a script that this machine has none for."""
    for split in ("train", "val"):
        (pictures / split / "dark").rename(pictures / split / "\ue000\ue001\ue002")
    monkeypatch.chdir(tmp_path)
    assert main(["data", "folder", "--root", str(pictures), "--out", "n.png"]) == 0
    told = capsys.readouterr()
    assert told.err == (
        "crate-mini: no font here has all letters of these names; in the picture boxes stand for them\n"
    )
    assert "wrote 24 images" in told.out
