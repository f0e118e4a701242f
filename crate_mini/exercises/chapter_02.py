"""Checkers of chapter 02, rate reduction."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from crate_mini.data.subspaces import mixture_of_subspaces
from crate_mini.exercises import checker, expect, expect_close
from crate_mini.rates import (
    class_coding_rate,
    class_coding_rate_gradient,
    coding_rate,
    coding_rate_gradient,
    compression_rate,
    mcr2,
)


def _looks_like(got: Any, looks: dict[float, str]) -> str:
    """The text beside the wrong value that the answer has, if it has one of them."""
    try:
        number = float(got)
    except (TypeError, ValueError, RuntimeError):
        return ""
    return next((text for value, text in looks.items() if abs(number - value) < 1e-6 and value > 1e-9), "")


@checker
def check_two_lines(answer: Callable) -> str:
    """`answer(angle, eps_sq)` is ΔR of two equal classes of unit tokens on two lines in the plane."""
    for eps_sq in (0.1, 1.0):
        for angle in (0.3, math.pi / 2, 2.0, 0.0):
            line = torch.tensor([[1.0, 0.0], [math.cos(angle), math.sin(angle)]], dtype=torch.float64)
            labels = torch.tensor([0, 1])
            expected = mcr2(line, labels, eps_sq)
            got = answer(angle, eps_sq)
            degrees = math.radians(angle)
            wrong = torch.tensor([[1.0, 0.0], [math.cos(degrees), math.sin(degrees)]], dtype=torch.float64)
            looks = {
                float(coding_rate(line, eps_sq)): "that is R alone; take R of the classes away",
                float(mcr2(line, labels, 2 * eps_sq)): "is the factor d = 2 there?",
                float(mcr2(wrong, labels, eps_sq)): "the angle comes in radians already",
            }
            hint = next(
                (text for value, text in looks.items() if abs(got - value) < 1e-6 and value > 1e-9), ""
            )
            expect_close(got, expected, f"for an angle of {angle:.2f} (radians) and ε² = {eps_sq}", hint=hint)
    return "Right. It is zero at 0, largest at π/2, and symmetric about it."


@checker
def check_class_rate(answer: Callable) -> str:
    """`answer(Z, labels, eps_sq)` is R^c of tokens with labels, from its equation."""
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 2])
    Z = torch.randn(10, 4, dtype=torch.float64)
    shares = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    rates = torch.stack([coding_rate(Z[labels == k], 0.5) for k in range(3)])
    over_n = torch.stack([coding_rate(Z[labels == k], 0.5 * float(shares[k] ** -1)) for k in range(3)])
    looks = {
        float(rates.sum()): "the weights π_k are missing: a class counts by its share of the tokens",
        float(rates.mean()): "every class has the weight 1/K; it should be its share of the tokens",
        float((shares * over_n).sum()): "inside the determinant stands n_k, the size of the class, and not n",
        float(2 * (shares * rates).sum()): "it is twice too large: each logdet has a factor ½",
    }
    got = answer(Z, labels, 0.5)
    expected = class_coding_rate(Z, labels, 0.5)
    expect_close(got, expected, "for classes of 6, 3 and 1 tokens", hint=_looks_like(got, looks))
    Z, labels = torch.randn(12, 20, dtype=torch.float64), torch.arange(12) % 2
    expect_close(
        answer(Z, labels, 0.1), class_coding_rate(Z, labels, 0.1), "for fewer tokens than dimensions"
    )
    return "Right. The smallest class has the largest factor inside, and the smallest weight outside."


@checker
def check_ascent(answer: Callable) -> str:
    """`answer(Z, labels, eps_sq, step)` is one step of gradient ascent on ΔR, back on the unit sphere."""
    mixture = mixture_of_subspaces(30, d=8, K=3, p=2, orthogonal=False)
    Z, labels, step = mixture.tokens, mixture.labels, 0.5
    original = Z.clone()
    gradient = coding_rate_gradient(Z, 0.2) - class_coding_rate_gradient(Z, labels, 0.2)
    expected = F.normalize(Z + step * gradient, dim=-1)
    got = answer(Z, labels, 0.2, step)
    expect(torch.equal(Z, original), "your function changes the Z that it was given; make a new tensor")
    expect(
        isinstance(got, torch.Tensor) and got.shape == Z.shape,
        f"the result should be tokens of shape {tuple(Z.shape)}",
    )
    got = got.detach()
    expect(
        not torch.allclose(got, F.normalize(Z - step * gradient, dim=-1)),
        "this step goes down: ΔR falls. The sign of the gradient is that of an ascent, R minus R^c",
    )
    expect(
        not torch.allclose(got, Z + step * gradient),
        "the step is right, but the tokens have left the sphere: bring each back to length 1",
    )
    expect(
        not torch.allclose(got, F.normalize(Z + step * gradient, dim=0)),
        "you normalised the columns; a token is a row",
    )
    expect(
        not torch.allclose(got, F.normalize(Z + step * coding_rate_gradient(Z, 0.2), dim=-1)),
        "this climbs R alone; the gradient of R^c is missing",
    )
    expect_close(got, expected, "for 30 tokens of 3 classes")
    before, after = mcr2(Z, labels, 0.2).item(), mcr2(got, labels, 0.2).item()
    return f"Right. One step took ΔR from {before:.3f} to {after:.3f} nats."


@checker
def check_directions(answer: Callable) -> str:
    """`answer(d, K, p, eps_sq)` is the number of directions r ≤ p that each class fills evenly at the best ΔR."""

    def value(r: int, d: int, K: int, eps_sq: float) -> float:
        x = d / (K * r * eps_sq)
        return r * (math.log1p(x) - math.log1p(K * x) / K)

    for d, K, p, eps_sq in [
        (12, 3, 4, 0.1),
        (12, 3, 4, 1.0),
        (12, 3, 4, 2.0),
        (12, 3, 4, 6.0),
        (64, 10, 6, 3.0),
    ]:
        best = max(range(1, p + 1), key=lambda r, case=(d, K, eps_sq): value(r, *case))
        got = answer(d, K, p, eps_sq)
        where = f"for d = {d}, K = {K}, p = {p} and ε² = {eps_sq:g}"
        expect(1 <= got <= p, f"{where}: between 1 and {p} directions are possible, you say {got}")
        hint = ""
        if got == p:
            hint = "; is ΔR really largest with all of them? Compute it for every r"
        elif got == p + 1 - best:
            hint = "; did you take the smallest value?"
        expect(got == best, f"{where}: {best} directions give more than {got}{hint}")
    return "Right. The coarser the code, the fewer directions are worth filling."


@checker
def check_scramble(answer: Callable) -> str:
    """`answer(Z)` has unit tokens and the rates of Z, but none of its tokens lies in one subspace."""
    mixture = mixture_of_subspaces(36, d=12, K=3, p=4)
    Z, U = mixture.tokens, mixture.bases
    got = answer(Z.clone())
    expect(
        isinstance(got, torch.Tensor) and got.shape == Z.shape,
        f"the result should be tokens of shape {tuple(Z.shape)}",
    )
    got = got.detach().double()
    lengths = got.norm(dim=-1)
    expect(
        bool((lengths - 1).abs().max() < 1e-6),
        f"every token should have length 1; yours go from {lengths.min():.2f} to {lengths.max():.2f}",
    )
    whole, parts = coding_rate(Z, 0.1).item(), compression_rate(Z, U, 0.1).item()
    expect(
        abs(coding_rate(got, 0.1).item() - whole) < 1e-6,
        f"R was {whole:.3f} and is now {coding_rate(got, 0.1).item():.3f}; it depends on Z'Z alone: keep that",
    )
    now = compression_rate(got, U, 0.1).item()
    expect(
        abs(now - parts) < 1e-6,
        f"R of the subspaces was {parts:.3f} and is now {now:.3f}. Turning the dimensions (Z @ Q) leaves the "
        "subspaces behind; mix the tokens instead (O @ Z)",
    )
    share = torch.einsum("nd,kdp->nkp", got, U).square().sum(-1).amax(-1)
    expect(
        bool(share.max() < 0.8),
        f"a token still has {share.max():.0%} of its energy in one subspace; at most 80 % is asked for. Mix tokens "
        "of different subspaces",
    )
    return f"Right. No token has more than {share.max():.0%} of its energy in one subspace, and no rate has noticed."
