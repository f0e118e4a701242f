"""Checkers of chapter 12, what a head means: the area under the curve, the best of many, a fair report, silence."""

from __future__ import annotations

import copy

import torch

from crate_mini import heads
from crate_mini.exercises import checker, expect, expect_close, name_the_mistake
from crate_mini.model import create_model


@checker
def check_area_under_curve(answer):
    """`answer(s, a, b)` is the AUROC of scores s (n,) for a (n,) pixels of the part against b (n,) others."""
    for case, s in {
        "for 12 patches": torch.randn(12, dtype=torch.float64),
        "for 12 patches, many of them tied": torch.randint(0, 3, (12,)).double(),
        "for a flat map": torch.ones(12, dtype=torch.float64),
    }.items():
        a, b = (torch.randint(0, 9, (12,)).double() for _ in range(2))
        expected = heads.auroc(s, a[None], b[None])[0]
        higher, equal = (s[:, None] > s).double(), (s[:, None] == s).double()
        total = a.sum() * b.sum()
        inside, outside = a > 0, b > 0
        got = answer(s, a, b)
        suspects = {
            "ties count half, and yours count nothing": a @ higher @ b / total,
            "ties count half, and yours count whole": a @ (higher + equal) @ b / total,
            "you have it the wrong way round: the pixel of the part should have the higher score": 1
            - expected,
            "every patch counts as often as it has pixels: weigh by a and b": (higher + equal / 2)[inside][
                :, outside
            ].mean(),
            "divide by the number of pairs, the sum of a times the sum of b": a @ (higher + equal / 2) @ b,
            "divide by the sum of a times the sum of b, not by the number of pairs of patches": a
            @ (higher + equal / 2)
            @ b
            / len(s) ** 2,
        }
        name_the_mistake(got, *((v, k) for k, v in suspects.items() if abs(v - expected) > 1e-9))
        expect_close(got, expected, case)
    return "Right. Every threshold is in it, and none had to be chosen."


@checker
def check_best_of(answer):
    """`answer(pool, k)` is the mean over all choices of k of the values in pool of the highest value chosen."""
    for R, k in [(5, 2), (6, 6), (6, 1), (7, 3)]:
        pool = torch.rand(R, dtype=torch.float64)
        pool = pool.roll(-1 - int(pool.argmax()))  # the highest last: it must be looked for
        expected = heads.best_of(pool, k)
        ranked = pool.sort().values
        steps = torch.arange(1, R + 1, dtype=torch.float64)
        back = ranked @ ((steps / R) ** k - ((steps - 1) / R) ** k)
        suspects = {
            "that is the highest of the whole pool, whatever k": pool.max(),
            "that is the mean of the pool, whatever k": pool.mean(),
            "that is the mean of the k highest": ranked[-k:].mean(),
            "you put each value back before the next is drawn; choose k different ones": back,
            "that is the highest of the first k values; go through all choices": pool[:k].max(),
        }
        got = answer(pool, k)
        name_the_mistake(got, *((v, m) for m, v in suspects.items() if abs(v - expected) > 1e-9))
        expect_close(
            got, expected, f"for the best {k} of {R}", hint="take the highest of each choice, then the mean"
        )
    return "Right. It rises with every further look, for values that mean nothing too."


@checker
def check_choose_and_report(answer):
    """`answer(scores)` chooses a head on the even pictures; its mean there, and its mean on the odd ones."""
    for n, missing in [(40, False), (41, True)]:
        scores = torch.randn(n, 9, dtype=torch.float64)
        if missing:
            scores[torch.rand(n) < 0.3] = torch.nan
        here, there, everywhere = (x.nanmean(0) for x in (scores[::2], scores[1::2], scores))
        head = here.argmax()
        got = answer(scores)
        expect(
            isinstance(got, (tuple, list)) and len(got) == 2,
            "return two numbers: the score where the head was chosen, and the score on the other pictures",
        )
        first, second = (torch.as_tensor(v, dtype=torch.float64).detach() for v in got)
        expect(
            not (first.isnan() or second.isnan()),
            "some pictures do not show the part and have NaN: take the mean over those that have a number",
        )
        name_the_mistake(
            second,
            (there.max(), "report the head that the even pictures chose, not the best of the odd ones"),
            (everywhere[head], "the second number is taken on the odd pictures alone, where nothing was chosen"),
        )  # fmt: skip
        name_the_mistake(
            first,
            (everywhere.max(), "choose on the even pictures alone: those you report on must have no say"),
            (there[head], "first the score where the head was chosen, then the other"),
        )
        what = f"for {n} pictures" + (", some without the part" if missing else "")
        expect_close(first, here[head], f"{what}: where it was chosen")
        expect_close(
            second, there[head], f"{what}: on the other half", hint="it is the same head that is reported"
        )
    return "Right. Among nine heads of pure noise the first number is always flattering, the second is not."


@checker
def check_without_head(answer):
    """`answer(model, images, layer, head)` are the logits with one head silenced, and the model stays as it was."""
    for family in ("crate", "vit"):
        model = create_model(f"{family}_nano", dim=24, heads=3, depth=2, image_size=16, num_classes=4).eval()
        images = torch.rand(2, 3, 16, 16)
        with torch.no_grad():
            plain = model(images)
        saved = copy.deepcopy(model.state_dict())
        for layer, head in [(1, 2), (0, 1)]:
            with torch.no_grad(), heads.scaled_heads(model, {(layer, head): 0}):
                expected = model(images)
            got = answer(model, images, layer, head)
            changed = [k for k, v in model.state_dict().items() if not torch.equal(v, saved[k])]
            expect(not changed, f"the model was left changed: {', '.join(changed)} must be put back")
            got = torch.as_tensor(got).detach()
            suspects = [
                (plain, "these are the logits with all heads: nothing was silenced when the model ran")
            ]
            p = model.blocks[layer].attention.head_dim
            for wrong, said in (
                (_silenced(model, images, layer, slice(head * p, (head + 1) * p), slice(None)),
                 "out.weight is (outputs, inputs): the heads are its inputs, the second dimension"),
                (_silenced(model, images, layer, slice(None), slice(head, None, 3)),
                 "the heads lie one after the other, p numbers each; you took every third number"),
                (_silenced(model, images, layer, slice(None), slice(0, (head + 1) * p)),
                 "only this head is to fall silent, from head * p to (head + 1) * p"),
                (_silenced(model, images, layer, slice(None), slice(None)), "that silences the whole layer"),
            ):  # fmt: skip
                if not torch.allclose(wrong, expected):
                    suspects.append((wrong, said))
            name_the_mistake(got, *suspects)
            expect_close(got, expected, f"{family}, layer {layer}, head {head}", rtol=1e-4, atol=1e-5)
    return "Right. Its attention was still computed; only what it would have added is gone."


@torch.no_grad()
def _silenced(model, images, layer, rows, columns):
    other = copy.deepcopy(model)
    other.blocks[layer].attention.out.weight[rows, columns] = 0
    return other(images)
