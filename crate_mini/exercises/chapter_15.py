"""Checkers of chapter 15, the coding rate as a loss: agreement, its weight, the value of a collapse, shares."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from crate_mini.exercises import checker, expect, expect_close, name_the_mistake
from crate_mini.rates import largest_rate
from crate_mini.stats import variance_shares
from crate_mini.training.selfsupervised import alignment, simdino_gamma


@checker
def check_alignment(answer):
    """`answer(teacher, student)` is C of teacher (2, b, P) and student (v, b, P), rows of length one."""
    for v, b, P in [(2, 5, 3), (4, 6, 4)]:
        student = F.normalize(torch.randn(v, b, P, dtype=torch.float64), dim=-1)
        teacher = F.normalize(student[:2] + 0.5 * torch.randn(2, b, P, dtype=torch.float64), dim=-1)
        expected = alignment(teacher, student)
        cosines = torch.einsum("gbp,vbp->gv", teacher, student) / b
        got = answer(teacher, student)
        name_the_mistake(
            got,
            (cosines.mean(), "a view is compared with itself in there: leave the pairs i = v out"),
            (b * expected, "take the mean over images, too"),
            (expected * (2 * v - 2), "take the mean over the pairs, not their sum"),
            (expected * (2 * v - 2) / (2 * v), "you divide by all pairs, but add up only those that differ"),
        )
        expect_close(got, expected, f"for {v} views of {b} images")
    return "Right. Say the same of everything, and it is 1: this alone is no task."


@checker
def check_weight(answer):
    """`answer(m, P, processes, eps_sq)` is the most that the released loss can pay for the rate, m <= P."""
    for m, P, processes, eps_sq in [(64, 256, 8, 0.05), (64, 256, 1, 0.05), (16, 32, 4, 0.5)]:
        gamma = simdino_gamma(m, P, processes)
        expected = gamma * largest_rate(m, P, eps_sq * processes)
        got = float(answer(m, P, processes, eps_sq))
        for wrong, said in (
            (
                gamma * largest_rate(m, P, eps_sq),
                "one process has m images, but its sum is divided by those of all",
            ),
            (largest_rate(m, P, eps_sq * processes), "the factor gamma is missing"),
            (
                simdino_gamma(m, P) * largest_rate(m, P, eps_sq * processes),
                "gamma, too, counts the images of all processes",
            ),
            (2 * expected, "a rate is half a logarithm of a determinant"),
        ):
            close = math.isclose(got, wrong, rel_tol=1e-6) and not math.isclose(wrong, expected, rel_tol=1e-6)
            expect(not close, f"For {m} images on each of {processes}: {said}.")
        expect_close(got, expected, f"for {m} images on each of {processes} processes")
    return "Right. 0.45 as published; 2.75, and another task, where one machine takes its place."


@checker
def check_collapse(answer):
    """`answer(n, P, eps_sq)` is the coding rate, in nats, of n features (n, P) of length one that are all equal."""
    for n, P, eps_sq in [(64, 256, 0.05), (10, 4, 0.5)]:
        expected = 0.5 * math.log1p(P / eps_sq)
        got = float(answer(n, P, eps_sq))
        for wrong, said in (
            (0.0, "equal features still have a length: one direction has to be coded"),
            (2 * expected, "a rate is half a logarithm of a determinant"),
            (
                0.5 * math.log1p(n * P / eps_sq),
                "their Gram matrix has the eigenvalue n, and the rate divides by n",
            ),
            (0.5 * math.log1p(1 / eps_sq), "the factor P is missing"),
            (0.5 * math.log2(1 + P / eps_sq), "that is in bits; nats, please"),
        ):
            expect(not math.isclose(got, wrong, rel_tol=1e-6, abs_tol=1e-9), f"For n = {n}, P = {P}: {said}.")
        expect_close(got, expected, f"for {n} features in {P} dimensions")
    return "Right. The number of images cancels: whoever sees this value in a log sees a collapse."


@checker
def check_shares(answer):
    """`answer(x)` is (rows, columns, rest), shares that add up to 1, of vectors x (a, b, d), one a cell."""
    for a, b, d, scale in [(5, 4, 6, 1.0), (7, 10, 3, 0.3)]:
        rows, columns = torch.randn(a, 1, d, dtype=torch.float64), torch.randn(1, b, d, dtype=torch.float64)
        x = 2 * rows + columns + scale * torch.randn(a, b, d, dtype=torch.float64)
        expected = torch.tensor(variance_shares(x), dtype=torch.float64)
        got = torch.as_tensor(answer(x), dtype=torch.float64)
        parts = _plain_parts(x)
        biased, swapped = parts / parts.sum(), expected[[1, 0, 2]]
        name_the_mistake(
            got,
            (swapped, "rows and columns are exchanged"),
            (
                biased,
                "the mean of a row holds some of the rest, rest / b: take it off, and for columns rest / a",
            ),
            (expected * 100, "shares add up to 1"),
        )
        expect_close(got, expected, f"for {a} rows and {b} columns")
    return "Right. Without what is taken off, noise alone would pass for scene and animal."


def _plain_parts(x):
    a, b = x.shape[:2]
    x = x - x.mean((0, 1))
    r, c = x.mean(1), x.mean(0)
    rest = (x - r[:, None] - c).square().sum() / ((a - 1) * (b - 1))
    return torch.stack([r.square().sum() / (a - 1), c.square().sum() / (b - 1), rest])
