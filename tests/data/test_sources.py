"""Data sources on tiny folders made on the spot: contents, order, geometry, odd pictures, and clear errors."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import socket
import sys
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from crate_mini.data import (
    IGNORE,
    DataError,
    data_root,
    fit_image,
    labelled,
    load,
    open_image,
    open_stream,
    photographs,
)

RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)


def picture(path: Path, colour=RED, size=(24, 24), **save) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(
        path, **({"quality": 95} if "JP" in path.suffix.upper() else {}) | save
    )
    return path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def near(tensor: torch.Tensor, colour) -> bool:
    """All pixels of (3, h, w) within what JPEG does to a plain colour."""
    return bool((tensor.int() - torch.tensor(colour).view(3, 1, 1)).abs().max() <= 6)


@pytest.fixture(autouse=True)
def _no_data_of_this_machine(request, monkeypatch):
    if not request.node.get_closest_marker("realdata"):
        monkeypatch.delenv("CRATE_MINI_DATA", raising=False)


@pytest.fixture
def tiny_imagenet(tmp_path) -> Path:
    folder = tmp_path / "tiny-imagenet-200"
    colours = {"n03": RED, "n01": GREEN, "n02": BLUE}
    write(folder / "wnids.txt", "n03\nn01\nn02\n")
    write(folder / "words.txt", "n01\tcat, house cat\nn02\tdog\nn03\tred fox, Vulpes\nn99\tother\n")
    for wnid, colour in colours.items():
        for i in range(3):
            picture(folder / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", colour, (64, 64))
    rows = [("val_0.JPEG", "n02"), ("val_1.JPEG", "n01"), ("val_2.JPEG", "n03")]
    for name, wnid in rows:
        picture(folder / "val" / "images" / name, colours[wnid], (64, 64))
    write(folder / "val" / "val_annotations.txt", "".join(f"{n}\t{w}\t0\t0\t63\t63\n" for n, w in rows))
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    for i, colour in enumerate((RED, GREEN, BLUE)):
        picture(tmp_path / "train" / "b" / f"{i}.png", colour)
    picture(tmp_path / "train" / "a" / "deep" / "x.JPG", GREY)
    picture(tmp_path / "val" / "a" / "y.png", GREY)
    write(tmp_path / "train" / "a" / "notes.txt", "no picture")
    return tmp_path


@pytest.fixture
def image_and_mask(tmp_path) -> Path:
    """Two pictures of 40 x 20 pixels, white on the object and black elsewhere, and their masks."""
    for name, box in (("a", (16, 4, 24, 12)), ("b", (12, 8, 20, 18))):
        shape = Image.new("L", (40, 20))
        shape.paste(255, box)
        for kind in ("images", "masks"):
            (tmp_path / kind).mkdir(exist_ok=True)
        shape.convert("RGB").save(tmp_path / "images" / f"{name}.png")
        shape.save(tmp_path / "masks" / f"{name}.png")
    return tmp_path


class TestTinyImageNet:
    def test_contents(self, tiny_imagenet):
        data = load("tiny-imagenet", root=tiny_imagenet.parent)
        assert data.images.shape == (9, 3, 64, 64)
        assert data.classes == ("cat", "dog", "red fox")  # sorted by wnid, first word
        assert data.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        for image, label in zip(data.images, data.labels, strict=True):
            assert near(image, (GREEN, BLUE, RED)[label])
        assert [Path(f).name for f in data.files[:2]] == ["n01_0.JPEG", "n01_1.JPEG"]
        assert (data.name, data.tier) == ("tiny-imagenet/train", "local")

    def test_validation_reads_its_own_list(self, tiny_imagenet):
        data = load("tiny-imagenet", "val", root=tiny_imagenet.parent, image_size=16)
        assert data.labels.tolist() == [1, 0, 2]
        assert data.images.shape == (3, 3, 16, 16)
        assert near(data.images[0], BLUE)

    def test_chosen_classes_in_the_order_asked_for(self, tiny_imagenet):
        for split, labels in (("train", [0, 0, 0, 1, 1, 1]), ("val", [1, 0])):
            data = load("tiny-imagenet", split, root=tiny_imagenet.parent, classes=["n03", "n02"])
            assert data.classes == ("red fox", "dog")
            assert data.labels.tolist() == labels

    def test_animals(self, tiny_imagenet, monkeypatch):
        monkeypatch.setattr(labelled, "TINY_IMAGENET_ANIMALS", ("n02", "n01"))
        assert load("tiny-imagenet-animals", root=tiny_imagenet.parent).classes == ("dog", "cat")

    def test_three_classes_in_four_and_the_fourth(self, tiny_imagenet):
        """Together they are all classes, and no class is in both."""
        more = [(f"n0{k}", f"class {k}") for k in range(4, 9)]
        with (tiny_imagenet / "wnids.txt").open("a") as file:
            file.writelines(f"{wnid}\n" for wnid, _ in more)
        with (tiny_imagenet / "words.txt").open("a") as file:
            file.writelines(f"{wnid}\t{word}\n" for wnid, word in more)
        for wnid, _ in more:
            shutil.copytree(tiny_imagenet / "train" / "n01", tiny_imagenet / "train" / wnid)
        seen, others = (load(f"tiny-imagenet-{n}", root=tiny_imagenet.parent).classes for n in (150, 50))
        assert seen == ("cat", "dog", "red fox", "class 5", "class 6", "class 7")
        assert others == ("class 4", "class 8")

    def test_environment_names_the_folder(self, tiny_imagenet, monkeypatch):
        monkeypatch.setenv("CRATE_MINI_DATA", str(tiny_imagenet.parent))
        assert len(load("tiny-imagenet", "val")) == 3
        assert data_root() == tiny_imagenet.parent
        assert data_root("elsewhere") == Path("elsewhere")
        monkeypatch.delenv("CRATE_MINI_DATA")
        assert "crate_mini" in str(data_root())

    @pytest.mark.parametrize(
        "missing", ["words.txt", "wnids.txt", "val/val_annotations.txt", "train/n02/images"]
    )
    def test_what_is_missing_is_named(self, tiny_imagenet, missing):
        path = tiny_imagenet / missing
        path.rename(tiny_imagenet / "gone")
        split = "val" if "val" in missing else "train"
        with pytest.raises(DataError) as caught:
            load("tiny-imagenet", split, root=tiny_imagenet.parent)
        assert f"{path} is missing" in str(caught.value)
        for way_out in ("as root", "CRATE_MINI_DATA", "downloaded", "embedded", "wnids.txt, words.txt"):
            assert way_out in str(caught.value)
        assert "=" not in str(caught.value), "no Python, for the command line shows it, too"

    def test_class_without_images(self, tiny_imagenet):
        for f in (tiny_imagenet / "train" / "n02" / "images").iterdir():
            f.unlink()
        with pytest.raises(DataError, match=r"n02.images holds no \.JPEG files"):
            load("tiny-imagenet", root=tiny_imagenet.parent)

    def test_empty_list(self, tiny_imagenet):
        write(tiny_imagenet / "val" / "val_annotations.txt", "\n")
        with pytest.raises(
            DataError, match="tiny-imagenet/val lists no images of the classes cat, dog, red fox"
        ):
            load("tiny-imagenet", "val", root=tiny_imagenet.parent)

    def test_listed_image_that_is_not_there(self, tiny_imagenet):
        (tiny_imagenet / "val" / "images" / "val_1.JPEG").unlink()
        with pytest.raises(DataError, match=r"no image at .*val_1.JPEG"):
            load("tiny-imagenet", "val", root=tiny_imagenet.parent)

    @pytest.mark.parametrize("keep", [10, 0.6])
    def test_truncated_image(self, tiny_imagenet, keep):
        path = tiny_imagenet / "train" / "n02" / "images" / "n02_1.JPEG"
        content = path.read_bytes()
        path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
        with pytest.raises(
            DataError,
            match=r"n02_1\.JPEG is not an image that can be read, or is truncated .*get the file again",
        ):
            load("tiny-imagenet", root=tiny_imagenet.parent)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", r"n02_1\.JPEG is empty; get the file again, or take it out of the set"),
            (b"<html>404</html>", r"n02_1\.JPEG is not an image that can be read.*take it out of the set"),
        ],
    )
    def test_file_that_is_no_picture(self, tiny_imagenet, content, message):
        (tiny_imagenet / "train" / "n02" / "images" / "n02_1.JPEG").write_bytes(content)
        with pytest.raises(DataError, match=message):
            load("tiny-imagenet", root=tiny_imagenet.parent)

    def test_damage_in_the_middle_of_a_jpeg(self, tiny_imagenet):
        path = tiny_imagenet / "train" / "n02" / "images" / "n02_1.JPEG"
        content = bytearray(path.read_bytes())
        content[2:20] = b"\x00" * 18
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"n02_1\.JPEG is not an image that can be read"):
            load("tiny-imagenet", root=tiny_imagenet.parent)

    def test_class_that_the_set_does_not_have(self, tiny_imagenet):
        listing = tiny_imagenet / "val" / "val_annotations.txt"
        write(listing, listing.read_text() + "val_3.JPEG\tn77\t0\t0\t1\t1\n")
        with pytest.raises(
            DataError,
            match=r"val_annotations\.txt gives val_3\.JPEG the class 'n77', which is not in .*wnids\.txt",
        ):
            load("tiny-imagenet", "val", root=tiny_imagenet.parent)

    @pytest.mark.parametrize(("file", "split"), [("words.txt", "train"), ("val/val_annotations.txt", "val")])
    def test_line_that_is_cut_off(self, tiny_imagenet, file, split):
        write(tiny_imagenet / file, (tiny_imagenet / file).read_text() + "n05")
        with pytest.raises(
            DataError, match=rf"{Path(file).name}, line \d: expected 2 columns, found 'n05'; get the file"
        ):
            load("tiny-imagenet", split, root=tiny_imagenet.parent)

    def test_list_that_is_no_text(self, tiny_imagenet):
        (tiny_imagenet / "words.txt").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(DataError, match=r"words\.txt is no text"):
            load("tiny-imagenet", root=tiny_imagenet.parent)

    def test_unknown_class(self, tiny_imagenet):
        with pytest.raises(
            ValueError, match=r"'tiny-imagenet' has no classes \['n07'\]; it has n01, n02, n03"
        ):
            load("tiny-imagenet", root=tiny_imagenet.parent, classes=["n01", "n07"])


class TestFolder:
    def test_contents(self, folder):
        data = load("folder", root=folder, image_size=12)
        assert data.classes == ("a", "b")
        assert data.labels.tolist() == [0, 1, 1, 1]
        for image, colour in zip(data.images, (GREY, RED, GREEN, BLUE), strict=True):
            assert near(image, colour)
        assert data.name == "folder/train"
        assert len(load("folder", "val", root=folder)) == 1

    def test_hidden_files_are_no_classes_and_no_images(self, folder):
        (folder / "train" / ".ipynb_checkpoints").mkdir()
        (folder / "train" / "b" / "._0.png").write_bytes(b"what macOS leaves behind")
        assert load("folder", root=folder).classes == ("a", "b")
        assert len(load("folder", root=folder)) == 4

    @pytest.mark.parametrize("where", ["", "train", "train/b"])
    def test_what_systems_leave_behind_is_no_class_and_no_file(self, folder, where, recwarn):
        """An archive of macOS, a thumbnail cache of Windows, the folders of a disk and of a network drive."""
        for name in (
            "__MACOSX/a",
            "__MACOSX/train/a",
            "$RECYCLE.BIN",
            "System Volume Information",
            "@eaDir",
            "lost+found",
        ):
            (folder / where / name).mkdir(parents=True)
        picture(folder / where / "__MACOSX" / "a" / "thumb.png", RED)
        for name in (
            "Thumbs.db",
            "thumbs.db",
            "desktop.ini",
            ".DS_Store",
            "._a",
            "Icon\r",
            "__MACOSX/a/._x.JPG",
        ):
            (folder / where / name).write_bytes(b"of a system")
        found = load("folder", root=folder)
        assert (found.classes, len(found)) == (("a", "b"), 4)
        assert len(open_stream("folder", root=folder)) == 4
        assert [str(w.message) for w in recwarn] == []

    def test_a_class_may_be_called_almost_so(self, folder):
        picture(folder / "train" / "MACOSX" / "0.png", RED)
        assert load("folder", root=folder).classes == ("MACOSX", "a", "b")

    def test_pictures_in_hidden_folders_are_none(self, folder):
        for hidden in (".ipynb_checkpoints", ".git/objects", "deep/.cache"):
            picture(folder / "train" / "b" / hidden / "0-checkpoint.png", RED)
        assert len(load("folder", root=folder, classes=["b"])) == 3

    def test_a_hidden_folder_above_hides_nothing(self, folder):
        (folder / "train").rename(folder / "kept")
        (folder / ".data").mkdir()
        (folder / "kept").rename(folder / ".data" / "train")
        assert len(load("folder", root=folder / ".data")) == 4

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("IMG_1.HEIC", "1 .heic"), ("scan.pdf", "1 .pdf"), ("page.eps", "1 .eps"), ("raw.nef", "1 .nef"),
            ("drawing.svg", "1 .svg"), ("photo", "1 without a suffix"), ("film.mp4", "1 .mp4"),
        ],
    )  # fmt: skip
    def test_what_is_not_taken_is_said(self, folder, name, told):
        (folder / "train" / "b" / name).write_bytes(b"something")
        message = (
            rf"folder/train: 1 file not taken: {re.escape(told)} \(for example .*{name}\); save them as JPEG"
        )
        with pytest.warns(UserWarning, match=message):
            assert len(load("folder", root=folder)) == 4
        with pytest.warns(UserWarning, match=message):
            open_stream("folder", root=folder)

    def test_what_is_no_file_is_not_taken(self, folder):
        inside = folder / "train" / "b"
        (inside / "lost.jpg").symlink_to(inside / "nowhere.jpg")
        (inside / "linked").symlink_to(folder / "train" / "a")
        (inside / "album.jpg").mkdir()
        picture(inside / "album.jpg" / "in.png", BLUE)  # a folder, whatever its name
        picture(folder / "train" / "loose.png", RED)
        with pytest.warns(UserWarning, match=r"3 files not taken: 1 \.png, 2 that is no file"):
            data = load("folder", root=folder)
        assert [Path(f).name for f in data.files] == ["x.JPG", "0.png", "1.png", "2.png", "in.png"]

    def test_a_class_of_heic_alone_says_so(self, folder):
        for i in range(2):
            (folder / "train" / "c").mkdir(exist_ok=True)
            (folder / "train" / "c" / f"{i}.heic").write_bytes(b"")
        with pytest.raises(DataError, match=r"c holds no images \(2 files not taken: 2 \.heic"):
            load("folder", root=folder)

    @pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
    def test_a_class_whose_name_is_no_text(self, folder):
        os.mkdir(os.fsencode(folder / "train") + b"/caf\xe9")
        with pytest.raises(
            DataError, match=r"the name of .*caf\\udce9 is not UTF-8.*; rename the folder"
        ) as caught:
            load("folder", root=folder)
        str(caught.value).encode()

    def test_files_whose_names_are_no_text_can_be_read(self, folder):
        os.rename(folder / "train" / "b" / "1.png", os.fsencode(folder / "train" / "b") + b"/\xe9.png")
        assert len(load("folder", root=folder)) == 4
        os.rename(folder / "train" / "b" / "2.png", os.fsencode(folder / "train" / "b") + b"/\xe9.heic")
        with pytest.warns(UserWarning, match=r"for example .*\\udce9\.heic") as caught:
            load("folder", root=folder)
        str(caught[0].message).encode()

    @pytest.mark.parametrize(
        ("root", "split", "way_out"),
        [
            ("train", "train", r"It is there if the root is {folder}: name that"),
            ("train", "val", r"It is there if the root is {folder}: name that"),
            ("train", "test", r"The root should be the folder above, {folder}\."),
            ("train/a", "train", r"It is there if the root is {folder}: name that"),
            ("..", "train", r"It is there if the root is {folder}: name that"),
            (".", "test", r"Here is train, val: make the folder test, or name a split that is there"),
            (
                "no/such/folder",
                "train",
                r"Put the set there, or name the folder that holds the set as root or in",
            ),
        ],
    )
    def test_a_root_that_is_one_too_deep_or_too_high(self, folder, root, split, way_out):
        mine = folder / "top" / "mine"
        mine.mkdir(parents=True)
        for part in ("train", "val"):
            (folder / part).rename(mine / part)
        with pytest.raises(DataError) as caught:
            load("folder", split, root=Path(os.path.normpath(mine / root)))
        assert re.search(way_out.format(folder=re.escape(str(mine))), str(caught.value))
        assert "train/<class>/*.jpg, and in the same way val and test" in str(caught.value)

    def test_classes(self, folder):
        data = load("folder", root=folder, classes=["b"])
        assert (data.classes, data.labels.tolist()) == (("b",), [0, 0, 0])
        with pytest.raises(ValueError, match=r"'folder' has no classes \['c'\]; it has a, b"):
            load("folder", root=folder, classes=["c"])

    def test_draw(self, folder):
        def names(**more):
            return [Path(f).name for f in load("folder", root=folder, image_size=8, **more).files]

        everything = names()
        assert names(n=99) == everything
        assert names(n=2, seed=1) == names(n=2, seed=1)
        draws = {tuple(names(n=2, seed=s)) for s in range(8)}
        assert len(draws) > 1
        for draw in draws:
            assert len(draw) == 2
            assert list(draw) == [f for f in everything if f in draw]  # in their order

    def test_errors(self, folder):
        with pytest.raises(DataError, match="test is missing"):
            load("folder", "test", root=folder)
        (folder / "train" / "c").mkdir()
        with pytest.raises(DataError, match="c holds no images"):
            load("folder", root=folder)
        (folder / "test").mkdir()
        with pytest.raises(DataError, match="test holds no folders; expected one per class"):
            load("folder", "test", root=folder)
        (folder / "train" / "c").rmdir()
        (folder / "train" / "b" / "1.png").write_text("not a picture")
        with pytest.raises(DataError, match=r"1\.png is not an image"):
            load("folder", root=folder)


class TestMasks:
    def test_move_with_their_images(self, image_and_mask):
        for size in (20, 10, 40):
            data = load("masks", "test", root=image_and_mask, image_size=size)
            white = data.images[:, 0] > 127
            difference = (white ^ (data.masks == 1)).float().mean()
            assert difference < 0.03, size  # resampling differs along the edge at most
            assert set(data.masks.unique().tolist()) == {0, 1}
        exact = load("masks", "test", root=image_and_mask, image_size=20)
        assert torch.equal(exact.images[:, 0] == 255, exact.masks == 1)
        # a 40 x 20 picture keeps columns 10 to 30: the box (16..24, 4..12) is found at (6..14, 4..12)
        expected = torch.zeros(20, 20, dtype=torch.uint8)
        expected[4:12, 6:14] = 1
        assert torch.equal(exact.masks[0], expected)
        assert exact.labels.tolist() == [-1, -1]

    def test_two_files_of_one_name(self, image_and_mask):
        stem = sorted((image_and_mask / "images").iterdir())[0].stem
        picture(image_and_mask / "images" / f"{stem}.bmp", RED, (40, 20))
        with pytest.raises(DataError, match="one name"):
            load("masks", "test", root=image_and_mask)

    def test_classes_are_refused(self, image_and_mask):
        with pytest.raises(ValueError, match="no classes"):
            load("masks", "test", root=image_and_mask, classes=["horse"])

    def test_how_masks_are_read_does_not_depend_on_the_draw(self, image_and_mask):
        first, second = sorted((image_and_mask / "masks").iterdir())
        size = Image.open(first).size
        Image.fromarray(np.full(size[::-1], 1, np.uint8)).save(first)
        Image.fromarray(np.full(size[::-1], 255, np.uint8)).save(second)
        for seed in range(6):
            drawn = load("masks", "test", root=image_and_mask, image_size=20, n=1, seed=seed)
            value = 1 if Path(drawn.files[0]).stem == first.stem else 255
            assert drawn.masks.unique().tolist() == [value]

    def test_horses_are_such_a_folder(self, image_and_mask):
        inner = image_and_mask / "weizmann-horse"
        inner.mkdir()
        for kind in ("images", "masks"):
            (image_and_mask / kind).rename(inner / kind)
        assert load("horses", "test", root=image_and_mask).name == "horses"

    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
    def test_black_and_white_in_any_form(self, image_and_mask, mode):
        plain = load("masks", "test", root=image_and_mask, image_size=20).masks
        for f in (image_and_mask / "masks").iterdir():
            mask = Image.open(f)
            if mode == "P":  # black is index 0, white index 255, as a palette of greys has it
                array, mask = np.asarray(mask), Image.new("P", mask.size)
                mask.putpalette([v for i in range(256) for v in (i, i, i)])
                mask.putdata(array.flatten().tolist())
            elif mode == "I;16":
                mask = Image.fromarray(np.asarray(mask).astype(np.uint16) * 257)
            else:
                mask = mask.convert(mode)
            mask.save(f)
        assert torch.equal(load("masks", "test", root=image_and_mask, image_size=20).masks, plain)

    def test_indexed_masks_keep_what_is_not_counted(self, image_and_mask):
        for f in (image_and_mask / "masks").iterdir():
            array = (np.asarray(Image.open(f)) > 0).astype(np.uint8)
            array[:, 18:20] = IGNORE
            Image.fromarray(array).save(f)
        masks = load("masks", "test", root=image_and_mask, image_size=20).masks
        assert (masks[:, :, 8:10] == IGNORE).all()
        assert set(masks.unique().tolist()) == {0, 1, IGNORE}

    def test_lone_files(self, image_and_mask):
        picture(image_and_mask / "images" / "c.jpg")
        with pytest.raises(DataError, match=r"files of .* without a partner: 1; for example 'c' has no mask"):
            load("masks", "test", root=image_and_mask)
        (image_and_mask / "images" / "c.jpg").unlink()
        (image_and_mask / "images" / "a.png").unlink()
        with pytest.raises(DataError, match="for example 'a' has no image"):
            load("masks", "test", root=image_and_mask)

    def test_other_values(self, image_and_mask):
        array = np.asarray(Image.open(image_and_mask / "masks" / "b.png")).copy()
        array[9, 15] = 77
        Image.fromarray(array).save(image_and_mask / "masks" / "b.png")
        with pytest.raises(
            DataError,
            match=r"b\.png holds values other than \[0, 1, 255\]; masks must be black and white.*found 77",
        ):
            load("masks", "test", root=image_and_mask, image_size=20)

    def test_other_size(self, image_and_mask):
        Image.new("L", (39, 20)).save(image_and_mask / "masks" / "b.png")
        with pytest.raises(DataError, match=r"mask of .*b\.png is 39 x 20 pixels, the image 40 x 20"):
            load("masks", "test", root=image_and_mask)

    @pytest.mark.parametrize("kind", ["", "images", "masks"])
    def test_what_systems_leave_behind_needs_no_partner(self, image_and_mask, kind, recwarn):
        for name in ("__MACOSX", "@eaDir"):
            (image_and_mask / kind / name).mkdir()
            (image_and_mask / kind / name / "._a.png").write_bytes(b"")
        for name in ("Thumbs.db", "Desktop.ini", ".DS_Store", "._a.png"):
            (image_and_mask / kind / name).write_bytes(b"of a system")
        assert len(load("masks", "test", root=image_and_mask)) == 2
        assert [str(w.message) for w in recwarn] == []

    def test_what_is_not_taken_is_said(self, image_and_mask):
        (image_and_mask / "images" / "c.heic").write_bytes(b"")
        (image_and_mask / "masks" / "c.svg").write_bytes(b"")
        with pytest.warns(UserWarning, match=r"masks/test: 2 files not taken: 1 \.heic, 1 \.svg"):
            load("masks", "test", root=image_and_mask)
        picture(image_and_mask / "masks" / "c.png")
        with pytest.raises(DataError, match=r"'c' has no image \(2 files not taken: 1 \.heic"):
            load("masks", "test", root=image_and_mask)

    def test_the_folder_of_images_is_not_the_root(self, image_and_mask):
        with pytest.raises(
            DataError, match=r"images/NAME\.jpg, and for each masks/NAME\.png.*root is .*: name that"
        ):
            load("masks", "test", root=image_and_mask / "images")

    def test_nothing_there(self, tmp_path):
        with pytest.raises(DataError, match="images is missing"):
            load("masks", "test", root=tmp_path)
        for kind in ("images", "masks"):
            (tmp_path / kind).mkdir()
        with pytest.raises(DataError, match="images holds no images"):
            load("masks", "test", root=tmp_path)


class TestPets:
    @pytest.fixture
    def pets(self, tmp_path) -> Path:
        folder = tmp_path / "oxford-iiit-pet"
        stems = {"trainval": ["Abyssinian_1", "great_dane_2"], "test": ["great_dane_7", "Abyssinian_9"]}
        for listing, names in stems.items():
            write(
                folder / "annotations" / f"{listing}.txt", "#Image\n" + "".join(f"{s} 1 1 1\n" for s in names)
            )
            for s in names:
                picture(folder / "images" / f"{s}.jpg", RED if s[0] == "A" else BLUE, (20, 20))
                trimap = np.full((20, 20), 2, np.uint8)
                trimap[4:16, 4:16] = 3
                trimap[6:14, 6:14] = 1
                (folder / "annotations" / "trimaps").mkdir(exist_ok=True)
                Image.fromarray(trimap).save(folder / "annotations" / "trimaps" / f"{s}.png")
        return tmp_path

    def test_unknown_trimap_value(self, pets):
        trimap = pets / "oxford-iiit-pet" / "annotations" / "trimaps" / "great_dane_7.png"
        Image.fromarray(np.full((20, 20), 7, np.uint8)).save(trimap)
        with pytest.raises(DataError, match=r"found 7$"):
            load("pets", "test", root=pets, image_size=20)

    def test_contents(self, pets):
        data = load("pets", "test", root=pets, image_size=20)
        assert data.classes == ("Abyssinian", "great dane")
        assert data.labels.tolist() == [1, 0]
        assert near(data.images[0], BLUE)
        assert near(data.images[1], RED)
        expected = torch.zeros(20, 20, dtype=torch.uint8)
        expected[4:16, 4:16] = IGNORE
        expected[6:14, 6:14] = 1
        assert torch.equal(data.masks[0], expected)
        assert load("pets", "train", root=pets).labels.tolist() == [0, 1]
        assert load("pets", "test", root=pets, classes=["great dane"]).labels.tolist() == [0]

    def test_missing_mask(self, pets):
        (pets / "oxford-iiit-pet" / "annotations" / "trimaps" / "Abyssinian_9.png").unlink()
        with pytest.raises(DataError, match=r"no image at .*Abyssinian_9\.png"):
            load("pets", "test", root=pets)


class TestCIFAR:
    @pytest.fixture
    def cifar(self, tmp_path, monkeypatch) -> Path:
        folder = tmp_path / "cifar-10-batches-py"
        folder.mkdir()
        for i, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
            pixels = np.repeat(np.uint8([[10 * i, 100, 200]]), 1024, 1).repeat(2, 0)
            (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": [i, 9 - i]}))
        (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"c{i}" for i in range(10)]}))
        cls = datasets.CIFAR10
        monkeypatch.setattr(
            cls, "_check_integrity", lambda _: True
        )  # the real archive's checksums are not ours
        monkeypatch.setattr(cls, "meta", cls.meta | {"md5": None})
        return tmp_path

    def test_contents(self, cifar):
        data = load("cifar10", root=cifar, image_size=32)
        assert data.images.shape == (10, 3, 32, 32)
        assert near(data.images[2], (10, 100, 200))
        assert data.labels.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
        assert load("cifar10", "test", root=cifar, image_size=32).labels.tolist() == [5, 4]
        large = load("cifar10", root=cifar, classes=["c8", "c1"])
        assert (large.classes, large.labels.tolist()) == (("c8", "c1"), [1, 0])
        assert large.images.shape == (2, 3, 64, 64)
        assert near(large.images[0], (10, 100, 200))

    def test_missing(self, tmp_path):
        with pytest.raises(
            DataError, match=r"cifar-100-python is missing.*downloaded.*'embedded' needs no files"
        ):
            load("cifar100", root=tmp_path)
        (tmp_path / "cifar-100-python").mkdir()
        with pytest.raises(
            DataError, match=r"cifar-100-python is damaged, or not the whole set .*move it away and have"
        ):
            load("cifar100", root=tmp_path)


class TestPictures:
    """Whatever a file holds comes out as upright RGB."""

    def test_rotated_by_exif(self, tmp_path):
        image = Image.new("RGB", (40, 20), BLUE)
        image.paste(RED, (0, 0, 20, 20))  # red on the left
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned clockwise by a quarter: red on top
        image.save(tmp_path / "r.jpg", exif=exif, quality=95)
        upright = open_image(tmp_path / "r.jpg")
        assert upright.size == (20, 40)
        assert upright.getpixel((10, 5))[0] > 200
        assert upright.getpixel((10, 35))[2] > 200

    def test_grey(self, tmp_path):
        for mode in ("L", "1"):
            Image.new(mode, (8, 8), 255).save(tmp_path / f"{mode}.png")
            assert open_image(tmp_path / f"{mode}.png").getpixel((0, 0)) == (255, 255, 255)

    def test_transparent_on_white(self, tmp_path):
        image = Image.new("RGBA", (8, 8), (255, 0, 0, 255))
        image.paste((0, 0, 0, 0), (0, 0, 4, 8))
        image.save(tmp_path / "t.png")
        opened = open_image(tmp_path / "t.png")
        assert opened.mode == "RGB"
        assert opened.getpixel((1, 1)) == (255, 255, 255)
        assert opened.getpixel((6, 1)) == RED

    @pytest.mark.parametrize("transparent", [False, True])
    def test_palette(self, tmp_path, transparent):
        image = Image.new("P", (8, 8))
        image.putpalette([*GREEN, *BLUE])
        image.paste(1, (4, 0, 8, 8))
        image.save(tmp_path / "p.png", **({"transparency": 0} if transparent else {}))
        opened = open_image(tmp_path / "p.png")
        assert opened.getpixel((1, 1)) == ((255, 255, 255) if transparent else GREEN)
        assert opened.getpixel((6, 1)) == BLUE

    def test_cmyk(self, tmp_path):
        Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "c.jpg", quality=95)
        r, g, b = open_image(tmp_path / "c.jpg").getpixel((4, 4))
        assert r > 200
        assert max(g, b) < 60

    def test_missing(self, tmp_path):
        with pytest.raises(DataError, match="no image at"):
            open_image(tmp_path / "nowhere.png")

    def test_a_folder_is_no_image(self, tmp_path):
        with pytest.raises(DataError, match="is no file with a picture in it"):
            open_image(tmp_path)

    def test_too_many_pixels(self, tmp_path, monkeypatch):
        picture(tmp_path / "bomb.png", size=(100, 100))
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
        with pytest.raises(DataError, match=r"bomb\.png has too many pixels to be opened safely"):
            open_image(tmp_path / "bomb.png")

    def test_fit(self):
        image = Image.new("RGB", (30, 10), RED)
        image.paste(GREEN, (10, 0, 20, 10))
        fitted = fit_image(image, 10)
        assert fitted.size == (10, 10)
        assert set(fitted.getdata()) == {GREEN}
        assert fit_image(fitted, 10) is fitted
        assert fit_image(image, 4).size == fit_image(Image.new("RGB", (5, 90)), 4).size == (4, 4)

    def test_photographs(self, monkeypatch):
        """They come with scikit-image: no file of them may be fetched."""

        def no_network(*_, **__):
            raise AssertionError("a connection was opened")

        monkeypatch.setattr(socket.socket, "connect", no_network)
        original, small = photographs(), photographs(32)
        assert list(original) == list(small) == ["cat", "astronaut", "coffee", "rocket"]
        for name in original:
            assert original[name].dtype == torch.uint8
            assert original[name].shape[0] == 3
            assert min(original[name].shape[1:]) >= 300
            assert small[name].shape == (3, 32, 32)
            assert small[name].float().std() > 20


class TestRequests:
    def test_unknown(self, monkeypatch):
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        with pytest.raises(
            ValueError,
            match=r"unknown data set 'imagenet'; did you mean imagenette\?; known are embedded, embedded-pairs, ",
        ):
            load("imagenet")
        with pytest.raises(ValueError, match="'horses' has the splits test; got 'train'"):
            load("horses")
        with pytest.raises(ValueError, match="n must be at least 1, got 0"):
            load("embedded", n=0)
        with pytest.raises(ValueError, match="at least 1 pixel large, got a size of -8"):
            load("folder", image_size=-8)
        with pytest.raises(ValueError, match="the embedded set is balanced over all its classes"):
            load("embedded", classes=["cat"])

    def test_embedded(self):
        data = load("embedded", "val", n=12, image_size=32, seed=3)
        assert data.images.shape == (12, 3, 32, 32)
        assert data.tier == "embedded"
        assert torch.equal(data.images, load("embedded", "val", n=12, image_size=32, seed=3).images)

    def test_progress(self, folder, capfd, watched):
        load("folder", root=folder)
        assert capfd.readouterr().err == ""
        load("folder", root=folder, progress=True)
        assert "4/4" in capfd.readouterr().err


@pytest.mark.realdata
class TestRealData:
    def require(self, folder: Path, name: str) -> None:
        if not (folder / name).is_dir():
            pytest.skip(f"{name} is not among the local data")

    def test_animals(self, data_folder):
        self.require(data_folder, "tiny-imagenet-200")
        data = open_stream("tiny-imagenet-animals", "train", image_size=64)
        assert len(data) == 12_500
        assert len(data.classes) == 25
        assert data.labels.bincount().tolist() == [500] * 25
        few = data.subset(range(0, 12_500, 25)).read()  # twenty of each
        assert few.labels.bincount().tolist() == [20] * 25
        assert 60 < few.images.float().mean() < 180

    def test_whole_validation_set(self, data_folder):
        self.require(data_folder, "tiny-imagenet-200")
        data = open_stream("tiny-imagenet", "val", image_size=16)
        assert len(data) == 10_000
        assert data.labels.bincount().tolist() == [50] * 200
        assert data.subset(range(0, 10_000, 50)).read().images.flatten(1).float().std(1).min() > 1

    @pytest.mark.parametrize(("split", "count"), [("train", 300), ("test", 298)])
    def test_pets(self, data_folder, split, count):
        self.require(data_folder, "oxford-iiit-pet")
        data = load("pets", split, image_size=32)
        assert len(data) == count
        assert set(data.masks.unique().tolist()) == {0, 1, IGNORE}
        area = (data.masks == 1).float().mean()
        assert 0.15 < area < 0.6

    def test_horses(self, data_folder):
        self.require(data_folder, "weizmann-horse")
        data = load("horses", "test", image_size=64)
        assert len(data) == 328
        assert ((data.masks == 1).flatten(1).any(1)).all()
        assert 0.1 < (data.masks == 1).float().mean() < 0.5


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files can be counted on Linux only")
def test_files_are_closed_after_reading(tmp_path):
    path = picture(tmp_path / "x.png")
    before = len(os.listdir("/proc/self/fd"))
    opened = [open_image(path) for _ in range(20)]
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(opened) == 20
