"""``crate-mini evaluate transfer``."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from crate_mini import calibration, data
from crate_mini.cli.accuracy import FEWEST
from crate_mini.cli.common import (
    COUNT,
    POSITIVE,
    add_data,
    add_evaluation,
    model_and_images,
    report,
)
from crate_mini.cli.said import file_or_folder
from crate_mini.outputs import try_folder
from crate_mini.recipes import get_recipe
from crate_mini.results import provenance
from crate_mini.transfer import POOLS, features, fine_tune, linear_probe, nearest_neighbours

FEWEST_TO_LEARN = 10  # of which a fifth chooses the penalty


def add(kinds: argparse._SubParsersAction) -> None:
    """Add the kind to the parser of ``evaluate``."""
    p = kinds.add_parser(
        "transfer", help="other labels: a linear probe on frozen features, nearest neighbours, or fine-tuning"
    )
    add_evaluation(p)
    add_data(p, "pets")
    p.add_argument("--n-train", type=COUNT, metavar="N", help="training images to draw; by default all")
    p.add_argument(
        "--method",
        choices=("probe", "knn", "finetune"),
        default="probe",
        help="what is trained; knn: nothing",
    )
    p.add_argument(
        "--pool", choices=POOLS, default="class", help="what the probe, or neighbours, are read off"
    )
    p.add_argument(
        "--l2",
        type=POSITIVE,
        metavar="X",
        help="the probe's penalty; by default chosen on a fifth of the training images",
    )
    p.add_argument("--recipe", default="finetune_mini", help="of fine-tuning, as for crate-mini train")
    p.add_argument("--epochs", type=COUNT, metavar="N", help="of fine-tuning; by default the recipe's")
    p.add_argument(
        "--folder",
        type=file_or_folder,
        help="where fine-tuning saves its state, to be gone on from, and weights",
    )
    p.set_defaults(run=_transfer)


def _transfer(a: argparse.Namespace) -> None:
    splits = data.SETS[a.data].splits
    if "train" not in splits:
        raise ValueError(
            f"{a.data!r} has one split only, {splits[0]}; transfer needs images to train on, too"
        )
    if a.folder is not None:
        try_folder(a.folder)
    model, test_set, device = model_and_images(a)
    train_set = data.load(a.data, "train", image_size=a.image_size, n=a.n_train, seed=a.seed, root=a.root)
    if len(train_set) < FEWEST_TO_LEARN:
        raise ValueError(
            f"{len(train_set)} images are too few to learn from; give at least {FEWEST_TO_LEARN}"
        )
    result = provenance(device, weights=a.weights, data=test_set.name, images=len(test_set), seed=a.seed)
    result |= {"image_size": a.image_size, "untrained": a.untrained, "train_images": len(train_set)}
    if a.method == "knn":
        result["knn"] = numbers = nearest_neighbours(model, train_set, test_set, pool=a.pool)
        said = f"{a.weights} on {test_set.name}, {numbers['k']} nearest neighbours by {POOLS[a.pool]}: "
        said += f"top-1 {numbers['top1']:.1%}, top-5 {numbers['top5']:.1%}"
        report(a, result, lambda _: print(said))
        return
    if a.method == "probe":
        probe, result["probe"] = linear_probe(model, train_set, test_set, pool=a.pool, l2=a.l2, seed=a.seed)
        numbers, logits = result["probe"], probe(features(model, test_set.images, pool=a.pool))
        what = f"linear probe on {POOLS[a.pool]}, l2 {numbers['l2']:g}"
    else:
        changes = {"seed": a.seed} | ({"epochs": a.epochs} if a.epochs else {})
        recipe = get_recipe(a.recipe, **changes).recipe
        tuned, run = fine_tune(model, train_set, test_set, recipe, out=a.folder, device=device)
        last = {k.removeprefix("val_"): v for k, v in run.history[-1].items() if k.startswith("val_")}
        result["fine_tune"] = last | {"recipe": asdict(recipe), "history": run.history}
        numbers, logits = result["fine_tune"], calibration.logits_of(tuned, test_set)[0]
        what = f"fine-tuned for {recipe.epochs} epochs"
    said = f"{a.weights} on {test_set.name}, {what}: top-1 {numbers['top1']:.1%}, top-5 {numbers['top5']:.1%}"
    if len(test_set) >= FEWEST:
        result["calibration"] = calibration.report(logits, test_set.labels.cpu(), seed=a.seed)
        said += f"\n{calibration.summary(result['calibration'])}"
    report(a, result, lambda _: print(said))
