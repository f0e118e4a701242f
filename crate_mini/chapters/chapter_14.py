"""Chapter 14, operators of later papers: how far proximal steps get, what TSSA shares out, what attention costs."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from crate_mini import figures
from crate_mini.compression import token_statistics
from crate_mini.data.imageset import ImageSet
from crate_mini.heads import random_bases
from crate_mini.model import CRATE
from crate_mini.operators import CBSA, MSSA, TSSA, Attention, Layout
from crate_mini.recorder import record
from crate_mini.results import read
from crate_mini.segmentation import count_patches, score_maps
from crate_mini.sparsification import lasso_objective, sparse_code, sparse_codes
from crate_mini.stats import holm, prediction_interval, rank_correlation, welch_interval, welch_test
from crate_mini.tables import PlusMinus

STEPS = (0, 1, 2, 3, 5, 10, 20, 50)
"""Numbers of proximal steps from zero after which a code is looked at."""
OWN_STEPS = {"ista": 1, "odl": 2}
WITH_CODE = ("ista", "odl_square", "odl_tied", "odl_plain", "odl", "odl_one_step", "odl_narrow")
"""Arms of the sweep ``operators`` whose feed finds a code."""
TEMPERATURE = 0.25  # of energies by the mean
SHOWN = {
    "MSSA, PyTorch": "C0",
    "MHSA, PyTorch": "C1",
    "MSSA, plain formula": "0.5",
    "TSSA": "C2",
    "CBSA": "C3",
}
"""Sides of ``results/benchmarks/operators.json`` and their colours."""

# ---- proximal steps -------------------------------------------------------------------------------------------------


@torch.no_grad()
def codes(model: CRATE, images: Tensor, steps: Sequence[int] = STEPS) -> dict[str, list]:
    r"""How good, as sparse codes, are those inside a network? The LASSO objective in every layer, mean over its tokens.

    Returns:
        Lists by layer, in the layer's own dictionary D: ``from_zero``, after each number of ``steps`` from zero at the
        layer's own step size; ``own``, of the code that the layer itself finds; ``lowest``, as far down as it goes (150
        accelerated steps); ``reach``, :math:`\eta\lVert D\rVert^2`, below 2 where a step is sure to descend;
        and :func:`apart`.
    """
    seen = record(model, images, ("feed_in", "code"))
    found: dict[str, list] = {"from_zero": [], "own": [], "lowest": [], "reach": []}
    for layer, block in enumerate(model.blocks):
        feed = block.feed
        Y, own = (seen[name][layer].flatten(0, 1).double() for name in ("feed_in", "code"))
        D = feed.dictionary.double()

        def value(Z: Tensor, Y: Tensor = Y, D: Tensor = D, lam: float = feed.lam) -> float:
            return lasso_objective(Y, D, Z, lam).mean().item()

        every = itertools.islice(sparse_codes(Y, D, feed.lam, step=feed.step), max(steps) + 1)
        found["from_zero"].append([value(Z) for n, Z in enumerate(every) if n in steps])
        found["own"].append(value(own))
        found["lowest"].append(value(sparse_code(Y, D, feed.lam, steps=150)))
        found["reach"].append(feed.step * torch.linalg.matrix_norm(D, 2).square().item())
    return found | {"apart": apart(model, images)}


@torch.no_grad()
def apart(model: CRATE, images: Tensor) -> list[float]:
    """Of the tokens that leave a layer, the share of their squared length that is not common to all; by layer.

    One where their mean is zero, zero where all tokens of all images are one and the same.
    """
    seen = record(model, images, "tokens_out")["tokens_out"]
    tokens = (seen[layer].flatten(0, 1).double() for layer in range(len(model.blocks)))
    return [1 - (Z.mean(0).square().sum() / Z.square().sum(-1).mean()).item() for Z in tokens]


def inside() -> dict[str, Any]:
    """What ``tools/score_inside.py`` has written: codes and memberships of every training that has them."""
    return read("training/operators_inside")


def of_arm(found: Mapping[str, Any], arm: str) -> list[Any]:
    """The trainings of an arm of the sweep ``operators``, seeds in order."""
    return [found[f"operators_{arm}_s{seed}"] for seed in range(SEEDS)]


def gone(run: Mapping[str, Any], of: Sequence[float]) -> Float[Tensor, " L"]:
    """How much of the way down from no code to the best code is gone, by layer, for an objective of each layer.

    Below zero where the code is worse than none.
    """
    zero, low = torch.tensor(run["from_zero"])[:, 0], torch.tensor(run["lowest"])
    return (zero - torch.tensor(of)) / (zero - low)


def after(run: Mapping[str, Any], steps: int) -> Float[Tensor, " L"]:
    """:func:`gone` after so many steps from zero, one of :data:`STEPS`."""
    return gone(run, [row[STEPS.index(steps)] for row in run["from_zero"]])


def step_facts(
    found: Mapping[str, Mapping[str, Any]], untrained: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """What the page says of steps, over every layer of every training of an arm.

    ``above`` of ``layers`` layers of ISTA, in ``networks`` trainings, put out what is worse, as a code, than zeros; by
    ``worse`` % of the way, on average. ``gone_n`` is how far n steps from zero come in their dictionaries.
    ``odl_low`` and ``odl_high``: how far ODL comes in its own, by layer; ``one_low``, ``one_high``: with one step.
    ``apart_low_…`` and ``apart_high_…``: what tokens do not have in common after the last layer, in %, by training of
    an arm; ``start_low_…`` and ``start_high_…``: before training.

    Args:
        found: of :func:`codes`, by training.
        untrained: of :func:`apart`, at the start of each.
    """
    ista = of_arm(found, "ista")
    own = torch.cat([gone(run, run["own"]) for run in ista])
    facts: dict[str, Any] = {
        "networks": len(ista),
        "layers": len(own),
        "above": int((own < 0).sum()),
        "worse": -100 * own.mean().item(),
    }
    facts |= {f"gone_{n}": 100 * torch.cat([after(run, n) for run in ista]).mean().item() for n in (1, 2, 10)}
    for name, arm in (("odl", "odl"), ("one", "odl_one_step")):
        reached = torch.cat([gone(run, run["own"]) for run in of_arm(found, arm)])
        facts |= {f"{name}_low": 100 * reached.min().item(), f"{name}_high": 100 * reached.max().item()}
    for arm in WITH_CODE:
        last = [100 * run["apart"][-1] for run in of_arm(found, arm)]
        start = [100 * run[-1] for run in of_arm(untrained, arm)]
        facts |= {f"apart_low_{arm}": min(last), f"apart_high_{arm}": max(last)}
        facts |= {f"start_low_{arm}": min(start), f"start_high_{arm}": max(start)}
    return facts


def same_order(
    found: Mapping[str, Mapping[str, Any]], results: Mapping[str, Sequence[Mapping[str, Any]]], arm: str
) -> bool:
    """Whether an arm's trainings stand in one order by accuracy and by how far apart tokens are at the end."""
    last = [run["apart"][-1] for run in of_arm(found, arm)]
    top1 = [run["top1"] for run in results[arm]]
    return sorted(range(SEEDS), key=last.__getitem__) == sorted(range(SEEDS), key=top1.__getitem__)


def steps_figure(found: Mapping[str, Mapping[str, Any]]) -> Figure:
    """The way down in every layer of every training of ISTA and of ODL: height above the best code against steps."""
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 2.7))
    counts = [n for n in STEPS if n]
    ax.axhline(1, color="0.5", ls=":", lw=1)
    ax.text(counts[-1], 1.03, "no code at all", ha="right", va="bottom", fontsize=9, color="0.4")
    for arm, colour, label in (
        ("ista", "C0", "from zero, in dictionaries of CRATE"),
        ("odl", "C3", "from zero, in dictionaries of ODL"),
    ):
        runs = of_arm(found, arm)
        height = torch.cat([torch.stack([1 - after(run, n) for n in counts], -1) for run in runs])
        for row in height:
            ax.plot(counts, row, color=colour, lw=0.8, alpha=0.35)
        ax.plot(counts, height.mean(0), color=colour, lw=2, label=label)
        own = torch.cat([1 - gone(run, run["own"]) for run in runs])
        ax.plot([OWN_STEPS[arm]] * len(own), own, "o", color=colour, ms=4, mec="white", mew=0.5)
    ax.annotate("where CRATE's layers end", (1, 2.1), (1.25, 2.0), fontsize=9, color="C0")
    ax.annotate("where ODL's end", (2, 0.27), (2.15, 0.55), fontsize=9, color="C3")
    ax.set(
        xscale="log",
        xlabel="proximal steps",
        ylabel="height above the best code\n(no code = 1)",
        ylim=(0, None),
    )
    ax.set(xticks=counts, xticklabels=list(map(str, counts)))
    ax.minorticks_off()
    ax.legend(fontsize=9, loc="upper right")
    plt.close(fig)
    return fig


# ---- memberships ----------------------------------------------------------------------------------------------------


def own_membership(
    counts: Sequence[int], *, energy: str, temperature: float, heads: int = 6, p: int = 16
) -> list[float]:
    """Mean membership of a token in the one head that holds all of it, where ``n`` tokens fall into heads evenly."""
    found = []
    for n in counts:
        draw = torch.Generator().manual_seed(n)
        kind = torch.arange(n) % heads
        clean = torch.randn(n, p, generator=draw)
        Zk = torch.zeros(heads, n, p)
        Zk[kind, torch.arange(n)] = clean
        Pi = token_statistics(Zk, torch.full((heads,), temperature), energy=energy)[0]
        found.append(Pi[kind, torch.arange(n)].mean().item())
    return found


def memberships_figure(counts: Sequence[int] = (17, 65, 197, 785, 3137), heads: int = 6) -> Figure:
    """How surely a token is put into its own head, against the number of tokens."""
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 2.6))
    for energy, temperature, label, colour in (
        ("mean", TEMPERATURE, "energies by the mean, τ = 1/4", "C2"),
        ("sum", 1.0, "energies by the sum, τ = 1, as published at the start", "C1"),
    ):
        values = own_membership(counts, energy=energy, temperature=temperature, heads=heads)
        ax.plot(counts, values, "o-", color=colour, ms=4, label=label)
    ax.axhline(1 / heads, color="0.5", ls=":", lw=1)
    ax.text(counts[-1], 1 / heads, "even", ha="right", va="bottom", fontsize=9, color="0.4")
    ax.set(xscale="log", xlabel="tokens", ylabel="membership in its\nown head", ylim=(0, 1.05))
    ax.set(xticks=list(counts), xticklabels=[f"{n:,}" for n in counts])
    ax.minorticks_off()
    ax.legend(fontsize=9, loc="center right")
    plt.close(fig)
    return fig


@torch.no_grad()
def reach(dim: int = 48, heads: int = 4, grid: int = 8) -> dict[str, float]:
    """By how much the class token's update changes, relatively, when every patch token becomes its negative.

    The patches then say the opposite, and have the same second moments.
    """
    layers: dict[str, Attention] = {}
    for name, make in {"MSSA": MSSA, "TSSA": TSSA, "CBSA": CBSA}.items():
        torch.manual_seed(0)
        layers[name] = make(dim, heads).double()
    Z = torch.randn(1, 1 + grid**2, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    turned = torch.cat([Z[:, :1], -Z[:, 1:]], 1)
    found = {}
    for name, layer in layers.items():
        extra = (None, Layout(1, (grid, grid))) if layer.on_grid else ()
        before, after = (layer(tokens, *extra)[:, 0] for tokens in (Z, turned))
        found[name] = ((after - before).norm() / before.norm()).item()
    return found


@torch.no_grad()
def membership_maps(
    model: CRATE, images: Tensor, bases: Float[Tensor, "L K d p"] | None = None
) -> dict[str, Float[Tensor, "b L K n"]]:
    """For every layer and head, the memberships that TSSA would give the patches, and the class token's attention.

    Memberships are of the network's own coordinates, or of those on other ``bases``.
    """
    seen = record(model, images, ["attention_in", "projections", "cls_scores"])
    shared, looked = [], []
    for layer in range(len(model.blocks)):
        Zk = seen["projections"][layer]
        if bases is not None:
            Zk = torch.einsum("bnd,kdp->bknp", seen["attention_in"][layer], bases[layer])
        Pi = token_statistics(Zk, torch.full((Zk.shape[1],), TEMPERATURE), energy="mean")[0]
        shared.append(Pi[..., seen.prefix :])
        looked.append(seen.patches("cls_scores", layer).softmax(-1))
    return {"memberships": torch.stack(shared, 1), "attention": torch.stack(looked, 1)}


def map_scores(
    networks: Mapping[str, CRATE], choose_on: ImageSet, report_on: ImageSet, *, seed: int = 0
) -> list[dict[str, Any]]:
    """AUROC of the best head, chosen on one set and reported on another, by what the map is made of.

    A group may be the ground as well as the object: whether a head is read as it is or turned round is chosen with it.

    Args:
        networks: ``"trained"`` and ``"untrained"``, of one shape.
        choose_on: drawings with masks.
        report_on: others.
        seed: of random bases in the trained network.
    """
    config = networks["trained"].config
    p = config.head_dim or config.dim // config.heads
    others = random_bases(config.depth, config.heads, config.dim, p, seed=seed)
    # as long as the network's own, on average, so that no difference is one of scale
    own = torch.stack([block.attention.U.detach() for block in networks["trained"].blocks])
    others = others * (own.square().sum((-2, -1), keepdim=True) / p).sqrt()
    rows = []
    for who, bases in (("trained", None), ("trained", others), ("untrained", None)):
        maps = [membership_maps(networks[who], drawn.images, bases) for drawn in (choose_on, report_on)]
        for kind in ("attention", "memberships") if bases is None else ("memberships",):
            chosen, reported = (
                aurocs(m[kind], drawn) for m, drawn in zip(maps, (choose_on, report_on), strict=True)
            )
            name = who if bases is None else "trained, random bases"
            rows.append({"kind": kind, "network": name} | chosen_head(chosen, reported))
    return sorted(rows, key=lambda row: row["kind"])


def chosen_head(
    chosen_on: Float[Tensor, "a L K"], reported_on: Float[Tensor, "b L K"]
) -> dict[str, float | int | bool]:
    """The head whose AUROC lies farthest from one half on some images, and its AUROC on others, turned as there.

    ``half`` is half of the 95 % interval over images, by the normal approximation.
    """
    K = chosen_on.shape[-1]
    means = chosen_on.mean(0).flatten()
    best = int((means - 0.5).abs().argmax())
    turned = bool(means[best] < 0.5)
    values = reported_on.flatten(1)[:, best]
    values = 1 - values if turned else values
    half = 1.96 * (values.std() / len(values) ** 0.5).item()
    return {
        "layer": best // K, "head": best % K, "turned": turned, "auroc": values.mean().item(), "half": half,
    }  # fmt: skip


def map_facts(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """Lowest and highest AUROC over trainings, by what the map is made of and of which network.

    ``nearest`` is the least that a network's own memberships have ahead of those of random bases in it.

    Args:
        found: rows of :func:`map_scores` of every training.
    """
    names = {"trained": "own", "untrained": "untrained", "trained, random bases": "random"}
    facts: dict[str, float] = {}
    for rows in found.values():
        for row in rows:
            name = f"{row['kind']}_{names[row['network']]}"
            facts[f"{name}_low"] = min(row["auroc"], facts.get(f"{name}_low", 1.0))
            facts[f"{name}_high"] = max(row["auroc"], facts.get(f"{name}_high", 0.0))
    shared = [
        {row["network"]: row["auroc"] for row in rows if row["kind"] == "memberships"}
        for rows in found.values()
    ]
    return facts | {"nearest": min(row["trained"] - row["trained, random bases"] for row in shared)}


def aurocs(maps: Float[Tensor, "b L K n"], drawn: ImageSet) -> Float[Tensor, "b L K"]:
    """AUROC of maps on a square grid of patches against the masks of drawings."""
    side = round(maps.shape[-1] ** 0.5)
    objects, background = (c[:, None, None] for c in count_patches(drawn.masks, (side, side)))
    return score_maps(maps, objects, background)["auroc"]


@torch.no_grad()
def play_data(model: CRATE, drawn: ImageSet, number: int, layer: int, head: int) -> dict[str, Any]:
    """What the playground needs: a drawing, the energies of its patches in every head, and where the object is.

    ``head`` is the one to begin with.
    """
    picture, mask = drawn.images[number], drawn.masks[number]
    seen = record(model, picture[None], "projections", layers=[layer])
    square = seen["projections"][layer][0].square()
    energies = (square / square.sum(-2, keepdim=True)).sum(-1)[:, seen.prefix :]
    side = round(energies.shape[-1] ** 0.5)
    objects, background = count_patches(mask[None], (side, side))
    return {
        "picture": _address(picture, mask),
        "side": side,
        "tokens": square.shape[-2],
        "start": head,
        "energies": [[float(f"{v:.4g}") for v in row] for row in energies.tolist()],
        "objects": objects[0],
        "background": background[0],
    }


def _address(picture: Tensor, mask: Tensor) -> str:
    """The picture as JPEG in a data address, with the true outline drawn into it."""
    inside = (mask == 1).float()[None, None]
    edge = (F.max_pool2d(inside, 5, 1, 2) - inside)[0, 0] > 0
    pixels = picture.clone()
    pixels[:, edge] = 255
    stream = io.BytesIO()
    Image.fromarray(figures.to_pixels(pixels)).save(stream, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


# ---- trainings ------------------------------------------------------------------------------------------------------

ARMS = {
    "ista": "ISTA: CRATE",
    "odl_square": "two steps from zero, square, decoded by D",
    "odl_tied": "+ four times as many atoms",
    "odl_plain": "+ a dictionary of its own for the way back",
    "odl": "+ a skip connection: ODL",
    "odl_one_step": "ODL with one step",
    "odl_narrow": "ODL, narrow: CRATE's parameters",
    "mlp": "MLP",
    "mssa_mean": "MSSA, read by the mean",
    "tssa_mean": "TSSA, read by the mean",
    "none_mean": "no attention, read by the mean",
    "mssa_all": "MSSA, all patches",
    "cbsa": "CBSA, all patches",
}
"""Arms of the sweep ``operators`` in reading order."""
GROUPS = {
    "feeds": ("ista", "odl_square", "odl_tied", "odl_plain", "odl", "odl_one_step", "odl_narrow", "mlp"),
    "read by the mean": ("mssa_mean", "tssa_mean", "none_mean"),
    "all patches": ("mssa_all", "cbsa"),
}
"""Arms that are trained and read alike; nothing is held against an arm of another group."""
COMPARED = {
    ("odl_square", "ista"): "two steps from zero, not one from the token",
    ("odl_tied", "odl_square"): "four times as many atoms",
    ("odl_plain", "odl_tied"): "a dictionary for the way back",
    ("odl", "odl_plain"): "the skip connection",
    ("odl_narrow", "ista"): "ODL for ISTA, equal parameters",
    ("odl", "mlp"): "ODL for an MLP, equal width",
    ("odl", "odl_one_step"): "the second step",
    ("tssa_mean", "none_mean"): "TSSA for no attention",
    ("tssa_mean", "mssa_mean"): "TSSA for MSSA",
    ("cbsa", "mssa_all"): "CBSA for MSSA",
}
"""What is held against what, each by accuracy; written before the first of these networks was trained."""
SEEDS = 3


def trained() -> dict[str, list[dict[str, Any]]]:
    """Results of the sweep ``operators`` by arm, seeds in order: what ``tools/score_operators.py`` has written.

    Raises:
        ValueError: an arm has fewer than :data:`SEEDS` trainings.
    """
    runs = read("training/operators")["runs"]
    found = {
        arm: [runs[name] for s in range(SEEDS) if (name := f"operators_{arm}_s{s}") in runs] for arm in ARMS
    }
    if few := [arm for arm, of_arm in found.items() if len(of_arm) < SEEDS]:
        raise ValueError(
            f"{', '.join(few)}: fewer than {SEEDS} trainings are scored. crate-mini train --sweep operators trains "
            "them, tools/score_operators.py scores them"
        )
    return found


def controls() -> dict[str, Any]:
    """What needs no training, on the drawings that the maps are scored on: AUROC of a bell in the middle, and more."""
    return read("training/operators")["controls"]


def values(found: Mapping[str, Sequence[Mapping[str, Any]]], arm: str, key: str) -> list[float]:
    """A number of each training of an arm; empty where it has none."""
    return [run[key] for run in found[arm] if run[key] is not None]


def trained_rows(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """A row for each arm: its size, and mean accuracy and map score, ± what a new training stays within (95 %)."""

    def told(arm: str, key: str, scale: float) -> PlusMinus | None:
        of_arm = [scale * v for v in values(found, arm, key)]
        if not of_arm:
            return None
        middle, low, _ = prediction_interval(of_arm)
        return PlusMinus(middle, middle - low)

    return [
        {
            "operator": title,
            "parameters": found[arm][0]["parameters"],
            "top-1, %": told(arm, "top1", 100.0),
            "AUROC of maps": told(arm, "auroc", 1.0),
        }
        for arm, title in ARMS.items()
    ]


def comparison_rows(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """A row for each of :data:`COMPARED`: by how much accuracy differs, and whether that holds.

    The difference of means over trainings has Welch's 95 % interval. It holds if Welch's test stands in Holm's
    procedure over all rows at 5 %.
    """
    sides = [tuple([100 * v for v in values(found, arm, "top1")] for arm in pair) for pair in COMPARED]
    holds = holm([welch_test(*pair) for pair in sides])
    rows = []
    for what, pair, kept in zip(COMPARED.values(), sides, holds, strict=True):
        difference, low, _ = welch_interval(*pair)
        rows.append(
            {
                "what is changed": what,
                "top-1, points": PlusMinus(difference, difference - low),
                "holds": "yes" if kept else "no",
            }
        )
    return rows


def trained_facts(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """What the text says of the trainings: means by arm, how many comparisons hold, whether maps follow accuracy.

    ``rank`` is Spearman's correlation over the feeds, of mean accuracy and mean AUROC: they differ in nothing else.
    ``ista_above_all`` says whether the lowest AUROC of ISTA's trainings lies above the highest of the other feeds.
    """
    means = {
        f"{key}_{arm}": scale * mean(of_arm)
        for key, scale in (("top1", 100.0), ("auroc", 1.0))
        for arm in ARMS
        if (of_arm := values(found, arm, key))
    }
    feeds = GROUPS["feeds"]
    order = torch.tensor([[means[f"{key}_{arm}"] for arm in feeds] for key in ("top1", "auroc")])
    others = [v for arm in feeds if arm != "ista" for v in values(found, arm, "auroc")]
    rows = comparison_rows(found)
    return means | {
        "trainings": sum(map(len, found.values())),
        "compared": len(rows),
        "hold": sum(row["holds"] == "yes" for row in rows),
        "larger": found["odl"][0]["parameters"] / found["ista"][0]["parameters"],
        "rank": rank_correlation(*order).item(),
        "feeds": len(feeds),
        "ista_above_all": min(values(found, "ista", "auroc")) > max(others),
        "auroc_tssa_low": min(values(found, "tssa_mean", "auroc"), default=None),
        "auroc_tssa_high": max(values(found, "tssa_mean", "auroc"), default=None),
    }


def trained_figure(found: Mapping[str, Sequence[Mapping[str, Any]]], centre: float) -> Figure:
    """Every training a dot: accuracy on the left, the AUROC of its maps on the right, an arm a row.

    Args:
        found: of :func:`trained`.
        centre: AUROC of a bell in the middle on the same drawings.
    """
    fig, axes = plt.subplots(1, 2, figsize=(figures.WIDTH, 3.7), sharey=True, width_ratios=(3, 2))
    place, ticks = 0.0, {}
    for colour, arms in zip(("C0", "C2", "C3"), GROUPS.values(), strict=True):
        for arm in arms:
            ticks[place] = ARMS[arm]
            for ax, key, scale in zip(axes, ("top1", "auroc"), (100.0, 1.0), strict=True):
                of_arm = [scale * v for v in values(found, arm, key)]
                ax.plot(of_arm, [place] * len(of_arm), "o", ms=5, color=colour, alpha=0.7)
                if of_arm:
                    ax.plot(mean(of_arm), place, "|", ms=14, mew=2, color=colour)
            place += 1
        place += 0.6
    axes[0].set(xlabel="top-1, %", yticks=list(ticks), yticklabels=list(ticks.values()))
    axes[0].invert_yaxis()
    axes[1].axvline(centre, color="0.5", ls=":", lw=1)
    axes[1].set(xlabel="AUROC of the map\n(dotted: a bell in the middle)")
    for ax in axes:
        ax.grid(axis="x", alpha=0.3)
    plt.close(fig)
    return fig


# ---- what it costs --------------------------------------------------------------------------------------------------


def costs() -> list[dict[str, Any]]:
    """Rows of the benchmark, by tokens."""
    return read("benchmarks/operators")["rows"]


def cost_facts(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How TSSA stands to fused MSSA at the fewest and at the most tokens, and from where on it is faster.

    ``…_low`` and ``…_high`` are the range over rounds, each of which holds both sides.
    """
    few, many = rows[0], rows[-1]
    fused, plain_ = "MSSA, PyTorch", "MSSA, plain formula"
    facts: dict[str, Any] = {"few": few["tokens"], "many": many["tokens"], "rounds": many["rounds"]}
    for name, row, side in (
        ("faster_few", few, "TSSA"), ("faster_many", many, "TSSA"), ("cbsa_many", many, "CBSA"),
    ):  # fmt: skip
        facts[name], facts[f"{name}_low"], facts[f"{name}_high"] = row["sides"][side]["faster_both"]
    faster = [row["tokens"] for row in rows if row["sides"]["TSSA"]["faster_both"][1] > 1]
    kept = {side: many["sides"][side]["kept_bytes"] for side in (fused, plain_, "TSSA")}
    return facts | {
        "faster_plain": facts["faster_many"] / many["sides"][plain_]["faster_both"][0],
        "from_tokens": min(faster) if faster else 0,
        "kept": kept["TSSA"] / kept[fused],
        "kept_plain": kept[plain_] / kept["TSSA"],
    }


def cost_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Processor time of a layer, and what it keeps for the way back, against tokens."""
    fig, axes = plt.subplots(1, 3, figsize=(figures.WIDTH, 2.7))
    tokens = [row["tokens"] for row in rows]
    for side, colour in SHOWN.items():
        for ax, part in zip(axes, ("forward", "both"), strict=False):
            values = [row["sides"][side][part] for row in rows]
            ax.plot(tokens, [v[0] for v in values], "o-", ms=3, color=colour, label=side)
            ax.fill_between(tokens, [v[1] for v in values], [v[2] for v in values], color=colour, alpha=0.15)
        axes[2].plot(
            tokens, [row["sides"][side]["kept_bytes"] / 2**20 for row in rows], "o-", ms=3, color=colour
        )
    for ax, title in zip(
        axes, ("forward, ms", "forward and back, ms", "kept for the way back, MiB"), strict=True
    ):
        ax.set(xscale="log", yscale="log", title=title, xlabel="tokens", xticks=tokens)
        ax.set_xticklabels([f"{n:,}" for n in tokens], fontsize=8)
        ax.minorticks_off()
    axes[0].legend(fontsize=7.5, loc="upper left")
    plt.close(fig)
    return fig
