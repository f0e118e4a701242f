"""What networks trained without labels know and show, beside their controls: ``results/views/``.

    crate-mini train --sweep views --out runs
    python tools/score_views.py --list          the trainings that vary one thing, as command lines
    python tools/score_views.py --runs runs     all that are there: scores.json

    crate-mini train --sweep views_animals --out runs
    python tools/score_views.py --animals --runs runs     photographs: animals.json
    python tools/score_family.py --list results/views/photographs

On drawn animals that nobody trained, chose or looked on (a seed of their own): how often nearest neighbours and a
linear probe name the animal; how much of what the class token says comes with the scene and how much with the animal;
how well attention maps rank the pixels of the animal, and what MaskCut finds. Beside them the same networks trained
with labels, as many of them untrained, and the pixels themselves, all under one rule; heads and layers are chosen on
other images than those that are scored. Of networks that learned from photographs of animals it is asked what
neighbours and a probe name among photographs held out; their maps are scored by a list of its own. What was scored
before stays, so that the files fill up.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from crate_mini import data
from crate_mini.cli import main as crate_mini
from crate_mini.data import ImageSet
from crate_mini.data.embedded import CLASSES, crossed
from crate_mini.model import CRATE
from crate_mini.neighbours import neighbour_votes
from crate_mini.recipes import find_run, get_recipe, get_sweep
from crate_mini.results import add_dirty, plain, provenance, read, require_clean, write
from crate_mini.segmentation import evaluate
from crate_mini.segmentation.evaluation import Evaluation
from crate_mini.stats import mean_interval, variance_shares
from crate_mini.transfer import choose_l2, features, fit_probe, linear_probe, nearest_neighbours
from crate_mini.weights import load_model, load_pretrained, save_model

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "results" / "views" / "scores.json"
ANIMALS = ROOT / "results" / "views" / "animals.json"
RULES = ("auroc", "best_iou", "patch")
SEED = 15  # of the drawings
SIDE = 16  # that images are brought to where their pixels are compared
UNTRAINED = 2  # seeds of each network
MODELS = ("crate_nano", "vit_nano")
LABELLED = ("crate_mini_animals_s0", "vit_mini_animals_s0")
"""Networks of the package that learned the same photographs with labels."""


def varied() -> dict[str, tuple[str, str, int, str]]:
    """Trainings that are no run of a sweep: name -> what is varied, model, seed, and the flags that do it."""
    found = {
        "crate_nano_simdino_published_s0": (
            "published", "crate_nano", 0, "--recipe views/crate_nano/s0 --task-set weight=0.45 --task-set eps_sq=0.4",
        )
    }  # fmt: skip
    for model in MODELS:
        for seed in range(2):
            large = "crop_area=0.6:1,keep_patches=1.0 --task-set small=0 --task-set pictures"
            for what, more, pictures in (
                ("single", "", 1),
                ("pairs", "data=embedded-pairs,", 2),
                ("kinds", "data=embedded-kinds,", 2),
            ):
                flags = f"--recipe views/{model}/s{seed}/{more}{large}={pictures}"
                found[f"{model}_simdino_{what}_s{seed}"] = (what, model, seed, flags)
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the trainings are")
    parser.add_argument(
        "--list", action="store_true", help="say how the varied ones are trained, and score nothing"
    )
    parser.add_argument(
        "--animals", action="store_true", help="what networks know that learned from photographs"
    )
    parser.add_argument(
        "--images", type=int, default=300, help="drawings on which maps are scored, and chosen"
    )
    parser.add_argument("--found", type=int, default=60, help="drawings that MaskCut looks at")
    add_dirty(parser)
    a = parser.parse_args()
    if a.list:
        for name, (*_, flags) in varied().items():
            print(f"crate-mini train {flags} --out runs/{name}")
        return
    require_clean(a.dirty)
    if a.animals:
        photographs(a.runs, a.dirty)
        return
    sets = drawings(a.images)
    known = read("views/scores") if RESULT.is_file() else {"networks": [pixels(sets)]}
    rows = {row["name"]: row for row in known["networks"]}
    for about, model in networks(a.runs):
        if about["name"] in rows:
            continue
        found, beside = scores(model, sets, a.found)
        rows[about["name"]] = about | found
        known = {"beside": beside, "networks": list(rows.values())}
        print(
            about["name"],
            f"knn {found['knn']:.3f} scene {found['scene']:.2f} animal {found['animal']:.3f}",
            flush=True,
        )
        facts = {k: len(s) for k, s in sets.items()} | {"found": a.found, "seed": SEED}
        write(RESULT, provenance("cpu", drawings=facts, **known), allow_dirty=a.dirty)


def drawings(images: int) -> dict[str, ImageSet]:
    """What is learned from, and what is asked."""
    return {
        "train": data.load("embedded", "train"),
        "test": data.load("embedded", "test", seed=SEED),
        "choice": data.load("embedded", "val", n=images, seed=SEED),
        "maps": data.load("embedded", "test", n=images, seed=SEED),
        "crossed": crossed(100, seed=SEED),
    }


def photographs(runs: Path, dirty: bool) -> None:
    """Neighbours and a probe of the networks that learned from photographs of animals, into :data:`ANIMALS`."""
    sets = {
        "train": data.load("tiny-imagenet-animals", "train", image_size=64),
        "test": data.load("tiny-imagenet-animals", "val", image_size=64),
    }
    known = read("views/animals")["networks"] if ANIMALS.is_file() else [pixels(sets)]
    rows = {row["name"]: row for row in known}
    for about, model in animal_networks(runs):
        if about["name"] in rows:
            continue
        rows[about["name"]] = about | knowledge(model, sets)
        print(json.dumps(rows[about["name"]]), flush=True)
        facts = {k: len(s) for k, s in sets.items()} | {"classes": len(sets["train"].classes)}
        write(ANIMALS, provenance("cpu", images=facts, networks=list(rows.values())), allow_dirty=dirty)


def animal_networks(runs: Path) -> Iterator[tuple[dict[str, Any], CRATE]]:
    """Those of the sweep ``views_animals`` that are there, those of the package with labels, and untrained ones."""
    fresh = {}
    for name, run in get_sweep("views_animals").items():
        recipe = get_recipe(run)
        fresh[f"{run.model}_untrained_s{run.seed}"] = run.model, run.seed, recipe
        if (weights := runs / name / "model.safetensors").is_file():
            yield (
                {"name": name, "model": run.model, "task": recipe.task, "seed": run.seed},
                load_model(weights),
            )
        else:
            print(f"{name}: not trained yet", flush=True)
    for name in LABELLED:
        run = find_run(name)
        about = {"name": name, "model": run.model, "task": "classification", "seed": run.seed}
        yield about, load_pretrained(name)
    for name, (model, seed, recipe) in fresh.items():
        about = {"name": name, "model": model, "task": "untrained", "seed": seed}
        yield about, recipe.create_model(1).eval()


def networks(runs: Path) -> Iterator[tuple[dict[str, Any], CRATE]]:
    """Every network that is there, with its name, its model's, its task, its seed, and what is varied."""
    listed = {
        name: ("", run.model, run.seed, get_recipe(run).task)
        for name in get_sweep("views")
        for run in [find_run(name)]
    }
    listed |= {name: (what, model, seed, "simdino") for name, (what, model, seed, _) in varied().items()}
    for name, (what, model, seed, task) in listed.items():
        if not (weights := runs / name / "model.safetensors").is_file():
            print(f"{name}: not trained yet", flush=True)
            continue
        yield {"name": name, "model": model, "task": task, "seed": seed, "varied": what}, load_model(weights)
    for model in MODELS:
        for seed in range(UNTRAINED):
            about = {
                "name": f"{model}_untrained_s{seed}",
                "model": model,
                "task": "untrained",
                "seed": seed,
                "varied": "",
            }
            yield about, get_recipe("views", model=model, seed=seed).create_model(1).eval()


def scores(model: CRATE, sets: Mapping[str, ImageSet], images: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a network knows of animals and scenes and what its maps show; and what never saw a network."""
    found = evaluate(model, sets["maps"], rule=RULES, choose_on=sets["choice"], untrained=False)
    cut, beside = maskcut(model, images)
    row = {
        **knowledge(model, sets),
        **shares(features(model, sets["crossed"].images)),
        "maps": {rule: maps(found, rule) for rule in RULES},
        "maskcut": cut,
    }
    centre = {rule: plain(list(mean_interval(found.scores[f"centre/{rule}"])), 4) for rule in RULES}
    return row, {"centre": centre, "maskcut": beside}


def knowledge(model: CRATE, sets: Mapping[str, ImageSet]) -> dict[str, Any]:
    """How often nearest neighbours and a linear probe of the class token name the animal."""
    probe = linear_probe(model, sets["train"], sets["test"])[1]
    near = nearest_neighbours(model, sets["train"], sets["test"])["top1"]
    return {"knn": near, "probe": probe["top1"], "l2": probe["l2"]}


def maps(found: Evaluation, rule: str) -> dict[str, Any]:
    """One rule, by three ways to take a map: the head that was best elsewhere; the last layer's mean, which nobody
    chooses; the best of the last layer's heads for each image, beside what as many shuffled maps score.
    """
    chosen, s = found.choice[rule], found.scores
    return {
        "layer": chosen["layer"],
        "head": chosen["head"],
        "fixed": plain(list(mean_interval(found.values(rule))), 4),
        "mean": plain(list(mean_interval(found.values(rule, "mean_of_heads"))), 4),
        "best": plain(list(mean_interval(s[f"best_of/{rule}"][:, -1, -1])), 4),
        "chance": plain(list(mean_interval(s[f"chance/{rule}"][:, -1, -1])), 4),
    }


def maskcut(model: CRATE, images: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What MaskCut finds by the last layer, at twice the size of training; and what discs and all of a picture find."""
    layer = len(model.blocks) - 1
    with tempfile.TemporaryDirectory() as folder:
        weights, out = Path(folder) / "model.safetensors", Path(folder) / "found.json"
        save_model(model, weights)
        words = [
            "evaluate",
            "maskcut",
            "--weights",
            weights,
            "--data",
            "embedded",
            "--split",
            "test",
            "--n",
            images,
        ]
        words += ["--seed", SEED, "--size", 128, "--layers", layer, "--out", out, "--device", "cpu"]
        if code := crate_mini([str(word) for word in words]):
            raise SystemExit(code)
        found = json.loads(out.read_text(encoding="utf-8"))

    def take(x: Mapping[str, Any]) -> dict[str, Any]:
        return {"AP50": plain(x["mask"]["AP50"], 4)} | {k: plain(x[k], 4) for k in ("first_iou", "corloc")}

    return take(found["by_layer"][str(layer)]), {name: take(x) for name, x in found["baselines"].items()}


def shares(said: Tensor) -> dict[str, float]:
    """How much of what is said comes with the scene, with the animal, and with neither alone."""
    scene, animal, rest = variance_shares(said.unflatten(0, (-1, len(CLASSES))))
    return {"scene": plain(scene), "animal": plain(animal), "rest": plain(rest)}


def pixels(sets: Mapping[str, ImageSet]) -> dict[str, Any]:
    """What the pixels know by themselves, by the same neighbours and the same probe."""

    def small(of: ImageSet) -> Tensor:
        return F.interpolate(of.images.float() / 255, size=(SIDE, SIDE), mode="area").flatten(1)

    train, test = sets["train"], sets["test"]
    x, x_test, classes = small(train), small(test), len(train.classes)
    mean = x.mean(0)
    l2 = choose_l2(x, train.labels, classes)
    votes = neighbour_votes(x - mean, train.labels, x_test - mean, classes)
    logits = fit_probe(x, train.labels, classes, l2=l2)(x_test)
    knn, probe = ((found.argmax(1) == test.labels).double().mean().item() for found in (votes, logits))
    row = {
        "name": "pixels",
        "model": "",
        "task": "none",
        "seed": 0,
        "varied": "",
        "knn": knn,
        "probe": probe,
        "l2": l2,
    }
    return row | (shares(small(sets["crossed"]) - mean) if "crossed" in sets else {})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
