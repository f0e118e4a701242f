"""``crate-mini``: train, evaluate and inspect from the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import torch

from crate_mini import data
from crate_mini.checkpoints import CheckpointError, save_model
from crate_mini.model import count_parameters, create_model, model_names
from crate_mini.provenance import provenance
from crate_mini.training import Recipe, default_device, evaluate, train


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point. Returns 0, or 2 with one line on standard error where the input was at fault."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (ValueError, FileNotFoundError, data.DataError, CheckpointError, FloatingPointError) as error:
        print(f"crate-mini: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ncrate-mini: stopped; the same command with the same --out goes on from here", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="crate-mini", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    p = commands.add_parser("train", help="train a model; run it again to resume", formatter_class=_Formatter)
    p.add_argument("--model", default="crate_mini", help=f"one of {', '.join(model_names())}")
    _add_data(p, "embedded")
    p.add_argument("--patch-size", type=int, help="default: the model's own")
    p.add_argument("--out", type=Path, required=True, help="folder for the state, the log and the weights")
    p.add_argument("--device", help="default: the best there is")
    defaults = Recipe()
    for f in fields(Recipe):
        value = getattr(defaults, f.name)
        flag = f"--{f.name.replace('_', '-')}"
        if isinstance(value, bool):
            p.add_argument(flag, action=argparse.BooleanOptionalAction, default=value)
        elif isinstance(value, tuple):
            p.add_argument(flag, type=float, nargs=2, default=value)
        else:
            p.add_argument(flag, type=float if value is None else type(value), default=value)
    p.set_defaults(run=_train)
    return parser


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    pass


def _add_data(p: argparse.ArgumentParser, default: str) -> None:
    p.add_argument("--data", default=default, choices=data.SETS, help="data set")
    p.add_argument("--root", type=Path, help="folder of the data sets; default: CRATE_MINI_DATA")
    p.add_argument("--image-size", type=int, default=64, help="pixels")
    p.add_argument("--download", action="store_true", help="fetch the data set if it is not there")


def _train(a: argparse.Namespace) -> None:
    recipe = Recipe(**{f.name: tuple(v) if isinstance(v := getattr(a, f.name), list) else v for f in fields(Recipe)})
    source = {"image_size": a.image_size, "root": a.root, "download": a.download, "progress": True}
    train_set = data.load(a.data, "train", **source)
    held_out = "val" if "val" in data.SETS[a.data][1] else "test"
    val_set = data.load(a.data, held_out, **source)
    torch.manual_seed(recipe.seed)
    model = create_model(
        a.model, image_size=a.image_size, patch_size=a.patch_size, num_classes=max(1, len(train_set.classes))
    )
    device = torch.device(a.device) if a.device else default_device()
    card = provenance(  # taken before training: the commit that was run, not the one of the day it ended
        device,
        model=a.model,
        parameters=count_parameters(model),
        data={"train": train_set.name, "images": len(train_set), "held_out": val_set.name, "tier": train_set.tier},
        recipe=asdict(recipe),
    )
    print(f"{a.model}: {count_parameters(model):,} parameters; {len(train_set):,} images on {device}", flush=True)
    run = train(model, train_set, val_set, recipe, out=a.out, device=device)
    card |= {"minutes": round(run.minutes, 1), "held_out": evaluate(model, val_set)}
    save_model(model, a.out / "model.safetensors", card, classes=train_set.classes)
    print(f"top-1 on {val_set.name}: {card['held_out']['top1']:.1%}; weights and card in {a.out}")


if __name__ == "__main__":
    sys.exit(main())
