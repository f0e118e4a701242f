r"""The second eigenvector of the normalised cut: the usual dense way, and an iterative one for every mask of an image.

:func:`strongest` takes whatever is exact enough and costs least: the whole spectrum of a small graph, Lanczos with a
bound on its error, ARPACK in float64 where pieces hang together by the floor of the affinity alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from scipy.linalg import eigh
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from crate_mini.maskcut.graph import affinity, normalised_product

TOLERANCE = 3e-4  # of the eigenvector's direction: far below what can move a patch over the threshold
NEARLY_APART = 0.99  # an eigenvalue above it: pieces that hang together by EPSILON alone, beyond float32
SMALL = 100  # up to so many patches the whole spectrum costs less than the overhead of iterating
ITERATIONS = 90
CHECK_EVERY = 3

Vector = Float[Tensor, " n"]


def second_eigenvector(
    A: Float[Tensor, "n n"],
) -> tuple[float, Vector]:
    r"""The usual way: :math:`(D - A) v = \lambda D v` as a dense generalised eigenproblem, by SciPy.

    Returns:
        The second smallest eigenvalue and its vector, of length one.
    """
    W = A.double().cpu().numpy()
    D = np.diag(W.sum(1))
    values, vectors = eigh(D - W, D, subset_by_index=[1, 1])
    v = torch.from_numpy(vectors[:, 0])
    return float(values[0]), F.normalize(v, dim=0)


def lanczos(
    product: Callable[[Tensor], Tensor],
    known: Float[Tensor, "b n"],
    start: Float[Tensor, "b n"],
    *,
    tolerance: float = TOLERANCE,
    iterations: int = ITERATIONS,
) -> tuple[Float[Tensor, "b 2"], Float[Tensor, "b 2 n"], Float[Tensor, " b"], int]:
    r"""The two largest eigenvalues of a symmetric map on the complement of one eigenvector that is known.

    Lanczos with full reorthogonalisation. It stops when the first vector is within ``tolerance`` of an
    eigenvector for every member of the batch: the residual over the distance to the next value bounds the error
    (Davis and Kahan).

    Returns:
        Values and vectors, the error bound of the first vector, and the number of products taken.
    """
    noise = torch.Generator().manual_seed(0)
    b, n = start.shape
    iterations = min(iterations, n - 1)
    basis = start.new_zeros(b, iterations + 1, n)
    basis[:, 0] = F.normalize(known, dim=-1)
    T = torch.zeros(b, iterations, iterations, dtype=torch.float64)
    x = start
    for k in range(iterations):
        x = _orthogonal(x, basis[:, : k + 1])
        length = x.norm(dim=-1, keepdim=True)
        # nothing new: this direction is a sum of few eigenvectors; go on with another
        lost = length[:, 0] <= 1e-6 * (1 if k else start.norm(dim=-1))
        if lost.any():
            other = torch.randn(b, n, generator=noise).to(start)
            x = torch.where(lost[:, None], _orthogonal(other, basis[:, : k + 1]), x)
            length = torch.where(lost[:, None], x.norm(dim=-1, keepdim=True), length)
        if k:
            T[:, k, k - 1] = T[:, k - 1, k] = torch.where(lost, 0, length[:, 0]).double().cpu()
        basis[:, k + 1] = x / length
        x = product(basis[:, k + 1])
        T[:, k, k] = (x * basis[:, k + 1]).sum(-1).double().cpu()
        last = k + 1 == iterations
        if k >= 3 and (last or k % CHECK_EVERY == 0):
            x = _orthogonal(x, basis[:, : k + 2])
            values, vectors = torch.linalg.eigh(T[:, : k + 1, : k + 1])
            residual = x.norm(dim=-1).double().cpu() * vectors[:, -1, -1].abs()
            error = residual / (values[:, -1] - values[:, -2]).clamp(min=1e-12)
            if last or bool((error <= tolerance).all()):
                break
    weights = vectors[:, :, [-1, -2]].to(basis)
    return values[:, [-1, -2]], weights.mT @ basis[:, 1 : k + 2], error, k + 1


def strongest(
    S: Tensor, alive: Tensor, eps: float, start: Tensor | None
) -> tuple[list[float], Float[Tensor, "b 2 n"], int]:
    """Second and third eigenvalue's generalised eigenvectors, by whatever is exact enough and costs least."""
    n = S.shape[-1]
    if n <= SMALL:
        A = (1 - eps) * alive[:, :, None].double() * S.double() * alive[:, None].double() + eps
        root = A.sum(-1).rsqrt()
        values, vectors = torch.linalg.eigh(root[:, :, None] * A * root[:, None])
        pair = vectors[:, :, [-2, -3]].mT * root[:, None]
        return values[:, -2].tolist(), F.normalize(pair, dim=-1), 0
    product, degrees = normalised_product(S, alive, eps)
    known = degrees.sqrt()
    noise = torch.randn(n, generator=torch.Generator().manual_seed(1)).to(S)
    if start is None:
        start = noise.expand(len(S), n)
    else:
        # away from the eigenvector's own scale, patches painted over left out, and a little of everything
        start = F.normalize(alive * start * known, dim=-1) + 0.1 * F.normalize(noise, dim=-1)
    values, pair, error, products = lanczos(product, known, start)
    pair = F.normalize(pair.double() / known[:, None].double(), dim=-1)
    pair = _on_painted(pair, values, alive)
    first = values[:, 0].tolist()
    for i in ((error > TOLERANCE) | (values[:, 0] > NEARLY_APART)).nonzero()[:, 0].tolist():
        first[i], pair[i] = _precise(S[i], alive[i], eps, pair[i])
    return first, pair, products


def _on_painted(
    pair: Float[Tensor, "b 2 n"], values: Float[Tensor, "b 2"], alive: Float[Tensor, "b n"]
) -> Tensor:
    """Entries of painted patches, whose degrees are so small that rounding is large there, from all others.

    For a painted patch the eigenproblem reads: mean of v = eigenvalue times its entry. All are equal, so the mean is
    that of the living and of m times this entry.
    """
    n, living = alive.shape[-1], alive[:, None].to(pair)
    scaled = n * values.to(pair)[..., None]
    share = scaled - (1 - living).sum(-1, keepdim=True)
    exact = (pair * living).sum(-1, keepdim=True) / torch.where(share.abs() < 0.02 * n, 1, share)
    rough = pair.sum(-1, keepdim=True) / torch.where(scaled.abs() < 0.02 * n, 1, scaled)
    entry = torch.where(share.abs() < 0.02 * n, rough, exact)
    usable = scaled.abs() >= 0.02 * n
    return F.normalize(torch.where((living > 0) | ~usable, pair, entry), dim=-1)


def _precise(S: Tensor, alive: Tensor, eps: float, guess: Tensor) -> tuple[float, Float[Tensor, "2 n"]]:
    """The same in float64, by ARPACK: for values so close together, or so close to one, that float32 cannot tell."""
    S, alive = S[None].double().cpu(), alive[None].double().cpu()
    product, degrees = normalised_product(S, alive, eps)
    n, known = S.shape[-1], F.normalize(degrees.sqrt(), dim=-1)[0].numpy()

    def deflated(x: np.ndarray) -> np.ndarray:
        # the known vector's eigenvalue, 1, is moved to -1: out of the way of the largest
        y = product(torch.from_numpy(np.ascontiguousarray(x.reshape(1, n))))[0].numpy()
        return y - 2 * known * (known @ x.reshape(n))

    start = guess[0].cpu().numpy() * known + 1e-3 * known.mean() * np.random.default_rng(0).normal(size=n)
    values, vectors = eigsh(
        LinearOperator((n, n), matvec=deflated, dtype=np.float64), k=2, which="LA", v0=start, ncv=min(n, 40)
    )
    order = np.argsort(-values)
    pair = torch.from_numpy(vectors[:, order].T.copy()) / degrees.sqrt()
    return float(values[order[0]]), F.normalize(pair, dim=-1)


def dense(features: Tensor, tau: float, eps: float) -> tuple[float, Tensor]:
    """Second eigenvalue and vector of one image, as it is usually done; numbered as :func:`strongest` has them."""
    value, vector = second_eigenvector(affinity(features, tau, eps))
    return 1 - value, vector


def _orthogonal(x: Tensor, basis: Float[Tensor, "b k n"]) -> Tensor:
    """What of x is orthogonal to the rows of the basis; twice, which is enough."""
    for _ in range(2):
        x = x - ((basis @ x[..., None]).mT @ basis)[:, 0]
    return x
