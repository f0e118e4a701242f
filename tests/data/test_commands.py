"""The data sets from the command line: the list, the check of every file, training from a stream."""

from __future__ import annotations

import pytest
import torch

from crate_mini.checkpoints import load_model
from crate_mini.cli import main
from crate_mini.data import SETS


def test_list(tmp_path, capsys):
    (tmp_path / "VOCdevkit" / "VOC2012").mkdir(parents=True)
    assert main(["data", "--root", str(tmp_path)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert set(lines) == set(SETS)
    assert "here" in lines["voc2012"]
    assert "splits: train, val, trainval" in lines["voc2012"]
    assert "not here" in lines["stl10"]


def test_check(pictures, capsys):
    line = ["data", "folder", "--root", str(pictures), "--check"]
    assert main(line) == 0
    assert capsys.readouterr().out == "all 24 images of folder/train can be read\n"
    damaged = [pictures / "train" / "dark" / "1.png", pictures / "train" / "light" / "3.png"]
    damaged[0].write_bytes(damaged[0].read_bytes()[:200])
    damaged[1].write_bytes(b"")
    assert main(line) == 2
    told = capsys.readouterr()
    assert [row.split(" is ")[0] for row in told.out.splitlines()] == [str(path) for path in damaged]
    assert "2 of the 24 images of folder/train cannot be read" in told.err
    assert main([*line, "--split", "val"]) == 0


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
