"""The file that holds a training: whole, of this version, finite, with room to write it, for one writer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import small_training
import torch
from small_training import at_draw, interrupt, run, tiny, weights

from crate_mini import data
from crate_mini.cli import main
from crate_mini.lock import LockedError
from crate_mini.training import Classification
from crate_mini.weights import CheckpointError, load_tensors, save_tensors


def saved(folder: Path) -> tuple[dict, dict]:
    """A state in the middle of an epoch."""
    with at_draw(Classification, 6, interrupt), pytest.raises(KeyboardInterrupt):
        run(tiny(), out=folder)
    return load_tensors(folder / "state.safetensors")


def test_a_state_of_an_earlier_version(tmp_path):
    tensors, metadata = saved(tmp_path)
    del metadata["format"]
    save_tensors(tmp_path / "state.safetensors", tensors, metadata)
    with pytest.raises(
        CheckpointError, match=r"another version of this package.*: end it with that version, or"
    ):
        run(tiny(), out=tmp_path)


@pytest.mark.parametrize(
    "lost",
    [
        "optimizer.exp_avg.model.head.weight",
        "optimizer.step.model.encoder.norm.bias",
        "model.head.bias",
        "generator",
    ],
)
def test_a_tensor_that_is_missing(tmp_path, lost):
    tensors, metadata = saved(tmp_path)
    del tensors[lost]
    save_tensors(tmp_path / "state.safetensors", tensors, metadata)
    with pytest.raises(CheckpointError, match=f"not as it was written: it lacks '{lost}'"):
        run(tiny(), out=tmp_path)


@pytest.mark.parametrize("lost", ["history", "recipe", "scaler", "task"])
def test_a_part_that_is_missing(tmp_path, lost):
    tensors, metadata = saved(tmp_path)
    del metadata[lost]
    save_tensors(tmp_path / "state.safetensors", tensors, metadata)
    with pytest.raises(CheckpointError, match=f"not as it was written: it lacks '{lost}'"):
        run(tiny(), out=tmp_path)


def test_a_tensor_too_many_or_of_another_shape(tmp_path):
    tensors, metadata = saved(tmp_path)
    save_tensors(tmp_path / "state.safetensors", tensors | {"model.more": torch.zeros(1)}, metadata)
    with pytest.raises(CheckpointError, match=r"holds 'model\.more', which nobody saved"):
        run(tiny(), out=tmp_path)
    save_tensors(tmp_path / "state.safetensors", tensors | {"model.head.bias": torch.zeros(9)}, metadata)
    with pytest.raises(CheckpointError, match=r"(?s)does not fit this training.*head\.bias"):
        run(tiny(), out=tmp_path)


@pytest.mark.parametrize("name", ["model.head.weight", "optimizer.exp_avg_sq.model.head.weight"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite(tmp_path, name, value):
    tensors, metadata = saved(tmp_path)
    tensors[name][0, 0] = value
    save_tensors(tmp_path / "state.safetensors", tensors, metadata)
    with pytest.raises(CheckpointError, match=f"holds NaN or an infinite number in '{name}'"):
        run(tiny(), out=tmp_path)


def test_weights_that_are_not_finite_at_the_start(tmp_path):
    model = tiny()
    with torch.no_grad():
        model.blocks[1].norm1.bias[3] = float("nan")
    with pytest.raises(
        ValueError,
        match=r"weights to start from hold NaN .* first in 'model\.encoder\.blocks\.1\.norm1\.bias'",
    ):
        run(model, out=tmp_path)
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def test_weights_that_are_not_finite_at_the_end_do_not_replace_good_ones(tmp_path):
    """The loss is finite: it was computed before the last step spoilt the weights."""

    def spoil(epoch, model):
        if epoch == 2:
            model.head.weight.register_hook(lambda grad: grad * (float("nan") if steps[-1] == 12 else 1))

    with (
        at_draw(Classification, 0, interrupt) as steps,
        pytest.raises(
            FloatingPointError, match=r"weights 'model\.head\.weight' are no longer finite in epoch 3"
        ),
    ):
        run(tiny(), out=tmp_path, on_epoch=spoil)
    straight, resumed = tiny(), tiny(seed=5)
    run(straight), run(resumed, out=tmp_path)
    assert torch.equal(weights(resumed), weights(straight))


class TestFolder:
    def test_is_tried_before_the_work(self, tmp_path):
        (tmp_path / "file").write_text("not a folder")
        begun = []
        for name, reason in (
            ("file", "it is a file, not a folder"),
            ("file/run", "a part of this path is a file"),
        ):
            with (
                at_draw(Classification, 1, lambda: begun.append(1)),
                pytest.raises(
                    OSError, match=f"cannot write to {tmp_path / name}: {reason}.*Name another folder"
                ),
            ):
                run(tiny(), out=tmp_path / name)
        assert begun == []

    def test_is_tried_before_images_are_read(self, tmp_path, monkeypatch, capsys):
        (tmp_path / "file").touch()
        monkeypatch.setattr(data, "load", lambda *args, **options: pytest.fail("images were read"))
        assert main(["train", "--out", str(tmp_path / "file")]) == 2
        told = capsys.readouterr().err
        assert told.startswith("crate-mini: ")
        assert f"cannot write to {tmp_path / 'file'}: it is a file, not a folder" in told

    def test_two_trainings_in_one(self, tmp_path):
        def second():
            with pytest.raises(
                LockedError, match=rf"{tmp_path} is being written by process {os.getpid()} on"
            ):
                run(tiny(), out=tmp_path)

        model = tiny()
        with at_draw(Classification, 3, second):
            run(model, out=tmp_path)
        alone = tiny()
        run(alone)
        assert torch.equal(weights(model), weights(alone))
        assert not (tmp_path / "training.lock").exists()

    @pytest.mark.skipif(sys.platform != "linux", reason="the workers must be forks of this process")
    def test_killed_with_workers_that_live_on(self, tmp_path):
        """A process that is killed lets go of the folder at once, though forks of it still run."""
        script = f"""
import multiprocessing, os, sys, time
sys.path.insert(0, {str(Path(small_training.__file__).parent)!r})
import small_training as t

def fork_and_die():
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    print(child.pid, flush=True)
    os.kill(os.getpid(), 9)

with t.at_draw(t.Classification, 6, fork_and_die):
    t.run(t.tiny(), out={str(tmp_path)!r})
"""
        done = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        child = int(done.stdout.readline())
        try:
            assert done.wait() == -signal.SIGKILL
            assert (tmp_path / "training.lock").exists()
            straight, resumed = tiny(), tiny(seed=5)
            run(straight), run(resumed, out=tmp_path)
            assert torch.equal(weights(resumed), weights(straight))
        finally:
            os.kill(child, signal.SIGKILL)
            done.stdout.close()
