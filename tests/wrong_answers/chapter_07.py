"""Wrong answers to the exercises of chapter 07, each with the message that it should get."""

import math

import torch
import torch.nn.functional as F

from crate_mini.rates import coding_rate, compression_rate_gradient


def released(
    X, eps_sq, *, unit=lambda X: X / X.norm(dim=-1, keepdim=True), factor=None, half=0.5, over=torch.sum
):
    X = unit(X)
    n, p = X.shape[-2:]
    factor = p / (n * eps_sq) if factor is None else factor(n, p, eps_sq)
    return half * over(torch.logdet(torch.eye(n, dtype=X.dtype) + factor * X @ X.mT))


def ceiling(K, n, p, eps_sq):
    m = min(n, p)
    return 0.5 * K * m * math.log(1 + p / (m * eps_sq))


def merge(a, b, *, weighed=True, between=True):
    (n, x, s), (m, y, t) = a, b
    mean = (n * x + m * y) / (n + m) if weighed else (x + y) / 2
    return n + m, mean, s + t + (n * m / (n + m) * (x - y) ** 2 if between else 0)


def through_sums(a, b):
    n, mean, _ = merge(a, b)
    total = sum(s + c * x**2 for c, x, s in (a, b))
    return n, mean, total - n * mean**2


def split(before, after, rate):
    turned = F.normalize(after, dim=-1) * before.norm(dim=-1, keepdim=True)
    return rate(turned) - rate(before), rate(after) - rate(turned)


def stretched_first(before, after, rate):
    middle = F.normalize(before, dim=-1) * after.norm(dim=-1, keepdim=True)
    return rate(after) - rate(middle), rate(middle) - rate(before)


def to_length_one(before, after, rate):
    turn = rate(F.normalize(after, dim=-1)) - rate(before)
    return turn, rate(after) - rate(before) - turn


def rank(X, power=2, last=torch.exp):
    q = torch.linalg.svdvals(X) ** power
    q = q / q.sum()
    return last(torch.special.entr(q).sum())


def naive_rank(X):
    q = torch.linalg.svdvals(X) ** 2
    q = q / q.sum()
    q = torch.where(q < 1e-12, 0, q)
    return torch.exp(-(q * torch.log(q)).sum())


def slope(Z, U, move, eps_sq):
    return -F.cosine_similarity(compression_rate_gradient(Z, U, eps_sq).flatten(), move.flatten(), dim=0)


def slope_by_token(Z, U, move, eps_sq):
    return -F.cosine_similarity(compression_rate_gradient(Z, U, eps_sq), move, dim=-1).mean()


def not_divided(Z, U, move, eps_sq):
    return -(compression_rate_gradient(Z, U, eps_sq) * move).sum()


WRONG = {
    "check_released": [
        (lambda X, e: released(X, e, unit=lambda X: X), "scaled to unit length first"),
        (lambda X, e: released(X, e, unit=lambda X: F.normalize(X, dim=1)), "not each direction"),
        (lambda X, e: released(X, e, half=1), "half in front"),
        (lambda X, e: released(X, e, over=torch.mean), "Sum over heads"),
        (lambda X, e: released(X, e**2), "(?i)do not square it again"),
        (lambda X, e: released(X, e, factor=lambda n, p, e: 1 / (n * e)), "p is missing"),
        (lambda X, e: released(X, e, factor=lambda n, p, e: p / e), "n is missing"),
        (lambda X, e: released(X, e, over=lambda x: x), "expected shape"),
    ],
    "check_ceiling": [
        (lambda K, n, p, e: 0.5 * K * p * math.log(1 + 1 / e), "can fill n directions only"),
        (lambda K, n, p, e: ceiling(K, n, p, e) / K, "there are K of them"),
        (lambda K, n, p, e: 2 * ceiling(K, n, p, e), "½ in front"),
        (lambda K, n, p, e: ceiling(K, n, p, e**2), "(?i)do not square it again"),
        (lambda K, n, p, e: ceiling(K, n, p, e) / math.log(2), "natural one"),
    ],
    "check_merge": [
        (lambda a, b: merge(a, b, weighed=False), "weigh the two means|Weigh the two means"),
        (lambda a, b: merge(a, b, between=False), "distance between the two means adds something"),
        (through_sums, "it cancels"),
        (lambda a, b: a[0] + b[0], "three numbers"),
    ],
    "check_turn_and_stretch": [
        (stretched_first, "stretched first"),
        (to_length_one, "not length 1"),
        (lambda b, a, rate: split(b, a, rate)[::-1], "wrong way round"),
        (lambda b, a, rate: (split(b, a, rate)[0], rate(a) - rate(b)), "whole change"),
    ],
    "check_rank": [
        (lambda X: rank(X, power=1), "σ², not σ"),
        (lambda X: rank(X, last=lambda h: h), "that is the entropy|That is the entropy"),
        (lambda X: rank(X, last=lambda h: 2**h), "logarithm do not mix"),
        (naive_rank, "0 log 0 = 0"),
        (lambda X: float(torch.linalg.matrix_rank(X)), "weigh them by their energy"),
    ],
    "check_slope": [
        (lambda *a: -slope(*a), "minus the gradient"),
        (slope_by_token, "all tokens together"),
        (not_divided, "divide by both lengths|Divide by both lengths"),
        (lambda Z, U, move, e: coding_rate(Z, e), "off|expected"),
    ],
}
