r"""Chapter 19, acting on the model: what stands in the page, its figures, and the numbers of its sentences."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from crate_mini import data, figures
from crate_mini.atoms import random_directions
from crate_mini.data import ImageSet
from crate_mini.inspector.acting import Acting
from crate_mini.results import read
from crate_mini.stats import Interval, hierarchical_interval, holm, mean_interval, welch_test
from crate_mini.tables import markdown_table, number
from crate_mini.weights import load_pretrained

Rows = Mapping[str, Mapping[str, Any]]
PAGE = {"CRATE": "crate_nano_embedded", "ViT": "vit_nano_embedded"}
"""The networks that run in the page."""
SHOWN, SEED = 6, 19
"""Drawings in the page, the first ones of those that were scored; and their seed."""
SETS: Mapping[str, str] = {
    "embedded": "drawn animals",
    "pets": "cats and dogs",
    "horses": "horses",
    "voc2012": "PASCAL VOC",
    "coco": "COCO",
}
"""Sets on which clicks were counted, and what they are called."""
PHOTOGRAPHS = ("pets", "horses", "voc2012", "coco")
"""Those that ``results/clicks/plan.json`` compares."""
PLAIN: Mapping[str, str] = {
    "growing": "colour growing",
    "colour": "alike colour",
    "colour and place": "alike colour, near by",
    "disc": "a disc around the click",
    "known patches": "who knows the patches",
}
"""Guides without a network, and what they are called."""
NETWORK: Mapping[str, str] = {
    "attention": "attention of the patch",
    "tokens": "alike tokens",
    "embedding": "alike patches",
    "colour and tokens": "alike colour and tokens",
}
"""Guides of a network."""
KINDS = ("CRATE", "ViT")

# ---- the page -------------------------------------------------------------------------------------------------------


def drawings(n: int = SHOWN) -> ImageSet:
    """The first of the drawings on which clicks were counted."""
    return data.load("embedded", "test", n=n, seed=SEED, image_size=128)


def acting() -> Acting:
    """What the reader acts on, with what was chosen for it on other drawings."""
    shown, models = drawings(), {name: load_pretrained(file) for name, file in PAGE.items()}
    rows = read("clicks/embedded_nano")["rows"]
    return Acting(
        models,
        shown.images,
        masks=shown.masks,
        titles=[f"a drawn {shown.classes[i]}" for i in shown.labels.tolist()],
        guides={
            name: {kind: chosen(rows[file][kind]) for kind in ("attention", "tokens")}
            for name, file in PAGE.items()
        },
        growing=chosen(read("clicks/embedded")["rows"]["none"]["growing"]),
        direction={name: random_directions(1, m.config.dim, seed=SEED)[0] for name, m in models.items()},
    )


def chosen(row: Mapping[str, Any]) -> dict[str, Any]:
    """How a guide is played."""
    return {key: row[key] for key in ("option", "threshold", "join")}


# ---- clicks ---------------------------------------------------------------------------------------------------------


def clicks() -> dict[str, dict[str, Any]]:
    """What was counted, by set; sets that nobody has counted on yet are left out."""
    found = {}
    for name in SETS:
        with contextlib.suppress(FileNotFoundError):
            found[name] = read(f"clicks/{name}")
    return found


def trained(rows: Rows, kind: str) -> list[Mapping[str, Any]]:
    """The trainings of a kind of network, pairs in order."""
    return [row for row in rows.values() if row["kind"] == kind and row.get("seed") is None]


def untrained(rows: Rows, kind: str) -> list[Mapping[str, Any]]:
    """Untrained ones of its shape."""
    return [row for row in rows.values() if row["kind"] == kind and row.get("seed") is not None]


def values(rows: Sequence[Mapping[str, Any]], guide: str, what: str = "clicks") -> list[float]:
    """One number a training."""
    found = [row[guide][what] for row in rows]
    return [float(one[0] if isinstance(one, list) else one) for one in found]


def click_rows(rows: Rows) -> list[dict[str, str]]:
    """A table: every guide, a number for each training."""

    def line(name: str, of: Sequence[Mapping[str, Any]], guide: str) -> dict[str, str]:
        first, reached = ([100 * v for v in values(of, guide, what)] for what in ("first_iou", "reached"))
        return {
            "guide": name,
            "clicks": _all(values(of, guide), ".1f"),
            "reached (%)": _all(reached, ".0f"),
            "IoU of one click (%)": _all(first, ".0f"),
        }

    found = [line(name, [rows["none"]], guide) for guide, name in PLAIN.items()]
    for guide, name in NETWORK.items():
        found += [line(f"{name}, {kind}", trained(rows, kind), guide) for kind in KINDS]
        found += [line(f"{name}, {kind} untrained", untrained(rows, kind), guide) for kind in KINDS]
    return found


def _all(numbers: Sequence[float], form: str) -> str:
    return ", ".join(format(v, form) for v in numbers)


def photograph_rows(found: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """A table: mean clicks on every set, least and most over trainings."""
    guides = [("none", guide, name) for guide, name in PLAIN.items()]
    guides += [(kind, guide, f"{name}, {kind}") for guide, name in NETWORK.items() for kind in KINDS]
    table = []
    for kind, guide, name in guides:
        row = {"guide": name}
        for key, of in found.items():
            rows = [of["rows"]["none"]] if kind == "none" else trained(of["rows"], kind)
            row[f"{SETS[key]} ({of['about']['images']})"] = _range(values(rows, guide), ".1f")
        table.append(row)
    return table


def _range(numbers: Sequence[float], form: str) -> str:
    low, high = number(min(numbers), form), number(max(numbers), form)
    return low if low == high else f"{low} to {high}"


def numbers_of(rows: Sequence[Mapping[str, Any]], guide: str) -> torch.Tensor:
    """Clicks of every game: a row a training, a column a picture."""
    return torch.tensor([row[guide]["numbers"] for row in rows], dtype=torch.float64)


PLANNED = ("attention", "tokens")
"""The guides that ``results/clicks/plan.json`` compares."""
LEVEL = 0.05


def compared(found: Mapping[str, Mapping[str, Any]], sets: Sequence[str]) -> list[dict[str, Any]]:
    """The comparisons of ``results/clicks/plan.json``, by set and guide.

    Returns:
        ``crate`` and ``vit``, mean clicks of every training; ``growing``, those of colour growing; ``difference``,
        CRATE less the ViT over new trainings and new images; ``fewer``, which of the two needs fewer by the plan's
        rule, or nothing; ``beyond``, by kind, every training less colour growing on the same images; and
        ``growing_fewer``, by kind, whether colour growing needs fewer than all of them (True), more than all (False),
        or neither (None).
    """
    lines = []
    for name in sets:
        rows = found[name]["rows"]
        for guide in PLANNED:
            sides = [numbers_of(trained(rows, kind), guide) for kind in KINDS]
            crate, vit = (side.mean(1).tolist() for side in sides)
            apart = "CRATE" if max(crate) < min(vit) else "the ViT" if max(vit) < min(crate) else ""
            growing = rows["none"]["growing"]
            past = {kind: [beyond(row[guide], growing) for row in trained(rows, kind)] for kind in KINDS}
            lines.append(
                {
                    "set": name,
                    "guide": guide,
                    "crate": crate,
                    "vit": vit,
                    "growing": values([rows["none"]], "growing")[0],
                    "difference": hierarchical_interval(*sides),
                    "p": welch_test(crate, vit),
                    "apart": apart,
                    "beyond": past,
                    "growing_fewer": {kind: _all_one_way(of) for kind, of in past.items()},
                }
            )
    for line, kept in zip(lines, holm([line["p"] for line in lines], LEVEL), strict=True):
        line["fewer"] = line["apart"] if kept else ""
    return lines


def _all_one_way(differences: Sequence[Interval]) -> bool | None:
    if all(low > 0 for _, low, _ in differences):
        return True
    return False if all(high < 0 for *_, high in differences) else None


def compared_rows(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """A table of :func:`compared`: clicks, and CRATE less the ViT with its interval."""
    space, table = "\N{NO-BREAK SPACE}", []
    for line in lines:
        gap, low, high = (number(v, "+.1f") for v in line["difference"])
        table.append(
            {
                "clicks on": SETS[line["set"]],
                "by": line["guide"],
                "CRATE": _range(line["crate"], ".1f").replace(" ", space),
                "ViT": _range(line["vit"], ".1f").replace(" ", space),
                "colour growing": f"{line['growing']:.1f}",
                "CRATE − ViT": f"{gap} ({low} to {high})".replace(" ", space),
            }
        )
    return table


def click_tables(found: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The tables of the page, as Markdown: of drawings, of what was planned on photographs, and of every guide."""
    rows = {
        "drawn": click_rows(found["embedded"]["rows"]),
        "photographs": compared_rows(compared(found, PHOTOGRAPHS)),
        "every": photograph_rows(found),
    }
    return {name: markdown_table(table) for name, table in rows.items()}


def photograph_facts(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the sentences about photographs say of :func:`compared`."""
    facts: dict[str, Any] = {"sets": len({line["set"] for line in lines}), "comparisons": len(lines)}
    for kind in KINDS:
        ways = [line["growing_fewer"][kind] for line in lines]
        facts[f"growing_before_{kind.lower()}"] = ways.count(True)
        facts[f"growing_behind_{kind.lower()}"] = ways.count(False)
        facts[f"{kind.lower()}_fewer"] = sum(
            line["fewer"] == ("CRATE" if kind == "CRATE" else "the ViT") for line in lines
        )
    facts |= _ends("photo_growing", [line["growing"] for line in lines])
    for guide in PLANNED:
        for kind in ("crate", "vit"):
            own = [value for line in lines if line["guide"] == guide for value in line[kind]]
            facts |= _ends(f"photo_{guide}_{kind}", own)
    return facts


def click_facts(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Least and most over trainings, on every set; and CRATE less the ViT, over new trainings and new pictures."""
    facts: dict[str, Any] = {
        "n_drawn": found["embedded"]["about"]["images"],
        "most": found["embedded"]["about"]["most"],
    }
    facts["n_photographs"] = sum(of["about"]["images"] for name, of in found.items() if name != "embedded")
    facts |= {f"{name}_n": of["about"]["images"] for name, of in found.items()}
    facts["n_chosen"] = next(
        (found[name]["about"]["chosen_images"] for name in PHOTOGRAPHS if name in found), 0
    )
    for name, of in found.items():
        rows = of["rows"]
        for guide in PLAIN:
            facts |= _ends(f"{name}_{guide}", values([rows["none"]], guide))
            facts[f"{name}_{guide}_first"] = 100 * rows["none"][guide]["first_iou"][0]
            facts[f"{name}_{guide}_reached"] = 100 * rows["none"][guide]["reached"]
        for guide in NETWORK:
            for kind in KINDS:
                for state, chosen_rows in (("", trained(rows, kind)), ("_untrained", untrained(rows, kind))):
                    key = f"{name}_{guide}_{kind.lower()}{state}"
                    facts |= _ends(key, values(chosen_rows, guide))
                    facts |= _ends(f"{key}_first", [100 * v for v in values(chosen_rows, guide, "first_iou")])
                    facts |= _ends(f"{key}_reached", [100 * v for v in values(chosen_rows, guide, "reached")])
            gap = hierarchical_interval(*(numbers_of(trained(rows, kind), guide) for kind in KINDS))
            facts |= {f"{name}_{guide}_{k}": v for k, v in zip(("gap", "low", "high"), gap, strict=True)}
    rows = found["embedded"]["rows"]
    more = [
        beyond(row[guide], rows["none"]["colour and place"])
        for kind in KINDS
        for row in trained(rows, kind)
        for guide in ("attention", "tokens")
    ]
    facts |= dict(zip(("closest", "closest_low", "closest_high"), min(more), strict=True))
    facts["closest_of_lows"] = min(low for _, low, _ in more)
    facts |= photograph_facts(compared(found, PHOTOGRAPHS))
    return {key.replace(" ", "_"): value for key, value in facts.items()}


def beyond(guide: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[float, float, float]:
    """Clicks that a guide needs beyond another, on the same pictures: mean, and its interval over pictures."""
    return mean_interval(torch.tensor(guide["numbers"]).double() - torch.tensor(other["numbers"]).double())


def _ends(key: str, numbers: Sequence[float]) -> dict[str, float]:
    return {f"{key}_least": min(numbers), f"{key}_most": max(numbers)} if numbers else {}


def clicks_figure(found: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Mean clicks of every guide, a panel a set, a dot a training."""
    lines = [("none", guide, name) for guide, name in PLAIN.items() if guide != "known patches"]
    lines += [("network", guide, name) for guide, name in NETWORK.items()]
    fig, axes = plt.subplots(
        1, len(found), figsize=(figures.WIDTH, 2.9), sharey=True, squeeze=False, layout="constrained"
    )
    for ax, (key, of) in zip(axes[0], found.items(), strict=True):
        for y, (kind, guide, _) in enumerate(lines):
            if kind == "none":
                ax.plot(values([of["rows"]["none"]], guide), [y], "D", color="0.45", ms=5)
                continue
            for k, name in enumerate(KINDS):
                style = {"color": figures.COLOURS[name.lower()], "ms": 4.5, "ls": ""}
                for rows, marker, fill in (
                    (trained(of["rows"], name), "o", "full"),
                    (untrained(of["rows"], name), "o", "none"),
                ):
                    x = values(rows, guide)
                    ax.plot(x, [y + 0.3 * k - 0.15] * len(x), marker, fillstyle=fill, **style)
        ax.set_title(SETS[key], fontsize=9)
        ax.set_xlim(0, 21)
        ax.set_xticks([1, 5, 10, 15, 20])
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="x", lw=0.4)
    axes[0, 0].set_yticks(range(len(lines)), [name for _, _, name in lines], fontsize=8)
    axes[0, 0].invert_yaxis()
    fig.supxlabel("clicks to an IoU of 0.7, mean (20: given up)", fontsize=9)
    handles = [
        plt.Line2D([], [], ls="", marker=m, fillstyle=f, color=c, label=label, ms=5)
        for m, f, c, label in (
            ("D", "full", "0.45", "no network"),
            ("o", "full", figures.COLOURS["crate"], "CRATE"),
            ("o", "full", figures.COLOURS["vit"], "ViT"),
            ("o", "none", "0.45", "untrained"),
        )
    ]
    fig.legend(handles=handles, ncols=4, fontsize=8, frameon=False, loc="outside upper center")
    plt.close(fig)
    return fig


# ---- heads ----------------------------------------------------------------------------------------------------------

CONTROLS: Mapping[str, str] = {
    "muted": "one head",
    "subspace": "a random part of the layer's output, as many dimensions",
    "direction": "a step in a random direction, as long as the head's",
}
"""What is taken away, and what it is called."""


def heads() -> Rows:
    """``results/acting/heads.json``."""
    return read("acting/heads")["rows"]


def of_layers(row: Mapping[str, Any], what: str, key: str = "variation") -> list[torch.Tensor]:
    """By layer, a number for every head or control, in per cent."""
    return [100 * torch.tensor(layer, dtype=torch.float64) for layer in row[what][key]]


def head_facts(rows: Rows) -> dict[str, Any]:
    """How much muting does: medians, the loudest head, and how many heads stand out from their layer's controls."""
    facts: dict[str, Any] = {"n_networks": len(rows), "images": next(iter(rows.values()))["images"]}
    for kind in KINDS:
        own = [row for row in rows.values() if row["kind"] == kind]
        key = kind.lower()
        for what in CONTROLS:
            facts |= _ends(f"{key}_{what}", [float(torch.cat(of_layers(row, what)).median()) for row in own])
        facts |= _ends(f"{key}_loudest", [float(torch.cat(of_layers(row, "muted")).max()) for row in own])
        facts |= _ends(
            f"{key}_answers", [float(torch.cat(of_layers(row, "muted", "answers")).median()) for row in own]
        )
        facts |= _ends(f"{key}_above", [100 * above(row) for row in own])
        facts |= _ends(f"{key}_times", [times(row) for row in own])
    both = {
        end: [facts[f"{kind.lower()}_{what}_{end}"] for kind in KINDS for what in ("muted",)]
        for end in ("least", "most")
    }
    by_times = [times(row) for row in rows.values()]
    facts |= {"least_times": min(by_times), "most_times": max(by_times)}
    return facts | {"muted_least": min(both["least"]), "muted_most": max(both["most"])}


def above(row: Mapping[str, Any]) -> float:
    """The share of heads that do more than every random part of their layer."""
    more = [m > s.max() for m, s in zip(of_layers(row, "muted"), of_layers(row, "subspace"), strict=True)]
    return torch.cat(more).double().mean().item()


def times(row: Mapping[str, Any]) -> float:
    """Mean change by muting a head, over that by a random part."""
    muted, random = (torch.cat(of_layers(row, what)).mean() for what in ("muted", "subspace"))
    return float(muted / random)


def heads_figure(rows: Rows) -> Figure:
    """Change by layer: every head, and the random parts of its layer; a panel a kind of network."""
    fig, axes = plt.subplots(1, 2, figsize=(figures.WIDTH, 2.6), sharey=True, layout="constrained")
    for ax, kind in zip(axes, KINDS, strict=True):
        for row in (row for row in rows.values() if row["kind"] == kind):
            depth = len(row["muted"]["variation"])
            for what, shift, style in (
                ("subspace", 0.16, {"color": "0.62", "marker": "_"}),
                ("muted", -0.16, {"color": figures.COLOURS[kind.lower()], "marker": "."}),
            ):
                for layer, found in enumerate(of_layers(row, what)):
                    x = torch.full_like(found, layer * 7 / (depth - 1) + shift)
                    ax.scatter(x, found, s=22, lw=0.9, alpha=0.75, **style)
        ax.set_title(kind, fontsize=10)
        ax.set_xlabel("first to last layer", fontsize=9)
        ax.set_xticks([])
        ax.set_yscale("log")
        ax.set_yticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
        ax.minorticks_off()
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("probability moved (%)", fontsize=9)
    axes[0].scatter([], [], color=figures.COLOURS["crate"], marker=".", label="a head muted")
    axes[0].scatter([], [], color="0.62", marker="_", label="a random part of the layer")
    fig.legend(
        *axes[0].get_legend_handles_labels(), ncols=2, frameon=False, fontsize=8, loc="outside upper center"
    )
    plt.close(fig)
    return fig


# ---- atoms ----------------------------------------------------------------------------------------------------------


def atoms() -> Rows:
    """``results/acting/atoms.json``."""
    return read("acting/atoms")["rows"]


def mean_of(layers: Sequence[Mapping[str, float]], key: str) -> float:
    """Mean over layers."""
    return sum(layer[key] for layer in layers) / len(layers)


def atom_facts(rows: Rows) -> dict[str, Any]:
    """Where units fire and what holding does: mean over layers, least and most over trainings."""
    facts: dict[str, Any] = {}
    for kind in KINDS:
        own = [row for row in rows.values() if row["kind"] == kind]
        facts[f"n_{kind.lower()}"] = len(own)
        for what in ("units", "directions"):
            for key in ("part", "place", "colour"):
                name = f"{kind.lower()}_{what}_{key}"
                facts |= _ends(name, [100 * mean_of(row["firing"][what], key) for row in own])
                if what == "units":
                    facts |= _ends(
                        f"{name}_untrained", [100 * mean_of(row["untrained"][what], key) for row in own]
                    )
            for key in ("variation", "answers"):
                facts |= _ends(
                    f"{kind.lower()}_{what}_{key}", [100 * mean_of(row["holding"][what], key) for row in own]
                )
            facts |= _ends(
                f"{kind.lower()}_{what}_correlation",
                [mean_of(row["holding"][what], "correlation") for row in own],
            )
            facts |= _ends(
                f"{kind.lower()}_{what}_last", [row["holding"][what][-1]["correlation"] for row in own]
            )
            before = [
                mean_of(row["holding"][what][:-1], "correlation") for row in own
            ]  # of all but the last layer
            facts |= _ends(f"{kind.lower()}_{what}_before", before)
        last = [
            {what: row["holding"][what][-1]["correlation"] for what in ("units", "directions")} for row in own
        ]
        facts[f"{kind.lower()}_ahead"] = sum(of["directions"] > of["units"] for of in last)
        facts |= _ends(
            f"{kind.lower()}_beside_variation",
            [100 * mean_of(row["holding"]["beside"], "variation") for row in own],
        )
    return facts


def firing_rows(rows: Rows) -> list[dict[str, str]]:
    """A table: what explains where units fire, in per cent, least and most over trainings."""
    heads_of = {"place": "place (%)", "colour": "colour (%)", "part": "part (%)"}
    found = []
    for kind in KINDS:
        own = [row for row in rows.values() if row["kind"] == kind]
        for name, get in (
            ("atoms" if kind == "CRATE" else "hidden units", lambda row: row["firing"]["units"]),
            ("random directions", lambda row: row["firing"]["directions"]),
            ("the same units, untrained", lambda row: row["untrained"]["units"]),
        ):
            cells = {
                head: _range([100 * mean_of(get(row), key) for row in own], ".0f")
                for key, head in heads_of.items()
            }
            found.append({"of": f"{kind}: {name}"} | cells)
    return found


def firing_figure(rows: Rows) -> Figure:
    """What explains where a unit fires, a dot a training: units, random directions, units of an untrained network."""
    keys = ("place", "colour", "part")
    fig, axes = plt.subplots(
        1, 2, figsize=(figures.WIDTH, 2.1), sharey=True, sharex=True, layout="constrained"
    )
    for ax, kind in zip(axes, KINDS, strict=True):
        own = [row for row in rows.values() if row["kind"] == kind]
        colour = figures.COLOURS[kind.lower()]
        for y, key in enumerate(keys):
            for shift, get, style in (
                (-0.22, lambda row: row["firing"]["units"], {"marker": "o", "color": colour}),
                (0.0, lambda row: row["firing"]["directions"], {"marker": "D", "color": "0.5"}),
                (
                    0.22,
                    lambda row: row["untrained"]["units"],
                    {"marker": "o", "color": colour, "fillstyle": "none"},
                ),
            ):
                x = [100 * mean_of(get(row), key) for row in own]
                ax.plot(x, [y + shift] * len(x), ls="", ms=4.5, **style)
        ax.set_title(kind, fontsize=10)
        ax.set_xlim(0, None)
        ax.set_xlabel("of the variance (%)", fontsize=9)
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(keys)), [f"its {key}" for key in keys], fontsize=9)
    axes[0].invert_yaxis()
    handles = [
        plt.Line2D([], [], ls="", marker=m, fillstyle=f, color=c, label=label, ms=5)
        for m, f, c, label in (
            ("o", "full", "0.2", "units"), ("D", "full", "0.5", "random directions"), ("o", "none", "0.2", "untrained"),
        )
    ]  # fmt: skip
    fig.legend(handles=handles, ncols=3, fontsize=8, frameon=False, loc="outside upper center")
    plt.close(fig)
    return fig


def holding_rows(rows: Rows) -> list[dict[str, str]]:
    """A table: what holding does, least and most over trainings."""
    found = []
    for kind in KINDS:
        own = [row["holding"] for row in rows.values() if row["kind"] == kind]
        for what, name in (
            ("units", "atoms" if kind == "CRATE" else "hidden units"),
            ("directions", "random directions"),
            ("beside", "as large a step in a random direction"),
        ):
            row = {"held": f"{kind}: {name}"}
            for key, head in (("variation", "moved (%)"), ("answers", "new answers (%)")):
                row[head] = _range([100 * mean_of(one[what], key) for one in own], ".0f")
            known = "correlation" in own[0][what][0]
            row["r, all layers"] = (
                _range([mean_of(one[what], "correlation") for one in own], ".2f") if known else ""
            )
            row["r, last layer"] = (
                _range([one[what][-1]["correlation"] for one in own], ".2f") if known else ""
            )
            found.append(row)
    return found
