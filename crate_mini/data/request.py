"""What a caller asked for, with the few things that every source does with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import torch
from PIL import Image
from torch import Tensor

from crate_mini.data.downloads import Download
from crate_mini.data.images import (
    DataError,
    fit_image,
    letterbox,
    letterbox_image,
    must_fit,
    on_all_cores,
    open_image,
    open_mask,
)
from crate_mini.data.streaming import ImageStream


def data_root(root: str | os.PathLike | None = None) -> Path:
    """The folder that holds local data sets: ``root``, else ``CRATE_MINI_DATA``, else a cache folder of the user."""
    return Path(root or os.environ.get("CRATE_MINI_DATA") or pooch.os_cache("crate_mini"))


@dataclass
class Request:
    """The arguments of :func:`crate_mini.data.load`."""

    name: str
    split: str
    image_size: int
    n: int | None
    seed: int
    root: str | os.PathLike | None
    download: bool
    classes: Sequence[str] | None
    progress: bool
    can_fetch: bool = False
    letterbox: bool = False
    tier: str = "local"
    padding: Tensor | None = None  # of letterboxed images: which pixels are none of theirs

    @property
    def folder(self) -> Path:
        """Where the data sets are."""
        return data_root(self.root)

    @property
    def title(self) -> str:
        """Name and split, for captions."""
        return f"{self.name}/{self.split}"

    def fetch(self, download: Download) -> None:
        """Fetch the set if that was asked for and it is not there."""
        if self.download and not (self.folder / download.folder).exists():
            download.fetch(self.folder, progress=self.progress)
            self.tier = "download"

    def require(self, path: Path) -> Path:
        """The path, if it exists; else a :class:`DataError` with the ways out."""
        if not path.exists():
            hint = " Or pass download=True." if self.can_fetch else ""
            raise DataError(
                f"{self.name}: {path} is missing. Put the data set there, or name the folder that holds it by "
                f"root=... or the environment variable CRATE_MINI_DATA.{hint} The set 'embedded' needs no files at all."
            )
        return path

    def lines(self, path: Path, columns: int = 1, separator: str | None = None) -> list[list[str]]:
        """The lines of a text file that are not empty, in columns; an error names file and line."""
        rows = []
        try:
            text = self.require(path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is no text ({error}); get the file again") from error
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                row = line.split(separator)
                if len(row) < columns:
                    raise DataError(
                        f"{path}, line {number}: expected {columns} columns, found {line!r}; get the file again"
                    )
                rows.append(row)
        return rows

    def choose_classes(self, available: Sequence[str]) -> list[str]:
        """The classes asked for, in that order; all if none were named."""
        if self.classes is None:
            return list(available)
        if unknown := [c for c in self.classes if c not in available]:
            raise ValueError(f"{self.name!r} has no classes {unknown}; it has {', '.join(available)}")
        return list(self.classes)

    def draw(self, items: list) -> list:
        """N of the items, in their order; all of them if n is None."""
        if self.n is None or self.n >= len(items):
            return items
        chosen = torch.randperm(len(items), generator=torch.Generator().manual_seed(self.seed))[: self.n]
        return [items[i] for i in sorted(chosen.tolist())]

    def stream(self, pairs: list[tuple[Path, int]], classes: Sequence[str]) -> ImageStream:
        """Files and their labels, as many as were asked for."""
        if not pairs:
            raise DataError(f"{self.title} lists no images of the classes {', '.join(classes)}")
        pairs = self.draw(pairs)
        return ImageStream(
            files=tuple(str(file) for file, _ in pairs),
            labels=torch.tensor([label for _, label in pairs]),
            classes=tuple(classes),
            image_size=self.image_size,
            name=self.title,
            tier=self.tier,
        )

    def read_masked(
        self,
        images: Sequence[Path],
        masks: Sequence[Path],
        mask_of: Callable[[Path, tuple[int, int]], Image.Image] = lambda path, size: open_mask(path),
        outside: int = 0,
    ) -> tuple[dict[str, Any], Tensor]:
        """Images and masks, moved alike; of letterboxed ones :attr:`padding` says what lies outside.

        Args:
            images: files.
            masks: one file for each.
            mask_of: opens a mask, given the size of its image.
            outside: what a mask holds outside of a letterboxed image, some value that this kind of mask may hold.

        Returns:
            ``images``, ``files`` and ``tier`` for an :class:`ImageSet`, and the values in the masks.
        """
        size = self.image_size

        def both(pair: tuple[Path, Path]) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
            image = open_image(pair[0])
            mask = mask_of(pair[1], image.size)
            if mask.size != image.size:
                raise DataError(f"{pair[1]} is {mask.size} pixels, its image {pair[0]} is {image.size}")
            if self.letterbox:
                boxed = letterbox_image(image, size), letterbox_image(mask, size, outside=outside)
                return np.asarray(boxed[0]), np.asarray(boxed[1]), image.size
            return (
                np.asarray(fit_image(image, size)),
                np.asarray(fit_image(mask, size, nearest=True)),
                image.size,
            )

        pairs = list(zip(images, masks, strict=True))
        must_fit(len(pairs), size)
        pixels = np.empty((len(pairs), size, size, 3), np.uint8)
        raw = []
        if self.letterbox:
            self.padding = torch.ones(len(pairs), size, size, dtype=torch.bool)
        for i, (image, mask, sides) in on_all_cores(both, pairs, title=self.name, progress=self.progress):
            pixels[i] = image
            raw.append(mask)
            if self.padding is not None:
                left, top, width, height = letterbox(sides, size)
                self.padding[i, top : top + height, left : left + width] = False
        read = {
            "images": torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
            "files": tuple(map(str, images)),
            "tier": self.tier,
        }
        return read, torch.from_numpy(np.stack(raw).astype(np.uint8))


def image_files(folder: Path) -> list[Path]:
    """Image files in a folder and the folders below, sorted; hidden ones are left out."""
    suffixes = set(Image.registered_extensions())
    return [
        f for f in sorted(folder.rglob("*")) if f.suffix.lower() in suffixes and not f.name.startswith(".")
    ]


def check_values(raw: Tensor, allowed: Sequence[int], masks: Sequence[Path], meaning: str) -> None:
    """Every mask holds allowed values alone; else a :class:`DataError` names the first that does not."""
    wrong = ~torch.isin(raw, torch.tensor(allowed)).flatten(1)
    if wrong.any():
        bad = int(wrong.any(1).nonzero()[0])
        found = sorted(set(raw[bad].flatten()[wrong[bad]].tolist()))
        told = ", ".join(map(str, found[:5])) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        few = list(allowed) if len(allowed) < 5 else f"{allowed[0]} to {allowed[-2]} and {allowed[-1]}"
        raise DataError(f"{masks[bad]} holds values other than {few}; {meaning}; found {told}")
