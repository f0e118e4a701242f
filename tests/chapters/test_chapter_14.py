"""Figures and facts of chapter 14: each number by another way, on small networks."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from crate_mini import data
from crate_mini.chapters import chapter_14 as chapter
from crate_mini.model import create_model
from crate_mini.recipes import get_recipe, get_sweep
from crate_mini.results import read
from crate_mini.sparsification import lasso_objective, proximal_step
from crate_mini.stats import auroc


def small(**settings):
    torch.manual_seed(0)
    shape = {"dim": 24, "heads": 3, "depth": 2, "image_size": 32, "num_classes": 3}
    return create_model("crate_nano", **shape | settings).eval()


@pytest.fixture(scope="module")
def drawn():
    return data.load("embedded", "test", n=6, seed=3, image_size=32)


@pytest.fixture(scope="module")
def found(drawn):
    return chapter.codes(small(), drawn.images[:2], steps=(0, 1, 2, 4))


@pytest.fixture(scope="module")
def measured():
    return chapter.inside()


class TestSteps:
    def test_objectives_are_those_of_the_layers_own_tokens(self, found, drawn):
        model, seen = small(), []
        hook = model.blocks[1].norm2.register_forward_hook(lambda *args: seen.append(args[2]))
        out = []
        after = model.blocks[1].register_forward_hook(lambda *args: out.append(args[2]))
        with torch.no_grad():
            model(drawn.images[:2])
        hook.remove()
        after.remove()
        Y, D = seen[0].flatten(0, 1).double(), model.blocks[1].feed.D.detach().double()
        Z, objectives = torch.zeros_like(Y), []
        for _ in range(5):
            objectives.append(lasso_objective(Y, D, Z, 0.1).mean().item())
            Z = proximal_step(Z, Y, D, 0.1, 0.1)
        assert found["from_zero"][1] == pytest.approx([objectives[n] for n in (0, 1, 2, 4)])
        tokens = out[0].flatten(0, 1).double()
        own = lasso_objective(Y, D, tokens, 0.1).mean().item()
        assert found["own"][1] == pytest.approx(own, rel=1e-5)
        assert all(low < row[-1] for low, row in zip(found["lowest"], found["from_zero"], strict=True))
        assert found["reach"][1] == pytest.approx(0.1 * np.linalg.norm(D.numpy(), 2) ** 2)
        away = (tokens - tokens.mean(0)).square().sum() / tokens.square().sum()
        assert found["apart"][1] == pytest.approx(away.item())

    def test_the_code_of_two_steps_is_two_steps_from_zero(self, drawn):
        found = chapter.codes(small(feed="odl"), drawn.images[:1], steps=(0, 1, 2))
        assert found["own"] == pytest.approx([row[2] for row in found["from_zero"]], rel=1e-5)

    def test_tokens_that_are_one_and_the_same_are_not_apart(self, drawn):
        model = small()
        with torch.no_grad():
            model.blocks[1].feed.D.zero_()
        model.blocks[1].register_forward_hook(lambda *args: torch.ones_like(args[2]))
        assert chapter.apart(model, drawn.images[:2])[1] == pytest.approx(0)
        assert 0 < chapter.apart(small(), drawn.images[:2])[0] < 1

    @pytest.fixture
    def made(self):
        """Two layers: CRATE's end above and below no code, ODL half way; tokens less apart from seed to seed."""

        def run(own: float, seed: int) -> dict:
            row = [10.0, 9.0] + [8.0] * (len(chapter.STEPS) - 2)
            return {
                "from_zero": [row, row], "lowest": [0.0, 0.0], "own": [own, 5.0], "apart": [1.0, 0.9 - 0.1 * seed],
            }  # fmt: skip

        own = {"ista": 12.0, "odl": 4.0, "odl_one_step": 9.0}
        return {
            f"operators_{arm}_s{seed}": run(own.get(arm, 5.0), seed)
            for arm in chapter.WITH_CODE
            for seed in range(chapter.SEEDS)
        }

    def test_facts(self, made):
        facts = chapter.step_facts(made, {name: [0.5, 0.25] for name in made})
        assert facts["gone_1"] == pytest.approx(10)
        assert facts["gone_2"] == facts["gone_10"] == pytest.approx(20)
        assert (facts["above"], facts["layers"], facts["networks"]) == (3, 6, 3)
        assert facts["worse"] == pytest.approx((20 - 50) / 2)
        assert (facts["odl_low"], facts["odl_high"]) == pytest.approx((50, 60))
        assert (facts["one_low"], facts["one_high"]) == pytest.approx((10, 50))
        assert (facts["apart_low_odl"], facts["apart_high_odl"]) == pytest.approx((70, 90))
        assert facts["start_low_odl_plain"] == facts["start_high_odl_plain"] == pytest.approx(25)

    def test_with_and_without_a_skip_connection_training_starts_from_the_same_weights(self):
        with_it, without = (
            get_recipe(f"operators_{arm}_s1").create_model(10).state_dict() for arm in ("odl", "odl_plain")
        )
        assert with_it.keys() == without.keys()
        assert all(torch.equal(with_it[name], without[name]) for name in with_it)

    def test_order(self, made):
        falls = {"odl_plain": [{"top1": v} for v in (0.3, 0.2, 0.1)]}
        assert chapter.same_order(made, falls, "odl_plain")
        assert not chapter.same_order(made, {"odl_plain": falls["odl_plain"][::-1]}, "odl_plain")

    def test_figure(self, made):
        ax = chapter.steps_figure(made).axes[0]
        bold = [line for line in ax.lines if line.get_linewidth() == 2]
        np.testing.assert_allclose(bold[0].get_ydata(), [0.9] + [0.8] * (len(chapter.STEPS) - 2), rtol=1e-6)
        dots = [line for line in ax.lines if line.get_marker() == "o"]
        assert sorted(dots[0].get_ydata()) == pytest.approx([0.5] * 3 + [1.2] * 3)

    def test_claims_of_the_page_hold_in_every_training(self, measured):
        """Every layer of every CRATE above no code; every layer of every ODL farther down than two steps there."""
        codes, results = measured["codes"], chapter.trained()
        facts = chapter.step_facts(codes, measured["untrained"])
        assert facts["above"] == facts["layers"] == 12
        two = max(chapter.after(run, 2).max().item() for run in chapter.of_arm(codes, "ista"))
        assert facts["odl_low"] > 100 * two > 100 * facts["gone_2"] / 100
        for run in chapter.of_arm(codes, "ista"):  # the question's answers: short enough, and there is a code
            assert all(row == sorted(row, reverse=True) for row in run["from_zero"])
            assert chapter.after(run, 50).min() > 0.9
            assert max(run["reach"]) < 2
        assert facts["apart_high_odl_plain"] < facts["apart_low_odl"]
        assert chapter.same_order(codes, results, "odl_plain")
        groups = chapter.map_facts(measured["memberships"])
        assert groups["memberships_own_high"] < groups["attention_own_low"]
        assert groups["nearest"] > 0
        assert facts["start_high_odl_plain"] < facts["start_low_odl"]


class TestMemberships:
    def test_an_easy_case_is_lost_in_many_tokens_and_kept_by_the_mean(self):
        counts = (17, 197, 785)
        by_sum = chapter.own_membership(counts, energy="sum", temperature=1.0)
        by_mean = chapter.own_membership(counts, energy="mean", temperature=0.25)
        assert by_sum[0] > 0.7
        assert 1 / 6 < by_sum[2] < by_sum[1] < 0.3
        assert min(by_mean) > 0.99

    def test_no_token_tells_another_its_sign(self):
        changed = chapter.reach(dim=12, heads=3, grid=8)
        assert changed["TSSA"] == 0
        assert min(changed["MSSA"], changed["CBSA"]) > 0.01

    def test_maps(self, drawn):
        model = small()
        maps = chapter.membership_maps(model, drawn.images)
        assert maps["memberships"].shape == maps["attention"].shape == (6, 2, 3, 16)
        torch.testing.assert_close(maps["memberships"].sum(2), torch.ones(6, 2, 16))
        own = torch.stack([block.attention.U.detach() for block in model.blocks])
        again = chapter.membership_maps(model, drawn.images, own)
        torch.testing.assert_close(again["memberships"], maps["memberships"], rtol=1e-4, atol=1e-5)

    def test_auroc_is_that_of_the_package(self, drawn):
        maps = torch.rand(6, 2, 3, 16, generator=torch.Generator().manual_seed(0))
        found = chapter.aurocs(maps, drawn)
        pixels = (drawn.masks == 1).unfold(1, 8, 8).unfold(2, 8, 8).flatten(3).flatten(1, 2)
        inside = pixels.sum(-1)
        for i, layer, head in itertools.product((0, 5), (0, 1), (2,)):
            other = auroc(maps[i, layer, head], inside[i][None], 64 - inside[i][None])
            assert found[i, layer, head].item() == pytest.approx(other.item())

    def test_a_head_is_chosen_on_one_set_and_reported_on_the_other(self):
        one, other = torch.full((4, 2, 3), 0.5), torch.full((5, 2, 3), 0.6)
        one[:, 1, 2], other[:, 1, 2] = 0.2, torch.tensor([0.1, 0.3, 0.3, 0.3, 0.5])
        told = chapter.chosen_head(one, other)
        assert (told["layer"], told["head"], told["turned"]) == (1, 2, True)
        assert told["auroc"] == pytest.approx(0.7)
        assert told["half"] == pytest.approx(1.96 * float(np.std([0.1, 0.3, 0.3, 0.3, 0.5], ddof=1)) / 5**0.5)

    def test_rows(self, drawn):
        rows = chapter.map_scores({"trained": small(), "untrained": small()}, drawn, drawn)
        kinds = [(row["kind"], row["network"]) for row in rows]
        assert kinds == [
            ("attention", "trained"), ("attention", "untrained"), ("memberships", "trained"),
            ("memberships", "trained, random bases"), ("memberships", "untrained"),
        ]  # fmt: skip
        assert rows[0]["auroc"] == pytest.approx(rows[1]["auroc"])  # one and the same network here
        assert min(row["auroc"] for row in rows) >= 0.5  # chosen where it is reported
        other = [row | {"auroc": row["auroc"] - 0.1} for row in rows]
        facts = chapter.map_facts({"one": rows, "two": other})
        assert facts["attention_own_high"] == pytest.approx(rows[0]["auroc"])
        assert facts["memberships_random_low"] == pytest.approx(rows[3]["auroc"] - 0.1)
        assert facts["nearest"] == pytest.approx(rows[2]["auroc"] - rows[3]["auroc"])

    def test_figure(self):
        fig = chapter.memberships_figure(counts=(17, 65))
        assert [len(line.get_xdata()) for line in fig.axes[0].lines[:2]] == [2, 2]


class TestCosts:
    def test_facts_of_the_benchmark(self):
        rows = chapter.costs()
        facts = chapter.cost_facts(rows)
        assert (facts["few"], facts["many"]) == (65, 4097)
        last = rows[-1]["sides"]
        ratio = last["MSSA, PyTorch"]["both"][0] / last["TSSA"]["both"][0]
        assert facts["faster_many_low"] <= facts["faster_many"] <= facts["faster_many_high"]
        assert facts["faster_many"] == pytest.approx(
            ratio, rel=0.2
        )  # of medians; the page has the median of ratios
        assert last["MSSA, PyTorch"]["faster_both"] == [1, 1, 1]
        assert facts["kept"] == pytest.approx(
            last["TSSA"]["kept_bytes"] / last["MSSA, PyTorch"]["kept_bytes"]
        )
        assert facts["faster_plain"] > facts["faster_many"] > facts["faster_few"]

    def test_what_is_kept_is_counted_once(self):
        """Two different views of one storage, and no weights: a count that any machine makes again."""
        import bench_operators

        small_ = {side: bench_operators.kept_bytes(side, 2) for side in bench_operators.SIDES}
        again = {side: bench_operators.kept_bytes(side, 2) for side in bench_operators.SIDES}
        assert small_ == again
        sides = read("benchmarks/operators")["rows"][0]["sides"]
        assert set(sides) == set(bench_operators.SIDES) == set(chapter.SHOWN)
        grown = bench_operators.kept_bytes("MSSA, plain formula", 8)
        assert grown > 65**2 * 4 * bench_operators.HEADS  # the attention matrices alone

    def test_figure(self):
        fig = chapter.cost_figure(chapter.costs())
        assert len(fig.axes) == 3
        assert all(len(ax.lines) == len(chapter.SHOWN) for ax in fig.axes)


class TestTrainings:
    def test_every_run_of_the_sweep_has_an_arm(self):
        assert sorted(arm for arms in chapter.GROUPS.values() for arm in arms) == sorted(chapter.ARMS)
        assert {name[len("operators_") : -len("_s0")] for name in get_sweep("operators")} == set(chapter.ARMS)
        where = {arm: group for group, arms in chapter.GROUPS.items() for arm in arms}
        assert all(where[a] == where[b] for a, b in chapter.COMPARED)

    @pytest.fixture
    def made(self):
        """Accuracies that differ by two thousandths from seed to seed; TSSA ten points above no attention.

        CBSA lies above MSSA by what one test alone would believe (p = 0.02), and ten do not.
        """
        base = dict.fromkeys(chapter.ARMS, 0.5) | {"none_mean": 0.4, "cbsa": 0.506}
        feeds = {arm: 0.6 + 0.01 * i for i, arm in enumerate(chapter.GROUPS["feeds"])}
        return {
            arm: [
                {
                    "top1": base[arm] + 0.002 * (i - 1),
                    "auroc": feeds.get(arm),
                    "parameters": 300 if arm == "odl" else 100,
                }
                for i in range(3)
            ]
            for arm in chapter.ARMS
        }

    def test_rows(self, made):
        rows = {row["operator"]: row for row in chapter.trained_rows(made)}
        accuracy = rows[chapter.ARMS["odl"]]["top-1, %"]
        assert accuracy.value == pytest.approx(50)
        assert accuracy.by == pytest.approx(
            4.3027 * 0.2 * (4 / 3) ** 0.5, rel=1e-4
        )  # t of two degrees of freedom
        assert rows[chapter.ARMS["cbsa"]]["AUROC of maps"] is None

    def test_only_a_difference_that_is_there_holds(self, made):
        rows = {row["what is changed"]: row for row in chapter.comparison_rows(made)}
        assert [what for what, row in rows.items() if row["holds"] == "yes"] == ["TSSA for no attention"]
        difference = rows["TSSA for no attention"]["top-1, points"]
        assert difference.value == pytest.approx(10)
        assert difference.by == pytest.approx(2.7764 * 0.2 * (2 / 3) ** 0.5, rel=1e-4)  # four degrees

    def test_facts_of_trainings(self, made):
        facts = chapter.trained_facts(made)
        assert (facts["compared"], facts["hold"], facts["trainings"]) == (10, 1, 39)
        assert facts["top1_none_mean"] == pytest.approx(40)
        assert facts["larger"] == 3
        assert not facts["ista_above_all"]
        for i, arm in enumerate(chapter.GROUPS["feeds"]):  # maps fall where accuracy rises
            for run in made[arm]:
                run["top1"] -= 0.01 * i
        assert chapter.trained_facts(made)["rank"] == pytest.approx(-1)
        for run in made["ista"]:
            run["auroc"] = 0.9
        made["ista"][0]["auroc"] = 0.65  # below the highest of the others, above their lowest
        assert not chapter.trained_facts(made)["ista_above_all"]
        made["ista"][0]["auroc"] = 0.9
        assert chapter.trained_facts(made)["ista_above_all"]

    def test_figure(self, made):
        left, right = chapter.trained_figure(made, 0.7).axes
        assert len(left.lines) == 2 * len(chapter.ARMS)
        dots = [line for line in right.lines if line.get_marker() == "o" and len(line.get_xdata())]
        assert len(dots) == len(chapter.GROUPS["feeds"])

    def test_too_few_trainings_are_refused(self, monkeypatch):
        monkeypatch.setattr(chapter, "read", lambda name: {"runs": {"operators_ista_s0": {}}})
        with pytest.raises(ValueError, match="fewer than 3 trainings"):
            chapter.trained()

    def test_the_tool_scores_what_has_maps(self, drawn):
        import score_operators

        models = {name: small(**settings) for name, settings in {
            "crate": {}, "tssa": {"attention": "tssa", "readout": "mean"}, "none": {"move": 0.0, "readout": "mean"},
        }.items()}  # fmt: skip
        for name, model in models.items():
            maps = score_operators.maps_of(model, drawn.images)
            assert (maps is None) == (name == "none")
            if maps is not None:
                assert maps.shape == (6, 2, 3, 16)
        kept = score_operators.score(small(num_classes=10), drawn, drawn, drawn)
        assert 0.5 <= kept["auroc"] <= 1
        assert 0 <= kept["top1"] <= 1
        mute = small(move=0.0, readout="mean", num_classes=10)
        assert score_operators.score(mute, drawn, drawn, drawn)["auroc"] is None

    def test_the_head_is_chosen_on_other_drawings(self):
        import score_operators

        val, test = (data.load("embedded", split, n=4, image_size=128) for split in ("val", "test"))
        torch.manual_seed(0)
        model = create_model("crate_nano", num_classes=10).eval()
        maps = [score_operators.maps_of(model, d.images) for d in (val, test)]
        by_hand = chapter.chosen_head(chapter.aurocs(maps[0], val), chapter.aurocs(maps[1], test))
        told = score_operators.map_score(model, val, test)
        assert (told["layer"], told["head"]) == (by_hand["layer"], by_hand["head"])
        assert told["auroc"] == pytest.approx(by_hand["auroc"], abs=1e-5)
        assert told["auroc"] != score_operators.map_score(model, test, val)["auroc"]
        assert 0.6 < score_operators.controls(val, test)["centre"] < 1


def test_play_data(drawn):
    told = chapter.play_data(small(), drawn, 1, layer=1, head=2)
    energies = torch.tensor(told["energies"])
    assert energies.shape == (3, 16)
    assert (told["tokens"], told["start"]) == (17, 2)
    assert (energies > 0).all()
    assert (
        energies.sum(1) < 8
    ).all()  # with the class token each of eight channels has shares of one together
    assert told["picture"].startswith("data:image/jpeg;base64,")
    assert int(told["objects"].sum()) == int((drawn.masks[1] == 1).sum())


@pytest.fixture(autouse=True)
def _closed():
    yield
    assert plt.get_fignums() == [], "a figure function leaves no figure open"
