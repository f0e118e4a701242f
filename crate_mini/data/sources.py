"""Where images come from: every set by its name, behind :func:`load` and :func:`open_stream`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from crate_mini.data import embedded, labelled, masked
from crate_mini.data.imageset import ImageSet
from crate_mini.data.request import Request
from crate_mini.data.streaming import ImageStream


class Source(NamedTuple):
    """A data set: how it is read, and what is known of it without reading.

    Attributes:
        read: the images, in memory or as a stream.
        splits: its parts, the one for training first.
        folders: where it lies in the folder of the data sets, under any of these names.
        stream: opens it as a stream; None where it is not made of files with labels.
        can_fetch: whether it can be downloaded.
        has_masks: whether mask files come with it.
    """

    read: Callable[[Request], ImageSet | ImageStream]
    splits: tuple[str, ...]
    folders: tuple[str, ...] = ()
    stream: Callable[[Request], ImageStream] | None = None
    can_fetch: bool = False
    has_masks: bool = False


def _embedded(request: Request) -> ImageSet:
    if request.classes is not None:
        raise ValueError("the embedded set is balanced over all its classes; choose among them with subset()")
    n = request.n or (5000 if request.split == "train" else 1000)
    return embedded.generate(n, seed=request.seed, image_size=request.image_size, split=request.split)


def _files(
    source: Callable[[Request], ImageStream], splits: tuple[str, ...], *folders: str, can_fetch: bool = True
):
    return Source(source, splits, folders, source, can_fetch)


SETS: dict[str, Source] = {
    "embedded": Source(_embedded, ("train", "val", "test")),
    "tiny-imagenet": _files(labelled.tiny_imagenet, ("train", "val"), "tiny-imagenet-200"),
    "tiny-imagenet-animals": _files(labelled.tiny_imagenet_animals, ("train", "val"), "tiny-imagenet-200"),
    "imagenette": _files(
        labelled.imagenette, ("train", "val"), "imagenette2-160", "imagenette2-320", "imagenette2"
    ),
    "cifar10": Source(
        labelled.cifar("CIFAR10", labelled.CIFAR10),
        ("train", "test"),
        ("cifar-10-batches-py",),
        None,
        True,
    ),
    "cifar100": Source(
        labelled.cifar("CIFAR100", labelled.CIFAR100),
        ("train", "test"),
        ("cifar-100-python",),
        None,
        True,
    ),
    "stl10": Source(labelled.stl10, ("train", "test"), ("stl10_binary",), None, True),
    "pets": Source(masked.pets, ("train", "test"), ("oxford-iiit-pet",), masked.pets_stream, True, True),
    "caltech101": Source(
        masked.caltech101, ("train", "test"), ("caltech101",), masked.caltech101_stream, True, True
    ),
    "voc2012": Source(masked.voc2012, ("train", "val", "trainval"), ("VOCdevkit/VOC2012",), None, True, True),
    "horses": Source(masked.horses, ("test",), ("weizmann-horse",), has_masks=True),
    "folder": _files(labelled.image_folder, ("train", "val", "test"), "train", can_fetch=False),
    "masks": Source(masked.masks, ("test",), ("masks",), has_masks=True),
}
"""Name -> source; ``SETS[name].splits`` are its splits."""


def load(
    name: str,
    split: str = "train",
    *,
    image_size: int = 64,
    n: int | None = None,
    seed: int = 0,
    root: str | os.PathLike | None = None,
    download: bool = False,
    classes: Sequence[str] | None = None,
    letterbox: bool = False,
    progress: bool = False,
) -> ImageSet:
    """Load a data set into memory, every image ``image_size`` pixels square.

    Images of another size are resized so that the shorter side fits, and centre-cropped; masks move with them. Or,
    letterboxed, so that the longer side fits, with plain bars around, which no score counts.

    Args:
        name: one of :data:`SETS`:
            ``embedded`` (tier 1, made on the spot, with masks and parts),
            ``tiny-imagenet``, ``tiny-imagenet-animals`` (25 of its classes), ``imagenette``, ``cifar10``,
            ``cifar100``, ``stl10``,
            ``pets``, ``caltech101`` and ``horses`` (with masks), ``voc2012`` (with masks, and its classes as parts),
            ``folder`` (``root/<split>/<class>/*.jpg``), ``masks`` (``root/images`` and ``root/masks``, paired by name).
        split: ``"train"``, ``"val"`` or ``"test"``, as far as the set has it. For ``pets``, train is the
            trainval list; for ``caltech101``, the first 30 images of each class; ``horses`` and ``masks`` have one
            split only, ``"test"``.
        image_size: side in pixels.
        n: how many images, drawn by ``seed`` (balanced over classes for ``embedded``); all if None.
        seed: of the draw; for ``embedded`` of the images themselves.
        root: the folder that holds the data sets; ``CRATE_MINI_DATA`` if None. For ``folder`` and ``masks``,
            the data set itself.
        download: fetch the set if it is not there. Archives are checked before they are unpacked, a set appears
            whole or not at all, and a download that broke off is taken up where it was.
        classes: keep only these classes, in this order.
        letterbox: show all of every image instead of its centre square; for the sets that come with mask files. The
            bars around it are of one colour, and hold 255, not counted, in ``masks`` and ``parts``.
        progress: show a progress bar while images are fetched and read.

    Raises:
        ValueError: unknown name or split, a class the set does not have, or letterboxing without masks.
        DataError: missing or damaged data, naming the file and the way out; or more than this machine's memory
            holds, which :func:`open_stream` is for.
    """
    request = _request(name, split, image_size, n, seed, root, download, classes, progress)
    if letterbox and not SETS[name].has_masks:
        have = ", ".join(k for k, source in SETS.items() if source.has_masks)
        raise ValueError(
            f"letterboxing needs mask files, which say what is not counted; {name!r} has none, but {have} have"
        )
    request = replace(request, letterbox=letterbox)
    found = SETS[name].read(request)
    if isinstance(found, ImageStream):
        return found.read(progress=progress)
    return found if request.padding is None else found.without(request.padding)


def open_stream(
    name: str,
    split: str = "train",
    *,
    workers: int | None = None,
    image_size: int = 64,
    n: int | None = None,
    seed: int = 0,
    root: str | os.PathLike | None = None,
    download: bool = False,
    classes: Sequence[str] | None = None,
    progress: bool = False,
) -> ImageStream:
    """Open a data set whose images stay on the disk until training asks for them.

    The same images as :func:`load` gives, and in training the same batches. Masks are left out.

    Args:
        name: a set made of files with labels: ``folder``, ``tiny-imagenet``, ``tiny-imagenet-animals``,
            ``imagenette``, ``pets``, ``caltech101``.
        split: as for :func:`load`, and so are those below, ``workers`` apart.
        workers: processes that decode; by default what the cores at hand leave.
        image_size: side in pixels.
        n: how many images; all if None.
        seed: of the draw.
        root: the folder that holds the data sets, or is one.
        download: fetch the set if it is not there.
        classes: keep only these.
        progress: show a progress bar while the set is fetched.

    Raises:
        ValueError: as :func:`load`, and for sets that come in one piece.
        DataError: as :func:`load`; an image that cannot be read shows when its turn comes.
    """
    request = _request(name, split, image_size, n, seed, root, download, classes, progress)
    if (source := SETS[name].stream) is None:
        can = ", ".join(k for k, s in SETS.items() if s.stream is not None)
        raise ValueError(f"{name!r} is not made of files with labels, so load() it; streams can be: {can}")
    return replace(source(request), workers=workers)


def whereabouts(name: str, root: Path) -> str:
    """``"embedded"``, ``"here"`` or ``"not here"``: whether a set is in the folder ``root``, without reading it."""
    if name == "embedded":
        return "embedded"
    return "here" if any((root / folder).is_dir() for folder in SETS[name].folders) else "not here"


def _request(name, split, image_size, n, seed, root, download, classes, progress) -> Request:
    """The arguments, once they make sense."""
    if name not in SETS:
        raise ValueError(f"unknown data set {name!r}; known are {', '.join(SETS)}")
    if split not in SETS[name].splits:
        raise ValueError(f"{name!r} has the splits {', '.join(SETS[name].splits)}; got {split!r}")
    if n is not None and n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if image_size < 1:
        raise ValueError(f"image_size must be at least 1 pixel, got {image_size}")
    can_fetch = SETS[name].can_fetch
    return Request(name, split, image_size, n, seed, root, download, classes, progress, can_fetch)
