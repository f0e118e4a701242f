"""Statistics against second implementations: scikit-learn, SciPy, NumPy, and everything tried by hand."""

from __future__ import annotations

import itertools

import jaxtyping
import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version
from sklearn.metrics import average_precision_score, roc_auc_score

from crate_mini import attention_maps, average_precision, calibration, heads, layerwise, noise, segmentation
from crate_mini.stats import (
    Ranking,
    Running,
    auroc,
    bootstrap_interval,
    contrast_interval,
    contrast_test,
    curve_average_precision,
    curve_best_iou,
    expected_best_of,
    hierarchical_contrast,
    hierarchical_interval,
    holm,
    iou_from_counts,
    mean_interval,
    normal_interval,
    patch_counts,
    prediction_interval,
    rank_correlation,
    resamples,
    simultaneous,
    t_interval,
    variance_shares,
    welch_interval,
    welch_test,
)


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_there_is_one_of_each():
    """Where a number was computed in several places, all of them now name the same function."""
    assert heads.auroc is auroc
    assert heads.best_of is segmentation.expected_best_of is expected_best_of
    assert heads.simultaneous is simultaneous
    assert segmentation.mean_interval is mean_interval
    assert layerwise.Running is Running


class TestRanking:
    @settings(max_examples=25, deadline=None)
    @given(
        rows=st.lists(
            st.tuples(st.integers(0, 5), st.floats(0, 3), st.floats(0, 3)), min_size=2, max_size=12
        ).filter(lambda rows: sum(r[1] for r in rows) > 0.1 and sum(r[2] for r in rows) > 0.1)
    )
    def test_weighted_and_tied_is_scikit_learns(self, rows):
        score, a, b = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
        truth = np.r_[np.ones(len(a)), np.zeros(len(b))]
        weights, twice = np.r_[a, b], np.r_[score, score]
        expected = roc_auc_score(truth, twice, sample_weight=weights)
        assert auroc(score, a, b).item() == pytest.approx(expected, abs=1e-9)
        ranking = Ranking(score)
        tp, fp = (ranking.at_ends(ranking.cumulated(w)) for w in (a, b))
        best = max(a[score >= t].sum() / (a.sum() + b[score >= t].sum()) for t in score)
        assert curve_best_iou(tp, fp).item() == pytest.approx(best.item())
        found = curve_average_precision(tp, fp).item()
        assert found == pytest.approx(average_precision_score(truth, twice, sample_weight=weights), abs=1e-9)

    def test_auroc_is_every_pair_compared(self):
        s = torch.randint(0, 4, (3, 9), generator=dice()).float()
        a, b = torch.rand(2, 3, 9, generator=dice(1), dtype=torch.float64)
        for i in range(3):
            over = s[i][:, None] - s[i][None]
            pairs = a[i][:, None] * b[i][None]
            expected = (pairs * ((over > 0) + 0.5 * (over == 0))).sum() / pairs.sum()
            torch.testing.assert_close(auroc(s, a, b)[i], expected)

    def test_leading_dimensions_broadcast(self):
        s, a, b = torch.rand(4, 3, 1, 9), torch.rand(4, 1, 2, 9), torch.rand(2, 9)
        found = auroc(s, a, b)
        assert found.shape == (4, 3, 2)
        torch.testing.assert_close(found[3, 1, 0], auroc(s[3, 1, 0], a[3, 0, 0], b[0]))

    def test_infinite_scores_have_a_place(self):
        s = torch.tensor([torch.inf, 0.0, -torch.inf])
        truth = torch.tensor([1.0, 1.0, 0.0])
        assert auroc(s, truth, 1 - truth) == 1

    @settings(max_examples=40, deadline=None)
    @given(seed=st.integers(0, 10**6), levels=st.integers(2, 6))
    def test_rank_correlation_is_scipys(self, seed, levels):
        a = torch.randint(0, levels, (2, 8), generator=dice(seed)).double()
        b = torch.rand(2, 8, generator=dice(seed + 1), dtype=torch.float64)
        for i in range(2):
            if len(a[i].unique()) > 1:
                expected = scipy.stats.spearmanr(a[i], b[i]).statistic
                assert rank_correlation(a, b)[i].item() == pytest.approx(expected, abs=1e-12)


def scores_of(values: torch.Tensor) -> segmentation.Scores:
    """Of two images, one layer, two heads."""
    table = values.view(2, 1, 2)
    return segmentation.Scores({"rules": ["auroc"]}, {"heads/auroc": table, "best_of/auroc": table})


class TestNaN:
    """A rank of NaN would be the highest or the lowest, by the whim of the sorting: no ranking over it anywhere."""

    bad = torch.tensor([0.1, torch.nan, 0.3, 0.4])
    ones = torch.ones(4)

    @pytest.mark.parametrize(
        "rank",
        [
            lambda x, o: auroc(x, o, o),
            lambda x, o: auroc(o, x, o),
            lambda x, o: auroc(o, o, x),
            lambda x, o: segmentation.score_maps(x, o, o),
            lambda x, o: heads.part_scores(x[None, None], torch.ones(1, 3, 4)),
            lambda x, o: rank_correlation(x, o),
            lambda x, o: noise.rank_correlation(x.view(2, 2), o.view(2, 2)),
            lambda x, o: expected_best_of(x),
            lambda x, o: expected_best_of(x, 2),
            lambda x, o: mean_interval(x),
            lambda x, o: t_interval(x.tolist()),
            lambda x, o: welch_interval(x.tolist(), o.tolist()),
            lambda x, o: hierarchical_interval(x[None], o[None]),
            lambda x, o: attention_maps.mass_mask(x.view(2, 2)),
            lambda x, o: attention_maps.patch_mask(x.view(2, 2)),
            lambda x, o: heads.strongest_patches(x[None]),
            lambda x, o: calibration.calibration_error(x.view(2, 2), torch.tensor([0, 1]), bins=1),
            lambda x, o: segmentation.choose(scores_of(x)),
            lambda x, o: segmentation.cross_fit(scores_of(x), "auroc"),
            lambda x, o: segmentation.best_head(x.view(2, 1, 2)),
        ],
    )
    def test_is_refused(self, rank):
        with pytest.raises(ValueError, match=r"1 of \d+ [a-z ]+ are NaN, and NaN cannot be ranked"):
            rank(self.bad, self.ones)


class TestBestOf:
    @pytest.mark.parametrize("R", [1, 2, 5])
    def test_is_the_mean_over_all_choices(self, R):
        pool = torch.rand(3, R, generator=dice(R), dtype=torch.float64)
        for k in range(1, R + 1):
            choices = torch.tensor(list(itertools.combinations(range(R), k)))
            expected = pool[:, choices].amax(-1).mean(-1)
            torch.testing.assert_close(expected_best_of(pool, k), expected)
            torch.testing.assert_close(expected_best_of(pool)[:, k - 1], expected)

    def test_of_a_large_pool_is_the_mean_of_draws(self):
        pool = torch.randn(400, generator=dice(), dtype=torch.float64)
        drawn = torch.stack([pool[torch.randperm(400, generator=dice(i))[:30]].max() for i in range(4000)])
        assert expected_best_of(pool, 30).item() == pytest.approx(drawn.mean().item(), abs=0.03)


class TestCounts:
    def test_iou(self):
        first, second = {1, 2, 3, 4}, {3, 4, 5}
        sizes = (torch.tensor(float(len(s))) for s in (first & second, first, second))
        assert iou_from_counts(*sizes).item() == pytest.approx(len(first & second) / len(first | second))
        assert iou_from_counts(*torch.zeros(3)).isnan()

    @settings(max_examples=30, deadline=None)
    @given(h=st.integers(1, 4), w=st.integers(1, 4), i=st.integers(1, 3), j=st.integers(1, 3))
    def test_patches_are_counted_one_by_one(self, h, w, i, j):
        marked = torch.rand(2, h * i, w * j, generator=dice()) < 0.5
        expected = [
            [int(m[r * i : (r + 1) * i, c * j : (c + 1) * j].sum()) for r in range(h) for c in range(w)]
            for m in marked
        ]
        assert patch_counts(marked, (h, w)).tolist() == expected

    @pytest.mark.parametrize("grid", [(3, 2), (2, 3), (0, 2)])
    def test_a_grid_that_does_not_fit(self, grid):
        with pytest.raises(ValueError, match="a mask of 4x4 pixels does not divide into"):
            patch_counts(torch.ones(4, 4, dtype=torch.bool), grid)


class TestRunning:
    def test_is_numpy(self):
        values = torch.randn(50, 3, generator=dice()) * 1e-3 + 1e4
        running = Running()
        for part in values.split([1, 20, 7, 22]):
            running.add(part)
        found, x = running.summary(), values.double().numpy()
        np.testing.assert_allclose(found["mean"], x.mean(0), rtol=1e-14)
        np.testing.assert_allclose(found["std"], x.std(0, ddof=1), rtol=1e-9)
        low, high = scipy.stats.norm.interval(0.95, x.mean(0), x.std(0, ddof=1) / 50**0.5)
        np.testing.assert_allclose(found["low"], low, atol=1e-4 * (high - low).max())
        np.testing.assert_allclose(found["high"], high, atol=1e-4 * (high - low).max())


class TestIntervals:
    def test_normal(self):
        assert normal_interval(2.0, 3.0, 36) == pytest.approx(
            scipy.stats.norm.interval(0.95, 2, 0.5), abs=1e-4
        )

    def test_bootstrap_of_the_mean_is_scipys(self):
        values = torch.rand(40, generator=dice(), dtype=torch.float64).square()
        mean, low, high = mean_interval(values, draws=8000)
        newer = Version(scipy.__version__) >= Version("1.15")
        draws = {"rng" if newer else "random_state": np.random.default_rng(1)}
        other = scipy.stats.bootstrap(
            (values.numpy(),), np.mean, n_resamples=8000, method="percentile", **draws
        ).confidence_interval
        assert mean == pytest.approx(values.mean().item())
        assert (low, high) == pytest.approx(tuple(other), abs=0.006)

    def test_bootstrap_of_anything_is_that_of_the_mean_for_the_mean(self):
        values = torch.rand(30, generator=dice(), dtype=torch.float64)
        found = bootstrap_interval(lambda i: [values[i].mean().item(), values[i].max().item()], 30, draws=200)
        assert found[0] == pytest.approx(mean_interval(values, draws=200))
        assert found[1][0] == found[1][2] == values.max().item()

    def test_draws_without_an_answer_are_left_out(self):
        values = torch.tensor([1.0, torch.nan, torch.nan, torch.nan])
        value, low, high = bootstrap_interval(lambda i: [values[i].nanmean().item()], 4, draws=100)[0]
        assert (value, low, high) == (1, 1, 1)

    def test_average_precision_has_the_interval_of_its_draws(self):
        overlaps = [torch.rand(3, 2, generator=dice(i)) for i in range(12)]
        scores = [torch.tensor([3.0, 2.0, 1.0])] * 12
        found = average_precision.average_precision_interval(overlaps, scores, draws=60)
        drawn = [
            average_precision.average_precision([overlaps[i] for i in index], [scores[0]] * 12)["AP50"]
            for index in resamples(12, 60, 0)
        ]
        expected = np.quantile(drawn, [0.025, 0.975])
        assert found["AP50"][1:] == pytest.approx(tuple(expected))

    def test_t_is_scipys(self):
        values = [0.71, 0.64, 0.69]
        expected = scipy.stats.t.interval(0.95, 2, np.mean(values), scipy.stats.sem(values))
        assert t_interval(values) == pytest.approx((np.mean(values), *expected))
        assert np.isnan(t_interval([0.5])[1:]).all()

    def test_a_further_value_falls_into_its_interval_as_often_as_it_says(self):
        drawn = torch.randn(4000, 4, generator=dice(0), dtype=torch.float64).tolist()
        inside = [low < new < high for *known, new in drawn for _, low, high in [prediction_interval(known)]]
        assert np.mean(inside) == pytest.approx(0.95, abs=0.015)  # four standard errors

    @pytest.mark.parametrize("sizes", [(3, 3), (2, 5), (6, 2)])
    def test_welch_is_scipys(self, sizes):
        a, b = (torch.rand(n, generator=dice(i), dtype=torch.float64).tolist() for i, n in enumerate(sizes))
        low, high = scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
        assert welch_interval(a, b) == pytest.approx((np.mean(a) - np.mean(b), low, high))
        difference, *ends = welch_interval(a[:1], b)
        assert difference == pytest.approx(a[0] - np.mean(b))
        assert np.isnan(ends).all()
        assert welch_interval([0.5, 0.5], [0.25, 0.25]) == (0.25, 0.25, 0.25)

    def test_a_contrast_of_two_is_scipys_test(self):
        a, b = (torch.rand(n, generator=dice(i), dtype=torch.float64).tolist() for i, n in enumerate((3, 5)))
        assert contrast_test([a, b], [1, -1]) == pytest.approx(
            scipy.stats.ttest_ind(a, b, equal_var=False).pvalue, rel=1e-9
        )
        assert contrast_test([b, a], [-2, 2]) == pytest.approx(welch_test(a, b)), "a scale changes nothing"
        assert contrast_interval([a, b], [2, -2]) == pytest.approx([2 * v for v in welch_interval(a, b)])

    def test_a_contrast_covers_with_three_a_group_of_uneven_spread(self):
        """The interaction of a square of cells that have none: 0 lies within in about 95 of 100, and p agrees."""
        g, inside, weights = dice(3), 0, (1, -1, -1, 1)
        for _ in range(800):
            cells = [
                (mean + spread * torch.randn(3, generator=g)).tolist()
                for mean, spread in zip((3, 1, 5, 3), (1, 0.5, 2, 1), strict=True)
            ]
            _, low, high = contrast_interval(cells, weights)
            inside += low <= 0 <= high
            assert (contrast_test(cells, weights) < 0.05) == (not low <= 0 <= high)
        assert 0.93 * 800 <= inside <= 0.99 * 800

    def test_a_contrast_needs_a_weight_each_and_two_values(self):
        with pytest.raises(ValueError, match="a weight for each of 2 groups, got 3"):
            contrast_interval([[1.0, 2.0], [1.0, 3.0]], [1, -1, 1])
        with pytest.raises(ValueError, match="two values a side at least, got 2 and 1 and 3"):
            contrast_test([[1.0, 2.0], [1.0], [1.0, 2.0, 3.0]], [1, 1, -2])
        value, *ends = contrast_interval([[1.0, 2.0], [1.0]], [1, -1])
        assert value == 0.5
        assert np.isnan(ends).all()

    def test_resamples_leave_the_global_random_state_alone(self):
        torch.manual_seed(0)
        before = torch.random.get_rng_state()
        index = resamples(5, 1000, seed=3)
        assert torch.equal(torch.random.get_rng_state(), before)
        assert index.unique().tolist() == list(range(5))
        with pytest.raises(ValueError, match="something to draw from and a draw, got 0 and 10"):
            resamples(0, 10, 0)


def family(trainings: int, images: int, spreads: tuple[float, float], shared, g) -> torch.Tensor:
    """Scores of a kind of network: what an image is for all, what a training is, and what the two are together."""
    training, both = spreads
    return (
        shared
        + training * torch.randn(trainings, 1, generator=g)
        + both * torch.randn(trainings, images, generator=g)
    )


class TestHierarchical:
    def test_standard_error_is_that_of_the_parts(self):
        """Against the variance of a difference of means written out, with trainings and images crossed."""
        g = dice()
        a, b = (family(S, 300, (0.3, 0.5), torch.randn(300, generator=g), g) for S in (4, 6))
        value, low, high = hierarchical_interval(a, b, draws=20000)
        over_trainings = [float(x.mean(1).var()) / len(x) for x in (a, b)]
        over_images = float((a.mean(0) - b.mean(0)).var()) / 300
        freedom = (sum(over_trainings) + over_images) ** 2 / (
            over_trainings[0] ** 2 / 3 + over_trainings[1] ** 2 / 5 + over_images**2 / 299
        )
        half = scipy.stats.t.ppf(0.975, freedom) * (sum(over_trainings) + over_images) ** 0.5
        assert value == pytest.approx(float(a.mean() - b.mean()))
        assert high - value == pytest.approx(half, rel=0.05)
        assert value - low == pytest.approx(half, rel=0.05)

    def test_is_every_draw_by_hand(self):
        """The same draws, each training and image taken out of the tables one by one."""
        a, b = torch.rand(3, 5, generator=dice(0)), torch.rand(2, 5, generator=dice(1))
        _, low, high = hierarchical_interval(a, b, draws=400, seed=2)
        wide = [(x.mean(0) + (len(x) / (len(x) - 1)) ** 0.5 * (x - x.mean(0))).double() for x in (a, b)]
        means = []
        for i in range(400):
            images = resamples(5, 400, 2)[i]
            rows = [resamples(len(x), 400, 6 + own)[i] for x, own in zip(wide, (1, 2), strict=True)]
            means.append(float(wide[0][rows[0]][:, images].mean() - wide[1][rows[1]][:, images].mean()))
        total = np.var(means, ddof=1)
        parts = [(float(x.double().mean(1).var()) / len(x), len(x) - 1) for x in (a, b)]
        parts.append((max(0.0, total - parts[0][0] - parts[1][0]), 4))
        freedom = sum(v for v, _ in parts) ** 2 / sum(v**2 / f for v, f in parts)
        assert high - low == pytest.approx(2 * scipy.stats.t.ppf(0.975, freedom) * total**0.5, rel=1e-6)

    @pytest.mark.parametrize("spreads", [(0.3, 0.3), (0.02, 0.3)])
    def test_covers_with_three_trainings_a_side(self, spreads):
        """Two kinds that are equally good: 0 lies within in about 95 of 100, as the quantiles of draws would not."""
        hits, g = 0, dice(5)
        for i in range(200):
            shared = torch.randn(2, 60, generator=g) * 0.3
            a, b = (family(3, 60, spreads, s, g) for s in shared)
            _, low, high = hierarchical_interval(a, b, draws=300, seed=i)
            hits += low <= 0 <= high
        assert 182 <= hits <= 200

    def test_a_contrast_of_four_has_the_error_of_its_parts(self):
        g, weights = dice(1), (0.5, 0.5, -0.5, -0.5)
        shared = torch.randn(300, generator=g)
        kinds = [family(3, 300, (0.3, 0.5), shared, g) for _ in weights]
        value, low, high = hierarchical_contrast(kinds, weights, draws=20000)
        of_images = sum(w * kind.mean(0) for w, kind in zip(weights, kinds, strict=True))
        parts = [(w * w * float(kind.mean(1).var()) / 3, 2) for w, kind in zip(weights, kinds, strict=True)]
        parts.append((float(of_images.var()) / 300, 299))
        total = sum(v for v, _ in parts)
        half = scipy.stats.t.ppf(0.975, total**2 / sum(v * v / f for v, f in parts)) * total**0.5
        assert value == pytest.approx(float(of_images.mean()))
        assert (high - low) / 2 == pytest.approx(half, rel=0.05)

    def test_one_training_says_nothing_of_others(self):
        a, b = torch.rand(1, 8, generator=dice()), torch.rand(3, 8, generator=dice(1))
        value, low, high = hierarchical_interval(a, b)
        assert value == pytest.approx(float(a.mean() - b.mean()))
        assert np.isnan([low, high]).all()

    def test_the_images_must_be_the_same(self, monkeypatch):
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users have it
        with pytest.raises(ValueError, match="need the same images, got 8 and 9"):
            hierarchical_interval(torch.rand(2, 8), torch.rand(2, 9))


class TestSeveralTests:
    def test_p_and_interval_agree(self):
        """Where zero lies outside of the 95 % interval, p is below 5 %, and nowhere else: one and the same t."""
        generator = torch.Generator().manual_seed(0)
        seen = set()
        for _ in range(60):
            a, b = (torch.randn(n, generator=generator).tolist() for n in (3, 4))
            a = [x + 1.5 for x in a]
            _, low, high = welch_interval(a, b)
            assert (welch_test(a, b) < 0.05) == (not low < 0 < high)
            seen.add(welch_test(a, b) < 0.05)
        assert seen == {True, False}

    def test_p_needs_spread_and_two_a_side(self):
        with pytest.raises(ValueError, match="two values a side at least, got 1 and 3"):
            welch_test([1.0], [1.0, 2.0, 3.0])
        with pytest.raises(ValueError, match="no side spread"):
            welch_test([1.0, 1.0], [2.0, 2.0])
        with pytest.raises(ValueError, match="NaN"):
            welch_test([1.0, float("nan")], [2.0, 2.0])

    def test_holm_by_hand(self):
        """.01 against .05/4, .013 against .05/3, .03 against .05/2: there it ends, and .04 is not looked at."""
        assert holm([0.03, 0.01, 0.04, 0.013]) == [False, True, False, True]
        assert holm([0.03, 0.01, 0.02]) == [True, True, True]
        assert holm([0.04]) == [True]
        assert holm([0.04], tests=2) == [False]
        assert holm([]) == []

    def test_holm_keeps_its_word(self):
        """Of four tests of nothing, one of twenty families has a false rejection; uncorrected, one of five."""
        p = torch.rand(4000, 4, generator=torch.Generator().manual_seed(0))
        wrong = [any(holm(row)) for row in p.tolist()]
        assert sum(wrong) / len(wrong) == pytest.approx(0.05, abs=0.012)
        assert (p < 0.05).any(1).float().mean().item() == pytest.approx(0.185, abs=0.02)

    def test_holm_refuses(self):
        with pytest.raises(ValueError, match="at most 1 p-values"):
            holm([0.1, 0.2], tests=1)
        with pytest.raises(ValueError, match="between 0 and 1"):
            holm([1.2])


class TestVarianceShares:
    def drawn(self, a, b, rows, columns, rest, d=40):
        g = torch.Generator().manual_seed(0)
        part = [
            torch.randn(*size, d, generator=g) * scale**0.5
            for size, scale in (((a, 1), rows), ((1, b), columns), ((a, b), rest))
        ]
        return sum(part) + 7

    def test_finds_what_was_drawn(self):
        found = variance_shares(self.drawn(80, 60, 5.0, 2.0, 3.0))
        assert found == pytest.approx((0.5, 0.2, 0.3), abs=0.02)
        assert sum(found) == pytest.approx(1)

    def test_noise_alone_is_no_row_and_no_column(self):
        rows, columns, rest = variance_shares(self.drawn(12, 10, 0.0, 0.0, 1.0, d=2000))
        assert max(rows, columns) < 0.01 < 0.98 < rest

    def test_by_hand(self):
        x = torch.tensor([[0.0, 2.0], [4.0, 10.0]])[
            ..., None
        ]  # rows 1, 7; columns 2, 6; what is left 1 everywhere
        rows, columns, rest = 18 - 4 / 2, 8 - 4 / 2, 4
        assert variance_shares(x) == pytest.approx(
            [v / (rows + columns + rest) for v in (rows, columns, rest)]
        )

    @pytest.mark.parametrize(
        ("x", "told"),
        [
            (torch.zeros(1, 3, 2), "two rows"),
            (torch.ones(3, 3, 2), "all values are equal"),
            (torch.full((2, 2, 1), torch.nan), "NaN"),
        ],
    )
    def test_refused(self, x, told):
        with pytest.raises(ValueError, match=told):
            variance_shares(x)
