r"""Chapter 06, training: a short one that the page runs, what became of longer ones, and the numbers of its sentences.

A *look* is scored by AUROC: how often a pixel of the animal lies in a patch with more attention than a pixel beside
it. One head is chosen on half of the images and scored on the other half (*cross-fitted*), for every network alike.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image
from skimage.measure import find_contours
from torch import Tensor

from crate_mini import figures
from crate_mini.attention_maps import cls_attention_maps
from crate_mini.data import ImageSet, embedded
from crate_mini.inspector.contract import data_uri
from crate_mini.model import CRATE
from crate_mini.operations import ACCELERATORS, training_multiply_adds
from crate_mini.provenance import read_result
from crate_mini.registry import model_config
from crate_mini.segmentation import count_patches, cross_fit, score_baselines, score_images, score_maps
from crate_mini.segmentation.evaluation import untrained_twin
from crate_mini.stats import mean_interval
from crate_mini.training import Recipe, augment, draw_patches, evaluate
from crate_mini.training.run import Run
from crate_mini.weights import list_pretrained, load_pretrained

# ---- which networks and results this page shows: to be changed here and nowhere else --------------------------------

LONGER = "crate_nano_embedded"
"""The same small network, trained on all ten kinds of drawings for longer; its weights come with the book."""
KEPT = "crate_nano_embedded_s1"
"""Another such training. Who passes over the page's own, or stops it, goes on with this one."""
ON_THE_WAY = {
    0.02: "crate_mini_animals_s0_at02",
    0.05: "crate_mini_animals_s0_at05",
    0.2: "crate_mini_animals_s0_at20",
    0.5: "crate_mini_animals_s0_at50",
    1.0: "crate_mini_animals_s0",
}
"""One training on photographs: share of its steps -> scores (in ``results/masks``) of the weights kept there."""
OTHERS = tuple(f"crate_mini_animals_s{seed}" for seed in (1, 2, 3, 4))
"""Other trainings of the same network on the same photographs."""
LONGEST = ("crate_mini_all_lion_s0", "crate_mini_all_lion_s1", "crate_mini_all_lion_s2")
"""The longest trainings of the same network, on eight times as many photographs and names, one for each seed."""
UNTRAINED = "crate_mini_untrained"
SETS = {"pets": "cats and dogs", "horses": "horses"}

FIVE = ("giraffe", "elephant", "rabbit", "bird", "fish")
"""Five of the ten kinds of drawn animals, which a small network tells apart after few steps."""
CRATE_COLOUR, BELL_COLOUR = figures.COLOURS["crate"], figures.COLOURS["vit"]
SIZE = 128
"""Pixels at which attention is looked at; the network is trained at half of it."""
UNSEEN_SEED = 1
"""Of the drawings of the examination. The recipe was tried out while looking at those of seed 0."""


def drawings(split: str, n: int, size: int = 64, seed: int = 0) -> ImageSet:
    """Those of the first ``n`` drawings of a split that show one of the five kinds, numbered anew."""
    some = embedded.generate(n, split=split, image_size=size, seed=seed, only=FIVE)
    numbers = torch.tensor([some.classes.index(name) for name in FIVE])
    return replace(some, labels=(some.labels[:, None] == numbers).int().argmax(1), classes=FIVE)


def pictures(images: ImageSet, recipe: Recipe, count: int = 8) -> Figure:
    """Drawings with their names; what a step of the training sees of them; and what is kept back, their outlines."""
    some, rng = images.images[:count], torch.Generator().manual_seed(0)
    seen = augment(some, recipe, rng)
    grid = some.shape[-1] // 8
    kept = draw_patches(count, grid**2, recipe.keep_patches, rng)
    there = torch.zeros(count, grid**2).scatter_(1, kept, 1.0).view(count, 1, grid, grid)
    there = there.repeat_interleave(8, -1).repeat_interleave(8, -2)
    fig, axes = plt.subplots(3, count, figsize=(figures.WIDTH, 3.35))
    for i, column in enumerate(axes.T):
        name = images.classes[images.labels[i]]
        figures.bare(column[0], name).imshow(figures.to_pixels(some[i]))
        figures.bare(column[1]).imshow(figures.to_pixels(seen[i] * there[i] + 0.8 * (1 - there[i])))
        figures.bare(column[2]).imshow(figures.to_pixels(some[i]))
        figures.outline(column[2], images.masks[i])
    for ax, label in zip(axes[:, 0], ("told", "seen in a step", "kept back"), strict=True):
        ax.set_ylabel(label, fontsize=9)
    plt.close(fig)
    return fig


# ---- watching a training --------------------------------------------------------------------------------------------


class Film:
    """What every head attends to on held-out drawings, before the first step and after every third epoch.

    Attributes:
        images: the drawings, with masks.
        epochs: after which epochs a frame was taken; 0 is before the first step.
        maps: one ``(n, L, K, h, w)`` a frame, each map summing to one.
    """

    def __init__(self, model: CRATE, images: ImageSet, every: int = 3) -> None:
        self.images, self.every = images, every
        self.epochs: list[int] = []
        self.maps: list[Tensor] = []
        self(0, model)

    def __call__(self, epoch: int, model: CRATE) -> None:
        """Take a frame; given to ``train`` as ``on_epoch``."""
        if epoch % self.every == 0:
            self.epochs.append(epoch)
            self.maps.append(cls_attention_maps(model, self.images.images))

    def _counts(self) -> tuple[Tensor, Tensor]:
        objects, background = count_patches(self.images.masks, tuple(self.maps[0].shape[-2:]))
        return objects[:, None, None], background[:, None, None]

    def aurocs(self) -> list[Float[Tensor, "n L K"]]:
        """A frame's AUROC of every head on every drawing."""
        counts = self._counts()
        return [score_maps(maps.flatten(-2), *counts)["auroc"] for maps in self.maps]

    def shares(self) -> list[Float[Tensor, "n L K"]]:
        """A frame's share of attention on the animal, of every head on every drawing."""
        objects, background = self._counts()
        covered = objects / (objects + background)
        return [(maps.flatten(-2) * covered).sum(-1) for maps in self.maps]

    def cover(self) -> Float[Tensor, " n"]:
        """The share of each drawing that the animal covers."""
        return (self.images.masks == 1).double().mean((1, 2))

    def best_head(self) -> tuple[int, int]:
        """Layer and head with the highest mean AUROC in the last frame."""
        last = self.aurocs()[-1].mean(0)
        return divmod(int(last.argmax()), last.shape[1])

    def playground(self, run: Run, count: int = 4) -> dict[str, Any]:
        """What the playground ``film`` shows: the first drawings, every head, every frame."""
        L, K = self.maps[0].shape[1:3]
        shares, first = self.shares(), self.maps[0].shape[-1]
        layer, head = self.best_head()
        shown = []
        for i in range(count):
            frames = torch.stack(
                [maps[i].flatten(0, 1).flatten(1) for maps in self.maps]
            )  # frame, head, patch
            levels = (255 * frames / frames.amax(-1, keepdim=True)).round().to(torch.uint8)
            shown.append(
                {
                    "name": self.images.classes[self.images.labels[i]],
                    "photo": data_uri(Image.fromarray(figures.to_pixels(self.images.images[i])), "JPEG"),
                    "outline": outlines(self.images.masks[i]),
                    "cover": round(float(self.cover()[i]), 4),
                    "maps": ["".join(f"{v:02x}" for v in level.flatten().tolist()) for level in levels],
                    "shares": [[round(v, 4) for v in frame[i].flatten().tolist()] for frame in shares],
                }
            )
        return {
            "side": first,
            "epochs": self.epochs,
            "heads": [f"layer {i}, head {k}" for i in range(L) for k in range(K)],
            "head": layer * K + head,
            "right": [accuracy_after(run, epoch) for epoch in self.epochs],
            "guessing": 1 / len(self.images.classes),
            "pictures": shown,
        }


def outlines(mask: Tensor) -> list[list[list[float]]]:
    """The border of a mask as closed lines of points, x to the right and y up, both from 0 to 1."""
    h, w = mask.shape
    padded = np.pad((mask == 1).numpy().astype(float), 1)
    lines = [line for line in find_contours(padded, 0.5) if len(line) > 8]
    return [[[round((x - 0.5) / w, 3), round(1 - (y - 0.5) / h, 3)] for y, x in line[::2]] for line in lines]


def kept(held_out: ImageSet, images: ImageSet) -> tuple[CRATE, Film, Run]:
    """For who has not run the page's training to its end: a network that comes with the book, in its place.

    It knows ten kinds of drawings and is asked for the five of this page alone. Its film has two frames.

    Args:
        held_out: what its accuracy is measured on.
        images: what the film watches.
    """
    card, model = list_pretrained()[KEPT], load_pretrained(KEPT)
    rows = [card["classes"].index(name) for name in FIVE]
    weight, bias = model.head.weight.data[rows], model.head.bias.data[rows]
    model.reset_classifier(len(FIVE))
    model.head.load_state_dict({"weight": weight, "bias": bias})
    epochs = card["recipe"]["epochs"]
    film = Film(untrained_twin(model), images, every=epochs)
    film(epochs, model)
    found = {f"val_{k}": v for k, v in evaluate(model, held_out).items()}
    return model, film, Run([{"epoch": epochs, "seconds": 60 * card["minutes"], **found}])


def accuracy_after(run: Run, epoch: int) -> float | None:
    """Held-out top-1 after an epoch; None where it was not measured."""
    found = [row["val_top1"] for row in run.history if row["epoch"] == epoch]
    return found[0] if found else None


def cross_fitted(values: Float[Tensor, "n L K"]) -> Float[Tensor, " n"]:
    """One head for each half of the images, chosen on the other half; its value on each image."""
    flat, found = values.flatten(1), torch.empty(len(values), dtype=values.dtype)
    for mine, others in ((0, 1), (1, 0)):
        found[mine::2] = flat[mine::2, int(flat[others::2].mean(0).argmax())]
    return found


def naming_and_looking(film: Film, run: Run) -> Figure:
    """By epoch: how many names are right; and how well one head finds the animal, beside the bell."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(figures.WIDTH, 2.7))
    rows = [row for row in run.history if row["val_top1"] is not None]
    left.plot([r["epoch"] for r in rows], [100 * r["val_top1"] for r in rows], color=CRATE_COLOUR, marker=".")
    left.axhline(100 / len(FIVE), color="0.5", lw=1, ls="--")
    left.text(run["epoch"][-1], 100 / len(FIVE) + 1, "guessing", fontsize=9, color="0.4", ha="right")
    left.set(xlabel="epoch", ylabel="names right (%)", ylim=(0, None))
    looks = [float(cross_fitted(frame).mean()) for frame in film.aurocs()]
    right.plot(film.epochs, looks, color=CRATE_COLOUR, marker=".")
    bell = float(score_baselines(film.images, rule="auroc")["centre"].mean())
    right.axhline(bell, color=BELL_COLOUR, lw=1.2, ls="--")
    right.text(0, bell + 0.01, "a bell in the middle", fontsize=9, color="0.3")
    right.axhline(0.5, color="0.5", lw=1, ls="--")
    right.text(film.epochs[-1], 0.51, "chance", fontsize=9, color="0.4", ha="right")
    right.set(xlabel="epoch", ylabel="AUROC of one head", ylim=(0.45, 1))
    plt.close(fig)
    return fig


# ---- the examination ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exam:
    """Scores on the same images under the same rules.

    Attributes:
        images: how many.
        scores: rule (``auroc``, ``mass``) -> name of a network or a baseline -> one score an image.
    """

    images: int
    scores: Mapping[str, Mapping[str, Tensor]]

    def mean(self, rule: str, name: str) -> float:
        """Mean over the images."""
        return float(self.scores[rule][name].mean())

    def above(self, rule: str, name: str, other: str) -> tuple[float, float, float]:
        """Mean difference over the same images, with its 95 % interval."""
        return mean_interval(self.scores[rule][name] - self.scores[rule][other])


BASELINES = {"centre": "a bell in the middle", "everything": "everything", "random": "random patches"}
BELL = BASELINES["centre"]


def examine(networks: Mapping[str, CRATE], images: ImageSet) -> Exam:
    """Every network's cross-fitted head on every image, and what never saw a network, by AUROC and by the mass rule."""
    rules = ("auroc", "mass")
    found: dict[str, dict[str, Tensor]] = {rule: {} for rule in rules}
    for name, network in networks.items():
        scores = score_images(network, images, rule=rules, progress=False)
        for rule in rules:
            found[rule][name] = cross_fit(scores, rule)[0].double()
    for rule in rules:
        blind = score_baselines(images, rule=rule)
        # patches drawn at random have no order: only a mask of them can be scored
        kept = {k: v for k, v in BASELINES.items() if rule == "mass" or k != "random"}
        found[rule] |= {label: blind[name].double() for name, label in kept.items()}
    return Exam(len(images), found)


def exam_bars(exam: Exam) -> Figure:
    """Mean scores with their intervals over images, by both rules."""
    fig, axes = plt.subplots(1, 2, figsize=(figures.WIDTH, 2.5), width_ratios=[1, 1])
    titles = {"auroc": "AUROC, no threshold", "mass": "IoU of a mask of 60 % of the attention"}
    for ax, (rule, title) in zip(axes, titles.items(), strict=True):
        for y, (name, values) in enumerate(exam.scores[rule].items()):
            mean, low, high = mean_interval(values)
            colour = CRATE_COLOUR if y == 0 else BELL_COLOUR if name == BELL else "0.6"
            ax.plot([low, high], [y, y], color=colour, lw=2.5)
            ax.plot(mean, y, "o", color=colour, ms=7)
            ax.text(max(high, mean + 0.012) + 0.015, y, f"{mean:.2f}", va="center", fontsize=9)
        ax.set(yticks=range(len(exam.scores[rule])), yticklabels=list(exam.scores[rule]), xlabel=title)
        ax.set(xlim=(0.4, 1.05) if rule == "auroc" else (0.1, 0.6))
        ax.invert_yaxis()
        ax.tick_params(axis="y", length=0)
    plt.close(fig)
    return fig


def gallery(networks: Mapping[str, CRATE], images: ImageSet, count: int = 8) -> Figure:
    """The first drawings with the true outline; below, each network's map of its best head, with its AUROC."""
    some = images.subset(range(count))
    rest = images.subset(range(count, len(images)))
    fig, axes = plt.subplots(
        1 + len(networks), count, figsize=(figures.WIDTH, 1.12 * (1 + len(networks)) + 0.2)
    )
    for i, ax in enumerate(axes[0]):
        figures.bare(ax).imshow(figures.to_pixels(some.images[i]))
        figures.outline(ax, some.masks[i])
    axes[0, 0].set_ylabel("truth", fontsize=9)
    for row, (name, network) in zip(axes[1:], networks.items(), strict=True):
        # the head is chosen on the images that are not shown
        chosen = score_images(network, rest, rule="auroc", progress=False)["heads/auroc"].mean(0)
        layer, head = divmod(int(chosen.argmax()), chosen.shape[1])
        maps = cls_attention_maps(network, some.images)[:, layer, head]
        scores = score_maps(maps.flatten(1), *count_patches(some.masks, tuple(maps.shape[-2:])))["auroc"]
        for i, ax in enumerate(row):
            extent = (-0.5, some.masks.shape[-1] - 0.5, some.masks.shape[-2] - 0.5, -0.5)
            figures.bare(ax).imshow(maps[i], cmap=figures.MAP_COLOURS, extent=extent)
            figures.outline(ax, some.masks[i])
            ax.set_xlabel(f"{scores[i]:.2f}", fontsize=9, labelpad=2)
        row[0].set_ylabel(name, fontsize=9)
    plt.close(fig)
    return fig


def live_facts(run: Run, film: Film, exam: Exam) -> dict[str, Any]:
    """The numbers of the training that the page has just run. The first two networks are trained and untrained."""
    trained, untrained, *_ = exam.scores["auroc"]
    shares = [cross_fitted(frame) for frame in film.shares()]
    gap, low, high = exam.above("auroc", trained, untrained)
    bell, bell_low, bell_high = exam.above("auroc", trained, BELL)
    mask, mask_low, mask_high = exam.above("mass", trained, BELL)
    learned = [float(cross_fitted(frame).mean()) for frame in film.aurocs()]
    return {
        "seconds": 60 * run.minutes,
        "epochs": run["epoch"][-1],
        "kinds": len(FIVE),
        "right": run["val_top1"][-1],
        "guessing": 1 / len(FIVE),
        "images": exam.images,
        "watched": len(film.images),
        "share": float(shares[-1].mean()),
        "share_before": float(shares[0].mean()),
        "cover": float(film.cover().mean()),
        "trained": exam.mean("auroc", trained),
        "untrained": exam.mean("auroc", untrained),
        "bell": exam.mean("auroc", BELL),
        "gain": gap,
        "gain_low": low,
        "gain_high": high,
        "bell_gap": bell,
        "bell_low": bell_low,
        "bell_high": bell_high,
        "bell_word": compared(bell_low, bell_high),
        "mask": exam.mean("mass", trained),
        "mask_bell": exam.mean("mass", BELL),
        "mask_gap": mask,
        "mask_low": mask_low,
        "mask_high": mask_high,
        "mask_word": compared(mask_low, mask_high),
        "look_first": learned[0],
        "look_last": learned[-1],
        "loss": run["val_loss"][-1],
        "loss_guessing": math.log(len(FIVE)),
    }


def compared(low: float, high: float) -> str:
    """What an interval of a difference says, in one word."""
    return "above" if low > 0 else "below" if high < 0 else "level with"


# ---- longer trainings, from results ---------------------------------------------------------------------------------


def _looks(weights: str, where: str) -> dict[str, Any]:
    """The cross-fitted AUROC of weights on a set at 128 pixels, its interval over images, and the bell's."""
    stored = json.loads(read_result(f"masks/{weights}.json"))
    found = stored["scores"][f"{where}/test"][str(SIZE)]
    rule = found["rules"]["auroc"]
    return {
        "top1": stored.get("top1"),
        "images": found["images"],
        "auroc": rule["cross_fitted"]["score"],
        "bell": rule["baselines"]["centre"][0],
    }


def long_facts() -> dict[str, Any]:
    """What trainings on photographs gave: each against the untrained network and against the bell."""
    cards = json.loads(read_result("training/cards.json"))
    half, end = ON_THE_WAY[0.5], ON_THE_WAY[1.0]
    short, every = (end, *OTHERS), (end, *OTHERS, *LONGEST)
    facts: dict[str, Any] = {
        "trainings": len(every),
        "short": len(short),
        "longest": len(LONGEST),
        "classes": len(cards[end]["classes"]),
        "epochs": cards[end]["recipe"]["epochs"],
        "longest_classes": len(cards[LONGEST[0]]["classes"]),
        "longest_epochs": cards[LONGEST[0]]["recipe"]["epochs"],
        "top1_half": _looks(half, "pets")["top1"],
        "top1_end": _looks(end, "pets")["top1"],
        "of_longest": len(SETS) * len(LONGEST),
        "of_every": len(SETS) * len(every),
    }
    above = {"short": 0, "longest": 0, "learned": 0}
    for where in SETS:
        start = _looks(UNTRAINED, where)
        aurocs = {name: _looks(name, where)["auroc"][0] for name in (half, *every)}
        passed = {
            "short": sum(aurocs[name] > start["bell"] for name in short),
            "longest": sum(aurocs[name] > start["bell"] for name in LONGEST),
            "learned": sum(aurocs[name] > start["auroc"][0] for name in every),
        }
        above = {kind: above[kind] + passed[kind] for kind in above}
        facts |= {
            f"{where}_images": start["images"],
            f"{where}_bell": start["bell"],
            f"{where}_untrained": start["auroc"][0],
            f"{where}_half": aurocs[half],
            f"{where}_end": aurocs[end],
            f"{where}_short_above": passed["short"],
        }
        for kind, names in (("every", every), ("short", short), ("longest", LONGEST)):
            facts |= {
                f"{where}_{kind}_low": min(aurocs[name] for name in names),
                f"{where}_{kind}_high": max(aurocs[name] for name in names),
            }
    return facts | {f"{kind}_above": count for kind, count in above.items()}


def on_the_way() -> Figure:
    """Along one training on photographs: names right, and one head's AUROC on two sets; at the right, the others."""
    fig, axes = plt.subplots(1, 3, figsize=(figures.WIDTH, 2.9))
    x, beside, far = list(ON_THE_WAY), 2.2, 4.4
    top1 = [100 * _looks(name, "pets")["top1"] for name in ON_THE_WAY.values()]
    axes[0].plot(x, top1, color=CRATE_COLOUR, marker="o", ms=5)
    axes[0].set(ylabel="names right (%)", ylim=(0, None), title="names")
    for ax, (where, title) in zip(axes[1:], SETS.items(), strict=True):
        along = [_looks(name, where) for name in ON_THE_WAY.values()]
        mean, low, high = np.array([run["auroc"] for run in along]).T
        ax.fill_between(x, low, high, color=CRATE_COLOUR, alpha=0.15, lw=0)
        ax.plot(x, mean, color=CRATE_COLOUR, marker="o", ms=5)
        for at, names, colour, mark in ((beside, OTHERS, CRATE_COLOUR, "o"), (far, LONGEST, "0.3", "D")):
            ends = [_looks(name, where)["auroc"][0] for name in names]
            ax.plot([at] * len(ends), ends, mark, ms=5, color=colour, alpha=0.7, mew=0)
        ax.axhline(along[0]["bell"], color=BELL_COLOUR, lw=1.2, ls="--")
        ax.axhline(_looks(UNTRAINED, where)["auroc"][0], color="0.6", lw=1, ls=":")
        ax.set(ylim=(0.6, 0.92), title=title)
    axes[1].set_ylabel("AUROC of one head")
    names = len(json.loads(read_result("training/cards.json"))[LONGEST[0]]["classes"])
    for i, ax in enumerate(axes):
        ax.set(xscale="log", xlim=(0.016, 6.5), xlabel="share of the training")
        ticks, labels = [0.02, 0.05, 0.2, 0.5, 1], ["2 %", "5", "20", "50", "100"]
        if i:
            ticks, labels = [*ticks, beside, far], [*labels, "others", f"{names} names"]
        ax.set_xticks(ticks, labels, fontsize=8)
        ax.minorticks_off()
        for label in ax.get_xticklabels()[5:]:
            label.set(rotation=45, ha="right", rotation_mode="anchor")
    plt.close(fig)
    return fig


# ---- the recipe, and what it costs ----------------------------------------------------------------------------------


def trials() -> pd.DataFrame:
    """The recipe's trainings with one line taken out at a time, one row a training."""
    return pd.DataFrame(json.loads(read_result("training/ablation.json"))["runs"])


def what_it_buys() -> Figure:
    """Accuracy of every training of every variant, and their mean."""
    rows = trials()
    order = list(dict.fromkeys(rows["variant"]))
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 0.3 * len(order) + 0.8))
    for y, variant in enumerate(order):
        top1 = 100 * rows[rows["variant"] == variant]["top1"]
        colour = CRATE_COLOUR if y == 0 else "0.4"
        ax.plot(top1, [y] * len(top1), "o", ms=5, alpha=0.7, color=colour, mew=0)
        ax.plot([top1.mean()] * 2, [y - 0.3, y + 0.3], color=colour, lw=2)
    ax.axvline(100 * rows[rows["variant"] == order[0]]["top1"].mean(), color="0.8", lw=1, zorder=0)
    ax.set(yticks=range(len(order)), yticklabels=order, xlabel="names right (%)")
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    plt.close(fig)
    return fig


def ablation_facts() -> dict[str, Any]:
    """What crops and flips cost a short training, and how far apart two seeds of one recipe lie."""
    rows = trials()
    spread = rows.groupby("variant")["top1"].agg(lambda v: v.max() - v.min())
    mean = rows.groupby("variant")["top1"].mean()
    return {
        "seeds": int(rows.groupby("variant")["seed"].nunique().min()),
        "views": int(rows["images"].iloc[0] * rows["recipe"].iloc[0]["epochs"]),
        "crops": 100 * float(mean["no crops, no flips"] - mean["as it is"]),
        "spread": 100 * float(spread.max()),
        "held_out": int(re.search(r"(\d+) images", rows["held_out"].iloc[0])[1]),
    }


def cost_facts(model: CRATE, recipe: Recipe, images: int) -> dict[str, Any]:
    """Multiply-adds of the page's own training, with and without leaving patches out."""
    each = training_multiply_adds(model.config, batch=recipe.batch_size, keep_patches=recipe.keep_patches)
    whole = training_multiply_adds(model.config, batch=recipe.batch_size)
    seen = images // recipe.batch_size * recipe.batch_size * recipe.epochs
    return {
        "each": each / 1e6,
        "whole": whole / 1e6,
        "times": whole / each,
        "total": each * seen / 1e9,
        "seen": seen,
    }


def calculator(recipe: Recipe, images: int) -> dict[str, Any]:
    """What the playground ``training_cost`` shows."""
    named = {
        "CRATE-S": "crate_small_8",
        "CRATE-B": "crate_base_8",
        "ViT-S": "vit_small_8",
        "ViT-B": "vit_base_8",
    }
    shapes: Sequence = [(called, model_config(name)) for called, name in named.items()]
    return {
        "sets": [
            ["ImageNet-1K", 1_281_167, 224, 150, 1000, 2048],
            ["ImageNet-21k", 14_200_000, 224, 90, 21_841, 4096],
            ["Tiny-ImageNet", 100_000, 64, 100, 200, 512],
            ["this page's", images, 64, recipe.epochs, len(FIVE), recipe.batch_size],
        ],
        "models": [[called, c.dim, c.depth, c.attention, c.feed] for called, c in shapes],
        "devices": [[name, device.peak] for name, device in ACCELERATORS.items()],
        "share": 0.3,
    }


def smoothing(s: float = 0.1, classes: int = 5) -> Figure:
    """The loss against the probability of the true class, the rest spread evenly; plain and with smoothed labels."""
    p = torch.linspace(0.05, 0.9999, 2000)
    others, target = (1 - p) / (classes - 1), 1 - s + s / classes
    plain, smooth = -p.log(), -target * p.log() - (1 - target) * others.log()
    best = int(smooth.argmin())
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 2.2))
    ax.plot(p, plain, color="0.6", label="plain")
    ax.plot(p, smooth, color=CRATE_COLOUR, label=f"smoothed, s = {s}")
    ax.plot(p[best], smooth[best], "o", color=CRATE_COLOUR)
    ax.axvline(1 / classes, color="0.75", lw=1, ls="--")
    ax.text(1 / classes, 0.06, " guessing", fontsize=9, color="0.4")
    ax.set(xlabel="probability of the true class", ylabel="loss (nats)", xlim=(0, 1), ylim=(0, 3.1))
    ax.legend(fontsize=9)
    plt.close(fig)
    return fig
