"""``crate-mini train``."""

from __future__ import annotations

import argparse
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path

import torch

from crate_mini import data, distributed
from crate_mini.checkpoints import save_model
from crate_mini.cli.common import DEFAULTS, WEIGHTS, add_data, weights_named
from crate_mini.model import CRATE, count_parameters, create_model, model_names
from crate_mini.provenance import provenance
from crate_mini.recipes import get_recipe, list_recipes
from crate_mini.training import Recipe, default_device, evaluate, train
from crate_mini.transfer import adapt

# what is neither given as a flag nor by a named recipe
PLAIN = {
    "model": "crate_mini", "data": "embedded", "image_size": 64, "patch_size": None, "settings": {},
    "save_at": (), "start": None,
}  # fmt: skip


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    told = "Without a recipe: crate_mini on the embedded set at 64 pixels. Flags given beside a recipe win over it."
    p = commands.add_parser(
        "train", help="train a model; run it again to resume", description=told, **DEFAULTS
    )
    p.add_argument(
        "--recipe", choices=list_recipes(), metavar="NAME",
        help=f"model, data and settings by name: one of {', '.join(list_recipes())}",
    )  # fmt: skip
    p.add_argument(
        "--rehearse",
        action="store_true",
        help="one epoch of 64 images of the embedded set, to see that all works",
    )
    p.add_argument("--start", help=f"weights to fine-tune: {WEIGHTS}; the model is theirs then")
    p.add_argument("--model", help=f"one of {', '.join(model_names())}")
    add_data(p, "embedded")
    p.add_argument(
        "--stream",
        action="store_true",
        help="read images while training goes on: for sets larger than the memory",
    )
    p.add_argument(
        "--workers", type=int, help="with --stream: processes that read; by default what cores are left"
    )
    p.add_argument("--patch-size", type=int, help="pixels; by default the model's own")
    p.add_argument("--out", type=Path, required=True, help="folder for the state, the log and the weights")
    p.add_argument(
        "--tensorboard", type=Path, metavar="FOLDER", help="write the numbers there for TensorBoard, too"
    )
    p.add_argument("--device", help="by default the best there is")
    p.add_argument(
        "--save-at", type=float, nargs="*", metavar="SHARE",
        help="keep the weights at these shares of the training: 0.05 writes at05.safetensors",
    )  # fmt: skip
    recipe = Recipe()
    for f in fields(Recipe):
        value, flag = getattr(recipe, f.name), f"--{f.name.replace('_', '-')}"
        told = {"default": argparse.SUPPRESS, "help": f"(default: {value}, or the recipe's)"}
        if isinstance(value, bool):
            p.add_argument(flag, action=argparse.BooleanOptionalAction, **told)
        elif isinstance(value, tuple):
            p.add_argument(flag, type=float, nargs=2, metavar=("MIN", "MAX"), **told)
        else:
            p.add_argument(flag, type=float if value is None else type(value), **told)
    p.set_defaults(run=_train, **dict.fromkeys(PLAIN))  # None: not given


def _train(a: argparse.Namespace) -> None:
    a = _filled_in(a)
    with distributed.processes(a.device) as device:
        _train_here(a, device or default_device())


def _filled_in(a: argparse.Namespace) -> argparse.Namespace:
    """Every setting: as the flag says, else as the named recipe says, else the default."""
    settings = PLAIN | asdict(Recipe())
    if a.recipe:
        named = get_recipe(a.recipe)
        settings |= {name: getattr(named, name) for name in PLAIN} | asdict(named.recipe)
    settings |= {k: v for k, v in vars(a).items() if v is not None or k not in settings}
    if a.rehearse:
        few = {"data": "embedded", "epochs": 1, "batch_size": min(64, settings["batch_size"]), "save_at": ()}
        few |= {"stream": False}
        settings |= few | {"compile": False}
        if (settings["start"] or "").endswith(".safetensors"):
            settings["start"] = None  # what an earlier training would have written
    if settings["start"]:
        settings["model"] = settings["start"]  # whatever the flag says: the weights tell
    return argparse.Namespace(**settings)


def _model(a: argparse.Namespace, num_classes: int) -> CRATE:
    """Where training starts: fresh weights, or given ones with a fresh classifier."""
    if a.start:
        return adapt(weights_named(a.start), num_classes=num_classes, image_size=a.image_size, seed=a.seed)
    torch.manual_seed(a.seed)
    sizes = {"image_size": a.image_size, "patch_size": a.patch_size, "num_classes": num_classes}
    return create_model(a.model, **sizes, **a.settings)


def _train_here(a: argparse.Namespace, device: torch.device) -> None:
    """The training as this process takes part in it; rank 0 talks and writes."""
    given = {f.name: getattr(a, f.name) for f in fields(Recipe)}
    recipe = Recipe.from_dict(given)
    first = distributed.rank() == 0
    source = {"image_size": a.image_size, "root": a.root, "download": a.download, "progress": first}
    source |= {"n": 64} if a.rehearse else {}
    look = partial(data.open_stream, workers=a.workers) if a.stream else data.load
    held_out = "val" if "val" in data.SETS[a.data].splits else "test"
    with distributed.first_rank_first():
        train_set, val_set = (look(a.data, split, **source) for split in ("train", held_out))
    model = _model(a, max(1, len(train_set.classes)))
    size = count_parameters(model)
    card = provenance(  # taken before training: the commit that was run, not the one of the day it ended
        device,
        model=a.model,
        **({"start": a.start} if a.start else {}),
        parameters=size,
        data={
            "train": train_set.name, "images": len(train_set), "held_out": val_set.name, "tier": train_set.tier,
        },
        recipe=asdict(recipe),
        processes=distributed.world_size(),
    )  # fmt: skip
    if first:
        print(f"{a.model}: {size:,} parameters; {len(train_set):,} images on {device}", flush=True)
    board = None
    if a.tensorboard and first:
        from crate_mini.logbook import TensorBoardLog  # draws, and brings what draws

        board = TensorBoardLog(a.tensorboard, None if a.stream else val_set)
    run = train(
        model, train_set, val_set, recipe, out=a.out, device=device, save_at=a.save_at, card=card,
        **({} if board is None else {"on_step": board.on_step, "on_epoch": board.on_epoch}),
    )  # fmt: skip
    card |= {"minutes": round(run.minutes, 1), "held_out": evaluate(model, val_set)}
    if first:
        save_model(model, a.out / "model.safetensors", card, classes=train_set.classes)
        print(f"top-1 on {val_set.name}: {card['held_out']['top1']:.1%}; weights and card in {a.out}")
