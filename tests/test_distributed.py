"""Two processes over gloo do what one does: the same loss curve, the same weights, one log."""

from __future__ import annotations

import csv
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from crate_mini import distributed
from crate_mini.checkpoints import load_model

SCRIPT = """
import json, os, signal, sys
sys.path.insert(0, sys.argv[1])
import test_training as t
from PIL import Image
from crate_mini import distributed
from crate_mini.data import ImageStream

out, kill, mode = sys.argv[2], sys.argv[3] == "stop", sys.argv[3]

def from_files(data):  # the same images, to be decoded by workers
    files = [f"{out}/{len(data)}_{distributed.rank()}_{i}.png" for i in range(len(data))]
    for file, image in zip(files, data.images, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
    return ImageStream(files=tuple(files), labels=data.labels, classes=data.classes, name=data.name,
                       image_size=16, workers=1)

with distributed.processes("cpu") as device:
    model = t.tiny(seed=distributed.rank())  # rank 0's start must count for all
    calls = []

    def stop(epoch, _):
        calls.append(epoch)
        if kill and epoch == 2:
            raise SystemExit(3)

    plain, steps = t.training.augment, []

    def interrupted(*args, **kwargs):
        steps.append(1)
        if mode == "interrupt" and len(steps) == 6 and distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(*args, **kwargs)

    t.training.loop.augment = interrupted
    train_set, val_set = t.stripes(), t.stripes(15, seed=1)
    if mode == "go":
        train_set, val_set = from_files(train_set), from_files(val_set)
    try:
        history = t.train(model, train_set, val_set, t.recipe(), out=out, device=device, progress=False,
                          on_epoch=stop).history
    except KeyboardInterrupt as told:
        with open(f"{out}/stopped{distributed.rank()}.json", "w") as f:
            json.dump({"told": str(told), "steps": len(steps)}, f)
        sys.exit(0)
    with open(f"{out}/rank{distributed.rank()}.json", "w") as f:
        json.dump({"history": history, "weights": t.weights(model).tolist(), "calls": calls}, f)
"""


def launch(out: Path, mode: str) -> subprocess.CompletedProcess:
    out.mkdir(exist_ok=True)
    (out / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    return subprocess.run(
        [*command, str(out / "script.py"), str(Path(__file__).parent), str(out), mode],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip


def of_training():
    """The small model, images and recipe that the tests of training use."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_training.py"))))


@pytest.fixture(scope="module")
def one_process():
    """The same training by one process, in this one."""
    t = of_training()
    model = t.tiny()
    run = t.train(model, t.stripes(), t.stripes(15, seed=1), t.recipe(), device="cpu", progress=False)
    return run.history, t.weights(model)


def same_curve(ours: list[dict], theirs: list[dict]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        for column in ("epoch", "lr", "train_loss", "val_loss", "val_top1", "val_top5"):
            assert a[column] == pytest.approx(b[column], rel=1e-4, abs=1e-6), (a["epoch"], column)


def test_two_processes_are_one_and_resume(tmp_path, one_process):
    """Stopped after two epochs and started again, by two processes each time; first from memory, then streaming."""
    history, weights = one_process
    stopped = launch(tmp_path, "stop")
    assert stopped.returncode != 0
    with open(tmp_path / "log.csv", newline="") as f:
        assert [int(row["epoch"]) for row in csv.DictReader(f)] == [1]  # epoch 2 ended before it was saved

    done = launch(tmp_path, "go")
    assert done.returncode == 0, done.stderr
    ranks = [json.loads((tmp_path / f"rank{i}.json").read_text()) for i in range(2)]
    assert ranks[0]["weights"] == ranks[1]["weights"]
    assert ranks[0]["calls"] == [2, 3, 4]
    assert ranks[1]["calls"] == []
    for result in ranks:
        same_curve(result["history"], history)
        torch.testing.assert_close(torch.tensor(result["weights"]), weights, rtol=1e-3, atol=1e-5)
    saved = torch.cat([p.flatten() for p in load_model(tmp_path / "model.safetensors").parameters()])
    assert saved.tolist() == ranks[0]["weights"]


def test_an_interrupt_of_one_process_stops_all_after_the_same_step(tmp_path, one_process):
    """Otherwise the others would wait for it until they are killed, and nothing would be saved."""
    history, weights = one_process
    stopped = launch(tmp_path, "interrupt")
    assert stopped.returncode == 0, stopped.stderr
    told = [json.loads((tmp_path / f"stopped{i}.json").read_text()) for i in range(2)]
    assert told[0] == told[1]
    assert told[0]["steps"] in (6, 7)
    assert f"saved in {tmp_path}, run the same again to go on" in told[0]["told"]

    done = launch(tmp_path, "go")
    assert done.returncode == 0, done.stderr
    rest = json.loads((tmp_path / "rank0.json").read_text())
    same_curve(rest["history"], history)
    torch.testing.assert_close(torch.tensor(rest["weights"]), weights, rtol=1e-3, atol=1e-5)


def test_a_batch_that_cannot_be_shared(monkeypatch):
    t = of_training()
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    with pytest.raises(ValueError, match="3 processes cannot share a batch of 8 images equally"):
        t.run(t.tiny())


def test_alone_everything_is_as_if_it_were_not_there(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed.processes("cpu") as device, distributed.first_rank_first():
        assert device == torch.device("cpu")
        assert (distributed.rank(), distributed.world_size()) == (0, 1)
        assert distributed.sum_over_ranks(torch.tensor(3.0)) == 3
        assert distributed.agree(1, device)
        request = distributed.SharedRequest()
        assert [request.made(asked) for asked in (False, True)] == [False, True]
    with distributed.processes() as device:
        assert device is None
