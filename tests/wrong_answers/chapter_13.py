"""Wrong answers to the exercises of chapter 13, each with what its checker should say."""

import math

import torch


def held(delta, n, p, step, tau):
    loud, rate = delta * math.sqrt(p), 1 + step * tau
    return sum(loud * rate**layer < math.sqrt(math.log(n)) for layer in range(1000))


def outside(Z, Uk):
    return Z - Z @ Uk @ Uk.T


def weights(Zk):
    return (Zk @ Zk.T).softmax(-1)


def not_rounded(delta, n, p, step, tau):
    return math.log(math.sqrt(math.log(n) / p) / delta) / math.log(1 + step * tau)


WRONG = {
    "check_ratio": [
        (lambda Z, Uk: ((Z @ Uk).norm() / outside(Z, Uk).norm()) ** 2, "ratio of energies"),
        (lambda Z, Uk: (Z @ Uk).norm() / Z.norm(), "only what lies outside"),
        (lambda Z, Uk: outside(Z, Uk).norm() / (Z @ Uk).norm(), "upside down"),
        (lambda Z, Uk: (Z @ Uk).norm() / (Z.norm() - (Z @ Uk).norm()), "lengths do not subtract"),
        (lambda Z, Uk: ((Z @ Uk).norm(dim=1) / outside(Z, Uk).norm(dim=1)).mean(), "mean of the tokens' ratios"),
        (lambda Z, Uk: (Z @ Uk).norm(dim=1) / outside(Z, Uk).norm(dim=1), r"expected shape \(\), got \(6,\)"),
    ],
    "check_threshold": [
        (lambda Zk, tau: weights(Zk) * (weights(Zk) > tau), "becomes τ; yours keeps its value"),
        (lambda Zk, tau: (weights(Zk) > tau).double(), "becomes τ, not one"),
        (lambda Zk, tau: weights(Zk), "the threshold is missing"),
        (lambda Zk, tau: tau * ((Zk @ Zk.T).softmax(0) > tau), "down the columns"),
        (lambda Zk, tau: tau * ((Zk @ Zk.T / Zk.shape[1] ** 0.5).softmax(-1) > tau), "no scale"),
        (lambda Zk, tau: weights(Zk).clamp(max=tau), "cut off at τ"),
    ],
    "check_depth": [
        (lambda delta, n, p, step, tau: held(delta, n, p, step, tau) - 1, "one too few"),
        (lambda delta, n, p, step, tau: held(delta, n, p, step, tau) + 1, "one too many"),
        (lambda delta, n, p, step, tau: held(delta, n, p * p, step, tau), "not with p"),
        (lambda delta, n, p, step, tau: held(delta, n, p, step, 1.0), r"1 \+ ητ, not by 1 \+ η|expected"),
        (not_rounded, "a number of layers is whole"),
    ],
    "check_second_term": [
        (lambda Zk, g: g**2 * Zk @ Zk.T @ Zk, "this term has a minus"),
        (lambda Zk, g: -2 * g**2 * Zk @ Zk.T @ Zk, "twice too long"),
        (lambda Zk, g: -(g**2) * Zk @ Zk.T @ Zk / 2, "half too long"),
        (lambda Zk, g: -g * Zk @ Zk.T @ Zk, "γ enters squared"),
        (lambda Zk, g: g * Zk - g**2 * Zk @ Zk.T @ Zk, "both terms"),
        (lambda Zk, g: -(g**2) * torch.matmul(Zk, Zk.T), "multiply by Zk"),
    ],
}  # fmt: skip
