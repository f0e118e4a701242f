"""Rates of labelled classes against plain numpy, their bounds, invariances, gradients, and what they refuse."""

from __future__ import annotations

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crate_mini.data.subspaces import mixture_of_subspaces
from crate_mini.rates import (
    class_coding_rate,
    class_coding_rate_gradient,
    coding_rate,
    compression_rate,
    mcr2,
)


def tokens(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def classes(n: int, K: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(K, (n,), generator=torch.Generator().manual_seed(seed))


def soft(n: int, K: int, seed: int = 0) -> torch.Tensor:
    return (2 * tokens(n, K, seed=seed + 1)).softmax(-1)


def orthonormal(d: int, seed: int = 0) -> torch.Tensor:
    return torch.linalg.qr(tokens(d, d, seed=seed)).Q


def numpy_class_rate(Z: torch.Tensor, memberships: torch.Tensor, eps_sq: float) -> float:
    """The equation as printed, with the diagonal matrices in full."""
    z = Z.double().numpy().T  # columns, as in the papers
    d, n = z.shape
    total = 0.0
    for pi in memberships.double().numpy().T:
        Pi, size = np.diag(pi), pi.sum()
        if size > 0:
            total += size / n / 2 * np.linalg.slogdet(np.eye(d) + d / (size * eps_sq) * z @ Pi @ z.T)[1]
    return total


def one_hot(labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels).double()


@pytest.fixture
def unchecked(monkeypatch):
    """Without the shape checks that the test run adds: users do not have them either."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


class TestEquation:
    @pytest.mark.parametrize("shape", [(12, 4), (4, 12), (9, 9), (40, 6)])
    @pytest.mark.parametrize("eps_sq", [0.01, 0.5, 4.0])
    def test_labels(self, shape, eps_sq):
        Z, labels = tokens(*shape), classes(shape[0], 3)
        expected = numpy_class_rate(Z, one_hot(labels), eps_sq)
        assert class_coding_rate(Z, labels, eps_sq).item() == pytest.approx(expected, abs=1e-10)
        gain = coding_rate(Z, eps_sq).item() - expected
        assert mcr2(Z, labels, eps_sq).item() == pytest.approx(gain, abs=1e-10)

    @pytest.mark.parametrize("shape", [(12, 4), (4, 12)])
    def test_memberships(self, shape):
        Z, memberships = tokens(*shape), soft(shape[0], 3)
        expected = numpy_class_rate(Z, memberships, 0.3)
        assert class_coding_rate(Z, memberships, 0.3).item() == pytest.approx(expected, abs=1e-10)

    def test_labels_are_memberships_of_one_and_zero(self):
        Z, labels = tokens(20, 5), classes(20, 4)
        hard = class_coding_rate(Z, labels, 0.2).item()
        assert class_coding_rate(Z, one_hot(labels), 0.2).item() == pytest.approx(hard, abs=1e-12)

    def test_the_numbering_of_the_classes_does_not_matter(self):
        Z, labels = tokens(20, 5), classes(20, 3)
        renamed = torch.tensor([70, -2, 9])[labels]
        expected = class_coding_rate(Z, labels, 0.2).item()
        assert class_coding_rate(Z, renamed, 0.2).item() == pytest.approx(expected, abs=1e-12)

    def test_a_class_without_members_costs_nothing(self):
        Z, memberships = tokens(10, 4), soft(10, 2)
        empty = torch.cat([memberships, torch.zeros(10, 1, dtype=torch.float64)], -1)
        assert class_coding_rate(Z, empty, 0.2).item() == class_coding_rate(Z, memberships, 0.2).item()

    def test_a_number_by_hand(self):
        # Two classes of one unit token each, orthogonal, d = 2, eps_sq = 1: R = ln 2; each class ½ ln 3, half weight.
        Z, labels = torch.eye(2, dtype=torch.float64), torch.tensor([0, 1])
        assert class_coding_rate(Z, labels, 1.0).item() == pytest.approx(0.5 * np.log(3), abs=1e-12)
        assert mcr2(Z, labels, 1.0).item() == pytest.approx(np.log(2) - 0.5 * np.log(3), abs=1e-12)

    def test_batches(self):
        Z, labels = tokens(2, 3, 8, 5), classes(8, 2)
        assert class_coding_rate(Z, labels, 0.1).shape == mcr2(Z, labels, 0.1).shape == (2, 3)
        for i in range(2):
            for j in range(3):
                expected = numpy_class_rate(Z[i, j], one_hot(labels), 0.1)
                assert class_coding_rate(Z, labels, 0.1)[i, j].item() == pytest.approx(expected, abs=1e-10)


class TestBounds:
    @settings(max_examples=40, deadline=None)
    @given(
        n=st.integers(1, 12),
        d=st.integers(1, 6),
        K=st.integers(1, 4),
        seed=st.integers(0, 10**6),
        eps_sq=st.floats(1e-3, 10),
    )
    def test_never_negative_and_invariant(self, n, d, K, seed, eps_sq):
        Z = tokens(n, d, seed=seed)
        for labels in (classes(n, K, seed), soft(n, K, seed)):
            gain = mcr2(Z, labels, eps_sq).item()
            assert gain >= -1e-9
            assert mcr2(Z @ orthonormal(d, seed), labels, eps_sq).item() == pytest.approx(gain, abs=1e-9)
            order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
            assert mcr2(Z[order], labels[order], eps_sq).item() == pytest.approx(gain, abs=1e-9)

    def test_one_class_saves_nothing(self):
        assert mcr2(tokens(9, 4), torch.zeros(9, dtype=torch.long), 0.1).item() == pytest.approx(0, abs=1e-12)

    def test_classes_with_equal_second_moments_save_nothing(self):
        Z = tokens(9, 4)
        gain = mcr2(torch.cat([Z, -Z]), torch.arange(18) // 9, 0.1)
        assert gain.item() == pytest.approx(0, abs=1e-12)

    @pytest.mark.parametrize("eps_sq", [0.05, 0.5])
    def test_the_optimum(self, eps_sq):
        """Orthogonal subspaces filled evenly: the value in closed form, and no neighbour is better."""
        d, K, p, n = 12, 3, 4, 24
        axes = torch.eye(d, dtype=torch.float64)
        Z = torch.cat([axes, -axes])
        labels = (torch.arange(n) % d) // p
        best = d / 2 * np.log(1 + 1 / eps_sq) - p / 2 * np.log(1 + K / eps_sq)
        assert mcr2(Z, labels, eps_sq).item() == pytest.approx(best, abs=1e-10)
        for seed in range(20):
            near = torch.nn.functional.normalize(Z + 0.1 * tokens(n, d, seed=seed), dim=-1)
            assert mcr2(near, labels, eps_sq).item() < best

    def test_labels_that_tell_the_subspaces_save_more_than_others(self):
        mixture = mixture_of_subspaces(90, d=12, K=3, p=4)
        told = mcr2(mixture.tokens, mixture.labels, 0.1).item()
        assert told > 2 * mcr2(mixture.tokens, mixture.labels.roll(15), 0.1).item()


class TestGradient:
    @pytest.mark.parametrize("shape", [(12, 4), (4, 12), (2, 9, 5)])
    @pytest.mark.parametrize("kind", [classes, soft])
    def test_closed_form_is_autograd(self, shape, kind):
        Z, labels = tokens(*shape).requires_grad_(), kind(shape[-2], 3)
        (expected,) = torch.autograd.grad(class_coding_rate(Z, labels, 0.2).sum(), Z)
        got = class_coding_rate_gradient(Z.detach(), labels, 0.2)
        assert torch.allclose(got, expected, rtol=0, atol=1e-10)

    def test_of_memberships(self):
        Z, logits = tokens(7, 3), tokens(7, 2, seed=1).requires_grad_()
        assert torch.autograd.gradcheck(lambda a: class_coding_rate(Z, a.softmax(-1), 0.2), (logits,))


class TestPrecision:
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
    def test_narrow_tokens(self, dtype, tolerance):
        Z, labels = tokens(40, 8, dtype=dtype), classes(40, 3)
        expected = numpy_class_rate(Z, one_hot(labels), 0.1)
        assert class_coding_rate(Z, labels, 0.1).item() == pytest.approx(expected, rel=tolerance)
        memberships = soft(40, 3).to(dtype)
        expected = numpy_class_rate(Z, memberships, 0.1)
        assert class_coding_rate(Z, memberships, 0.1).item() == pytest.approx(expected, rel=tolerance)
        assert class_coding_rate_gradient(Z, labels, 0.1).dtype == dtype

    def test_degenerate_tokens(self):
        labels = torch.tensor([0, 0, 1])
        assert class_coding_rate(torch.zeros(3, 2), labels, 0.1).item() == 0
        Z = torch.ones(3, 2)  # rank one
        assert mcr2(Z, labels, 0.1).item() == pytest.approx(0, abs=1e-6)


class TestAgainstTheRateOfSubspaces:
    """How R^c of MCR² differs from R^c of CRATE, as the chapter states it."""

    def test_subspaces_do_not_see_which_token_is_where(self):
        mixture = mixture_of_subspaces(90, d=12, K=3, p=4)
        Z, U, labels = mixture.tokens, mixture.bases, mixture.labels
        third = orthonormal(3)
        mixed = torch.einsum("ij,jnd->ind", third, Z.view(3, 30, 12)).reshape(90, 12)
        assert torch.allclose(mixed.norm(dim=-1), torch.ones(90, dtype=torch.float64))
        assert coding_rate(mixed, 0.1).item() == pytest.approx(coding_rate(Z, 0.1).item(), abs=1e-9)
        same = compression_rate(Z, U, 0.1).item()
        assert compression_rate(mixed, U, 0.1).item() == pytest.approx(same, abs=1e-9)
        assert class_coding_rate(mixed, labels, 0.1) > class_coding_rate(Z, labels, 0.1) + 1

    def test_at_the_optimum_it_is_the_rate_at_a_coarser_precision(self):
        Z, K, p = torch.eye(12, dtype=torch.float64), 3, 4
        U = Z.view(12, K, p).movedim(1, 0)
        coarser = coding_rate(Z, K * 0.1).item()
        assert compression_rate(Z, U, 0.1).item() == pytest.approx(coarser, abs=1e-10)


class TestErrors:
    @pytest.mark.parametrize("function", [class_coding_rate, class_coding_rate_gradient, mcr2])
    @pytest.mark.parametrize(
        "labels",
        [
            torch.zeros(3, dtype=torch.long),
            torch.zeros(4),
            torch.zeros(4, 2, dtype=torch.long),
            torch.zeros(2, 4),
            torch.zeros(1, 4, 2),
        ],
    )
    def test_labels_that_do_not_fit(self, function, labels, unchecked):
        with pytest.raises(ValueError, match=r"labels must be \(4,\) integers or \(4, K\) floats"):
            function(tokens(4, 3), labels, 0.1)

    @pytest.mark.parametrize("values", [[[0.5, 0.4]], [[1.5, -0.5]], [[float("nan"), 1.0]]])
    def test_memberships_that_are_none(self, values):
        with pytest.raises(ValueError, match="must not be negative and must sum to one"):
            class_coding_rate(tokens(3, 2), torch.tensor(values).repeat(3, 1), 0.1)

    @pytest.mark.parametrize("function", [class_coding_rate, class_coding_rate_gradient, mcr2])
    def test_tokens_and_precision(self, function, unchecked):
        labels = torch.tensor([0, 1])
        with pytest.raises(ValueError, match="eps_sq is the squared precision"):
            function(tokens(2, 2), labels, 0.0)
        with pytest.raises(ValueError, match="NaN or infinite"):
            function(torch.full((2, 2), float("nan")), labels, 0.1)
        with pytest.raises(ValueError, match="at least one token"):
            function(torch.zeros(0, 2), labels[:0], 0.1)
