"""Maps of the class token, and the two rules that make masks of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crate_mini.attention_maps import cls_attention_maps, mass_mask, patch_mask, smooth_maps, spread, upsample
from crate_mini.model import CRATE, create_model
from crate_mini.recorder import record

# Whole numbers, so that sums are exact and a share is reached or not, without rounding.
WHOLE_MAPS = st.lists(st.integers(0, 20), min_size=2, max_size=12).filter(lambda v: sum(v) > 0)


def tiny(family: str = "crate") -> CRATE:
    torch.manual_seed(0)
    return create_model(f"{family}_nano", dim=24, heads=3, depth=2, image_size=32, num_classes=3).eval()


def images(b: int = 5, h: int = 32, w: int = 48) -> torch.Tensor:
    return torch.rand(b, 3, h, w, generator=torch.Generator().manual_seed(0))


class TestMaps:
    @pytest.mark.parametrize("family", ["crate", "vit"])
    def test_are_attention_renormalised_over_the_patches(self, family):
        model = tiny(family)
        maps = cls_attention_maps(model, images(), batch_size=2)
        assert maps.shape == (5, 2, 3, 4, 6)
        rec = record(model, images())["cls_attention"]
        for layer in (0, 1):
            patches = rec[layer][..., 1:]
            expected = (patches / patches.sum(-1, keepdim=True)).view(5, 3, 4, 6)
            torch.testing.assert_close(maps[:, layer], expected)

    def test_sum_to_one_and_are_not_negative(self):
        maps = cls_attention_maps(tiny(), images())
        torch.testing.assert_close(maps.sum((-2, -1)), torch.ones(5, 2, 3))
        assert (maps >= 0).all()

    def test_layers_in_the_order_asked_for(self):
        both = cls_attention_maps(tiny(), images())
        assert torch.equal(cls_attention_maps(tiny(), images(), [-1, 0]), both[:, [1, 0]])

    def test_where_a_patch_lies(self):
        """Make one patch unlike all others; the map of a head must change there first, at row 1, column 4."""
        model, x = tiny(), torch.full((1, 3, 32, 48), 0.5)
        with torch.no_grad():
            model.position.zero_()
        flat = cls_attention_maps(model, x, [0])
        assert (flat - 1 / 24).abs().max() < 1e-6
        x[..., 8:16, 32:40] = torch.rand(1, 3, 8, 8)
        moved = (cls_attention_maps(model, x, [0]) - flat).abs().flatten(-2)
        assert (moved.argmax(-1) == 1 * 6 + 4).all()

    def test_a_class_token_that_sees_only_itself(self):
        """Its attention on the patches rounds to zero in float32; which patch it prefers is still known."""
        model = tiny()
        with torch.no_grad():
            model.blocks[0].attention.project.weight.mul_(12)
        attention = record(model, images())["cls_attention"][0]
        assert (attention[..., 1:].sum(-1) == 0).any()
        maps = cls_attention_maps(model, images(), [0])
        assert torch.isfinite(maps).all()
        torch.testing.assert_close(maps.sum((-2, -1)), torch.ones(5, 1, 3))

    @pytest.mark.parametrize("shifts", [2, 4])
    def test_shifts_are_the_mean_over_moved_pictures(self, shifts):
        """Pixel by pixel: every map of a moved picture is moved back, and says what it says of each pixel."""
        model, x = tiny(), images(2)
        maps = cls_attention_maps(model, x, [1], shifts=shifts)
        cell = 8 // shifts
        assert maps.shape == (2, 1, 3, 4 * shifts, 6 * shifts)
        torch.testing.assert_close(maps.sum((-2, -1)), torch.ones(2, 1, 3))
        wide = torch.nn.functional.pad(x, (0, 8, 0, 8), mode="replicate")
        total, reached = torch.zeros(2, 1, 3, 32, 48), torch.zeros(32, 48)
        for down in range(0, 8, cell):
            for across in range(0, 8, cell):
                moved = cls_attention_maps(model, wide[..., down : down + 32, across : across + 48], [1])
                pixels = upsample(moved, (32, 48))
                total[..., down:, across:] += pixels[..., : 32 - down, : 48 - across]
                reached[down:, across:] += 1
        expected = total / reached
        expected /= expected.sum((-2, -1), keepdim=True)
        torch.testing.assert_close(upsample(maps, (32, 48)) / cell**2, expected)

    def test_shifts_take_pixels_in_whole_numbers(self):
        x = (images(2) * 255).to(torch.uint8)
        torch.testing.assert_close(
            cls_attention_maps(tiny(), x, shifts=2), cls_attention_maps(tiny(), x / 255, shifts=2)
        )

    def test_smooth_maps_are_as_large_as_the_picture(self):
        model = tiny()
        maps = cls_attention_maps(model, images(2), smooth=True)
        assert maps.shape == (2, 2, 3, 32, 48)
        torch.testing.assert_close(maps.sum((-2, -1)), torch.ones(2, 2, 3))
        coarse = cls_attention_maps(model, images(2))
        large = upsample(coarse, (32, 48), mode="bilinear")
        torch.testing.assert_close(maps / large, (maps / large)[..., :1, :1].expand_as(maps))
        flat = smooth_maps(torch.full((4, 6), 1 / 24), (32, 48))
        torch.testing.assert_close(flat, torch.full((32, 48), 1 / (32 * 48)))

    def test_errors(self):
        with pytest.raises(ValueError, match="shifts must divide the patch of 8 pixels, got 3"):
            cls_attention_maps(tiny(), images(), shifts=3)
        with pytest.raises(ValueError, match="the model has layers 0 to 1"):
            cls_attention_maps(tiny(), images(), [2])
        with pytest.raises(ValueError, match="multiples of the patch size 8"):
            cls_attention_maps(tiny(), images(2, 33, 32))


class TestMassRule:
    @settings(max_examples=200, deadline=None)
    @given(values=WHOLE_MAPS, share=st.integers(1, 16).map(lambda k: k / 16))
    def test_fewest_patches_that_reach_the_share(self, values, share):
        maps = torch.tensor([values], dtype=torch.float32)
        mask = mass_mask(maps, share)[0]
        held, needed = sum(v for v, m in zip(values, mask, strict=True) if m), share * sum(values)
        assert held >= needed
        count = int(mask.sum())
        assert sum(sorted(values)[::-1][: count - 1]) < needed  # no set with one patch less would do
        assert maps[0][mask].min() >= maps[0][~mask].max() if not mask.all() else True

    @settings(max_examples=50, deadline=None)
    @given(values=WHOLE_MAPS, factor=st.sampled_from([0.125, 2.0, 1024.0]))
    def test_scale_does_not_matter(self, values, factor):
        maps = torch.tensor([values], dtype=torch.float32)
        assert torch.equal(mass_mask(maps), mass_mask(maps * factor))

    @pytest.mark.parametrize("n", [5, 10, 25, 100])
    def test_flat_maps_reach_a_share_exactly(self, n):
        assert mass_mask(torch.full((1, n), 1 / n), 0.6).sum() == 0.6 * n

    def test_sharper_is_smaller(self):
        scores = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
        areas = [mass_mask((t * scores).flatten().softmax(0).view(6, 6)).sum().item() for t in (0, 1, 3, 20)]
        assert areas == sorted(areas, reverse=True)
        assert areas[0] > 20
        assert areas[-1] == 1

    def test_leading_dimensions(self):
        maps = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
        masks = mass_mask(maps, 0.5)
        assert masks.shape == maps.shape
        assert torch.equal(masks[1, 2], mass_mask(maps[1, 2], 0.5))


class TestPatchRule:
    @settings(max_examples=100, deadline=None)
    @given(
        h=st.integers(1, 8),
        w=st.integers(1, 8),
        share=st.floats(0.01, 1),
        seed=st.integers(0, 1000),
        flat=st.booleans(),
    )
    def test_area_is_exact(self, h, w, share, seed, flat):
        maps = torch.rand(3, h, w, generator=torch.Generator().manual_seed(seed)) * (not flat)
        mask = patch_mask(maps, share)
        assert (mask.sum((-2, -1)) == max(1, round(share * h * w))).all()
        for m, values in zip(mask, maps, strict=True):
            assert m.all() or values[m].min() >= values[~m].max()

    def test_temperature_does_not_matter_here_but_does_to_mass(self):
        scores = torch.randn(10, 8, 8, generator=torch.Generator().manual_seed(0))
        cold, warm = ((t * scores).flatten(1).softmax(1).view_as(scores) for t in (4.0, 0.25))
        assert torch.equal(patch_mask(cold), patch_mask(warm))
        assert not torch.equal(mass_mask(cold), mass_mask(warm))

    def test_ties_go_to_the_first(self):
        assert patch_mask(torch.ones(2, 5), 0.3).flatten().tolist() == [True] * 3 + [False] * 7

    def test_sixty_per_cent_of_an_eight_by_eight_grid(self):
        assert patch_mask(torch.rand(8, 8)).sum() == 38


@pytest.mark.parametrize("rule", [mass_mask, patch_mask])
@pytest.mark.parametrize("share", [0.0, -0.5, 1.1, 60.0])
def test_share(rule, share):
    with pytest.raises(ValueError, match=r"share must lie in \(0, 1\], got"):
        rule(torch.rand(4, 4), share)


class TestSpread:
    @pytest.mark.parametrize("patches", [1, 2, 5, 24])
    def test_counts_patches_of_an_even_map(self, patches):
        flat = torch.zeros(4, 6)
        flat.view(-1)[:patches] = 1 / patches
        assert spread(flat).item() == pytest.approx(patches, rel=1e-5)

    def test_scale_does_not_matter_and_sharpness_does(self):
        scores = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0))
        wide, sharp = ((t * scores).exp() for t in (1, 3))
        torch.testing.assert_close(spread(wide), spread(7 * wide))
        assert (spread(sharp) < spread(wide)).all()


class TestUpsample:
    def test_masks_stay_boolean_and_every_patch_becomes_a_block(self):
        mask = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)) > 0.5
        large = upsample(mask, (32, 40))
        assert large.dtype == torch.bool
        assert torch.equal(large, mask.repeat_interleave(8, -2).repeat_interleave(8, -1))

    def test_bilinear_keeps_the_range_and_the_layout(self):
        maps = torch.zeros(4, 4)
        maps[1, 3] = 1
        large = upsample(maps, (32, 32), mode="bilinear")
        assert large.shape == (32, 32)
        assert divmod(int(large.argmax()), 32) in [(r, c) for r in (11, 12) for c in range(27, 32)]
        assert large.min() >= 0
        assert large.max() <= 1

    def test_no_blurred_masks(self):
        with pytest.raises(ValueError, match="only be enlarged with mode='nearest'"):
            upsample(torch.ones(2, 2, dtype=torch.bool), (4, 4), mode="bilinear")
