"""``crate-mini inspect``."""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path

from torch import Tensor

from crate_mini import data
from crate_mini.cli.common import PIXELS, WEIGHTS, try_file, weights_named
from crate_mini.cli.said import file_or_folder, note
from crate_mini.inspector import inspect_images
from crate_mini.inspector.network import fits_in_page

MANY = 40  # patches along a side that are computed in a moment


def fill(p: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    p.add_argument("photos", nargs="+", type=file_or_folder, help="image files")
    p.add_argument("--weights", default="crate_mini_all_lion_s0", help=WEIGHTS)
    p.add_argument(
        "--compare",
        default="vit_mini_6_all_lion_s0",
        metavar="WEIGHTS",
        help="a second model beside it; '' for none",
    )
    p.add_argument(
        "--size",
        type=PIXELS,
        metavar="N",
        default=160,
        help="pixels of the shorter side; larger gives finer maps",
    )
    p.add_argument(
        "--out", type=file_or_folder, metavar="FILE", default=Path("heads.html"), help="the page to write"
    )
    p.add_argument("--open", action="store_true", help="open the page in a browser")
    p.set_defaults(run=_inspect)


def _cut(photo: Path, size: int, patch: int) -> Tensor:
    """A photo, cut into patches; an error names it."""
    image = data.open_image(photo)
    try:
        return data.to_patch_grid(image, size, patch)
    except ValueError as error:
        raise ValueError(f"{photo}: {error}") from error


def _inspect(a: argparse.Namespace) -> None:
    if folders := [str(photo) for photo in a.photos if photo.is_dir()]:
        raise IsADirectoryError(f"{', '.join(folders)} is a folder; name the photos in it")
    if missing := [str(photo) for photo in a.photos if not photo.is_file()]:
        raise FileNotFoundError(f"there is no file {', '.join(missing)}; name photos that are there")
    try_file(a.out, *a.photos, a.weights, a.compare)
    models = {name: weights_named(name) for name in (a.weights, a.compare) if name}
    patches = [model.config.patch_size for model in models.values()]
    if a.size // min(patches) > MANY:
        note(
            f"photos of {a.size} pixels are cut into {(a.size // min(patches)) ** 2:,} patches; this takes a while"
        )
    images = [_cut(photo, a.size, max(patches)) for photo in a.photos]
    small = fits_in_page(models.values())
    viewer = inspect_images(
        models,
        images,
        titles=[photo.name for photo in a.photos],
        run_in_page=small,  # patches can be asked then, and further photos dropped in
        prepare_patches=not small,  # patches of these photos at least
        photo_side=a.size,
    )
    written = viewer.save(a.out)
    print(f"wrote {written} ({written.stat().st_size / 1024:.0f} KB); it opens in any browser, also offline")
    if a.open:
        webbrowser.open(written.resolve().as_uri())
