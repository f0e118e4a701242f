"""Which heads may be called by a part of an animal, in which trainings: ``results/names/heads.json``.

    crate-mini train --sweep embedded --out runs
    python tools/name_heads.py --runs runs

The trainings of the sweep ``embedded`` that are there, and two of each network untrained, on drawings of a seed that
nobody trained, chose or looked on (12). For each: the four tests of :func:`crate_mini.heads.names`; what its strongest
patches lie on; whether a head is known again on other pictures and on other classes; what is lost without it. For each
pair of CRATE, and CRATE beside the untrained one: whether matched heads are more alike than random subspaces of the
same tokens.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crate_mini import data, heads
from crate_mini.chapters.chapter_12 import NETWORK
from crate_mini.data import ImageSet
from crate_mini.data.embedded import describe
from crate_mini.model import CRATE
from crate_mini.recipes import find_run, get_recipe, get_sweep
from crate_mini.results import add_dirty, plain, provenance, require_clean, write
from crate_mini.stats import rank_correlation
from crate_mini.weights import load_model

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "results" / "names" / "heads.json"
SEED = 12  # of the drawings
SIZE, PICTURES, NAMED = 128, 240, 400  # pixels; drawings whose parts are scored, and that are to be named
RANDOM = 48  # subspaces a layer
UNTRAINED = 2  # seeds of each network
FEW = 120  # drawings on which maps of two networks are compared
DRAWS = 20  # sets of random subspaces there


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the trainings are")
    add_dirty(parser)
    a = parser.parse_args()
    require_clean(a.dirty)
    pictures = data.load("embedded", "test", n=PICTURES, image_size=SIZE, seed=SEED)
    small = data.load("embedded", "test", n=NAMED, seed=SEED)
    pixels = heads.pixel_counts(pictures.parts, 8, len(pictures.part_names))
    rows, maps, models, shown = [], {}, {}, []
    for about, model in networks(a.runs):
        found, pool, maps[about["name"]] = scored(model, pictures, pixels)
        mean = found.pop("mean")
        row = about | found | {"without": without(model, small, mean, pictures.part_names[1:])}
        rows.append(row)
        models[about["name"]] = model
        if about["name"] == NETWORK:  # whose random subspaces the page draws from
            shown = plain(pool.flatten(0, 1).T.tolist(), 4)
        print(about["name"], [(n["layer"], n["head"], n["part"]) for n in row["named"]], flush=True)
    trained = [r["name"] for r in rows if r["model"] == "crate_nano" and r["trained"]]
    fresh = [r["name"] for r in rows if r["model"] == "crate_nano" and not r["trained"]]
    compared = [*combinations(trained, 2), *((name, fresh[0]) for name in trained)]
    alike = [{"pair": list(pair)} | similar(maps, models, pair, pictures) for pair in compared]
    facts = {"seed": SEED, "size": SIZE, "pictures": PICTURES, "named": NAMED, "random": RANDOM}
    ceiling = heads.mean_seen(heads.part_ceiling(pixels)).tolist()
    write(
        RESULT,
        provenance(
            "cpu", drawings=facts, parts=list(pictures.part_names[1:]), ceiling=plain(ceiling, 4), networks=rows,
            pool=shown, alike=alike,
        ),
        allow_dirty=a.dirty,
    )  # fmt: skip


def networks(runs: Path) -> Iterator[tuple[dict[str, Any], CRATE]]:
    """Every training of the sweep, then the untrained networks."""
    listed = sorted((find_run(name).model, find_run(name).seed, name) for name in get_sweep("embedded"))
    for model, seed, name in listed:
        weights = runs / name / "model.safetensors"
        if not weights.is_file():
            print(f"{name}: not trained yet", flush=True)
            continue
        yield {"name": name, "model": model, "seed": seed, "trained": True}, load_model(weights)
    for model in sorted({model for model, *_ in listed}):
        for seed in range(UNTRAINED):
            about = {"name": f"{model}_untrained_s{seed}", "model": model, "seed": seed, "trained": False}
            yield about, get_recipe("embedded", model=model, seed=seed).create_model(10).eval()


def scored(model: CRATE, pictures: ImageSet, pixels: Tensor) -> tuple[dict[str, Any], Tensor, Tensor]:
    """The four tests of all heads, and whether heads are known again; the random subspaces' scores; the maps."""
    c, width = model.config, model.blocks[0].attention.head_dim
    parts = pictures.part_names[1:]
    maps = heads.head_maps(model, pictures.images)
    scores = heads.part_scores(maps, pixels)
    elsewhere = heads.part_scores(heads.shuffle_pictures(maps), pixels)
    bases = heads.random_bases(c.depth, RANDOM, c.dim, width)
    pool = heads.mean_seen(heads.part_scores(heads.head_maps(model, pictures.images, bases=bases), pixels))
    area = heads.part_area(pixels)
    mass = heads.part_mass(maps, pixels)
    tests = heads.names(scores, elsewhere, pool, mass - area[:, None, None])
    mean, on = heads.mean_seen(scores), heads.mean_seen(mass)
    covers = torch.where(scores[:, 0, 0].isnan(), torch.nan, area).double().nanmean(0)
    three = tests.above & tests.looks & tests.rare
    listed = [
        {
            "layer": i, "head": k, "part": parts[j], "auroc": plain(float(mean[i, k, j]), 4),
            "mass": plain(float(on[i, k, j]), 4), "area": plain(float(covers[j]), 4),
            "earned": bool(tests.earned[i, k, j]), **lies_on(maps[:, i, k], pixels, j),
        }
        for i, k, j in three.nonzero().tolist()
    ]  # fmt: skip
    fair = heads.choose_and_report(scores.flatten(1, 2))
    found = {
        "pairs": mean.numel(),
        "above": int(tests.above.sum()),
        "looks": int((tests.above & tests.looks).sum()),
        "rare": int(three.sum()),
        "earned": int(tests.earned.sum()),
        "named": listed,
        "correlation": plain(_correlation(mean, heads.mean_seen(elsewhere)), 4),
        "reported": plain(fair["reported"].tolist(), 4),
        "known": known_again(scores, pictures),
        "mean": mean,
    }
    return found, pool, maps


def _correlation(own: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([own.flatten(), other.flatten()]))[0, 1])


def lies_on(maps: Tensor, pixels: Tensor, part: int) -> dict[str, float]:
    """What a head's strongest patch mostly holds, over the pictures that show the part: shares of them."""
    index = (pixels[:, 1 + part].sum(-1) >= 16).nonzero().flatten()
    strongest = heads.strongest_patches(maps[index], len(index))
    held = torch.stack([pixels[index[i], :, patch] for i, patch, _ in strongest]).argmax(1)
    on, ground = ((held == label).double().mean().item() for label in (1 + part, 0))
    return {"strongest_on": plain(on, 4), "strongest_ground": plain(ground, 4)}


def known_again(scores: Tensor, pictures: ImageSet, draws: int = 100) -> dict[str, float]:
    """Share of heads that are known again by their profiles, mean over layers; with heads mixed up as control."""
    dice, kinds = torch.Generator().manual_seed(0), len(pictures.classes)
    found: dict[str, list[float]] = {"pictures": [], "classes": [], "mixed": []}
    for layer in range(scores.shape[1]):
        own = scores[:, layer]
        found["pictures"].append(float(heads.recognised_on_halves(own).mean()))
        for _ in range(draws):
            first = torch.isin(pictures.labels, torch.randperm(kinds, generator=dice)[: kinds // 2])
            here, there = heads.mean_seen(own[first]), heads.mean_seen(own[~first])
            found["classes"].append(float(heads.recognised(here, there)))
        for seed in range(20):
            mixed = heads.permute_heads(own, seed=seed)
            found["mixed"].append(float(heads.recognised_on_halves(mixed, draws=5, seed=seed).mean()))
    return {kind: plain(sum(values) / len(values), 4) for kind, values in found.items()}


def without(model: CRATE, small: ImageSet, mean: Tensor, parts: tuple[str, ...]) -> dict[str, Any]:
    """Accuracy, what each head's silence costs, and whether heads cost most where they look."""
    right = heads.named_right(model, small)
    cost = right[:, None, None].double() - heads.right_without(model, small).double()
    all_at_once = heads.simultaneous(cost)
    drop = heads.by_class(cost, small.labels, len(small.classes))
    made_of = describe()
    telling = [p for p in parts if sum(p in have for have in made_of.values()) <= 3]
    looking, using = [], []
    for part in telling:
        has = torch.tensor([part in made_of[name] for name in small.classes])
        column = mean[..., parts.index(part)].flatten()
        looking.append(column - column.mean())
        using.append((drop[has].mean(0) - drop[~has].mean(0)).flatten())
    looking, using = torch.stack(looking, 1), torch.stack(using, 1)
    rho = rank_correlation(looking.flatten(), using.flatten())
    dice = torch.Generator().manual_seed(0)
    mixed = [
        rank_correlation(looking[torch.randperm(len(looking), generator=dice)].flatten(), using.flatten())
        for _ in range(999)
    ]
    return {
        "right": plain(right.double().mean().item(), 4),
        "cost": plain(all_at_once["mean"].tolist(), 4),
        "low": plain(all_at_once["low"].tolist(), 4),
        "telling": telling,
        "rho": plain(rho, 4),
        "p": plain((1 + sum(abs(m) >= abs(rho) for m in mixed)) / (1 + len(mixed)), 4),
    }


def similar(
    maps: dict[str, Tensor], models: dict[str, CRATE], pair: tuple[str, str], pictures: ImageSet
) -> dict[str, list[float]]:
    """Of two networks, by layer: similarity of matched heads, and of random subspaces in the second one's place."""
    first, second = (maps[name][:FEW] for name in pair)
    c, width = models[pair[1]].config, models[pair[1]].blocks[0].attention.head_dim
    bases = heads.random_bases(c.depth, DRAWS * c.heads, c.dim, width, seed=1)
    through = heads.head_maps(models[pair[1]], pictures.images[:FEW], bases=bases)
    matched, chance = [], []
    for layer in range(c.depth):
        matched.append(
            float(heads.matched_similarity(heads.map_similarity(first[:, layer], second[:, layer])))
        )
        by_chance = heads.map_similarity(first[:, layer], through[:, layer]).split(c.heads, -1)
        drawn = torch.stack([heads.matched_similarity(s) for s in by_chance])
        chance.append(float(drawn.quantile(0.975)))
    return {"matched": plain(matched, 4), "random_high": plain(chance, 4)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
