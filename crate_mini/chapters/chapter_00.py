"""Chapter 00, what you will see: its pictures, and the scores of all trainings with what never saw a network.

What the page shares with the front of the book comes from :mod:`~crate_mini.chapters.front_page`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from crate_mini import data, figures, results
from crate_mini.chapters import front_page
from crate_mini.chapters.family import FAMILY
from crate_mini.layerwise import curve, reading
from crate_mini.segmentation import stored
from crate_mini.weights import list_pretrained

UNTRAINED = {"CRATE": "crate_mini_untrained", "ViT": "vit_mini_6_untrained"}
PAPER = {"CRATE-S/8": 23.9, "ViT-S/8, supervised": 14.1}
"""Mean IoU on PASCAL VOC as the paper prints it, in per cent (arXiv 2308.16271, Table 1)."""


@dataclass(frozen=True)
class Scored:
    """AUROC on one set of photographs, in [0, 1].

    Attributes:
        title: what the photographs show.
        images: how many.
        trained: by kind of network, a score a training.
        untrained: by kind, of networks that learned nothing.
        middle: of a map that is only brighter in the middle.
        verdict: what the comparison of CRATE and ViT allows to say.
    """

    title: str
    images: int
    trained: Mapping[str, Sequence[float]]
    untrained: Mapping[str, Sequence[float]]
    middle: float
    verdict: str


def viewed() -> tuple[list[Tensor], list[str], list[Tensor | None]]:
    """What the viewer shows: the drawing of the front page, the first of two other kinds, and photographs."""
    drawn, first = front_page.drawings(), front_page.shown()["picture"]
    kinds = [c for c in ("elephant", "rabbit", "horse") if c != drawn.classes[int(drawn.labels[first])]][:2]
    index = [first] + [int((drawn.labels == drawn.classes.index(c)).nonzero()[0]) for c in kinds]
    photos = data.photographs(160)
    titles = {"cat": "a cat", "astronaut": "an astronaut", "coffee": "a cup of coffee"}
    return (
        [*drawn.images[index], *(photos[name] for name in titles)],
        [f"a drawn {drawn.classes[int(drawn.labels[i])]}" for i in index] + list(titles.values()),
        [*drawn.masks[index], *[None] * len(titles)],
    )


def sets() -> list[Scored]:
    """All sets of photographs that were scored: those looked at through the search, and, where it is there, VOC."""
    told = front_page.facts()
    found = []
    for prefix, title in (("pets", "cats and dogs"), ("horses", "horses")):
        place = front_page.PHOTOGRAPHS[prefix]
        found.append(
            Scored(
                title,
                int(told[f"{prefix}_n"]),
                front_page.scores_on(place),
                {kind: [_fixed(stored(name, place))] for kind, name in UNTRAINED.items()},
                stored(front_page.NETWORKS["CRATE"], place)["rules"][front_page.RULE]["baselines"]["centre"][
                    0
                ],
                told[f"{prefix}_verdict"],
            )
        )
    return found + ([voc] if (voc := scored_voc()) else [])


def _fixed(summary: Mapping[str, Any]) -> float:
    return summary["rules"][front_page.RULE]["fixed"]["score"][0]


def scored_voc() -> Scored | None:
    """What ``results/family`` has on PASCAL VOC, or None before it is there."""
    if not (rows := front_page.unseen()):
        return None
    asked = results.read("family/comparisons")["comparisons"]
    (line,) = [one for one in asked if one["score"] == front_page.UNSEEN]
    scores = {kind: [row["score"][0] for row in of] for kind, of in rows.items()}
    if not all(scores.get(kind) for kind in FAMILY):
        return None
    first = rows["CRATE"][0]
    means = {kind: sum(scores[kind]) / len(scores[kind]) for kind in FAMILY}
    return Scored(
        "PASCAL VOC",
        first["images"],
        {kind: scores[kind] for kind in FAMILY},
        {kind: scores.get(f"{kind}, untrained", []) for kind in FAMILY},
        first["centre"][0],
        front_page.verdict(means["CRATE"] - means["ViT"], line.get("differs", False)),
    )


def headline(found: Sequence[Scored]) -> str:
    """In how many trainings a head finds the animal, on every set, better than the middle of the picture does."""
    holds = {kind: all(score > one.middle for one in found for score in one.trained[kind]) for kind in FAMILY}
    if all(holds.values()):
        return "It looks at the thing, in every training."
    if any(holds.values()):
        kind = next(kind for kind, all_above in holds.items() if all_above)
        return f"It looks at the thing in every training of {'the ViT' if kind == 'ViT' else kind}."
    return "In some trainings it looks at the thing."


def facts() -> dict[str, Any]:
    """Numbers and sentences of the page."""
    found = sets()
    told = front_page.facts() | derivation()
    for one, prefix in zip(found, ("pets", "horses", "voc"), strict=False):
        told |= {
            f"{prefix}_fresh": " and ".join(f"{100 * v:.0f}" for of in one.untrained.values() for v in of)
        }
    cards = {kind: list_pretrained()[name] for kind, name in front_page.NETWORKS.items()}
    return told | {
        "headline": headline(found),
        "unseen": unseen(found),
        "maps": maps_sentence(found),
        "paper_crate": PAPER["CRATE-S/8"],
        "paper_vit": PAPER["ViT-S/8, supervised"],
        "top1": " and ".join(f"{cards[kind]['held_out']['top1']:.0%} ({kind})" for kind in FAMILY),
        "guess": 1 / len(cards["CRATE"]["classes"]),
    }


def derivation() -> dict[str, Any]:
    """What is left of the derived attention: layers that lower the rate at length one, largest cosine with the descent.

    Of those trainings of CRATE of the family that were measured layer by layer (``results/layerwise``).
    """
    measured = {entry.name for entry in results.folder().joinpath("layerwise").iterdir()}
    found = [
        results.read(f"layerwise/{name}_val") for name in FAMILY["CRATE"] if f"{name}_val.json" in measured
    ]
    changes = [v for one in found for v in curve(one, "Rc", "compress", "token")["mean"]]
    cosines = [v for one in found for v in one["descent"][reading("none", 0.01)]["mean"]]
    return {
        "layers_down": sum(v < 0 for v in changes),
        "layers": len(changes),
        "measured": len(found),
        "cosine": max(cosines),
    }


def unseen(found: Sequence[Scored]) -> str:
    """What photographs say that nobody looked at before; nothing where they were not scored."""
    voc = [one for one in found if one.title == "PASCAL VOC"]
    if not voc:
        return ""
    (one,) = voc
    means = {kind: f"{100 * sum(of) / len(of):.0f}" for kind, of in one.trained.items()}
    return (
        f" On {one.images} photographs of PASCAL VOC, which the search never saw, CRATE has {means['CRATE']} %, "
        f"the ViT {means['ViT']} % and the middle {100 * one.middle:.0f} % (mean of the heads of one layer)."
    )


def maps_sentence(found: Sequence[Scored]) -> str:
    """What the maps of all trainings show, beside networks that learned nothing and the middle of the picture."""
    learned = all(
        min(one.trained[kind]) > max(one.untrained[kind])
        for one in found
        for kind in FAMILY
        if one.untrained[kind]
    )
    above = [
        f"{one.title} "
        + " and ".join(
            f"{sum(score > one.middle for score in one.trained[kind])} of {len(one.trained[kind])} {kind}s"
            for kind in FAMILY
        )
        for one in found
    ]
    if learned:
        said = "On all these photographs every trained network ranks the object higher than untrained ones of its kind."
    else:
        said = "Not every trained network ranks the object higher than untrained ones of its kind."
    return f"{said} Above the map that is only brighter in the middle are: on {'; on '.join(above)}."


def trainings_figure(found: Sequence[Scored]) -> Figure:
    """A panel a set of photographs, a dot a training; hollow what learned nothing, a line what sees nothing."""
    fig, axes = plt.subplots(1, len(found), figsize=(figures.WIDTH, 1.75), sharey=True, sharex=True)
    kinds = list(FAMILY)
    for ax, one in zip(axes, found, strict=True):
        for y, kind in enumerate(kinds):
            colour = figures.COLOURS[kind.lower()]
            ax.plot(
                one.trained[kind], [y] * len(one.trained[kind]), "o", ms=8, color=colour, alpha=0.8, mew=0
            )
            ax.plot(one.untrained[kind], [y] * len(one.untrained[kind]), "o", ms=7, mfc="none", mec=colour)
        ax.axvline(one.middle, color="0.45", ls="--", lw=1.2)
        ax.set(title=f"{one.title}, {one.images}", xlabel="AUROC", ylim=(-0.6, len(kinds) - 0.4))
        ax.set_yticks(range(len(kinds)), kinds)
        ax.tick_params(axis="y", length=0)
    axes[0].invert_yaxis()
    plt.close(fig)
    return fig
