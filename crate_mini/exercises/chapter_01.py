"""Checkers of chapter 01, the coding rate."""

from __future__ import annotations

import math

import torch
from torch.overrides import TorchFunctionMode

from crate_mini.exercises import checker, expect, expect_close, name_the_mistake
from crate_mini.rates import coding_rate


def _normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@checker
def check_other_gram(answer):
    """`answer(Z, eps_sq)` is the coding rate of Z through the n x n Gram matrix."""
    for n, d in [(5, 3), (3, 7)]:
        Z, eps_sq = _normal(n, d), 0.3
        got = answer(Z, eps_sq)
        R = coding_rate(Z, eps_sq)
        gram, eye = Z @ Z.T, torch.eye(n, dtype=Z.dtype)
        name_the_mistake(
            got,
            (2 * R, "twice the rate: the ½ in front of the logarithm is missing"),
            (
                0.5 * torch.logdet(eye + n / (d * eps_sq) * gram),
                "n and d have changed places in the factor: it stays d/(nε²) on either side",
            ),
            (
                0.5 * torch.logdet(eye + d / (n * eps_sq**2) * gram),
                "eps_sq is ε² already, do not square it again",
            ),
            (0.5 * torch.logdet(eye + gram / eps_sq), "the factor is d/(nε²), and d/n is missing"),
            (0.5 * torch.logdet(eye + d * eps_sq / n * gram), "ε² belongs below the line: d/(nε²)"),
            (R.exp() ** 2, "this is the determinant; the rate is half its logarithm"),
        )
        expect_close(
            got, R, f"for {n} tokens in {d} dimensions", hint="½ ln det(I + d/(nε²) Z Zᵀ), with I of n rows"
        )
    with _Seen() as seen:
        answer(_normal(6, 2), 0.3)
    expect(
        all(result.shape[-2:] != (2, 2) for result in seen.results),
        "the value is right, but it went through the d x d matrix: form Z @ Z.T, which is n x n",
    )
    return "Right: the same number from the other side."


@checker
def check_bits_per_pixel(answer):
    """`answer(Z, error)` is the rate of patches in bits per pixel, for that root mean squared error of a pixel."""
    for n, d, error in [(50, 16, 0.1), (10, 64, 0.02)]:
        Z = 0.3 * _normal(n, d)
        nats = coding_rate(Z, d * error**2)
        name_the_mistake(
            got := answer(Z, error),
            (nats / d, "these are nats: a bit is ln 2 nats, so divide by ln 2"),
            (nats / d * math.log(2), "a bit is less than a nat, so there are more of them: divide by ln 2"),
            (nats / math.log(2), "these are bits per token: a token has d pixels"),
            (nats, "these are nats per token: divide by the d pixels, and by ln 2 for bits"),
            (
                coding_rate(Z, error**2) / (d * math.log(2)),
                "ε² is the squared error of a whole token; you gave the whole token the error of one pixel",
            ),
            (
                coding_rate(Z, error**2 / d) / (d * math.log(2)),
                "ε² is the squared error of a whole token: d times that of a pixel, not a d-th of it",
            ),
            (
                coding_rate(Z, d * error) / (d * math.log(2)),
                "`error` is a root mean square: square it before it becomes ε²",
            ),
        )
        expect_close(
            got,
            nats / (d * math.log(2)),
            f"for patches of {d} pixels",
            hint="R(Z) at ε² = d·error², over d ln 2",
        )
    return "Right: with d·error² for ε², the d cancels, and a pixel's error is all that counts."


@checker
def check_vanishing(answer):
    """`answer(Z)` are the values of ε² at which the principal directions, strongest first, count half."""
    for n, d in [(30, 4), (3, 6)]:
        Z = _normal(n, d) * torch.linspace(3, 0.5, d, dtype=torch.float64)
        values = torch.linalg.svdvals(Z)
        expected = d * values**2 / n
        got = torch.as_tensor(answer(Z))
        name_the_mistake(
            got,
            (expected.flip(0), "the right values in the wrong order: strongest first (eigvalsh ascends)"),
            (values**2 / n, "these are the variances λ; a direction counts half where ε²/d = λ, so ε² = dλ"),
            (d * values**2, "divide by n: λ is the mean over tokens of the squared coordinate, σ²/n"),
            (d * values / n, "λ is σ²/n: the singular values have to be squared"),
            (expected.sqrt(), "this is ε, and ε² was asked for"),
            (values**2 / (n * d), "ε²/d = λ gives ε² = dλ; you divided by d"),
            (n * values**2 / d, "n and d have changed places: ε² = d σ²/n"),
        )
        expect_close(
            got, expected, f"for {n} tokens in {d} dimensions", hint="d σ²/n with the singular values σ of Z"
        )
    return "Right: below that ε² the direction is signal, above it is noise."


@checker
def check_with_empty(answer):
    """`answer(Z, m, eps_sq)` is the rate of Z together with m tokens that are zero."""
    for n, d, m, eps_sq in [(5, 3, 5, 0.4), (4, 6, 9, 0.1)]:
        Z = _normal(n, d)
        expected = coding_rate(torch.cat([Z, torch.zeros(m, d, dtype=Z.dtype)]), eps_sq)
        share = n / (n + m)
        name_the_mistake(
            got := answer(Z, m, eps_sq),
            (
                coding_rate(Z, eps_sq),
                "that is the rate of Z alone: zeros leave ZᵀZ as it is, but n counts the empty tokens too",
            ),
            (
                coding_rate(Z, eps_sq * share),
                "the other way round: more tokens make the factor d/(nε²) smaller, as a larger ε² does",
            ),
            (
                share * coding_rate(Z, eps_sq),
                "the rate is not an average over tokens: n stands inside the logarithm",
            ),
        )
        expect_close(
            got, expected, f"for {n} tokens and {m} empty ones", hint="d/((n+m)ε²) is d/(n·ε²(n+m)/n)"
        )
    answer(_normal(2, 2), 10**12, 0.1)  # a longer matrix of that size could not be built
    return "Right: empty tokens act like a coarser precision."


@checker
def check_apart(answer):
    """`answer(Z, eps_sq)` is the sum of the rates of single coordinates, each with its share ε²/d of the error."""
    for n, d, eps_sq in [(40, 3, 0.2), (4, 6, 1.5)]:
        Z = _normal(n, d) @ _normal(d, d)
        variances = Z.square().mean(0)
        expected = 0.5 * torch.log1p(d / eps_sq * variances).sum()
        name_the_mistake(
            got := answer(Z, eps_sq),
            (
                coding_rate(Z, eps_sq),
                "that is R, after the turn to the principal axes: use the diagonal of Σ only",
            ),
            (
                0.5 * torch.log1p(variances / eps_sq).sum(),
                "each coordinate was given the whole ε²: its share is ε²/d",
            ),
            (
                0.5 * torch.log1p(d / eps_sq * Z.var(0)).sum(),
                "this takes the mean of each coordinate away; Σ = ZᵀZ/n is not centred",
            ),
            (2 * expected, "twice the number asked for: the ½ in front of the logarithm is missing"),
            (
                0.5 * torch.log1p(d / eps_sq * Z.square().sum(0)).sum(),
                "divide the sums of squares by n: a variance is a mean over tokens",
            ),
            (
                0.5 * torch.log1p(d / eps_sq * Z.square().mean(1)).sum(),
                "a sum over the wrong axis: coordinates are columns, and there is one term for each column",
            ),
        )
        expect_close(got, expected, f"for {n} tokens in {d} dimensions", hint="½ Σⱼ ln(1 + d Σⱼⱼ/ε²)")
        expect(got >= coding_rate(Z, eps_sq) - 1e-9, "coding coordinates apart cannot be cheaper than R")
    return "Right: never below R, and equal to it when the coordinates are uncorrelated already."


@checker
def check_narrow_rate(answer):
    """`answer(Z, eps_sq)` is the rate of tokens in float32 or bfloat16, computed in float32, at any length."""
    flat = torch.randn(32, 3) @ torch.randn(3, 48)
    cases = [
        ("for short tokens in float32", torch.randn(20, 8), 0.5),
        ("for more coordinates than tokens", torch.randn(4, 30), 0.5),
        ("for tokens in bfloat16", torch.randn(20, 8).bfloat16(), 0.5),
        ("for tokens in 3 of 48 dimensions", flat, 0.01),
    ]
    cases += [
        (f"for tokens in 3 of 48 dimensions, {s:.0f} times as long", s * flat, 0.01) for s in (30.0, 300.0)
    ]
    for what, Z, eps_sq in cases:
        with _Seen() as seen:
            got = torch.as_tensor(answer(Z, eps_sq))
        expected = coding_rate(Z, eps_sq).item()
        expect(got.ndim == 0, f"{what}: expected one number, got shape {tuple(got.shape)}")
        expect(
            not bool(torch.isnan(got)),
            f"{what}: NaN. The Gram matrix has squared the range of the numbers, and the determinant of what "
            "rounding left of it is negative. Use the singular values of Z",
        )
        expect(
            not bool(torch.isinf(got)),
            f"{what}: infinite. A determinant overflows where its logarithm is small",
        )
        n, d = Z.shape
        if abs(got.item() - expected) > 1e-3 * expected:
            gram = torch.eye(d) + d / (n * eps_sq) * Z.float().T @ Z.float()
            silent = 0.5 * torch.linalg.slogdet(gram)[1]
            expect(
                not torch.isclose(got.float(), silent, rtol=1e-2),
                f"{what}: {got.item():.2f} where {expected:.2f} is right. No NaN, and wrong all the same: beside large "
                "eigenvalues those that should be one are rounding noise. Use the singular values of Z",
            )
        expect_close(
            got,
            expected,
            what,
            rtol=1e-3,
            hint="½ Σ ln(1 + d σ²/(nε²)) with the singular values σ of Z.float()",
        )
        expect(
            all(result.dtype != torch.float64 for result in seen.results),
            "right, but it went through float64, which this device does not have: stay in float32",
        )
    return "Right: singular values keep in float32 what the Gram matrix loses."


class _Seen(TorchFunctionMode):
    """Keeps every tensor that PyTorch makes while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.results: list[torch.Tensor] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.results.append(result)
        return result
