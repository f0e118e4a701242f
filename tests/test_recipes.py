"""Recipes by name: what the papers say, what the cards of all trainings say, and flags that win over both."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from crate_mini import data
from crate_mini.checkpoints import list_pretrained
from crate_mini.cli import main, parser
from crate_mini.cli.train import _filled_in
from crate_mini.model import count_parameters, create_model
from crate_mini.provenance import read_result
from crate_mini.recipes import ON_THE_WAY, get_recipe, list_recipes
from crate_mini.training import Recipe

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


class TestTinyImageNet:
    def test_one_recipe_for_all(self):
        family = {n: r for n, r in list_recipes().items() if n.startswith("tiny_imagenet")}
        assert len(family) == 5 * 3 + 3
        assert len({dataclasses.replace(r.recipe, seed=0) for r in family.values()}) == 1
        assert {r.recipe.seed for r in family.values()} == {0, 1, 2}

    def test_sizes(self):
        """Width 384, 6 heads, depth 12 on a 16 x 16 grid; the ViT within 2 % of CRATE's parameters."""
        crate = get_recipe("tiny_imagenet_crate").create_model(200)
        c = crate.config
        assert (c.dim, c.heads, c.depth, c.grid) == (384, 6, 12, 16)
        vit = get_recipe("tiny_imagenet_vit").create_model(200)
        assert vit.config.dim == 192
        assert abs(count_parameters(vit) / count_parameters(crate) - 1) < 0.02
        for other in ("crate_mhsa", "crate_mlp", "vit_wide"):
            assert get_recipe(f"tiny_imagenet_{other}").create_model(200).config.dim == 384
        for depth in (3, 6, 9):
            assert get_recipe(f"tiny_imagenet_crate_depth{depth}").create_model(200).config.depth == depth

    def test_weights_on_the_way(self):
        assert get_recipe("tiny_imagenet_crate").save_at == ON_THE_WAY == (0.02, 0.05, 0.2, 0.5)
        assert get_recipe("crate_mini_animals_s0").save_at == ON_THE_WAY
        assert get_recipe("tiny_imagenet_crate_s1").save_at == ()


CARDS = json.loads(read_result("training/cards.json"))


class TestTrained:
    def test_the_list_of_cards_is_whole(self):
        """Every shipped card is in it as it is, and every log beside it has a card."""
        for name, card in list_pretrained().items():
            assert CARDS[name] == card, f"run tools/ship_weights.py again: {name}"
        logs = {path.stem for path in (ROOT / "results" / "training").glob("*.csv")}
        assert logs == {name for name, card in CARDS.items() if "share" not in card}

    def test_cards_repeat_the_recipes(self):
        """Weights whose name is that of a recipe were trained by it, and say so."""
        seen = 0
        for name, card in CARDS.items():
            known = [n for n in (name, f"{name}_s0") if n in list_recipes()]
            if not known or "share" in card:
                continue  # of no recipe here, or from the middle of a training
            named = get_recipe(known[0])
            assert Recipe.from_dict(card["recipe"]) == named.recipe, name
            assert card["model"] == (named.start or named.model), name
            assert card["data"]["train"] in (named.data, f"{named.data}/train"), name
            seen += 1
        assert seen >= 20

    def test_every_model_and_data_set_exists(self):
        for name, named in list_recipes().items():
            assert named.name == name
            assert named.data in data.SETS, name
            assert named.image_size % named.patch_size == 0, name
            if "base" not in named.model:  # 22 million numbers, to no purpose
                assert named.create_model(10).config.patch_size == named.patch_size


class TestGetRecipe:
    def test_changes(self):
        named = get_recipe("imagenet1k_lion", model="crate_tiny", batch_size=512)
        assert (named.model, named.recipe.batch_size, named.recipe.lr) == ("crate_tiny", 512, 2.4e-4)
        assert get_recipe("imagenet1k_lion").recipe.batch_size == 2048  # the list is as it was

    def test_start_is_that_of_the_command_line(self):
        named = get_recipe("crate_mini_animals_s1")
        torch.manual_seed(1)
        expected = create_model("crate_mini", image_size=64, num_classes=25).state_dict()
        assert all(torch.equal(v, expected[k]) for k, v in named.create_model(25).state_dict().items())

    def test_errors(self):
        with pytest.raises(ValueError, match="unknown recipe 'imagenet'; known are imagenet1k_lion"):
            get_recipe("imagenet")
        with pytest.raises(ValueError, match="a recipe has no learning_rate; it has batch_size"):
            get_recipe("imagenet1k_lion", learning_rate=1)
        with pytest.raises(ValueError, match="optimizer must be one of"):
            get_recipe("imagenet1k_lion", optimizer="sgd")

    def test_command(self):
        line = shlex.split(get_recipe("tiny_imagenet_vit_s2").command())
        assert line[:2] == ["crate-mini", "train"]
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
        a, named = settings("--recipe", "tiny_imagenet_crate"), get_recipe("tiny_imagenet_crate")
        for name in ("model", "data", "image_size", "patch_size", "save_at"):
            assert getattr(a, name) == getattr(named, name)
        for name, value in dataclasses.asdict(named.recipe).items():
            assert getattr(a, name) == value

    def test_flags_win_wherever_they_stand(self):
        """Also where a flag says what the default without a recipe is."""
        default = str(Recipe().epochs)
        for line in (
            ["--epochs", default, "--recipe", "tiny_imagenet_crate"],
            ["--recipe", "tiny_imagenet_crate", "--epochs", default],
        ):
            a = settings(*line, "--no-compile", "--image-size", "32", "--data", "folder")
            assert (a.epochs, a.compile, a.image_size, a.data) == (Recipe().epochs, False, 32, "folder")
            assert a.batch_size == 512

    def test_depth(self):
        assert dict(settings("--recipe", "tiny_imagenet_crate_depth3").settings) == {"depth": 3}

    def test_unknown_name(self, capsys):
        with pytest.raises(SystemExit):
            main(["train", "--recipe", "nothing", "--out", "x"])
        assert "invalid choice: 'nothing'" in capsys.readouterr().err

    def test_fine_tuning_starts_from_the_weights(self, tmp_path, monkeypatch):
        from crate_mini.checkpoints import load_pretrained
        from crate_mini.cli import train as command

        seen = {}

        def stop(model, *_, **__):
            seen["model"] = model
            raise ValueError("seen enough")

        monkeypatch.setattr(command, "train", stop)
        line = ["train", "--recipe", "finetune_mini", "--rehearse", "--out", str(tmp_path), "--device", "cpu"]
        assert main(line) == 2
        expected = load_pretrained("crate_mini_animals").state_dict()
        got = seen["model"].state_dict()
        assert got["head.weight"].shape[0] != expected["head.weight"].shape[0]
        assert all(torch.equal(v, got[k]) for k, v in expected.items() if not k.startswith("head."))


class TestRehearsal:
    def test_one_entry_end_to_end(self, tmp_path):
        """The smallest of the full list at its own size, on 64 images."""
        out = tmp_path / "run"
        line = ["train", "--recipe", "tiny_imagenet_crate_depth3", "--rehearse", "--out", str(out)]
        assert main([*line, "--device", "cpu", "--batch-size", "32"]) == 0
        card = json.loads((out / "model.json").read_text())
        c = card["config"]
        assert (c["dim"], c["depth"], c["patch_size"], c["image_size"]) == (384, 3, 4, 64)
        assert card["data"]["images"] == 64
        assert (card["recipe"]["epochs"], card["recipe"]["lr"]) == (1, 2e-3)
        assert (out / "log.csv").read_text().count("\n") == 2

    @pytest.mark.parametrize("script", sorted(p.name for p in (ROOT / "recipes").glob("*.sh")))
    def test_scripts_name_recipes_that_exist(self, script):
        """Each script, asked to show its commands only, shows lines that crate-mini can read."""
        shown = subprocess.run(
            ["bash", str(ROOT / "recipes" / script), "--show"], capture_output=True, text=True, check=True
        )
        lines = [shlex.split(line) for line in shown.stdout.splitlines()]
        assert lines
        for line in lines:
            if line[0] == "crate-mini":
                _filled_in(parser().parse_args(line[1:])) if line[1] == "train" else parser().parse_args(
                    line[1:]
                )
            else:
                raise AssertionError(line)

    def test_the_full_list_is_all_there(self):
        shown = subprocess.run(
            ["bash", str(ROOT / "recipes" / "tiny_imagenet.sh"), "--show"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        expected = {n for n in list_recipes() if n.startswith("tiny_imagenet")}
        trained = {shlex.split(line)[3] for line in shown.splitlines() if line.startswith("crate-mini train")}
        assert trained == expected

    def test_a_script_rehearses(self, tmp_path):
        """One line of the list through the script itself, with this Python's crate-mini."""
        (tmp_path / "crate-mini").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m crate_mini.cli "$@"\n')
        (tmp_path / "crate-mini").chmod(0o755)
        import os

        environment = os.environ | {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "RUNS": str(tmp_path / "runs"),
        }
        subprocess.run(
            ["bash", str(ROOT / "recipes" / "animals.sh"), "--rehearse", "--only", "crate_mini_depth2_animals_s0"],
            env=environment, check=True, capture_output=True, cwd=ROOT,
        )  # fmt: skip
        written = tmp_path / "runs" / "rehearsal" / "crate_mini_depth2_animals_s0"
        assert json.loads((written / "model.json").read_text())["config"]["depth"] == 2
