"""Chapter 10, objects without labels: its figures, its tables, and the numbers of its sentences.

Photographs were cut by ``tools/score_maskcut.py`` (``results/maskcut``), COCO by ``tools/score_family.py``
(``results/family``); the page cuts a few drawings live. Networks are those of :mod:`~crate_mini.chapters.family`,
whichever trainings have been scored.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from crate_mini import figures, maskcut, results
from crate_mini.attention_maps import upsample
from crate_mini.average_precision import mask_overlaps
from crate_mini.chapters.family import FAMILY, SHOWN
from crate_mini.chapters.photographs import SETS, percent, stored
from crate_mini.data.imageset import ImageSet
from crate_mini.model import CRATE
from crate_mini.segmentation import centre_prior
from crate_mini.stats import Interval, mean_interval, welch_interval
from crate_mini.tables import PlusMinus, number
from crate_mini.token_pca import patch_features

LAST = 7
"""The layer that pictures show and headlines speak of: nothing is chosen."""
THE: Mapping[str, str] = {"CRATE": "CRATE", "ViT": "the ViT"}
"""How a sentence calls a kind of network."""
TINTS = np.array([(0.87, 0.56, 0.02), (0.0, 0.45, 0.70), (0.0, 0.62, 0.45)])
"""Of the first, second and third mask: orange, blue, green."""
PAPER_BOXES: Mapping[str, tuple[float, float, float]] = {
    "CRATE-S/8": (2.9, 1.0, 1.1), "ViT-S/8": (0.1, 0.1, 0.0), "ViT-S/8, trained by DINO": (5.0, 2.0, 2.4),
}  # fmt: skip
"""Arxiv 2308.16271, Table 1: AP50, AP75 and AP of boxes on all 5,000 images, in per cent."""

# ---- what was measured ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cut:
    """What MaskCut finds first in every image of a set, with the features of one layer of one network.

    Attributes:
        kind: of network; or what needs none: ``"ellipse"``, ``"whole image"``.
        name: of the weights.
        trained: whether they are.
        where: the set, a key of :data:`SETS`.
        at: ``"last"`` or ``"chosen"``, the layer that was best on other photographs; empty without a network.
        layer: its number.
        located: 1 where the first box overlaps the object's by half or more, else 0.
        overlap: of the first mask with the object, IoU.
    """

    kind: str
    name: str
    trained: bool
    where: str
    at: str
    layer: int | None
    located: Float[Tensor, " n"]
    overlap: Float[Tensor, " n"]

    @property
    def corloc(self) -> float:
        """Share of images whose first box is right."""
        return float(self.located.mean())


def cuts_of(kind: str, label: str, where: str, found: Mapping[str, Any]) -> list[Cut]:
    """A file's network at its last and at its chosen layer, which may be one."""
    last, chosen = str(LAST), min(found["by_layer"], key=int)
    return [
        _cut(kind, label, where, at, layer, found["by_layer"][layer], not found["untrained"])
        for at, layer in (("last", last), ("chosen", chosen))
    ]


def _cut(
    kind: str,
    label: str,
    where: str,
    at: str,
    layer: str | None,
    row: Mapping[str, Any],
    trained: bool = False,
) -> Cut:
    located, overlap = (torch.tensor(row[k]).float() for k in ("corloc_of_image", "first_iou_of_image"))
    return Cut(kind, label, trained, where, at, None if layer is None else int(layer), located, overlap)


def measured() -> list[Cut]:
    """The family and its untrained twins, as far as they have been scored on every set, and what needs no network."""
    files: dict[tuple[str, str], dict[str, Any]] = {}
    for kind, names in FAMILY.items():
        for label in (*names, f"{SHOWN[kind].rpartition('_s')[0]}_untrained"):
            found = {where: stored(label, where) for where in SETS}
            if all(found.values()):
                files[kind, label] = found
    cuts = []
    for where in SETS:
        for (kind, label), found in files.items():
            cuts += cuts_of(kind, label, where, found[where])
        for kind, key in {"ellipse": "centre", "whole image": "everything"}.items():
            for found in list(files.values())[:1]:
                cuts.append(_cut(kind, key, where, "", None, found[where]["baselines"][key]))
    return cuts


def select(
    cuts: Sequence[Cut], kind: str, where: str, at: str = "last", *, trained: bool = True
) -> list[Cut]:
    """Those of one kind on one set, at one layer; ``at=""`` for what needs no network."""
    return [
        c
        for c in cuts
        if (c.kind, c.where, c.at) == (kind, where, at) and c.trained == (trained and at != "")
    ]


def ellipse(cuts: Sequence[Cut], where: str) -> Cut:
    """The ellipse in the middle, fixed for all images."""
    return select(cuts, "ellipse", where, "")[0]


def lead(a: Cut, b: Cut) -> Interval:
    """By how much the first box is right more often, with the paired interval over images."""
    return mean_interval(a.located - b.located)


def standing(interval: Interval) -> str:
    """Above, below, or not told apart."""
    _, low, high = interval
    return "above" if low > 0 else "below" if high < 0 else "not told apart"


def trained_pairs(cuts: Sequence[Cut], kind: str, at: str = "last") -> list[str]:
    """For every set and training of a kind, how it stands to the ellipse."""
    return [standing(lead(c, ellipse(cuts, where))) for where in SETS for c in select(cuts, kind, where, at)]


# ---- sentences ------------------------------------------------------------------------------------------------------


def is_scored(cuts: Sequence[Cut]) -> bool:
    """Whether each kind has a training on each set."""
    return all(select(cuts, kind, where) for kind in FAMILY for where in SETS)


def photograph_facts(cuts: Sequence[Cut]) -> dict[str, str]:
    """What the page says of photographs with one animal: all trainings, at their last layer but for ``chosen``."""
    if not is_scored(cuts):
        waits = "On photographs with one animal the networks are not scored yet."
        return {"photographs": f"**{waits}**", "beside": waits, "chosen": waits}
    return {
        "photographs": f"{ellipse_verdict(cuts)} {photograph_sentence(cuts)}",
        "beside": f"{kinds_verdict(cuts)} {learned_verdict(cuts)}",
        "chosen": chosen_verdict(cuts),
    }


def photograph_sentence(cuts: Sequence[Cut]) -> str:
    """How often the first box is right, by kind, beside the ellipse."""
    said = []
    for where, title in SETS.items():
        shares = [f"{THE[kind]} {_span([c.corloc for c in select(cuts, kind, where)])}" for kind in FAMILY]
        never = f"the ellipse {number(ellipse(cuts, where).corloc, '.0%')}"
        said.append(f"{len(ellipse(cuts, where).located)} {title}: {', '.join([*shares, never])}")
    trainings = " and ".join(str(len(select(cuts, kind, "pets"))) for kind in FAMILY)
    return (
        f"The first box overlaps the animal's by half or more in so many photographs, of {'; of '.join(said)} "
        f"({trainings} trainings)."
    )


def ellipse_verdict(cuts: Sequence[Cut]) -> str:
    """Who beats an ellipse that is the same for every image."""
    by_kind = {kind: trained_pairs(cuts, kind) for kind in FAMILY}
    everyone = [word for words in by_kind.values() for word in words]
    ellipse_is = "one ellipse in the middle, the same for every image"
    if "above" not in everyone:
        head = f"**No training finds the animal more often than {ellipse_is}.**"
    elif set(everyone) == {"above"}:
        head = f"**Every training finds the animal more often than {ellipse_is}.**"
    else:
        head = f"**Not every training finds the animal more often than {ellipse_is}.**"
    return f"{head} {_counts(by_kind)}"


def _counts(by_kind: Mapping[str, Sequence[str]]) -> str:
    said = [
        f"{THE[kind]} lies above it in {w.count('above')} of {len(w)} cases and below it in {w.count('below')}"
        for kind, w in by_kind.items()
    ]
    return "By paired differences to the ellipse " + ", ".join(said) + " (a case is a training on a set)."


def kinds_verdict(cuts: Sequence[Cut]) -> str:
    """CRATE against the ViT, over trainings."""
    if min(len(select(cuts, kind, "pets")) for kind in FAMILY) < 2:
        return "There is one training on a side, which says nothing about the two kinds of network."
    gaps = {where: gap(cuts, where) for where in SETS}
    words = {standing(interval) for interval in gaps.values()}
    said = ", ".join(
        f"{mean} points on {SETS[where]} ({low} to {high})"
        for where, interval in gaps.items()
        for mean, low, high in [[number(100 * v, "+.0f") for v in interval]]
    )
    if words == {"above"}:
        end = "CRATE finds the animal more often on both sets"
    elif words == {"below"}:
        end = "the ViT finds the animal more often on both sets"
    elif words == {"not told apart"}:
        end = "the two kinds are not told apart"
    else:
        end = "the two sets do not agree on a difference between the kinds"
    return f"CRATE's lead over the ViT is {said}, with the interval over trainings: {end}."


def gap(cuts: Sequence[Cut], where: str, at: str = "last") -> Interval:
    """CorLoc of CRATE less that of the ViT, with Welch's interval over trainings."""
    return welch_interval(*([c.corloc for c in select(cuts, kind, where, at)] for kind in FAMILY))


def learned_verdict(cuts: Sequence[Cut]) -> str:
    """Every training against the untrained network of its kind, on the same images."""
    words = [
        standing(lead(c, twin))
        for where in SETS
        for kind in FAMILY
        for twin in select(cuts, kind, where, trained=False)
        for c in select(cuts, kind, where)
    ]
    if not words:
        return "Untrained networks are not scored yet."
    fresh = [c.corloc for where in SETS for kind in FAMILY for c in select(cuts, kind, where, trained=False)]
    said, above = f"Untrained networks find it in {_span(fresh)}.", words.count("above")
    if above == len(words):
        return f"{said} Training helps in all {above} cases."
    return f"{said} Training helps in {above} of {len(words)} cases, and does harm in {words.count('below')}."


def chosen_verdict(cuts: Sequence[Cut]) -> str:
    """What the choice of a layer changes, in the same words as the last layer's."""
    layers = {kind: sorted({c.layer for c in select(cuts, kind, "pets", "chosen")}) for kind in FAMILY}
    said = "; ".join(
        f"{kind} (layer {_or(found)}): {_span([c.corloc for c in select(cuts, kind, 'pets', 'chosen')])} on cats and "
        f"dogs, {_span([c.corloc for c in select(cuts, kind, 'horses', 'chosen')])} on horses"
        for kind, found in layers.items()
    )
    counted = _counts({kind: trained_pairs(cuts, kind, "chosen") for kind in FAMILY})
    return f"At the layer that is best on 60 other photographs of cats and dogs, {said}. {counted}"


def _or(values: Sequence[Any]) -> str:
    return " or ".join(map(str, values))


def _span(values: Sequence[float], form: str = ".0%") -> str:
    """``41% to 52%``, or one number where there is one or all are written alike."""
    if not values:
        return "not scored yet"
    low, high = (number(v, form) for v in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


# ---- COCO -----------------------------------------------------------------------------------------------------------


def coco() -> dict[str, Any]:
    """Image-free boxes; the family's trainings and untrained networks by kind; the comparison that was written before.

    ``networks`` is empty, and ``comparison`` None, until ``tools/score_family.py`` has run.
    """
    floors = results.read("floors/coco")
    networks = {kind: [_coco_row(name) for name in names] for kind, names in FAMILY.items()}
    networks |= {
        f"{kind}, untrained": [
            _coco_row(f"{names[0].rpartition('_s')[0]}_untrained_{draw}") for draw in range(9)
        ]
        for kind, names in FAMILY.items()
    }
    kept = {kind: [row for row in rows if row] for kind, rows in networks.items()}
    try:
        lines = results.read("family/comparisons")["comparisons"]
    except FileNotFoundError:
        lines = []
    return {
        "floors": floors,
        "networks": {kind: rows for kind, rows in kept.items() if rows},
        "comparison": next((line for line in lines if line["score"] == "coco_maskcut"), None),
    }


def _coco_row(name: str) -> dict[str, Any] | None:
    try:
        found = results.read(f"family/{name}")["scores"].get("coco_maskcut")
    except FileNotFoundError:
        return None
    return None if found is None else {"name": name, "images": found["images"], **found["all"]["box"]}


def coco_sentence(found: Mapping[str, Any]) -> str:
    """What the family reaches on COCO beside one box in the middle, with no outcome assumed."""
    box = max(v["AP50"][0] for v in found["floors"]["boxes"].values())
    sizes = f"{found['floors']['images']} images of COCO with {found['floors']['objects']} objects"
    fixed = f"one box in the middle, the same for every image, has an AP50 of {number(100 * box, '.1f')} %"
    rows = {kind: [r["AP50"][0] for r in found["networks"].get(kind, [])] for kind in FAMILY}
    if not all(rows.values()):
        return f"**On COCO, which nobody tuned on, the networks are not scored yet.** On {sizes} {fixed}."
    every = [v for values in rows.values() for v in values]
    if max(every) <= box:
        head = "no training reaches one box in the middle"
    elif min(every) > box:
        head = "every training is above one box in the middle"
    else:
        head = f"{sum(v > box for v in every)} of {len(every)} trainings are above one box in the middle"
    said = ", ".join(f"{kind} {_span([100 * v for v in values], '.1f')} %" for kind, values in rows.items())
    return (
        f"**On COCO, which nobody tuned on, {head}.** On {sizes} {fixed}; of three masks an image, {said} "
        f"({len(rows['CRATE'])} and {len(rows['ViT'])} trainings). {coco_verdict(found['comparison'])}"
    )


def coco_verdict(line: Mapping[str, Any] | None) -> str:
    """The comparison of the list, in a sentence."""
    if line is None or "p" not in line:
        return "The two kinds are not compared before each has two trainings."
    mean, low, high = (number(100 * v, "+.1f") for v in line["over_trainings"])
    end = "they differ" if line["differs"] else "they are not told apart"
    return f"CRATE less ViT is {mean} points ({low} to {high} over trainings): {end}."


def coco_facts(found: Mapping[str, Any]) -> dict[str, Any]:
    """What stands under the table: how many images, and what came out of the comparison."""
    return {"images": found["floors"]["images"], "verdict": coco_verdict(found["comparison"])}


def coco_rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Boxes on COCO: what saw no image, untrained networks, the family, and what the paper prints for its own.

    Of several networks of a kind the lowest and the highest.
    """

    def row(who: str, values: Sequence[float | str | PlusMinus | None]) -> dict[str, Any]:
        return dict(zip(("boxes of", "AP50, %", "AP75, %", "AP, %"), (who, *values), strict=True))

    def ours(one: Mapping[str, Any]) -> list[PlusMinus]:
        return [percent(one[k]) for k in ("AP50", "AP75", "AP")]

    rows = [row(f"*{name}*", ours(v)) for name, v in found["floors"]["boxes"].items()]
    for kind in (*(f"{kind}, untrained" for kind in FAMILY), *FAMILY):
        all_of = found["networks"].get(kind, [])
        who = f"{kind}, {len(all_of)} {'draws' if 'untrained' in kind else 'trainings'}"
        if all_of:
            ends = [_span([100 * one[k][0] for one in all_of], ".1f") for k in ("AP50", "AP75", "AP")]
            rows.append(row(who, ends))
        elif kind in FAMILY:
            rows.append(row(f"{kind}: not scored yet", [None] * 3))
    return rows + [row(f"paper: {name}", values) for name, values in PAPER_BOXES.items()]


# ---- tables and figures of the measurements -------------------------------------------------------------------------


def photograph_rows(cuts: Sequence[Cut]) -> list[dict[str, Any]]:
    """Last layer: CorLoc, and its paired difference to the ellipse."""
    if not is_scored(cuts):
        return [{"first box of": "not scored yet"}]
    people = [(kind, i) for kind in FAMILY for i in range(len(select(cuts, kind, "pets")))]
    networks = [(f"{kind}, seed {i}", [select(cuts, kind, where)[i] for where in SETS]) for kind, i in people]
    for kind in FAMILY:
        if twins := [c for where in SETS for c in select(cuts, kind, where, trained=False)]:
            networks.append((f"{kind}, untrained", twins))
    networks += [
        (f"*{kind}*", [select(cuts, kind, where, "")[0] for where in SETS])
        for kind in ("ellipse", "whole image")
    ]
    rows = []
    for name, both in networks:
        line: dict[str, Any] = {"first box of": name}
        for c in both:
            apart = None if c.kind == "ellipse" else percent(lead(c, ellipse(cuts, c.where)))
            line |= {
                f"CorLoc, {SETS[c.where]}, %": 100 * c.corloc,
                f"less the ellipse, {SETS[c.where]}": apart,
            }
        rows.append(line)
    return rows


def corloc_figure(cuts: Sequence[Cut]) -> Figure:
    """A dot a network: how often the first box is right, at the last layer and at the chosen one."""
    fig, axes = plt.subplots(1, 2, figsize=(figures.WIDTH, 2.5), sharey=True)
    lines = [(kind, at, trained) for kind in FAMILY for at, trained in
             (("last", True), ("chosen", True), ("last", False))]  # fmt: skip
    for ax, (where, title) in zip(axes, SETS.items(), strict=True):
        for y, (kind, at, trained) in enumerate(reversed(lines)):
            colour, marker = figures.COLOURS[kind.lower()], {"CRATE": "o", "ViT": "s"}[kind]
            for c in select(cuts, kind, where, at, trained=trained):
                ax.plot(100 * c.corloc, y, marker, ms=6, mec=colour, mfc=colour if trained else "none")
        for blind in select(cuts, "ellipse", where, ""):
            ax.axvline(100 * blind.corloc, ls="--", lw=1, color="0.5")
            ax.text(
                100 * blind.corloc, 1.0, "ellipse", fontsize=8, color="0.4", ha="center", va="bottom",
                transform=ax.get_xaxis_transform(),
            )  # fmt: skip
        ax.set(xlabel="first box right (%)", ylim=(-0.6, len(lines) - 0.2), xlim=(0, 100))
        ax.set_title(title, fontsize=10, loc="left")
    names = {"last": "last layer", "chosen": "chosen layer"}
    axes[0].set_yticks(
        range(len(lines)),
        [f"{kind}, {names[at] if trained else 'untrained'}" for kind, at, trained in reversed(lines)],
        fontsize=9,
    )
    plt.close(fig)
    return fig


# ---- pictures, live -------------------------------------------------------------------------------------------------


def features_of(model: CRATE, images: Shaped[Tensor, "b 3 H W"], layer: int = LAST) -> Float[Tensor, "b n d"]:
    """What MaskCut compares: all heads' coordinates of every patch, side by side; of a ViT its keys."""
    return patch_features(model, images, [layer])[layer]


def first_overlaps(found: Sequence[Bool[Tensor, "_ h w"]], drawn: ImageSet) -> list[float]:
    """IoU of the first mask with the object, drawing by drawing."""
    return [
        float(mask_overlaps(upsample(masks[:1], truth.shape), (truth == 1)[None])[0, 0])
        if len(masks)
        else 0.0
        for masks, truth in zip(found, drawn.masks, strict=True)
    ]


def spots_on(mask: Shaped[Tensor, "H W"], patch: int) -> list[tuple[int, int]]:
    """Three patches: the object's middle, another one of it, and the ground farthest from it."""
    h, w = (side // patch for side in mask.shape)
    inside = (mask == 1).view(h, patch, w, patch).float().mean((1, 3)) > 0.5
    where = inside.nonzero().float()
    middle = where[(where - where.mean(0)).norm(dim=1).argmin()]
    other = where[(where - middle).norm(dim=1).argsort()[len(where) // 2]]
    ground = (~inside).nonzero().float()
    far = ground[torch.cdist(ground, where).min(1).values.argmax()]
    return [tuple(p.int().tolist()) for p in (middle, other, far)]


def tinted(
    ax: Axes, image: Shaped[Tensor, "3 H W"], masks: Bool[Tensor, "m h w"], outline: Tensor | None = None
) -> None:
    """The picture in grey with its masks in colour, and the true outline where it is known."""
    pixels = figures.to_pixels(image) / 255
    pixels = 0.35 + 0.65 * pixels.mean(-1, keepdims=True).repeat(3, -1)
    if len(masks):
        for mask, tint in zip(upsample(masks, image.shape[-2:]), TINTS, strict=False):
            pixels[mask.numpy()] = 0.45 * pixels[mask.numpy()] + 0.55 * tint
    figures.bare(ax).imshow(pixels)
    if outline is not None:
        figures.outline(ax, outline)


def steps_figure(
    image: Shaped[Tensor, "3 H W"], mask: Shaped[Tensor, "H W"], features: Float[Tensor, "n d"], patch: int
) -> Figure:
    """One picture on its way: three patches, whom the first is joined to, the eigenvector, its upper side, the mask."""
    h, w = (side // patch for side in image.shape[-2:])
    S, spots = maskcut.neighbours(features), spots_on(mask, patch)
    first = maskcut.maskcut_rounds(features, (h, w), n_masks=1)[0]
    fig, axes = plt.subplots(2, 3, figsize=(figures.WIDTH * 0.8, 4.6))
    figures.bare(axes[0, 0], "three patches").imshow(figures.to_pixels(image))
    for (r, c), tint in zip(spots, TINTS, strict=True):
        axes[0, 0].add_patch(plt.Rectangle((c * patch, r * patch), patch, patch, fill=False, ec=tint, lw=2.5))
    for ax, (r, c), tint, name in zip(
        (axes[0, 1], axes[0, 2]), (spots[0], spots[2]), TINTS[[0, 2]], ("orange", "green"), strict=True
    ):
        figures.bare(ax, f"joined to the {name} one").imshow(
            S[r * w + c].view(h, w), cmap="gray", vmin=-0.3, vmax=1.2
        )
        ax.add_patch(plt.Rectangle((c - 0.5, r - 0.5), 1, 1, fill=False, ec=tint, lw=2.5))
    middle = first.vector - first.vector.mean()
    reach = middle.abs().max()
    figures.bare(axes[1, 0], "second eigenvector").imshow(middle, cmap="RdBu_r", vmin=-reach, vmax=reach)
    figures.bare(axes[1, 1], "the object's side, and the seed").imshow(
        first.foreground, cmap="gray", vmin=-0.3, vmax=1.2
    )
    axes[1, 1].plot(first.seed[1], first.seed[0], "o", color=TINTS[0], ms=7, mec="black")
    tinted(axes[1, 2], image, first.mask[None], mask)
    axes[1, 2].set_title("the mask, and the true outline", fontsize=9)
    plt.close(fig)
    return fig


def gallery_figure(
    pictures: Sequence[Shaped[Tensor, "3 H W"]],
    outlines: Sequence[Tensor | None],
    found: Mapping[str, Sequence[Bool[Tensor, "_ h w"]]],
    overlaps: Mapping[str, Sequence[float | None]],
) -> Figure:
    """A column a picture, a row a network: up to three masks, the first one's overlap above."""
    rows = 1 + len(found)
    fig, axes = plt.subplots(
        rows, len(pictures), figsize=(figures.WIDTH, rows * figures.WIDTH / len(pictures) * 1.14)
    )
    for ax, image in zip(axes[0], pictures, strict=True):
        figures.bare(ax).imshow(figures.to_pixels(image))
    for row, (name, masks) in zip(axes[1:], found.items(), strict=True):
        for ax, image, of_image, outline, value in zip(
            row, pictures, masks, outlines, overlaps[name], strict=True
        ):
            tinted(ax, image, of_image, outline)
            ax.set_title("" if value is None else f"IoU {value:.2f}", fontsize=8)
        row[0].set_ylabel(name.replace(", ", ",\n"), fontsize=9)
    plt.close(fig)
    return fig


def tau_scores(
    features: Mapping[str, Float[Tensor, "b n d"]],
    drawn: ImageSet,
    grid: tuple[int, int],
    taus: Sequence[float],
) -> dict[str, list[float]]:
    """Mean overlap of the first mask over drawings, for every threshold."""
    return {
        name: [
            float(np.mean(first_overlaps(maskcut.maskcut_batch(f, grid, n_masks=1, tau=tau), drawn)))
            for tau in taus
        ]
        for name, f in features.items()
    }


def tau_figure(scores: Mapping[str, Sequence[float]], taus: Sequence[float]) -> Figure:
    """Overlap of the first mask against the threshold, a line a network."""
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 2.4))
    for name, values in scores.items():
        colour = figures.COLOURS[name.split(",")[0].lower()]
        ax.plot(taus, values, ":" if "untrained" in name else "-", color=colour, marker=".", label=name)
    ax.axvline(maskcut.TAU, color="0.5", lw=1, ls="--")
    ax.set(xlabel="τ (dashed: the published 0.15)", ylabel="IoU of the first mask", ylim=(0, 1))
    ax.legend(fontsize=8)
    plt.close(fig)
    return fig


def ncut(A: Float[Tensor, "n n"], side: Bool[Tensor, " n"]) -> float:
    """What it costs to cut a graph into a side and the rest: severed weight over each side's, added up."""
    severed = A[side][:, ~side].sum()
    return float(severed / A[side].sum() + severed / A[~side].sum())


def cost_rows(
    A: Float[Tensor, "n n"], v: Float[Tensor, " n"], floor: float, mask: Shaped[Tensor, "H W"], patch: int
) -> list[dict[str, Any]]:
    """What several cuts of one graph cost, the floor first.

    Args:
        A: affinity.
        v: its second eigenvector.
        floor: and that vector's eigenvalue.
        mask: true outline, by pixels.
        patch: pixels along a patch.
    """
    h, w = (side // patch for side in mask.shape)
    inside = (mask == 1).view(h, patch, w, patch).float().mean((1, 3)) > 0.5
    half = torch.rand(h * w, generator=torch.Generator().manual_seed(0)) > 0.5
    cuts = {
        "the eigenvector, cut at its mean": v > v.mean(),
        "the true outline": inside.flatten(),
        "an ellipse in the middle, as large": centre_prior((h, w), float(inside.float().mean())).flatten(),
        "half of the patches, at random": half,
    }
    rows = [{"cut": "the floor, $\\lambda_2$", "cost": floor}]
    return rows + [{"cut": name, "cost": ncut(A, side)} for name, side in cuts.items()]


def cost_sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    """Where the fault lies if the mask misses the outline: with the features, or with the cut at the mean."""
    found, true = rows[1]["cost"], rows[2]["cost"]
    if true >= found:
        return (
            "The true outline costs more than the cut that was found. So no better solver would find the outline: the "
            "features draw the line elsewhere."
        )
    return "The true outline costs less than the cut that was found: the step from numbers to two sides has lost some."


# ---- the playground -------------------------------------------------------------------------------------------------


def play_pictures(
    drawn: ImageSet, photos: Mapping[str, Shaped[Tensor, "3 H W"]], model: CRATE, layer: int = LAST
) -> dict[str, Tensor]:
    """Of some drawings the one whose mask is in the middle, the best and the worst, and the photographs, by name."""
    side = drawn.images.shape[-1] // model.config.patch_size
    found = maskcut.maskcut_batch(features_of(model, drawn.images, layer), (side, side), n_masks=1)
    overlaps = first_overlaps(found, drawn)
    order = sorted(range(len(overlaps)), key=overlaps.__getitem__)
    places = {"in the middle": order[len(order) // 2], "the best": order[-1], "the worst": order[0]}
    named = {f"a {drawn.classes[drawn.labels[i]]}, {word}": drawn.images[i] for word, i in places.items()}
    return named | {f"photograph: {name}": photo for name, photo in photos.items()}


def play_data(
    images: Mapping[str, Shaped[Tensor, "3 H W"]], model: CRATE, layer: int = LAST
) -> dict[str, Any]:
    """For the playground ``graph_cut``: small pictures, and the cosines of all pairs of their patches."""
    side = next(iter(images.values())).shape[-1] // model.config.patch_size
    pictures = []
    for name, image in images.items():
        unit = F.normalize(features_of(model, image[None], layer)[0], dim=-1)
        i, j = torch.triu_indices(len(unit), len(unit), offset=1)
        cosines = np.round(((unit @ unit.T)[i, j].numpy().clip(-1, 1) + 1) * 32767.5).astype("<u2")
        file = io.BytesIO()
        Image.fromarray(figures.to_pixels(image)).convert("L").save(file, "PNG")
        photo = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
        pictures.append(
            {"name": name, "photo": photo, "cosines": base64.b64encode(cosines.tobytes()).decode()}
        )
    return {
        "grid": side,
        "eps": maskcut.EPSILON,
        "tau": maskcut.TAU,
        "patch": [side // 2, side // 2],
        "pictures": pictures,
    }


# ---- the solver -----------------------------------------------------------------------------------------------------


def race_facts() -> dict[str, Any]:
    """How much faster the iterative solver is, from ``benchmarks/bench_maskcut.py``."""
    race = results.read("benchmarks/maskcut")
    products = [p for row in race["rows"] for p in row["products"]]
    return {
        "ratio": race["ratio"], "low": race["ratio_quartiles"][0], "high": race["ratio_quartiles"][1],
        "ours": race["ours_s"], "peer": race["peer_s"], "images": race["setting"]["images"],
        "patches": race["setting"]["patches"], "equal": race["equal"], "rows": len(race["rows"]),
        "fewest": min(products), "most": max(products),
    }  # fmt: skip
