"""The loop: it learns, tells, keeps weights on the way, and says what is wrong."""

from __future__ import annotations

import json
import math

import pytest
import torch
from small_training import at_draw, interrupt, recipe, run, stripes, tiny, weights
from torch.utils._python_dispatch import TorchDispatchMode

from crate_mini import training
from crate_mini.training import Classification, Recipe, evaluate, learning_rate, show_progress, train
from crate_mini.weights import load_model, load_tensors

COLUMNS = ["epoch", "lr", "train_loss", "val_loss", "val_top1", "val_top5", "seconds"]


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


class TestOnTheWay:
    def test_on_step(self, monkeypatch):
        monkeypatch.setattr(training.callbacks.Pace, "SECONDS", 0.0)
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
        monkeypatch.setattr(training.callbacks.Pace, "SECONDS", 1e9)
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
    def test_save_at_is_exact_across_resume(self, tmp_path, at):
        share = 0.38  # 6 of 16 steps
        run(tiny(), out=tmp_path / "straight", save_at=[share])
        with at_draw(Classification, at, interrupt), pytest.raises(KeyboardInterrupt):
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
        with pytest.raises(ValueError, match="the set 'stripes' is empty"):
            train(tiny(), stripes().subset([]), stripes(), recipe(), progress=False)


class TestProgress:
    def test_off_in_the_book(self, monkeypatch, capfd, watched):
        monkeypatch.setenv("CRATE_MINI_BOOK", "1")
        assert not show_progress()
        assert show_progress(True)
        train(tiny(), stripes(8), stripes(8), recipe(epochs=1), device="cpu")
        assert capfd.readouterr() == ("", "")

    def test_on_elsewhere(self, monkeypatch, capfd, watched):
        monkeypatch.delenv("CRATE_MINI_BOOK", raising=False)
        train(tiny(), stripes(8), stripes(8), recipe(epochs=1), device="cpu")
        assert "1/1" in capfd.readouterr().err
        assert not show_progress(False)


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
    monkeypatch.setattr(training.callbacks.Pace, "SECONDS", 1e9)  # it may look twice a second
    counts = []
    for n in (32, 64):
        with Waits() as waits:
            r = recipe(epochs=1, optimizer="lion", lr=1e-4, **settings)
            train(tiny(), stripes(n), stripes(16), r, device="cpu", progress=False, on_step=lambda row: None)
        counts.append(len(waits.seen))
    assert counts[0] == counts[1] > 0, waits.seen
