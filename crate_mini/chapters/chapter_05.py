r"""Chapter 05, a layer is two steps: its figures, its tables, and the numbers of its sentences."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor

from crate_mini import figures
from crate_mini.compression import mssa
from crate_mini.model import CRATE, count_parameters, create_model
from crate_mini.provenance import read_result
from crate_mini.rates import compression_rate
from crate_mini.recorder import Record, record
from crate_mini.sparsification import folded_step

STAGES = {"before": "tokens_in", "compressed": "tokens_mid", "sparsified": "tokens_out"}
"""The three stages of a layer, and what the recorder calls them."""
EYE = (7, 5)
"""Row and column of the patch at the left eye of the cat, on a grid of 20 by 20."""
EPS_SQ = 0.5


def index_of(patch: tuple[int, int], columns: int) -> int:
    """The number of a patch among the tokens; the class token comes first."""
    return 1 + patch[0] * columns + patch[1]


# ---- one image through one layer ------------------------------------------------------------------------------------


def one_layer(
    image: Shaped[Tensor, "3 H W"],
    run: Record,
    layer: int,
    *,
    patch: int,
    row: int = EYE[0],
    channels: int = 64,
) -> Figure:
    """Three stages of a layer: something measured for every patch, and the tokens of one row of patches."""
    h, w = (side // patch for side in image.shape[-2:])
    tokens = [run[key][layer][0] for key in STAGES.values()]
    fig, axes = plt.subplots(2, 4, figsize=(figures.WIDTH, 4.5), height_ratios=[1, 1.1])
    figures.bare(axes[0, 0], "the image").imshow(figures.to_pixels(image))
    frame = Rectangle((-0.5, row * patch - 0.5), w * patch, patch, fill=False, ec="white", lw=1.3)
    axes[0, 0].add_patch(frame)
    strip = image[:, row * patch : (row + 1) * patch].unflatten(2, (w, patch)).permute(0, 2, 1, 3)
    axes[1, 0].imshow(figures.to_pixels(strip.flatten(1, 2)), aspect=0.18, interpolation="nearest")
    figures.bare(axes[1, 0]).set_anchor("E")
    axes[1, 0].set_ylabel("the framed patches,\nfrom left to right", fontsize=8)
    maps = {
        "length of a token": tokens[0].norm(dim=-1),
        "length of its move": (tokens[1] - tokens[0]).norm(dim=-1),
        "share of zeros": (tokens[2] == 0).float().mean(-1),
    }
    for column, (stage, label) in enumerate(zip(STAGES, maps, strict=True), start=1):
        ax = figures.bare(axes[0, column])
        ax.set_title(f"{stage}\n{label}", fontsize=9)
        drawn = ax.imshow(maps[label][1:].view(h, w), cmap=figures.MAP_COLOURS)
        bar = fig.colorbar(drawn, ax=ax, location="bottom", shrink=0.8, pad=0.03, aspect=25)
        bar.ax.tick_params(labelsize=8, length=2)
        bar.outline.set_visible(False)
        bar.locator = plt.MaxNLocator(3)
        bar.update_ticks()
        start = index_of((row, 0), w)
        _token_matrix(axes[1, column], tokens[column - 1], slice(start, start + w), channels)
    plt.close(fig)
    return fig


def _token_matrix(ax: Axes, tokens: Tensor, rows: slice, channels: int) -> None:
    """A few tokens as a matrix; the root keeps the sign and lets small entries be seen beside large ones."""
    shown = tokens[rows, :channels]
    shown = shown.sign() * shown.abs().sqrt()
    ax.imshow(shown, cmap="RdBu_r", vmin=-1.6, vmax=1.6, aspect="auto", interpolation="nearest")
    figures.bare(ax, f"{(tokens == 0).float().mean():.0%} zeros")
    ax.set_xlabel(f"{channels} of {tokens.shape[1]} channels", fontsize=8)
    for spine in ax.spines.values():
        spine.set(visible=True, color="0.8")


def stage_rates(model: CRATE, run: Record, eps_sq: float = EPS_SQ) -> dict[str, Float[Tensor, "b L 3"]]:
    """The rate of each layer's own subspaces at its three stages, for every image: as is and at length one."""
    found: dict[str, list[Tensor]] = {"as is": [], "length one": []}
    for layer, block in enumerate(model.blocks):
        U = block.attention.U.detach()
        stages = [run[key][layer] for key in STAGES.values()]
        for name, scale in {"as is": lambda t: t, "length one": lambda t: F.normalize(t, dim=-1)}.items():
            found[name].append(torch.stack([compression_rate(scale(t), U, eps_sq) for t in stages], -1))
    return {name: torch.stack(values, 1) for name, values in found.items()}


def stage_rows(model: CRATE, run: Record, layer: int, image: int = 0) -> list[dict[str, Any]]:
    """What is measured of one image at the three stages of one layer, a row for each quantity."""
    tokens = {stage: run[key][layer][image] for stage, key in STAGES.items()}
    rates = {name: values[image, layer] for name, values in stage_rates(model, run).items()}
    quantities = {
        "mean length of a token": [float(t.norm(dim=-1).mean()) for t in tokens.values()],
        "zeros (%)": [100 * float((t == 0).double().mean()) for t in tokens.values()],
        "smallest entry": [float(t.min()) for t in tokens.values()],
        "$R^c$, tokens as they are (nats)": rates["as is"].tolist(),
        "$R^c$, tokens at length one (nats)": rates["length one"].tolist(),
    }
    return [
        {f"one image, layer {layer}": what, **dict(zip(STAGES, values, strict=True))}
        for what, values in quantities.items()
    ]


def stage_facts(model: CRATE, run: Record, layer: int, image: int = 0) -> dict[str, Any]:
    """One image in one layer, and in how many layers of how many images each half lowers the rate at length one."""
    rates = stage_rates(model, run)
    raw, unit = (rates[name][image, layer].tolist() for name in ("as is", "length one"))
    first, second = rates["length one"].diff(dim=-1).unbind(-1)
    images, layers = first.shape
    found: dict[str, Any] = {"layer": layer, "images": images, "layers": layers, "pairs": images * layers}
    for k, stage in enumerate(STAGES):
        zeros = (run[STAGES[stage]][layer][image] == 0).double().mean()
        found |= {f"raw_{stage}": raw[k], f"unit_{stage}": unit[k], f"zeros_{stage}": float(zeros)}
    given_back = (unit[2] - unit[1]) / (unit[0] - unit[1])
    return found | {
        "given_back": given_back,
        "first_lowers": int((first < 0).sum()),
        "second_raises": int((second > 0).sum()),
        "layer_lowers": int((rates["length one"][..., 2] < rates["length one"][..., 0]).sum()),
    }


def attention_weights(model: CRATE, layer: int, X: Float[Tensor, "b n d"]) -> Float[Tensor, "b K n n"]:
    """All weights of a layer on its normalised tokens: who gathers how much from whom."""
    heads = model.blocks[layer].attention
    with torch.no_grad():
        queries, keys = heads.queries_keys(heads.project(X))
    return (queries @ keys.mT / math.sqrt(queries.shape[-1])).softmax(-1)


def gathers(
    image: Shaped[Tensor, "3 H W"], S: Float[Tensor, "K n n"], *, patch: int, where: tuple[int, int] = EYE
) -> Figure:
    """In every head, from where one patch gathers."""
    h, w = (side // patch for side in image.shape[-2:])
    token = index_of(where, w)
    fig, axes = plt.subplots(1, len(S), figsize=(figures.WIDTH, 1.65))
    for k, ax in enumerate(axes):
        figures.bare(ax, f"head {k}").imshow(figures.spotlight(image, S[k, token, 1:].view(h, w)))
        corner = (where[1] * patch - 0.5, where[0] * patch - 0.5)
        ax.add_patch(Rectangle(corner, patch, patch, fill=False, ec=figures.COLOURS["vit"], lw=1.5))
    plt.close(fig)
    return fig


def one_token(run: Record, layer: int, token: int) -> Figure:
    """The entries of one token before a layer, compressed, and sparsified; new entries in another colour."""
    values = {stage: run[key][layer][0, token] for stage, key in STAGES.items()}
    kept, new = figures.COLOURS["crate"], figures.COLOURS["vit"]
    colours = {"before": kept, "compressed": "0.55"}
    colours["sparsified"] = [kept if old > 0 else new for old in values["before"]]
    fig, axes = plt.subplots(3, 1, figsize=(figures.WIDTH, 3.3), sharex=True, sharey=True)
    for ax, (stage, entries) in zip(axes, values.items(), strict=True):
        ax.vlines(range(len(entries)), 0, entries, color=colours[stage], lw=2)
        ax.axhline(0, color="0.6", lw=0.6)
        ax.set_title(
            f"{stage}: {(entries != 0).sum()} of {len(entries)} entries are not zero", fontsize=9, loc="left"
        )
        ax.tick_params(labelsize=8)
        ax.spines["bottom"].set_visible(False)
        ax.tick_params(axis="x", length=0)
    axes[2].set_xlabel("channel", fontsize=8)
    plt.close(fig)
    return fig


def token_facts(run: Record, layer: int, token: int) -> dict[str, Any]:
    """How many entries of a token stay, come and go in a layer, and what the lasting ones weigh over all tokens."""
    came, left = (run[name][layer][0] for name in ("tokens_in", "tokens_out"))
    old, new, lasting = came[token] > 0, left[token] > 0, (came > 0) & (left > 0)
    return {
        "remain": int(new.sum()),
        "stayed": int((old & new).sum()),
        "came": int((new & ~old).sum()),
        "went": int((old & ~new).sum()),
        "entries": float(lasting.sum() / (left > 0).sum()),
        "weight": float(left[lasting].square().sum() / left.square().sum()),
    }


def half_steps(
    model: CRATE, image: Shaped[Tensor, "3 H W"], *, patch: tuple[int, int] = (4, 5), layer: int = 4
) -> dict[str, Any]:
    """What the playground ``crate_block`` shows: by half step the length, zeros and pairwise cosines of all patches."""
    run = record(model, image[None], STAGES.values())
    steps = [run.patches("tokens_in", 0)]
    for i in range(model.config.depth):
        steps += [run.patches("tokens_mid", i), run.patches("tokens_out", i)]
    n = steps[0].shape[1]
    above = torch.triu_indices(n, n, offset=1)
    likeness = bytearray()
    for patches in steps:
        unit = F.normalize(patches[0], dim=-1)
        cosines = (unit @ unit.T)[above[0], above[1]]
        likeness += ((cosines + 1) * 127.5).round().clamp(0, 255).byte().numpy().tobytes()
    file = io.BytesIO()
    Image.fromarray(figures.to_pixels(image)).save(file, "PNG")
    return {
        "grid": image.shape[-1] // model.config.patch_size,
        "channels": model.config.dim,
        "photo": "data:image/png;base64," + base64.b64encode(file.getvalue()).decode(),
        "length": [[round(v, 2) for v in t[0].norm(dim=-1).tolist()] for t in steps],
        "zeros": [(t[0] == 0).sum(-1).tolist() for t in steps],
        "likeness": base64.b64encode(bytes(likeness)).decode(),
        "patch": list(patch),
        "layer": layer,
    }


def rocket_facts(model: CRATE, image: Shaped[Tensor, "3 H W"], layer: int = 4) -> dict[str, Any]:
    """Mean cosines of the rocket's five patches with each other and with the rest, in the first layer and later."""
    run, found = record(model, image[None], ["tokens_in"]), {}
    for name, at in {"first": 0, "later": layer}.items():
        unit = F.normalize(run.patches("tokens_in", at)[0], dim=-1)
        inside = torch.zeros(len(unit), dtype=torch.bool)
        inside[[10 * row + 5 for row in range(3, 8)]] = True
        cosines, k = unit @ unit.T, int(inside.sum())
        own = cosines[inside][:, inside]
        found[f"own_{name}"] = float((own.sum() - k) / (k * (k - 1)))
        found[f"rest_{name}"] = float(cosines[inside][:, ~inside].mean())
    return found


# ---- the layer and the one of a ViT ---------------------------------------------------------------------------------


def survival(model: CRATE, run: Record) -> dict[str, list[float]]:
    """By layer, the cosine of a token with itself a layer later: as it is, and without the identity in ``M``."""
    found: dict[str, list[float]] = {"whole": [], "without": []}
    for layer, block in enumerate(model.blocks):
        came, y, feed = run["tokens_in"][layer][0], run["feed_in"][layer][0], block.feed
        D = feed.D.detach()
        bare = torch.relu(y @ (folded_step(D, feed.step) - torch.eye(len(D))) - feed.step * feed.lam)
        for name, left in {"whole": run["tokens_out"][layer][0], "without": bare}.items():
            found[name].append(float(F.cosine_similarity(came, left, dim=-1).mean()))
    return found


def draw_survival(cosines: Mapping[str, Sequence[float]]) -> Figure:
    """The two lines of :func:`survival`."""
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 2.3))
    how = {"marker": "o", "ms": 5}
    ax.plot(cosines["whole"], color=figures.COLOURS["crate"], label="ISTA as it is", **how)
    ax.plot(cosines["without"], color="0.6", label="without the $I$ in $M$", **how)
    ax.axhline(0, color="0.8", lw=0.8)
    ax.set(xlabel="layer", ylabel="cosine of a token\nwith itself a layer later", ylim=(-0.3, 1.05))
    ax.legend(loc="center right")
    plt.close(fig)
    return fig


def survival_facts(cosines: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """The range of :func:`survival` over the layers between the first and the last."""
    inner, bare = cosines["whole"][1:-1], cosines["without"][1:-1]
    return {"low": min(inner), "high": max(inner), "bare_low": min(bare), "bare_high": max(bare)}


def self_regard(model: CRATE, run: Record) -> list[float]:
    """By layer, the share of tokens, over heads, whose largest weight is the one on themselves."""
    shares = []
    for layer, X in run["attention_in"].items():
        best = attention_weights(model, layer, X).argmax(-1)
        shares.append(float((best == torch.arange(best.shape[-1])).double().mean()))
    return shares


def look_at_themselves(networks: Mapping[str, CRATE], runs: Mapping[str, Record], layer: int) -> Figure:
    """The weights of the sharpest head of a layer in each network, and by layer who looks most at itself."""
    fig, axes = plt.subplots(1, 3, figsize=(figures.WIDTH, 2.7), width_ratios=[1, 1, 1.15])
    for ax, (name, model) in zip(axes, networks.items(), strict=False):
        S = attention_weights(model, layer, runs[name]["attention_in"][layer])[0]
        sharpest = S[int(S.amax(-1).mean(-1).argmax())]
        ax.imshow(sharpest, cmap=figures.MAP_COLOURS, vmax=float(sharpest.quantile(0.99)))
        figures.bare(ax, f"{name}: who gathers from whom").set_xlabel(f"{len(sharpest)} tokens", fontsize=8)
        shares = 100 * np.array(self_regard(model, runs[name]))
        axes[2].plot(shares, marker="o", ms=4, color=figures.COLOURS[name.lower()], label=name)
    axes[2].set(ylim=(-3, 103), xlabel="layer", xticks=range(0, len(shares), 2))
    axes[2].set_title("look most at themselves (%)", fontsize=9)
    axes[2].legend(loc="upper right")
    plt.close(fig)
    return fig


def regard_facts(networks: Mapping[str, CRATE], runs: Mapping[str, Record]) -> dict[str, Any]:
    """The share of tokens that look most at themselves, over layers and heads, and what blind choice would give."""
    found = {name.lower(): float(np.mean(self_regard(model, runs[name]))) for name, model in networks.items()}
    tokens = next(iter(next(iter(runs.values()))["attention_in"].values())).shape[1]
    return found | {"tokens": tokens, "chance": 1 / tokens}


# ---- counting -------------------------------------------------------------------------------------------------------


def total_parameters(config: Any) -> int:
    """The sum of the chapter, from a configuration: patches to tokens, positions, layers, classifier."""
    numbers, n, d, classes = 3 * config.patch_size**2, config.grid**2, config.dim, config.num_classes
    embedding = 2 * numbers + (numbers * d + d) + 2 * d + (n + 1) * d + d
    return embedding + config.depth * (3 * d**2 + 5 * d) + 2 * d + (d * classes + classes)


PUBLISHED = {
    "crate_tiny": (6.09, 1000),
    "crate_small": (13.12, 1000),
    "crate_base": (22.80, 1000),
    "crate_large": (77.64, 1000),
    "crate_tiny_8": (5.74, 21842),
    "crate_small_8": (14.12, 21842),
    "crate_base_8": (38.83, 21842),
}
"""Millions of parameters as printed (arXiv 2306.01129, Table 1; arXiv 2308.16271, Table 3), and classes."""


def published_rows() -> list[dict[str, Any]]:
    """Every published size: its shape, its parameters as counted on a model without memory, and as printed."""
    rows = []
    for name, (millions, classes) in PUBLISHED.items():
        with torch.device("meta"):
            model = create_model(name, num_classes=classes)
        c = model.config
        rows.append(
            {
                "name": f"`{name}`",
                "d": c.dim,
                "heads": c.heads,
                "layers": c.depth,
                "classes": classes,
                "counted": count_parameters(model),
                "printed (M)": millions,
            }
        )
    return rows


def classifier_share(name: str = "crate_small_8", classes: int = 21842) -> float:
    """The share of a model's parameters that sits in its classifier."""
    with torch.device("meta"):
        model = create_model(name, num_classes=classes)
    return count_parameters(model.head) / count_parameters(model)


def operations(d: int, images: int = 32) -> Figure:
    """Operations of a layer against the number of tokens, and the same divided by those of a ViT layer."""
    n = torch.logspace(1.3, 4, 300)
    vit, around = 12 * n * d**2 + 2 * n**2 * d, 2 * n * d**2 + 2 * n**2 * d
    lines = {
        "ViT": (vit, figures.COLOURS["vit"], "-"),
        "CRATE, three products": (around + 3 * n * d**2, "0.6", "-"),
        "CRATE": (around + n * d**2 + d**3, figures.COLOURS["crate"], "-"),
        f"CRATE, per image of {images}": (around + n * d**2 + d**3 / images, figures.COLOURS["crate"], ":"),
    }
    fig, (left, right) = plt.subplots(1, 2, figsize=(figures.WIDTH, 2.8))
    for name, (cost, colour, dash) in lines.items():
        left.plot(n, cost / 1e9, color=colour, ls=dash, label=name)
        if name != "ViT":
            right.plot(n, cost / vit, color=colour, ls=dash)
    left.set(xlabel="tokens n", ylabel="billion multiply-adds", xscale="log", yscale="log")
    left.legend(fontsize=8)
    right.axvline(d, color="0.75", lw=1, ls="--")
    right.text(d, 0.96, " $n = d$", fontsize=9, color="0.35", va="top")
    right.set(xlabel="tokens n", ylabel="divided by the ViT's", xscale="log", ylim=(0, 1))
    plt.close(fig)
    return fig


def cost_facts() -> dict[str, Any]:
    """Operations of a layer beside a ViT's at the measured size, and the measured times."""
    bench = json.loads(read_result("benchmarks/blocks.json"))
    setting = bench["setting"]
    timed = {row["what"]: row for row in bench["rows"] if row["device"] == "cpu"}
    d, n, images = setting["dim"], setting["tokens"], setting["batch"]
    folded = 2 * n * d**2 + 2 * n**2 * d + n * d**2 + d**3 / images
    return {
        "tokens": n,
        "images": images,
        "dim": d,
        "depth": setting["depth"],
        "rounds": setting["rounds"],
        "share": folded / (12 * n * d**2 + 2 * n**2 * d),
        "by_operations": (folded + 2 * n * d**2 - d**3 / images) / folded,
        # where the terms in n² outweigh the rest: 2r² = 3r + 1 with r = n/d for CRATE, 2r² = 12r for the ViT
        "overtaken": (3 + math.sqrt(17)) / 4,
        "forward": timed["forward"]["ratio"],
        "training": timed["training step"]["ratio"],
    }


# ---- how far a trained layer is from the theory ---------------------------------------------------------------------


def departures(model: CRATE, run: Record) -> dict[str, np.ndarray]:
    """By layer, what the derivation assumes and training leaves free.

    Returns:
        ``within``: typical cosine of two columns of a basis; ``direction``: mean cosine of a token's update with the
        derived one; ``atoms``: typical cosine of two atoms; ``low``, ``median``, ``high``: singular values of the
        dictionary; ``reach``: the step times its squared norm.
    """
    rows = []
    for layer, block in enumerate(model.blocks):
        U, D, X = block.attention.U.detach(), block.feed.D.detach(), run["attention_in"][layer]
        with torch.no_grad():
            update, derived = block.attention(X), mssa(X, U)
        s = torch.linalg.svdvals(D)
        rows.append(
            {
                "within": float(_typical_cosine(U).mean()),
                "direction": float(F.cosine_similarity(update, derived, dim=-1).mean()),
                "atoms": float(_typical_cosine(D)),
                "low": float(s.min()),
                "median": float(s.median()),
                "high": float(s.max()),
                "reach": float(block.feed.step * s.max() ** 2),
            }
        )
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _typical_cosine(columns: Float[Tensor, "*batch d m"]) -> Float[Tensor, "*batch"]:
    """Root mean square of the cosines of two different columns."""
    unit, m = F.normalize(columns, dim=-2), columns.shape[-1]
    beside = unit.mT @ unit - torch.eye(m)
    return beside.square().sum((-2, -1)).div(m * (m - 1)).sqrt()


def draw_departures(tables: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Four charts by layer: trained and untrained, beside what the derivation assumes."""
    fig, axes = plt.subplots(2, 2, figsize=(figures.WIDTH, 4.4), sharex=True)
    titles = {
        "within": ("typical cosine of two columns of a $U_k$", 0, (-0.01, 0.3)),
        "direction": ("cosine of the update with the derived one", 1, (-0.75, 1.1)),
        "high": ("singular values of $D$: largest, median, smallest", 1, (-0.2, 3.6)),
        "reach": ("$\\eta\\,\\Vert D\\Vert^2$", 1, (0, 1.3)),
    }
    for ax, (key, (title, theory, limits)) in zip(axes.flat, titles.items(), strict=True):
        for name, table in tables.items():
            colour = figures.COLOURS["crate"] if name == "trained" else "0.6"
            ax.plot(table[key], color=colour, marker="o", ms=4, label=name)
            for other in ("median", "low") if key == "high" else ():
                ax.plot(table[other], color=colour, marker="o", ms=4)
        label = "all guarantees up to here" if key == "reach" else "derivation"
        ax.axhline(theory, color=figures.COLOURS["vit"], ls="--", lw=1.3, label=label)
        ax.set_title(title, fontsize=9)
        ax.set_ylim(limits)
    for ax, place in ((axes[0, 0], "upper center"), (axes[1, 1], "lower center")):
        ax.legend(fontsize=8, loc=place, ncols=3, columnspacing=1)
    for ax in axes[1]:
        ax.set_xlabel("layer")
    plt.close(fig)
    return fig


def departure_facts(
    trained: Mapping[str, np.ndarray], untrained: Mapping[str, np.ndarray], d: int
) -> dict[str, Any]:
    """The ranges over the layers, and how many of them go the other way."""
    found: dict[str, Any] = {"d": d, "random": d**-0.5, "layers": len(trained["reach"])}
    for name in ("within", "direction", "atoms", "reach"):
        found[f"{name}_low"], found[f"{name}_high"] = float(trained[name].min()), float(trained[name].max())
    return found | {
        "untrained_low": float(untrained["direction"].min()),
        "untrained_high": float(untrained["direction"].max()),
        "negative": int((trained["direction"] < 0).sum()),
        "over": int((trained["reach"] > 1).sum()),
        "smallest": float(trained["low"].min()),
        "largest": float(trained["high"].max()),
    }
