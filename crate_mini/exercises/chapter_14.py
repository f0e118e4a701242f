"""Checkers of chapter 14, operators of later papers: two steps, memberships, what can be gathered, what is counted."""

from __future__ import annotations

import torch

from crate_mini.compression import token_statistics
from crate_mini.exercises import checker, expect, expect_close, name_the_mistake
from crate_mini.sparsification import odl, proximal_step


@checker
def check_two_steps(answer):
    """`answer(y, D, D1, step, lam)` is ODL of tokens y (n, d), dictionaries (d, m): two steps from zero, and back."""
    for n, d, m in [(4, 3, 12), (5, 6, 6)]:
        y, D, D1 = (torch.randn(*shape, dtype=torch.float64) / 2 for shape in ((n, d), (d, m), (d, m)))
        step, lam = 0.1, 0.2
        expected = odl(y, D, D1, step, lam)
        zero = torch.zeros(n, m, dtype=torch.float64)
        one = proximal_step(zero, y, D, step, lam)
        two = proximal_step(one, y, D, step, lam)
        got = answer(y, D, D1, step, lam)
        suspects = [
            (two, "this is the code; the operator returns what the code says, in the second dictionary"),
            (two @ D.mT, "the way back is by D1, not by D"),
            (one @ D1.mT, "that is one step: take another from where you are"),
            (odl(y, D, D1, step, lam, steps=3) if m > d else one @ D1.mT, "that is three steps"),
            (y + expected, "the skip connection is the block's; return the move alone"),
            (_wrong_threshold(y, D, D1, step, lam), "what is taken off is the step times lam, not lam"),
        ]
        name_the_mistake(got, *suspects)
        expect_close(got, expected, f"for {n} tokens in {d} dimensions, {m} atoms")
    return "Right. Four products with the tokens, if D'y is formed once: twice those of an MLP of that width."


def _wrong_threshold(y, D, D1, step, lam):
    return odl(y, D, D1, step, lam / step)


@checker
def check_memberships(answer):
    """`answer(Zk, tau)` is Pi (K, n) of coordinates Zk (K, n, p): the softmax over heads of tau times the energies."""
    for K, n, p in [(3, 7, 2), (4, 5, 4)]:
        Zk = torch.randn(K, n, p, dtype=torch.float64)
        tau = 2.5
        expected = token_statistics(Zk, torch.full((K,), tau, dtype=torch.float64))[0]
        got = torch.as_tensor(answer(Zk, tau))
        square = Zk.square()
        share = square / square.sum(-2, keepdim=True)
        name_the_mistake(
            got,
            ((tau * share.sum(-1)).softmax(-1), "the softmax is over the heads, not over the tokens"),
            (
                (tau * (square / square.sum(-1, keepdim=True)).sum(-1)).softmax(0),
                "a channel's shares sum to one over the tokens, not over the channels of a token",
            ),
            ((tau * square.sum(-1)).softmax(0), "divide every channel by its sum over the tokens first"),
            (share.sum(-1).softmax(0), "the temperature is missing"),
            (
                (tau * share.mean(-1)).softmax(0),
                "add the shares of a head's channels up; yours is their mean",
            ),
            (
                (tau * n * share.sum(-1)).softmax(0),
                "that is the energy by the mean over tokens; here it is by their sum",
            ),
        )
        expect_close(got, expected, f"for {K} heads, {n} tokens, {p} channels")
    return "Right. With one token all energies are p, and every head gets the same."


@checker
def check_what_others_change(answer):
    """`answer(attention, Z)` is by how much token 0's update changes, in length, when all other tokens turn sign."""
    from crate_mini.operators import MSSA, TSSA

    for make, name in ((TSSA, "TSSA"), (MSSA, "MSSA")):
        attention = make(12, 3).double().requires_grad_(False)
        Z = torch.randn(2, 6, 12, dtype=torch.float64)
        turned = torch.cat([Z[:, :1], -Z[:, 1:]], 1)
        before, after = attention(Z), attention(turned)
        expected = (after[:, 0] - before[:, 0]).norm(dim=-1)
        kept = Z.clone()
        got = torch.as_tensor(answer(attention, Z)).detach()
        expect(torch.equal(Z, kept), "the tokens that you were given are changed: work on a copy")
        everything = attention(-Z)
        name_the_mistake(
            got,
            *(
                (wrong, said)
                for wrong, said in (
                    (
                        (everything[:, 0] - before[:, 0]).norm(dim=-1),
                        "token 0 itself must stay: turn the sign of all others",
                    ),
                    ((after - before).flatten(1).norm(dim=-1), "the update of token 0 alone is asked for"),
                    (
                        before[:, 0].norm(dim=-1),
                        "that is the length of the update; take the difference of two",
                    ),
                )
                if not torch.allclose(wrong, expected)
            ),
        )
        expect_close(got, expected, name, atol=1e-12)
    return "Right. Zero, to the last digits, for TSSA: a sign is one of the things that no token can tell another."


@checker
def check_crossover(answer):
    """`answer(d, m)` is the number of tokens from which MSSA's two products cost more than its two linear maps."""
    for d, m in [(192, 192), (96, 48), (384, 768), (7, 3)]:
        got = answer(d, m)
        name_the_mistake(
            torch.as_tensor(float(got)),
            *(
                (float(wrong), said)
                for wrong, said in (
                    (2 * d, "there are two maps and two products: 2 n d m against 2 n n m"),
                    (d / 2, "there are two maps and two products: 2 n d m against 2 n n m"),
                    (m, "m stands on both sides: what is left?"),
                    (d * d, "one n cancels"),
                )
                if wrong != d
            ),
        )
        expect_close(float(got), float(d), f"for d = {d} and Kp = {m}")
    return "Right: as many as a token has dimensions, whatever the heads. Below, linear attention has little to save."
