"""Chapter 13, when does attention denoise: the runs, tables, figures and facts that its notebook calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from matplotlib.figure import Figure
from torch import Tensor

from crate_mini.checkpoints import load_pretrained
from crate_mini.compression import (
    cbsa,
    gather,
    lift,
    mssa,
    neumann_gradient,
    softmax_attention,
    threshold_attention,
    tssa,
)
from crate_mini.data.subspaces import Mixture, mixture_with_crosstalk
from crate_mini.figures import PALETTE, WIDTH, shades
from crate_mini.layerwise import bases, coordinates
from crate_mini.model import CRATE, Block
from crate_mini.passes import evaluating
from crate_mini.rates import compression_rate, compression_rate_gradient, project, snr
from crate_mini.recorder import record
from crate_mini.stats import t_interval
from crate_mini.tables import PlusMinus, table

# ---- the theorem, run -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    r"""Sizes of the theorem's experiment; the defaults are the page's.

    Attributes:
        n: tokens, in ``K`` classes of equal size.
        d: dimension of a token.
        K: subspaces.
        p: dimension of each.
        tau: threshold :math:`\tau` on the softmax.
        step: :math:`\eta`, the weight of what attention gathers.
        depth: layers.
    """

    n: int = 256
    d: int = 256
    K: int = 4
    p: int = 64
    tau: float = 0.9
    step: float = 0.5
    depth: int = 16

    @property
    def rate(self) -> float:
        r"""What a layer multiplies the signal-to-noise ratio by, by the theorem: :math:`1 + \eta\tau`."""
        return 1 + self.step * self.tau

    @property
    def reach(self) -> float:
        r""":math:`\sqrt{\log n}`, what :math:`\delta\sqrt p\,(1+\eta\tau)^\ell` has to stay below."""
        return math.sqrt(math.log(self.n))

    @property
    def largest_tau(self) -> float:
        r"""The theorem's upper end for the threshold, :math:`1/(1 + n e^{-9p/32})`; it must be above one half."""
        return 1 / (1 + self.n * math.exp(-9 * self.p / 32))

    def layers_held(self, crosstalk: float) -> int:
        r"""Layers, of ``depth``, that begin with :math:`\delta\sqrt p\,(1+\eta\tau)^\ell < \sqrt{\log n}`."""
        loud = crosstalk * math.sqrt(self.p)
        return sum(loud * self.rate**layer < self.reach for layer in range(self.depth))

    def draw(self, crosstalk: float, seed: int) -> Mixture:
        """Tokens of the theorem's model."""
        return mixture_with_crosstalk(self.n, d=self.d, K=self.K, p=self.p, crosstalk=crosstalk, seed=seed)


LENGTHS = {
    "grow": "tokens as they grow",
    "kept": "every token back at its first length after each layer",
    "inside": "attention sees every token at its first length, the tokens themselves grow",
    "layernorm": "attention sees every token at length √d, the tokens themselves grow",
}
"""What is done about the lengths of tokens."""


@dataclass(frozen=True)
class Run:
    """What :func:`run` saw.

    Attributes:
        snr: signal-to-noise ratio before the first layer and after each, mean over the classes.
        own: weight with which a token looks at itself in its own head, mean over tokens, by layer.
        itself: of all looks of a token in a foreign head, the share that end on the token itself, by layer.
        another: the share that end on one other token.
        shared: of the noise, the share of energy along the mean of the class that lives in its head, before the first
            layer and after each (:func:`shared_noise`).
    """

    snr: Tensor
    own: Tensor
    itself: Tensor
    another: Tensor
    shared: Tensor

    @property
    def growth(self) -> Tensor:
        """What each layer multiplied the ratio by."""
        return self.snr[1:] / self.snr[:-1]

    def layers_on(self, rate: float, tolerance: float = 0.05) -> int:
        """How many layers from the first on multiply the ratio by ``rate``, within a relative tolerance."""
        off = (self.growth / rate - 1).abs() > tolerance
        return int(off.int().argmax()) if off.any() else len(off)


def run(
    mixture: Mixture,
    *,
    step: float,
    depth: int,
    tau: float | None = None,
    sharpness: float = 1.0,
    length: str = "grow",
    centred: bool = False,
) -> Run:
    r"""A stack of attention layers without parameters of their own, :math:`Z + \eta \sum_k A_k Z_k U_k^\top`.

    Args:
        mixture: tokens and the bases, which every layer shares.
        step: :math:`\eta`; negative for the minus sign.
        depth: layers.
        tau: the threshold of :func:`~crate_mini.compression.threshold_attention`; None for the plain softmax.
        sharpness: :math:`\beta` inside the softmax.
        length: one of :data:`LENGTHS`.
        centred: :math:`A_k - \tfrac1n \mathbf 1 \mathbf 1^\top` in the place of :math:`A_k`: what is gathered, less the
            plain mean of all tokens.

    Raises:
        ValueError: another ``length``.
    """
    if length not in LENGTHS:
        raise ValueError(f"length must be one of {', '.join(LENGTHS)}; got {length!r}")
    Z, U, labels = mixture.tokens, mixture.bases, mixture.labels
    first = Z.norm(dim=-1, keepdim=True)
    own = labels == torch.arange(len(U))[:, None]  # (K, n)
    ratios, shared, looks = [snr(Z, U, labels).mean()], [shared_noise(Z, U, labels)], []
    for _ in range(depth):
        X = Z
        if length in ("inside", "layernorm"):
            size = first if length == "inside" else math.sqrt(Z.shape[-1])
            X = size * F.normalize(Z, dim=-1)
        A = softmax_attention(X, U, sharpness) if tau is None else threshold_attention(X, U, tau, sharpness)
        Z = Z + step * gather(A - 1 / len(Z) if centred else A, X, U)
        if length == "kept":
            Z = first * F.normalize(Z, dim=-1)
        ratios.append(snr(Z, U, labels).mean())
        shared.append(shared_noise(Z, U, labels))
        diagonal = A.diagonal(dim1=-2, dim2=-1)
        strong = A.amax(-1) > 0.5  # one token has most of the weight
        itself = diagonal > 0.5
        looks.append(
            [diagonal[own].mean(), itself[~own].double().mean(), (strong & ~itself)[~own].double().mean()]
        )
    looks = torch.tensor(looks, dtype=torch.float64).unbind(-1)
    return Run(torch.stack(ratios), *looks, torch.stack(shared))


def shared_noise(
    Z: Float[Tensor, "n d"], U: Float[Tensor, "K d p"], labels: Int[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Of what tokens have in the subspaces of others, the share of energy along one direction in each.

    The direction is the mean of the tokens that live there. Chance gives about ``1 / p``.
    """
    along = total = 0.0
    for k, Zk in enumerate(project(Z, U)):
        foreign = Zk[labels != k]
        along = along + (foreign @ F.normalize(Zk[labels == k].mean(0), dim=0)).square().sum()
        total = total + foreign.square().sum()
    return along / total


Runs = Mapping[tuple[float, str], Sequence[Run]]
"""``runs[crosstalk, length]``, one a seed."""


def theorem_runs(
    setting: Setting, crosstalks: Sequence[float], lengths: Sequence[str], seeds: Sequence[int]
) -> Runs:
    """The theorem's layer, for all noises and lengths; a seed draws the same tokens for every length."""
    drawn = {delta: [setting.draw(delta, seed) for seed in seeds] for delta in crosstalks}
    return {
        (delta, length): [
            run(mixture, step=setting.step, depth=setting.depth, tau=setting.tau, length=length)
            for mixture in mixtures
        ]
        for delta, mixtures in drawn.items()
        for length in lengths
    }


def smaller_runs(crosstalks: Sequence[float]) -> dict[Setting, Runs]:
    """Two draws of tokens of half the dimension, which grow."""
    setting = Setting(d=128, p=32)
    return {setting: theorem_runs(setting, crosstalks, ("grow",), (0, 1))}


def softmax_runs(
    setting: Setting, crosstalks: Sequence[float], seeds: Sequence[int], *, centred: bool = False
) -> Runs:
    r"""The softmax of the network in its place, :math:`\beta = p^{-1/2}`, tokens back at their first length."""
    return {
        (delta, "kept"): [
            run(
                setting.draw(delta, seed),
                step=setting.step,
                depth=setting.depth,
                sharpness=setting.p**-0.5,
                length="kept",
                centred=centred,
            )
            for seed in seeds
        ]
        for delta in crosstalks
    }


# ---- numbers with their intervals ---------------------------------------------------------------------------


def spread(values: Sequence[float]) -> PlusMinus | float:
    """Mean and half the width of its 95 % interval over draws, both rounded to what the interval allows."""
    mean, low, _ = t_interval(values)
    half = mean - low
    if not half >= 5e-4:  # the same in every draw, or a single one
        return round(mean, 3)
    places = min(3, -math.floor(math.log10(half)))
    return PlusMinus(round(mean, places), round(half, places))


def theorem_table(runs: Runs, setting: Setting) -> Any:
    """A column for each noise: how long the rate holds, peak and end; rescaled; with the length fixed inside."""
    rows: dict[str, list] = {}
    deltas = sorted({delta for delta, _ in runs})
    for delta in deltas:
        grow, kept, inside = (runs[delta, length] for length in ("grow", "kept", "inside"))
        for name, cell in {
            "start": spread([float(r.snr[0]) for r in grow]),
            "layers on the rate": float(np.mean([r.layers_on(setting.rate) for r in grow])),
            "… estimated": setting.layers_held(delta),
            "highest": spread([float(r.snr.max()) for r in grow]),
            "end": spread([float(r.snr[-1]) for r in grow]),
            "rescaled: rate": spread([rate_over(r) for r in kept]),
            "rescaled: end": spread([float(r.snr[-1]) for r in kept]),
            "fixed inside: end": spread([float(r.snr[-1]) for r in inside]),
        }.items():
            rows.setdefault(name, []).append(cell)
    heads = [f"δ = {delta}" for delta in deltas]
    told = [{"": name} | dict(zip(heads, cells, strict=True)) for name, cells in rows.items()]
    return table(told, dict.fromkeys(heads, ",.4g"))


def rate_over(seen: Run) -> float:
    """By what every layer would have multiplied the ratio, were it the same in all."""
    return float((seen.snr[-1] / seen.snr[0]) ** (1 / (len(seen.snr) - 1)))


def answer_facts(runs: Runs, setting: Setting, low: float, high: float) -> dict[str, object]:
    """The first screen: the rate, how long it holds at two noises, where tokens end, what rescaling gives.

    Args:
        runs: of :func:`theorem_runs`.
        setting: of the runs.
        low: a noise within the theorem's condition.
        high: one outside.
    """
    grow, kept, out = runs[low, "grow"], runs[low, "kept"], runs[high, "kept"]
    held = [r.layers_on(setting.rate) for r in grow]
    one = run(setting.draw(low, 0), step=setting.step, depth=1)
    return {
        "rate": setting.rate,
        "depth": setting.depth,
        "seeds": len(grow),
        "low": low,
        "held": float(np.mean(held)),
        "first_rate": torch.stack([r.growth[0] for r in grow]).mean().item(),
        "start": float(np.mean([r.snr[0] for r in grow])),
        "peak": float(np.mean([r.snr.max() for r in grow])),
        "end": float(np.mean([r.snr[-1] for r in grow])),
        "rescaled_end": float(np.mean([r.snr[-1] for r in kept])),
        "rescaled_rate": float(np.mean([rate_over(r) for r in kept])),
        "high": high,
        "outside_start": float(np.mean([r.snr[0] for r in out])),
        "outside_end": float(np.mean([r.snr[-1] for r in out])),
        "rest": 1 - float(one.own[0]),
    }


# ---- figures of the theorem -----------------------------------------------------------------------------------


def _mean(curves: Iterable[Tensor]) -> np.ndarray:
    return torch.stack(list(curves)).mean(0).numpy()


def _colours(names: Sequence) -> dict:
    return dict(zip(names, shades(len(names) + 1), strict=False))


def growth_figure(runs: Runs, setting: Setting) -> Figure:
    r"""Signal-to-noise ratio by layer, mean over draws, against :math:`(1+\eta\tau)^\ell`; a panel for each length."""
    titles = {"grow": "as they grow", "kept": "rescaled after every layer", "inside": "length fixed inside"}
    fig, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.6), sharey=True)
    deltas = sorted({delta for delta, _ in runs})
    layers = np.arange(setting.depth + 1)
    for ax, (length, title) in zip(axes, titles.items(), strict=True):
        for delta, colour in _colours(deltas).items():
            curve = _mean(r.snr for r in runs[delta, length])
            ax.plot(layers, curve[0] * setting.rate**layers, color=colour, ls="--", lw=1, alpha=0.7)
            ax.plot(layers, curve, color=colour, lw=2, label=f"δ = {delta}")
        ax.set(title=title, xlabel="layer", yscale="log", ylim=(0.4, 5000))
    axes[0].set_ylabel("signal-to-noise ratio")
    axes[0].plot([], [], color="0.4", ls="--", lw=1, label=f"{setting.rate:.3g} a layer")
    axes[0].legend(fontsize=8, loc="upper left")
    plt.close(fig)
    return fig


def locking_figure(found: Mapping[Setting, Runs]) -> Figure:
    r"""Share of looks in foreign heads that end on one other token, against :math:`\delta\sqrt p\,(1+\eta\tau)^\ell`.

    One marker a layer; a marker's shape is the setting, its colour the noise. The line is :math:`\sqrt{\log n}`. Of the
    runs those are shown whose tokens grow, with the noises that every setting has.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 2.6))
    grown = ({delta for delta, length in runs if length == "grow"} for runs in found.values())
    colours = _colours(sorted(set.intersection(*grown)))
    for (setting, runs), marker in zip(found.items(), "osD^", strict=False):
        layers = np.arange(setting.depth)
        for delta, colour in colours.items():
            loud = delta * math.sqrt(setting.p) * setting.rate**layers
            share = 100 * _mean(r.another for r in runs[delta, "grow"])
            ax.plot(
                loud / setting.reach,
                share,
                marker=marker,
                ms=5,
                lw=0.8,
                color=colour,
                label=f"δ = {delta}, n = {setting.n}, p = {setting.p}",
            )
    ax.axvline(1, color="0.4", lw=1, ls="--")
    ax.set(xlim=(0, 2.6), ylim=(-1, 40), ylabel="looks in foreign heads\nthat lock on another (%)")
    ax.set_xlabel(r"$\delta\sqrt{p}\,(1+\eta\tau)^\ell\;/\;\sqrt{\log n}$")
    ax.legend(fontsize=8, loc="upper left")
    plt.close(fig)
    return fig


def softmax_figure(plain: Runs, centred: Runs, setting: Setting) -> Figure:
    """The network's softmax: ratio by layer with its peak, where the noise lies, and the ratio without the mean."""
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(WIDTH, 2.7))
    deltas = sorted({delta for delta, _ in plain})
    for delta, colour in _colours(deltas).items():
        curve = _mean(r.snr for r in plain[delta, "kept"])
        peak = int(curve.argmax())
        left.plot(curve, color=colour, lw=2, label=f"δ = {delta}: {peak}")
        left.plot(peak, curve[peak], "o", color=colour, ms=6)
        middle.plot(100 * _mean(r.shared for r in plain[delta, "kept"]), color=colour, lw=2)
        right.plot(_mean(r.snr for r in centred[delta, "kept"]), color=colour, lw=2)
    left.set(title="softmax: ratio", ylim=(0, None))
    left.legend(fontsize=8, title="peak after layer", title_fontsize=8)
    middle.set(title="noise along class means (%)", ylim=(0, 102))
    right.set(title="softmax − mean: ratio", yscale="log")
    for ax in (left, middle, right):
        ax.set(xlabel="layer", xticks=range(0, setting.depth + 1, 4))
    plt.close(fig)
    return fig


def softmax_facts(plain: Runs, centred: Runs, setting: Setting) -> dict[str, float]:
    """Peaks (means over draws), how much a token looks at itself, the noise's direction, and what the mean costs."""

    def average(runs: Runs, delta: float, of: Callable[[Run], Tensor]) -> float:
        return float(np.mean([float(of(r)) for r in runs[delta, "kept"]]))

    deltas = sorted({delta for delta, _ in plain})
    peaks = [average(plain, delta, lambda r: r.snr.argmax()) for delta in deltas]
    low, high = deltas[0], deltas[-1]
    return {
        "earliest": min(peaks),
        "latest": max(peaks),
        "own": float(np.mean([average(plain, delta, lambda r: r.own[0]) for delta in deltas])),
        "shared_first": average(plain, low, lambda r: r.shared[0]),
        "shared_last": min(average(plain, delta, lambda r: r.shared[-1]) for delta in deltas),
        "size": (setting.K / setting.n) ** 0.5,
        "loud": high,
        "loud_start": average(plain, high, lambda r: r.snr[0]),
        "loud_end": average(plain, high, lambda r: r.snr[-1]),
        "loud_centred": average(centred, high, lambda r: r.snr[-1]),
        "quiet": low,
        "quiet_end": average(plain, low, lambda r: r.snr[-1]),
        "quiet_centred": average(centred, low, lambda r: r.snr[-1]),
    }


# ---- signs ------------------------------------------------------------------------------------------------------

QUANTITIES = ("rate", "rate, length one", "ratio", "ratio, length one")


def measured(Z: Tensor, U: Tensor, labels: Tensor, eps_sq: float) -> dict[str, float]:
    """Compression rate and signal-to-noise ratio, of tokens as they are and at length one."""
    unit = F.normalize(Z, dim=-1)
    return {
        "rate": float(compression_rate(Z, U, eps_sq)),
        "rate, length one": float(compression_rate(unit, U, eps_sq)),
        "ratio": float(snr(Z, U, labels).mean()),
        "ratio, length one": float(snr(unit, U, labels).mean()),
    }


def moves(mixture: Mixture, eps_sq: float, seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    r"""Every step of the table, by name: where it starts, and where it wants to go.

    Tokens have length one; attention sees them at length :math:`\sqrt d`, as behind a LayerNorm.
    """
    Z = F.normalize(mixture.tokens, dim=-1)
    U, (n, d) = mixture.bases, Z.shape
    seen = math.sqrt(d) * Z
    attention = mssa(seen, U) / math.sqrt(d)
    first = lift(project(Z, U), U)
    second = neumann_gradient(Z, U, eps_sq) * n * eps_sq / U.shape[-1] - first
    dice = torch.Generator().manual_seed(seed)
    free = torch.linalg.qr(torch.randn(d, d, generator=dice, dtype=Z.dtype)).Q
    fours = torch.arange(n) * (n // 4) // n  # four neighbours make a representative
    pooling = F.normalize(F.one_hot(fours).T.to(Z), p=1, dim=-1)
    each = torch.ones(len(U), dtype=Z.dtype)  # a number for every head
    encoded = Z + attention
    decoder = -mssa(math.sqrt(d) * F.normalize(encoded, dim=-1), U)
    return {
        "exact gradient": (Z, -compression_rate_gradient(Z, U, eps_sq)),
        "first order": (Z, -first),
        "second order": (Z, -second),
        "both orders": (Z, -(first + second)),
        "MSSA − Z": (Z, attention - Z),
        "+ MSSA, tied": (Z, attention),
        "− MSSA, tied": (Z, -attention),
        "+ MSSA, free": (Z, attention @ free),
        "TSSA": (Z, tssa(seen, U, n / 4 * each)),
        "CBSA": (Z, cbsa(seen, U, pooling, each / 2, each / 2)),
        "decoder's −": (encoded, decoder),
    }


def sign_changes(
    setting: Setting, crosstalk: float, seeds: Sequence[int], *, eps_sq: float = 0.5, size: float = 0.2
) -> dict[str, dict[str, list[float]]]:
    """Per cent by which each step changes rate and ratio: ``changes[step][quantity]``, one number a draw.

    Args:
        setting: sizes of the mixture.
        crosstalk: its noise.
        seeds: one draw each.
        eps_sq: precision of the rate.
        size: every step is scaled to this share of the tokens' length, so that directions are compared.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for seed in seeds:
        mixture = setting.draw(crosstalk, seed)
        for name, (start, move) in moves(mixture, eps_sq, seed).items():
            end = start + size * start.norm() / move.norm() * move
            before, after = (measured(Z, mixture.bases, mixture.labels, eps_sq) for Z in (start, end))
            row = found.setdefault(name, {quantity: [] for quantity in QUANTITIES})
            for quantity in QUANTITIES:
                row[quantity].append(100 * (after[quantity] / before[quantity] - 1))
    return found


def signs_table(changes: Mapping[str, Mapping[str, Sequence[float]]]) -> Any:
    """The changes in per cent with their intervals over draws."""
    heads = {
        "rate": "$R^c$, as they are (%)",
        "rate, length one": "$R^c$, length one (%)",
        "ratio": "SNR, as they are (%)",
        "ratio, length one": "SNR, length one (%)",
    }
    rows = []
    for name, row in changes.items():
        cells = {heads[q]: t_interval(row[q])[:2] for q in QUANTITIES}
        rows.append({"step": name} | {k: PlusMinus(mean, mean - low) for k, (mean, low) in cells.items()})
    return table(rows, dict.fromkeys(heads.values(), ".1f"))


def agreement(changes: Mapping[str, Mapping[str, Sequence[float]]], suffix: str = "") -> tuple[int, int]:
    """How many steps move rate and ratio in opposite directions, and how many move both beyond doubt."""
    agree = counted = 0
    for row in changes.values():
        rate, ratio = (t_interval(row[name + suffix]) for name in ("rate", "ratio"))
        if any(low <= 0.05 and high >= -0.05 for _, low, high in (rate, ratio)):
            continue  # not told from no change at all
        counted += 1
        agree += rate[0] * ratio[0] < 0
    return agree, counted


def sign_facts(changes: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, int | float]:
    """What the text says of the table: agreement of rate and ratio, and some changes in per cent."""

    def mean(step: str, quantity: str) -> float:
        return float(np.mean(changes[step][quantity]))

    (raw, raw_of), (unit, unit_of) = agreement(changes), agreement(changes, ", length one")
    return {
        "draws": len(changes["+ MSSA, tied"]["rate"]),
        "raw": raw,
        "raw_of": raw_of,
        "unit": unit,
        "unit_of": unit_of,
        "plus_rate": mean("+ MSSA, tied", "rate"),
        "second_rate": mean("second order", "rate"),
        "plus_ratio": mean("+ MSSA, tied", "ratio, length one"),
        "exact_ratio": mean("exact gradient", "ratio, length one"),
        "keep_ratio": mean("MSSA − Z", "ratio, length one"),
        "tssa_rate": mean("TSSA", "rate"),
        "tssa_ratio": mean("TSSA", "ratio"),
    }


def undo(setting: Setting, crosstalk: float, seeds: Sequence[int], share: float) -> dict[str, float]:
    r"""How much of an attention step a decoder's step leaves, relative to the step, mean over draws.

    :math:`Y = Z + c\,\mathrm{MSSA}(Z)`, tokens of length :math:`\sqrt d`; then
    :math:`Y - c\,\mathrm{MSSA}(\mathrm{LN}(Y))` as CRATE-MAE's decoder has it (arXiv 2404.02446), the same with a
    plus, and both without the LayerNorm.

    Returns:
        ``{"minus", "plus", "without norm", "plus without norm"}``:
        :math:`\lVert \text{result} - Z\rVert / \lVert Y - Z\rVert`.
    """
    left: dict[str, list[float]] = {"minus": [], "plus": [], "without norm": [], "plus without norm": []}
    for seed in seeds:
        mixture = setting.draw(crosstalk, seed)
        U, long = mixture.bases, math.sqrt(setting.d)
        Z = long * F.normalize(mixture.tokens, dim=-1)
        Y = Z + share * mssa(Z, U)
        normed, plain = mssa(long * F.normalize(Y, dim=-1), U), mssa(Y, U)
        for name, end in (
            ("minus", Y - share * normed),
            ("plus", Y + share * normed),
            ("without norm", Y - share * plain),
            ("plus without norm", Y + share * plain),
        ):
            left[name].append(float((end - Z).norm() / (Y - Z).norm()))
    return {name: float(np.mean(values)) for name, values in left.items()}


def undo_facts(setting: Setting, crosstalk: float, seeds: Sequence[int]) -> dict[str, float]:
    """What the decoder's step leaves of a small and of a full step of attention."""
    small, full = (undo(setting, crosstalk, seeds, share) for share in (0.1, 1.0))
    return {
        "small_minus": small["minus"],
        "full_minus": full["minus"],
        "full_plus": full["plus"],
        "full_without": full["without norm"],
    }


# ---- trained networks -------------------------------------------------------------------------------------------


def best_head_snr(
    Z: Float[Tensor, "b n d"], U: Float[Tensor, "K d p"]
) -> tuple[Float[Tensor, " b"], Int[Tensor, "b n"]]:
    r"""Signal-to-noise ratio without labels: a token's class is the head whose span holds most of it.

    Over all tokens of an image, the length within each token's best head over the length of what is left.

    Returns:
        The ratio of each image, ``(b,)``, and the best head of each token, ``(b, n)``.
    """
    energy = project(Z, torch.linalg.qr(U).Q).square().sum(-1)
    best, head = energy.max(-2)
    rest = Z.square().sum(-1) - best
    return (best.sum(-1) / rest.sum(-1)).sqrt(), head


def random_frames(like: Float[Tensor, "K d p"], seed: int) -> Float[Tensor, "K d p"]:
    """Orthonormal bases of the same sizes, each in a random direction."""
    dice = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(like.shape, generator=dice, dtype=torch.float64)).Q


Layers = Mapping[str, Float[Tensor, "L n"]]
"""Name of a quantity -> one number for each layer and image."""


def network_layers(
    model: CRATE, images: Shaped[Tensor, "n 3 h w"], *, frames: int = 5, seed: int = 0
) -> Layers:
    r"""What attention does in every layer of a network to the tokens that it sees.

    Tokens are measured behind attention's own LayerNorm, before the step, :math:`\mathrm{LN}(Z^\ell)`, and after it,
    :math:`\mathrm{LN}(Z^{\ell+1/2})`.

    Args:
        model: a network whose attention has one projection for queries and keys.
        images: uint8, or float in [0, 1].
        frames: draws of random frames.
        seed: of these.

    Returns:
        ``before`` and ``after``, the ratio of :func:`best_head_snr` with the layer's own bases; ``opposite``, after the
        same step with its sign turned; ``random``, before, in random frames of the same size, mean over the draws;
        ``own`` and ``foreign``, the weight with which a token looks at itself in its best head and in the others;
        ``looks``, among how many tokens a look is spread, the exponential of its entropy.

    Raises:
        ValueError: a network whose queries and keys differ, where no span stands for a head.
    """
    if not all(block.attention.symmetric for block in model.blocks):
        raise ValueError("queries and keys differ in this network: which subspace should a token belong to?")
    places = ("tokens_in", "attention_in", "tokens_mid")
    with evaluating(model):
        seen = record(model, images, places)
        layers = [
            _one_layer(block, *(seen[place][i] for place in places), frames=frames, seed=seed + 1000 * i)
            for i, block in enumerate(model.blocks)
        ]
    return {name: torch.stack([layer[name] for layer in layers]) for name in layers[0]}


@torch.no_grad()
def _one_layer(
    block: Block, stream: Tensor, attention_in: Tensor, stream_after: Tensor, *, frames: int, seed: int
) -> dict[str, Float[Tensor, " n"]]:
    U = bases(block.attention).double()
    before = attention_in.double()
    after, opposite = (block.norm1(Z).double() for Z in (stream_after, 2 * stream - stream_after))
    ratio, head = best_head_snr(before, U)
    Zk = coordinates(block.attention, attention_in).double()
    weights = (Zk @ Zk.mT / math.sqrt(Zk.shape[-1])).softmax(-1)
    diagonal = weights.diagonal(dim1=-2, dim2=-1)  # (b, K, n)
    own = diagonal.gather(1, head[:, None])[:, 0]
    chance = [best_head_snr(before, random_frames(U, seed + i))[0] for i in range(frames)]
    return {
        "before": ratio,
        "after": best_head_snr(after, U)[0],
        "opposite": best_head_snr(opposite, U)[0],
        "random": torch.stack(chance).mean(0),
        "own": own.mean(-1),
        "foreign": (diagonal.sum(1) - own).mean(-1) / (len(U) - 1),
        "looks": torch.special.entr(weights).sum(-1).exp().mean((1, 2)),
    }


def untrained(model: CRATE, seed: int = 0) -> CRATE:
    """A network of the same sizes as it is before training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CRATE(replace(model.config)).eval()


NETWORKS = {
    "200 classes": "crate_mini_all_lion_s0",
    "25 animals": "crate_mini_animals_s0",
    "drawn animals": "crate_nano_embedded",
}
"""What was learned -> weights that ship with the package, one training each."""


def networks(images: Shaped[Tensor, "n 3 h w"]) -> tuple[dict[str, Layers], dict[str, Layers]]:
    """:func:`network_layers` of all :data:`NETWORKS`, and of an untrained network of each one's sizes."""
    models = {told: load_pretrained(name) for told, name in NETWORKS.items()}
    return (
        {told: network_layers(model, images) for told, model in models.items()},
        {told: network_layers(untrained(model), images) for told, model in models.items()},
    )


def networks_figure(found: Mapping[str, Layers], controls: Mapping[str, Layers]) -> Figure:
    """A column for each network: signal to noise by layer above, how much a token looks at itself below."""
    fig, axes = plt.subplots(2, len(found), figsize=(WIDTH, 3.5), sharey="row", squeeze=False)
    blue, orange = PALETTE[:2]
    for (above, below), (name, seen) in zip(axes.T, found.items(), strict=True):
        mean, control = ({k: v.mean(-1).numpy() for k, v in rows.items()} for rows in (seen, controls[name]))
        above.plot(mean["before"], color=blue, marker="o", ms=4, label="before attention")
        above.plot(mean["after"], color=orange, marker="v", ms=4, label="after attention")
        above.plot(mean["random"], color="0.55", lw=1.2, label="in random frames")
        above.plot(control["before"], color="0.3", lw=1.2, ls=":", label="untrained network")
        above.set(title=name, ylim=(0, 1))
        below.plot(100 * mean["own"], color=blue, marker="o", ms=4, label="in its own head")
        below.plot(100 * mean["foreign"], color=orange, marker="v", ms=4, label="in the others")
        below.plot(100 * control["own"], color="0.3", lw=1.2, ls=":", label="untrained, own head")
        below.set(xlabel="layer", ylim=(0, 102))
        for ax in (above, below):
            ax.set_xticks(range(len(mean["own"])))
    axes[0, 0].set_ylabel("signal to noise")
    axes[1, 0].set_ylabel("looks at itself (%)")
    for row, loc in zip(axes, ("lower left", "upper right"), strict=True):
        row[-1].legend(fontsize=7, loc=loc)
    plt.close(fig)
    return fig


def network_facts(found: Mapping[str, Layers], controls: Mapping[str, Layers]) -> dict[str, int | float]:
    """Counts of layers, told by 95 % intervals over images, and ranges of layer means, over all networks.

    ``lower`` and ``higher``: layers in which attention changes the ratio beyond doubt; ``mirrored``: in which the
    opposite sign leaves a higher one; ``above``: in which it is higher in the own bases than in random frames.
    """
    counts = dict.fromkeys(("lower", "higher", "mirrored", "above"), 0)
    for seen in found.values():
        for before, after, opposite, random in zip(
            *(seen[k] for k in ("before", "after", "opposite", "random")), strict=True
        ):
            _, low, high = t_interval((after / before - 1).tolist())
            counts["lower"] += high < 0
            counts["higher"] += low > 0
            counts["mirrored"] += t_interval((opposite - after).tolist())[1] > 0
            counts["above"] += t_interval((before - random).tolist())[1] > 0
    of = {k: torch.cat([seen[k].mean(-1) for seen in found.values()]) for k in next(iter(found.values()))}
    blank = torch.cat([seen["before"].mean(-1) for seen in controls.values()])
    shapes = [seen["before"].shape for seen in found.values()]
    return {k: int(v) for k, v in counts.items()} | {
        "layers": sum(layers for layers, _ in shapes),
        "images": shapes[0][1],
        "networks": len(found),
        "own_least": float(of["own"].min()),
        "own_most": float(of["own"].max()),
        "looks_least": float(of["looks"].min()),
        "looks_most": float(of["looks"].max()),
        "least": float(of["before"].min()),
        "most": float(of["before"].max()),
        "random": float(of["random"].mean()),
        "untrained": float(blank.mean()),
    }
