"""Crops, flips and patches: each image its own, the same for any number of processes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_training import recipe, stripes, tiny

from crate_mini.training import augment, draw_patches
from crate_mini.training.rng import order_of_epoch


class TestAugmentation:
    def pictures(self, n: int = 64, size: int = 12, seed: int = 0) -> torch.Tensor:
        return torch.randint(
            0, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
        )

    def generator(self, seed: int = 0) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    def test_nothing_to_do_is_the_identity(self):
        x = self.pictures()
        out = augment(x, recipe(crop_area=(1.0, 1.0), flip=False), self.generator())
        torch.testing.assert_close(out, x / 255, rtol=0, atol=1e-5)

    def test_half_are_mirrored_and_exactly(self):
        x = self.pictures()
        out = augment(x, recipe(crop_area=(1.0, 1.0)), self.generator())
        same = torch.isclose(out, x / 255, atol=1e-5).flatten(1).all(1)
        mirrored = torch.isclose(out, x.flip(-1) / 255, atol=1e-5).flatten(1).all(1)
        assert (same ^ mirrored).all()
        assert 20 < mirrored.sum() < 44

    @settings(max_examples=25, deadline=None)
    @given(seed=st.integers(0, 10**6), low=st.floats(0.05, 0.99), size=st.sampled_from([4, 7, 16]))
    def test_stays_between_0_and_1_and_within_the_image(self, seed, low, size):
        out = augment(self.pictures(16, size, seed), recipe(crop_area=(low, 1.0)), self.generator(seed))
        assert out.min() >= 0
        assert out.max() <= 1
        # Coordinates as colours: what comes out is where it was read, so the boxes can be measured.
        # A box that left the image would be folded back by the reflection and its ramp would turn.
        centres = (torch.arange(size) + 0.5) / size
        x = torch.stack(
            [centres.expand(size, size), centres[:, None].expand(size, size), torch.zeros(size, size)]
        )
        out = augment(
            x.expand(16, 3, size, size), recipe(crop_area=(low, 1.0), flip=False), self.generator(seed)
        )
        across, down = out[:, 0].diff(dim=-1), out[:, 1].diff(dim=-2)
        assert across.min() >= -1e-5
        assert down.min() >= -1e-5
        assert out[:, 0].diff(dim=-2).abs().max() < 1e-5

    def test_areas_are_those_asked_for(self):
        size = 64
        centres = (torch.arange(size) + 0.5) / size
        x = torch.stack(
            [centres.expand(size, size), centres[:, None].expand(size, size), torch.zeros(size, size)]
        )
        out = augment(
            x.expand(500, 3, size, size), recipe(crop_area=(0.3, 0.5), flip=False), self.generator()
        )
        width = (out[:, 0, 0, 40] - out[:, 0, 0, 20]) / 20 * size
        height = (out[:, 1, 40, 0] - out[:, 1, 20, 0]) / 20 * size
        area, ratio = width * height, width / height
        assert area.min() > 0.3 - 1e-3
        assert area.max() < 0.5 + 1e-3
        assert area.mean().item() == pytest.approx(0.4, abs=0.01)
        assert ratio.min() > 3 / 4 - 1e-3
        assert ratio.max() < 4 / 3 + 1e-3
        assert ratio.log().mean().abs() < 0.03
        left = out[:, 0, 0, 0] - 0.5 * width / size
        assert left.min() < 0.02  # boxes reach both borders
        assert (left + width).max() > 0.98

    def test_seed(self):
        x = self.pictures()
        once, again, other = (augment(x, recipe(), self.generator(s)) for s in (3, 3, 4))
        assert torch.equal(once, again)
        assert not torch.equal(once, other)

    def test_each_image_has_its_own_box(self):
        x = self.pictures(1).expand(8, 3, 12, 12)
        out = augment(x, recipe(), self.generator())
        assert len({tuple(o.flatten().tolist()) for o in out}) == 8


class TestFewerPatches:
    def test_draws_differ_by_image_and_hold_no_patch_twice(self):
        kept = draw_patches(50, 64, 0.5, torch.Generator().manual_seed(0))
        assert kept.shape == (50, 32)
        assert all(len(set(row)) == 32 for row in kept.tolist())
        assert len({tuple(sorted(row)) for row in kept.tolist()}) == 50
        assert torch.bincount(kept.flatten(), minlength=64).min() > 10, "every patch has its turn"

    def test_processes_together_draw_what_one_draws(self):
        alone = draw_patches(6, 16, 0.5, torch.Generator().manual_seed(3))
        for rank in range(2):
            generator = torch.Generator().manual_seed(3)
            assert torch.equal(draw_patches(6, 16, 0.5, generator, rank=rank, world_size=2), alone[rank::2])

    def test_at_least_one_stays_and_all_stay_without_a_draw(self):
        generator = torch.Generator().manual_seed(0)
        assert draw_patches(3, 4, 0.01, generator).shape == (3, 1)
        before = generator.get_state()
        assert draw_patches(3, 4, 1.0, generator) is None
        assert torch.equal(generator.get_state(), before)

    def test_model_sees_the_kept_patches_and_no_other(self):
        model, images = tiny().eval(), stripes().images[:4]
        kept = torch.tensor([[0, 2], [1, 3], [3, 0], [2, 1]])
        Z = model.tokens(images)
        for i in range(4):
            z = torch.cat([Z[i, :1], Z[i, 1:][kept[i]]])[None]
            for block in model.blocks:
                z = block(z)
            torch.testing.assert_close(model(images, kept)[i], model.head(model.norm(z[:, 0]))[0])
        everything = torch.arange(Z.shape[1] - 1).flip(0).expand(4, -1)
        torch.testing.assert_close(model(images, everything), model(images))


def test_batches_cover_the_set_once_and_differ_by_epoch():
    epochs = [order_of_epoch(10, 3, 0, e)[0].flatten() for e in (0, 1)]
    assert all(len(e) == 9 and len(set(e.tolist())) == 9 for e in epochs)
    assert not torch.equal(*epochs)
