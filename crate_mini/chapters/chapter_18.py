r"""Chapter 18, masked autoencoding: its figures, its tables, and the numbers of its sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Shaped
from matplotlib.figure import Figure
from torch import Tensor

from crate_mini import data, figures
from crate_mini.autoencoder import PatchDecoder
from crate_mini.chapters.denoising import Setting, undo, untrained
from crate_mini.checkpoints import load_pretrained
from crate_mini.interpolation import (
    blended,
    colours,
    hidden,
    masked_errors,
    painted,
    to_images,
    to_patches,
)
from crate_mini.model import CRATE, CRATEConfig
from crate_mini.results import read
from crate_mini.training.augmentation import draw_patches
from crate_mini.weights import load_tensors

# ---- does minus undo plus? ------------------------------------------------------------------------------------------

TOY = Setting(n=64, d=96, K=8, p=12)
"""Eight subspaces of twelve dimensions, and a little of every other in each token."""
CROSSTALK = 0.2
STEPS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
WAYS = {
    "minus": ("minus, behind a LayerNorm", "C0", "-"),
    "without norm": ("minus, without it", "C0", ":"),
    "plus": ("plus, behind a LayerNorm", "C3", "-"),
    "plus without norm": ("plus, without it", "C3", ":"),
}
NETWORKS = ("crate_nano_embedded", "crate_mini_all_lion_s0")
"""Trained by names of classes alone, of four and of eight layers."""


def undone(seeds: Sequence[int] = range(5)) -> dict[float, dict[str, float]]:
    """What each way back leaves of a step, by the size of the step."""
    return {c: undo(TOY, CROSSTALK, seeds, c) for c in STEPS}


@torch.no_grad()
def layers_undone(
    model: CRATE, images: Shaped[Tensor, "n 3 h w"], repeats: int = 8
) -> list[dict[str, float]]:
    r"""For each layer of a network, what is left of its own step of attention.

    :math:`Y = Z + f(Z)` with :math:`f(Z) = \mathrm{MSSA}(\mathrm{LN}(Z))`, the layer's own; then :math:`Y - f(Y)`,
    :math:`Y + f(Y)`, and :math:`Z_{t+1} = Y - f(Z_t)` repeated; mean over images of
    :math:`\lVert \text{end} - Z\rVert / \lVert Y - Z\rVert`.
    """

    def length(x: Tensor) -> Tensor:
        return x.flatten(1).norm(dim=1)

    rows, Z = [], model.tokens(images)
    for block in model.blocks:

        def f(X: Tensor, block: Any = block) -> Tensor:
            return block.attention(block.norm1(X))

        Y = Z + f(Z)
        again = Y
        for _ in range(repeats):
            again = Y - f(again)
        ends = {"minus": Y - f(Y), "plus": Y + f(Y), "repeated": again}
        rows.append({name: float((length(end - Z) / length(Y - Z)).mean()) for name, end in ends.items()})
        Z = block(Z)
    return rows


def networks_undone(images: Shaped[Tensor, "n 3 h w"]) -> dict[str, list[dict[str, float]]]:
    """Each network as trained, and with weights that nothing has trained."""
    found = {}
    for name in NETWORKS:
        model = load_pretrained(name)
        found[name] = layers_undone(model, images)
        found[f"{name} untrained"] = layers_undone(untrained(model).eval(), images)
    return found


def undo_facts(
    toy: Mapping[float, Mapping[str, float]], found: Mapping[str, Sequence[Mapping[str, float]]]
) -> dict[str, float]:
    """What the text says of the toy and of the networks, in per cent."""
    facts = {}
    for size, c in (("small", 0.1), ("full", 1.0)):
        facts |= {f"{way.replace(' ', '_')}_{size}": 100 * left for way, left in toy[c].items()}
    trained, fresh = (
        [row for name, rows in found.items() if name.endswith("untrained") == new for row in rows]
        for new in (False, True)
    )
    for kind, rows in (("trained", trained), ("fresh", fresh)):
        for way in ("minus", "plus", "repeated"):
            values = [100 * row[way] for row in rows]
            facts |= {f"{kind}_{way}_least": min(values), f"{kind}_{way}_most": max(values)}
    return facts | {
        "n_layers": len(trained),
        "not_reached": sum(row["repeated"] > 0.5 for row in trained),
        "beyond": sum(row["minus"] > 1 for row in trained),
    }


def undo_figure(
    toy: Mapping[float, Mapping[str, float]], found: Mapping[str, Sequence[Mapping[str, float]]]
) -> Figure:
    """Left by the size of the step, in the toy; right by layer, in networks."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(figures.WIDTH, 3.1))
    for way, (label, colour, style) in WAYS.items():
        left.plot(list(toy), [100 * row[way] for row in toy.values()], style, color=colour, label=label)
    left.axhline(100, color="grey", lw=0.8)
    left.set(xscale="log", yscale="log", xlabel="size of the step, $c$", ylabel="left of the step (%)")
    left.set_title("drawn tokens")
    left.legend(fontsize=7)
    name = NETWORKS[-1]
    for which, style in ((name, "o-"), (f"{name} untrained", "o:")):
        layers = range(1, len(found[which]) + 1)
        what = "untrained" if which.endswith("untrained") else "trained"
        for way, colour in (("minus", "C0"), ("plus", "C3")):
            values = [100 * row[way] for row in found[which]]
            right.plot(layers, values, style, color=colour, label=f"{way}, {what}", ms=4)
    right.axhline(100, color="grey", lw=0.8)
    right.set(xlabel="layer", ylim=(0, 225))
    right.set_title("a network of eight layers, its own steps")
    right.legend(fontsize=7)
    plt.close(fig)
    return fig


def play_data(seed: int = 0) -> dict[str, Any]:
    """Tokens and bases of the playground: small, so that a page can try every step at once."""
    toy = Setting(n=40, d=24, K=4, p=6)
    mixture = toy.draw(0.3, seed)
    Z = math.sqrt(toy.d) * F.normalize(mixture.tokens, dim=-1)
    return {
        "Z": [[round(v, 4) for v in row] for row in Z.tolist()],
        "U": [[[round(v, 4) for v in row] for row in basis] for basis in mixture.bases.tolist()],
        "labels": mixture.labels.tolist(),
        "most": 1.5,
    }


# ---- to look at -----------------------------------------------------------------------------------------------------

SEEN, SEED = 0.25, 18


def drawn_network() -> tuple[CRATE, PatchDecoder]:
    """Encoder and decoder of the training on drawn animals whose reconstructions are shown; in the package."""
    with resources.as_file(resources.files("crate_mini") / "chapters" / "masked_drawn.safetensors") as path:
        tensors, about = load_tensors(path)
    model = CRATE(CRATEConfig.from_dict(about["config"]))
    decoder = PatchDecoder(model.config, **about["decoder"])
    for part, half in (("model", model), ("decoder", decoder)):
        half.load_state_dict(
            {k.removeprefix(f"{part}."): v.float() for k, v in tensors.items() if k.startswith(f"{part}.")}
        )
        half.eval()
    return model, decoder


@torch.no_grad()
def filled_in(
    model: CRATE, decoder: PatchDecoder, images: Shaped[Tensor, "n 3 h w"], seed: int = SEED
) -> dict[str, Tensor]:
    """What is seen, the blend, the network's guess and the truth, ``(n, 3, h, w)`` each; and the errors of both."""
    size, grid = model.config.patch_size, model.embedding.grid(images)
    patches = to_patches(images, size)
    kept = draw_patches(len(images), grid[0] * grid[1], SEEN, torch.Generator().manual_seed(seed))
    of = colours(patches)
    blend = painted(blended(of, kept, grid), patches.shape[-1] // of.shape[-1])
    guess = decoder(model, images, kept)
    away = hidden(kept, patches.shape[1])[..., None]
    shown = {
        "what is seen": torch.where(away, 0.5, patches),
        "blend": torch.where(away, blend, patches),
        "CRATE-MAE": torch.where(away, guess.clamp(0, 1), patches),
        "the drawing": patches,
    }
    return {name: to_images(x, grid) for name, x in shown.items()} | {
        "error of the blend": masked_errors(blend, patches, kept),
        "error of the network": masked_errors(guess, patches, kept),
    }


def drawings(n: int = 200) -> Shaped[Tensor, "n 3 h w"]:
    """Drawings of a seed of their own, which nobody trained or chose on."""
    return data.load("embedded", "test", n=n, seed=SEED).images


def filled_in_figure(found: Mapping[str, Tensor], shown: int = 6) -> Figure:
    """A column a drawing: those about the median gain over the blend, none chosen by eye."""
    gain = found["error of the blend"] - found["error of the network"]
    middle = (gain - gain.median()).abs().argsort()[:shown].sort().values
    names = [name for name, x in found.items() if x.ndim == 4]
    fig, axes = plt.subplots(len(names), shown, figsize=(figures.WIDTH, figures.WIDTH * len(names) / shown))
    for row, name in zip(axes, names, strict=True):
        for ax, image in zip(row, found[name][middle], strict=True):
            figures.bare(ax).imshow(figures.to_pixels(image))
        row[0].set_ylabel(name, fontsize=8)
    plt.close(fig)
    return fig


def drawn_facts(found: Mapping[str, Tensor]) -> dict[str, float]:
    """Mean errors on the drawings, a thousand times."""
    blend, network = (1000 * found[f"error of the {k}"].double().mean().item() for k in ("blend", "network"))
    better = (found["error of the network"] < found["error of the blend"]).double().mean().item()
    return {"drawn_blend": blend, "drawn_network": network, "drawn_better": 100 * better}


# ---- the trainings --------------------------------------------------------------------------------------------------

Row = Mapping[str, Any]
ARMS: Mapping[str, str] = {
    "tied_minus": "minus, tied",
    "tied_plus": "plus, tied",
    "minus": "minus, free output (as released)",
    "none": "no attention in the decoder",
    "mae": "minus, mask tokens behind the encoder",
    "vit_mae": "ViT-MAE of about this size",
}
"""What an arm of the comparison is, by its name in the results."""


def scores() -> dict[str, Any]:
    """What ``tools/score_masked.py`` has written."""
    return read("masked/scores")


def of(found: Row, arm: str) -> list[Row]:
    """The trainings of an arm, seeds in order."""
    return sorted((row for row in found["networks"] if row["arm"] == arm), key=lambda row: row["seed"])


def both(values: Sequence[float], form: str) -> str:
    """A number for each training."""
    return ", ".join(format(value, form) for value in values)


def errors_of(found: Row, arm: str, of_what: str = "error") -> str:
    """The error of every training of an arm, a thousand times; or what it is with the sign turned, or left out."""
    return both([1000 * row[of_what][0] for row in of(found, arm)], ".1f").replace(", ", " and ")


def error_rows(found: Row) -> list[dict[str, str]]:
    """Every guess without a network and every arm, best last: errors a thousand times."""
    rows = [
        {"guess": name, "error": (mean, format(1000 * mean, ".1f")), "sign turned": "", "left out": ""}
        for name, (mean, *_) in found["guesses"].items()
    ]
    for arm, label in ARMS.items():
        trained = of(found, arm)
        if not trained:
            continue
        mean = sum(row["error"][0] for row in trained) / len(trained)
        turned, out = (
            both([1000 * row[k][0] for row in trained], ".1f") if k in trained[0] else ""
            for k in ("turned", "left_out")
        )
        shown = both([1000 * row["error"][0] for row in trained], ".1f")
        rows.append({"guess": label, "error": (mean, shown), "sign turned": turned, "left out": out})
    rows.sort(key=lambda row: -row["error"][0])
    return [row | {"error": row["error"][1]} for row in rows]


def signs_figure(found: Row) -> Figure:
    """The tied trainings as they are, with attention left out, and with its sign turned."""
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 2.4))
    names = {"error": "as trained", "left_out": "attention left out", "turned": "sign turned"}
    trained = [row for arm in ("tied_minus", "tied_plus") for row in of(found, arm)]
    for k, (key, label) in enumerate(names.items()):
        places = [i + 0.27 * (k - 1) for i in range(len(trained))]
        ax.bar(places, [1000 * row[key][0] for row in trained], 0.25, label=label, color=f"C{(0, 7, 3)[k]}")
    for name in ("blend by distance", "best linear guess"):
        if name in found["guesses"]:
            level = 1000 * found["guesses"][name][0]
            ax.plot([-0.5, len(trained) - 0.57], [level, level], color="grey", lw=0.8)
            ax.text(len(trained) - 0.55, level, name, fontsize=7, va="center", ha="left")
    ax.set_xticks(range(len(trained)), [f"{ARMS[row['arm']]}\nseed {row['seed']}" for row in trained])
    ax.set_ylabel("error (thousandths)")
    ax.set_xlim(-0.5, len(trained) + 0.3)
    ax.legend(fontsize=7, loc="upper left")
    plt.close(fig)
    return fig


def knowledge_rows(found: Row) -> list[dict[str, str]]:
    """Neighbours and probe: the pixels, untrained encoders, and every arm."""
    pixels = found["pixels"]
    rows = [
        {"features": "pixels, 16 × 16", "neighbours (%)": [pixels["knn"]], "probe (%)": [pixels["probe"]]}
    ]
    for model, label in (("crate_nano", "CRATE untrained"), ("vit_nano", "ViT untrained")):
        fresh = [row for row in of(found, "untrained") if row["model"] == model]
        rows.append(
            {
                "features": label,
                "neighbours (%)": [r["knn"] for r in fresh],
                "probe (%)": [r["probe"] for r in fresh],
            }
        )
    for arm, label in ARMS.items():
        trained = of(found, arm)
        if trained:
            rows.append(
                {
                    "features": label,
                    "neighbours (%)": [r["knn"] for r in trained],
                    "probe (%)": [r["probe"] for r in trained],
                }
            )
    return [
        {k: v if isinstance(v, str) else both([100 * x for x in v], ".1f") for k, v in row.items()}
        for row in rows
    ]


def answer_facts(found: Row) -> dict[str, Any]:
    """Least and most over the trainings of every arm, errors a thousand times, the rest in per cent."""
    facts: dict[str, Any] = {"widest": 1000 * max((hi - lo) / 2 for _, lo, hi in found["guesses"].values())}
    facts |= {f"guess_{'_'.join(k.split()[:2])}": 1000 * v[0] for k, v in found["guesses"].items()}
    facts |= {f"pixels_{k}": 100 * found["pixels"][k] for k in ("knn", "probe")}
    groups = {arm: of(found, arm) for arm in (*ARMS, "blind", "untrained")}
    groups["trained"] = [row for arm in ARMS for row in groups[arm]]
    groups["fresh"] = [row for row in groups["untrained"] if row["model"] == "crate_nano"]
    groups["crate"] = [row for row in groups["trained"] if row["model"] == "crate_nano"]
    looks: Mapping[str, Callable[[Row], float | None]] = {
        "error": lambda r: 1000 * r["error"][0] if "error" in r else None,
        "turned": lambda r: 1000 * r["turned"][0] if "turned" in r else None,
        "left_out": lambda r: 1000 * r["left_out"][0] if "left_out" in r else None,
        "knn": lambda r: 100 * r["knn"],
        "probe": lambda r: 100 * r["probe"],
    }
    for group, rows in groups.items():
        facts[f"n_{group}"] = len(rows)
        for name, look in looks.items():
            if values := [value for row in rows if (value := look(row)) is not None]:
                facts |= {f"{group}_{name}_least": min(values), f"{group}_{name}_most": max(values)}
        for half in ("encoder", "decoder"):
            if values := [v for row in rows if "rates" in row for v in row["rates"][half]]:
                facts |= {f"{group}_{half}_rate_least": min(values), f"{group}_{half}_rate_most": max(values)}
    trained, guesses = groups["trained"], found["guesses"]
    for name, guess in (("blend", "blend by distance"), ("linear", "best linear guess")):
        facts[f"below_{name}"] = sum(row["error"][0] < guesses.get(guess, (0,))[0] for row in trained)
    for name in ("knn", "probe"):
        facts[f"above_{name}"] = sum(row[name] > found["pixels"][name] for row in trained)
    minus, plus = ([row["error"][0] for row in groups[f"tied_{sign}"]] for sign in ("minus", "plus"))
    if minus and plus:
        facts["seeds"] = 1000 * max(max(side) - min(side) for side in (minus, plus))
        facts["between"] = 1000 * abs(sum(minus) / len(minus) - sum(plus) / len(plus))
    return facts
