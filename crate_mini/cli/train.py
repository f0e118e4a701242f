"""``crate-mini train``."""

from __future__ import annotations

import argparse
from dataclasses import asdict, fields
from pathlib import Path

import torch

from crate_mini import data, distributed
from crate_mini.checkpoints import save_model
from crate_mini.cli.common import DEFAULTS, add_data
from crate_mini.model import count_parameters, create_model, model_names
from crate_mini.provenance import provenance
from crate_mini.training import Recipe, default_device, evaluate, train


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    p = commands.add_parser("train", help="train a model; run it again to resume", **DEFAULTS)
    p.add_argument("--model", default="crate_mini", help=f"one of {', '.join(model_names())}")
    add_data(p, "embedded")
    p.add_argument("--patch-size", type=int, help="pixels; by default the model's own")
    p.add_argument("--out", type=Path, required=True, help="folder for the state, the log and the weights")
    p.add_argument("--device", help="by default the best there is")
    p.add_argument(
        "--save-at", type=float, nargs="*", default=(), metavar="SHARE",
        help="keep the weights at these shares of the training: 0.05 writes at05.safetensors",
    )  # fmt: skip
    recipe = Recipe()
    for f in fields(Recipe):
        value, flag = getattr(recipe, f.name), f"--{f.name.replace('_', '-')}"
        if isinstance(value, bool):
            p.add_argument(flag, action=argparse.BooleanOptionalAction, default=value, help=" ")
        elif isinstance(value, tuple):
            p.add_argument(flag, type=float, nargs=2, default=value, help=" ", metavar=("MIN", "MAX"))
        else:
            p.add_argument(flag, type=float if value is None else type(value), default=value, help=" ")
    p.set_defaults(run=_train)


def _train(a: argparse.Namespace) -> None:
    with distributed.processes(a.device) as device:
        _train_here(a, device or default_device())


def _train_here(a: argparse.Namespace, device: torch.device) -> None:
    """The training as this process takes part in it; rank 0 talks and writes."""
    given = {f.name: getattr(a, f.name) for f in fields(Recipe)}
    recipe = Recipe.from_dict(given)
    first = distributed.rank() == 0
    source = {"image_size": a.image_size, "root": a.root, "download": a.download, "progress": first}
    held_out = "val" if "val" in data.SETS[a.data][1] else "test"
    with distributed.first_rank_first():
        train_set, val_set = (data.load(a.data, split, **source) for split in ("train", held_out))
    torch.manual_seed(recipe.seed)
    model = create_model(
        a.model, image_size=a.image_size, patch_size=a.patch_size, num_classes=max(1, len(train_set.classes))
    )
    size = count_parameters(model)
    card = provenance(  # taken before training: the commit that was run, not the one of the day it ended
        device,
        model=a.model,
        parameters=size,
        data={
            "train": train_set.name, "images": len(train_set), "held_out": val_set.name, "tier": train_set.tier,
        },
        recipe=asdict(recipe),
        processes=distributed.world_size(),
    )  # fmt: skip
    if first:
        print(f"{a.model}: {size:,} parameters; {len(train_set):,} images on {device}", flush=True)
    run = train(model, train_set, val_set, recipe, out=a.out, device=device, save_at=a.save_at, card=card)
    card |= {"minutes": round(run.minutes, 1), "held_out": evaluate(model, val_set)}
    if first:
        save_model(model, a.out / "model.safetensors", card, classes=train_set.classes)
        print(f"top-1 on {val_set.name}: {card['held_out']['top1']:.1%}; weights and card in {a.out}")
