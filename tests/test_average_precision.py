"""Average precision against pycocotools, on the same predictions."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import torch

from crate_mini.average_precision import (
    average_precision,
    average_precision_interval,
    box_overlaps,
    box_shares,
    correct_localisation,
    mask_overlaps,
    matches,
    precision_at_recalls,
)
from crate_mini.maskcut import boxes_of


def blobs(n: int, rng: np.random.Generator, size: int = 24) -> torch.Tensor:
    """Random discs."""
    y, x = np.mgrid[:size, :size]
    discs = [
        (x - rng.uniform(2, size - 2)) ** 2 + (y - rng.uniform(2, size - 2)) ** 2 < rng.uniform(2, 8) ** 2
        for _ in range(n)
    ]
    return torch.from_numpy(np.stack(discs)) if n else torch.zeros(0, size, size, dtype=torch.bool)


def scene(seed: int, images: int = 12, ties: bool = False) -> list[tuple]:
    """Per image: true masks, predictions near some of them and elsewhere, scores."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(images):
        truth = blobs(int(rng.integers(0 if i else 1, 5)), rng)
        shifted = [m.roll(tuple(rng.integers(-2, 3, 2)), (0, 1)) for m in truth if rng.random() < 0.8]
        stray = list(blobs(int(rng.integers(0, 4)), rng))
        found = shifted + stray if i != 3 else []
        found = [found[j] for j in rng.permutation(len(found)) if found[j].any()]
        scores = rng.choice([0.2, 0.5, 0.9], len(found)) if ties else rng.random(len(found))
        predicted = torch.stack(found) if found else torch.zeros(0, *truth.shape[1:], dtype=torch.bool)
        made.append((truth, predicted, torch.from_numpy(np.asarray(scores, float))))
    return made


def by_pycocotools(made: list[tuple], kind: str, crowds: list | None = None) -> dict[str, float]:
    from pycocotools import mask as rle
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def entry(mask: torch.Tensor) -> dict:
        x0, y0, x1, y1 = boxes_of(mask[None])[0].tolist()
        code = rle.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
        return {"segmentation": code, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": float(mask.sum())}

    truth, found = [], []
    for i, (masks, predicted, scores) in enumerate(made):
        for m in masks:
            truth.append(entry(m) | {"id": len(truth) + 1, "image_id": i + 1, "category_id": 1, "iscrowd": 0})
        for m in crowds[i] if crowds else ():
            truth.append(entry(m) | {"id": len(truth) + 1, "image_id": i + 1, "category_id": 1, "iscrowd": 1})
        for m, s in zip(predicted, scores.tolist(), strict=True):
            found.append(
                entry(m)
                | {"id": len(found) + 1, "image_id": i + 1, "category_id": 1, "score": s, "iscrowd": 0}
            )
    images = [{"id": i + 1, "height": 24, "width": 24} for i in range(len(made))]
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for annotations in (truth, found):
            coco = COCO()
            coco.dataset = {"images": images, "annotations": annotations, "categories": [{"id": 1}]}
            coco.createIndex()
            sides.append(coco)
        run = COCOeval(*sides, kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return dict(zip(("AP", "AP50", "AP75"), run.stats[:3].tolist(), strict=True))


def tables(made: list[tuple], kind: str) -> tuple[list, list]:
    if kind == "segm":
        overlaps = [mask_overlaps(p, t) for t, p, _ in made]
    else:
        overlaps = [box_overlaps(boxes_of(p), boxes_of(t)) for t, p, _ in made]
    return overlaps, [s for _, _, s in made]


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize(("seed", "ties"), [(0, False), (1, False), (2, True), (3, True)])
def test_agrees_with_pycocotools(kind, seed, ties):
    made = scene(seed, ties=ties)
    got = average_precision(*tables(made, kind))
    expected = by_pycocotools(made, kind)
    assert 0.01 < expected["AP"] < 0.9  # nothing trivial
    assert got == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", [0, 3])
def test_crowds_are_passed_over_as_pycocotools_does(seed):
    made = scene(seed, ties=seed == 3)
    halves = torch.zeros(2, 24, 24, dtype=torch.bool)
    halves[0, :, :14], halves[1, 12:, 4:] = True, True
    crowds = [halves if i % 2 else halves[:0] for i in range(len(made))]
    shares = [box_shares(boxes_of(p), boxes_of(c)) for (_, p, _), c in zip(made, crowds, strict=True)]
    got = average_precision(*tables(made, "bbox"), shares)
    assert got == pytest.approx(by_pycocotools(made, "bbox", crowds), abs=1e-6)
    assert got["AP"] > average_precision(*tables(made, "bbox"))["AP"] + 1e-3
    assert average_precision_interval(*tables(made, "bbox"), shares, draws=2)["AP"][0] == got["AP"]
    with pytest.raises(ValueError, match="one table of crowds an image, or none: got 1 for 12 images"):
        average_precision(*tables(made, "bbox"), shares[:1])


def test_more_than_a_hundred_predictions():
    made = scene(5, images=4)
    truth, predicted, _ = made[0]
    many = predicted.repeat(60, 1, 1)[:130] if len(predicted) else truth.repeat(130, 1, 1)[:130]
    made[0] = (truth, many, torch.linspace(0, 1, len(many), dtype=torch.float64))
    assert average_precision(*tables(made, "segm")) == pytest.approx(by_pycocotools(made, "segm"), abs=1e-6)


def test_by_hand():
    # best prediction hits, the second misses, the third hits: precision 1 up to half, then 2/3
    hits = np.array([True, False, True])
    at = precision_at_recalls(hits, 2)
    assert at[:51] == pytest.approx(1)
    assert at[51:] == pytest.approx(2 / 3)
    assert precision_at_recalls(np.zeros(0, bool), 3).tolist() == [0] * 101
    # one object is hit once: the second prediction finds it taken
    assert matches(np.array([[0.7], [0.9]]), 0.5).tolist() == [True, False]
    assert matches(np.zeros((2, 0)), 0.5).tolist() == [False, False]


def test_one_object_an_image_and_one_mask_each():
    overlaps = [torch.tensor([[v]], dtype=torch.float64) for v in (0.95, 0.8, 0.6, 0.2)]
    got = average_precision(overlaps, [torch.ones(1)] * 4)
    assert got["AP50"] == pytest.approx(76 / 101)  # recall reaches 3/4 with no miss before it
    assert got["AP75"] == pytest.approx(51 / 101)
    # the order among equals counts: the miss comes first now
    assert average_precision(overlaps[::-1], [torch.ones(1)] * 4)["AP50"] < got["AP50"]


def test_empty_predictions_and_no_objects():
    nothing = average_precision([torch.zeros(0, 2), torch.zeros(0, 1)], [torch.zeros(0)] * 2)
    assert nothing == {"AP": 0, "AP50": 0, "AP75": 0}
    assert all(np.isnan(v) for v in average_precision([torch.zeros(2, 0)], [torch.ones(2)]).values())


def test_pixels_that_do_not_count():
    counted = torch.ones(4, 4, dtype=torch.bool)
    counted[:, 2:] = False
    whole = torch.ones(1, 4, 4, dtype=torch.bool)
    left = whole.clone()
    left[..., 2:] = False
    assert mask_overlaps(whole, left).item() == pytest.approx(0.5)
    assert mask_overlaps(whole, left, counted).item() == 1


def test_interval_holds_the_value():
    overlaps, scores = tables(scene(0, images=20), "segm")
    for value, low, high in average_precision_interval(overlaps, scores, draws=60).values():
        assert low <= value <= high
        assert high - low > 0.01


def test_corloc_looks_at_the_first_box():
    overlaps = [
        torch.tensor([[0.5, 0.1]]),
        torch.tensor([[0.4], [0.9]]),
        torch.zeros(0, 1),
        torch.zeros(1, 0),
    ]
    assert correct_localisation(overlaps).tolist() == [True, False, False, False]


def test_errors():
    with pytest.raises(ValueError, match="2 and 1"):
        average_precision([torch.zeros(1, 1)] * 2, [torch.ones(1)])
    with pytest.raises(ValueError, match="image 1: a table"):
        average_precision([torch.zeros(1, 1)] * 2, [torch.ones(1), torch.ones(2)])
    with pytest.raises(ValueError, match="image 0: overlaps and scores must be finite"):
        average_precision([torch.full((1, 1), torch.nan)], [torch.ones(1)])
