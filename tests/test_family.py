"""The final scoring: by the list that was written before, by nothing else, and with all trainings."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import score_family
import torch
from score_family import (
    chosen_layer,
    compare,
    fresh,
    keep_first_look,
    layers_of,
    on_the_way,
    predicted,
    require_written_before,
    row,
    score,
    second_look,
    trainings,
    untrained,
    values,
)

from crate_mini.data import load
from crate_mini.model import create_model
from crate_mini.recipes import get_sweep
from crate_mini.stats import welch_interval, welch_test
from crate_mini.weights import load_model, save_model

PLAN = json.loads((score_family.RESULTS / "plan.json").read_text(encoding="utf-8"))
PHOTOGRAPHS = score_family.ROOT / "results" / "views" / "photographs"
OPERATORS = score_family.ROOT / "results" / "square"
FLAGSHIP = score_family.ROOT / "results" / "flagship"
DRAWN = {"data": "embedded", "split": "test", "grid": 4, "letterbox": False, "resolution": "pixel"}
SMALL = {
    "networks": {"one": "one", "two": "two"},
    "choice": DRAWN | {"objects": "mask", "rule": "auroc"},
    "scores": {
        "best": DRAWN | {"objects": "parts", "rule": "patch", "resolution": "patch", "take": "best head"},
        "mean": DRAWN | {"objects": "mask", "rule": "auroc", "take": "mean map"},
        "cut": DRAWN | {"objects": "mask", "rule": "AP50 of boxes", "take": "maskcut", "layers": 2},
    },
    "comparisons": [{"a": "one", "b": "two", "score": key} for key in ("best", "mean", "cut")],
}


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Two trainings of two kinds, which differ in their widths, scored on eight drawn animals."""
    folder, there, found = tmp_path_factory.mktemp("family"), {"one": {}, "two": {}}, {}
    drawn = load("embedded", "test", image_size=32, n=8)
    with pytest.MonkeyPatch.context() as patch:
        # all drawings there are would be endless
        patch.setattr(score_family, "maskcut", _four_drawings(score_family.maskcut))
        for kind, dim in (("one", 24), ("two", 48)):
            for seed in (0, 1):
                torch.manual_seed(seed)
                network = create_model(
                    "crate_nano", dim=dim, heads=3, depth=2, image_size=32, num_classes=3
                ).eval()
                name = f"{kind}_s{seed}"
                there[kind][name] = save_model(network, folder / name / "model.safetensors")
                found[name] = score(
                    SMALL, network, lambda how, patch: drawn, folder / name, there[kind][name], None
                )
    return there, found


def _four_drawings(real):
    def maskcut(how, *rest):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(score_family, "crate_mini", lambda line: _command([*line, "--n", "4"]))
            return real(how, *rest)

    _command = score_family.crate_mini
    return maskcut


@pytest.mark.parametrize(
    "folder",
    [score_family.RESULTS, FLAGSHIP, PHOTOGRAPHS, OPERATORS],
    ids=["family", "flagship", "photographs", "square"],
)
class TestEveryPlan:
    @pytest.fixture
    def plan(self, folder):
        return json.loads((folder / "plan.json").read_text(encoding="utf-8"))

    def test_is_about_trainings_that_sweeps_make(self, plan):
        sweeps = ("all_classes", "flagship", "animals_family", "views_animals")
        runs = {name for sweep in sweeps for name in get_sweep(sweep)}
        for family in plan["networks"].values():
            assert {f"{family}_s{seed}" for seed in range(2)} <= runs
        for like, _ in fresh(plan).values():
            assert like in plan["networks"]

    def test_no_comparison_is_scored_where_layers_are_chosen(self, plan):
        chosen = tuple(plan["choice"][k] for k in ("data", "split")) if "choice" in plan else None
        for how in plan["scores"].values():
            assert (how["data"], how["split"]) != chosen
            assert how["take"] in ("best head", "best head of the layer", "mean map", "maskcut")
        for asked in plan["comparisons"]:
            assert asked["score"] in plan["scores"]
            assert {asked["a"], asked["b"]} <= set(plan["networks"]) | set(fresh(plan))
        for asked in plan.get("contrasts", ()):
            assert asked["score"] in plan["scores"]
            assert set(asked["weights"]) <= set(plan["networks"])
            assert sum(asked["weights"].values()) == 0

    def test_what_lies_in_the_folder_is_what_the_plan_asks_for(self, plan, folder):
        for file in folder.glob("*.json"):
            kept = json.loads(file.read_text(encoding="utf-8"))
            if file.stem in ("comparisons", "first_look"):
                asked = [*plan["comparisons"], *plan.get("contrasts", ())]
                assert [one | line for one, line in zip(asked, kept["comparisons"], strict=True)] == kept[
                    "comparisons"
                ]
                told = [[line[k] for k in one] for one, line in zip(asked, kept["comparisons"], strict=True)]
                assert told == [[*one.values()] for one in asked]
                told = [line["what"] for line in kept.get("predictions", [])]
                assert told == [line["what"] for line in plan.get("predictions", [])]
            elif file.stem == "on_the_way":
                for shares in kept["trainings"].values():
                    assert set(shares) == set(map(str, plan["on_the_way"]["at"]))
            elif file.stem != "plan":
                assert set(kept["scores"]) == set(plan["scores"]), file.name
                names = (*plan["networks"].values(), *(name for _, name in fresh(plan).values()))
                assert any(file.stem.startswith(family) for family in names)


class TestThePlan:
    def test_untrained_networks_are_of_every_kind_or_of_those_that_it_names(self):
        assert fresh(PLAN) == {
            "CRATE, untrained": ("CRATE", "crate_mini_all_lion"),
            "ViT, untrained": ("ViT", "vit_mini_6_all_lion"),
        }
        shared = PLAN | {"fresh": {"neither": {"like": "ViT", "name": "vit_fresh"}}}
        assert fresh(shared) == {"neither": ("ViT", "vit_fresh")}

    def test_must_be_the_committed_one(self, tmp_path):
        def git(*words):
            subprocess.run(
                ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True
            )

        plan = tmp_path / "plan.json"
        plan.write_text("{}")
        git("init", "-q")
        with pytest.raises(SystemExit, match=r"plan\.json differs from its last commit"):
            require_written_before(plan)
        git("add", "plan.json")
        git("commit", "-qm", "plan")
        require_written_before(plan)
        plan.write_text('{"scores": {}}')
        with pytest.raises(SystemExit, match="commit the list, then score by it"):
            require_written_before(plan)

    def test_finds_trainings_by_name(self, tmp_path):
        for name in ("vit_mini_6_all_lion_s7", "vit_mini_6_all_lion_s8", "crate_mini_all_lion_s7"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "model.safetensors").touch()
        there = trainings(PLAN, tmp_path)
        assert {"vit_mini_6_all_lion_s0", "vit_mini_6_all_lion_s7", "vit_mini_6_all_lion_s8"} <= set(
            there["ViT"]
        )
        assert "crate_mini_all_lion_s7" in there["CRATE"]

    def test_weights_of_full_precision_come_before_those_of_the_package(self, tmp_path):
        (tmp_path / "vit_mini_6_all_lion_s1").mkdir()
        (tmp_path / "vit_mini_6_all_lion_s1" / "model.safetensors").touch()
        there = trainings(PLAN, tmp_path)["ViT"]
        assert there["vit_mini_6_all_lion_s1"].parent.parent == tmp_path
        assert there["vit_mini_6_all_lion_s0"].parent.name == "weights"


def test_the_first_look_was_at_the_first_trainings():
    """Where no layer is chosen anew, its scores are those that the second look has for the same networks."""
    first, now = (
        json.loads((FLAGSHIP / f"{look}.json").read_text(encoding="utf-8"))
        for look in ("first_look", "comparisons")
    )
    takes = {
        key: how["take"] for key, how in json.loads((FLAGSHIP / "plan.json").read_text())["scores"].items()
    }
    assert (first.get("level", score_family.LEVEL), now["level"]) == (0.05, 0.025)
    compared = 0
    for before, after in zip(first["comparisons"], now["comparisons"], strict=True):
        assert (before["trainings"], after["trainings"]) == ([2, 2], [3, 3])
        if takes[before["score"]] in ("best head", "maskcut"):
            assert before["scores"] == [side[:2] for side in after["scores"]]
            compared += 1
    assert compared == 4


class TestScoring:
    def test_untrained_networks_are_of_the_same_kind_and_differ(self, scored, tmp_path):
        there, _ = scored
        like = there["two"]["two_s0"]
        fresh = untrained("two", like, tmp_path)
        assert list(fresh) == ["two_untrained_0", "two_untrained_1"]
        a, b = (load_model(file) for file in fresh.values())
        assert a.config == b.config == load_model(like).config
        assert not torch.equal(a.head.weight, b.head.weight)

    def test_takes_what_it_is_asked_for(self, scored):
        _, found = scored
        best, mean = (found["one_s0"][key] for key in ("best", "mean"))
        how = SMALL["scores"]
        assert torch.equal(values(how["best"], best, 0), best["best_of/patch"][:, -1, -1]), "the last layer"
        assert torch.equal(values(how["mean"], mean, 0), mean["mean/auroc"][:, 0]), "the chosen one"
        of_layer = how["best"] | {"take": "best head of the layer"}
        assert torch.equal(values(of_layer, best, 0), best["best_of/patch"][:, 0, -1])
        assert torch.equal(values(how["best"], best, 0, "shuffled"), best["chance/patch"][:, -1, -1])
        assert torch.equal(values(how["mean"], mean, 0, "centre"), mean["centre/auroc"])

    def test_a_row_has_its_baselines_beside_it(self, scored):
        _, found = scored
        told = {key: row(how, found["two_s1"][key], 1) for key, how in SMALL["scores"].items()}
        assert {"score", "centre", "everything", "shuffled"} <= set(told["best"])
        assert {"score", "centre", "everything"} <= set(told["mean"])
        assert {"score", "centre", "everything", "best ellipse"} <= set(told["cut"])
        for key in ("best", "mean"):
            value, low, high = told[key]["score"]
            assert low <= value <= high
        assert told["mean"]["mean_map_by_layer"][1] == pytest.approx(told["mean"]["score"][0], abs=1e-3)

    def test_a_layer_is_chosen_over_all_trainings_of_a_kind(self, scored):
        _, found = scored
        both = [found["one_s0"], found["one_s1"]]
        means = sum(f["choice"]["mean/auroc"].mean(0) for f in both)
        assert chosen_layer(both) == int(means.argmax())

    def test_compares_what_was_planned_in_its_order(self, scored):
        there, found = scored
        lines = compare(SMALL, there, found, {"one": 1, "two": 0})
        assert [line["score"] for line in lines] == ["best", "mean", "cut"]
        mean = [
            [found[f"{kind}_s{seed}"]["mean"]["mean/auroc"][:, layer].mean().item() for seed in (0, 1)]
            for kind, layer in (("one", 1), ("two", 0))
        ]
        assert lines[1]["over_trainings"] == pytest.approx(welch_interval(*mean), rel=1e-2, abs=1e-3)
        assert lines[1]["p"] == pytest.approx(welch_test(*mean), rel=1e-2)
        assert lines[1]["over_trainings_and_images"][1] < lines[1]["over_trainings_and_images"][2]
        assert "over_trainings_and_images" not in lines[2], "of AP there is no value for an image"

    def test_a_contrast_weighs_several_kinds(self, scored):
        """Of two kinds with 1 and -1 it is the comparison; a third that is as the first halves with it."""
        there, found = scored
        there = there | {"again": there["one"]}
        layers = {"one": 1, "two": 0, "again": 1}
        halves = {"one": 0.5, "again": 0.5, "two": -1}
        plan = SMALL | {
            "comparisons": SMALL["comparisons"][1:2],
            "contrasts": [
                {"of": "width", "score": "mean", "weights": w} for w in ({"one": 1, "two": -1}, halves)
            ],
        }
        plain_one, same, thirds = compare(plan, there, found, layers)
        assert same == {"of": "width", "weights": {"one": 1, "two": -1}} | {
            k: v for k, v in plain_one.items() if k not in "ab"
        }
        assert thirds["trainings"] == [2, 2, 2]
        assert thirds["over_trainings"][0] == pytest.approx(same["over_trainings"][0], abs=1e-4)
        assert len(thirds["scores"]) == 3

    def test_a_list_without_a_choice_is_scored_at_the_last_layer(self, scored):
        there, found = scored
        chosen = {kind: chosen_layer([found[name] for name in names]) for kind, names in there.items()}
        assert layers_of(SMALL, there | {"none": {}}, found) == chosen
        without = {key: value for key, value in SMALL.items() if key != "choice"}
        assert layers_of(without, there, found) == {"one": -1, "two": -1}
        told = row(SMALL["scores"]["mean"], found["two_s1"]["mean"], -1)
        assert told["score"][0] == told["mean_map_by_layer"][-1]

    def test_one_training_a_side_waits(self, scored):
        there, found = scored
        few = {"one": {"one_s0": there["one"]["one_s0"]}, "two": there["two"]}
        for line in compare(SMALL, few, found, {"one": 1, "two": 0}):
            assert line["trainings"] == [1, 2]
            assert "waits" in line
            assert "p" not in line

    def test_a_test_is_held_against_all_that_were_planned(self, scored, monkeypatch):
        """Comparisons that wait count, or the level would hang on when one looks."""
        there, found = scored
        asked = []
        monkeypatch.setattr(
            score_family, "holm", lambda p, level, tests: asked.append(tests) or [True] * len(p)
        )
        plan = SMALL | {"networks": SMALL["networks"] | {"three": "three"}}
        plan["comparisons"] = [*SMALL["comparisons"], {"a": "one", "b": "three", "score": "best"}]
        compare(plan, there | {"three": {}}, found, {"one": 1, "two": 0})
        assert asked == [4]

    @pytest.mark.parametrize(("trainings", "level"), [(2, 0.025), (3, 0.05)])
    def test_a_second_look_has_a_level_of_its_own(self, scored, monkeypatch, trainings, level):
        """Two trainings a side are there: a second look that asks for three is not made yet."""
        there, found = scored
        asked = []
        monkeypatch.setattr(score_family, "holm", lambda p, at, tests: asked.append(at) or [True] * len(p))
        plan = SMALL | {"second_look": {"trainings": trainings, "level": 0.025}}
        compare(plan, there, found, {"one": 1, "two": 0})
        assert asked == [level]
        assert second_look(plan, there) == (trainings == 2)
        few = there | {"two": {"two_s0": there["two"]["two_s0"]}}
        assert not second_look(plan, few), "every side, or it is not made"
        assert not second_look(SMALL, there), "a list that asks for none"

    def test_a_second_look_leaves_the_first_beside_it(self, tmp_path):
        """It stays what it was, however often the second is made anew."""
        now, first = tmp_path / "comparisons.json", tmp_path / "first_look.json"
        keep_first_look(tmp_path, 3)
        assert not first.exists(), "nothing was looked at"

        def found(n, **more):
            now.write_text(json.dumps({"comparisons": [{"trainings": [n, 2], "score": n} | more]}))

        found(1, waits="two trainings a side at least")
        keep_first_look(tmp_path, 3)
        assert not first.exists(), "what waits was no look"
        found(2, p=0.2)
        keep_first_look(tmp_path, 2)
        assert not first.exists(), "as many trainings as the second asks for"
        keep_first_look(tmp_path, 3)
        assert not now.exists()
        before = first.read_text()
        assert json.loads(before)["comparisons"][0]["score"] == 2
        found(2, p=0.1)
        keep_first_look(tmp_path, 3)
        assert first.read_text() == before
        assert now.exists()

    def test_a_prediction_is_asked_of_later_trainings_only(self, scored):
        there, found = scored
        asked = {"a": "one", "b": "two", "score": "mean", "from_seed": 1}
        of = {name: found[name]["mean"]["mean/auroc"][:, -1].mean().item() for name in ("one_s1", "two_s1")}
        one, other = predicted(
            SMALL | {"predictions": [asked, asked | {"a": "two", "b": "one"}]}, there, found
        )
        assert one["last_layer"]["one"] == pytest.approx({"one_s1": of["one_s1"]}, abs=1e-3)
        assert one["holds"] == (of["one_s1"] > of["two_s1"])
        assert other["holds"] != one["holds"], "the other way round"
        few = {"one": {"one_s0": there["one"]["one_s0"]}, "two": there["two"]}
        (waits,) = predicted(SMALL | {"predictions": [asked]}, few, found)
        assert "holds" not in waits

    def test_maskcut_is_that_of_the_command_and_kept(self, scored):
        there, found = scored
        kept = Path(there["one"]["one_s0"]).parent / "cut.json"
        assert json.loads(kept.read_text()) == found["one_s0"]["cut"]
        assert found["one_s0"]["cut"]["layers"] == [0, 1], "the last two, as the list asks"
        told = row(SMALL["scores"]["cut"], found["one_s0"]["cut"], 0)
        assert told["score"] == told["by_layer"]["1"]["box"]["AP50"], "the score is that of the last"
        one = found["one_s0"]["cut"] | {"by_layer": {"1": told["by_layer"]["1"]}}
        assert "by_layer" not in row(SMALL["scores"]["cut"], one, 0)

    def test_maskcut_of_other_layers_or_weights_is_no_answer(self, scored, tmp_path, monkeypatch):
        there, _ = scored
        asked = []

        def answer(line):
            asked.append(line)
            layers = [int(word) for word in line[line.index("--layers") + 1 : line.index("--out")]]
            kept = {
                "layers": layers,
                "sha256": hashlib.sha256(Path(line[3]).read_bytes()).hexdigest(),
            }
            Path(line[line.index("--out") + 1]).write_text(json.dumps(kept))
            return 0

        monkeypatch.setattr(score_family, "crate_mini", answer)
        how, out = SMALL["scores"]["cut"], tmp_path / "cut.json"
        for weights, layers, times in (
            (there["one"]["one_s0"], [1], 1), (there["one"]["one_s0"], [1], 1), (there["one"]["one_s0"], [0, 1], 2),
            (there["one"]["one_s1"], [0, 1], 3),
        ):  # fmt: skip
            score_family.maskcut(how, 32, layers, weights, out, None)
            assert len(asked) == times

    def test_weights_on_the_way_are_those_beside_the_last_ones(self, scored, tmp_path):
        """Those of another training stand in for them, whose scores are known."""
        there, found = scored
        drawn = load("embedded", "test", image_size=32, n=8)
        plan = SMALL | {"on_the_way": {"at": [5, 50], "scores": ["mean"]}}
        kept = {("one_s0", 5): "one_s1", ("one_s0", 50): "one_s0", ("two_s1", 50): "two_s0"}
        for (name, share), other in kept.items():
            file = there[name[:3]][name].with_name(f"at{share:02d}.safetensors")
            save_model(load_model(there[other[:3]][other]), file)
        layers = {"one": 1, "two": 0}
        told = on_the_way(plan, there, lambda how, patch: drawn, layers, tmp_path, None)
        assert {(name, int(share)) for name, shares in told.items() for share in shares} == set(kept)
        for (name, share), other in kept.items():
            expected = row(SMALL["scores"]["mean"], found[other]["mean"], layers[name[:3]])
            assert told[name][str(share)] == {"mean": expected}
