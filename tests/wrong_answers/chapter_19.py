"""Wrong answers to the exercises of chapter 19, each with the message that it should get."""

import torch


def mask(positive, negative, tau, *, join=lambda a: a.amax(0), near=True, far=True, both=True):
    inside = join(positive)
    outside = negative.amax(0) if len(negative) else torch.full_like(inside, -torch.inf)
    a, b = inside >= tau, inside > outside
    if not both:
        return a | b
    return (a if near else torch.ones_like(a)) & (b if far else torch.ones_like(b))


def row(q, k, i, *, by=None):
    return (q @ k.T / (by or q.shape[1] ** 0.5)).softmax(-1)[i]


def muted(joined, W, own):
    joined = joined.clone()
    joined[:, own] = 0
    return joined @ W.T


def in_place(joined, W, head, p):
    joined[:, head * p : (head + 1) * p] = 0
    return joined @ W.T


def share(x, groups):
    total = ((x - x.mean()) ** 2).sum()
    means = torch.stack([x[groups == g].mean() for g in range(int(groups.max()) + 1)])
    return ((means[groups] - x.mean()) ** 2).sum() / total


def unweighted(x, groups):
    means = torch.stack([x[groups == g].mean() for g in range(int(groups.max()) + 1)])
    return means.var(correction=0) / x.var(correction=0)


WRONG = {
    "check_mask": [
        (lambda p, n, t: mask(p, n, t, far=False), "not heard"),
        (lambda p, n, t: mask(p, n, t, near=False), "threshold is missing"),
        (lambda p, n, t: mask(p, n, t, join=lambda a: a.amin(0)), "one positive click"),
        (lambda p, n, t: mask(p, n, t, join=lambda a: a.mean(0)), "join by the maximum"),
        (lambda p, n, t: mask(p, n, t, both=False), "threshold is missing|both must hold"),
        (lambda p, n, t: (p.amax(0) >= t) & (p.amax(0) > n.amax(0)), "Without a negative click"),
        (lambda p, n, t: mask(p, n, t).double(), "boolean"),
    ],
    "check_attention": [
        (lambda q, k, i: row(q, k, i, by=1), "divided by the root"),
        (lambda q, k, i: (q @ k.T / q.shape[1] ** 0.5).softmax(-1)[:, i], "row, not its column"),
        (lambda q, k, i: row(k, q, i), "the clicked patch that asks"),
        (lambda q, k, i: (q @ k.T / q.shape[1] ** 0.5)[i], "softmax is missing"),
        (lambda q, k, i: row(q, k, i, by=q.shape[1]), "not by p"),
    ],
    "check_muted": [
        (lambda j, W, h, p: j @ W.T, "still in it"),
        (lambda j, W, h, p: j @ W.T - muted(j, W, slice(h * p, (h + 1) * p)), "asked for is the rest"),
        (lambda j, W, h, p: muted(j, W, slice(h, None, j.shape[1] // p)), "side by side"),
        (
            lambda j, W, h, p: (
                muted(j, W, slice(h * p, (h + 1) * p)) * (j.shape[1] // p) / (j.shape[1] // p - 1)
            ),
            "nothing is scaled up",
        ),
        (in_place, "clone it first"),
    ],
    "check_explained": [
        (lambda x, g: 1 - share(x, g), "which they leave"),
        (lambda x, g: share(x, g) ** 0.5, "standard deviations"),
        (unweighted, "as often as they have members"),
        (lambda x, g: 100 * share(x, g), "at most 1"),
    ],
}
