"""``crate-mini data``."""

from __future__ import annotations

import argparse
from pathlib import Path

from crate_mini import data
from crate_mini.cli.common import PIXELS, try_file
from crate_mini.cli.said import file_or_folder, note
from crate_mini.outputs import write_atomically


def fill(p: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    p.add_argument(
        "name", nargs="?", choices=data.SETS, metavar="SET", help="the set to look at; none: list them all"
    )
    p.add_argument("--root", type=file_or_folder, help="folder of the data sets; by default CRATE_MINI_DATA")
    p.add_argument("--split", help="by default the first the set has")
    p.add_argument("--image-size", type=PIXELS, metavar="N", default=64, help="pixels")
    p.add_argument("--download", action="store_true", help="fetch the set if it is not there")
    p.add_argument(
        "--check",
        action="store_true",
        help="read every image and mask of the split and name those that cannot be read",
    )
    p.add_argument("--out", type=file_or_folder, default=Path("data.png"), help="the picture to write")
    p.set_defaults(run=_data)


def _data(a: argparse.Namespace) -> int:
    if a.name is None:
        root = data.data_root(a.root)
        print(f"data sets are looked for in {root}")
        for name, source in data.SETS.items():
            print(f"  {name:<22} {data.whereabouts(name, root):<12} splits: {', '.join(source.splits)}")
        return 0
    split = a.split or data.SETS[a.name].splits[0]
    if a.check:
        return _check(a, split)
    try_file(a.out)
    images = data.load(a.name, split, image_size=a.image_size, n=48, root=a.root, download=a.download)
    titles = [images.classes[i] if i >= 0 else "" for i in images.labels.tolist()] if images.classes else None
    from crate_mini import figures  # brings seaborn, which no other command waits for

    figures.use_style()
    figure = figures.image_grid(images.images, titles, columns=8, masks=images.masks)
    write_atomically(a.out, lambda temporary: figure.savefig(temporary, format="png"))
    print(f"wrote {len(images)} images of {images.name} ({images.tier}) to {a.out}")
    return 0


def _check(a: argparse.Namespace, split: str) -> int:
    """Before a long training: one line for each file that would stop it."""
    found = data.check(a.name, split, root=a.root, download=a.download)
    damaged = 0
    for message in found.damaged:
        damaged += 1
        print(message)
    if found.not_taken:
        print(found.not_taken)
    if damaged:
        note(f"{damaged:,} of the {found.files:,} images of {found.name} cannot be read")
        return 1
    print(f"all {found.files:,} images of {found.name} can be read")
    return 0
