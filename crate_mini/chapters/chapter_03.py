r"""Chapter 03, compression becomes attention: its figures, and the numbers of its sentences.

Letters as in the chapter: :math:`Z_k = Z U_k`, :math:`G_k = Z_k Z_k^\top`, :math:`\gamma = p/(n\varepsilon^2)`,
:math:`A_k` the exact attention, :math:`S_k` the softmax. A step is given as the share :math:`\kappa\gamma`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
import torch.nn.functional as F
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from crate_mini import figures
from crate_mini.compression import (
    denoise,
    gather,
    gradient_step,
    lift,
    neumann_condition,
    neumann_gradient,
    posterior_mean,
    ridge_attention,
    softmax_attention,
    softmax_step,
)
from crate_mini.data.subspaces import Mixture, mixture_of_subspaces
from crate_mini.model import CRATE
from crate_mini.provenance import read_result
from crate_mini.rates import compression_rate, compression_rate_gradient, project
from crate_mini.recorder import Record

BLUE, ORANGE, GREEN, RED = figures.PALETTE[:4]
SHARE = 0.5
COARSE, FINE = 0.5, 0.01
"""The two precisions at which the chapter measures; the second is that of the released code."""
EPS = "$\\varepsilon^2$"

RECORDED = ("tokens_in", "attention_in", "tokens_mid")
"""What the functions about a trained network read of a record."""


def drawn_tokens() -> Mixture:
    """196 tokens of length one near six orthogonal subspaces of 16 dimensions in 96: what the theory assumes."""
    return mixture_of_subspaces(196, d=96, K=6, p=16, noise=0.73)


def network_sharpness(U: Float[Tensor, "K d p"]) -> float:
    r"""The softmax of a network, on tokens of length one: :math:`d/\sqrt p`, for it runs on length :math:`\sqrt d`."""
    return U.shape[-2] / math.sqrt(U.shape[-1])


def scale(mix: Mixture, eps_sq: float) -> float:
    r""":math:`\gamma` of these tokens."""
    return mix.bases.shape[-1] / (len(mix.tokens) * eps_sq)


def share_outside(tokens: Float[Tensor, "n d"], mix: Mixture) -> float:
    """Mean share of a token's squared length that lies outside the subspace from which it was drawn."""
    energy = project(tokens, mix.bases).square().sum(-1)  # (K, n)
    own = energy[mix.labels, torch.arange(len(tokens))]
    return float((1 - own / energy.sum(0)).mean())


def rates(tokens: Float[Tensor, "n d"], U: Float[Tensor, "K d p"], eps_sq: float) -> tuple[float, float]:
    """The compression rate of the tokens as they are, and with every token scaled to length one."""
    unit = F.normalize(tokens, dim=-1)
    return float(compression_rate(tokens, U, eps_sq)), float(compression_rate(unit, U, eps_sq))


def steps(mix: Mixture, eps_sq: float, share: float = SHARE) -> dict[str, Tensor]:
    """The tokens after one step of each kind, all with the same share."""
    Z, U, gamma = mix.tokens, mix.bases, scale(mix, eps_sq)
    sharp = network_sharpness(U)
    return {
        "exact gradient": gradient_step(Z, U, eps_sq, share / gamma),
        "Neumann": Z - share / gamma * neumann_gradient(Z, U, eps_sq),
        "softmax, flat (β = 1)": softmax_step(Z, U, share),
        f"softmax (β = {sharp:.0f})": softmax_step(Z, U, share, sharpness=sharp),
        f"Z + MSSA (β = {sharp:.0f})": Z + gather(softmax_attention(Z, U, sharp), Z, U),
    }


# ---- on drawn tokens ------------------------------------------------------------------------------------------------


def three_ways(eps_sq: float = 0.2, token: int = 46) -> Figure:
    """What one token of a head gathers: by the exact gradient, by the series cut off, by a softmax."""
    toy = mixture_of_subspaces(60, d=4, K=2, p=2, noise=0.5, seed=4)
    Z, U = toy.tokens, toy.bases
    flat = project(Z, U)[1]
    ways = {
        "exact gradient": ridge_attention(Z, U, eps_sq)[1],
        "Neumann": scale(toy, eps_sq) * flat @ flat.T,
        "softmax": softmax_attention(Z, U, 4.0)[1],
    }
    # one colour scale for all three, reached by the strongest weight of the exact gradient
    top = float(ways["exact gradient"][token].abs().max())
    fig, axes = plt.subplots(1, 3, figsize=(figures.WIDTH, 2.6))
    for ax, (name, A) in zip(axes, ways.items(), strict=True):
        ax.scatter(*flat.T, c=A[token], cmap="RdBu_r", vmin=-top, vmax=top, s=46, edgecolor="0.55", lw=0.6)
        ax.scatter(*flat[token], s=170, facecolor="none", edgecolor="0.1", lw=1.6)
        arrow = {"arrowstyle": "-|>", "lw": 2, "shrinkA": 0, "shrinkB": 0, "color": "0.1"}
        end = (A[token] @ flat).tolist()
        ax.annotate("", end, flat[token].tolist(), arrowprops=arrow, annotation_clip=False)
        ax.plot(0, 0, "+", color="0.4", ms=9)
        ax.set(xlim=(-1.12, 1.12), ylim=(-1.12, 1.12), aspect="equal", xticks=[], yticks=[])
        ax.set_title(name, fontsize=11)
        sns.despine(ax=ax, left=True, bottom=True)
    plt.close(fig)
    return fig


def step_facts(mix: Mixture, share: float = SHARE) -> dict[str, Any]:
    """What one exact step and one step of the series cut off do to the rate, at both precisions."""
    Z, U = mix.tokens, mix.bases
    found: dict[str, Any] = {"share": share, "fine": FINE, "coarse": COARSE}
    for name, eps_sq in {"coarse": COARSE, "fine": FINE}.items():
        moved = steps(mix, eps_sq, share)
        exact, cut = compression_rate_gradient(Z, U, eps_sq), neumann_gradient(Z, U, eps_sq)
        found |= {
            f"before_{name}": rates(Z, U, eps_sq)[0],
            f"exact_{name}": rates(moved["exact gradient"], U, eps_sq)[0],
            f"cut_{name}": rates(moved["Neumann"], U, eps_sq)[0],
            f"condition_{name}": float(neumann_condition(Z, U, eps_sq).max()),
            f"cosine_{name}": float(F.cosine_similarity(cut.flatten(), exact.flatten(), dim=0)),
        }
    return found


def where_the_series_breaks(mix: Mixture, share: float = SHARE) -> Figure:
    """The factor of a step on each direction, and the rate after a step, for the exact step and the series cut off."""
    Z, U = mix.tokens, mix.bases
    fig, (left, right) = plt.subplots(1, 2, figsize=(figures.WIDTH, 3.1))
    x = torch.logspace(-2, 2, 200)
    left.plot(x, 1 - share / (1 + x), color=BLUE, label="exact")
    left.plot(x, 1 - share * (1 - x), color=RED, label="Neumann")
    left.axhline(1, color="0.7", lw=0.8)
    left.axvline(1, color="0.5", lw=1, ls="--")
    squares = torch.linalg.svdvals(project(Z, U)).flatten().square()
    for row, (eps_sq, colour) in enumerate({COARSE: "0.55", FINE: "0.35"}.items()):
        at, height = scale(mix, eps_sq) * squares, 0.1 + 0.24 * row
        left.plot(at, torch.full_like(at, height), "|", color=colour, ms=7)
        left.text(0.011, height, f"{EPS} = {eps_sq}", fontsize=9, color=colour, va="center")
    left.set(xscale="log", xlabel="$\\gamma\\sigma^2$ of a direction", ylim=(0, 3), xlim=(0.01, 100))
    left.set(ylabel="factor on $\\sigma$ in one step")
    left.legend(loc="upper left")

    sweep, ratios = rate_ratios(mix, share)
    for (name, values), colour in zip(ratios.items(), (BLUE, RED), strict=True):
        right.plot(sweep, values, color=colour, label=name)
    limit = float(neumann_condition(Z, U, 1.0).max())
    right.axvline(limit, color="0.5", lw=1, ls="--")
    right.text(limit * 1.06, 2.72, "valid →", fontsize=9, color="0.35")
    right.axvline(FINE, color="0.5", lw=1, ls=":")
    right.text(0.0107, 2.72, "released code", fontsize=9, color="0.35")
    right.axhline(1, color="0.7", lw=0.8)
    right.set(xscale="log", ylim=(0, 3), xlabel=EPS, ylabel="$R^c$ after a step / before")
    plt.close(fig)
    return fig


def rate_ratios(mix: Mixture, share: float = SHARE) -> tuple[list[float], dict[str, list[float]]]:
    r"""Over :math:`\varepsilon^2`, the rate after one step divided by the rate before."""
    sweep = torch.logspace(-2.3, 0.3, 16).tolist()
    ratios: dict[str, list[float]] = {"exact gradient": [], "Neumann": []}
    for eps_sq in sweep:
        before = rates(mix.tokens, mix.bases, eps_sq)[0]
        moved = steps(mix, eps_sq, share)
        for name, values in ratios.items():
            values.append(rates(moved[name], mix.bases, eps_sq)[0] / before)
    return sweep, ratios


def softmax_facts(mix: Mixture, share: float = SHARE) -> dict[str, Any]:
    """What a softmax does to the share outside, whom it looks at, and how much room it needs."""
    Z, U, n = mix.tokens, mix.bases, len(mix.tokens)
    sharp = network_sharpness(U)
    S = softmax_attention(Z, U, sharp)
    seen = torch.special.entr(S).sum(-1).exp()  # how many tokens a row looks at: exp of its entropy
    own = mix.labels == torch.arange(len(U))[:, None]
    moved = steps(mix, COARSE, share)
    own_self = S.diagonal(dim1=-2, dim2=-1)[own]
    # every token left to itself in the head of its own subspace
    alone = torch.where(own[..., None], torch.eye(n, dtype=S.dtype), S)
    alone = (1 - share) * Z + share * gather(alone, Z, U)
    narrow, wide = (room(p) for p in (1, 16))
    return {
        "n": n,
        "share": share,
        "beta": sharp,
        "before": share_outside(Z, mix),
        "exact": share_outside(moved["exact gradient"], mix),
        "softmax": share_outside(moved[f"softmax (β = {sharp:.0f})"], mix),
        "home": float(seen[own].median()),
        "abroad": float(seen[~own].median()),
        "self": float(own_self.median()),
        "alone": share_outside(alone, mix),
        "narrow_before": narrow[0],
        "narrow_after": narrow[1],
        "wide_before": wide[0],
        "wide_after": wide[1],
    }


def room(p: int, share: float = SHARE) -> tuple[float, float]:
    """The share outside six subspaces of dimension ``p``, before and after a step of the sharpness that suits best."""
    mix = mixture_of_subspaces(196, d=6 * p, K=6, p=p, noise=0.73)
    betas = torch.logspace(0, 1.6, 9).tolist()
    after = [share_outside(softmax_step(mix.tokens, mix.bases, share, sharpness=b), mix) for b in betas]
    return share_outside(mix.tokens, mix), min(after)


def what_softmax_adds(mix: Mixture, share: float = SHARE) -> Figure:
    """The share outside against the sharpness; and the mean squared length by subspace and head."""
    Z, U, labels = mix.tokens, mix.bases, mix.labels
    sharp, sweep = network_sharpness(U), torch.logspace(-0.5, 2.3, 24).tolist()
    moved = steps(mix, COARSE, share)
    exact, chosen = moved["exact gradient"], moved[f"softmax (β = {sharp:.0f})"]
    soft = [100 * share_outside(softmax_step(Z, U, share, sharpness=b), mix) for b in sweep]
    fig = plt.figure(figsize=(figures.WIDTH, 2.7))
    grid = fig.add_gridspec(1, 2, width_ratios=[1, 1.25])
    ax = fig.add_subplot(grid[0])
    ax.axhline(100 * share_outside(Z, mix), color="0.5", lw=1.2, ls=":", label="before")
    ax.axhline(100 * share_outside(exact, mix), color=BLUE, label="exact step")
    ax.plot(sweep, soft, color=GREEN, label="softmax step")
    ax.axvline(sharp, color="0.5", lw=1, ls="--")
    ax.text(sharp * 0.93, 2, "the network's β", fontsize=9, color="0.35", ha="right")
    ax.set(xscale="log", ylim=(0, 65), xlabel="sharpness β", ylabel="outside its subspace (%)")
    ax.legend(fontsize=9, loc="upper left")
    panels = fig.add_subfigure(grid[1]).subplots(1, 3)
    shown = {"before": Z, "exact": exact, "softmax": chosen}
    for panel, (title, tokens) in zip(panels, shown.items(), strict=True):
        energy = project(F.normalize(tokens, dim=-1), U).square().sum(-1)
        table = torch.stack([energy[:, labels == k].mean(1) for k in range(len(U))])
        figures.bare(panel, title).imshow(table, cmap="viridis", vmin=0, vmax=0.2)
        panel.set_xlabel("head", fontsize=9)
    panels[0].set_ylabel("drawn from subspace", fontsize=9)
    plt.close(fig)
    return fig


def sign_sweep(
    mix: Mixture, beta: float, eps_sq: float = COARSE
) -> tuple[list[float], list[float], list[float]]:
    """``t`` from -1 to 1, and the change in % of the rate of ``Z + t MSSA``: as it is, and at length one."""
    Z, U = mix.tokens, mix.bases
    gathered = gather(softmax_attention(Z, U, beta), Z, U)
    start = rates(Z, U, eps_sq)
    sweep = torch.linspace(-1, 1, 25).tolist()
    changes = [
        [100 * (a / b - 1) for a, b in zip(rates(Z + t * gathered, U, eps_sq), start, strict=True)]
        for t in sweep
    ]
    return sweep, [c[0] for c in changes], [c[1] for c in changes]


def sign_question(mix: Mixture) -> Figure:
    """The rate along ``Z + t MSSA``, for three sharpnesses: as the tokens are, and at length one."""
    fig, axes = plt.subplots(1, 2, figsize=(figures.WIDTH, 2.9))
    for beta, colour in ((1.0, ORANGE), (6.0, BLUE), (network_sharpness(mix.bases), GREEN)):
        sweep, raw, unit = sign_sweep(mix, beta)
        for ax, values in zip(axes, (raw, unit), strict=True):
            ax.plot(sweep, values, color=colour, label=f"β = {beta:.0f}")
    titles = ("tokens as they are", "every token at length one")
    for ax, title in zip(axes, titles, strict=True):
        ax.axhline(0, color="0.7", lw=0.8)
        ax.axvline(0, color="0.7", lw=0.8)
        ax.set(title=title, xlabel="t in $Z + t\\,\\mathrm{MSSA}(Z)$")
    axes[0].set_ylabel("change of $R^c$ (%)")
    axes[0].legend(fontsize=9)
    plt.close(fig)
    return fig


def sign_facts(mix: Mixture, eps_sq: float = COARSE) -> dict[str, Any]:
    """What the network's step, ``Z + MSSA(Z)``, does to the rate: as the tokens are, and at length one."""
    _, raw, unit = sign_sweep(mix, network_sharpness(mix.bases), eps_sq)
    return {"raw": raw[-1] / 100, "unit": -unit[-1] / 100}


LEDGER_FORMATS = {
    "cosine with descent": ".2f",
    "$R^c$ as is (%)": ".0f",
    "$R^c$ at length one (%)": ".1f",
    "outside (%)": ".0f",
}
"""Of the columns of :func:`ledger`."""


def ledger(mix: Mixture, eps_sq: float, share: float = SHARE) -> list[dict[str, Any]]:
    """Every kind of step: its cosine with steepest descent, its effect on the rate, and the share outside after it."""
    Z, U = mix.tokens, mix.bases
    gradient, before = compression_rate_gradient(Z, U, eps_sq), rates(Z, U, eps_sq)
    rows = []
    for name, moved in steps(mix, eps_sq, share).items():
        after = rates(moved, U, eps_sq)
        rows.append(
            {
                "ε²": f"{eps_sq}",
                "step": name,
                "cosine with descent": float(
                    F.cosine_similarity((moved - Z).flatten(), -gradient.flatten(), dim=0)
                ),
                "$R^c$ as is (%)": 100 * (after[0] / before[0] - 1),
                "$R^c$ at length one (%)": 100 * (after[1] / before[1] - 1),
                "outside (%)": 100 * share_outside(moved, mix),
            }
        )
    return rows


def playground_tokens() -> dict[str, Any]:
    """What the playground ``compression`` shows: 64 tokens in 32 dimensions, near four subspaces of eight."""
    small = mixture_of_subspaces(64, d=32, K=4, p=8, noise=0.6, seed=6)
    return {
        "tokens": small.tokens.numpy().round(4).tolist(),
        "bases": small.bases.numpy().round(7).tolist(),
        "labels": small.labels.tolist(),
        "step": "softmax",
    }


# ---- denoising ------------------------------------------------------------------------------------------------------


def noisy_lines(count: int, noise: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Three lines of the plane, which of them each token was drawn from, the clean tokens and the noisy ones."""
    way = torch.deg2rad(torch.tensor([20.0, 80.0, 140.0], dtype=torch.float64))
    U, rng = torch.stack([way.cos(), way.sin()], -1)[..., None], torch.Generator().manual_seed(seed)
    which = torch.arange(count) % len(U)
    clean = torch.randn(count, 1, generator=rng, dtype=torch.float64) * U[which, :, 0]
    return U, which, clean, clean + noise * torch.randn(count, 2, generator=rng, dtype=torch.float64)


def denoising_picture(noise: float = 0.3) -> Figure:
    """Noisy tokens around three lines, the exact posterior mean, and attention over the lines."""
    U, which, _, X = noisy_lines(120, noise)
    shown = {
        "noisy": X,
        "exact posterior mean": posterior_mean(X, U, noise),
        "attention over subspaces": denoise(X, U, noise),
    }
    fig, axes = plt.subplots(1, 3, figsize=(figures.WIDTH, 2.95))
    colours = np.array([BLUE, ORANGE, GREEN])[which]
    for ax, (title, points) in zip(axes, shown.items(), strict=True):
        for u in U[..., 0]:
            ax.axline((0, 0), u.tolist(), color="0.75", lw=1, zorder=0)
        if title != "noisy":
            for pair in torch.stack([X, points], 1).numpy():
                ax.plot(*pair.T, color="0.8", lw=0.7, zorder=1)
        ax.scatter(*points.T, c=colours, s=12, zorder=2)
        ax.set(xlim=(-2.2, 2.2), ylim=(-2.2, 2.2), aspect="equal", xticks=[], yticks=[])
        ax.set_title(title, fontsize=10)
        sns.despine(ax=ax, left=True, bottom=True)
    plt.close(fig)
    return fig


def denoising_errors(noise: float, count: int = 30_000) -> dict[str, Any]:
    """Mean squared error of four guesses for the clean token, in units of the noise's variance."""
    U, _, clean, X = noisy_lines(count, noise)
    Xk = project(X, U)
    nearest = torch.einsum("knp,kdp->knd", Xk, U)[Xk.square().sum(-1).argmax(0), torch.arange(count)]
    guesses = {
        "noisy": X,
        "nearest": nearest,
        "attention": denoise(X, U, noise),
        "posterior": posterior_mean(X, U, noise),
    }
    return {name: float((z - clean).square().sum(-1).mean() / noise**2) for name, z in guesses.items()}


def denoising_facts() -> dict[str, Any]:
    """The errors at little and at much noise."""
    few, much = denoising_errors(0.05), denoising_errors(0.3)
    return {f"{name}_few": v for name, v in few.items()} | {f"{name}_much": v for name, v in much.items()}


# ---- in a trained network -------------------------------------------------------------------------------------------

MOVES = {
    "Neumann": "Neumann",
    "softmax": "softmax for the series",
    "Z for the sum": "… Z for the sum over subspaces",
    "Z dropped": "… no shrinking (tied MSSA)",
    "as run": "… W learned (as run)",
}
"""The replacements, one on top of the other, as a figure names them."""


@dataclass(frozen=True)
class LayerTokens:
    """One layer of a network at work, in float64: its tokens, what its attention sees, and its own bases."""

    before: Float[Tensor, "b n d"]
    seen: Float[Tensor, "b n d"]
    after: Float[Tensor, "b n d"]
    U: Float[Tensor, "K d p"]

    @property
    def unit(self) -> Float[Tensor, "b n d"]:
        """What attention sees, at length one."""
        return F.normalize(self.seen, dim=-1)


def layer_tokens(model: CRATE, run: Record, layer: int) -> LayerTokens:
    """One layer out of a record of :data:`RECORDED`."""
    kept = [run[name][layer].double() for name in RECORDED]
    return LayerTokens(*kept, model.blocks[layer].attention.U.detach().double())


def moves(at: LayerTokens, eps_sq: float = COARSE) -> dict[str, Tensor]:
    """Where each replacement would move the layer's own tokens; the last is where the layer does move them."""
    unit, U = at.unit, at.U
    gathered = gather(softmax_attention(at.seen, U, U.shape[-1] ** -0.5), unit, U)
    return {
        "Neumann": -neumann_gradient(unit, U, eps_sq),
        "softmax": gathered - lift(project(unit, U), U),
        "Z for the sum": gathered - unit,
        "Z dropped": gathered,
        "as run": at.after - at.before,
    }


def mean_cosine(a: Float[Tensor, "b n d"], b: Float[Tensor, "b n d"]) -> float:
    """Cosine of two moves of all tokens of an image, mean over the images."""
    return float(F.cosine_similarity(a.flatten(1), b.flatten(1)).mean())


def descent_cosines(model: CRATE, run: Record, eps_sq: float = COARSE) -> dict[str, list[float]]:
    """For every replacement, by layer, the cosine of its move with steepest descent on the layer's rate."""
    found: dict[str, list[float]] = {name: [] for name in MOVES}
    for layer in range(model.config.depth):
        at = layer_tokens(model, run, layer)
        downhill = -compression_rate_gradient(at.unit, at.U, eps_sq)
        for name, move in moves(at, eps_sq).items():
            found[name].append(mean_cosine(move, downhill))
    return found


def chain_by_layer(cosines: Mapping[str, Sequence[float]]) -> Figure:
    """What is left of the gradient's direction after each replacement, by layer."""
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 3.1))
    for (name, values), marker in zip(cosines.items(), "osD^v", strict=True):
        ax.plot(range(len(values)), values, marker=marker, ms=5, label=MOVES[name])
    ax.axhline(0, color="0.7", lw=0.8)
    ax.set(xlabel="layer", ylabel="cosine with steepest descent", ylim=(-1.05, 1.05))
    ax.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    plt.close(fig)
    return fig


def norm_facts(model: CRATE, run: Record) -> dict[str, Any]:
    """What the LayerNorm before attention does to tokens, and whom tokens of the network look at most.

    Length ratios and cosines are means over the tokens of a layer; the lowest and the highest layer are given. The
    last pair is the step ``kappa gamma`` of which the network's would be a multiple if LayerNorm changed length alone.
    """
    ratios, cosines, alone, conditions, sums, outputs = [], [], [], [], [], []
    for layer in range(model.config.depth):
        at = layer_tokens(model, run, layer)
        ratios.append(float((at.seen.norm(dim=-1) / at.before.norm(dim=-1)).mean()))
        cosines.append(float(F.cosine_similarity(at.seen, at.before, dim=-1).mean()))
        S = softmax_attention(at.seen, at.U, at.U.shape[-1] ** -0.5)
        alone.append(float((S.argmax(-1) == torch.arange(S.shape[-1])).double().mean()))
        conditions.append(float(neumann_condition(at.unit, at.U, FINE).amax(-1).mean()))
        sums.append(mean_cosine(lift(project(at.unit, at.U), at.U), at.unit))
        attention = model.blocks[layer].attention
        W, tied = attention.out.weight.detach().flatten(), attention.project.weight.detach().mT.flatten()
        outputs.append(float(F.cosine_similarity(W, tied, dim=0)))
    low, high = min(ratios), max(ratios)
    return {
        "length_low": low,
        "length_high": high,
        "share_low": low / (1 + low),
        "share_high": high / (1 + high),
        "cosine_low": min(cosines),
        "cosine_high": max(cosines),
        "look_at_self": float(np.mean(alone)),
        "condition_low": min(conditions),
        "condition_high": max(conditions),
        "sum_low": min(sums),
        "sum_high": max(sums),
        "tied_low": min(outputs),
        "tied_high": max(outputs),
    }


def control(model: CRATE, run: Record, eps_sq: float = COARSE, turns: int = 5) -> dict[str, np.ndarray]:
    """Change in % of each layer's own rate under its move, under the opposite one, and under the move turned at random.

    Returns:
        ``"as is"`` and ``"length one"`` for the scale of the tokens, each joined to the name of a move, such as
        ``"as run, length one"``: one number a layer; for the turned moves ``(turns, layers)``.
    """
    rng = torch.Generator().manual_seed(0)
    rows: dict[str, list] = {}
    for layer in range(model.config.depth):
        at = layer_tokens(model, run, layer)
        move, d = at.after - at.before, at.before.shape[-1]
        turned = [
            torch.linalg.qr(torch.randn(d, d, generator=rng, dtype=torch.float64)).Q for _ in range(turns)
        ]
        ends = {
            "as run": [move],
            "opposite": [-move],
            "common part": [move.mean(1, keepdim=True).expand_as(move)],
            "turned": [move @ Q for Q in turned],
        }
        start = _rates_of_batch(at.before, at.U, eps_sq)
        for name, tried in ends.items():
            ended = [_rates_of_batch(at.before + step, at.U, eps_sq) for step in tried]
            for scale_name in start:
                change = [100 * float((end[scale_name] / start[scale_name] - 1).mean()) for end in ended]
                rows.setdefault(f"{name}, {scale_name}", []).append(change)
    # (layers, tries) -> (tries, layers); one try is one row
    arrays = {name: np.array(values).T for name, values in rows.items()}
    return {name: values if len(values) > 1 else values[0] for name, values in arrays.items()}


def _rates_of_batch(tokens: Tensor, U: Tensor, eps_sq: float) -> dict[str, Tensor]:
    unit = F.normalize(tokens, dim=-1)
    return {
        "as is": compression_rate(tokens, U, eps_sq),
        "length one": compression_rate(unit, U, eps_sq),
    }


def draw_control(changes: Mapping[str, np.ndarray]) -> Figure:
    """By layer, the change of the rate as run beside its controls: as the tokens are, and at length one."""
    fig, axes = plt.subplots(1, 2, figsize=(figures.WIDTH, 2.6))
    titles = {"as is": "tokens as they are", "length one": "every token at length one"}
    for ax, (name, title) in zip(axes, titles.items(), strict=True):
        _draw_control(ax, {key.split(",")[0]: v for key, v in changes.items() if key.endswith(f", {name}")})
        ax.set(title=title, xlabel="layer")
    axes[0].set_ylabel("change of $R^c$ (%)")
    axes[0].legend(fontsize=8, loc="upper center")
    plt.close(fig)
    return fig


def _draw_control(ax: Axes, changes: Mapping[str, np.ndarray]) -> None:
    turned, layers = changes["turned"], range(changes["turned"].shape[1])
    ax.fill_between(layers, turned.min(0), turned.max(0), color="0.8", label="turned at random")
    ax.plot(layers, changes["as run"], marker="o", ms=5, color=BLUE, label="as run")
    ax.plot(layers, changes["opposite"], marker="v", ms=5, color=ORANGE, label="opposite sign")
    ax.plot(layers, changes["common part"], color=GREEN, ls=":", marker="s", ms=4, label="common part only")
    ax.axhline(0, color="0.6", lw=0.8)


def trained_facts(
    cosines: Mapping[str, Sequence[float]], changes: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """The numbers of what is true of this network: its direction, its rate, its controls."""
    run, turned = changes["as run, length one"], changes["turned, length one"]
    common = changes["common part, length one"]
    beyond = [str(i) for i in range(len(run)) if run[i] < turned[:, i].min()]
    down = run < 0
    return {
        "layers": len(run),
        "cosine_low": min(cosines["as run"]),
        "cosine_high": max(cosines["as run"]),
        "softmax_low": min(cosines["softmax"]),
        "dropped_low": min(cosines["Z dropped"]),
        "dropped_high": max(cosines["Z dropped"]),
        "up_raw": int((changes["as run, as is"] > 0).sum()),
        "down_unit": int(down.sum()),
        "opposite_down": int((changes["opposite, length one"] < 0).sum()),
        "beyond": len(beyond),
        "which_beyond": ", ".join(beyond),
        "common": float(common.sum() / run.sum()),
        "common_last": float(common[-1] / common.sum()),
    }


def tied_facts() -> dict[str, Any]:
    """What the derivation's output basis costs a small network: measured, two trainings a side."""
    result = json.loads(read_result("derivation/tied.json"))
    found: dict[str, Any] = {
        "epochs": result["setting"]["recipe"]["epochs"],
        "test": result["setting"]["test_images"],
    }
    for name, tied in {"free": False, "tied": True}.items():
        rows = [row for row in result["rows"] if row["tied"] == tied]
        found[f"{name}_top1"] = " and ".join(f"{100 * row['test_top1']:.1f}" for row in rows)
        found[f"{name}_parameters"] = rows[0]["parameters"]
        found["seeds"] = len(rows)
    return found
