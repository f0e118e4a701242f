r"""Chapter 07, what layers do: its figures, and the numbers of its sentences.

Most numbers were measured by ``crate-mini layerwise`` and lie in ``results/layerwise``: a file a training, in the form
of :func:`crate_mini.layerwise.measure`. Whatever trainings of CRATE lie there are counted, so that a sentence about
"all trainings" is one about all that were measured. Small networks trained for the chapter lie in ``training.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Shaped
from matplotlib.figure import Figure
from torch import Tensor

from crate_mini import figures, results
from crate_mini.layerwise import coordinates, curve, reading
from crate_mini.model import CRATE
from crate_mini.rates import compression_rate, compression_rate_gradient
from crate_mini.recorder import Record, record
from crate_mini.tables import number

NETWORK, VIT = "crate_mini_all_lion_s0", "vit_mini_6_all_lion_s0"
"""The networks that the page shows; all other trainings enter through their measurements."""
MEASURED = {"trained": f"{NETWORK}_val", "untrained": "crate_mini_untrained_val"}
VIT_MEASURED = f"{VIT}_val"
"""Results under ``layerwise/``; the untrained network has the architecture of the trained one."""

EPS_SQ = 0.01
"""The squared precision of the released code, at which everything here is measured."""
PLACES = ("tokens_in", "tokens_mid")
"""What the functions about a live network read of a record."""

BLUE, ORANGE, GREEN, RED = figures.PALETTE[:4]
GREY = "0.55"
COLOURS = (BLUE, ORANGE, GREEN, RED)
"""One for each training."""

Result = Mapping[str, Any]


# ---- what was measured ----------------------------------------------------------------------------------------------


def stored(name: str) -> dict[str, Any]:
    """A measurement from ``results/layerwise``."""
    return results.read(f"layerwise/{name}")


def trainings() -> dict[str, dict[str, Any]]:
    """Every training of a CRATE that was measured on photographs it never saw, by the name of its weights."""
    files = sorted(f.name for f in (results.folder() / "layerwise").iterdir() if f.name.endswith("_val.json"))
    found = {}
    for file in files:
        result = stored(file)
        # attention with one basis a head and an output map of its own, and a dictionary: MSSA and ISTA
        is_crate = all(layer["alignment"] and layer["dictionary"] for layer in result["layers"])
        if is_crate and not result["untrained"]:
            found[result["weights"]] = result
    return found


def mean(result: Result, quantity: str, place: str, normalise: str = "none") -> np.ndarray:
    """One quantity by layer, mean over images."""
    return curve(dict(result), quantity, place, normalise, EPS_SQ)["mean"]


def cosines(result: Result) -> np.ndarray:
    """By layer, the cosine of attention's move with steepest descent on the layer's own rate."""
    return np.array(result["descent"][reading("none", EPS_SQ)]["mean"])


def growth(result: Result) -> np.ndarray:
    """By layer, by which share attention makes a token longer, in the mean."""
    return mean(result, "length", "tokens_mid") / mean(result, "length", "tokens_in") - 1


def orthonormality(result: Result) -> np.ndarray:
    """By layer, how far the bases are from orthonormal: 0 if they are, mean over heads."""
    return np.array([np.mean(layer["orthonormality"]) for layer in result["layers"]])


# ---- the answer -----------------------------------------------------------------------------------------------------


def by_layer(all_trainings: Mapping[str, Result], value: Callable[[Result], np.ndarray]) -> np.ndarray:
    """A quantity of every layer of every training, ``(trainings, layers)``."""
    return np.stack([value(result) for result in all_trainings.values()])


def alike(all_trainings: Mapping[str, Result], control: Result) -> dict[str, Result]:
    """The trainings whose network has as many heads a layer as the untrained one has."""
    heads = len(control["layers"][0]["alignment"])
    return {n: r for n, r in all_trainings.items() if len(r["layers"][0]["alignment"]) == heads}


def answer_facts(all_trainings: Mapping[str, Result], control: Result) -> dict[str, Any]:
    """What attention does to the rate in all layers of all trainings, and beside an untrained network."""
    raw, unit, turn = (
        by_layer(all_trainings, lambda r, what=what: mean(r, "Rc", *what))
        for what in (("compress",), ("compress", "token"), ("turned",))
    )
    cos, longer = by_layer(all_trainings, cosines), by_layer(all_trainings, growth)
    back = by_layer(all_trainings, lambda r: mean(r, "Rc", "mirrored"))
    back_unit = by_layer(all_trainings, lambda r: mean(r, "Rc", "mirrored", "token"))
    before = mean(control, "Rc", "compress", "token").sum()
    same = by_layer(alike(all_trainings, control), lambda r: mean(r, "Rc", "compress", "token"))
    times = same.sum(1) / before
    images = [r["images"] for r in all_trainings.values()]
    return {
        "trainings": len(raw),
        "layers": raw.shape[1],
        "pairs": raw.size,
        "images_low": min(images),
        "images_high": max(images),
        "unit_down": int((unit < 0).sum()),
        "unit_most": -float(unit.min()),
        "raw_up": int((raw > 0).sum()),
        "raw_up_low": int((raw > 0).sum(1).min()),
        "raw_up_high": int((raw > 0).sum(1).max()),
        "raw_sum_up": int((raw.sum(1) > 0).sum()),
        "raw_last_low": float(raw[:, -1].min()),
        "raw_last_high": float(raw[:, -1].max()),
        "turn_down": int((turn < 0).sum()),
        "turn_most": -float(turn.min()),
        "stretch_up": int((raw > turn).sum()),
        "longer": int((longer > 0).sum()),
        "longer_most": float(longer.max()),
        "cosine": float(np.abs(cos).max()),
        "back_up": int((back > 0).sum()),
        "back_unit": int((back_unit < 0).sum()),
        "ahead_better": int((unit < back_unit).sum()),
        "alike": len(same),
        "times_low": float(times.min()),
        "times_high": float(times.max()),
    }


def sparsity_facts(all_trainings: Mapping[str, Result], control: Result) -> dict[str, Any]:
    """How many zeros ISTA makes, beside an untrained network, and what it does to the rate at length one."""
    zeros = by_layer(all_trainings, lambda r: mean(r, "zeros", "tokens_out"))
    untrained = mean(control, "zeros", "tokens_out")
    fewer = by_layer(alike(all_trainings, control), lambda r: mean(r, "zeros", "tokens_out")) < untrained
    unit, undone, start, end = (
        by_layer(all_trainings, lambda r, place=place: mean(r, "Rc", place, "token"))
        for place in ("compress", "sparsify", "tokens_in", "tokens_out")
    )
    back = -undone.sum(1) / unit.sum(1)
    return {
        "zeros_low": float(zeros.min()),
        "zeros_high": float(zeros.max()),
        "untrained_low": float(untrained.min()),
        "untrained_high": float(untrained.max()),
        "fewer": int(fewer.sum()),
        "fewer_of": fewer.size,
        "fewer_last": int(fewer[:, -1].sum()),
        "undone": int((undone > 0).sum()),
        "undone_of": undone.size,
        "back_low": float(back.min()),
        "back_high": float(back.max()),
        "whole_down": int((end < start).sum()),
    }


def training_rows(all_trainings: Mapping[str, Result]) -> list[dict[str, Any]]:
    """One row for each training: in how many layers the rate falls, by either reading, and what comes with it."""
    rows = []
    for name, result in all_trainings.items():
        raw, unit = mean(result, "Rc", "compress"), mean(result, "Rc", "compress", "token")
        rows.append(
            {
                "training": f"`{name}`",
                "heads": len(result["layers"][0]["alignment"]),
                "layers it falls in, as is": int((raw < 0).sum()),
                "at length one": int((unit < 0).sum()),
                "nats in all, as is": float(raw.sum()),
                "nats, length one": float(unit.sum()),
            }
        )
    return rows


def answer_figure(all_trainings: Mapping[str, Result], control: Result) -> Figure:
    """What attention does to the rate by two readings, and the zeros: one line a training, and the untrained."""
    fig, axes = plt.subplots(1, 3, figsize=(figures.WIDTH, 2.9))
    shown = {
        "$R^c$, tokens as they are": ("Rc", "compress"),
        "$R^c$, length one": ("Rc", "compress", "token"),
        "zeros after ISTA": ("zeros", "tokens_out"),
    }
    for ax, (title, what) in zip(axes, shown.items(), strict=True):
        for result, colour in zip(all_trainings.values(), COLOURS, strict=False):
            ax.plot(mean(result, *what), color=colour, marker=".", lw=1.4)
        ax.plot(mean(control, *what), color=GREY, ls="--", lw=1.4)
        ax.set(title=title, xlabel="layer", xticks=range(0, len(control["layers"]), 2))
    for ax in axes[:2]:
        ax.axhline(0, color="0.6", lw=0.8)
    axes[0].set_ylabel("change by attention (nats)")
    axes[2].set(ylabel="share of entries", ylim=(0, 1))
    axes[0].plot([], [], color=BLUE, marker=".", label="trained")
    axes[0].plot([], [], color=GREY, ls="--", label="untrained")
    axes[0].legend(fontsize=8, loc="upper left")
    plt.close(fig)
    return fig


def curve_facts(all_trainings: Mapping[str, Result], control: Result) -> dict[str, Any]:
    """The released code's number and the caption's, from the first layer to the last, in all trainings."""
    released, caption, unit = (
        by_layer(all_trainings, lambda r, what=what: mean(r, "Rc", *what))
        for what in (("attention_in", "head"), ("tokens_mid", "none"), ("tokens_mid", "token"))
    )
    before = mean(control, "Rc", "attention_in", "head")
    drop, rise = released[:, 0] - released[:, -1], caption[:, -1] - caption.min(1)
    return {
        "trainings": len(released),
        "released_falls": int((drop > 0).sum()),
        "released_least": float(drop.min()),
        "released_most": float(drop.max()),
        "released_ups": int((np.diff(released, axis=1) > 0).any(1).sum()),
        "before_first": float(before[0]),
        "before_last": float(before[-1]),
        "caption_rises": int((rise > 0).sum()),
        "caption_least": float(rise.min()),
        "caption_most": float(rise.max()),
        "caption_low_at": int(caption.argmin(1).max()),
        "unit_falls": int((unit[:, -1] < unit[:, 0]).sum()),
    }


# ---- turn and stretch -----------------------------------------------------------------------------------------------


def turn_figure(all_trainings: Mapping[str, Result]) -> Figure:
    """For each training, by layer, the two parts of what attention does to the rate, and their sum."""
    columns = min(2, len(all_trainings))
    rows = -(-len(all_trainings) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(figures.WIDTH, 1.95 * rows + 0.3), squeeze=False)
    for ax, (name, result) in zip(axes.flat, all_trainings.items(), strict=False):
        turn, step = mean(result, "Rc", "turned"), mean(result, "Rc", "compress")
        x = np.arange(len(step))
        ax.bar(x, turn, color=BLUE, width=0.6, label="turn")
        ax.bar(x, step - turn, color=ORANGE, width=0.6, label="stretch")
        ax.plot(x, step, "o", color="0.45", ms=5, label="the step")
        ax.axhline(0, color="0.6", lw=0.8)
        ax.set(xticks=x)
        ax.set_title(name, fontsize=9)
    for ax in axes.flat[len(all_trainings) :]:
        ax.set_visible(False)
    for ax in axes[:, 0]:
        ax.set_ylabel("change (nats)")
    for ax in axes[-1]:
        ax.set_xlabel("layer")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    plt.close(fig)
    return fig


# ---- is it the derived step -----------------------------------------------------------------------------------------


def sphere_cosines(model: CRATE, seen: Record) -> list[float]:
    """By layer, the cosine of the move with steepest descent, both along the unit sphere: lengths are taken out."""
    found = []
    for layer, block in enumerate(model.blocks):
        here, there = (F.normalize(seen[place][layer].double(), dim=-1) for place in PLACES)
        slope = compression_rate_gradient(here, block.attention.U.detach().double(), EPS_SQ)
        along = [t - (t * here).sum(-1, keepdim=True) * here for t in (slope, there - here)]
        found.append(float(-F.cosine_similarity(along[0].flatten(1), along[1].flatten(1)).mean()))
    return found


def common_part(model: CRATE, seen: Record) -> dict[str, list[float]]:
    """The move of an image's tokens split into what all have in common and the rest: what each does, by layer.

    Returns:
        ``energy``, the share of the squared move that is common; and the change of the rate at length one in nats
        under the common part and the rest, ``forwards`` and ``backwards``.
    """
    rows: dict[str, list[float]] = {}
    for layer, block in enumerate(model.blocks):
        Z, after = (seen[place][layer].double() for place in PLACES)
        U, move = block.attention.U.detach().double(), after - Z
        shared = move.mean(1, keepdim=True).expand_as(move)
        start = compression_rate(F.normalize(Z, dim=-1), U, EPS_SQ)
        parts = {
            "common forwards": shared,
            "common backwards": -shared,
            "rest forwards": move - shared,
            "rest backwards": shared - move,
        }
        rows.setdefault("energy", []).append(float(shared.square().sum() / move.square().sum()))
        for name, part in parts.items():
            end = compression_rate(F.normalize(Z + part, dim=-1), U, EPS_SQ)
            rows.setdefault(name, []).append(float((end - start).mean()))
    return rows


def common_facts(model: CRATE, seen: Record) -> dict[str, Any]:
    """The numbers of why a step and its opposite both lower the rate at length one."""
    parts = {name: np.array(values) for name, values in common_part(model, seen).items()}
    sphere = sphere_cosines(model, seen)
    return {
        "sphere": float(np.abs(sphere).max()),
        "energy_low": float(parts["energy"].min()),
        "energy_high": float(parts["energy"].max()),
        "layers": len(sphere),
        "common_ahead": int((parts["common forwards"] < 0).sum()),
        "common_back": int((parts["common backwards"] < 0).sum()),
        "rest_better": int((parts["rest forwards"] < parts["rest backwards"]).sum()),
    }


def alignment_facts(all_trainings: Mapping[str, Result], control: Result) -> dict[str, Any]:
    """Which sign was learned: the cosine of each head's output map with its basis, mean over heads and layers."""
    trained = [_alignments(result) for result in all_trainings.values()]
    return {
        "aligned_low": float(min(one.mean() for one in trained)),
        "aligned_high": float(max(one.mean() for one in trained)),
        "aligned_before_most": float(np.abs(_alignments(control)).max()),
    }


def _alignments(result: Result) -> np.ndarray:
    return np.array([layer["alignment"] for layer in result["layers"]])


# ---- small networks trained for the chapter -------------------------------------------------------------------------

VARIANTS = {
    "free": "$Z + \\sum_k S_k Z_k W_k^\\top$",
    "free, factor": "$\\frac{1}{2} Z + \\frac{1}{2} \\sum_k S_k Z_k W_k^\\top$",
    "tied": "$Z + \\sum_k S_k Z_k U_k^\\top$",
    "tied, factor": "$\\frac{1}{2} Z + \\frac{1}{2} \\sum_k S_k Z_k U_k^\\top$",
    "tied, minus": "$Z - \\sum_k S_k Z_k U_k^\\top$",
}
"""The variants, and what the tokens are after their attention."""

Point = Mapping[str, Any]


def runs_of(name: str) -> list[dict[str, Any]]:
    """All trainings of a variant, in the order of their seeds."""
    return [run for run in stored("training")["runs"] if run["name"] == name]


def change(point: Point, step: str = "compress", normalise: str = "none") -> float:
    """Mean over layers of what a step does to the rate, in nats."""
    return float(np.mean(point["changes"][reading(normalise, EPS_SQ)][step]["Rc"]["mean"]))


def accuracy(point: Point) -> float:
    """Share of held-out pictures named right."""
    return point["held_out"]["top1"]


def descent(point: Point) -> float:
    """Mean over layers of the cosine of attention's move with steepest descent."""
    return float(np.mean(point["descent"][reading("none", EPS_SQ)]["mean"]))


def ends(name: str, value: Callable[[Point], float], index: int = -1) -> np.ndarray:
    """A number of every training of a variant, by default at its end."""
    return np.array([value(run["points"][index]) for run in runs_of(name)])


def variant_rows() -> list[dict[str, Any]]:
    """The variants as a table: mean over seeds, and in words of which trainings it holds."""
    return [
        {
            "name": name,
            "tokens after attention": formula,
            "named right (%)": _span(100 * ends(name, accuracy), ".0f"),
            "as they are (nats a layer)": _span(ends(name, change), "+.1f"),
            "length one (nats a layer)": _span(ends(name, lambda p: change(p, normalise="token")), "+.1f"),
            "cosine with descent": _span(ends(name, descent), "+.2f"),
        }
        for name, formula in VARIANTS.items()
    ]


def _span(values: np.ndarray, form: str) -> str:
    """The lowest and the highest of some trainings; once, where they are written alike."""
    low, high = (number(v, form) for v in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def variant_facts() -> dict[str, Any]:
    """What the tied sign and the factor do: ranges over the seeds."""
    setting = stored("training")
    minus_raw, minus_unit = (
        ends("tied, minus", lambda p, n=n: change(p, normalise=n)) for n in ("none", "token")
    )
    plus, minus = (ends(name, accuracy) for name in ("tied", "tied, minus"))
    # with the factor and without it the layer is one function: before training both agree at length one
    start = [ends(n, lambda p: change(p, normalise="token"), index=0) for n in ("tied", "tied, factor")]
    return {
        "seeds": len(plus),
        "epochs": setting["recipe"]["epochs"],
        "train": setting["train"],
        "held_out": setting["held_out"],
        "kinds": len(setting["classes"]),
        "plus": _span(100 * plus, ".0f"),
        "minus": _span(100 * minus, ".0f"),
        "free": _span(100 * ends("free", accuracy), ".0f"),
        "minus_raw": _span(minus_raw, "+.1f"),
        "minus_unit": _span(minus_unit, "+.1f"),
        "minus_everywhere": "every" if max(minus_raw.max(), minus_unit.max()) < 0 else "not every",
        "plus_start": _span(ends("tied", change, index=0), "+.1f"),
        "factor_start": _span(ends("tied, factor", change, index=0), "+.1f"),
        "minus_cosine": _span(ends("tied, minus", descent), "+.2f"),
        "same_function": float(np.abs(start[0] / start[1] - 1).max()),
        "clear": bool(minus.min() > plus.max()),
    }


def variant_figure() -> Figure:
    """One dot a training: accuracy, and the change of the rate by either reading, for the five variants."""
    panels = {
        "named right (%)": lambda p: 100 * accuracy(p),
        "change of $R^c$, as they are (nats)": change,
        "change of $R^c$, length one (nats)": lambda p: change(p, normalise="token"),
    }
    fig, axes = plt.subplots(1, 3, figsize=(figures.WIDTH, 2.3), sharey=True)
    for ax, (title, value) in zip(axes, panels.items(), strict=True):
        for y, name in enumerate(VARIANTS):
            found = ends(name, value)
            colour = RED if name == "tied, minus" else BLUE
            ax.plot(found, np.full(len(found), y), "o", color=colour, ms=7, alpha=0.75)
        if "change" in title:
            ax.axvline(0, color="0.6", lw=0.8)
        ax.set_xlabel(title, fontsize=9)
    axes[0].set(
        yticks=range(len(VARIANTS)), yticklabels=list(VARIANTS), xlim=(0, 1.08 * axes[0].get_xlim()[1])
    )
    axes[0].invert_yaxis()
    plt.close(fig)
    return fig


# ---- what is true ---------------------------------------------------------------------------------------------------


def truth_rows(all_trainings: Mapping[str, Result], control: Result) -> list[dict[str, Any]]:
    """Claim by claim: whether it is true of what was measured, and the numbers that say so."""
    a, c = answer_facts(all_trainings, control), curve_facts(all_trainings, control)
    z, v, b = sparsity_facts(all_trainings, control), variant_facts(), bases_facts(all_trainings, control)
    n, pairs = a["trainings"], a["pairs"]
    lines = [
        (
            "The published curve is lower at the end than at the start",
            _verdict(c["released_falls"], n),
            f"in {c['released_falls']} of {n} trainings; untrained it rises",
        ),
        (
            "The curve that its caption names falls to the end",
            _verdict(n - c["caption_rises"], n),
            f"from its lowest layer to the last it rises in {c['caption_rises']} of {n}",
        ),
        (
            "Attention lowers $R^c$ of tokens as they are",
            _verdict(pairs - a["raw_up"], pairs),
            f"in {pairs - a['raw_up']} of {pairs} layers; summed over layers in {n - a['raw_sum_up']} of {n}",
        ),
        (
            "Attention lowers $R^c$ at length one",
            _verdict(a["unit_down"], pairs),
            f"in {a['unit_down']} of {pairs} layers",
        ),
        (
            "It learned to do so",
            "yes" if a["times_low"] > 2 else "no",
            f"{a['times_low']:.0f} to {a['times_high']:.0f} times as much as before training",
        ),
        (
            "Its move is a gradient step on $R^c$",
            "yes" if a["cosine"] > 0.5 else "no",
            f"cosine with steepest descent at most {a['cosine']:.2f}",
        ),
        (
            "The opposite sign of the trained step would lower it",
            _verdict(pairs - a["back_up"], pairs),
            f"as they are it rises backwards, too, in {a['back_up']} of {pairs} layers",
        ),
        (
            "There are layers that lower it by both readings",
            "yes" if v["minus_everywhere"] == "every" else "no",
            f"tied, minus, in {v['seeds']} of {v['seeds']} trainings",
        ),
        (
            "ISTA makes tokens sparse",
            "yes" if z["zeros_low"] > 0.4 else "no",
            f"{z['zeros_low']:.0%} to {z['zeros_high']:.0%} zeros",
        ),
        (
            "Training makes them sparser",
            _verdict(z["fewer_of"] - z["fewer"], z["fewer_of"]),
            f"fewer zeros than untrained in {z['fewer']} of {z['fewer_of']} layers",
        ),
        (
            "ISTA leaves the rate alone",
            "no" if z["undone"] else "yes",
            f"at length one it raises it in {z['undone']} of {z['undone_of']} layers and lowers it in the others",
        ),
        (
            "The bases become orthonormal",
            _verdict(b["alike"] - b["bent_more"], b["alike"]),
            f"farther from it after training in {b['bent_more']} of {b['alike']}",
        ),
    ]
    return [
        {"claim": claim, "true?": f"**{verdict}**", "measured": measured}
        for claim, verdict, measured in lines
    ]


def _verdict(times: int, of: int) -> str:
    """Yes in nearly all cases, no in nearly none, and between them neither."""
    return "yes" if times >= 0.9 * of else "no" if times <= 0.1 * of else "not in general"


# ---- what may be skipped --------------------------------------------------------------------------------------------


def definitions_figure(all_trainings: Mapping[str, Result], control: Result) -> Figure:
    """The rate by layer under three readings of one sentence, trained and untrained."""
    fig, axes = plt.subplots(1, 3, figsize=(figures.WIDTH, 2.7))
    shown = {
        "released code": ("attention_in", "head"),
        "caption, as they are": ("tokens_mid", "none"),
        "caption, length one": ("tokens_mid", "token"),
    }
    for ax, (title, (place, normalise)) in zip(axes, shown.items(), strict=True):
        for result, colour in zip(all_trainings.values(), COLOURS, strict=False):
            ax.plot(mean(result, "Rc", place, normalise), color=colour, lw=1.4)
        ax.plot(mean(control, "Rc", place, normalise), color=GREY, ls="--", label="untrained")
        ax.set(title=title, xlabel="layer", xticks=range(0, len(control["layers"]), 2))
    axes[0].set_ylabel("$R^c$ (nats)")
    axes[0].legend(fontsize=8, loc="lower left")
    plt.close(fig)
    return fig


def bases_facts(all_trainings: Mapping[str, Result], control: Result) -> dict[str, Any]:
    """How orthonormal the bases are, in the trainings with as many heads as the untrained network."""
    before = float(orthonormality(control).mean())
    after = [float(orthonormality(result).mean()) for result in alike(all_trainings, control).values()]
    return {
        "bent_before": before,
        "bent_low": min(after),
        "bent_high": max(after),
        "bent_more": sum(one > before for one in after),
        "alike": len(after),
    }


def along_training() -> Figure:
    """One training of the published form at several epochs: the released number, and what attention does."""
    points = runs_of("free")[0]["points"]
    fig, (a, b, c) = plt.subplots(1, 3, figsize=(figures.WIDTH, 2.7))
    for colour, point in zip(reversed(figures.shades(len(points))), points, strict=True):
        style = {"color": colour, "marker": "."}
        released = point["rates"][reading("head", EPS_SQ)]["attention_in"]["Rc"]["mean"]
        a.plot(released, label=f"epoch {point['epoch']}", **style)
        b.plot(point["changes"][reading("token", EPS_SQ)]["compress"]["Rc"]["mean"], **style)
        c.plot(point["zeros"]["mean"], **style)
    a.set(title="released code's $R^c$", ylabel="nats")
    b.set(title="change, length one", ylabel="nats")
    b.axhline(0, color="0.6", lw=0.8)
    c.set(title="zeros after ISTA", ylabel="share", ylim=(0, 1))
    for ax in (a, b, c):
        ax.set(xlabel="layer", xticks=range(len(points[0]["zeros"]["mean"])))
    a.legend(fontsize=8, loc="lower left")
    plt.close(fig)
    return fig


def vit_facts(all_trainings: Mapping[str, Result]) -> dict[str, Any]:
    """The same two changes in a ViT, as shares of its rate; it was derived from nothing."""
    vit = stored(VIT_MEASURED)
    shares = [
        -100 * float((mean(r, "Rc", "compress", "token") / mean(r, "Rc", "tokens_in", "token")).mean())
        for r in (vit, *all_trainings.values())
    ]
    return {
        "vit_layers": len(vit["layers"]),
        "vit_up": int((mean(vit, "Rc", "compress") > 0).sum()),
        "vit_down": int((mean(vit, "Rc", "compress", "token") < 0).sum()),
        "vit_share": shares[0],
        "crate_low": min(shares[1:]),
        "crate_high": max(shares[1:]),
    }


def objective_facts(draws: int = 2000) -> dict[str, Any]:
    """Kendall's tau over the small networks: does a higher objective go with higher accuracy, or a smaller gap?

    The objective is the mean over layers of what leaves a layer, tokens at length one; the interval is a bootstrap
    over networks.
    """
    points = [run["points"][-1] for name in VARIANTS for run in runs_of(name)]
    key = reading("token", EPS_SQ)
    goal = np.array([np.mean(p["rates"][key]["tokens_out"]["objective"]["mean"]) for p in points])
    right = np.array([accuracy(p) for p in points])
    gap = np.array([p["train"]["top1"] - accuracy(p) for p in points])
    found: dict[str, Any] = {"networks": len(points)}
    dice = np.random.default_rng(0).integers(0, len(points), (draws, len(points)))
    for name, other in {"right": right, "gap": gap}.items():
        low, high = np.quantile([kendall(goal[k], other[k]) for k in dice], [0.025, 0.975])
        found |= {f"tau_{name}": kendall(goal, other), f"low_{name}": float(low), f"high_{name}": float(high)}
    return found


def kendall(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float:
    """Kendall's tau: the share of pairs in the same order less the share in the opposite one; ties count as neither."""
    x, y = np.asarray(x), np.asarray(y)
    i, j = np.triu_indices(len(x), 1)
    return float(np.mean(np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])))


# ---- to play with ---------------------------------------------------------------------------------------------------


def playground_spectra(networks: Mapping[str, CRATE], image: Shaped[Tensor, "1 3 H W"]) -> dict[str, Any]:
    """What the playground ``layers`` shows: the energy of one image's tokens in every direction of every head."""
    config = next(iter(networks.values())).config
    p = config.head_dim or config.dim // config.heads
    return {"p": p, "models": {name: _spectra(network, image) for name, network in networks.items()}}


def _spectra(network: CRATE, image: Tensor) -> dict[str, Any]:
    seen = record(network, image, (*PLACES, "tokens_out"))
    spectra: dict[str, dict[str, list]] = {n: {"before": [], "after": []} for n in ("none", "token", "head")}
    for normalise, places in spectra.items():
        for place, name in (("before", "tokens_in"), ("after", "tokens_mid")):
            for layer, block in enumerate(network.blocks):
                Z = seen[name][layer]
                Z = F.normalize(Z, dim=-1) if normalise == "token" else Z
                with torch.no_grad():
                    Zk = coordinates(block.attention, Z)[0].double()
                Zk = F.normalize(Zk, dim=-1) if normalise == "head" else Zk
                energy = torch.linalg.svdvals(Zk).square() / Zk.shape[1]
                places[place].append((1000 * energy.clamp(min=1e-12).log()).round().int().tolist())
    zeros = [
        round((Z == 0).float().mean().item(), 4)
        for Z in (seen["tokens_out"][i] for i in range(len(network.blocks)))
    ]
    return {"zeros": zeros, "spectra": spectra}
