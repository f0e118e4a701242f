"""What tying MSSA's output to its input costs: the same small CRATE trained both ways on the embedded images.

The tied form is the derivation's, ``sum_k SSA_k U_k'``; the free form learns an output map, as the released code
does. Same pictures, same recipe, same seeds; accuracy is on pictures that neither has seen.

    python benchmarks/bench_tied.py                   the full measurement, about five minutes on one core
    python benchmarks/bench_tied.py --epochs 1 --images 200 --seeds 1 --no-write    a quick look
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import torch

from crate_mini import data
from crate_mini.model import count_parameters, create_model
from crate_mini.results import add_dirty, provenance, require_clean, write
from crate_mini.training import Recipe, evaluate, train

RESULT = Path(__file__).resolve().parent.parent / "results" / "derivation" / "tied.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--no-write", action="store_true", help="print only")
    add_dirty(parser)
    args = parser.parse_args()
    if not args.no_write:
        require_clean(args.dirty)

    train_set = data.load("embedded", "train", n=args.images)
    val_set, test_set = (data.load("embedded", split, n=1000) for split in ("val", "test"))
    rows = []
    for seed in range(args.seeds):
        for tied in (False, True):
            recipe = Recipe(
                epochs=args.epochs, batch_size=32, lr=2e-3, warmup_epochs=1, crop_area=(0.6, 1.0), seed=seed
            )
            torch.manual_seed(seed)
            model = create_model("crate_nano", num_classes=len(train_set.classes), tied=tied)
            run = train(model, train_set, val_set, recipe, device="cpu", progress=False)
            rows.append(
                {
                    "tied": tied,
                    "seed": seed,
                    "parameters": count_parameters(model),
                    "train_loss": round(run["train_loss"][-1], 4),
                    "test_top1": round(evaluate(model, test_set)["top1"], 4),
                    "minutes": round(run.minutes, 2),
                }
            )
            print(rows[-1], flush=True)
    result = {
        "setting": {
            "model": "crate_nano",
            "images": args.images,
            "test_images": 1000,
            "recipe": asdict(recipe),
        },
        "rows": rows,
    } | provenance("cpu")
    if not args.no_write:
        write(RESULT, result, allow_dirty=args.dirty)


if __name__ == "__main__":
    main()
