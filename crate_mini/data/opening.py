"""Image and mask files opened: upright, 8 bits a channel, with errors that name the file and a way out."""

from __future__ import annotations

import functools
import io
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from crate_mini.errors import DataError

FORMATS = (
    "PNG", "JPEG", "MPO", "WEBP", "AVIF", "HEIF", "GIF", "BMP", "DIB", "TIFF", "JPEG2000", "PPM", "TGA",
)  # fmt: skip
"""What counts as a picture, by Pillow's names. Pillow opens more: pages (PDF, EPS), films, icons, measurements."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""EXIF orientation -> how the stored pixels are turned to stand upright."""
_BITS, _PHOTOMETRIC, _ORIENTATION, _MOST, _SAMPLE_FORMAT = (
    258,
    262,
    274,
    281,
    339,
)  # of TIFF, the third of EXIF too
_TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")  # modes
_SAVE = "save it as PNG with 8 or 16 bits"


@functools.cache
def picture_formats() -> tuple[str, ...]:
    """Those of :data:`FORMATS` that the Pillow at hand reads."""
    Image.init()
    return tuple(kind for kind in FORMATS if kind in Image.OPEN)


@functools.cache
def picture_suffixes() -> frozenset[str]:
    """How the names of picture files end: lower case, with the dot."""
    kinds = picture_formats()
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in kinds)


def open_image(source: str | os.PathLike | bytes, name: str | None = None) -> Image.Image:
    """An image as upright RGB: EXIF rotation applied, grey and palette converted, transparency on white.

    16 bits a channel become 8; floating-point numbers count from 0, black, to 1, white. Of 10, 12 or 14 bits that lie
    in 16, white is known where a TIFF says so (MaxSampleValue 1023, 4095, 16383). Where nothing says so and no pixel
    of the picture reaches a sixteenth of the range, it is refused: it would come out black.

    Args:
        source: a file, or what is in one.
        name: what to call it in an error; by default its path.

    Raises:
        DataError: missing, empty, truncated, not an image, or with pixels that cannot be read as colours; the
            message names the file.
    """
    stored, orientation = open_stored(source, name := name or _name(source))
    return turn(as_rgb(stored, name), orientation)


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """Stored pixels made upright, by the EXIF orientation of their file."""
    return image if orientation == 1 else image.transpose(TURNS[orientation])


def as_rgb(image: Image.Image, name: str = "the picture") -> Image.Image:
    """Any picture as RGB of 8 bits: deep pixels scaled, transparency on white.

    Raises:
        DataError: pixels of which nobody knows what is black and what is white.
    """
    image = _shallow(image, name)
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise DataError(f"{name} has pixels of a kind ({image.mode}) that are no colours; {_SAVE}") from error


def as_mask(image: Image.Image, name: str) -> Image.Image:
    """The values of a mask, 0 to 255, as an image of mode L: of a palette the indices, of one bit 0 and 255.

    Deep pixels that hold whole numbers up to 255 keep them; 16 bits beyond that become 8.

    Raises:
        DataError: colours, transparency, or values that no mask has.
    """
    if image.mode == "P":
        return Image.fromarray(np.asarray(image))
    if image.mode[0] in "IF":
        values = np.asarray(image)
        if np.isin(values, np.arange(256)).all():
            return Image.fromarray(values.astype(np.uint8))
    image = _shallow(image, name)
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise DataError(
                f"{name} has transparent pixels, which are neither object nor background; save it without, in black "
                "and white"
            )
    red, green, blue = image.convert("RGB").split()
    if not red.tobytes() == green.tobytes() == blue.tobytes():
        raise DataError(
            f"{name} is drawn in colours, and a mask has one number a pixel; save it as grey or palette"
        )
    return red


def colours_used(mask: Image.Image) -> dict[int, tuple[int, int, int]]:
    """Of a palette picture: value -> colour, for the values that it holds and for 0."""
    palette = mask.getpalette("RGB") or []
    values = {0} | {value for value, count in enumerate(mask.histogram()) if count}
    return {value: tuple(palette[3 * value : 3 * value + 3]) or (0, 0, 0) for value in sorted(values)}


def _shallow(image: Image.Image, name: str) -> Image.Image:
    """Deep pixels as bytes. Pillow cuts off what exceeds 255: a picture of 16 bits would come out white."""
    tags = image.tag_v2 if image.format == "TIFF" else {}
    if 2 in np.atleast_1d(tags.get(_SAMPLE_FORMAT, 1)):
        raise DataError(f"{name} stores numbers with a sign, of which none is known to be black; {_SAVE}")
    transparent = None
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        values = np.asarray(image).astype(np.int32)
        transparent = image.info.get("transparency")
        grey = values >> (_depth(tags, int(values.max()), name) - 8)  # as Pillow does with colours of 16 bits
    elif image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):  # nor with NaN
            raise DataError(
                f"{name} stores floating-point numbers from {values.min():.6g} to {values.max():.6g}, and black is 0 "
                f"and white 1 for certain only if none lies outside; {_SAVE}"
            )
        grey = np.round(values * 255)
    elif image.mode == "I":
        raise DataError(
            f"{name} stores whole numbers of 32 bits, of which none is known to be white; {_SAVE}"
        )
    else:
        return image
    if tags.get(_PHOTOMETRIC) == 0:  # white is zero, which Pillow sees to in 8 bits, not in more
        grey = 255 - grey
    shallow = Image.fromarray(grey.astype(np.uint8))
    if transparent is not None:
        shallow.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return shallow


def _depth(tags: Mapping[int, Any], largest: int, name: str) -> int:
    """How many bits there are from black to white in numbers that were stored with 9 to 16.

    MaxSampleValue may be the brightest pixel of one picture; only if it is the largest number of some bits, it tells
    how deep the numbers are.
    """
    bits, stated = int(np.atleast_1d(tags.get(_BITS, 16))[0]), np.atleast_1d(tags.get(_MOST, 0)).max()
    if stated in [2**depth - 1 for depth in range(8, bits)] and largest <= stated:
        return int(stated).bit_length()
    if 0 < largest < 2 ** (bits - 4):
        raise DataError(_too_dark(name, bits, f"the largest is {largest}"))
    return bits


def _too_dark(name: str, bits: int, found: str) -> str:
    """Why deep pixels that stay near 0 are refused: they come from a camera of fewer bits, more often than not."""
    return (
        f"{name} stores numbers of {bits} bits that all lie below {2 ** (bits - 4)} ({found}): a picture of fewer bits "
        f"that was not scaled, and nearly black as it stands. Scale it so that white is {2**bits - 1}, or, in a TIFF, "
        "state what is white in the tag MaxSampleValue, as 4095 for 12 bits"
    )


def _must_not_be_dark(image: Image.Image, name: str) -> None:
    """Of colours stored with 16 bits Pillow gives the upper 8: too late to scale, in time to refuse."""
    if image.mode not in ("RGB", "RGBA", "LA"):
        return  # grey, which Pillow leaves as it is
    colours = [image.getchannel(band).getextrema()[1] for band in image.getbands() if band != "A"]
    if 0 < max(colours) < 16:
        raise DataError(_too_dark(name, 16, f"the largest is {256 * max(colours)} or a little more"))


def open_stored(source: str | os.PathLike | bytes, name: str | None = None) -> tuple[Image.Image, int]:
    """The pixels of a file as they are stored, and its EXIF orientation, 1 where they stand upright.

    Raises:
        DataError: as :func:`open_image`.
    """
    name, in_set = name or _name(source), not isinstance(source, bytes)
    leave = "get the file again, or take it out of the set" if in_set else "take another picture"
    if in_set and Path(source).exists() and not Path(source).is_file():
        raise DataError(f"{name} is no file with a picture in it; {leave}")  # a pipe would be waited for
    try:
        # From a stream: what Pillow opens by name it may map into memory, and then it forgets to turn a TIFF.
        with open(source, "rb") if in_set else io.BytesIO(source) as stream:
            try:
                image = Image.open(stream, formats=picture_formats())
            except Image.DecompressionBombError as error:
                image = _open_smaller(stream, name, error)
            deep = ";16" in str(image.tile)
            image.load()
            orientation = image.getexif().get(_ORIENTATION)
    except FileNotFoundError as error:
        raise DataError(
            f"no image at {name}, where the set should have one; get the file or the whole set again"
        ) from error
    except PermissionError as error:
        raise DataError(f"{name} may not be read by this user; change its permissions") from error
    except UnidentifiedImageError as error:
        with open(source, "rb") if in_set else io.BytesIO(source) as stream:
            what = _what(stream.read(16))
        raise DataError(f"{name} {what}; {leave}") from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        EOFError,
        struct.error,
    ) as error:
        raise DataError(
            f"{name} is not an image that can be read, or is truncated ({error}); {leave}"
        ) from error
    if deep:
        _must_not_be_dark(image, name)
    return image, orientation if orientation in TURNS else 1  # cameras that do not know write 0


def _what(start: bytes) -> str:
    """What a file is that is no picture, by its first bytes."""
    if not start:
        return "is empty"
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"mif1", b"msf1"):
        return "is HEIC, which is not read here: save it as JPEG"
    if start[:4] in (b"II*\0", b"MM\0*"):
        return f"is a TIFF with pixels that are not read here: {_SAVE}"
    kinds = ", ".join(kind for kind in picture_formats() if kind not in ("MPO", "DIB"))
    return f"is not an image that can be read, or is truncated (none of {kinds})"


def _open_smaller(stream: io.BufferedIOBase, name: str, error: Exception) -> Image.Image:
    """An enormous JPEG at a half or a quarter of its sides, which this format allows; no other picture."""
    stream.seek(0)
    if stream.read(2) == b"\xff\xd8":
        stream.seek(0)
        image = JpegImagePlugin.JpegImageFile(stream)
        width, height = image.size
        for part in (2, 4):
            if width * height <= Image.MAX_IMAGE_PIXELS * part**2:
                image.draft(image.mode, (width // part, height // part))
                return image
    raise DataError(
        f"{name} has too many pixels to be opened safely ({error}); save a smaller copy, or a JPEG"
    ) from error


def _name(source: str | os.PathLike | bytes) -> str:
    return "the picture" if isinstance(source, bytes) else os.fspath(source)
