"""What a task owns, and that classification is what it was before there were tasks."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from small_training import Bag, TwoViews, recipe, run, stripes, tiny, weights, with_dropout

from crate_mini.data.imageset import ImageSet
from crate_mini.figures import training_curves
from crate_mini.training import (
    Classification,
    Draws,
    Lion,
    Recipe,
    augment,
    draw_patches,
    evaluate,
    learning_rate,
)
from crate_mini.training.rng import seed_modules
from crate_mini.training.tasks import evaluation_batch

SETTINGS = {
    "adamw": {"lr": 3e-3},
    "lion": {"optimizer": "lion", "lr": 1e-3, "weight_decay": 0.3, "keep_patches": 0.5, "clip_norm": 0.5},
    "no smoothing": {"lr": 3e-3, "label_smoothing": 0.0, "flip": False, "seed": 7},
}


def straightforward(model: torch.nn.Module, data: ImageSet, r: Recipe) -> list[float]:
    """A classification written down as plainly as it can be; the mean loss of each epoch."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim == 2], "weight_decay": r.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim != 2], "weight_decay": 0.0},
    ]
    optimizer = {"adamw": torch.optim.AdamW, "lion": Lion}[r.optimizer](groups, lr=r.lr)
    steps = len(data) // r.batch_size
    model.train()
    curve = []
    for epoch in range(r.epochs):
        generator = torch.Generator().manual_seed(r.seed * 1_000_003 + epoch)
        order, total = torch.randperm(len(data), generator=generator), torch.zeros(())
        for step in range(steps):
            chosen = order[step * r.batch_size : (step + 1) * r.batch_size]
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(r, epoch * steps + step, steps)
            images = augment(data.images[chosen], r, generator)
            kept = draw_patches(r.batch_size, 4, r.keep_patches, generator)
            logits = model(images) if kept is None else model(images, kept)
            loss = F.cross_entropy(logits, data.labels[chosen], label_smoothing=r.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            if r.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), r.clip_norm)
            optimizer.step()
            total += loss.detach()
        curve.append(total.item() / steps)
    return curve


class TestClassification:
    @pytest.mark.parametrize("settings", SETTINGS.values(), ids=list(SETTINGS))
    @pytest.mark.parametrize("make", [tiny, Bag])
    def test_is_the_plain_loop_bit_for_bit(self, settings, make):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            r, plain, ours = recipe(**settings), make(), make()
            curve, history = straightforward(plain, stripes(), r), run(ours, r)
        finally:
            torch.set_num_threads(threads)
        assert history["train_loss"] == curve
        assert torch.equal(weights(ours), weights(plain))

    @pytest.mark.parametrize(
        ("name", "train_loss", "val_loss", "val_top1", "norms"),
        [
            (
                "adamw",
                [0.80596673, 0.77499819, 0.66091585, 0.6476174],
                [0.68610859, 0.6537475, 0.64578646, 0.64529645],
                [0.4375, 0.5, 0.8125, 0.8125],
                [2.4853481, 0.7496691, 3.4448454, 0.021249, 1.0942836, 0.6307721],
            ),
            (
                "lion",
                [0.88572693, 0.75058377, 0.70068508, 0.69010657],
                [0.76918346, 0.58969414, 0.58469754, 0.57894593],
                [0.5, 0.6875, 0.6875, 0.6875],
                [2.4526458, 0.7561856, 3.4568916, 0.0195324, 1.1070681, 0.6309506],
            ),
        ],
    )
    def test_numbers_of_before_there_were_tasks(self, name, train_loss, val_loss, val_top1, norms):
        """Written down at commit 8083e8d: another draw, or another order of draws, gives other curves."""
        model = Bag()
        smoothing = {"label_smoothing": 0.0} if name == "lion" else {}
        history = run(model, recipe(**SETTINGS[name] | smoothing))
        assert history["train_loss"] == pytest.approx(train_loss, rel=1e-3)
        assert history["val_loss"] == pytest.approx(val_loss, rel=1e-3)
        assert history["val_top1"] == pytest.approx(val_top1, abs=0.07)
        assert [p.norm().item() for p in model.parameters()] == pytest.approx(norms, rel=1e-2)

    def test_same_draws_whatever_the_number_of_processes(self):
        r = recipe(keep_patches=0.5)
        task, images, labels = Classification(r), stripes(8).images, stripes(8).labels
        task.setup(tiny(), stripes(), stripes())
        whole = task.draw((images, labels), Draws(torch.Generator().manual_seed(3)))
        for rank in range(2):
            draws = Draws(torch.Generator().manual_seed(3), rank, 2)
            for ours, all_of_them in zip(
                task.draw((images[rank::2], labels[rank::2]), draws), whole, strict=True
            ):
                assert torch.equal(ours, all_of_them[rank::2])


class TestDraws:
    def test_shares_make_up_the_whole(self):
        alone = Draws(torch.Generator().manual_seed(1)).rand(6, 2)
        for rank in range(3):
            draws = Draws(torch.Generator().manual_seed(1), rank, 3)
            assert torch.equal(draws.rand(2, 2), alone[rank::3])
            assert torch.equal(draws.share(alone), alone[rank::3])

    def test_modules_draw_anew_for_each_step_and_process(self):
        """And the same again: nothing of what they have drawn before needs to be known."""
        torch.manual_seed(0)
        before = torch.get_rng_state()
        draws = []
        for at in ((0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 0), (0, 1, 0, 0), (1, 0, 0, 0), (0, 0, 0, 0)):
            seed_modules(torch.device("cpu"), *at)
            draws.append(tuple(F.dropout(torch.ones(64), 0.5).tolist()))
        torch.set_rng_state(before)
        assert draws[0] == draws[-1]
        assert len(set(draws)) == 5


class TestAnotherTask:
    def test_it_learns_and_its_own_modules_do(self):
        r = recipe(epochs=16, lr=3e-3)
        model, task = tiny(), TwoViews(r)
        start = weights(model)
        history = run(model, r, task=task)
        assert history["train_loss"][-1] < 0.5 * history["train_loss"][0]
        assert list(history.history[0]) == ["epoch", "lr", "train_loss", "val_distance", "seconds"]
        assert not torch.equal(weights(model), start)
        assert not task.training
        torch.manual_seed(0)
        tiny()  # what was drawn before
        assert not torch.equal(task.project.weight, torch.nn.Linear(2, 8).weight), "the projector was trained"
        assert not torch.equal(weights(task.teacher), weights(model))
        assert not torch.equal(weights(task.teacher), start), "the teacher has moved"
        assert all(p.grad is None for p in task.teacher.parameters())

    def test_after_a_step_is_after_the_optimizer(self):
        """The teacher's first move goes towards the weights that the first step has made."""
        r = recipe(epochs=1, batch_size=32)  # one step
        model, task = tiny(), TwoViews(r, decay=0.25)
        start = weights(model)
        run(model, r, task=task)
        torch.testing.assert_close(weights(task.teacher), start + 0.75 * (weights(model) - start))

    def test_metrics_that_were_not_promised(self):
        class Forgetful(Classification):
            metrics = ("loss", "top1")

        with pytest.raises(
            ValueError, match=r"Forgetful\.evaluate gave \['loss', 'top1', 'top5'\], but Forgetful\.m"
        ):
            run(tiny(), task=Forgetful(recipe()))

    def test_the_callers_generators_are_left_alone(self):
        torch.manual_seed(11)
        before = torch.get_rng_state()
        r = recipe(epochs=1)
        model = with_dropout(tiny())  # which seeds with 0
        torch.set_rng_state(before)
        run(model, r)
        assert torch.equal(torch.get_rng_state(), before)

    def test_dropout_differs_by_step_and_not_by_what_was_seeded_before(self):
        ends = []
        for seed in (1, 2):
            model = with_dropout(tiny())
            torch.manual_seed(seed)
            run(model, recipe(epochs=1))
            ends.append(weights(model))
        assert torch.equal(*ends)
        masks = []
        model = tiny()
        model.head.register_forward_pre_hook(
            lambda layer, given: masks.append(F.dropout(torch.ones(64), 0.5)) if layer.training else None
        )
        run(model, recipe(epochs=2))
        assert len({tuple(mask.tolist()) for mask in masks}) == 8, "every step has its own"


class TestEvaluateEvery:
    def test_rows_without_hold_none(self, tmp_path):
        measured = []

        class Counted(Classification):
            def evaluate(self, model, feed):
                measured.append(model.training)
                return super().evaluate(model, feed)

        every = run(tiny(), recipe(epochs=5))
        r = recipe(epochs=5, evaluate_every=2)
        history = run(tiny(), r, task=Counted(r), out=tmp_path)
        assert measured == [False] * 3
        assert history["train_loss"] == every["train_loss"]
        for column in ("val_loss", "val_top1", "val_top5"):
            a, b, c = every[column][1], every[column][3], every[column][4]  # the last epoch always
            assert history[column] == [None, a, None, b, c]
        rows = (tmp_path / "log.csv").read_text().splitlines()
        assert rows[1].split(",")[3:6] == ["", "", ""]
        assert all(rows[2].split(","))
        assert not math.isnan(history["seconds"][0])
        figure = training_curves({"every other": history.history})
        lines = [line.get_xydata().tolist() for ax in figure.axes for line in ax.lines]
        assert [[x for x, _ in line] for line in lines] == [[1, 2, 3, 4, 5], [2, 4, 5], [2, 4, 5]]
        assert [y for _, y in lines[2]] == [100 * b for b in history["val_top1"] if b is not None]


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

    def test_a_batch_that_suits_the_device(self):
        assert [evaluation_batch(torch.device(kind)) for kind in ("cpu", "cuda")] == [64, 256]
        sizes = []
        model = self.Fixed(torch.eye(2).repeat(50, 1))
        model.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
        data = self.data([0, 1] * 50)
        by_default, by_seven = evaluate(model, data), evaluate(model, data, batch_size=7)
        assert sizes == [64, 36] + [7] * 14 + [2]
        assert by_default == pytest.approx(by_seven, rel=1e-6)

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
