"""Chapter 12, what a head means: its figures, its tables, and the numbers of its sentences.

What is said of several trainings was measured by ``tools/name_heads.py`` and lies in ``results/names/heads.json``;
the page looks at one of them live.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from torch import Tensor

from crate_mini import figures, heads, results
from crate_mini.data.imageset import ImageSet

NETWORK, OTHER = "crate_nano_embedded_s2", "crate_nano_embedded"
"""The training that the page looks at, which has names to show, and one that has none."""
ANIMALS = ("horse", "unicorn", "elephant")
"""Of the first picture."""
TESTS = {
    "pairs": "all pairs",
    "above": "above\nchance",
    "looks": "follows\nthe picture",
    "rare": "beats random\nsubspaces",
    "earned": "lies on\nthe part",
}
"""What is counted of a network, and how a figure calls it; each with all tests before it."""
Row = Mapping[str, Any]


# ---- what was measured ----------------------------------------------------------------------------------------------


def measured() -> dict[str, Any]:
    """``results/names/heads.json``."""
    return results.read("names/heads")


def first_edition() -> dict[str, Any]:
    """The same of the three trainings that this page once had, ``results/names/first_edition.json``."""
    return results.read("names/first_edition")


def networks(found: Mapping[str, Any], model: str, *, trained: bool = True) -> list[Row]:
    """The measured networks of one kind."""
    return [row for row in found["networks"] if row["model"] == model and row["trained"] == trained]


def row_of(found: Mapping[str, Any], name: str) -> Row:
    """What was measured of one network."""
    return next(row for row in found["networks"] if row["name"] == name)


def names_of(row: Row, *, earned: bool = True) -> set[str]:
    """Parts that a head of this network is called by; or, with ``earned=False``, that pass all tests but the last."""
    return {named["part"] for named in row["named"] if named["earned"] or not earned}


def answer_facts(found: Mapping[str, Any]) -> dict[str, Any]:
    """How many trainings of CRATE and of the ViT have a head with a name, which names, and without any training."""
    crates, vits = (networks(found, model) for model in ("crate_nano", "vit_nano"))
    untrained = [row for row in found["networks"] if not row["trained"]]
    trained = [*crates, *vits]
    of_crate = [n for row in crates for n in row["named"] if n["earned"]]
    earned = [len({(n["layer"], n["head"]) for n in row["named"] if n["earned"]}) for row in crates]
    counts = how_often(crates)
    often = max(counts, key=lambda part: counts[part])
    return {
        "crates": len(crates),
        "vits": len(vits),
        "fresh": len(untrained),
        "heads": found["networks"][0]["pairs"] // len(found["parts"]),
        "pictures": found["drawings"]["pictures"],
        "with_names": sum(n > 0 for n in earned),
        "vits_with_names": sum(bool(names_of(row)) for row in vits),
        "most_names": max(earned),
        "often": often,
        "often_in": counts[often],
        "fresh_named": sum(row["earned"] for row in untrained),
        "above_low": min(row["above"] / row["pairs"] for row in trained),
        "above_high": max(row["above"] / row["pairs"] for row in trained),
        "fresh_above_low": min(row["above"] / row["pairs"] for row in untrained),
        "fresh_above_high": max(row["above"] / row["pairs"] for row in untrained),
        "correlation_low": min(row["correlation"] for row in trained),
        "correlation_high": max(row["correlation"] for row in trained),
        "on_low": min(n["strongest_on"] for n in of_crate),
        "on_high": max(n["strongest_on"] for n in of_crate),
        "ground_low": min(n["strongest_ground"] for n in of_crate),
        "ground_high": max(n["strongest_ground"] for n in of_crate),
        "lift_low": min(n["mass"] / n["area"] for n in of_crate),
        "lift_high": max(n["mass"] / n["area"] for n in of_crate),
        "lost": sum(not n["earned"] for row in trained for n in row["named"]),
    }


def how_often(rows: Sequence[Row]) -> dict[str, int]:
    """Each part that a head is called by, and in how many of these trainings; the most frequent first."""
    counts = Counter(part for row in rows for part in sorted(names_of(row)))
    return dict(counts.most_common())


def stay_facts(found: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the heads of CRATE are known again, in other pictures, other classes and other trainings."""
    trained, fresh = (networks(found, "crate_nano", trained=is_trained) for is_trained in (True, False))
    names = {row["name"] for row in trained}
    among = [a for a in found["alike"] if set(a["pair"]) <= names]
    beside = [a for a in found["alike"] if not set(a["pair"]) <= names]

    def more_alike(pairs: Sequence[Row]) -> int:
        return sum(m > r for a in pairs for m, r in zip(a["matched"], a["random_high"], strict=True))

    layers = len(found["alike"][0]["matched"])
    facts = {
        f"{kind}_{end}": pick(row["known"][kind] for row in trained)
        for kind in ("pictures", "classes", "mixed")
        for end, pick in (("low", min), ("high", max))
    }
    known = {f"{kind}_known": _at_least(facts[f"{kind}_low"]) for kind in ("pictures", "classes")}
    return (
        facts
        | known
        | {
            "fresh_low": min(row["known"]["pictures"] for row in fresh),
            "trained": len(trained),
            "layers": layers,
            "among": len(among),
            "among_alike": more_alike(among),
            "among_of": layers * len(among),
            "beside_alike": more_alike(beside),
            "beside_of": layers * len(beside),
        }
    )


def _at_least(share: float) -> str:
    """``99.5 % or more``, and ``100 %`` where there is no more."""
    return "100 %" if share == 1 else f"{100 * share:.1f} % or more"


def silence_facts(found: Mapping[str, Any]) -> dict[str, Any]:
    """What CRATE loses without a head, and whether that has to do with where it looks."""
    trained = networks(found, "crate_nano")
    needed = [sum(v > 0 for layer in row["without"]["low"] for v in layer) for row in trained]
    most = [max(v for layer in row["without"]["cost"] for v in layer) for row in trained]
    rho = [row["without"]["rho"] for row in trained]
    sure = [row["without"]["rho"] for row in trained if row["without"]["p"] < 0.05 / len(trained)]
    named = {
        row["name"]: {row["without"]["cost"][n["layer"]][n["head"]] for n in row["named"] if n["earned"]}
        for row in trained
    }
    missed = {row["name"]: max(v for layer in row["without"]["cost"] for v in layer) for row in trained}
    return {
        "trained": len(trained),
        "heads": found["networks"][0]["pairs"] // len(found["parts"]),
        "named_right": found["drawings"]["named"],
        "right_low": min(row["without"]["right"] for row in trained),
        "right_high": max(row["without"]["right"] for row in trained),
        "needed_low": min(needed),
        "needed_high": max(needed),
        "most_low": 100 * min(most),
        "most_high": 100 * max(most),
        "named_low": 100 * min(min(of) for of in named.values() if of),
        "named_high": 100 * max(max(of) for of in named.values() if of),
        "with_names": sum(bool(of) for of in named.values()),
        "missed_named": sum(missed[name] in of for name, of in named.items()),
        "telling": _words(trained[0]["without"]["telling"]),
        "rho_low": min(rho),
        "rho_high": max(rho),
        "rho_positive": sum(v > 0 for v in rho),
        "rho_above": sum(v > 0 for v in sure),
        "rho_below": sum(v < 0 for v in sure),
    }


def name_rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The table of names: a row a kind of network, each name with the number of trainings in which it is earned."""
    kinds = {
        "CRATE": networks(found, "crate_nano"),
        "ViT": networks(found, "vit_nano"),
        "untrained": [row for row in found["networks"] if not row["trained"]],
    }
    return [
        {
            "network": kind,
            "names, and in how many": ", ".join(f"{part} {n}" for part, n in how_often(rows).items()) or "–",
            "without a name": f"{sum(not names_of(row) for row in rows)} of {len(rows)}",
        }
        for kind, rows in kinds.items()
    ]


def photograph_rows() -> list[dict[str, Any]]:
    """Best head and best random subspace on photographs, for the whole animal against everything else."""
    sets = {"pets": "cats and dogs", "horses": "horses"}
    rows = []
    for name in (
        "crate_mini_animals_s0",
        "vit_mini_animals_s0",
        "crate_mini_untrained",
        "vit_mini_untrained",
    ):
        for where, shown in sets.items():
            kept = results.read(f"heads/{name}_{where}_test")
            image = kept["heads"]["image"]
            rows.append(
                {
                    "network": name,
                    "photographs": shown,
                    "n": kept["images"],
                    "best head": image["best_head"]["reported"][0],
                    "best of as many random": image["random"]["best"][0],
                }
            )
    return rows


def play_data(found: Mapping[str, Any], mean: Float[Tensor, "L K P"]) -> dict[str, Any]:
    """For the playground: scores of random subspaces and of the heads of :data:`NETWORK`, a list a part."""
    columns = mean.flatten(0, 1).T.tolist()
    return {
        "parts": found["parts"],
        "random": found["pool"],
        "heads": [[round(v, 4) for v in column] for column in columns],
    }


def _words(parts: Sequence[str] | set[str]) -> str:
    """Names in a sentence; ``none``."""
    *first, last = sorted(parts) or ["none"]
    return f"{', '.join(first)} and {last}" if first else last


# ---- figures --------------------------------------------------------------------------------------------------------


def first_of(pictures: ImageSet, name: str) -> int:
    """The first picture of a class."""
    return int((pictures.labels == pictures.classes.index(name)).nonzero()[0])


PARTS_TO_LOOK_AT = (
    ("horse", "leg"),
    ("elephant", "leg"),
    ("cat", "leg"),
    ("unicorn", "horn"),
    ("pegasus", "wing"),
)
"""Animals of the viewer, and the part whose outline it shows."""


def viewer_settings(pictures: ImageSet, named: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the viewer shows: an animal a part, the outline of that part, and the first head that earned its name."""
    index = [first_of(pictures, name) for name, _ in PARTS_TO_LOOK_AT]
    first = next(n for n in named if n["earned"])
    masks = [
        (pictures.parts[i] == pictures.part_names.index(part)).to(torch.uint8)
        for i, (_, part) in zip(index, PARTS_TO_LOOK_AT, strict=True)
    ]
    return {
        "images": [pictures.images[i] for i in index],
        "titles": [f"{name}: {part}" for name, part in PARTS_TO_LOOK_AT],
        "masks": masks,
        "layer": first["layer"],
        "head": first["head"],
    }


def opening_figure(pictures: ImageSet, maps: Float[Tensor, "b L K n"], layer: int) -> Figure:
    """A row an animal: the picture, its true parts, and the maps of all heads of a layer."""
    parts, K = pictures.part_names[1:], maps.shape[2]
    side = round(maps.shape[-1] ** 0.5)
    fig, axes = plt.subplots(len(ANIMALS), K + 2, figsize=(figures.WIDTH, 1.36 * len(ANIMALS) + 0.5))
    seen = set()
    for row, name in zip(axes, ANIMALS, strict=True):
        i = first_of(pictures, name)
        figures.bare(row[0]).imshow(figures.to_pixels(pictures.images[i]))
        labels = pictures.parts[i].numpy()
        painted = figures.to_pixels(pictures.images[i]) / 255 * 0.35
        for part, colour in enumerate(figures.PALETTE[: len(parts)], start=1):
            painted[labels == part] = colour
        seen |= set(np.unique(labels)) - {0}
        figures.bare(row[1]).imshow(painted)
        for k in range(K):
            attention = maps[i, layer, k].softmax(-1).view(side, side)
            figures.bare(row[k + 2]).imshow(figures.spotlight(pictures.images[i], attention))
    for ax, title in zip(axes[0], ["picture", "true parts", *(f"head {k}" for k in range(K))], strict=True):
        ax.set_title(title, fontsize=9)
    fig.legend(
        [plt.Rectangle((0, 0), 1, 1, color=figures.PALETTE[p - 1]) for p in sorted(seen)],
        [parts[p - 1] for p in sorted(seen)],
        loc="outside lower center", ncols=len(seen), fontsize=8, handlelength=1, columnspacing=1,
    )  # fmt: skip
    plt.close(fig)
    return fig


def score_figure(mean: Float[Tensor, "L K P"], parts: Sequence[str], earned: Bool[Tensor, "L K P"]) -> Figure:
    """A row a head, a column a part: mean AUROC within the animal; earned names are framed."""
    L, K, P = mean.shape
    flat, framed = mean.flatten(0, 1).numpy(), earned.flatten(0, 1).numpy()
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 3.3))
    ax.imshow(flat, cmap="PRGn", vmin=0, vmax=1, aspect="auto")
    for (row, column), v in np.ndenumerate(flat):
        bold, colour = framed[row, column], "white" if abs(v - 0.5) > 0.35 else "black"
        ax.text(
            column, row, f"{v:.2f}", ha="center", va="center", fontsize=8, color=colour,
            weight="bold" if bold else "normal",
        )  # fmt: skip
        if bold:
            ax.add_patch(plt.Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, fill=False, lw=1.8, zorder=5))
    ax.set_xticks(range(P), parts, fontsize=9)
    ax.set_yticks(range(L * K), [f"layer {i}, head {k}" for i in range(L) for k in range(K)], fontsize=8)
    ax.hlines([K * layer - 0.5 for layer in range(1, L)], -0.5, P - 0.5, color="white", lw=3)
    ax.tick_params(length=0)
    ax.xaxis.tick_top()
    for spine in ax.spines.values():
        spine.set_visible(False)
    plt.close(fig)
    return fig


def own_and_other_figure(
    mean: Float[Tensor, "L K P"], other: Float[Tensor, "L K P"], parts: Sequence[str]
) -> Figure:
    """Every head and part: the score of the map of another picture, and of its own."""
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 2.6))
    ax.plot([0, 1], [0, 1], color="0.6", lw=1, ls="--")
    for i, (name, colour) in enumerate(zip(parts, figures.PALETTE, strict=True)):
        ax.scatter(other[..., i].flatten(), mean[..., i].flatten(), color=colour, s=22, lw=0, label=name)
    ax.set(xlabel="AUROC with the map of another picture", ylabel="with its own map")
    ax.set(xlim=(0.05, 0.9), ylim=(0.05, 0.9))
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), handletextpad=0.2)
    plt.close(fig)
    return fig


def tests_figure(found: Mapping[str, Any]) -> Figure:
    """How many pairs of head and part are left after each test, a line a network."""
    looks = {
        ("crate_nano", True): ("CRATE", {"color": figures.COLOURS["crate"], "marker": "o"}),
        ("vit_nano", True): ("ViT", {"color": figures.COLOURS["vit"], "marker": "s"}),
        ("crate_nano", False): ("CRATE, untrained", {"color": "0.45", "ls": "--", "marker": "o"}),
        ("vit_nano", False): ("ViT, untrained", {"color": "0.45", "ls": ":", "marker": "s"}),
    }
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 2.2))
    for (model, trained), (label, look) in looks.items():
        for i, row in enumerate(networks(found, model, trained=trained)):
            counts = [row[test] for test in TESTS]
            ax.plot(range(len(TESTS)), counts, lw=1, ms=4, alpha=0.7, mfc="none" if not trained else None,
                    label=None if i else label, **look)  # fmt: skip
    ax.set_yscale("symlog", linthresh=1)
    ax.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    ax.set_ylim(-0.15, 250)
    ax.set_xticks(range(len(TESTS)), TESTS.values(), fontsize=9)
    ax.set_ylabel("pairs of head and part")
    ax.legend(fontsize=8)
    plt.close(fig)
    return fig


def strongest_figure(pictures: ImageSet, maps: Float[Tensor, "b L K n"], row: Row, count: int = 9) -> Figure:
    """For each head with a name, the patches to which it gives most, one a picture that shows the part.

    Args:
        pictures: with parts.
        maps: of a network.
        row: what was measured of it.
        count: pictures a head.
    """
    pixels = heads.pixel_counts(pictures.parts, 8, len(pictures.part_names))
    named = [n for n in row["named"] if n["earned"]]
    fig, axes = plt.subplots(len(named), count, figsize=(figures.WIDTH, 1.05 * len(named)), squeeze=False)
    for cells, n in zip(axes, named, strict=True):
        part = pictures.part_names.index(n["part"])
        index = (pixels[:, part].sum(-1) >= 16).nonzero().flatten()
        found = heads.strongest_patches(maps[index, n["layer"], n["head"]], count)
        for ax, (i, patch, _) in zip(cells, found, strict=True):
            cut = heads.cut_out(pictures.images[index[i]], patch, 8, around=2)
            figures.bare(ax).imshow(figures.to_pixels(cut))
        cells[0].set_ylabel(f"{n['part']}\nlayer {n['layer']}, head {n['head']}", fontsize=8)
    plt.close(fig)
    return fig


def alike_figure(found: Mapping[str, Any]) -> Figure:
    """By layer, how alike matched heads of two networks are, beside random subspaces of the second one's tokens."""
    fresh = {row["name"] for row in found["networks"] if not row["trained"]}
    groups = {
        "two trainings": [a for a in found["alike"] if not fresh & set(a["pair"])],
        "a training and an untrained network": [a for a in found["alike"] if fresh & set(a["pair"])],
    }
    fig, axes = plt.subplots(1, 2, figsize=(figures.WIDTH, 2.3), sharey=True)
    for ax, (title, pairs) in zip(axes, groups.items(), strict=True):
        for i, a in enumerate(pairs):
            layers = range(len(a["matched"]))
            ax.plot(layers, a["random_high"], color="0.6", ls="--", lw=0.8, alpha=0.6,
                    label=None if i else "random subspaces, 97.5 %")  # fmt: skip
            ax.plot(layers, a["matched"], color=figures.COLOURS["crate"], marker="o", ms=3, lw=0.8, alpha=0.6,
                    label=None if i else "heads, matched")  # fmt: skip
        ax.set(xlabel="layer", xticks=layers, ylim=(-0.2, 1))
        ax.set_title(title, fontsize=9)
    axes[0].set_ylabel("correlation of maps")
    axes[0].legend(fontsize=8, loc="upper left")
    plt.close(fig)
    return fig


def cost_figure(found: Mapping[str, Any]) -> Figure:
    """Points of accuracy lost without each head, a column a training; filled where it is needed for sure."""
    rows, colour = networks(found, "crate_nano"), figures.COLOURS["crate"]
    across = min(4, len(rows))
    down = math.ceil(len(rows) / across)
    fig, axes = plt.subplots(
        down, across, figsize=(figures.WIDTH, 1.3 * down), sharey=True, sharex=True, squeeze=False
    )
    for ax in axes.flat[len(rows) :]:
        ax.remove()
    for ax, row in zip(axes.flat, rows, strict=False):
        named = {(n["layer"], n["head"]) for n in row["named"] if n["earned"]}
        for layer, (costs, lows) in enumerate(
            zip(row["without"]["cost"], row["without"]["low"], strict=True)
        ):
            for head, (cost, low) in enumerate(zip(costs, lows, strict=True)):
                x = layer + 0.16 * (head - (len(costs) - 1) / 2)
                ax.plot(x, 100 * cost, "o", ms=5, color=colour, mfc=colour if low > 0 else "none")
                if (layer, head) in named:
                    ax.plot(x, 100 * cost, "o", ms=11, mfc="none", mec="black", mew=1.2)
        ax.axhline(0, color="0.6", lw=0.8)
        ax.set(xticks=range(len(row["without"]["cost"])))
        ax.set_title(f"seed {row['seed']}", fontsize=9)
    fig.supxlabel("layer", fontsize=9)
    fig.supylabel("points lost without it", fontsize=9)
    plt.close(fig)
    return fig
