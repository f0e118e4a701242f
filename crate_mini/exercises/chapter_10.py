"""Checkers of chapter 10, MaskCut: the graph, what a cut costs, the cheap product, the eigenvector, AP."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from crate_mini.average_precision import precision_at_recalls
from crate_mini.exercises import checker, expect, expect_close, name_the_mistake
from crate_mini.maskcut import neighbours


def _tensor(got: object) -> Tensor:
    return torch.as_tensor(got).detach().double()


@checker
def check_graph(answer):
    """`answer(features, tau)` is the 0/1 matrix that joins patches whose features have a cosine above tau."""
    features = torch.randn(12, 6) * torch.rand(12, 1).mul(3)
    S = neighbours(features, 0.15).double()
    unit = F.normalize(features, dim=-1)
    got = _tensor(answer(features, 0.15))
    without = S - torch.eye(12, dtype=torch.float64)
    name_the_mistake(
        got,
        (features @ features.mT > 0.15, "features have to be scaled to length one first: these are dot products"),
        ((unit @ unit.mT).abs() > 0.15, "the sign counts: opposite features are not alike"),
        (unit @ unit.mT, "those are the cosines; joined or not is 1 or 0"),
        (without, "a patch is joined to itself: its cosine with itself is 1"),
        (unit @ unit.mT < 0.15, "joined are those above tau, not those below"),
    )  # fmt: skip
    expect_close(got, S, "for 12 patches with 6 features and tau = 0.15")
    return "Right. Lengths do not matter any more, only directions."


@checker
def check_cost(answer):
    """`answer(A, side)` is the normalised cut of the graph A into `side` (a boolean vector) and the rest."""
    W = torch.rand(9, 9, dtype=torch.float64)
    A = (W + W.T) / 2 + torch.eye(9, dtype=torch.float64)
    side = torch.tensor([True] * 3 + [False] * 6)
    cut, degrees = A[side][:, ~side].sum(), A.sum(1)
    volumes = degrees[side].sum(), degrees[~side].sum()
    inner = A[side][:, side].sum(), A[~side][:, ~side].sum()
    expected = cut / volumes[0] + cut / volumes[1]
    got = _tensor(answer(A, side))
    expect(got.ndim == 0, f"one number is the answer; got shape {tuple(got.shape)}")
    name_the_mistake(
        got,
        (cut, "that is what the cut severs; divide it by the volume of each side, and add"),
        (cut / volumes[0], "and the other side? The cost is the sum over both"),
        (cut / volumes[1], "and the side itself? The cost is the sum over both"),
        (2 * expected, "every severed pair is counted once, from one side to the other"),
        (cut / 3 + cut / 6, "the volume of a side is the sum of its degrees, not the number of its patches"),
        (cut / inner[0] + cut / inner[1], "the volume counts all that a side is joined to, the other side included"),
        (cut / min(volumes), "that is another measure (conductance); here both sides are added"),
    )  # fmt: skip
    expect_close(got, expected, "for a graph of 9 patches")
    expect_close(answer(A, ~side), expected, "with the two sides exchanged", hint="the cost is the same")
    return "Right. A small side pays: its volume stands below the line."


@checker
def check_product(answer):
    """`answer(S, alive, eps, x)` is A x for A = eps + (1 - eps) S without its painted rows and columns."""
    S = (torch.rand(10, 10, dtype=torch.float64) > 0.5).double()
    S = ((S + S.T + torch.eye(10, dtype=torch.float64)) > 0).double()
    alive = torch.ones(10, dtype=torch.float64)
    alive[[2, 3, 7]] = 0
    x, eps = torch.randn(10, dtype=torch.float64), 0.03
    joined = alive * (S @ (alive * x))
    expected = eps * x.sum() + (1 - eps) * joined
    got = _tensor(answer(S, alive, eps, x))
    name_the_mistake(
        got,
        ((1 - eps) * joined, "every patch has affinity eps to every other: one sum of x is missing"),
        (eps * x.sum() + joined, "where S is 1 the affinity is 1, not 1 + eps: weigh S by 1 - eps"),
        (eps * x.sum() + (1 - eps) * (S @ (alive * x)), "painted patches have no neighbours: switch rows off too"),
        (eps * x.sum() + (1 - eps) * alive * (S @ x), "patches have no painted neighbours: switch off columns too"),
        (eps * x.sum() + (1 - eps) * (S @ x), "painted patches are still joined: use `alive`"),
        (eps * (alive * x).sum() + (1 - eps) * joined, "painted patches keep the affinity eps to all: sum all of x"),
        (eps * x + (1 - eps) * joined, "eps stands in every entry of A, not on its diagonal alone"),
    )  # fmt: skip
    expect_close(got, expected, "for 10 patches, three of them painted")

    big = torch.zeros(4000, 4000)
    got = answer(big, torch.ones(4000), 1e-5, torch.ones(4000))
    expect_close(got, torch.full((4000,), 0.04), "for 4000 patches that nothing joins", rtol=1e-4)
    return "Right. A product with zeros and ones and one sum: that is all a solver needs."


@checker
def check_vector(answer):
    """`answer(A)` is the second eigenvector of (D - A) v = lambda D v; sign and length do not matter."""
    features = torch.randn(14, 5, dtype=torch.float64)
    features[:5] += torch.tensor([3.0, 0, 0, 0, 0], dtype=torch.float64)
    A = neighbours(features).double().clamp(min=1e-5)
    degrees = A.sum(1)
    root = degrees.rsqrt()
    M = root[:, None] * A * root
    u = torch.linalg.eigh(M).eigenvectors
    v = F.normalize(root * u[:, -2], dim=0)
    L = torch.diag(degrees) - A
    got = _tensor(answer(A))
    expect(got.shape == (14,), f"one entry a patch is the answer, shape (14,); got {tuple(got.shape)}")
    expect(bool(torch.isfinite(got).all()) and got.norm() > 0, "the vector must be finite and not zero")

    def same(other: Tensor) -> bool:
        return bool((F.normalize(got, dim=0) @ F.normalize(other, dim=0)).abs() > 1 - 1e-6)

    for wrong, said in (
        (
            torch.ones(14, dtype=torch.float64),
            "that is the first one, the constant vector: it cuts nothing. Take the second",
        ),
        (
            u[:, -1],
            "that is the first one, the square roots of the degrees: it cuts nothing. Take the second",
        ),
        (
            u[:, -2],
            "that is an eigenvector of the normalised affinity; divide it by the square roots of the degrees",
        ),
        (root * u[:, 0], "that belongs to the other end of the spectrum"),
        (
            torch.linalg.eigh(L).eigenvectors[:, 1],
            "that is the second eigenvector of D - A alone; the degrees on the right are missing",
        ),
        (
            torch.linalg.eigh(A).eigenvectors[:, -2],
            "that is an eigenvector of A itself: normalise by the degrees first",
        ),
    ):
        expect(same(v) or not same(wrong), said)
    expect(same(v), "this is not the second eigenvector: (D - A) v and D v should be multiples of each other")
    return "Right."


@checker
def check_ap(answer):
    """`answer(hits, objects)` is the average precision of predictions sorted best first, at 101 recalls."""
    hits = [True, False, True, True, False, False, True]
    for objects in (4, 6):
        expected = precision_at_recalls(torch.tensor(hits).numpy(), objects).mean().item()
        found = torch.tensor(hits).cumsum(0)
        precision = found / torch.arange(1, 8)
        at = [precision[k].item() for k in range(7) if hits[k]]
        got = _tensor(answer(hits, objects))
        expect(got.ndim == 0, f"one number is the answer; got shape {tuple(got.shape)}")
        recalls = torch.linspace(0, 1, 101, dtype=torch.float64)
        plain = [
            precision[int((found / objects >= r).nonzero()[0])].item() if (found / objects >= r).any() else 0
            for r in recalls
        ]
        name_the_mistake(
            got,
            (precision[-1].item(), "that is the precision of all predictions together"),
            (
                sum(at) / objects,
                "that is the sum over hits, the other usual definition; here read the best precision at 101 recalls",
            ),
            (
                sum(at) / len(at),
                "objects that were not found count as well: beyond the last recall precision is 0",
            ),
            (sum(plain) / 101, "at each recall take the best precision at this recall or any larger one"),
            (found[-1].item() / objects, "that is the recall in the end"),
        )
        expect_close(got, expected, f"for 4 hits among 7 predictions and {objects} objects", rtol=1e-6)
    expect_close(answer([], 3), 0.0, "without any prediction")
    return "Right. Put a miss first instead of last, and see what it costs."
