"""Half precision: what auto means, float16 with a scaled loss, and each weight cast once a step."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from small_training import TASKS, Bag, at_draw, interrupt, recipe, run, state_of, stripes, tiny, weights
from torch.utils._python_dispatch import TorchDispatchMode

from crate_mini.training import Classification, train
from crate_mini.training.precision import Update, dtype_of
from crate_mini.weights import load_tensors

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("precision", "device", "has_bfloat16", "expected"),
    [
        ("auto", GPU, True, torch.bfloat16),
        ("auto", GPU, False, torch.float16),
        ("auto", CPU, False, torch.float32),
        ("auto", torch.device("mps"), False, torch.float32),
        ("float32", GPU, True, torch.float32),
        ("float16", GPU, True, torch.float16),
        ("bfloat16", CPU, False, torch.bfloat16),
    ],
)
def test_what_a_recipe_means(monkeypatch, precision, device, has_bfloat16, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bfloat16)
    assert dtype_of(precision, device) == expected


class TestFloat16:
    def test_follows_float32(self):
        wide, narrow = tiny(), tiny()
        theirs = run(wide, recipe(epochs=6))["train_loss"]
        ours = run(narrow, recipe(epochs=6, precision="float16"))["train_loss"]
        assert ours != theirs
        assert ours == pytest.approx(theirs, rel=5e-3)
        assert theirs[-1] < 0.8 * theirs[0]
        assert weights(narrow).dtype == torch.float32

    @pytest.mark.parametrize("name", list(TASKS))
    def test_resumes_exactly_with_its_scale(self, tmp_path, name, monkeypatch):
        """The scale is doubled after every third step here, so that one that starts anew is found out."""
        plain = torch.amp.GradScaler
        monkeypatch.setattr(
            torch.amp,
            "GradScaler",
            lambda device, enabled: plain(device, init_scale=256, enabled=enabled, growth_interval=3),
        )
        r = recipe(precision="float16", clip_norm=0.5)
        task = TASKS[name](r)
        with at_draw(type(task), 7, interrupt), pytest.raises(KeyboardInterrupt):
            run(tiny(), r, task=task, out=tmp_path)
        scaler = load_tensors(tmp_path / "state.safetensors")[1]["scaler"]
        assert (scaler["scale"], scaler["_growth_tracker"]) == (256 * 4, 1)
        ends = []
        for seed, folder in ((0, None), (5, tmp_path)):
            model, task = tiny(seed), TASKS[name](r)
            history = run(model, r, task=task, out=folder)
            ends.append((state_of(model, task), history["train_loss"]))
        assert ends[0] == ends[1]

    def test_a_step_that_overflows_is_left_out(self):
        """Its loss does not count, its teacher does not move, and the scale is halved."""
        counted = []

        class Spiked(Classification):
            def loss(self, model, drawn):
                loss = super().loss(model, drawn)
                return loss * math.inf if len(counted) == 1 and model.training else loss

            def draw(self, batch, draws):
                self.begun = getattr(self, "begun", 0) + 1
                return super().draw(batch, draws)

            def after_step(self, model):
                counted.append(self.begun)

        r = recipe(epochs=1, precision="float16")
        model, task = tiny(), Spiked(r)
        history = run(model, r, task=task)
        assert task.begun == 4
        assert counted == [1], "after the first step that overflows all others do here"
        assert math.isfinite(history["train_loss"][0])
        assert torch.isfinite(weights(model)).all()

    def test_clips_what_was_scaled_back(self):
        parameter = torch.nn.Parameter(torch.zeros(2))
        optimizer = torch.optim.SGD([parameter], lr=1.0)
        update = Update(optimizer, [parameter], 0.5, torch.float16, CPU)
        assert update((parameter * torch.tensor([3.0, 4.0])).sum())
        torch.testing.assert_close(parameter.detach(), torch.tensor([-0.3, -0.4]))

    def test_nothing_but_overflows_ends(self):
        parameter = torch.nn.Parameter(torch.zeros(2))
        update = Update(torch.optim.SGD([parameter], lr=1.0), [parameter], None, torch.float16, CPU)

        def steps() -> list[bool]:
            return [update((parameter * math.inf).sum()) for _ in range(100)]

        with pytest.raises(FloatingPointError, match=r"gradients overflow float16 .*or train in float32"):
            steps()
        assert torch.equal(parameter.detach(), torch.zeros(2))

    def test_an_epoch_of_overflows_alone_is_no_loss_of_zero(self):
        class Broken(Classification):
            def loss(self, model, drawn):
                return super().loss(model, drawn) * math.inf

        r = recipe(precision="float16")
        with pytest.raises(FloatingPointError, match="the training loss is nan in epoch 1"):
            run(tiny(), r, task=Broken(r))


class Casts(TorchDispatchMode):
    """Counts how often each parameter is cast."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.names = {p.data_ptr(): name for name, p in model.named_parameters()}
        self.seen = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ == "_to_copy" and (name := self.names.get(args[0].data_ptr())):
            self.seen[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_each_weight_is_cast_once_a_step(precision):
    """Also where a step looks twice through the same weights."""

    class Twice(Classification):
        def loss(self, model, drawn):
            return super().loss(model, drawn) + super().loss(model, drawn)

    r = recipe(epochs=1, precision=precision)
    model, data = Bag(), stripes()
    with Casts(model) as casts:
        train(model, data, stripes(16), r, task=Twice(r), device="cpu", progress=False)
    matrices = {"features.weight", "head.weight"}
    assert {name: casts.seen[name] for name in matrices} == dict.fromkeys(
        matrices, 4 + 1
    )  # 4 steps, 1 evaluation
