"""Sets of images with masks, for looking at what a network has found: Pets, horses, VOC 2012, Caltech-101, your own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from crate_mini.data.downloads import Download
from crate_mini.data.images import DataError, open_mask
from crate_mini.data.imageset import IGNORE, ImageSet
from crate_mini.data.request import Request, check_values
from crate_mini.data.streaming import ImageStream

PETS = Download(
    (
        ("https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz", "md5:5c4f3ee8e5d25df40f4fd59a7f44e54c"),
        ("https://www.robots.ox.ac.uk/~vgg/data/pets/data/annotations.tar.gz", "md5:95a8c909bbe2e81eed6a22bccdf3f68f"),
    ),
    "oxford-iiit-pet",
    into="oxford-iiit-pet",
)  # fmt: skip
VOC2012 = Download(
    (
        (
            "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
            "md5:6cd6e144f989b92b3379bac3b3de84fd",
        ),
    ),
    "VOCdevkit/VOC2012",
)
CALTECH101 = Download(
    (
        (
            "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
            "md5:3138e1922a9193bfa496528edbbc45d0",
        ),
    ),
    "caltech101",
    into="caltech101",
    nested=True,
)
VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table", "dog",
    "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "TV monitor",
)  # fmt: skip
# folders of Caltech-101 whose annotations lie under another name
_CALTECH_ANNOTATIONS = {
    "Faces": "Faces_2", "Faces_easy": "Faces_3", "Motorbikes": "Motorbikes_16", "airplanes": "Airplanes_Side_2",
}  # fmt: skip


def pets(request: Request) -> ImageSet:
    """Oxford-IIIT Pet: breeds as classes, trimaps as masks, their border not counted."""
    folder, chosen, stems = _pets(request)
    stems = request.draw(stems)
    trimaps = [folder / "annotations" / "trimaps" / f"{s}.png" for s, _ in stems]
    read, trimap = request.read_masked([folder / "images" / f"{s}.jpg" for s, _ in stems], trimaps, outside=2)
    check_values(trimap, [1, 2, 3], trimaps, "expected 1 animal, 2 background, 3 border")
    masks = torch.where(trimap == 3, IGNORE, (trimap == 1).to(torch.uint8)).to(torch.uint8)
    labels = torch.tensor([label for _, label in stems])
    return ImageSet(labels=labels, classes=tuple(chosen), masks=masks, name=request.title, **read)


def pets_stream(request: Request) -> ImageStream:
    """The images of Oxford-IIIT Pet and their breeds."""
    folder, chosen, stems = _pets(request)
    return request.stream([(folder / "images" / f"{s}.jpg", label) for s, label in stems], chosen)


def _pets(request: Request) -> tuple[Path, list[str], list[tuple[str, int]]]:
    request.fetch(PETS)
    folder = request.folder / PETS.folder
    listing = folder / "annotations" / ("trainval.txt" if request.split == "train" else "test.txt")
    names = [row[0] for row in request.lines(listing) if not row[0].startswith("#")]
    breeds = {s: s.rsplit("_", 1)[0].replace("_", " ") for s in names}
    chosen = request.choose_classes(sorted(set(breeds.values())))
    return folder, chosen, [(s, chosen.index(breeds[s])) for s in names if breeds[s] in chosen]


def voc2012(request: Request) -> ImageSet:
    """Pascal VOC 2012, segmentation: ``parts`` hold the 20 classes, ``masks`` any of them, borders not counted.

    The label of an image is the class that covers most of it, -1 where the centre square shows none.
    """
    if request.classes is not None:
        raise ValueError("an image of 'voc2012' shows several classes; choose by its parts with subset()")
    request.fetch(VOC2012)
    folder = request.folder / VOC2012.folder
    listing = folder / "ImageSets" / "Segmentation" / f"{request.split}.txt"
    names = request.draw([row[0] for row in request.lines(listing)])
    if not names:
        raise DataError(f"{listing} lists no images; get the set again")
    files = [folder / "SegmentationClass" / f"{s}.png" for s in names]
    photos = [folder / "JPEGImages" / f"{s}.jpg" for s in names]
    read, parts = request.read_masked(photos, files, outside=IGNORE)
    check_values(
        parts, [*range(21), IGNORE], files, "expected 0 background, 1 to 20 a class, 255 border; as palette "
        "indices, not colours",
    )  # fmt: skip
    areas = torch.stack([(parts == k).flatten(1).sum(1) for k in range(1, 21)], dim=1)
    return ImageSet(
        labels=torch.where(areas.any(1), areas.argmax(1), -1),
        classes=VOC_CLASSES,
        masks=torch.where(parts == IGNORE, IGNORE, (parts > 0).to(torch.uint8)).to(torch.uint8),
        parts=parts,
        part_names=("background", *VOC_CLASSES),
        name=request.title,
        **read,
    )


def caltech101(request: Request) -> ImageSet:
    """Caltech-101: one object each, its outline as mask. The first 30 images of a class are for training."""
    chosen, rows = _caltech101(request)
    rows = request.draw(rows)
    read, masks = request.read_masked([f for f, _, _ in rows], [a for _, a, _ in rows], _outlined)
    labels = torch.tensor([label for _, _, label in rows])
    return ImageSet(labels=labels, classes=tuple(chosen), masks=masks, name=request.title, **read)


def caltech101_stream(request: Request) -> ImageStream:
    """The images of Caltech-101 and their classes."""
    chosen, rows = _caltech101(request)
    return request.stream([(f, label) for f, _, label in rows], chosen)


def _caltech101(request: Request) -> tuple[list[str], list[tuple[Path, Path, int]]]:
    """Classes, and image, annotation and label of every image of the split."""
    request.fetch(CALTECH101)
    folder = request.folder / CALTECH101.folder
    pictures = request.require(folder / "101_ObjectCategories")
    found = sorted(d.name for d in pictures.iterdir() if d.is_dir() and not d.name.startswith("."))
    chosen = request.choose_classes([c for c in found if c != "BACKGROUND_Google"])
    rows = []
    for label, name in enumerate(chosen):
        files = sorted((pictures / name).glob("image_*.jpg"))
        outlines = folder / "Annotations" / _CALTECH_ANNOTATIONS.get(name, name)
        rows += [
            (f, outlines / f"annotation_{f.stem.removeprefix('image_')}.mat", label)
            for f in (files[:30] if request.split == "train" else files[30:])
        ]
    if not rows:
        raise DataError(f"{pictures} holds no images for {request.title}; get the set again")
    return chosen, rows


def _outlined(annotation: Path, size: tuple[int, int]) -> Image.Image:
    """The mask inside the outline that a file of Caltech-101 holds, corner by corner, relative to a box."""
    from scipy.io import loadmat

    if not annotation.exists():
        raise DataError(f"no outline at {annotation}; get the annotations of the set again")
    try:
        content = loadmat(annotation)
        contour, box = content["obj_contour"], content["box_coord"][0]
        corners = contour + np.array([[box[2]], [box[0]]]) - 1.0  # the box is (y, y, x, x), from 1
        points = [tuple(corner) for corner in corners.T.tolist()]
    except Exception as error:  # a damaged file makes the reader fail in many ways
        raise DataError(f"{annotation} is not an outline that can be read ({error}); get it again") from error
    if len(points) < 3:
        raise DataError(
            f"{annotation} holds an outline of {len(points)} corners; at least 3 enclose something"
        )
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).polygon(points, fill=1)
    return mask


def horses(request: Request) -> ImageSet:
    """The Weizmann horses."""
    return _image_and_mask_folder(request, request.folder / "weizmann-horse")


def masks(request: Request) -> ImageSet:
    """Anybody's own ``images`` and ``masks``."""
    return _image_and_mask_folder(request, request.folder)


def _image_and_mask_folder(request: Request, folder: Path) -> ImageSet:
    """``images/NAME.*`` with ``masks/NAME.png``.

    Masks are black and white pictures, or hold 0 background, 1 object, 255 not counted: where any mask of the set
    holds a 1, the second reading applies to all of them.
    """
    if request.classes is not None:
        raise ValueError(f"{request.name!r} has no classes to choose from")
    images = _by_stem(request.require(folder / "images"))
    masks = _by_stem(request.require(folder / "masks"))
    if not images:
        raise DataError(f"{folder / 'images'} holds no images")
    if lone := sorted(set(images) ^ set(masks)):
        where = "mask" if lone[0] in images else "image"
        raise DataError(
            f"files of {folder} without a partner: {len(lone)}; for example {lone[0]!r} has no {where}"
        )
    stems = request.draw(list(images))
    read, raw = request.read_masked([images[s] for s in stems], [masks[s] for s in stems])
    # The whole set decides, not the draw: a drawn mask may happen to hold no 1.
    others = (np.asarray(open_mask(file)) for stem, file in masks.items() if stem not in stems)
    indexed = bool((raw == 1).any()) or any(bool((values == 1).any()) for values in others)
    check_values(
        raw, [0, 1, IGNORE] if indexed else [0, IGNORE], [masks[s] for s in stems],
        "masks must be black and white, or hold 0 background, 1 object, 255 not counted",
    )  # fmt: skip
    return ImageSet(
        labels=torch.full((len(stems),), -1),
        masks=raw if indexed else (raw > 0).to(torch.uint8),
        name=request.name,
        **read,
    )


def _by_stem(folder: Path) -> dict[str, Path]:
    """Name without suffix -> image file, refusing two of one name."""
    suffixes = set(Image.registered_extensions())
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in suffixes and not file.name.startswith("."):
            if file.stem in found:
                raise DataError(f"{found[file.stem]} and {file.name} have one name; pairs are made by name")
            found[file.stem] = file
    return found
