r"""Chapter 04, sparsification becomes a ReLU: its figures, and the numbers of its sentences.

Letters as in the chapter: :math:`F(z) = \frac12\lVert y - Dz\rVert^2 + \lambda\lVert z\rVert_1`, atoms are the columns
of :math:`D`, :math:`\eta` is the step, :math:`M` the whole gradient step as one matrix.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from crate_mini import figures
from crate_mini.model import CRATE
from crate_mini.operators import ISTA
from crate_mini.provenance import read_result
from crate_mini.rates import coding_rate, coding_rate_gradient
from crate_mini.recorder import Record
from crate_mini.sparsification import (
    folded_step,
    ista_step,
    largest_step,
    lasso_objective,
    proximal_map,
    proximal_step,
    sparse_code,
    sparse_codes,
)
from crate_mini.tables import PlusMinus
from crate_mini.weights import list_pretrained

BLUE, ORANGE, GREEN, RED = figures.PALETTE[:4]
ETA = LAM = 0.1
"""The step and the price of the released code."""

RECORDED = ("tokens_mid", "feed_in")
"""What the functions about a trained network read of a record."""


def two_atoms(degrees: float = 30) -> Float[Tensor, "2 2"]:
    """A dictionary of two atoms of length one in the plane, at an angle."""
    turn = math.radians(degrees)
    return torch.tensor([[1, math.cos(turn)], [0, math.sin(turn)]], dtype=torch.float64)


# ---- the problem in two dimensions ----------------------------------------------------------------------------------


def layer_in_the_plane(lam: float = 0.4) -> Figure:
    """A layer with two atoms: the start, the step downhill, the threshold, over level lines of the objective."""
    y, D = torch.tensor([0.7, 1.3], dtype=torch.float64), two_atoms()
    eta = largest_step(D)
    moved, after = y + eta * (y - y @ D.T) @ D, ista_step(y, D, eta, lam)
    path = torch.stack(list(itertools.islice(sparse_codes(y, D, lam, start=y), 30)))
    fig, axes = plt.subplots(1, 3, figsize=(figures.WIDTH, 3.0), sharey=True)
    titles = ("start: the token, $z = y$", "a step downhill", "the threshold: a ReLU")
    for ax, title in zip(axes, titles, strict=True):
        _level_lines(ax, y, D, lam)
        ax.set(xlabel="first entry of the code", title=title)
        ax.plot(*y, "o", color=ORANGE, ms=8 if ax is axes[0] else 5)
    axes[0].set_ylabel("second entry")
    axes[0].annotate("$y$", y, xytext=(8, 2), textcoords="offset points")
    arrow = {"arrowstyle": "-|>", "lw": 2, "shrinkA": 0, "shrinkB": 0}
    for ax in axes[1:]:
        ax.annotate("", moved, y, arrowprops=arrow | {"color": RED})
    axes[1].annotate("$v$", moved, xytext=(5, -12), textcoords="offset points")
    axes[2].annotate("", after, moved, arrowprops=arrow | {"color": BLUE})
    axes[2].annotate("$z^+$", after, xytext=(3, -14), textcoords="offset points")
    axes[2].plot(*path[2:].T, ".", color="0.4", ms=4)
    axes[2].plot(*path[-1], "*", color=GREEN, ms=12)
    line = {"arrowstyle": "-", "lw": 0.8, "color": "0.5", "shrinkB": 6}
    axes[2].annotate("sparse code", path[-1], xytext=(0.42, 0.62), fontsize=10, arrowprops=line)
    plt.close(fig)
    return fig


def _level_lines(
    ax: Axes, y: Tensor, D: Tensor, lam: float, limits: tuple[float, float] = (-0.22, 1.55)
) -> None:
    """Level lines of the objective where codes are allowed."""
    axis = torch.linspace(*limits, 240, dtype=torch.float64)
    Z = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
    value = lasso_objective(y.expand_as(Z), D, Z, lam, nonnegative=False)
    low = lasso_objective(y, D, sparse_code(y, D, lam), lam)
    shown = (value - low).masked_fill((Z < 0).any(-1), math.nan)
    levels = [0.005, 0.03, 0.08, 0.16, 0.3, 0.5, 0.8, 1.2, 1.7, 2.4]
    ax.contour(axis, axis, shown, levels=levels, colors="0.75", linewidths=0.8)
    ax.axvspan(limits[0], 0, color="0.5", alpha=0.12, lw=0)
    ax.axhspan(limits[0], 0, color="0.5", alpha=0.12, lw=0)
    ax.set(aspect="equal", xlim=limits, ylim=limits, xticks=[0, 1], yticks=[0, 1])


def proximal_maps(tau: float = 0.6) -> Figure:
    """Left, a parabola plus an absolute value; right, the proximal maps of four costs."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(figures.WIDTH, 3.0), width_ratios=[1, 1.15])
    z = np.linspace(-1.3, 2.4, 400)
    for v, colour in ((0.4, BLUE), (1.5, ORANGE)):
        lowest = max(v - tau, 0)
        left.plot(z, 0.5 * (z - v) ** 2 + tau * abs(z), color=colour, label=f"$v = {v}$")
        left.plot(lowest, 0.5 * (lowest - v) ** 2 + tau * lowest, "o", color=colour)
        left.plot(z, 0.5 * (z - v) ** 2, color=colour, lw=0.9, ls=":")
    left.set(xlabel="$z$", ylim=(0, 2.4), yticks=[0, 1, 2])
    left.legend(fontsize=9, loc="upper left", bbox_to_anchor=(0.3, 1), handlelength=1.4)
    left.set_title(r"$\frac{1}{2}(z-v)^2 + \tau|z|$ (dotted: without $\tau|z|$)", fontsize=10)
    v = torch.linspace(-2, 2, 801)
    right.plot(v, v / (1 + 2 * tau), color="0.65", lw=1.2, label="$z^2$: shrinks, never zero")
    edge = math.sqrt(2 * tau)
    for low, high, kept in ((-2, -edge, 1), (-edge, edge, 0), (edge, 2, 1)):
        x = torch.tensor([low, high])
        label = "count: keeps or drops" if kept == 0 else None
        right.plot(x, kept * x, color=GREEN, lw=1.4, ls="--", label=label)
    right.plot(v, proximal_map(v, tau, proximal="soft"), color=ORANGE, label="$|z|$: soft threshold")
    right.plot(v, proximal_map(v, tau), color=BLUE, lw=2.4, label="$|z|$ and $z \\geq 0$: ReLU")
    right.set(xlabel="$v$", xlim=(-2, 2), ylim=(-2, 2), title="prox$(v)$")
    right.set(xticks=range(-2, 3), yticks=range(-2, 3))
    right.legend(fontsize=9, loc="upper left", handlelength=1.4, borderaxespad=0.1)
    plt.close(fig)
    return fig


def majorisers(lam: float = 0.4) -> Figure:
    """The objective along a line, with a bowl that lies above it and one that is too flat."""
    fig, axes = plt.subplots(1, 2, figsize=(figures.WIDTH, 2.7), sharey=True)
    names = ("$\\eta = 1/\\|D\\|^2$", "$\\eta = 4/\\|D\\|^2$")
    titles = ("lies above: its lowest point is lower than here", "cuts through: its lowest point is higher")
    for ax, factor, colour, name, title in zip(axes, (1.0, 4.0), (BLUE, RED), names, titles, strict=True):
        t, objective, bowl, start = bowl_along_a_line(factor, lam)
        low, here = int(bowl.argmin()), float(objective[(t - start).abs().argmin()])
        ax.plot(t, objective, color="0.5", label="objective $F$")
        ax.plot(t, bowl, color=colour, label=f"bowl, {name}")
        ax.plot([t[low]] * 2, [bowl[low], objective[low]], color=colour, lw=1, ls=":")
        ax.plot(t[low], bowl[low], "v", color=colour, ms=6)
        ax.plot(t[low], objective[low], "o", color=colour)
        ax.plot(start, here, "o", color=ORANGE)
        ax.annotate("here", (start, here), xytext=(-4, 9), textcoords="offset points", fontsize=9)
        ax.set(xlabel="first entry of the code", yticks=[], ylim=(0.2, 1.9))
        ax.set_title(title, fontsize=10)
        ax.spines["left"].set_visible(False)
        ax.legend(loc="upper center", fontsize=9)
    plt.close(fig)
    return fig


def bowl_along_a_line(factor: float, lam: float = 0.4) -> tuple[Tensor, Tensor, Tensor, float]:
    """The first entry of a code, the objective there, and the bowl of a step of ``factor`` over the norm squared.

    Returns:
        Entries, objective, bowl, and the entry at which the two touch.
    """
    D, y = two_atoms(), torch.tensor([1.4, 0.4], dtype=torch.float64)
    z = torch.tensor([0.45, 0.0], dtype=torch.float64)
    t = torch.linspace(0, 2.1, 421, dtype=torch.float64)
    line = torch.stack([t, 0 * t], dim=-1)  # only the first entry changes
    way, slope = t - z[0], (-((y - z @ D.T) @ D) + lam)[0]
    bowl = lasso_objective(y, D, z, lam) + way * slope + way**2 / (2 * factor * largest_step(D))
    return t, lasso_objective(y.expand_as(line), D, line, lam), bowl, float(z[0])


def rotation_facts() -> dict[str, Any]:
    """The rate of codes, and of the tokens that they stand for: with an orthogonal dictionary and with a fresh one."""
    rng = torch.Generator().manual_seed(0)
    codes = F.normalize(torch.randn(64, 96, dtype=torch.float64, generator=rng), dim=-1)
    turned = torch.linalg.qr(torch.randn(96, 96, dtype=torch.float64, generator=rng)).Q
    torch.manual_seed(0)
    fresh = ISTA(96).D.detach().double()
    return {
        "codes": float(coding_rate(codes, 0.5)),
        "orthogonal": float(coding_rate(codes @ turned.T, 0.5)),
        "fresh": float(coding_rate(codes @ fresh.T, 0.5)),
    }


def climb_facts() -> dict[str, Any]:
    """:func:`share_that_climbs` for steps of 1, 2, 2.5 and 4 over the norm squared."""
    return {
        name: share_that_climbs(factor)
        for name, factor in {"one": 1.0, "two": 2.0, "more": 2.5, "four": 4.0}.items()
    }


def share_that_climbs(factor: float, problems: int = 10_000, d: int = 4, lam: float = 0.1) -> float:
    """Share of random problems on which one step of ``factor`` over the norm squared raises the objective."""
    rng = torch.Generator().manual_seed(0)
    D = torch.randn(problems, d, d, generator=rng)
    y, z = torch.randn(2, problems, d, 1, generator=rng).abs()
    y = y * torch.randn(problems, d, 1, generator=rng).sign()

    def objective(z: Tensor) -> Tensor:
        return 0.5 * (y - D @ z).square().sum((1, 2)) + lam * z.sum((1, 2))

    eta = (factor / torch.linalg.matrix_norm(D, 2) ** 2)[:, None, None]
    new = torch.relu(z + eta * (D.mT @ (y - D @ z) - lam))
    return float((objective(new) > 1.00001 * objective(z)).double().mean())


# ---- the matrix of a layer ------------------------------------------------------------------------------------------


def dictionaries(model: CRATE) -> Float[Tensor, "L d d"]:
    """The dictionaries of all layers."""
    return torch.stack([block.feed.D.detach() for block in model.blocks])


def gain_values(model: CRATE, eta: float = ETA) -> Float[Tensor, " n"]:
    """What every layer multiplies a token by along itself: eigenvalues of the symmetric part of its matrix."""
    M = torch.stack([folded_step(D.double(), eta) for D in dictionaries(model)])
    return torch.linalg.eigvalsh((M + M.mT) / 2).flatten()


def gains(model: CRATE, eta: float = ETA) -> Figure:
    """The gain of a layer against an eigenvalue of a symmetric dictionary, and the gains of all trained layers."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(figures.WIDTH, 2.6))
    mu = torch.linspace(-2.9, 2.9, 200)
    left.axhline(1, color="0.8", lw=1)
    left.axhline(0, color="0.8", lw=1)
    left.plot(mu, 1 + eta * mu - eta * mu**2, color=BLUE)
    top = (0.5, 1 + eta / 4)
    left.plot(*top, "o", color=ORANGE)
    how = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center", "fontsize": 9}
    left.annotate(f"$\\mu = 1/2$: gain {top[1]:.3f}", top, **how)
    left.set(xlabel="eigenvalue $\\mu$ of a symmetric $D$", ylabel="gain", ylim=(-0.25, 1.3))
    right.hist(gain_values(model, eta), bins=60, color="0.6")
    right.axvline(1 + eta / 4, color=ORANGE, lw=1.5)
    right.set(xlabel="eigenvalues of $(M + M^\\top)/2$", yticks=[], title="all trained layers")
    right.spines["left"].set_visible(False)
    plt.close(fig)
    return fig


def squared_singular_values(model: CRATE) -> tuple[Float[Tensor, "L d"], Float[Tensor, "L d"]]:
    """Of every layer's dictionary as it was drawn and as it was trained."""
    torch.manual_seed(0)
    fresh = torch.stack([ISTA(model.config.dim).D.detach() for _ in model.blocks])
    start, trained = (torch.linalg.svdvals(D.double()).square() for D in (fresh, dictionaries(model)))
    return start, trained


def spectra(model: CRATE, eta: float = ETA) -> Figure:
    """Singular values at the start and after training, and how long the fixed step is in every layer."""
    start, trained = squared_singular_values(model)
    fig, (left, right) = plt.subplots(1, 2, figsize=(figures.WIDTH, 2.9), width_ratios=[1.25, 1])
    bins = np.linspace(0, 10.5, 64)
    left.hist(start.flatten(), bins, density=True, color="0.8", label="at the start")
    left.hist(trained.flatten(), bins, density=True, histtype="step", color=BLUE, lw=1.5, label="trained")
    s = np.linspace(0.08, 8, 400)
    left.plot(s, np.sqrt(s * (8 - s)) / (4 * np.pi * s), color=RED, lw=1.2, label="Marchenko–Pastur")
    left.axvline(1 / eta, color="0.3", lw=1, ls="--")
    left.text(1 / eta - 0.2, 0.5, "$1/\\eta$", ha="right", fontsize=10)
    left.set(xlabel="squared singular values of $D$", ylabel="density", ylim=(0, 1.0), xlim=(0, 10.8))
    left.legend(fontsize=9, loc="upper center")
    right.axhspan(0, 1, color="0.5", alpha=0.1, lw=0)
    for level, text in ((1, "the bowl lies above up to here"), (2, "descent up to here")):
        right.axhline(level, color="0.3", lw=1, ls="--")
        right.text(-0.35, level + 0.03, text, fontsize=9, va="bottom", color="0.3")
    right.plot(eta * start[:, 0], "o", color="0.7", label="at the start")
    right.plot(eta * trained[:, 0], "o", color=BLUE, label="trained")
    right.set(xlabel="layer", ylabel="$\\eta\\,\\|D\\|^2$", ylim=(0, 2.4), xlim=(-0.5, len(start) - 0.5))
    right.legend(fontsize=9, loc="lower left")
    plt.close(fig)
    return fig


def step_facts(model: CRATE, eta: float = ETA) -> dict[str, Any]:
    """How long the fixed step is against its bound, at the start and after training, and how near layers come to it."""
    start, trained = squared_singular_values(model)
    torch.manual_seed(0)
    wide = torch.linalg.matrix_norm(ISTA(768).D.detach(), 2).square()
    reach = eta * trained[:, 0]
    return {
        "start_low": float(eta * start[:, 0].min()),
        "start_high": float(eta * start[:, 0].max()),
        "wide": float(wide),
        "low": float(reach.min()),
        "high": float(reach.max()),
        "over": int((reach > 1).sum()),
        "layers": len(reach),
        "mean_square": float(trained.mean()),
        "smallest": float(trained[:, -1].max()),
        "near_the_bound": float((gain_values(model, eta) > 1).double().mean()),
        "bound": 1 + eta / 4,
    }


# ---- the problem, solved --------------------------------------------------------------------------------------------


def falling(Y: Float[Tensor, "n d"], D: Float[Tensor, "d d"], lam: float = LAM) -> Figure:
    """The objective over steps of four lengths; and its distance to the minimum for ISTA and FISTA."""
    best, start = _mean_objective(Y, D, sparse_code(Y, D, lam, steps=1000), lam), Y.clamp(min=0)
    fig, (left, right) = plt.subplots(1, 2, figsize=(figures.WIDTH, 2.9))
    for factor, colour in zip((0.25, 1.0, 2.5, 4.0), (GREEN, BLUE, ORANGE, RED), strict=True):
        left.plot(objective_over_steps(Y, D, factor, lam), color=colour, label=f"{factor:g}")
    left.axhline(best, color="0.3", lw=1, ls="--")
    left.text(20, best - 3, "minimum", ha="right", va="top", fontsize=9, color="0.3")
    top = 1.5 * _mean_objective(Y, D, start, lam)
    left.set(xlabel="step", ylabel="objective", ylim=(0, top), xticks=range(0, 21, 5))
    left.legend(title="$\\eta\\,\\|D\\|^2$", fontsize=9, title_fontsize=9, ncols=2, loc="upper left")
    for accelerated, colour, name in ((False, BLUE, "ISTA"), (True, "0.5", "FISTA")):
        path = itertools.islice(sparse_codes(Y, D, lam, accelerated=accelerated), 301)
        right.plot([_mean_objective(Y, D, z, lam) - best for z in path], color=colour, label=name)
    right.set(xlabel="step", ylabel="above the minimum", yscale="log")
    right.legend(fontsize=9)
    plt.close(fig)
    return fig


def objective_over_steps(
    Y: Float[Tensor, "n d"], D: Float[Tensor, "d d"], factor: float, lam: float = LAM, steps: int = 20
) -> list[float]:
    """The mean objective from the start and after each step of ``factor`` over the norm squared."""
    path = sparse_codes(Y, D, lam, step=factor * largest_step(D), start=Y.clamp(min=0))
    return [_mean_objective(Y, D, z, lam) for z in itertools.islice(path, steps + 1)]


def _mean_objective(Y: Tensor, D: Tensor, Z: Tensor, lam: float) -> float:
    return float(lasso_objective(Y, D, Z, lam).mean())


def sign_facts(Y: Float[Tensor, "n d"], D: Float[Tensor, "d d"], lam: float = LAM) -> dict[str, Any]:
    """What forbidding negative entries costs: error left and zeros made, solved and after one step."""
    found = {}
    for name, proximal in {"relu": "relu", "soft": "soft"}.items():
        solved = sparse_code(Y, D, lam, steps=200, proximal=proximal)
        layer = ista_step(Y, D, ETA, lam, proximal=proximal)
        found |= {
            f"{name}_left": float((Y - solved @ D.T).square().sum() / Y.square().sum()),
            f"{name}_zeros_solved": float((solved == 0).double().mean()),
            f"{name}_zeros_one": float((layer == 0).double().mean()),
        }
    return found | {"times": found["relu_left"] / found["soft_left"]}


# ---- in a trained network -------------------------------------------------------------------------------------------

LADDER = {
    "start": ("ReLU$(y)$", ORANGE, "o"),
    "layer": ("the layer", BLUE, "o"),
    "empty": ("empty code, $z = 0$", "0.5", "_"),
    "from zero": ("one step from zero", RED, "o"),
    "minimum": ("minimum", GREEN, "*"),
}


def achieved_in_layer(model: CRATE, run: Record, layer: int) -> dict[str, Any]:
    """The objective of five codes of a layer's tokens, means; and how the layer's code compares with two of them."""
    feed = model.blocks[layer].feed
    D, eta, lam = feed.D.detach(), feed.step, feed.lam
    Y = run["feed_in"][layer].flatten(0, 1)[::16]
    codes = {
        "start": Y.clamp(min=0),
        "layer": ista_step(Y, D, eta, lam),
        "empty": 0 * Y,
        "from zero": proximal_step(0 * Y, Y, D, eta, lam),
        "minimum": sparse_code(Y, D, lam, steps=150),
    }
    values = {name: lasso_objective(Y, D, z, lam) for name, z in codes.items()}
    ours, best = codes["layer"] > 0, codes["minimum"] > 1e-4
    a, b = ours.double().mean(), best.double().mean()
    return {name: float(v.mean()) for name, v in values.items()} | {
        "lowered": float((values["layer"] < values["start"]).double().mean()),
        "worse than empty": float((values["layer"] > values["empty"]).double().mean()),
        "overlap": float((ours & best).sum() / (ours | best).sum()),
        "by chance": float(a * b / (a + b - a * b)),
        "alike": float(F.cosine_similarity(Y, Y @ D.T, dim=-1).mean()),
        "tokens": len(Y),
    }


def achieved(model: CRATE, run: Record) -> list[dict[str, Any]]:
    """:func:`achieved_in_layer` for every layer."""
    return [achieved_in_layer(model, run, layer) for layer in range(model.config.depth)]


def ladder(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """By layer, the objective of the start, of what the layer makes, of the empty code, and of the solution."""
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 3.0))
    for layer, row in enumerate(rows):
        arrow = {"arrowstyle": "->", "color": "0.7"}
        ax.annotate("", (layer, row["layer"] + 4), (layer, row["start"] - 4), arrowprops=arrow)
    for name, (label, colour, marker) in LADDER.items():
        size = {"ms": 14, "mew": 2} if marker == "_" else {"ms": 7}
        ax.plot([row[name] for row in rows], ls="", marker=marker, color=colour, label=label, **size)
    ax.set(xlabel="layer", ylabel="objective, mean over tokens", ylim=(0, None), xlim=(-0.5, len(rows) - 0.5))
    ax.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    plt.close(fig)
    return fig


def achieved_facts(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The numbers of what a trained layer achieves of the problem that it was derived from."""
    return {
        "layers": len(rows),
        "tokens": rows[0]["tokens"],
        "lowered": min(row["lowered"] for row in rows),
        "worse": min(row["worse than empty"] for row in rows),
        "from_zero": sum(row["from zero"] < row["layer"] for row in rows),
        "alike": float(np.mean([row["alike"] for row in rows])),
        "overlap": float(np.mean([row["overlap"] for row in rows])),
        "chance": float(np.mean([row["by chance"] for row in rows])),
    }


SOURCES = {
    "tokens": ("tokens: negative", "0.85"),
    "normalised": ("after LayerNorm: negative", "0.6"),
    "moved": ("after the gradient step: negative", BLUE),
    "zero": ("below the threshold: zero", "0.35"),
}


def sources_of_zeros(model: CRATE, run: Record) -> dict[str, list[float]]:
    """By layer, the share in % of entries that are negative at each stage, and zero at the end."""
    found: dict[str, list[float]] = {name: [] for name in [*SOURCES, "changed", "skew", "unshifted"]}
    for layer, block in enumerate(model.blocks):
        feed, Y, Z = block.feed, run["feed_in"][layer].flatten(0, 1), run["tokens_mid"][layer].flatten(0, 1)
        moved, centred = Y @ folded_step(feed.D.detach(), feed.step), Z - Z.mean(-1, keepdim=True)
        for name, mask in {
            "tokens": Z < 0,
            "normalised": Y < 0,
            "moved": moved < 0,
            "zero": moved <= feed.step * feed.lam,
            "changed": (moved > 0) != (Y > 0),
            "unshifted": Y - block.norm2.bias.detach() < 0,
        }.items():
            found[name].append(100 * float(mask.double().mean()))
        found["skew"].append(float(((centred**3).mean(-1) / centred.square().mean(-1) ** 1.5).mean()))
    return found


def zero_bars(sources: Mapping[str, Sequence[float]]) -> Figure:
    """By layer, how many entries are negative before LayerNorm, after it, after the gradient step; and zero."""
    layers = np.arange(len(sources["zero"]))
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 2.7))
    for k, (name, (label, colour)) in enumerate(SOURCES.items()):
        ax.bar(layers + 0.2 * (k - 1.5), sources[name], width=0.18, color=colour, label=label)
    ax.set(xlabel="layer", ylabel="share of entries (%)", ylim=(0, 80), xticks=layers)
    ax.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    plt.close(fig)
    return fig


def zero_facts(sources: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """The numbers of where the zeros come from; means leave out the first layer, whose tokens come from no ReLU."""
    by_threshold = np.subtract(sources["zero"], sources["moved"])
    return {
        "threshold_low": float(by_threshold.min()),
        "threshold_high": float(by_threshold.max()),
        "before": float(np.mean(sources["tokens"][1:])),
        "after": float(np.mean(sources["normalised"][1:])),
        "changed": float(np.mean(sources["changed"])),
        "unshifted": float(np.mean(sources["unshifted"][1:])),
        "skew": min(sources["skew"][1:]),
    }


VARIANTS = {
    "as trained": "as trained, λ = 0.1",
    "lam 0": "λ = 0: no threshold",
    "lam 1": "λ = 1",
    "lam 3": "λ = 3",
    "no gradient step": "ReLU alone: no gradient step",
    "fresh dictionary": "another random D",
    "soft threshold": "soft threshold",
    "problem solved": "the LASSO solved, 100 steps",
}
"""What was changed in a trained network, as the table names it."""


def variants() -> dict[str, Any]:
    """``results/derivation/sparsification.json``: a trained network with its second half changed, not trained again."""
    return json.loads(read_result("derivation/sparsification.json"))


def variant_rows() -> list[dict[str, Any]]:
    """A row for each change: top-1, its change with half of its 95 % interval, paired by image, and the zeros."""
    measured = variants()["variants"]
    rows = []
    for key, label in VARIANTS.items():
        found = measured[key]
        change = PlusMinus(100 * found["change"], 100 * found["change_95"])
        rows.append(
            {
                "second half": label,
                "top-1 (%)": 100 * found["top1"],
                "change (points)": None if key == "as trained" else change,
                "zeros (%)": 100 * float(np.mean(found["zeros_by_layer"])),
            }
        )
    return rows


def variant_facts() -> dict[str, Any]:
    """The numbers of what a trained network notices, in points of accuracy."""
    result = variants()
    measured = result["variants"]
    kinds = len(list_pretrained()[result["weights"]]["classes"])
    found: dict[str, Any] = {
        "images": result["images"],
        "weights": result["weights"],
        "guessing": 100 / kinds,
    }
    keys = {"lam 0": "none", "lam 1": "ten", "no gradient step": "still", "problem solved": "solved"}
    for key, name in (keys | {"fresh dictionary": "fresh", "as trained": "trained"}).items():
        found[name] = 100 * measured[key]["change"]
        found[f"{name}_95"] = 100 * measured[key]["change_95"]
        found[f"{name}_top1"] = 100 * measured[key]["top1"]
    return found | {"lost": -found["still"]}


# ---- the other derivation -------------------------------------------------------------------------------------------


def curvature_ends(sets: int = 200) -> tuple[float, float]:
    """Lowest and highest eigenvalue of the Hessian of the rate over random sets of tokens, in units of alpha."""
    rng, ends = torch.Generator().manual_seed(0), []
    for _ in range(sets):
        n, d = torch.randint(1, 4, (2,), generator=rng).tolist()
        eps_sq, size = (10 ** (2.5 * torch.rand(2, generator=rng) - 1.5)).tolist()
        tokens = size * torch.randn(n * d, dtype=torch.float64, generator=rng)
        hessian = torch.autograd.functional.hessian(
            lambda z, n=n, d=d, e=eps_sq: coding_rate(z.view(n, d), e), tokens
        )
        ends.append(torch.linalg.eigvalsh(hessian)[[0, -1]] * n * eps_sq / d)
    found = torch.stack(ends)
    return float(found.min()), float(found.max())


def costs_over_steps(c: float, steps: int = 60, eps_sq: float = 0.5, lam: float = 0.02) -> list[float]:
    r"""The cost :math:`\lambda\lVert Z\rVert_1 - R(Z)` over steps on a bowl of curvature :math:`c\alpha`."""
    rng = torch.Generator().manual_seed(0)
    Z = F.normalize(torch.rand(40, 24, dtype=torch.float64, generator=rng), dim=-1)
    bend, costs = c * 24 / (40 * eps_sq), []
    for _ in range(steps):
        costs.append(float(lam * Z.abs().sum() - coding_rate(Z, eps_sq)))
        Z = proximal_map(Z + coding_rate_gradient(Z, eps_sq) / bend, lam / bend)
    return costs


def two_bowls(eps_sq: float = 0.5) -> Figure:
    """Minus the rate of a single number with two bowls above it, and how fast each of them leads down."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(figures.WIDTH, 2.8))
    alpha, here = 1 / eps_sq, 1.0
    z = np.linspace(-2.2, 5.5, 400)
    rate = 0.5 * np.log1p(alpha * z**2)
    at, slope = 0.5 * np.log1p(alpha * here**2), alpha * here / (1 + alpha * here**2)
    left.plot(z, -rate, color="0.5", label="$-R$ of one number $z$")
    for c, colour, name in ((9 / 4, RED, "$c = 9/4$"), (1 / 8, BLUE, "$c = 1/8$")):
        left.plot(z, -at - slope * (z - here) + 0.5 * c * alpha * (z - here) ** 2, color=colour, label=name)
        right.plot(costs_over_steps(c), color=colour)
    left.plot(here, -at, "o", color=ORANGE)
    left.set(xlabel="$z$", ylim=(-2.3, 0.6))
    left.legend(fontsize=9, loc="upper right")
    right.set(xlabel="step, with the exact gradient")
    right.set_title("$\\lambda\\|Z\\|_1 - R(Z)$, nats", fontsize=10)
    plt.close(fig)
    return fig


def settling(Y: Float[Tensor, "n d"], D: Float[Tensor, "d d"], lam: float = LAM) -> Figure:
    """How the zeros of a code settle over steps: their share, and the share that agrees with the end."""
    counts = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
    path = sparse_codes(Y, D, lam)
    codes = {i: z > 0 for i, z in enumerate(itertools.islice(path, counts[-1] + 1)) if i in counts}
    final = sparse_code(Y, D, lam, steps=1000) > 0
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 2.5))
    ax.plot(counts, [100 * (~codes[n]).double().mean() for n in counts], ".-", label="zeros")
    ax.plot(
        counts, [100 * (codes[n] == final).double().mean() for n in counts], ".-", label="same as at the end"
    )
    ax.set(xscale="log", xlabel="steps", ylabel="share of entries (%)", ylim=(40, 102))
    ax.legend(loc="lower right")
    plt.close(fig)
    return fig
