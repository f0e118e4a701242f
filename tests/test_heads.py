"""What a head stands for: scores against brute force, controls with a known answer, steering that leaves no trace."""

from __future__ import annotations

import argparse
import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from crate_mini import data, heads
from crate_mini.attention_maps import cls_attention_maps
from crate_mini.cli import heads as cli_heads
from crate_mini.data.imageset import ImageSet
from crate_mini.model import CRATE, create_model
from crate_mini.recorder import record
from crate_mini.weights import save_model

FAMILIES = ["crate", "vit", "crate_mhsa"]


def tiny(family: str = "crate", **overrides) -> CRATE:
    torch.manual_seed(0)
    settings = {"dim": 24, "heads": 3, "depth": 2, "image_size": 32, "num_classes": 3} | overrides
    return create_model(f"{family}_nano", **settings).eval()


def images(b: int = 5, h: int = 32, w: int = 48) -> torch.Tensor:
    return torch.randint(0, 256, (b, 3, h, w), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


class TestMaps:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_attention_is_the_class_tokens_before_its_softmax(self, family):
        model = tiny(family)
        found = heads.head_maps(model, images(), batch_size=2)
        assert found.shape == (5, 2, 3, 24)
        torch.testing.assert_close(found.softmax(-1).view(5, 2, 3, 4, 6), cls_attention_maps(model, images()))

    @pytest.mark.parametrize("family", FAMILIES)
    def test_energy_is_the_squared_length_of_the_projection(self, family):
        model = tiny(family)
        found = heads.head_maps(model, images(), [1], by="energy")
        Zk = record(model, images(), "projections", layers=[1])["projections"][1]
        expected = np.square(Zk[:, :, 1:].numpy()).sum(-1)
        np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5)

    @pytest.mark.parametrize("by", heads.BY)
    def test_the_networks_own_bases_in_place_of_its_heads_give_its_heads(self, by):
        model = tiny()
        U = torch.stack([block.attention.U.detach() for block in model.blocks])
        torch.testing.assert_close(
            heads.head_maps(model, images(), by=by, bases=U),
            heads.head_maps(model, images(), by=by),
            atol=1e-4,
            rtol=1e-4,
        )

    def test_bases_belong_to_the_layers_asked_for(self):
        model, U = tiny(), heads.random_bases(2, 5, 24, 8)
        both = heads.head_maps(model, images(), bases=U)
        assert both.shape == (5, 2, 5, 24)
        last = heads.head_maps(model, images(), [-1], bases=U[1:])
        torch.testing.assert_close(last[:, 0], both[:, 1])

    def test_refusals(self):
        with pytest.raises(ValueError, match="by must be one of"):
            heads.head_maps(tiny(), images(), by="looks")
        with pytest.raises(ValueError, match=r"bases must be \(2 layers, R, 24, p\), got \(1, 5, 24, 8\)"):
            heads.head_maps(tiny(), images(), bases=heads.random_bases(1, 5, 24, 8))
        with pytest.raises(ValueError, match="no subspace of 25"):
            heads.random_bases(1, 1, 24, 25)

    def test_random_bases_are_orthonormal_and_repeatable(self):
        U = heads.random_bases(2, 3, 24, 8, seed=4)
        torch.testing.assert_close(U.mT @ U, torch.eye(8).expand(2, 3, 8, 8), atol=1e-5, rtol=0)
        assert torch.equal(U, heads.random_bases(2, 3, 24, 8, seed=4))
        assert not torch.equal(U, heads.random_bases(2, 3, 24, 8, seed=5))


class TestScores:
    def test_pixel_counts(self):
        labels = torch.zeros(1, 4, 6, dtype=torch.uint8)
        labels[0, :2, 2:4] = 1
        labels[0, 3, 5] = 2
        labels[0, 2, 0] = 255  # not counted
        counts = heads.pixel_counts(labels, 2, 3)[0]
        assert counts.tolist() == [[4, 0, 4, 3, 4, 3], [0, 4, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]]

    @given(
        st.lists(
            st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=9
        ).filter(lambda rows: sum(r[1] for r in rows) and sum(r[2] for r in rows))
    )
    @settings(max_examples=25, deadline=None)
    def test_auroc_is_scikit_learns_on_single_pixels_with_ties_too(self, rows):
        score, a, b = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
        found = heads.auroc(score, a[None], b[None])
        truth = [1] * int(a.sum()) + [0] * int(b.sum())
        pixels = [s for s, k in zip(score, a, strict=True) for _ in range(int(k))]
        pixels += [s for s, k in zip(score, b, strict=True) for _ in range(int(k))]
        assert found.shape == (1,)
        assert abs(found.item() - roc_auc_score(truth, pixels)) < 1e-10

    def test_auroc_broadcasts_maps_over_questions(self):
        scores, a, b = torch.rand(4, 3, 9), torch.rand(4, 1, 2, 9), torch.rand(4, 1, 2, 9)
        found = heads.auroc(scores[:, :, None], a, b)
        assert found.shape == (4, 3, 2)
        for i, k, q in itertools.product(range(4), range(3), range(2)):
            alone = heads.auroc(scores[i, k], a[i, 0, q][None], b[i, 0, q][None])
            torch.testing.assert_close(found[i, k, q], alone[0])

    def test_auroc_of_a_flat_map_is_chance_and_of_nothing_is_nan(self):
        a, b = torch.rand(1, 9), torch.rand(1, 9)
        assert heads.auroc(torch.ones(9), a, b).item() == pytest.approx(0.5)
        assert heads.auroc(torch.rand(9), a, 0 * b).isnan().all()

    @pytest.mark.parametrize("within", heads.WITHIN)
    def test_part_scores_against_pixels(self, within):
        """By scikit-learn, on every pixel of a map enlarged to the picture."""
        dice = torch.Generator().manual_seed(1)
        labels = torch.randint(0, 4, (3, 12, 8), generator=dice, dtype=torch.uint8)
        labels[1][labels[1] == 2] = 1  # a picture without the second part
        maps = torch.rand(3, 2, 5, 6, generator=dice)
        scores = heads.part_scores(maps, heads.pixel_counts(labels, 4, 4), within, least=1)
        assert scores.shape == (3, 2, 5, 3)
        for i, part in itertools.product(range(3), range(1, 4)):
            large = maps[i, 1, 2].view(3, 2).repeat_interleave(4, 0).repeat_interleave(4, 1)
            counted = labels[i] > 0 if within == "object" else torch.ones(12, 8, dtype=torch.bool)
            truth = (labels[i] == part)[counted]
            found = scores[i, 1, 2, part - 1]
            if truth.any():
                assert found.item() == pytest.approx(roc_auc_score(truth, large[counted]), abs=1e-6)
            else:
                assert found.isnan()

    def test_a_part_too_small_to_score(self):
        labels = torch.zeros(1, 8, 8, dtype=torch.uint8)
        labels[0, :, :4], labels[0, 0, 0] = 1, 2
        counts = heads.pixel_counts(labels, 4, 3)
        assert heads.part_scores(torch.rand(1, 1, 4), counts, least=2)[0, 0].isnan().tolist() == [True, True]
        in_image = heads.part_scores(torch.rand(1, 1, 4), counts, "image", least=2)
        assert in_image[0, 0].isnan().tolist() == [False, True]
        with pytest.raises(ValueError, match="within must be one of"):
            heads.part_scores(torch.rand(1, 1, 4), counts, "patch")

    @pytest.mark.parametrize("within", heads.WITHIN)
    def test_no_map_is_above_the_ceiling(self, within):
        dice = torch.Generator().manual_seed(2)
        labels = torch.randint(0, 3, (4, 8, 8), generator=dice, dtype=torch.uint8)
        counts = heads.pixel_counts(labels, 4, 3)
        ceiling = heads.part_ceiling(counts, within, least=1)
        every = torch.tensor(list(itertools.permutations(range(4)))).float()
        best = heads.part_scores(every.expand(4, -1, -1), counts, within, least=1).amax(1)
        torch.testing.assert_close(best, ceiling)


class TestWorth:
    def test_means_skip_pictures_without_the_part(self):
        scores = torch.tensor([[0.2, torch.nan], [0.4, 0.6], [0.6, torch.nan]])
        torch.testing.assert_close(heads.mean_seen(scores), torch.tensor([0.4, 0.6]).double())

    def test_one_entry_has_the_usual_interval(self):
        x = torch.randn(400, 1, generator=torch.Generator().manual_seed(0))
        found = heads.simultaneous(x, draws=4000)
        assert found["c"].item() == pytest.approx(1.96, abs=0.12)
        assert found["se"].item() == pytest.approx(x.std().item() / 20, rel=0.1)
        torch.testing.assert_close(found["mean"], x.double().mean(0))

    def test_intervals_hold_for_all_entries_at_once(self):
        """Forty entries of noise: in about 95 of 100 data sets no interval misses, one by one most would."""
        dice = torch.Generator().manual_seed(0)
        hit = alone = 0
        for trial in range(60):
            found = heads.simultaneous(torch.randn(80, 40, generator=dice), draws=300, seed=trial)
            hit += int((found["mean"].abs() <= found["c"] * found["se"]).all())
            alone += int((found["mean"].abs() <= 1.96 * found["se"]).all())
        assert hit >= 50
        assert alone < 25

    def test_an_entry_with_one_picture_has_no_interval(self):
        scores = torch.rand(20, 3)
        scores[1:, 2] = torch.nan
        found = heads.simultaneous(scores)
        assert found["low"].isnan().tolist() == [False, False, True]
        assert found["c"] < 4

    def test_best_of_is_the_mean_over_all_choices(self):
        pool = torch.tensor([[0.3, 0.1, 0.4, 0.15, 0.92], [1, 2, 3, 4, 5]], dtype=torch.float64)
        for k in range(1, 6):
            choices = torch.tensor(list(itertools.combinations(range(5), k)))
            torch.testing.assert_close(heads.best_of(pool, k), pool[:, choices].amax(-1).mean(-1))
        for k in (0, 6):
            with pytest.raises(ValueError, match="k must lie between 1 and the size of the pool, 5"):
                heads.best_of(pool, k)

    def test_heads_that_are_random_stand_among_the_random(self):
        """Drawn like the pool, the best of all is called significant in about 5 of 100 networks."""
        dice = torch.Generator().manual_seed(0)
        called = 0
        for trial in range(100):
            x = torch.randn(2, 44, 5, generator=dice)
            found = heads.standing(x[:, :4], x[:, 4:], draws=300, seed=trial)
            called += int((found["p"] < 0.05).any())
        assert called <= 12
        with pytest.raises(ValueError, match="at least 4 subspaces a layer, got 3"):
            heads.standing(x[:, :4], x[:, 4:7])

    def test_a_head_far_above_the_random_stands_out_alone(self):
        x = torch.randn(2, 44, 5, generator=torch.Generator().manual_seed(1))
        x[1, 2, 3] = 9.0
        found = heads.standing(x[:, :4], x[:, 4:])
        assert (found["p"] < 0.05).nonzero().tolist() == [[1, 2, 3]]
        assert found["z"][1, 2, 3] > found["threshold"]
        assert found["p"].min() >= 1 / 2001

    def test_what_was_chosen_flatters_itself(self):
        noise = torch.randn(60, 30, 2, generator=torch.Generator().manual_seed(0))
        noise[:, 7, 1] += 1
        found = heads.choose_and_report(noise)
        assert found["chosen"][0] > found["reported"][0] + 0.2
        assert abs(found["reported"][0]) < 0.15
        assert found["same"][0] < 0.3
        assert found["same"][1] == 1
        assert found["reported"][1] == pytest.approx(noise[:, 7, 1].mean().item(), abs=0.05)

    def test_shuffling_moves_maps_to_other_pictures(self):
        maps = torch.arange(6.0).view(6, 1, 1).expand(6, 2, 3)
        moved = heads.shuffle_pictures(maps)
        assert not (moved == maps).any()
        assert sorted(moved[:, 0, 0].tolist()) == list(range(6))
        with pytest.raises(ValueError, match="there is no other; take two or more"):
            heads.shuffle_pictures(maps[:1])

    def test_one_picture_has_no_other_half(self):
        scores = torch.rand(6, 3, 3)
        scores[1:, :, 1] = torch.nan  # a part that one picture shows
        scores[2:, :, 2] = torch.nan  # and one that two show
        for found in heads.choose_and_report(scores).values():
            assert found.isnan().tolist() == [False, True, False]


class TestNames:
    def test_mass_is_counted_pixel_by_pixel(self):
        """Against attention spread over the pixels of each patch, summed where the part is."""
        labels = torch.randint(0, 3, (2, 16, 16)).to(torch.uint8)
        maps = torch.randn(2, 1, 2, 4)
        mass = heads.part_mass(maps, heads.pixel_counts(labels, 8, 3))
        for i, k, part in itertools.product(range(2), range(2), (1, 2)):
            attention = maps[i, 0, k].softmax(-1).view(2, 2) / 64
            spread = attention.repeat_interleave(8, 0).repeat_interleave(8, 1)
            expected = spread[labels[i] == part].sum()
            torch.testing.assert_close(mass[i, 0, k, part - 1], expected)

    def test_even_attention_has_the_area_of_the_part(self):
        labels = torch.zeros(1, 16, 16, dtype=torch.uint8)
        labels[0, :8, :4] = 1
        pixels = heads.pixel_counts(labels, 8, 3)
        mass = heads.part_mass(torch.zeros(1, 1, 1, 4), pixels)
        assert mass[0, 0, 0, 0] == heads.part_area(pixels)[0, 0] == 32 / 256
        assert mass[0, 0, 0, 1].isnan(), "a part that is not there"

    @pytest.mark.parametrize("fails", ["", "above", "looks", "rare", "lies"])
    def test_each_test_can_refuse_a_name(self, fails):
        """One head of four has the name; it loses it by any one test alone."""
        dice = torch.Generator().manual_seed(0)

        def around(mean: float) -> torch.Tensor:
            return mean + 0.02 * torch.randn(60, 1, 4, 1, generator=dice)

        scores, elsewhere, excess = around(0.5), around(0.5), around(0.0)
        pool = 0.5 + 0.02 * torch.randn(1, 48, 1, generator=dice)
        scores[:, :, 2] += 0.3
        excess[:, :, 2] += 0.3
        if fails == "above":
            scores, elsewhere, pool = scores - 0.4, elsewhere - 0.4, pool - 0.4
        if fails == "looks":
            elsewhere[:, :, 2] += 0.3
        if fails == "rare":
            pool[:, ::4] += 0.6
        if fails == "lies":
            excess[:, :, 2] -= 0.3
        found = heads.names(scores, elsewhere, pool, excess)
        assert found.earned.flatten().nonzero().flatten().tolist() == ([] if fails else [2])
        if fails:
            others = {"above", "looks", "rare", "lies"} - {fails}
            assert all(getattr(found, other)[0, 2, 0] for other in others)


class TestConsistency:
    def test_heads_with_profiles_are_recognised_and_permuted_ones_are_not(self):
        dice = torch.Generator().manual_seed(0)
        scores = torch.randn(4, 5, generator=dice) + 0.3 * torch.randn(80, 4, 5, generator=dice)
        scores[::3, :, 2] = torch.nan
        scores[:, :, 4] = torch.nan  # a part that no picture shows
        assert heads.recognised_on_halves(scores).mean() == 1
        permuted = heads.permute_heads(scores)
        torch.testing.assert_close(permuted.sum(1), scores.sum(1), equal_nan=True)
        assert heads.recognised_on_halves(permuted).mean() == pytest.approx(0.25, abs=0.15)

    def test_matching_finds_a_permutation(self):
        dice = torch.Generator().manual_seed(0)
        a = torch.randn(6, 5, 16, generator=dice)
        order = torch.randperm(5, generator=dice)
        similarity = heads.map_similarity(a, 3 * a[:, order] + 1)
        assert order[heads.match_heads(similarity.mean(0))].tolist() == list(range(5))
        assert heads.matched_similarity(similarity).item() == pytest.approx(1, abs=1e-5)

    def test_matching_is_better_than_any_other_matching(self):
        s = torch.rand(4, 5, generator=torch.Generator().manual_seed(3))
        best = max(sum(s[i, j] for i, j in enumerate(p)) for p in itertools.permutations(range(5), 4))
        partner = heads.match_heads(s)
        torch.testing.assert_close(s.gather(1, partner[:, None]).sum(), best)

    def test_unrelated_maps_are_chosen_on_other_pictures_than_reported(self):
        dice = torch.Generator().manual_seed(0)
        s = heads.map_similarity(
            torch.randn(40, 6, 64, generator=dice), torch.randn(40, 6, 64, generator=dice)
        )
        assert abs(heads.matched_similarity(s)) < 0.03

    def test_map_similarity_is_the_correlation(self):
        a, b = torch.rand(2, 3, 9), torch.rand(2, 4, 9)
        found = heads.map_similarity(a, b)
        assert found.shape == (2, 3, 4)
        assert found[1, 2, 3].item() == pytest.approx(np.corrcoef(a[1, 2], b[1, 3])[0, 1], abs=1e-5)

    def test_refusals(self):
        with pytest.raises(ValueError, match="3 heads cannot each have a partner among 2"):
            heads.match_heads(torch.rand(3, 2))
        with pytest.raises(ValueError, match="finite"):
            heads.match_heads(torch.full((2, 2), torch.nan))


class TestStrongest:
    def test_one_patch_a_picture_the_strongest_first(self):
        maps = torch.zeros(3, 6)
        maps[0, 2], maps[1, 5], maps[2, 0] = 1.0, 3.0, 2.0
        found = heads.strongest_patches(maps, 2)
        assert [(i, patch) for i, patch, _ in found] == [(1, 5), (2, 0)]
        assert found[0][2] == pytest.approx(maps[1].softmax(0)[5].item())

    def test_cut_out_keeps_inside_the_picture(self):
        picture = torch.arange(16.0 * 24).view(1, 16, 24).expand(3, 16, 24)
        middle = heads.cut_out(picture, 1 * 6 + 2, 4)
        assert torch.equal(middle, picture[:, 0:12, 4:16])
        corner = heads.cut_out(picture, 3 * 6 + 5, 4)
        assert torch.equal(corner, picture[:, 4:16, 12:24])
        assert heads.cut_out(picture, 0, 4, around=0).shape == (3, 4, 4)
        with pytest.raises(ValueError, match="do not fit"):
            heads.cut_out(picture, 0, 4, around=2)


class TestSteering:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_silence_is_a_slice_of_zeros_in_the_output_map(self, family):
        model = tiny(family)
        with torch.no_grad(), heads.scaled_heads(model, {(1, 2): 0, (-2, 0): 0.5}):
            found = model(images())
        other = tiny(family)
        p = other.blocks[1].attention.head_dim
        with torch.no_grad():
            other.blocks[1].attention.out.weight[:, 2 * p : 3 * p] = 0
            other.blocks[0].attention.out.weight[:, :p] *= 0.5
            torch.testing.assert_close(found, other(images()))

    def test_silence_in_a_tied_layer(self):
        model = tiny(tied=True)
        with torch.no_grad(), heads.scaled_heads(model, {(0, 1): 0}):
            found = model(images())
        with torch.no_grad():
            model.blocks[0].attention.project.weight[8:16] = 0
            torch.testing.assert_close(found, model(images()))
        with pytest.raises(ValueError, match="tied layer"), heads.scaled_heads(model, {(0, 1): 2}):
            pass

    @pytest.mark.parametrize("family", FAMILIES)
    def test_the_model_is_restored_also_after_an_error(self, family):
        model = tiny(family)
        with torch.no_grad():
            plain = model(images())
            with heads.scaled_heads(model, {(0, 0): 0}):
                assert not torch.equal(model(images()), plain)
            assert torch.equal(model(images()), plain)
            with (
                pytest.raises(ValueError, match="multiples of the patch"),
                heads.scaled_heads(model, {(0, 0): 0}),
            ):
                model(images(w=47))
            assert torch.equal(model(images()), plain)

    def test_a_bad_request_leaves_nothing_behind(self):
        model = tiny()
        with torch.no_grad():
            plain = model(images())
            with pytest.raises(ValueError, match="heads 0 to 2; got 3"):
                heads.scaled_heads(model, {(0, 0): 0, (1, 3): 0}).__enter__()
            with pytest.raises(ValueError, match="layers 0 to 1"):
                heads.scaled_heads(model, {(2, 0): 0}).__enter__()
            assert torch.equal(model(images()), plain)

    def test_its_own_attention_stays_and_later_layers_move(self):
        model = tiny()
        before = heads.head_maps(model, images())
        with heads.scaled_heads(model, {(0, 1): 0}):
            after = heads.head_maps(model, images())
        moved = heads.attention_moved(before, after)
        assert moved.shape == (5, 2, 3)
        assert (moved[:, 0] == 0).all()
        assert (moved[:, 1] > 0).all()

    def test_total_variation(self):
        a, b = torch.tensor([0.2, 0.3, 0.5]).log(), torch.tensor([0.5, 0.3, 0.2]).log()
        assert heads.attention_moved(a, b).item() == pytest.approx(0.3, abs=1e-6)

    def test_right_without_each_head(self):
        model = tiny()
        with torch.no_grad():
            labels = model(images()).argmax(-1)
        known = ImageSet(images(), labels, classes=("a", "b", "c"))
        assert heads.named_right(model, known, batch_size=2).all()
        found = heads.right_without(model, known)
        assert found.shape == (5, 2, 3)
        with heads.scaled_heads(model, {(1, 2): 0}):
            assert torch.equal(found[:, 1, 2], heads.named_right(model, known))

    def test_by_class(self):
        values = torch.tensor([[1.0, 0], [0, 0], [1, 1]])
        found = heads.by_class(values, torch.tensor([0, 0, 2]), 3)
        assert found[0].tolist() == [0.5, 0]
        assert found[1].isnan().all()
        assert found[2].tolist() == [1, 1]


class TestCommand:
    """``crate-mini evaluate heads``, through its own parser."""

    def run(self, *line: str) -> None:
        parser = argparse.ArgumentParser()
        cli_heads.add(parser.add_subparsers())
        arguments = parser.parse_args(["heads", *line])
        arguments.run(arguments)

    def test_writes_what_the_functions_say(self, tmp_path, capsys):
        save_model(tiny(image_size=32, num_classes=10), tmp_path / "w.safetensors")
        out = tmp_path / "r.json"
        line = ["--weights", str(tmp_path / "w.safetensors"), "--image-size", "32", "--n", "10"]
        self.run(*line, "--random", "5", "--device", "cpu", "--out", str(out))
        result = json.loads(out.read_text())
        images = data.load("embedded", "test", n=10, image_size=32)
        assert result["images"] == 10
        assert set(result["heads"]) == set(heads.WITHIN)
        kept = result["heads"]["image"]
        assert kept["parts"] == list(images.part_names[1:])
        pixels = heads.pixel_counts(images.parts, 8, len(images.part_names))
        mean = heads.mean_seen(heads.part_scores(heads.head_maps(tiny(), images.images), pixels, "image"))
        found = np.array(kept["mean"], dtype=float)  # null where fewer than two pictures show the part
        seen = np.array(kept["pictures"]) >= 2
        np.testing.assert_allclose(found[..., seen], mean[..., seen], atol=1e-3)
        assert "best of as many random" in capsys.readouterr().out

    def test_masks_where_there_are_no_parts_and_ignored_pixels_do_not_count(self):
        masks = torch.zeros(4, 32, 32, dtype=torch.uint8)
        masks[:, 8:24, 8:24], masks[:, :8] = 1, 255
        images_ = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
        found = cli_heads.score(tiny(), ImageSet(images_, torch.zeros(4).long(), masks=masks), random=4)
        assert list(found) == ["image"]
        maps = heads.head_maps(tiny(), images_)
        large = maps[0, 1, 2].view(4, 4).repeat_interleave(8, 0).repeat_interleave(8, 1)
        scores = heads.part_scores(maps, heads.pixel_counts(masks, 8, 2), "image")
        expected = roc_auc_score((masks[0, 8:] == 1).flatten(), large[8:].flatten())
        assert scores[0, 1, 2, 0].item() == pytest.approx(expected, abs=1e-6)

    def test_a_part_that_no_picture_shows_has_no_numbers(self):
        parts = torch.zeros(3, 32, 32, dtype=torch.uint8)
        parts[:, 8:24, 8:16], parts[:, 8:24, 16:24] = 1, 2
        images_ = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
        shown = ImageSet(images_, torch.zeros(3).long(), parts=parts, part_names=("none", "a", "b", "c"))
        found = cli_heads.score(tiny(), shown, random=4)["image"]
        assert found["pictures"] == [3, 3, 0]
        for numbers in (found["random"]["best"], found["ceiling"], found["best_head"]["reported"]):
            assert [v is None for v in numbers] == [False, False, True]
        assert 0.5 < found["random"]["best"][0] <= 1

    def test_a_single_picture_is_held_against_no_other(self):
        masks = torch.zeros(1, 32, 32, dtype=torch.uint8)
        masks[:, 8:24, 8:24] = 1
        images_ = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
        found = cli_heads.score(tiny(), ImageSet(images_, torch.zeros(1).long(), masks=masks), random=4)[
            "image"
        ]
        assert set(np.array(found["another_picture"]["mean"]).flatten()) == {None}
        assert found["best_head"]["reported"] == [None]
        assert found["ceiling"][0] > 0.9

    def test_a_set_without_parts_or_masks_is_refused(self):
        images_ = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
        with pytest.raises(ValueError, match="neither parts nor masks"):
            cli_heads.score(tiny(), ImageSet(images_, torch.zeros(4).long()), random=4)
