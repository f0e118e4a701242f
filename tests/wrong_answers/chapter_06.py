"""Wrong answers to the exercises of chapter 06, each with the message that it should get."""

import math

import torch


def rate(s, w, S, *, first=1, cosine=None):
    if s < w:
        return (s + first) / w
    return cosine(s, w, S) if cosine else 0.5 * (1 + math.cos(math.pi * (s - w) / (S - w)))


def smoothed(logits, label, s, *, others=None, log=True, sign=-1):
    C = len(logits)
    target = torch.full_like(logits, s / C if others is None else others(s, C))
    target[label] = 1 - s + (s / C if others is None else 0)
    return sign * (target * (logits.log_softmax(0) if log else logits)).sum()


def lion(theta, m, g, lr, decay, *, push=torch.sign, shrink=None, b2=0.99, renew_first=False, down=-1):
    renewed = b2 * m + (1 - b2) * g
    m_used = renewed if renew_first else m
    kept = 1 - lr * decay if shrink is None else shrink(lr, decay)
    return kept * theta + down * lr * push(0.9 * m_used + 0.1 * g), renewed


def draw(b, n, m):
    return torch.rand(b, n).argsort(1)[:, :m]


def window(b, n, m):
    return (torch.randint(0, n, (b, 1)) + torch.arange(m)) % n


def cost(N, d, L, *, steps=3, maps=2, look=2, ista=1):
    return steps * L * ((maps + ista) * N * d**2 + look * N**2 * d)


WRONG = {
    "check_rate": [
        (lambda s, w, S: rate(s, w, S, first=0), "the first step must move"),
        (
            lambda s, w, S: rate(s, w, S, cosine=lambda s, w, S: 0.5 * (1 + math.cos(math.pi * s / S))),
            "the cosine begins where the warm-up ends",
        ),
        (
            lambda s, w, S: rate(s, w, S, cosine=lambda s, w, S: 1 + math.cos(math.pi * (s - w) / (S - w))),
            "take half of it",
        ),
        (
            lambda s, w, S: rate(s, w, S, cosine=lambda s, w, S: math.cos(0.5 * math.pi * (s - w) / (S - w))),
            "a quarter of a cosine wave",
        ),
        (lambda s, w, S: 1.0, r"for step 0 of 100, 20 of them warm-up: expected 0\.05"),
        (lambda s, w, S: ..., "returned nothing"),
    ],
    "check_smoothed": [
        (lambda z, y, s: smoothed(z, y, s, others=lambda s, C: 0.0), "s/C each"),
        (lambda z, y, s: smoothed(z, y, s, others=lambda s, C: s / (C - 1)), "not over the C - 1 others"),
        (lambda z, y, s: smoothed(z, y, 0.0), "plain cross-entropy"),
        (lambda z, y, s: smoothed(z, y, s, log=False), "logarithm of the softmax first"),
        (lambda z, y, s: smoothed(z, y, s, sign=1), "a loss is minus a logarithm"),
        (lambda z, y, s: -z.log_softmax(0), r"expected shape \(\), got \(10,\)"),
    ],
    "check_lion": [
        (lambda *a: lion(*a, shrink=lambda lr, decay: 1.0), "weight decay is missing"),
        (lambda *a: lion(*a, down=1), "downhill is minus the gradient"),
        (lambda *a: lion(*a, push=lambda v: v), "by the sign alone"),
        (lambda *a: lion(*a, shrink=lambda lr, decay: 1 - decay), "learning rate times omega"),
        (lambda *a: lion(*a, renew_first=True), "move with the old m"),
        (lambda *a: lion(*a, b2=0.9), "renewed with beta 2"),
        (lambda *a: lion(*a)[0], "return two things"),
    ],
    "check_keep": [
        (lambda b, n, m: torch.randint(0, n, (b, m)), "look at the same patch twice"),
        (lambda b, n, m: torch.randperm(n)[:m].expand(b, m), "each has a draw of its own"),
        (lambda b, n, m: torch.rand(b, n).argsort(1), r"expected shape \(2000, 4\), got \(2000, 16\)"),
        (lambda b, n, m: torch.rand(b, n), "expected shape"),
        (lambda b, n, m: draw(b, n - 1, m), "one of yours in 0%"),
        (lambda b, n, m: 1 + draw(b, n, m), "numbered from 0 to 15, yours run from 1 to 16"),
        (window, "must not be neighbours"),
        (
            lambda b, n, m: torch.rand(b, n, generator=torch.Generator().manual_seed(3)).argsort(1)[:, :m],
            "draw anew each time",
        ),
    ],
    "check_cost": [
        (lambda N, d, L: cost(N, d, L, steps=1), "that is the forward pass"),
        (lambda N, d, L: cost(N, d, L, steps=2), "three in all"),
        (lambda N, d, L: cost(N, d, 1), "that is one layer"),
        (lambda N, d, L: cost(N, d, L, look=0), "attention is missing"),
        (lambda N, d, L: cost(N, d, L, look=1), "two products"),
        (lambda N, d, L: cost(N, d, L, ista=0), "ISTA is missing"),
        (lambda N, d, L: cost(N, d, L, ista=2), "fold into one"),
        (lambda N, d, L: cost(N, d, L, maps=12, ista=0), "that is a ViT"),
        (lambda N, d, L: cost(N, d, L, steps=6), "not two operations"),
    ],
    "check_random_iou": [
        (lambda a, s: a * s, "divide it by what lies in either"),
        (lambda a, s: a * s / (a + s), "counted twice"),
        (lambda a, s: min(a, s) / max(a, s), "the best a mask of that size can do"),
        (lambda a, s: a, r"for a = 0\.2, s = 0\.6, rolled with dice"),
    ],
}
