"""Sets of others, read from tiny copies of their layouts: ImageNet, Imagenette, STL-10, VOC 2012, Caltech-101."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from crate_mini.data import IGNORE, SETS, DataError, load, open_stream, whereabouts

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def picture(path: Path, colour=RED, size=(24, 24)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, quality=95)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def near(tensor: torch.Tensor, colour) -> bool:
    return bool((tensor.int() - torch.tensor(colour).view(3, 1, 1)).abs().max() <= 6)


class TestImageNet:
    """ImageNet-1k is a ``folder`` whose classes are wnids."""

    @pytest.fixture
    def imagenet(self, tmp_path) -> Path:
        for split, stem in (("train", "n01440764_18"), ("val", "ILSVRC2012_val_00000293")):
            for wnid, colour in (("n01440764", RED), ("n01443537", BLUE)):
                picture(tmp_path / split / wnid / f"{stem}.JPEG", colour, (50, 37))
        return tmp_path

    def test_contents(self, imagenet):
        for split in ("train", "val"):
            data = load("folder", split, root=imagenet, image_size=32)
            assert data.classes == ("n01440764", "n01443537")
            assert near(data.images[0], RED)
            assert near(data.images[1], BLUE)

    def test_validation_images_that_are_not_sorted(self, imagenet):
        for file in list((imagenet / "val").rglob("*.JPEG")):
            file.rename(imagenet / "val" / f"{file.parent.name}.JPEG")
            file.parent.rmdir()
        with pytest.raises(DataError, match=r"val holds no folders; .*ImageNet-1k .* sort them into class"):
            load("folder", "val", root=imagenet)


class TestImagenette:
    def make(self, folder: Path) -> None:
        for split, n in (("train", 2), ("val", 1)):
            for wnid, colour in (("n03888257", BLUE), ("n01440764", RED)):
                for i in range(n):
                    picture(folder / split / wnid / f"{wnid}_{i}.JPEG", colour)

    def test_contents(self, tmp_path):
        self.make(tmp_path / "imagenette2-160")
        data = load("imagenette", root=tmp_path, image_size=16)
        assert data.classes == ("tench", "parachute")
        assert data.labels.tolist() == [0, 0, 1, 1]
        assert near(data.images[3], BLUE)
        assert load("imagenette", "val", root=tmp_path).labels.tolist() == [0, 1]
        assert open_stream("imagenette", root=tmp_path).files == data.files
        assert load("imagenette", root=tmp_path, classes=["n03888257"]).classes == ("parachute",)

    def test_any_copy_will_do_and_the_fitting_one_comes_first(self, tmp_path):
        self.make(tmp_path / "imagenette2")
        assert "imagenette2/" in load("imagenette", root=tmp_path, image_size=16).files[0]
        for size in (160, 320):
            self.make(tmp_path / f"imagenette2-{size}")
        assert "imagenette2-160/" in load("imagenette", root=tmp_path, image_size=16).files[0]
        assert "imagenette2-320/" in open_stream("imagenette", root=tmp_path, image_size=224).files[0]

    def test_missing(self, tmp_path):
        with pytest.raises(DataError, match=r"imagenette2-160.train is missing.*downloaded"):
            load("imagenette", root=tmp_path)


class TestSTL10:
    @pytest.fixture
    def stl10(self, tmp_path) -> Path:
        folder = tmp_path / "stl10_binary"
        write(folder / "class_names.txt", "airplane\nbird\ncar\n")
        for split, labels in (("train", [3, 1, 2, 2]), ("test", [1])):
            images = np.zeros((len(labels), 3, 96, 96), np.uint8)  # channel, column, row
            images[:, 0, :48] = 255  # left half red
            images[:, 2] = 10 * np.arange(len(labels))[:, None, None]
            images.tofile(folder / f"{split}_X.bin")
            np.array(labels, np.uint8).tofile(folder / f"{split}_y.bin")
        return folder

    def test_contents(self, stl10):
        data = load("stl10", root=stl10.parent, image_size=96)
        assert data.classes == ("airplane", "bird", "car")
        assert data.labels.tolist() == [2, 0, 1, 1]
        assert data.images[1, :, 50, 10].tolist() == [255, 0, 10]
        assert data.images[1, :, 50, 60].tolist() == [0, 0, 10]
        assert (data.name, data.tier) == ("stl10/train", "local")
        assert load("stl10", "test", root=stl10.parent).images.shape == (1, 3, 64, 64)

    def test_draw_and_classes(self, stl10):
        data = load("stl10", root=stl10.parent, classes=["bird"], n=1, image_size=96)
        assert data.labels.tolist() == [0]
        assert data.images[0, 2, 0, 0] in (20, 30)

    def test_same_as_torchvision(self, stl10, monkeypatch):
        from torchvision import datasets

        monkeypatch.setattr(datasets.STL10, "_check_integrity", lambda _: True)
        theirs = datasets.STL10(stl10.parent, split="train")
        ours = load("stl10", root=stl10.parent, image_size=96)
        assert np.array_equal(ours.images.numpy(), theirs.data)
        assert ours.labels.tolist() == theirs.labels.tolist()

    def test_damage(self, stl10):
        with open(stl10 / "train_X.bin", "r+b") as f:
            f.truncate(3 * 96 * 96 * 4 - 5)
        with pytest.raises(
            DataError, match=r"train_X\.bin holds 110,587 bytes, but 4 images .* take 110,592"
        ):
            load("stl10", root=stl10.parent)
        np.array([4], np.uint8).tofile(stl10 / "test_y.bin")
        with pytest.raises(DataError, match=r"test_y\.bin holds labels from 4 to 4, expected 1 to 3"):
            load("stl10", "test", root=stl10.parent)
        (stl10 / "test_X.bin").unlink()
        with pytest.raises(DataError, match=r"test_X\.bin is missing"):
            load("stl10", "test", root=stl10.parent)
        with pytest.raises(DataError, match=r"stl10_binary is missing.*stl10_binary/train_X.bin, "):
            load("stl10", root=stl10.parent / "elsewhere")


class TestVOC:
    @pytest.fixture
    def voc(self, tmp_path) -> Path:
        folder = tmp_path / "VOCdevkit" / "VOC2012"
        names = {"train": ["2007_000001"], "val": ["2007_000002", "2007_000003"]}
        for split, stems in names.items():
            write(folder / "ImageSets" / "Segmentation" / f"{split}.txt", "".join(f"{s}\n" for s in stems))
            for s in stems:
                picture(folder / "JPEGImages" / f"{s}.jpg", GREEN, (30, 20))
                mask = np.zeros((20, 30), np.uint8)
                if s != "2007_000003":
                    mask[4:16, 10:20], mask[4:8, 20:25] = 8, 15  # a cat, and less of a person
                    mask[3] = IGNORE
                    mask[:, :4] = 1  # an aeroplane outside the centre square
                image = Image.fromarray(mask, mode="P")
                image.putpalette([v for i in range(256) for v in (i, 255 - i, (37 * i) % 256)])
                (folder / "SegmentationClass").mkdir(exist_ok=True)
                image.save(folder / "SegmentationClass" / f"{s}.png")
        return tmp_path

    def test_contents(self, voc):
        data = load("voc2012", "val", root=voc, image_size=20)
        assert near(data.images[0], GREEN)
        assert [data.part_names[i] for i in (0, 1, 8, 15, 20)] == [
            "background", "aeroplane", "cat", "person", "TV monitor",
        ]  # fmt: skip
        expected = torch.zeros(20, 20, dtype=torch.uint8)  # columns 5 to 25 of 30
        expected[4:16, 5:15], expected[4:8, 15:20], expected[3] = 8, 15, IGNORE
        assert torch.equal(data.parts[0], expected)
        assert torch.equal(data.masks[0], torch.where(expected == IGNORE, IGNORE, expected.clamp(max=1)))
        assert [data.classes[i] if i >= 0 else None for i in data.labels] == ["cat", None]
        assert not data.masks[1].any()
        assert len(load("voc2012", root=voc)) == 1

    def test_one_of_them_drawn(self, voc):
        assert len(load("voc2012", "val", root=voc, n=1)) == 1

    def test_colours_instead_of_indices(self, voc):
        path = voc / "VOCdevkit" / "VOC2012" / "SegmentationClass" / "2007_000002.png"
        Image.open(path).convert("RGB").save(path)
        with pytest.raises(
            DataError, match=r"2007_000002\.png is drawn in colours, .* save it as grey or palette"
        ):
            load("voc2012", "val", root=voc)
        Image.new("L", (30, 20), 21).save(path)
        with pytest.raises(
            DataError,
            match=r"2007_000002\.png holds values other than 0 to 20 and 255; .*not colours; found 21",
        ):
            load("voc2012", "val", root=voc)

    def test_errors(self, voc):
        with pytest.raises(ValueError, match="shows several classes"):
            load("voc2012", root=voc, classes=["cat"])
        with pytest.raises(DataError, match=r"trainval\.txt is missing.*downloaded"):
            load("voc2012", "trainval", root=voc)
        (voc / "VOCdevkit" / "VOC2012" / "SegmentationClass" / "2007_000001.png").unlink()
        with pytest.raises(DataError, match=r"no image at .*2007_000001\.png"):
            load("voc2012", root=voc)


class TestCaltech:
    @pytest.fixture
    def caltech(self, tmp_path) -> Path:
        folder = tmp_path / "caltech101"
        categories = {"ant": "ant", "Motorbikes": "Motorbikes_16", "BACKGROUND_Google": ""}
        for name, outlines in categories.items():
            for i in range(1, 33):
                image = Image.new("RGB", (40, 30))
                image.paste((255, 255, 255), (12, 6, 28, 22))
                path = folder / "101_ObjectCategories" / name / f"image_{i:04d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path, quality=95)
                if outlines:
                    path = folder / "Annotations" / outlines / f"annotation_{i:04d}.mat"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    # the box is y, y, x, x from 1; the corners are relative to it
                    box = np.array([[5, 24, 11, 30]], np.uint16)
                    corners = np.array([[2.0, 17, 17, 2], [2, 2, 17, 17]])
                    savemat(path, {"box_coord": box, "obj_contour": corners})
        return folder

    def test_contents(self, caltech):
        data = load("caltech101", root=caltech.parent, image_size=30)
        assert data.classes == ("Motorbikes", "ant")
        assert data.labels.bincount().tolist() == [30, 30]
        test = load("caltech101", "test", root=caltech.parent, image_size=30)
        assert test.labels.tolist() == [0, 0, 1, 1]
        assert not set(test.files) & set(data.files)
        assert (test.masks[2] == 1).sum() == 16 * 16
        white = test.images[:, 0] > 127
        assert (white ^ (test.masks == 1)).float().mean() < 0.05, "the outline lies on the object"
        stream = open_stream("caltech101", "test", root=caltech.parent, image_size=30)
        assert torch.equal(stream.read().images, test.images)

    def test_damage(self, caltech):
        path = caltech / "Annotations" / "ant" / "annotation_0031.mat"
        whole = path.read_bytes()
        for content in (b"", b"no outline", whole[: len(whole) // 2]):
            path.write_bytes(content)
            with pytest.raises(DataError, match=r"annotation_0031\.mat is not an outline that can be read"):
                load("caltech101", "test", root=caltech.parent)
        savemat(path, {"box_coord": [[1, 2, 3, 4]], "obj_contour": [[1.0, 2], [1, 2]]})
        with pytest.raises(DataError, match=r"annotation_0031\.mat holds an outline of 2 corners"):
            load("caltech101", "test", root=caltech.parent)
        path.unlink()
        with pytest.raises(DataError, match=r"no outline at .*annotation_0031\.mat"):
            load("caltech101", "test", root=caltech.parent)
        with pytest.raises(DataError, match=r"101_ObjectCategories is missing.*It is there if the root is"):
            load("caltech101", root=caltech.parent / "elsewhere")


def test_whereabouts(tmp_path):
    assert {name: whereabouts(name, tmp_path) for name in SETS} == {
        name: "embedded" if name.startswith("embedded") else "not here" for name in SETS
    }
    for folder in ("imagenette2", "VOCdevkit/VOC2012", "stl10_binary", "caltech101"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("imagenette", "voc2012", "stl10", "caltech101"):
        assert whereabouts(name, tmp_path) == "here"


class TestLetterbox:
    """All of a picture in the square, bars around it that nothing counts."""

    @pytest.fixture
    def wide(self, tmp_path) -> Path:
        picture(tmp_path / "images" / "a.png", RED, (40, 20))
        mask = np.zeros((20, 40), np.uint8)
        mask[:, :10] = 255  # the first quarter, which the centre square cuts away
        (tmp_path / "masks").mkdir()
        Image.fromarray(mask).save(tmp_path / "masks" / "a.png")
        return tmp_path

    def test_all_of_the_picture_and_bars_that_do_not_count(self, wide):
        data = load("masks", "test", root=wide, image_size=16, letterbox=True)
        assert near(data.images[0, :, 4:12], RED)
        assert near(data.images[0, :, :4], (124, 116, 104))
        assert near(data.images[0, :, 12:], (124, 116, 104))
        expected = torch.zeros(16, 16, dtype=torch.uint8)
        expected[4:12, :4] = 1
        expected[:4], expected[12:] = IGNORE, IGNORE
        assert torch.equal(data.masks[0], expected)
        assert load("masks", "test", root=wide, image_size=16).masks.max() == 0

    def test_square_pictures_are_as_they_were(self, tmp_path):
        picture(tmp_path / "images" / "a.png", BLUE, (16, 16))
        picture(tmp_path / "masks" / "a.png", (255, 255, 255), (16, 16))
        plain, boxed = (
            load("masks", "test", root=tmp_path, image_size=16, letterbox=on) for on in (False, True)
        )
        assert torch.equal(plain.images, boxed.images)
        assert torch.equal(plain.masks, boxed.masks)

    def test_a_long_and_thin_one_keeps_a_pixel(self, tmp_path):
        picture(tmp_path / "images" / "a.png", RED, (400, 2))
        picture(tmp_path / "masks" / "a.png", (255, 255, 255), (400, 2))
        data = load("masks", "test", root=tmp_path, image_size=16, letterbox=True)
        assert (data.masks[0] == 1).sum() == 16

    def test_parts_too(self, tmp_path):
        folder = tmp_path / "VOCdevkit" / "VOC2012"
        picture(folder / "JPEGImages" / "a.jpg", RED, (20, 40))
        write(folder / "ImageSets" / "Segmentation" / "val.txt", "a\n")
        (folder / "SegmentationClass").mkdir()
        classes = np.full((40, 20), 3, np.uint8)
        Image.fromarray(classes).save(folder / "SegmentationClass" / "a.png")
        data = load("voc2012", "val", root=tmp_path, image_size=16, letterbox=True)
        for labels, inside in ((data.parts[0], 3), (data.masks[0], 1)):
            assert (labels[:, 4:12] == inside).all()
            assert (labels[:, :4] == IGNORE).all()
            assert (labels[:, 12:] == IGNORE).all()
        assert data.labels.tolist() == [2]

    def test_only_with_mask_files(self):
        with pytest.raises(
            ValueError, match=r"letterboxing needs mask files.*'embedded' has none, but pets, "
        ):
            load("embedded", "test", n=2, letterbox=True)
