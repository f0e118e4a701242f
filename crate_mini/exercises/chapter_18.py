"""Checkers of chapter 18, masked autoencoding: the way back, a decoder's layer, what counts, a guess by distance."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from crate_mini.compression import mssa
from crate_mini.exercises import checker, expect_close, name_the_mistake
from crate_mini.interpolation import blended, distances, hidden, masked_error


@checker
def check_undo(answer):
    """`answer(Y, f, times)` guesses Z of Y = Z + f(Z), by so many rounds of `Y - f(guess)`, the first guess being Y."""
    for times in (1, 2, 5):
        Z, M = torch.randn(6, 4, dtype=torch.float64), torch.randn(4, 4, dtype=torch.float64)

        def f(X, M=M):
            return 0.15 * torch.tanh(X @ M)

        Y = Z + f(Z)
        guesses, summed = [Y], Y
        for _ in range(times + 1):
            guesses.append(Y - f(guesses[-1]))
        for _ in range(times):
            summed = summed - f(summed)
        got = answer(Y, f, times)
        mistakes = [
            (Y + f(Y), "that is a step further on, not back"),
            (guesses[times + 1], "a round too many: the first guess is Y itself"),
            (guesses[times - 1], "a round too few"),
        ]
        if times > 1:
            mistakes.append((summed, "every round starts from Y; only where f looks is new"))
        name_the_mistake(got, *mistakes)
        expect_close(got, guesses[times], f"for {times} rounds")
    return "Right. One round is the decoder's minus; where f changes slowly, many rounds end at Z."


def _normed(Z):
    return F.layer_norm(Z, Z.shape[-1:])


@checker
def check_decode(answer):
    """`answer(Z, A, U)` is a layer of the decoder: tokens (n, d), a square A, bases (K, d, p); a plain LayerNorm."""
    for n, d, K, p in [(7, 8, 2, 4), (5, 6, 3, 2)]:
        Z = 2 + 3 * torch.randn(n, d, dtype=torch.float64)
        A, U = torch.randn(d, d, dtype=torch.float64), torch.randn(K, d, p, dtype=torch.float64) / d**0.5
        Y = _normed(Z) @ A.mT
        step = mssa(_normed(Y), U)
        raw = Z @ A.mT
        other = _normed(Z) @ A
        name_the_mistake(
            answer(Z, A, U),
            (Y + step, "the decoder's sign is minus"),
            (Y - mssa(Y, U), "attention looks at the tokens behind a LayerNorm"),
            (raw - mssa(_normed(raw), U), "the linear map, too, sees the tokens behind a LayerNorm"),
            (other - mssa(_normed(other), U), "tokens are rows: the map is @ A.mT"),
            (Z + Y - step, "nothing goes around the linear map"),
            (-step, "the tokens themselves are missing: attention is taken off from Y"),
        )
        expect_close(answer(Z, A, U), Y - step, f"for {n} tokens in {d} dimensions")
    return "Right. The encoder's layer in the mirror: its linear part first, its attention last."


@checker
def check_masked_error(answer):
    """`answer(guess, patches, kept)` is the mean square over the pixels of the patches that are not kept."""
    for b, n, m, k in [(3, 9, 12, 2), (2, 16, 3, 4)]:
        guess, patches = torch.rand(2, b, n, m, dtype=torch.float64)
        kept = torch.rand(b, n).argsort(dim=1)[:, :k]
        off = (guess - patches).square()
        away = hidden(kept, n)
        expected = masked_error(guess, patches, kept)
        name_the_mistake(
            answer(guess, patches, kept),
            (off.mean(), "patches that are seen are in it, too"),
            (off.mean(-1)[~away].mean(), "these are the patches that are seen"),
            (off.sum(-1)[away].mean(), "take the mean over the pixels of a patch, too"),
            (off.mean(-1)[away].sum(), "take the mean over patches, not their sum"),
            ((off.mean(-1) * away).mean(), "you divide by all patches, but add up the hidden ones"),
            ((guess - patches).abs().mean(-1)[away].mean(), "squares, not absolute values"),
            (expected.sqrt(), "no root: a mean square"),
        )
        expect_close(answer(guess, patches, kept), expected, f"for {b} images of {n} patches")
    return "Right. What was seen could be copied, so it does not count."


@checker
def check_blend(answer):
    """`answer(colours, kept, distance)` is the guess of every patch of one image, (n, 3), weights 1 / distance³."""
    for rows, columns, k in [(4, 4, 3), (3, 5, 2)]:
        n = rows * columns
        of, kept = torch.rand(n, 3), torch.randperm(n)[:k]
        distance = distances((rows, columns)).clamp(min=1e-3)
        to_seen = distance[:, kept]
        expected = blended(of[None], kept[None], (rows, columns))[0]
        weights = to_seen**-3.0
        name_the_mistake(
            answer(of, kept, distance),
            (weights @ of[kept], "the weights of a patch must add up to 1"),
            *(
                ((w / w.sum(1, keepdim=True)) @ of[kept], f"that is the power {a} of the distance; 3, please")
                for a in (1, 2)
                for w in [to_seen**-a]
            ),
            (of[kept[to_seen.argmin(1)]], "that is the nearest patch alone"),
            (of[kept].mean(0).expand(n, -1), "that is the same everywhere: distances have to matter"),
            ((w := to_seen**3.0) / w.sum(1, keepdim=True) @ of[kept], "the far ones weigh most in there"),
        )
        expect_close(answer(of, kept, distance), expected, f"on a grid of {rows} by {columns}")
    return "Right. Four lines, and any network has to beat them."
