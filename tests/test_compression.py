"""Every step from the gradient to MSSA against plain numpy, and the fused layer against its explicit twin."""

from __future__ import annotations

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crate_mini.compression import (
    MSSA,
    attend,
    denoise,
    gather,
    gradient_step,
    lift,
    mssa,
    neumann_condition,
    neumann_gradient,
    posterior_mean,
    rate_scale,
    ridge_attention,
    softmax_attention,
    softmax_step,
    threshold_attention,
)
from crate_mini.rates import compression_rate, compression_rate_gradient, project


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def numpy_mssa(Z, U, W=None, b=None):
    """Loops over heads and tokens; nothing but products, exp and sums."""
    n = len(Z)
    K, _, p = U.shape
    out = np.zeros((n, K * p))
    for k in range(K):
        z = Z @ U[k]
        for i in range(n):
            scores = np.array([z[i] @ z[j] for j in range(n)]) / np.sqrt(p)
            weights = np.exp(scores - scores.max())
            out[i, k * p : (k + 1) * p] = (weights / weights.sum()) @ z
    if W is None:
        return sum(out[:, k * p : (k + 1) * p] @ U[k].T for k in range(K))
    return out @ W.T + b


@pytest.fixture
def layer() -> MSSA:
    torch.manual_seed(0)
    return MSSA(12, heads=3, head_dim=5).double()


def test_equation():
    Z, U, W, b = normal(7, 12), normal(3, 12, 5, seed=1), normal(12, 15, seed=2), normal(12, seed=3)
    expected = numpy_mssa(Z.numpy(), U.numpy(), W.numpy(), b.numpy())
    np.testing.assert_allclose(mssa(Z, U, W, b).numpy(), expected, rtol=0, atol=1e-10)
    tied = numpy_mssa(Z.numpy(), U.numpy())
    np.testing.assert_allclose(mssa(Z, U).numpy(), tied, rtol=0, atol=1e-10)


def test_leading_dimensions_are_a_batch():
    Z, U = normal(2, 3, 7, 12), normal(3, 12, 5, seed=1)
    torch.testing.assert_close(mssa(Z, U)[1, 2], mssa(Z[1, 2], U), rtol=0, atol=1e-12)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("heads", "head_dim"), [(3, 5), (4, None), (1, 12)])
def test_layer_is_its_explicit_twin(tied, heads, head_dim):
    torch.manual_seed(1)
    layer = MSSA(12, heads, head_dim, tied=tied).double()
    Z = normal(2, 9, 12).requires_grad_()
    twin_weights = (None, None) if tied else (layer.out.weight, layer.out.bias)
    out, twin = layer(Z), mssa(Z, layer.U, *twin_weights)
    torch.testing.assert_close(out, twin, rtol=0, atol=1e-10)

    wanted = [Z, *layer.parameters()]
    direction = normal(2, 9, 12, seed=5)
    for a, b in zip(
        torch.autograd.grad(out, wanted, direction), torch.autograd.grad(twin, wanted, direction), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
@pytest.mark.parametrize("tied", [False, True])
def test_narrow_types(tied, dtype, tolerance):
    torch.manual_seed(1)
    layer = MSSA(64, heads=4, tied=tied).to(dtype)
    Z = normal(2, 20, 64).to(dtype)
    wide = MSSA(64, heads=4, tied=tied).double()
    wide.load_state_dict({k: v.double() for k, v in layer.state_dict().items()})
    out = layer(Z)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), wide(Z.double()), rtol=tolerance, atol=tolerance)
    explicit = mssa(Z, layer.U, *((None, None) if tied else (layer.out.weight, layer.out.bias)))
    torch.testing.assert_close(explicit, out, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("tied", [False, True])
def test_autocast(tied):
    torch.manual_seed(1)
    layer = MSSA(64, heads=4, tied=tied)
    Z = normal(2, 20, 64).float()
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(Z)
    torch.testing.assert_close(out.float(), layer(Z), rtol=5e-2, atol=5e-2)
    assert out.dtype == torch.bfloat16


def test_shared_projection(layer):
    """Queries, keys and values are one projection: with a separate one for each there would be three times as many."""
    assert sum(p.numel() for p in layer.parameters()) == 12 * 15 + (15 * 12 + 12)
    q, k = layer.queries_keys(layer.project(normal(1, 4, 12)))
    assert torch.equal(q, k)
    assert layer.project.bias is None
    assert layer.out.bias is not None


def test_tied_layer_has_no_output_map():
    tied = MSSA(12, heads=3, tied=True)
    assert tied.out is None
    assert [n for n, _ in tied.named_parameters()] == ["project.weight"]
    assert "tied=True" in repr(tied)


def test_bases_are_a_view_of_the_weight(layer):
    Z = normal(4, 12)
    by_head = torch.einsum("nd,kdp->knp", Z, layer.U)
    torch.testing.assert_close(by_head, layer.queries_keys(layer.project(Z[None]))[1][0])
    with torch.no_grad():
        layer.U[1].zero_()
    assert (layer.project.weight[5:10] == 0).all()
    assert (layer.project.weight[:5] != 0).all()


def test_bases_feed_the_compression_rate(layer):
    """The layer's own U is what R^c takes; a gradient reaches the weights."""
    compression_rate(normal(6, 12), layer.U, 0.1).backward()
    assert layer.project.weight.grad.abs().sum() > 0


def test_alike_tokens_are_left_alone():
    """Softmax over equal scores averages equal tokens; tied orthonormal bases that span the space give them back."""
    Q = torch.linalg.qr(normal(12, 12)).Q
    Z = normal(1, 12).repeat(5, 1)
    torch.testing.assert_close(mssa(Z, Q.view(12, 3, 4).movedim(1, 0)), Z)


def test_order_of_tokens_does_not_matter(layer):
    Z, order = normal(1, 8, 12), torch.randperm(8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(Z)[:, order], layer(Z[:, order]))


def test_bases_that_do_not_fit(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(
        ValueError, match=r"U must be \(K, d, p\) with the d of the tokens, 12; got shape \(3, 11, 4\)"
    ):
        mssa(normal(5, 12), normal(3, 11, 4))


def orthonormal(K: int, d: int, p: int, seed: int = 0) -> torch.Tensor:
    """K bases that are orthogonal to each other."""
    return torch.linalg.qr(normal(d, K * p, seed=seed)).Q.view(d, K, p).movedim(1, 0).contiguous()


def numpy_gradient(Z, U, eps_sq):
    """The equation as printed, with the n x n inverse."""
    n, p = len(Z), U.shape[-1]
    gamma = p / (n * eps_sq)
    out = np.zeros_like(Z)
    for u in U:
        z = Z @ u
        out += gamma * np.linalg.inv(np.eye(n) + gamma * z @ z.T) @ z @ u.T
    return out


class TestGradientStep:
    @pytest.mark.parametrize("shape", [(9, 6), (3, 6), (1, 6)])
    def test_equation(self, shape):
        Z, U = normal(*shape), normal(3, 6, 2, seed=1)
        expected = Z.numpy() - 0.7 * numpy_gradient(Z.numpy(), U.numpy(), 0.2)
        np.testing.assert_allclose(gradient_step(Z, U, 0.2, 0.7).numpy(), expected, rtol=0, atol=1e-10)

    @settings(max_examples=30, deadline=None)
    @given(
        n=st.integers(1, 12),
        eps_sq=st.floats(1e-3, 10),
        share=st.floats(0.01, 1.0),
        seed=st.integers(0, 10**6),
    )
    def test_it_goes_down_for_any_precision(self, n, eps_sq, share, seed):
        Z, U = normal(n, 12, seed=seed), orthonormal(3, 12, 4, seed=seed)
        step = share / rate_scale(Z, U, eps_sq)
        after = compression_rate(gradient_step(Z, U, eps_sq, step), U, eps_sq)
        assert after < compression_rate(Z, U, eps_sq)

    def test_response_of_a_direction(self):
        """Every singular value of a head is multiplied by 1 - kappa gamma / (1 + gamma sigma^2)."""
        Z, U, eps_sq, share = normal(20, 12), orthonormal(3, 12, 4), 0.3, 0.5
        gamma = rate_scale(Z, U, eps_sq)
        before = torch.linalg.svdvals(project(Z, U))
        after = torch.linalg.svdvals(project(gradient_step(Z, U, eps_sq, share / gamma), U))
        expected = before * (1 - share / (1 + gamma * before**2))
        torch.testing.assert_close(after, expected.sort(descending=True).values, rtol=0, atol=1e-10)

    def test_it_is_one_linear_map(self):
        Z, U, eps_sq = normal(20, 12), orthonormal(3, 12, 4), 0.3
        gamma, Zk = rate_scale(Z, U, eps_sq), project(Z, U)
        inverse = torch.linalg.inv(torch.eye(4, dtype=Z.dtype) + gamma * Zk.mT @ Zk)
        M = torch.eye(12, dtype=Z.dtype) - 0.4 * (U @ inverse @ U.mT).sum(0)
        torch.testing.assert_close(gradient_step(Z, U, eps_sq, 0.4 / gamma), Z @ M, rtol=0, atol=1e-10)


class TestRidgeAttention:
    @pytest.mark.parametrize("shape", [(9, 6), (3, 6), (1, 6)])
    def test_equation(self, shape):
        Z, U = normal(*shape), normal(3, 6, 2, seed=1)
        gamma = 2 / (shape[0] * 0.2)
        for attention, u in zip(ridge_attention(Z, U, 0.2).numpy(), U.numpy(), strict=True):
            G = gamma * (Z.numpy() @ u) @ (Z.numpy() @ u).T
            expected = G @ np.linalg.inv(np.eye(len(G)) + G)
            np.testing.assert_allclose(attention, expected, rtol=0, atol=1e-10)

    def test_the_gradient_is_its_residual(self):
        Z, U = normal(2, 9, 6), normal(3, 6, 2, seed=1)
        residual = lift(project(Z, U), U) - gather(ridge_attention(Z, U, 0.1), Z, U)
        expected = compression_rate_gradient(Z, U, 0.1)
        torch.testing.assert_close(rate_scale(Z, U, 0.1) * residual, expected, rtol=0, atol=1e-10)

    @settings(max_examples=30, deadline=None)
    @given(n=st.integers(1, 10), scale=st.floats(1e-2, 1e3), eps_sq=st.floats(1e-4, 10))
    def test_eigenvalues_stay_below_one(self, n, scale, eps_sq):
        A = ridge_attention(scale * normal(n, 6), orthonormal(2, 6, 3), eps_sq)
        torch.testing.assert_close(A, A.mT, rtol=0, atol=1e-9)
        eigenvalues = torch.linalg.eigvalsh(A)
        assert eigenvalues.min() > -1e-9
        assert eigenvalues.max() < 1 + 1e-9

    def test_prediction_is_ridge_regression(self):
        """Row i predicts token i: weights that minimise |z_i - w Z|^2 gamma + |w|^2."""
        Z, U = normal(7, 6), orthonormal(2, 6, 3)
        gamma, z = rate_scale(Z, U, 0.2), project(Z, U)[0]
        weights = ridge_attention(Z, U, 0.2)[0].clone().requires_grad_()
        (gamma * (z - weights @ z).square().sum() + weights.square().sum()).backward()
        torch.testing.assert_close(weights.grad, torch.zeros_like(weights), rtol=0, atol=1e-10)


class TestNeumann:
    def test_equation(self):
        Z, U = normal(9, 6), normal(3, 6, 2, seed=1)
        gamma, expected = 2 / (9 * 0.2), 0
        for u in U.numpy():
            z = Z.numpy() @ u
            expected = expected + gamma * (np.eye(9) - gamma * z @ z.T) @ z @ u.T
        np.testing.assert_allclose(neumann_gradient(Z, U, 0.2).numpy(), expected, rtol=0, atol=1e-10)

    def test_error_is_of_second_order(self):
        """Ten times coarser, a hundred times nearer, relative to the gradient itself."""
        Z, U, errors = normal(9, 12), orthonormal(3, 12, 4), []
        for eps_sq in (1e3, 1e4):
            exact, cut = compression_rate_gradient(Z, U, eps_sq), neumann_gradient(Z, U, eps_sq)
            errors.append(((cut - exact).norm() / exact.norm()).item())
        assert errors[0] / errors[1] == pytest.approx(100, rel=0.05)

    def test_condition(self):
        Z, U = normal(2, 9, 6), normal(3, 6, 2, seed=1)
        got = neumann_condition(Z, U, 0.2)
        assert got.shape == (2, 3)
        z = Z[1].numpy() @ U[2].numpy()
        assert got[1, 2].item() == pytest.approx(2 / (9 * 0.2) * np.linalg.norm(z, 2) ** 2, abs=1e-10)

    @settings(max_examples=30, deadline=None)
    @given(n=st.integers(1, 20), seed=st.integers(0, 10**6), eps_sq=st.floats(1e-3, 10))
    def test_bound_for_unit_tokens(self, n, seed, eps_sq):
        Z, U = torch.nn.functional.normalize(normal(n, 12, seed=seed), dim=-1), orthonormal(3, 12, 4)
        assert neumann_condition(Z, U, eps_sq).max() >= (1 - 1e-9) / (3 * eps_sq)

    def test_within_the_condition_the_step_goes_down_and_far_outside_up(self):
        Z, U = torch.nn.functional.normalize(normal(60, 12), dim=-1), orthonormal(3, 12, 4)
        for eps_sq, down in ((2.0, True), (0.01, False)):
            assert (neumann_condition(Z, U, eps_sq).max() < 1).item() == down
            step = 0.5 / rate_scale(Z, U, eps_sq)
            after = compression_rate(Z - step * neumann_gradient(Z, U, eps_sq), U, eps_sq)
            assert (after < compression_rate(Z, U, eps_sq)).item() == down


class TestSoftmaxStep:
    def test_attention(self):
        Z, U = normal(7, 6), normal(3, 6, 2, seed=1)
        for attention, u in zip(softmax_attention(Z, U, 0.7).numpy(), U.numpy(), strict=True):
            scores = np.exp(0.7 * (Z.numpy() @ u) @ (Z.numpy() @ u).T)
            np.testing.assert_allclose(attention, scores / scores.sum(1, keepdims=True), rtol=0, atol=1e-10)

    def test_with_the_network_s_scale_it_gathers_tied_mssa(self):
        Z, U = normal(2, 7, 6), normal(3, 6, 2, seed=1)
        torch.testing.assert_close(
            gather(softmax_attention(Z, U, 2**-0.5), Z, U), mssa(Z, U), rtol=0, atol=1e-10
        )

    def test_the_printed_step_keeps_a_factor(self):
        """As in arXiv 2306.01129, eq. 10: (1 - kappa gamma) Z + kappa gamma^2 sum SSA_k U_k'."""
        Z, U, kappa = normal(7, 6), normal(3, 6, 2, seed=1), 0.3
        gamma = rate_scale(Z, U, 0.2)
        gathered = gather(softmax_attention(Z, U), Z, U)
        expected = (1 - kappa * gamma) * Z + kappa * gamma**2 * gathered
        torch.testing.assert_close(
            softmax_step(Z, U, kappa * gamma, weight=gamma), expected, rtol=0, atol=1e-10
        )

    @pytest.mark.parametrize("t", [1.0, 0.25, -0.5])
    def test_adding_attention_is_a_longer_step_downhill(self, t):
        Z, U = normal(7, 6), normal(3, 6, 2, seed=1)
        added = Z + t * gather(softmax_attention(Z, U, 3.0), Z, U)
        step = (1 + t) * softmax_step(Z, U, t / (1 + t), sharpness=3.0)
        torch.testing.assert_close(added, step, rtol=0, atol=1e-12)

    def test_sharpest_attention_looks_at_the_token_itself(self):
        Z, U = torch.nn.functional.normalize(normal(7, 6), dim=-1), torch.eye(6, dtype=torch.float64)[None]
        torch.testing.assert_close(softmax_step(Z, U, 0.5, sharpness=1e4), Z)


class TestDenoising:
    def log_density(self, X, U, sigma, spread):
        cov = sigma**2 * torch.eye(X.shape[-1], dtype=X.dtype) + spread**2 * U @ U.mT
        of_each = torch.distributions.MultivariateNormal(X.new_zeros(X.shape[-1]), cov)
        return of_each.log_prob(X[:, None]).logsumexp(-1)

    @pytest.mark.parametrize(("K", "p"), [(1, 2), (3, 2), (4, 1)])
    @pytest.mark.parametrize(("sigma", "spread"), [(0.3, 1.0), (1.5, 0.4)])
    def test_posterior_mean_is_tweedie(self, K, p, sigma, spread):
        U, X = torch.linalg.qr(normal(K, 5, p, seed=1)).Q, normal(20, 5).requires_grad_()
        self.log_density(X, U, sigma, spread).sum().backward()
        expected = X.detach() + sigma**2 * X.grad
        got = posterior_mean(X.detach(), U, sigma, spread)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)

    def test_denoise_equation(self):
        U, X, sigma = torch.linalg.qr(normal(3, 5, 2, seed=1)).Q, normal(4, 5), 0.8
        for x, got in zip(X.numpy(), denoise(X, U, sigma).numpy(), strict=True):
            scores = np.array([np.sum((u.T @ x) ** 2) / (2 * sigma**2) for u in U.numpy()])
            weights = np.exp(scores) / np.exp(scores).sum()
            expected = sum(w * u @ u.T @ x for w, u in zip(weights, U.numpy(), strict=True))
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10)

    def test_it_is_the_limit_of_little_noise(self):
        U, X = torch.linalg.qr(normal(3, 5, 2, seed=1)).Q, normal(50, 5)
        gaps = [(denoise(X, U, s) - posterior_mean(X, U, s)).abs().max().item() for s in (1.0, 0.1, 0.01)]
        assert gaps[0] > 10 * gaps[1] > 100 * gaps[2]

    def test_each_token_on_its_own(self):
        U, X = torch.linalg.qr(normal(3, 5, 2, seed=1)).Q, normal(2, 4, 5)
        torch.testing.assert_close(denoise(X, U, 0.5)[1, 2:3], denoise(X[1, 2:3], U, 0.5), rtol=0, atol=1e-12)

    def test_a_token_far_along_one_subspace_is_projected_on_it(self):
        U = orthonormal(3, 12, 4)
        x = 30 * U[1, :, :1].T + 0.1 * normal(1, 12)
        torch.testing.assert_close(denoise(x, U, 0.5), x @ U[1] @ U[1].T)


STEPS = {
    "gradient_step": lambda Z, U, e: gradient_step(Z, U, e, 0.3),
    "ridge_attention": ridge_attention,
    "neumann_gradient": neumann_gradient,
    "neumann_condition": neumann_condition,
}


class TestEveryStep:
    @pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
    def test_batches_are_their_members(self, step):
        Z, U = normal(2, 3, 7, 6), normal(3, 6, 2, seed=1)
        torch.testing.assert_close(step(Z, U, 0.2)[1, 2], step(Z[1, 2], U, 0.2), rtol=0, atol=1e-12)

    @pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
    def test_narrow_types(self, step, dtype, tolerance):
        Z, U = normal(20, 12).to(dtype), orthonormal(3, 12, 4).to(dtype)
        wide = step(Z.double(), U.double(), 0.5)
        torch.testing.assert_close(step(Z, U, 0.5).double(), wide, rtol=tolerance, atol=tolerance)

    @pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
    def test_degenerate_tokens(self, step):
        U = orthonormal(3, 12, 4)
        zero = step(torch.zeros(5, 12, dtype=torch.float64), U, 0.1)
        assert (zero == 0).all()
        for Z in (normal(1, 12), normal(1, 12).repeat(5, 1), 1e4 * normal(3, 12)):
            assert torch.isfinite(step(Z, U, 0.1)).all()

    @pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
    def test_what_is_refused(self, step, monkeypatch):
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        Z, U = normal(5, 12), normal(3, 12, 4, seed=1)
        with pytest.raises(ValueError, match="eps_sq is the squared precision and must be positive"):
            step(Z, U, -0.1)
        with pytest.raises(ValueError, match="NaN or infinite"):
            step(Z.fill_(torch.nan), U, 0.1)
        with pytest.raises(ValueError, match=r"Z must be \(\.\.\., n, d\) with at least one token"):
            step(torch.zeros(0, 12), U.float(), 0.1)
        with pytest.raises(ValueError, match=r"U must be \(K, d, p\) with the d of the tokens"):
            step(torch.zeros(5, 12), torch.zeros(3, 11, 4), 0.1)

    @pytest.mark.parametrize("name", ["sigma", "spread"])
    def test_noise_must_be_positive(self, name):
        with pytest.raises(ValueError, match=f"{name} is a standard deviation and must be positive"):
            posterior_mean(normal(2, 12), orthonormal(3, 12, 4), **{"sigma": 0.1, name: -1.0})

    def test_the_narrow_softmax_and_denoiser(self):
        Z, U = normal(20, 12).float(), orthonormal(3, 12, 4).float()
        for step in (lambda Z, U: softmax_step(Z, U, 0.5, sharpness=2.0), lambda Z, U: denoise(Z, U, 0.7)):
            assert step(Z, U).dtype == torch.float32
            torch.testing.assert_close(step(Z, U).double(), step(Z.double(), U.double()), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2), (torch.float16, 4e-3)]
)
def test_attend_is_softmax_attention_in_every_precision(dtype, tolerance):
    """On a CPU half precision takes a way of its own; values and gradients are those of the formula in float64."""
    torch.manual_seed(0)
    given = [torch.randn(2, 3, 17, 8).to(dtype) for _ in range(3)]
    out = []
    for kind in (dtype, torch.float64):
        Q, K, V = (t.detach().clone().to(kind).requires_grad_() for t in given)
        if kind == dtype:
            result = attend(Q, K, V)
            assert result.dtype == dtype
        else:
            result = (Q @ K.mT / 8**0.5).softmax(-1) @ V
        result.square().sum().backward()
        out.append([t.detach().double() for t in (result, Q.grad, K.grad, V.grad)])
    for ours, expected in zip(*out, strict=True):
        assert (ours - expected).norm() < tolerance * expected.norm()


class TestThreshold:
    """The attention of the attention-only transformer's theorem."""

    def test_equation(self):
        """In float64, entry by entry."""
        Z, U, tau, beta = 2 * normal(7, 6, seed=1), orthonormal(2, 6, 3, seed=2), 0.45, 0.8
        got = threshold_attention(Z, U, tau, beta)
        for k in range(2):
            z = (Z @ U[k]).numpy()
            for i, row in enumerate(z @ z.T):
                weights = np.exp(beta * row) / np.exp(beta * row).sum()
                assert got[k, i].tolist() == [tau if w > tau else 0.0 for w in weights]
        assert 0 < (got > 0).double().mean() < 1, "some pass and some do not"

    def test_at_most_one_passes_from_one_half_on(self):
        A = threshold_attention(3 * normal(20, 6, seed=3), orthonormal(2, 6, 3, seed=4), 0.5)
        assert ((A > 0).sum(-1) <= 1).all()
        assert A.unique().tolist() == [0, 0.5]

    def test_narrow_and_in_batches(self):
        Z, U = 2 * normal(3, 5, 6, seed=5), orthonormal(2, 6, 3, seed=6)
        A = threshold_attention(Z.float(), U.float(), 0.6)
        assert A.dtype == torch.float32
        assert torch.allclose(A.double(), torch.stack([threshold_attention(z, U, 0.6) for z in Z]))

    @pytest.mark.parametrize("tau", [0.0, 1.0, -0.1, 1.5, float("nan")])
    def test_what_is_no_threshold(self, tau):
        with pytest.raises(ValueError, match="tau is a threshold on a softmax"):
            threshold_attention(normal(3, 4), orthonormal(2, 4, 2), tau)
