"""Wrong answers to the exercises of chapter 16, each with the message that it should get."""

import torch

from crate_mini.stats import auroc


def attention(Z, U, seen=None, *, scale=True, after=None, fill=-torch.inf):
    Zk = Z @ U
    scores = Zk @ Zk.mT / (U.shape[-1] ** 0.5 if scale else 1)
    if seen is not None:
        scores = scores.masked_fill(~seen(len(Z)), fill)
    A = scores.softmax(-1)
    return (A if after is None else A * after(len(Z))) @ Zk


def lower(n, k=0):
    return torch.ones(n, n, dtype=torch.bool).tril(k)


def score(x, holds, find=slice(200), on=slice(200, None), turned=True):
    w = holds.double()
    found, scored = (auroc(x[None, part], w[:, part], 1 - w[:, part]) for part in (find, on))
    best = int((found - 0.5).abs().argmax())
    return scored[best] if found[best] > 0.5 or not turned else 1 - scored[best]


WRONG = {
    "check_causal": [
        (lambda Z, U: attention(Z, U), "look ahead"),
        (lambda Z, U: attention(Z, U, lambda n: lower(n, -1)), "nobody to look at"),
        (lambda Z, U: attention(Z, U, after=lower), "after the softmax"),
        (lambda Z, U: attention(Z, U, lower, fill=0.0), "is no mask"),
        (lambda Z, U: attention(Z, U, lower, scale=False), "root of p"),
        (lambda Z, U: attention(Z, U, lambda n: lower(n).T), "ahead only"),
    ],
    "check_interpolated": [
        (lambda n, s: n / n.sum(), "has a say"),
        (lambda n, s: (n + len(n) * s) / (n.sum() + len(n)), "not the alphabet"),
        (lambda n, s: (n + 1) / (n.sum() + len(n)), "adds one"),
        (lambda n, s: n + (n > 0).sum() * s, "adds up to 1"),
        (lambda n, s: (n + s) / (n.sum() + 1), "not once"),
    ],
    "check_back": [
        (lambda p: torch.ones(2, p), "the longer one"),
        (lambda p: torch.stack([-9 * torch.ones(p), torch.ones(p)]), "same way"),
        (lambda p: torch.stack([1.1 * torch.ones(p), torch.ones(p)]), "longer still"),
        (lambda p: torch.ones(p, 2) if p != 2 else 9 * torch.ones(3, 2), "expected shape"),
    ],
    "check_unit": [
        (lambda x, h: score(x, h, on=slice(200)), "on which it was found"),
        (lambda x, h: score(x, h, slice(None), slice(None)), "score on the other"),
        (lambda x, h: score(x, h, turned=False), "turn the score round"),
    ],
}
