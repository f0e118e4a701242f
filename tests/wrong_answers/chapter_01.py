"""Wrong answers to the exercises of chapter 01, each with the message that the reader should get."""

import math

import torch

from crate_mini.rates import coding_rate


def _logdet(gram, factor):
    return 0.5 * torch.logdet(torch.eye(len(gram), dtype=gram.dtype) + factor * gram)


def _gram_in_float32(function):
    def rate(Z, eps_sq):
        Z = Z.float()
        n, d = Z.shape
        return 0.5 * function(torch.eye(d) + d / (n * eps_sq) * Z.T @ Z)

    return rate


def _by_singular_values(widen, log=torch.log1p, half=0.5):
    def rate(Z, eps_sq):
        n, d = Z.shape
        return half * log(d / (n * eps_sq) * torch.linalg.svdvals(widen(Z)) ** 2).sum()

    return rate


def _sigma(Z):
    return torch.linalg.svdvals(Z)


WRONG = {
    "check_other_gram": [
        (lambda Z, e: 2 * coding_rate(Z, e), "½ in front of the logarithm is missing"),
        (lambda Z, e: _logdet(Z @ Z.T, len(Z) / (Z.shape[1] * e)), "n and d have changed places"),
        (lambda Z, e: _logdet(Z @ Z.T, Z.shape[1] / (len(Z) * e**2)), "do not square it again"),
        (lambda Z, e: _logdet(Z @ Z.T, 1 / e), "d/n is missing"),
        (lambda Z, e: _logdet(Z @ Z.T, Z.shape[1] * e / len(Z)), "belongs below the line"),
        (lambda Z, e: torch.exp(2 * coding_rate(Z, e)), "this is the determinant"),
        (lambda Z, e: _logdet(Z.T @ Z, Z.shape[1] / (len(Z) * e)), "went through the d x d matrix"),
        (lambda Z, e: _logdet(Z @ Z.T, 1.0), r"for 5 tokens in 3 dimensions: expected .* I of n rows"),
    ],
    "check_bits_per_pixel": [
        (lambda Z, r: coding_rate(Z, Z.shape[1] * r**2) / Z.shape[1], "these are nats"),
        (lambda Z, r: coding_rate(Z, Z.shape[1] * r**2) * math.log(2) / Z.shape[1], "less than a nat"),
        (lambda Z, r: coding_rate(Z, Z.shape[1] * r**2) / math.log(2), "bits per token"),
        (lambda Z, r: coding_rate(Z, Z.shape[1] * r**2), "nats per token"),
        (lambda Z, r: coding_rate(Z, r**2) / Z.shape[1] / math.log(2), "the error of one pixel"),
        (lambda Z, r: coding_rate(Z, r**2 / Z.shape[1]) / Z.shape[1] / math.log(2), "not a d-th of it"),
        (
            lambda Z, r: coding_rate(Z, Z.shape[1] * r) / Z.shape[1] / math.log(2),
            "root mean square: square it",
        ),
        (lambda Z, r: 8.0, r"for patches of 16 pixels: expected .* over d ln 2"),
    ],
    "check_vanishing": [
        (lambda Z: (Z.shape[1] * _sigma(Z) ** 2 / len(Z)).flip(0), "wrong order"),
        (lambda Z: _sigma(Z) ** 2 / len(Z), "these are the variances"),
        (lambda Z: Z.shape[1] * _sigma(Z) ** 2, "divide by n"),
        (lambda Z: Z.shape[1] * _sigma(Z) / len(Z), "have to be squared"),
        (lambda Z: (Z.shape[1] / len(Z)) ** 0.5 * _sigma(Z), "this is ε, and ε² was asked for"),
        (lambda Z: _sigma(Z) ** 2 / Z.shape[1] / len(Z), "you divided by d"),
        (lambda Z: len(Z) * _sigma(Z) ** 2 / Z.shape[1], "n and d have changed places"),
        (lambda Z: Z.shape[1] * Z.square().mean(0), r"for 30 tokens in 4 dimensions: off by up to"),
        (lambda Z: Z.shape[1] * torch.linalg.eigvalsh(Z.T @ Z).flip(0) / len(Z), r"expected shape \(3,\)"),
    ],
    "check_with_empty": [
        (lambda Z, m, e: coding_rate(Z, e), "the rate of Z alone"),
        (lambda Z, m, e: coding_rate(Z, e * len(Z) / (len(Z) + m)), "the other way round"),
        (lambda Z, m, e: coding_rate(Z, e) * len(Z) / (len(Z) + m), "not an average over tokens"),
        (lambda Z, m, e: coding_rate(Z, e + m), "for 5 tokens and 5 empty ones: expected"),
        (
            lambda Z, m, e: coding_rate(torch.cat([Z, torch.zeros(m, Z.shape[1], dtype=Z.dtype)]), e),
            "your function raised .*(memory|Storage size|allocate)",
        ),
    ],
    "check_apart": [
        (coding_rate, "after the turn"),
        (lambda Z, e: 0.5 * torch.log1p(Z.square().mean(0) / e).sum(), "its share is ε²/d"),
        (lambda Z, e: 0.5 * torch.log1p(Z.shape[1] / e * Z.var(0)).sum(), "not centred"),
        (lambda Z, e: torch.log1p(Z.shape[1] / e * Z.square().mean(0)).sum(), "½ in front"),
        (
            lambda Z, e: 0.5 * torch.log1p(Z.shape[1] / e * Z.square().sum(0)).sum(),
            "divide the sums of squares by n",
        ),
        (lambda Z, e: 0.5 * torch.log1p(Z.shape[1] / e * Z.square().mean(1)).sum(), "wrong axis"),
        (
            lambda Z, e: 0.5 * torch.log1p(Z.shape[1] / e * Z.square().mean(0)),
            r"expected shape \(\), got \(3,\)",
        ),
    ],
    "check_narrow_rate": [
        (_gram_in_float32(torch.logdet), "NaN|No NaN, and wrong all the same"),
        (_gram_in_float32(lambda M: torch.linalg.slogdet(M)[1]), "No NaN, and wrong all the same"),
        (_gram_in_float32(lambda M: torch.det(M).log()), "infinite|NaN|No NaN"),
        (coding_rate, "went through float64"),
        (_by_singular_values(lambda Z: Z.double()), "went through float64"),
        (_by_singular_values(lambda Z: Z), "your function raised .*BFloat16|Low precision"),
        (_by_singular_values(lambda Z: Z.float(), torch.log), "for short tokens in float32: expected"),
        (_by_singular_values(lambda Z: Z.float(), half=1.0), "for short tokens in float32: expected .* ½ Σ"),
        (lambda Z, e: torch.zeros(2), r"expected one number, got shape \(2,\)"),
    ],
}
