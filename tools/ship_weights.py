"""Put a finished training into the package: ``python tools/ship_weights.py runs/NAME NAME``.

Weights are halved to float16; the card keeps how they came about and gains the accuracy of what is shipped. The log
goes to ``results/training/``.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch

from crate_mini import data
from crate_mini.checkpoints import load_model, save_model
from crate_mini.training import evaluate

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder that crate-mini train wrote")
    parser.add_argument("name", help="name for load_pretrained")
    parser.add_argument("--root", type=Path, help="folder of the data sets; by default CRATE_MINI_DATA")
    a = parser.parse_args()

    card = json.loads((a.run / "model.json").read_text(encoding="utf-8"))
    model = load_model(a.run / "model.safetensors")
    target = ROOT / "crate_mini" / "weights" / f"{a.name}.safetensors"
    half = {"dtype": torch.float16, "classes": model.classes}
    save_model(model, target, card, **half)
    name, _, split = card["data"]["held_out"].partition("/")
    held_out = data.load(name, split or "val", image_size=model.config.image_size, root=a.root)
    card["held_out_as_shipped"] = evaluate(load_model(target), held_out)
    save_model(model, target, card, **half)
    (ROOT / "results" / "training").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(a.run / "log.csv", ROOT / "results" / "training" / f"{a.name}.csv")
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, top-1 {card['held_out_as_shipped']['top1']:.2%}")


if __name__ == "__main__":
    main()
