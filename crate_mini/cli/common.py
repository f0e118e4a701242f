"""What several commands share: options and their ranges, devices, weights by name, images to look at, results."""

from __future__ import annotations

import argparse
import difflib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from crate_mini import data
from crate_mini.cli.said import file_or_folder, note
from crate_mini.model import CRATE
from crate_mini.outputs import refuse_special, try_folder
from crate_mini.results import add_dirty, require_clean, result_text, write
from crate_mini.training import default_device
from crate_mini.weights import CheckpointError, list_pretrained, load_weights

WEIGHTS = (
    "a name, a .safetensors file or a folder of crate-mini train (a wrong name lists those of the package)"
)
LARGEST_SIDE = 4096  # pixels; attention needs the square of the patches in memory


# --- values that a flag may have -------------------------------------------------------------------------------------


def whole(least: int | None = None, most: int | None = None) -> Callable[[str], int]:
    """A type for argparse: whole numbers in a range."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None
        if least is not None and value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        if most is not None and value > most:
            raise argparse.ArgumentTypeError(f"must be at most {most:,}, got {value}")
        return value

    return read


def number(
    fits: Callable[[float], bool] = lambda x: True, wanted: str = "be finite"
) -> Callable[[str], float]:
    """A type for argparse: finite numbers that fit; ``wanted`` goes on after *must*."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None
        if not (math.isfinite(value) and fits(value)):
            raise argparse.ArgumentTypeError(f"must {wanted}, got {text}")
        return value

    return read


POSITIVE = number(lambda x: x > 0, "be positive")
NOT_NEGATIVE = number(lambda x: x >= 0, "not be negative")
SHARE = number(lambda x: 0 < x <= 1, "lie in (0, 1]")
COUNT, INDEX, SEED, PIXELS = whole(1), whole(0), whole(0, 10**12), whole(1, LARGEST_SIDE)


def device_here(text: str) -> str:
    """A type for argparse: a device that is here."""
    try:
        asked = torch.device(text)
    except RuntimeError:
        asked = None
    if asked is None or asked.type not in ("cpu", "cuda", "mps"):
        raise argparse.ArgumentTypeError(f"must be cpu, cuda, cuda:0, cuda:1, ... or mps, got {text!r}")
    best = f"leave it out to use the best there is, {default_device()}"
    if asked.type == "cuda":
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if gpus == 0:
            why = (
                "is built without CUDA" if torch.version.cuda is None else "finds no NVIDIA GPU with a driver"
            )
            raise argparse.ArgumentTypeError(f"must be there, but this PyTorch {why}; {best}")
        if (asked.index or 0) >= gpus:
            raise argparse.ArgumentTypeError(
                f"must be one of the GPUs here, cuda:0 to cuda:{gpus - 1}; got {text}"
            )
    if asked.type == "mps" and not torch.backends.mps.is_available():
        raise argparse.ArgumentTypeError(
            f"must be there, but there is no Apple GPU that PyTorch can use; {best}"
        )
    return text


# --- options ---------------------------------------------------------------------------------------------------------


def add_data(p: argparse._ActionsContainer, default: str | None, image_size: int | None = 64) -> None:
    """Options that say which data set; by default that of the weights where ``default`` is None."""
    of_weights = "; by default the weights'" if default is None else ""
    p.add_argument(
        "--data",
        default=default,
        choices=data.SETS,
        metavar="SET",
        help=f"one of {', '.join(data.SETS)}{of_weights}",
    )
    p.add_argument(
        "--root", type=file_or_folder, metavar="FOLDER", help="of the data sets; by default CRATE_MINI_DATA"
    )
    of_weights = "; by default the weights'" if image_size is None else ""
    p.add_argument("--image-size", type=PIXELS, metavar="N", default=image_size, help=f"pixels{of_weights}")
    p.add_argument("--download", action="store_true", help="fetch the data set if it is not there")


def add_letterbox(p: argparse._ActionsContainer) -> None:
    """The option that keeps all of every picture; goes with :func:`add_data`, for what is scored against masks."""
    p.add_argument(
        "--letterbox",
        action="store_true",
        help="all of every picture with bars around, not its centre square",
    )


def add_layers(p: argparse._ActionsContainer, which: str) -> None:
    """The option that chooses layers; ``which`` says what is done with them."""
    p.add_argument(
        "--layers",
        type=whole(),
        metavar="N",
        nargs="+",
        help=f"{which}; by default all, one by one",
    )


def add_evaluation(p: argparse._ActionsContainer) -> None:
    """Options that every measurement of weights on a data set takes; goes with :func:`add_data`."""
    p.add_argument("--weights", default="crate_mini_all_lion_s0", help=WEIGHTS)
    p.add_argument("--split", help="by default the weights' held-out one, or the last that the set has")
    p.add_argument("--n", type=COUNT, help="images to draw; by default all")
    p.add_argument("--seed", type=SEED, metavar="N", default=0, help="of the draw")
    p.add_argument("--untrained", action="store_true", help="fresh random weights of the same architecture")
    p.add_argument("--device", type=device_here, help="cpu, cuda, cuda:1, mps; by default the best there is")
    p.add_argument(
        "--out", type=file_or_folder, metavar="FILE", help="write the numbers, with their provenance, as JSON"
    )
    p.add_argument("--json", action="store_true", help="print that JSON in place of a table")
    add_dirty(p)


# --- weights and images ----------------------------------------------------------------------------------------------


def model_and_images(a: argparse.Namespace) -> tuple[CRATE, data.ImageSet, torch.device]:
    """What is measured: the model on its device, and the images; ``a`` gains what was not given.

    Without ``--data`` the images are those that were held out when the weights were trained.
    """
    if a.out is not None:
        try_file(a.out, a.weights, *([a.choice_from] if getattr(a, "choice_from", None) else []))
        require_clean(a.dirty)
    device = torch.device(a.device) if a.device else default_device()
    model = weights_named(a.weights)
    _fill_in(a, model)
    _must_be_whole_patches(a, model)
    if a.untrained:
        classes = getattr(model, "classes", ())
        torch.manual_seed(a.seed)
        model = CRATE(model.config).eval()
        model.classes = classes
    model.to(device)
    images = data.load(
        a.data,
        a.split,
        image_size=a.image_size,
        n=a.n,
        seed=a.seed,
        root=a.root,
        download=a.download,
        letterbox=getattr(a, "letterbox", False),
    )
    return model, images, device


def _fill_in(a: argparse.Namespace, model: CRATE) -> None:
    """Data, split and image size that were not given: those of the weights, and a line that says so."""
    learned = card_of(a.weights).get("data")
    held_out = learned.get("held_out", "") if isinstance(learned, dict) else ""
    name, _, split = str(held_out).partition("/")
    if a.data is None:
        if name not in data.SETS:
            raise ValueError(
                f"{a.weights} does not say which data set it was trained on; name one by --data: {', '.join(data.SETS)}"
            )
        a.data, a.split = name, a.split or split or data.SETS[name].splits[-1]
        if name in ("folder", "masks") and a.root is None:
            raise ValueError(f"{a.weights} was trained on a folder of images; say where it is: --root FOLDER")
        note(f"images: {name}/{a.split}, held out when {a.weights} was trained; --data names others")
    elif a.data == name:
        a.split = a.split or split
    elif a.data == "folder" and a.root is not None:
        a.split = a.split or next((s for s in ("test", "val", "train") if (a.root / s).is_dir()), None)
    a.split = a.split or data.SETS[a.data].splits[-1]
    if a.image_size is None:
        a.image_size = model.config.image_size


def _must_be_whole_patches(a: argparse.Namespace, model: CRATE) -> None:
    """Said before images are read, and in flags."""
    patch = model.config.patch_size
    if rest := a.image_size % patch:
        sizes = " or ".join(str(size) for size in (a.image_size - rest, a.image_size - rest + patch) if size)
        raise ValueError(
            f"--image-size must be a multiple of {patch}, the patch of {a.weights}, got {a.image_size}; take {sizes}"
        )


def card_of(weights: str) -> dict[str, Any]:
    """The card of weights, by name or path; empty where there is none."""
    path = weights_file(weights)
    if path is None:
        return list_pretrained().get(weights, {})
    card = path.with_suffix(".json")
    return json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}


def weights_named(name: str) -> CRATE:
    """Weights by the name of a shipped model, by the path of a file, or by the folder of a training.

    Raises:
        ValueError, CheckpointError: as :func:`weights_file`, or a file that is damaged.
    """
    return load_weights(weights_file(name) or name)


def weights_file(name: str) -> Path | None:
    """The file that weights are in, where they are named by a path; None where by a name of the package.

    Raises:
        ValueError: no such name.
        CheckpointError: no such file, or a folder without weights.
    """
    path, known = Path(name), list_pretrained()
    if name in known:
        return None
    if name and path.is_dir():
        if (path / "model.safetensors").is_file():
            return path / "model.safetensors"
        begun = (path / "state.safetensors").is_file()
        why = (
            "its training has not ended: give its crate-mini train line again"
            if begun
            else "no training ended there"
        )
        raise CheckpointError(f"{path} is a folder without model.safetensors; {why}")
    if path.is_file():
        if path.suffix == ".safetensors":
            return path
        raise CheckpointError(
            f"{path} is no .safetensors file; of one of the authors' code, crate-mini import makes one"
        )
    if path.suffix == ".safetensors" or len(path.parts) > 1:
        raise CheckpointError(f"there are no weights at {path}: no such file or folder")
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise ValueError(f"unknown weights {name!r}; {hint}the package has {', '.join(known)}")


# --- results ---------------------------------------------------------------------------------------------------------


def try_file(path: Path, *read: str | Path) -> None:
    """Make sure that a result can be written here, before the work.

    Args:
        path: the file.
        read: what is read: files, or names and folders of weights. None of these files is written over.

    Raises:
        OSError: it cannot, and why.
    """
    for source in (Path(word) for word in read if str(word)):
        files = [source, source / "model.safetensors", source / "model.json"]
        files += [source.with_suffix(".json")] if source.suffix == ".safetensors" else []
        if path.is_file() and any(file.is_file() and file.samefile(path) for file in files):
            raise FileExistsError(f"--out {path} is a file that is read here; name another")
    if path.is_dir():
        raise IsADirectoryError(f"--out {path} is a folder; name a file, such as {path / 'result.json'}")
    try:
        refuse_special(path)
    except OSError as error:
        raise OSError(f"--out: {error}") from error
    try_out(path.parent)


def try_out(folder: Path) -> None:
    """:func:`~crate_mini.outputs.try_folder`, and the flag that names the folder."""
    try:
        try_folder(folder)
    except OSError as error:
        raise OSError(f"--out: {error}") from error


def report(a: argparse.Namespace, result: dict[str, Any], show: Callable[[dict[str, Any]], None]) -> None:
    """Print a result, as ``show`` does it or as JSON, and write it where that was asked for."""
    if a.json:
        print(result_text(result), end="")
    else:
        show(result)
    if a.out is not None:
        write(a.out, result, allow_dirty=a.dirty)
