"""Checkers of chapter 19, acting on the model: the mask of some clicks, a patch's attention, a muted head, shares."""

from __future__ import annotations

import torch

from crate_mini.atoms import explained
from crate_mini.clicks import clicked_mask
from crate_mini.exercises import checker, expect, expect_close, name_the_mistake


@checker
def check_mask(answer):
    """`answer(positive, negative, tau)` is a boolean mask (H, W), from answers (p, H, W) and (n, H, W) to clicks."""
    for p, n, tau in [(3, 2, 0.0), (2, 3, 0.6), (1, 0, 0.2)]:
        positive, negative = (
            torch.randn(p, 12, 12, dtype=torch.float64),
            torch.randn(n, 12, 12, dtype=torch.float64),
        )
        inside = positive.amax(0)
        expected = torch.from_numpy(clicked_mask(positive.numpy(), negative.numpy(), tau))
        try:
            got = answer(positive, negative, tau)
        except (RuntimeError, IndexError) as error:
            expect(n > 0, f"Without a negative click there is no maximum over them: {error}")
            raise
        expect(torch.as_tensor(got).dtype == torch.bool, "A mask is boolean: compare, with & between.")
        if n:  # else there is nothing to mistake
            outside = negative.amax(0)
            name_the_mistake(
                got,
                (inside >= tau, "the negative clicks are not heard"),
                (inside > outside, "the threshold is missing"),
                (
                    (positive.amin(0) >= tau) & (positive.amin(0) > outside),
                    "one positive click that is near is enough",
                ),
                ((positive.mean(0) >= tau) & (positive.mean(0) > outside), "join by the maximum, please"),
                ((inside >= tau) | (inside > outside), "both must hold, not one of them"),
            )
        expect_close(got, expected, f"for {p} positive and {n} negative clicks")
    return "Right. Whoever answers clicks with maps can be scored by this rule: a network, and plain colour as well."


@checker
def check_attention(answer):
    """`answer(queries, keys, i)` is the attention of patch i on all patches (n,), of one head, (n, p) each."""
    for n, p, i in [(6, 4, 2), (9, 3, 0)]:
        q, k = (2 * torch.randn(n, p, dtype=torch.float64) for _ in range(2))
        scores = q @ k.T / p**0.5
        got = answer(q, k, i)
        name_the_mistake(
            got,
            ((q @ k.T).softmax(-1)[i], "the products are divided by the root of p before the softmax"),
            (
                scores.softmax(-1)[:, i],
                "that is how all others attend to patch i: take its row, not its column",
            ),
            (scores.T.softmax(-1)[i], "it is the clicked patch that asks: its query, the others' keys"),
            (scores[i], "these are scores: the softmax is missing"),
            ((q @ k.T / p).softmax(-1)[i], "divide by the root of p, not by p"),
        )
        expect_close(got, scores[i].softmax(-1), f"for {n} patches in {p} dimensions")
    return "Right. In CRATE queries and keys are one and the same."


@checker
def check_muted(answer):
    """`answer(joined, W, head, p)` is what a layer adds without a head: joined (n, K p), W (d, K p)."""
    for n, K, p, d, head in [(5, 3, 2, 4, 1), (4, 2, 3, 6, 0)]:
        joined, W = torch.randn(n, K * p, dtype=torch.float64), torch.randn(d, K * p, dtype=torch.float64)
        own = slice(head * p, (head + 1) * p)
        added = joined[:, own] @ W[:, own].T
        whole = joined @ W.T
        before = joined.clone()
        got = answer(joined, W, head, p)
        expect(torch.equal(joined, before), "You changed what you were given: clone it first.")
        strided = joined.clone()
        strided[:, head::K] = 0
        name_the_mistake(
            got,
            (whole, "the head is still in it"),
            (added, "that is what the head adds; asked for is the rest"),
            (strided @ W.T, "a head's numbers lie side by side, from head * p on"),
            ((whole - added) * K / (K - 1), "the other heads stay as they are: nothing is scaled up"),
        )
        expect_close(got, whole - added, f"for {K} heads of {p} dimensions")
    return "Right. The attention of the other heads is not touched in this layer; in the next ones it may change."


@checker
def check_explained(answer):
    """`answer(x, groups)` is the share of the variance of x (n,) that groups (n,) explain."""
    for n, G, strength in [(40, 3, 1.0), (60, 5, 0.2)]:
        groups = torch.cat([torch.arange(G), torch.randint(0, G, (n - G,)).clamp(max=G - 2)])
        x = strength * torch.randn(G, dtype=torch.float64)[groups] + torch.randn(n, dtype=torch.float64) + 3
        expected = explained(x[:, None], groups)[0]
        got = answer(x, groups)
        means = torch.stack([x[groups == g].mean() for g in range(G)])
        name_the_mistake(
            got,
            (1 - expected, "that is the share which they leave"),
            (expected.sqrt(), "variances, not standard deviations"),
            (means.var(correction=0) / x.var(correction=0), "groups count as often as they have members"),
            (100 * expected, "a share is at most 1"),
        )
        expect_close(got, expected, f"for {n} values in {G} groups")
    return "Right. Ask it of places, too, before a name is given for what fires somewhere."
