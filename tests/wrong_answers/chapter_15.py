"""Wrong answers to the exercises of chapter 15, each with the message that it should get."""

import math

import torch


def cosines(teacher, student):
    return torch.einsum("gbp,vbp->gv", teacher, student) / teacher.shape[1]


def different(teacher, student):
    c = cosines(teacher, student)
    return c[~torch.eye(*c.shape, dtype=torch.bool)]


def weight(m, P, N, eps_sq, *, spread=True, all_images=True, gamma=True):
    factor = (P + N * m) / (P * N * m) if all_images else (P + m) / (P * m)
    rate = 0.5 * m * math.log(1 + P / (m * eps_sq * (N if spread else 1)))
    return rate * (factor if gamma else 1)


def shares(x, take_off=True):
    a, b = x.shape[:2]
    x = x - x.mean((0, 1))
    r, c = x.mean(1), x.mean(0)
    rest = ((x - r[:, None] - c) ** 2).sum() / ((a - 1) * (b - 1))
    off = rest if take_off else 0
    parts = torch.stack([(r**2).sum() / (a - 1) - off / b, (c**2).sum() / (b - 1) - off / a, rest])
    return parts / parts.sum()


WRONG = {
    "check_alignment": [
        (lambda t, s: cosines(t, s).mean(), "compared with itself"),
        (lambda t, s: different(t, s).mean() * t.shape[1], "mean over images"),
        (lambda t, s: different(t, s).sum(), "mean over the pairs"),
        (lambda t, s: different(t, s).sum() / (2 * len(s)), "divide by all pairs"),
    ],
    "check_weight": [
        (lambda m, P, N, e: weight(m, P, N, e, spread=False), "divided by those of all"),
        (lambda m, P, N, e: weight(m, P, N, e, gamma=False), "gamma is missing"),
        (lambda m, P, N, e: weight(m, P, N, e, all_images=False), "gamma, too"),
        (lambda m, P, N, e: 2 * weight(m, P, N, e), "half a logarithm"),
    ],
    "check_collapse": [
        (lambda n, P, e: 0, "still have a length"),
        (lambda n, P, e: math.log(1 + P / e), "half a logarithm"),
        (lambda n, P, e: 0.5 * math.log(1 + n * P / e), "eigenvalue n"),
        (lambda n, P, e: 0.5 * math.log(1 + 1 / e), "factor P"),
        (lambda n, P, e: 0.5 * math.log2(1 + P / e), "bits"),
    ],
    "check_shares": [
        (lambda x: shares(x)[[1, 0, 2]], "exchanged"),
        (lambda x: shares(x, take_off=False), "take it off"),
        (lambda x: 100 * shares(x), "add up to 1"),
    ],
}
