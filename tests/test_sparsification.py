"""ISTA against the three products of the released code, and against the problem it descends."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crate_mini.sparsification import ISTA, folded_step, ista_step


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def released(y: np.ndarray, D: np.ndarray, step: float, lam: float) -> np.ndarray:
    """relu(y + eta (D'y - D'Dy) - eta lam), token by token, columns as in the papers."""
    out = []
    for token in y.reshape(-1, y.shape[-1]):
        grad_1 = D.T @ D @ token
        grad_2 = D.T @ token
        out.append(np.maximum(token + step * (grad_2 - grad_1) - step * lam, 0))
    return np.stack(out).reshape(y.shape)


def soft(y: np.ndarray, D: np.ndarray, step: float, lam: float) -> np.ndarray:
    moved = y + step * (y - y @ D.T) @ D
    return np.sign(moved) * np.maximum(np.abs(moved) - step * lam, 0)


# fewer tokens than the eight dimensions, as many, and more: the folded product takes over in between
@pytest.mark.parametrize("shape", [(8,), (3, 8), (2, 4, 8), (2, 5, 8), (2, 3, 5, 8)])
@pytest.mark.parametrize(("step", "lam"), [(0.1, 0.1), (0.37, 0.02), (0.1, 0.0)])
def test_equation(shape, step, lam):
    Y, D = normal(*shape), normal(8, 8, seed=1)
    got = ista_step(Y, D, step, lam).numpy()
    np.testing.assert_allclose(got, released(Y.numpy(), D.numpy(), step, lam), rtol=0, atol=1e-10)
    assert (got >= 0).all()
    got = ista_step(Y, D, step, lam, proximal="soft").numpy()
    np.testing.assert_allclose(got, soft(Y.numpy(), D.numpy(), step, lam), rtol=0, atol=1e-10)
    assert (got < 0).any()


def test_folded_step_is_the_step():
    Y, D = normal(6, 8), normal(8, 8, seed=1)
    torch.testing.assert_close(Y @ folded_step(D, 0.3), Y + 0.3 * (Y - Y @ D.T) @ D, rtol=0, atol=1e-12)
    with torch.autocast("cpu", torch.bfloat16):
        assert folded_step(D.bfloat16(), 0.3).dtype == torch.float32


@pytest.mark.parametrize("n", [2, 5])
def test_tokens_need_not_be_contiguous(n):
    Y, D = normal(8, n, 2).permute(2, 1, 0), normal(8, 8, seed=1)
    np.testing.assert_allclose(
        ista_step(Y, D).numpy(), released(Y.numpy(), D.numpy(), 0.1, 0.1), rtol=0, atol=1e-10
    )


def test_input_is_left_as_it_was():
    Y, D = normal(2, 5, 8), normal(8, 8, seed=1)
    before = Y.clone()
    ista_step(Y, D)
    assert torch.equal(Y, before)


@pytest.mark.parametrize("proximal", ["relu", "soft"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
@pytest.mark.parametrize("n", [5, 50])
def test_narrow_types(dtype, tolerance, proximal, n):
    Y, D = normal(2, n, 32).to(dtype), (normal(32, 32, seed=1) / 8).to(dtype)
    out = ista_step(Y, D, proximal=proximal)
    assert out.dtype == dtype
    exact = ista_step(Y.double(), D.double(), proximal=proximal)
    torch.testing.assert_close(out.double(), exact, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("proximal", ["relu", "soft"])
@pytest.mark.parametrize("given_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n", [5, 50])
def test_autocast(given_dtype, proximal, n):
    layer = ISTA(32, proximal=proximal)
    Y = normal(2, n, 32).to(given_dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(Y)
    torch.testing.assert_close(out.float(), layer(Y.float()), rtol=5e-2, atol=5e-2)
    out.float().sum().backward()
    assert layer.D.grad.dtype == torch.float32
    assert Y.grad.dtype == given_dtype


@pytest.mark.parametrize("proximal", ["relu", "soft"])
@pytest.mark.parametrize("n", [3, 7])
def test_gradients(proximal, n):
    Y, D = normal(n, 5).requires_grad_(), normal(5, 5, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda y, d: ista_step(y, d, 0.2, 0.1, proximal=proximal), (Y, D))


@settings(max_examples=60, deadline=None)
@given(
    d=st.integers(1, 8),
    seed=st.integers(0, 10**6),
    lam=st.floats(0, 3),
    share=st.floats(0.01, 1),
    spread=st.floats(0.01, 5),
)
def test_a_short_step_never_climbs(d, seed, lam, share, spread):
    """1/2 |y - Dz|^2 + lam |z|_1 never rises for a step up to 1/|D|^2, with and without the sign constraint."""
    Y, D = normal(6, d, seed=seed), spread * normal(d, d, seed=seed + 1)
    step = share / torch.linalg.matrix_norm(D, 2).item() ** 2

    def objective(Z: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return 0.5 * (target - Z @ D.T).square().sum(-1) + lam * Z.abs().sum(-1)

    slack = 1e-9 * (1 + objective(Y, Y))
    assert (objective(ista_step(Y, D, step, lam, proximal="soft"), Y) <= objective(Y, Y) + slack).all()
    feasible = Y.abs()  # the start must be a point of the constrained problem for the claim to make sense
    slack = 1e-9 * (1 + objective(feasible, feasible))
    assert (
        objective(ista_step(feasible, D, step, lam), feasible) <= objective(feasible, feasible) + slack
    ).all()


def test_a_long_step_can_climb():
    """The bound is not idle: far beyond it the same objective rises."""
    Y, D = normal(6, 8).abs(), normal(8, 8, seed=1)
    step = 20 / torch.linalg.matrix_norm(D, 2).item() ** 2
    Z = ista_step(Y, D, step, 0.1)
    after = 0.5 * (Y - Z @ D.T).square().sum() + 0.1 * Z.sum()
    assert after > 0.5 * (Y - Y @ D.T).square().sum() + 0.1 * Y.sum()


def test_larger_lam_is_sparser():
    Y, D = normal(50, 16), normal(16, 16, seed=1) / 4
    shares = [(ista_step(Y, D, 0.1, lam) > 0).double().mean().item() for lam in (0.0, 2.0, 8.0)]
    assert shares[0] > shares[1] > shares[2]


def test_identity_dictionary_only_thresholds():
    Y = torch.tensor([[0.5, 0.01, -0.5, -0.005]], dtype=torch.float64)
    eye = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(
        ista_step(Y, eye, 0.1, 0.1), torch.tensor([[0.49, 0, 0, 0]], dtype=torch.float64)
    )
    shrunk = torch.tensor([[0.49, 0, -0.49, 0]], dtype=torch.float64)
    torch.testing.assert_close(ista_step(Y, eye, 0.1, 0.1, proximal="soft"), shrunk)


def test_layer_is_the_step_and_starts_as_the_released_one():
    torch.manual_seed(0)
    layer = ISTA(256, step=0.2, lam=0.05)
    bound = math.sqrt(6 / 256)
    assert layer.D.shape == (256, 256)
    assert bound * 0.99 < layer.D.abs().max() <= bound
    # at initialisation D'D is about 2 I and |D|^2 about 8, so steps beyond 2/8 would not be stable
    assert layer.D.detach().square().sum(0).mean().item() == pytest.approx(2, abs=0.05)
    assert 6.5 < torch.linalg.matrix_norm(layer.D.detach(), 2).item() ** 2 < 8.5
    Y = normal(2, 3, 256).float()
    assert torch.equal(layer(Y), ista_step(Y, layer.D, 0.2, 0.05))
    assert "step=0.2" in repr(layer)


@pytest.mark.parametrize(
    "make", [lambda: ista_step(normal(2, 4), normal(4, 4), proximal="hard"), lambda: ISTA(4, proximal="hard")]
)
def test_unknown_proximal_map(make):
    with pytest.raises(ValueError, match=r"proximal must be one of \('relu', 'soft'\), got 'hard'"):
        make()
