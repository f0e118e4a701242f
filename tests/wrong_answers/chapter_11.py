"""Wrong answers to the exercises of chapter 11, each with the message that it should get."""

import math

import torch


def effects(t, half=2, sign=1, divide=1, swap=False):
    a, b, c, d = t["mssa", "ista"], t["mssa", "mlp"], t["mhsa", "ista"], t["mhsa", "mlp"]
    first, second = sign * (a + b - c - d) / half, (a - b + c - d) / half
    return (second, first, 0) if swap else (first, second, ((a - b) - (c - d)) / divide)


def step_down(p, stop=True):
    order = p.argsort()
    passed = p[order] < 0.05 / torch.arange(len(p), 0, -1)
    passed = passed.long().cumprod(0).bool() if stop else passed
    stands = torch.zeros(len(p), dtype=torch.bool)
    stands[order] = passed
    return stands


WRONG = {
    "check_effects": [
        (lambda t: effects(t, half=1), "(?i)average over the other operator"),
        (lambda t: effects(t, sign=-1), "(?i)the sign: what CRATE has"),
        (lambda t: effects(t, swap=True), "(?i)the effect of the other operator"),
        (lambda t: effects(t, divide=2), "(?i)not divided"),
        (lambda t: effects(t, divide=-1), "(?i)what ISTA adds with MSSA"),
        (lambda t: effects(t)[:2], "(?i)three numbers"),
    ],
    "check_smallest_p": [
        (lambda n, m: 2 / math.comb(n + m, n), "(?i)one-sided"),
        (lambda n, m: 0.5 ** (n + m), "(?i)dealt out"),
        (lambda n, m: 1 / math.factorial(n + m), "(?i)the order among networks"),
        (lambda n, m: 0.05, "(?i)for 1 against 1|for 2 against 3|for 3 against 3|for 5 against 5"),
    ],
    "check_images_needed": [
        (lambda s, w: (1.96 * s / w) ** 2, "(?i)whole"),
        (lambda s, w: math.floor((1.96 * s / w) ** 2), "(?i)round up"),
        (lambda s, w: math.ceil((2 * 1.96 * s / w) ** 2), "(?i)to one end"),
        (lambda s, w: math.ceil(1.96 * s / w), "(?i)squared"),
        (lambda s, w: math.ceil((s / w) ** 2), "(?i)68 %"),
    ],
    "check_false_alarms": [
        (lambda p: p < 0.05, "(?i)each alone"),
        (lambda p: p < 0.05 / len(p), "(?i)Bonferroni"),
        (lambda p: step_down(p, stop=False), "(?i)once one fails"),
        (lambda p: (p < 0.05).float(), "(?i)true and false"),
        (lambda p: ~step_down(p), "(?i)the answer is"),
    ],
}
