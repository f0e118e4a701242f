"""Train one network of the flagship family: the segmentation paper's width, all 200 classes of Tiny-ImageNet.

The recipe ``flagship`` of crate_mini.recipes, trained as ``crate-mini train`` does it but for one thing: after each
epoch 1,000 held-out images are looked at, an even draw; all 10,000 once, at the end. A run that was stopped goes on
from what it saved.

    CRATE_MINI_DATA=... python tools/train_flagship.py crate --seed 0 --out runs/flagship_crate_s0
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import torch

from crate_mini import data
from crate_mini.model import count_parameters
from crate_mini.provenance import provenance
from crate_mini.recipes import SMALL, RunId, get_recipe
from crate_mini.training import default_device, evaluate, train
from crate_mini.weights import save_model


def main() -> None:
    """Train, evaluate, save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", choices=SMALL)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    name, changes = SMALL[a.network]
    planned = get_recipe(RunId("flagship", name, a.seed, changes))
    recipe, device = planned.recipe, default_device()
    train_set = data.load("tiny-imagenet", "train", image_size=64)
    held_out = data.load("tiny-imagenet", "val", image_size=64)
    some = held_out.subset(torch.randperm(len(held_out), generator=torch.Generator().manual_seed(0))[:1000])
    model = planned.create_model(len(train_set.classes))
    size = count_parameters(model)
    card = provenance(  # before the training: the commit that was run
        device, model=name, run=str(planned.run), parameters=size, recipe=asdict(recipe),
        data={"train": train_set.name, "images": len(train_set), "held_out": held_out.name, "tier": train_set.tier},
    )  # fmt: skip
    print(f"{name}: {size:,} parameters; {len(train_set):,} images on {device}", flush=True)
    run = train(model, train_set, some, recipe, out=a.out, device=device, card=card)
    card |= {"minutes": round(run.minutes, 1), "held_out": evaluate(model, held_out, batch_size=64)}
    save_model(model, a.out / "model.safetensors", card, classes=train_set.classes)
    print(f"top-1 on all of {held_out.name}: {card['held_out']['top1']:.1%}; weights and card in {a.out}")


if __name__ == "__main__":
    main()
