"""Noise on a share of the pixels, and Spearman's correlation of maps against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from crate_mini.noise import gaussian_noise, rank_correlation

GREY = torch.full((2, 3, 64, 64), 128, dtype=torch.uint8)


@pytest.mark.parametrize(("sigma", "share"), [(10, 0.5), (25, 0.5), (25, 0.1), (25, 1)])
def test_has_the_spread_and_hits_the_share_that_was_asked_for(sigma, share):
    change = gaussian_noise(GREY, sigma, share).float() - 128
    hit = (change != 0).any(1)  # noise below half a level in all three channels is rare
    assert hit.float().mean() == pytest.approx(share, abs=0.02)
    assert change.movedim(1, -1)[hit].std() == pytest.approx(sigma, rel=0.04)
    assert change.mean() == pytest.approx(0, abs=0.05 * sigma)


def test_channels_of_a_pixel_are_hit_together_and_differ():
    change = gaussian_noise(GREY, 50, 0.3).float() - 128
    some, all_ = (change != 0).any(1), (change != 0).all(1)
    assert (some & ~all_).float().mean() < 0.01
    assert (change[:, 0] != change[:, 1])[some].float().mean() > 0.95


def test_levels_are_nested_under_one_seed():
    ten, quarter = (gaussian_noise(GREY, 75, share) != 128 for share in (0.1, 0.25))
    assert (ten <= quarter).all()
    single, double = (gaussian_noise(GREY.float() / 255, sigma, 0.5) - 128 / 255 for sigma in (10, 20))
    torch.testing.assert_close(double, 2 * single, atol=1e-6, rtol=0)


def test_stays_in_range_in_both_types_and_needs_no_global_randomness():
    edge = torch.cat([torch.zeros_like(GREY), torch.full_like(GREY, 255)])
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    as_bytes, as_floats = gaussian_noise(edge, 75), gaussian_noise(edge.float() / 255, 75)
    assert torch.equal(state, torch.random.get_rng_state())
    assert as_bytes.dtype == torch.uint8
    assert as_floats.min() >= 0
    assert as_floats.max() <= 1
    torch.testing.assert_close(as_bytes.float() / 255, as_floats, atol=0.51 / 255, rtol=0)
    assert 0.4 < (as_bytes[:2] == 0).float().mean() < 0.9  # half are not hit, half of the rest is clipped


def test_no_noise_changes_nothing_and_seeds_differ():
    for sigma, share in ((0, 0.5), (75, 0)):
        assert torch.equal(gaussian_noise(GREY, sigma, share), GREY)
    assert torch.equal(gaussian_noise(GREY, 10, seed=1), gaussian_noise(GREY, 10, seed=1))
    assert not torch.equal(gaussian_noise(GREY, 10, seed=1), gaussian_noise(GREY, 10, seed=2))


@pytest.mark.parametrize(
    ("sigma", "share", "said"), [(-1, 0.5, "sigma"), (1, 1.5, "share"), (1, -0.1, "share")]
)
def test_refuses_what_makes_no_sense(sigma, share, said):
    with pytest.raises(ValueError, match=said):
        gaussian_noise(GREY, sigma, share)


@given(n=st.integers(2, 30), levels=st.integers(2, 9), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_rank_correlation_is_scipys_with_ties(n, levels, seed):
    g = torch.Generator().manual_seed(seed)
    a = torch.randint(levels, (2, 3, n), generator=g).float()
    b = torch.randn(2, 3, n, generator=g)
    a[..., 0] = levels  # no map of one value
    expected = spearmanr(a[1].flatten().numpy(), b[1].flatten().numpy()).statistic
    assert rank_correlation(a, b)[1].item() == pytest.approx(expected, abs=1e-10)


def test_rank_correlation_sees_order_alone():
    a = torch.randn(4, 5, 5)
    torch.testing.assert_close(rank_correlation(a, a.exp()), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(rank_correlation(a, -3 * a), -torch.ones(4, dtype=torch.float64))
    assert rank_correlation(a[:, None], a[None]).shape == (4, 4)
    assert np.isnan(rank_correlation(torch.ones(2, 2), a[0, :2, :2]).item())
