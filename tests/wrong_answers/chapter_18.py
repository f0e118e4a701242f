"""Wrong answers to the exercises of chapter 18, each with the message that it should get."""

import torch
import torch.nn.functional as F

from crate_mini.compression import mssa


def undo(Y, f, times, sign=-1, anew=True):
    X = Y
    for _ in range(times):
        X = (Y if anew else X) + sign * f(X)
    return X


def normed(Z):
    return F.layer_norm(Z, Z.shape[-1:])


def decode(Z, A, U, *, sign=-1, first=normed, second=normed, skip=0, token=1):
    Y = first(Z) @ A.mT
    return skip * Z + token * Y + sign * mssa(second(Y), U)


def same(Z):
    return Z


def hidden(patches, kept):
    return torch.ones(patches.shape[:2], dtype=torch.bool).scatter(1, kept, False)


def error(guess, patches, kept):
    return (guess - patches).square().mean(-1)[hidden(patches, kept)]


def blend(of, kept, distance, power=3, normalise=True):
    weights = distance[:, kept] ** -power
    return (weights / weights.sum(1, keepdim=True) if normalise else weights) @ of[kept]


WRONG = {
    "check_undo": [
        (lambda Y, f, t: Y + f(Y), "further on"),
        (lambda Y, f, t: undo(Y, f, t + 1), "round too many"),
        (lambda Y, f, t: undo(Y, f, t - 1), "round too few"),
        (lambda Y, f, t: undo(Y, f, t, anew=False), "every round starts from Y"),
    ],
    "check_decode": [
        (lambda Z, A, U: decode(Z, A, U, sign=1), "sign is minus"),
        (lambda Z, A, U: decode(Z, A, U, second=same), "attention looks"),
        (lambda Z, A, U: decode(Z, A, U, first=same), "linear map, too"),
        (lambda Z, A, U: decode(Z, A.mT, U), "tokens are rows"),
        (lambda Z, A, U: decode(Z, A, U, skip=1), "nothing goes around"),
        (lambda Z, A, U: decode(Z, A, U, token=0), "tokens themselves are missing"),
    ],
    "check_masked_error": [
        (lambda g, x, k: (g - x).square().mean(), "seen are in it"),
        (lambda g, x, k: (g - x).square().mean(-1)[~hidden(x, k)].mean(), "that are seen"),
        (lambda g, x, k: error(g, x, k).mean() * x.shape[-1], "pixels of a patch"),
        (lambda g, x, k: error(g, x, k).sum(), "not their sum"),
        (lambda g, x, k: error(g, x, k).sum() / hidden(x, k).numel(), "divide by all patches"),
        (lambda g, x, k: (g - x).abs().mean(-1)[hidden(x, k)].mean(), "absolute"),
        (lambda g, x, k: error(g, x, k).mean().sqrt(), "no root"),
    ],
    "check_blend": [
        (lambda of, k, d: blend(of, k, d, normalise=False), "add up to 1"),
        (lambda of, k, d: blend(of, k, d, 1), "power 1"),
        (lambda of, k, d: blend(of, k, d, 2), "power 2"),
        (lambda of, k, d: of[k[d[:, k].argmin(1)]], "nearest patch alone"),
        (lambda of, k, d: of[k].mean(0).expand(len(of), -1), "same everywhere"),
        (lambda of, k, d: blend(of, k, d, -3), "far ones weigh most"),
    ],
}
