"""``crate-mini evaluate segmentation``."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from crate_mini import data
from crate_mini.cli.common import (
    COUNT,
    INDEX,
    SHARE,
    add_data,
    add_evaluation,
    add_letterbox,
    model_and_images,
    report,
    whole,
)
from crate_mini.cli.said import file_or_folder
from crate_mini.results import provenance
from crate_mini.segmentation import OBJECTS, RULES, Evaluation, evaluate


def add(kinds: argparse._SubParsersAction) -> None:
    """Add the kind to the parser of ``evaluate``."""
    p = kinds.add_parser(
        "segmentation",
        help="attention maps against true masks; run it again to resume",
        description="Score the attention of the class token, every head of every layer, against true masks; beside "
        "it the untrained network, shuffled maps, a centred disc and the whole image. What is done is kept beside "
        "--out until all is done, so a run that was stopped goes on when the same command is given again.",
    )
    add_evaluation(p)
    add_data(p, "embedded")
    add_letterbox(p)
    p.add_argument("--rule", nargs="+", choices=RULES, default=list(RULES), help="what is scored")
    p.add_argument(
        "--share", type=SHARE, metavar="X", default=0.6, help="of attention (mass), or of patches (patch)"
    )
    p.add_argument("--layer", type=whole(), metavar="N", nargs="+", help="these layers only")
    p.add_argument("--heads", type=INDEX, metavar="N", nargs="+", help="these heads only")
    p.add_argument("--resolution", choices=("pixel", "patch"), default="pixel", help="of the true masks")
    p.add_argument(
        "--objects",
        choices=OBJECTS,
        default="mask",
        help="one object an image, or each value of the part masks (the classes of VOC), or all objects one by one "
        "(VOC, COCO)",
    )
    p.add_argument(
        "--shifts",
        type=COUNT,
        metavar="N",
        default=1,
        help="mean over N x N pictures, moved by parts of a patch",
    )
    p.add_argument("--smooth", action="store_true", help="enlarge maps to the pixels, bilinearly")
    p.add_argument(
        "--choose-on", help="split, or set/split, on which the fixed head is chosen; else on the images"
    )
    p.add_argument("--choice-from", type=file_or_folder, help="take over what an earlier --out file chose")
    p.add_argument("--no-control", action="store_true", help="leave out the untrained network")
    p.add_argument("--leave-out", action="store_true", help="list images that cannot be scored, and go on")
    p.add_argument("--batch-size", type=COUNT, metavar="N", default=32, help="images a forward pass")
    p.set_defaults(run=_segmentation)


def _segmentation(a: argparse.Namespace) -> None:
    if a.choose_on and a.choice_from:
        raise ValueError("a head is chosen on images (--choose-on) or taken over (--choice-from), not both")
    choose_on: Any = _earlier(a.choice_from) if a.choice_from else None
    model, images, device = model_and_images(a)
    if a.choose_on:
        name, _, split = a.choose_on.rpartition("/")
        choose_on = data.load(
            name or a.data, split, image_size=a.image_size, root=a.root, download=a.download,
            letterbox=a.letterbox
        )  # fmt: skip
    partial = None if a.out is None else a.out.with_name(f"{a.out.name}.partial")
    result = evaluate(
        model, images, rule=a.rule, layer=a.layer, heads=a.heads, choose_on=choose_on, share=a.share,
        untrained=not (a.no_control or a.untrained), partial=partial, resolution=a.resolution, objects=a.objects,
        shifts=a.shifts, smooth=a.smooth, leave_out=a.leave_out, batch_size=a.batch_size, seed=a.seed,
    )  # fmt: skip
    facts = provenance(device, weights=a.weights, untrained_weights=a.untrained)
    report(a, facts | {"segmentation": result.summary()}, lambda _: _print(result))
    if partial is not None:
        shutil.rmtree(partial, ignore_errors=True)


def _earlier(file: Path) -> dict[str, Any]:
    """What an earlier result says of its choice, read before the work."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))["segmentation"]
        for kept in found["rules"].values():
            kept["fixed"]["layer"], kept["fixed"]["head"], [row["layer"] for row in kept["per_image"]]
        return {k: found[k] for k in ("rules", "layers", "heads", "data", "chosen_on")} | found
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is no --out file of crate-mini evaluate segmentation") from error


def _print(result: Evaluation) -> None:
    """One block a rule: the network, then everything that a score has to be held against."""
    summary = result.summary()
    for name in summary["left_out"]:
        print(f"left out: {name}")
    print(f"{summary['data']}: {summary['images']} images, {summary['objects_scored']} objects")
    for rule, kept in summary["rules"].items():
        fixed, best = kept["fixed"], kept["per_image"][-1]
        rows = {
            f"layer {fixed['layer']} head {fixed['head']}, chosen on {result.chosen_on}": fixed["score"],
            "  its maps shuffled": fixed["shuffled"],
            "  its map of the image before": fixed["elsewhere"],
            f"best of {best['heads']} heads an object, layer {best['layer']}": best["score"],
            "  the same of shuffled maps": best["chance"],
        }
        rows["mean of the heads of the last layer"] = kept["mean_of_heads"]["last"]
        if crossed := kept["cross_fitted"]:
            rows["a head for each half, chosen on the other half"] = crossed["score"]
        if result.untrained:
            control = summary["untrained"]["rules"][rule]
            rows["untrained, fixed head"] = control["fixed"]["score"]
            rows["untrained, best head an object"] = control["per_image"][-1]["score"]
        rows |= kept["baselines"]
        print(f"\n{RULES[rule]}")
        for name, (mean, low, high) in ((k, v) for k, v in rows.items() if v is not None):
            print(f"  {name:<48} {mean:.3f} ({low:.3f} to {high:.3f})")
