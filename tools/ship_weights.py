"""Put a finished training into the package, or only what is told of it into the results.

    python tools/ship_weights.py runs/NAME NAME
    python tools/ship_weights.py runs/NAME NAME --card-only
    python tools/ship_weights.py --again NAME NAME          measure what is shipped anew

Weights are halved to float16; the card keeps how they came about and gains accuracy and calibration of what is shipped,
or the accuracy of its nearest neighbours where it has learned no classes. The log goes to
``results/training/NAME.csv``, the card also to ``results/training/cards.json``, which holds those of all trainings,
shipped or not.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from crate_mini import data
from crate_mini.calibration import report
from crate_mini.cli.accuracy import measured
from crate_mini.outputs import write_atomically
from crate_mini.results import add_dirty, plain, require_clean, result_text, write
from crate_mini.transfer import nearest_neighbours
from crate_mini.weights import load_model, save_model

ROOT = Path(__file__).resolve().parent.parent
TRAINING = ROOT / "results" / "training"
CARDS = TRAINING / "cards.json"
WEIGHTS = ROOT / "crate_mini" / "weights"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, nargs="?", help="folder that crate-mini train wrote")
    parser.add_argument("name", nargs="?", help="name for load_pretrained")
    parser.add_argument(
        "--again", nargs="+", metavar="NAME", help="measure these shipped weights, and no training"
    )
    parser.add_argument("--card-only", action="store_true", help="keep log and card, not the weights")
    parser.add_argument("--root", type=Path, help="folder of the data sets; by default CRATE_MINI_DATA")
    add_dirty(parser)
    a = parser.parse_args()
    if (a.name is None) == (a.again is None):
        parser.error("wants either a folder and a name, or --again with names")
    require_clean(a.dirty)

    if a.again:
        _keep({name: _measure_again(name, a.root) for name in a.again}, a.dirty)
        return
    card = json.loads((a.run / "model.json").read_text(encoding="utf-8"))
    if not a.card_only:
        card = _ship(a.run, a.name, card, a.root)
    TRAINING.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(a.run / "log.csv", TRAINING / f"{a.name}.csv")
    _keep({a.name: card}, a.dirty)


def _keep(new: dict[str, dict[str, Any]], dirty: bool) -> None:
    cards = json.loads(CARDS.read_text(encoding="utf-8")) if CARDS.is_file() else {}
    write(CARDS, dict(sorted((cards | new).items())), allow_dirty=dirty)


def _ship(run: Path, name: str, card: dict[str, Any], root: Path | None) -> dict[str, Any]:
    """Save the weights in half precision beside their card, and return the card, with the accuracy that is left."""
    model = load_model(run / "model.safetensors")
    target = WEIGHTS / f"{name}.safetensors"
    half = {"dtype": torch.float16, "classes": model.classes}
    save_model(model, target, card, **half)
    card["held_out_as_shipped"] = _measured(target, card, root)
    save_model(model, target, card, **half)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, top-1 {card['held_out_as_shipped']['top1']:.2%}")
    return json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))


def _measure_again(name: str, root: Path | None) -> dict[str, Any]:
    """The card of shipped weights with what they are worth, measured now."""
    target = WEIGHTS / f"{name}.safetensors"
    card = json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))
    card["held_out_as_shipped"] = _measured(target, card, root)
    text = result_text(card)
    write_atomically(target.with_suffix(".json"), lambda t: t.write_text(text, encoding="utf-8"))
    print(f"{name}: {card['held_out_as_shipped']}")
    return card


def _measured(weights: Path, card: dict[str, Any], root: Path | None) -> dict[str, Any]:
    """What weights are worth on their held-out pictures: accuracy, and how sure they are beside how often right.

    ``calibration_error`` is the gap between the two in bins of equal mass, ``calibration_floor`` that of a perfect
    model; the temperature is the one that would be best for half of the pictures.
    """
    model = load_model(weights)
    held_out, _, split = card["data"]["held_out"].partition("/")
    images = data.load(held_out, split or "val", image_size=model.config.image_size, root=root)
    if not model.classes:  # learned without labels
        known = data.load(
            card["data"]["train"].partition("/")[0], "train", image_size=images.shape[-1], root=root
        )
        return nearest_neighbours(model, known, images)
    accuracy, logits = measured(model, images)
    found = report(logits, images.labels)
    told = {"confidence": "confidence", "calibration_error": "ece_mass", "calibration_floor": "floor_mass"}
    best = found["temperature"]  # None where no temperature is best
    calibrated = {name: plain(found[key], 4) for name, key in told.items()}
    return accuracy | calibrated | {"temperature": best if best is None else plain(best, 4)}


if __name__ == "__main__":
    main()
