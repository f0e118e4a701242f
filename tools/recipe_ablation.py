"""What each part of the recipe buys: small trainings that differ in one setting, at equal counted compute.

Two sets of runs. ``drawings``: a crate_nano on five of the embedded animals, which needs no download. ``animals``: a
crate_mini on the 25 animal classes of Tiny-ImageNet, some five minutes a run on one core. Variants that look at more
patches get fewer epochs, so that all have about the same multiply-adds. A run that is there already is skipped, so
the command may be stopped and given again; results are gathered after each run.

    python tools/recipe_ablation.py                               the drawings, two seeds
    python tools/recipe_ablation.py --set animals --seeds 0       CRATE_MINI_DATA names the folder
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from crate_mini import data
from crate_mini.model import create_model
from crate_mini.operations import training_multiply_adds
from crate_mini.results import add_dirty, provenance, require_clean, write
from crate_mini.training import Recipe, evaluate, train

RESULT = Path(__file__).resolve().parent.parent / "results" / "training" / "ablation.json"
SETS: dict[str, dict[str, Any]] = {
    "drawings": {
        "model": "crate_nano",
        "data": "embedded",
        "classes": ("giraffe", "elephant", "rabbit", "bird", "fish"),  # told apart after few steps
        "train": 4000,  # of all ten, 2000 of these five
        "held_out": ("test", 1600),
        "recipe": {
            "epochs": 12, "batch_size": 32, "lr": 2e-3, "warmup_epochs": 1.0, "crop_area": (0.6, 1.0),
            "keep_patches": 0.5,
        },
        "variants": {
            "as it is": {},
            "all patches": {"keep_patches": 1.0, "epochs": 6},
            "no crops, no flips": {"crop_area": (1.0, 1.0), "flip": False},
            "no label smoothing": {"label_smoothing": 0.0},
            "no warm-up": {"warmup_epochs": 0.0},
            "Lion": {"optimizer": "lion", "lr": 5e-4, "weight_decay": 0.2},
            "batch of 128": {"batch_size": 128},
        },
    },
    "animals": {
        "model": "crate_mini",
        "data": "tiny-imagenet-animals",
        "train": None,
        "held_out": ("val", None),
        "recipe": {
            "epochs": 12, "batch_size": 64, "warmup_epochs": 1.0, "keep_patches": 0.3, "precision": "bfloat16",
        },
        "variants": {
            "as it is": {},
            "half of the patches": {"keep_patches": 0.5, "epochs": 8},
            "half of the patches, batch of 128": {"keep_patches": 0.5, "epochs": 8, "batch_size": 128},
            "all patches": {"keep_patches": 1.0, "epochs": 4},
            "all patches, batch of 128": {"keep_patches": 1.0, "epochs": 4, "batch_size": 128},
        },
    },
}  # fmt: skip


def only(classes: tuple[str, ...] | None, images: data.ImageSet) -> data.ImageSet:
    """The images of these classes, numbered anew; all of them where no classes are named."""
    if classes is None:
        return images
    numbers = torch.tensor([images.classes.index(name) for name in classes])
    some = images.subset(torch.isin(images.labels, numbers).nonzero()[:, 0])
    labels = (some.labels[:, None] == numbers).int().argmax(1)
    return replace(some, labels=labels, classes=classes)


def run_one(name: str, variant: str, seed: int, train_set: data.ImageSet, held_out: data.ImageSet) -> dict:
    """Train one variant and say how it did, and what it cost by count and by clock."""
    plan = SETS[name]
    recipe = Recipe.from_dict(plan["recipe"] | plan["variants"][variant] | {"seed": seed})
    facts = provenance(
        "cpu", model=plan["model"], recipe=asdict(recipe), train=train_set.name, images=len(train_set)
    )
    torch.manual_seed(seed)
    model = create_model(plan["model"], image_size=64, num_classes=len(train_set.classes))
    # held-out numbers are wanted at the end alone: a few images suffice on the way
    run = train(model, train_set, held_out.subset(range(64)), recipe, device="cpu", progress=False)
    cost = training_multiply_adds(model.config, batch=recipe.batch_size, keep_patches=recipe.keep_patches)
    return {
        "set": name,
        "variant": variant,
        "seed": seed,
        **evaluate(model, held_out),
        "train_loss": run["train_loss"][-1],
        "multiply_adds": cost * len(train_set) * recipe.epochs,
        "minutes": round(run.minutes, 2),
        "held_out": f"{held_out.name}, {len(held_out)} images",
        **facts,
    }  # fmt: skip


def main() -> None:
    """Run what is missing."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--set", default="drawings", choices=SETS)
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    p.add_argument("--only", nargs="+", help="these variants")
    p.add_argument("--out", type=Path, default=RESULT)
    add_dirty(p)
    a = p.parse_args()
    require_clean(a.dirty)
    plan = SETS[a.set]
    runs = json.loads(a.out.read_text(encoding="utf-8"))["runs"] if a.out.exists() else []
    done = {(r["set"], r["variant"], r["seed"]) for r in runs}
    todo = [(v, s) for s in a.seeds for v in a.only or plan["variants"] if (a.set, v, s) not in done]
    if not todo:
        return
    split, n = plan["held_out"]
    train_set = only(plan.get("classes"), data.load(plan["data"], "train", n=plan["train"], image_size=64))
    held_out = only(plan.get("classes"), data.load(plan["data"], split, n=n, image_size=64))
    for variant, seed in todo:
        result = run_one(a.set, variant, seed, train_set, held_out)
        # another process may have added runs meanwhile
        runs = json.loads(a.out.read_text(encoding="utf-8"))["runs"] if a.out.exists() else []
        write(a.out, {"runs": [*runs, result]}, allow_dirty=a.dirty)
        print(
            f"{variant}, seed {seed}: top-1 {result['top1']:.3f} in {result['minutes']:.1f} minutes",
            flush=True,
        )


if __name__ == "__main__":
    main()
