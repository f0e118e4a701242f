"""``crate-mini evaluate accuracy``."""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor, nn

from crate_mini import calibration
from crate_mini.cli.common import add_data, add_evaluation, card_of, model_and_images, report
from crate_mini.data.imageset import ImageSet
from crate_mini.results import provenance
from crate_mini.training import TASKS, evaluate

FEWEST = 30  # images, for bins of confidence that mean something


def add(kinds: argparse._SubParsersAction) -> None:
    """Add the kind to the parser of ``evaluate``."""
    add_options(kinds.add_parser("accuracy", help="top-1 and top-5 on held-out images"))


def add_options(p: argparse.ArgumentParser) -> None:
    """What ``evaluate`` takes with and without the word ``accuracy``."""
    add_evaluation(p)
    add_data(p, None, None)
    p.set_defaults(run=_accuracy)


def _accuracy(a: argparse.Namespace) -> None:
    model, images, device = model_and_images(a)
    learned = card_of(a.weights).get("task")
    task = TASKS.get(learned.get("name")) if isinstance(learned, dict) else None
    if task is not None and not task.classifies:
        raise ValueError(
            f"{a.weights} has learned no classes, for it was trained without labels; what it knows of classes tells "
            "crate-mini evaluate transfer, by --method knn or probe"
        )
    if not images.classes or images.classes != getattr(model, "classes", ()):
        more = "; its masks: crate-mini evaluate segmentation" if images.masks is not None else ""
        raise ValueError(f"{images.name} has not the classes that {a.weights} was trained on{more}")
    result = provenance(device, weights=a.weights, data=images.name, images=len(images), seed=a.seed)
    accuracy, logits = measured(model, images)
    result |= {"image_size": a.image_size, "untrained": a.untrained, "accuracy": accuracy}
    if len(images) >= FEWEST:
        result["calibration"] = calibration.report(logits, images.labels.cpu())
    report(a, result, _print)


def measured(model: nn.Module, images: ImageSet) -> tuple[dict[str, float], Tensor]:
    """Accuracies, and the logits that they were counted in: one pass is enough for both."""
    seen: list[Tensor] = []
    hook = model.register_forward_hook(lambda module, given, logits: seen.append(logits.float().cpu()))
    try:
        accuracy = evaluate(model, images)
    finally:
        hook.remove()
    return accuracy, torch.cat(seen)


def _print(result: dict[str, Any]) -> None:
    print(f"top-1 {result['accuracy']['top1']:.1%}, top-5 {result['accuracy']['top5']:.1%}")
    if "calibration" in result:
        print(calibration.summary(result["calibration"]))
