"""Mixtures of subspaces: where the tokens lie, how much noise they carry, and what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crate_mini.data.subspaces import mixture_of_subspaces, mixture_with_crosstalk


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 40),
    K=st.integers(1, 5),
    p=st.integers(1, 4),
    orthogonal=st.booleans(),
    seed=st.integers(0, 99),
)
def test_without_noise_each_token_lies_in_its_subspace(n, K, p, orthogonal, seed):
    drawn = mixture_of_subspaces(n, d=K * p + 2, K=K, p=p, orthogonal=orthogonal, seed=seed)
    U = drawn.bases[drawn.labels]
    back = torch.einsum("ndp,nep,ne->nd", U, U, drawn.tokens)
    torch.testing.assert_close(back, drawn.tokens, rtol=0, atol=1e-10)
    torch.testing.assert_close(drawn.tokens.norm(dim=-1), torch.ones(n, dtype=torch.float64))
    torch.testing.assert_close(
        drawn.bases.mT @ drawn.bases, torch.eye(p, dtype=torch.float64).expand(K, p, p)
    )
    counts = torch.bincount(drawn.labels, minlength=K)
    assert counts.max() - counts.min() <= 1
    assert (drawn.labels.diff() >= 0).all()


def test_orthogonal_subspaces_share_no_direction_and_others_do():
    for orthogonal in (True, False):
        U = mixture_of_subspaces(10, d=24, K=4, p=5, orthogonal=orthogonal).bases
        overlap = torch.linalg.matrix_norm(U[0].T @ U[1], 2).item()
        assert overlap < 1e-10 if orthogonal else overlap > 0.1


def test_noise_is_a_length_whatever_the_dimension():
    for d in (8, 200):
        drawn = mixture_of_subspaces(4000, d=d, K=2, p=3, noise=0.5, unit_length=False, seed=1)
        U = drawn.bases[drawn.labels]
        inside = torch.einsum("ndp,nd->np", U, drawn.tokens).square().sum(-1).mean().item()
        outside = drawn.tokens.square().sum(-1).mean().item() - inside
        assert outside == pytest.approx(0.25 * (d - 3) / d, rel=0.05)
        assert inside == pytest.approx(1 + 0.25 * 3 / d, rel=0.05)


def test_a_seed_is_a_seed():
    a, b, c = (mixture_of_subspaces(9, d=6, K=2, p=2, noise=0.1, seed=s) for s in (3, 3, 4))
    assert torch.equal(a.tokens, b.tokens)
    assert not torch.equal(a.tokens, c.tokens)
    assert mixture_of_subspaces(9, d=6, K=2, p=2, dtype=torch.float32).tokens.dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"K": 4, "p": 2},
            "4 orthogonal subspaces of dimension 2 do not fit into 6 dimensions; pass orthogonal=False",
        ),
        ({"p": 7, "orthogonal": False}, "2 subspaces of dimension 7 do not fit into 6 dimensions$"),
        ({"noise": -0.1}, "noise is a length and must not be negative"),
        ({"noise": float("nan")}, "noise is a length and must not be negative"),
        ({"p": 0}, "p must be a positive integer, got 0"),
    ],
)
def test_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        mixture_of_subspaces(5, **({"d": 6, "K": 2, "p": 2} | settings))


class TestCrosstalk:
    def test_noise_lies_in_the_subspaces_of_others(self):
        n, d, K, p, delta = 3000, 30, 3, 6, 0.4
        drawn = mixture_with_crosstalk(n, d=d, K=K, p=p, crosstalk=delta, seed=2)
        flat = drawn.bases.movedim(0, 1).reshape(d, K * p)
        assert torch.allclose(flat.T @ flat, torch.eye(K * p, dtype=flat.dtype), atol=1e-12)
        assert torch.allclose(drawn.tokens @ flat @ flat.T, drawn.tokens, atol=1e-10), (
            "nothing outside all of them"
        )
        coordinates = torch.einsum("nd,kdp->knp", drawn.tokens, drawn.bases)
        own = drawn.labels == torch.arange(K)[:, None]
        assert coordinates[own].std() == pytest.approx(1, abs=0.03)
        assert coordinates[~own].std() == pytest.approx(delta, abs=0.012)
        assert drawn.labels.bincount().tolist() == [1000] * 3

    def test_a_seed_is_a_draw_and_noise_only_scales(self):
        quiet, loud = (mixture_with_crosstalk(9, d=12, K=3, p=4, crosstalk=c, seed=1) for c in (0.1, 0.3))
        again = mixture_with_crosstalk(9, d=12, K=3, p=4, crosstalk=0.1, seed=1)
        assert torch.equal(quiet.tokens, again.tokens)
        own = torch.einsum("nd,ndp->np", quiet.tokens, quiet.bases[quiet.labels])
        assert torch.allclose(own, torch.einsum("nd,ndp->np", loud.tokens, loud.bases[loud.labels]))
        other = mixture_with_crosstalk(9, d=12, K=3, p=4, crosstalk=0.1, seed=2)
        assert not torch.allclose(quiet.tokens, other.tokens)

    def test_refuses(self):
        with pytest.raises(ValueError, match="crosstalk is a deviation"):
            mixture_with_crosstalk(9, d=12, K=3, p=4, crosstalk=-0.1)
        with pytest.raises(ValueError, match="do not fit into 11 dimensions"):
            mixture_with_crosstalk(9, d=11, K=3, p=4, crosstalk=0.1)
