"""Checkers of chapter 11, what makes it emerge: effects of a 2 x 2, seeds, images, and many comparisons."""

from __future__ import annotations

import math

import torch

from crate_mini.exercises import checker, expect, expect_close


def _is(got: object, wrong: float) -> bool:
    try:
        return math.isclose(float(got), wrong, rel_tol=1e-6, abs_tol=1e-9)
    except (TypeError, ValueError):
        return False


@checker
def check_effects(answer):
    """`answer(t)` is (effect of MSSA, effect of ISTA, interaction) of a table with the four scores.

    The keys of the table are (attention, second): ("mssa", "ista"), ("mssa", "mlp"), ("mhsa", "ista"), ("mhsa", "mlp").
    """
    for a, b, c, d in [(23.9, 22.0, 18.4, 14.1), (0.9, 0.7, 0.8, 0.8)]:
        table = {
            ("mssa", "ista"): a, ("mssa", "mlp"): b, ("mhsa", "ista"): c, ("mhsa", "mlp"): d,
        }  # fmt: skip
        got = answer(table)
        expect(
            isinstance(got, tuple | list) and len(got) == 3,
            "return three numbers: effect of MSSA, effect of ISTA, interaction",
        )
        attention, second, both = (a + b - c - d) / 2, (a - b + c - d) / 2, (a - b) - (c - d)
        for place, (what, right) in enumerate(
            {"the effect of MSSA": attention, "the effect of ISTA": second, "the interaction": both}.items()
        ):
            hint = ""
            if place < 2 and _is(got[place], 2 * right):
                hint = "average over the other operator: half of the sum of two differences"
            elif place < 2 and _is(got[place], -right):
                hint = "the sign: what CRATE has, minus what the ViT has"
            elif place < 2 and _is(got[place], (attention, second)[1 - place]):
                hint = "that is the effect of the other operator"
            elif place == 2 and _is(got[2], -both):
                hint = "the sign: what ISTA adds with MSSA, minus what it adds with MHSA"
            elif place == 2 and (_is(got[2], both / 2) or _is(got[2], both / 4)):
                hint = "the plain difference of the two differences, not divided"
            expect_close(got[place], right, what, hint=hint)
    return "Right. In the paper MSSA is worth 6.7 points of IoU, ISTA 3.1; where MSSA is already, ISTA adds 2.4 less."


@checker
def check_smallest_p(answer):
    """`answer(n, m)` is the smallest p-value that n scores against m can reach, if only their order counts."""
    for n, m in [(3, 3), (1, 1), (2, 3), (5, 5)]:
        right = 1 / math.comb(n + m, n)
        got = answer(n, m)
        hint = ""
        if _is(got, 2 * right):
            hint = "one-sided: that all of the first are above all of the second"
        elif _is(got, 0.5 ** (n + m)):
            hint = "labels are dealt out, n of one kind and m of the other, not tossed one by one"
        elif _is(got, 1 / math.factorial(n + m)):
            hint = "the order among networks of one kind does not matter"
        expect_close(got, right, f"for {n} against {m}", hint=hint)
    return "Right. One network of each kind can never be better than a coin."


@checker
def check_images_needed(answer):
    """`answer(spread, width)` is how many images bring a 95 % interval of the mean down to +-width (an int)."""
    for spread, width in [(0.2, 0.01), (0.15, 0.03), (0.1, 0.001)]:
        right = math.ceil((1.96 * spread / width) ** 2)
        got = answer(spread, width)
        expect(isinstance(got, int), f"images are whole: return an int, got {type(got).__name__}")
        hint = ""
        if got == math.floor((1.96 * spread / width) ** 2):
            hint = "round up: one image fewer does not suffice"
        elif got == math.ceil((2 * 1.96 * spread / width) ** 2):
            hint = "width is the distance from the mean to one end of the interval"
        elif got == math.ceil(1.96 * spread / width):
            hint = "the error of a mean falls with the square root of the number: something has to be squared"
        elif got == math.ceil((spread / width) ** 2):
            hint = "one standard error holds 68 % of the cases, 1.96 of them 95 %"
        expect_close(got, right, f"for a spread of {spread} and ±{width}", hint=hint)
    return "Right. Half the width takes four times the images; and none of them is another network."


@checker
def check_false_alarms(answer):
    """`answer(p)` takes the p-values of many comparisons and returns which of them stand, after Holm (bool tensor)."""
    cases = [
        torch.tensor([0.001, 0.04, 0.03, 0.2]),
        torch.tensor([0.01, 0.02, 0.03, 0.04]),
        torch.tensor([0.2, 0.0001, 0.012, 0.024, 0.9]),
        torch.tensor([0.03]),
        torch.tensor([0.026, 0.01, 0.011]),
        torch.tensor([0.04, 0.03, 0.02]),
    ]
    for p in cases:
        right = _holm(p)
        got = torch.as_tensor(answer(p.clone()))
        expect(got.dtype == torch.bool, "return true and false, one for each p-value")
        expect(got.shape == p.shape, f"{len(p)} p-values need {len(p)} answers, got {tuple(got.shape)}")
        if torch.equal(got, right):
            continue
        said = "for p-values " + ", ".join(f"{v:g}" for v in p.tolist())
        expect(not torch.equal(got, p < 0.05), f"{said}: each alone against 0.05 is what gives false alarms")
        expect(
            not torch.equal(got, p < 0.05 / len(p)),
            f"{said}: that is Bonferroni's, all against 0.05/m; Holm's second smallest has m - 1 left to compete with",
        )
        order = p.argsort()
        loose = torch.zeros_like(got)
        loose[order] = p[order] < 0.05 / torch.arange(len(p), 0, -1)
        expect(not torch.equal(got, loose), f"{said}: once one fails, all larger ones fail with it")
        expect(False, f"{said} the answer is {right.tolist()}, got {got.tolist()}")
    return "Right. And it asks for nothing about how the comparisons hang together."


def _holm(p: torch.Tensor, level: float = 0.05) -> torch.Tensor:
    order = p.argsort()
    passed = (p[order] < level / torch.arange(len(p), 0, -1)).long().cumprod(0).bool()
    stands = torch.zeros(len(p), dtype=torch.bool)
    stands[order] = passed
    return stands
