r"""Figures and facts of chapter 02, rate reduction.

Vectors are rows, ``(n, d)``, of length 1; rates are in nats a vector. :math:`\pi_k` is the share of class k.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor, nn

from crate_mini import figures
from crate_mini.rates import (
    class_coding_rate,
    coding_rate,
    compression_rate,
    compression_rate_gradient,
    mcr2,
    rate_reduction,
    sparse_rate_reduction,
)
from crate_mini.tables import number

CLASS_COLOURS = [figures.COLOURS[name] for name in ("crate", "vit", "crate_mhsa")]
DIGITS_EPS_SQ = 0.5
TWO_LINES = {
    "eps_sq": 0.1,
    "offsets": [
        [-1.4, -0.3, 0.2, 0.9, -0.8, 0.5, 1.3, -0.1, -1.0, 0.7],
        [0.4, -0.6, 1.1, -1.2, 0.0, 0.8, -0.4, 1.5, -0.9, 0.3],
    ],
}
"""For the playground: where the vectors of two classes lie about their lines, and the precision."""

# ---- vectors that move -----------------------------------------------------------------------------------


def ascend(
    features: Callable[[], Tensor],
    parameters: Iterable[Tensor],
    objective: Callable[[Tensor], Tensor],
    steps: int,
    lr: float = 0.05,
) -> Float[Tensor, "n d"]:
    """Gradient ascent (Adam) on ``objective(Z)``, where Z has rows of length 1; returns Z at the end."""
    optimiser = torch.optim.Adam(parameters, lr=lr)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        Z = F.normalize(features(), dim=-1)
        optimiser.zero_grad()
        (-objective(Z)).backward()
        optimiser.step()
        decay.step()
    return F.normalize(features(), dim=-1).detach()


def ascend_freely(Z: Float[Tensor, "n d"], objective: Callable[[Tensor], Tensor], steps: int = 200) -> Tensor:
    """:func:`ascend` with every vector free to move."""
    free = Z.clone().requires_grad_()
    return ascend(lambda: free, [free], objective, steps, lr=0.1)


def filled_directions(Z: Float[Tensor, "n d"]) -> float:
    r"""Directions that a set fills, :math:`(\sum e)^2 / \sum e^2` of its squared singular values e: 1 for a line."""
    energy = torch.linalg.svdvals(Z).square()
    return (energy.sum().square() / energy.square().sum()).item()


def on_a_sphere(eps_sq: float, n: int = 80, seed: int = 3) -> tuple[dict[str, Tensor], Int[Tensor, " n"]]:
    """Two classes in three dimensions: at random places, and moved to raise R, to lower R^c, and to raise R - R^c."""
    y = torch.arange(n) // (n // 2)
    generator = torch.Generator().manual_seed(seed)
    start = F.normalize(torch.randn(n, 3, dtype=torch.float64, generator=generator), dim=-1)
    objectives = {
        "largest $R$": lambda Z: coding_rate(Z, eps_sq),
        "smallest $R^c$": lambda Z: -class_coding_rate(Z, y, eps_sq),
        "largest $R - R^c$": lambda Z: mcr2(Z, y, eps_sq),
    }
    moved = {name: ascend_freely(start, objective) for name, objective in objectives.items()}
    return {"random places": start, **moved}, y


def spheres_figure(arrangements: Mapping[str, Tensor], y: Int[Tensor, " n"], eps_sq: float) -> Figure:
    """Each arrangement on its sphere, one colour a class, with R, R^c and their difference below."""
    fig = plt.figure(figsize=(figures.WIDTH, 2.75))
    u, v = np.mgrid[0 : 2 * np.pi : 19j, 0 : np.pi : 10j]
    globe = np.cos(u) * np.sin(v), np.sin(u) * np.sin(v), np.cos(v)
    for i, (name, Z) in enumerate(arrangements.items()):
        ax = fig.add_subplot(1, len(arrangements), i + 1, projection="3d")
        ax.plot_wireframe(*globe, color="0.8", lw=0.4)
        if (
            i == len(arrangements) - 1
        ):  # turned so that the plane of the larger class is seen from a little above
            larger = max((0, 1), key=lambda k: filled_directions(Z[y == k]))
            Z = Z @ torch.linalg.svd(Z[y == larger]).Vh.T
        for k in (0, 1):
            ax.scatter(*Z[y == k].T.numpy(), color=CLASS_COLOURS[k], s=10)
        ax.set_box_aspect((1, 1, 1), zoom=1.45)
        ax.view_init(22, 35)
        ax.set_axis_off()
        ax.set_title(name, fontsize=11)
        R, Rc = coding_rate(Z, eps_sq).item(), class_coding_rate(Z, y, eps_sq).item()
        text = f"$R$ = {R:.2f}, $R^c$ = {Rc:.2f}\n$R - R^c$ = {R - Rc:.2f}"
        ax.text2D(0.5, -0.08, text, transform=ax.transAxes, ha="center", va="top", fontsize=9.5)
    plt.close(fig)
    return fig


def sphere_facts(
    arrangements: Mapping[str, Tensor], y: Int[Tensor, " n"], eps_sq: float
) -> dict[str, float | int]:
    """The last arrangement: largest cosine between classes, directions of each; R - R^c of all four."""
    *_, Z = arrangements.values()
    small, large = sorted(filled_directions(Z[y == k]) for k in (0, 1))
    gains = [mcr2(A, y, eps_sq).item() for A in arrangements.values()]
    cross = (Z[y == 0] @ Z[y == 1].T).abs().max().item()
    return {"n": len(Z), "cross": cross, "small": small, "large": large, "start": gains[0], "only_R": gains[1],
            "only_Rc": gains[2], "both": gains[3]}  # fmt: skip


# ---- the optimum -----------------------------------------------------------------------------------------


def gain(x: float, share: float) -> float:
    r"""What a direction that one class has to itself adds to :math:`R - R^c`, for its energy and the class's share."""
    return 0.5 * (math.log1p(x) - share * math.log1p(x / share))


def best(r: float | int, d: int, K: int, eps_sq: float) -> float:
    r"""The rate reduction of K equal orthogonal classes with r evenly filled directions each."""
    return K * r * gain(d / (K * r * eps_sq), 1 / K)


def best_r(p: int, d: int, K: int, eps_sq: float) -> int:
    """How many directions, of p at most, are best for each class."""
    return max(range(1, p + 1), key=lambda r: best(r, d, K, eps_sq))


def tangent_point(share: float) -> float:
    """Where the line from the origin touches the gain: the energy at which gain / energy is largest."""
    low, high = math.sqrt(share), 1e3
    for _ in range(100):
        x = (low + high) / 2
        slope = 0.5 * (1 / (1 + x) - 1 / (1 + x / share))
        low, high = (x, high) if gain(x, share) < x * slope else (low, x)
    return x


def precision_limits(K: int, d: int, r: int) -> tuple[float, float]:
    r"""Below the first :math:`\varepsilon^2` r even directions a class are best, below the second a local optimum."""
    touch, bend = tangent_point(1 / K), math.sqrt(1 / K)
    return d / (K * r * touch), d / (K * r * bend)


def scale_facts(
    mixed: Tensor, orthogonal: Tensor, y: Int[Tensor, " n"], eps_sq: float, scale: float = 3
) -> dict[str, float | int]:
    """R - R^c of tangled classes, made longer, and of orthogonal ones of length 1."""
    return {
        "scale": scale,
        "before": mcr2(mixed, y, eps_sq).item(),
        "blown_up": mcr2(scale * mixed, y, eps_sq).item(),
        "fair": mcr2(orthogonal, y, eps_sq).item(),
    }


def progress_figure(
    history: Sequence[tuple[float, float]], X: Tensor, Z: Tensor, y: Int[Tensor, " n"], optimum: float
) -> Figure:
    """R, R^c and their difference by step; and the energy of each direction of a class, before and after."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(figures.WIDTH, 2.5), width_ratios=[1.5, 1])
    whole, parts = np.array(history).T
    left.plot(whole, label="$R$")
    left.plot(parts, label="$R^c$", ls="--")
    left.plot(whole - parts, label="$R - R^c$", lw=2.5)
    left.axhline(optimum, color="0.4", lw=1, ls=":")
    left.text(len(whole), optimum + 0.2, "optimum", ha="right", fontsize=9, color="0.35")
    left.set(xlabel="step", ylabel="nats", ylim=(0, None))
    left.legend(ncols=3, loc="lower right", fontsize=9)
    for k in y.unique():
        for tokens, style in ((X, "o:"), (Z, "o-")):
            energy = torch.linalg.svdvals(tokens[y == k]).square() / (y == k).sum()
            fill = "white" if tokens is X else None
            right.plot(range(1, 7), energy[:6], style, color=CLASS_COLOURS[k], mfc=fill, ms=5)
    right.plot([], [], "o:", color="0.4", mfc="white", label="before")
    right.plot([], [], "o-", color="0.4", label="after")
    right.set(
        xlabel="direction of a class", ylabel="share of its energy", xticks=range(1, 7), ylim=(-0.01, None)
    )
    right.legend(fontsize=9)
    plt.close(fig)
    return fig


def progress_facts(
    history: Sequence[tuple[float, float]],
    X: Tensor,
    Z: Tensor,
    y: Int[Tensor, " n"],
    optimum: float,
    eps_sq: float,
) -> dict[str, float | int]:
    """How near to the optimum, how orthogonal, how even; and where R and R^c began and ended."""
    other, reached = y[:, None] != y, mcr2(Z, y, eps_sq).item()
    p = int(torch.linalg.matrix_rank(X[y == 0]))
    shares = torch.stack([torch.linalg.svdvals(Z[y == k])[:p].square() / (y == k).sum() for k in y.unique()])
    return {
        "off": abs(reached - optimum), "reached": reached, "label": math.log(len(y.unique())),
        "cross_before": (X @ X.T).abs()[other].max().item(), "cross": (Z @ Z.T).abs()[other].max().item(),
        "uneven": (shares - 1 / p).abs().max().item(),
        "Rc_first": history[0][1], "Rc_last": history[-1][1], "R_first": history[0][0], "R_last": history[-1][0],
    }  # fmt: skip


def precision_run(eps_sq: float, d: int, K: int, n: int = 48, seed: int = 0) -> tuple[float, list[float]]:
    """Vectors that climb R - R^c from random places: what they reach, and the directions that each class fills."""
    y = torch.arange(n) * K // n
    free = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    Z = ascend_freely(F.normalize(free, dim=-1), lambda Z: mcr2(Z, y, eps_sq))
    return mcr2(Z, y, eps_sq).item(), [filled_directions(Z[y == k]) for k in range(K)]


def precision_facts(
    run: tuple[float, list[float]], p: int, d: int, K: int, at: float
) -> dict[str, float | int | str]:
    """The two limits, and a run at the precision ``at`` (:func:`precision_run`) beside what would be best there."""
    sure, local = precision_limits(K, d, p)
    value, used = run
    r = best_r(p, d, K, at)
    return {
        "sure": sure, "local": local, "at": at, "value": value, "used": ", ".join(f"{u:.1f}" for u in used),
        "p": p, "r": r, "best_r": best(r, d, K, at), "best_p": best(p, d, K, at),
        "full": min(precision_limits(k, k, 1)[0] for k in (2, 3, 10, 100)),
    }  # fmt: skip


# ---- handwritten digits ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Digits:
    """1,797 handwritten digits of 8 × 8 pixels, shuffled: pixels in [0, 1] and labels, to train on and held out."""

    seen: Float[Tensor, "n 64"]
    truth: Int[Tensor, " n"]
    unseen: Float[Tensor, "m 64"]
    names: Int[Tensor, " m"]


def load_digits(train: int = 1200, seed: int = 0) -> Digits:
    """The digits that come with scikit-learn; the first ``train`` of them, in an order by ``seed``, to train on."""
    from sklearn.datasets import load_digits as scikit_digits

    digits = scikit_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(seed))
    images = torch.tensor(digits.data / 16, dtype=torch.float32)[order]
    labels = torch.tensor(digits.target)[order]
    return Digits(images[:train], labels[:train], images[train:], labels[train:])


def network(seed: int = 0) -> nn.Sequential:
    """Three layers with ReLUs from 64 pixels to 64 features; always the same start."""
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for before, after in pairwise([64, 128, 128, 64]):
            layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def features(net: nn.Module, images: Float[Tensor, "n 64"]) -> Float[Tensor, "n d"]:
    """What a network makes of images, each of length 1."""
    with torch.no_grad():
        return F.normalize(net(images), dim=-1)


def train_on_rates(digits: Digits) -> nn.Module:
    """A :func:`network` that raises the rate reduction of the training images."""
    net = network()
    ascend(
        lambda: net(digits.seen),
        net.parameters(),
        lambda Z: mcr2(Z, digits.truth, DIGITS_EPS_SQ),
        steps=200,
        lr=2e-3,
    )
    return net


def train_on_labels(digits: Digits) -> tuple[nn.Module, float]:
    """The same :func:`network` trained by cross-entropy, and the share of held-out digits that it names."""
    net = network()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = nn.Linear(64, 10)
    ascend(
        lambda: net(digits.seen),
        [*net.parameters(), *head.parameters()],
        lambda Z: -F.cross_entropy(head(10 * Z), digits.truth),
        steps=200,
        lr=2e-3,
    )
    guess = head(10 * features(net, digits.unseen)).argmax(-1)
    return net, (guess == digits.names).float().mean().item()


def nearest_subspace(Z: Tensor, y: Int[Tensor, " n"], unknown: Tensor, r: int) -> Int[Tensor, " m"]:
    """The class whose first r directions leave the smallest rest of each unknown vector."""
    rest = []
    for k in y.unique():
        basis = torch.linalg.svd(Z[y == k], full_matrices=False).Vh[:r].T
        rest.append((unknown - unknown @ basis @ basis.T).norm(dim=-1))
    return torch.stack(rest).argmin(0)


def read_images(digits: Digits, net: nn.Module, ridge: float = 1e-3) -> Float[Tensor, "m 64"]:
    """Held-out images as a ridge regression, fitted on the training images, reads them off the features."""
    A, B = (
        torch.cat([features(net, images), torch.ones(len(images), 1)], -1).double()
        for images in (digits.seen, digits.unseen)
    )
    gram = A.T @ A + ridge * len(A) * torch.eye(A.shape[1], dtype=A.dtype)
    return B @ torch.linalg.solve(gram, A.T @ digits.seen.double())


def examine(digits: Digits, net: nn.Module) -> dict[str, float | int]:
    """R, R^c and their difference on the training images; accuracy by subspaces and what can be read, held out (%)."""
    Z, unknown = features(net, digits.seen), features(net, digits.unseen)
    rest = (read_images(digits, net) - digits.unseen).square().sum()
    total = (digits.unseen - digits.seen.mean(0)).square().sum()
    right = {r: nearest_subspace(Z, digits.truth, unknown, r) == digits.names for r in (1, 6)}
    return {
        "R": coding_rate(Z, DIGITS_EPS_SQ).item(),
        "Rc": class_coding_rate(Z, digits.truth, DIGITS_EPS_SQ).item(),
        "gain": mcr2(Z, digits.truth, DIGITS_EPS_SQ).item(),
        "directions": float(np.mean([filled_directions(Z[digits.truth == k]) for k in range(10)])),
        "r1": 100 * right[1].float().mean().item(),
        "r6": 100 * right[6].float().mean().item(),
        "read": 100 * (1 - rest / total).item(),
    }


def digits_facts(
    digits: Digits, examined: Mapping[str, Mapping[str, float]], own: float
) -> dict[str, float | int]:
    """What the text says of the two networks; ``own`` is the accuracy of the classifier itself, a share."""
    rate, label, pixels = (examined[name] for name in ("rate reduction", "cross-entropy", "pixels"))
    return {
        "own": own, "held_out": len(digits.names), "error": math.sqrt(own * (1 - own) / len(digits.names)),
        "rate_r6": rate["r6"] / 100, "pixels_r6": pixels["r6"] / 100, "rate_r1": rate["r1"] / 100,
        "label_r1": label["r1"] / 100, "rate_read": rate["read"] / 100, "label_read": label["read"] / 100,
        "pixels_read": pixels["read"] / 100, "rate_directions": rate["directions"],
        "label_directions": label["directions"], "gained": rate["gain"], "most": best(6.4, 64, 10, DIGITS_EPS_SQ),
    }  # fmt: skip


def readings_figure(digits: Digits, nets: Mapping[str, nn.Module]) -> Figure:
    """Ten held-out digits, and what a linear map reads off the features of each network."""
    rows = {"the image": digits.unseen} | {name: read_images(digits, net) for name, net in nets.items()}
    chosen = [int((digits.names == k).nonzero()[2]) for k in range(10)]
    fig, axes = plt.subplots(len(rows), 10, figsize=(figures.WIDTH, 2.4))
    for row, (name, read) in zip(axes, rows.items(), strict=True):
        for ax, i in zip(row, chosen, strict=True):
            figures.bare(ax).imshow(read[i].view(8, 8), cmap="gray_r", vmin=0, vmax=1)
        row[0].set_ylabel(
            name.replace(" ", "\n").replace("-", "-\n"), fontsize=9, rotation=0, ha="right", va="center"
        )
    plt.close(fig)
    return fig


# ---- axes and subspaces ----------------------------------------------------------------------------------


def rotation(d: int, seed: int = 0) -> Float[Tensor, "d d"]:
    """A random rotation (or reflection) of d dimensions."""
    start = torch.randn(d, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(start).Q


def sparsify(
    X: Float[Tensor, "n c"], W: Float[Tensor, "c d"], y: Int[Tensor, " n"], eps_sq: float, lam: float
) -> Float[Tensor, "n d"]:
    r"""Features ``X @ V``, of length 1, after climbing :math:`R - R^c - \lambda \lVert Z \rVert_1 / n` from V = W."""
    V = W.clone().requires_grad_()

    def objective(Z: Tensor) -> Tensor:
        return mcr2(Z, y, eps_sq) - lam * Z.abs().sum() / len(Z)

    return ascend(lambda: X @ V, [V], objective, steps=200, lr=0.1)


def nonzeros(Z: Float[Tensor, "n d"], above: float = 0.01) -> float:
    """Entries of a vector that are larger than ``above``, on average."""
    return (Z.abs() > above).sum().item() / len(Z)


def sparse_figure(
    sparse: Mapping[float | int, Tensor], y: Int[Tensor, " n"], eps_sq: float, optimum: float
) -> Figure:
    """Features without the sparsity term and with it, and what its weight does to both terms.

    Args:
        sparse: weight -> features; 0 and 1 are shown.
        y: classes.
        eps_sq: squared precision.
        optimum: the largest R - R^c there is, drawn as a line.
    """
    fig, axes = plt.subplots(1, 3, figsize=(figures.WIDTH, 2.6), width_ratios=[0.75, 0.75, 1.5])
    for ax, lam in zip(axes, (0, 1), strict=False):
        Z = sparse[lam]
        energy = torch.stack([Z[y == k].square().sum(0) for k in y.unique()])
        Z = Z[:, energy.argmax(0).argsort(stable=True)]  # channels in the order of the class that owns them
        figures.bare(ax, f"$\\lambda$ = {lam}").imshow(
            Z, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto", interpolation="nearest"
        )
        ax.set_xlabel(f"{Z.shape[1]} channels", fontsize=9)
    axes[0].set_ylabel(f"{len(y)} vectors, class by class", fontsize=9)
    ax, lams = axes[2], [lam for lam in sparse if lam > 0]
    ax.axhline(optimum, color="0.5", lw=1, ls=":")
    ax.plot(lams, [mcr2(sparse[v], y, eps_sq) for v in lams], "o-", label="$R - R^c$ (nats)")
    ax.plot(lams, [nonzeros(sparse[v]) for v in lams], "o--", label="entries above 0.01 a vector")
    ax.set(xscale="log", xlabel="$\\lambda$", ylim=(0, 13))
    ax.legend(fontsize=9)
    plt.close(fig)
    return fig


def sparse_facts(
    sparse: Mapping[float | int, Tensor], y: Int[Tensor, " n"], eps_sq: float
) -> dict[str, float | int]:
    """R - R^c and entries above 0.01 without the sparsity term, with it, and with the largest weight."""
    most = max(sparse)
    value = {lam: mcr2(sparse[lam], y, eps_sq).item() for lam in (0, 1, most)}
    return {
        "without": value[0], "with_it": value[1], "most": most, "at_most": value[most],
        "dense": nonzeros(sparse[0]), "thin": nonzeros(sparse[1]),
    }  # fmt: skip


def even_facts(d: int, K: int, p: int, eps_sq: float, n: int = 240) -> dict[str, float | int]:
    """Both kinds of R^c where K orthogonal subspaces are filled evenly; and R - R^c of vectors on the diagonal."""
    even = torch.cat([torch.eye(d), -torch.eye(d)]).double()  # ± every axis
    owner = torch.arange(2 * d) % d // p
    U = torch.eye(d, dtype=torch.float64).view(d, K, p).movedim(1, 0)
    line = torch.ones(n, d, dtype=torch.float64) / d**0.5
    return {
        "R": coding_rate(even, eps_sq).item(), "classes": class_coding_rate(even, owner, eps_sq).item(),
        "bases": compression_rate(even, U, eps_sq).item(), "coarser": coding_rate(even, K * eps_sq).item(),
        "K": K, "coarse": K * eps_sq, "negative": rate_reduction(line, U, eps_sq).item(),
    }  # fmt: skip


def mixed_across_classes(Z: Float[Tensor, "n d"], K: int) -> Float[Tensor, "n d"]:
    """Every vector mixed with one of each other class, by an orthogonal matrix; classes lie one after the other."""
    mix = torch.eye(K, dtype=Z.dtype) - 2 / K
    parts = Z.view(K, len(Z) // K, -1)
    return torch.einsum("kl,lnd->knd", mix, parts).reshape(Z.shape)


def mixing_rows(
    sets: Mapping[str, Tensor], y: Int[Tensor, " n"], U: Float[Tensor, "K d p"], eps_sq: float
) -> list[dict]:
    """Rows of a table: what each measure says of each set."""
    measures = {
        "R, nats": lambda Z: number(coding_rate(Z, eps_sq), ".4f"),
        "Rᶜ of the subspaces, nats": lambda Z: number(compression_rate(Z, U, eps_sq), ".4f"),
        "Rᶜ of the classes, nats": lambda Z: number(class_coding_rate(Z, y, eps_sq), ".4f"),
        "entries that are not zero, a vector": lambda Z: number(nonzeros(Z, 1e-12), ".1f"),
        "sparse rate reduction, λ = 0.001": lambda Z: number(
            sparse_rate_reduction(Z, U, eps_sq, 0.001), ".2f"
        ),
    }
    return [{"": name} | {head: measure(Z) for head, Z in sets.items()} for name, measure in measures.items()]


def gradient_gap(Z: Float[Tensor, "n d"], U: Float[Tensor, "K d p"], eps_sq: float) -> float:
    r"""Largest difference of :math:`Z M`, M as in the text, to the package's gradient of the compression rate."""
    p = U.shape[-1]
    gamma = p / (len(Z) * eps_sq)
    inner = torch.eye(p, dtype=Z.dtype) + gamma * U.mT @ Z.T @ Z @ U
    M = gamma * (U @ torch.linalg.inv(inner) @ U.mT).sum(0)
    return (Z @ M - compression_rate_gradient(Z, U, eps_sq)).abs().max().item()
