"""Checkers of chapter 04: sparsification becomes a ReLU."""

from __future__ import annotations

import torch

from crate_mini.exercises import checker, expect, expect_close
from crate_mini.sparsification import ista_step, largest_step, lasso_objective, proximal_step, sparse_codes


def _normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def _near(got: object, wanted: torch.Tensor) -> bool:
    return isinstance(got, torch.Tensor) and got.shape == wanted.shape and torch.allclose(got, wanted)


def _layer(Y: torch.Tensor, W: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.relu(Y @ W.T + b)


@checker
def check_prox_of_count(answer):
    """`answer(v, tau)` is the z that makes ½(z − v)² + tau·[z ≠ 0] smallest, entry by entry."""
    v = torch.linspace(-3, 3, 60, dtype=torch.float64)
    for tau in (0.3, 1.1):
        got = answer(v.clone(), tau)
        expect(
            not _near(got, torch.where(v.abs() > tau, v, 0)),
            "you keep what is larger than tau; but setting z = 0 costs v²/2, not |v|. Compare that with tau",
        )
        expect(
            not _near(got, torch.where(v**2 > tau, v, 0)),
            "there is a ½ in front of the square: compare v²/2 with tau",
        )
        shrunk = v.sign() * (v.abs() - tau).clamp(min=0)
        expect(
            not _near(got, shrunk),
            "that is the soft threshold. The count costs the same for every z that is not zero, so nothing is gained "
            "by shrinking what stays",
        )
        expect(
            not _near(got, torch.where((v**2 / 2 > tau) & (v > 0), v, 0)),
            "negative v may be kept too: this cost does not forbid a sign",
        )
        expect_close(
            got,
            torch.where(v**2 / 2 > tau, v, 0),
            f"for tau = {tau}",
            hint="compare the two costs: tau for z = v, and v²/2 for z = 0",
        )
    return (
        "Right. It keeps v untouched or drops it, and jumps at |v| = √(2 tau); hence the name hard threshold."
    )


@checker
def check_paper_settings(answer):
    """`answer(eta, lam)` gives the step and the price that make a step on ‖y − Dz‖² + λ'‖z‖₁ the same layer."""
    Y, D = _normal(6, 5), _normal(5, 5)
    for eta, lam in ((0.1, 0.1), (0.3, 0.7)):
        got = answer(eta, lam)
        expect(
            isinstance(got, tuple | list) and len(got) == 2,
            "return two numbers, the step and the price: (eta', lam')",
        )
        step, price = (float(value) for value in got)
        # a proximal step on the objective without the half: its gradient is twice as steep
        theirs = torch.relu(Y + step * 2 * (Y - Y @ D.T) @ D - step * price)
        if not _near(theirs, ista_step(Y, D, eta, lam)):
            expect(
                abs(2 * step - eta) < 1e-9,
                f"for eta = {eta} your step is {step:g}: the gradient is twice as steep, so the step must be "
                "half as long to go the same way",
            )
            expect(
                abs(step * price - eta * lam) < 1e-9,
                f"your step is right, but it subtracts eta'·lam' = {step * price:g} where the layer subtracts "
                f"{eta * lam:g}",
            )
    return (
        "Right. What the released code calls eta = lam = 0.1 is, for the objective as printed, 0.05 and 0.2."
    )


@checker
def check_norm_squared(answer):
    """`answer(D, steps)` is the largest eigenvalue of D*D by that many multiplications."""
    for d, m in ((6, 6), (4, 9)):
        D = _normal(d, m)
        wanted = torch.linalg.matrix_norm(D, 2) ** 2
        got = torch.as_tensor(answer(D, 300)).double()
        expect(got.numel() == 1, f"one number is expected, got shape {tuple(got.shape)}")
        expect(
            bool(torch.isfinite(got)),
            "the vector overflowed: scale it to length one after each multiplication",
        )
        expect(not torch.isclose(got, wanted.sqrt(), rtol=1e-3), "that is ‖D‖; its square is asked for")
        expect(
            not torch.isclose(got, wanted**2, rtol=1e-3),
            "that is ‖D‖⁴: measure ‖Dv‖², not ‖D*Dv‖², for the last v of length one",
        )
        expect(
            not torch.isclose(got, D.square().sum(), rtol=1e-3),
            "that is the sum of all squared entries, the sum of all eigenvalues and not the largest",
        )
        expect_close(
            got.squeeze(),
            wanted,
            f"for a {d} × {m} matrix",
            rtol=1e-4,
            hint="does v have length one at the end?",
        )
    D = torch.diag(torch.tensor([1.0, 2.0, 2.1], dtype=torch.float64))
    expect(
        float(answer(D, 1)) < 2.1**2 - 1e-4,
        "after a single multiplication the estimate is already exact: `steps` is not used",
    )
    return "Right. It never overestimates, and converges like (second eigenvalue / first) to the power of 2·steps."


@checker
def check_dictionary_of(answer):
    """`answer(M, eta)` is a symmetric D with I + eta D − eta D'D = M, for a symmetric M below 1 + eta/4."""
    eye = torch.eye(6, dtype=torch.float64)
    for eta in (0.1, 0.8):
        Q = torch.linalg.qr(_normal(6, 6)).Q
        values = 1 + eta / 4 - 2 * torch.rand(6, dtype=torch.float64)
        M = Q @ torch.diag(values) @ Q.T
        D = answer(M.clone(), eta)
        expect(isinstance(D, torch.Tensor) and D.shape == M.shape, "a matrix of the shape of M is expected")
        expect(bool(torch.isfinite(D).all()), "there are NaN in it: a square root of a negative number?")
        expect(
            torch.allclose(D, D.T, atol=1e-7),
            "your D is not symmetric: D = V diag(…) V' needs V on both sides",
        )
        made = eye + eta * D - eta * D.T @ D
        E = D - eye / 2
        if not torch.allclose(made, M, atol=1e-7):
            F = D  # what they returned may be E itself, or its square
            expect(
                not torch.allclose((1 + eta / 4) * eye - eta * F @ F, M, atol=1e-7),
                "that is E; the dictionary is D = E + I/2",
            )
            expect(
                not torch.allclose((1 + eta / 4) * eye - eta * E, M, atol=1e-7),
                "E² stands in the equation: take its square root",
            )
        expect_close(
            made,
            M,
            f"for eta = {eta}, M made again from your D",
            atol=1e-7,
            hint="with D = E + I/2 it must hold that eta E² = (1 + eta/4) I − M",
        )
    return "Right. The square root has a choice of sign for every eigenvector, so 2^d dictionaries make this matrix."


@checker
def check_descend(answer):
    """`answer(Y, D, lam, steps)` is the code after that many steps of ISTA from zero, at the longest safe step."""
    for n, d, m in ((5, 6, 6), (3, 4, 7)):
        Y, D, lam = _normal(n, d), _normal(d, m), 0.4
        path = sparse_codes(Y, D, lam)
        wanted = [next(path) for _ in range(31)]
        start = answer(Y, D, lam, 0)
        expect(
            not torch.as_tensor(start).any(),
            "after 0 steps the code must be the one you start from, all zeros",
        )
        got = answer(Y, D, lam, 1)
        bound = largest_step(D)
        none = torch.zeros(n, m, dtype=torch.float64)
        expect(
            not _near(got, proximal_step(none, Y, D, bound, lam / bound)),
            "the threshold is step·lam, not lam",
        )
        expect(not _near(got, proximal_step(none, Y, D, bound, 0.0)), "lam does nothing in your function")
        expect(
            not _near(got, proximal_step(none, Y, D, bound, lam, proximal="soft")),
            "that is the soft threshold: codes must not be negative",
        )
        expect(
            not _near(got, proximal_step(none, Y, D, bound**0.5, lam)),
            "the step is 1/‖D‖²; you seem to use 1/‖D‖",
        )
        expect(
            d != m or not _near(got, torch.relu(bound * (Y @ D.T - lam))),
            "D and its transpose are exchanged: for rows, D*(y − Dz) is (Y − Z Dᵀ) D",
        )
        expect_close(
            got,
            wanted[1],
            f"one step, {n} tokens in {d} dimensions and {m} atoms",
            hint="go to z + step·D*(y − Dz), then take ReLU(· − step·lam)",
        )
        got = answer(Y, D, lam, 30)
        expect(
            not _near(got, wanted[1]),
            "thirty steps give the same as one: does each step start from the last code?",
        )
        expect_close(
            got, wanted[30], "after 30 steps", hint="the residual must be computed anew in every step"
        )
        expect(
            bool((lasso_objective(Y, D, got, lam) <= lasso_objective(Y, D, none, lam)).all()),
            "the objective is higher than at the start",
        )


@checker
def check_fold(answer):
    """`answer(D, eta, lam)` gives W and b with relu(F.linear(y, W, b)) = ISTA(y)."""
    for eta, lam in ((0.1, 0.1), (0.4, 0.5)):
        Y, D = _normal(7, 5), _normal(5, 5)
        got = answer(D, eta, lam)
        expect(isinstance(got, tuple | list) and len(got) == 2, "return a matrix and a vector: (W, b)")
        W, b = got
        expect(isinstance(W, torch.Tensor) and W.shape == (5, 5), "W must be a matrix of the shape of D")
        b = torch.as_tensor(b, dtype=Y.dtype)
        expect(
            b.shape in ((5,), ()),
            f"b must have one entry for each of the 5 channels, got shape {tuple(b.shape)}",
        )
        wanted = ista_step(Y, D, eta, lam)
        expect(
            not _near(_layer(Y, W.T, b), wanted),
            "W is transposed: F.linear(y, W) is y Wᵀ, so W must be M transposed",
        )
        expect(not _near(_layer(Y, W, -b), wanted), "the threshold is subtracted: b = −eta·lam")
        expect(not _near(_layer(Y, W, b * eta), wanted), "the threshold is eta·lam, not lam")
        expect_close(
            _layer(Y, W, b), wanted, f"for eta = {eta}, lam = {lam}", hint="use M = I + eta D − eta D'D"
        )
    return "Right: an ISTA layer is a linear layer and a ReLU, whose weight is built from D."
