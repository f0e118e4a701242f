"""Scores against second implementations, on maps whose scores are known; the baselines, controls and choices."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import scipy.stats
import score_masks
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, jaccard_score, roc_auc_score

from crate_mini import segmentation
from crate_mini.attention_maps import cls_attention_maps, mass_mask, patch_mask, spread, upsample
from crate_mini.data import IGNORE, ImageSet, load
from crate_mini.model import create_model
from crate_mini.results import read, write
from crate_mini.segmentation import (
    RULES,
    Scores,
    best_head,
    centre_prior,
    chance_iou,
    choose,
    compare,
    compare_trainings,
    count_patches,
    cross_fit,
    evaluate,
    expected_best_of,
    iou,
    majority,
    mean_interval,
    score_baselines,
    score_heads,
    score_images,
    score_maps,
    scoring,
)
from crate_mini.segmentation.baselines import centre_map
from crate_mini.segmentation.evaluation import untrained_twin
from crate_mini.weights import CheckpointError, list_pretrained, load_pretrained


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
        monkeypatch.setattr(
            scoring, "cls_attention_maps", lambda _, images, *__, **___: known[[0] * len(images)]
        )
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
        with pytest.raises(ValueError, match=r"rules are best_iou, .*; got \['otsu'\]"):
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
        share = truth[0].float().mean().item()
        assert (score_baselines(image_set(truth), rule="patch", share=share)["centre"] == 1).all()
        assert (score_baselines(image_set(truth), rule="auroc")["centre"] == 1).all()

    @pytest.mark.parametrize(("rule", "function"), [("mass", mass_mask), ("patch", patch_mask)])
    def test_the_centre_is_a_map_under_the_rule_of_the_row(self, rule, function):
        """No area is chosen on the set: the mask is what the rule makes of one map, whatever the objects are."""
        data = image_set(masks())
        mask = function(centre_map((32, 32)), 0.6)
        expected = torch.stack([iou(mask, truth) for truth in data.masks])
        torch.testing.assert_close(score_baselines(data, rule=rule)["centre"], expected)
        if rule == "patch":
            assert mask.float().mean().item() == pytest.approx(0.6, abs=1e-3)

    def test_the_centre_map_falls_with_the_distance_from_the_centre(self):
        bell = centre_map((8, 12))
        y, x = ((torch.arange(n) + 0.5) / n - 0.5 for n in (8, 12))
        far = (y[:, None] ** 2 + x**2).flatten()
        order = bell.flatten().argsort(descending=True)
        assert (far[order].diff() > -1e-6).all()
        torch.testing.assert_close(bell, bell.flip(0, 1))

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


class TestRanking:
    """Scores without a threshold, held against scikit-learn and against every threshold tried in turn."""

    @settings(max_examples=50, deadline=None)
    @given(
        seed=st.integers(0, 10**6),
        grid=st.tuples(st.integers(1, 4), st.integers(2, 5)),
        side=st.integers(1, 3),
        levels=st.integers(1, 6),
        share=st.sampled_from([0.25, 0.6, 1.0]),
    )
    def test_is_that_of_others_pixel_by_pixel(self, seed, grid, side, levels, share):
        g = torch.Generator().manual_seed(seed)
        size = (grid[0] * side, grid[1] * side)
        maps = torch.randint(0, levels, (3, *grid), generator=g).float() + 0.25  # few levels: many ties
        truth = (torch.rand(3, *size, generator=g) < 0.4).to(torch.uint8)
        truth[torch.rand(3, *size, generator=g) < 0.2] = IGNORE
        truth[:, 0, 0], truth[:, -1, -1] = 1, 0
        got = score_maps(maps.flatten(1), *count_patches(truth, grid), share=share)
        large = upsample(maps, size)
        for i in range(3):
            counted = truth[i] != IGNORE
            t, v = truth[i][counted].numpy(), large[i][counted].double().numpy()
            assert got["auroc"][i].item() == pytest.approx(roc_auc_score(t, v), abs=1e-6)
            assert got["ap"][i].item() == pytest.approx(average_precision_score(t, v), abs=1e-6)
            tried = [iou(large[i] >= level, truth[i]).item() for level in large[i].unique()]
            assert got["best_iou"][i].item() == pytest.approx(max(tried), abs=1e-6)
            for rule, function in (("mass", mass_mask), ("patch", patch_mask)):
                mask = upsample(function(maps[i], share), size)
                assert got[rule][i].item() == pytest.approx(iou(mask, truth[i]).item(), abs=1e-6)

    def test_on_maps_that_are_right_wrong_and_flat(self):
        objects, background = torch.tensor([0, 4, 4, 0]), torch.tensor([4, 0, 0, 4])
        right = torch.tensor([0.1, 0.4, 0.4, 0.1])
        scores = score_maps(torch.stack([right, 0.5 - right, torch.full((4,), 0.25)]), objects, background)
        assert scores["auroc"].tolist() == [1, 0, 0.5]
        assert scores["best_iou"].tolist() == [1, 0.5, 0.5]
        assert scores["ap"].tolist() == [1, 0.5, 0.5]

    @settings(max_examples=40, deadline=None)
    @given(seed=st.integers(0, 10**6))
    def test_only_the_order_matters_without_a_threshold(self, seed):
        g = torch.Generator().manual_seed(seed)
        maps = torch.rand(2, 12, generator=g, dtype=torch.float64)  # in float32 the cubes may tie
        counts = torch.randint(0, 5, (2, 2, 12), generator=g)
        counts[:, :, 0] = 1
        plain, bent = (score_maps(m, *counts) for m in (maps, maps**3 + 1))
        for rule in ("best_iou", "auroc", "ap", "patch"):
            torch.testing.assert_close(plain[rule], bent[rule])
        turned = score_maps(-maps, *counts)
        torch.testing.assert_close(turned["auroc"], 1 - plain["auroc"])

    def test_leading_dimensions(self):
        g = torch.Generator().manual_seed(0)
        maps, counts = torch.rand(3, 2, 4, 9, generator=g), torch.randint(1, 5, (2, 3, 1, 1, 9), generator=g)
        scores = score_maps(maps, *counts)
        for rule in RULES:
            one = score_maps(maps[2, 1, 3], counts[0, 2, 0, 0], counts[1, 2, 0, 0])
            assert scores[rule].shape == (3, 2, 4)
            assert scores[rule][2, 1, 3] == one[rule]

    def test_counting_pixels_by_patch(self):
        truth = torch.tensor([[1, 1, 0, 255], [1, 0, 0, 0], [255, 255, 0, 1], [255, 255, 0, 1]]).to(
            torch.uint8
        )
        objects, background = count_patches(truth, (2, 2))
        assert objects.tolist() == [3, 0, 0, 2]
        assert background.tolist() == [1, 3, 0, 2]
        assert [c.tolist() for c in majority(objects, background)] == [[1, 0, 0, 0], [0, 1, 0, 1]]

    def test_errors(self):
        with pytest.raises(ValueError, match="a mask of 30x32 pixels does not divide into 4x4 patches"):
            count_patches(torch.zeros(30, 32, dtype=torch.uint8), (4, 4))
        with pytest.raises(ValueError, match=r"share must lie in \(0, 1\], got 60"):
            score_maps(torch.ones(4), torch.ones(4), torch.ones(4), share=60.0)

    @pytest.mark.parametrize("K", [1, 2, 3, 6])
    def test_best_of_some_heads_is_the_mean_over_all_choices(self, K):
        scores = torch.rand(5, K, generator=torch.Generator().manual_seed(K), dtype=torch.float64)
        got = expected_best_of(scores)
        for k in range(1, K + 1):
            picks = [scores[:, list(pick)].amax(1) for pick in itertools.combinations(range(K), k)]
            torch.testing.assert_close(got[:, k - 1], torch.stack(picks).mean(0))


class TestChance:
    def test_one_mask_among_many_patches(self):
        """0.6 a / (0.6 + 0.4 a), the floor of the paper's rule: 17.6 % at a = 0.2 (facts of chapter 09)."""
        for a in (0.1, 0.2, 0.5, 0.9):
            assert chance_iou(a, 0.6, 784) == pytest.approx(0.6 * a / (0.6 + 0.4 * a), abs=2e-3)
        assert chance_iou(0.2, 0.6, 784) == pytest.approx(0.176, abs=1e-3)
        assert chance_iou(0.3, 1.0, 100, heads=7) == pytest.approx(0.3)

    @pytest.mark.parametrize("heads", [1, 3, 12])
    def test_is_what_random_masks_score(self, heads):
        g = torch.Generator().manual_seed(heads)
        truth = torch.zeros(8, 8, dtype=torch.uint8)
        truth[2:6, 1:5] = 1
        masks = patch_mask(torch.rand(4000, heads, 8, 8, generator=g), 0.4)
        measured = iou(masks, truth).amax(1)
        assert chance_iou(0.25, 0.4, 64, heads) == pytest.approx(measured.mean().item(), abs=0.004)

    def test_grows_with_heads_and_shrinks_with_patches(self):
        by_heads = [chance_iou(0.3, 0.6, 64, k) for k in (1, 3, 6, 12)]
        assert by_heads == sorted(by_heads)
        assert chance_iou(0.3, 0.6, 784, 6) < chance_iou(0.3, 0.6, 64, 6)

    @pytest.mark.parametrize(
        "wrong", [(0.0, 0.6, 64, 1), (0.3, 1.2, 64, 1), (0.3, 0.6, 0, 1), (0.3, 0.6, 64, 0)]
    )
    def test_errors(self, wrong):
        with pytest.raises(ValueError, match=r"area and share must lie in \(0, 1\]"):
            chance_iou(*wrong)


def blobs(n: int = 6, size: int = 32, **more) -> ImageSet:
    """Bright squares on dark noise, some border ignored."""
    g = torch.Generator().manual_seed(3)
    pictures = torch.randint(0, 90, (n, 3, size, size), generator=g, dtype=torch.uint8)
    truth = torch.zeros(n, size, size, dtype=torch.uint8)
    for i in range(n):
        y, x = torch.randint(0, size // 2, (2,), generator=g).tolist()
        truth[i, y : y + size // 2, x : x + size // 3] = 1
        pictures[i, :, y : y + size // 2, x : x + size // 3] += 120
        truth[i, y, :] = IGNORE
    return ImageSet(images=pictures, labels=torch.full((n,), -1), masks=truth, name="blobs", **more)


class TestScoreImages:
    def test_is_every_map_scored_by_itself(self, model):
        data = blobs()
        scores = score_images(model, data, share=0.5, batch_size=4)
        assert len(scores) == 6
        maps = cls_attention_maps(model, data.images)
        for i, layer, head in ((0, 0, 0), (5, 1, 2), (3, 0, 1)):
            own, other = maps[i, layer, head], maps[i - 1, layer, head]
            for name, attention in (("heads", own), ("elsewhere", other)):
                expected = score_maps(attention.flatten(), *count_patches(data.masks[i], (4, 4)), share=0.5)
                for rule in RULES:
                    got = scores[f"{name}/{rule}"][i, layer, head]
                    assert got.item() == pytest.approx(expected[rule].item(), abs=1e-5)
            assert scores["spread"][i, layer, head].item() == pytest.approx(spread(own).item() / 16, rel=1e-5)
            expected = score_maps(
                maps[i, layer].mean(0).flatten(), *count_patches(data.masks[i], (4, 4)), share=0.5
            )
            for rule in RULES:
                assert scores[f"mean/{rule}"][i, layer].item() == pytest.approx(
                    expected[rule].item(), abs=1e-5
                )
        for rule in RULES:
            torch.testing.assert_close(
                scores[f"best_of/{rule}"][..., -1], scores[f"heads/{rule}"].amax(-1), atol=1e-6, rtol=0
            )
            torch.testing.assert_close(scores[f"best_of/{rule}"][..., 0], scores[f"heads/{rule}"].mean(-1))

    def test_mask_rules_agree_with_score_heads(self, model):
        data = blobs()
        scores = score_images(model, data, rule=["mass", "patch"])
        for rule in ("mass", "patch"):
            torch.testing.assert_close(scores[f"heads/{rule}"], score_heads(model, data, rule=rule))

    def test_does_not_depend_on_the_batches(self, model):
        whole, pieces = (score_images(model, blobs(), batch_size=b) for b in (6, 1))
        for name, values in whole.values.items():
            torch.testing.assert_close(values, pieces[name], msg=name, atol=1e-5, rtol=1e-4)

    def test_baselines(self, model):
        data = blobs()
        scores = score_images(model, data)
        old = score_baselines(data)
        for rule in ("best_iou", "mass", "patch"):
            torch.testing.assert_close(scores[f"everything/{rule}"], old["everything"])
        assert (scores["everything/auroc"] == 0.5).all()
        for rule in RULES:
            torch.testing.assert_close(scores[f"centre/{rule}"], score_baselines(data, rule=rule)["centre"])
        y, x = ((torch.arange(32) + 0.5) / 32 - 0.5 for _ in range(2))
        near = -(y[:, None] ** 2 + x[None] ** 2)
        counted = data.masks[2] != IGNORE
        expected = roc_auc_score(data.masks[2][counted].numpy(), near[counted].numpy())
        assert scores["centre/auroc"][2].item() == pytest.approx(expected, abs=1e-5)

    def test_how_far_from_the_centre_objects_lie(self, model):
        data = blobs()
        data.masks[0] = 0
        data.masks[0, 8:24, 28:] = 1  # a strip at the right edge, half way down
        data.masks[1] = 0
        data.masks[1, 10:22, 10:22] = 1
        offset = score_images(model, data, rule="ap")["offset"]
        assert offset[0].item() == pytest.approx(1 - 4 / 32)
        assert offset[1].item() == pytest.approx(0, abs=1e-6)

    def test_shuffling_keeps_the_area_and_loses_the_object(self, model):
        data = blobs(60)
        scores = score_images(model, data)
        assert scores["shuffled/auroc"].mean().item() == pytest.approx(0.5, abs=0.02)
        assert (scores["chance/auroc"][..., -1] > scores["chance/auroc"][..., 0]).float().mean() > 0.99
        again, other = (score_images(model, data, seed=s)["shuffled/ap"] for s in (0, 1))
        assert torch.equal(scores["shuffled/ap"], again)
        assert not torch.equal(again, other)

    def test_several_objects_in_an_image(self, model):
        data = blobs()
        parts = torch.zeros_like(data.masks)
        parts[:, 4:14, 4:20], parts[:, 18:30, 10:26] = 2, 5
        parts[3][parts[3] == 5] = 0  # one object only
        parts[data.masks == IGNORE] = IGNORE
        scores = score_images(
            model, ImageSet(**{**vars(data), "masks": None, "parts": parts}), objects="parts"
        )
        assert scores.facts["objects_scored"] == 11
        maps = cls_attention_maps(model, data.images).flatten(-2)
        for i in (0, 3):
            per_object = []
            for value in (2, 5) if i == 0 else (2,):
                one = torch.where(parts[i] == value, 1, torch.where(parts[i] == IGNORE, IGNORE, 0))
                per_object.append(score_maps(maps[i], *count_patches(one.to(torch.uint8), (4, 4)))["auroc"])
            both = torch.stack(per_object)
            torch.testing.assert_close(scores["heads/auroc"][i], both.mean(0).float())
            # the best head is found for each object, then the mean is taken
            torch.testing.assert_close(scores["best_of/auroc"][i, :, -1], both.amax(-1).mean(0).float())

    def test_every_object_by_itself(self, model):
        """What another object covers is background, what does not count stays out, and what is too small is named."""
        data = blobs()
        instances = torch.zeros_like(data.masks)
        instances[:, 4:14, 4:20], instances[:, 18:30, 10:26] = 1, 3
        instances[data.masks == IGNORE] = IGNORE
        marked = ImageSet(**{**vars(data), "masks": None, "instances": instances})
        maps = cls_attention_maps(model, data.images).flatten(-2)
        scores = score_images(model, marked, objects="instances")
        assert scores.facts["objects_scored"] == 12
        per_object = []
        for value in (1, 3):
            one = torch.where(instances[2] == value, 1, torch.where(instances[2] == IGNORE, IGNORE, 0))
            per_object.append(score_maps(maps[2], *count_patches(one.to(torch.uint8), (4, 4)))["auroc"])
        torch.testing.assert_close(scores["heads/auroc"][2], torch.stack(per_object).mean(0).float())

        known = ImageSet(**{**vars(marked), "instance_classes": ((0, 0, 0),) * 5 + ((),)})
        with pytest.raises(ValueError, match="image 0 of 'blobs' has no object pixel in its mask; object 2"):
            score_images(model, known, objects="instances")
        kept = score_images(model, known, objects="instances", leave_out=True)
        assert kept.facts["objects_scored"] == 10
        assert len(kept) == 5
        assert "image 5 of 'blobs' shows no object" in kept.facts["left_out"]

    def test_the_mean_map_alone_scores_the_same(self, model):
        how = {"smooth": True, "shifts": 2}
        every, alone = (score_images(model, blobs(5), **how, only_mean=only) for only in (False, True))
        assert set(alone.values) == {k for k in every.values if k.startswith(("mean/", "centre/", "everything/"))} | {
            "spread", "offset"
        }  # fmt: skip
        assert all(torch.equal(alone[k], every[k]) for k in alone.values)
        data = blobs(5)
        maps = cls_attention_maps(model, data.images, **how).mean(2)  # over heads
        counted = data.masks[4] != IGNORE
        truth, values = data.masks[4][counted].numpy(), maps[4, 1][counted].numpy()
        assert alone["mean/auroc"][4, 1].item() == pytest.approx(roc_auc_score(truth, values), abs=1e-4)

    @pytest.mark.parametrize("fine", [{"shifts": 2}, {"smooth": True}, {"shifts": 4, "smooth": True}])
    def test_finer_maps(self, model, monkeypatch, fine):
        """Scored pixel by pixel, one object at a time or several."""
        data = blobs()
        scores = score_images(model, data, rule=["auroc", "best_iou", "mass"], **fine)
        assert {k: scores.facts[k] for k in ("shifts", "smooth")} == {"shifts": 1, "smooth": False} | fine
        maps = upsample(cls_attention_maps(model, data.images, **fine), (32, 32))
        counted = data.masks[4] != IGNORE
        truth, values = data.masks[4][counted].numpy(), maps[4, 1, 2][counted].numpy()
        assert scores["heads/auroc"][4, 1, 2].item() == pytest.approx(roc_auc_score(truth, values), abs=1e-5)
        by_mass = iou(mass_mask(maps[4, 1, 2]), data.masks[4])
        if fine.get("smooth"):  # otherwise a cell of several pixels is in or out as one
            assert scores["heads/mass"][4, 1, 2].item() == pytest.approx(by_mass.item(), abs=1e-3)
        monkeypatch.setattr(scoring, "MOST", 1)
        again = score_images(model, data, rule=["auroc", "best_iou", "mass"], **fine)
        for name, values in scores.values.items():
            torch.testing.assert_close(values, again[name], msg=name, equal_nan=True)

    def test_finer_maps_are_shuffled_patch_by_patch(self, model):
        """The control is enlarged as the map is: shuffled pixels would be noise that no bilinear map has."""
        scores = score_images(model, blobs(60), rule="auroc", smooth=True)
        assert scores["shuffled/auroc"].mean().item() == pytest.approx(0.5, abs=0.02)
        coarse = score_images(model, blobs(60), rule="auroc")
        spread = [s["shuffled/auroc"].std().item() for s in (scores, coarse)]
        assert spread[0] > 0.7 * spread[1], "as few independent places as there are patches"

    def test_resolution_of_patches(self, model):
        data = blobs()
        scores = score_images(model, data, resolution="patch")
        maps = cls_attention_maps(model, data.images)[4, 1, 2]
        blocks = data.masks[4].view(4, 8, 4, 8).transpose(1, 2).flatten(2)
        yes, no = (blocks == 1).sum(-1), (blocks == 0).sum(-1)
        assert ((yes + no) > 0).all()
        expected = roc_auc_score((yes > no).flatten().numpy(), maps.flatten().numpy())
        assert scores["heads/auroc"][4, 1, 2].item() == pytest.approx(expected, abs=1e-6)

    def test_chosen_layers_heads_and_size(self, model):
        data = blobs()
        some = score_images(model, data, rule="ap", layer=1, heads=[2, 0], size=64)
        every = score_images(model, scoring.at_size(data, 64), rule="ap")
        assert some.facts["layers"] == [1]
        assert some.facts["size"] == [64, 64]
        torch.testing.assert_close(some["heads/ap"][:, 0], every["heads/ap"][:, 1, [2, 0]])

    def test_resizing_moves_masks_with_images(self):
        data = blobs(size=64)
        small = scoring.at_size(data, 32)
        assert small.images.shape == (6, 3, 32, 32)
        assert set(small.masks.unique().tolist()) <= {0, 1, IGNORE}
        inside = small.images.float().mean(1)[small.masks == 1].mean()
        assert inside > small.images.float().mean(1)[small.masks == 0].mean() + 90
        assert scoring.at_size(data, 64) is data

    def test_errors_name_the_file(self, model):
        files = tuple(f"{c}.png" for c in "abcdef")
        empty, full, odd = (blobs(files=files).masks for _ in range(3))
        empty[2][empty[2] == 1] = 0
        full[3][full[3] == 0] = 1
        odd[1, 0, 0] = 7
        for truth, message in (
            (empty, r"c\.png of 'blobs' has no object pixel in its mask; leave such images out"),
            (full, r"d\.png of 'blobs' has no background in its mask"),
            (odd, r"masks of 'blobs' hold the values \[7\]"),
        ):
            with pytest.raises(ValueError, match=message):
                score_images(model, ImageSet(**{**vars(blobs(files=files)), "masks": truth}))
        listed = score_images(
            model, ImageSet(**{**vars(blobs(files=files)), "masks": empty}), leave_out=True, rule="ap"
        )
        assert listed.facts["left_out"] == ["c.png of 'blobs' has no object pixel in its mask"]
        assert len(listed) == listed.facts["images"] == 5
        torch.testing.assert_close(
            listed["heads/ap"],
            score_images(model, blobs().subset([0, 1, 3, 4, 5]), rule="ap")["heads/ap"],
        )

    @pytest.mark.parametrize(
        ("settings_", "message"),
        [
            ({"rule": "otsu"}, r"rules are best_iou, auroc, ap, mass, patch; got \['otsu'\]"),
            ({"rule": []}, "got none"),
            ({"resolution": "word"}, "resolution must be 'pixel' or 'patch'"),
            ({"objects": "things"}, "objects must be 'mask', 'parts', 'instances'; got 'things'"),
            ({"objects": "instances"}, "the set 'blobs' has no masks of objects one by one to score against"),
            ({"shifts": 3}, "shifts must divide the patch of 8 pixels, got 3"),
            ({"smooth": True, "resolution": "patch"}, "finer maps .* are scored by pixels"),
            ({"objects": "parts"}, "the set 'blobs' has no parts to score against"),
            ({"layer": 2}, "the model has layers 0 to 1"),
            ({"heads": [3]}, r"the model has heads 0 to 2; got \[3\]"),
            ({"size": 4}, "images of 'blobs' are 4x4 pixels, which is no whole number of 8-pixel patches"),
            ({"size": 20}, "pass size=16"),
            ({"size": 0}, "size must be at least 1"),
            ({"batch_size": 0}, "batch_size must be at least 1"),
            ({"share": 60.0}, "share must lie in"),
        ],
    )
    def test_errors(self, model, settings_, message):
        with pytest.raises(ValueError, match=message):
            score_images(model, blobs(), **settings_)

    def test_attention_that_is_not_finite(self, model):
        with torch.no_grad():
            model.blocks[0].attention.project.weight.mul_(1e25)  # finite itself
        with pytest.raises(FloatingPointError, match="attention on image 5 of 'blobs' is not finite"):
            score_images(model, blobs())


class TestPartial:
    def test_goes_on_where_it_stopped(self, model, tmp_path, monkeypatch):
        whole = score_images(model, blobs(), batch_size=2)
        calls, chunk = [], scoring._score_chunk

        def stops(*args):
            calls.append(args)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return chunk(*args)

        monkeypatch.setattr(scoring, "_score_chunk", stops)
        with pytest.raises(KeyboardInterrupt):
            score_images(model, blobs(), batch_size=2, partial=tmp_path)
        assert len(list(tmp_path.rglob("*.safetensors"))) == 2
        again = score_images(model, blobs(), batch_size=2, partial=tmp_path)
        assert len(calls) == 4  # two done, one stopped, one done
        assert again.facts == whole.facts
        assert all(torch.equal(values, again[name]) for name, values in whole.values.items())
        # a damaged piece is made again
        next(tmp_path.rglob("*.safetensors")).write_bytes(b"broken")
        assert torch.equal(
            score_images(model, blobs(), batch_size=2, partial=tmp_path)["spread"], whole["spread"]
        )
        assert len(calls) == 5
        # neither other weights nor other settings find these pieces
        score_images(model, blobs(), batch_size=2, partial=tmp_path, share=0.5)
        with torch.no_grad():
            model.cls_token.add_(1)
        score_images(model, blobs(), batch_size=2, partial=tmp_path)
        assert len(calls) == 11

    def test_scores_in_a_file(self, model, tmp_path):
        scores = score_images(model, blobs(), rule="auroc")
        again = Scores.load(scores.save(tmp_path / "s.safetensors"))
        assert again.facts == scores.facts
        assert torch.equal(again["heads/auroc"], scores["heads/auroc"])
        (tmp_path / "s.safetensors").write_bytes(b"no")
        with pytest.raises(CheckpointError, match="truncated or not a safetensors file"):
            Scores.load(tmp_path / "s.safetensors")


def made(heads: torch.Tensor, *rules: str, name: str = "made") -> Scores:
    """Scores with known numbers, the same by every rule."""
    rules = rules or ("auroc",)
    facts = {
        "data": name, "images": len(heads), "objects": "mask", "left_out": [], "size": [8, 8], "resolution": "pixel",
        "rules": list(rules), "layers": list(range(heads.shape[1])), "heads": list(range(heads.shape[2])),
        "fingerprint": "x",
    }  # fmt: skip
    found = {"heads": heads, "best_of": expected_best_of(heads), "mean": heads.mean(-1)}
    values = {f"{what}/{rule}": value for what, value in found.items() for rule in rules}
    return Scores(facts, values | {"spread": torch.ones_like(heads)})


class TestEvaluate:
    def test_chooses_on_other_images(self, model):
        held_out, chosen = blobs(6), blobs(9).subset([6, 7, 8])
        how = {"rule": ["auroc", "mass"], "seed": 1}  # the fixture is the untrained network of seed 0
        result = evaluate(model, held_out, choose_on=chosen, **how)
        expected = choose(score_images(model, chosen, **how))
        assert result.choice == expected
        assert result.chosen_on == "blobs"
        assert not torch.equal(result.untrained.scores["spread"], result.scores["spread"])
        assert result.untrained.choice == choose(score_images(untrained_twin(model, 1), chosen, **how))
        layer, head = expected["auroc"]["layer"], expected["auroc"]["head"]
        torch.testing.assert_close(result.values("auroc"), result.scores["heads/auroc"][:, layer, head])
        # the choice may also come from an earlier result, or from its file
        for earlier in (result, json.loads(json.dumps(result.summary()))):
            taken = evaluate(model, held_out, choose_on=earlier, rule="mass")
            assert taken.choice == {"mass": expected["mass"]}
            assert taken.chosen_on == "blobs"
            assert taken.untrained.choice["mass"] == result.untrained.choice["mass"]

    def test_choosing(self):
        heads = torch.tensor([[[0.2, 0.8], [0.5, 0.6]], [[0.6, 0.4], [0.5, 0.6]]])
        # alone, head 1 of layer 1 ties with 0.6; with two heads a choice of one image each, layer 0 has 0.7
        assert choose(made(heads))["auroc"]["best_of_layer"] == [1, 0]
        assert choose(made(heads + torch.tensor([0, 0.01])))["auroc"]["head"] == 1

    def test_without_other_images_it_says_so(self, model):
        result = evaluate(model, blobs(), untrained=False)
        assert result.chosen_on == "these images"
        assert result.untrained is None
        assert "untrained" not in result.summary()

    def test_summary(self, model):
        result = evaluate(model, blobs(), size=64, seed=1)
        summary = json.loads(json.dumps(result.summary()))
        assert set(summary["rules"]) == set(RULES)
        for rule, kept in summary["rules"].items():
            mean, low, high = kept["fixed"]["score"]
            assert low <= mean <= high
            assert mean == pytest.approx(result.values(rule).mean().item(), abs=1e-4)
            assert mean == pytest.approx(np.max(kept["heads"]), abs=1e-4)  # chosen on these images
            assert [row["heads"] for row in kept["per_image"]] == [1, 2, 3]
            assert kept["per_image"][2]["score"][0] >= mean
            assert set(kept["baselines"]) == {"everything", "centre"}
            assert kept["last_layer"]["score"][0] == pytest.approx(kept["best_of"][-1][-1], abs=1e-4)
            assert kept["last_layer"]["chance"][0] == pytest.approx(kept["chance"][-1][-1], abs=1e-4)
            above = kept["fixed"]["above_centre"][0]
            assert above == pytest.approx(mean - kept["baselines"]["centre"][0], abs=2e-4)
            assert 3 <= kept["off_centre"]["images"] <= 4
        assert summary["untrained"]["fingerprint"] == summary["fingerprint"]
        assert summary["untrained"]["rules"] != summary["rules"]

    def test_of_a_single_image_no_other_has_a_map(self, model):
        result = evaluate(model, blobs(1), rule="auroc", untrained=False)
        assert result.scores["elsewhere/auroc"].isnan().all()
        fixed = result.summary()["rules"]["auroc"]["fixed"]
        assert fixed["elsewhere"] is None
        assert fixed["score"] != fixed["shuffled"]

    def test_untrained_twin_leaves_the_global_random_state_alone(self, model):
        torch.manual_seed(5)
        expected = torch.rand(1)
        torch.manual_seed(5)
        first = untrained_twin(model)
        assert torch.equal(torch.rand(1), expected)
        assert torch.equal(first.cls_token, untrained_twin(model).cls_token)
        assert not torch.equal(first.cls_token, untrained_twin(model, 1).cls_token)

    def test_errors(self, model):
        alone = evaluate(model, blobs(), untrained=False, rule="ap")
        with pytest.raises(ValueError, match="holds no untrained network"):
            evaluate(model, blobs(), choose_on=alone, rule="ap")
        with pytest.raises(ValueError, match=r"has not the rules \['mass'\]"):
            evaluate(model, blobs(), choose_on=alone, rule="mass", untrained=False)
        with pytest.raises(ValueError, match="only be taken over within one architecture"):
            evaluate(model, blobs(), choose_on=alone, rule="ap", heads=[0], untrained=False)
        with pytest.raises(
            ValueError, match="what must be 'fixed', 'cross_fitted', 'mean_of_heads' or 'per_image'"
        ):
            alone.values("ap", "median")
        with pytest.raises(ValueError, match="heads must lie between 1 and 3, got 4"):
            alone.values("ap", "per_image", 4)


class TestCrossFit:
    def test_each_half_by_the_head_that_is_best_on_the_other(self):
        heads = torch.zeros(4, 2, 2)
        heads[0::2, 0, 1] = 0.9  # best on images 0 and 2, so used for 1 and 3
        heads[1::2, 1, 0] = 0.7
        heads[1::2, 0, 1] = torch.tensor([0.1, 0.2])
        heads[0::2, 1, 0] = torch.tensor([0.3, 0.4])
        values, places = cross_fit(made(heads), "auroc")
        assert places == [[1, 0], [0, 1]]
        assert values.tolist() == pytest.approx([0.3, 0.1, 0.4, 0.2])

    def test_noise_gets_nothing_from_being_chosen(self):
        """The best of 48 heads that know nothing looks good on the images that it was chosen on, and only there."""
        noise = torch.randn(300, 8, 6, generator=torch.Generator().manual_seed(0))
        values, _ = cross_fit(made(noise), "auroc")
        assert noise.mean(0).max() > 0.1
        assert abs(values.mean().item()) < 3 * values.std().item() / 300**0.5

    def test_too_few(self):
        with pytest.raises(ValueError, match="at least 2 images, got 1"):
            cross_fit(made(torch.rand(1, 2, 2)), "auroc")

    def test_in_an_evaluation(self, model):
        result = evaluate(model, blobs(), untrained=False, rule=["ap", "mass"])
        for rule in ("ap", "mass"):
            kept = result.summary()["rules"][rule]["cross_fitted"]
            values, places = cross_fit(result.scores, rule)
            assert kept["chosen"] == places
            assert kept["score"][0] == pytest.approx(values.mean().item(), abs=1e-4)
            assert torch.equal(result.values(rule, "cross_fitted"), values)
            mean = result.summary()["rules"][rule]["mean_of_heads"]
            assert mean["by_layer"][-1] == mean["last"][0]
            assert mean["last"][0] == pytest.approx(
                result.values(rule, "mean_of_heads").mean().item(), abs=1e-4
            )


class TestCompare:
    def pair(self):
        g = torch.Generator().manual_seed(0)
        hard = torch.randn(200, 1, 1, generator=g)  # what makes an image hard for both
        noise = torch.randn(2, 200, 1, 2, generator=g) / 10
        a, b = (made(hard + n + s) for n, s in zip(noise, (0.05, 0.0), strict=True))
        return tuple(segmentation.Evaluation(s, choose(s), "made") for s in (a, b))

    def test_pairs_images(self):
        a, b = self.pair()
        mean, low, high = compare(a, b, "auroc")
        assert 0 < low < mean < high
        expected = (a.values("auroc") - b.values("auroc")).std().item() * 2 * 1.96 / 200**0.5
        assert high - low == pytest.approx(expected, rel=0.1)
        assert high - low < mean_interval(a.values("auroc"))[2] - mean_interval(a.values("auroc"))[1]
        assert compare(a, a, "auroc") == (0, 0, 0)
        there, back = compare(a, b, "auroc"), compare(b, a, "auroc")
        assert back == pytest.approx((-there[0], -there[2], -there[1]), abs=1e-6)

    def test_at_the_same_number_of_heads(self):
        a, b = self.pair()
        for k in (1, 2):
            expected = (
                a.scores["best_of/auroc"][:, 0, k - 1] - b.scores["best_of/auroc"][:, 0, k - 1]
            ).mean()
            assert compare(a, b, "auroc", "per_image", heads=k)[0] == pytest.approx(expected.item(), abs=1e-6)

    def test_only_the_same_images(self):
        a, b = self.pair()
        b.scores.facts["data"] = "others"
        with pytest.raises(ValueError, match="data is 'made' here and 'others' there"):
            compare(a, b, "auroc")


class TestCompareTrainings:
    """Several trainings of two networks on the same images."""

    def trainings(self, means, seed):
        g = torch.Generator().manual_seed(seed)
        noise = torch.randn(len(means), 60, 1, 1, generator=g) / 10
        noise -= noise.mean(1, keepdim=True)
        scores = [made(mean + n) for mean, n in zip(means, noise, strict=True)]
        return [segmentation.Evaluation(s, choose(s), "made") for s in scores]

    def test_by_hand(self):
        mine, theirs = (0.70, 0.80, 0.75), (0.62, 0.60)
        a, b = self.trainings(mine, 0), self.trainings(theirs, 1)
        found = compare_trainings(a, b, "auroc")
        difference = 0.75 - 0.61
        error = (0.05**2 / 3 + 2 * 0.01**2 / 2) ** 0.5  # of the mean of three, and of two
        freedom = error**4 / ((0.05**2 / 3) ** 2 / 2 + (0.01**2) ** 2 / 1)
        reach = scipy.stats.t.ppf(0.975, freedom) * error
        expected = (difference, difference - reach, difference + reach)
        assert found["trainings"] == pytest.approx(expected, abs=1e-5)
        assert found["pairs"] == pytest.approx(sorted(x - y for x in mine for y in theirs), abs=1e-6)
        assert found["images"][0] == pytest.approx(difference, abs=1e-6)
        values = [torch.stack([e.values("auroc") for e in side]).mean(0) for side in (a, b)]
        assert found["images"] == pytest.approx(mean_interval(values[0] - values[1]), abs=1e-6)

    def test_one_training_each_is_compare(self):
        (a,), (b,) = self.trainings([0.7], 0), self.trainings([0.6], 1)
        found = compare_trainings([a], [b], "auroc")
        assert found["images"] == pytest.approx(compare(a, b, "auroc"))
        assert found["pairs"] == pytest.approx([0.1], abs=1e-6)
        assert np.isnan(found["trainings"][1:]).all()

    def test_bad_input(self):
        a, b = self.trainings([0.7, 0.8], 0), self.trainings([0.6], 1)
        with pytest.raises(ValueError, match="at least, got 2 and 0"):
            compare_trainings(a, [], "auroc")
        b[0].scores.facts["size"] = 64
        with pytest.raises(ValueError, match="size is"):
            compare_trainings(a, b, "auroc")


class TestComparisons:
    """What tools/score_masks.py renews of its comparisons, and what it keeps."""

    CRATES, VITS = ([f"{stem}_all_lion_s{k}" for k in (0, 1)] for stem in ("crate_mini", "vit_mini_6"))

    @pytest.fixture
    def scored(self, tmp_path, monkeypatch):
        """Four networks, and a function that compares some of them and writes the file."""
        monkeypatch.setattr(score_masks, "RESULTS", tmp_path)
        g, results = torch.Generator().manual_seed(0), {}
        for name in (*self.CRATES, *self.VITS):
            scores = made(torch.rand(8, 2, 2, generator=g), *RULES)
            found = segmentation.Evaluation(scores, choose(scores), "pets/train")
            results[name] = {("pets/test", 128): found}

        def compared(names):
            found = score_masks._comparisons({name: results[name] for name in names})
            write(tmp_path / "comparisons.json", found)
            return found

        return results, compared

    def test_what_was_not_scored_is_kept(self, scored):
        results, compared = scored
        every = compared([*self.CRATES, *self.VITS])
        pairs = {(r["a"], r["b"]) for r in every["rows"]}
        assert pairs == set(zip(self.CRATES, self.VITS, strict=True))
        changed = results[self.CRATES[0]]["pets/test", 128]
        for rule in RULES:
            changed.scores.values[f"heads/{rule}"] = changed.scores[f"heads/{rule}"] + 1

        later = compared([self.CRATES[0], self.VITS[0]])
        assert later["networks"] == every["networks"]
        assert len(later["rows"]) == len(every["rows"])
        for before, after in zip(every["rows"], later["rows"], strict=True):
            again = before["a"] == self.CRATES[0]
            assert [before[k] for k in "ab"] == [after[k] for k in "ab"]
            assert (before["fixed"] != after["fixed"]) == again
        # of a pair of which one side only was scored again, too
        assert compared([self.CRATES[0], self.VITS[1]])["rows"] == later["rows"]
        # the mean over both trainings needs both
        assert later["trainings"] == every["trainings"]
        assert compared([*self.CRATES, *self.VITS])["trainings"] != every["trainings"]

    def test_trainings_of_one_recipe_are_one_row(self, scored):
        results, compared = scored
        rows = compared([*self.CRATES, *self.VITS])["trainings"]
        assert [(r["a"], r["b"]) for r in rows] == [("crate_mini_all_lion", "vit_mini_6_all_lion")] * len(
            RULES
        )
        assert {r["rule"] for r in rows} == set(RULES)
        for row in rows:
            assert row["seeds"] == [[0, 1], [0, 1]]
            sides = ([results[n]["pets/test", 128] for n in names] for names in (self.CRATES, self.VITS))
            found = compare_trainings(*sides, row["rule"], "cross_fitted")
            assert row["cross_fitted"]["images"] == pytest.approx(found["images"], abs=1e-4)

    def test_networks_are_those_of_the_package_and_of_runs_also_on_their_way(self, tmp_path):
        run = tmp_path / "crate_mlp_mini_animals_s4"
        for folder in (run, tmp_path / "a_run_of_somebody"):
            folder.mkdir()
            for stem in ("model", "at20"):
                (folder / f"{stem}.safetensors").touch()
                (folder / f"{stem}.json").write_text('{"parameters": 1}')
        (run / "state.safetensors").touch()
        found = score_masks._networks(tmp_path)
        shipped = {name for name in list_pretrained() if score_masks.run_of(name)}
        assert set(found) == shipped | {run.name, f"{run.name}_at20"}
        assert found[f"{run.name}_at20"] == {"parameters": 1, "weights": run / "at20.safetensors"}

    def test_weights_without_an_accuracy_on_their_card_are_asked_for_it(self, monkeypatch):
        drawn = load("embedded", "val", image_size=32, n=6)
        network = create_model("crate_nano", image_size=32, depth=1, num_classes=10).eval()
        monkeypatch.setattr(score_masks.data, "load", lambda *place, **how: drawn)
        card = {"data": {"held_out": "embedded/val"}}
        right = (network(drawn.images).argmax(1) == drawn.labels).double().mean()
        assert score_masks._top1(card, network, None) == pytest.approx(float(right), abs=1e-4)
        assert score_masks._top1(card | {"held_out": {"top1": 0.25}}, network, None) == 0.25

    def test_one_seed_is_no_family(self, scored):
        assert scored[1]([self.CRATES[0], self.VITS[0]])["trainings"] == []


class TestStored:
    """What lies in results/masks, made by tools/score_masks.py."""

    def test_is_about_the_weights_in_the_package(self):
        cards = list_pretrained()
        compared = read("masks/comparisons")
        assert {n for n in cards if score_masks.run_of(n)} <= set(compared["networks"]), (
            "run tools/score_masks.py"
        )
        for name in compared["networks"]:
            written = read(f"masks/{name}")
            if name in cards:  # others are trained and scored, but not shipped
                assert written["sha256"] == cards[name]["sha256"], f"run tools/score_masks.py again: {name}"
        assert segmentation.stored("crate_mini_all_lion_s0", "pets/test", 128)["chosen_on"] == "pets/train"

    def test_networks_are_held_against_those_of_their_recipe(self):
        compared = read("masks/comparisons")
        recipes = {n: read(f"masks/{n}").get("recipe") for n in compared["networks"]}
        for first in compared["networks"]:
            for second in score_masks.rivals(first, compared["networks"]):
                assert second != first
                if recipes[second] is not None:  # an untrained twin has none
                    # how a machine computed, and how often it looked, is no part of what was trained
                    same = {"seed": 0, "precision": None, "evaluate_every": None}
                    mine, theirs = ({**recipes[n], **same} for n in (first, second))
                    assert mine == theirs, (first, second)
        for seed in range(3):
            theirs = score_masks.rivals(f"crate_mini_all_lion_s{seed}", compared["networks"])
            trained = [name for name in theirs if not name.endswith("_untrained")]
            assert trained == [f"vit_mini_6_all_lion_s{seed}"]

    @pytest.mark.realdata
    @pytest.mark.parametrize("name", ["crate_mini_all_lion_s0", "vit_mini_6_all_lion_s0"])
    def test_agrees_with_a_run_here(self, name):
        kept = segmentation.stored(name, "pets/test", 128)
        pets = load("pets", "test", image_size=128)
        again = summary_of(score_images(load_pretrained(name), pets))
        assert kept["images"] == len(pets)
        for rule in RULES:
            np.testing.assert_allclose(
                again["rules"][rule]["heads"], kept["rules"][rule]["heads"], atol=0.005
            )


def summary_of(scores: Scores) -> dict:
    return segmentation.Evaluation(scores, choose(scores), "made").summary()
