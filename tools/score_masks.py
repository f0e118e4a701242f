"""Score the attention of all shipped weights against true masks: ``results/masks/``, in one command.

    python tools/score_masks.py                    the sweeps of SWEEPS, and the untrained twins
    python tools/score_masks.py --only crate_mini_all_lion_s1 vit_mini_6_all_lion_s1

Heads and layers are chosen on the training split of the pets, at the same input size. Every network is scored on the
pets' test split, on the horses and on drawn animals; the networks of MAIN at all input sizes, the others at one. What
was scored before is kept in ``runs/masks`` and taken up again, so the command can be stopped and given again, and
costs nothing for weights that did not change. On one core a network takes about half a minute, one of MAIN a minute
and a half.

A network is taken from the package or, where it is not shipped, from ``runs/``. One that is in neither keeps its file
and its rows.

Writes one file for each network, and ``comparisons.json``: networks held against each other on the same images.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from crate_mini import data
from crate_mini.data import ImageSet
from crate_mini.model import CRATE
from crate_mini.recipes import RunId, get_sweep
from crate_mini.results import add_dirty, plain, provenance, require_clean
from crate_mini.results import write as write_result
from crate_mini.segmentation import (
    RULES,
    Evaluation,
    Scores,
    choose,
    compare,
    compare_trainings,
    mean_interval,
    score_images,
)
from crate_mini.segmentation.evaluation import untrained_twin
from crate_mini.training import default_device
from crate_mini.training import evaluate as accuracy_on
from crate_mini.weights import list_pretrained, load_model

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "masks"
WEIGHTS = ROOT / "crate_mini" / "weights"
CHOSEN_ON = ("pets", "train")
SETS = (("pets", "test"), ("horses", "test"), ("embedded", "test"))
SIZES = (64, 128, 192)
MAIN_SIZE = 128
# At 192 pixels a network is slow; a part of the images does. The embedded set is endless.
COUNTS = {"embedded": 60}
COUNTS_LARGE = {"pets": 120, "horses": 120, "embedded": 60}
MAIN = (
    "crate_mini_all_lion_s0",
    "vit_mini_6_all_lion_s0",
)  # the training of each that pictures are made with
# whose architectures are scored without training, too
TWINS = MAIN
# also scored on photographs with nothing cut off
BOXED = MAIN
SWEEPS = ("animals_family", "all_classes")
RUNS = {name: run for sweep in SWEEPS for name, run in get_sweep(sweep).items()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", help="names of weights; no others are compared")
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=SIZES, choices=SIZES, help="input sizes of MAIN"
    )
    parser.add_argument("--root", type=Path, help="folder of the data sets; by default CRATE_MINI_DATA")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="trainings that are not shipped")
    parser.add_argument("--cache", type=Path, default=ROOT / "runs" / "masks", help="what was scored so far")
    add_dirty(parser)
    a = parser.parse_args()
    require_clean(a.dirty)

    found = _networks(a.runs)
    names = a.only or list(found)
    if unknown := sorted(set(names) - set(found)):
        raise SystemExit(f"no weights named {', '.join(unknown)}; there are {', '.join(found)}")
    networks: dict[str, CRATE] = {}
    for name in names:
        networks[name] = load_model(found[name]["weights"])
    for name in [n for n in names if n in TWINS]:
        networks[f"{RUNS[name].model}_untrained"] = untrained_twin(networks[name])

    sets = _Sets(a.root)
    results: dict[str, dict[tuple[str, int], Evaluation]] = {}
    for name, network in networks.items():
        network.to(default_device())
        results[name] = {}
        for size in a.sizes if name in MAIN else (MAIN_SIZE,):
            chosen = _scored(network, name, sets.load(*CHOSEN_ON, size), size, a.cache)
            for where, split in SETS:
                scores = _scored(network, name, sets.load(where, split, size), size, a.cache)
                result = Evaluation(scores, choose(chosen), chosen.facts["data"])
                results[name][f"{where}/{split}", size] = result
        boxed = _letterboxed(network, name, sets, a.cache) if name in found and name in BOXED else {}
        top1 = _top1(found[name], network, a.root) if name in found else None
        facts = _facts(name, found.get(name), top1, results[name], boxed)
        write_result(RESULTS / f"{name}.json", facts, allow_dirty=a.dirty)
        print(_line(name, results[name]), flush=True)
    write_result(RESULTS / "comparisons.json", _comparisons(results), allow_dirty=a.dirty)


def _networks(runs: Path) -> dict[str, dict[str, Any]]:
    """Card and weights file, ``weights``, of the networks that are here, trained to the end or on their way."""
    found = {
        name: card | {"weights": WEIGHTS / f"{name}.safetensors"}
        for name, card in list_pretrained().items()
        if run_of(name)
    }
    for name in RUNS:
        for weights in sorted((runs / name).glob("*.safetensors")):
            label = name if weights.stem == "model" else f"{name}_{weights.stem}"  # ..._at20, on its way
            if label not in found and run_of(label) and (card := weights.with_suffix(".json")).is_file():
                found[label] = json.loads(card.read_text(encoding="utf-8")) | {"weights": weights}
    return found


def run_of(name: str) -> RunId | None:
    """The run that a network comes from, at its end or (``NAME_at20``) on the way; None if it is not scored here."""
    return RUNS.get(name) or RUNS.get(name.rpartition("_at")[0])


def rivals(first: str, names: Iterable[str]) -> list[str]:
    """Whom a network is held against: trained by the same recipe, or not at all.

    Of the family that has one recipe, CRATE's first seed against all others, and every other seed of CRATE against the
    networks of its seed; of the families that Lion trained, CRATE against the ViTs of its seed, and the first of MAIN
    against the untrained, too.
    """
    mine = RUNS.get(first)
    if mine is None or mine.model != "crate_mini":
        return []
    alike = {n: run for n in names if n != first and (run := run_of(n)) and run.recipe == mine.recipe}
    if mine.recipe != "animals":
        fresh = [n for n in names if n.endswith("_untrained")] if first == MAIN[0] else []
        return [
            n for n, run in alike.items() if run.seed == mine.seed and run.model.startswith("vit")
        ] + fresh
    if mine.changes:
        return []
    return [n for n, run in alike.items() if mine.seed == 0 or run.seed == mine.seed]


class _Sets:
    """Images by set, split and size, loaded once."""

    def __init__(self, root: Path | None) -> None:
        self.root, self.loaded = root, {}

    def load(self, name: str, split: str, size: int, letterbox: bool = False) -> ImageSet:
        key = name, split, size, letterbox
        if key not in self.loaded:
            n = (COUNTS_LARGE if size > MAIN_SIZE else COUNTS).get(name)
            images = data.load(name, split, image_size=size, n=n, root=self.root, letterbox=letterbox)
            self.loaded[key] = images
        return self.loaded[key]


def _scored(network: CRATE, name: str, images: ImageSet, size: int, cache: Path, mark: str = "") -> Scores:
    folder = cache / name / f"{images.name.replace('/', '_')}_{size}{mark}"
    return score_images(network, images, partial=folder, progress=True)


def _letterboxed(network: CRATE, name: str, sets: _Sets, cache: Path) -> dict[str, Any]:
    """The photographs with nothing cut off, heads chosen on such ones: scores by set and rule."""
    scored = {
        f"{where}/{split}": _scored(
            network, name, sets.load(where, split, MAIN_SIZE, True), MAIN_SIZE, cache, "_letterboxed"
        )
        for where, split in (CHOSEN_ON, *SETS[:2])
    }
    chosen = scored.pop("/".join(CHOSEN_ON))
    rules = {
        place: Evaluation(scores, choose(chosen), chosen.facts["data"]).summary()["rules"]
        for place, scores in scored.items()
    }
    kept = ("fixed", "cross_fitted", "mean_of_heads")
    return {
        place: {rule: {k: of[rule][k] for k in kept} for rule in ("auroc", "best_iou")}
        for place, of in rules.items()
    }


def _facts(
    name: str,
    card: dict[str, Any] | None,
    top1: float | None,
    found: dict[tuple[str, int], Evaluation],
    boxed: dict[str, Any],
) -> dict[str, Any]:
    """What a network's file holds."""
    scores: dict[str, dict[str, Any]] = {}
    for (where, size), result in found.items():
        scores.setdefault(where, {})[str(size)] = result.summary()
    facts = provenance(default_device(), weights=name, sha256=(card or {}).get("sha256"))
    if card is not None:
        facts |= {"parameters": card["parameters"], "recipe": card["recipe"], "top1": top1}
    if boxed:
        facts["letterboxed"] = boxed
    return facts | {"scores": scores}


def _top1(card: dict[str, Any], network: CRATE, root: Path | None) -> float:
    """Accuracy on held-out pictures, as the card has it; weights from the way there have none yet."""
    if known := card.get("held_out_as_shipped") or card.get("held_out"):
        return known["top1"]
    name, _, split = card["data"]["held_out"].partition("/")
    images = data.load(name, split, image_size=network.config.image_size, root=root)
    return plain(accuracy_on(network, images)["top1"], 4)


def _comparisons(results: dict[str, dict[tuple[str, int], Evaluation]]) -> dict[str, Any]:
    """Differences on the same images, with intervals, of every network to its :func:`rivals`."""
    rows = []
    for first in results:
        for second in rivals(first, results):
            for place in results[first].keys() & results[second].keys():
                a, b = results[first][place], results[second][place]
                fewest = min(len(s.scores.facts["heads"]) for s in (a, b))
                for rule in RULES:
                    row = {"a": first, "b": second, "data": place[0], "size": place[1], "rule": rule}
                    row["fixed"] = _round(compare(a, b, rule))
                    row["cross_fitted"] = _round(compare(a, b, rule, "cross_fitted"))
                    row["mean_of_heads"] = _round(compare(a, b, rule, "mean_of_heads"))
                    row["heads"] = fewest
                    row["per_image"] = _round(compare(a, b, rule, "per_image", heads=fewest))
                    row["last_layer"] = _round(_last_layer(a, b, rule, fewest))
                    rows.append(row)
    order = lambda r: (r["a"], r["b"], r["data"], r["size"], list(RULES).index(r["rule"]))  # noqa: E731
    earlier = _earlier()
    for r in earlier["rows"]:  # of networks, or of sizes, that were not scored now
        if not all((r["data"], r["size"]) in results.get(r[side], {}) for side in "ab"):
            rows.append(r)
    sizes = {name: set(known) for name, known in earlier["networks"].items()}
    for name, found in results.items():
        sizes.setdefault(name, set()).update(size for _, size in found)
    sizes = {name: sorted(known) for name, known in sorted(sizes.items())}
    return provenance(
        default_device(),
        networks=sizes,
        rows=sorted(rows, key=order),
        trainings=sorted(_trainings(results, earlier), key=order),
    )


def _trainings(
    results: dict[str, dict[tuple[str, int], Evaluation]], earlier: dict[str, Any]
) -> list[dict[str, Any]]:
    """Every CRATE of several seeds against every ViT of the same recipe, all seeds together.

    A pair of which a network was scored before, but not now, keeps its rows.
    """
    known = families({*earlier["networks"], *results})
    rows = [r for r in earlier["trainings"] if not {*known[r["a"]], *known[r["b"]]} <= set(results)]
    for first, second in itertools.permutations(known, 2):
        mine, theirs = known[first], known[second]
        ours, other = RUNS[mine[0]], RUNS[theirs[0]]
        by_one_recipe = ours.recipe == other.recipe
        rivals_here = by_one_recipe and ours.model.startswith("crate") and other.model.startswith("vit")
        if not rivals_here or min(len(mine), len(theirs)) < 2 or not {*mine, *theirs} <= set(results):
            continue
        for place in set.intersection(*(set(results[name]) for name in (*mine, *theirs))):
            a, b = ([results[name][place] for name in side] for side in (mine, theirs))
            for rule in RULES:
                row = {"a": first, "b": second, "data": place[0], "size": place[1], "rule": rule}
                row["seeds"] = [[RUNS[name].seed for name in side] for side in (mine, theirs)]
                for what in ("fixed", "cross_fitted", "mean_of_heads"):
                    found = compare_trainings(a, b, rule, what)
                    row[what] = {k: _round(v) for k, v in found.items()}
                rows.append(row)
    return rows


def families(names: Iterable[str]) -> dict[str, list[str]]:
    """Trainings that differ in nothing but the seed: the name without its seed, and the names."""
    found: dict[str, list[str]] = {}
    for name in sorted(set(names) & set(RUNS)):
        family = name.removesuffix(f"_s{RUNS[name].seed}")
        if family != name:
            found.setdefault(family, []).append(name)
    return found


def _earlier() -> dict[str, Any]:
    """What the file says, also of networks that are not here any more or were not scored this time."""
    path = RESULTS / "comparisons.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {"networks": {}, "rows": [], "trainings": []} | kept


def _last_layer(a: Evaluation, b: Evaluation, rule: str, heads: int) -> tuple[float, float, float]:
    """The same of the best of so many heads of the last layer, where the paper takes its scores."""
    mine, theirs = (s.scores[f"best_of/{rule}"][:, -1, heads - 1] for s in (a, b))
    return mean_interval(mine - theirs)


def _round(values: Iterable[float]) -> list[float]:
    return [round(v, 4) for v in values]


def _line(name: str, found: dict[tuple[str, int], Evaluation]) -> str:
    parts = [
        f"{where} AUROC {result.values('auroc').mean():.3f} IoU {result.values('best_iou').mean():.3f}"
        for (where, size), result in found.items()
        if size == MAIN_SIZE
    ]
    return f"{name}: " + "; ".join(parts)


if __name__ == "__main__":
    main()
