"""What networks trained without labels know and show, beside their controls: ``results/views/scores.json``.

    python tools/score_views.py                 all trainings of the sweep ``views`` that are in runs/ or shipped
    python tools/score_views.py --runs FOLDER

On drawn animals, whose masks are exact: how often nearest neighbours and a linear probe name the class of images that
nobody has trained or chosen on, and how well attention maps rank the pixels of the object. Beside them the same
networks trained with labels, as many of them untrained, and the pixels themselves. All are scored under one rule; heads
and layers are chosen on other images than those that are scored.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch.nn.functional as F

from crate_mini import data
from crate_mini.data import ImageSet
from crate_mini.model import CRATE
from crate_mini.neighbours import neighbour_votes
from crate_mini.recipes import find_run, get_recipe, get_sweep
from crate_mini.results import add_dirty, provenance, require_clean, write
from crate_mini.segmentation import evaluate
from crate_mini.training import default_device
from crate_mini.transfer import choose_l2, fit_probe, linear_probe, nearest_neighbours
from crate_mini.weights import list_pretrained, load_model, load_pretrained

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "results" / "views" / "scores.json"
RULES = ("auroc", "best_iou")
PIXELS = 16  # side that images are brought to where their pixels are compared
UNTRAINED = 3  # seeds of each network


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="where the trainings are")
    add_dirty(parser)
    a = parser.parse_args()
    require_clean(a.dirty)
    sets = {split: data.load("embedded", split) for split in ("train", "val", "test")}
    rows = [{"name": "pixels", "task": "none", **pixels(sets["train"], sets["test"])}]
    for about, model in networks(a.runs):
        rows.append(about | scores(model, sets))
        print(rows[-1]["name"], *(f"{k} {rows[-1][k]:.3f}" for k in ("knn", "probe")), flush=True)
        facts = provenance(
            default_device(), train=sets["train"].name, images=len(sets["test"]), scored=sets["test"].name,
            chosen_on=sets["val"].name, networks=rows,
        )  # fmt: skip
        write(RESULT, facts, allow_dirty=a.dirty)


def networks(runs: Path) -> Iterator[tuple[dict[str, Any], CRATE]]:
    """Every network that is there, with its name, its model's, its task and its seed."""
    for name in (*get_sweep("views"), *get_sweep("embedded")):
        weights, run = runs / name / "model.safetensors", find_run(name)
        if not weights.is_file() and name not in list_pretrained():
            print(f"{name}: not trained yet", flush=True)
            continue
        model = load_model(weights) if weights.is_file() else load_pretrained(name)
        yield {"name": name, "model": run.model, "task": get_recipe(run).task, "seed": run.seed}, model
    for model in ("crate_nano", "vit_nano"):
        for seed in range(UNTRAINED):
            fresh = get_recipe("views", model=model, seed=seed).create_model(1).eval()
            yield (
                {"name": f"{model}_untrained_s{seed}", "model": model, "task": "untrained", "seed": seed},
                fresh,
            )


def scores(model: CRATE, sets: dict[str, ImageSet]) -> dict[str, Any]:
    """What a network knows of classes, and what its maps show."""
    model = model.to(default_device())
    probe = linear_probe(model, sets["train"], sets["test"])[1]
    found = evaluate(model, sets["test"], rule=RULES, choose_on=sets["val"], untrained=False)
    summary = found.summary()["rules"]
    return {
        "knn": nearest_neighbours(model, sets["train"], sets["test"])["top1"],
        "probe": probe["top1"],
        "l2": probe["l2"],
        "maps": {
            rule: {k: summary[rule][k] for k in ("fixed", "cross_fitted", "mean_of_heads", "per_image")}
            for rule in RULES
        },
    }


def pixels(train: ImageSet, test: ImageSet) -> dict[str, float]:
    """What the pixels know by themselves, by the same neighbours and the same probe."""
    x, x_test = (
        F.interpolate(part.images.float() / 255, size=(PIXELS, PIXELS), mode="area").flatten(1)
        for part in (train, test)
    )
    mean, classes = x.mean(0), len(train.classes)
    votes = neighbour_votes(x - mean, train.labels, x_test - mean, classes)
    l2 = choose_l2(x, train.labels, classes)
    logits = fit_probe(x, train.labels, classes, l2=l2)(x_test)
    right = [(found.argmax(1) == test.labels).double().mean().item() for found in (votes, logits)]
    return {"knn": right[0], "probe": right[1], "l2": l2}


if __name__ == "__main__":
    main()
