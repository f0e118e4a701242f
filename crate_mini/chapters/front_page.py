"""The front page: one picture to move a slider over, and the numbers that stand first, each with its controls."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from crate_mini import data, results, stats, weights
from crate_mini.chapters.family import FAMILY, SHOWN
from crate_mini.data import ImageSet
from crate_mini.inspector.glance import Glance
from crate_mini.segmentation import stored

NETWORKS = dict(SHOWN)
"""The pair that is shown: by its name on the page, the weights."""
TRAININGS = {
    kind: tuple(name for name in names if results.folder().joinpath("masks", f"{name}.json").is_file())
    for kind, names in FAMILY.items()
}
"""All trainings of either kind that were scored."""
PHOTOGRAPHS = {"pets": "pets/test", "horses": "horses/test"}
"""Those with outlines, by the name that their numbers have on the page."""
CHOSEN_ON = "pets/test"  # photographs: not the drawings that are shown
RULE = "auroc"
UNSEEN = "voc_auroc"
"""The score of ``results/family/plan.json`` that stands for photographs which nobody looked at before."""


def drawings() -> ImageSet:
    """The drawings one of which is shown: those of chapter 00."""
    return data.load("embedded", "test", n=60, seed=1, image_size=160)


def chosen_heads(name: str) -> list[int]:
    """For every layer of a network of the page the head that does best on photographs of cats and dogs."""
    by_layer = torch.tensor(stored(NETWORKS[name], CHOSEN_ON)["rules"][RULE]["heads"])
    return by_layer.argmax(1).tolist()


@cache
def shown() -> dict[str, Any]:
    """Which drawing is shown, and its scores: ``results/front_page.json``."""
    return results.read("front_page")


def glance() -> Glance:
    """The picture of the front page, with both networks."""
    found, pictures = shown(), drawings()
    i = found["picture"]
    thing = pictures.classes[int(pictures.labels[i])]
    return Glance(
        {name: weights.load_pretrained(file) for name, file in NETWORKS.items()},
        pictures.images[i],
        heads=found["heads"],
        scores=found["scores"],
        middle=found["middle"],
        mask=pictures.masks[i],
        title=f"a drawn {thing}",
        thing=thing,
        layer=found["layer"],
    )


def facts() -> dict[str, str]:
    """Every number of our own in the page's text, by the name by which the text asks for it."""
    found = shown()
    cards = {name: weights.list_pretrained()[file] for name, file in NETWORKS.items()}
    return (
        _photographs()
        | _unseen()
        | _paper()
        | {
            "glance_pictures": str(found["pictures"]),
            "glance_gap": _points(found["median_gap"]),
            "glance_vit_layer": str(max(range(len(s := found["scores"]["ViT"])), key=s.__getitem__)),
            "glance_vit_best": _percent(max(found["scores"]["ViT"])),
            "train_images": f"{cards['CRATE']['data']['images']:,}",
            "classes": str(len(cards["CRATE"]["classes"])),
            "crate_parameters": f"{cards['CRATE']['parameters'] / 1e6:.2f}",
            "vit_parameters": f"{cards['ViT']['parameters'] / 1e6:.2f}",
        }
    )


def scores_on(place: str) -> dict[str, list[float]]:
    """By network, the score of each training's one head, which was chosen on other photographs."""
    return {
        kind: [stored(file, place)["rules"][RULE]["fixed"]["score"][0] for file in files]
        for kind, files in TRAININGS.items()
    }


def _photographs() -> dict[str, str]:
    """What photographs with outlines say; the comparisons are corrected for their number."""
    scores = {prefix: scores_on(place) for prefix, place in PHOTOGRAPHS.items()}
    decided = stats.holm([stats.welch_test(of["CRATE"], of["ViT"]) for of in scores.values()])
    told = {}
    for (prefix, place), holds in zip(PHOTOGRAPHS.items(), decided, strict=True):
        first = stored(NETWORKS["CRATE"], place)
        middle = first["rules"][RULE]["baselines"]["centre"][0]
        difference, low, high = stats.welch_interval(scores[prefix]["CRATE"], scores[prefix]["ViT"])
        told |= {
            f"{prefix}_n": str(first["images"]),
            f"{prefix}_trainings": str(len(TRAININGS["CRATE"])),
            f"{prefix}_middle": _percent(middle),
            f"{prefix}_gap": f"{_points(difference)} points ({_points(low)} to {_points(high)})",
            f"{prefix}_verdict": verdict(difference, holds),
        }
        for kind, of in scores[prefix].items():
            told[f"{prefix}_{kind.lower()}"] = _percent(sum(of) / len(of))
            told[f"{prefix}_{kind.lower()}_above"] = f"{sum(s > middle for s in of)} of {len(of)}"
    return told


def unseen() -> dict[str, list[Mapping[str, Any]]]:
    """What the networks of ``results/family`` have on PASCAL VOC, by kind, untrained ones too; empty before scoring."""
    entries = [entry.name.removesuffix(".json") for entry in results.folder().joinpath("family").iterdir()]
    if "comparisons" not in entries:
        return {}
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for name in sorted(set(entries) - {"comparisons", "plan"}):
        one = results.read(f"family/{name}")
        rows.setdefault(one["kind"], []).append(one["scores"][UNSEEN])
    return rows


def _unseen() -> dict[str, str]:
    rows = unseen()
    means = {kind: sum(row["score"][0] for row in of) / len(of) for kind, of in rows.items()}
    first = rows["CRATE"][0]
    return {
        "unseen_n": str(first["images"]),
        "unseen_crate": _percent(means["CRATE"]),
        "unseen_vit": _percent(means["ViT"]),
        "unseen_middle": _percent(first["centre"][0]),
        "wide_trainings": str(min(wide()["trainings"])),
    }


def wide() -> Mapping[str, Any]:
    """The same comparison of the networks of the paper's width, as ``results/flagship`` has it."""
    lines = results.read("flagship/comparisons")["comparisons"]
    return next(line for line in lines if line["score"] == UNSEEN)


def verdict(difference: float, decided: bool) -> str:
    """What a comparison of the two networks allows to say."""
    if not decided:
        return "Not decided."
    return "CRATE is ahead." if difference > 0 else "The ViT is ahead."


def readings() -> list[dict[str, Any]]:
    """The ways in which the paper's rule for masks can be read, the first as it is written; what each gives away."""
    return [row for row in results.read("floors/voc2012")["readings"] if row["truth"] == "patch"]


def _paper() -> dict[str, str]:
    """The paper's score on PASCAL VOC: what a centred ellipse gets by its rule, and what no mask exceeds."""
    written = readings()[0]
    return {
        "voc_n": f"{written['images']:,}",
        "voc_ellipse": _percent(written["scores"]["disc"][0], 1),
        "voc_most": _percent(written["scores"]["ceiling"][0], 1),
        "voc_readings": str(len(readings())),
    }


def above_ellipse(score: float) -> str:
    """In how many readings of the rule a score, in per cent, is above the ellipse's."""
    return str(sum(score > round(100 * row["scores"]["disc"][0], 1) for row in readings()))


def _percent(value: float, digits: int = 0) -> str:
    return f"{100 * value:.{digits}f}"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def measure(scores: Mapping[str, torch.Tensor], middle: torch.Tensor) -> dict[str, Any]:
    """Which drawing stands for all of them: the one whose gap between the networks is the median gap.

    Args:
        scores: by network, ``(images, layers, heads)``.
        middle: ``(images,)``, of the map that is brighter in the middle.

    Returns:
        What ``results/front_page.json`` holds of them. Gaps are those of the last layer, where the paper looks, with
        the head of :func:`chosen_heads`.
    """
    heads = {name: chosen_heads(name) for name in NETWORKS}
    by_layer = {
        name: of[:, torch.arange(of.shape[1]), torch.tensor(heads[name])] for name, of in scores.items()
    }
    layer = by_layer["CRATE"].shape[1] - 1
    gaps = by_layer["CRATE"][:, layer] - by_layer["ViT"][:, layer]
    median = gaps.median()  # of an even number the lower of the two in the middle: that of a picture
    picture = int((gaps - median).abs().argmin())
    return {
        "rule": RULE,
        "chosen_on": CHOSEN_ON,
        "pictures": len(gaps),
        "picture": picture,
        "layer": layer,
        "heads": heads,
        "median_gap": round(float(median), 4),
        "scores": {name: [round(v, 4) for v in of[picture].tolist()] for name, of in by_layer.items()},
        "middle": round(float(middle[picture]), 4),
    }
