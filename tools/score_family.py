"""Score networks on sets that nobody tuned them on, once, by a list that was written before.

    python tools/score_family.py --root /data          the family: ``results/family/``
    python tools/score_family.py --list results/flagship           at the paper's width
    python tools/score_family.py --list results/views/photographs  networks without labels, chapter 15
    python tools/score_family.py --check               say what the list asks for, and what is there

The list is ``plan.json`` in the folder: which scores, on which sets, by which rule, and which kinds of network are held
against each other; under ``contrasts``, which weighted sums of several kinds are held against nothing. This tool scores
what the list names, with untrained networks beside, and nothing else. Mean maps are those of one layer, the one that is
best on the images of the list's ``choice``, or the last where it has none. Trainings are those of ``runs/`` and of the
package. It refuses to go on if the list differs from the one in the last commit. A
comparison with fewer than two trainings on a side waits, and says so. Under ``on_the_way`` a list may ask the weights
that trainings wrote before their end, too. Under ``predictions`` it may say what was seen in its first trainings and is
expected of later ones; only these are asked whether it holds. Under ``second_look`` it says with how many trainings a
side its comparisons are made once more, and against which level; the first look then stays, in ``first_look.json``.

What was scored before is kept in ``runs/``, a folder for each list, and taken up again. Writes one file for each
training, ``comparisons.json``, and ``on_the_way.json`` where that is asked for.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from crate_mini import data
from crate_mini.cli import main as crate_mini
from crate_mini.data import ImageSet
from crate_mini.model import CRATE
from crate_mini.results import add_dirty, plain, provenance, require_clean, write
from crate_mini.segmentation import Scores, score_images
from crate_mini.stats import contrast_interval, contrast_test, hierarchical_contrast, holm, mean_interval
from crate_mini.training import default_device
from crate_mini.weights import list_pretrained, load_model, save_model

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "family"
LEVEL = 0.05
DRAWS = 2  # of untrained weights, of each kind

Plan = Mapping[str, Any]
Found = dict[str, dict[str, Any]]  # training -> score -> what was found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", type=Path, default=RESULTS, help="folder of the list and of what is found")
    parser.add_argument("--check", action="store_true", help="say what is there, and score nothing")
    parser.add_argument("--root", type=Path, help="folder of the data sets; by default CRATE_MINI_DATA")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="trainings that are not shipped")
    parser.add_argument("--cache", type=Path, help="what was scored so far; by default below runs/")
    add_dirty(parser)
    a = parser.parse_args()
    results = a.list.resolve()
    cache = a.cache or ROOT / "runs" / results.name
    plan = json.loads((results / "plan.json").read_text(encoding="utf-8"))
    there = trainings(plan, a.runs)
    for kind, names in there.items():
        print(f"{kind}: {', '.join(names) or 'no training yet'}")
    if a.check:
        return
    require_clean(a.dirty)
    require_written_before(results / "plan.json")

    def images(how: Plan, patch: int) -> ImageSet:
        return data.load(
            how["data"], how["split"], image_size=how["grid"] * patch, letterbox=how["letterbox"], root=a.root
        )

    for kind, (like, name) in fresh(plan).items():
        if there[like]:
            there[kind] = untrained(name, next(iter(there[like].values())), cache)
    found: Found = {}
    for names in there.values():
        for name, weights in names.items():
            found[name] = score(plan, load_model(weights), images, cache / name, weights, a.root)
    layers = layers_of(plan, there, found)
    for kind, names in there.items():
        for name in names:
            digest = hashlib.sha256(names[name].read_bytes()).hexdigest()
            facts = provenance(default_device(), network=name, kind=kind, sha256=digest, layer=layers[kind])
            rows = {key: row(plan["scores"][key], found[name][key], layers[kind]) for key in plan["scores"]}
            write(results / f"{name}.json", facts | {"scores": rows}, allow_dirty=a.dirty)
    facts = provenance(default_device(), layers=layers, seeds={k: list(v) for k, v in there.items()})
    compared = facts | {"level": level(plan, there), "comparisons": compare(plan, there, found, layers)}
    if "predictions" in plan:
        compared["predictions"] = predicted(plan, there, found)
    if second_look(plan, there):
        keep_first_look(results, plan["second_look"]["trainings"])
    write(results / "comparisons.json", compared, allow_dirty=a.dirty)
    if "on_the_way" in plan:
        before = on_the_way(plan, there, images, layers, cache, a.root)
        write(results / "on_the_way.json", facts | {"trainings": before}, allow_dirty=a.dirty)
    for line in compared["comparisons"]:
        print(json.dumps(line))


def trainings(plan: Plan, runs: Path) -> dict[str, dict[str, Path]]:
    """For every kind of network of the list its trainings that are here, by name, and their weights.

    Weights of ``runs`` come before those of the package, which have half their precision.
    """
    shipped = list_pretrained()
    found: dict[str, dict[str, Path]] = {}
    for kind, family in plan["networks"].items():
        found[kind] = {}
        for seed in range(9):
            name = f"{family}_s{seed}"
            file = runs / name / "model.safetensors"
            if file.is_file():
                found[kind][name] = file
            elif name in shipped:
                found[kind][name] = ROOT / "crate_mini" / "weights" / f"{name}.safetensors"
    return found


def on_the_way(
    plan: Plan,
    there: Mapping[str, Mapping[str, Path]],
    images: Callable[[Plan, int], ImageSet],
    layers: Mapping[str, int],
    cache: Path,
    root: Path | None,
) -> dict[str, dict[str, Any]]:
    """What weights from before the end score, by training and per cent of it; those that are beside the last ones."""
    asked = plan["on_the_way"]
    part = {"scores": {key: plan["scores"][key] for key in asked["scores"]}}
    found: dict[str, dict[str, Any]] = {}
    for kind in plan["networks"]:
        for name, last in there[kind].items():
            for share in asked["at"]:
                if (weights := last.with_name(f"at{share:02d}.safetensors")).is_file():
                    one = score(
                        part, load_model(weights), images, cache / f"{name}_at{share:02d}", weights, root
                    )
                    rows = {key: row(how, one[key], layers[kind]) for key, how in part["scores"].items()}
                    found.setdefault(name, {})[str(share)] = rows
    return found


def fresh(plan: Plan) -> dict[str, tuple[str, str]]:
    """The kinds of untrained networks: whose architecture they have, and what they are called.

    A list may name them under ``fresh``, so that two kinds of training share one; else each kind has its own.
    """
    own = {f"{kind}, untrained": (kind, family) for kind, family in plan["networks"].items()}
    return {kind: (one["like"], one["name"]) for kind, one in plan.get("fresh", {}).items()} or own


def untrained(family: str, like: Path, folder: Path) -> dict[str, Path]:
    """Fresh weights of the architecture of ``like``, :data:`DRAWS` times, saved to be scored as others are."""
    found = {}
    for draw in range(DRAWS):
        torch.manual_seed(draw)
        name = f"{family}_untrained_{draw}"
        found[name] = save_model(CRATE(load_model(like).config), folder / name / "model.safetensors")
    return found


def require_written_before(plan: Path) -> None:
    """The list must be the one of the last commit: it is no list of what was found afterwards."""
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", str(plan)], cwd=plan.parent, capture_output=True, text=True, check=True
    ).stdout  # fmt: skip
    if changed:
        raise SystemExit(f"{plan.name} differs from its last commit; commit the list, then score by it")


def score(
    plan: Plan,
    network: CRATE,
    images: Callable[[Plan, int], ImageSet],
    cache: Path,
    weights: Path,
    root: Path | None,
) -> dict[str, Any]:
    """Everything that the list asks of one training; under ``choice`` the images on which layers are chosen, if any."""
    network.to(default_device())
    asked = dict(plan["scores"])
    if "choice" in plan:
        asked = {"choice": plan["choice"] | {"take": "mean map", "resolution": "pixel"}} | asked
    found: dict[str, Any] = {}
    patch, depth = network.config.patch_size, len(network.blocks)
    for key, how in asked.items():
        if how["take"] == "maskcut":
            last = range(depth - how.get("layers", 1), depth)
            found[key] = maskcut(how, how["grid"] * patch, last, weights, cache / f"{key}.json", root)
        else:
            found[key] = score_images(
                network, images(how, patch), rule=how["rule"], resolution=how["resolution"], objects=how["objects"],
                smooth=how.get("smooth", False), shifts=how.get("shifts", 1), only_mean=how["take"] == "mean map",
                leave_out=True, partial=cache / key, progress=True,
            )  # fmt: skip
    return found


def maskcut(
    how: Plan, size: int, layers: Sequence[int], weights: Path, out: Path, root: Path | None
) -> dict[str, Any]:
    """What ``crate-mini evaluate maskcut`` finds at some layers; what is kept of others is replaced."""
    kept = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    known = (
        hashlib.sha256(weights.read_bytes()).hexdigest(),
        None,
    )  # None is what weights without a card have
    if kept.get("layers") != list(layers) or kept.get("sha256") not in known:
        line = ["evaluate", "maskcut", "--weights", weights, "--data", how["data"], "--split", how["split"]]
        line += ["--objects", how["objects"], "--size", size, "--layers", *layers, "--out", out]
        line += ["--letterbox"] if how["letterbox"] else []
        line += ["--root", root] if root else []
        out.parent.mkdir(parents=True, exist_ok=True)
        if code := crate_mini([str(word) for word in line]):
            raise SystemExit(code)
    return json.loads(out.read_text(encoding="utf-8"))


def layers_of(plan: Plan, there: Mapping[str, Mapping[str, Path]], found: Found) -> dict[str, int]:
    """The layer at which the mean maps of a kind are scored: the chosen one, or the last of a list without a choice."""
    return {
        kind: chosen_layer([found[name] for name in names]) if "choice" in plan else -1
        for kind, names in there.items()
        if names
    }


def chosen_layer(found: Sequence[Mapping[str, Scores]]) -> int:
    """The layer whose mean map is best on the images of the choice, mean over all trainings of a kind."""
    rule = found[0]["choice"].rules[0]
    return int(torch.stack([f["choice"][f"mean/{rule}"].mean(0) for f in found]).mean(0).argmax())


def values(how: Plan, found: Any, layer: int, of: str = "network") -> torch.Tensor:
    """One score an image: of the network, or by the same rule of ``shuffled`` maps, ``centre`` or ``everything``."""
    rule, at = how["rule"], -1 if how["take"] == "best head" else layer
    if of in ("centre", "everything"):
        return found[f"{of}/{rule}"]
    if how["take"] == "mean map":
        if of == "shuffled":
            raise KeyError("a mean map has no shuffled twin")
        return found[f"mean/{rule}"][:, at]
    return found[f"{'best_of' if of == 'network' else 'chance'}/{rule}"][:, at, -1]


def row(how: Plan, found: Any, layer: int) -> dict[str, Any]:
    """A score of one training with its interval over images, and what never saw a network beside it."""
    if how["take"] == "maskcut":
        at = found["by_layer"][str(max(map(int, found["by_layer"])))]
        beside = {name: kept["box"]["AP50"] for name, kept in found["baselines"].items()}
        if len(found["by_layer"]) > 1:
            beside["by_layer"] = {
                layer: {k: of[k] for k in ("box", "mask")} for layer, of in found["by_layer"].items()
            }
        return {"images": found["images"], "score": at["box"]["AP50"], "all": at} | beside
    kinds = ["network", "centre", "everything"] + ["shuffled"] * (how["take"] != "mean map")
    named = {of: plain(list(mean_interval(values(how, found, layer, of))), 4) for of in kinds}
    facts = {
        "images": len(found),
        "objects": found.facts["objects_scored"],
        "left_out": len(found.facts["left_out"]),
    }
    by_layer = plain(found[f"mean/{how['rule']}"].mean(0), 4)
    return facts | {"score": named.pop("network")} | named | {"mean_map_by_layer": by_layer}


def compare(
    plan: Plan,
    there: Mapping[str, Mapping[str, Path]],
    found: Found,
    layers: Mapping[str, int],
) -> list[dict[str, Any]]:
    """The comparisons of the list, then its contrasts, all of them and in its order.

    A comparison is the contrast of two kinds with the weights 1 and -1.
    """
    asked_for = [(asked, {asked["a"]: 1, asked["b"]: -1}) for asked in plan["comparisons"]]
    asked_for += [(asked, asked["weights"]) for asked in plan.get("contrasts", ())]
    lines = [
        dict(asked) | _held(plan["scores"][asked["score"]], asked["score"], weights, there, found, layers)
        for asked, weights in asked_for
    ]
    tested = [line for line in lines if "p" in line]
    found_by_holm = holm([line["p"] for line in tested], level(plan, there), len(lines))
    for line, differs in zip(tested, found_by_holm, strict=True):
        line["differs"] = differs
    return lines


def _held(
    how: Plan,
    score: str,
    weights: Mapping[str, float],
    there: Mapping[str, Mapping[str, Path]],
    found: Found,
    layers: Mapping[str, int],
) -> dict[str, Any]:
    """One weighted sum of kinds: the scores of all trainings, its intervals, and how often luck does as much."""
    kinds = {kind: [found[name][score] for name in there[kind]] for kind in weights}
    line: dict[str, Any] = {"trainings": [len(of) for of in kinds.values()]}
    if min(line["trainings"]) < 2:
        return line | {"waits": "two trainings a side at least"}
    if how["take"] == "maskcut":
        means = [[row(how, one, 0)["score"][0] for one in of] for of in kinds.values()]
    else:
        images = [torch.stack([values(how, one, layers[kind]) for one in of]) for kind, of in kinds.items()]
        means = [of.mean(1).tolist() for of in images]
        both = hierarchical_contrast(images, [*weights.values()])
        line["over_trainings_and_images"] = plain(list(both), 4)
    return line | {
        "scores": plain(means, 4),
        "over_trainings": plain(list(contrast_interval(means, [*weights.values()])), 4),
        "p": plain(contrast_test(means, [*weights.values()]), 4),
    }


def second_look(plan: Plan, there: Mapping[str, Mapping[str, Path]]) -> bool:
    """Whether every side of every comparison has as many trainings as the list asks for before it looks again."""
    sides = [len(there[asked[side]]) for asked in plan["comparisons"] for side in "ab"]
    return "second_look" in plan and min(sides) >= plan["second_look"]["trainings"]


def level(plan: Plan, there: Mapping[str, Mapping[str, Path]]) -> float:
    """What all comparisons together are held against: :data:`LEVEL`, or what the list says for its second look."""
    return plan["second_look"]["level"] if second_look(plan, there) else LEVEL


def keep_first_look(results: Path, trainings: int) -> None:
    """What was compared before, by fewer trainings a side than a second look asks for, is kept beside it."""
    before, kept = results / "comparisons.json", results / "first_look.json"
    if before.is_file() and not kept.is_file():
        tested = [
            line for line in json.loads(before.read_text(encoding="utf-8"))["comparisons"] if "p" in line
        ]
        if tested and all(min(line["trainings"]) < trainings for line in tested):
            before.replace(kept)


def predicted(plan: Plan, there: Mapping[str, Mapping[str, Path]], found: Found) -> list[dict[str, Any]]:
    """What the list expects of the mean map of the last layer, asked of the trainings that it was not seen in.

    A prediction holds if every one of them of ``a`` is above every one of ``b``.
    """
    lines: list[dict[str, Any]] = []
    for asked in plan["predictions"]:
        how = plan["scores"][asked["score"]]
        later: dict[str, dict[str, float]] = {"a": {}, "b": {}}
        for side, of in later.items():
            for name in there[asked[side]]:
                if int(name.rsplit("_s", 1)[1]) >= asked["from_seed"]:
                    of[name] = row(how, found[name][asked["score"]], -1)["mean_map_by_layer"][-1]
        line = dict(asked) | {"last_layer": {asked[side]: of for side, of in later.items()}}
        if later["a"] and later["b"]:
            line["holds"] = min(later["a"].values()) > max(later["b"].values())
        lines.append(line)
    return lines


if __name__ == "__main__":
    main()
