"""Learning without labels: losses against their equations, the values of a collapse, what a step draws and leaves."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import small_training
import torch
import torch.nn.functional as F
from small_training import at_draw, interrupt, recipe, run, state_of, stripes, tiny, weights

from crate_mini.model import create_model
from crate_mini.neighbours import neighbour_votes
from crate_mini.rates import coding_rate, largest_rate
from crate_mini.training import DINO, TASKS, Draws, SimDINO, train
from crate_mini.training.selfsupervised import (
    METER_EPS_SQ,
    Projector,
    alignment,
    dino_loss,
    moved_centre,
    settings_of,
    simdino_gamma,
    simdino_loss,
    teacher_momentum,
)
from crate_mini.training.views import draw_views, jitter
from crate_mini.transfer import linear_probe
from crate_mini.weights import load_model

SMALL = {"small": 1, "small_size": 8, "hidden": 16, "features": 8}
MADE = {
    "simdino": lambda r: SimDINO(r, **SMALL),
    "dino": lambda r: DINO(r, prototypes=12, frozen_epochs=0.75, **SMALL),
}
each_task = pytest.mark.parametrize("name", list(MADE))


def fill(shape: tuple[int, ...], a: float, c: float = 1.0) -> torch.Tensor:
    """Numbers that nothing draws: entry ``t``, counted row by row, is ``c sin(a + 1.7 t)``."""
    t = torch.arange(math.prod(shape), dtype=torch.float64)
    return (c * torch.sin(a + 1.7 * t)).view(shape)


def rows(views: int, images: int = 6, features: int = 5, seed: int = 0) -> torch.Tensor:
    """Rows of length one."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(views, images, features, generator=generator, dtype=torch.float64), dim=-1)


class TestSimDINOLoss:
    """Six decimals of arXiv 2502.10385's loss as its code has it, computed apart from any code of ours."""

    teacher = F.normalize(fill((2, 4, 3), 0.4), dim=-1)
    student = F.normalize(fill((3, 4, 3), 1.3), dim=-1)

    def test_alignment(self):
        assert alignment(self.teacher, self.student).item() == pytest.approx(-0.335846, abs=1e-6)

    @pytest.mark.parametrize(("coded", "rate"), [("student", 3.384902), ("mean", 3.176821)])
    def test_rate(self, coded, rate):
        whole, none = (
            simdino_loss(self.teacher, self.student, eps_sq=0.05, gamma=g, coded=coded) for g in (1.0, 0.0)
        )
        assert (none - whole).item() == pytest.approx(rate, abs=1e-6)

    @pytest.mark.parametrize(("coded", "loss"), [("student", -1.638681), ("mean", -1.517300)])
    def test_loss(self, coded, loss):
        gamma = simdino_gamma(4, 3)
        assert gamma == pytest.approx(0.583333, abs=1e-6)
        found = simdino_loss(self.teacher, self.student, eps_sq=0.05, gamma=gamma, coded=coded)
        assert found.item() == pytest.approx(loss, abs=1e-6)

    def test_the_rate_is_half_a_log_determinant(self):
        """Written out once more, by the other of the two determinants."""
        teacher, student = rows(2), rows(4, seed=1)
        found = simdino_loss(teacher, student, eps_sq=0.3, gamma=0.7, coded="student")
        cosine = sum((teacher[i] * student[v]).sum(-1).mean() for i in range(2) for v in range(4) if i != v)
        rate = sum(
            0.5 * torch.linalg.slogdet(torch.eye(6) + 5 / (6 * 0.3) * student[i] @ student[i].T)[1]
            for i in range(2)
        )
        torch.testing.assert_close(found, -cosine / 6 - 0.7 * rate / 2)

    @pytest.mark.parametrize("coded", ["student", "mean"])
    def test_gradient(self, coded):
        teacher, student = rows(2), rows(3, seed=1).requires_grad_()
        loss = lambda s: simdino_loss(teacher, s, eps_sq=0.2, gamma=0.5, coded=coded)  # noqa: E731
        assert torch.autograd.gradcheck(loss, student)

    def test_coding_the_mean_halves_what_the_student_is_pushed_by(self):
        teacher = rows(2)
        pushes = []
        for coded in ("student", "mean"):
            student = teacher.clone().requires_grad_()
            rate = -simdino_loss(teacher, student, eps_sq=0.2, gamma=1.0, coded=coded) - alignment(
                teacher, student
            )
            pushes.append(torch.autograd.grad(rate, student)[0])
        torch.testing.assert_close(pushes[1], pushes[0] / 2)

    def test_the_order_of_images_says_nothing(self):
        teacher, student = rows(2), rows(3, seed=1)
        order = torch.tensor([3, 1, 5, 0, 4, 2])
        settings = {"eps_sq": 0.2, "gamma": 0.5}
        torch.testing.assert_close(
            simdino_loss(teacher[:, order], student[:, order], **settings),
            simdino_loss(teacher, student, **settings),
        )

    def test_where_all_images_look_alike(self):
        """Alignment is whole, and what is left of the rate is that of one direction."""
        one = F.normalize(torch.ones(1, 1, 5, dtype=torch.float64), dim=-1)
        same = one.expand(2, 6, 5)
        found = simdino_loss(same, one.expand(4, 6, 5), eps_sq=0.05, gamma=1.0)
        assert found.item() == pytest.approx(-1 - 0.5 * math.log1p(5 / 0.05))

    @pytest.mark.parametrize(
        ("images", "processes", "eps_sq", "worth"),
        [(64, 8, 0.05, 0.450), (64, 1, 0.05, 2.75), (75, 32, 0.05, 0.185)],
    )
    def test_what_the_released_weight_is_worth(self, images, processes, eps_sq, worth):
        """Not summed over processes, the rate is of the images here, but divided by those of all."""
        most = largest_rate(images, 256, eps_sq * processes)
        assert simdino_gamma(images, 256, processes) * most == pytest.approx(worth, abs=0.005)

    def test_refused(self):
        with pytest.raises(ValueError, match="coded must be 'student' or 'mean', got 'both'"):
            simdino_loss(rows(2), rows(3), eps_sq=0.1, gamma=1.0, coded="both")
        with pytest.raises(FloatingPointError, match="NaN or infinite; lower the learning rate"):
            simdino_loss(rows(2), rows(3) * torch.nan, eps_sq=0.1, gamma=1.0)


class TestLargestRate:
    @pytest.mark.parametrize(("n", "d"), [(4, 7), (7, 4), (5, 5)])
    def test_is_reached_and_never_passed(self, n, d):
        generator = torch.Generator().manual_seed(0)
        best = torch.linalg.qr(torch.randn(max(n, d), min(n, d), generator=generator, dtype=torch.float64))[0]
        best = best.mT if n < d else best * math.sqrt(n / d)  # singular values agree
        most = largest_rate(n, d, 0.1)
        assert coding_rate(best, 0.1).item() == pytest.approx(most)
        for seed in range(5):
            assert coding_rate(rows(1, n, d, seed)[0], 0.1).item() < most

    @pytest.mark.parametrize(("n", "d", "eps_sq"), [(0, 2, 0.1), (2, 0, 0.1), (2, 2, 0.0)])
    def test_refused(self, n, d, eps_sq):
        with pytest.raises(ValueError, match="n and d must be at least 1 and eps_sq positive"):
            largest_rate(n, d, eps_sq)


class TestDINOLoss:
    def test_loss_and_centre(self):
        """Six decimals, as above."""
        teacher, student, centre = fill((2, 2, 5), 0.6), fill((3, 2, 5), 1.9), fill((5,), 0.1, 0.2)
        assert dino_loss(teacher, student, centre).item() == pytest.approx(9.853904, abs=1e-6)
        moved = [0.036926, 0.191715, -0.086328, -0.169469, 0.129999]
        assert moved_centre(centre, teacher.mean((0, 1))).tolist() == pytest.approx(moved, abs=1e-6)

    @pytest.mark.parametrize("prototypes", [4096, 1024])
    def test_where_nobody_prefers_anything(self, prototypes):
        alike = torch.zeros(2, 3, prototypes, dtype=torch.float64)
        found = dino_loss(alike, torch.zeros(4, 3, prototypes, dtype=torch.float64), alike[0, 0])
        assert found.item() == pytest.approx(math.log(prototypes))
        assert prototypes != 4096 or found.item() == pytest.approx(8.317766, abs=1e-6)

    def test_where_all_choose_one(self):
        one = torch.zeros(3, 3, 8, dtype=torch.float64)
        one[..., 2] = 10
        assert dino_loss(one[:2], one, torch.zeros(8)).item() == pytest.approx(0, abs=1e-9)
        centred = dino_loss(one[:2], one, one[0, 0])  # the centre takes that away
        assert centred.item() > 80

    def test_gradient_goes_to_the_student_alone(self):
        teacher, centre = fill((2, 3, 4), 0.6), fill((4,), 0.1)
        student = fill((3, 3, 4), 1.9).requires_grad_()
        assert torch.autograd.gradcheck(lambda s: dino_loss(teacher, s, centre), student)

    def test_the_order_of_images_says_nothing(self):
        teacher, student, centre = fill((2, 3, 4), 0.6), fill((3, 3, 4), 1.9), fill((4,), 0.1)
        order = torch.tensor([2, 0, 1])
        torch.testing.assert_close(
            dino_loss(teacher[:, order], student[:, order], centre), dino_loss(teacher, student, centre)
        )


class TestViews:
    def drawn(self, rank: int = 0, world: int = 1, keep: float = 0.5):
        draws = Draws(torch.Generator().manual_seed(3), rank, world)
        images = stripes(8).images[rank::world]
        settings = {"small": 2, "small_area": (0.1, 0.4), "small_size": 8, "patches": 4}
        return draw_views([images], recipe(keep_patches=keep), draws, **settings)

    def test_shapes_and_range(self):
        views = self.drawn()
        assert views.large.shape == (2, 8, 3, 16, 16)
        assert views.small.shape == (2, 8, 3, 8, 8)
        assert views.kept.shape == (16, 2)
        assert self.drawn(keep=1.0).kept is None
        for part in (views.large, views.small):
            assert part.min() >= 0
            assert part.max() <= 1
        assert not torch.equal(views.large[0], views.large[1])

    def test_the_same_whatever_the_number_of_processes(self):
        whole = self.drawn()
        for rank in range(2):
            part = self.drawn(rank, 2)
            torch.testing.assert_close(part.large, whole.large[:, rank::2])
            torch.testing.assert_close(part.small, whole.small[:, rank::2])
            assert torch.equal(part.kept.view(2, 4, 2), whole.kept.view(2, 8, 2)[:, rank::2])

    def test_several_pictures_take_turns(self):
        dark, light = (torch.full((4, 3, 16, 16), v) for v in (0.0, 1.0))
        how = {"small": 3, "small_area": (0.2, 0.4), "small_size": 8, "patches": 16}
        views = draw_views([dark, light], recipe(), Draws(torch.Generator().manual_seed(0)), **how)
        means = [v.flatten(1).mean(1) for v in (views.large, views.small)]
        assert [(m > 0.3).tolist() for m in means] == [[False, True], [False, True, False]]

    def test_colours(self):
        images = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25
        none = torch.tensor([[0.5, 0.5, 0.5, 0.5, 0.0, 0.9]]).expand(3, 6)
        torch.testing.assert_close(jitter(images, none), images, atol=2e-3, rtol=0)
        assert torch.equal(jitter(images, none + torch.tensor([0.4, 0, 0, 0, 0.9, 0])), images)
        grey = jitter(images, none - torch.tensor([0, 0, 0, 0, 0, 0.8]))
        assert (grey - grey[:, :1]).abs().max() < 1e-6
        bright = jitter(images, none + torch.tensor([0.25, 0, 0, 0, 0, 0]))
        torch.testing.assert_close(bright, (1.2 * images).clamp(0, 1), atol=2e-3, rtol=0)
        turned = jitter(images, none + torch.tensor([0, 0, 0, 0.4, 0, 0]))
        luma = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
        torch.testing.assert_close((luma * turned).sum(1), (luma * images).sum(1), atol=5e-3, rtol=0)
        assert (turned - images).abs().max() > 0.02


class TestTask:
    def test_the_teacher_keeps_more_and_more_of_itself(self):
        assert [teacher_momentum(0.9, step, 10) for step in (0, 5, 10, 12)] == pytest.approx(
            [0.9, 0.95, 1, 1]
        )

    def test_projector(self):
        x = Projector(6, 16, 8)(torch.randn(5, 6, generator=torch.Generator().manual_seed(0)))
        torch.testing.assert_close(x.norm(dim=-1), torch.ones(5))

    @each_task
    def test_student_and_teacher_move(self, name):
        r = recipe(lr=3e-3)
        task, model = MADE[name](r), tiny(num_classes=1)
        start = weights(model)
        history = run(model, r, task=task)
        assert list(history.history[0])[3:-1] == ["val_loss", "val_alignment", "val_rate", "val_knn"]
        assert all(math.isfinite(v) for row in history.history for v in row.values())
        assert len({tuple(w.tolist()) for w in (start, weights(model), weights(task.teacher))}) == 3
        assert all(p.grad is None for p in (*task.teacher.parameters(), *task.teacher_head.parameters()))
        assert task.outcome(model) is task.teacher

    def test_it_learns(self):
        r = recipe(epochs=12, lr=3e-3)
        history = run(tiny(num_classes=1), r, task=SimDINO(r, **SMALL))
        assert history["train_loss"][-1] < history["train_loss"][0] - 0.05

    def test_the_first_step_of_the_teacher(self):
        r = recipe(epochs=1, batch_size=32)  # one step
        model, task = tiny(num_classes=1), SimDINO(r, momentum=0.25, **SMALL)
        start = weights(model)
        run(model, r, task=task)
        torch.testing.assert_close(weights(task.teacher), start + 0.75 * (weights(model) - start))

    def test_nothing_keeps_features_apart_without_the_rate(self):
        """Alignment goes to 1, the rate to that of one direction; with the rate, to more."""
        ends = {}
        for weight in (0.0, 2.0):
            r = recipe(epochs=12, lr=3e-3)
            task = SimDINO(r, weight=weight, eps_sq=0.05, momentum=0.5, **SMALL)
            ends[weight] = run(tiny(num_classes=1), r, task=task).history[-1]
        floor = 0.5 * math.log1p(8 / METER_EPS_SQ) / largest_rate(8, 8, METER_EPS_SQ)
        assert ends[0.0]["val_alignment"] > 0.99
        assert ends[0.0]["val_rate"] == pytest.approx(floor, abs=0.05)
        assert ends[2.0]["val_rate"] > ends[0.0]["val_rate"] + 0.1

    def test_prototypes_stay_in_the_first_epochs(self):
        r = recipe(epochs=2)
        task = DINO(r, prototypes=12, frozen_epochs=1.0, **SMALL)
        seen = []
        run(
            tiny(num_classes=1), r, task=task,
            on_epoch=lambda epoch, _: seen.append(task.head[1].weight.detach().clone()),
        )  # fmt: skip
        task.setup(tiny(num_classes=1), stripes(), stripes(16, seed=1))
        assert torch.equal(seen[0], task.head[1].weight)
        assert not torch.equal(seen[1], seen[0])

    def test_labels_change_nothing_but_what_is_measured(self):
        r, data = recipe(), stripes()
        ends, columns = [], []
        for labels, classes in ((data.labels, data.classes), (torch.zeros(32, dtype=torch.long), ())):
            model, task = tiny(num_classes=1), MADE["simdino"](r)
            held = replace(data, labels=labels, classes=classes)
            history = train(model, held, held, r, task=task, device="cpu", progress=False)
            ends.append(weights(task.outcome(model)))
            columns.append(set(history.history[0]))
        assert torch.equal(*ends)
        assert columns[0] - columns[1] == {"val_knn"}

    @each_task
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision(self, name, dtype):
        """Losses and gradients of the same views; what is compared is compared in single precision."""
        found = []
        for kind in (torch.float32, dtype):
            r, model = recipe(), tiny(num_classes=1).train()
            task = MADE[name](r)
            task.setup(model, stripes(), stripes(16, seed=1))
            task.step = task.steps // 2  # where the prototypes learn, too
            drawn = task.train().draw(
                (stripes(8).images, stripes(8).labels), Draws(torch.Generator().manual_seed(0))
            )
            with torch.autocast("cpu", dtype=kind, enabled=kind != torch.float32):
                loss = task.loss(model, drawn)
            loss.backward()
            grads = [p.grad for p in (*model.encoder.parameters(), *task.head.parameters())]
            found.append((loss, torch.cat([g.flatten() for g in grads])))
        (full, exact), (half, rounded) = found
        assert full.dtype == half.dtype == torch.float32
        torch.testing.assert_close(half, full, rtol=0.03, atol=0.03)
        assert F.cosine_similarity(exact, rounded, dim=0) > 0.98

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"features": 1}, "features must be a whole number, 2 or more; got 1"),
            ({"momentum": 1.5}, "momentum must lie in 0 to 1, got 1.5"),
            ({"small_area": (0.5, 0.1)}, "small_area must be 0 < smallest <= largest"),
            ({"weight": -1.0}, "weight must not be negative"),
            ({"coded": "all"}, "coded must be 'student' or 'mean', got 'all'"),
        ],
    )
    def test_settings_refused(self, settings, message):
        with pytest.raises(ValueError, match=message):
            SimDINO(recipe(), **settings)

    def test_more_refused(self):
        with pytest.raises(ValueError, match="SimDINO runs the network as it is: train with compile=False"):
            SimDINO(recipe(compile=True))
        with pytest.raises(ValueError, match="small_size must be a multiple of the patch, 8; got 12"):
            run(tiny(num_classes=1), task=SimDINO(recipe(), small_size=12))
        with pytest.raises(ValueError, match="prototypes must be a whole number, 2 or more; got 1"):
            DINO(recipe(), prototypes=1)
        with pytest.raises(ValueError, match="temperatures must be positive"):
            DINO(recipe(), teacher_temperature=0.0)

    def test_settings_by_name(self):
        assert settings_of(TASKS["classification"]) == {}
        assert settings_of(SimDINO)["weight"] == 1.0
        for task in (SimDINO, DINO):
            assert set(settings_of(task)) == set(task(recipe()).settings())


class TestWeights:
    def test_what_is_kept_on_the_way_is_the_teacher(self, tmp_path):
        r = recipe(epochs=2)
        task, model, kept = MADE["simdino"](r), tiny(num_classes=1), []
        run(
            model, r, task=task, out=tmp_path, save_at=[0.5],
            on_epoch=lambda epoch, _: kept.append(weights(task.teacher)),
        )  # fmt: skip
        assert torch.equal(weights(load_model(tmp_path / "at50.safetensors")), kept[0])
        assert torch.equal(weights(load_model(tmp_path / "model.safetensors")), kept[1])
        assert not torch.equal(weights(model), kept[1])

    def test_they_start_a_classifier(self, tmp_path):
        r = recipe(epochs=1)
        run(tiny(num_classes=1), r, task=MADE["dino"](r), out=tmp_path)
        shape = {"dim": 32, "heads": 2, "depth": 2, "image_size": 16}
        model = create_model("crate_nano", pretrained=tmp_path, num_classes=5, **shape)
        assert model(stripes(3).images).shape == (3, 5)
        found = linear_probe(load_model(tmp_path / "model.safetensors"), stripes(), stripes(16, seed=1))[1]
        assert found["chance"] == 0.5
        assert found["top1"] >= 0.25


class TestResume:
    @each_task
    def test_interrupted_in_a_step_and_exactly_gone_on(self, tmp_path, name):
        r = recipe()
        with at_draw(type(MADE[name](r)), 7, interrupt), pytest.raises(KeyboardInterrupt):
            run(tiny(num_classes=1), r, task=MADE[name](r), out=tmp_path)
        ends = []
        for seed, out in ((0, None), (5, tmp_path)):
            model, task = tiny(seed=seed, num_classes=1), MADE[name](r)
            history = run(model, r, task=task, out=out).history
            told = [{k: v for k, v in row.items() if k != "seconds"} for row in history]
            ends.append((state_of(model, task), told))
        assert ends[0] == ends[1]
        saved = load_model(tmp_path / "model.safetensors")
        assert torch.equal(weights(saved), weights(task.teacher))
        assert saved.classes == ()
        names = load_model(tmp_path / "model.safetensors").state_dict()
        assert set(names) == set(model.state_dict()), "the heads of the task are not in it"


SCRIPT = """
import json, sys
sys.path[:0] = sys.argv[1:3]
import small_training as t
from crate_mini import distributed
from test_selfsupervised import MADE

with distributed.processes("cpu") as device:
    ends = {}
    for name, make in MADE.items():
        r = t.recipe(epochs=2, keep_patches=0.5)
        model = t.tiny(seed=distributed.rank(), num_classes=1)
        task = make(r)
        history = t.train(model, t.stripes(), t.stripes(16, seed=1), r, task=task, device=device, progress=False)
        ends[name] = {"history": history.history, "state": t.state_of(model, task)}
    with open(f"{sys.argv[3]}/rank{distributed.rank()}.json", "w") as f:
        json.dump(ends, f)
"""


def test_two_processes_are_one(tmp_path):
    """The rate is of the images of both, and so is the centre: losses, weights and measurements are those of one."""
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    folders = [str(Path(small_training.__file__).parent), str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         str(tmp_path / "script.py"), *folders],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"rank{i}.json").read_text()) for i in range(2))
    for name, make in MADE.items():
        assert first[name]["state"] == second[name]["state"]
        r = recipe(epochs=2, keep_patches=0.5)
        model, task = tiny(num_classes=1), make(r)
        history = run(model, r, task=task).history
        for ours, theirs in zip(first[name]["history"], history, strict=True):
            for column in ("train_loss", "val_loss", "val_alignment", "val_rate"):
                assert ours[column] == pytest.approx(theirs[column], rel=1e-4, abs=1e-5), (name, column)
        for key, theirs in state_of(model, task).items():
            if isinstance(theirs, list):
                ours = torch.tensor(first[name]["state"][key])
                torch.testing.assert_close(ours, torch.tensor(theirs), rtol=1e-3, atol=2e-5)


class TestNeighbours:
    def test_votes_by_hand(self):
        bank = torch.tensor([[1.0, 0], [0, 2.0], [3.0, 3.0]])
        votes = neighbour_votes(
            bank, torch.tensor([0, 1, 1]), torch.tensor([[5.0, 0]]), 3, k=2, temperature=0.5
        )
        near, next_one = math.exp(1 / 0.5), math.exp(math.sqrt(0.5) / 0.5)
        assert votes[0].tolist() == pytest.approx([near / (near + next_one), next_one / (near + next_one), 0])

    def test_against_a_second_implementation(self):
        from sklearn.neighbors import KNeighborsClassifier

        generator = torch.Generator().manual_seed(0)
        bank, asked = (torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (60, 25))
        labels = torch.randint(0, 4, (60,), generator=generator)
        theirs = KNeighborsClassifier(
            7, metric="cosine", weights=lambda distance: torch.from_numpy(-distance / 0.07).exp().numpy()
        ).fit(bank.numpy(), labels.numpy())
        ours = neighbour_votes(bank, labels, asked, 4, k=7)
        torch.testing.assert_close(ours, torch.from_numpy(theirs.predict_proba(asked.numpy())))

    def test_more_neighbours_than_images(self):
        votes = neighbour_votes(torch.eye(3), torch.tensor([0, 1, 2]), torch.eye(3), 3, k=99)
        assert votes.argmax(1).tolist() == [0, 1, 2]

    def test_refused(self):
        x, y = torch.eye(3), torch.tensor([0, 1, 2])
        with pytest.raises(ValueError, match=r"labels must be \(3,\) and lie in 0 to 1"):
            neighbour_votes(x, y, x, 2)
        with pytest.raises(ValueError, match=r"features must be \(n, d\) and \(m, d\) with n above 0"):
            neighbour_votes(x[:0], y[:0], x, 3)
        with pytest.raises(ValueError, match="k must be at least 1"):
            neighbour_votes(x, y, x, 3, k=0)


class TestPictures:
    """Several pictures of one thing, side by side in an image."""

    def trained(self, task, *sets):
        return train(tiny(), *sets, task.recipe, task=task, device="cpu", progress=False)

    def strips(self, n: int, seed: int):
        one, other = stripes(n, seed), stripes(n, seed + 10)
        return replace(one, images=torch.cat([one.images, other.images], -1))

    def test_trains_on_pictures_and_reads_the_first(self):
        task = SimDINO(recipe(epochs=1), pictures=2, **SMALL)
        found = train(
            tiny(),
            self.strips(16, 0),
            self.strips(8, 1),
            recipe(epochs=1),
            task=task,
            device="cpu",
            progress=False,
        )
        assert task.patches == 4
        assert set(found.history[-1]) >= {"val_loss", "val_knn"}
        assert task.settings()["pictures"] == 2

    def test_neighbours_do_not_see_the_second(self):
        seen = []
        for other in (10, 20):

            def strips(n, seed, other=other):
                one = stripes(n, seed)
                return replace(one, images=torch.cat([one.images, stripes(n, other).images], -1))

            r = recipe(epochs=1, lr=1e-12)  # nothing is learned: what differs is what is looked at
            task = SimDINO(r, pictures=2, **SMALL)
            seen.append(
                train(
                    tiny(), strips(16, 0), strips(8, 1), r, task=task, device="cpu", progress=False
                ).history[-1]
            )
        assert seen[0]["val_knn"] == seen[1]["val_knn"]
        assert seen[0]["val_alignment"] != seen[1]["val_alignment"]

    def test_too_narrow(self):
        with pytest.raises(ValueError, match="24 pixels wide do not hold 2 pictures"):
            SimDINO(recipe(), pictures=2, **SMALL).setup(tiny(), SimpleNamespace(shape=(4, 3, 16, 24)), None)
