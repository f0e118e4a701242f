"""A training that was stopped, even killed, goes on and ends with what it would have had, whatever its task."""

from __future__ import annotations

import csv
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import copies
import pytest
import small_training
import torch
from small_training import (
    TASKS,
    TwoViews,
    at_draw,
    interrupt,
    recipe,
    run,
    send,
    state_of,
    stripes,
    tiny,
    weights,
    with_dropout,
)

from crate_mini.training import Classification, train
from crate_mini.weights import CheckpointError, load_model, load_tensors

COLUMNS = ["epoch", "lr", "train_loss", "val_loss", "val_top1", "val_top5"]  # all but the seconds

each_task = pytest.mark.parametrize("task", list(TASKS))


def whole_and_rest(r, name: str, out: Path, start=tiny) -> None:
    """A training that goes on in ``out`` ends as one in one piece does: weights, task, every number."""
    ends = []
    for seed, folder in ((0, None), (5, out)):  # its own initialisation must not matter
        model, task = start(seed=seed), TASKS[name](r)
        history = run(model, r, task=task, out=folder).history
        ends.append(
            (state_of(model, task), [{k: v for k, v in row.items() if k != "seconds"} for row in history])
        )
    assert ends[0] == ends[1]


class TestExact:
    @each_task
    @pytest.mark.parametrize("optimizer", ["adamw", "lion"])
    def test_stopped_between_epochs(self, tmp_path, optimizer, task):
        r = recipe(optimizer=optimizer)

        class Stop(Exception):
            pass

        def stop(epoch, _):
            if epoch == 3:
                raise Stop  # after the work of epoch 3, before its state is saved

        with pytest.raises(Stop):
            run(tiny(), r, task=TASKS[task](r), out=tmp_path, on_epoch=stop)
        assert not (tmp_path / "model.safetensors").exists()
        epochs = []
        run(tiny(), r, task=TASKS[task](r), out=tmp_path, on_epoch=lambda epoch, _: epochs.append(epoch))
        assert epochs == [3, 4]
        whole_and_rest(r, task, tmp_path)

    @each_task
    @pytest.mark.parametrize("save_minutes", [10.0, 0.0])
    def test_killed_for_real(self, tmp_path, task, save_minutes):
        """A process that ends by SIGKILL in the middle of its third epoch, saved after epochs or after every step."""
        script = f"""
import sys
sys.path.insert(0, {str(Path(small_training.__file__).parent)!r})
import small_training as t
r = t.recipe()
task = t.TASKS[{task!r}](r)
with t.at_draw(type(task), 11, t.send(9)):  # four steps an epoch
    t.run(t.with_dropout(t.tiny()), r, task=task, out={str(tmp_path)!r}, save_minutes={save_minutes})
"""
        status = copies.run(script, tmp_path / "log")
        if os.name == "posix":
            assert status == -9, (tmp_path / "log").read_text()
        with open(tmp_path / "log.csv", newline="") as f:
            assert [int(row["epoch"]) for row in csv.DictReader(f)] == [1, 2]
        assert load_tensors(tmp_path / "state.safetensors")[1]["step"] == (2 if save_minutes == 0 else 0)
        whole_and_rest(recipe(), task, tmp_path, lambda seed: with_dropout(tiny(seed)))

    @each_task
    @pytest.mark.parametrize(("number", "at"), [(signal.SIGINT, 6), (signal.SIGTERM, 8)])
    @pytest.mark.parametrize("keep_patches", [1.0, 0.5])
    def test_interrupted_in_a_step(self, tmp_path, task, number, at, keep_patches):
        """In the middle of an epoch, and in its last step."""
        r = recipe(keep_patches=keep_patches)
        before = signal.getsignal(number)
        message = rf"stopped .*epoch 2.*saved in {tmp_path}, run the same again to go on"
        with at_draw(type(TASKS[task](r)), at, send(number)) as steps:
            with pytest.raises(KeyboardInterrupt, match=message):
                run(tiny(), r, task=TASKS[task](r), out=tmp_path)
            assert signal.getsignal(number) is before
            assert len(steps) == at, "the step at hand was finished, and no other begun"
            run(tiny(seed=3), r, task=TASKS[task](r), out=tmp_path)
            assert len(steps) == 16, "no step was done twice"
        whole_and_rest(r, task, tmp_path)

    @pytest.mark.parametrize("at", [2, 7])
    def test_dropout(self, tmp_path, at):
        """What modules draw by themselves, from the global generator, is seeded step by step."""
        with at_draw(Classification, at, interrupt), pytest.raises(KeyboardInterrupt):
            run(with_dropout(tiny()), out=tmp_path)
        torch.manual_seed(1234)
        whole_and_rest(recipe(), "classification", tmp_path, lambda seed: with_dropout(tiny(seed)))

    def test_the_state_of_a_task_is_what_it_was(self, tmp_path):
        """Loaded as it was saved, tensors and the rest: a training that has ended has nothing more to do."""
        r, first = recipe(), TwoViews(recipe())
        run(tiny(), r, task=first, out=tmp_path)
        again = TwoViews(r)
        run(tiny(seed=5), r, task=again, out=tmp_path)
        assert again.noisy == first.noisy != []
        assert first.centre.abs().min() > 0
        for name, tensor in first.state_dict().items():
            if isinstance(tensor, torch.Tensor):
                assert torch.equal(again.state_dict()[name], tensor), name


class TestInterrupt:
    def test_second_is_immediate(self):
        def impatient():
            interrupt()
            interrupt()
            pytest.fail("still running")

        with at_draw(Classification, 1, impatient), pytest.raises(KeyboardInterrupt):
            run(tiny())

    def test_says_that_nothing_is_saved_without_a_folder(self):
        with (
            at_draw(Classification, 1, interrupt),
            pytest.raises(KeyboardInterrupt, match="nothing was saved, for no folder was given"),
        ):
            run(tiny())


class TestFiles:
    def test_full_disk_leaves_the_last_state_whole(self, tmp_path, monkeypatch):
        def full(*args, **kwargs):
            raise OSError(28, "No space left on device", "state.safetensors")

        def fill(epoch, model):
            if epoch == 2:
                monkeypatch.setattr("crate_mini.weights.save_file", full)

        message = (
            r"could not write .*state\.safetensors: the disk is full\. .*make room, and run the same again"
        )
        with pytest.raises(OSError, match=message):
            run(tiny(), out=tmp_path, on_epoch=fill)
        monkeypatch.undo()
        assert sorted(p.name for p in tmp_path.iterdir()) == ["log.csv", "state.safetensors"]
        whole_and_rest(recipe(), "classification", tmp_path)

    @pytest.mark.skipif(sys.platform == "win32", reason="no limit to the size of files there")
    @pytest.mark.parametrize(("step", "name"), [(8, "state"), (9, "at55")])
    def test_disk_that_takes_no_more(self, tmp_path, step, name):
        """The error as it really comes: from a step on, files may grow no further than 20 kB."""
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        message = rf"could not write .*{name}\.safetensors: files may not grow that large .*make room"
        try:
            with (
                at_draw(
                    Classification, step, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
                ),
                pytest.raises(OSError, match=message),
            ):
                run(tiny(), out=tmp_path, save_at=[0.55])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert not list(tmp_path.glob(".*")), "nothing half written is left"
        straight, resumed = tiny(), tiny(seed=5)
        run(straight)
        run(resumed, out=tmp_path, save_at=[0.55])
        assert torch.equal(weights(resumed), weights(straight))
        assert (tmp_path / "at55.safetensors").exists()

    def test_a_finished_run_does_nothing_more(self, tmp_path):
        model = tiny()
        run(model, out=tmp_path)
        again = tiny(seed=5)
        history = run(again, out=tmp_path, on_epoch=lambda *_: pytest.fail("an epoch was run"))
        assert len(history.history) == 4
        assert torch.equal(weights(again), weights(model))

    def test_log(self, tmp_path):
        history = run(tiny(), out=tmp_path)
        with open(tmp_path / "log.csv", newline="") as f:
            rows = list(csv.DictReader(f))
        assert list(rows[0]) == [*COLUMNS, "seconds"]
        assert [float(r["val_loss"]) for r in rows] == history["val_loss"]
        files = sorted(f.name for f in tmp_path.iterdir())
        assert files == ["log.csv", "model.safetensors", "state.safetensors"]
        assert load_model(tmp_path / "model.safetensors").classes == ("horizontal", "vertical")


class TestRefused:
    def test_another_training_set(self, tmp_path):
        data = stripes()
        train(tiny(), data, data, recipe(epochs=1), out=tmp_path, progress=False, device="cpu")
        other = replace(data, labels=data.labels.flip(0))
        with pytest.raises(CheckpointError, match="another data"):
            train(tiny(), other, data, recipe(epochs=1), out=tmp_path, progress=False, device="cpu")

    def test_another_recipe_model_or_task(self, tmp_path):
        r = recipe(epochs=1)
        run(tiny(), r, out=tmp_path)
        with pytest.raises(
            CheckpointError,
            match=r"another recipe \(there, here\): \{'lr': \(0.001, 0.002\)\}.*another folder",
        ):
            run(tiny(), recipe(epochs=1, lr=2e-3), out=tmp_path)
        with pytest.raises(CheckpointError, match=r"another config \(there, here\): \{'dim': \(32, 16\)\}"):
            run(tiny(dim=16), r, out=tmp_path)
        with pytest.raises(CheckpointError, match=r"another task .*'name': \('Classification', 'TwoViews'\)"):
            run(tiny(), r, task=TwoViews(r), out=tmp_path)
        run(tiny(), r, task=TwoViews(r), out=tmp_path / "views")
        with pytest.raises(CheckpointError, match=r"another task \(there, here\): \{'decay': \(0.9, 0.5\)\}"):
            run(tiny(), r, task=TwoViews(r, decay=0.5), out=tmp_path / "views")

    def test_a_finished_run_cannot_be_made_longer_and_says_so(self, tmp_path):
        run(tiny(), recipe(epochs=1), out=tmp_path)
        message = (
            r"has epochs=1; .* so it cannot go on to epochs=2\. Train anew in another folder, or start there"
        )
        with pytest.raises(CheckpointError, match=message):
            run(tiny(), recipe(epochs=2), out=tmp_path)

    def test_truncated_state(self, tmp_path):
        run(tiny(), recipe(epochs=1), out=tmp_path)
        state = tmp_path / "state.safetensors"
        state.write_bytes(state.read_bytes()[:-10])
        with pytest.raises(CheckpointError, match="truncated"):
            run(tiny(), recipe(epochs=1), out=tmp_path)
