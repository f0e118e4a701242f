"""Training: it learns, it resumes exactly, and it says what is wrong."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from crate_mini import training
from crate_mini.checkpoints import CheckpointError, load_model, load_tensors
from crate_mini.data.imageset import ImageSet
from crate_mini.model import CRATE, create_model
from crate_mini.training import (
    Lion,
    Recipe,
    Run,
    augment,
    evaluate,
    learning_rate,
    make_optimizer,
    show_progress,
    train,
)

COLUMNS = ["epoch", "lr", "train_loss", "val_loss", "val_top1", "val_top5", "seconds"]


def tiny(seed: int = 0, **settings) -> CRATE:
    torch.manual_seed(seed)
    return create_model(
        "crate_nano", **{"dim": 32, "heads": 2, "depth": 2, "image_size": 16, "num_classes": 2} | settings
    )


def stripes(n: int = 32, seed: int = 0) -> ImageSet:
    """Two classes: horizontal or vertical stripes of any phase, with noise. A flip or a crop changes no label."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    phase = torch.randint(0, 4, (n, 1, 1), generator=g)
    bars = ((torch.arange(16)[None, :, None] + phase) // 2 % 2 * 200).expand(n, 16, 16)
    pictures = torch.where(labels[:, None, None] == 1, bars.mT, bars)[:, None].expand(n, 3, 16, 16)
    noisy = pictures + torch.randint(0, 56, (n, 3, 16, 16), generator=g)
    return ImageSet(
        images=noisy.to(torch.uint8), labels=labels, classes=("horizontal", "vertical"), name="stripes"
    )


def recipe(**settings) -> Recipe:
    return Recipe(**{"epochs": 4, "batch_size": 8, "warmup_epochs": 1.0, "crop_area": (0.7, 1.0)} | settings)


def weights(model: CRATE) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def run(model: CRATE, r: Recipe | None = None, **kwargs) -> Run:
    return train(model, stripes(), stripes(16, seed=1), r or recipe(), device="cpu", progress=False, **kwargs)


class TestLearning:
    @pytest.mark.parametrize(("optimizer", "lr"), [("adamw", 3e-3), ("lion", 5e-4)])
    def test_loss_falls_and_accuracy_rises(self, optimizer, lr):
        model = tiny()
        history = run(model, recipe(epochs=12, optimizer=optimizer, lr=lr))
        assert history["train_loss"][-1] < 0.7 * history["train_loss"][0]
        assert history["val_top1"][-1] >= 0.9
        assert not model.training
        assert evaluate(model, stripes(16, seed=1))["top1"] == history["val_top1"][-1]

    def test_history(self):
        history = run(tiny())
        assert [list(row) for row in history.history] == [COLUMNS] * 4
        assert history["epoch"] == [1, 2, 3, 4]
        assert history.minutes == pytest.approx(sum(history["seconds"]) / 60)

    def test_same_seed_same_weights_other_seed_others(self):
        models = [tiny(), tiny(), tiny()]
        torch.manual_seed(99)  # the global generator has no say
        for model, seed in zip(models, (0, 0, 1), strict=True):
            run(model, recipe(epochs=1, seed=seed))
        assert torch.equal(weights(models[0]), weights(models[1]))
        assert not torch.equal(weights(models[0]), weights(models[2]))

    def test_bfloat16(self):
        model = tiny()
        history = run(model, recipe(precision="bfloat16", epochs=2))
        assert all(math.isfinite(v) for v in history["train_loss"])
        assert weights(model).dtype == torch.float32
        narrow, wide = weights(model), tiny()
        run(wide, recipe(precision="float32", epochs=2))
        assert not torch.equal(narrow, weights(wide))  # it was used
        torch.testing.assert_close(narrow, weights(wide), rtol=0, atol=0.05)

    def test_a_batch_larger_than_the_set(self):
        assert len(run(tiny(), recipe(batch_size=500, epochs=1)).history) == 1

    def test_clipping(self, monkeypatch):
        norms = []
        step = torch.optim.AdamW.step

        def spy(self, *args, **kwargs):
            grads = [p.grad for g in self.param_groups for p in g["params"]]
            norms.append(torch.linalg.vector_norm(torch.stack([g.norm() for g in grads])).item())
            return step(self, *args, **kwargs)

        monkeypatch.setattr(torch.optim.AdamW, "step", spy)
        run(tiny(), recipe(epochs=1, clip_norm=1e-3))
        assert len(norms) == 4
        assert max(norms) <= 1e-3 * (1 + 1e-4)

    def test_on_epoch_sees_the_epoch_just_finished(self):
        seen = []
        run(tiny(), on_epoch=lambda epoch, model: seen.append((epoch, weights(model).sum().item())))
        assert [e for e, _ in seen] == [1, 2, 3, 4]
        assert len({w for _, w in seen}) == 4


class TestResume:
    @pytest.mark.parametrize("optimizer", ["adamw", "lion"])
    def test_stopped_and_resumed_is_bit_for_bit_straight(self, tmp_path, optimizer):
        straight, r = tiny(), recipe(optimizer=optimizer)
        whole = run(straight, r)

        class Stop(Exception):
            pass

        def stop(epoch, _):
            if epoch == 3:
                raise Stop  # after the work of epoch 3, before its state is saved

        with pytest.raises(Stop):
            run(tiny(), r, out=tmp_path, on_epoch=stop)
        assert not (tmp_path / "model.safetensors").exists()

        epochs = []
        resumed = tiny(seed=5)  # its own initialisation must not matter
        history = run(resumed, r, out=tmp_path, on_epoch=lambda epoch, _: epochs.append(epoch))
        assert epochs == [3, 4]
        assert torch.equal(weights(resumed), weights(straight))
        for column in COLUMNS[:-1]:
            assert history[column] == whole[column]
        assert torch.equal(weights(load_model(tmp_path / "model.safetensors")), weights(straight))

    def test_another_training_set_is_refused(self, tmp_path):
        data = stripes()
        train(tiny(), data, data, recipe(epochs=1), out=tmp_path, progress=False, device="cpu")
        other = replace(data, labels=data.labels.flip(0))
        with pytest.raises(CheckpointError, match="another data"):
            train(tiny(), other, data, recipe(epochs=1), out=tmp_path, progress=False, device="cpu")

    @pytest.mark.parametrize("save_minutes", [10.0, 0.0])
    def test_killed_for_real(self, tmp_path, save_minutes):
        """A process that ends by SIGKILL in the middle of its third epoch, saved after epochs or after every step."""
        script = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import test_training as t
steps = []
plain = t.training.augment
def augment(*args, **kwargs):
    steps.append(1)
    if len(steps) == 11:  # four steps an epoch
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(*args, **kwargs)
t.training.loop.augment = augment
t.run(t.tiny(), out=sys.argv[2], save_minutes=float(sys.argv[3]))
"""
        done = subprocess.run(
            [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path), str(save_minutes)],
            capture_output=True,
            text=True,
            check=False,
        )
        if os.name == "posix":
            assert done.returncode == -9, done.stderr
        with open(tmp_path / "log.csv", newline="") as f:
            assert [int(row["epoch"]) for row in csv.DictReader(f)] == [1, 2]
        assert load_tensors(tmp_path / "state.safetensors")[1]["step"] == (2 if save_minutes == 0 else 0)
        straight, resumed = tiny(), tiny(seed=5)
        whole, rest = run(straight), run(resumed, out=tmp_path)
        assert torch.equal(weights(resumed), weights(straight))
        assert rest["train_loss"] == whole["train_loss"]

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize("at", [6, 8])  # in the middle of an epoch, and in its last step
    @pytest.mark.parametrize("keep_patches", [1.0, 0.5])
    def test_interrupt_saves_the_step_and_resumes_exactly(
        self, tmp_path, monkeypatch, number, at, keep_patches
    ):
        r = recipe(keep_patches=keep_patches)
        calls, plain = [], augment

        def interrupted(*args, **kwargs):
            calls.append(1)
            if len(calls) == at:
                os.kill(os.getpid(), number)
            return plain(*args, **kwargs)

        before = signal.getsignal(number)
        monkeypatch.setattr(training.loop, "augment", interrupted)
        message = rf"stopped .*epoch 2.*saved in {tmp_path}, run the same again to go on"
        with pytest.raises(KeyboardInterrupt, match=message):
            run(tiny(), r, out=tmp_path)
        assert signal.getsignal(number) is before
        assert len(calls) == at, "the step at hand was finished, and no other begun"
        straight, resumed = tiny(), tiny(seed=5)
        whole, rest = run(straight, r), run(resumed, r, out=tmp_path)
        assert len(calls) == 16 + 16, "no step was done twice"
        assert torch.equal(weights(resumed), weights(straight))
        assert rest["train_loss"] == whole["train_loss"]

    def test_second_interrupt_is_immediate(self, monkeypatch):
        def impatient(*args, **kwargs):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("still running")

        monkeypatch.setattr(training.loop, "augment", impatient)
        with pytest.raises(KeyboardInterrupt):
            run(tiny())

    def test_full_disk_leaves_the_last_state_whole(self, tmp_path, monkeypatch):
        run(tiny(), recipe(epochs=4), out=tmp_path / "whole")

        def full(*args, **kwargs):
            raise OSError(28, "No space left on device", "state.safetensors")

        def fill(epoch, model):
            if epoch == 2:
                monkeypatch.setattr("crate_mini.checkpoints.save_file", full)

        with pytest.raises(OSError, match=r"No space left on device.*state.safetensors"):
            run(tiny(), recipe(epochs=4), out=tmp_path / "cut", on_epoch=fill)
        monkeypatch.undo()
        assert sorted(p.name for p in (tmp_path / "cut").iterdir()) == ["log.csv", "state.safetensors"]
        resumed = tiny(seed=5)
        run(resumed, recipe(epochs=4), out=tmp_path / "cut")
        assert torch.equal(weights(resumed), weights(load_model(tmp_path / "whole" / "model.safetensors")))

    @pytest.mark.skipif(sys.platform == "win32", reason="no limit to the size of files there")
    @pytest.mark.parametrize(("step", "name"), [(8, "state"), (9, "at55")])
    def test_disk_that_takes_no_more(self, tmp_path, monkeypatch, step, name):
        """The error as it really comes: from a step on, files may grow no further than 20 kB."""
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        calls, plain = [], augment

        def filling(*args, **kwargs):
            calls.append(1)
            if len(calls) == step:
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
            return plain(*args, **kwargs)

        monkeypatch.setattr(training.loop, "augment", filling)
        try:
            with pytest.raises(OSError, match=rf"could not write .*{name}\.safetensors .*full\?.*make room"):
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
        assert list(rows[0]) == COLUMNS
        assert [float(r["val_loss"]) for r in rows] == history["val_loss"]
        assert sorted(f.name for f in tmp_path.iterdir()) == [
            "log.csv",
            "model.safetensors",
            "state.safetensors",
        ]
        assert load_model(tmp_path / "model.safetensors").classes == ("horizontal", "vertical")

    def test_another_recipe_or_model(self, tmp_path):
        run(tiny(), recipe(epochs=1), out=tmp_path)
        with pytest.raises(
            CheckpointError, match=r"another recipe \(there, here\): \{'lr': \(0.001, 0.002\)\}"
        ):
            run(tiny(), recipe(epochs=1, lr=2e-3), out=tmp_path)
        with pytest.raises(CheckpointError, match=r"another config \(there, here\): \{'dim': \(32, 16\)\}"):
            run(tiny(dim=16), recipe(epochs=1), out=tmp_path)
        with pytest.raises(CheckpointError, match="or another folder to start anew"):
            run(tiny(), recipe(epochs=2), out=tmp_path)

    def test_truncated_state(self, tmp_path):
        run(tiny(), recipe(epochs=1), out=tmp_path)
        state = tmp_path / "state.safetensors"
        state.write_bytes(state.read_bytes()[:-10])
        with pytest.raises(CheckpointError, match="truncated"):
            run(tiny(), recipe(epochs=1), out=tmp_path)


class TestOnTheWay:
    def test_on_step(self, monkeypatch):
        monkeypatch.setattr(training.callbacks._Pace, "SECONDS", 0.0)
        rows = []
        history = run(tiny(), on_step=rows.append)
        assert [row["step"] for row in rows] == list(range(1, 17))
        assert [row["epoch"] for row in rows] == [e for e in (1, 2, 3, 4) for _ in range(4)]
        assert [row["lr"] for row in rows] == [learning_rate(recipe(), i, 4) for i in range(16)]
        assert all(row["images_per_second"] > 0 for row in rows)
        for epoch in range(4):
            losses = [row["train_loss"] for row in rows[4 * epoch : 4 * epoch + 4]]
            assert sum(losses) / 4 == pytest.approx(history["train_loss"][epoch], rel=1e-6)

    def test_on_step_is_not_called_more_often_than_twice_a_second(self, monkeypatch):
        monkeypatch.setattr(training.callbacks._Pace, "SECONDS", 1e9)
        rows = []
        history = run(tiny(), on_step=rows.append)
        (row,) = rows  # the last step alone, with the mean over all of them
        assert row["step"] == 16
        assert row["train_loss"] == pytest.approx(sum(history["train_loss"]) / 4, rel=1e-6)

    def test_save_at(self, tmp_path):
        r, start = recipe(), weights(tiny())
        run(tiny(), r, out=tmp_path, save_at=(0.5, 0.0, 0.07), card={"commit": "abc"})
        assert sorted(p.stem for p in tmp_path.glob("at*.safetensors")) == ["at00", "at07", "at50"]
        kept = {p.stem: load_model(p) for p in tmp_path.glob("at*.safetensors")}
        assert torch.equal(weights(kept["at00"]), start)
        assert kept["at07"].classes == ("horizontal", "vertical")
        halfway = []
        run(tiny(), r, on_epoch=lambda epoch, model: halfway.append(weights(model)))
        assert torch.equal(weights(kept["at50"]), halfway[1])  # 8 of 16 steps
        card = json.loads((tmp_path / "at07.json").read_text())
        assert (card["share"], card["step"], card["steps"], card["commit"]) == (0.07, 1, 16, "abc")
        assert Recipe.from_dict(card["recipe"]) == r

    @pytest.mark.parametrize("at", [3, 6, 7])  # before the mark's step, in it, and after it
    def test_save_at_is_exact_across_resume(self, tmp_path, monkeypatch, at):
        share = 0.38  # 6 of 16 steps
        run(tiny(), out=tmp_path / "straight", save_at=[share])
        calls, plain = [], augment

        def interrupted(*args, **kwargs):
            calls.append(1)
            if len(calls) == at:
                os.kill(os.getpid(), signal.SIGINT)
            return plain(*args, **kwargs)

        monkeypatch.setattr(training.loop, "augment", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tiny(), out=tmp_path / "cut", save_at=[share])
        run(tiny(seed=5), out=tmp_path / "cut", save_at=[share])
        straight, cut = (tmp_path / k / "at38.safetensors" for k in ("straight", "cut"))
        (ours, about), (theirs, its_about) = load_tensors(straight), load_tensors(cut)
        assert about == its_about
        assert all(torch.equal(ours[k], theirs[k]) for k in ours | theirs)
        # the checksums may differ: safetensors writes the entries of its header in any order
        cards = [
            json.loads(path.with_suffix(".json").read_text()) | {"sha256": ""} for path in (straight, cut)
        ]
        assert cards[0] == cards[1]

    def test_save_at_too_late(self, tmp_path):
        run(tiny(), recipe(epochs=1), out=tmp_path)
        with pytest.warns(UserWarning, match=r"is past 50%: .*train anew"):
            run(tiny(), recipe(epochs=1), out=tmp_path, save_at=[0.5])

    @pytest.mark.parametrize(
        ("shares", "message"),
        [
            ([1.0], "shares from 0 to 0.99 in whole percent, such as 0.05; got 1.0"),
            ([-0.1], "got -0.1"),
            ([0.5, 0.123], "got 0.123"),
            ([0.01, 0.02], r"16 steps are too few to tell the shares \[0.01, 0.02\] apart"),
        ],
    )
    def test_shares_that_cannot_be_kept(self, tmp_path, shares, message):
        with pytest.raises(ValueError, match=message):
            run(tiny(), out=tmp_path, save_at=shares)
        with pytest.raises(ValueError, match="save_at needs a folder"):
            run(tiny(), save_at=[0.5])


class TestTrouble:
    def test_loss_that_is_not_finite(self, tmp_path):
        def spoil(epoch, model):
            if epoch == 2:
                model.head.bias.data.fill_(float("nan"))

        with pytest.raises(FloatingPointError, match=r"loss is nan in epoch 3 .*lower the learning rate"):
            run(tiny(), on_epoch=spoil)

        model = tiny()
        run(model, recipe(epochs=4), out=tmp_path / "good")

        def spoil_later(epoch, model):
            if epoch == 2:
                model.norm.weight.register_hook(lambda grad: grad * float("nan"))

        with pytest.raises(FloatingPointError, match=r"in epoch 3 .*What was saved before is kept in"):
            run(tiny(), recipe(epochs=4), out=tmp_path / "bad", on_epoch=spoil_later)
        tensors, metadata = load_tensors(tmp_path / "bad" / "state.safetensors")
        assert len(metadata["history"]) == 2
        assert all(torch.isfinite(t).all() for t in tensors.values())
        rescued = tiny(seed=5)
        run(rescued, recipe(epochs=4), out=tmp_path / "bad")
        assert torch.equal(weights(rescued), weights(model))

    @pytest.mark.parametrize("bad", [2, -1])
    @pytest.mark.parametrize("which", [0, 1])
    def test_labels_outside_the_classes(self, bad, which):
        sets = [stripes(), stripes()]
        sets[which].labels[3] = bad
        low, high = min(bad, 0), max(bad, 1)
        with pytest.raises(
            ValueError,
            match=f"labels of 'stripes' run from {low} to {high}, .* classes 0 to 1; the first outside is image 3",
        ):
            train(tiny(), *sets, recipe(), progress=False)

    def test_no_images(self):
        with pytest.raises(ValueError, match="the set 'stripes' holds no images"):
            train(tiny(), stripes().subset([]), stripes(), recipe(), progress=False)

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ({"optimizer": "sgd"}, r"optimizer must be one of \('adamw', 'lion'\), got 'sgd'"),
            ({"precision": "float16"}, "precision must be 'auto', 'float32' or 'bfloat16'"),
            ({"epochs": 0}, "must be positive"),
            ({"batch_size": 0}, "must be positive"),
            ({"lr": 0.0}, "must be positive"),
            ({"crop_area": (0.0, 1.0)}, "crop_area must be"),
            ({"crop_area": (0.9, 0.5)}, "crop_area must be"),
            ({"crop_area": (0.5, 1.5)}, "crop_area must be"),
            ({"label_smoothing": 1.0}, "label_smoothing must lie"),
        ],
    )
    def test_recipe(self, bad, message, monkeypatch):
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        with pytest.raises(ValueError, match=message):
            Recipe(**bad)

    def test_recipe_from_json(self):
        r = recipe(optimizer="lion", clip_norm=1.0)
        values = asdict(r) | {"crop_area": list(r.crop_area)}
        assert Recipe.from_dict(values) == r
        with pytest.raises(ValueError, match=r"unknown settings \['momentum'\]; known are \['batch_size'"):
            Recipe.from_dict({"momentum": 0.9})


class TestSchedule:
    def test_values(self):
        r = Recipe(epochs=10, warmup_epochs=2.0, lr=1.0)
        lr = [learning_rate(r, i, 5) for i in range(50)]
        assert lr[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
        assert lr[10] == 1.0
        assert lr[30] == pytest.approx(0.5)  # half-way down the cosine
        assert 0 < lr[-1] < 0.005
        assert lr[10:] == sorted(lr[10:], reverse=True)

    @settings(max_examples=50, deadline=None)
    @given(epochs=st.integers(1, 20), warmup=st.floats(0, 5), steps=st.integers(1, 50))
    def test_stays_within_its_bounds(self, epochs, warmup, steps):
        r = Recipe(epochs=epochs, warmup_epochs=warmup, lr=0.3)
        assert all(0 < learning_rate(r, i, steps) <= 0.3 * (1 + 1e-9) for i in range(epochs * steps))

    def test_is_what_training_uses(self):
        r = recipe()
        assert run(tiny(), r)["lr"] == [learning_rate(r, 4 * e + 3, 4) for e in range(4)]


class TestAugmentation:
    def pictures(self, n: int = 64, size: int = 12, seed: int = 0) -> torch.Tensor:
        return torch.randint(
            0, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
        )

    def generator(self, seed: int = 0) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    def test_nothing_to_do_is_the_identity(self):
        x = self.pictures()
        out = augment(x, recipe(crop_area=(1.0, 1.0), flip=False), self.generator())
        torch.testing.assert_close(out, x / 255, rtol=0, atol=1e-5)

    def test_half_are_mirrored_and_exactly(self):
        x = self.pictures()
        out = augment(x, recipe(crop_area=(1.0, 1.0)), self.generator())
        same = torch.isclose(out, x / 255, atol=1e-5).flatten(1).all(1)
        mirrored = torch.isclose(out, x.flip(-1) / 255, atol=1e-5).flatten(1).all(1)
        assert (same ^ mirrored).all()
        assert 20 < mirrored.sum() < 44

    @settings(max_examples=25, deadline=None)
    @given(seed=st.integers(0, 10**6), low=st.floats(0.05, 0.99), size=st.sampled_from([4, 7, 16]))
    def test_stays_between_0_and_1_and_within_the_image(self, seed, low, size):
        out = augment(self.pictures(16, size, seed), recipe(crop_area=(low, 1.0)), self.generator(seed))
        assert out.min() >= 0
        assert out.max() <= 1
        # Coordinates as colours: what comes out is where it was read, so the boxes can be measured.
        # A box that left the image would be folded back by the reflection and its ramp would turn.
        centres = (torch.arange(size) + 0.5) / size
        x = torch.stack(
            [centres.expand(size, size), centres[:, None].expand(size, size), torch.zeros(size, size)]
        )
        out = augment(
            x.expand(16, 3, size, size), recipe(crop_area=(low, 1.0), flip=False), self.generator(seed)
        )
        across, down = out[:, 0].diff(dim=-1), out[:, 1].diff(dim=-2)
        assert across.min() >= -1e-5
        assert down.min() >= -1e-5
        assert out[:, 0].diff(dim=-2).abs().max() < 1e-5

    def test_areas_are_those_asked_for(self):
        size = 64
        centres = (torch.arange(size) + 0.5) / size
        x = torch.stack(
            [centres.expand(size, size), centres[:, None].expand(size, size), torch.zeros(size, size)]
        )
        out = augment(
            x.expand(500, 3, size, size), recipe(crop_area=(0.3, 0.5), flip=False), self.generator()
        )
        width = (out[:, 0, 0, 40] - out[:, 0, 0, 20]) / 20 * size
        height = (out[:, 1, 40, 0] - out[:, 1, 20, 0]) / 20 * size
        area, ratio = width * height, width / height
        assert area.min() > 0.3 - 1e-3
        assert area.max() < 0.5 + 1e-3
        assert area.mean().item() == pytest.approx(0.4, abs=0.01)
        assert ratio.min() > 3 / 4 - 1e-3
        assert ratio.max() < 4 / 3 + 1e-3
        assert ratio.log().mean().abs() < 0.03
        left = out[:, 0, 0, 0] - 0.5 * width / size
        assert left.min() < 0.02  # boxes reach both borders
        assert (left + width).max() > 0.98

    def test_seed(self):
        x = self.pictures()
        once, again, other = (augment(x, recipe(), self.generator(s)) for s in (3, 3, 4))
        assert torch.equal(once, again)
        assert not torch.equal(once, other)

    def test_each_image_has_its_own_box(self):
        x = self.pictures(1).expand(8, 3, 12, 12)
        out = augment(x, recipe(), self.generator())
        assert len({tuple(o.flatten().tolist()) for o in out}) == 8


class TestOptimizers:
    def test_lion_is_its_formula(self):
        g = torch.Generator().manual_seed(0)
        start = torch.randn(5, 3, generator=g, dtype=torch.float64)
        p = start.clone().requires_grad_()
        lion = Lion([p], lr=0.03, betas=(0.8, 0.95), weight_decay=0.2)
        theta, m = start.clone(), torch.zeros_like(start)
        for _ in range(6):
            grad = torch.randn(5, 3, generator=g, dtype=torch.float64)
            p.grad = grad.clone()
            lion.step()
            theta = (1 - 0.03 * 0.2) * theta - 0.03 * torch.sign(0.8 * m + 0.2 * grad)
            m = 0.95 * m + 0.05 * grad
            torch.testing.assert_close(p.detach(), theta, rtol=0, atol=1e-12)
            torch.testing.assert_close(lion.state[p]["exp_avg"], m, rtol=0, atol=1e-12)
            torch.testing.assert_close(p.grad, grad, rtol=0, atol=0)

    def test_lion_leaves_what_has_no_gradient(self):
        p, q = (torch.ones(2, requires_grad=True) for _ in range(2))
        lion = Lion([p, q], lr=0.1, weight_decay=0.5)
        p.grad = torch.ones(2)
        lion.step()
        assert torch.equal(q.detach(), torch.ones(2))
        assert (p < 1).all()
        assert lion.step(lambda: (p * q).sum()).item() == pytest.approx((p * 1).sum().item(), abs=0.5)

    @pytest.mark.parametrize("optimizer", ["adamw", "lion"])
    def test_decay_acts_on_matrices_only(self, optimizer):
        model = tiny(attention="mhsa", feed="mlp")
        names = {p: n for n, p in model.named_parameters()}
        decayed, free = make_optimizer(model, recipe(optimizer=optimizer, weight_decay=0.3)).param_groups
        assert decayed["weight_decay"] == 0.3
        assert free["weight_decay"] == 0
        assert all(p.ndim == 2 for p in decayed["params"])
        free_names = {names[p] for p in free["params"]}
        assert {"embedding.cls_token", "embedding.position", "head.bias", "encoder.norm.weight"} <= free_names
        assert "head.weight" not in free_names
        assert len(decayed["params"]) + len(free["params"]) == len(names)

    @pytest.mark.parametrize(
        ("optimizer", "device", "fused"), [("adamw", "cuda", True), ("adamw", "cpu", False)]
    )
    def test_fused_on_a_gpu_only(self, monkeypatch, optimizer, device, fused):
        asked = {}
        plain = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        monkeypatch.setitem(
            training.OPTIMIZERS, optimizer, lambda _, **options: asked.update(options) or plain
        )

        class Somewhere(torch.nn.Module):
            def named_parameters(self):
                return iter([("w", SimpleNamespace(ndim=2, device=torch.device(device)))])

        make_optimizer(Somewhere(), recipe(optimizer=optimizer))
        assert asked.get("fused", False) is fused


class TestEvaluation:
    class Fixed(torch.nn.Module):
        """Logits that depend on nothing but the first pixel, which holds the number of the image."""

        def __init__(self, logits: torch.Tensor) -> None:
            super().__init__()
            self.logits = torch.nn.Parameter(logits)

        def forward(self, images):
            assert not self.training
            return self.logits[images[:, 0, 0, 0].long()]

    def data(self, labels: list[int]) -> ImageSet:
        images = torch.zeros(len(labels), 3, 8, 8, dtype=torch.uint8)
        images[:, 0, 0, 0] = torch.arange(len(labels))
        return ImageSet(images=images, labels=torch.tensor(labels))

    def test_numbers(self):
        logits = torch.tensor([[3.0, 2, 1, 0], [0, 1, 2, 3], [1, 4, 2, 3], [9, 1, 2, 3]])
        data = self.data([0, 2, 3, 1])  # ranks 1, 2, 2, 4
        scores = evaluate(self.Fixed(logits), data, batch_size=3, top=(1, 2, 3))
        assert (scores["top1"], scores["top2"], scores["top3"]) == (0.25, 0.75, 0.75)
        by_hand = -sum(logits[i].softmax(0)[label].log().item() for i, label in enumerate([0, 2, 3, 1])) / 4
        assert scores["loss"] == pytest.approx(by_hand, rel=1e-5)

    def test_fewer_classes_than_k(self):
        scores = evaluate(self.Fixed(torch.eye(2)), self.data([0, 0]))
        assert scores["top1"] == 0.5
        assert scores["top5"] == 1

    @pytest.mark.parametrize("mode", [True, False])
    def test_mode_is_restored(self, mode):
        model = self.Fixed(torch.eye(2)).train(mode)
        evaluate(model, self.data([0, 1]))
        assert model.training is mode
        assert model.logits.grad is None


class TestProgress:
    def test_off_in_the_book(self, monkeypatch, capfd):
        monkeypatch.setenv("CRATE_MINI_BOOK", "1")
        assert not show_progress()
        assert show_progress(True)
        train(tiny(), stripes(8), stripes(8), recipe(epochs=1), device="cpu")
        assert capfd.readouterr() == ("", "")

    def test_on_elsewhere(self, monkeypatch, capfd):
        monkeypatch.delenv("CRATE_MINI_BOOK", raising=False)
        train(tiny(), stripes(8), stripes(8), recipe(epochs=1), device="cpu")
        assert "1/1" in capfd.readouterr().err
        assert not show_progress(False)


def test_batches_cover_the_set_once_and_differ_by_epoch():
    epochs = [training.loop._order(10, 3, 0, e)[0].flatten() for e in (0, 1)]
    assert all(len(e) == 9 and len(set(e.tolist())) == 9 for e in epochs)
    assert not torch.equal(*epochs)


def test_recipe_is_a_value():
    assert recipe() == replace(recipe(), lr=1e-3)
    with pytest.raises(AttributeError):
        recipe().lr = 1


class Waits(TorchDispatchMode):
    """Counts what would make the host wait for a GPU: values that Python wants to know, sizes that depend on them."""

    OPS = ("_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select", "_unique2", "unique_dim")

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in self.OPS:
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("settings", [{}, {"keep_patches": 0.5, "clip_norm": 1.0, "precision": "bfloat16"}])
def test_no_step_waits_for_the_device(monkeypatch, settings):
    """Twice the steps, and not one look more. With Lion, for AdamW looks at its own count of steps on a CPU."""
    monkeypatch.setattr(training.callbacks._Pace, "SECONDS", 1e9)  # it may look twice a second
    counts = []
    for n in (32, 64):
        with Waits() as waits:
            r = recipe(epochs=1, optimizer="lion", lr=1e-4, **settings)
            train(tiny(), stripes(n), stripes(16), r, device="cpu", progress=False, on_step=lambda row: None)
        counts.append(len(waits.seen))
    assert counts[0] == counts[1] > 0, waits.seen


class TestFewerPatches:
    def test_draws_differ_by_image_and_hold_no_patch_twice(self):
        kept = training.draw_patches(50, 64, 0.5, torch.Generator().manual_seed(0))
        assert kept.shape == (50, 32)
        assert all(len(set(row)) == 32 for row in kept.tolist())
        assert len({tuple(sorted(row)) for row in kept.tolist()}) == 50
        assert torch.bincount(kept.flatten(), minlength=64).min() > 10, "every patch has its turn"

    def test_processes_together_draw_what_one_draws(self):
        alone = training.draw_patches(6, 16, 0.5, torch.Generator().manual_seed(3))
        for rank in range(2):
            generator = torch.Generator().manual_seed(3)
            assert torch.equal(
                training.draw_patches(6, 16, 0.5, generator, rank=rank, world_size=2), alone[rank::2]
            )

    def test_at_least_one_stays_and_all_stay_without_a_draw(self):
        generator = torch.Generator().manual_seed(0)
        assert training.draw_patches(3, 4, 0.01, generator).shape == (3, 1)
        before = generator.get_state()
        assert training.draw_patches(3, 4, 1.0, generator) is None
        assert torch.equal(generator.get_state(), before)

    def test_model_sees_the_kept_patches_and_no_other(self):
        model, images = tiny().eval(), stripes().images[:4]
        kept = torch.tensor([[0, 2], [1, 3], [3, 0], [2, 1]])
        Z = model.tokens(images)
        for i in range(4):
            z = torch.cat([Z[i, :1], Z[i, 1:][kept[i]]])[None]
            for block in model.blocks:
                z = block(z)
            torch.testing.assert_close(model(images, kept)[i], model.head(model.norm(z[:, 0]))[0])
        everything = torch.arange(Z.shape[1] - 1).flip(0).expand(4, -1)
        torch.testing.assert_close(model(images, everything), model(images))

    @pytest.mark.parametrize("share", [0.0, -0.5, 1.5])
    def test_share_outside_is_refused(self, share):
        with pytest.raises(ValueError, match="keep_patches"):
            recipe(keep_patches=share)
