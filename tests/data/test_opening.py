"""Files as people have them: deep pixels, palettes, pages and phone photos; scaled where that is safe, else refused."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from crate_mini import data
from crate_mini.data import IGNORE, DataError, load, open_image, to_patch_grid
from crate_mini.data.opening import DataError as Same
from crate_mini.data.opening import as_rgb, picture_formats, picture_suffixes

tifffile = pytest.importorskip("tifffile")  # comes with scikit-image

RAMP = (np.arange(24 * 24).reshape(24, 24) % 256).astype(np.uint8)
DEEP = RAMP.astype(np.uint16) * 257


def png16(pixels: np.ndarray, colour_type: int, more: bytes = b"") -> bytes:
    """A PNG of 16 bits a channel, which Pillow cannot write in colours."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    parts = [chunk(b"IHDR", head), more, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


COLOURS = np.stack([DEEP, DEEP[::-1], DEEP.T], -1)
SCALED = {
    "grey png": saved(Image.fromarray(DEEP), "PNG"),
    "grey tiff": tiff(DEEP, photometric="minisblack"),
    "big-endian tiff": tiff(DEEP, byteorder=">", photometric="minisblack"),
    "packed tiff": saved(Image.fromarray(DEEP), "TIFF", compression="tiff_lzw"),
    "white-is-zero tiff": tiff(65535 - DEEP, photometric="miniswhite"),
    "pgm": b"P5 24 24 65535\n" + DEEP.astype(">u2").tobytes(),
    "floats from 0 to 1": tiff((RAMP / 255).astype(np.float32)),
    "big-endian floats": tiff((RAMP / 255).astype(np.float32), byteorder=">"),
    "white-is-zero floats": tiff((1 - RAMP / 255).astype(np.float32), photometric="miniswhite"),
    "pfm": saved(Image.fromarray((RAMP / 255).astype(np.float32)), "PPM"),
    "jpeg 2000": saved(Image.fromarray(DEEP), "JPEG2000", irreversible=False),
    "grey png with alpha": png16(np.stack([DEEP, np.full_like(DEEP, 65535)], -1), 4),
}


@pytest.mark.parametrize("kind", SCALED)
def test_sixteen_bits_and_floats_become_eight_bits(kind):
    opened = open_image(SCALED[kind])
    assert opened.mode == "RGB"
    assert np.array_equal(np.asarray(opened), np.stack([RAMP] * 3, -1))


@pytest.mark.parametrize("content", [png16(COLOURS, 2), tiff(COLOURS, photometric="rgb")])
def test_sixteen_bits_of_colours(content):
    assert np.array_equal(np.asarray(open_image(content)), (COLOURS // 257).astype(np.uint8))


def test_ten_bits_of_a_pgm_are_all_of_the_range():
    content = b"P5 24 24 1023\n" + (DEEP >> 6).astype(">u2").tobytes()
    opened = np.asarray(open_image(content))[..., 0]
    assert np.abs(opened.astype(int) - RAMP).max() <= 1
    assert opened.max() == 255


MOST = 281  # MaxSampleValue


def stating(pixels: np.ndarray, most: int, **options) -> bytes:
    """A TIFF that says which number is the largest."""
    return tiff(pixels, extratags=[(MOST, "H", 1, most, True)], **options)


@pytest.mark.parametrize("bits", [9, 10, 12, 14])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_fewer_bits_in_sixteen_are_scaled_where_the_file_says_how_many(bits, white_is_zero):
    """A camera's 12 bits in a TIFF of 16: black 0, white 4095, whatever the brightest pixel."""
    pixels = (DEEP >> (16 - bits)) // (
        1 if bits == 10 else 2
    )  # a picture as bright as can be, and darker ones
    stored = 2**bits - 1 - pixels if white_is_zero else pixels
    content = stating(stored, 2**bits - 1, photometric="miniswhite" if white_is_zero else "minisblack")
    assert np.array_equal(np.asarray(open_image(content))[..., 1], pixels >> (bits - 8))


def test_the_brightest_pixel_is_no_depth():
    """MaxSampleValue as some programs write it, the largest number there is: no picture is stretched to it."""
    dim = DEEP // 3
    for pixels, most in ((dim, int(dim.max())), (DEEP, 4095), (DEEP, 65535), (dim, 0)):
        opened = np.asarray(open_image(stating(pixels, most)))
        assert np.array_equal(opened[..., 0], pixels >> 8), most


NEARLY_BLACK = {
    "12 bits in a tiff": (tiff(DEEP >> 4), 4095),
    "12 bits in a png": (saved(Image.fromarray(DEEP >> 4), "PNG"), 4095),
    "8 bits in a tiff": (tiff(RAMP.astype(np.uint16)), 255),
    "whose tag is the brightest pixel": (stating(DEEP >> 4, 3000), 4095),
    "colours of a png": (png16(COLOURS >> 4, 2), 3840),
    "colours of a png with alpha": (
        png16(np.dstack([COLOURS >> 4, np.full_like(DEEP, 65535)]), 6), 3840,
    ),
    "grey of a png with alpha": (png16(np.stack([DEEP >> 4, np.full_like(DEEP, 65535)], -1), 4), 3840),
    "colours of a tiff": (tiff(COLOURS >> 4, photometric="rgb"), 3840),
}  # fmt: skip


@pytest.mark.parametrize("kind", NEARLY_BLACK)
def test_fewer_bits_of_which_nothing_is_said_are_refused(tmp_path, kind):
    """They would come out black, with exit code 0."""
    content, largest = NEARLY_BLACK[kind]
    (tmp_path / "cell.tif").write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_image(tmp_path / "cell.tif")
    words = str(caught.value)
    assert words.startswith(
        f"{tmp_path / 'cell.tif'} stores numbers of 16 bits that all lie below 4096 (the largest"
    )
    assert f"the largest is {largest}" in words
    assert "white is 65535" in words
    assert "MaxSampleValue" in words


@pytest.mark.parametrize("level", [0, 4096, 65535])
def test_even_pictures_are_what_they_are(level):
    even = np.full_like(DEEP, level)
    for content in (tiff(even), saved(Image.fromarray(even), "PNG"), png16(np.stack([even] * 3, -1), 2)):
        assert np.unique(np.asarray(open_image(content))).tolist() == [level >> 8]


def test_a_transparent_grey_of_sixteen_bits_is_white():
    content = png16(DEEP, 0, b"\0\0\0\x02tRNS\x02\x02" + struct.pack(">I", zlib.crc32(b"tRNS\x02\x02")))
    expected = np.where(DEEP == 0x0202, 255, RAMP)
    assert np.array_equal(np.asarray(open_image(content))[..., 0], expected)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (tiff(DEEP.astype(np.int32) * 9), "stores numbers with a sign"),
        (tiff(DEEP.astype(np.uint32) * 9), "stores whole numbers of 32 bits, of which none is known to be white"),
        (tiff((DEEP // 2).astype(np.int16)), "stores numbers with a sign"),
        (tiff(RAMP.astype(np.float32)), "stores floating-point numbers from 0 to 255, and black is 0 and white 1"),
        (tiff(RAMP.astype(np.float32) / 255 - 0.5), "floating-point numbers from -0.5 to 0.5"),
        (tiff(np.full((24, 24), np.nan, np.float32)), "floating-point numbers from nan to nan"),
        (tiff(RAMP / 255), "is a TIFF with pixels that are not read here: save it as PNG"),
        (tiff(RAMP.astype(np.float16)), "is a TIFF with pixels that are not read here"),
        (tiff((COLOURS / 65535).astype(np.float32), photometric="rgb"), "is a TIFF with pixels that are not read"),
    ],
)  # fmt: skip
def test_what_cannot_be_scaled_is_refused_by_name(tmp_path, content, words):
    (tmp_path / "deep.tif").write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_image(tmp_path / "deep.tif")
    assert str(caught.value).startswith(f"{tmp_path / 'deep.tif'} ")
    assert words in str(caught.value)
    assert "save it as PNG with 8 or 16 bits" in str(caught.value)


def test_pictures_of_pillow_itself():
    """What a notebook may hand to the viewer: the same scaling, wherever it came from."""
    for mode in ("I;16", "I;16L", "I;16B"):
        assert as_rgb(Image.new(mode, (4, 4), 0x8080)).getpixel((1, 1)) == (128, 128, 128), mode
    deep = Image.fromarray(DEEP)
    assert np.array_equal(np.asarray(as_rgb(deep))[..., 0], RAMP)
    assert to_patch_grid(deep, 24, 8)[0].tolist() == RAMP.tolist()
    with pytest.raises(DataError, match="the picture stores whole numbers of 32 bits"):
        to_patch_grid(Image.new("I", (24, 24), 70_000), 24, 8)
    for strange in (torch.zeros(3, 24, 24), torch.zeros(1, 24, 24, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"an image must be uint8 of shape \(3, h, w\), got torch"):
            to_patch_grid(strange, 24, 8)


class TestWhatIsAPicture:
    def test_formats(self):
        assert {
            ".jpg",
            ".jpeg",
            ".png",
            ".tif",
            ".webp",
            ".bmp",
            ".gif",
            ".jp2",
            ".ppm",
        } <= picture_suffixes()
        assert (
            not {".pdf", ".eps", ".ps", ".psd", ".mpg", ".ico", ".h5", ".fits", ".svg"} & picture_suffixes()
        )
        assert "EPS" not in picture_formats()

    @pytest.mark.parametrize("kind", ["PDF", "EPS", "ICO"])
    def test_pages_and_icons_are_none_whatever_their_name(self, tmp_path, kind):
        (tmp_path / "page.png").write_bytes(saved(Image.new("RGB", (32, 32)), kind))
        with pytest.raises(DataError, match=r"page\.png is not an image that can be read"):
            open_image(tmp_path / "page.png")

    def test_heic_under_another_name(self, tmp_path):
        (tmp_path / "IMG_1.jpg").write_bytes(b"\0\0\0\x24ftypheic" + bytes(64))
        with pytest.raises(DataError, match=r"IMG_1\.jpg is HEIC, which is not read here: save it as JPEG"):
            open_image(tmp_path / "IMG_1.jpg")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
    def test_a_pipe_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(DataError, match=r"pipe\.png is no file with a picture in it"):
            open_image(tmp_path / "pipe.png")

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="may read everything")
    def test_a_file_that_may_not_be_read(self, tmp_path):
        Image.new("RGB", (8, 8)).save(tmp_path / "mine.png")
        (tmp_path / "mine.png").chmod(0)
        with pytest.raises(DataError, match=r"mine\.png may not be read by this user"):
            open_image(tmp_path / "mine.png")

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize(
        ("kind", "pixels", "options"),
        [("JPEG", RAMP[:16], {"quality": 100}), ("PNG", DEEP[:16], {}), ("TIFF", RAMP[:16], {}),
         ("TIFF", DEEP[:16], {}), ("TIFF", DEEP[:16], {"compression": "tiff_lzw"}),
         ("WEBP", RAMP[:16], {"lossless": True})],
    )  # fmt: skip
    def test_every_exif_orientation(self, tmp_path, kind, pixels, options, orientation):
        """Against numpy: where EXIF says that row 0 and column 0 of what is stored belong."""
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(pixels).save(tmp_path / "turned", kind, exif=exif, **options)
        flat = RAMP[:16]
        upright = {
            1: flat, 2: flat[:, ::-1], 3: flat[::-1, ::-1], 4: flat[::-1],
            5: flat.T, 6: flat[::-1].T, 7: flat[::-1, ::-1].T, 8: flat[:, ::-1].T,
        }[orientation]  # fmt: skip
        opened = np.asarray(open_image(tmp_path / "turned"))[..., 0]
        assert opened.shape == upright.shape
        assert np.abs(opened.astype(int) - upright).max() <= (6 if kind == "JPEG" else 0)


class TestEnormous:
    """The limit of pixels is set low here; what counts is what lies above it."""

    @pytest.fixture(autouse=True)
    def _limit(self, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 40)

    @pytest.mark.parametrize(("side", "opened"), [(56, 56), (72, 36), (120, 30), (160, 40)])
    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    def test_a_jpeg_is_read_at_a_part_of_its_size(self, tmp_path, side, opened):
        image = Image.new("RGB", (side, side), (200, 30, 30))
        image.paste((30, 30, 200), (0, 0, side // 2, side))
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(tmp_path / "big.jpg", quality=95, exif=exif)
        small = open_image(tmp_path / "big.jpg")
        assert small.size == (opened, opened)
        assert small.getpixel((opened // 2, 3))[2] > 180, "blue was on the left and is on top"
        assert small.getpixel((opened // 2, opened - 3))[0] > 180

    def test_others_and_larger_ones_are_refused_with_a_way_out(self, tmp_path):
        for name, side in (("big.png", 80), ("huge.jpg", 170)):
            Image.new("RGB", (side, side)).save(tmp_path / name)
            with pytest.raises(
                DataError, match=rf"{name} has too many pixels .*; save a smaller copy, or a JPEG"
            ):
                open_image(tmp_path / name)


def test_messages_can_be_printed_whatever_the_name():
    assert Same is DataError
    error = DataError("no image at caf\udce9.png")
    assert str(error) == "no image at caf\\udce9.png"
    str(error).encode("utf-8")


# ---- masks -----------------------------------------------------------------------------------------------

OBJECT = np.zeros((20, 40), np.uint8)
OBJECT[4:12, 16:24] = 1


def with_masks(folder: Path, *masks: bytes | Image.Image, images: dict | None = None) -> Path:
    """A folder of images and masks, paired by number; the file names of masks end in .png whatever they are."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(exist_ok=True)
    for i, mask in enumerate(masks):
        Image.new("RGB", (40, 20)).save(folder / "images" / f"{i}.jpg", **(images or {}))
        content = mask if isinstance(mask, bytes) else saved(mask, "PNG")
        (folder / "masks" / f"{i}.png").write_bytes(content)
    return folder


def read_masks(folder: Path, **more) -> torch.Tensor:
    return load("masks", "test", root=folder, image_size=20, **more).masks


def palette(values: np.ndarray, *colours: tuple[int, int, int], bits: int | None = None) -> bytes:
    image = Image.fromarray(values).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([part for colour in colours for part in colour])
    return saved(image, "PNG", **({"bits": bits} if bits else {}))


BLACK, WHITE, RED, DARK = (0, 0, 0), (255, 255, 255), (255, 0, 0), (128, 0, 0)
EXPECTED = torch.from_numpy(OBJECT[:, 10:30].copy())


@pytest.mark.parametrize(
    "mask",
    [
        stating(OBJECT.astype(np.uint16) * 4095, 4095),
        tiff(OBJECT.astype(np.uint16) * 65535), tiff(OBJECT.astype(np.uint16)), tiff(OBJECT.astype(np.uint16) * 255),
        tiff(OBJECT.astype(np.int32)), tiff(OBJECT.astype(np.int32) * 255), tiff(OBJECT.astype(np.float32)),
        tiff(OBJECT.astype(np.float32) * 255), saved(Image.fromarray(OBJECT.astype(np.uint16) * 65535), "PNG"),
        palette(OBJECT, BLACK, WHITE), palette(1 - OBJECT, WHITE, BLACK), palette(1 - OBJECT, WHITE, BLACK, bits=1),
        palette(OBJECT * 7, BLACK, *[RED] * 6, WHITE), palette(OBJECT, BLACK, DARK), palette(OBJECT, DARK, RED),
        saved(Image.fromarray(OBJECT.astype(bool)), "PNG"), saved(Image.fromarray(OBJECT.astype(bool)), "TIFF"),
        saved(Image.fromarray(np.stack([OBJECT * 255] * 3, -1)), "PNG"),
    ],
)  # fmt: skip
def test_the_object_is_found_in_every_kind_of_mask(tmp_path, mask):
    assert torch.equal(read_masks(with_masks(tmp_path, mask))[0], EXPECTED)


def test_a_whole_object_and_none_in_a_palette(tmp_path):
    full, none = np.ones_like(OBJECT), np.zeros_like(OBJECT)
    masks = palette(full, BLACK, WHITE), palette(none, WHITE, BLACK), palette(none, BLACK, WHITE)
    assert [float(m.float().mean()) for m in read_masks(with_masks(tmp_path, *masks))] == [1, 1, 0]


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (palette(1 - OBJECT, WHITE, RED), r"draws 0, background, in \(255, 255, 255\) and 1 in \(255, 0, 0\)"),
        (palette(OBJECT, (200, 200, 200), (10, 10, 10)), "which is no lighter, so which is the object cannot be told"),
        (palette(OBJECT, RED, (0, 0, 255)), "cannot be told; save it in black and white, white on the object"),
        (palette(OBJECT, BLACK, BLACK), "cannot be told"),
        (saved(Image.fromarray(np.stack([OBJECT * 255, OBJECT, OBJECT], -1)), "PNG"), "is drawn in colours"),
        (saved(Image.fromarray(np.stack([OBJECT * 255] * 4, -1)), "PNG"), "has transparent pixels"),
        (tiff(OBJECT.astype(np.uint32) * 70_000), "stores whole numbers of 32 bits"),
        (tiff(OBJECT.astype(np.float32) / 2), r"holds values other than \[0, 1, 255\].*found 128"),
        (tiff(OBJECT.astype(np.uint16) * 5000), r"holds values other than .*found 19"),
        (tiff(OBJECT.astype(np.uint16) * 4095), r"stores numbers of 16 bits that all lie below 4096"),
    ],
)  # fmt: skip
def test_masks_that_can_be_read_two_ways_are_refused_by_name(tmp_path, mask, words):
    with pytest.raises(DataError, match=rf"0\.png {words}" if "holds" in words else words) as caught:
        read_masks(with_masks(tmp_path, mask))
    assert str(tmp_path / "masks" / "0.png") in str(caught.value)


def test_a_picture_of_one_bit_beside_masks_in_numbers_stays_one(tmp_path):
    """White there is object for certain; of plain bytes 255 is what is not counted, once any mask holds a 1."""
    masks = [
        Image.fromarray(OBJECT), Image.fromarray(OBJECT * 255), Image.fromarray(OBJECT.astype(bool)),
        palette(1 - OBJECT, WHITE, BLACK),
    ]  # fmt: skip
    numbers, plain, bit, colours = read_masks(with_masks(tmp_path, *masks))
    assert torch.equal(numbers, EXPECTED)
    assert torch.equal(plain, EXPECTED * IGNORE)
    assert torch.equal(bit, EXPECTED)
    assert torch.equal(colours, EXPECTED)
    (tmp_path / "masks" / "0.png").write_bytes(saved(Image.fromarray(OBJECT * 255), "PNG"))
    for mask in read_masks(tmp_path):
        assert torch.equal(mask, EXPECTED)


def test_a_one_too_small_to_be_left_still_says_how_masks_are_read(tmp_path):
    numbers = OBJECT * IGNORE
    numbers[0, 0] = 1  # outside of the centre square
    assert torch.equal(read_masks(with_masks(tmp_path, Image.fromarray(numbers)))[0], EXPECTED * IGNORE)


def turned(orientation: int) -> dict:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {"exif": exif}


class TestTurnedPhotos:
    """An image that says by EXIF how to hold it, and a mask that says nothing."""

    CORNER = np.zeros((20, 40), np.uint8)
    CORNER[:10, :10] = 255

    def test_a_mask_drawn_on_stored_pixels_is_turned_with_its_image(self, tmp_path):
        with_masks(tmp_path, Image.fromarray(self.CORNER), images=turned(6))
        mask = load("masks", "test", root=tmp_path, image_size=40, letterbox=True).masks[0]
        assert (mask[:10, 20:30] == 1).all(), (
            "the corner at the left top of what is stored is at the right top"
        )
        assert (mask == 1).sum() == 100

    def test_a_mask_drawn_on_the_upright_picture_stays(self, tmp_path):
        upright = np.ascontiguousarray(np.rot90(self.CORNER, -1))
        with_masks(tmp_path, Image.fromarray(upright), images=turned(6))
        mask = load("masks", "test", root=tmp_path, image_size=40, letterbox=True).masks[0]
        assert (mask[:10, 20:30] == 1).all()

    def test_a_mask_that_says_so_itself(self, tmp_path):
        content = saved(Image.fromarray(self.CORNER), "PNG", **turned(3))
        with_masks(tmp_path, content, images=turned(3))
        mask = load("masks", "test", root=tmp_path, image_size=40, letterbox=True).masks[0]
        assert (mask[20:30, 30:] == 1).all()

    @pytest.mark.parametrize("orientation", [0, 1, 9])
    def test_an_orientation_that_says_nothing(self, tmp_path, orientation):
        with_masks(tmp_path, Image.fromarray(self.CORNER), images=turned(orientation))
        mask = load("masks", "test", root=tmp_path, image_size=40, letterbox=True).masks[0]
        assert (mask[10:20, :10] == 1).all()

    @pytest.mark.parametrize("orientation", [2, 3, 4])
    def test_what_sizes_cannot_tell_is_refused(self, tmp_path, orientation):
        with_masks(tmp_path, Image.fromarray(self.CORNER), images=turned(orientation))
        with pytest.raises(
            DataError, match=rf"0\.jpg is stored turned .*orientation {orientation}.*save the image upr"
        ):
            read_masks(tmp_path)
        report = data.check("masks", "test", root=tmp_path)
        assert "is stored turned or mirrored" in "".join(report.damaged)

    def test_masks_of_published_sets_were_drawn_on_what_is_stored(self, tmp_path):
        folder = tmp_path / "oxford-iiit-pet"
        for part in ("images", "annotations/trimaps"):
            (folder / part).mkdir(parents=True)
        (folder / "annotations" / "test.txt").write_text("a_1 1 1 1\n")
        Image.new("RGB", (40, 20)).save(folder / "images" / "a_1.jpg", **turned(3))
        Image.fromarray(np.where(self.CORNER, 1, 2).astype(np.uint8)).save(
            folder / "annotations/trimaps/a_1.png"
        )
        mask = load("pets", "test", root=tmp_path, image_size=40, letterbox=True).masks[0]
        assert (mask[20:30, 30:] == 1).all()
