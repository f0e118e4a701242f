"""The LASSO and its steps against plain numpy, scikit-learn and what is promised of them; ISTA as a layer."""

from __future__ import annotations

import itertools
import math

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crate_mini.rates import coding_rate, coding_rate_gradient
from crate_mini.sparsification import (
    ISTA,
    duality_gap,
    folded_step,
    ista_step,
    largest_step,
    lasso_objective,
    majorise_minimise_step,
    proximal_map,
    proximal_step,
    sparse_code,
    sparse_codes,
)


@pytest.fixture
def unchecked(monkeypatch):
    """Without the shape checks that the test run adds: users do not have them either."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


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
    torch.testing.assert_close(layer(Y), ista_step(Y, layer.D, 0.2, 0.05))
    assert "step=0.2" in repr(layer)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ista_step(normal(2, 4), normal(4, 4), proximal="hard"),
        lambda: ISTA(4, proximal="hard"),
        lambda: proximal_map(normal(4), 0.1, proximal="hard"),
        lambda: sparse_code(normal(2, 4), normal(4, 4), 0.1, proximal="hard"),
    ],
)
def test_unknown_proximal_map(make):
    with pytest.raises(ValueError, match=r"proximal must be one of \('relu', 'soft'\), got 'hard'"):
        make()


class TestObjective:
    @pytest.mark.parametrize(
        ("d", "m", "batch"), [(5, 5, (4,)), (5, 9, (4,)), (6, 3, (2, 3)), (1, 1, ()), (4, 4, (0,))]
    )
    @pytest.mark.parametrize("lam", [0.0, 0.3])
    def test_equation(self, d, m, batch, lam):
        Y, D, Z = normal(*batch, d), normal(d, m, seed=1), normal(*batch, m, seed=2)
        expected = [
            0.5 * sum((y - D.numpy() @ z) ** 2) + lam * sum(abs(z))
            for y, z in zip(Y.reshape(-1, d).numpy(), Z.reshape(-1, m).numpy(), strict=True)
        ]
        got = lasso_objective(Y, D, Z, lam, nonnegative=False)
        np.testing.assert_allclose(got.numpy(), np.reshape(expected, batch), rtol=0, atol=1e-10)

    def test_negative_codes_are_outside_the_problem(self):
        Y, D = normal(2, 3), normal(3, 3, seed=1)
        Z = torch.tensor([[1.0, 0, 2], [1, -1e-9, 2]], dtype=torch.float64)
        assert lasso_objective(Y, D, Z, 0.1).isinf().tolist() == [False, True]

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_narrow_types_are_summed_in_single_precision(self, dtype):
        Y, D, Z = (
            t.to(dtype) for t in (normal(9, 64), normal(64, 64, seed=1) / 8, normal(9, 64, seed=2).abs())
        )
        got = lasso_objective(Y, D, Z, 0.1)
        assert got.dtype == torch.float32
        torch.testing.assert_close(
            got.double(), lasso_objective(Y.double(), D.double(), Z.double(), 0.1), rtol=1e-5, atol=1e-4
        )

    def test_gradient_is_the_one_of_the_step(self):
        Y, D, Z = normal(4, 5), normal(5, 5, seed=1), normal(4, 5, seed=2).abs().requires_grad_()
        lasso_objective(Y, D, Z, 0.3).sum().backward()
        torch.testing.assert_close(Z.grad, 0.3 - (Y - Z.detach() @ D.T) @ D, rtol=0, atol=1e-12)


class TestProximalMap:
    @settings(max_examples=60, deadline=None)
    @given(v=st.floats(-3, 3), threshold=st.floats(0, 2), other=st.floats(-4, 4))
    def test_variational_definition(self, v, threshold, other):
        """No other point is cheaper, and the cost grows by half the squared distance at least."""

        def cost(z):
            return 0.5 * (z - v) ** 2 + threshold * abs(z)

        for proximal, rival in (("soft", other), ("relu", abs(other))):
            z = proximal_map(torch.tensor([v], dtype=torch.float64), threshold, proximal=proximal).item()
            assert cost(rival) >= cost(z) + 0.5 * (rival - z) ** 2 - 1e-12

    def test_values(self):
        V = torch.tensor([-2, -0.5, 0, 0.5, 2], dtype=torch.float64)
        assert proximal_map(V, 0.5).tolist() == [0, 0, 0, 0, 1.5]
        assert proximal_map(V, 0.5, proximal="soft").tolist() == [-1.5, 0, 0, 0, 1.5]
        assert proximal_map(V, 0.0, proximal="soft").tolist() == V.tolist()

    def test_soft_is_relu_of_both_signs(self):
        V = normal(50)
        both = proximal_map(V, 0.3) - proximal_map(-V, 0.3)
        assert torch.equal(proximal_map(V, 0.3, proximal="soft"), both)


class TestLargestStep:
    @pytest.mark.parametrize(("d", "m"), [(5, 5), (3, 8), (8, 3), (1, 1)])
    def test_equation(self, d, m):
        D = normal(d, m, seed=3)
        top = np.linalg.eigvalsh(D.numpy().T @ D.numpy())[-1]
        assert largest_step(D) == pytest.approx(1 / top, rel=1e-10)
        assert largest_step(10 * D) == pytest.approx(0.01 / top, rel=1e-10)
        assert largest_step(D.bfloat16()) == pytest.approx(1 / top, rel=2e-2)

    @pytest.mark.parametrize("factor", [2.1, 4.0])
    def test_beyond_twice_of_it_a_step_climbs(self, factor):
        """Along the leading singular vector, with nothing to threshold."""
        D = normal(6, 6)
        v = torch.linalg.svd(D).Vh[:1]
        Z = proximal_step(v, 0 * v, D, factor * largest_step(D), 0.0, proximal="soft")
        before, after = (lasso_objective(0 * v, D, z, 0.0, nonnegative=False) for z in (v, Z))
        assert after > before
        torch.testing.assert_close(Z, (1 - factor) * v, rtol=0, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(
    d=st.integers(1, 6),
    m=st.integers(1, 8),
    seed=st.integers(0, 10**6),
    lam=st.floats(0, 3),
    share=st.floats(0.01, 2),
    spread=st.floats(0.01, 5),
)
def test_no_step_up_to_twice_the_largest_climbs(d, m, seed, lam, share, spread):
    Y, D, Z = normal(5, d, seed=seed), spread * normal(d, m, seed=seed + 1), normal(5, m, seed=seed + 2)
    step = share * largest_step(D)
    for proximal, start in (("soft", Z), ("relu", Z.abs())):
        free = proximal == "soft"
        after = proximal_step(start, Y, D, step, lam, proximal=proximal)
        F, G = (lasso_objective(Y, D, z, lam, nonnegative=not free) for z in (start, after))
        gone = (after - start).square().sum(-1)
        promised = F - (1 / step - 0.5 / largest_step(D)) * gone
        assert (promised + 1e-9 * (1 + F) >= G).all()


@settings(max_examples=40, deadline=None)
@given(d=st.integers(1, 6), seed=st.integers(0, 10**6), lam=st.floats(0, 3), share=st.floats(0.01, 1))
def test_what_is_promised_for_a_start_outside_the_problem(d, seed, lam, share):
    """F(z+) <= F(u) + |y - u|^2 / (2 step) for every u >= 0, also when the start y has negative entries."""
    Y, D = normal(5, d, seed=seed), normal(d, d, seed=seed + 1)
    step = share * largest_step(D)
    after = lasso_objective(Y, D, ista_step(Y, D, step, lam), lam)
    for u in (Y.clamp(min=0), 0 * Y, normal(5, d, seed=seed + 2).abs()):
        bound = lasso_objective(Y, D, u, lam) + (Y - u).square().sum(-1) / (2 * step)
        assert (after <= bound * (1 + 1e-9) + 1e-9).all()


def test_the_layer_is_the_step_from_the_token():
    Y, D = normal(7, 8), normal(8, 8, seed=1)
    for proximal in ("relu", "soft"):
        expected = proximal_step(Y, Y, D, 0.2, 0.3, proximal=proximal)
        torch.testing.assert_close(ista_step(Y, D, 0.2, 0.3, proximal=proximal), expected, rtol=0, atol=1e-12)


class TestSparseCode:
    @pytest.mark.parametrize(("d", "m"), [(8, 8), (6, 14), (12, 5), (1, 1)])
    @pytest.mark.parametrize("lam", [0.05, 0.5])
    def test_scikit_learn_finds_the_same(self, d, m, lam):
        from sklearn.linear_model import Lasso

        Y, D = normal(5, d), normal(d, m, seed=1)
        for proximal, positive in (("relu", True), ("soft", False)):
            # scikit-learn divides the squared error by the number of rows of D, so its alpha is lam / d
            reference = Lasso(
                alpha=lam / d, positive=positive, fit_intercept=False, tol=1e-12, max_iter=10**6
            )
            theirs = torch.from_numpy(np.atleast_2d(reference.fit(D.numpy(), Y.numpy().T).coef_))
            ours = sparse_code(Y, D, lam, steps=2000, proximal=proximal)
            F, G = (lasso_objective(Y, D, z, lam, nonnegative=positive) for z in (ours, theirs))
            torch.testing.assert_close(F, G, rtol=0, atol=1e-7)
            assert (duality_gap(Y, D, ours, lam, nonnegative=positive) < 1e-3).all()

    def test_orthogonal_dictionary_takes_one_step(self):
        D = torch.linalg.qr(normal(6, 6)).Q
        Y = normal(5, 6, seed=1)
        exact = torch.relu(Y @ D - 0.2)
        torch.testing.assert_close(ista_step(Y, D, 1.0, 0.2), exact, rtol=0, atol=1e-12)
        torch.testing.assert_close(sparse_code(Y, D, 0.2, steps=1), exact, rtol=0, atol=1e-12)

    def test_large_lam_gives_nothing(self):
        Y, D = normal(5, 6), normal(6, 9, seed=1)
        lam = (Y @ D).max().item()
        assert not sparse_code(Y, D, lam * 1.001).any()
        assert sparse_code(Y, D, lam * 0.9).any()

    @pytest.mark.parametrize("proximal", ["relu", "soft"])
    def test_path_falls_and_starts_where_it_should(self, proximal):
        Y, D, start = normal(2, 3, 6), normal(6, 9, seed=1), normal(2, 3, 9, seed=2).abs()
        path = list(itertools.islice(sparse_codes(Y, D, 0.2, start=start, proximal=proximal), 30))
        assert torch.equal(path[0], start)
        assert not next(sparse_codes(Y, D, 0.2)).any()
        values = torch.stack([lasso_objective(Y, D, z, 0.2, nonnegative=proximal == "relu") for z in path])
        assert (values.diff(dim=0) <= 1e-12).all()
        assert (values[-1] < values[0]).all()

    def test_acceleration_accelerates(self):
        Y, D = normal(5, 20), normal(20, 20, seed=1)
        best = lasso_objective(Y, D, sparse_code(Y, D, 0.1, steps=1500), 0.1)
        gaps = {}
        for accelerated in (False, True):
            path = sparse_codes(Y, D, 0.1, accelerated=accelerated)
            z = next(itertools.islice(path, 100, None))
            gaps[accelerated] = (lasso_objective(Y, D, z, 0.1) - best).mean().item()
        assert 0 <= gaps[True] < 0.2 * gaps[False]

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_narrow_types(self, dtype):
        Y, D = normal(4, 16).to(dtype), (normal(16, 16, seed=1) / 4).to(dtype)
        got = sparse_code(Y, D, 0.1, steps=200)
        assert got.dtype == dtype
        best = lasso_objective(
            Y.double(), D.double(), sparse_code(Y.double(), D.double(), 0.1, steps=1000), 0.1
        )
        reached = lasso_objective(Y.double(), D.double(), got.double(), 0.1)
        torch.testing.assert_close(reached, best, rtol=1e-3 if dtype == torch.float32 else 5e-2, atol=1e-3)

    def test_no_tokens(self):
        assert sparse_code(normal(0, 4), normal(4, 4), 0.1).shape == (0, 4)


class TestDualityGap:
    @settings(max_examples=40, deadline=None)
    @given(d=st.integers(1, 5), m=st.integers(1, 7), seed=st.integers(0, 10**6), lam=st.floats(0.01, 2))
    def test_bounds_the_distance_to_the_bottom(self, d, m, seed, lam):
        Y, D, Z = normal(4, d, seed=seed), normal(d, m, seed=seed + 1), normal(4, m, seed=seed + 2)
        for proximal, code in (("relu", Z.abs()), ("soft", Z)):
            free = proximal == "soft"
            best = sparse_code(Y, D, lam, steps=300, proximal=proximal)
            F, G = (lasso_objective(Y, D, z, lam, nonnegative=not free) for z in (code, best))
            assert (duality_gap(Y, D, code, lam, nonnegative=not free) >= F - G - 1e-9 * (1 + F)).all()
            assert (duality_gap(Y, D, best, lam, nonnegative=not free) >= -1e-9).all()

    def test_zero_code_of_a_token_no_atom_fits(self):
        Y = torch.tensor([[-1.0, -2.0]], dtype=torch.float64)
        D = torch.eye(2, dtype=torch.float64)
        assert duality_gap(Y, D, 0 * Y, 0.1).item() == pytest.approx(0, abs=1e-12)
        assert duality_gap(Y, D, 0 * Y, 0.1, nonnegative=False).item() > 1


class TestFoldedMatrix:
    @pytest.mark.parametrize("spread", [0.1, 1.0, 10.0])
    @pytest.mark.parametrize("step", [0.1, 0.7])
    def test_its_symmetric_part_never_exceeds_the_gain(self, spread, step):
        """M + M' = 2 (1 + step/4) I - 2 step (D - I/2)'(D - I/2)."""
        D, eye = spread * normal(8, 8), torch.eye(8, dtype=torch.float64)
        M = folded_step(D, step)
        E = D - eye / 2
        torch.testing.assert_close(
            (M + M.T) / 2, (1 + step / 4) * eye - step * E.T @ E, rtol=0, atol=1e-10 * spread**2
        )
        assert torch.linalg.eigvalsh((M + M.T) / 2).max() <= 1 + step / 4 + 1e-9


class TestMajoriseMinimise:
    @pytest.mark.parametrize("shape", [(3, 6), (2, 3, 6)])
    def test_equation_92(self, shape):
        Z, D = normal(*shape), normal(6, 6, seed=1)
        alpha = 6 / (3 * 0.5)
        expected = np.maximum((1 + 4 / (9 * (1 + alpha))) * Z.numpy() @ D.numpy() - 4 * 0.2 / (9 * alpha), 0)
        got = majorise_minimise_step(Z, D, 0.5, 0.2)
        np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-10)

    @settings(max_examples=40, deadline=None)
    @given(
        n=st.integers(1, 5),
        d=st.integers(1, 5),
        seed=st.integers(0, 10**6),
        eps_sq=st.floats(0.01, 5),
        far=st.floats(0.01, 10),
    )
    def test_the_parabola_lies_above(self, n, d, seed, eps_sq, far):
        """An eighth of alpha is enough, for any tokens; and it is not below the parabola of the paper's 9/4."""
        Z, step = normal(n, d, seed=seed), far * normal(n, d, seed=seed + 1)
        alpha = d / (n * eps_sq)
        linear = -coding_rate(Z, eps_sq) - (coding_rate_gradient(Z, eps_sq) * step).sum()
        actual = -coding_rate(Z + step, eps_sq)
        assert linear + 0.5 * alpha / 8 * step.square().sum() >= actual - 1e-9

    def test_less_than_an_eighth_is_not_enough(self):
        """Around alpha s^2 = 3 the rate of a single number bends by alpha / 8."""
        alpha = 1 / 0.5
        z = torch.tensor([[math.sqrt(3 / alpha)]], dtype=torch.float64)
        h = 1e-2
        linear = -coding_rate(z, 0.5) - coding_rate_gradient(z, 0.5).squeeze() * h
        assert linear + 0.5 * 0.9 * alpha / 8 * h**2 < -coding_rate(z + h, 0.5)

    @pytest.mark.parametrize("curvature", [1 / 8, 1.0, 9 / 4])
    @pytest.mark.parametrize("lam", [0.0, 0.05])
    def test_descends_for_orthonormal_tokens(self, curvature, lam):
        """Non-negative orthonormal tokens have disjoint supports; any orthogonal D makes others."""
        Z = torch.eye(6, dtype=torch.float64)[:4]
        cost = [
            -coding_rate(z, 0.5) + lam * z.sum()
            for z in (Z, majorise_minimise_step(Z, torch.eye(6).double(), 0.5, lam, curvature=curvature))
        ]
        assert cost[1] < cost[0] + 1e-12


class TestRefusals:
    @pytest.mark.parametrize(
        "call",
        [
            lambda Y, D: lasso_objective(Y, D, torch.zeros_like(Y), 0.1),
            lambda Y, D: next(sparse_codes(Y, D, 0.1)),
            lambda Y, D: sparse_code(Y, D, 0.1),
            lambda Y, D: majorise_minimise_step(Y, D, 0.5, 0.1),
        ],
    )
    def test_not_finite_or_not_fitting(self, call, unchecked):
        Y, D = normal(3, 4), normal(4, 4, seed=1)
        bad = Y.clone()
        bad[1, 2] = math.nan
        with pytest.raises(ValueError, match="NaN or infinite"):
            call(bad, D)
        with pytest.raises(ValueError, match="NaN or infinite"):
            call(Y, D * math.inf)
        with pytest.raises(
            ValueError, match=r"D must be \(d, m\) with the d of the tokens, 4; got shape \(3, 4\)"
        ):
            call(Y, D[:3])

    def test_codes_of_another_size(self, unchecked):
        with pytest.raises(ValueError, match=r"shape \(3, 5\); got \(3, 4\)"):
            lasso_objective(normal(3, 4), normal(4, 5), normal(3, 4), 0.1)

    def test_settings(self, unchecked):
        Y, D = normal(3, 4), normal(4, 4, seed=1)
        for call in (
            lambda: lasso_objective(Y, D, Y, -1.0),
            lambda: sparse_code(Y, D, -0.1),
            lambda: majorise_minimise_step(Y, D, 0.5, math.nan),
        ):
            with pytest.raises(ValueError, match="lam is the price of a unit of code"):
                call()
        with pytest.raises(ValueError, match="step must be positive"):
            next(sparse_codes(Y, D, 0.1, step=0.0))
        with pytest.raises(ValueError, match="steps must not be negative"):
            sparse_code(Y, D, 0.1, steps=-1)
        with pytest.raises(ValueError, match="threshold must not be negative"):
            proximal_map(Y, -0.1)
        with pytest.raises(ValueError, match="eps_sq and curvature must be positive"):
            majorise_minimise_step(Y, D, 0.0, 0.1)
        with pytest.raises(ValueError, match="eps_sq and curvature must be positive"):
            majorise_minimise_step(Y, D, 0.5, 0.1, curvature=-1.0)

    @pytest.mark.parametrize("D", [torch.zeros(3, 3), torch.full((3, 3), math.nan), torch.ones(3)])
    def test_largest_step(self, D, unchecked):
        with pytest.raises(ValueError, match=r"D must be a finite \(d, m\) matrix"):
            largest_step(D)
