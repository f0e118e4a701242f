"""Chapter 11, what makes it emerge: its figures, its tables, and the numbers of its sentences.

Maps of the ablation family were scored by ``tools/score_masks.py`` (``results/masks``), what the last layer is worth by
``crate-mini evaluate reading`` (``results/reading``), boxes by ``tools/score_maskcut.py`` (``results/maskcut``). The
page looks at three of the networks live.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from crate_mini import figures, results
from crate_mini.chapters.family import FAMILY, WIDE, WIDE_MHSA
from crate_mini.chapters.photographs import SETS, percent, stored
from crate_mini.stats import mean_interval
from crate_mini.tables import number

KINDS: Mapping[str, tuple[str, str, str]] = {
    "CRATE": ("MSSA", "ISTA", "crate_mini"),
    "CRATE-MLP": ("MSSA", "MLP", "crate_mlp_mini"),
    "CRATE-MHSA": ("MHSA", "ISTA", "crate_mhsa_mini"),
    "ViT": ("MHSA", "MLP", "vit_mini"),
    "ViT, six heads": ("MHSA", "MLP", "vit_mini_6"),
    "ViT, wide": ("MHSA", "MLP", "vit_wide_mini"),
}
"""Networks of the ablation family: attention, second operator, and the stem of the weights' names."""
CRATES, VITS = "CRATE", "ViT"
"""The two kinds with three trainings each."""
LIVE: Mapping[str, str] = {
    "CRATE": "crate_mini_animals_s0", "CRATE-MHSA": "crate_mhsa_mini_animals_s0", "ViT": "vit_mini_animals_s0",
}  # fmt: skip
"""Whom the page looks at, the first training of each."""
SQUARE = ("CRATE", "CRATE-MLP", "CRATE-MHSA", "ViT, wide")
PAPER: Mapping[str, tuple[float, float]] = {
    "CRATE": (23.9, 2.1), "CRATE-MLP": (22.0, 0.2), "CRATE-MHSA": (18.4, 0.1), "ViT, wide": (14.1, 0.1),
}  # fmt: skip
"""Arxiv 2308.16271, Table 2: mean IoU on VOC and AP50 of MaskCut's boxes on COCO, in per cent, one training each."""
TAKES: Mapping[str, str] = {
    "last": "last layer, mean of its heads",
    "best layer": "best layer, mean of its heads",
    "one head": "one head, chosen on the other half",
}
"""Which map is scored."""
SHARES: Mapping[float, str] = {0.02: "_at02", 0.05: "_at05", 0.2: "_at20", 0.5: "_at50", 1.0: ""}
"""What the weights on a training's way are called, by how much of it lies behind them."""
DEPTHS: Mapping[int, str] = {
    2: "crate_mini_depth2", 4: "crate_mini_depth4", 6: "crate_mini_depth6", 8: "crate_mini",
}  # fmt: skip
WIDTHS: Mapping[int, str] = {96: "crate_mini_width96", 192: "crate_mini", 288: "crate_mini_width288"}
"""CRATE by layers and by width: stems of the weights' names."""
NEW_SETS: Mapping[str, str] = {"voc_auroc": "VOC", "coco_auroc": "COCO"}
"""Scores of ``results/square``, on sets on which none of its networks had been scored."""
CHANGES: Mapping[str, str] = {
    "lion": "Lion, with a smaller step and ten times the weight decay",
    "classes": "the same, and 200 classes for as many steps",
    "patch4": "Lion, and patches of 4 pixels",
    "decay": "ten times the weight decay",
    "crops": "crops from 15 % of the image on, in place of 45 %",
    "tuned": "three more epochs on all patches",
}
"""What ``tools/score_variants.py`` changed, one training each."""

# ---- what was measured ----------------------------------------------------------------------------------------------


@cache
def scored(name: str) -> dict[str, Any]:
    """A network's file in ``results/masks``; empty where there is none."""
    try:
        return results.read(f"masks/{name}")
    except FileNotFoundError:
        return {}


def names_of(kind: str) -> list[str]:
    """The scored trainings of a kind, by seed."""
    return trained(KINDS[kind][2])


def trained(stem: str) -> list[str]:
    """Those of the weights that are called so."""
    return [name for seed in range(9) if scored(name := f"{stem}_animals_s{seed}")]


def on_the_way() -> list[str]:
    """The trainings of CRATE of which weights were kept on the way, and scored."""
    return [name for name in names_of(CRATES) if all(scored(name + at) for at in SHARES.values())]


def square() -> dict[str, Any]:
    """``results/square``: what the list says of VOC and COCO, and the scores of every training."""
    return results.read("square/comparisons")


def auroc(name: str, where: str, take: str = "last") -> float:
    """AUROC of one map of a network, at 128 pixels, mean over all images of a set.

    ``best layer`` is chosen on these very images, for all networks alike: an upper bound. ``one head`` is not: half of
    the images are scored by the head that was best on the other half.
    """
    kept = _rule(name, where)
    if take == "one head":
        return kept["cross_fitted"]["score"][0]
    return (
        max(kept["mean_of_heads"]["by_layer"]) if take == "best layer" else kept["mean_of_heads"]["last"][0]
    )


def by_layer(name: str, where: str) -> list[float]:
    """AUROC of the mean map of every layer."""
    return _rule(name, where)["mean_of_heads"]["by_layer"]


def _rule(name: str, where: str) -> dict[str, Any]:
    return scored(name)["scores"][f"{where}/test"]["128"]["rules"]["auroc"]


def values(names: Sequence[str], where: str, take: str = "last") -> list[float]:
    """:func:`auroc` of several trainings."""
    return [auroc(name, where, take) for name in names]


def reading(name: str) -> list[float]:
    """Points of accuracy lost where the class token may not read in the last layer, with an interval over images."""
    return [100 * v for v in results.read(f"reading/{name}_val")["reading"]["alone"][-1]]


def separation(a: Sequence[float], b: Sequence[float]) -> str:
    """``above`` if all of ``a`` lie above all of ``b``, ``below``, or ``overlap``."""
    return "above" if min(a) > max(b) else "below" if max(a) < min(b) else "overlap"


def chance(a: Sequence[Any], b: Sequence[Any]) -> int:
    """Once in how many times chance puts all of ``a`` above all of ``b``, where the two are alike."""
    return math.comb(len(a) + len(b), len(a))


def holds_on(a: Sequence[str], b: Sequence[str], take: str = "last") -> str:
    """On which sets every training of ``a`` lies above every training of ``b``."""
    sets = [
        title for where, title in SETS.items()
        if separation(values(a, where, take), values(b, where, take)) == "above"
    ]  # fmt: skip
    return {0: "on neither set", len(SETS): "on both sets"}.get(len(sets), f"on {', '.join(sets)} alone")


def gap(a: Sequence[str], b: Sequence[str], where: str, take: str = "last") -> float:
    """Points between the means of two kinds."""
    return 100 * float(np.mean(values(a, where, take)) - np.mean(values(b, where, take)))


def span(found: Sequence[float], form: str = ".0f") -> str:
    """In per cent, ``70 to 77``, or one number."""
    low, high = (number(100 * v, form) for v in (min(found), max(found)))
    return low if low == high else f"{low} to {high}"


# ---- sentences ------------------------------------------------------------------------------------------------------


def answer_facts() -> dict[str, Any]:
    """The two kinds with three trainings each: in the last layer, and wherever the map is best."""
    crates, vits = names_of(CRATES), names_of(VITS)
    facts: dict[str, Any] = {"crates": len(crates), "vits": len(vits), "chance": chance(crates, vits)}
    for where in SETS:
        facts |= {f"crate_{where}": span(values(crates, where)), f"vit_{where}": span(values(vits, where))}
        for take, label in (("last", "last"), ("one head", "head"), ("best layer", "best")):
            facts |= {f"{label}_{where}": gap(crates, vits, where, take)}
            facts |= {
                f"{label}_crate_{where}": span(values(crates, where, take)),
                f"{label}_vit_{where}": span(values(vits, where, take)),
            }
    return facts | {
        "last_holds": holds_on(crates, vits),
        "head_holds": holds_on(crates, vits, "one head"),
        "best_holds": holds_on(crates, vits, "best layer"),
        "crate_seeds": 100 * max(max(v) - min(v) for v in (values(crates, w) for w in SETS)),
        "vit_seeds": 100 * max(max(v) - min(v) for v in (values(vits, w) for w in SETS)),
        "names": names_sentence(),
    }


def square_facts() -> dict[str, Any]:
    """MSSA against MHSA over all trainings, and the square of seed 0 by itself."""
    mssa, mhsa = (
        [name for kind, (attention, _, _) in KINDS.items() if attention == which for name in names_of(kind)]
        for which in ("MSSA", "MHSA")
    )
    facts: dict[str, Any] = {
        "mssa": len(mssa), "mhsa": len(mhsa), "mssa_holds": holds_on(mssa, mhsa), "middle": len(names_of("CRATE-MHSA")),
    }  # fmt: skip
    for where in SETS:
        facts |= {f"mssa_{where}": span(values(mssa, where)), f"mhsa_{where}": span(values(mhsa, where))}
        facts |= {f"middle_{where}": span(values(names_of("CRATE-MHSA"), where))}
    any_file = results.read(f"square/{square()['seeds'][CRATES][0]}")["scores"]
    return facts | {
        f"bell_{key.removesuffix('_auroc')}": 100 * any_file[key]["centre"][0] for key in NEW_SETS
    }


def effects(scores: Sequence[float]) -> dict[str, float]:
    """What each operator is worth, and what they do to each other; scores in the order of :data:`SQUARE`."""
    a, b, c, d = scores
    return {"MSSA": (a + b - c - d) / 2, "ISTA": (a - b + c - d) / 2, "interaction": a - b - c + d}


def reading_facts() -> dict[str, Any]:
    """Points lost without the last layer: the kinds with ISTA, and those with an MLP."""
    lost = {kind: [reading(name)[0] for name in names_of(kind)] for kind in KINDS}
    ista, mlp = (
        [v for kind, found in lost.items() if KINDS[kind][1] == feed for v in found]
        for feed in ("ISTA", "MLP")
    )
    return {
        "ista_low": min(ista), "ista_high": max(ista), "istas": len(ista),
        "crate_low": min(lost["CRATE"]), "crate_high": max(lost["CRATE"]),
        "mhsa_low": min(lost["CRATE-MHSA"]), "mhsa_high": max(lost["CRATE-MHSA"]),
        "mlp_high": max(mlp), "mlps": len(mlp),
        "images": results.read("reading/crate_mini_animals_s0_val")["images"], "wide": reading_at_width(),
    }  # fmt: skip


def reading_at_width() -> str:
    """The same of networks of the paper's width, those that were measured; empty while there are none of a side."""
    kinds = {"CRATE": WIDE["CRATE"], "CRATE-MHSA": WIDE_MHSA, "the ViT": WIDE["ViT"]}
    lost = {kind: _measured_readings(names) for kind, names in kinds.items()}
    if not (lost["CRATE"] and lost["the ViT"]):
        return ""
    told = [
        f"{kind} {span([v / 100 for v in values], '.1f')} ({len(values)})"
        for kind, values in lost.items()
        if values
    ]
    expected = ""
    if lost["CRATE-MHSA"]:  # by the list, results/flagship/plan.json
        came = min(lost["CRATE-MHSA"]) > max(lost["the ViT"])
        expected = (
            " That CRATE-MHSA would lose more than every ViT there was written down while it trained; it "
            f"{'does' if came else 'does not'}."
        )
    return (
        "At the paper's width ({doc}`09b_is_crate_better`; trainings in brackets) these are the points lost: "
        f"{', '.join(told)}.{expected}"
    )


def _measured_readings(names: Sequence[str]) -> list[float]:
    found = []
    for name in names:
        try:
            found.append(reading(name)[0])
        except FileNotFoundError:
            continue
    return found


def names_sentence() -> str:
    """25 and 200 classes, as far as trainings tell: whether the two kinds still part in the last layer."""
    many = {kind: [name for name in names if scored(name)] for kind, names in FAMILY.items()}
    few = {"CRATE": names_of(CRATES), "ViT": names_of(VITS)}
    a, b = many["CRATE"], many["ViT"]
    if min(len(a), len(b)) < 2:
        return "With 200 kinds there are too few trainings to say anything."
    holds = holds_on(a, b)
    gaps = {
        title: [number(gap(*side, where), "+.0f") for side in (few.values(), (a, b))]
        for where, title in SETS.items()
    }
    said = " and ".join(
        f"from {first} to {second} points on {title}" for title, (first, second) in gaps.items()
    )
    end = {
        "on both sets": "every CRATE still lies above every ViT on both sets",
        "on neither set": "the two overlap on both sets",
    }.get(holds, f"every CRATE lies above every ViT {holds}")
    return (
        f"With 200 kinds of things to name ({len(a)} and {len(b)} trainings), the lead of CRATE's last layer goes "
        f"{said}, and {end}."
    )


def shape_facts() -> dict[str, Any]:
    """Depth, width and time: whether all trainings of one size lie above all of a smaller one; what comes first."""
    ways = on_the_way()
    start, guess = auroc("crate_mini_untrained", "pets"), 1 / 25
    ahead = 0
    for name in ways:
        end, named = auroc(name, "pets"), scored(name)["top1"] - guess
        for at in [*SHARES.values()][:-1]:
            outline = (auroc(name + at, "pets") - start) / (end - start)
            ahead += outline > (scored(name + at)["top1"] - guess) / named
    return {
        "deeper": larger(DEPTHS),
        "wider": larger(WIDTHS),
        "depths": ends(DEPTHS),
        "widths": ends(WIDTHS),
        "ways": len(ways),
        "ahead": ahead,
        "stops": len(ways) * (len(SHARES) - 1),
    }


def larger(stems: Mapping[int, str]) -> str:
    """On which sets every training of the largest size lies above every one of the smallest, if there are three."""
    smallest, largest = (trained(stems[pick(stems)]) for pick in (min, max))
    return holds_on(largest, smallest) if min(len(smallest), len(largest)) > 2 else "not known"


def ends(stems: Mapping[int, str]) -> str:
    """How many trainings there are of the largest and of the smallest size."""
    return " and ".join(str(len(trained(stems[pick(stems)]))) for pick in (max, min))


# ---- tables ---------------------------------------------------------------------------------------------------------


def square_rows() -> list[dict[str, Any]]:
    """Table 2 of the paper, with all trainings there are; on VOC and COCO, three of each of its four networks."""
    new = new_scores()
    rows = []
    for kind in KINDS:
        names = names_of(kind)
        rows.append(
            {
                "network": kind,
                "size, M": scored(names[0])["parameters"] / 1e6,
                "trainings": len(names),
                **{title: span(values(names, where)) for where, title in SETS.items()},
                **{title: span(new[kind][key]) if kind in new else None for key, title in NEW_SETS.items()},
                "paper: VOC": PAPER.get(kind, (None, None))[0],
            }
        )
    return rows


def new_scores() -> dict[str, dict[str, list[float]]]:
    """AUROC of the last layer's mean map on VOC and COCO: by kind and score, a number a training."""
    return {
        kind: {
            key: [results.read(f"square/{name}")["scores"][key]["score"][0] for name in names]
            for key in NEW_SETS
        }
        for kind, names in square()["seeds"].items()
    }


def effect_rows() -> list[dict[str, Any]]:
    """What each operator is worth on VOC and COCO, over trainings and images, beside the paper's."""
    paper = effects([PAPER[kind][0] for kind in SQUARE])
    lines = {(line["of"], line["score"]): line for line in square()["comparisons"]}
    rows = []
    for which, worth in paper.items():
        row: dict[str, Any] = {"worth of": which}
        for key, title in NEW_SETS.items():
            line = lines[which, key]
            row |= {f"AUROC, {title}": percent(line["over_trainings_and_images"]), f"p, {title}": line["p"]}
        rows.append(row | {"paper: IoU on VOC": worth})
    return rows


def effect_facts() -> dict[str, Any]:
    """What the operators are worth, how far luck of trainings and images reaches, in points, and the smallest p."""
    lines = [line for line in square()["comparisons"] if line["of"] != "interaction"]
    halves = [percent(line["over_trainings_and_images"]).by for line in lines]
    return {
        "worth": worth_sentence(),
        "by_low": min(halves),
        "by_high": max(halves),
        "p_low": min(line["p"] for line in lines),
    }


def stands(which: str) -> str:
    """On which of the new sets a contrast of the list differs from nothing; ``open`` where it does on none."""
    lines = [line for line in square()["comparisons"] if line["of"] == which and line["differs"]]
    if any(line["over_trainings"][0] < 0 for line in lines):
        return f"the reverse, on {' and '.join(NEW_SETS[line['score']] for line in lines)}"
    sets = [NEW_SETS[line["score"]] for line in lines]
    return {0: "open", len(NEW_SETS): "on both sets"}.get(len(sets), f"on {' and '.join(sets)} alone")


def worth_sentence() -> str:
    """What MSSA and ISTA are worth on the new sets, in points."""
    said = []
    for which in ("MSSA", "ISTA"):
        points = [
            f"{number(100 * line['over_trainings'][0], '+.0f')} on {NEW_SETS[line['score']]}"
            for line in square()["comparisons"]
            if line["of"] == which
        ]
        said.append(f"{which} {' and '.join(points)}")
    return ", ".join(said)


def box_rows() -> list[dict[str, Any]]:
    """MaskCut at the last layer of the square and of the narrow ViT: first box right, and how far from CRATE's."""
    labels = {kind: names_of(kind)[0] for kind in (*SQUARE, VITS)}
    labels |= {"untrained CRATE": "crate_mini_animals_untrained"}
    files = {kind: {where: stored(label, where) for where in SETS} for kind, label in labels.items()}
    if not all(files["CRATE"].values()):
        return [{"features of": kind, "paper: AP50 on COCO": PAPER[kind][1]} for kind in SQUARE]
    first = {where: _located(files["CRATE"][where]) for where in SETS}
    rows = []
    for kind, found in files.items():
        line: dict[str, Any] = {"features of": kind}
        for where, title in SETS.items():
            mine = _located(found[where])
            known = mine is not None and first[where] is not None
            line[f"CorLoc, {title}, %"] = 100 * float(mine.mean()) if mine is not None else None
            line[f"less CRATE, {title}"] = (
                percent(mean_interval(mine - first[where])) if known and kind != "CRATE" else None
            )
        rows.append(line | {"paper: AP50 on COCO": PAPER.get(kind, (None, None))[1]})
    line = {"features of": "*ellipse*"}
    for where, title in SETS.items():
        mine = _located(files["CRATE"][where], "centre")
        known = mine is not None
        line[f"CorLoc, {title}, %"] = 100 * float(mine.mean()) if known else None
        line[f"less CRATE, {title}"] = percent(mean_interval(mine - first[where])) if known else None
    return [*rows, line | {"paper: AP50 on COCO": None}]


def _located(found: Mapping[str, Any] | None, baseline: str | None = None) -> Float[Tensor, " n"] | None:
    """Image by image whether the first box is right, last layer; None where that has not been scored."""
    if found is None:
        return None
    row = found["baselines"][baseline] if baseline else found["by_layer"][max(found["by_layer"], key=int)]
    return torch.tensor(row["corloc_of_image"]).float()


def box_sentence() -> str:
    """Whether the square of MaskCut tells the four apart, one training each."""
    found = {kind: [_located(stored(names_of(kind)[0], where)) for where in SETS] for kind in SQUARE}
    if any(part is None for both in found.values() for part in both):
        return "The boxes are not scored yet."
    words = []
    for kind in SQUARE[1:]:
        leads = [mean_interval(a - b) for a, b in zip(found["CRATE"], found[kind], strict=True)]
        above, below = sum(low > 0 for _, low, _ in leads), sum(high < 0 for *_, high in leads)
        name = "the wide ViT" if kind == "ViT, wide" else kind
        words.append(
            f"{name} {'on both sets' if above == 2 else 'on one set' if above == 1 else 'on neither set'}"
            + (f" (and below it on {below})" if below else "")
        )
    return (
        f"By paired differences over images CRATE's first box is right more often than that of {', of '.join(words)}. "
        "It is one training each, so what another training would bring is not known."
    )


def reading_rows() -> list[dict[str, Any]]:
    """What answers lose where the class token may not read in the last layer, beside what the map shows there."""
    return [
        {
            "network": kind,
            "trainings": len(names),
            "points lost": span([reading(name)[0] / 100 for name in names], ".1f"),
            **{f"AUROC, {title}": span(values(names, where)) for where, title in SETS.items()},
        }
        for kind in KINDS
        for names in [names_of(kind)]
    ]


def name_rows() -> list[dict[str, Any]]:
    """25 and 200 classes: last layer and one chosen head, all trainings."""
    lines = [("CRATE", "25", names_of(CRATES)), ("ViT, three heads", "25", names_of(VITS)),
             ("ViT, six heads", "25", names_of("ViT, six heads"))]  # fmt: skip
    lines += [
        (kind if kind == "CRATE" else "ViT, six heads", "200", [name for name in names if scored(name)])
        for kind, names in FAMILY.items()
    ]
    return [
        {"network": kind, "kinds to tell apart": int(classes), "trainings": len(names)}
        | {f"last layer, {title}": span(values(names, where)) for where, title in SETS.items()}
        | {f"one head, {title}": span(values(names, where, "one head")) for where, title in SETS.items()}
        for kind, classes, names in lines
        if names
    ]


def change_rows() -> list[dict[str, Any]]:
    """One setting of the recipe changed, one training each."""
    rows = []
    for kind, stem in (("CRATE", "crate_mini"), ("ViT", "vit_mini")):
        kept = {
            r["name"].rpartition("_")[2]: r
            for r in results.read("masks/variants")["networks"]
            if r["model"] == stem
        }
        rows.append(
            _change(kind, "none, seed 0", lambda where, stem=stem: _rule(f"{stem}_animals_s0", where))
        )
        for key, what in CHANGES.items():
            rows.append(_change(kind, what, lambda where, r=kept[key]: r["scores"][f"{where}/test"]["auroc"]))
    return rows


def _change(kind: str, what: str, rule_of: Any) -> dict[str, Any]:
    line: dict[str, Any] = {"network": kind, "change": what}
    for where, title in SETS.items():
        line[f"last layer, {title}"] = 100 * rule_of(where)["mean_of_heads"]["last"][0]
        line[f"one head, {title}"] = 100 * rule_of(where)["cross_fitted"]["score"][0]
    return line


def known_rows() -> list[dict[str, str]]:
    """What is known, with how many trainings, and what is not."""
    crates, vits, facts = names_of(CRATES), names_of(VITS), square_facts()
    against = f"{len(crates)} and {len(vits)}"
    lost = {kind: [reading(name)[0] for name in names_of(kind)] for kind in (CRATES, VITS)}
    many = {kind: [name for name in names if scored(name)] for kind, names in FAMILY.items()}
    least = min(map(len, many.values()))
    wide = f"{len(many['CRATE'])} and {len(many['ViT'])}"
    read = reading_facts()
    shape, a_cell = shape_facts(), f"{min(square()['comparisons'][0]['trainings'])} a cell"
    return [
        {"sentence": "Every CRATE shows the animal better than every ViT of its size, in the last layer.",
         "trainings": against, "holds": holds_on(crates, vits)},
        {"sentence": "The same for one head of any layer, chosen on other images.",
         "trainings": against, "holds": holds_on(crates, vits, "one head")},
        {"sentence": "The same for the last layer, with 200 kinds to tell apart.",
         "trainings": wide, "holds": holds_on(many["CRATE"], many["ViT"]) if least > 1 else "not known"},
        {"sentence": "CRATE's answers need the last layer more than the ViT's do.",
         "trainings": against,
         "holds": "yes" if separation(lost[CRATES], lost[VITS]) == "above" else "not in every training"},
        {"sentence": "With ISTA, whatever comes before, they need it more than with an MLP.",
         "trainings": f"{read['istas']} and {read['mlps']}",
         "holds": "yes" if read["ista_low"] > read["mlp_high"] else "not in every training"},
        {"sentence": "With MSSA, whatever follows, the last layer is above that of every network with MHSA.",
         "trainings": f"{facts['mssa']} and {facts['mhsa']}", "holds": facts["mssa_holds"]},
        {"sentence": "On VOC and COCO MSSA shows more than MHSA, whatever follows.",
         "trainings": a_cell, "holds": stands("MSSA")},
        {"sentence": "On VOC and COCO ISTA shows more than an MLP, whatever comes before.",
         "trainings": a_cell, "holds": stands("ISTA")},
        {"sentence": "The one brings more where the other is.", "trainings": a_cell, "holds": stands("interaction")},
        {"sentence": "A CRATE of eight layers shows more than one of two.",
         "trainings": shape["depths"], "holds": shape["deeper"]},
        {"sentence": "A CRATE of width 288 shows more than one of 96.",
         "trainings": shape["widths"], "holds": shape["wider"]},
        {"sentence": "Outlines come before names in training.", "trainings": str(shape["ways"]),
         "holds": "yes" if shape["ahead"] == shape["stops"] else f"at {shape['ahead']} of {shape['stops']} stops"},
    ]  # fmt: skip


# ---- figures --------------------------------------------------------------------------------------------------------


def play_data() -> dict[str, Any]:
    """For the playground ``trainings``: every training of every kind, by set and by which map is scored."""
    kinds = {kind: names_of(kind) for kind in KINDS}
    many = {kind: [name for name in names if scored(name)] for kind, names in FAMILY.items()}
    kinds |= {f"{kind}, 200 classes": names for kind, names in many.items() if names}
    measures = [
        (f"{take}|{where}", f"{title}: {text}")
        for where, title in SETS.items()
        for take, text in TAKES.items()
    ]
    return {
        "measures": [list(m) for m in measures],
        "kinds": [
            {
                "name": kind,
                "values": {
                    f"{take}|{where}": [round(v, 4) for v in values(names, where, take)]
                    for where in SETS
                    for take in TAKES
                },
            }
            for kind, names in kinds.items()
        ],
        "first": CRATES,
        "second": VITS,
    }


def colour(kind: str) -> Any:
    """Of a kind of network, as everywhere in the book."""
    return figures.COLOURS[
        {"CRATE": "crate", "CRATE-MLP": "crate_mlp", "CRATE-MHSA": "crate_mhsa"}.get(kind, "vit")
    ]


def layers_figure() -> Figure:
    """AUROC of the mean map layer by layer, a line a training."""
    fig, axes = plt.subplots(1, 2, figsize=(figures.WIDTH, 2.5), sharey=True)
    looks = {CRATES: "-", VITS: "-", "CRATE-MHSA": "--", "CRATE-MLP": ":"}
    for ax, (where, title) in zip(axes, SETS.items(), strict=True):
        for kind, style in looks.items():
            for i, name in enumerate(names_of(kind)):
                curve = by_layer(name, where)
                ax.plot(
                    range(len(curve)), [100 * v for v in curve], style, marker=".", color=colour(kind), lw=1.2,
                    label=None if i else kind,
                )  # fmt: skip
        ax.axhline(50, color="0.7", lw=0.8)
        ax.set(xlabel="layer", ylim=(15, 95))
        ax.set_title(title, fontsize=10)
    axes[0].set_ylabel("AUROC (%)")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    plt.close(fig)
    return fig


def _tints() -> list[Any]:
    """CRATE's colour for one set, paler for the other."""
    return sns.blend_palette([figures.COLOURS["crate"], "#999999"], 100)[:46:45]


def shape_figure() -> Figure:
    """Depth, width and time of CRATE, a dot a training: the last layer's mean map."""
    ways = on_the_way()
    panels: list[tuple[str, Mapping[float, Sequence[str]]]] = [
        ("layers", {size: trained(stem) for size, stem in DEPTHS.items()}),
        ("width", {size: trained(stem) for size, stem in WIDTHS.items()}),
        ("share of the training", {share: [name + at for name in ways] for share, at in SHARES.items()}),
    ]
    fig, axes = plt.subplots(1, 3, figsize=(figures.WIDTH, 2.5), sharey=True)
    for ax, (label, points) in zip(axes, panels, strict=True):
        for (where, title), marker, tint in zip(SETS.items(), "o^", _tints(), strict=True):
            means = [100 * float(np.mean(values(names, where))) for names in points.values()]
            ax.plot([*points], means, color=tint, lw=1)
            for x, names in points.items():
                ax.plot([x] * len(names), [100 * v for v in values(names, where)], marker, color=tint, ms=5)
            ax.axhline(100 * auroc("crate_mini_untrained", where), ls=":", color=tint, lw=1)
            ax.plot([], [], marker, color=tint, label=title)
        ax.set_xlabel(label)
        if label.startswith("share"):
            ax.set_xscale("log")
            ax.set_xticks([*points], [f"{x:.0%}" for x in points], fontsize=8)
            ax.minorticks_off()
        else:
            ax.set_xticks([*points])
    axes[0].set_ylabel("AUROC (%)")
    axes[0].legend(fontsize=8)
    plt.close(fig)
    return fig


def maskcut_figure() -> Figure:
    """The paper's figures 6 and 10: MaskCut by layer, and along the trainings.

    Above on cats and dogs and on horses, where there is one animal an image, of networks of a million parameters; below
    on COCO, as in the paper, at its width.
    """
    fig, ((left, right), wide) = plt.subplots(2, 2, figsize=(figures.WIDTH, 4.8), layout="constrained")
    for kind, names in FAMILY.items():
        for i, curve in enumerate(filter(None, map(first_masks, names))):
            left.plot(range(len(curve)), curve, marker=".", color=figures.COLOURS[kind.lower()], lw=1.2,
                      label=None if i else kind)  # fmt: skip
    left.set(xlabel="layer", ylabel="IoU of the first mask (%)", ylim=(0, None))
    first = names_of(CRATES)[0]
    shares = {share: first + at for share, at in SHARES.items() if stored(first + at, "pets")}
    for (where, title), marker, tint in zip(SETS.items(), "o^", _tints(), strict=True):
        points = [100 * float(_located(stored(name, where)).mean()) for name in shares.values()]
        right.plot([*shares], points, marker=marker, ms=5, lw=1, color=tint, label=title)
        if fresh := stored("crate_mini_animals_untrained", where):
            right.axhline(100 * float(_located(fresh).mean()), ls=":", lw=1, color=tint)
    right.set(xlabel="share of one training", ylabel="first box right (%)", ylim=(0, 100), xscale="log")
    right.set_xticks([*shares], [f"{x:.0%}" for x in shares])
    right.minorticks_off()
    _cut_on_coco(*wide)
    for ax in (left, right, *wide):
        if ax.get_legend_handles_labels()[0] and ax.lines:
            ax.legend(fontsize=8)
        if not any(len(line.get_xdata()) > 1 and line.get_linestyle() != "--" for line in ax.lines):
            ax.text(0.5, 0.5, "not scored yet", transform=ax.transAxes, ha="center", fontsize=9, color="0.4")
    plt.close(fig)
    return fig


def _cut_on_coco(left: Axes, right: Axes) -> None:
    """AP50 of boxes on COCO of the wide networks: by layer, and by share of the training; a line a training."""
    found = coco_cuts()
    for kind, of in found.items():
        for i, one in enumerate(of):
            look = {
                "marker": ".",
                "color": figures.COLOURS[kind.lower()],
                "lw": 1.2,
                "label": None if i else kind,
            }
            left.plot([*one.by_layer], [*one.by_layer.values()], **look)
            right.plot([*one.by_share], [*one.by_share.values()], **look)
    boxes = {name: 100 * row["AP50"][0] for name, row in results.read("floors/coco")["boxes"].items()}
    for ax in (left, right):
        ax.axhline(max(boxes.values()), ls="--", lw=1, color="0.5")
        ax.set(ylabel="AP50 of boxes, COCO (%)", ylim=(0, None))
    left.set(xlabel="layer")
    shares = sorted({share for of in found.values() for one in of for share in one.by_share})
    right.set(xlabel="share of the training")
    if shares:
        right.set(xscale="log")
        right.set_xticks(shares, [f"{share:.0%}" for share in shares])
        right.minorticks_off()


@dataclass(frozen=True)
class Cut:
    """AP50 of MaskCut's boxes on COCO of one training, in per cent: of its last layers, and along its way."""

    by_layer: Mapping[int, float]
    by_share: Mapping[float, float]


def coco_cuts() -> dict[str, list[Cut]]:
    """MaskCut on COCO of the trainings at the paper's width, by kind; those that were scored."""
    try:
        there = results.read("flagship/comparisons")["seeds"]
        before = results.read("flagship/on_the_way")["trainings"]
    except FileNotFoundError:
        return {}
    found: dict[str, list[Cut]] = {}
    for kind in WIDE:
        for name in there[kind]:
            last = results.read(f"flagship/{name}")["scores"]["coco_maskcut"]
            layers = {int(layer): 100 * of["box"]["AP50"][0] for layer, of in last["by_layer"].items()}
            shares = {
                int(share) / 100: 100 * of["coco_maskcut"]["score"][0]
                for share, of in before.get(name, {}).items()
            }
            ends = {1.0: 100 * last["score"][0]} if shares else {}
            found.setdefault(kind, []).append(Cut(dict(sorted(layers.items())), shares | ends))
    return found


def coco_sentence() -> str:
    """What MaskCut on COCO says of layers and of time, beside the best of the boxes that saw no image."""
    found = coco_cuts()
    if not found:
        return "On COCO it is not scored yet."
    boxes = results.read("floors/coco")["boxes"]
    floor = 100 * max(row["AP50"][0] for row in boxes.values())
    said = []
    for kind, of in found.items():
        of_layers = [value for one in of for value in one.by_layer.values()]
        who = "CRATE" if kind == "CRATE" else "the ViT"
        said.append(f"{number(min(of_layers), '.1f')} to {number(max(of_layers), '.1f')} % in {who}")
    rises = [
        one.by_layer[max(one.by_layer)] > one.by_layer[min(one.by_layer)]
        for of in found.values()
        for one in of
    ]
    grows = [
        one.by_share[1.0] > one.by_share[min(one.by_share)]
        for of in found.values()
        for one in of
        if one.by_share
    ]
    above = sum(value > floor for of in found.values() for one in of for value in one.by_layer.values())
    return (
        f"On COCO, at the paper's width, AP50 of the last {len(of[0].by_layer)} layers is {' and '.join(said)}; "
        f"a box that is the same in every image has {floor:.1f} %, and "
        f"{above or 'none'} of these numbers {'are' if above > 1 else 'is'} above it. From layer "
        f"{min(of[0].by_layer)} to the last it rises in {sum(rises)} of {len(rises)} trainings, from the first stop to "
        f"the end in {sum(grows)} of {len(grows)}."
    )


def first_masks(name: str) -> list[float] | None:
    """Overlap of MaskCut's first mask by layer, in per cent, on the photographs on which layers are chosen."""
    try:
        found = results.read(f"maskcut/{name}_pets_train")
    except FileNotFoundError:
        return None
    layers = found["by_layer"]
    return [100 * layers[key]["first_iou"][0] for key in sorted(layers, key=int)]


def picture_figure(
    image: Shaped[Tensor, "3 H W"],
    maps: Mapping[str, Float[Tensor, "L h w"]],
    scores: Mapping[str, Sequence[float]],
) -> Figure:
    """A row a network, a column a layer: the mean map of its heads and its AUROC."""
    columns = 1 + len(next(iter(maps.values())))
    fig, axes = plt.subplots(len(maps), columns, figsize=(figures.WIDTH, 1.12 * len(maps) + 0.2))
    for i, (row, (name, of_network)) in enumerate(zip(axes, maps.items(), strict=True)):
        figures.bare(row[0]).imshow(figures.to_pixels(image))
        row[0].set_ylabel(name, fontsize=9)
        for layer, (ax, one) in enumerate(zip(row[1:], of_network, strict=True)):
            figures.bare(ax).imshow(one.numpy(), cmap=figures.MAP_COLOURS)
            above = f"layer {layer}\n" if i == 0 else ""
            ax.set_title(f"{above}{100 * scores[name][layer]:.0f}", fontsize=8)
    plt.close(fig)
    return fig
