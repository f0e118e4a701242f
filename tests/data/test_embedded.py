"""The embedded animals: deterministic, exact, balanced, and classified by their parts alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import cross_val_score

from crate_mini.data.embedded import CLASSES, PART_NAMES, SPLITS, crossed, describe, generate, kinds, pairs
from crate_mini.data.imageset import ImageSet

# What a reader would name the species by, and how many pixels of it must be in sight at 64 px.
DEFINING = {
    "unicorn": "horn",
    "pegasus": "wing",
    "giraffe": "neck",
    "ibex": "horn",
    "elephant": "trunk",
    "rabbit": "ear",
    "cat": "tail",
    "bird": "wing",
    "fish": "fin",
}
SEEN = 5
PICTURES = ("images", "masks", "parts")


@pytest.fixture(scope="module")
def animals() -> ImageSet:
    """Enough images for every claim about shares in this file."""
    return generate(400, seed=11)


def part_pixels(s: ImageSet) -> torch.Tensor:
    """(n, parts): how many pixels each part has in each image."""
    return torch.stack([(s.parts == p).sum((1, 2)) for p in range(len(PART_NAMES))], dim=1)


def equal(a: ImageSet, b: ImageSet) -> bool:
    return all(torch.equal(getattr(a, f), getattr(b, f)) for f in ("images", "labels", "masks", "parts"))


class TestWhatIsDrawnAnew:
    def test_every_animal_in_a_scene(self):
        drawn = crossed(2, seed=3, image_size=32)
        assert drawn.labels.tolist() == [*range(10)] * 2
        plain = generate(2, seed=3, image_size=32, split="test")
        for i, label in enumerate(plain.labels.tolist()):
            assert torch.equal(drawn.images[10 * i + label], plain.images[i])
        # where no animal ever is, a scene is one scene, shadow and branches apart: less varies than between scenes
        x = drawn.images.float().unflatten(0, (2, 10))
        free = (drawn.masks.unflatten(0, (2, 10)) == 0).all(0).all(0)
        within = x.var(1).mean(0)[:, free].mean()
        between = x.mean(1).var(0)[:, free].mean()
        assert within < 0.5 * between

    def test_pairs(self):
        drawn, plain = pairs(3, seed=3, image_size=32), generate(3, seed=3, image_size=32)
        assert drawn.images.shape == (3, 3, 32, 64)
        assert equal(replace(drawn, **{k: getattr(drawn, k)[..., :32] for k in PICTURES}), plain)
        left, right = drawn.masks.chunk(2, -1)
        # grass, branches and the camera differ, the animal does not
        both, either = (left & right).sum((1, 2)), (left | right).sum((1, 2))
        assert (both / either > 0.7).all()
        assert (drawn.images[..., :32] != drawn.images[..., 32:]).float().mean() > 0.9

    def test_kinds(self):
        drawn, plain = kinds(6, seed=3, image_size=32), generate(6, seed=3, image_size=32)
        assert equal(replace(drawn, **{k: getattr(drawn, k)[..., :32] for k in PICTURES}), plain)
        left, right = drawn.masks.chunk(2, -1)
        overlap = (left & right).sum((1, 2)) / (left | right).sum((1, 2))
        assert overlap.mean() < 0.6  # of pairs more than 0.7 each
        known = describe()
        for parts, label in zip(drawn.parts[..., 32:], drawn.labels.tolist(), strict=True):
            there = {PART_NAMES[p] for p in parts.unique().tolist() if p}
            assert there <= set(known[CLASSES[label]])

    @pytest.mark.parametrize("draw", [crossed, kinds, pairs])
    def test_wrong(self, draw):
        with pytest.raises(ValueError, match="n must be an integer of at least 1"):
            draw(0)


class TestDeterminism:
    def test_same_call_same_images(self):
        assert equal(generate(6, seed=3), generate(6, seed=3))

    def test_image_does_not_depend_on_how_many_are_drawn(self):
        assert equal(generate(13, seed=3).subset(range(6)), generate(6, seed=3))

    def test_pieces_make_the_whole(self):
        whole = generate(12, seed=3)
        assert equal(whole.subset(range(7, 12)), generate(5, seed=3, start=7))

    def test_only_some_classes_are_those_of_the_whole(self):
        whole, some = generate(20, seed=3), generate(20, seed=3, only=("fish", "cat"))
        which = [i for i, label in enumerate(whole.labels.tolist()) if CLASSES[label] in ("fish", "cat")]
        assert len(which) == 4
        assert equal(whole.subset(which), some)
        with pytest.raises(ValueError, match="only names no class: dog; there are horse, "):
            generate(20, only=("cat", "dog"))

    def test_seed_changes_everything(self):
        a, b = generate(10, seed=0), generate(10, seed=1)
        assert (a.images != b.images).flatten(1).any(1).all()
        assert not torch.equal(a.labels, b.labels)

    def test_splits_share_no_image(self):
        seen = [{image.numpy().tobytes() for image in generate(20, split=split).images} for split in SPLITS]
        assert [len(s) for s in seen] == [20, 20, 20]
        assert len(set.union(*seen)) == 60

    def test_global_random_state_is_left_alone(self):
        torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        generate(2)
        assert torch.equal(torch_state, torch.get_rng_state())
        assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002

    def test_global_random_state_has_no_influence(self):
        a = generate(2)
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        assert equal(a, generate(2))


class TestLayout:
    @pytest.mark.parametrize("size", [16, 50, 64, 96])
    def test_shapes_and_types(self, size):
        s = generate(3, image_size=size)
        assert s.images.shape == (3, 3, size, size)
        assert s.images.dtype == torch.uint8
        assert s.labels.shape == (3,)
        assert s.labels.dtype == torch.int64
        for field in (s.masks, s.parts):
            assert field.shape == (3, size, size)
            assert field.dtype == torch.uint8
        assert (s.classes, s.part_names) == (CLASSES, PART_NAMES)
        assert (s.name, s.tier) == ("embedded", "embedded")
        assert PART_NAMES[0] == "background"
        assert s.parts.max() < len(PART_NAMES)

    def test_mask_is_where_a_part_is(self, animals):
        assert torch.equal(animals.masks, (animals.parts > 0).to(torch.uint8))

    def test_images_use_the_range(self, animals):
        flat = animals.images.flatten(1).float()
        assert (flat.std(1) > 8).all(), "an image without contrast"
        assert 80 < flat.mean() < 150
        assert ((flat == 0) | (flat == 255)).float().mean() < 0.05

    def test_every_ten_images_hold_every_class_once(self, animals):
        blocks = animals.labels.reshape(-1, len(CLASSES)).sort(dim=1).values
        assert torch.equal(blocks, torch.arange(len(CLASSES)).expand_as(blocks))
        order = animals.labels.reshape(-1, len(CLASSES))
        assert len({tuple(row.tolist()) for row in order}) > 35, "the order of the classes should be random"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"n": 0}, "n must be an integer of at least 1, got 0"),
            ({"n": 1, "seed": -1}, "seed must be an integer of at least 0, got -1"),
            ({"n": 1, "start": -1}, "start must be"),
            ({"n": 1, "image_size": 15}, "image_size must be an integer of at least 16, got 15"),
            ({"n": 1, "split": "dev"}, "split must be one of train, val, test, got 'dev'"),
        ],
    )
    def test_bad_input_is_named(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            generate(**arguments)


class TestParts:
    def test_description_covers_every_class(self):
        table = describe()
        assert tuple(table) == CLASSES
        assert {p for parts in table.values() for p in parts} == set(PART_NAMES[1:])

    def test_a_class_never_shows_a_part_it_does_not_have(self, animals):
        pixels = part_pixels(animals)
        for label, name in enumerate(CLASSES):
            shown = (pixels[animals.labels == label] > 0).any(0)
            assert {PART_NAMES[p] for p in range(1, len(PART_NAMES)) if shown[p]} == set(describe()[name]), (
                name
            )

    def test_defining_parts_are_in_sight(self, animals):
        pixels = part_pixels(animals)
        for name, part in DEFINING.items():
            of_class = pixels[animals.labels == CLASSES.index(name), PART_NAMES.index(part)]
            assert (of_class >= SEEN).float().mean() >= 0.9, f"{part} of {name}"

    def test_every_part_is_usually_in_sight(self, animals):
        pixels = part_pixels(animals)
        for name, parts in describe().items():
            for part in parts:
                of_class = pixels[animals.labels == CLASSES.index(name), PART_NAMES.index(part)]
                assert (of_class > 0).float().mean() >= 0.8, f"{part} of {name}"

    def test_like_parts_differ_in_length(self, animals):
        share = part_pixels(animals).float() / animals.masks.sum((1, 2))[:, None]

        def median(name: str, part: str) -> float:
            return float(share[animals.labels == CLASSES.index(name), PART_NAMES.index(part)].median())

        assert median("giraffe", "neck") > 1.5 * median("horse", "neck")
        assert median("rabbit", "ear") > 2 * median("cat", "ear")
        assert median("cat", "tail") > 2 * median("rabbit", "tail")
        assert median("ibex", "horn") > 1.5 * median("unicorn", "horn")


class TestGeometry:
    def test_object_is_visible(self, animals):
        area = animals.masks.float().mean((1, 2))
        assert area.min() > 0.03
        assert area.max() < 0.5
        assert 0.15 < area.mean() < 0.3
        assert area.quantile(0.9) > 2 * area.quantile(0.1), "sizes should vary"

    def test_object_is_often_off_centre(self, animals):
        grid = (torch.arange(64) + 0.5) / 64
        mass = animals.masks.float()
        x = (mass.sum(1) * grid).sum(1) / mass.sum((1, 2))
        y = (mass.sum(2) * grid).sum(1) / mass.sum((1, 2))
        assert (torch.hypot(x - 0.5, y - 0.5) > 0.1).float().mean() > 0.3
        assert x.mean().sub(0.5).abs() < 0.05
        assert y.mean().sub(0.5).abs() < 0.08

    def test_animals_face_both_ways(self, animals):
        fish = animals.subset(torch.where(animals.labels == CLASSES.index("fish"))[0])
        columns = torch.arange(64).float()

        def centre(part: str) -> torch.Tensor:
            m = (fish.parts == PART_NAMES.index(part)).float()
            return (m.sum(1) * columns).sum(1) / m.sum((1, 2)).clamp(min=1)

        right = (centre("head") > centre("tail")).float().mean()
        assert 0.25 < right < 0.75

    def test_a_larger_image_shows_the_same_scene(self):
        small, large = generate(20, seed=5), generate(20, seed=5, image_size=128)
        assert torch.equal(small.labels, large.labels)
        pooled = torch.nn.functional.avg_pool2d(large.masks.float()[:, None], 2)[:, 0] >= 0.5
        mask = small.masks.bool()
        iou = (pooled & mask).sum((1, 2)) / (pooled | mask).sum((1, 2))
        assert iou.min() > 0.9
        same_part = large.parts[:, 1::2, 1::2] == small.parts
        assert same_part.float().mean() > 0.97
        picture = torch.nn.functional.avg_pool2d(large.images.float(), 2)
        assert (picture - small.images.float()).abs().mean() < 12

    def test_mask_follows_the_picture(self):
        """The picture changes more across the mask's border than across the same border moved elsewhere."""
        s = generate(60, seed=8)
        grey = s.images.float().mean(1)
        edge = s.masks[:, :, 1:] != s.masks[:, :, :-1]
        jump = (grey[:, :, 1:] - grey[:, :, :-1]).abs()
        elsewhere = torch.roll(edge, shifts=(9, 9), dims=(1, 2))
        assert jump[edge].mean() > 1.5 * jump[elsewhere].mean()


def held_out_accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    """Five-fold accuracy of a regularised linear classifier."""
    x = (features - features.mean(0)) / (features.std(0) + 1e-6)
    classifier = RidgeClassifier(alpha=0.1 * len(x))
    return float(cross_val_score(classifier, x, labels, cv=5).mean())


class TestNoShortcut:
    """Chance is 10 %; with 400 images one standard error is 1.5 %, so 17 % is over four of them more."""

    LIMIT = 0.17

    def test_the_classifier_would_find_a_class_if_it_could(self, animals):
        """The control: the coarse shape of the mask does tell the class, and this classifier sees it."""
        coarse = torch.nn.functional.avg_pool2d(animals.masks.float()[:, None], 8)
        assert held_out_accuracy(coarse.flatten(1).numpy(), animals.labels.numpy()) > 2 * self.LIMIT

    def test_colour_does_not_tell_the_class(self, animals):
        x = animals.images.numpy()
        bins = (x[:, 0] // 64) * 16 + (x[:, 1] // 64) * 4 + x[:, 2] // 64
        histogram = np.stack([np.bincount(b.ravel(), minlength=64) for b in bins])
        features = np.concatenate([x.mean((2, 3)), x.std((2, 3)), np.sqrt(histogram)], axis=1)
        assert held_out_accuracy(features, animals.labels.numpy()) < self.LIMIT

    def test_colour_of_the_animal_does_not_tell_the_class(self, animals):
        x, m = animals.images.numpy().astype(np.float32), animals.masks.numpy()[:, None]
        inside = (x * m).sum((2, 3)) / m.sum((2, 3))
        outside = (x * (1 - m)).sum((2, 3)) / (1 - m).sum((2, 3))
        features = np.concatenate([inside, outside, inside - outside], axis=1)
        assert held_out_accuracy(features, animals.labels.numpy()) < self.LIMIT

    def test_background_does_not_tell_the_class(self, animals):
        """Patches from the corners, where the animal is not."""
        x, m = animals.images.numpy().astype(np.float32), animals.masks.numpy()[:, None]
        x = np.where(m > 0, x.mean((0, 2, 3))[:, None, None], x)
        corners = [
            x[:, :, a, b] for a in (slice(0, 12), slice(-12, None)) for b in (slice(0, 12), slice(-12, None))
        ]
        features = np.concatenate(
            [c.reshape(len(x), 3, 3, 4, 3, 4).mean((3, 5)).reshape(len(x), -1) for c in corners], 1
        )
        assert held_out_accuracy(features, animals.labels.numpy()) < self.LIMIT

    def test_area_tells_little(self, animals):
        """One column for each tenth of the sizes, so that any law of the size could be found."""
        area = animals.masks.float().mean((1, 2)).numpy()
        tenth = np.searchsorted(np.quantile(area, np.arange(1, 10) / 10), area)
        assert held_out_accuracy(np.eye(10)[tenth], animals.labels.numpy()) < 0.2

    def test_colour_alone_does_not_give_the_mask(self, animals):
        """Animals, clutter and ground share colours: a per-pixel classifier stays far from the truth."""
        x = animals.images.permute(0, 2, 3, 1)[:, 2::8, 2::8].reshape(-1, 3).numpy().astype(np.float32) / 255
        y = animals.masks[:, 2::8, 2::8].reshape(-1).numpy()
        half = len(x) // 2
        features = np.concatenate([x, x**2, x[:, :1] * x[:, 1:]], axis=1)
        classifier = LogisticRegression(class_weight="balanced", max_iter=200).fit(features[:half], y[:half])
        guess = classifier.predict(features[half:])
        truth = y[half:] > 0
        iou = ((guess > 0) & truth).sum() / ((guess > 0) | truth).sum()
        assert iou < 0.5
