"""What a caller asked for, with the few things that every source does with it."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from crate_mini.data.downloads import Download
from crate_mini.data.opening import picture_suffixes
from crate_mini.data.streaming import ImageStream
from crate_mini.errors import DataError, printable

EMBEDDED = "The set 'embedded' needs no files at all."


def data_root(root: str | os.PathLike | None = None) -> Path:
    """The folder that holds local data sets: ``root``, else ``CRATE_MINI_DATA``, else a cache folder of the user."""
    return Path(root or os.environ.get("CRATE_MINI_DATA") or _cache_folder())


def _cache_folder() -> Path:
    """Where this system keeps what programs can fetch again."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "crate_mini"
    if sys.platform == "win32":
        return (
            Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "crate_mini" / "Cache"
        )
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crate_mini"


@dataclass
class Request:
    """The arguments of :func:`crate_mini.data.load`, and what its source says of the set."""

    name: str
    split: str
    image_size: int
    n: int | None
    seed: int
    root: str | os.PathLike | None
    download: bool
    classes: Sequence[str] | None
    progress: bool | None
    can_fetch: bool = False
    layout: str = ""
    letterbox: bool = False
    tier: str = "local"

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
        if self.download and download.fetch(self.folder, progress=self.progress):
            self.tier = "download"

    def require(self, path: Path) -> Path:
        """The path, if it exists; else a :class:`DataError` with the layout of the set and the ways out."""
        if not path.exists():
            raise DataError(
                f"{self.name}: {path} is missing. {self._layout()}{self._way_out(path)} {EMBEDDED}"
            )
        return path

    def _layout(self) -> str:
        return f"Expected in {self.folder}: {self.layout}. " if self.layout else ""

    def _way_out(self, path: Path) -> str:
        """What to do about a path that is missing: another root that has it, or the set as a whole."""
        if self.folder.is_file():
            return f"{self.folder} is a file: name the folder that it is in."
        inside = path.relative_to(self.folder)
        here = self.folder.absolute()
        below = sorted(d for d in here.iterdir() if d.is_dir()) if here.is_dir() else []
        if found := [root for root in (*here.parents[:2], *below) if (root / inside).exists()]:
            return f"It is there if the root is {found[0]}: name that."
        if self.split == inside.name and here.name in ("train", "val", "test"):
            return f"The root should be the folder above, {here.parent}."
        others = [d.name for d in below if not is_litter(d.name)]
        if self.split == inside.name and {"train", "val", "test"} & set(others):
            return f"Here is {', '.join(others[:9])}: make the folder {self.split}, or name a split that is there."
        way = "name the folder that holds the set as root or in the environment variable CRATE_MINI_DATA"
        if len(inside.parts) > 1 and (self.folder / inside.parts[0]).exists():
            again = "move it away and have it downloaded again" if self.can_fetch else "get it again"
            return f"What is there is not the whole set: {again}, or {way}."
        return f"Put the set there, or {way}{', or have it downloaded' if self.can_fetch else ''}."

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

    def stream(
        self, pairs: list[tuple[Path, int]], classes: Sequence[str], not_taken: Sequence[Path] = ()
    ) -> ImageStream:
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
            not_taken=tuple(map(str, not_taken)),
        )


LITTER = frozenset(
    ("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "$recycle.bin", "system volume information",
     "lost+found", "@eadir", "#recycle")
)  # fmt: skip
"""What systems leave in folders and in archives without hiding it; in lower case, as it comes in either."""


def is_litter(name: str) -> bool:
    """Whether a file or folder of this name is hidden (``.DS_Store``, ``._0.jpg``) or left by a system."""
    return name.startswith(".") or name.lower() in LITTER


def image_files(folder: Path, *, deep: bool = True) -> tuple[list[Path], list[Path]]:
    """Pictures in a folder and the folders below, and the other files there; both sorted.

    What is hidden or left by a system (:func:`is_litter`), itself or by a folder, counts as neither. What is no file
    (a pipe, a link to nothing or to a folder) counts as another.
    """
    taken, other = [], []
    with os.scandir(folder) as found:  # asks the disk once for a folder, not for every file
        entries = sorted((e for e in found if not is_litter(e.name)), key=lambda e: e.name)
    for entry in entries:
        path = folder / entry.name
        is_picture = path.suffix.lower() in picture_suffixes()
        if deep and entry.is_dir() and not entry.is_symlink():  # a link may lead back to here
            for files, more in zip((taken, other), image_files(path), strict=True):
                files += more
        else:
            (taken if is_picture and entry.is_file() else other).append(path)
    return taken, other


def count_not_taken(files: Sequence[str | os.PathLike]) -> str:
    """``"2 files not taken: 1 .heic, 1 .txt (for example a/b.heic)"``; empty if there are none."""
    if not files:
        return ""
    paths = [Path(file) for file in files]
    kinds = Counter(
        (p.suffix.lower() or "without a suffix") if p.is_file() else "that is no file" for p in paths
    )
    told = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    files = "file" if len(paths) == 1 else "files"
    return printable(f"{len(paths)} {files} not taken: {told} (for example {paths[0]})")
