"""Checkers of chapter 07, what layers do: the released number, its ceiling, streaming, and what a step is made of."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from crate_mini.exercises import checker, expect, expect_close
from crate_mini.layerwise import effective_rank, released_rate
from crate_mini.rates import coding_rate, compression_rate, compression_rate_gradient


def _slip(got: object, slips: dict[str, Tensor | float]) -> str:
    """The first likely mistake that gives just this value."""
    try:
        value = torch.as_tensor(got.detach() if isinstance(got, Tensor) else got, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        return ""
    for said, wrong in slips.items():
        wrong = torch.as_tensor(wrong, dtype=torch.float64)
        if value.shape == wrong.shape and torch.allclose(value, wrong, rtol=1e-6, atol=1e-9):
            return said
    return ""


@checker
def check_released(answer):
    """`answer(X, eps_sq)` is the released code's number for coordinates X (K, n, p), by n x n determinants."""
    for K, n, p in [(3, 7, 4), (2, 5, 8)]:
        X = torch.randn(K, n, p, dtype=torch.float64) * torch.rand(n, 1, dtype=torch.float64).add(0.5)
        unit = F.normalize(X, dim=-1)
        slips = {
            "coordinates have to be scaled to unit length first, token by token in each head": coding_rate(
                X, 0.01
            ).sum(),
            "scale each token within each head (dim=-1), not all heads of a token together": coding_rate(
                X / X.norm(dim=(0, 2), keepdim=True), 0.01
            ).sum(),
            "scale each token (dim=-1), not each direction": coding_rate(F.normalize(X, dim=1), 0.01).sum(),
            "the half in front of the logarithm is missing": 2 * coding_rate(unit, 0.01).sum(),
            "sum over heads, do not average": coding_rate(unit, 0.01).mean(),
            "the factor is p/(n ε²) with ε² as it is given: do not square it again": coding_rate(
                unit, 0.01**2
            ).sum(),
            "the factor is p/(n ε²): p is missing": coding_rate(unit, p * 0.01).sum(),
            "the factor is p/(n ε²): n is missing": coding_rate(unit, 0.01 / n).sum(),
            "the factor holds p, the dimension of a head, and not K p": coding_rate(unit, 0.01 / K).sum(),
        }
        got = answer(X, 0.01)
        expect_close(
            got, released_rate(X, 0.01), f"for {K} heads, {n} tokens and p = {p}", hint=_slip(got, slips)
        )
    return "Right. And it costs n³ where the small Gram matrix costs p³: that is why nobody should run it."


@checker
def check_ceiling(answer):
    """`answer(K, n, p, eps_sq)` is the largest value the released number can have, for n >= p and for n < p."""
    for K, n, p, eps_sq in [(6, 65, 32, 0.01), (12, 197, 48, 0.01), (3, 20, 20, 0.5), (4, 5, 24, 0.1)]:
        m = min(n, p)
        expected = 0.5 * K * m * math.log(1 + p / (m * eps_sq))
        got = answer(K, n, p, eps_sq)
        slips = {
            "the best case fills all directions of a head alike: n tokens of length 1 spread over "
            "min(n, p) directions": 0.5 * K * math.log(1 + p / eps_sq),
            "one head's ceiling; there are K of them": expected / K,
            "fewer tokens than dimensions can fill n directions only": 0.5 * K * p * math.log(1 + 1 / eps_sq),
            "do not square it again: eps_sq is ε² already": 0.5 * K * m * math.log(1 + p / (m * eps_sq**2)),
            "half of that: R has a ½ in front": 2 * expected,
            "the logarithm is the natural one": expected / math.log(2),
        }
        slips = {said: wrong for said, wrong in slips.items() if abs(wrong - expected) > 1e-9}
        expect_close(got, expected, f"for K = {K}, n = {n}, p = {p}, ε² = {eps_sq}", hint=_slip(got, slips))
        # whatever the formula: no tokens may be above it
        X = torch.randn(K, n, p, dtype=torch.float64)
        expect(released_rate(X, eps_sq) < expected, "random tokens are above your ceiling")
    return "Right. A curve that starts near its ceiling can only fall."


@checker
def check_merge(answer):
    """`answer(a, b)` merges two summaries (count, mean, squares) into that of both together."""

    def summary(x: Tensor) -> tuple[int, float, float]:
        return len(x), x.mean().item(), (x - x.mean()).square().sum().item()

    for sizes, shift in [((4, 4), 0.0), ((1, 6), 3.0), ((20, 3), -50.0)]:
        a, b = torch.randn(sizes[0], dtype=torch.float64), torch.randn(sizes[1], dtype=torch.float64) + shift
        got = answer(summary(a), summary(b))
        expect(
            isinstance(got, tuple | list) and len(got) == 3, "return three numbers: count, mean and squares"
        )
        count, mean, squares = summary(torch.cat([a, b]))
        where = f"for batches of {sizes[0]} and {sizes[1]} images whose means are {abs(shift):g} apart"
        expect_close(got[0], count, f"{where}: the count")
        plain = (a.mean() + b.mean()) / 2
        expect_close(
            got[1], mean, f"{where}: the mean",
            hint="weigh the two means by their counts" if abs(float(got[1]) - plain) < 1e-9 else "",
        )  # fmt: skip
        both = summary(a)[2] + summary(b)[2]
        expect_close(
            got[2], squares, f"{where}: the squared distances from the mean",
            hint="both batches now have another mean than before: the distance between the two means adds something"
            if abs(float(got[2]) - both) < 1e-9 else "",
        )  # fmt: skip
    far = answer(summary(1e8 + a), summary(1e8 + b))[2]
    expect_close(
        far, summary(torch.cat([a, b]) + 1e8)[2], "for values around 100 million", rtol=1e-3,
        hint="do not go through the sum of squares: it cancels",
    )  # fmt: skip
    return "Right. Three numbers instead of a list of all images, however many there are."


@checker
def check_turn_and_stretch(answer):
    """`answer(before, after, rate)` splits the change of a rate into (turn, stretch)."""
    U = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64)).Q.reshape(12, 3, 4).permute(1, 0, 2)

    def rate(Z: Tensor) -> Tensor:
        return compression_rate(Z, U, 0.1)

    before = torch.randn(9, 12, dtype=torch.float64)
    lengths = before.norm(dim=-1, keepdim=True)
    longer = before * torch.rand(9, 1, dtype=torch.float64).add(1.5)
    both = longer + 0.5 * torch.randn(9, 12, dtype=torch.float64)
    for after, what in [
        (longer, "tokens that only got longer"),
        (both, "tokens that turned and got longer"),
    ]:
        got = answer(before, after, rate)
        expect(isinstance(got, tuple | list) and len(got) == 2, "return two numbers: turn and stretch")
        turned = F.normalize(after, dim=-1) * lengths
        turn, stretch = rate(turned) - rate(before), rate(after) - rate(turned)
        expect_close(
            torch.as_tensor(got[0]) + torch.as_tensor(got[1]), rate(after) - rate(before),
            f"for {what}: the two parts together", hint="their sum has to be the whole change",
        )  # fmt: skip
        slips = {
            "turn first, then stretch: you have stretched first": rate(after)
            - rate(before / lengths * after.norm(dim=-1, keepdim=True)),
            "give each token its own length back; you have given all of them one": rate(
                after * (before.norm() / after.norm())
            )
            - rate(before),
            "give the tokens back the lengths they had, not length 1": rate(F.normalize(after, dim=-1))
            - rate(before),
            "the two are the wrong way round": stretch,
        }
        slips = {said: wrong for said, wrong in slips.items() if abs(wrong - turn) > 1e-9}
        expect_close(got[0], turn, f"for {what}: the turn", hint=_slip(got[0], slips))
        expect_close(got[1], stretch, f"for {what}: the stretch")
    return "Right. A rate at length one counts the turn alone; as tokens are, it counts both."


@checker
def check_rank(answer):
    """`answer(X)` is the effective rank of tokens X (n, p): exp of the entropy of their energy by direction."""
    falling = torch.randn(11, 5, dtype=torch.float64) * 0.4 ** torch.arange(5)
    sigma = torch.linalg.svdvals(falling)
    q, plain = sigma.square() / sigma.square().sum(), sigma / sigma.sum()
    slips = {
        "the energy of a direction is σ², not σ": torch.special.entr(plain).sum().exp(),
        "that is the entropy; the rank is its exponential": torch.special.entr(q).sum(),
        "that is the exponential of the negative entropy": (-torch.special.entr(q).sum()).exp(),
        "the entropy is natural, so is the exponential: two kinds of logarithm do not mix": 2
        ** torch.special.entr(q).sum(),
        "that counts all directions; weigh them by their energy": torch.tensor(5.0),
        "that is another measure, 1/Σq²; this one is the exponential of an entropy": 1 / q.square().sum(),
        "centring takes a direction away that attention sees: use the tokens as they are": effective_rank(
            falling - falling.mean(0)
        ),
    }
    got = answer(falling)
    expect_close(got, effective_rank(falling), "for a cloud with one long axis", hint=_slip(got, slips))
    expect_close(answer(7 * falling), effective_rank(falling), "for the same cloud seven times as large",
                 hint="the rank does not know the scale")  # fmt: skip
    line = torch.randn(6, 1, dtype=torch.float64) @ torch.randn(1, 4, dtype=torch.float64)
    expect_close(answer(line), 1.0, "for tokens on one line", rtol=1e-4,
                 hint="a direction without energy adds nothing: 0 log 0 = 0")  # fmt: skip
    expect_close(answer(3 * torch.eye(4, dtype=torch.float64)), 4.0, "for an even cloud in 4 dimensions")
    return "Right."


@checker
def check_slope(answer):
    """`answer(Z, U, move, eps_sq)` is the cosine between a move and the steepest descent of the compression rate."""
    U = torch.randn(3, 10, 4, dtype=torch.float64) / 3
    for n in (6, 15):
        Z, move = torch.randn(n, 10, dtype=torch.float64), torch.randn(n, 10, dtype=torch.float64)
        gradient = compression_rate_gradient(Z, U, 0.2)
        expected = -F.cosine_similarity(gradient.flatten(), move.flatten(), dim=0)
        slips = {
            "downhill is minus the gradient": -expected,
            "one cosine for all tokens together, not the mean of one a token": -F.cosine_similarity(
                gradient, move, dim=-1
            ).mean(),
            "divide by both lengths: a cosine does not know the size of the step": -(gradient * move).sum(),
            "that is against R, not R^c: project on the subspaces": -F.cosine_similarity(
                _gradient_of_rate(Z, 0.2).flatten(), move.flatten(), dim=0
            ),
        }
        got = answer(Z, U, move, 0.2)
        expect_close(got, expected, f"for {n} tokens", hint=_slip(got, slips), rtol=1e-5)
        expect_close(answer(Z, U, -3 * gradient, 0.2), 1.0, "for a step straight downhill", rtol=1e-5)
    return "Right. 1 is the step that was derived; the page says what the trained layers do."


def _gradient_of_rate(Z: Tensor, eps_sq: float) -> Tensor:
    Z = Z.clone().requires_grad_()
    return torch.autograd.grad(coding_rate(Z, eps_sq), Z)[0]
