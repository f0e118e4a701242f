"""Sets with one object an image: Pets, horses, Caltech-101, your own.

Each is a function that lists images and drawings, :class:`~crate_mini.data.pairs.Pairs`; reading them is the same for
all.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from crate_mini.data.downloads import Download
from crate_mini.data.imageset import IGNORE, ImageSet
from crate_mini.data.opening import as_mask, colours_used, open_stored, turn
from crate_mini.data.pairs import Drawn, Pairs, check_values, open_values
from crate_mini.data.request import Request, count_not_taken, image_files, is_litter
from crate_mini.data.streaming import ImageStream
from crate_mini.errors import DataError

PETS = Download(
    (
        ("https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz", "md5:5c4f3ee8e5d25df40f4fd59a7f44e54c"),
        ("https://www.robots.ox.ac.uk/~vgg/data/pets/data/annotations.tar.gz", "md5:95a8c909bbe2e81eed6a22bccdf3f68f"),
    ),
    "oxford-iiit-pet",
    into="oxford-iiit-pet",
)  # fmt: skip
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
# folders of Caltech-101 whose annotations lie under another name
_CALTECH_ANNOTATIONS = {
    "Faces": "Faces_2", "Faces_easy": "Faces_3", "Motorbikes": "Motorbikes_16", "airplanes": "Airplanes_Side_2",
}  # fmt: skip


def pets(request: Request) -> Pairs:
    """Oxford-IIIT Pet: breeds as classes, trimaps as masks, their border not counted."""
    folder, chosen, stems = _pets(request)
    stems = request.draw(stems)
    photos = [folder / "images" / f"{s}.jpg" for s, _ in stems]
    trimaps = [folder / "annotations" / "trimaps" / f"{s}.png" for s, _ in stems]
    return Pairs(photos, trimaps, _trimap, [label for _, label in stems], tuple(chosen))


def _trimap(path: Path, size: tuple[int, int]) -> Drawn:
    trimap = open_values(path, (1, 2, 3), "expected 1 animal, 2 background, 3 border")
    return Drawn(masks=trimap.point([0, 1, 0, IGNORE] + 252 * [0]))


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


def caltech101(request: Request) -> Pairs:
    """Caltech-101: one object each, its outline as mask. The first 30 images of a class are for training."""
    chosen, rows = _caltech101(request)
    photos, outlines, labels = zip(*request.draw(rows), strict=True)
    return Pairs(photos, outlines, _outlined, labels, tuple(chosen))


def caltech101_stream(request: Request) -> ImageStream:
    """The images of Caltech-101 and their classes."""
    chosen, rows = _caltech101(request)
    return request.stream([(f, label) for f, _, label in rows], chosen)


def _caltech101(request: Request) -> tuple[list[str], list[tuple[Path, Path, int]]]:
    """Classes, and image, annotation and label of every image of the split."""
    request.fetch(CALTECH101)
    folder = request.folder / CALTECH101.folder
    pictures = request.require(folder / "101_ObjectCategories")
    found = sorted(d.name for d in pictures.iterdir() if d.is_dir() and not is_litter(d.name))
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


def _outlined(annotation: Path, size: tuple[int, int]) -> Drawn:
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
    return Drawn(masks=mask)


def horses(request: Request) -> Pairs:
    """The Weizmann horses."""
    return _image_and_mask_folder(request, request.folder / "weizmann-horse")


def masks(request: Request) -> Pairs:
    """Anybody's own ``images`` and ``masks``."""
    return _image_and_mask_folder(request, request.folder)


_WHITE = 254
"""Of a mask of black and white alone, white: object, or, beside masks in numbers, not counted."""
_BLACK, _PURE_WHITE = (0, 0, 0), (255, 255, 255)


def _image_and_mask_folder(request: Request, folder: Path) -> Pairs:
    """``images/NAME.*`` with ``masks/NAME.png``.

    Masks are black and white pictures, or hold 0 background, 1 object, 255 not counted: where any mask of the set
    holds a 1, the second reading applies to all of them. Of 1 bit a pixel, or with a palette of black and white, white
    is object in either case.
    """
    if request.classes is not None:
        raise ValueError(f"{request.name!r} has no classes to choose from")
    images, more = _by_stem(request.require(folder / "images"))
    masks, other = _by_stem(request.require(folder / "masks"))
    other = more + other
    told = f" ({count_not_taken(other)})" if other else ""
    if not images:
        raise DataError(f"{folder / 'images'} holds no images{told}")
    if lone := sorted(set(images) ^ set(masks)):
        where = "mask" if lone[0] in images else "image"
        raise DataError(
            f"files of {folder} without a partner: {len(lone)}; for example {lone[0]!r} has no {where}{told}"
        )
    stems = request.draw(list(images))
    numbered: dict[Path, bool] = {}  # file -> whether it holds a 1; filled by several threads

    def draw(path: Path, size: tuple[int, int]) -> Drawn:
        stored, orientation = open_stored(path)
        mask, certain = _read_drawn(stored, path)
        numbered[path] = not certain and mask.histogram()[1] > 0
        return Drawn(masks=turn(mask, orientation), upright=orientation != 1)

    def finish(found: ImageSet) -> ImageSet:
        for (
            file
        ) in masks.values():  # the whole set decides, not the draw: a drawn mask may happen to hold no 1
            if file not in numbered:
                draw(file, (0, 0))
        white = IGNORE if any(numbered.values()) else 1
        return replace(found, name=request.name, masks=found.masks.masked_fill(found.masks == _WHITE, white))

    return Pairs(
        [images[s] for s in stems], [masks[s] for s in stems], draw, [-1] * len(stems),
        published=False, not_taken=other, finish=finish,
    )  # fmt: skip


def _read_drawn(stored: Image.Image, path: Path) -> tuple[Image.Image, bool]:
    """What somebody drew, as 0, 1 and :data:`IGNORE`, or 0 and :data:`_WHITE`; and whether 1 is white for certain.

    The colours of a palette count, not which comes first.
    """
    mask = as_mask(stored, str(path))
    if stored.mode == "1":
        return mask.point([0] * 255 + [1]), True
    if stored.mode == "P":
        colours = colours_used(stored)
        used = [v for v, pixels in enumerate(mask.histogram()) if pixels]
        if any(colours[v] != (v, v, v) for v in used):  # else it is grey, and its values are its colours
            drawn = {colours[v] for v in used}
            if len(drawn) == len(used) and drawn <= {_BLACK, _PURE_WHITE}:
                return mask.point([int(colours.get(v) == _PURE_WHITE) for v in range(256)]), True
            if lighter := [v for v in used if v and sum(colours[v]) <= sum(colours[0])]:
                raise DataError(
                    f"{path} is a palette picture that draws 0, background, in {colours[0]} and {lighter[0]} in "
                    f"{colours[lighter[0]]}, which is no lighter, so which is the object cannot be told; save it in "
                    "black and white, white on the object"
                )
    check_values(
        mask,
        path,
        (0, 1, IGNORE),
        "masks must be black and white, or hold 0 background, 1 object, 255 not counted",
    )
    if mask.histogram()[1]:
        return mask, False
    return mask.point([*range(255), _WHITE]), False


def _by_stem(folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """Name without suffix -> image file, refusing two of one name; and the files that are no pictures."""
    found: dict[str, Path] = {}
    taken, other = image_files(folder, deep=False)
    for file in taken:
        if file.stem in found:
            raise DataError(f"{found[file.stem]} and {file.name} have one name; pairs are made by name")
        found[file.stem] = file
    return found, other
