"""Wrong answers to the exercises of chapter 11, each with the message that it should get."""

import math

import torch


def effects(t, half=2, sign=1, divide=1, swap=False):
    a, b, c, d = t["mssa", "ista"], t["mssa", "mlp"], t["mhsa", "ista"], t["mhsa", "mlp"]
    first, second = sign * (a + b - c - d) / half, (a - b + c - d) / half
    return (second, first, 0) if swap else (first, second, ((a - b) - (c - d)) / divide)


def step_down(p, level=0.05, stop=True):
    order = p.argsort()
    passed = p[order] < level / torch.arange(len(p), 0, -1)
    passed = passed.long().cumprod(0).bool() if stop else passed
    stands = torch.zeros(len(p), dtype=torch.bool)
    stands[order] = passed
    return stands


WRONG = {
    "check_effects": [
        (lambda t: effects(t, half=1), "average over the other operator"),
        (lambda t: effects(t, sign=-1), "the sign: what CRATE has"),
        (lambda t: effects(t, swap=True), "the effect of the other operator"),
        (lambda t: effects(t, divide=2), "not divided"),
        (lambda t: effects(t, divide=-1), "what ISTA adds with MSSA"),
        (lambda t: effects(t)[:2], "three numbers"),
    ],
    "check_smallest_p": [
        (lambda n, m: 2 / math.comb(n + m, n), "one-sided"),
        (lambda n, m: 0.5 ** (n + m), "dealt out"),
        (lambda n, m: 1 / math.factorial(n + m), "the order among networks"),
        (lambda n, m: 0.05, "for 1 against 1|for 2 against 3|for 3 against 3|for 5 against 5"),
    ],
    "check_images_needed": [
        (lambda s, w: (1.96 * s / w) ** 2, "whole"),
        (lambda s, w: math.floor((1.96 * s / w) ** 2), "round up"),
        (lambda s, w: math.ceil((2 * 1.96 * s / w) ** 2), "to one end"),
        (lambda s, w: math.ceil(1.96 * s / w), "squared"),
        (lambda s, w: math.ceil((s / w) ** 2), "68 %"),
    ],
    "check_false_alarms": [
        (lambda p: p < 0.05, "each alone"),
        (lambda p: p < 0.05 / len(p), "Bonferroni"),
        (lambda p: step_down(p, stop=False), "once one fails"),
        (lambda p: (p < 0.05).float(), "true and false"),
        (lambda p: step_down(p, level=0.1), "the answer is"),
    ],
}
