r"""Chapter 15, the coding rate as a loss: its figures, its tables, and the numbers of its sentences."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn

from crate_mini import figures
from crate_mini.rates import coding_rate, largest_rate
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
    fig, axes = plt.subplots(1, 3, figsize=(figures.WIDTH, 2.8), layout="constrained")
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
    return fig
