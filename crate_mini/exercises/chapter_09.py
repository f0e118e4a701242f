"""Checkers of chapter 09, scoring: floor and ceiling, AUROC with ties, the best threshold, an honest head, pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from crate_mini.exercises import checker, expect, expect_close, name_the_mistake
from crate_mini.segmentation import score_maps


def _name(got: Tensor | float, expected: Tensor | float, *suspects: tuple[Tensor | float, str]) -> None:
    """Name a mistake, but none that gives the right value in this case."""
    name_the_mistake(
        got, *[(wrong, said) for wrong, said in suspects if abs(float(wrong) - float(expected)) > 1e-6]
    )


@checker
def check_floor_and_ceiling(answer):
    """`answer(a, P)`: IoU of a random and of a perfect mask of area P with an object of area a (large image)."""
    for a, P in [(0.2, 0.6), (0.7, 0.6), (0.3, 0.1)]:
        got = answer(a, P)
        expect(
            isinstance(got, (tuple, list)) and len(got) == 2,
            f"return two numbers, the floor and the ceiling; got {type(got).__name__}",
        )
        floor, ceiling = P * a / (P + a - P * a), min(a, P) / max(a, P)
        _name(
            float(got[0]),
            floor,
            (P * a / (P + a), "the floor counts the shared area twice in the union: subtract it once"),
            (P * a, "the floor is an intersection only: divide by the union"),
            (a, "the floor is that of the whole image; the mask covers P of it, at random"),
            (ceiling, "floor and ceiling are swapped: return the floor first"),
        )
        expect_close(
            float(got[0]),
            floor,
            f"the floor for a = {a}, P = {P}",
            hint="a random mask holds P of the object",
        )
        _name(
            float(got[1]),
            ceiling,
            (min(a, P), "the ceiling is an intersection only: divide by the union"),
            (1.0, "the ceiling is not 1: mask and object have different areas, however good the ranking"),
            (a / P, "when the object is larger than the mask, the ceiling is P / a"),
        )
        expect_close(
            float(got[1]), ceiling, f"the ceiling for a = {a}, P = {P}", hint="the smaller lies in the larger"
        )
    return "Right. Only between these two can a network show anything."


@checker
def check_auroc(answer):
    """`answer(values, truth)`: the share of (object, background) pairs that are ranked rightly, a tie being half."""
    generator = torch.Generator().manual_seed(1)
    values = torch.rand(40, generator=generator, dtype=torch.float64)
    truth = torch.rand(40, generator=generator) < 0.4
    for tied in (False, True):
        v = (values * 4).floor() if tied else values
        over = v[truth][:, None] - v[~truth][None]
        right, half = (over > 0).double().mean(), (over == 0).double().mean()
        got = torch.as_tensor(answer(v, truth))
        suspects = [
            (1 - right - half / 2, "it is upside down: object pixels should have the higher values"),
            ((over > 0).double().sum() + (over == 0).double().sum() / 2, "divide by the number of pairs"),
            (((over > 0).double().sum() + (over == 0).double().sum() / 2) / 40**2, "only pairs of one object and one "
             "background pixel count: divide by their number, not by n²"),
        ]  # fmt: skip
        if tied:
            suspects += [
                (right, "ties are counted as wrong; a tie is half a pair"),
                (right + half, "ties are counted as right; a tie is half a pair"),
            ]
        name_the_mistake(got, *suspects)
        expect_close(got, right + half / 2, "with ties" if tied else "without ties")
    return "Right. No threshold, no area, no temperature: the order of the patches is all that counts."


@checker
def check_best_iou(answer):
    """`answer(values, objects, background)`: the highest IoU over thresholds, from pixel counts of each patch."""
    generator = torch.Generator().manual_seed(2)
    for tied in (False, True):
        values = torch.rand(30, generator=generator, dtype=torch.float64)
        values = (values * 5).floor() if tied else values
        objects = torch.randint(0, 9, (30,), generator=generator)
        if tied:  # in each group of equal values the object comes first, so that splitting a group would pay
            objects = objects.sort(descending=True).values
        background = 8 - objects
        order = values.argsort(descending=True, stable=True)
        tp, fp = objects[order].cumsum(0), background[order].cumsum(0)
        P = objects.sum()
        by_patch = (objects[order] > background[order]).cumsum(0)
        kept = torch.arange(1, 31)
        expected = score_maps(values.float(), objects, background)["best_iou"]
        suspects = [
            (
                (tp / (P + kept * 8)).max(),
                "the union is P plus the background pixels kept, not all pixels kept",
            ),
            ((tp / P).max(), "that is the share of the object that was found; divide by the union"),
            (
                (tp / (tp + fp)).max(),
                "that is precision; the union also holds the object pixels that were missed",
            ),
            (
                (by_patch / (by_patch[-1] + kept - by_patch)).max(),
                "count pixels, not patches: objects[i] of patch i",
            ),
            (
                (objects[values.argsort()].cumsum(0) / (P + background[values.argsort()].cumsum(0))).max(),
                "a mask keeps the patches with the highest values, not the lowest",
            ),
        ]
        if tied:
            split = (tp / (P + fp)).max()
            suspects.append(
                (
                    split,
                    "patches of equal value cannot be told apart by a threshold: they stand or fall together",
                )
            )
        got = torch.as_tensor(answer(values, objects, background))
        _name(got, expected, *suspects)
        expect_close(got, expected, "with ties" if tied else "without ties")
    return "Right: one sorting, and every threshold is tried."


@checker
def check_honest_head(answer):
    """`answer(chosen_on, scored_on)`: scores (images, layers, heads); choose one head on the first, score the other."""
    generator = torch.Generator().manual_seed(3)
    chosen_on, scored_on = (torch.rand(25, 4, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    mean = chosen_on.mean(0)
    place = int(mean.argmax())
    layer, head = divmod(place, 6)
    swapped = divmod(place, 4)
    suspects = [
        (scored_on.mean(0).max(), "the head was chosen on the images it is scored on: that flatters"),
        (
            scored_on.flatten(1).amax(1).mean(),
            "that is the best head of each image, chosen by the answer: an oracle",
        ),
        (
            scored_on.amax(-1).mean(0).max(),
            "that is the best head of each image, chosen by the answer: an oracle",
        ),
        (chosen_on.mean(0).max(), "that is the score on the images it was chosen on; score it on the others"),
        (scored_on[:, mean.mean(1).argmax()].mean(), "choose one head, not a layer: its heads differ"),
    ]
    if swapped[0] < 4 and swapped[1] < 6:
        suspects.append(
            (
                scored_on[:, swapped[0], swapped[1]].mean(),
                "rows are layers, and each has as many places as heads",
            )
        )
    got = torch.as_tensor(answer(chosen_on, scored_on))
    expected = scored_on[:, layer, head].mean()
    _name(got, expected, *suspects)
    expect_close(got, expected, "for 25 images, 4 layers and 6 heads")
    return "Right."


@checker
def check_paired(answer):
    """`answer(a, b)`: standard error of the mean difference of two networks' scores on the same images."""
    generator = torch.Generator().manual_seed(4)
    hard = torch.randn(50, generator=generator, dtype=torch.float64)
    a = hard + torch.randn(50, generator=generator, dtype=torch.float64) / 5
    b = hard + torch.randn(50, generator=generator, dtype=torch.float64) / 5
    expected = (a - b).std() / 50**0.5
    got = torch.as_tensor(answer(a, b))
    apart = (a.var() + b.var()).sqrt()
    name_the_mistake(
        got,
        (
            (apart / 50**0.5),
            "that holds for two sets of different images; these are the same images: take a - b first",
        ),
        (apart, "that holds for two sets of different images; these are the same images: take a - b first"),
        ((a - b).std(), "that is the spread over images; the mean of n images varies less, by the root of n"),
        ((a - b).std() / 50, "divide by the root of n, not by n"),
        ((a - b).mean(), "that is the difference itself; how much would it vary with other images?"),
        ((a - b).var() / 50, "that is its square: take the root"),
    )
    # whether the reader divides by n or n - 1 is a matter of taste
    expect_close(got, expected, "for 50 images", rtol=0.02, hint="the spread of a - b over the root of n")
    ratio = float(apart / 50**0.5 / expected)
    return f"Right. Treating the images as different ones would have made it {ratio:.1f} times as large."
