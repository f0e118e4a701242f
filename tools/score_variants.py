"""What one setting of the recipe does to the maps: ``results/masks/variants.json``.

    python tools/score_variants.py                 all variants that are trained, in runs/
    python tools/score_variants.py --runs FOLDER

Scores the networks of the sweep ``variants``, which differ from the family in one setting. What
was scored before and is not in the folder any more keeps its row.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from score_masks import CHOSEN_ON, RESULTS, ROOT

from crate_mini import data
from crate_mini.recipes import get_recipe, get_sweep
from crate_mini.results import add_dirty, provenance, require_clean, write
from crate_mini.segmentation import evaluate
from crate_mini.training import default_device
from crate_mini.weights import load_model

SETS = (("pets", "test"), ("horses", "test"))
RULES = ("auroc", "best_iou")
RESULT = RESULTS / "variants.json"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="where the trainings are")
    parser.add_argument("--root", type=Path, help="folder of the data sets; by default CRATE_MINI_DATA")
    add_dirty(parser)
    a = parser.parse_args()
    require_clean(a.dirty)
    rows = {row["name"]: row for row in _earlier()}
    names = get_sweep("variants")
    for name in names:
        weights = a.runs / name / "model.safetensors"
        if weights.is_file():
            rows[name] = _row(name, weights, a.root)
            found = rows[name]["scores"]["horses/test"]["auroc"]["mean_of_heads"]["last"][0]
            print(f"{name}: top-1 {rows[name]['top1']:.1%}, last layer on horses {found:.3f}", flush=True)
            facts = provenance(default_device(), networks=[rows[n] for n in names if n in rows])
            write(RESULT, facts, allow_dirty=a.dirty)


def _earlier() -> list[dict[str, Any]]:
    return json.loads(RESULT.read_text(encoding="utf-8"))["networks"] if RESULT.is_file() else []


def _row(name: str, weights: Path, root: Path | None) -> dict[str, Any]:
    """Accuracy and scores, on the 16 x 16 grid that the family is scored on."""
    card = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    recipe = get_recipe(name)
    size = 16 * recipe.patch_size
    model = load_model(weights).to(default_device())
    chosen_on = data.load(*CHOSEN_ON, image_size=size, root=root)
    scores = {}
    for where, split in SETS:
        images = data.load(where, split, image_size=size, root=root)
        result = evaluate(
            model, images, rule=RULES, choose_on=chosen_on, untrained=False, progress=True,
            partial=ROOT / "runs" / "masks" / name / where,
        )  # fmt: skip
        rules = result.summary()["rules"]
        scores[f"{where}/{split}"] = {
            rule: {k: rules[rule][k] for k in ("fixed", "cross_fitted", "mean_of_heads")} for rule in RULES
        }
    return {
        "name": name, "model": recipe.model, "size": size, "recipe": card["recipe"], "start": recipe.start,
        "commit": card["commit"], "top1": card["held_out"]["top1"], "scores": scores,
    }  # fmt: skip


if __name__ == "__main__":
    main()
