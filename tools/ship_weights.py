"""Put a finished training into the package, or only what is told of it into the results.

    python tools/ship_weights.py runs/NAME NAME
    python tools/ship_weights.py runs/NAME NAME --card-only

Weights are halved to float16; the card keeps how they came about and gains the accuracy of what is shipped, that of its
nearest neighbours where it has learned no classes. The log goes to ``results/training/NAME.csv``, the card also to
``results/training/cards.json``, which holds those of all trainings, shipped or not.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from crate_mini import data
from crate_mini.results import add_dirty, require_clean, write
from crate_mini.training import evaluate
from crate_mini.transfer import nearest_neighbours
from crate_mini.weights import load_model, save_model

ROOT = Path(__file__).resolve().parent.parent
TRAINING = ROOT / "results" / "training"
CARDS = TRAINING / "cards.json"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder that crate-mini train wrote")
    parser.add_argument("name", help="name for load_pretrained")
    parser.add_argument("--card-only", action="store_true", help="keep log and card, not the weights")
    parser.add_argument("--root", type=Path, help="folder of the data sets; by default CRATE_MINI_DATA")
    add_dirty(parser)
    a = parser.parse_args()
    require_clean(a.dirty)

    card = json.loads((a.run / "model.json").read_text(encoding="utf-8"))
    if not a.card_only:
        card = _ship(a.run, a.name, card, a.root)
    TRAINING.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(a.run / "log.csv", TRAINING / f"{a.name}.csv")
    cards = json.loads(CARDS.read_text(encoding="utf-8")) if CARDS.is_file() else {}
    write(CARDS, dict(sorted((cards | {a.name: card}).items())), allow_dirty=a.dirty)


def _ship(run: Path, name: str, card: dict[str, Any], root: Path | None) -> dict[str, Any]:
    """Save the weights in half precision beside their card, and return the card, with the accuracy that is left."""
    model = load_model(run / "model.safetensors")
    target = ROOT / "crate_mini" / "weights" / f"{name}.safetensors"
    half = {"dtype": torch.float16, "classes": model.classes}
    save_model(model, target, card, **half)
    held_out, _, split = card["data"]["held_out"].partition("/")
    images = data.load(held_out, split or "val", image_size=model.config.image_size, root=root)
    if model.classes:
        card["held_out_as_shipped"] = evaluate(load_model(target), images)
    else:  # learned without labels
        known = data.load(
            card["data"]["train"].partition("/")[0], "train", image_size=images.shape[-1], root=root
        )
        card["held_out_as_shipped"] = nearest_neighbours(load_model(target), known, images)
    save_model(model, target, card, **half)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, top-1 {card['held_out_as_shipped']['top1']:.2%}")
    return json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
