"""What the benchmarks count and compare; no clock decides anything here."""

from __future__ import annotations

import mmap
import os
from collections import Counter

import bench_scaling
import bench_training
import pytest
import torch
from bench_blocks import PlainCRATE
from bench_scaling import AXES, SIDES, Point, points
from torch.utils.flop_counter import FlopCounterMode

from crate_mini.model import CRATE, CRATEConfig
from crate_mini.operations import training_multiply_adds
from crate_mini.recipes import get_recipe

CPU = torch.device("cpu")


def small(**changes) -> CRATE:
    torch.manual_seed(0)
    shape = {"dim": 24, "heads": 3, "depth": 2, "image_size": 16, "patch_size": 4, "num_classes": 7}
    return CRATE(CRATEConfig(**shape | changes)).eval()


class TestPlainCRATE:
    def test_is_the_same_function(self):
        model, images = small(), torch.rand(3, 3, 16, 16)
        torch.testing.assert_close(PlainCRATE(model)(images), model(images), rtol=1e-4, atol=1e-5)

    def test_also_at_other_sizes_and_of_some_patches(self):
        model, images = small(), torch.rand(2, 3, 24, 16)
        kept = torch.tensor([[0, 5, 23], [1, 2, 3]])
        torch.testing.assert_close(PlainCRATE(model)(images, kept), model(images, kept), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(PlainCRATE(model)(images, kept), PlainCRATE(model)(images), rtol=1e-3)


class TestShareOfProducts:
    def test_shape_of_the_flagship(self):
        """A quarter of 16 x 16 patches and the class token, 64 images: 4160 tokens."""
        config = get_recipe("flagship").create_model(200).config
        assert bench_training.own_shape(config, 64, 0.25) == (4160, 384, 384)
        assert bench_training.own_shape(config, 64, 1.0) == (64 * 257, 384, 384)

    def test_rate_is_of_products_of_that_shape(self, monkeypatch):
        """A clock that ticks once a look: a product takes one tick, so the rate is its multiply-adds."""
        ticks = iter(range(1000))
        monkeypatch.setattr(bench_training.time, "perf_counter", lambda: float(next(ticks)))
        with FlopCounterMode(display=False) as counter:
            rate = bench_training.product_rate(CPU, torch.bfloat16, (65, 24, 8))
        assert rate == 65 * 24 * 8
        assert counter.get_total_flops() == bench_training.PRODUCTS * 2 * 65 * 24 * 8

    def test_share_is_counted_work_over_the_best_rate(self):
        config = small().config
        work = training_multiply_adds(config, batch=4, keep_patches=0.5)
        rates = {
            "ours": [1000.0, 10.0, 20.0, 40.0],  # the first round warms up
            "published": [1.0, 5.0, 5.0, 5.0],
            "product": [300 * work, 400 * work, 350 * work, 390 * work],
        }
        row = bench_training.compare(rates, (36, 24, 24), work)
        assert row["utilisation"]["ours"] == {"median": 0.05, "lowest": 0.025, "highest": 0.1}
        assert row["utilisation"]["published"]["median"] == 0.0125
        assert row["ratio"] == {"median": 4.0, "lowest": 2.0, "highest": 8.0}
        assert row["product"]["shape"] == [36, 24, 24]

    def test_refuses_to_time_two_different_networks(self):
        model, other = small(), small()
        torch.nn.init.normal_(other.blocks[0].feed.D)
        images = torch.rand(2, 3, 16, 16)
        assert bench_training.check_equal(model, PlainCRATE(model), images, None) < 1e-4
        with pytest.raises(AssertionError, match="their times mean nothing"):
            bench_training.check_equal(model, PlainCRATE(other), images, None)


def test_published_way_looks_at_the_recipe_s_share_of_patches():
    """What it keeps for the backward pass shrinks with the tokens."""
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    model = small()
    plain, kept = PlainCRATE(model), torch.arange(4).expand(4, 4)
    all_of_it = bench_training.kept_for_backward(plain, images, None, None)
    quarter = bench_training.kept_for_backward(plain, images, kept, None)
    assert quarter < 0.5 * all_of_it


class TestPointsOfTheCurves:
    @pytest.mark.parametrize("what", SIDES)
    def test_each_curve_varies_one_thing_and_every_point_is_measured_once(self, what):
        found = points(what)
        assert max(Counter((p.size, p.depth, p.batch) for p in found).values()) == 1
        for axis in AXES[what]:
            curve = [p for p in found if axis in p.axes]
            assert len({getattr(p, axis) for p in curve}) == len(curve) >= 4
            for other in {"tokens", "depth", "batch"} - {axis}:
                assert len({getattr(p, other) for p in curve}) == 1, (axis, other)

    def test_tokens_are_those_that_the_network_sees(self):
        point = next(p for p in points("training") if p.size == 256)
        model = bench_scaling.network("CRATE", 1)
        assert model.tokens(bench_scaling.pictures(point)).shape[1] == point.tokens == 1025
        tokens = sorted(p.tokens for p in points("evaluation") if "tokens" in p.axes)
        assert tokens == [65, 257, 1025, 4097]
        assert max(p.tokens for p in points("maskcut")) == 60 * 60

    def test_a_quick_look_takes_small_points_of_all_four(self):
        quick = list(bench_scaling.chosen(list(SIDES), quick=True))
        assert {p.what for p in quick} == set(SIDES)
        assert max(p.tokens * p.batch for p in quick) < 500
        assert len(list(bench_scaling.chosen(list(SIDES), quick=False))) > 2 * len(quick)


class TestSides:
    """What is timed against each other does the same."""

    def answers(self, what: str, **place) -> dict:
        point = Point(what, (), **{"size": 64, "depth": 2, "batch": 2} | place)
        given = bench_scaling.features(point)
        return {name: prepare(point, given)() for name, prepare in SIDES[what].items()}

    def test_evaluation_of_the_plain_formula_is_ours(self):
        logits = self.answers("evaluation", size=96)
        ours = logits["CRATE, float32"]
        torch.testing.assert_close(logits["plain formula, float32"], ours, rtol=1e-3, atol=1e-4)
        assert logits["CRATE, bfloat16"].dtype == torch.bfloat16
        assert logits["ViT, float32"].shape == ours.shape

    def test_a_training_step_moves_both_to_the_same_weights(self, monkeypatch):
        made = []
        real = bench_scaling.network
        monkeypatch.setattr(bench_scaling, "network", lambda *a: made.append(real(*a)) or made[-1])
        self.answers("training", depth=1)
        ours, plain = made[0], made[2]
        start = real("CRATE", 1)
        assert not torch.equal(ours.blocks[0].feed.D, start.blocks[0].feed.D)
        torch.testing.assert_close(plain.blocks[0].feed.D, ours.blocks[0].feed.D, rtol=0, atol=1e-4)
        assert len(made) == len(SIDES["training"])

    def test_the_vit_has_as_many_parameters_and_heads(self):
        crate, vit = (bench_scaling.network(name, 8) for name in ("CRATE", "ViT"))
        sizes = [sum(p.numel() for p in model.parameters()) for model in (crate, vit)]
        assert sizes[1] == pytest.approx(sizes[0], rel=0.1)
        assert crate.config.heads == vit.config.heads == 6

    def test_both_ways_to_the_determinant_give_one_reading(self):
        answers = self.answers("meter", depth=2)
        for small_side, large_side in zip(answers["one reading"], answers["one reading, n x n"], strict=True):
            torch.testing.assert_close(large_side.double(), small_side, rtol=1e-4, atol=0)
        rates = answers["all readings"]["rates"]["head 0.01"]["attention_in"]["Rc"]["mean"]
        assert rates == pytest.approx([r.mean().item() for r in answers["one reading"]], rel=1e-4)

    def test_both_solvers_cut_the_same_objects(self):
        answers = self.answers("maskcut", size=128, depth=0, batch=1)
        ((ours,), (peer,)) = answers["iterative"], answers["SciPy, dense"]
        assert len(ours)
        assert torch.equal(ours, torch.stack([r.mask for r in peer if not r.dropped]))


class TestTurns:
    def turns(self, most: int, **ticks: float) -> tuple[dict, list[str]]:
        """Sides that take so many seconds of a clock that only they move."""
        now, order = [0.0], []

        def side(name: str):
            def run() -> None:
                order.append(name)
                now[0] += ticks[name]

            return run

        return bench_scaling.take_turns({name: side(name) for name in ticks}, most, lambda: now[0]), order

    def test_each_goes_first_in_turn_and_the_first_round_warms_up(self):
        times, order = self.turns(4, a=0.01, b=0.02)
        assert order == ["a", "b", "b", "a"] * 2 + ["a", "b"]
        assert times == {"a": pytest.approx([0.01] * 4), "b": pytest.approx([0.02] * 4)}

    def test_rounds_are_those_that_fit(self):
        assert len(self.turns(15, a=0.1, b=0.1)[0]["a"]) == 7  # of 1.5 seconds
        assert len(self.turns(15, a=1.0, b=1.0)[0]["a"]) == bench_scaling.FEWEST

    def test_a_first_round_of_many_seconds_counts(self):
        times, order = self.turns(15, a=4.0, b=4.0)
        assert len(times["a"]) == bench_scaling.FEWEST == len(order) / 2


class TestProcesses:
    def test_a_value_comes_back(self):
        assert bench_scaling.apart(divmod, 7, 3) == (2, 1)

    def test_one_that_ends_without_is_told(self):
        with pytest.raises(RuntimeError, match=r"_exit\(9,\) ended with exit code 9"):
            bench_scaling.apart(os._exit, 9)

    def test_its_largest_resident_set_is_its_own(self):
        """64 MiB more are seen there, and do not show in a process that follows."""
        more, nothing = (bench_scaling.apart(_grown_by, size) for size in (2**26, 0))
        assert 0.95 * 2**26 < more < 1.2 * 2**26, "the system counts in steps of some pages"
        assert nothing < 2**23


def _grown_by(size: int) -> int:
    """Bytes that so many new bytes, all written to, add to the largest resident set.

    From the system itself: `np.ones` may take memory that an earlier test freed and this process kept.
    """
    before = bench_scaling.largest_resident_set()
    with mmap.mmap(-1, max(size, 1)) as memory:
        for page in range(0, size, mmap.PAGESIZE):
            memory[page] = 1
    return bench_scaling.largest_resident_set() - before
