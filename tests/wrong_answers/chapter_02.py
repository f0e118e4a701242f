"""Wrong answers that readers of chapter 02 may give, each with what the checker should say."""

import math

import torch
import torch.nn.functional as F

from crate_mini.exercises import chapter_02
from crate_mini.rates import class_coding_rate_gradient, coding_rate, coding_rate_gradient


def two_lines(angle, eps_sq, *, d=2, half=0.5, less_classes=True):
    c = math.cos(angle)
    whole = sum(math.log1p(d / eps_sq * (1 + s * c) / 2) for s in (1, -1))
    return half * (whole - (math.log1p(d / eps_sq) if less_classes else 0))


def rates(Z, labels, eps_sq):
    return [coding_rate(Z[labels == k], eps_sq) for k in labels.unique()]


def over_n(Z, labels, eps_sq):
    total = 0
    for k in labels.unique():
        Zk = Z[labels == k]
        gram = torch.eye(Z.shape[1], dtype=Z.dtype) + Z.shape[1] / (len(Z) * eps_sq) * Zk.T @ Zk
        total = total + len(Zk) / len(Z) / 2 * torch.logdet(gram)
    return total


def gradient(Z, labels, eps_sq):
    return coding_rate_gradient(Z, eps_sq) - class_coding_rate_gradient(Z, labels, eps_sq)


def in_place(Z, labels, eps_sq, step):
    Z += step * gradient(Z, labels, eps_sq)
    return F.normalize(Z, dim=-1)


def smallest(d, K, p, eps_sq):
    def value(r):
        x = d / (K * r * eps_sq)
        return r * (math.log1p(x) - math.log1p(K * x) / K)

    return min(range(1, p + 1), key=value)


def turned(Z):
    return Z @ torch.linalg.qr(torch.randn(12, 12, dtype=Z.dtype)).Q


def mixed_badly(Z):
    return torch.linalg.qr(torch.randn(len(Z), len(Z), dtype=Z.dtype)).Q @ Z


WRONG = {
    "check_two_lines": [
        (lambda a, e: two_lines(a, e, less_classes=False), "That is R alone"),
        (lambda a, e: two_lines(a, e, d=1), "Is the factor d = 2 there"),
        (lambda a, e: two_lines(math.radians(a), e), "radians already"),
        (lambda a, e: two_lines(a, e, half=1), r"for an angle of 0\.30"),
    ],
    "check_class_rate": [
        (lambda Z, y, e: sum(rates(Z, y, e)), "The weights π_k are missing"),
        (lambda Z, y, e: sum(rates(Z, y, e)) / 3, "Every class has the weight 1/K"),
        (over_n, "n_k, the size of the class, and not n"),
        (lambda Z, y, e: 2 * chapter_02.class_coding_rate(Z, y, e), "each logdet has a factor ½"),
        (coding_rate, "your function raised TypeError"),
    ],
    "check_ascent": [
        (lambda Z, y, e, s: F.normalize(Z - s * gradient(Z, y, e), dim=-1), "this step goes down"),
        (lambda Z, y, e, s: Z + s * gradient(Z, y, e), "have left the sphere"),
        (lambda Z, y, e, s: F.normalize(Z + s * gradient(Z, y, e), dim=0), "a token is a row"),
        (
            lambda Z, y, e, s: F.normalize(Z + s * coding_rate_gradient(Z, e), dim=-1),
            "gradient of R\\^c is missing",
        ),
        (in_place, "changes the Z that it was given"),
        (lambda Z, y, e, s: F.normalize(Z + gradient(Z, y, e), dim=-1), "for 30 tokens of 3 classes"),
    ],
    "check_directions": [
        (lambda d, K, p, e: p, "is ΔR really largest with all of them"),
        (smallest, "did you take the smallest value"),
        (lambda d, K, p, e: d, "between 1 and 4 directions are possible"),
    ],
    "check_scramble": [
        (lambda Z: Z, "still has 100% of its energy in one subspace"),
        (lambda Z: Z.flip(0), "still has 100% of its energy"),
        (turned, "mix the tokens instead"),
        (mixed_badly, "every token should have length 1"),
        (lambda Z: F.normalize(torch.randn_like(Z), dim=-1), "depends on Z'Z alone"),
    ],
}
