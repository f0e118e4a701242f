"""Coding rates against plain numpy, their invariances, gradients, and what they refuse."""

from __future__ import annotations

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crate_mini.rates import (
    all_finite,
    coding_rate,
    coding_rate_gradient,
    compression_rate,
    compression_rate_gradient,
    project,
    rate_from_gram,
    rate_reduction,
    small_gram,
    snr,
    sparse_rate_reduction,
)

SHAPES = [(7, 4), (4, 7), (5, 5), (1, 6), (6, 1), (1, 1), (40, 12)]


def tokens(
    *shape: int, seed: int = 0, scale: float = 1.0, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    return (
        scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ).to(dtype)


def orthonormal(d: int, seed: int = 0) -> torch.Tensor:
    return torch.linalg.qr(tokens(d, d, seed=seed)).Q


def numpy_rate(Z: torch.Tensor, eps_sq: float, side: str = "d") -> float:
    """The equation as printed, on the d x d or on the n x n side."""
    z = Z.double().numpy()
    n, d = z.shape
    gram = z.T @ z if side == "d" else z @ z.T
    return 0.5 * np.linalg.slogdet(np.eye(len(gram)) + d / (n * eps_sq) * gram)[1]


def numpy_compression_rate(Z: torch.Tensor, U: torch.Tensor, eps_sq: float) -> float:
    total = 0.0
    for u in U.double().numpy():
        z = Z.double().numpy() @ u
        total += 0.5 * np.linalg.slogdet(np.eye(u.shape[1]) + u.shape[1] / (len(z) * eps_sq) * z.T @ z)[1]
    return total


@pytest.fixture
def unchecked(monkeypatch):
    """Without the shape checks that the test run adds: users do not have them either."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


class TestEquation:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("eps_sq", [0.01, 0.5, 4.0])
    def test_both_sides_of_the_gram_matrix(self, shape, eps_sq):
        Z = tokens(*shape)
        for side in ("d", "n"):
            assert coding_rate(Z, eps_sq).item() == pytest.approx(numpy_rate(Z, eps_sq, side), abs=1e-10)

    @pytest.mark.parametrize("shape", [(9, 6), (3, 6)])
    def test_compression_rate(self, shape):
        Z, U = tokens(*shape), tokens(4, 6, 3, seed=1)
        assert compression_rate(Z, U, 0.3).item() == pytest.approx(
            numpy_compression_rate(Z, U, 0.3), abs=1e-10
        )

    def test_a_number_by_hand(self):
        # One token of squared length 3 in two dimensions: I + 2/(1 * 0.5) * 3 has the determinant 13.
        Z = torch.tensor([[1.0, 2.0**0.5]], dtype=torch.float64)
        assert coding_rate(Z, 0.5).item() == pytest.approx(0.5 * np.log(13), abs=1e-12)

    def test_batches_are_rates_of_their_members(self):
        Z, U = tokens(2, 3, 8, 5), tokens(2, 5, 2, seed=1)
        assert coding_rate(Z, 0.1).shape == compression_rate(Z, U, 0.1).shape == (2, 3)
        for i in range(2):
            for j in range(3):
                assert coding_rate(Z, 0.1)[i, j].item() == pytest.approx(numpy_rate(Z[i, j], 0.1), abs=1e-10)
                expected = numpy_compression_rate(Z[i, j], U, 0.1)
                assert compression_rate(Z, U, 0.1)[i, j].item() == pytest.approx(expected, abs=1e-10)

    def test_sums(self):
        Z, U = tokens(8, 6), tokens(3, 6, 2, seed=1)
        Z[Z.abs() < 0.5] = 0
        gain = numpy_rate(Z, 0.2) - numpy_compression_rate(Z, U, 0.2)
        assert rate_reduction(Z, U, 0.2).item() == pytest.approx(gain, abs=1e-10)
        l0 = 0.3 * np.count_nonzero(Z.numpy())
        l1 = 0.3 * np.abs(Z.numpy()).sum()
        assert sparse_rate_reduction(Z, U, 0.2, 0.3).item() == pytest.approx(gain - l0, abs=1e-10)
        assert sparse_rate_reduction(Z, U, 0.2, 0.3, norm="l1").item() == pytest.approx(gain - l1, abs=1e-10)

    def test_zero_tokens_cost_nothing(self):
        assert coding_rate(torch.zeros(5, 3), 0.1).item() == 0
        assert coding_rate(torch.zeros(1, 1), 0.1).item() == 0

    def test_an_empty_batch_has_no_rates(self):
        assert coding_rate(torch.zeros(0, 5, 3), 0.1).shape == (0,)

    def test_slope_counts_directions(self):
        """-2 dR / d ln(eps_sq) = sum of lambda / (lambda + eps_sq / d): four strong directions, the others noise."""
        Z = torch.linalg.qr(tokens(60, 12)).Q * torch.tensor([1e4] * 4 + [1e-4] * 8)
        slope = (coding_rate(Z, 0.99) - coding_rate(Z, 1.01)) / np.log(1.01 / 0.99)
        assert 2 * slope.item() == pytest.approx(4, abs=1e-4)

    def test_official_bound(self):
        """Heads of unit tokens: at most d/2 ln(1 + 1/eps_sq), 1329 nats at width 576 (facts.md, A.8)."""
        Z = torch.eye(48, dtype=torch.float64).repeat(
            12, 4, 1
        )  # 12 heads of 48, perfectly spread unit tokens
        assert coding_rate(Z, 0.01).sum().item() == pytest.approx(576 / 2 * np.log(101), abs=1e-9)


class TestInvariance:
    @settings(max_examples=40, deadline=None)
    @given(n=st.integers(1, 9), d=st.integers(1, 9), seed=st.integers(0, 10**6), eps_sq=st.floats(1e-3, 10))
    def test_rotation_and_order(self, n, d, seed, eps_sq):
        Z = tokens(n, d, seed=seed)
        rate = coding_rate(Z, eps_sq).item()
        assert rate >= 0
        assert coding_rate(Z @ orthonormal(d, seed), eps_sq).item() == pytest.approx(rate, abs=1e-9)
        assert coding_rate(orthonormal(n, seed) @ Z, eps_sq).item() == pytest.approx(rate, abs=1e-9)
        assert coding_rate(Z, 2 * eps_sq).item() < rate  # coarser coding is cheaper

    @settings(max_examples=40, deadline=None)
    @given(n=st.integers(1, 7), d=st.integers(1, 7), seed=st.integers(0, 10**6), eps_sq=st.floats(1e-3, 10))
    def test_what_is_done_to_tokens(self, n, d, seed, eps_sq):
        Z = tokens(n, d, seed=seed)
        rate = coding_rate(Z, eps_sq).item()
        copies = torch.cat([Z, Z, Z])[torch.randperm(3 * n, generator=torch.Generator().manual_seed(seed))]
        assert coding_rate(copies, eps_sq).item() == pytest.approx(rate, abs=1e-9)
        # longer tokens and coarser precision: only the ratio counts
        assert coding_rate(7 * Z, 49 * eps_sq).item() == pytest.approx(rate, abs=1e-9)
        # empty tokens are a coarser precision, empty coordinates a finer one
        empty_tokens = torch.cat([Z, torch.zeros_like(Z)])
        assert coding_rate(empty_tokens, eps_sq).item() == pytest.approx(
            coding_rate(Z, 2 * eps_sq).item(), abs=1e-9
        )
        empty_coordinates = torch.cat([Z, torch.zeros_like(Z)], 1)
        assert coding_rate(empty_coordinates, eps_sq).item() == pytest.approx(
            coding_rate(Z, eps_sq / 2).item(), abs=1e-9
        )
        # never above what the coordinates take one by one (Hadamard)
        apart = 0.5 * torch.log1p(d / eps_sq * Z.square().mean(0)).sum().item()
        assert rate <= apart + 1e-9

    def test_subspaces_rotate_along(self):
        Z, U, Q = tokens(9, 6), tokens(3, 6, 2, seed=1), orthonormal(6)
        rotated = compression_rate(Z @ Q, Q.T @ U, 0.1)
        assert rotated.item() == pytest.approx(compression_rate(Z, U, 0.1).item(), abs=1e-10)
        assert compression_rate(Z @ Q, U, 0.1).item() != pytest.approx(rotated.item(), abs=1e-3)


class TestGradients:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_closed_form_is_autograd(self, shape):
        Z = tokens(*shape).requires_grad_()
        (expected,) = torch.autograd.grad(coding_rate(Z, 0.2), Z)
        assert torch.allclose(coding_rate_gradient(Z, 0.2), expected, rtol=0, atol=1e-10)

    @pytest.mark.parametrize("shape", [(9, 6), (2, 6), (2, 5, 6)])
    def test_closed_form_of_the_compression_rate(self, shape):
        Z, U = tokens(*shape).requires_grad_(), tokens(3, 6, 4, seed=1)
        (expected,) = torch.autograd.grad(compression_rate(Z, U, 0.2).sum(), Z)
        assert torch.allclose(compression_rate_gradient(Z, U, 0.2), expected, rtol=0, atol=1e-10)

    def test_gradcheck(self):
        Z, U = tokens(5, 4).requires_grad_(), tokens(2, 4, 2, seed=1).requires_grad_()
        assert torch.autograd.gradcheck(lambda z: coding_rate(z, 0.3), (Z,))
        assert torch.autograd.gradcheck(lambda z, u: compression_rate(z, u, 0.3), (Z, U))
        assert torch.autograd.gradcheck(lambda z: compression_rate_gradient(z, U.detach(), 0.3), (Z,))


class TestPrecision:
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
    def test_narrow_tokens(self, dtype, tolerance):
        Z, U = tokens(30, 16, dtype=dtype), tokens(4, 16, 4, seed=1, dtype=dtype)
        # the rate itself is computed in float64: nothing is lost but what the tokens had lost before
        assert coding_rate(Z, 0.1).item() == pytest.approx(numpy_rate(Z, 0.1), rel=1e-12)
        assert compression_rate(Z, U, 0.1).item() == pytest.approx(
            numpy_compression_rate(Z, U, 0.1), rel=tolerance
        )
        assert coding_rate_gradient(Z, 0.1).dtype == compression_rate_gradient(Z, U, 0.1).dtype == dtype

    def test_narrow_tokens_in_wide_bases(self):
        Z, U = tokens(30, 16, dtype=torch.bfloat16), tokens(4, 16, 4, seed=1, dtype=torch.float32)
        assert compression_rate(Z, U, 0.1).item() == pytest.approx(
            numpy_compression_rate(Z, U, 0.1), rel=1e-6
        )
        assert compression_rate_gradient(Z, U, 0.1).dtype == torch.bfloat16

    def test_half_precision_counts_every_entry(self):
        Z, U = torch.ones(300, 384, dtype=torch.float16), torch.zeros(1, 384, 4, dtype=torch.float16)
        with_cost, without = sparse_rate_reduction(Z, U, 0.1, 1.0), sparse_rate_reduction(Z, U, 0.1, 0.0)
        assert (without - with_cost).item() == 300 * 384  # float16 ends at 65504
        l1 = sparse_rate_reduction(Z, U, 0.1, 1.0, norm="l1")
        assert (without - l1).item() == 300 * 384

    def test_where_a_plain_determinant_overflows(self):
        Z, eps_sq = tokens(400, 384, scale=10), 1e-3
        gram = np.eye(384) + 384 / (400 * eps_sq) * (Z.T @ Z).numpy()
        with np.errstate(over="ignore"):
            assert np.isinf(np.linalg.det(gram))
        assert coding_rate(Z, eps_sq).item() == pytest.approx(numpy_rate(Z, eps_sq), rel=1e-12)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("shape", [(7, 4), (4, 7)])
    def test_rates_are_float64_and_gradients_have_the_dtype_of_the_tokens(self, shape, dtype):
        Z = tokens(*shape, dtype=dtype).requires_grad_()
        rate = coding_rate(Z, 0.1)
        rate.backward()
        assert rate.dtype == torch.float64
        assert Z.grad.dtype == dtype
        assert torch.allclose(Z.grad, coding_rate_gradient(Z.detach(), 0.1), rtol=1e-2, atol=1e-2)

    def test_mixed_precision_leaves_the_rate_alone(self):
        Z = tokens(32, 4) @ tokens(4, 64, seed=1)
        Z = Z.float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = coding_rate(Z, 0.01)
        assert inside.item() == coding_rate(Z, 0.01).item()

    def test_where_a_plain_logdet_is_nan(self):
        """One token in float32: both eigenvalues are at least one, and the determinant comes out negative."""
        Z = torch.tensor([[8222.0, 8722.0]])
        assert torch.logdet(torch.eye(2) + Z.T @ Z).isnan()
        assert coding_rate(Z, 2.0).item() == pytest.approx(0.5 * np.log(143_674_569), abs=1e-12)

    @pytest.mark.parametrize("scale", [1.0, 1e3, 1e4, 1e5, 1e7, 1e9])
    def test_rank_deficient_tokens_of_any_size(self, scale):
        """Five copies of one token: a single eigenvalue counts, however small the 1 beside it."""
        z = tokens(1, 8)
        Z = scale * z.repeat(5, 1)
        expected = 0.5 * np.log1p(8 / (5 * 0.01) * 5 * scale**2 * z.square().sum().item())
        assert coding_rate(Z, 0.01).item() == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("scale", [1e2, 1e3, 1e4, 1e6])
    def test_a_plane_of_tokens_of_any_size(self, scale):
        """Cholesky was off by 4e-4 nats at 1e4 before singular values took over in time."""
        left, right = torch.linalg.qr(tokens(16, 2)).Q, torch.linalg.qr(tokens(24, 2, seed=1)).Q
        Z = left * torch.tensor([3.0, 5.0]) @ right.T * scale
        expected = 0.5 * np.log1p(24 / (16 * 0.01) * scale**2 * np.array([9.0, 25.0])).sum()
        assert coding_rate(Z, 0.01).item() == pytest.approx(expected, abs=2e-6)

    def test_a_batch_of_small_and_of_huge_tokens(self):
        Z = torch.stack([tokens(5, 3), 1e9 * tokens(5, 3, seed=1), torch.zeros(5, 3, dtype=torch.float64)])
        rates = coding_rate(Z, 0.1)
        for got, member in zip(rates, Z, strict=True):
            assert got.item() == pytest.approx(coding_rate(member, 0.1).item(), abs=1e-9)

    def test_gradient_flows_where_singular_values_take_over(self):
        Z = (1e9 * tokens(1, 8).repeat(5, 1)).requires_grad_()
        coding_rate(Z, 0.01).backward()
        assert torch.isfinite(Z.grad).all()
        # d R / d log(scale) = 1 for a single large eigenvalue
        assert (Z.grad * Z.detach()).sum().item() == pytest.approx(1, abs=1e-3)

    @pytest.mark.parametrize("scale", [1.0, 1e2, 1e6])
    def test_a_gram_matrix_at_hand_gives_the_same(self, scale):
        """Tokens of rank 8: from the Gram matrix alone it was 260 nats at 1e6, and 171 are right."""
        left, right = torch.linalg.qr(tokens(96, 8)).Q, torch.linalg.qr(tokens(64, 8, seed=1)).Q
        strong = scale * torch.arange(1.0, 9.0, dtype=torch.float64)
        Z = torch.stack([(left * strong) @ right.T, tokens(96, 64, seed=2)])
        alpha = 64 / (96 * 0.01)
        expected = 0.5 * np.log1p(alpha * strong.numpy() ** 2).sum()
        got = rate_from_gram(small_gram(Z), alpha, lambda: Z)
        assert got[0].item() == pytest.approx(expected, abs=1e-6)
        assert got[1].item() == rate_from_gram(small_gram(Z[1]), alpha, lambda: Z[1]).item()
        assert torch.equal(got, coding_rate(Z, 0.01))

    def test_a_gram_matrix_that_is_not_drowned_asks_for_no_tokens(self):
        Z = tokens(9, 4)
        rate = rate_from_gram(small_gram(Z), 4 / (9 * 0.1), lambda: pytest.fail("asked for the tokens"))
        assert rate.item() == pytest.approx(numpy_rate(Z, 0.1), rel=1e-12)

    @pytest.mark.parametrize(("n", "d"), [(24, 12), (12, 24)])
    @pytest.mark.parametrize("scale", [1.0, 1e4, 1e6, 1e9])
    def test_the_gradient_of_rank_deficient_tokens_of_any_size(self, n, d, scale):
        """A singular value s becomes a s / (1 + a s^2). Whether the system could be solved hung on last bits."""
        left, right = torch.linalg.qr(tokens(n, 3)).Q, torch.linalg.qr(tokens(d, 3, seed=1)).Q
        strong, alpha = scale * torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64), d / (n * 0.01)
        expected = (left * (alpha * strong / (1 + alpha * strong**2))) @ right.T
        Z = torch.stack([(left * strong) @ right.T, tokens(n, d, seed=2)])
        got = coding_rate_gradient(Z, 0.01)
        assert (got[0] - expected).norm() < 1e-5 * expected.norm()
        assert torch.allclose(got[1], coding_rate_gradient(Z[1], 0.01), rtol=1e-12, atol=0)

    def test_the_gradient_of_huge_tokens_of_full_rank(self):
        """Nothing is left of the identity, and nothing is missed: the pseudo-inverse, transposed."""
        Z = 1e12 * tokens(9, 4)
        assert torch.allclose(coding_rate_gradient(Z, 0.1), torch.linalg.pinv(Z).T, rtol=1e-9, atol=0)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_on_a_gpu(self, dtype):
        Z = tokens(3, 30, 16, dtype=dtype)
        assert torch.allclose(coding_rate(Z.cuda(), 0.1).cpu(), coding_rate(Z, 0.1), rtol=1e-10)


class TestErrors:
    @pytest.mark.parametrize("eps_sq", [0, -0.1, float("nan")])
    @pytest.mark.parametrize("function", [coding_rate, coding_rate_gradient])
    def test_eps_sq(self, function, eps_sq, unchecked):
        with pytest.raises(ValueError, match="eps_sq is the squared precision and must be positive"):
            function(tokens(3, 2), eps_sq)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_not_finite(self, value):
        Z, U = tokens(3, 2), tokens(1, 2, 1)
        Z[1, 0] = value
        for call in (
            lambda: coding_rate(Z, 0.1),
            lambda: compression_rate(Z, U, 0.1),
            lambda: compression_rate_gradient(Z, U, 0.1),
        ):
            with pytest.raises(ValueError, match="NaN or infinite"):
                call()

    @pytest.mark.parametrize("shape", [(3,), (0, 4), (4, 0), (2, 0, 4)])
    def test_no_tokens(self, shape, unchecked):
        with pytest.raises(ValueError, match=r"Z must be \(\.\.\., n, d\) with at least one token"):
            coding_rate(torch.zeros(shape), 0.1)

    @pytest.mark.parametrize("shape", [(6, 2), (3, 5, 2), (1, 3, 6, 2)])
    def test_bases_that_do_not_fit(self, shape, unchecked):
        with pytest.raises(ValueError, match=r"U must be \(K, d, p\) with the d of the tokens, 6"):
            project(tokens(4, 6), torch.zeros(shape, dtype=torch.float64))

    def test_sparsity_term(self, unchecked):
        Z, U = tokens(4, 6), tokens(2, 6, 2)
        with pytest.raises(ValueError, match="lam weighs the sparsity"):
            sparse_rate_reduction(Z, U, 0.1, -1)
        with pytest.raises(ValueError, match="norm must be 'l0' or 'l1'"):
            sparse_rate_reduction(Z, U, 0.1, 1, norm="l2")


class TestAllFinite:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    @pytest.mark.parametrize(
        "bad", [[float("nan")], [float("inf")], [-float("inf")], [float("inf"), -float("inf")]]
    )
    def test_finds_what_is_not(self, dtype, bad):
        Z = torch.ones(3, 5, 7, dtype=dtype)
        assert all_finite(Z)
        Z[1, 2, : len(bad)] = torch.tensor(bad, dtype=dtype)
        assert not all_finite(Z)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    def test_entries_too_large_to_be_summed_are_finite(self, dtype):
        largest = torch.finfo(dtype).max
        assert all_finite(torch.full((4, 4), largest, dtype=dtype))
        assert all_finite(torch.tensor([largest, largest, -largest, -largest], dtype=dtype))

    def test_looks_at_entries_only_where_the_sum_is_not_finite(self, monkeypatch):
        """On 785 tokens in six heads, looking at every entry cost more than the rate itself."""
        seen, real = [], torch.isfinite
        monkeypatch.setattr(torch, "isfinite", lambda t: seen.append(t.numel()) or real(t))
        Z = torch.randn(2, 50, 8, requires_grad=True)
        assert coding_rate(Z, 0.01).requires_grad
        assert set(seen) == {1}
        with torch.no_grad():
            Z[0, 0, 0] = torch.nan
        with pytest.raises(ValueError, match="NaN or infinite"):
            coding_rate(Z, 0.01)
        assert max(seen) == Z.numel()


class TestSignalToNoise:
    def test_equation(self):
        """In float64, with the projections written out."""
        Z, U = tokens(9, 6, seed=1), torch.linalg.qr(tokens(3, 6, 2, seed=2)).Q
        labels = torch.tensor([0, 1, 2, 0, 0, 1, 2, 2, 2])
        for k, got in enumerate(snr(Z, U, labels).tolist()):
            z, P = Z[labels == k].numpy(), (U[k] @ U[k].T).numpy()
            assert got == pytest.approx(
                np.linalg.norm(z @ P) / np.linalg.norm(z @ (np.eye(6) - P)), rel=1e-12
            )

    def test_the_span_counts_and_not_the_columns(self):
        Z, U, labels = tokens(8, 5, seed=3), tokens(2, 5, 2, seed=4), torch.arange(8) % 2
        mixed = U @ torch.tensor([[2.0, 1.0], [0.5, -3.0]], dtype=torch.float64)
        assert torch.allclose(snr(Z, U, labels), snr(Z, mixed, labels))
        assert torch.allclose(snr(Z, U, labels), snr(7 * Z, U, labels))

    def test_batches_and_narrow_tokens(self):
        Z, U, labels = (
            tokens(3, 8, 5, seed=5),
            orthonormal(5)[:, :4].view(5, 2, 2).movedim(1, 0),
            torch.arange(8) % 2,
        )
        each = torch.stack([snr(z, U, labels) for z in Z])
        assert torch.allclose(snr(Z, U, labels), each)
        narrow = snr(Z.float(), U.float(), labels)
        assert narrow.dtype == torch.float32
        assert torch.allclose(narrow.double(), each, rtol=1e-5)

    def test_little_noise_is_not_lost(self):
        U = torch.eye(4)[None, :, :2]
        Z = torch.tensor([[3.0, 4.0, 1e-6, 0.0]])
        assert float(snr(Z, U, torch.tensor([0]))) == pytest.approx(5e6, rel=1e-5)
        assert snr(Z[:, :2] @ U[0].T, U, torch.tensor([0])).isinf().all()

    @pytest.mark.parametrize("labels", [[0, 1, 2], [0, -1, 1], [0, 1], [0.0, 1.0, 1.0]])
    def test_labels_that_do_not_fit(self, labels, unchecked):
        with pytest.raises(ValueError, match="labels must be 3 integers from 0 to 1"):
            snr(tokens(3, 4), tokens(2, 4, 2), torch.tensor(labels))
