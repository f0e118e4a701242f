"""Our Lion held against the package lion-pytorch, step by step."""

from __future__ import annotations

import lion_pytorch
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from crate_mini.model import create_model
from crate_mini.training import Lion, Recipe, learning_rate, make_optimizer

STEPS = 50
SHAPES = [(7, 5), (5,), (1, 3, 4), ()]


def start(dtype: torch.dtype) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(s, generator=generator, dtype=torch.float64).to(dtype)) for s in SHAPES]


def gradients(dtype: torch.dtype) -> list[list[torch.Tensor]]:
    """The same for both, with zeros, huge and tiny entries among them."""
    generator = torch.Generator().manual_seed(1)
    steps = []
    for step in range(STEPS):
        grads = [
            torch.randn(s, generator=generator, dtype=torch.float64) * 10.0 ** (step % 7 - 3) for s in SHAPES
        ]
        grads[0][0] = 0  # a row that no gradient ever reaches: weight decay alone
        steps.append([g.to(dtype) for g in grads])
    return steps


@pytest.mark.parametrize(
    ("lr", "betas", "weight_decay"),
    [(1e-2, (0.9, 0.99), 0.0), (1e-3, (0.9, 0.99), 0.5), (3e-3, (0.95, 0.98), 0.1), (1e-2, (0.0, 0.5), 1.0)],
)
def test_every_step_is_that_of_lion_pytorch(lr, betas, weight_decay):
    """In float64, where no sum of ours is close enough to zero for its sign to hang on rounding."""
    ours, theirs = start(torch.float64), start(torch.float64)
    settings = {"lr": lr, "betas": betas, "weight_decay": weight_decay}
    a, b = Lion(ours, **settings), lion_pytorch.Lion(theirs, **settings)
    for step, grads in enumerate(gradients(torch.float64)):
        for mine, other, grad in zip(ours, theirs, grads, strict=True):
            mine.grad, other.grad = grad.clone(), grad.clone()
        for optimizer in (a, b):  # a schedule, as in training
            optimizer.param_groups[0]["lr"] = lr * (1 - step / STEPS)
            optimizer.step()
        for mine, other in zip(ours, theirs, strict=True):
            assert torch.allclose(mine, other, rtol=1e-12, atol=1e-14), f"step {step}"
            assert torch.allclose(a.state[mine]["exp_avg"], b.state[other]["exp_avg"], rtol=1e-12, atol=1e-14)
    assert not torch.allclose(ours[0], start(torch.float64)[0], atol=lr)  # and it went somewhere


def test_float32():
    ours, theirs = start(torch.float32), start(torch.float32)
    a, b = Lion(ours, lr=1e-3, weight_decay=0.1), lion_pytorch.Lion(theirs, lr=1e-3, weight_decay=0.1)
    for grads in gradients(torch.float32):
        for mine, other, grad in zip(ours, theirs, grads, strict=True):
            mine.grad, other.grad = grad.clone(), grad.clone()
        a.step()
        b.step()
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, rtol=1e-5, atol=1e-5)


def test_parameters_without_a_gradient_stay():
    ours, theirs = start(torch.float64), start(torch.float64)
    a, b = Lion(ours, lr=0.1, weight_decay=0.5), lion_pytorch.Lion(theirs, lr=0.1, weight_decay=0.5)
    ours[0].grad, theirs[0].grad = torch.ones_like(ours[0]), torch.ones_like(ours[0])
    a.step(), b.step()
    for mine, other, before in zip(ours, theirs, start(torch.float64), strict=True):
        assert torch.equal(mine, other)
        assert torch.equal(mine, before) == (mine is not ours[0])


def test_a_small_training_is_the_same():
    """A CRATE, the recipe's two groups (matrices decay, the rest does not), its schedule: equal weights at the end."""
    recipe = Recipe(optimizer="lion", lr=1e-3, weight_decay=0.5, epochs=4, warmup_epochs=1)
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    labels = torch.arange(8) % 3
    ends = []
    for library in (False, True):
        torch.manual_seed(0)
        model = create_model("crate_nano", dim=16, heads=2, depth=2, image_size=16, num_classes=3).double()
        optimizer = make_optimizer(model, recipe)
        assert isinstance(optimizer, Lion)
        if library:
            groups = [{k: g[k] for k in ("params", "weight_decay")} for g in optimizer.param_groups]
            optimizer = lion_pytorch.Lion(groups, lr=recipe.lr)
        for step in range(20):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, step, steps_per_epoch=5)
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
        ends.append(model.state_dict())
    for name, value in ends[0].items():
        assert torch.allclose(value, ends[1][name], rtol=1e-9, atol=1e-11), name
