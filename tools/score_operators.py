"""Score the trainings of the sweep ``operators``: accuracy, and how well a map tells a drawn animal from its ground.

    crate-mini train --sweep operators --out runs
    python tools/score_operators.py runs

Networks with MSSA are scored by the class token's attention, those with TSSA by their memberships; the others have no
map. Beside them, under the same rule, a bell in the middle and an untrained network. The head is chosen on validation
drawings and scored on test drawings (``crate_mini.chapters.chapter_14``). Runs that are not finished are passed over,
and what was scored before stays, so that the file fills up.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from crate_mini import data
from crate_mini.attention_maps import cls_attention_maps
from crate_mini.chapters.chapter_14 import aurocs, chosen_head
from crate_mini.data.imageset import ImageSet
from crate_mini.model import CRATE, count_parameters
from crate_mini.recipes import get_recipe, get_sweep
from crate_mini.recorder import record
from crate_mini.results import add_dirty, plain, provenance, read, require_clean, write
from crate_mini.segmentation.baselines import centre_map
from crate_mini.training import evaluate
from crate_mini.weights import load_model

RESULT = Path(__file__).resolve().parent.parent / "results" / "training" / "operators.json"


@torch.no_grad()
def maps_of(model: CRATE, images: torch.Tensor) -> torch.Tensor | None:
    """What there is to look at, ``(b, L, K, n)``; None if there is nothing."""
    config = model.config
    if config.attention == "mssa" and config.move and config.readout == "class":
        return cls_attention_maps(model, images).flatten(-2)
    if config.attention == "tssa":
        seen = record(model, images, "memberships")
        return torch.stack([seen.patches("memberships", i) for i in range(config.depth)], 1)
    return None


def map_score(model: CRATE, choose_on: ImageSet, report_on: ImageSet) -> dict | None:
    """AUROC of a head chosen on some drawings and scored on others; None where there are no maps."""
    maps = [maps_of(model, drawn.images) for drawn in (choose_on, report_on)]
    if maps[0] is None:
        return None
    chosen = chosen_head(aurocs(maps[0], choose_on), aurocs(maps[1], report_on))
    return {k: plain(v) if isinstance(v, float) else v for k, v in chosen.items()}


def score(model: CRATE, test: ImageSet, choose_on: ImageSet, report_on: ImageSet) -> dict:
    """Accuracy and map score of one network."""
    return {
        "parameters": count_parameters(model),
        "top1": plain(evaluate(model, test)["top1"]),
        **(map_score(model, choose_on, report_on) or {"auroc": None}),
    }


def controls(choose_on: ImageSet, report_on: ImageSet) -> dict:
    """AUROC, by the same rule on the same drawings, of a bell in the middle and of an untrained network."""
    untrained = get_recipe("operators_ista_s0").create_model(10).eval()
    side = report_on.images.shape[-1] // untrained.config.patch_size
    bell = centre_map((side, side)).flatten().expand(len(report_on), 1, 1, -1)
    return {
        "centre": plain(aurocs(bell, report_on).mean().item()),
        "untrained": map_score(untrained, choose_on, report_on)["auroc"],
    }


def main() -> None:
    """Score what is finished and not scored yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="folder of the sweep")
    add_dirty(parser)
    a = parser.parse_args()
    require_clean(a.dirty)
    test = data.load("embedded", "test", n=1000)
    drawn = [data.load("embedded", split, n=100, seed=1, image_size=128) for split in ("val", "test")]
    beside = controls(*drawn)
    runs = read("training/operators")["runs"] if RESULT.is_file() else {}
    for name in get_sweep("operators"):
        weights = a.runs / name / "model.safetensors"
        if name not in runs and weights.is_file():
            runs[name] = score(load_model(weights), test, *drawn) | provenance("cpu")
            print(name, runs[name]["top1"], runs[name]["auroc"], flush=True)
            write(
                RESULT,
                {
                    "test_images": len(test),
                    "drawings": len(drawn[1]),
                    "controls": beside,
                    "runs": runs,
                },
                allow_dirty=a.dirty,
            )


if __name__ == "__main__":
    main()
