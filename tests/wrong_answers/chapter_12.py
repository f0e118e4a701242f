"""Wrong answers to the exercises of chapter 12, each with the message that it should get."""

import copy
from itertools import combinations, product

import torch


def area(s, a, b, *, ties=0.5, total=None):
    above = (s[:, None] > s).to(s) + ties * (s[:, None] == s).to(s)
    return a @ above @ b / (a.sum() * b.sum() if total is None else total(s))


def unweighted(s, a, b):
    above = (s[:, None] > s).to(s) + 0.5 * (s[:, None] == s).to(s)
    return above[a > 0][:, b > 0].mean()


def highest_of_all(pool, k, choices):
    found = [max(chosen) for chosen in choices(pool.tolist(), k)]
    return sum(found) / len(found)


def halves(scores, *, choose=slice(None, None, 2), report=slice(1, None, 2), mean=torch.nanmean):
    here, there = mean(scores[choose], 0), mean(scores[report], 0)
    return here[here.argmax()], there[here.argmax()]


def silenced(model, images, layer, head, *, rows=False, keep=False, stride=False):
    used = model if keep else copy.deepcopy(model)
    attention = used.blocks[layer].attention
    p = attention.head_dim
    chosen = slice(head, None, attention.heads) if stride else slice(head * p, (head + 1) * p)
    with torch.no_grad():
        if rows:
            attention.out.weight[chosen] = 0
        else:
            attention.out.weight[:, chosen] = 0
        return used(images)


WRONG = {
    "check_area_under_curve": [
        (lambda s, a, b: area(s, a, b, ties=0), "yours count nothing"),
        (lambda s, a, b: area(s, a, b, ties=1), "yours count whole"),
        (lambda s, a, b: 1 - area(s, a, b), "wrong way round"),
        (unweighted, "weigh by a and b"),
        (lambda s, a, b: area(s, a, b, total=lambda s: 1), "divide by the number of pairs, the sum of a"),
        (lambda s, a, b: area(s, a, b, total=lambda s: len(s) ** 2), "not by the number of pairs of patches"),
    ],
    "check_best_of": [
        (lambda pool, k: pool.max(), "highest of the whole pool"),
        (lambda pool, k: pool.mean(), "mean of the pool"),
        (lambda pool, k: pool.sort().values[-k:].mean(), "mean of the k highest"),
        (lambda pool, k: highest_of_all(pool, k, lambda v, k: product(v, repeat=k)), "put each value back"),
        (lambda pool, k: pool[:k].max(), "first k values"),
        (lambda pool, k: highest_of_all(pool, k, combinations) + 0.01, "the highest of each choice"),
    ],
    "check_choose_and_report": [
        (lambda s: halves(s, choose=slice(None)), "those you report on must have no say"),
        (lambda s: halves(s, report=slice(None)), "where nothing was chosen"),
        (lambda s: (s[::2].nanmean(0).max(), s[1::2].nanmean(0).max()), "not the best of the odd ones"),
        (lambda s: halves(s)[::-1], "first the score where the head was chosen"),
        (lambda s: halves(s, mean=torch.mean), "some pictures do not show the part"),
        (lambda s: halves(s)[0], "return two numbers"),
    ],
    "check_without_head": [
        (lambda m, x, layer, head: m(x), "nothing was silenced"),
        (
            lambda m, x, layer, head: silenced(m, x, layer, head, keep=True),
            "left changed: encoder.blocks.1.attention",
        ),
        (lambda m, x, layer, head: silenced(m, x, layer, head, rows=True), "the second dimension"),
        (lambda m, x, layer, head: silenced(m, x, layer, head, stride=True), "every third number"),
        (lambda m, x, layer, head: silenced(m, x, layer, head - 1), "layer 1, head 2: off by"),
    ],
}
