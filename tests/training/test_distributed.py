"""Two processes over gloo do what one does: the same loss curve, the same weights, one log."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import copies
import pytest
import small_training
import torch
from small_training import TASKS, recipe, run, state_of, stripes, tiny

from crate_mini import distributed
from crate_mini.training import train
from crate_mini.weights import load_model

SCRIPT = """
import json, os, signal, sys
sys.path.insert(0, sys.argv[1])
import small_training as t
from PIL import Image
from crate_mini import distributed
from crate_mini.data import ImageStream

out, mode, name = sys.argv[2:]

def from_files(data):  # the same images, to be decoded by workers
    files = [f"{out}/{len(data)}_{distributed.rank()}_{i}.png" for i in range(len(data))]
    for file, image in zip(files, data.images, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
    return ImageStream(files=tuple(files), labels=data.labels, classes=data.classes, name=data.name,
                       image_size=16, workers=1)

with distributed.processes("cpu") as device:
    model = t.tiny(seed=distributed.rank())  # rank 0's start must count for all
    r = t.recipe()
    task = t.TASKS[name](r)
    calls = []

    def stop(epoch, _):
        calls.append(epoch)
        if mode == "stop" and epoch == 2:
            raise SystemExit(3)

    interrupts = mode == "interrupt" and distributed.rank() == 1
    train_set, val_set = t.stripes(), t.stripes(15, seed=1)
    if mode == "go":
        train_set, val_set = from_files(train_set), from_files(val_set)
    with t.at_draw(type(task), 6 if interrupts else 0, t.send(signal.SIGTERM)) as steps:
        try:
            history = t.train(model, train_set, val_set, r, task=task, out=out, device=device, progress=False,
                              on_epoch=stop).history
        except KeyboardInterrupt as told:
            with open(f"{out}/stopped{distributed.rank()}.json", "w") as f:
                json.dump({"told": str(told), "steps": len(steps)}, f)
            sys.exit(0)
    with open(f"{out}/rank{distributed.rank()}.json", "w") as f:
        json.dump({"history": history, "state": t.state_of(model, task), "calls": calls}, f)
"""


def launch(out: Path, mode: str, task: str) -> int:
    out.mkdir(exist_ok=True)
    support = str(Path(small_training.__file__).parent)
    return copies.together(2, SCRIPT, out / "log", support, str(out), mode, task)


def written(out: Path) -> str:
    """What both processes wrote."""
    return "\n".join((out / f"log{i}").read_text() for i in range(2))


def by_one_process(name: str) -> tuple[list[dict], dict]:
    """The same training by one process, in this one."""
    model, r = tiny(), recipe()
    task = TASKS[name](r)
    run = train(model, stripes(), stripes(15, seed=1), r, task=task, device="cpu", progress=False)
    return run.history, state_of(model, task)


def same(ranks: list[dict], history: list[dict], state: dict) -> None:
    """Two processes hold the same, bit for bit, and what one process holds, but for the order of summation."""
    assert ranks[0]["state"] == ranks[1]["state"]
    for ours, theirs in zip(ranks[0]["history"], history, strict=True):
        for column in set(theirs) - {"seconds"}:
            assert ours[column] == pytest.approx(theirs[column], rel=1e-4, abs=1e-6), (
                theirs["epoch"],
                column,
            )
    for name, theirs in state.items():
        if isinstance(theirs, dict):
            assert ranks[0]["state"][name] == {k: pytest.approx(v, rel=1e-4) for k, v in theirs.items()}
        else:
            ours = torch.tensor(ranks[0]["state"][name])
            torch.testing.assert_close(ours, torch.tensor(theirs), rtol=1e-3, atol=1e-5)


def test_two_processes_are_one_and_resume(tmp_path):
    """Stopped after two epochs and started again, by two processes each time; first from memory, then streaming."""
    task = "classification"
    stopped = launch(tmp_path, "stop", task)
    assert stopped != 0
    with open(tmp_path / "log.csv", newline="") as f:
        assert [int(row["epoch"]) for row in csv.DictReader(f)] == [1]  # epoch 2 ended before it was saved

    done = launch(tmp_path, "go", task)
    assert done == 0, written(tmp_path)
    ranks = [json.loads((tmp_path / f"rank{i}.json").read_text()) for i in range(2)]
    assert ranks[0]["calls"] == [2, 3, 4]
    assert ranks[1]["calls"] == []
    same(ranks, *by_one_process(task))
    saved = load_model(tmp_path / "model.safetensors").state_dict()
    assert all(tensor.tolist() == ranks[0]["state"][name] for name, tensor in saved.items())


def test_an_interrupt_of_one_process_stops_all_after_the_same_step(tmp_path):
    """Otherwise the others would wait for it until they are killed, and nothing would be saved.

    The loop sees to it, whatever the task; this one has more of a state to save than the other, and two processes
    end with what one has.
    """
    task = "two views"
    stopped = launch(tmp_path, "interrupt", task)
    assert stopped == 0, written(tmp_path)
    told = [json.loads((tmp_path / f"stopped{i}.json").read_text()) for i in range(2)]
    assert told[0] == told[1]
    assert told[0]["steps"] in (6, 7)
    assert f"saved in {tmp_path}, run the same again to go on" in told[0]["told"]

    done = launch(tmp_path, "go", task)
    assert done == 0, written(tmp_path)
    same([json.loads((tmp_path / f"rank{i}.json").read_text()) for i in range(2)], *by_one_process(task))


def test_a_batch_that_cannot_be_shared(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    with pytest.raises(ValueError, match="3 processes cannot share a batch of 8 images equally"):
        run(tiny())


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
