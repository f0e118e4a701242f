"""``crate-mini train``."""

from __future__ import annotations

import argparse
import os
import textwrap
from dataclasses import asdict, fields
from functools import partial
from typing import Any

import torch

from crate_mini import data, distributed
from crate_mini.cli.common import (
    PIXELS,
    device_here,
    number,
    try_out,
    weights_file,
    weights_named,
    whole,
)
from crate_mini.cli.said import UsageError, file_or_folder
from crate_mini.data.text import EMBEDDED, open_text
from crate_mini.errors import unknown_name
from crate_mini.language import SIZES, create_language_model
from crate_mini.model import CRATE, count_parameters, create_model, model_names
from crate_mini.outputs import try_folder
from crate_mini.recipes import SETTINGS, SWEEPS, get_recipe, get_sweep, list_recipes, read_setting
from crate_mini.registry import operator_options
from crate_mini.results import provenance
from crate_mini.training import TASKS, NextToken, Recipe, Run, Task, default_device, evaluate, train
from crate_mini.training.selfsupervised import settings_of
from crate_mini.transfer import adapt
from crate_mini.weights import save_model

TEXT = "next-token"
"""The task that learns from text, and from no images."""
MOST_WORKERS = max(16, 4 * (os.cpu_count() or 1))
"""More processes that read only fill the memory, half a gigabyte each, until the system kills something."""
# what is neither given as a flag nor by a recipe
PLAIN = {
    "model": "crate_mini", "data": "embedded", "image_size": 64, "patch_size": None, "settings": {},
    "save_at": (), "start": None, "run_id": None, "task": "classification",
}  # fmt: skip
# the fields of a recipe that most trainings change; the others are flags, too, but --help leaves them to --set
OFTEN = {
    "epochs": "passes over the images",
    "batch_size": "images a step, of all processes together",
    "lr": "peak learning rate",
    "warmup_epochs": "epochs until it is reached",
    "keep_patches": "share of the patches that a step looks at",
    "precision": "auto, float32, bfloat16 or float16",
    "compile": "through torch.compile, or not",
    "seed": "of weights, order and crops",
}


def fill(p: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    p.settable = SETTINGS
    p.usage = "crate-mini train [--recipe RECIPE] [OPTIONS] --out FOLDER"
    p.description = (
        "Train a model; the same line again goes on after a stop. Without a recipe: crate_mini on the embedded set at "
        "64 pixels. Flags beside a recipe win over it."
    )
    what = p.add_argument_group("what is trained")
    what.add_argument(
        "--recipe",
        help="a recipe, such as animals, or a run of one, RECIPE/MODEL/sSEED/CHANGES: animals/vit_mini/s1, "
        "animals/crate_mini/s0/heads=3,lr=1e-3",
    )
    what.add_argument(
        "--sweep", choices=SWEEPS, metavar="SWEEP",
        help="every run of a list, one after the other, each in a folder of its own below --out",
    )  # fmt: skip
    what.add_argument(
        "--list", action="store_true", help="say which recipes, models and sweeps there are, or which runs "
        "a sweep has and how their folders are called; train nothing",
    )  # fmt: skip
    what.add_argument("--model", help="such as crate_mini or vit_tiny_8")
    what.add_argument("--start", metavar="WEIGHTS", help="a name or file to fine-tune; it says which model")
    what.add_argument("--task", choices=TASKS, metavar="TASK", help=", ".join(TASKS))
    what.add_argument(
        "--task-set", action="append", default=[], metavar="X=Y", help="a setting of it: features=256"
    )
    _add_data(p.add_argument_group("data"))
    how = p.add_argument_group("how (without a flag: as the recipe says)")
    for f in fields(Recipe):
        _add_field(how, f.name, getattr(Recipe(), f.name))
    how.add_argument(
        "--patch-size", type=PIXELS, metavar="N", help="pixels; without a recipe the model's own"
    )
    told = {*OFTEN, "data", "start", "image_size", "patch_size", *operator_options()}
    rest = ", ".join(k for k in SETTINGS if k not in told)
    how.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE",
        help=f"any of these, options of operators, and {rest}. Such as --set optimizer=lion --set crop_area=0.25:1 "
        "--set clip_norm=none",
    )  # fmt: skip
    run = p.add_argument_group("running")
    run.add_argument("--out", type=file_or_folder, metavar="FOLDER", help="for state, log and weights")
    run.add_argument(
        "--device", type=device_here, help="cpu, cuda, cuda:1, mps; by default the best there is"
    )
    run.add_argument(
        "--save-at", type=number(lambda x: 0 <= x < 1, "lie in [0, 1)"), nargs="*", metavar="SHARE",
        help="keep the weights at these shares of the training: 0.05 writes at05.safetensors",
    )  # fmt: skip
    run.add_argument(
        "--tensorboard", type=file_or_folder, metavar="DIR", help="write the numbers for TensorBoard, too"
    )
    run.add_argument(
        "--rehearse", action="store_true", help="one epoch of 64 embedded images, to see that all works"
    )
    p.set_defaults(run=_train, **dict.fromkeys(PLAIN))  # None: not given


def _add_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--data", choices=data.SETS, metavar="SET", help="which; crate-mini data lists them")
    group.add_argument(
        "--root",
        type=file_or_folder,
        metavar="FOLDER",
        help="of the sets; by default CRATE_MINI_DATA; or a text",
    )
    group.add_argument("--image-size", type=PIXELS, metavar="N", help="pixels")
    group.add_argument("--download", action="store_true", help="fetch the set if it is not there")
    group.add_argument(
        "--stream", action="store_true", help="read while training goes on: for sets larger than memory"
    )
    group.add_argument(
        "--workers", type=whole(0, MOST_WORKERS), metavar="N", help="processes that read a stream"
    )


def _add_field(group: argparse._ArgumentGroup, name: str, value: Any) -> None:
    """A flag for a field of the recipe, whose default has this value."""
    told = {"default": None, "help": OFTEN.get(name, argparse.SUPPRESS)}
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        group.add_argument(flag, action=argparse.BooleanOptionalAction, **told)
    elif isinstance(value, tuple):
        group.add_argument(flag, type=number(), nargs=len(value), **told)
    elif isinstance(value, str):
        group.add_argument(flag, **told)
    else:
        kind, shown = (whole(), "N") if isinstance(value, int) else (number(), "X")
        group.add_argument(flag, type=kind, metavar=shown, **told)


def _train(a: argparse.Namespace) -> None:
    if a.sweep and a.recipe:
        raise ValueError("--sweep trains a list of runs, --recipe one of them: give either")
    if a.list:
        _list(a.sweep)
    elif a.sweep:
        _sweep(a)
    else:
        _train_one(a)


def _list(sweep: str | None) -> None:
    """A line for each run of a sweep: its id, and its name; without a sweep, what there is to choose from."""
    if sweep:
        runs = get_sweep(sweep)
        width = max(len(str(run)) for run in runs.values())
        print("\n".join(f"{run!s:<{width}}  {name}" for name, run in runs.items()))
        return
    print("recipes, by default for")
    for name, named in list_recipes().items():
        recipe = named.recipe
        print(f"  {name:<18} {named.model:<14} {named.data:<22} {recipe.epochs} epochs, {recipe.optimizer}")
    print("sweeps: their runs by crate-mini train --sweep NAME --list")
    for name in SWEEPS:
        print(f"  {name:<18} {len(get_sweep(name))} runs")
    print("models")
    print(textwrap.fill(", ".join(model_names()), 100, initial_indent="  ", subsequent_indent="  "))


def _sweep(a: argparse.Namespace) -> None:
    """Every run of a sweep that has not ended yet."""
    _needs_out(a)
    for name, run in get_sweep(a.sweep).items():
        out = a.out / name
        if not (out / "model.json").is_file():
            _train_one(argparse.Namespace(**vars(a) | {"recipe": str(run), "out": out}))


def _needs_out(a: argparse.Namespace) -> None:
    if a.out is None:
        raise ValueError("--out is missing: the folder for state, log and weights")


def _train_one(a: argparse.Namespace) -> None:
    _needs_out(a)
    a = _filled_in(a)
    _task(a, Recipe.from_dict({f.name: getattr(a, f.name) for f in fields(Recipe)}))
    if a.start:
        weights_file(a.start)  # says so now, where there are none
    elif a.task != TEXT:
        with torch.device("meta"):  # and what does not fit, without making it
            create_model(a.model, image_size=a.image_size, patch_size=a.patch_size, **a.settings)
    try_out(a.out)
    if a.tensorboard:
        try_folder(a.tensorboard)
    with distributed.processes(a.device) as device:
        _train_here(a, device or default_device())


def _filled_in(a: argparse.Namespace) -> argparse.Namespace:
    """Every setting: as the flag says, else as the recipe says, else the default."""
    given = {k: v for k, v in vars(a).items() if v is not None}
    if a.task == TEXT:
        given = {"model": "crate_text"} | given
    changes = _changes(given)
    if a.recipe:
        named = get_recipe(a.recipe, **changes)
        settings = {k: getattr(named, k) for k in PLAIN if k != "run_id"} | asdict(named.recipe)
        settings |= {"run_id": str(named.run)}
    else:
        settings = PLAIN | asdict(Recipe()) | {k: v for k, v in changes.items() if k not in _shape()}
        settings["settings"] = {k: v for k, v in changes.items() if k in _shape()}
        if "warmup_epochs" not in changes:
            settings["warmup_epochs"] = min(settings["warmup_epochs"], settings["epochs"])
    if settings["start"] and (given.keys() & {"model", "patch_size"} or settings["settings"]):
        raise ValueError(
            f"training starts from the weights {settings['start']}, which say what model it is: leave out --model, "
            "--patch-size and what --set says of the model, or --start"
        )
    if (settings["task"] == TEXT) != (settings["model"] in SIZES):
        raise ValueError(f"the models {', '.join(SIZES)} go with --task {TEXT}, and no others do")
    if settings["data"] not in data.SETS:
        raise ValueError(unknown_name("data set", settings["data"], data.SETS))
    settings = settings | {k: v for k, v in vars(a).items() if k not in settings}
    if a.save_at is not None:
        settings["save_at"] = a.save_at
    if a.rehearse:
        few = {"data": "embedded", "epochs": 1, "batch_size": min(64, settings["batch_size"]), "save_at": ()}
        settings |= few | {
            "warmup_epochs": min(1, settings["warmup_epochs"]),
            "stream": False,
            "compile": False,
        }
        if (settings["start"] or "").endswith(".safetensors"):
            settings["start"] = None  # what an earlier training would have written
    if settings["start"]:
        settings["model"] = settings["start"]  # the weights tell
    return argparse.Namespace(**settings)


def _shape() -> set[str]:
    """Fields of a run that are of the model alone."""
    return set(SETTINGS) - {f.name for f in fields(Recipe)} - set(PLAIN)


def _changes(given: dict[str, Any]) -> dict[str, Any]:
    """What flags and ``--set`` say of the model, the data and the recipe."""
    changes = {k: v for k, v in given.items() if k in SETTINGS or k in ("model", "seed")}
    changes |= {k: tuple(v) for k, v in changes.items() if isinstance(v, list)}
    for text in given["set"]:
        try:
            name, value = read_setting(text)
        except ValueError as error:
            raise UsageError(f"--set {text}: {error}") from error
        if name in changes:
            raise UsageError(f"{name} is given twice")
        changes[name] = value
    return changes


def _sets(a: argparse.Namespace, progress: bool, task: Task) -> tuple[Any, Any]:
    """What is learned from, and what is held out."""
    if isinstance(task, NextToken):
        rehearsed = {"source": EMBEDDED, "n": 5000} if a.rehearse else {}
        return open_text(window=task.length, root=a.root, **rehearsed)
    source = {"image_size": a.image_size, "root": a.root, "download": a.download, "progress": progress}
    source |= {"n": 64} if a.rehearse else {}
    look = partial(data.open_stream, workers=a.workers) if a.stream else data.load
    held_out = "val" if "val" in data.SETS[a.data].splits else "test"
    return tuple(look(a.data, split, **source) for split in ("train", held_out))


def _model(a: argparse.Namespace, num_classes: int) -> CRATE:
    """Where training starts: fresh weights, or given ones with a fresh classifier."""
    if a.start:
        return adapt(weights_named(a.start), num_classes=num_classes, image_size=a.image_size, seed=a.seed)
    torch.manual_seed(a.seed)
    sizes = {"image_size": a.image_size, "patch_size": a.patch_size, "num_classes": num_classes}
    return create_model(a.model, **sizes, **a.settings)


def _task(a: argparse.Namespace, recipe: Recipe) -> Task:
    """What is learned, with the settings that were given."""
    known, changes = settings_of(TASKS[a.task]), {}
    for text in a.task_set:
        name, _, value = text.partition("=")
        if name not in known:
            there = f"it has {', '.join(known)}" if known else "it has none"
            raise UsageError(f"--task-set {text}: {a.task} has no setting {name!r}; {there}")
        try:
            changes[name] = _like(known[name], value)
        except ValueError:
            raise UsageError(f"--task-set {text}: expected a value such as {known[name]}") from None
    return TASKS[a.task](recipe, **changes)


def _like(default: Any, text: str) -> Any:
    """What a text says, of the type that a setting has."""
    if isinstance(default, tuple):
        low, high = text.split(":")
        return float(low), float(high)
    return text if isinstance(default, str) else int(text) if default is None else type(default)(text)


def _train_here(a: argparse.Namespace, device: torch.device) -> None:
    """The training as this process takes part in it; rank 0 talks and writes."""
    given = {f.name: getattr(a, f.name) for f in fields(Recipe)}
    recipe = Recipe.from_dict(given)
    first = distributed.rank() == 0
    task = _task(a, recipe)
    with distributed.first_rank_first():
        train_set, val_set = _sets(a, first, task)
    if isinstance(task, NextToken):
        torch.manual_seed(a.seed)
        model, kind = create_language_model(a.model, train_set.alphabet, task.length, **a.settings), "windows"
    else:
        model, kind = _model(a, max(1, len(train_set.classes) if task.classifies else 1)), "images"
    size = count_parameters(model)
    card = provenance(  # taken before training: the commit that was run, not the one of the day it ended
        device,
        model=a.model,
        task={"name": a.task, **task.settings()},
        **({"run": a.run_id} if a.run_id and not a.rehearse else {}),
        **({"start": a.start} if a.start else {}),
        parameters=size,
        data={
            "train": train_set.name, kind: len(train_set), "held_out": val_set.name, "tier": train_set.tier,
        },
        recipe=asdict(recipe),
        processes=distributed.world_size(),
    )  # fmt: skip
    if first:
        print(f"{a.model}: {size:,} parameters; {len(train_set):,} {kind} on {device}", flush=True)
    board = None
    if a.tensorboard and first:
        from crate_mini.logbook import TensorBoardLog  # draws, and brings what draws

        board = TensorBoardLog(a.tensorboard, val_set if task.classifies and not a.stream else None)
    run = train(
        model, train_set, val_set, recipe, task=task, out=a.out, device=device, save_at=a.save_at, card=card,
        callbacks=[] if board is None else [board],
    )  # fmt: skip
    held_out = evaluate(model, val_set) if task.classifies else _last(run)
    card |= {"minutes": round(run.minutes, 1), "held_out": held_out}
    card["task"] |= task.settings()  # with what the images have decided
    if first:
        classes = train_set.classes if task.classifies else ()
        save_model(task.outcome(model), a.out / "model.safetensors", card, classes=classes)
        said = (
            f"top-1 on {val_set.name}: {held_out['top1']:.1%}"
            if task.classifies
            else f"on {val_set.name}: {', '.join(f'{k} {v:.3f}' for k, v in held_out.items())}"
        )
        print(f"{said}; weights and card in {a.out}")


def _last(run: Run) -> dict[str, float]:
    """What was measured after the last epoch."""
    return {k.removeprefix("val_"): v for k, v in run.history[-1].items() if k.startswith("val_")}
