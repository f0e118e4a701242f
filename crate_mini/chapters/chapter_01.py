"""Figures and facts of chapter 01, the coding rate.

All sets of tokens are rows, ``(n, d)``, in float64; rates are in nats a token.
"""

from __future__ import annotations

import lzma
import math
from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Float, Shaped
from matplotlib.figure import Figure
from torch import Tensor

from crate_mini import data, figures
from crate_mini.rates import coding_rate

NATS_PER_BIT = math.log(2)
ROUNDING_LOSS = 0.5 * math.log(2 * math.pi * math.e / 12)
"""Nats a direction that rounding costs above the least possible, where the grid is fine (Gish and Pierce 1968)."""

BLUE, ORANGE, GREEN = (figures.COLOURS[name] for name in ("crate", "vit", "crate_mhsa"))
RED = "#c23b22"


# ---- sets of tokens --------------------------------------------------------------------------------------


def whitened(n: int, d: int, seed: int = 0) -> Float[Tensor, "n d"]:
    """Tokens with mean zero and second moment exactly one in every direction."""
    Z = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    Z = Z - Z.mean(0)
    return Z @ torch.linalg.inv(torch.linalg.cholesky(Z.T @ Z / n)).T


def patches(image: Shaped[Tensor, "3 H W"], side: int = 8) -> tuple[Float[Tensor, "n d"], tuple[int, int]]:
    """Grey patches of an image as tokens, black 0 and white 1; and their grid (rows, columns)."""
    grey = image.double().mean(0) / 255
    h, w = (length // side for length in grey.shape)
    cut = grey[: h * side, : w * side].reshape(h, side, w, side)
    return cut.transpose(1, 2).reshape(h * w, side**2), (h, w)


def image_of(Z: Float[Tensor, "n d"], grid: tuple[int, int]) -> Float[Tensor, "H W"]:
    """Patches put back in their places."""
    (h, w), side = grid, math.isqrt(Z.shape[1])
    return Z.view(h, w, side, side).transpose(1, 2).reshape(h * side, w * side)


def twin(Z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Gaussian tokens with exactly the covariance of Z about its mean."""
    centred = Z - Z.mean(0)
    values, axes = torch.linalg.eigh(centred.T @ centred / len(Z))
    return whitened(*Z.shape) * values.clamp(min=0).sqrt() @ axes.T


# ---- a code, and the weight of its files -----------------------------------------------------------------


def squeeze(Z: Float[Tensor, "n d"], eps_sq: float) -> tuple[bytes, Float[Tensor, "n d"]]:
    """Tokens to a file, and what the receiver makes of it: turn to the principal axes, round, compress."""
    mean, d = Z.mean(0), Z.shape[1]
    axes = torch.linalg.eigh((Z - mean).T @ (Z - mean)).eigenvectors
    step = math.sqrt(12 * eps_sq / d)  # a grid of this step makes an error of eps_sq / d
    symbols = ((Z - mean) @ axes / step).round()
    words = (symbols.T + 128).to(torch.int16).contiguous()  # two bytes a symbol:
    planes = words.view(torch.uint8).reshape(-1, 2).T.contiguous()  # all low ones, then all high ones
    return lzma.compress(planes.numpy().tobytes()), symbols * step @ axes.T + mean


def weigh(Z: Float[Tensor, "n d"], error: float) -> dict[str, float | Tensor]:
    """What the rate says of a set of patches, and what a file of it weighs.

    Args:
        Z: patches, one entry for each pixel.
        error: root mean squared error allowed for a pixel.

    Returns:
        ``rate`` and ``file`` in bits a pixel; ``error`` as allowed and ``made`` as the file makes it; ``received``,
        the patches that can be read off the file.
    """
    d = Z.shape[1]
    file, received = squeeze(Z, d * error**2)
    return {
        "error": error,
        "rate": coding_rate(Z - Z.mean(0), d * error**2).item() / (d * NATS_PER_BIT),
        "file": 8 * len(file) / Z.numel(),
        "made": (received - Z).square().mean().sqrt().item(),
        "received": received,
    }


def weighed_figure(
    Z: Float[Tensor, "n d"], grid: tuple[int, int], weights: Sequence[Mapping], window: tuple[slice, slice]
) -> Figure:
    """A photograph, and what comes out of each file, with the bits predicted and the bits of the file above."""
    pictures = [image_of(Z, grid), *(image_of(row["received"], grid) for row in weights)]
    titles = ["the photograph\n8 bits a pixel"]
    titles += [f"rate: {row['rate']:.2f} bits a pixel\nfile: {row['file']:.2f}" for row in weights]
    fig, axes = plt.subplots(1, len(titles), figsize=(figures.WIDTH, 2.5))
    for ax, picture, title in zip(axes, pictures, titles, strict=True):
        figures.bare(ax).imshow(picture[window], cmap="gray", vmin=0, vmax=1)
        ax.set_title(title, fontsize=10)
    for ax, row in zip(axes[1:], weights, strict=True):
        ax.set_xlabel(f"error allowed: {row['error']:.0%}", fontsize=9)
    plt.close(fig)
    return fig


def weighed_facts(weights: Sequence[Mapping]) -> dict[str, float | int]:
    """Bits of the middle file, and by how much the rate misses each of them, as shares of the file."""
    off = [abs(row["rate"] / row["file"] - 1) for row in weights]
    middle = weights[len(weights) // 2]
    return {"rate": middle["rate"], "file": middle["file"], "error": middle["error"], "worst": max(off)}


def weigh_photographs(names: Sequence[str], errors: Sequence[float]) -> dict[tuple[str, bool], list[dict]]:
    """:func:`weigh` of photographs and of their Gaussian twins: (name, whether it is the twin) -> a row an error."""
    found = {}
    for name in names:
        Z, _ = patches(data.photographs()[name])
        for gaussian, tokens in ((False, Z), (True, twin(Z))):
            found[name, gaussian] = [weigh(tokens, error) for error in errors]
    return found


def files_figure(found: Mapping[tuple[str, bool], Sequence[Mapping]]) -> Figure:
    """Bits of the file over the bits that the rate predicts; on the diagonal they agree."""
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 3.2))
    markers = dict(zip(dict.fromkeys(name for name, _ in found), "os^D", strict=False))
    for (name, gaussian), rows in found.items():
        label = f"{name}: its Gaussian twin" if gaussian else f"{name}: the photograph"
        x, y = ([row[key] for row in rows] for key in ("rate", "file"))
        ax.plot(x, y, markers[name], ms=5, color=ORANGE if gaussian else BLUE, label=label, alpha=0.85)
    ends = [0.1, 2.6]
    ax.plot(ends, ends, color="0.4", lw=1, ls="--")
    ax.set(xscale="log", yscale="log", xlabel="the rate, bits a pixel", ylabel="the file, bits a pixel")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(plt.FixedLocator([0.125, 0.25, 0.5, 1, 2]))
        axis.set_major_formatter(plt.FormatStrFormatter("%g"))
        axis.set_minor_locator(plt.NullLocator())
    ax.legend(fontsize=8, ncols=2)
    plt.close(fig)
    return fig


def files_facts(
    found: Mapping[tuple[str, bool], Sequence[Mapping]], fine: float = 0.02
) -> dict[str, float | int]:
    """Ranges of file over rate, for photographs and twins, and on how many sets the photograph is the lighter.

    Args:
        found: from :func:`weigh_photographs`.
        fine: errors up to this one count as fine.
    """

    def ratios(gaussian: bool) -> list[float]:
        return [
            row["file"] / row["rate"] for key, rows in found.items() if key[1] == gaussian for row in rows
        ]

    pairs = [
        (row["file"], other["file"])
        for (name, gaussian), rows in found.items()
        if not gaussian
        for row, other in zip(rows, found[name, True], strict=True)
        if row["error"] <= fine
    ]
    real, made_up = ratios(False), ratios(True)
    return {
        "real_low": min(real), "real_high": max(real), "twin_low": min(made_up), "twin_high": max(made_up),
        "lighter": sum(photograph < other for photograph, other in pairs), "pairs": len(pairs), "fine": fine,
        "worst_error": max(row["made"] / row["error"] for rows in found.values() for row in rows),
    }  # fmt: skip


# ---- what a direction costs ------------------------------------------------------------------------------


def soft_count(Z: Float[Tensor, "n d"], eps_sq: float) -> float:
    r"""Directions that stand out, :math:`\sum_i \lambda_i / (\lambda_i + \varepsilon^2/d)`."""
    lam = torch.linalg.svdvals(Z).square() / len(Z)
    return float((lam / (lam + eps_sq / Z.shape[1])).sum())


def directions_figure(Z: Float[Tensor, "n d"], levels: Mapping[float, int]) -> Figure:
    """Left, the price of one direction by four measures; right, how many directions of Z stand out by precision.

    Args:
        Z: tokens whose variances are ``levels``.
        levels: variance -> number of directions that have it.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(figures.WIDTH, 3.0))
    x = np.linspace(0, 6, 300)
    for label, colour, price in (
        ("energy", RED, x**2 / 2), ("nuclear norm", ORANGE, x / 2), ("rank", GREEN, (x > 0) * 1.0),
    ):  # fmt: skip
        left.plot(x, price, color=colour, lw=1.4, label=label)
    left.plot(x, 0.5 * np.log1p(x**2), color=BLUE, lw=2.6, label="coding rate")
    left.set(xlabel="spread / error per coordinate", ylabel="price of a direction", ylim=(-0.05, 3.0))
    left.legend(fontsize=8, loc="upper right", ncols=2, bbox_to_anchor=(1.02, 1.16), columnspacing=1)
    eps_sq = np.geomspace(1e-5, 1e7, 90)
    right.plot(eps_sq, [soft_count(Z, e) for e in eps_sq], color=BLUE, lw=2)
    right.set(
        xscale="log",
        xlabel="$\\varepsilon^2$",
        ylabel="directions that stand out",
        yticks=np.cumsum([0, *levels.values()]),
    )
    for value in levels:
        right.axvline(Z.shape[1] * value, color="0.6", lw=0.8, ls=":")
    plt.close(fig)
    return fig


# ---- what the rate sees ----------------------------------------------------------------------------------


def what_changes(Z: Float[Tensor, "n d"], eps_sq: float) -> list[dict[str, float | str | None]]:
    """Rows of a table: something is done to the tokens, and the rate afterwards and its change, nats."""
    n, d = Z.shape
    done = {
        "nothing": (Z, eps_sq),
        "turn the space, or flip the sign of a coordinate": (
            Z @ torch.linalg.qr(whitened(d, d, seed=1)).Q,
            eps_sq,
        ),
        "mix the tokens among each other by a rotation": (
            torch.linalg.qr(whitened(n, n, seed=2)).Q @ Z,
            eps_sq,
        ),
        "write every token down three times": (Z.repeat(3, 1), eps_sq),
        "make all tokens twice as long": (2 * Z, eps_sq),
        "twice as long, and ε twice as large": (2 * Z, 4 * eps_sq),
        "move all tokens away from the origin": (Z + 1, eps_sq),
        "add as many tokens that are zero": (torch.cat([Z, torch.zeros_like(Z)]), eps_sq),
        "add as many coordinates that are zero": (torch.cat([Z, torch.zeros_like(Z)], 1), eps_sq),
    }
    before, rows = coding_rate(Z, eps_sq).item(), []
    for name, (tokens, e) in done.items():
        rate = coding_rate(tokens, e).item()
        change = None if abs(rate - before) < 1e-9 else rate - before
        rows.append({"what is done": name, "R, nats": rate, "change": change})
    return rows


def water_filling(lam: Float[Tensor, " d"], eps_sq: float) -> float:
    """Least nats for a Gaussian at that error: no direction gets more error than it has variance."""
    low, high = 0.0, lam.max().item()
    for _ in range(100):
        level = (low + high) / 2
        low, high = (level, high) if lam.clamp(max=level).sum() < eps_sq else (low, level)
    return 0.5 * (lam / high).clamp(min=1).log().sum().item()


def empty_coordinates_facts(eps_sq: float = 0.1, dims: tuple[int, int] = (4, 256)) -> dict[str, float | int]:
    """Four directions of variance one, in few coordinates and in many: the rate, and the least possible."""
    lam = [torch.ones(4, dtype=torch.float64), torch.zeros(dims[1], dtype=torch.float64)]
    lam[1][:4] = 1.0
    few, many = (0.5 * torch.log1p(len(v) / eps_sq * v).sum().item() for v in lam)
    return {
        "few": few, "many": many, "least": water_filling(lam[0], eps_sq), "least_many": water_filling(lam[1], eps_sq),
        "d_few": dims[0], "d_many": dims[1], "eps_sq": eps_sq,
    }  # fmt: skip


def side_facts(n: int, d: int) -> dict[str, float | int]:
    """How many times the multiplications of the d x d matrix the n x n one takes, to form and to factorise."""

    def cost(own: int, other: int) -> float:
        return own**2 * other + own**3 / 6

    return {"n": n, "d": d, "ratio": cost(n, d) / cost(d, n)}


# ---- numbers that fail -----------------------------------------------------------------------------------


def determinant_facts(a: float = 8222.0, b: float = 8722.0) -> dict[str, float | int]:
    """The determinant of I + z zᵀ for the token (a, b): exactly, and in float32."""
    token = torch.tensor([[a, b]], dtype=torch.float32)
    got = torch.det(torch.eye(2) + token.T @ token).item()
    return {"a": a, "b": b, "exact": round(1 + a**2 + b**2), "got": got}


def mixed_precision(Z: Float[Tensor, "n d"], eps_sq: float) -> Float[Tensor, ""]:
    """The formula as mixed-precision training computes it: the Gram matrix in bfloat16."""
    n, d = Z.shape
    with torch.autocast("cpu", dtype=torch.bfloat16):
        M = torch.eye(d) + d / (n * eps_sq) * (Z.T @ Z)
    return 0.5 * torch.logdet(M.float())


def stress(
    tokens: Float[Tensor, "n d"], eps_sq: float, scales: Sequence[float], plain: Callable
) -> dict[str, list[dict[str, float | int]]]:
    """Three ways to compute the rate and its gradient, against singular values in float64.

    Args:
        tokens: float32, and made longer by each of ``scales``.
        eps_sq: squared precision.
        scales: factors.
        plain: the formula as it stands, ``plain(Z, eps_sq)``.

    Returns:
        way -> rows of ``length`` (in units of ε), ``value``, ``truth`` and ``gradient``, the relative error of the
        gradient (NaN where it is not finite).
    """
    ways = {"float32, logdet": plain, "mixed precision, logdet": mixed_precision, "coding_rate": coding_rate}
    rows: dict[str, list[dict[str, float | int]]] = {way: [] for way in ways}
    for scale in scales:
        Z = scale * tokens
        U, S, Vt = torch.linalg.svd(Z.double(), full_matrices=False)
        alpha = Z.shape[1] / (len(Z) * eps_sq)
        truth = 0.5 * (alpha * S**2).log1p().sum()
        slope = U * (alpha * S / (1 + alpha * S**2)) @ Vt
        for way, function in ways.items():
            X = Z.clone().requires_grad_()
            value = function(X, eps_sq)
            value.backward()
            off = float((X.grad - slope).norm() / slope.norm())
            rows[way].append(
                {
                    "length": Z.norm(dim=1).mean().item() / eps_sq**0.5,
                    "value": value.item(),
                    "truth": truth.item(),
                    "gradient": off if math.isfinite(off) else math.nan,
                }
            )
    return rows


def stress_figure(found: Mapping[str, Sequence[Mapping[str, float]]], mark: float, top: float = 72) -> Figure:
    """Values and relative errors of the gradients of :func:`stress`; a dotted line at the length ``mark``."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(figures.WIDTH, 3.1), sharex=True)

    def column(rows: Sequence[Mapping[str, float]], key: str) -> np.ndarray:
        return np.array([row[key] for row in rows])

    truth = found["coding_rate"]
    left.plot(
        column(truth, "length"),
        column(truth, "truth"),
        color="0.75",
        lw=6,
        label="truth",
        solid_capstyle="round",
    )
    colours = {"coding_rate": BLUE, "float32, logdet": ORANGE, "mixed precision, logdet": RED}
    for way, colour in colours.items():
        length, value = column(found[way], "length"), column(found[way], "value")
        style = {"color": colour, "lw": 1.6, "marker": "o", "ms": 3, "label": way}
        left.plot(length, np.where(value < top, value, np.nan), **style)
        left.plot(length[value >= top], 0 * length[value >= top] + top, "^", ms=5, color=colour)
        right.plot(length, column(found[way], "gradient"), **style)
    left.set(xscale="log", ylim=(0, top + 3), xlabel="length of a token / $\\varepsilon$", ylabel="$R$, nats")
    right.set(
        yscale="log", xlabel="length of a token / $\\varepsilon$", ylabel="relative error of the gradient"
    )
    right.axhline(1, color="0.4", lw=1, ls="--")
    left.legend(fontsize=8, loc="lower right")
    for ax in (left, right):
        ax.axvline(mark, color="0.6", lw=0.8, ls=":")
    plt.close(fig)
    return fig


def stress_facts(found: Mapping[str, Sequence[Mapping[str, float]]], mark: float) -> dict[str, float | int]:
    """Where the gradient and the value go wrong, how often NaN comes up, and what stands at the length ``mark``."""

    def first(way: str, wrong: Callable[[Mapping[str, float]], bool]) -> float:
        return min(row["length"] for row in found[way] if wrong(row))

    def at(way: str, key: str) -> float:
        return min(found[way], key=lambda row: abs(row["length"] - mark))[key]

    safe, float32, mixed = found["coding_rate"], "float32, logdet", "mixed precision, logdet"
    return {
        "worst_value": max(abs(row["value"] - row["truth"]) for row in safe),
        "worst_gradient": max(row["gradient"] for row in safe),
        "gradient_fails": first(float32, lambda row: not row["gradient"] <= 0.1),
        "value_fails": first(float32, lambda row: not abs(row["value"] / row["truth"] - 1) <= 0.01),
        "nan_float32": sum(math.isnan(row["value"]) for row in found[float32]),
        "nan_mixed": sum(math.isnan(row["value"]) for row in found[mixed]),
        "lengths": len(safe),
        "mixed_at": at(mixed, "value"), "truth_at": at("coding_rate", "truth"), "gradient_at": at(float32, "gradient"),
    }  # fmt: skip


# ---- pictures of the exercises ---------------------------------------------------------------------------


def vanishing_figure(vanishing: Callable, Z: Float[Tensor, "n d"]) -> Figure:
    """The error of a pixel at which each direction of a set of patches disappears."""
    Z = Z - Z.mean(0)
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 2.6))
    errors = (vanishing(Z) / Z.shape[1]).sqrt()
    ax.plot(range(1, len(errors) + 1), errors, "o-", ms=3, color=BLUE)
    ax.set(yscale="log", xlabel="direction of the patches", ylabel="error of a pixel\nat which it disappears")
    plt.close(fig)
    return fig


def apart_figure(apart: Callable, Z: Float[Tensor, "n d"]) -> Figure:
    """Bits a pixel with every pixel coded by itself, and with the turn to the principal axes."""
    Z, errors, d = Z - Z.mean(0), np.geomspace(0.005, 0.5, 12), Z.shape[1]
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 2.8))
    for label, function, colour in (
        ("each pixel by itself", apart, ORANGE), ("turned to the axes: $R$", coding_rate, BLUE),
    ):  # fmt: skip
        bits = [float(function(Z, d * e**2)) / (d * NATS_PER_BIT) for e in errors]
        ax.plot(errors, bits, color=colour, lw=2, label=label)
    ax.set(xscale="log", xlabel="error of a pixel", ylabel="bits a pixel")
    ax.legend()
    plt.close(fig)
    return fig
