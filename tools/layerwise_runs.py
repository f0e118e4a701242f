"""Train the small networks of chapter 07 and measure them layer by layer on the way: one JSON for each run.

Every run is a crate_nano on five of the embedded animals: the published form, its variants (tied bases, the sign
turned, the factor kept) and other sizes, with several seeds. A run that is there already is skipped, so the command
may be stopped and given again; all runs are gathered in one file, after each run anew.

    python tools/layerwise_runs.py --out runs/layerwise
    python tools/layerwise_runs.py --out runs/layerwise --only free --seeds 0     a first look
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from crate_mini import data
from crate_mini.layerwise import measure
from crate_mini.model import CRATE, count_parameters, create_model
from crate_mini.results import add_dirty, provenance, require_clean, write
from crate_mini.training import Recipe, evaluate, train

RESULT = Path(__file__).resolve().parent.parent / "results" / "layerwise" / "training.json"
VARIANTS: dict[str, dict[str, Any]] = {
    "free": {},
    "tied": {"tied": True},
    "tied, minus": {"tied": True, "move": -1.0},
    "tied, factor": {"tied": True, "keep": 0.5, "move": 0.5},
    "free, factor": {"keep": 0.5, "move": 0.5},
}
CLASSES = (
    "giraffe",
    "elephant",
    "rabbit",
    "bird",
    "fish",
)  # told apart after few steps, unlike horse and unicorn
SIZES: dict[str, dict[str, Any]] = {
    "narrow": {"dim": 48, "heads": 2},
    "wide": {"dim": 192, "heads": 8},
    "deep": {"depth": 8},
}
RECIPE = {"epochs": 12, "batch_size": 32, "lr": 2e-3, "warmup_epochs": 1.0, "crop_area": (0.6, 1.0)}
EPOCHS = (0, 1, 3, 6, 12)
TRAIN, HELD_OUT, MEASURED = 2000, 500, 50


def lean(result: dict[str, Any]) -> dict[str, Any]:
    """What the chapter reads of one measurement: totals over heads, and the bases in a few numbers."""
    steps = ("compress", "compress_seen", "mirrored", "turned", "downhill")
    places = ("tokens_in", "attention_in", "tokens_mid", "tokens_out")
    keep = ("Rc", "R", "delta", "objective", "share_lower")

    def short(statistics: dict[str, Any]) -> dict[str, Any]:
        return {
            name: {part: statistics[name][part] for part in ("mean", "low", "high")}
            for name in keep
            if name in statistics
        }

    layers = [
        {
            "coherence": _off_diagonal(layer["coherence"]),
            "alignment": layer["alignment"] and sum(layer["alignment"]) / len(layer["alignment"]),
            "dictionary": layer["dictionary"],
        }
        for layer in result["layers"]
    ]
    rates = {r: {p: short(at[p]) for p in places} for r, at in result["rates"].items()}
    changes = {r: {s: short(at[s]) for s in steps if s in at} for r, at in result["changes"].items()}
    zeros = result["sparsity"]["tokens_out"]["zeros"]
    return {
        "rates": rates, "changes": changes, "zeros": zeros, "layers": layers,
        "descent": result["descent"], "settings": result["settings"], "images": result["images"],
    }  # fmt: skip


def _off_diagonal(matrix: list[list[float]]) -> float | None:
    K = len(matrix)
    inside = sum(matrix[i][i] for i in range(K))
    return round((sum(map(sum, matrix)) - inside) / (K * K - K), 5)


def animals(split: str, n: int) -> data.ImageSet:
    """The first ``n`` pictures of the chosen classes, labelled anew."""
    drawn = data.load("embedded", split, n=2 * n + 40)
    numbers = torch.tensor([drawn.classes.index(name) for name in CLASSES])
    chosen = torch.isin(drawn.labels, numbers).nonzero().flatten()[:n]
    if len(chosen) < n:
        raise ValueError(
            f"{len(drawn)} pictures hold only {len(chosen)} of the chosen animals, {n} are wanted"
        )
    some = drawn.subset(chosen)
    labels = (some.labels[:, None] == numbers).int().argmax(1)
    return replace(some, labels=labels, classes=CLASSES)


def one_run(name: str, settings: dict[str, Any], seed: int, sets: dict[str, data.ImageSet]) -> dict[str, Any]:
    """Train once; a measurement and both accuracies at each of the chosen epochs."""
    torch.manual_seed(seed)
    model = create_model("crate_nano", num_classes=len(sets["train"].classes), **settings)
    points = []

    def look(epoch: int, model: CRATE) -> None:
        if epoch not in EPOCHS:
            return
        point: dict[str, Any] = {"epoch": epoch}
        point["train"] = evaluate(model, sets["train"].subset(range(HELD_OUT)))
        point["held_out"] = evaluate(model, sets["held_out"])
        point |= lean(measure(model, sets["held_out"].subset(range(MEASURED)), eps_sq=(0.01, 0.5)))
        points.append(point)

    look(0, model)
    recipe = Recipe(seed=seed, **RECIPE)
    run = train(model, sets["train"], sets["held_out"].subset(range(50)), recipe, device="cpu", on_epoch=look)
    return {
        "name": name, "seed": seed, "settings": settings, "parameters": count_parameters(model),
        "minutes": round(run.minutes, 2), "points": points,
    }  # fmt: skip


def means_only(run: dict[str, Any]) -> dict[str, Any]:
    """A run as it is gathered: means over images, five digits; the whole of it stays in its own file."""

    def short(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: short(v) for k, v in value.items() if k not in ("low", "high", "std")}
        if isinstance(value, list):
            return [short(v) for v in value]
        return float(f"{value:.5g}") if isinstance(value, float) else value

    return short(run)


def main() -> None:
    """Train what is missing, measure, gather."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for one JSON a run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the variants")
    parser.add_argument("--only", nargs="+", choices=[*VARIANTS, *SIZES], help="some of the runs")
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads; one is fastest on a busy machine"
    )
    parser.add_argument("--gather", action="store_true", help="train nothing: gather the runs that are there")
    add_dirty(parser)
    a = parser.parse_args()
    require_clean(a.dirty)
    torch.set_num_threads(a.threads)
    sets = {} if a.gather else {"train": animals("train", TRAIN), "held_out": animals("test", HELD_OUT)}
    # one seed of everything first, so that a run that is cut short leaves a whole picture
    first, *others = a.seeds
    plan = [(name, s, first) for name, s in (VARIANTS | SIZES).items()]
    plan += [(name, s, seed) for seed in others for name, s in VARIANTS.items()]
    runs = []
    for name, settings, seed in plan:
        if a.only and name not in a.only:
            continue
        path = a.out / f"{name.replace(', ', '_')}_{seed}.json"
        if not path.exists():
            if a.gather:
                continue
            write(path, one_run(name, settings, seed, sets), allow_dirty=a.dirty)
        run = json.loads(path.read_text(encoding="utf-8"))
        last = run["points"][-1]
        print(
            f"{name}, seed {seed}: {last['train']['top1']:.1%} of the training pictures, "
            f"{last['held_out']['top1']:.1%} of the held-out ones, {run['minutes']} minutes",
            flush=True,
        )
        runs.append(means_only(run))
        if not a.only:
            facts = provenance(
                "cpu",
                data="embedded",
                classes=CLASSES,
                train=TRAIN,
                held_out=HELD_OUT,
                recipe=RECIPE,
                runs=runs,
            )
            write(RESULT, facts, allow_dirty=a.dirty)


if __name__ == "__main__":
    main()
