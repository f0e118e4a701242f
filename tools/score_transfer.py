"""What networks know of classes that they were not trained on: ``results/transfer/scores.json``.

    crate-mini train --sweep three_in_four --out runs
    python tools/score_transfer.py --runs runs

Two sets. *Every fourth class of Tiny-ImageNet* (50), for networks that were trained on the other 150. *Breeds of cats
and dogs*, for the family, which was trained on all 200 classes, of which some are breeds, too. Each network is asked by
a linear probe on its frozen class token, and by fine-tuning all weights; beside it stand the same architecture fresh,
under the same probe and the same training *from scratch*, and a probe on the pixels themselves. Nothing is chosen here:
the penalty of a probe is chosen on a fifth of the images that it learns from, and the recipes were there before. What
was scored before stays, so that the file fills up.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from crate_mini import data
from crate_mini.data import ImageSet
from crate_mini.model import CRATE
from crate_mini.recipes import get_recipe, get_sweep
from crate_mini.results import add_dirty, plain, provenance, read, require_clean, write
from crate_mini.training import Recipe
from crate_mini.transfer import choose_l2, fine_tune, fit_probe, linear_probe
from crate_mini.weights import load_model, load_pretrained

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "results" / "transfer" / "scores.json"
MODELS = ("crate_mini", "vit_mini_6")
DRAWS = {"tiny-imagenet-50": 1, "pets": 2}  # untrained ones of each
SIDE = 16  # that images are brought to where their pixels are asked
SETS = {"tiny-imagenet-50": "val", "pets": "test"}
"""What is scored, and on which of its images."""


def recipe(where: str, seed: int) -> Recipe:
    """How all weights are trained on: breeds by their own recipe, classes as the other 150 were, for four epochs."""
    if where == "pets":
        return replace(get_recipe("finetune_mini").recipe, seed=seed, precision="float32")
    first = get_recipe("three_in_four").recipe
    return replace(first, epochs=4, warmup_epochs=0.5, evaluate_every=4, seed=seed)


def networks(where: str, runs: Path) -> Iterator[tuple[str, int, bool, CRATE]]:
    """Name, seed, whether it was trained, and the network: those that are there, then fresh ones."""
    sweep = "all_classes" if where == "pets" else "three_in_four"
    for name, run in get_sweep(sweep).items():
        if where == "pets":
            yield run.model, run.seed, True, load_pretrained(name)
        elif (weights := runs / name / "model.safetensors").is_file():
            yield run.model, run.seed, True, load_model(weights)
        else:
            print(f"{name}: not trained yet", flush=True)
    for model in MODELS:
        for seed in range(DRAWS[where]):
            yield model, seed, False, get_recipe(sweep, model=model, seed=seed).create_model(1).eval()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the trainings are")
    parser.add_argument("--only", choices=SETS, help="one set")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="these networks alone")
    parser.add_argument("--n", type=int, help="images of each part, to try it out")
    add_dirty(parser)
    a = parser.parse_args()
    require_clean(a.dirty)
    found = read("transfer/scores")["sets"] if RESULT.is_file() else {}
    for where, part in SETS.items():
        if a.only not in (None, where):
            continue
        known, asked = (data.load(where, p, image_size=64, n=a.n) for p in ("train", part))
        entry = found.get(where) or found.setdefault(where, about(known, asked))
        rows = {(r["model"], r["seed"], r["trained"]): r for r in entry["networks"]}
        for model, seed, trained, network in networks(where, a.runs):
            if (model, seed, trained) in rows or model not in a.models:
                continue
            row = score(network, known, asked, recipe(where, seed))
            print(where, model, seed, trained, row["probe"], row["tuned"], flush=True)
            entry["networks"].append(
                {"model": model, "seed": seed, "trained": trained} | row | provenance("cpu")
            )
            write(RESULT, provenance("cpu", sets=found), allow_dirty=a.dirty)


def about(known: ImageSet, asked: ImageSet) -> dict[str, Any]:
    """What the set is, and what a probe on its pixels knows."""
    return {
        "learned": {"name": known.name, "images": len(known)},
        "asked": {"name": asked.name, "images": len(asked)},
        "classes": len(known.classes),
        "pixels": of_pixels(known, asked),
        "networks": [],
    }


def of_pixels(known: ImageSet, asked: ImageSet) -> float:
    """Top-1 of a linear probe on pictures of 16 x 16 pixels."""
    x, new = (
        F.interpolate(s.images.float() / 255, size=SIDE, mode="area").flatten(1) for s in (known, asked)
    )
    classes = len(known.classes)
    probe = fit_probe(x, known.labels, classes, l2=choose_l2(x, known.labels, classes))
    return (probe(new).argmax(-1) == asked.labels).double().mean().item()


def score(model: CRATE, known: ImageSet, asked: ImageSet, how: Recipe) -> dict[str, Any]:
    """Top-1 of the probe, and of all weights trained on."""
    torch.manual_seed(how.seed)
    _, probe = linear_probe(model, known, asked)
    _, run = fine_tune(model, known, asked, how, progress=False)
    return {
        "probe": plain(probe["top1"]),
        "l2": probe["l2"],
        "tuned": plain(run["val_top1"][-1]),
        "minutes": plain(run.minutes, 3),
    }


if __name__ == "__main__":
    main()
