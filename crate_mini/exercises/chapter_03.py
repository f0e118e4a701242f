"""Checkers of chapter 03, compression becomes attention."""

from __future__ import annotations

import math

import torch

from crate_mini.compression import denoise, neumann_condition, softmax_attention
from crate_mini.exercises import NotYet, checker, expect, expect_close, name_the_mistake
from crate_mini.rates import compression_rate


def _normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def _bases(K: int, d: int, p: int) -> torch.Tensor:
    return torch.linalg.qr(_normal(K, d, p)).Q


@checker
def check_ridge_weights(answer):
    """`answer(Zk, gamma)` is A = γG (I + γG)⁻¹ with G = Zk Zkᵀ."""
    for n, p, gamma in [(6, 3, 0.4), (4, 7, 5.0)]:
        Zk = _normal(n, p)
        eye = torch.eye(n, dtype=Zk.dtype)
        G = Zk @ Zk.T
        inverse = torch.linalg.inv(eye + gamma * G)
        got = answer(Zk, gamma)
        name_the_mistake(
            got,
            (inverse, "this is (I + γG)⁻¹, which is I − A: the residual, not the prediction"),
            (G @ inverse, "one factor γ is missing, in front of the G outside the inverse"),
            (gamma * G, "this is γG, the Neumann step's matrix: the inverse is missing"),
            (G @ torch.linalg.inv(eye + G), "there is no γ in it: it multiplies G in both places"),
            (
                gamma * G @ (1 / (eye + gamma * G)),
                "1 / X inverts each entry; a matrix needs torch.linalg.inv",
            ),
        )
        what = f"for {n} tokens with {p} coordinates"
        expect_close(got, gamma * G @ inverse, what, hint="γ G (I + γ G)⁻¹ with G = Zk Zkᵀ, an n x n matrix")
    return "Right: symmetric, and with eigenvalues below one whatever γ is."


@checker
def check_head_gradient(answer):
    """`answer(Z, Uk, eps_sq)` is the gradient of one head's rate with respect to the tokens."""
    for n, d, p, eps_sq in [(7, 5, 2, 0.3), (3, 6, 4, 0.05)]:
        Z, Uk = _normal(n, d), _bases(1, d, p)[0]
        moving = Z.clone().requires_grad_()
        (expected,) = torch.autograd.grad(compression_rate(moving, Uk[None], eps_sq), moving)
        got = answer(Z, Uk, eps_sq)
        Zk = Z @ Uk
        if torch.as_tensor(got).shape == Zk.shape != Z.shape:
            raise NotYet(
                "the result has the shape of Z Uk: it is the gradient for the coordinates. Lift it back with Ukᵀ"
            )

        def with_scale(gamma, Zk=Zk, Uk=Uk):
            inside = torch.eye(len(Zk), dtype=Zk.dtype) + gamma * Zk @ Zk.T
            return gamma * torch.linalg.solve(inside, Zk) @ Uk.T

        gamma = p / (n * eps_sq)
        name_the_mistake(
            got,
            (2 * expected, "twice too long: the rate has a ½ in front, and the square inside gives a 2"),
            (expected / 2, "half too long: the ½ of the rate and the 2 of the square cancel"),
            (-expected, "this is the negative gradient, the way down; the gradient itself was asked for"),
            (expected / gamma, "a factor γ is missing in front"),
            (with_scale(d / (n * eps_sq)), "γ has p, the dimension of the subspace, where you have d"),
            (gamma * Zk @ Uk.T, "the inverse is missing: this is the first term of the series only"),
        )
        expect_close(
            got, expected, f"for {n} tokens in {d} dimensions, p = {p}", hint="γ (I + γ Zk Zkᵀ)⁻¹ Zk Ukᵀ"
        )
    return "Right: equal to autograd's."


@checker
def check_smallest_eps_sq(answer):
    """`answer(Z, U)` is the ε² above which the Neumann series converges in every head."""
    for n, d, K, p in [(10, 6, 3, 2), (5, 8, 2, 3)]:
        Z, U = _normal(n, d), _bases(K, d, p)
        per_head = neumann_condition(Z, U, 1.0)
        strongest = torch.stack([torch.linalg.svdvals(Z @ Uk).max() for Uk in U])
        expected = float(per_head.max())
        got = answer(Z, U)
        name_the_mistake(
            got,
            (p / n * strongest.max(), "the singular value enters squared: G = Zk Zkᵀ has the eigenvalues σ²"),
            (d / n * strongest.max() ** 2, "γ has p, the dimension of a subspace, where you have d"),
            (per_head.mean(), "this is the mean over the heads; the worst head decides"),
            (per_head.min(), "this is the best head; the worst decides"),
            (per_head.sum(), "this is the sum over the heads; each has its own series, the worst decides"),
            (
                torch.linalg.matrix_norm(Z, 2) ** 2 * p / n,
                "these are the singular values of Z; those of the Zk = Z Uk decide",
            ),
            (1 / K, "1/K is the least it can be for unit tokens; here it is asked for these tokens"),
            (1 / expected, "upside down: γ is p / (n ε²), so ε² must be large enough, not small enough"),
        )
        expect_close(got, expected, f"for {n} tokens and {K} heads", hint="solve γ σ² = 1 for ε²")
    return "Right."


@checker
def check_gather_one_head(answer):
    """`answer(Zk, beta)` is softmax(β Zk Zkᵀ) Zk, the softmax over each token's row."""
    for n, p, beta in [(6, 3, 1.0), (4, 5, 0.3)]:
        Zk = _normal(n, p)
        scores = beta * Zk @ Zk.T
        weights = softmax_attention(Zk, torch.eye(p, dtype=Zk.dtype)[None], beta)[0]
        expected = weights @ Zk
        got = answer(Zk, beta)
        suspects = [
            (
                scores.softmax(0) @ Zk,
                "the softmax runs down the columns: that is the papers' axis. Here a token's weights are a row",
            ),
            (weights, "these are the weights; what is gathered with them is asked for"),
            (scores @ Zk, "the softmax is missing"),
            (
                scores.flatten().softmax(0).view(n, n) @ Zk,
                "one softmax over all entries; each row needs its own",
            ),
            ((scores / math.sqrt(p)).softmax(-1) @ Zk, "1/√p is the network's β; here β is given"),
        ]
        if beta != 1:
            suspects.append(((scores / beta).softmax(-1) @ Zk, "β is not used"))
        name_the_mistake(got, *suspects)
        expect_close(
            got, expected, f"for {n} tokens, β = {beta}", hint="softmax(β Zk Zkᵀ) Zk, rows sum to one"
        )
    return "Right: every token of the result lies within the hull of the others."


@checker
def check_same_point(answer):
    """`answer(t)` is (scale, c) with Z + t MSSA(Z) = scale ((1 − c) Z + c MSSA(Z))."""
    for t in (1.0, 0.25, -0.5):
        pair = answer(t)
        expect(isinstance(pair, tuple | list) and len(pair) == 2, "return two numbers, (scale, c)")
        scale, c = (float(v) for v in pair)
        if not math.isclose(scale * (1 - c), 1, rel_tol=1e-9) and math.isclose(scale * c, t, rel_tol=1e-9):
            raise NotYet(
                f"t = {t}: MSSA(Z) has the right weight, but Z gets {scale * (1 - c):.3g} where the network has 1"
            )
        expect(
            math.isclose(scale * (1 - c), 1, rel_tol=1e-9),
            f"t = {t}: scale (1 − c) is the weight of Z and must be 1, yours is {scale * (1 - c):.3g}",
        )
        expect(
            math.isclose(scale * c, t, rel_tol=1e-9),
            f"t = {t}: scale · c is the weight of MSSA(Z) and must be {t}, yours is {scale * c:.3g}",
        )
    return "Right: c has the sign of t (for t > −1), so uphill is where t is negative. At t = 1, c = ½."


@checker
def check_denoise_token(answer):
    """`answer(x, U, sigma)` denoises one vector by attention over the subspaces."""
    for d, K, p, sigma in [(5, 3, 2, 0.7), (6, 2, 3, 0.4)]:
        U, x = _bases(K, d, p), _normal(d)
        x = x / x.norm()
        coordinates = torch.einsum("kdp,d->kp", U, x)
        squares = coordinates.square().sum(-1)
        projections = torch.einsum("kdp,kp->kd", U, coordinates)

        def mixed(scores, projections=projections):
            return scores.softmax(0) @ projections

        got = answer(x, U, sigma)
        per_coordinate = (coordinates.square() / (2 * sigma**2)).softmax(0)
        name_the_mistake(
            got,
            (mixed(squares / sigma**2), "the exponent is ‖Uᵀx‖² / (2δ²): the 2 is missing"),
            (mixed(squares / (2 * sigma)), "δ enters squared"),
            (mixed(squares.sqrt() / (2 * sigma**2)), "the length ‖Uᵀx‖ enters squared"),
            (
                mixed(-squares / (2 * sigma**2)),
                "the sign is wrong: the closest subspace has the longest projection",
            ),
            (mixed(squares), "sigma is not used"),
            (projections.sum(0), "the weights are missing: this is the plain sum of the projections"),
            (projections[squares.argmax()], "this is the nearest subspace alone; a softmax shares"),
            (
                torch.einsum("kdp,kp->d", U, per_coordinate * coordinates),
                "a subspace gets one weight, from the squared length of its coordinates, and not one a coordinate",
            ),
        )
        expected = denoise(x[None], U, sigma)[0]
        expect_close(
            got, expected, f"for {K} subspaces of dimension {p}, sigma = {sigma}", hint="weights over heads"
        )
    return "Right."
