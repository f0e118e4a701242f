"""Recipes, runs and sweeps: what the papers say, what the cards of all trainings say, and flags that win over both."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from crate_mini import data, recipes
from crate_mini.cli import main, parser
from crate_mini.cli.train import _filled_in, _model
from crate_mini.model import CRATEConfig, count_parameters, create_model, model_names
from crate_mini.operators import ATTENTIONS, FEEDS
from crate_mini.provenance import read_result
from crate_mini.recipes import (
    ON_THE_WAY,
    SETTINGS,
    SWEEPS,
    RunId,
    find_run,
    get_recipe,
    get_sweep,
    list_recipes,
    list_runs,
    read_setting,
)
from crate_mini.training import Recipe
from crate_mini.weights import list_pretrained

ROOT = Path(__file__).resolve().parent.parent


def settings(*line: str) -> argparse.Namespace:
    """What ``crate-mini train`` works with, given these flags."""
    return _filled_in(parser().parse_args(["train", "--out", "x", *line]))


class TestPapers:
    """Numbers of arXiv 2306.01129 and 2308.16271 and of the released code."""

    @pytest.mark.parametrize(
        ("name", "model", "patch", "numbers"),
        [
            ("imagenet1k_lion", "crate_base", 16, ("lion", 2.4e-4, 0.5, 2048, 150, 5.0, 0.1)),
            ("imagenet1k_readme", "crate_tiny", 16, ("lion", 2e-4, 0.05, 512, 200, 20.0, 0.1)),
            ("imagenet21k_lion", "crate_small_8", 8, ("lion", 9.6e-5, 0.05, 4096, 90, 5.0, 0.1)),
            ("finetune_adamw", "crate_base", 16, ("adamw", 5e-5, 0.01, 512, 200, 0.0, 0.0)),
        ],
    )
    def test_numbers(self, name, model, patch, numbers):
        named = get_recipe(name)
        r = named.recipe
        found = (
            r.optimizer,
            r.lr,
            r.weight_decay,
            r.batch_size,
            r.epochs,
            r.warmup_epochs,
            r.label_smoothing,
        )
        assert found == numbers
        assert (named.model, named.patch_size, named.image_size) == (model, patch, 224)
        assert named.source != "this book"
        assert named.differs

    def test_imagenet21k_crops_in_the_centre(self):
        assert get_recipe("imagenet21k_lion").recipe.crop_area == (1.0, 1.0)
        assert get_recipe("imagenet1k_lion").recipe.crop_area == (0.08, 1.0)


class TestRunId:
    @pytest.mark.parametrize(
        ("text", "run"),
        [
            ("animals/crate_mini/s0", RunId("animals")),
            ("all_classes/vit_mini_6/s2", RunId("all_classes", "vit_mini_6", 2)),
            ("all_classes/crate_mini/s1/heads=3", RunId("all_classes", "crate_mini", 1, {"heads": 3})),
            (
                "animals/vit_mini/s0/crop_area=0.15:1,flip=false,lr=0.0002",
                RunId("animals", "vit_mini", 0, {"lr": 2e-4, "flip": False, "crop_area": (0.15, 1.0)}),
            ),
            (
                "finetune_mini/crate_mini/s0/start=runs/a%2C b%25/model.safetensors".replace(" ", "%20"),
                RunId("finetune_mini", changes={"start": "runs/a, b%/model.safetensors"}),
            ),
            (
                "tiny_imagenet/crate_small_8/s0/clip_norm=none",
                RunId("tiny_imagenet", changes={"clip_norm": None}),
            ),
        ],
    )
    def test_text_and_back(self, text, run):
        assert str(run) == text
        assert RunId.parse(text) == run
        assert hash(RunId.parse(text)) == hash(run)

    def test_text_and_back_of_every_run(self):
        for name, run in list_runs().items():
            assert RunId.parse(str(run)) == run == get_recipe(run).run, name

    def test_equal_trainings_have_equal_ids(self):
        """What the recipe says anyway is no change, and the order of changes says nothing."""
        assert RunId("animals", "crate_mini", 0, {"epochs": 20, "warmup_epochs": 1}) == RunId("animals")
        assert (
            str(RunId("animals", changes={"warmup_epochs": 3.0})) == "animals/crate_mini/s0/warmup_epochs=3"
        )
        first, second = ({"lr": 1e-4, "heads": 3}, {"heads": 3, "lr": 1e-4})
        assert RunId("animals", changes=first) == RunId("animals", changes=second)
        assert RunId("animals", seed=2).network == RunId("animals")

    def test_fewer_epochs_than_the_warm_up(self):
        """Warm-up at most, unless more is asked for: that is an error."""
        assert get_recipe("tiny_imagenet").recipe.warmup_epochs == 5
        assert get_recipe("tiny_imagenet", epochs=2).recipe.warmup_epochs == 2
        assert get_recipe("tiny_imagenet", epochs=9).recipe.warmup_epochs == 5
        assert get_recipe("tiny_imagenet", epochs=2, warmup_epochs=0.5).recipe.warmup_epochs == 0.5
        with pytest.raises(ValueError, match="warmup_epochs must be a number from 0 to epochs, 2; got 3"):
            get_recipe("tiny_imagenet", epochs=2, warmup_epochs=3.0)

    def test_a_short_training_is_warm_up_at_most(self):
        short = RunId("tiny_imagenet", changes={"epochs": 3})
        assert get_recipe(short).recipe.warmup_epochs == 3
        assert (
            get_recipe(short).run
            == short
            == RunId("tiny_imagenet", changes={"epochs": 3, "warmup_epochs": 3})
        )
        assert str(short) == "tiny_imagenet/crate_small_8/s0/epochs=3"
        with pytest.raises(ValueError, match="warmup_epochs must be"):
            RunId("tiny_imagenet", changes={"epochs": 3, "warmup_epochs": 5.0})

    def test_short_forms(self):
        assert RunId.parse("flagship") == RunId("flagship", "crate_small_8", 0)
        assert RunId.parse("animals/vit_mini") == RunId("animals", "vit_mini", 0)
        assert RunId.parse("animals//s3") == RunId("animals", "crate_mini", 3)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "animal/crate_mini/s0",
                r"unknown recipe 'animal'; did you mean animals\?; known are imagenet1k_lion",
            ),
            (
                "animals/crate_minni/s0",
                r"'crate_minni'; did you mean crate_mini\?; .*list_models\(\) has all$",
            ),
            ("animals/crate_mini/0", "must be a seed such as s0, got '0'"),
            ("animals/crate_mini/s-1", "must be a seed"),
            ("animals/crate_mini/s0/", None),
            ("animals/crate_mini/s0/heads", "expected FIELD=VALUE"),
            ("animals/crate_mini/s0/haeds=3", "no field 'haeds'; did you mean heads"),
            ("animals/crate_mini/s0/heads=three", "heads wants a whole number, got 'three'"),
            ("animals/crate_mini/s0/flip=no", "flip wants true or false, got 'no'"),
            ("animals/crate_mini/s0/crop_area=0.5", "crop_area wants two numbers"),
            ("animals/crate_mini/s0/clip_norm=much", "clip_norm wants a number or none"),
            ("animals/crate_mini/s0/lr=1e-3,lr=1e-4", "changes a field twice"),
            ("animals/crate_mini/s0/keep_patches=2", "keep_patches must be a number above 0"),
        ],
    )
    def test_what_is_no_id(self, text, message):
        if message is None:
            assert RunId.parse(text) == RunId("animals")
            return
        with pytest.raises(ValueError, match=message):
            RunId.parse(text)

    def test_every_field_can_be_written_and_read(self):
        """Whatever a recipe or a model gains: its value goes into an id and comes out again."""
        base = get_recipe("animals")
        values = {f.name: getattr(base.recipe, f.name) for f in dataclasses.fields(Recipe)}
        values |= {
            f.name: getattr(base.create_model(3).config, f.name) for f in dataclasses.fields(CRATEConfig)
        }
        for operator in (*ATTENTIONS.values(), *FEEDS.values()):
            values |= {p.name: p.default for p in inspect.signature(operator).parameters.values()} | values
        for name in SETTINGS:
            value = values.get(name, getattr(base, name, None))
            text = RunId("animals", changes={name: value})
            shown = f"{name}={recipes._written(value)}"
            assert read_setting(shown) == (name, value), shown
            assert RunId.parse(str(text)) == text


class TestOptionsOfOperators:
    """What only one operator knows is a field of a run like any other."""

    def test_in_an_id(self):
        run = RunId("animals", "crate_tssa_mini", 0, {"temperature": 0.5})
        assert str(run) == "animals/crate_tssa_mini/s0/temperature=0.5"
        assert RunId.parse(str(run)) == run
        config = get_recipe(str(run)).create_model(3).config
        assert config.options == {"energy": "mean", "temperature": 0.5}, "the name's other options stay"
        assert get_recipe(run).run == run

    def test_on_the_command_line(self):
        model = _model(settings("--model", "crate_cbsa_mini", "--set", "representatives=3"), 2)
        assert model.config.options == {"representatives": 3}

    @pytest.mark.parametrize(
        ("setting", "told"),
        [
            ("representatives=3", "mssa and ista take no options"),
            ("heads=7", "heads=7"),
            ("lam=-1", "--lam must not be negative|lam must not be negative"),
        ],
    )
    def test_that_do_not_fit_are_refused_before_the_work(self, setting, told, tmp_path, capsys):
        assert main(["train", "--out", str(tmp_path / "x"), "--set", setting]) == 2
        assert re.search(told, capsys.readouterr().err)
        assert not (tmp_path / "x").exists()

    def test_of_another_type(self):
        with pytest.raises(ValueError, match="representatives wants a whole number, got 'few'"):
            read_setting("representatives=few")


class TestSweeps:
    def test_a_name_stands_for_one_run(self):
        named = [(name, run) for sweep in SWEEPS for name, run in get_sweep(sweep).items()]
        assert len({name for name, _ in named}) == len({run for _, run in named}) == len(named)
        assert all(run.name == name and find_run(name) == run for name, run in named)

    def test_a_run_outside_of_sweeps_has_a_name(self):
        assert RunId("animals", "vit_mini", 7).name == "animals-vit_mini-s7"

    def test_unknown(self):
        with pytest.raises(ValueError, match="unknown sweep 'all'; known are flagship"):
            get_sweep("all")

    @pytest.mark.parametrize(("sweep", "runs"), [("tiny_imagenet", 5 * 3 + 3), ("flagship", 5 * 3)])
    def test_one_recipe_for_all_of_the_papers_width(self, sweep, runs):
        family = {name: get_recipe(run) for name, run in get_sweep(sweep).items()}
        assert len(family) == runs
        assert len({dataclasses.replace(r.recipe, seed=0) for r in family.values()}) == 1
        assert {r.recipe.seed for r in family.values()} == {0, 1, 2}

    def test_flagship(self):
        """Width 384, 6 heads, depth 12 on a 16 x 16 grid; the ViT with as many heads and parameters."""
        names = list(get_sweep("flagship"))
        assert names[:3] == [
            "flagship_crate_s0",
            "flagship_vit_s0",
            "flagship_crate_s1",
        ]  # most valuable first
        networks = ("crate", "vit", "crate_mhsa", "crate_mlp", "vit_wide")
        crate, vit, *wide = (get_recipe(f"flagship_{n}_s0").create_model(200) for n in networks)
        c, v = crate.config, vit.config
        assert (c.dim, c.heads, c.depth, c.grid) == (384, 6, 12, 16)
        assert (v.dim, v.heads, v.dim // v.heads, v.depth, v.grid) == (192, 6, 32, 12, 16)
        assert abs(count_parameters(vit) / count_parameters(crate) - 1) < 0.02
        assert [(m.config.dim, m.config.heads) for m in wide] == [(384, 6)] * 3
        recipe = get_recipe("flagship")
        assert (recipe.data, recipe.save_at) == ("tiny-imagenet", ON_THE_WAY)
        assert (recipe.recipe.optimizer, recipe.recipe.precision, recipe.recipe.keep_patches) == (
            "lion",
            "bfloat16",
            0.15,
        )

    def test_tiny_imagenet(self):
        crate, vit = (get_recipe(f"tiny_imagenet_{n}").create_model(200) for n in ("crate", "vit"))
        assert (crate.config.dim, vit.config.dim, vit.config.heads) == (384, 192, 3)
        for depth in (3, 6, 9):
            assert get_recipe(f"tiny_imagenet_crate_depth{depth}").create_model(200).config.depth == depth


CARDS = json.loads(read_result("training/cards.json"))


class TestTrained:
    def test_the_list_of_cards_is_whole(self):
        """Every shipped card is in it as it is, and every log beside it has a card."""
        for name, card in list_pretrained().items():
            assert CARDS[name] == card, f"run tools/ship_weights.py again: {name}"
        logs = {path.stem for path in (ROOT / "results" / "training").glob("*.csv")}
        assert logs == {name for name, card in CARDS.items() if "share" not in card}

    def test_cards_repeat_the_recipes(self):
        """Every card is of a run of a sweep, at its end or on the way, and says what that run says."""
        for name, card in CARDS.items():
            named = get_recipe(name if name in list_runs() else name.rpartition("_at")[0])
            precision = {
                "precision": card["recipe"]["precision"]
            }  # a machine without bfloat16 has --precision
            assert Recipe.from_dict(card["recipe"]) == dataclasses.replace(named.recipe, **precision), name
            run = card.get("run", str(named.run)).removesuffix("/precision=float32")
            assert run == str(named.run), name
            assert card.get("start") == named.start, name
            assert card["data"]["train"] in (named.data, f"{named.data}/train"), name
            config = CRATEConfig.from_dict(card["config"])
            assert named.create_model(config.num_classes).config == config, name

    @pytest.mark.parametrize("folder", ["masks", "reading", "heads", "maskcut", "training"])
    def test_results_are_of_runs(self, folder):
        """Every file is called after a run, an untrained network, or what it holds of many."""
        of_many = {"comparisons", "variants", "cards", "ablation", "operators", "operators_inside"}
        split = {"reading": ("_val",), "masks": ("",), "training": ("",)}.get(
            folder, tuple(f"_{s}" for s in ("pets_test", "pets_train", "horses_test", "embedded_test"))
        )
        for path in sorted((ROOT / "results" / folder).iterdir()):
            name = next(path.stem.removesuffix(s) for s in split if path.stem.endswith(s))
            known = name in list_runs() or name.rpartition("_at")[0] in list_runs()
            architecture = name.removesuffix("_untrained")
            untrained = architecture in model_names() or f"{architecture}_s0" in list_runs()
            assert known or untrained or name in of_many, path

    def test_weights_are_of_runs(self):
        for name in list_pretrained():
            assert name in list_runs() or name.rpartition("_at")[0] in list_runs()

    def test_every_model_and_data_set_exists(self):
        seen = set()
        for name, named in [*list_recipes().items(), *((n, get_recipe(n)) for n in list_runs())]:
            assert named.data in data.SETS, name
            assert named.image_size % named.patch_size == 0, name
            shape = named.model, named.patch_size, *named.settings.items()
            if "base" not in named.model and shape not in seen:  # 22 million numbers, to no purpose
                assert named.create_model(10).config.patch_size == named.patch_size
            seen.add(shape)


class TestGetRecipe:
    def test_changes(self):
        named = get_recipe("imagenet1k_lion", model="crate_tiny", batch_size=512)
        assert (named.model, named.recipe.batch_size, named.recipe.lr) == ("crate_tiny", 512, 2.4e-4)
        assert get_recipe("imagenet1k_lion").recipe.batch_size == 2048  # the list is as it was

    def test_names_that_pages_say(self):
        assert get_recipe("tiny_imagenet_crate").run == RunId("tiny_imagenet")
        assert get_recipe("embedded_live").recipe.keep_patches == 0.5
        assert get_recipe("crate_mini_animals_s1", batch_size=32).run == RunId(
            "animals", "crate_mini", 1, changes={"batch_size": 32}
        )

    def test_start_is_that_of_the_command_line(self):
        named = get_recipe("crate_mini_animals_s1")
        torch.manual_seed(1)
        expected = create_model("crate_mini", image_size=64, num_classes=25).state_dict()
        assert all(torch.equal(v, expected[k]) for k, v in named.create_model(25).state_dict().items())

    def test_errors(self):
        with pytest.raises(
            ValueError,
            match=r"unknown recipe 'imagenet'; did you mean tiny_imagenet\?; known are imagenet1k_lion",
        ):
            get_recipe("imagenet")
        with pytest.raises(ValueError, match="a recipe has no learning_rate; it has attention, batch_size"):
            get_recipe("imagenet1k_lion", learning_rate=1)
        with pytest.raises(ValueError, match="optimizer must be one of"):
            get_recipe("imagenet1k_lion", optimizer="sgd")

    def test_command(self):
        line = shlex.split(get_recipe("tiny_imagenet_vit_s2").run.command())
        assert line[:4] == ["crate-mini", "train", "--recipe", "tiny_imagenet/vit_tiny_8/s2"]
        a = _filled_in(parser().parse_args(line[1:]))
        assert (a.model, a.seed, a.data, str(a.out)) == (
            "vit_tiny_8",
            2,
            "tiny-imagenet",
            "runs/tiny_imagenet_vit_s2",
        )


class TestCommandLine:
    def test_without_a_recipe(self):
        a = settings()
        assert (a.model, a.data, a.image_size, a.patch_size, a.save_at) == (
            "crate_mini",
            "embedded",
            64,
            None,
            (),
        )
        assert Recipe.from_dict({f.name: getattr(a, f.name) for f in dataclasses.fields(Recipe)}) == Recipe()

    def test_everything_from_the_recipe(self):
        a, named = settings("--recipe", "tiny_imagenet"), get_recipe("tiny_imagenet")
        for name in ("model", "data", "image_size", "patch_size", "save_at"):
            assert getattr(a, name) == getattr(named, name)
        for name, value in dataclasses.asdict(named.recipe).items():
            assert getattr(a, name) == value

    def test_flags_win_wherever_they_stand(self):
        """Also where a flag says what the default without a recipe is."""
        default = str(Recipe().epochs)
        for line in (
            ["--epochs", default, "--recipe", "tiny_imagenet"],
            ["--recipe", "tiny_imagenet", "--epochs", default],
        ):
            a = settings(*line, "--no-compile", "--image-size", "32", "--data", "folder")
            assert (a.epochs, a.compile, a.image_size, a.data) == (Recipe().epochs, False, 32, "folder")
            assert a.batch_size == 512

    def test_what_is_trained_has_an_id(self):
        """However it was said."""
        ways = (
            ["--recipe", "animals/vit_mini/s2/heads=6,lr=0.0005"],
            ["--recipe", "animals", "--model", "vit_mini", "--seed", "2", "--lr", "5e-4", "--set", "heads=6"],
            ["--recipe", "vit_mini_animals_s2", "--set", "lr=5e-4", "--set", "heads=6"],
        )
        for line in ways:
            a = settings(*line)
            assert a.run_id == "animals/vit_mini/s2/heads=6,lr=0.0005"
            assert (a.model, a.seed, a.lr, dict(a.settings)) == ("vit_mini", 2, 5e-4, {"heads": 6})
        assert settings().run_id is None

    def test_set(self):
        a = settings(
            "--set",
            "optimizer=lion",
            "--set",
            "crop_area=0.25:1",
            "--set",
            "clip_norm=none",
            "--set",
            "depth=2",
        )
        assert (a.optimizer, a.crop_area, a.clip_norm, a.settings) == (
            "lion",
            (0.25, 1.0),
            None,
            {"depth": 2},
        )
        assert _model(a, 3).config.depth == 2

    def test_flags_of_earlier_command_lines_still_work(self):
        """Cards say how weights were trained; --help leaves some of these flags to --set."""
        a = settings(
            "--optimizer", "lion", "--crop-area", "0.15", "1.0", "--weight-decay", "0.5", "--no-flip"
        )
        assert (a.optimizer, a.crop_area, a.weight_decay, a.flip) == ("lion", (0.15, 1.0), 0.5, False)

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (["--recipe", "nothing"], "unknown recipe 'nothing'; known are imagenet1k_lion"),
            (
                ["--sweep", "all_classes", "--recipe", "animals"],
                "--sweep trains a list of runs, --recipe one of them",
            ),
            (["--recipe", "animals", "--lr", "1", "--set", "lr=2"], "lr is given twice"),
            (
                ["--set", "warmup=2"],
                "--set warmup=2: a recipe has no field 'warmup'; did you mean warmup_epochs?",
            ),
            (["--set", "data=nowhere"], "unknown data set 'nowhere'"),
            (["--start", "crate_mini_all_lion_s0", "--model", "vit_mini"], "leave out --model"),
            (["--recipe", "finetune_mini", "--set", "heads=3"], "leave out --model"),
            (["--start", "nobody"], "unknown weights 'nobody'"),
            (["--start", "runs/nothing"], "there are no weights at runs/nothing"),
        ],
    )
    def test_says_what_is_wrong(self, line, message, tmp_path, capsys):
        assert main(["train", "--out", str(tmp_path / "x"), *line]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "x").exists()

    def test_needs_a_folder(self, capsys):
        assert main(["train", "--recipe", "animals"]) == 2
        assert "--out is missing" in capsys.readouterr().err

    def test_help_fits_a_screen(self, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        with pytest.raises(SystemExit):
            main(["train", "--help"])
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) <= 60
        assert max(map(len, lines)) <= 80

    def test_list(self, capsys):
        assert main(["train", "--sweep", "all_classes", "--list"]) == 0
        listed = dict(line.split()[::-1] for line in capsys.readouterr().out.splitlines())
        assert {name: RunId.parse(text) for name, text in listed.items()} == get_sweep("all_classes")
        assert main(["train", "--list"]) == 0
        shown = capsys.readouterr().out
        for name in (*list_recipes(), *SWEEPS, *model_names()):
            assert name in shown

    def test_a_sweep_trains_what_is_missing(self, tmp_path, capsys):
        runs = {f"run{k}": RunId("embedded", "crate_nano", k, {"dim": 32}) for k in (0, 1)}
        (tmp_path / "run0").mkdir()
        (tmp_path / "run0" / "model.json").write_text("{}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recipes, "SWEEPS", {**SWEEPS, "variants": lambda: iter(runs.items())})
            line = ["train", "--sweep", "variants", "--rehearse", "--out", str(tmp_path), "--device", "cpu"]
            assert main(line) == 0
        assert (tmp_path / "run0" / "model.json").read_text() == "{}"
        assert json.loads((tmp_path / "run1" / "model.json").read_text())["config"]["dim"] == 32

    def test_the_card_says_which_run(self, tmp_path, pictures):
        line = ["train", "--recipe", "embedded", "--data", "folder", "--root", str(pictures), "--epochs", "1"]
        assert (
            main(
                [
                    *line,
                    "--set",
                    "depth=2",
                    "--image-size",
                    "32",
                    "--out",
                    str(tmp_path / "run"),
                    "--device",
                    "cpu",
                ]
            )
            == 0
        )
        card = json.loads((tmp_path / "run" / "model.json").read_text())
        assert card["run"] == "embedded/crate_nano/s0/data=folder,depth=2,epochs=1,image_size=32"

    def test_fine_tuning_starts_from_the_weights(self, tmp_path, monkeypatch):
        from crate_mini.cli import train as command
        from crate_mini.weights import load_pretrained

        seen = {}

        def stop(model, *_, **__):
            seen["model"] = model
            raise ValueError("seen enough")

        monkeypatch.setattr(command, "train", stop)
        line = ["train", "--recipe", "finetune_mini", "--rehearse", "--out", str(tmp_path), "--device", "cpu"]
        assert main(line) == 2
        expected = load_pretrained("crate_mini_all_lion_s0").state_dict()
        got = seen["model"].state_dict()
        assert got["head.weight"].shape[0] != expected["head.weight"].shape[0]
        assert all(torch.equal(v, got[k]) for k, v in expected.items() if not k.startswith("head."))


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """An environment in which ``crate-mini`` is the command of this Python, for the scripts of ``recipes/``.

    What it says to ``train --sweep NAME --list`` is written down beforehand: each start takes a second and more.
    """
    folder = tmp_path_factory.mktemp("bin")
    for sweep in SWEEPS:
        with open(folder / f"{sweep}.list", "w") as file, contextlib.redirect_stdout(file):
            assert main(["train", "--sweep", sweep, "--list"]) == 0
    (folder / "crate-mini").write_text(
        f'#!/bin/sh\n[ "$2$4" = --sweep--list ] && exec cat "{folder}/$3.list"\n'
        f'exec "{sys.executable}" -m crate_mini.cli "$@"\n'
    )
    (folder / "crate-mini").chmod(0o755)
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}


def script(name: str, *flags: str, env: dict[str, str]) -> list[list[str]]:
    """What a script of ``recipes/`` prints, in words."""
    line = ["bash", str(ROOT / "recipes" / name), *flags]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=env, cwd=ROOT)
    return [shlex.split(line) for line in done.stdout.splitlines()]


class TestRehearsal:
    def test_one_entry_end_to_end(self, tmp_path):
        """The smallest of the full list at its own size, on 64 images."""
        out = tmp_path / "run"
        line = [
            "train",
            "--recipe",
            "tiny_imagenet/crate_small_8/s0/depth=3",
            "--rehearse",
            "--out",
            str(out),
        ]
        assert main([*line, "--device", "cpu", "--batch-size", "32"]) == 0
        card = json.loads((out / "model.json").read_text())
        c = card["config"]
        assert (c["dim"], c["depth"], c["patch_size"], c["image_size"]) == (384, 3, 4, 64)
        assert card["data"]["images"] == 64
        assert (card["recipe"]["epochs"], card["recipe"]["lr"]) == (1, 2e-3)
        assert (out / "log.csv").read_text().count("\n") == 2

    @pytest.mark.parametrize(
        ("name", "sweeps"),
        [
            ("all_classes.sh", ["all_classes"]),
            ("animals.sh", ["animals_family", "variants"]),
            ("flagship.sh", ["flagship"]),
            ("tiny_imagenet.sh", ["tiny_imagenet"]),
            ("imagenet.sh", []),
        ],
    )
    def test_scripts_train_whole_sweeps(self, name, sweeps, shell):
        """Each script, asked to show its commands only, shows lines that crate-mini can read, into folders of names."""
        lines = script(name, "--show", env=shell)
        trained = {}
        for line in lines:
            assert line[:2] == ["crate-mini", "train"]
            a = _filled_in(parser().parse_args(line[1:]))
            trained[a.out.name] = RunId.parse(a.run_id)
        expected = {name: run for sweep in sweeps for name, run in get_sweep(sweep).items()}
        expected |= {} if sweeps else {n: RunId(n) for n, r in list_recipes().items() if r.data == "folder"}
        assert trained == expected

    def test_every_script_is_tested(self):
        found = {p.name for p in (ROOT / "recipes").glob("*.sh")}
        assert found == {"all_classes.sh", "animals.sh", "flagship.sh", "imagenet.sh", "tiny_imagenet.sh"}

    def test_a_script_rehearses(self, tmp_path, shell):
        """One line of the list through the script itself, with this Python's crate-mini."""
        name = "crate_mini_depth2_animals_s0"
        script("animals.sh", "--rehearse", "--only", name, env=shell | {"RUNS": str(tmp_path / "runs")})
        written = tmp_path / "runs" / "rehearsal" / name
        assert json.loads((written / "model.json").read_text())["config"]["depth"] == 2
