"""Sets with several objects an image, each of a class: PASCAL VOC 2012, COCO, the animals of Pascal-Part."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from crate_mini.data.coco import mask_of
from crate_mini.data.downloads import Download
from crate_mini.data.imageset import IGNORE, ImageSet
from crate_mini.data.pairs import Drawn, Pairs, open_values
from crate_mini.data.request import Request
from crate_mini.errors import DataError

VOC2012 = Download(
    (
        (
            "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
            "md5:6cd6e144f989b92b3379bac3b3de84fd",
        ),
    ),
    "VOCdevkit/VOC2012",
)
VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table", "dog",
    "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "TV monitor",
)  # fmt: skip
_MOST = IGNORE - 1  # objects of one image that a byte can tell apart


def voc2012(request: Request) -> Pairs:
    """Pascal VOC 2012, segmentation: ``parts`` hold the 20 classes, ``instances`` the objects, borders not counted.

    Objects are given where every image of the list has a mask of them. A split is a list in
    ``ImageSets/Segmentation``. The label of an image is the class that covers most of it, -1 where it shows none.
    """
    if request.classes is not None:
        raise ValueError("an image of 'voc2012' shows several classes; choose by its parts with subset()")
    request.fetch(VOC2012)
    folder = request.folder / VOC2012.folder
    listing = folder / "ImageSets" / "Segmentation" / f"{request.split}.txt"
    names = [row[0] for row in request.lines(listing)]
    if not names:
        raise DataError(f"{listing} lists no images; get the set again")
    kinds = ["SegmentationClass", "SegmentationObject"]
    if not all((folder / kinds[1] / f"{name}.png").is_file() for name in names):
        del kinds[1]
    names = request.draw(names)
    return Pairs(
        images=[folder / "JPEGImages" / f"{name}.jpg" for name in names],
        drawings=[[folder / kind / f"{name}.png" for kind in kinds] for name in names],
        draw=_draw_voc,
        labels=[-1] * len(names),
        classes=VOC_CLASSES,
        part_names=("background", *VOC_CLASSES),
        finish=_label_by_area,
    )


def val_masks(request: Request) -> tuple[list[str], Iterator[Image.Image]]:
    """Names and class masks of all official val images: :func:`crate_mini.data.voc2012_val_masks`."""
    folder = request.folder / VOC2012.folder
    masks, listing = "SegmentationClassVal", folder / "ImageSets" / "Segmentation" / "val_official.txt"
    if not listing.is_file():
        masks, listing = "SegmentationClass", listing.with_name("val.txt")
    names = sorted(row[0] for row in request.lines(listing))
    return names, (_draw_voc([folder / masks / f"{name}.png"], (0, 0)).parts for name in names)


def _draw_voc(files: list[Path], size: tuple[int, int]) -> Drawn:
    meaning = "expected 0 background, 1 to 20 a class, 255 border; as palette indices, not colours"
    classes = open_values(files[0], (*range(21), IGNORE), meaning)
    if len(files) == 1:
        return Drawn(parts=classes)
    objects = open_values(files[1], range(256), "")
    if objects.size != classes.size:
        raise DataError(
            f"{files[1]} is {objects.size} pixels, {files[0]} is {classes.size}; get the set again"
        )
    of_class, of_object = np.asarray(classes), np.asarray(objects)
    mine = []
    for number in range(1, max([v for v in np.unique(of_object).tolist() if v != IGNORE], default=0) + 1):
        counts = np.bincount(of_class[of_object == number], minlength=256)[1:21]
        mine.append(int(counts.argmax()))
    return Drawn(parts=classes, instances=objects, classes=mine)


def coco(request: Request) -> Pairs:
    """COCO 2017, things: ``parts`` hold the 80 classes, ``instances`` the objects; crowds are not counted.

    Where objects overlap, the smaller one lies on top. Labels as for :func:`voc2012`.
    """
    if request.classes is not None:
        raise ValueError("an image of 'coco' shows several classes; choose by its parts with subset()")
    listing, images, of_image, names = _coco_annotations(request)
    year = f"{request.split}2017"
    folder = request.folder / "coco"
    photos = (
        folder / "images" / year if (folder / "images" / year).is_dir() else request.require(folder / year)
    )
    images = request.draw(images)
    return Pairs(
        images=[photos / name for name, _, _ in images],
        drawings=[(listing, number, size, of_image[number]) for _, size, number in images],
        draw=_draw_coco,
        labels=[-1] * len(images),
        classes=tuple(names),
        part_names=("background", *names),
        finish=_label_by_area,
    )


class Boxes(NamedTuple):
    """Of one image of COCO, as its annotations have them: (left, top, right, bottom) in pixels.

    Attributes:
        size: width and height of the image.
        things: boxes of its objects, ``(g, 4)`` float64.
        crowds: boxes of regions in which objects are not told apart, ``(c, 4)``.
    """

    size: tuple[int, int]
    things: Tensor
    crowds: Tensor


def boxes(request: Request) -> list[Boxes]:
    """Boxes of all images: :func:`crate_mini.data.coco_boxes`."""
    _, images, of_image, _ = _coco_annotations(request)
    return [
        Boxes(
            size,
            *(
                torch.tensor(
                    [a["box"] for a in of_image[number] if a["crowd"] == crowd], dtype=torch.float64
                ).view(-1, 4)
                for crowd in (False, True)
            ),
        )
        for _, size, number in images
    ]


def _coco_annotations(
    request: Request,
) -> tuple[Path, list[tuple[str, tuple[int, int], int]], dict[int, list[dict[str, Any]]], list[str]]:
    """The file; its images by name, each with its size and number; annotations by number; and the classes."""
    listing = request.require(request.folder / "coco" / "annotations" / f"instances_{request.split}2017.json")
    try:
        content = json.loads(listing.read_text(encoding="utf-8"))
        categories = sorted(content["categories"], key=lambda c: c["id"])
        place = {category["id"]: k for k, category in enumerate(categories)}
        of_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for annotation in content["annotations"]:
            x, y, width, height = annotation["bbox"]
            of_image[annotation["image_id"]].append(
                {
                    "class": place[annotation["category_id"]],
                    "crowd": bool(annotation.get("iscrowd", 0)),
                    "segmentation": annotation["segmentation"],
                    "box": [x, y, x + width, y + height],
                }
            )
        images = sorted((i["file_name"], (i["width"], i["height"]), i["id"]) for i in content["images"])
        names = [category["name"] for category in categories]
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # a UnicodeDecodeError is a ValueError
        raise DataError(
            f"{listing} is no list of COCO's instances ({type(error).__name__}: {error}); get the file again"
        ) from error
    if not images:
        raise DataError(f"{listing} lists no images; get the file again")
    return listing, images, of_image, names


def _draw_coco(drawing: tuple[Path, int, tuple[int, int], list[dict]], _: tuple[int, int]) -> Drawn:
    listing, number, (width, height), annotations = drawing
    # column by column, as the masks are written down
    parts, instances = np.zeros((2, width, height), np.uint8)
    try:
        masks = [mask_of(a["segmentation"], height, width).T for a in annotations]
    except ValueError as error:
        raise DataError(f"{listing}, image {number}: {error}; get the file again") from error
    objects = [(a["class"], mask) for a, mask in zip(annotations, masks, strict=True) if not a["crowd"]]
    if len(objects) > _MOST:
        raise DataError(
            f"{listing}, image {number} has {len(objects)} objects; {_MOST} at most are told apart"
        )
    for a, mask in zip(annotations, masks, strict=True):
        if a["crowd"]:
            parts[mask], instances[mask] = IGNORE, IGNORE
    for place in sorted(range(len(objects)), key=lambda k: -int(objects[k][1].sum())):
        label, mask = objects[place]
        parts[mask], instances[mask] = label + 1, place + 1
    return Drawn(
        parts=Image.fromarray(parts.T),
        instances=Image.fromarray(instances.T),
        classes=[label for label, _ in objects],
    )


def pascal_part(request: Request) -> Pairs:
    """Photographs of animals with their parts, from Pascal-Part: to look at, too few for a score."""
    if request.classes is not None:
        raise ValueError("'pascal-part' has too few images to choose classes from; choose with subset()")
    folder = request.folder / "pascal-part-animals"
    listing = request.require(folder / "parts.json")
    try:
        content = json.loads(listing.read_text(encoding="utf-8"))
        part_names = tuple(content["labels"][str(k)] for k in range(len(content["labels"])))
        animals = {
            image["id"]: {o["object"]: (o["class"], o["pixels"]) for o in image["objects"]}
            for image in content["images"]
        }
        classes = tuple(sorted({kind for objects in animals.values() for kind, _ in objects.values()}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{listing} cannot be read ({type(error).__name__}: {error}); get the set again"
        ) from error
    names = request.draw(sorted(animals))

    def draw(name: str, _: tuple[int, int]) -> Drawn:
        parts = open_values(
            folder / "parts" / f"{name}.png", range(len(part_names)), "expected the labels of parts.json"
        )
        numbers = [0, *animals[name]]
        objects = open_values(
            folder / "objects" / f"{name}.png", numbers, "expected the objects of parts.json"
        )
        kinds = [
            classes.index(animals[name][k][0]) if k in animals[name] else -1
            for k in range(1, max(numbers) + 1)
        ]
        return Drawn(parts=parts, instances=objects, classes=kinds)

    return Pairs(
        images=[folder / "images" / f"{name}.jpg" for name in names],
        drawings=names,
        draw=draw,
        labels=[classes.index(max(animals[name].values(), key=lambda o: o[1])[0]) for name in names],
        classes=classes,
        part_names=part_names,
    )


def _label_by_area(found: ImageSet) -> ImageSet:
    """The class that covers most of an image as its label."""
    areas = torch.stack(
        [(found.parts == k).flatten(1).sum(1) for k in range(1, len(found.part_names))], dim=1
    )
    return replace(found, labels=torch.where(areas.any(1), areas.argmax(1), -1))
