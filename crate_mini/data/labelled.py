"""Sets of images with labels: folders of files, which can be streamed, and the packed files of CIFAR and STL-10."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from crate_mini.data.downloads import Download
from crate_mini.data.images import must_fit
from crate_mini.data.imageset import ImageSet
from crate_mini.data.request import Request, count_not_taken, image_files, is_litter
from crate_mini.data.streaming import ImageStream
from crate_mini.errors import DataError

# Twenty-five animals whose pictures show the whole body against a background more often than not.
TINY_IMAGENET_ANIMALS = (
    "n02085620", "n02094433", "n02099601", "n02099712", "n02106662", "n02113799",  # dogs
    "n02123045", "n02123394", "n02124075", "n02125311", "n02129165",  # cats
    "n02132136", "n02364673", "n02395406", "n02403003", "n02410509", "n02415577", "n02423022",
    "n02437312", "n02480495", "n02481823", "n02504458", "n02509815", "n01882714", "n02056570",
)  # fmt: skip

TINY_IMAGENET = Download(
    (("http://cs231n.stanford.edu/tiny-imagenet-200.zip", "md5:90528d7ca1a48142e341f4ef8d21d0de"),),
    "tiny-imagenet-200",
)
CIFAR10 = Download(
    (("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "md5:c58f30108f718f92721af3b95e74349a"),),
    "cifar-10-batches-py",
)
CIFAR100 = Download(
    (("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz", "md5:eb9058c3a382ffc7106e4002c42a8d85"),),
    "cifar-100-python",
)
STL10 = Download(
    (("http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz", "md5:91f7769df0f17e558f3565bffb0c7dfb"),),
    "stl10_binary",
)
IMAGENETTE = {
    size: Download(
        ((f"https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-{size}.tgz", f"md5:{md5}"),),
        f"imagenette2-{size}",
    )
    for size, md5 in ((160, "e793b78cc4c9e9a4ccc0c1155377a412"), (320, "3df6f0d01a2c9592104656642f5e78a3"))
}
_IMAGENETTE_NAMES = {
    "n01440764": "tench", "n02102040": "English springer", "n02979186": "cassette player",
    "n03000684": "chain saw", "n03028079": "church", "n03394916": "French horn", "n03417042": "garbage truck",
    "n03425413": "gas pump", "n03445777": "golf ball", "n03888257": "parachute",
}  # fmt: skip


def tiny_imagenet(
    request: Request, default_classes: Callable[[list[str]], Sequence[str]] | None = None
) -> ImageStream:
    """``train/<wnid>/images/*.JPEG`` and ``val/val_annotations.txt``; classes are chosen by wnid."""
    request.fetch(TINY_IMAGENET)
    folder = request.folder / TINY_IMAGENET.folder
    words = {row[0]: row[1] for row in request.lines(folder / "words.txt", 2, "\t")}
    wnids = sorted(row[0] for row in request.lines(folder / "wnids.txt"))
    if request.classes or default_classes is None:
        chosen = request.choose_classes(wnids)
    else:
        chosen = list(default_classes(wnids))
    index = {w: i for i, w in enumerate(chosen)}
    if request.split == "train":
        pairs = []
        for wnid in chosen:
            files = sorted(request.require(folder / "train" / wnid / "images").glob("*.JPEG"))
            if not files:
                raise DataError(f"{folder / 'train' / wnid / 'images'} holds no .JPEG files")
            pairs += [(f, index[wnid]) for f in files]
    else:
        listing = folder / "val" / "val_annotations.txt"
        rows = [row[:2] for row in request.lines(listing, 2, "\t")]
        known = {*wnids, *chosen}
        if strange := [(f, w) for f, w in rows if w not in known]:
            raise DataError(
                f"{listing} gives {strange[0][0]} the class {strange[0][1]!r}, which is not in "
                f"{folder / 'wnids.txt'}; the two must come from one copy of the set"
            )
        pairs = [(folder / "val" / "images" / f, index[w]) for f, w in rows if w in index]
    return request.stream(pairs, [words.get(w, w).split(",")[0] for w in chosen])


def tiny_imagenet_animals(request: Request) -> ImageStream:
    """The animals among the classes of Tiny-ImageNet."""
    return tiny_imagenet(request, lambda _: TINY_IMAGENET_ANIMALS)


def tiny_imagenet_150(request: Request) -> ImageStream:
    """Three classes in four of Tiny-ImageNet: to learn from, before other classes are asked for."""
    return tiny_imagenet(request, lambda wnids: [w for w in wnids if w not in set(_held_out(wnids))])


def tiny_imagenet_50(request: Request) -> ImageStream:
    """The other quarter: classes that a network of ``tiny-imagenet-150`` has never met."""
    return tiny_imagenet(request, _held_out)


def _held_out(wnids: list[str]) -> list[str]:
    """Every fourth class in the order of wnids, which is roughly one by kind: no kind is held out whole."""
    return wnids[3::4]


def image_folder(request: Request) -> ImageStream:
    """``<split>/<class>/**/<image>``: ImageNet-1k with its pictures in class folders, or anybody's own images."""
    folder = request.require(request.folder / request.split)
    return request.stream(*_by_class(request, folder))


def imagenette(request: Request) -> ImageStream:
    """Ten easy classes of ImageNet; the copy whose images are just large enough, or the one that is there."""
    download = IMAGENETTE[160 if request.image_size <= 160 else 320]
    folders = [download.folder, "imagenette2-320", "imagenette2", "imagenette2-160"]
    here = [f for f in folders if (request.folder / f).is_dir()]
    if not here:
        request.fetch(download)
    folder = request.require(request.folder / (here or folders)[0] / request.split)
    pairs, chosen, other = _by_class(request, folder)
    return request.stream(pairs, [_IMAGENETTE_NAMES.get(c, c) for c in chosen], other)


def _by_class(request: Request, folder: Path) -> tuple[list[tuple[Path, int]], list[str], list[Path]]:
    """Images and their labels from one folder for each class, the classes, and the files that are no pictures."""
    available = sorted(d.name for d in folder.iterdir() if d.is_dir() and not is_litter(d.name))
    if not available:
        raise DataError(
            f"{folder} holds no folders; expected one per class, as {folder}/<class>/<image>.jpg. "
            "(The validation images of ImageNet-1k come without: sort them into class folders first. Pictures without "
            "classes, to be learned without labels, go into a single one.)"
        )
    for name in available:
        if any(
            "\ud800" <= letter <= "\udfff" for letter in name
        ):  # what Python makes of bytes that are no text
            raise DataError(
                f"the name of {folder / name} is not UTF-8, as names of classes must be; rename the folder"
            )
    chosen = request.choose_classes(available)
    pairs, other = [], [f for f in sorted(folder.iterdir()) if f.is_file() and not is_litter(f.name)]
    for label, name in enumerate(chosen):
        taken, more = image_files(folder / name)
        if not taken:
            told = count_not_taken(more)
            raise DataError(
                f"{folder / name} holds no images{f' ({told})' if told else ''}; remove the folder if this is no class"
            )
        pairs += [(file, label) for file in taken]
        other += more
    return pairs, chosen, other


def cifar(name: str, download: Download) -> Callable[[Request], ImageSet]:
    """``"CIFAR10"`` or ``"CIFAR100"`` as torchvision reads it."""

    def source(request: Request) -> ImageSet:
        from torchvision import datasets  # takes seconds, which every process would spend that loads any data

        request.fetch(download)
        folder = request.require(request.folder / download.folder)
        try:
            read = getattr(datasets, name)(request.folder, train=request.split == "train")
        except (RuntimeError, OSError) as error:
            raise DataError(
                f"{folder} is damaged, or not the whole set ({error}); move it away and have it downloaded again"
            ) from error
        return _packed(request, np.transpose(read.data, (0, 3, 1, 2)), np.array(read.targets), read.classes)

    return source


def stl10(request: Request) -> ImageSet:
    """Ten classes at 96 pixels, 500 training and 800 test images of each."""
    request.fetch(STL10)
    folder = request.require(request.folder / STL10.folder)
    names = [row[0] for row in request.lines(folder / "class_names.txt")]
    pixels, labels = (request.require(folder / f"{request.split}_{k}.bin") for k in "Xy")
    targets = np.fromfile(labels, np.uint8).astype(np.int64) - 1  # stored from 1
    if pixels.stat().st_size != len(targets) * 3 * 96 * 96:
        raise DataError(
            f"{pixels} holds {pixels.stat().st_size:,} bytes, but {len(targets)} images (as many as {labels} has "
            f"labels) take {len(targets) * 3 * 96 * 96:,}; one of them is truncated, get the set again"
        )
    if not len(targets):
        raise DataError(f"{labels} is empty; get the set again")
    if not 0 <= targets.min() <= targets.max() < len(names):
        raise DataError(
            f"{labels} holds labels from {targets.min() + 1} to {targets.max() + 1}, expected 1 to {len(names)}"
        )
    images = np.memmap(pixels, np.uint8, "r").reshape(-1, 3, 96, 96)
    return _packed(request, images.transpose(0, 1, 3, 2), targets, names)  # stored column by column


def _packed(request: Request, images: np.ndarray, targets: np.ndarray, names: Sequence[str]) -> ImageSet:
    """Images that come as one array ``(n, 3, h, w)``; only those drawn are copied."""
    chosen = request.choose_classes(names)
    index = {list(names).index(c): i for i, c in enumerate(chosen)}
    rows = request.draw([i for i, t in enumerate(targets.tolist()) if t in index])
    must_fit(len(rows), request.image_size)
    drawn = torch.from_numpy(np.ascontiguousarray(images[rows]))
    return ImageSet(
        images=drawn if request.image_size == drawn.shape[-1] else _resize(drawn, request.image_size),
        labels=torch.tensor([index[int(targets[i])] for i in rows]),
        classes=tuple(chosen),
        name=request.title,
        tier=request.tier,
    )


def _resize(images: Tensor, size: int) -> Tensor:
    """Bicubic, a part at a time: as floats all of them may not fit."""
    parts = [
        torch.nn.functional.interpolate(
            part.float(), size=(size, size), mode="bicubic", antialias=True, align_corners=False
        ).round().clamp(0, 255).to(torch.uint8)
        for part in images.split(4096)
    ]  # fmt: skip
    return torch.cat(parts)
