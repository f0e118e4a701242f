"""Images and what is drawn on them, read in pairs: turned, cut and resized alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from crate_mini.data.images import centre_square, fit_image, letterbox_image, must_fit, on_all_cores
from crate_mini.data.imageset import IGNORE, PIXELWISE, ImageSet
from crate_mini.data.opening import as_mask, as_rgb, open_stored, turn
from crate_mini.data.request import Request
from crate_mini.errors import DataError


class Drawn(NamedTuple):
    """What is drawn on one image: pictures of mode L that hold what an :class:`ImageSet` holds of a pixel.

    Attributes:
        masks: 0 background, 1 object, :data:`IGNORE` not counted.
        parts: the part or class of every pixel.
        instances: the object that it belongs to.
        classes: of the objects 1, 2, ..., as indices into the classes of the set.
        upright: the drawing says itself how it is turned, and was turned so.
    """

    masks: Image.Image | None = None
    parts: Image.Image | None = None
    instances: Image.Image | None = None
    classes: Sequence[int] = ()
    upright: bool = False

    def pictures(self) -> dict[str, Image.Image]:
        """Those that there are, by the name of their field."""
        return {name: picture for name in PIXELWISE if (picture := getattr(self, name)) is not None}


@dataclass
class Pairs:
    """Images with their masks, before any is read.

    Attributes:
        images: files.
        drawings: for every image what its masks are made of: a file, several, or annotations.
        draw: makes them, given the size of the image as it is stored. Raises :class:`DataError` where they hold what
            this set does not have.
        labels: of the images; -1 without one.
        classes: what the labels count.
        part_names: what the values of parts are.
        published: masks were drawn on the pixels as they are stored, as those of published sets are, whatever the
            EXIF orientation of an image says. Of other sets their sizes must tell.
        not_taken: files that lie among them and are no pictures.
        finish: what only the set as a whole can tell.
    """

    images: Sequence[Path]
    drawings: Sequence[Any]
    draw: Callable[[Any, tuple[int, int]], Drawn]
    labels: Sequence[int]
    classes: tuple[str, ...] = ()
    part_names: tuple[str, ...] = ()
    published: bool = True
    not_taken: Sequence[Path] = ()
    finish: Callable[[ImageSet], ImageSet] = lambda found: found

    def open(self, i: int) -> tuple[Image.Image, Drawn]:
        """One image and what is drawn on it, upright and as large as they are.

        Raises:
            DataError: either cannot be read, or they do not fit together.
        """
        path = self.images[i]
        stored, orientation = open_stored(path)
        image = turn(as_rgb(stored, str(path)), orientation)
        drawn = self.draw(self.drawings[i], stored.size)
        return image, self._turned(drawn, path, stored.size, image.size, orientation)

    def _turned(
        self, drawn: Drawn, path: Path, stored: tuple[int, int], upright: tuple[int, int], orientation: int
    ) -> Drawn:
        """The drawing, turned as its image was, of which path, sizes and orientation are given."""
        possible = [upright] if drawn.upright else [stored] if self.published else [stored, upright]
        for picture in drawn.pictures().values():
            if picture.size not in possible:
                raise DataError(
                    f"the mask of {path} is {picture.width} x {picture.height} pixels, the image {upright[0]} x "
                    f"{upright[1]}; make them of one size"
                )
        if drawn.upright or orientation == 1 or (not self.published and picture.size == upright != stored):
            return drawn
        if not self.published and upright == stored:
            raise DataError(
                f"{path} is stored turned or mirrored (EXIF orientation {orientation}), and whether its mask was drawn "
                "on the stored or on the upright picture cannot be told; save the image upright, without that entry"
            )
        return drawn._replace(**{k: turn(v, orientation) for k, v in drawn.pictures().items()})

    def damaged(self) -> Iterator[str]:
        """What is wrong with images and masks, one message each; reads them all."""

        def trouble(i: int) -> str | None:
            try:
                self.open(i)
            except DataError as error:
                return str(error)
            return None

        with ThreadPoolExecutor() as pool:
            yield from filter(None, pool.map(trouble, range(len(self.images))))


def read(request: Request, pairs: Pairs) -> ImageSet:
    """All of them in memory, masks moved with their images; around letterboxed ones :data:`IGNORE`."""
    size = request.image_size

    def one(i: int) -> tuple[np.ndarray, dict[str, np.ndarray], list[int]]:
        image, drawn = pairs.open(i)
        classes: list[int] = []
        if drawn.instances is not None:
            drawn, classes = _seen(drawn, request.letterbox)
        if request.letterbox:
            image = letterbox_image(image, size)
            masks = {k: letterbox_image(v, size, outside=IGNORE) for k, v in drawn.pictures().items()}
        else:
            image = fit_image(image, size)
            masks = {k: fit_image(v, size, nearest=True) for k, v in drawn.pictures().items()}
        return np.asarray(image), {k: np.asarray(v) for k, v in masks.items()}, classes

    n = len(pairs.images)
    must_fit(n, size)
    pixels = np.empty((n, size, size, 3), np.uint8)
    masks: list[dict[str, np.ndarray]] = []
    classes: list[tuple[int, ...]] = []
    for i, (image, drawn, seen) in on_all_cores(one, range(n), title=request.name, progress=request.progress):
        pixels[i] = image
        masks.append(drawn)
        classes.append(tuple(seen))
    found = {k: torch.from_numpy(np.stack([m[k] for m in masks])) for k in masks[0]}
    if "masks" not in found:
        parts = found["parts"]
        found["masks"] = torch.where(parts == IGNORE, IGNORE, (parts > 0).to(torch.uint8)).to(torch.uint8)
    images = ImageSet(
        images=torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
        labels=torch.as_tensor(pairs.labels),
        classes=pairs.classes,
        part_names=pairs.part_names,
        instance_classes=tuple(classes) if "instances" in found else (),
        name=request.title,
        tier=request.tier,
        files=tuple(map(str, pairs.images)),
        **found,
    )
    return pairs.finish(images)


def open_values(path: Path, allowed: Sequence[int], meaning: str) -> Image.Image:
    """The mask in a file, as it is stored, once it holds allowed values alone.

    Raises:
        DataError: no mask, or other values, with ``meaning``, which says what was expected.
    """
    return check_values(as_mask(open_stored(path)[0], str(path)), path, allowed, meaning)


def check_values(mask: Image.Image, path: Path, allowed: Sequence[int], meaning: str) -> Image.Image:
    """The mask itself, once it holds allowed values alone; else a :class:`DataError` names the file."""
    if strange := [v for v, pixels in enumerate(mask.histogram()) if pixels and v not in allowed]:
        told = ", ".join(map(str, strange[:5])) + (
            f" and {len(strange) - 5} more" if len(strange) > 5 else ""
        )
        few = list(allowed) if len(allowed) < 5 else f"{allowed[0]} to {allowed[-2]} and {allowed[-1]}"
        raise DataError(f"{path} holds values other than {few}; {meaning}; found {told}")
    return mask


def _seen(drawn: Drawn, whole: bool) -> tuple[Drawn, list[int]]:
    """Objects counted anew, from 1, without those that lie outside of the centre square; and their classes."""
    shown = drawn.instances if whole else drawn.instances.crop(centre_square(drawn.instances.size))
    kept = [v for v, pixels in enumerate(shown.histogram()) if pixels and v not in (0, IGNORE)]
    anew = {v: number for number, v in enumerate(kept, 1)} | {IGNORE: IGNORE}
    counted = drawn.instances.point([anew.get(v, 0) for v in range(256)])
    return drawn._replace(instances=counted), [drawn.classes[v - 1] for v in kept]
