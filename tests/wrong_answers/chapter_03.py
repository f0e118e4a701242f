"""Wrong answers to the exercises of chapter 03, each with what its checker should say."""

import torch


def eye(n):
    return torch.eye(n, dtype=torch.float64)


def gradient(Z, Uk, gamma):
    Zk = Z @ Uk
    return gamma * torch.linalg.solve(eye(len(Z)) + gamma * Zk @ Zk.T, Zk) @ Uk.T


def strongest(Z, U):
    return torch.stack([torch.linalg.matrix_norm(Z @ Uk, 2) for Uk in U])


def squares(x, U):
    return torch.stack([(Uk.T @ x).square().sum() for Uk in U])


def mixed(x, U, scores):
    return sum(w * Uk @ (Uk.T @ x) for w, Uk in zip(scores.softmax(0), U, strict=True))


WRONG = {
    "check_ridge_weights": [
        (lambda Zk, g: torch.linalg.inv(eye(len(Zk)) + g * Zk @ Zk.T), "the residual, not the prediction"),
        (lambda Zk, g: Zk @ Zk.T @ torch.linalg.inv(eye(len(Zk)) + g * Zk @ Zk.T), "one factor γ is missing"),
        (lambda Zk, g: g * Zk @ Zk.T, "the inverse is missing"),
        (lambda Zk, g: g * Zk @ Zk.T / (eye(len(Zk)) + g * Zk @ Zk.T), "off by up to"),
        (lambda Zk, g: g * Zk @ Zk.T @ (1 / (eye(len(Zk)) + g * Zk @ Zk.T)), "inverts each entry"),
        (
            lambda Zk, g: g * Zk.T @ Zk @ torch.linalg.inv(eye(Zk.shape[1]) + g * Zk.T @ Zk),
            r"expected shape \(6, 6\), got \(3, 3\)",
        ),
    ],
    "check_head_gradient": [
        (lambda Z, U, e: gradient(Z, U, Z.shape[1] / (len(Z) * e)), "γ has p, .* where you have d"),
        (lambda Z, U, e: 2 * gradient(Z, U, U.shape[1] / (len(Z) * e)), "twice too long"),
        (lambda Z, U, e: gradient(Z, U, U.shape[1] / (len(Z) * e)) / 2, "half too long"),
        (lambda Z, U, e: -gradient(Z, U, U.shape[1] / (len(Z) * e)), "negative gradient"),
        (lambda Z, U, e: gradient(Z, U, U.shape[1] / (len(Z) * e)) @ U, "Lift it back with Ukᵀ"),
        (lambda Z, U, e: U.shape[1] / (len(Z) * e) * Z @ U @ U.T, "the inverse is missing"),
    ],
    "check_smallest_eps_sq": [
        (lambda Z, U: U.shape[-1] / len(Z) * strongest(Z, U).max(), "enters squared"),
        (lambda Z, U: U.shape[1] / len(Z) * strongest(Z, U).max() ** 2, "where you have d"),
        (lambda Z, U: U.shape[-1] / len(Z) * (strongest(Z, U) ** 2).mean(), "the worst head decides"),
        (lambda Z, U: U.shape[-1] / len(Z) * torch.linalg.matrix_norm(Z, 2) ** 2, "those of the Zk"),
        (lambda Z, U: 1 / len(U), "the least it can be"),
        (lambda Z, U: len(Z) / U.shape[-1] / strongest(Z, U).max() ** 2, "upside down"),
    ],
    "check_gather_one_head": [
        (lambda Zk, beta: (beta * Zk @ Zk.T).softmax(0) @ Zk, "the papers' axis"),
        (lambda Zk, beta: (beta * Zk @ Zk.T).softmax(-1), "these are the weights"),
        (lambda Zk, beta: beta * Zk @ Zk.T @ Zk, "the softmax is missing"),
        (lambda Zk, beta: (Zk @ Zk.T).softmax(-1) @ Zk, "β is not used"),
        (lambda Zk, beta: (beta * Zk @ Zk.T / Zk.shape[1] ** 0.5).softmax(-1) @ Zk, "the network's β"),
    ],
    "check_same_point": [
        (lambda t: (1 + t, t), "M has|weight of Z"),
        (lambda t: (1, t), "Z gets"),
        (lambda t: (2, t / 2), "Z gets|weight of Z"),
        (lambda t: 1 + t, "return two numbers"),
        (lambda t: (1 / (1 + t), t / (1 + t)), "weight of Z and must be 1"),
    ],
    "check_denoise_token": [
        (lambda x, U, s: mixed(x, U, squares(x, U) / s**2), "the 2 is missing"),
        (lambda x, U, s: mixed(x, U, squares(x, U).sqrt() / (2 * s**2)), "‖Uᵀx‖ enters squared"),
        (lambda x, U, s: mixed(x, U, -squares(x, U) / (2 * s**2)), "the sign is wrong"),
        (lambda x, U, s: mixed(x, U, squares(x, U)), "sigma is not used"),
        (lambda x, U, s: sum(Uk @ (Uk.T @ x) for Uk in U), "the weights are missing"),
        (
            lambda x, U, s: U[squares(x, U).argmax()] @ (U[squares(x, U).argmax()].T @ x),
            "nearest subspace alone",
        ),
    ],
}
