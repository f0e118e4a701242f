"""Wrong answers to the exercises of chapter 04, and what each should be told."""

import torch


def overflowing(D, steps):
    v = torch.ones(D.shape[1], dtype=D.dtype)
    for _ in range(steps):
        v = D.T @ (D @ v)
    return (D @ v).square().sum()


def power(D, steps, *, fourth=False, root=False):
    v = torch.ones(D.shape[1], dtype=D.dtype)
    for _ in range(max(steps, 1)):
        v = D.T @ (D @ v)
        v = v / v.norm()
    if fourth:
        return (D.T @ (D @ v)).square().sum()
    return (D @ v).norm() if root else (D @ v).square().sum()


def root_of(M, eta, *, shift=0.5, both=True, root=True):
    eye = torch.eye(len(M), dtype=M.dtype)
    values, vectors = torch.linalg.eigh(((1 + eta / 4) * eye - M) / eta)
    middle = torch.diag(values.clamp(min=0).sqrt() if root else values)
    return vectors @ middle @ (vectors.T if both else eye) + shift * eye


def descend(Y, D, lam, steps, *, threshold=None, norm=2, again=True, clip=True, swap=False):
    Z = torch.zeros(len(Y), D.shape[1], dtype=Y.dtype)
    step = 1 / torch.linalg.matrix_norm(D, 2) ** norm
    for _ in range(steps):
        start = Z if again else torch.zeros_like(Z)
        A = D.T if swap and D.shape[0] == D.shape[1] else D
        V = start + step * ((Y - start @ A.T) @ A)
        tau = step * lam if threshold is None else threshold
        Z = torch.relu(V - tau) if clip else torch.nn.functional.softshrink(V, float(tau))
    return Z


def matrix(D, eta):
    return torch.eye(len(D), dtype=D.dtype) + eta * D - eta * D.T @ D


def bias(D, value):
    return torch.full((len(D),), value, dtype=D.dtype)


WRONG = {
    "check_prox_of_count": [
        (lambda v, tau: torch.where(v.abs() > tau, v, 0), r"costs v²/2, not \|v\|"),
        (lambda v, tau: torch.where(v**2 > tau, v, 0), "there is a ½"),
        (lambda v, tau: torch.relu(v.abs() - tau) * v.sign(), "that is the soft threshold"),
        (lambda v, tau: torch.where((v > 0) & (v**2 / 2 > tau), v, 0), "does not forbid a sign"),
        (lambda v, tau: v, "Compare the two costs"),
        (lambda v, tau: ..., "returned nothing"),
    ],
    "check_paper_settings": [
        (lambda eta, lam: (eta, lam), "half as long"),
        (lambda eta, lam: (2 * eta, lam / 2), "half as long"),
        (lambda eta, lam: (eta / 2, lam), "your step is right, but it subtracts"),
        (lambda eta, lam: eta / 2, "two numbers"),
    ],
    "check_norm_squared": [
        (overflowing, "overflowed"),
        (lambda D, steps: power(D, steps, root=True), "its square is asked for"),
        (lambda D, steps: power(D, steps, fourth=True), "‖D‖⁴"),
        (lambda D, steps: D.square().sum(), "sum of all eigenvalues"),
        (lambda D, steps: torch.linalg.eigvalsh(D.T @ D)[-1], "`steps` is not used"),
        (lambda D, steps: power(D, 300), "`steps` is not used"),
        (lambda D, steps: D @ torch.ones(D.shape[1], dtype=D.dtype), "one number is expected"),
    ],
    "check_dictionary_of": [
        (lambda M, eta: root_of(M, eta, shift=0.0), r"that is E; the dictionary is D = E \+ I/2"),
        (lambda M, eta: root_of(M, eta, root=False), "take its square root"),
        (lambda M, eta: root_of(M, eta, both=False), "not symmetric"),
        (lambda M, eta: ((M - torch.eye(len(M), dtype=M.dtype)) / eta).sqrt(), "NaN"),
        (lambda M, eta: M, "M made again from your D"),
    ],
    "check_descend": [
        (lambda Y, D, lam, steps: descend(Y, D, lam, steps, threshold=lam), "the threshold is step·lam"),
        (lambda Y, D, lam, steps: descend(Y, D, 0.0, steps), "lam does nothing"),
        (lambda Y, D, lam, steps: descend(Y, D, lam, steps, clip=False), "must not be negative"),
        (lambda Y, D, lam, steps: descend(Y, D, lam, steps, norm=1), "1/‖D‖² *; you seem to use 1/‖D‖"),
        (lambda Y, D, lam, steps: descend(Y, D, lam, steps, swap=True), "exchanged"),
        (lambda Y, D, lam, steps: descend(Y, D, lam, steps, again=False), "the same as one"),
        (lambda Y, D, lam, steps: descend(Y, D, lam, steps + 1), "after 0 steps"),
    ],
    "check_fold": [
        (lambda D, eta, lam: (matrix(D, eta), bias(D, -eta * lam)), "W is transposed"),
        (lambda D, eta, lam: (matrix(D, eta).T, bias(D, eta * lam)), "the threshold is subtracted"),
        (lambda D, eta, lam: (matrix(D, eta).T, bias(D, -lam)), "eta·lam, not lam"),
        (lambda D, eta, lam: matrix(D, eta), "a matrix and a vector"),
        (lambda D, eta, lam: (eta * D.T, bias(D, -eta * lam)), "Use M = I"),
    ],
}
