"""Wrong answers to the exercises of chapter 09, each with the message that it should get."""

import torch


def floor_and_ceiling(a, P):
    return P * a / (P + a - P * a), min(a, P) / max(a, P)


def pairs(values, truth):
    return values[truth][:, None] - values[~truth][None]


def best(values, objects, background, *, union=None, descending=True):
    order = values.argsort(descending=descending, stable=True)
    tp, fp = objects[order].cumsum(0), background[order].cumsum(0)
    return (tp / (objects.sum() + fp if union is None else union(tp, fp, objects.sum()))).max()


def patches_only(values, objects, background):
    order = values.argsort(descending=True)
    hit = (objects > background)[order].cumsum(0)
    return (hit / (hit[-1] + torch.arange(1, len(values) + 1) - hit)).max()


WRONG = {
    "check_floor_and_ceiling": [
        (lambda a, P: (P * a / (P + a), min(a, P) / max(a, P)), "counts the shared area twice"),
        (lambda a, P: (P * a, min(a, P) / max(a, P)), "intersection only: divide by the union"),
        (lambda a, P: (floor_and_ceiling(a, P)[0], 1.0), "the ceiling is not 1"),
        (lambda a, P: (floor_and_ceiling(a, P)[0], a / P), "the ceiling is P / a"),
        (lambda a, P: floor_and_ceiling(a, P)[::-1], "floor and ceiling are swapped"),
        (lambda a, P: floor_and_ceiling(a, P)[0], "return two numbers"),
    ],
    "check_auroc": [
        (lambda v, t: (pairs(v, t) > 0).double().mean(), "ties are counted as wrong"),
        (lambda v, t: (pairs(v, t) >= 0).double().mean(), "ties are counted as right"),
        (lambda v, t: 1 - (pairs(v, t) > 0).double().mean(), "upside down"),
        (lambda v, t: (pairs(v, t) > 0).double().sum(), "divide by the number of pairs"),
        (lambda v, t: (pairs(v, t) > 0).double().sum() / len(v) ** 2, r"not by n²"),
    ],
    "check_best_iou": [
        (best, "patches of equal value cannot be told apart by a threshold"),
        (lambda v, o, b: best(v, o, b, union=lambda tp, fp, P: P), "divide by the union"),
        (lambda v, o, b: best(v, o, b, union=lambda tp, fp, P: tp + fp), "that is precision"),
        (lambda v, o, b: best(v, o, b, union=lambda tp, fp, P: P + tp + fp), "not all pixels kept"),
        (lambda v, o, b: best(v, o, b, descending=False), "not the lowest"),
        (patches_only, "count pixels, not patches"),
    ],
    "check_honest_head": [
        (lambda c, s: s.mean(0).max(), "chosen on the images it is scored on"),
        (lambda c, s: s.amax(-1).mean(0).max(), "an oracle"),
        (lambda c, s: c.mean(0).max(), "score it on the others"),
        (lambda c, s: s[:, c.mean((0, 2)).argmax()].mean(), "choose one head, not a layer"),
    ],
    "check_paired": [
        (lambda a, b: ((a.var() + b.var()) / len(a)).sqrt(), "take a - b first"),
        (lambda a, b: (a - b).std(), "by the root of n"),
        (lambda a, b: (a - b).std() / len(a), "not by n"),
        (lambda a, b: (a - b).mean(), "the difference itself"),
    ],
}
