"""Wrong answers to the exercises of chapter 10, each with the message that it should get."""

import torch
import torch.nn.functional as F


def cosines(features):
    unit = F.normalize(features, dim=-1)
    return unit @ unit.mT


def parts(A, side):
    return A[side][:, ~side].sum(), A[side].sum(), A[~side].sum()


def normalised(A):
    root = A.sum(1).rsqrt()
    return torch.linalg.eigh(root[:, None] * A * root).eigenvectors, root


def mean_of_hits(hits, objects):
    found, at = 0, []
    for k, hit in enumerate(hits, 1):
        found += hit
        at += [found / k] * hit
    return sum(at) / objects if at else 0.0


def without_envelope(hits, objects):
    found = torch.tensor(hits or [False]).cumsum(0)
    precision, recall = found / torch.arange(1, len(found) + 1), found / objects
    at = [
        precision[(recall >= r).nonzero()[0, 0]].item() if (recall >= r).any() else 0.0
        for r in torch.linspace(0, 1, 101, dtype=torch.float64)
    ]
    return sum(at) / 101


WRONG = {
    "check_graph": [
        (lambda f, t: (f @ f.mT > t).float(), "length one first"),
        (lambda f, t: (cosines(f).abs() > t).float(), "opposite features"),
        (lambda f, t: cosines(f), "those are the cosines"),
        (lambda f, t: (cosines(f) > t).float() - torch.eye(len(f)), "joined to itself"),
        (lambda f, t: (cosines(f) < t).float(), "not those below"),
        (lambda f, t: (cosines(f) > t).float()[0], "expected shape"),
    ],
    "check_cost": [
        (lambda A, s: parts(A, s)[0], "divide it by the volume"),
        (lambda A, s: parts(A, s)[0] / parts(A, s)[1], "the other side"),
        (lambda A, s: parts(A, s)[0] / s.sum() + parts(A, s)[0] / (~s).sum(), "the sum of its degrees"),
        (
            lambda A, s: parts(A, s)[0] / A[s][:, s].sum() + parts(A, s)[0] / A[~s][:, ~s].sum(),
            "the other side included",
        ),
        (lambda A, s: 2 * sum(parts(A, s)[0] / v for v in parts(A, s)[1:]), "counted once"),
        (lambda A, s: A.sum(1), "one number"),
    ],
    "check_product": [
        (lambda S, a, e, x: (1 - e) * a * (S @ (a * x)), "one sum of x is missing"),
        (lambda S, a, e, x: e * x.sum() + a * (S @ (a * x)), "1 - eps"),
        (lambda S, a, e, x: e * x.sum() + (1 - e) * (S @ (a * x)), "rows off too"),
        (lambda S, a, e, x: e * x.sum() + (1 - e) * a * (S @ x), "columns too"),
        (lambda S, a, e, x: e * x.sum() + (1 - e) * (S @ x), "use `alive`"),
        (lambda S, a, e, x: e * x + (1 - e) * a * (S @ (a * x)), "every entry of A"),
    ],
    "check_vector": [
        (lambda A: torch.ones(len(A)), "the constant vector"),
        (lambda A: normalised(A)[0][:, -1], "square roots of the degrees: it cuts nothing"),
        (lambda A: normalised(A)[0][:, -2], "divide it by the square roots"),
        (lambda A: torch.linalg.eigh(torch.diag(A.sum(1)) - A).eigenvectors[:, 1], "D - A alone"),
        (lambda A: torch.linalg.eigh(A).eigenvectors[:, -2], "A itself"),
        (lambda A: A, "one entry a patch"),
    ],
    "check_ap": [
        (lambda hits, objects: sum(hits) / max(len(hits), 1), "all predictions together"),
        (mean_of_hits, "sum over hits"),
        (without_envelope, "any larger one"),
        (lambda hits, objects: sum(hits) / objects, "the recall in the end"),
        (lambda hits, objects: torch.tensor(hits), "one number"),
    ],
}
