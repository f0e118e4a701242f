r"""Chapter 15, the coding rate as a loss: its figures, its tables, and the numbers of its sentences."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn

from crate_mini import figures
from crate_mini.attention_maps import cls_attention_maps
from crate_mini.checkpoints import load_pretrained
from crate_mini.data.embedded import crossed, kinds, pairs
from crate_mini.data.images import photographs as photographs_of_skimage
from crate_mini.rates import coding_rate, largest_rate
from crate_mini.results import read
from crate_mini.tables import markdown_table
from crate_mini.training.selfsupervised import (
    Projector,
    Prototypes,
    alignment,
    dino_loss,
    moved_centre,
    simdino_gamma,
    simdino_loss,
)

EPS_SQ = 0.05
"""The released SimDINO's squared precision."""
FEATURES = 256
"""Its features."""

# ---- what the rate is worth -----------------------------------------------------------------------------------------

SPLITS = ((64, 8), (256, 2), (512, 1), (64, 1), (75, 32))
"""Images a process, and processes: the published run, three like it, and one that its authors were asked about."""


def weights_of_the_rate() -> list[dict[str, float | int]]:
    """What all of the rate is worth in the released loss, where alignment is worth at most 1.

    The released code takes the rate of the images of one process and divides by those of all, which is a rate at a
    precision ``processes`` times as coarse.
    """
    rows = []
    for images, processes in SPLITS:
        gamma = simdino_gamma(images, FEATURES, processes)
        most = largest_rate(images, FEATURES, EPS_SQ * processes)
        rows.append({"images": images, "processes": processes, "gamma": gamma, "weight": gamma * most})
    return rows


def weight_rows() -> list[dict[str, float | int]]:
    """The same as a table of the page."""
    heads = {"images": "pictures a process", "processes": "processes", "weight": "the rate is worth"}
    return [{head: row[key] for key, head in heads.items()} for row in weights_of_the_rate()]


def signatures(images: int = 64, directions: int = 10, seed: int = 0) -> dict[str, float]:
    """Rates times the released weight of one process, by which to know what features do: all equal, some directions,
    random ones, and the most that there can be.
    """  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(FEATURES, directions, generator=generator, dtype=torch.float64))[0].mT
    random = F.normalize(torch.randn(images, FEATURES, generator=generator, dtype=torch.float64), dim=1)
    gamma = simdino_gamma(images, FEATURES)

    def worth(features: Float[Tensor, "n d"]) -> float:
        return gamma * coding_rate(features, EPS_SQ).item()

    return {
        "equal": worth(basis[:1].expand(images, -1)),
        "directions": worth(basis[torch.arange(images) % directions]),
        "random": worth(random),
        "most": gamma * largest_rate(images, FEATURES, EPS_SQ),
    }


# ---- collapse on purpose --------------------------------------------------------------------------------------------

CLASSES, DIM, POINTS, SMALL, CHOICES = 8, 16, 128, 16, 64


@dataclass(frozen=True)
class Film:
    """A training of a small network on points instead of images, step by step.

    Attributes:
        loss, aligned: of the step.
        rate: of the teacher's features, as a share of the largest.
        near: share of points whose nearest neighbour is of their class.
    """

    loss: list[float]
    aligned: list[float]
    rate: list[float]
    near: list[float]


KINDS: Mapping[str, Mapping[str, Any]] = {
    "SimDINO": {"task": "simdino"},
    "without the rate": {"task": "simdino", "weight": 0.0},
    "DINO": {"task": "dino"},
    "without the centre": {"task": "dino", "centre_momentum": 1.0},
    "without sharpening": {"task": "dino", "teacher_temperature": 0.3},
}
"""Both losses as they are, and each without what keeps it from a collapse."""


def film(
    task: str,
    *,
    weight: float = 1.0,
    centre_momentum: float = 0.9,
    teacher_temperature: float = 0.04,
    steps: int = 250,
    seed: int = 0,
) -> Film:
    """Points of eight classes; a view is a point with noise. The losses are the package's, the network is small."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, DIM, generator=generator)
    labels = torch.arange(POINTS) % CLASSES
    points = centres[labels] + 0.5 * torch.randn(POINTS, DIM, generator=generator) + 3
    student, most = _network(task, seed), largest_rate(POINTS, SMALL, EPS_SQ)
    teacher, centre = copy.deepcopy(student).requires_grad_(False), torch.zeros(CHOICES)
    optimizer = torch.optim.Adam(student.parameters(), lr=3e-3)
    shown: list[tuple[float, ...]] = []
    for _ in range(steps):
        views = points + 0.5 * torch.randn(2, POINTS, DIM, generator=generator)
        theirs, ours = teacher[0](views), student[0](views)
        if task == "dino":
            said = teacher[1](theirs)
            loss = dino_loss(said, student[1](ours), centre, teacher_temperature=teacher_temperature)
            centre = moved_centre(centre, said.mean((0, 1)), centre_momentum)
        else:
            loss = simdino_loss(theirs, ours, eps_sq=EPS_SQ, gamma=weight / most)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_([*teacher.parameters()], [*student.parameters()], 0.05)
            rate = coding_rate(theirs[0], EPS_SQ) / most
            near = (theirs[0] @ theirs[0].mT - 2 * torch.eye(POINTS)).argmax(1)
            right = (labels[near] == labels).float().mean()
            shown.append((loss.item(), alignment(theirs, ours).item(), rate.item(), right.item()))
    return Film(*map(list, zip(*shown, strict=True)))


def _network(task: str, seed: int) -> nn.Sequential:
    """A projector, and prototypes where the task has them; started so that points differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            Projector(DIM, 64, SMALL), *([Prototypes(SMALL, CHOICES)] if task == "dino" else [])
        )
        for layer in network[0].layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    return network


def collapse_facts(films: Mapping[str, Film]) -> dict[str, float]:
    """Where each ends, and the values that a collapse has."""
    ends = {
        f"{part}_{name.replace(' ', '_').lower()}": getattr(one, part)[-1]
        for name, one in films.items()
        for part in ("loss", "aligned", "rate", "near")
    }
    one_direction = 0.5 * math.log1p(SMALL / EPS_SQ) / largest_rate(POINTS, SMALL, EPS_SQ)
    return ends | {"one_direction": one_direction, "nobody_prefers": math.log(CHOICES)}


def collapse_figure(films: Mapping[str, Film]) -> Figure:
    """Alignment, rate and DINO's loss along the steps, each with the value of a collapse."""
    facts = collapse_facts(films)
    fig, axes = plt.subplots(1, 3, figsize=(figures.WIDTH, 2.4), layout="constrained")
    for (name, one), style in zip(films.items(), ("-", ":", "-", ":", "--"), strict=True):
        colour = figures.COLOURS["crate" if KINDS[name]["task"] == "simdino" else "vit"]
        for ax, values in ((axes[0], one.aligned), (axes[1], one.rate)):
            ax.plot(values, style, color=colour, label=name, lw=1.4)
        if KINDS[name]["task"] == "dino":
            axes[2].plot(one.loss, style, color=colour, label=name, lw=1.4)
    axes[1].axhline(facts["one_direction"], color="0.5", lw=0.8)
    for value in (0, facts["nobody_prefers"]):
        axes[2].axhline(value, color="0.5", lw=0.8)
    for ax, title in zip(axes, ("alignment", "rate, of the largest", "DINO's loss"), strict=True):
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("step", fontsize=10)
        ax.tick_params(labelsize=9)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    plt.close(fig)
    return fig


# ---- agree about what? ----------------------------------------------------------------------------------------------


def play_data(scenes: int = 8, animals: int = 6, seed: int = 0) -> dict[str, Any]:
    """For the playground ``views``: pictures that are a scene, twice as loud, and an animal, and two noisy views."""
    draw = torch.Generator().manual_seed(seed)
    scene = 2 * F.normalize(torch.randn(scenes, 8, generator=draw), dim=1)
    animal = F.normalize(torch.randn(animals, 5, generator=draw), dim=1)
    pictures = torch.cat([scene.repeat_interleave(animals, 0), animal.repeat(scenes, 1)], 1)
    views = [pictures + 0.3 * torch.randn(pictures.shape, generator=draw) for _ in range(2)]
    first = 0.3 * torch.randn(2, pictures.shape[1], generator=draw)
    found = {"pictures": pictures, "W": first, "views": torch.stack(views)}
    rounded = {k: (1000 * v).round().div(1000).tolist() for k, v in found.items()}
    return rounded | {"scenes": scenes, "animals": animals, "eps_sq": EPS_SQ, "rate": 1, "steps": 120}


def scenes_figure(scenes: int = 2, shown: Sequence[int] = (0, 3, 5, 7, 8), seed: int = 15) -> Figure:
    """Above, some of the ten animals in each of a few scenes; below, drawings of one animal, and of one species."""
    drawn = crossed(scenes, seed=seed)
    rows = [drawn.images.unflatten(0, (scenes, -1))[i, list(shown)] for i in range(scenes)]
    rows += pairs(len(shown), seed=seed, split="test").images.chunk(2, -1)
    rows += kinds(len(shown), seed=seed, split="test").images.chunk(2, -1)[1:]
    names = [f"scene {i + 1}" for i in range(scenes)] + ["a picture", "its animal", "its species"]
    fig, axes = plt.subplots(
        len(rows), len(shown), figsize=(0.55 * figures.WIDTH, 0.75 * len(rows)), layout="constrained"
    )
    for row, pictures, name in zip(axes, rows, names, strict=True):
        for ax, picture in zip(row, pictures, strict=True):
            ax.imshow(picture.permute(1, 2, 0))
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        row[0].set_ylabel(name, fontsize=9)
    plt.close(fig)
    return fig


# ---- the trainings on drawings --------------------------------------------------------------------------------------

Row = Mapping[str, Any]
WITHOUT_LABELS = ("simdino", "dino")
GROUPS: Mapping[tuple[str, str], str] = {
    ("none", ""): "pixels, 16 × 16",
    ("untrained", ""): "untrained",
    ("dino", ""): "DINO",
    ("simdino", ""): "SimDINO",
    ("simdino", "single"): "SimDINO, large crops",
    ("simdino", "pairs"): "SimDINO, of one animal",
    ("simdino", "kinds"): "SimDINO, of one species",
    ("classification", ""): "with labels",
}
"""Task, and what is varied of it, in the order of tables and figures."""
MODELS: Mapping[str, str] = {"": "", "crate_nano": "CRATE", "vit_nano": "ViT"}


def scores() -> list[Row]:
    """The networks of ``results/views/scores.json``."""
    return read("views/scores")["networks"]


def beside() -> Row:
    """What never saw a network, under the same rules."""
    return read("views/scores")["beside"]


def of(rows: Sequence[Row], *tasks: str, varied: str = "", model: str | None = None) -> list[Row]:
    """Those that learned by one of these tasks, with this varied."""
    return [r for r in rows if r["task"] in tasks and r["varied"] == varied and model in (None, r["model"])]


def grouped(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """The trainings of each kind of network, kinds in order."""
    found = [
        (f"{MODELS[model]} {label}".strip(), of(rows, task, varied=varied, model=model))
        for (task, varied), label in GROUPS.items()
        for model in MODELS
    ]
    return [(name, group) for name, group in found if group]


def answer_facts(rows: Sequence[Row]) -> dict[str, Any]:
    """What the first screen says: least and most over all trainings of a kind."""
    kinds = {
        "free": of(rows, *WITHOUT_LABELS),
        "named": of(rows, "classification"),
        "single": of(rows, "simdino", varied="single"),
        "pairs": of(rows, "simdino", varied="pairs"),
        "kinds": of(rows, "simdino", varied="kinds"),
        "untrained": of(rows, "untrained"),
        "pixels": of(rows, "none"),
    }
    facts: dict[str, Any] = {}
    for kind, group in kinds.items():
        facts[f"n_{kind}"] = len(group)
        for what in ("knn", "probe", "scene", "animal"):
            values = [100 * row[what] for row in group]
            facts |= {f"{kind}_{what}_least": min(values), f"{kind}_{what}_most": max(values)}
    facts["pairs_animal_above"] = math.ceil(facts["pairs_animal_most"])
    for short, model in (("crate", "crate_nano"), ("vit", "vit_nano")):
        drops = [
            100 * (one["scene"] - other["scene"])
            for one in kinds["single"]
            for other in kinds["pairs"]
            if one["model"] == other["model"] == model and one["seed"] == other["seed"]
        ]
        if drops:
            facts |= {f"drop_{short}_least": min(drops), f"drop_{short}_most": max(drops)}
    facts["drop_least"] = min(facts[k] for k in ("drop_crate_least", "drop_vit_least") if k in facts)
    published = of(rows, "simdino", varied="published")
    return facts | {f"published_{what}": 100 * published[0][what] for what in ("knn", "scene")}


def map_facts(rows: Sequence[Row], beside: Row) -> dict[str, Any]:
    """What the sentences about maps say, over all trainings of a kind."""
    centre = beside["centre"]["auroc"][0]
    free, named = of(rows, *WITHOUT_LABELS), of(rows, "classification")
    sides = {
        "free": free,
        "crate": [row for row in named if row["model"] == "crate_nano"],
        "vit": [row for row in named if row["model"] == "vit_nano"],
    }
    facts: dict[str, Any] = {"centre": centre, "disc": 100 * beside["maskcut"]["centre"]["first_iou"][0]}
    for kind, group in sides.items():
        for what, values in (
            ("fixed", [row["maps"]["auroc"]["fixed"][0] for row in group]),
            ("cut", [100 * row["maskcut"]["first_iou"][0] for row in group]),
        ):
            facts |= {f"{kind}_{what}_least": min(values), f"{kind}_{what}_most": max(values)}
    above = [row for row in rows if "maps" in row and row["maps"]["auroc"]["fixed"][2] > centre]
    return facts | {"reach_the_middle": len(above), "n_maps": sum("maps" in row for row in rows)}


def both(values: Sequence[float], form: str) -> str:
    """One number a training, in a cell of a table."""
    return ", ".join(format(v, form) for v in values)


def knowledge_rows(rows: Sequence[Row]) -> list[dict[str, str]]:
    """What each kind knows: a number for each training, in per cent."""
    heads = {
        "knn": ("neighbours (%)", ".0f"),
        "probe": ("probe (%)", ".0f"),
        "scene": ("scene (%)", ".0f"),
        "animal": ("animal (%)", ".1f"),
    }
    return [
        {"network": name}
        | {head: both([100 * r[k] for r in group], form) for k, (head, form) in heads.items()}
        for name, group in grouped(rows)
    ]


def map_rows(rows: Sequence[Row], beside: Row) -> list[dict[str, str]]:
    """What the maps show where nothing is varied: a number for each training; then what has no network."""
    found = []
    for name, group in grouped([row for row in rows if "maps" in row and not row["varied"]]):
        maps = [r["maps"] for r in group]
        found.append(
            {
                "network": name,
                "AUROC, one head": both([m["auroc"]["fixed"][0] for m in maps], ".2f"),
                "AUROC, mean": both([m["auroc"]["mean"][0] for m in maps], ".2f"),
                "60 % of patches, IoU (%)": both([100 * m["patch"]["best"][0] for m in maps], ".0f"),
                "MaskCut, IoU (%)": both([100 * r["maskcut"]["first_iou"][0] for r in group], ".0f"),
            }
        )
    centre = beside["centre"]
    return [
        *found,
        {
            "network": "a bell in the middle; a disc",
            "AUROC, one head": f"{centre['auroc'][0]:.2f}",
            "AUROC, mean": f"{centre['auroc'][0]:.2f}",
            "60 % of patches, IoU (%)": f"{100 * centre['patch'][0]:.0f}",
            "MaskCut, IoU (%)": f"{100 * beside['maskcut']['centre']['first_iou'][0]:.0f}",
        },
    ]


def shares_figure(rows: Sequence[Row]) -> Figure:
    """What the class token says, shared out: a bar a training."""
    groups = grouped(rows)
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 0.22 * len(groups) + 0.9), layout="constrained")
    for y, (_, group) in enumerate(groups):
        height = 0.8 / len(group)
        for i, row in enumerate(group):
            at, left = y + (i - (len(group) - 1) / 2) * height, 0.0
            for part, colour in (("scene", "0.5"), ("rest", "0.78"), ("animal", figures.COLOURS["crate"])):
                ax.barh(
                    at,
                    100 * row[part],
                    0.9 * height,
                    left=left,
                    color=colour,
                    label=part if y + i == 0 else None,
                )
                left += 100 * row[part]
    ax.set_yticks(range(len(groups)), [name for name, _ in groups], fontsize=9)
    ax.invert_yaxis()
    ax.set(xlim=(0, 100), xlabel="share of the variance (%)")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, ncols=3, fontsize=9, loc="lower center", bbox_to_anchor=(0.4, 1.0))
    plt.close(fig)
    return fig


# ---- the trainings on photographs -----------------------------------------------------------------------------------

PHOTOGRAPHS = "views/photographs"
MINI: Mapping[str, str] = {"crate_mini": "CRATE", "vit_mini": "ViT"}
"""The networks of this size, as the list of ``results/views/photographs`` calls them."""
HOW: Mapping[str, str] = {
    "untrained": "untrained",
    "dino": "DINO",
    "simdino": "SimDINO",
    "classification": "labels",
}
"""Tasks, as it calls the networks that learned by them."""
MEASURES: Mapping[str, tuple[str, float, str]] = {
    "knn": ("neighbours (%)", 100, ".0f"),
    "probe": ("probe (%)", 100, ".0f"),
    "voc_paper": ("VOC, 60 % rule (IoU, %)", 100, ".1f"),
    "voc_auroc": ("VOC (AUROC)", 1, ".2f"),
    "pets_auroc": ("pets (AUROC)", 1, ".2f"),
    "coco_maskcut": ("COCO, MaskCut (AP50, %)", 100, ".2f"),
}
"""What is asked of these networks: head of its column, what a value is multiplied by, and its format."""

Photographs = Mapping[str, Mapping[str, Sequence[float]]]
"""``photographs()[kind][measure]``: a value for each training."""


def photographs() -> dict[str, dict[str, list[float]]]:
    """What networks that learned from photographs know and show, by kind and measure, a number for each training.

    Kinds are those of the list, from the untrained to those with labels; then ``"pixels"`` and ``"the middle"``, which
    never saw a network.
    """
    knowledge, seeds = read("views/animals")["networks"], read(f"{PHOTOGRAPHS}/comparisons")["seeds"]
    order = [f"{model}, {how}" for how in HOW.values() for model in MINI.values()]
    found: dict[str, dict[str, list[float]]] = {
        kind: {measure: [] for measure in MEASURES}
        for kind in [*order, *(kind for kind in seeds if kind not in order)]
    }
    for row in knowledge:
        kind = f"{MINI[row['model']]}, {HOW[row['task']]}" if row["model"] else "pixels"
        for measure in ("knn", "probe"):
            found.setdefault(kind, {}).setdefault(measure, []).append(row[measure])
    middle: dict[str, list[float]] = {}
    for kind, names in seeds.items():
        for name in names:
            for measure, one in read(f"{PHOTOGRAPHS}/{name}")["scores"].items():
                found[kind][measure].append(one["score"][0])
                middle[measure] = [one["centre"][0]]
    return found | {"the middle": middle}


def photograph_rows(found: Photographs) -> list[dict[str, str]]:
    """The table of the page: a number for each training."""
    return [
        {"network": kind}
        | {
            head: both([times * v for v in values.get(measure, ())], form) or "–"
            for measure, (head, times, form) in MEASURES.items()
        }
        for kind, values in found.items()
    ]


def photograph_facts(found: Photographs) -> dict[str, int | float | str]:
    """Least and most over all trainings of a group of kinds, and of what stands beside them; and how many images.

    ``rows`` and ``compared`` are the two tables in Markdown, ``told`` says how many comparisons are told from chance.
    """
    groups = {
        "free": [f"{model}, {how}" for model in MINI.values() for how in ("SimDINO", "DINO")],
        "simdino": [f"{model}, SimDINO" for model in MINI.values()],
        "dino": [f"{model}, DINO" for model in MINI.values()],
        "fresh": [f"{model}, untrained" for model in MINI.values()],
        "named": [kind for kind in found if ", labels" in kind],
        "crate": ["CRATE, SimDINO"],
        "family": ["CRATE, labels of 200 classes"],
        "paired": ["ViT, DINO"],
        "pixels": ["pixels"],
        "middle": ["the middle"],
    }
    facts: dict[str, int | float | str] = {}
    for group, members in groups.items():
        for measure, (_, times, _) in MEASURES.items():
            values = [times * v for kind in members for v in found[kind].get(measure, ())]
            if values:
                name = f"photo_{group}_{measure}"
                facts |= {f"{name}_least": min(values), f"{name}_most": max(values)}
    compared, one = comparison_rows(), read(f"{PHOTOGRAPHS}/{SHOWN['ViT, DINO']}")["scores"]
    differ = sum(row["differs"] == "yes" for row in compared)
    return facts | {
        "asked": read("views/animals")["images"]["test"],
        "voc": one["voc_auroc"]["images"],
        "coco": one["coco_maskcut"]["images"],
        "pets": one["pets_auroc"]["images"],
        "told": f"{differ or 'none'} of the {len(compared)} comparisons of the list is told from chance",
        "rows": markdown_table(photograph_rows(found)),
        "compared": markdown_table(compared),
    }


def comparison_rows() -> list[dict[str, str]]:
    """The comparisons that were written down before, as they came out: differences with 95 % over new trainings."""
    rows = []
    for line in read(f"{PHOTOGRAPHS}/comparisons")["comparisons"]:
        head, times, _ = MEASURES[line["score"]]
        mean, low, high = (times * v for v in line["over_trainings"])
        form = "+.2f" if times == 1 else "+.1f"
        rows.append(
            {
                "compared": f"{line['a']} − {line['b']}",
                "by": head,
                "difference": f"{mean:{form}} ({low:{form}} to {high:{form}})".replace("-", "−"),
                "p": f"{line['p']:.3f}",
                "differs": "yes" if line["differs"] else "no",
            }
        )
    return rows


SHOWN: Mapping[str, str] = {
    "CRATE, labels of 200 classes": "crate_mini_all_lion_s0",
    "ViT, DINO": "vit_mini_animals_dino_s0",
    "CRATE, DINO": "crate_mini_animals_dino_s0",
    "ViT, SimDINO": "vit_mini_animals_simdino_s0",
    "CRATE, SimDINO": "crate_mini_animals_simdino_s0",
}
"""The training of each kind that the figure shows: the first; the paper's own pair comes first."""


def maps_figure(size: int = 224) -> Figure:
    """Photographs, and beside each the map of every network shown: the mean of the heads at the layer of its kind."""
    pictures, layers = photographs_of_skimage(size), read(f"{PHOTOGRAPHS}/comparisons")["layers"]
    images = torch.stack([*pictures.values()])
    rows = {"the photograph": [figures.to_pixels(image) for image in images]}
    for kind, name in SHOWN.items():
        maps = cls_attention_maps(load_pretrained(name), images, [layers[kind]], batch_size=1)
        rows[kind] = [one.numpy() for one in maps.mean((1, 2))]
    fig, axes = plt.subplots(
        len(images),
        len(rows),
        figsize=(figures.WIDTH, 1.45 * len(images)),
        squeeze=False,
        layout="constrained",
    )
    for column, (kind, shown) in zip(axes.T, rows.items(), strict=True):
        for i, (ax, picture) in enumerate(zip(column, shown, strict=True)):
            title = kind.replace(", ", ",\n").replace("labels of ", "labels of\n")
            figures.bare(ax, title if i == 0 else "").imshow(picture, cmap=figures.MAP_COLOURS)
    plt.close(fig)
    return fig
