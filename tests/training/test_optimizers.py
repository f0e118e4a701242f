"""The optimiser and the learning rate of a recipe."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_training import recipe, run, tiny

from crate_mini import training
from crate_mini.training import Lion, Recipe, learning_rate, make_optimizer


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
    @given(epochs=st.integers(1, 20), warmup=st.floats(0, 1), steps=st.integers(1, 50))
    def test_stays_within_its_bounds(self, epochs, warmup, steps):
        r = Recipe(epochs=epochs, warmup_epochs=warmup * epochs, lr=0.3)
        assert all(0 < learning_rate(r, i, steps) <= 0.3 * (1 + 1e-9) for i in range(epochs * steps))

    def test_is_what_training_uses(self):
        r = recipe()
        assert run(tiny(), r)["lr"] == [learning_rate(r, 4 * e + 3, 4) for e in range(4)]


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
                return iter([("w", SimpleNamespace(ndim=2, device=torch.device(device), requires_grad=True))])

        make_optimizer(Somewhere(), recipe(optimizer=optimizer))
        assert asked.get("fused", False) is fused
