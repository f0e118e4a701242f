"""Checkers of chapter 06, training: the schedule, the loss, the optimiser, the patches, the cost, blind masks."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from crate_mini.exercises import checker, expect, expect_close, name_the_mistake
from crate_mini.model import create_model
from crate_mini.operations import training_multiply_adds
from crate_mini.training import Lion, Recipe, learning_rate


@checker
def check_rate(answer):
    """`answer(s, w, S)` is the learning rate of step s, with w steps of warm-up of S in all, and a peak of 1."""
    w, S = 20, 100
    recipe = Recipe(lr=1.0, epochs=10, warmup_epochs=2)
    for s in (0, 7, 19, 60, 99, 20):
        got = answer(s, w, S)
        if s < w:
            name_the_mistake(got, (s / w, f"step {s} is the number {s + 1}: the first step must move, too"))
        elif s > w:
            name_the_mistake(
                got,
                (
                    0.5 * (1 + math.cos(math.pi * s / S)),
                    "the cosine begins where the warm-up ends, not at step 0",
                ),
                (1 + math.cos(math.pi * (s - w) / (S - w)), "the cosine runs from 2 to 0: take half of it"),
                (math.cos(0.5 * math.pi * (s - w) / (S - w)), "that is a quarter of a cosine wave, not half"),
            )
        expect_close(got, learning_rate(recipe, s, 10), f"for step {s} of {S}, {w} of them warm-up")
    return "Right. The last step is not quite zero: a step of nothing would be wasted."


@checker
def check_smoothed(answer):
    """`answer(logits, label, s)` is the cross-entropy of one picture against the smoothed target."""
    logits = torch.randn(10)
    logs = logits.log_softmax(0)
    for s in (0.0, 0.1, 0.5):
        got = answer(logits, 3, s)
        name_the_mistake(
            torch.as_tensor(got).float(),
            (float(-(1 - s) * logs[3]) if s else math.nan, "the other classes have a share, too: s/C each"),
            (
                float(-(1 - s) * logs[3] - s / 9 * (logs.sum() - logs[3])) if s else math.nan,
                "s is spread over all C classes, the true one among them, not over the C - 1 others",
            ),
            (float(-logs[3]) if s else math.nan, "that is the plain cross-entropy: where is s?"),
            (float(-((1 - s) * logits[3] + s * logits.mean())), "take the logarithm of the softmax first"),
            (float((1 - s) * logs[3] + s * logs.mean()), "the sign: a loss is minus a logarithm"),
        )
        expected = F.cross_entropy(logits, torch.tensor(3), label_smoothing=s)
        expect_close(got, expected, f"for s = {s}", rtol=1e-5)
    return None


@checker
def check_lion(answer):
    """`answer(theta, m, g, lr, decay)` is one step of Lion: the new weights and the new momentum."""
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    optimizer = Lion([weight], lr=0.1, weight_decay=0.5)
    theta, m = weight.detach().clone(), torch.zeros(3)
    for step, g in enumerate((torch.tensor([0.5, -1e-4, 0.0]), torch.tensor([-0.043, 1e-3, 7.0]))):
        weight.grad = g.clone()
        before, momentum = theta.clone(), m.clone()
        optimizer.step()
        result = answer(theta.clone(), m.clone(), g.clone(), 0.1, 0.5)
        expect(
            isinstance(result, tuple) and len(result) == 2, "return two things: the new theta and the new m"
        )
        got, m = result
        push = (0.9 * momentum + 0.1 * g).sign()
        late = (0.9 * (0.99 * momentum + 0.01 * g) + 0.1 * g).sign()
        name_the_mistake(
            torch.as_tensor(got),
            (before - 0.1 * push, "the weight decay is missing"),
            (0.95 * before + 0.1 * push, "downhill is minus the gradient"),
            (0.95 * before - 0.1 * (0.9 * momentum + 0.1 * g), "Lion moves by the sign alone"),
            (0.5 * before - 0.1 * push, "the decay of a step is the learning rate times omega"),
        )
        if not torch.equal(late, push):
            name_the_mistake(
                torch.as_tensor(got), (0.95 * before - 0.1 * late, "move with the old m, then renew it")
            )
        expect_close(got, weight.detach(), f"theta after step {step + 1}", rtol=1e-5)
        renewed = 0.99 * momentum + 0.01 * g
        name_the_mistake(
            torch.as_tensor(m), (0.9 * momentum + 0.1 * g, "m is renewed with beta 2, which is 0.99")
        )
        expect_close(m, renewed, f"m after step {step + 1}", rtol=1e-5)
        theta = weight.detach().clone()
    return None


@checker
def check_keep(answer):
    """`answer(b, n, m)` draws, for each of b images, which m of its n patches a step looks at."""
    b, n, m = 2000, 16, 4
    kept = torch.as_tensor(answer(b, n, m))
    expect(
        kept.shape == (b, m),
        f"for {b} images and {m} of {n} patches: expected shape {(b, m)}, got {tuple(kept.shape)}",
    )
    expect(not kept.is_floating_point(), "numbers of patches are whole numbers")
    expect(
        int(kept.min()) >= 0 and int(kept.max()) < n,
        f"patches are numbered from 0 to {n - 1}, yours run from {int(kept.min())} to {int(kept.max())}",
    )
    ordered = kept.sort(1).values
    twice = int((ordered[:, 1:] == ordered[:, :-1]).any(1).sum())
    expect(twice == 0, f"{twice} of {b} images look at the same patch twice: draw without putting back")
    expect(
        not bool((ordered == ordered[0]).all()),
        "every image keeps the same patches: each has a draw of its own",
    )
    often = torch.bincount(kept.flatten(), minlength=n) / b
    worst = float((often - m / n).abs().max())
    expect(
        worst < 0.06,
        f"every patch should be kept in {m / n:.0%} of the images, one of yours in "
        f"{float(often[(often - m / n).abs().argmax()]):.0%}",
    )
    # neighbours drawn together would be a window, not a draw
    together = torch.zeros(b, n).scatter_(1, kept.long(), 1.0)
    pair = float((together[:, 0] * together[:, 1]).mean())
    expect(
        abs(pair - m * (m - 1) / (n * (n - 1))) < 0.03,
        "patches 0 and 1 stay together too often or too seldom: the patches of one image must not be neighbours "
        "by rule",
    )
    other = torch.as_tensor(answer(b, n, m))
    expect(not torch.equal(kept, other), "the second step kept what the first one did: draw anew each time")
    return None


@checker
def check_cost(answer):
    """`answer(N, d, L)` is what one image costs a CRATE of L layers in a training step, in multiply-adds."""
    for N, d, L in [(65, 192, 8), (197, 384, 12), (785, 384, 12)]:
        one, look = float(N * d**2), float(N**2 * d)
        expected = 3 * L * (3 * one + 2 * look)
        got = answer(N, d, L)
        name_the_mistake(
            got,
            (expected / 3, "that is the forward pass: backward costs twice as much on top"),
            (2 * expected / 3, "backward takes two products for each one forward, so three in all"),
            (expected / L, "that is one layer"),
            (2 * expected, "a multiply-add is one here, not two operations"),
            (3 * L * 3 * one, "attention is missing: scores, and what is gathered with them"),
            (3 * L * (3 * one + look), "attention has two products, N² d each"),
            (3 * L * (2 * one + 2 * look), "ISTA is missing: one product of N d²"),
            (3 * L * (4 * one + 2 * look), "in a batch ISTA's two products fold into one"),
            (3 * L * (12 * one + 2 * look), "that is a ViT"),
        )
        expect_close(got, expected, f"for N = {N}, d = {d}, L = {L}")
    whole = training_multiply_adds(create_model("crate_mini", num_classes=25).config)
    return (
        f"Right: for crate_mini that is {answer(65, 192, 8) / whole:.0%} of the whole count, patches and all."
    )


@checker
def check_random_iou(answer):
    """`answer(a, s)` is the expected IoU of a random mask of share s with an object of share a."""
    for a, s in [(0.2, 0.6), (0.5, 0.5), (0.1, 1.0)]:
        got = answer(a, s)
        if s < 1:  # there two of the mistakes come out right
            name_the_mistake(
                got,
                (a * s, "that is what both share: divide it by what lies in either"),
                (a * s / (a + s), "what lies in both is counted twice in a + s"),
                (min(a, s) / max(a, s), "that is the best a mask of that size can do"),
            )
        truth, mask = torch.rand(2, 400_000) < torch.tensor([[a], [s]])
        rolled = float((truth & mask).sum() / (truth | mask).sum())
        expect_close(got, rolled, f"for a = {a}, s = {s}, rolled with dice", atol=0.005)
    return "Right. It grows with s: mark everything, and it is a."
