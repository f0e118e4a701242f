"""Chapter 9, what a score is worth: one map and all its masks, what never saw a network, floors and ceilings.

Scores on photographs were measured by ``tools/score_masks.py`` and lie in ``results/masks/``, those of masks that never
saw an image by ``tools/floors.py`` in ``results/floors/``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from matplotlib.figure import Figure
from torch import Tensor

from crate_mini import figures
from crate_mini.attention_maps import cls_attention_maps, mass_mask, patch_mask, spread
from crate_mini.chapters.family import FAMILY, SHOWN
from crate_mini.chapters.front_page import readings
from crate_mini.data.imageset import ImageSet
from crate_mini.model import CRATE
from crate_mini.segmentation import count_patches, score_maps, stored

PLACES = {"pets/test": "cats and dogs", "horses/test": "horses"}
"""Photographs with outlines, by the name that they have in a sentence."""
RULES = {
    "auroc": "AUROC",
    "ap": "AP",
    "best_iou": "best IoU",
    "patch": "the paper's rule",
    "mass": "DINO's rule",
}
"""Every score of the chapter, in the order of its tables."""
UNTRAINED = {"CRATE": "crate_mini_untrained", "ViT": "vit_mini_6_untrained"}
PAPER = {"CRATE-S/8": 23.9, "ViT-S/8": 14.1, "ViT-S/8, DINO": 27.0}
"""Mean IoU on PASCAL VOC 2012 in per cent, arXiv 2308.16271, figure 4."""
BY_OWN_RULE = {"ViT-S/8, DINO": 44.7}
"""The same set and network by the rule of its own paper, arXiv 2104.14294."""
BLIND = {
    "ceiling": "no mask can exceed",
    "disc": "ellipse in the middle",
    "everything": "the whole image",
    "best of 6 random": "best of six random masks",
    "random": "a random mask",
}
"""What needs no image, by its name in ``results/floors``."""

Scored = Mapping[str, Any]


# ---- what was measured ----------------------------------------------------------------------------------------------


def scored(kind: str, place: str) -> list[Scored]:
    """What was measured of every training of a kind on a set, in the order of their seeds; those that there are."""
    found = []
    for name in FAMILY[kind]:
        try:
            found.append(stored(name, place))
        except FileNotFoundError:
            continue
    return found


def one_head(found: Scored, rule: str, what: str = "score") -> float:
    """The score of the one head that was chosen on other photographs, or what stands beside it."""
    return found["rules"][rule]["fixed"][what][0]


def answer_facts() -> dict[str, Any]:
    """Numbers of the first screen, in per cent."""
    written = readings()[0]
    pets = scored("CRATE", "pets/test")
    rules = {rule: 100 * mean(one_head(one, rule) for one in pets) for rule in RULES}
    auroc = pets[0]["rules"]["auroc"]
    return (
        {name.replace(" ", "_"): 100 * value[0] for name, value in written["scores"].items()}
        | rules
        | {
            "voc": written["images"],
            "paper_crate": PAPER["CRATE-S/8"],
            "paper_vit": PAPER["ViT-S/8"],
            "lowest": min(rules.values()),
            "highest": max(rules.values()),
            "trainings": len(pets),
            "pets": pets[0]["images"],
            "horses": scored("CRATE", "horses/test")[0]["images"],
            "elsewhere": 100 * mean(one_head(one, "auroc", "elsewhere") for one in pets),
            "middle": 100 * auroc["baselines"]["centre"][0],
        }
    )


def rule_rows(place: str = "pets/test") -> list[dict[str, Any]]:
    """The table of a set: a row a score, in per cent, all of it under exactly the rule of that row."""
    crates, vits = scored("CRATE", place), scored("ViT", place)
    fresh = stored(UNTRAINED["CRATE"], place)
    rows = []
    for rule, said in RULES.items():
        blind = crates[0]["rules"][rule]["baselines"]
        rows.append(
            {
                "%": said,
                "CRATE": 100 * mean(one_head(one, rule) for one in crates),
                "ViT": 100 * mean(one_head(one, rule) for one in vits),
                "another picture's map": 100 * mean(one_head(one, rule, "elsewhere") for one in crates),
                "shuffled": 100 * mean(one_head(one, rule, "shuffled") for one in crates),
                "untrained": 100 * one_head(fresh, rule),
                "disc": 100 * blind["centre"][0],
                "whole image": 100 * blind["everything"][0],
            }
        )
    return rows


def middle_facts() -> dict[str, Any]:
    """How much of a score is the habit of looking at the middle, and what is left of the disc off the centre."""
    facts: dict[str, Any] = {}
    for place, name in zip(PLACES, ("pets", "horses"), strict=True):
        for kind in FAMILY:
            found = scored(kind, place)
            saw = [100 * (one_head(one, "auroc") - one_head(one, "auroc", "elsewhere")) for one in found]
            facts |= {f"{name}_{kind.lower()}_low": min(saw), f"{name}_{kind.lower()}_high": max(saw)}
            facts[f"{name}_{kind.lower()}_above"] = sum(
                one["rules"]["auroc"]["fixed"]["above_centre"][1] > 0 for one in found
            )
            facts[f"{kind.lower()}_trainings"] = len(found)
        off = found[0]["rules"]["auroc"]["off_centre"]
        facts |= {
            f"{name}_middle": 100 * found[0]["rules"]["auroc"]["baselines"]["centre"][0],
            f"{name}_off": 100 * off["centre"][0],
        }
    return facts


def floor_facts() -> dict[str, Any]:
    """What the paper's rule can show, over all readings of it."""
    rows = readings()

    def over(model: str, name: str) -> int:
        return sum(PAPER[model] > round(100 * row["scores"][name][0], 1) for row in rows)

    def ends(name: str) -> dict[str, float]:
        values = [100 * row["scores"][name][0] for row in rows]
        key = name.replace(" ", "_")
        return {f"{key}_low": min(values), f"{key}_high": max(values)}

    return {
        "readings": len(rows),
        "vit_over_six": over("ViT-S/8", "best of 6 random"),
        "crate_over_six": over("CRATE-S/8", "best of 6 random"),
        "crate_over_disc": over("CRATE-S/8", "disc"),
        "dino_over_disc": over("ViT-S/8, DINO", "disc"),
        "dino": PAPER["ViT-S/8, DINO"],
        "dino_own": BY_OWN_RULE["ViT-S/8, DINO"],
        "crate": PAPER["CRATE-S/8"],
        "vit": PAPER["ViT-S/8"],
        **ends("disc"),
        **ends("ceiling"),
    }


def head_facts() -> dict[str, Any]:
    """What the number of heads is worth by chance, and how far trainings lie apart by how a head is chosen; points."""
    rule = "best_iou"
    by_chance = [row["chance"][0] for row in scored("CRATE", "pets/test")[0]["rules"][rule]["per_image"]]
    own = [
        mean(one["rules"][rule]["per_image"][k]["score"][0] for one in scored("CRATE", "pets/test"))
        for k in (0, len(by_chance) - 1)
    ]
    ways = {
        "other": lambda rules: rules["auroc"]["fixed"]["score"][0],
        "same": lambda rules: rules["auroc"]["cross_fitted"]["score"][0],
        "none": lambda rules: rules["auroc"]["mean_of_heads"]["last"][0],
    }
    apart = {}
    for way, score in ways.items():
        sides = [[score(one["rules"]) for one in scored(kind, place)] for kind in FAMILY for place in PLACES]
        apart[f"apart_{way}"] = 100 * max(max(side) - min(side) for side in sides)
    return apart | {
        "heads": len(by_chance),
        "more_by_chance": 100 * (by_chance[-1] - by_chance[0]),
        "more": 100 * (own[1] - own[0]),
        "trainings": len(scored("CRATE", "pets/test")),
    }


# ---- one map --------------------------------------------------------------------------------------------------------


def masks_of(
    one: Float[Tensor, "h w"], overlap: Float[Tensor, " n"], objects: Int[Tensor, " n"], pixels: int
) -> dict[str, int]:
    """How many patches of a map are kept: where its IoU is best, where the mask is as large as the object, by rule.

    Args:
        one: the map.
        overlap: IoU of the mask of the first 1, 2, ... patches.
        objects: pixels of the object in every patch.
        pixels: of a patch.
    """
    return {
        "best": int(overlap.argmax()) + 1,
        "equal area": max(1, round(int(objects.sum()) / pixels)),
        "paper's rule": int(patch_mask(one).sum()),
        "DINO's rule": int(mass_mask(one).sum()),
    }


def map_figure(
    picture: Shaped[Tensor, "3 H W"],
    truth: Shaped[Tensor, "H W"],
    one: Float[Tensor, "h w"],
    curves: tuple[Tensor, Tensor, Tensor],
    kept: Mapping[str, int],
) -> Figure:
    """A picture with its outline, one map of it, the map's ROC curve, and the IoU of each of its masks.

    Args:
        picture: RGB.
        truth: its true mask.
        one: the map.
        curves: object pixels, background pixels and IoU of the first 1, 2, ... patches.
        kept: patches of the masks that are marked, from :func:`masks_of`.
    """
    hits, misses, overlap = curves
    fig, axes = plt.subplots(1, 4, figsize=(figures.WIDTH, 2.3), width_ratios=[1, 1, 1.15, 1.5])
    figures.outline(figures.bare(axes[0], "outline"), truth)
    axes[0].imshow(figures.to_pixels(picture))
    figures.bare(axes[1], "one head's map").imshow(one.numpy(), cmap=figures.MAP_COLOURS)
    colour = figures.COLOURS["crate"]
    x, y = misses / misses[-1], hits / hits[-1]
    axes[2].plot(x, y, color=colour)
    axes[2].fill_between(x, y, alpha=0.15, color=colour)
    axes[2].plot([0, 1], [0, 1], color="0.6", lw=0.8, ls="--")
    axes[2].set(xlabel="background kept", ylabel="object kept", xticks=[0, 1], yticks=[0, 1])
    axes[3].plot(np.arange(1, len(overlap) + 1), overlap, color=colour)
    for (name, n), marker in zip(kept.items(), "*Dso", strict=True):
        axes[3].plot(n, overlap[n - 1], marker, color="0.2", ms=6, mfc="white", label=name)
    axes[3].set(xlabel="patches kept", ylabel="IoU", ylim=(0, 1))
    axes[3].legend(fontsize=7, loc="upper right")
    plt.close(fig)
    return fig


def map_facts(
    scores: Mapping[str, Tensor], place: tuple[int, int], overlap: Tensor, kept: Mapping[str, int]
) -> dict[str, float]:
    """What the one map scores, by every rule."""
    return {rule: float(scores[rule][place]) for rule in RULES} | {
        "equal": float(overlap[kept["equal area"] - 1])
    }


# ---- figures of what was measured -----------------------------------------------------------------------------------


def paper_figure() -> Figure:
    """The paper's scale: what needs no image, over all readings of the rule, and the paper's networks."""
    rows = readings()
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 2.7))
    for y, name in enumerate(BLIND):
        values = [100 * row["scores"][name][0] for row in rows]
        ax.plot([min(values), max(values)], [y, y], color="0.75", lw=6, solid_capstyle="round")
        ax.plot(values[0], y, "o", color="0.3", ms=7)
    colours = {"CRATE": figures.COLOURS["crate"], "ViT": figures.COLOURS["vit"]}
    for y, (name, value) in enumerate(PAPER.items(), start=len(BLIND)):
        colour = "0.3" if "DINO" in name else colours[name[: name.index("-")]]
        ax.plot(value, y, "D", color=colour, ms=7)
    labels = [*BLIND.values(), *(f"paper: {name}" for name in PAPER)]
    ax.set_yticks(range(len(labels)), labels, fontsize=9)
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    ax.set(xlabel="mean IoU by the paper's rule, PASCAL VOC 2012 (%)", xlim=(0, 60))
    plt.close(fig)
    return fig


def temperature_points(
    maps: Float[Tensor, "b h w"],
    counts: tuple[Shaped[Tensor, "b n"], Shaped[Tensor, "b n"]],
    temperatures: Sequence[float],
) -> list[tuple[float, float]]:
    """For each temperature the share of the image that a map rests on, and its IoU by DINO's rule; means over images.

    Args:
        maps: of one head, one an image.
        counts: object and background pixels of every patch.
        temperatures: 1 leaves a map as it is.
    """
    logs, points = maps.double().clamp(min=1e-30).log().flatten(-2), []
    for T in temperatures:
        moved = (logs / T).softmax(-1)
        wide = spread(moved.view(maps.shape)).mean() / moved.shape[-1]
        points.append((float(wide), float(score_maps(moved, *counts)["mass"].mean())))
    return points


TEMPERATURES = (1.0, *(2.0 ** (k / 4) for k in range(-8, 21)))
"""The first is the network's own."""


def at_temperatures(networks: Mapping[str, CRATE], animals: ImageSet) -> dict[str, list[tuple[float, float]]]:
    """:func:`temperature_points` of the one head of each network that was chosen on photographs, on drawings."""
    points = {}
    for kind, network in networks.items():
        head = stored(SHOWN[kind], "embedded/test")["rules"]["auroc"]["fixed"]
        maps = cls_attention_maps(network, animals.images, [head["layer"]])[:, 0, head["head"]]
        points[kind] = temperature_points(maps, count_patches(animals.masks, maps.shape[-2:]), TEMPERATURES)
    return points


def sharpness_figure(points: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """IoU by DINO's rule as the temperature moves, a line a network; the dot is the network as it is."""
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 2.4))
    for kind, of in points.items():
        colour = figures.COLOURS[kind.lower()]
        ax.plot(*zip(*of[1:], strict=True), color=colour, label=kind)
        ax.plot(*of[0], "o", color=colour, ms=8)
    ax.set(xlabel="share of the image that the map rests on", ylabel="IoU, DINO's rule")
    ax.set(xlim=(0, 1), ylim=(0, None))
    ax.legend(fontsize=8)
    plt.close(fig)
    return fig


def sharpness_facts(points: Mapping[str, Sequence[tuple[float, float]]]) -> dict[str, float]:
    """IoU by DINO's rule as the networks are, and at the temperature that suits each best; per cent and points."""
    now = {kind: 100 * of[0][1] for kind, of in points.items()}
    best = {kind: 100 * max(y for _, y in of) for kind, of in points.items()}
    return {
        "crate_now": now["CRATE"],
        "vit_now": now["ViT"],
        "crate_best": best["CRATE"],
        "vit_best": best["ViT"],
        "least_gain": min(best[kind] - now[kind] for kind in points),
        "most_gain": max(best[kind] - now[kind] for kind in points),
    }


def heads_figure() -> Figure:
    """Best IoU of the best of k heads, a line a training, beside the same of shuffled maps."""
    fig, axes = plt.subplots(1, 2, figsize=(figures.WIDTH, 2.5), sharey=True)
    for ax, (place, said) in zip(axes, PLACES.items(), strict=True):
        for kind in FAMILY:
            colour = figures.COLOURS[kind.lower()]
            for i, one in enumerate(scored(kind, place)):
                rows = one["rules"]["best_iou"]["per_image"]
                k = [row["heads"] for row in rows]
                own, lucky = ([row[what][0] for row in rows] for what in ("score", "chance"))
                ax.plot(k, own, "o-", color=colour, ms=4, lw=1.2, label=None if i else kind)
                ax.plot(k, lucky, ":", color=colour, lw=1.2, label=None if i else f"{kind}, shuffled")
        ax.axhline(one["rules"]["best_iou"]["baselines"]["centre"][0], color="0.5", lw=0.9, ls="--")
        ax.set(xlabel="heads to choose from", title=said, xticks=k)
    axes[0].set_ylabel("best IoU, best head")
    axes[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    plt.close(fig)
    return fig


@torch.no_grad()
def largest_difference(live: Mapping[str, Any], kept: Scored) -> float:
    """The largest difference of a summary made now from the one that is kept, over rules, layers and heads."""
    return max(
        float(np.abs(np.array(live["rules"][rule]["heads"]) - kept["rules"][rule]["heads"]).max())
        for rule in RULES
    )
