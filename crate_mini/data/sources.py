"""Where images come from: every set by its name, behind :func:`load`, :func:`open_stream` and :func:`check`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from crate_mini.data import embedded, labelled, masked, pairs, scenes
from crate_mini.data.images import must_fit
from crate_mini.data.imageset import ImageSet
from crate_mini.data.request import Request, count_not_taken, data_root
from crate_mini.data.streaming import ImageStream
from crate_mini.errors import unknown_name


class Source(NamedTuple):
    """A data set: how it is read, and what is known of it without reading.

    Attributes:
        splits: its parts, the one for training first.
        folders: where it lies in the folder of the data sets, under any of these names.
        layout: what lies where, for who looks for it in vain.
        read: the images in memory, of a set that comes in one piece.
        stream: opens it as a stream, where it is made of files with labels.
        masked: lists images and masks, where mask files come with it.
        can_fetch: whether it can be downloaded.
        lists: folder of text files, each of which is a further split.
    """

    splits: tuple[str, ...]
    folders: tuple[str, ...] = ()
    layout: str = ""
    read: Callable[[Request], ImageSet] | None = None
    stream: Callable[[Request], ImageStream] | None = None
    masked: Callable[[Request], pairs.Pairs] | None = None
    can_fetch: bool = False
    lists: str = ""

    @property
    def has_masks(self) -> bool:
        """Whether mask files come with it."""
        return self.masked is not None


EMBEDDED = {
    "embedded": (embedded.generate, 1),
    "embedded-pairs": (embedded.pairs, 2),
    "embedded-kinds": (embedded.kinds, 2),
}
"""Sets that are drawn on the spot: how, and how many pictures an image is."""


def _embedded(request: Request) -> ImageSet:
    if request.classes is not None:
        raise ValueError("the embedded set is balanced over all its classes; choose among them with subset()")
    n = request.n or (5000 if request.split == "train" else 1000)
    draw, pictures = EMBEDDED[request.name]
    must_fit(pictures * n, request.image_size)
    return draw(n, seed=request.seed, image_size=request.image_size, split=request.split)


_TINY = (
    "tiny-imagenet-200/train/<wnid>/images/*.JPEG, val/images, val/val_annotations.txt, wnids.txt, words.txt"
)

SETS: dict[str, Source] = {
    "embedded": Source(("train", "val", "test"), read=_embedded),
    "embedded-pairs": Source(("train", "val", "test"), read=_embedded),
    "embedded-kinds": Source(("train", "val", "test"), read=_embedded),
    "tiny-imagenet": Source(
        ("train", "val"), ("tiny-imagenet-200",), _TINY, stream=labelled.tiny_imagenet, can_fetch=True
    ),
    "tiny-imagenet-animals": Source(
        ("train", "val"), ("tiny-imagenet-200",), _TINY, stream=labelled.tiny_imagenet_animals, can_fetch=True
    ),
    "tiny-imagenet-150": Source(
        ("train", "val"), ("tiny-imagenet-200",), _TINY, stream=labelled.tiny_imagenet_150, can_fetch=True
    ),
    "tiny-imagenet-50": Source(
        ("train", "val"), ("tiny-imagenet-200",), _TINY, stream=labelled.tiny_imagenet_50, can_fetch=True
    ),
    "imagenette": Source(
        ("train", "val"), ("imagenette2-160", "imagenette2-320", "imagenette2"),
        "imagenette2-160, imagenette2-320 or imagenette2, each with train/<wnid>/*.JPEG and val/<wnid>/*.JPEG",
        stream=labelled.imagenette, can_fetch=True,
    ),
    "cifar10": Source(
        ("train", "test"), ("cifar-10-batches-py",), "cifar-10-batches-py/data_batch_1 to 5, test_batch, batches.meta",
        read=labelled.cifar("CIFAR10", labelled.CIFAR10), can_fetch=True,
    ),
    "cifar100": Source(
        ("train", "test"), ("cifar-100-python",), "cifar-100-python/train, test, meta",
        read=labelled.cifar("CIFAR100", labelled.CIFAR100), can_fetch=True,
    ),
    "stl10": Source(
        ("train", "test"), ("stl10_binary",),
        "stl10_binary/train_X.bin, train_y.bin, test_X.bin, test_y.bin, class_names.txt",
        read=labelled.stl10, can_fetch=True,
    ),
    "pets": Source(
        ("train", "test"), ("oxford-iiit-pet",),
        "oxford-iiit-pet/images, annotations/trimaps, annotations/trainval.txt, annotations/test.txt",
        stream=masked.pets_stream, masked=masked.pets, can_fetch=True,
    ),
    "caltech101": Source(
        ("train", "test"), ("caltech101",),
        "caltech101/101_ObjectCategories/<class>/image_*.jpg, Annotations/<class>/annotation_*.mat",
        stream=masked.caltech101_stream, masked=masked.caltech101, can_fetch=True,
    ),
    "voc2012": Source(
        ("train", "trainval", "val"), ("VOCdevkit/VOC2012",),
        "VOCdevkit/VOC2012/JPEGImages, SegmentationClass, SegmentationObject, ImageSets/Segmentation/<split>.txt",
        masked=scenes.voc2012, can_fetch=True, lists="VOCdevkit/VOC2012/ImageSets/Segmentation",
    ),
    "coco": Source(
        ("train", "val"), ("coco",), "coco/val2017, train2017, annotations/instances_{val,train}2017.json",
        masked=scenes.coco,
    ),
    "pascal-part": Source(
        ("test",), ("pascal-part-animals",), "pascal-part-animals/images, parts, objects, parts.json",
        masked=scenes.pascal_part,
    ),
    "horses": Source(
        ("test",), ("weizmann-horse",), "weizmann-horse/images/NAME.jpg, masks/NAME.png", masked=masked.horses
    ),
    "folder": Source(
        ("train", "val", "test"), ("train",), "train/<class>/*.jpg, and in the same way val and test",
        stream=labelled.image_folder,
    ),
    "masks": Source(
        ("test",), ("masks",), "images/NAME.jpg, and for each masks/NAME.png", masked=masked.masks
    ),
}  # fmt: skip
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
    progress: bool | None = None,
) -> ImageSet:
    """Load a data set into memory, every image ``image_size`` pixels square.

    Images of another size are resized so that the shorter side fits, and centre-cropped; masks move with them. Or,
    letterboxed, so that the longer side fits, with plain bars around, which no score counts.

    Args:
        name: one of :data:`SETS`:
            ``embedded`` (tier 1, made on the spot, with masks and parts), ``embedded-pairs`` (two of its drawings of an
            animal side by side: twice as wide), ``embedded-kinds`` (two of a species),
            ``tiny-imagenet``, ``tiny-imagenet-animals`` (25 of its classes), ``tiny-imagenet-150`` and
            ``tiny-imagenet-50`` (three classes in four, and every fourth), ``imagenette``, ``cifar10``,
            ``cifar100``, ``stl10``,
            ``pets``, ``caltech101`` and ``horses`` (with masks), ``voc2012`` and ``coco`` (with masks, their classes as
            parts, and objects as instances), ``pascal-part`` (five animals with parts and instances),
            ``folder`` (``root/<split>/<class>/*.jpg``), ``masks`` (``root/images`` and ``root/masks``, paired by name).
        split: ``"train"``, ``"val"`` or ``"test"``, as far as the set has it. For ``pets``, train is the
            trainval list; for ``caltech101``, the first 30 images of each class; for ``voc2012``, any list in
            ``ImageSets/Segmentation``; ``horses``, ``pascal-part`` and ``masks`` have one split only, ``"test"``.
        image_size: side in pixels.
        n: how many images, drawn by ``seed`` (balanced over classes for ``embedded``); all if None.
        seed: of the draw; for ``embedded`` of the images themselves.
        root: the folder that holds the data sets; ``CRATE_MINI_DATA`` if None. For ``folder`` and ``masks``,
            the data set itself.
        download: fetch the set if it is not there. Archives are checked before they are unpacked, a set appears
            whole or not at all, and a download that broke off is taken up where it was.
        classes: keep only these classes, in this order.
        letterbox: show all of every image instead of its centre square; for the sets that come with mask files. The
            bars around it are of one colour, and hold 255, not counted, in masks, parts and instances.
        progress: show a progress bar while images are fetched and read.

    Raises:
        ValueError: unknown name or split, a class the set does not have, or letterboxing without masks.
        DataError: missing or damaged data, naming the file and the way out; or more than this machine's memory
            holds, which :func:`open_stream` is for.
    """
    request = _request(name, split, image_size, n, seed, root, download, classes, progress)
    request, source = replace(request, letterbox=letterbox), SETS[name]
    if letterbox and not source.has_masks:
        have = ", ".join(k for k, other in SETS.items() if other.has_masks)
        raise ValueError(
            f"letterboxing needs mask files, which say what is not counted; {name!r} has none, but {have} have"
        )
    if source.masked is not None:
        listed = source.masked(request)
        _warn(listed.not_taken, request.title)
        return pairs.read(request, listed)
    if source.stream is not None:
        stream = source.stream(request)
        _warn(stream.not_taken, request.title)
        return stream.read(progress=progress)
    return source.read(request)


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
    progress: bool | None = None,
) -> ImageStream:
    """Open a data set whose images stay on the disk until training asks for them.

    The same images as :func:`load` gives, and in training the same batches. Masks are left out.

    Args:
        name: a set made of files with labels: ``folder``, ``tiny-imagenet`` and the parts of it, ``imagenette``,
            ``pets``, ``caltech101``.
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
    stream = source(request)
    _warn(stream.not_taken, request.title)
    return replace(stream, workers=workers)


class Check(NamedTuple):
    """What :func:`check` finds.

    Attributes:
        name: of the set and its split.
        files: how many images there are.
        damaged: what is wrong with those that cannot be used, one message each; reads them as it goes on.
        not_taken: what lies among them and is no picture that is read here, in words; empty if nothing does.
    """

    name: str
    files: int
    damaged: Iterator[str]
    not_taken: str


def check(
    name: str,
    split: str = "train",
    *,
    root: str | os.PathLike | None = None,
    download: bool = False,
    progress: bool | None = None,
) -> Check:
    """Try every image of a set, and every mask.

    Raises:
        ValueError, DataError: as :func:`load`; of a set in one piece also what is wrong with it.
    """
    request = _request(name, split, root=root, download=download, progress=progress)
    source = SETS[name]
    if source.masked is not None:
        listed = source.masked(request)
        return Check(request.title, len(listed.images), listed.damaged(), count_not_taken(listed.not_taken))
    if source.stream is not None:
        stream = source.stream(request)
        return Check(request.title, len(stream), stream.damaged(), count_not_taken(stream.not_taken))
    return Check(request.title, len(source.read(request)), iter(()), "")


def _warn(not_taken: Sequence[str | os.PathLike], title: str) -> None:
    """Say what is left out; not of lists and notes, which nobody takes for pictures."""
    notes = (".txt", ".csv", ".tsv", ".json", ".xml", ".md", ".html", ".db", ".ini")
    if told := count_not_taken([f for f in not_taken if not os.fspath(f).lower().endswith(notes)]):
        warnings.warn(f"{title}: {told}; save them as JPEG or PNG if they belong to the set", stacklevel=3)


def voc2012_val_masks(root: str | os.PathLike | None = None) -> tuple[list[str], Iterator[Image.Image]]:
    """Names and class masks of all of VOC 2012's official val images; no image need be there.

    They lie in ``SegmentationClass``, listed in ``val.txt``, of the whole set; or in ``SegmentationClassVal``, listed
    in ``val_official.txt``, beside a part of it. Values: 0 background, 1 to 20 a class, 255 not counted.

    Raises:
        DataError: they are not there, or damaged.
    """
    return scenes.val_masks(_request("voc2012", "val", root=root))


def coco_boxes(split: str = "val", root: str | os.PathLike | None = None) -> list[scenes.Boxes]:
    """Of every image of COCO its size and the boxes of its things and crowds; no image need be there.

    Raises:
        DataError: the annotations are not there, or damaged.
    """
    return scenes.boxes(_request("coco", split, root=root))


def whereabouts(name: str, root: Path) -> str:
    """``"embedded"``, ``"here"`` or ``"not here"``: whether a set is in the folder ``root``, without reading it."""
    if name in EMBEDDED:
        return "embedded"
    return "here" if any((root / folder).is_dir() for folder in SETS[name].folders) else "not here"


def _request(
    name, split, image_size=64, n=None, seed=0, root=None, download=False, classes=None, progress=None
) -> Request:
    """The arguments, once they make sense."""
    if name not in SETS:
        raise ValueError(unknown_name("data set", name, SETS))
    source, more = SETS[name], []
    if source.lists:
        more = sorted(
            f.stem for f in (data_root(root) / source.lists).glob("*.txt") if f.stem not in source.splits
        )
    if split not in (*source.splits, *more):
        raise ValueError(f"{name!r} has the splits {', '.join([*source.splits, *more])}; got {split!r}")
    if n is not None and n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if image_size < 1:
        raise ValueError(f"an image is at least 1 pixel large, got a size of {image_size}")
    must_fit(1, image_size)
    return Request(
        name, split, image_size, n, seed, root, download, classes, progress, source.can_fetch, source.layout
    )
