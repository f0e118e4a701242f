"""Mask scores against a second implementation, on maps whose scores are known, and the baselines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score

from crate_mini import segmentation
from crate_mini.attention_maps import cls_attention_maps, mass_mask, patch_mask, upsample
from crate_mini.data.imageset import IGNORE, ImageSet
from crate_mini.model import create_model
from crate_mini.segmentation import best_head, centre_prior, iou, mean_interval, score_baselines, score_heads


def masks(n: int = 6, size: int = 32, seed: int = 0, ignore: bool = True) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    truth = (torch.rand(n, size, size, generator=g) < 0.3).to(torch.uint8)
    if ignore:
        truth[torch.rand(n, size, size, generator=g) < 0.1] = IGNORE
    return truth


def image_set(truth: torch.Tensor | None, n: int = 6, size: int = 32, **more) -> ImageSet:
    g = torch.Generator().manual_seed(1)
    pictures = torch.randint(0, 256, (n, 3, size, size), generator=g, dtype=torch.uint8)
    return ImageSet(images=pictures, labels=torch.full((n,), -1), masks=truth, name="made", **more)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return create_model("crate_nano", dim=24, heads=3, depth=2, image_size=32, num_classes=3).eval()


class TestIoU:
    @settings(max_examples=50, deadline=None)
    @given(seed=st.integers(0, 10**6), size=st.integers(2, 9))
    def test_is_that_of_scikit_learn(self, seed, size):
        truth = masks(3, size, seed)
        truth[:, 0, 0], truth[:, 0, 1] = 1, IGNORE
        predicted = torch.rand(3, size, size, generator=torch.Generator().manual_seed(seed + 1)) < 0.5
        for value, p, t in zip(iou(predicted, truth), predicted.numpy(), truth.numpy(), strict=True):
            counted = t != IGNORE
            assert value.item() == pytest.approx(
                jaccard_score(t[counted], p[counted].astype(np.uint8)), abs=1e-6
            )

    def test_by_hand(self):
        truth = torch.tensor([[1, 1, 0, IGNORE]], dtype=torch.uint8)
        predicted = torch.tensor([[True, False, True, True]])
        assert iou(predicted, truth).item() == pytest.approx(1 / 3)
        assert iou(truth == 1, truth).item() == 1
        assert iou(truth == 0, truth).item() == 0

    def test_nothing_to_compare(self):
        assert iou(torch.zeros(2, 2, dtype=torch.bool), torch.full((2, 2), IGNORE, dtype=torch.uint8)).isnan()

    def test_truth_is_shared_by_all_heads(self):
        predicted = torch.rand(4, 2, 3, 5, 5, generator=torch.Generator().manual_seed(0)) < 0.5
        truth = masks(4, 5)
        scores = iou(predicted, truth[:, None, None])
        assert scores.shape == (4, 2, 3)
        assert scores[3, 1, 2] == iou(predicted[3, 1, 2], truth[3])


class TestCentrePrior:
    @settings(max_examples=60, deadline=None)
    @given(h=st.integers(4, 40), w=st.integers(4, 40), share=st.floats(0.05, 1))
    def test_covers_its_share(self, h, w, share):
        area = centre_prior((h, w), share).sum().item()
        # equal radii come in groups, up to 24 of them: a little more than asked for, never less
        assert max(1, round(share * h * w)) <= area <= share * h * w + 24

    def test_is_centred_and_grows_outwards(self):
        small, large = centre_prior((20, 30), 0.2), centre_prior((20, 30), 0.5)
        for mask in (small, large):
            assert torch.equal(mask, mask.flip(0))
            assert torch.equal(mask, mask.flip(1))
        assert (small <= large).all()
        assert small[9, 14]
        assert not large[0, 0]
        assert centre_prior((20, 30), 1.0).all()


class TestHeads:
    @pytest.mark.parametrize(("rule", "function"), [("mass", mass_mask), ("patch", patch_mask)])
    def test_are_scored_one_by_one(self, model, rule, function):
        data = image_set(masks())
        scores = score_heads(model, data, rule=rule, share=0.5, batch_size=4)
        assert scores.shape == (6, 2, 3)
        for i, layer, head in ((0, 0, 0), (5, 1, 2), (3, 0, 1)):
            attention = cls_attention_maps(model, data.images[i : i + 1])[0, layer, head]
            mask = upsample(function(attention, 0.5), (32, 32))
            assert scores[i, layer, head] == iou(mask, data.masks[i])

    def test_maps_with_known_scores(self, model, monkeypatch):
        """Head 0 sees the object, head 1 the background, head 2 nothing in particular."""
        small = torch.zeros(6, 4, 4)
        small[:, 1:3, 1:4] = 1
        truth = upsample(small, (32, 32)).to(torch.uint8)
        known = torch.stack([small, 1 - small, torch.ones_like(small)], 1)[:, None]
        known = known / known.sum((-2, -1), keepdim=True)
        monkeypatch.setattr(segmentation, "cls_attention_maps", lambda _, images: known[: len(images)])
        scores = score_heads(model, image_set(truth), share=0.99)
        assert (scores[:, 0, 0] == 1).all()
        assert (scores[:, 0, 1] == 0).all()
        assert scores[:, 0, 2].mean().item() == pytest.approx(6 / 16)
        assert best_head(scores)["fixed"].tolist() == [[1, 0, pytest.approx(6 / 16)]]

    def test_choosing_a_head(self):
        scores = torch.tensor([[[0.2, 0.8]], [[0.6, 0.0]]])
        best = best_head(scores)
        assert best["fixed"].flatten().tolist() == pytest.approx([0.4, 0.4])
        assert best["oracle"].tolist() == pytest.approx([0.7])

    def test_errors(self, model):
        with pytest.raises(ValueError, match=r"rule must be one of \('mass', 'patch'\), got 'otsu'"):
            score_heads(model, image_set(masks()), rule="otsu")
        for score in (lambda d: score_heads(model, d), score_baselines):
            with pytest.raises(ValueError, match="the set 'made' has no masks to score against"):
                score(image_set(None))
            empty = masks()
            empty[2][empty[2] == 1] = 0
            with pytest.raises(ValueError, match="image 2 of 'made' has no object pixel"):
                score(image_set(empty))
            with pytest.raises(ValueError, match=r"c\.png of 'made' has no object pixel"):
                score(image_set(empty, files=("a.png", "b.png", "c.png", "d.png", "e.png", "f.png")))


class TestBaselines:
    def test_everything_scores_the_area_of_the_object(self):
        truth = masks(ignore=False)
        scores = score_baselines(image_set(truth))
        torch.testing.assert_close(scores["everything"], (truth == 1).float().mean((1, 2)))

    def test_random_scores_what_chance_does(self):
        """0.6 a / (0.6 + 0.4 a) for an object of area a (facts.md, 0.3): 17.6 % at a = 0.2."""
        truth = torch.zeros(400, 64, 64, dtype=torch.uint8)
        truth[:, :32, :26] = 1
        scores = score_baselines(image_set(truth, 400, 64))["random"]
        a = 32 * 26 / 64**2
        assert scores.mean().item() == pytest.approx(0.6 * a / (0.6 + 0.4 * a), abs=0.01)

    def test_centre_finds_a_centred_disc(self):
        truth = centre_prior((32, 32), 0.4).to(torch.uint8).expand(6, 32, 32)
        assert (score_baselines(image_set(truth))["centre"] == 1).all()

    def test_seed(self):
        data = image_set(masks())
        once, again, other = (score_baselines(data, seed=s)["random"] for s in (0, 0, 1))
        assert torch.equal(once, again)
        assert not torch.equal(once, other)


class TestInterval:
    def test_covers_the_truth_about_as_often_as_it_says(self):
        g = torch.Generator().manual_seed(0)
        hits = 0
        for i in range(100):
            mean, low, high = mean_interval(torch.rand(60, generator=g), draws=400, seed=i)
            assert low < mean < high
            hits += low <= 0.5 <= high
        assert 88 <= hits <= 99

    def test_width_is_that_of_a_mean(self):
        values = torch.randn(400, generator=torch.Generator().manual_seed(0))
        mean, low, high = mean_interval(values)
        assert mean == pytest.approx(values.mean().item(), abs=1e-6)
        assert high - low == pytest.approx(2 * 1.96 * values.std().item() / 20, rel=0.1)

    def test_is_the_same_every_time(self):
        values = torch.rand(20)
        assert mean_interval(values) == mean_interval(values)
