"""Wrong answers to the exercises of chapter 14, each with the message that it should get."""

import torch


def two_steps(y, D, D1, step, lam, *, steps=2, threshold=None):
    z = torch.zeros(len(y), D.shape[1], dtype=y.dtype)
    for _ in range(steps):
        z = torch.relu(z + step * (y - z @ D.T) @ D - (step * lam if threshold is None else threshold))
    return z


def shares(Zk, over=-2):
    return Zk**2 / (Zk**2).sum(over, keepdim=True)


def turned(Z, first=1):
    other = Z.clone()
    other[:, first:] *= -1
    return other


def in_place(attention, Z):
    before = attention(Z)
    Z[:, 1:] *= -1
    return (attention(Z) - before)[:, 0].norm(dim=-1)


WRONG = {
    "check_two_steps": [
        (lambda y, D, D1, s, lam: two_steps(y, D, D1, s, lam), "this is the code"),
        (lambda y, D, D1, s, lam: two_steps(y, D, D1, s, lam) @ D.T, "by D1, not by D"),
        (lambda y, D, D1, s, lam: two_steps(y, D, D1, s, lam, steps=1) @ D1.T, "that is one step"),
        (lambda y, D, D1, s, lam: two_steps(y, D, D1, s, lam, steps=3) @ D1.T, "three steps"),
        (lambda y, D, D1, s, lam: y + two_steps(y, D, D1, s, lam) @ D1.T, "skip connection"),
        (lambda y, D, D1, s, lam: two_steps(y, D, D1, s, lam, threshold=lam) @ D1.T, "the step times lam"),
    ],
    "check_memberships": [
        (lambda Zk, tau: (tau * shares(Zk).sum(-1)).softmax(-1), "over the heads"),
        (lambda Zk, tau: (tau * shares(Zk, -1).sum(-1)).softmax(0), "over the tokens, not over the channels"),
        (lambda Zk, tau: (tau * (Zk**2).sum(-1)).softmax(0), "by its sum over the tokens first"),
        (lambda Zk, tau: shares(Zk).sum(-1).softmax(0), "temperature is missing"),
        (lambda Zk, tau: (tau * shares(Zk).mean(-1)).softmax(0), "yours is their mean"),
        (lambda Zk, tau: (tau * Zk.shape[1] * shares(Zk).sum(-1)).softmax(0), "by the mean over tokens"),
    ],
    "check_what_others_change": [
        (lambda a, Z: (a(-Z) - a(Z))[:, 0].norm(dim=-1), "token 0 itself must stay"),
        (lambda a, Z: (a(turned(Z)) - a(Z)).flatten(1).norm(dim=-1), "of token 0 alone"),
        (lambda a, Z: a(Z)[:, 0].norm(dim=-1), "difference of two"),
        (in_place, "work on a copy"),
    ],
    "check_crossover": [
        (lambda d, m: 2 * d, "two maps and two products"),
        (lambda d, m: d / 2, "two maps and two products"),
        (lambda d, m: m, "m stands on both sides|two maps and two products"),
        (lambda d, m: d * d, "one n cancels"),
    ],
}
