r"""Chapter 16, text: its figures, its tables, the numbers of its sentences, and the network that its page runs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from crate_mini import figures
from crate_mini.inspector.network import pack_halves
from crate_mini.language import LanguageModel, create_language_model
from crate_mini.results import read
from crate_mini.weights import load_language_model

Row = Mapping[str, Any]
NAMES: Mapping[str, str] = {"crate_text": "CRATE", "gpt_text": "GPT"}
"""The two networks, and what the page calls them."""
OTHERS: Mapping[str, str] = {
    **NAMES,
    "crate_text_two": "CRATE, a shorter training",
    "gpt_text_two": "GPT, a shorter training",
    "crate_text_alone": "CRATE without attention",
}
"""All trainings of which a loss is told."""

# ---- the network in the page ----------------------------------------------------------------------------------------

START = "ROMEO:\nBut soft, what light through yonder window breaks?\n"


def network() -> LanguageModel:
    """The CRATE that this page runs: the first of the trainings that are scored, in half precision."""
    with resources.as_file(resources.files("crate_mini") / "weights" / "text") as folder:
        return load_language_model(folder / "crate_text.safetensors")


def play_data(model: LanguageModel, units: Sequence[Sequence[Any]], start: str = START) -> dict[str, Any]:
    """For the playground ``text``: a CRATE in half precision, and units that can be held.

    Args:
        model: with MSSA and ISTA.
        units: name, layer, unit, and the highest value that it has of its own.
        start: the first text.
    """
    config, feed = model.config, model.encoder.blocks[0].feed
    halves = {k: v.detach().cpu().to(torch.float16) for k, v in model.state_dict().items()}
    return {
        "config": {
            "alphabet": config.alphabet,
            "length": config.length,
            "dim": config.dim,
            "heads": config.heads,
            "head_dim": model.encoder.blocks[0].attention.head_dim,
            "depth": config.depth,
            "step": feed.step,
            "lam": feed.lam,
        },
        "tensors": [[name, list(t.shape)] for name, t in halves.items()],
        "weights": pack_halves(list(halves.values())),
        "start": start,
        "held": [list(u) for u in units],
        "seed": 16,
    }


def held_units(row: Row) -> list[list[Any]]:
    """Units of a network that a reader may hold: the one that was measured, then the best for other predicates."""
    measured = row["held"]
    found = [[f"“{measured['predicate']}”", measured["layer"], measured["unit"], measured["value"]]]
    for unit in sorted(row["best"], key=lambda u: -u["score"]):
        if len(found) < 4 and all(unit["predicate"] not in name for name, *_ in found):
            found.append([f"“{unit['predicate']}”", unit["layer"], unit["unit"], unit["value"]])
    return found


# ---- losses ---------------------------------------------------------------------------------------------------------


def scores() -> dict[str, Any]:
    """``results/text/scores.json``."""
    return read("text/scores")


def of(found: Mapping[str, Any], name: str) -> list[Row]:
    """The trainings of a network, seeds in order."""
    return sorted((r for r in found["networks"] if r["name"] == name), key=lambda r: r["seed"])


def architecture(name: str) -> str:
    """The network behind the name of a training."""
    return name.removesuffix("_two").removesuffix("_alone")


def passes_over(row: Row) -> int:
    """How often a training has read the text: it is in its command line."""
    return int(re.search(r"--epochs (\d+)", row["training"])[1])


def each(values: Sequence[float | int], form: str = ".2f") -> str:
    """One number a training, in a cell of a table."""
    return ", ".join(format(v, form) for v in values)


def loss_rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Nats a character, from the worst to the best: networks, n-grams, a file compressor."""
    beside = found["beside"]
    rows = [
        {"": f"{n}-gram", "nats a character": f"{loss:.3f}", "of": loss}
        for n, loss in enumerate(beside["ngrams"], 1)
        if n in (1, 2, 3, 4, 5)
    ]
    rows.append({"": "bz2", "nats a character": f"{beside['bz2']:.3f}", "of": beside["bz2"]})
    for name, shown in OTHERS.items():
        if group := of(found, name):
            losses = [r["loss"] for r in group]
            rows.append(
                {
                    "": shown,
                    "nats a character": each(losses, ".3f"),
                    "times read": str(passes_over(group[0])),
                    "parameters": f"{group[0]['parameters']:,}",
                    "products a character": f"{products(architecture(name)):,}",
                    "of": losses[0],
                }
            )
    rows.sort(key=lambda row: -row["of"])
    keys = ("", "nats a character", "times read", "parameters", "products a character")
    return [{k: row.get(k, "") for k in keys} for row in rows]


def products(name: str, length: int = 64, batch: int = 32) -> int:
    """Multiply-adds of a network a character, forward, in batches as it was trained."""
    model = create_language_model(name, "".join(map(chr, range(65))), length)
    operators = [o for block in model.encoder.blocks for o in (block.attention, block.feed)]
    layers = sum(sum(o.multiply_adds(length, batch).values()) for o in operators)
    return round(layers / (length * batch)) + model.embedding.words.weight.numel()


def spread(name: str, values: Sequence[float | int]) -> dict[str, float | int]:
    """Least and most over trainings."""
    return {f"{name}_least": min(values), f"{name}_most": max(values)}


def loss_facts(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the sentences about losses say."""
    beside = found["beside"]
    facts: dict[str, Any] = {
        "uniform": math.log(65),
        "bigram": beside["ngrams"][1],
        "trigram": beside["ngrams"][2],
        "fourgram": beside["ngrams"][3],
        "fivegram": beside["ngrams"][4],
        "bz2": beside["bz2"],
        "held_out": beside["characters"][1],
        "learned": beside["characters"][0],
    }
    for name, short in zip(OTHERS, ("crate", "gpt", "crate_two", "gpt_two", "alone"), strict=True):
        group = of(found, name)
        facts |= spread(f"{short}_loss", [r["loss"] for r in group]) | {f"n_{short}": len(group)}
        facts |= {
            f"{short}_parameters": group[0]["parameters"],
            f"{short}_products": products(architecture(name)),
            f"{short}_passes": passes_over(group[0]),
        }
    bar = min(facts["fivegram"], facts["bz2"])
    facts["passes"] = [r["name"] for name in NAMES for r in of(found, name) if r["loss"] < bar]
    facts["apart_least"] = facts["crate_loss_least"] - facts["gpt_loss_most"]
    facts["apart_most"] = facts["crate_loss_most"] - facts["gpt_loss_least"]
    return facts


def loss_figure(found: Mapping[str, Any]) -> Figure:
    """Counts by how many characters they look at, and the networks, a line a training."""
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 2.6), layout="constrained")
    ngrams = found["beside"]["ngrams"]
    ax.plot(range(1, len(ngrams) + 1), ngrams, "o-", color="0.5", lw=1.4, label="n-grams")
    ax.axhline(found["beside"]["bz2"], color="0.5", lw=1.0, ls=":", label="bz2")
    for name, colour in (("crate_text", "crate"), ("gpt_text", "vit")):
        for i, row in enumerate(of(found, name)):
            ax.axhline(row["loss"], color=figures.COLOURS[colour], lw=1.4, label=None if i else NAMES[name])
    ax.set(xlabel="n", ylabel="nats a character")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=9)
    plt.close(fig)
    return fig


# ---- looking back ---------------------------------------------------------------------------------------------------

INDUCTION = (
    "GPT",
    "MSSA with a query, MLP",
    "MSSA, MLP",
    "MSSA with a query, ISTA",
    "CRATE",
)
"""Kinds of ``results/text/induction.json``, in the order of the table."""


def induction() -> dict[str, Any]:
    """``results/text/induction.json``."""
    return read("text/induction")


def of_kind(found: Mapping[str, Any], kind: str) -> list[Row]:
    """The trainings of a kind, seeds in order."""
    return sorted((r for r in found["networks"] if r["kind"] == kind), key=lambda r: r["seed"])


def most_before(row: Row) -> float:
    """The most attention that any head of the first layer gives, in the mean, to the token before."""
    return max(row["attention"]["before"][0])


def induction_rows(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """A number for each training."""
    rows = []
    for kind in INDUCTION:
        group = of_kind(found, kind)
        if group:
            rows.append(
                {
                    "two layers of": kind,
                    "nats": each([r["loss"][-1] for r in group]),
                    "right (%)": each([100 * r["top1"][-1] for r in group], ".0f"),
                    "to the token before (%)": each([100 * most_before(r) for r in group], ".0f"),
                }
            )
    return rows


def induction_facts(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the sentences about looking back say."""
    facts: dict[str, Any] = {
        "unknown": math.log(found["sequences"]["symbols"]),
        "steps": len(found["networks"][0]["loss"]) * found["steps_an_epoch"],
    }
    short = dict(
        zip(
            INDUCTION,
            ("gpt", "query_mlp", "mssa_mlp", "query_ista", "crate"),
            strict=True,
        )
    )
    for kind, name in short.items():
        group = of_kind(found, kind)
        if group:
            facts |= spread(f"{name}_right", [100 * r["top1"][-1] for r in group])
            facts |= spread(f"{name}_nats", [r["loss"][-1] for r in group])
            facts |= spread(f"{name}_before", [100 * most_before(r) for r in group])
            facts[f"n_{name}"] = len(group)
    return facts


def induction_figure(found: Mapping[str, Any]) -> Figure:
    """Loss of what can be known, by step; a line a training."""
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 3.0), layout="constrained")
    colours = ("vit", "crate_mhsa", "crate_mlp", "truth", "crate")
    for kind, colour in zip(INDUCTION, colours, strict=True):
        for i, row in enumerate(of_kind(found, kind)):
            steps = [found["steps_an_epoch"] * (k + 1) for k in range(len(row["loss"]))]
            label = kind if i == 0 else None
            ax.plot(steps, row["loss"], color=figures.COLOURS[colour], lw=1.6, label=label)
    ax.axhline(math.log(found["sequences"]["symbols"]), color="0.5", lw=0.8)
    ax.set(xlabel="step", ylabel="nats", ylim=(0, 4))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    plt.close(fig)
    return fig


# ---- units ----------------------------------------------------------------------------------------------------------

UNITS = (
    ("crate_text", "CRATE"),
    ("crate_text_untrained", "CRATE, untrained"),
    ("gpt_text", "GPT"),
    ("gpt_text_untrained", "GPT, untrained"),
)


def unit_rows(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """How well single units tell something, in their own axes and in others: a number for each training."""
    return [
        {
            "units of": shown,
            "AUROC": each([r["units"]["mean"] for r in group]),
            "turned": each([r["rotated"]["mean"] for r in group]),
            "0.9 or more (%)": each([100 * r["units"]["above_90"] for r in group], ".0f"),
            "turned (%)": each([100 * r["rotated"]["above_90"] for r in group], ".0f"),
            "dead": each([r["units"]["dead"] for r in group], "d"),
            "units": str(group[0]["units"]["count"]),
        }
        for name, shown in UNITS
        if (group := of(found, name))
    ]


def held_rows(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """Capitals among the letters that are written, in per cent: a row for each training."""
    return [
        {
            "": shown,
            "nothing held (%)": f"{100 * held['nobody']:.0f}",
            "this unit held (%)": f"{100 * held['held']:.0f}",
            "six others (%)": f"{100 * min(held['others']):.0f} to {100 * max(held['others']):.0f}",
        }
        for name, shown in NAMES.items()
        for row in of(found, name)
        if (held := row.get("held"))
    ]


def unit_facts(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the sentences about units say."""
    facts: dict[str, Any] = {}
    for name, _ in UNITS:
        group, short = of(found, name), name.replace("_text", "")
        facts |= spread(f"{short}_units", [r["units"]["mean"] for r in group])
        facts |= spread(f"{short}_turned", [r["rotated"]["mean"] for r in group])
        facts |= spread(f"{short}_gap", [r["units"]["mean"] - r["rotated"]["mean"] for r in group])
        facts |= spread(f"{short}_above", [100 * r["units"]["above_90"] for r in group])
        facts |= spread(f"{short}_dead", [r["units"]["dead"] for r in group])
    shorter = [r["held"] for r in of(found, "crate_text_two")]
    facts["held_ahead_crate_two"] = sum(h["held"] > max(h["nobody"], *h["others"]) for h in shorter)
    for name, short in (("crate_text", "crate"), ("gpt_text", "gpt")):
        holds = [r["held"] for r in of(found, name) if "held" in r]
        facts[f"{short}_holds"] = len(holds)
        facts[f"held_ahead_{short}"] = sum(h["held"] > max(h["nobody"], *h["others"]) for h in holds)
    return facts


def looking_facts(found: Mapping[str, Any]) -> dict[str, Any]:
    """How often a token prefers another, in the trained networks of text."""
    facts: dict[str, Any] = {}
    for name, short in (("crate_text", "crate"), ("gpt_text", "gpt")):
        group = of(found, name)
        facts |= spread(f"{short}_prefers", [100 * r["attention"]["preferred"] for r in group])
        facts |= spread(f"{short}_not_longer", [100 * r["attention"]["preferred_not_longer"] for r in group])
        facts |= spread(f"{short}_back", [100 * max(map(max, r["attention"]["before"])) for r in group])
    return facts
