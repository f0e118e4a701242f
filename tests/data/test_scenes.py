"""Sets with several objects an image: VOC with its objects, COCO, Pascal-Part; copies made here, and the real ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crate_mini.data import (
    IGNORE,
    SETS,
    DataError,
    ImageSet,
    check,
    coco_boxes,
    load,
    voc2012_val_masks,
    whereabouts,
)
from crate_mini.data.coco import mask_of
from crate_mini.data.request import data_root
from crate_mini.segmentation.scoring import at_size

maskApi = pytest.importorskip("pycocotools.mask")


def photo(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (0, 200, 0)).save(path)


def numbers(path: Path, values: np.ndarray) -> None:
    """A palette picture, as VOC has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.frombytes("P", values.shape[::-1], values.astype(np.uint8).tobytes())
    image.putpalette([v for i in range(256) for v in (i, 255 - i, (37 * i) % 256)])
    image.save(path)


def counts_of(mask: np.ndarray) -> list[int]:
    """Run lengths down the columns, background first."""
    flat = mask.T.ravel().astype(np.int8)
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    return [0, *runs] if flat[0] else runs


# ---- VOC ---------------------------------------------------------------------------------------------------


@pytest.fixture
def voc(tmp_path) -> Path:
    """Two images of 40 x 20; of the second objects are not drawn one by one."""
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("a\nb\n")
    (lists / "val_object.txt").write_text("a\n")
    classes, objects = np.zeros((2, 20, 40), np.uint8)
    classes[2:8, 12:18], objects[2:8, 12:18] = 8, 1  # a cat
    classes[2:8, 20:26], objects[2:8, 20:26] = 8, 2  # another
    classes[10:18, 12:28], objects[10:18, 12:28] = 15, 3  # a person
    classes[:, :4], objects[:, :4] = 1, 4  # an aeroplane, outside of the centre square
    classes[9], objects[9] = IGNORE, IGNORE
    for name in "ab":
        photo(folder / "JPEGImages" / f"{name}.jpg", (40, 20))
        numbers(folder / "SegmentationClass" / f"{name}.png", classes)
    numbers(folder / "SegmentationObject" / "a.png", objects)
    return tmp_path


def test_voc_objects_one_by_one(voc):
    data = load("voc2012", "val_object", root=voc, image_size=40, letterbox=True)
    assert len(data) == 1
    inside = data.instances[0, 10:30]
    assert inside.unique().tolist() == [0, 1, 2, 3, 4, IGNORE]
    assert (data.instances[0, :10] == IGNORE).all()
    assert [data.classes[c] for c in data.instance_classes[0]] == ["cat", "cat", "person", "aeroplane"]
    for number, kind in enumerate(data.instance_classes[0], 1):
        assert (data.parts[data.instances == number] == kind + 1).all()
    assert torch.equal(data.masks == 1, (data.instances > 0) & (data.instances < IGNORE))
    assert torch.equal(data.masks == IGNORE, data.instances == IGNORE)


def test_voc_objects_outside_of_the_centre_square_are_not_counted(voc):
    data = load("voc2012", "val_object", root=voc, image_size=20)
    assert data.instances.unique().tolist() == [0, 1, 2, 3, IGNORE]
    assert [data.classes[c] for c in data.instance_classes[0]] == ["cat", "cat", "person"]


def test_objects_too_small_for_this_size_are_counted_still(voc):
    data = load("voc2012", "val_object", root=voc, image_size=2, letterbox=True)
    assert len(data.instances.unique()) < 5
    assert len(data.instance_classes[0]) == 4


def test_voc_has_no_objects_where_one_image_has_none(voc):
    data = load("voc2012", "val", root=voc, image_size=20)
    assert (data.instances, data.instance_classes) == (None, ())
    assert data.parts.unique().tolist() == [0, 8, 15, IGNORE]
    assert [data.classes[i] for i in data.labels] == ["person", "person"]
    assert load("voc2012", "val", root=voc, n=1).instances is None, "whatever is drawn"


def test_voc_masks_of_val_with_the_set_or_beside_a_part_of_it(voc):
    names, masks = voc2012_val_masks(voc)
    assert names == ["a", "b"]
    assert [m.size for m in masks] == [(40, 20)] * 2
    folder = voc / "VOCdevkit" / "VOC2012"
    (folder / "ImageSets" / "Segmentation" / "val_official.txt").write_text("c\n")
    numbers(folder / "SegmentationClassVal" / "c.png", np.full((5, 6), 20))
    names, (mask,) = voc2012_val_masks(voc)
    assert (names, mask.size, mask.getextrema()) == (["c"], (6, 5), (20, 20))
    numbers(folder / "SegmentationClassVal" / "c.png", np.full((5, 6), 21))
    with pytest.raises(DataError, match=r"c\.png holds values other than 0 to 20 and 255"):
        list(voc2012_val_masks(voc)[1])


def test_voc_lists_are_splits(voc):
    with pytest.raises(
        ValueError, match="'voc2012' has the splits train, trainval, val, val_object; got 'first54'"
    ):
        load("voc2012", "first54", root=voc)
    assert check("voc2012", "val_object", root=voc).files == 1
    numbers(voc / "VOCdevkit/VOC2012/SegmentationObject/a.png", np.zeros((20, 39)))
    with pytest.raises(DataError, match=r"a\.png is .39, 20. pixels, .*a\.png is .40, 20."):
        load("voc2012", "val_object", root=voc)


def test_instances_go_where_their_images_go(voc):
    data = load("voc2012", "val_object", root=voc, image_size=20)
    twice = data.subset([0, 0])
    assert twice.instances.shape == (2, 20, 20)
    assert twice.instance_classes == data.instance_classes * 2
    assert torch.equal(twice[1]["instances"], data.instances[0])
    assert set(data[0]) == {"image", "label", "mask", "parts", "instances"}
    assert at_size(data, 10).instances.shape == (1, 10, 10)
    assert data.to("cpu").instances is not None
    with pytest.raises(ValueError, match=r"instances must have shape \(1, 20, 20\)"):
        ImageSet(images=data.images, labels=data.labels, instances=data.instances[:, :5])
    with pytest.raises(ValueError, match="1 images need 1 lists of classes or none, got 2"):
        ImageSet(images=data.images, labels=data.labels, instance_classes=((), ()))


# ---- COCO --------------------------------------------------------------------------------------------------

CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]


@pytest.fixture
def coco(tmp_path) -> Path:
    """Three images: polygons that overlap and a crowd; run lengths of either kind; nothing."""
    folder = tmp_path / "coco"
    sizes = {"b.jpg": (7, 30, 20), "a.jpg": (9, 16, 24), "c.jpg": (4, 10, 10)}
    for name, (_, width, height) in sizes.items():
        photo(folder / "val2017" / name, (width, height))
    column = np.zeros((24, 16), bool)
    column[3:9, 2:5] = True
    packed = maskApi.encode(np.asfortranarray(column[::-1].astype(np.uint8)))
    annotations = [
        {"image_id": 7, "category_id": 18, "iscrowd": 0, "segmentation": [[4, 4, 10, 4, 10, 10, 4, 10]]},
        {"image_id": 7, "category_id": 1, "iscrowd": 0,
         "segmentation": [[2, 2, 14, 2, 14, 14, 2, 14], [20, 15, 28, 15, 24, 19]]},
        {"image_id": 7, "category_id": 1, "iscrowd": 1,
         "segmentation": {"size": [20, 30], "counts": [0, 40, 560]}},
        {"image_id": 9, "category_id": 90, "segmentation": {"size": [24, 16], "counts": counts_of(column)}},
        {"image_id": 9, "category_id": 18, "iscrowd": 0,
         "segmentation": {"size": [24, 16], "counts": packed["counts"].decode()}},
    ]  # fmt: skip
    for k, annotation in enumerate(annotations):
        annotation["bbox"] = [k, 2, 3, 4.5]
    images = [{"id": k, "file_name": n, "width": w, "height": h} for n, (k, w, h) in sizes.items()]
    (folder / "annotations").mkdir()
    text = json.dumps({"images": images, "annotations": annotations, "categories": CATEGORIES})
    (folder / "annotations" / "instances_val2017.json").write_text(text)
    return tmp_path


def test_coco(coco):
    data = load("coco", "val", root=coco, image_size=30, letterbox=True)
    assert data.classes == ("person", "dog", "toothbrush")  # by their numbers
    assert data.part_names == ("background", "person", "dog", "toothbrush")
    assert [Path(f).name for f in data.files] == ["a.jpg", "b.jpg", "c.jpg"]
    assert data.instance_classes == ((2, 1), (1, 0), ())
    assert data.labels.tolist() == [1, 0, -1]
    inside = data.instances[1, 5:25]  # 30 x 20 pixels, as they are stored
    assert inside[6, 6] == 1, "the dog lies on the person, who is larger, though listed later"
    assert inside[3, 5] == 2
    assert (inside[:, :2] == IGNORE).all(), "the crowd"
    assert data.parts[1, 5:25][6, 6] == 2
    assert (data.masks[1, 5:25][:, :2] == IGNORE).all()
    assert data.instances[2].unique().tolist() == [0]
    expected = sum(maskApi.area(maskApi.frPyObjects([p], 20, 30))[0] for p in (
        [2.0, 2, 14, 2, 14, 14, 2, 14], [20.0, 15, 28, 15, 24, 19]
    ))  # fmt: skip
    assert (inside == 2).sum() + (inside == 1).sum() == expected


def test_coco_boxes(coco):
    a, b, c = coco_boxes(root=coco)
    assert (a.size, b.size, c.size) == ((16, 24), (30, 20), (10, 10))
    assert a.things.tolist() == [[3, 2, 6, 6.5], [4, 2, 7, 6.5]]
    assert b.things.tolist() == [[0, 2, 3, 6.5], [1, 2, 4, 6.5]]
    assert b.crowds.tolist() == [[2, 2, 5, 6.5]]
    assert a.crowds.shape == c.things.shape == c.crowds.shape == (0, 4)


def test_coco_in_a_folder_of_images(coco):
    (coco / "coco" / "images").mkdir()
    (coco / "coco" / "val2017").rename(coco / "coco" / "images" / "val2017")
    assert len(load("coco", "val", root=coco)) == 3


def test_coco_draw_and_missing(coco):
    assert len(load("coco", "val", root=coco, n=2)) == 2
    with pytest.raises(
        DataError, match=r"instances_train2017\.json is missing\. Expected in .*coco/val2017, train"
    ):
        load("coco", root=coco)
    with pytest.raises(ValueError, match="shows several classes"):
        load("coco", "val", root=coco, classes=["dog"])
    assert whereabouts("coco", coco) == "here"
    (coco / "coco" / "val2017" / "c.jpg").unlink()
    assert next(check("coco", "val", root=coco).damaged).startswith("no image at ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["annotations"][0].update(segmentation=[]), "image 7: a mask that is neither polygons nor run"),
        (lambda c: c["annotations"][3].update(segmentation={"size": [24, 16], "counts": [5]}), "run lengths of 5 pix"),
        (lambda c: c["annotations"][3].update(segmentation={"size": [1, 1], "counts": [1]}), r"of size \[1, 1\] for"),
        (lambda c: c["annotations"][4]["segmentation"].update(counts="a\x10"), "run lengths with the letter"),
        (lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3]]), "image 7: a polygon of 3 numbers"),
        (lambda c: c["annotations"][0].update(category_id=5), "is no list of COCO's instances"),
        (lambda c: c.pop("images"), r"no list of COCO's instances \(KeyError: 'images'\)"),
        (lambda c: c["images"].clear(), "lists no images"),
        (lambda c: c["images"][0].update(width=31), "of size .* for an image of|is 31 x 20 pixels, the image 30 x 20"),
        (lambda c: c.update(annotations=c["annotations"] * 60), "objects; 254 at most"),
    ],
)  # fmt: skip
def test_coco_damaged(coco, change, words):
    listing = coco / "coco" / "annotations" / "instances_val2017.json"
    content = json.loads(listing.read_text())
    if "objects" in words:
        content["annotations"] *= 5
    change(content)
    listing.write_text(json.dumps(content))
    with pytest.raises(DataError, match=words):
        load("coco", "val", root=coco)
    listing.write_text("{")
    with pytest.raises(DataError, match="no list of COCO's instances"):
        load("coco", "val", root=coco)


corner = st.floats(-3, 33, allow_nan=False, width=32)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(corner, corner), min_size=3, max_size=9))
def test_polygons_are_those_of_pycocotools(corners):
    polygon = [float(v) for pair in corners for v in pair]
    theirs = maskApi.decode(maskApi.merge(maskApi.frPyObjects([polygon], 24, 30))).astype(bool)
    assert np.array_equal(mask_of([polygon], 24, 30), theirs)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10**6), st.sampled_from([0.02, 0.5, 1.0]))
def test_run_lengths_are_those_of_pycocotools(height, width, seed, share):
    mask = np.random.default_rng(seed).random((height, width)) < share
    packed = maskApi.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    for counts in (packed, counts_of(mask)):
        assert np.array_equal(mask_of({"size": [height, width], "counts": counts}, height, width), mask)


# ---- Pascal-Part -------------------------------------------------------------------------------------------


def test_pascal_part(tmp_path):
    folder = tmp_path / "pascal-part-animals"
    photo(folder / "images" / "x.jpg", (20, 20))
    parts, objects = np.zeros((2, 20, 20), np.uint8)
    parts[2:8, 2:18], parts[8:18, 2:18] = 1, 2
    objects[2:18, 2:10], objects[2:18, 10:18] = 1, 2
    numbers(folder / "parts" / "x.png", parts)
    numbers(folder / "objects" / "x.png", objects)
    content = {
        "labels": {"0": "background", "1": "head", "2": "torso"},
        "images": [{"id": "x", "objects": [
            {"object": 1, "class": "dog", "pixels": 128}, {"object": 2, "class": "cat", "pixels": 130}
        ]}],
    }  # fmt: skip
    (folder / "parts.json").write_text(json.dumps(content))
    data = load("pascal-part", "test", root=tmp_path, image_size=20)
    assert data.classes == ("cat", "dog")
    assert data.part_names == ("background", "head", "torso")
    assert (data.labels.tolist(), data.instance_classes) == ([0], ((1, 0),))
    assert torch.equal(data.parts[0], torch.from_numpy(parts))
    assert torch.equal(data.instances[0], torch.from_numpy(objects))
    parts[0, 0] = 3
    numbers(folder / "parts" / "x.png", parts)
    with pytest.raises(DataError, match=r"x\.png holds values other than \[0, 1, 2\]; .* found 3"):
        load("pascal-part", "test", root=tmp_path)
    (folder / "parts.json").write_text("[]")
    with pytest.raises(DataError, match=r"parts\.json cannot be read"):
        load("pascal-part", "test", root=tmp_path)


# ---- the real ones -----------------------------------------------------------------------------------------


def real(name: str) -> Path:
    root = data_root()
    if whereabouts(name, root) != "here":
        pytest.skip(f"{name} is not among the local data")
    return root / SETS[name].folders[0]


@pytest.mark.realdata
class TestRealData:
    """The parts of the sets that ``CRATE_MINI_DATA`` holds, or the whole ones: what must be so of either."""

    @pytest.mark.parametrize("split", ["train", "val"])
    @pytest.mark.parametrize("size", [96, 224])
    def test_voc(self, data_folder, split, size):
        folder = real("voc2012")
        data = load("voc2012", split, image_size=size, n=60, letterbox=True)
        assert len(data) == min(60, len((folder / f"ImageSets/Segmentation/{split}.txt").read_text().split()))
        assert set(data.masks.unique().tolist()) == {0, 1, IGNORE}
        assert ((data.masks == 1).flatten(1).sum(1) > 0).all()
        several = sum(len(set(p.unique().tolist()) - {0, IGNORE}) > 1 for p in data.parts)
        assert 0.2 < several / len(data) < 0.8

    def test_voc_objects(self, data_folder):
        folder = real("voc2012")
        split = "val_object" if (folder / "ImageSets/Segmentation/val_object.txt").is_file() else "val"
        data = load("voc2012", split, image_size=224, letterbox=True, n=30)
        for i in range(len(data)):
            shown = data.instances[i].unique().tolist()
            assert set(shown) <= {0, IGNORE, *range(1, len(data.instance_classes[i]) + 1)}
            for number, kind in enumerate(data.instance_classes[i], 1):
                seen = data.parts[i][data.instances[i] == number]
                assert (seen == kind + 1).float().mean() > 0.99 or not len(seen)

    def test_coco_against_pycocotools(self, data_folder):
        from pycocotools.coco import COCO

        folder = real("coco")
        theirs = COCO(folder / "annotations" / "instances_val2017.json")
        data = load("coco", "val", image_size=640, letterbox=True, n=12)
        by_name = {image["file_name"]: image for image in theirs.imgs.values()}
        names = [theirs.cats[k]["name"] for k in sorted(theirs.cats)]
        assert list(data.classes) == names
        for i, file in enumerate(data.files):
            image = by_name[Path(file).name]
            annotations = theirs.imgToAnns[image["id"]]
            things = [a for a in annotations if not a["iscrowd"]]
            assert len(data.instance_classes[i]) == len(things)
            if max(image["width"], image["height"]) != 640:
                continue
            top, left = ((640 - image[k]) // 2 for k in ("height", "width"))
            ours = data.instances[i, top : top + image["height"], left : left + image["width"]].numpy()
            covered = np.zeros_like(ours, int)
            for a in annotations:
                covered += theirs.annToMask(a)
            for number, a in enumerate(things, 1):
                alone = (theirs.annToMask(a) == 1) & (covered == 1)
                assert (ours[alone] == number).all()
                assert names[data.instance_classes[i][number - 1]] == theirs.cats[a["category_id"]]["name"]
            assert (ours[covered == 0] == 0).all()

    def test_pascal_part(self, data_folder):
        real("pascal-part")
        data = load("pascal-part", "test", image_size=160, letterbox=True)
        assert set(data.classes) <= {"bird", "cat", "dog"}
        assert {"head", "ear", "eye", "torso", "tail"} <= set(data.part_names)
        # what is part of an animal is part of an object, but for pixels at the edge
        animal, thing = ((v > 0) & (v < IGNORE) for v in (data.parts, data.instances))
        assert (animal ^ thing).sum() < 0.01 * thing.sum()
