"""Operations counted from the shape against PyTorch's counter, and the page that reckons with them."""

from __future__ import annotations

import pytest
import scale_table
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from crate_mini.model import CRATE, CRATEConfig
from crate_mini.operations import (
    ACCELERATORS,
    multiply_adds,
    published_share,
    training_multiply_adds,
    training_seconds,
)
from crate_mini.operators import basic

OPERATORS = [("mssa", "ista"), ("mhsa", "mlp"), ("mssa", "mlp"), ("mhsa", "ista")]


def config(**changes) -> CRATEConfig:
    shape = {"dim": 24, "heads": 3, "depth": 2, "image_size": 16, "patch_size": 4, "num_classes": 7}
    return CRATEConfig(**shape | changes)


def plain_attention(queries, keys, values, mask=None):
    """Written out: two products, which the counter sees forwards and backwards."""
    return (queries @ keys.mT * queries.shape[-1] ** -0.5).softmax(-1) @ values


@pytest.fixture(autouse=True)
def _attention_is_written_out(monkeypatch):
    """A fused kernel computes the scores again on the way back, and PyTorch 2.4 does not count it at all."""
    monkeypatch.setattr(basic, "attend", plain_attention)


def counted(shape: CRATEConfig, batch: int, kept: int | None, *, backward: bool = False) -> int:
    """Multiply-adds that PyTorch sees."""
    network = CRATE(shape).train()
    images = torch.rand(batch, 3, shape.image_size, shape.image_size)
    chosen = None if kept is None else torch.rand(batch, shape.grid**2).argsort(1)[:, :kept]
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
        logits = network(images, chosen)
        if backward:
            F.cross_entropy(logits, torch.zeros(batch, dtype=torch.long)).backward()
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


class TestMultiplyAdds:
    @pytest.mark.parametrize(("attention", "feed"), OPERATORS)
    @settings(max_examples=8, deadline=None)
    @given(
        heads=st.integers(1, 4),
        head_dim=st.integers(1, 6),
        batch=st.integers(1, 4),
        depth=st.integers(1, 2),
        grid=st.integers(1, 4),
        share=st.none() | st.floats(0.1, 1),
    )
    def test_is_what_pytorch_counts(self, attention, feed, heads, head_dim, batch, depth, grid, share):
        shape = config(
            attention=attention, feed=feed, heads=heads, head_dim=head_dim, depth=depth, image_size=4 * grid
        )
        kept = None if share is None else max(1, round(share * grid**2))
        assert sum(multiply_adds(shape, batch=batch, kept=kept).values()) == counted(shape, batch, kept)

    @pytest.mark.parametrize("batch", [1, 2])
    def test_ista_forms_its_matrix_once_a_batch(self, batch):
        shape = config(dim=24)
        feed = multiply_adds(shape, batch=batch)["feed"]
        assert feed == 2 * (17 * batch * 24**2 + 24**3)
        assert sum(multiply_adds(shape, batch=batch).values()) == counted(shape, batch, None)

    def test_tied_bases_cost_the_same(self):
        assert counted(config(tied=True), 2, None) == sum(multiply_adds(config(tied=True), batch=2).values())

    def test_parts_are_those_of_the_formula(self):
        shape = config(attention="mhsa", feed="mlp")
        assert multiply_adds(shape) == {
            "patches": 16 * 48 * 24,
            "linear maps": 2 * 4 * 17 * 24 * 24,
            "attention": 2 * 2 * 17 * 17 * 24,
            "feed": 2 * 8 * 17 * 24**2,
            "classifier": 24 * 7,
        }

    @pytest.mark.parametrize("wrong", [{"batch": 0}, {"kept": 0}, {"kept": 17}])
    def test_refuses_what_there_is_not(self, wrong):
        with pytest.raises(ValueError, match="need batch >= 1 and 1 <= kept <= 16"):
            multiply_adds(config(), **wrong)


class TestTraining:
    @pytest.mark.parametrize(("attention", "feed"), OPERATORS)
    @pytest.mark.parametrize("share", [1.0, 0.5])
    @pytest.mark.parametrize("batch", [1, 5])
    def test_a_step_is_three_forward_passes(self, attention, feed, share, batch):
        shape = config(attention=attention, feed=feed)
        kept = None if share == 1 else round(share * 16)
        seen = counted(shape, batch, kept, backward=True)
        assert training_multiply_adds(shape, batch=batch, keep_patches=share) * batch == pytest.approx(seen)

    def test_seconds(self):
        shape = config()
        once = training_seconds(shape, 1000, peak=1e9, share=0.5, batch=4)
        assert once == pytest.approx(1000 * training_multiply_adds(shape, batch=4) / 0.5e9)
        assert training_seconds(shape, 1000, peak=1e9, share=0.5, batch=4, keep_patches=0.5) < once

    @pytest.mark.parametrize("wrong", [{"share": 0.0}, {"share": 1.1}, {"peak": 0.0}])
    def test_refuses_impossible_shares(self, wrong):
        with pytest.raises(ValueError, match="0 < share <= 1"):
            training_seconds(config(), 10, **{"peak": 1e9, "share": 0.5} | wrong)

    def test_devices_are_ordered_by_what_they_can_do(self):
        peaks = [device.peak for device in ACCELERATORS.values()]
        assert peaks == sorted(peaks)
        # a data sheet gives operations, two for each multiply-add
        assert 2 * ACCELERATORS["A100"].peak == 312e12


class TestPage:
    """book/training_at_scale.md, whose numbers are worked out by tools/scale_table.py."""

    TEXT = scale_table.PAGE.read_text(encoding="utf-8")

    def test_holds_what_the_counts_say(self):
        assert scale_table.fill(self.TEXT) == self.TEXT, "python tools/scale_table.py --write"

    def test_estimate_by_hand(self):
        """CRATE-S/8 on ImageNet-21k once more, from the formula on paper."""
        N, d, L, classes, batch = 785, 384, 12, 21_841, 4096 / 8
        forward = L * (3 * N * d**2 + d**3 / batch + 2 * N**2 * d) + (N - 1) * 3 * 64 * d + d * classes
        hours = 3 * forward * 14.2e6 * 90 / (0.3 * 156e12) / 3600
        (told,) = [line for line in self.TEXT.splitlines() if line.startswith("| GPU hours |")]
        assert int(told.split("|")[-2]) == pytest.approx(hours, rel=5e-3)
        assert f"{2 * hours:.0f}" in self.TEXT

    def test_the_published_share_is_a_tenth_of_the_assumed_one(self):
        N, d = 197, 768
        forward = 12 * (3 * N * d**2 + 2 * N**2 * d + d**3 / 128) + (N - 1) * 768 * d + d * 1000
        share = 3 * forward * 1_281_167 / 240 / 16 / 156e12
        assert published_share() == pytest.approx(share, rel=1e-6)
        assert scale_table.SHARE / share == pytest.approx(10, abs=1)

    def test_refuses_a_page_without_places(self):
        with pytest.raises(ValueError, match="no place for 'worked'"):
            scale_table.fill("nothing here")
