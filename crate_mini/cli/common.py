"""What several commands share: options, weights by name, the model and images to look at."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from crate_mini import data
from crate_mini.model import CRATE
from crate_mini.training import default_device
from crate_mini.weights import list_pretrained, load_weights


class Formatter(argparse.HelpFormatter):
    """Narrow columns, and defaults that say something."""

    def __init__(self, prog: str, **settings: int | None) -> None:
        super().__init__(prog, max_help_position=24, **settings)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        told = action.default not in (None, False, argparse.SUPPRESS, "", []) and action.option_strings
        shown = action.help and told and "default" not in action.help
        return f"{action.help} (default: %(default)s)" if shown else action.help


DEFAULTS = {"formatter_class": Formatter}
WEIGHTS = f"one of {', '.join(list_pretrained())}, or a .safetensors file"


def add_data(p: argparse.ArgumentParser, default: str) -> None:
    """Options that say which data set."""
    p.add_argument("--data", default=default, choices=data.SETS, help="data set")
    p.add_argument("--root", type=Path, help="folder of the data sets; by default CRATE_MINI_DATA")
    p.add_argument("--image-size", type=int, default=64, help="pixels")
    p.add_argument("--download", action="store_true", help="fetch the data set if it is not there")


def add_letterbox(p: argparse.ArgumentParser) -> None:
    """The option that keeps all of every picture; goes with :func:`add_data`, for what is scored against masks."""
    p.add_argument(
        "--letterbox",
        action="store_true",
        help="all of every picture with bars around, not its centre square",
    )


def add_evaluation(p: argparse.ArgumentParser) -> None:
    """Options that every measurement of weights on a data set takes; goes with :func:`add_data`."""
    p.add_argument("--weights", default="crate_mini_animals", help=WEIGHTS)
    p.add_argument("--split", help="by default the last the set has")
    p.add_argument("--n", type=int, help="images to draw; by default all")
    p.add_argument("--seed", type=int, default=0, help="of the draw")
    p.add_argument("--untrained", action="store_true", help="fresh random weights of the same architecture")
    p.add_argument("--device", help="by default the best there is")
    p.add_argument("--out", type=Path, help="write the numbers, with their provenance, to this JSON file")


def model_and_images(a: argparse.Namespace) -> tuple[CRATE, data.ImageSet, torch.device]:
    """What ``evaluate`` and ``layerwise`` look at: the model on its device, and the images."""
    device = torch.device(a.device) if a.device else default_device()
    model = weights_named(a.weights)
    if a.untrained:
        classes = getattr(model, "classes", ())
        torch.manual_seed(a.seed)
        model = CRATE(model.config).eval()
        model.classes = classes
    model.to(device)
    images = data.load(
        a.data,
        a.split or data.SETS[a.data].splits[-1],
        image_size=a.image_size,
        n=a.n,
        seed=a.seed,
        root=a.root,
        download=a.download,
        letterbox=getattr(a, "letterbox", False),
        progress=True,
    )
    return model, images, device


def weights_named(name: str) -> CRATE:
    """Weights by the name of a shipped model or by the path of a file or folder."""
    return load_weights(name)
