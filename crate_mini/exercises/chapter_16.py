"""Checkers of chapter 16, text: causal attention, n-grams, what an equal query and key allow, the score of a unit."""

from __future__ import annotations

import torch

from crate_mini.compression import explicit_attention
from crate_mini.exercises import checker, expect, expect_close, name_the_mistake
from crate_mini.operators import causal_mask
from crate_mini.stats import auroc


@checker
def check_causal(answer):
    """`answer(Z, U)` gathers, in every subspace U (K, d, p), from tokens Z (n, d) up to each; `(K, n, p)`."""
    for n, d, K, p in [(5, 6, 2, 3), (4, 4, 1, 4)]:
        Z, U = torch.randn(n, d, dtype=torch.float64), torch.randn(K, d, p, dtype=torch.float64)
        Zk, seen = Z @ U, causal_mask(n)
        expected = explicit_attention(Zk, Zk, Zk, seen)
        A = (Zk @ Zk.mT / p**0.5).softmax(-1)
        got = answer(Z, U)
        expect(
            not torch.as_tensor(got).isnan().any(),
            "there is NaN in it: the first token has nobody to look at; let every token look at itself",
        )
        name_the_mistake(
            got,
            (explicit_attention(Zk, Zk, Zk), "tokens look ahead: put -inf before the softmax where j > i"),
            (A * seen @ Zk, "the mask comes after the softmax, so that weights no longer add up to 1"),
            (
                (Zk @ Zk.mT / p**0.5 * seen).softmax(-1) @ Zk,
                "a score of 0 is no mask: the softmax gives it weight; take -inf",
            ),
            (
                (Zk @ Zk.mT).masked_fill(~seen, -torch.inf).softmax(-1) @ Zk,
                "divide the scores by the root of p",
            ),
            (
                explicit_attention(Zk, Zk, Zk, seen.mT),
                "it looks ahead only: exchange rows and columns of the mask",
            ),
        )
        expect_close(got, expected, f"for {n} tokens in {K} subspaces")
    return "Right. One mask, and the same operator reads text."


@checker
def check_interpolated(answer):
    """`answer(counts, shorter)`: from counts (V,) after a context and the shorter context's guess (V,), a guess."""
    for counts in ([3.0, 0.0, 1.0, 0.0], [2.0, 5.0, 0.0, 1.0]):
        n = torch.tensor(counts, dtype=torch.float64)
        shorter = torch.rand(4, dtype=torch.float64).softmax(0)
        t = (n > 0).sum()
        expected = (n + t * shorter) / (n.sum() + t)
        got = answer(n, shorter)
        name_the_mistake(
            got,
            (n / n.sum(), "what was never seen gets nothing: the shorter context has a say"),
            (
                (n + 4 * shorter) / (n.sum() + 4),
                "t counts the different characters that were seen, not the alphabet",
            ),
            (
                (n + 1) / (n.sum() + 4),
                "this adds one to every count; add the shorter context's guess, t times",
            ),
            (n + t * shorter, "divide, so that it adds up to 1"),
            ((n + shorter) / (n.sum() + 1), "the shorter context counts t times, not once"),
        )
        expect_close(got, expected, f"for counts {[int(c) for c in counts]}")
    return "Right. Five such tables, one above the other, are the 5-gram of this page."


@checker
def check_back(answer):
    """`answer(p)` gives two tokens' coordinates (2, p): by u u' / sqrt(p) the second looks at the first, above 0.9."""
    for p in (2, 16):
        u = torch.as_tensor(answer(p)).double()
        expect(tuple(u.shape) == (2, p), f"expected shape (2, {p}), got {tuple(u.shape)}")
        A = (u @ u.mT / p**0.5).softmax(-1)
        first, second = (v.item() for v in u.norm(dim=1))
        if A[1, 0] <= 0.9:
            expect(first > second, f"it gives {A[1, 0]:.2f}: the key that shall win must be the longer one")
            expect((u[0] @ u[1]).item() > 0, f"it gives {A[1, 0]:.2f}: they must point the same way")
            expect(False, f"it gives {A[1, 0]:.2f}: make the first longer still")
    return "Right, and the price is a length that falls from token to token. Of equal length, one half is the most."


@checker
def check_unit(answer):
    """`answer(x, holds)`: the predicate (P, n) that x (n,) tells best on the first half, scored on the second."""
    for turn in (1, -1):
        n = 400
        holds = torch.rand(4, n) < 0.3
        x = turn * (1.5 * holds[2] + 0.5 * holds[1] + torch.randn(n)).double()
        weights = holds.double()
        first, second = (
            auroc(x[None, part], weights[:, part], 1 - weights[:, part])
            for part in (slice(n // 2), slice(n // 2, None))
        )
        best = int((first - 0.5).abs().argmax())
        expected = second[best] if first[best] > 0.5 else 1 - second[best]
        whole = auroc(x[None], weights, 1 - weights)
        name_the_mistake(
            answer(x, holds),
            (first[best] if turn > 0 else 1 - first[best], "it is scored on the half on which it was found"),
            (whole[best] if turn > 0 else 1 - whole[best], "find on one half, score on the other"),
            (
                1 - expected,
                "low where it holds tells as much as high: turn the score round if the first half says so",
            ),
        )
        expect_close(
            answer(x, holds), expected, "for a unit that is low where it holds" if turn < 0 else "for a unit"
        )
    return "Right. No judge is asked: one half finds, the other scores."
