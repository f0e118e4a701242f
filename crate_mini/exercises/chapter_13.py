"""Checkers of chapter 13, when does attention denoise: ratio, threshold, bound on depth, second-order term."""

from __future__ import annotations

import math

import torch

from crate_mini.compression import threshold_attention
from crate_mini.data.subspaces import mixture_with_crosstalk
from crate_mini.exercises import NotYet, checker, expect, expect_close, name_the_mistake
from crate_mini.rates import snr


@checker
def check_ratio(answer):
    """`answer(Z, Uk)` is the signal-to-noise ratio of tokens that all belong to the subspace of Uk."""
    for d, p, n in [(7, 3, 6), (5, 2, 9)]:
        Uk = torch.linalg.qr(torch.randn(d, p, dtype=torch.float64)).Q
        Z = torch.randn(n, d, dtype=torch.float64)
        inside, whole = (Z @ Uk).norm(), Z.norm()
        outside = (Z - Z @ Uk @ Uk.T).norm()
        by_token = (Z @ Uk).norm(dim=1) / (Z - Z @ Uk @ Uk.T).norm(dim=1)
        name_the_mistake(
            answer(Z, Uk),
            (
                (inside / outside) ** 2,
                "this is the ratio of energies; the theorem's is one of lengths, its root",
            ),
            (
                inside / whole,
                "below the line stands all of the tokens; only what lies outside the subspace is noise",
            ),
            (outside / inside, "upside down: the signal stands above"),
            (
                inside / (whole - inside),
                "lengths do not subtract, their squares do: take Z − Z Uk Ukᵀ and its length",
            ),
            (
                by_token.mean(),
                "a mean of the tokens' ratios; here one length of all tokens stands above, one below",
            ),
            (20 * torch.log10(inside / outside), "in decibels; a plain ratio was asked for"),
        )
        expected = snr(Z, Uk[None], torch.zeros(n, dtype=torch.long))[0]
        expect_close(
            answer(Z, Uk), expected, f"for {n} tokens in {d} dimensions", hint="‖Z Uk‖ / ‖Z − Z Uk Ukᵀ‖"
        )
    return "Right: it does not change with the length of the tokens, and not with a turn of the basis."


@checker
def check_threshold(answer):
    """`answer(Zk, tau)` is the hard-thresholded attention of one head."""
    for n, p, tau in [(8, 4, 0.6), (12, 3, 0.35)]:
        # short tokens look at long ones, which look at themselves: rows differ from columns
        Zk = (
            torch.randn(n, p, dtype=torch.float64) * torch.linspace(0.4, 2.0, n, dtype=torch.float64)[:, None]
        )
        weights = (Zk @ Zk.T).softmax(-1)
        columns, scaled = (Zk @ Zk.T).softmax(0), (Zk @ Zk.T / math.sqrt(p)).softmax(-1)
        name_the_mistake(
            answer(Zk, tau),
            (weights * (weights > tau), "an entry that passes becomes τ; yours keeps its value"),
            ((weights > tau).double(), "an entry that passes becomes τ, not one"),
            (weights, "this is the softmax; the threshold is missing"),
            (weights.clamp(max=tau), "entries below τ become zero; yours are only cut off at τ"),
            (tau * (columns > tau), "the softmax runs down the columns; a token's weights are a row"),
            (tau * (scaled > tau), "1/√p is the network's; the theorem's softmax has no scale"),
            (
                tau * (Zk @ Zk.T > tau),
                "the softmax is missing: the threshold is on weights, not on inner products",
            ),
            (tau * (weights < tau), "the other way round: what is above τ passes"),
        )
        expected = threshold_attention(Zk, torch.eye(p, dtype=Zk.dtype)[None], tau)[0]
        expect_close(
            answer(Zk, tau),
            expected,
            f"for {n} tokens, τ = {tau}",
            hint="softmax of each row of Zk Zkᵀ first",
        )
    return "Right: from τ = ½ on, a row has one entry at most."


@checker
def check_depth(answer):
    """`answer(delta, n, p, step, tau)` is the number of layers for which the estimate lets the rate hold."""
    for delta, n, p, step, tau in [
        (0.1, 256, 64, 0.5, 0.9),
        (0.02, 100, 30, 0.2, 0.8),
        (0.05, 4000, 49, 1.0, 0.7),
    ]:
        rate, limit, loud = 1 + step * tau, math.sqrt(math.log(n)), delta * math.sqrt(p)

        def held(loud=loud, rate=rate, limit=limit):
            return sum(loud * rate**layer < limit for layer in range(1000))

        got = answer(delta, n, p, step, tau)
        expect(isinstance(got, int) or float(got).is_integer(), f"a number of layers is whole; got {got}")
        what = f"for δ = {delta}, n = {n}, p = {p}, η = {step}, τ = {tau}"
        for wrong, name in (
            (held() - 1, "one too few: the first layer begins with (1 + ητ)⁰ = 1, so count from zero"),
            (
                held() + 1,
                "one too many: count the layers that begin below the bound, not those that end above it",
            ),
            (held(loud=delta * p), "δ stands with √p, not with p"),
            (held(loud=delta), "√p is missing: the longer a signal, the larger its inner product with noise"),
            (held(limit=math.log(n)), "the bound is the root of log n"),
            (held(rate=1 + step), "a layer multiplies the signal by 1 + ητ, not by 1 + η"),
        ):
            if int(got) == wrong != held():
                raise NotYet(f"{what}: {name}")
        expect(int(got) == held(), f"{what}: expected {held()}, got {got}")
    expect(
        int(answer(0.5, 256, 64, 0.5, 0.9)) == 0,
        "with δ√p above √log n before the first layer, no layer is safe",
    )
    return "Right. Twice the noise costs log 2 / log(1 + ητ) layers, whatever the sizes."


@checker
def check_second_term(answer):
    """`answer(Zk, gamma)` is the gradient of the second-order term of one head's rate."""
    for seed, gamma in [(0, 0.7), (1, 0.2)]:
        drawn = mixture_with_crosstalk(6, d=6, K=2, p=3, crosstalk=0.5, seed=seed)
        Zk = (drawn.tokens @ drawn.bases[0]).clone().requires_grad_()
        term = -(gamma * Zk @ Zk.T).square().sum() / 4
        (expected,) = torch.autograd.grad(term, Zk)
        Zk = Zk.detach()
        got, GZ = answer(Zk, gamma), Zk @ Zk.T @ Zk
        name_the_mistake(
            got,
            (-expected, "the sign: the series is log(1 + x) = x − x²/2 + …, so this term has a minus"),
            (
                2 * expected,
                "twice too long: with the ½ of the rate and the ½ of the series there is a ¼ in front",
            ),
            (expected / 2, "half too long: G holds Zk twice, so the chain rule gives 4, not 2"),
            (expected / gamma, "γ enters squared: the term is quadratic in γG"),
            (
                gamma * Zk - gamma**2 * GZ,
                "this is the gradient of both terms; the second alone was asked for",
            ),
            (gamma * Zk, "this is the first-order term"),
            (-(gamma**2) * (Zk @ Zk.T), "this is −γ²G: multiply by Zk, so that the result has its shape"),
        )
        expect_close(got, expected, f"for 6 tokens, γ = {gamma}", hint="−γ² G Zk with G = Zk Zkᵀ")
    return "Right: a step against it adds γ² G Zk, attention without a softmax, with a plus."
