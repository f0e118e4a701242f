"""Score MaskCut of the networks of chapters 10 and 11 on photographs, all of them: ``results/maskcut/``.

    python tools/score_maskcut.py --root /data             the family of chapter 10, and its untrained twins
    python tools/score_maskcut.py --root /data --ablations the networks of chapter 11

Weights that are not in the package are those of ``runs/``, where ``crate-mini train --sweep animals_family`` puts them.
The family is cut at 192 pixels at two layers: the last, and the one whose first masks are best on some of the pets set
aside for such choices. Each network has its own choice; an untrained twin is cut where its trained network is. The
networks of chapter 11 are cut at 128 pixels at the last layer, and nothing is chosen.

Every network takes ``crate-mini evaluate maskcut``, which goes on where it was stopped. What is there already of the
same weights, images and layers is not scored again. On one core a network of the family takes about two minutes, one of
chapter 11 less than one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crate_mini.chapters.family import SHOWN, trainings
from crate_mini.cli import main as crate_mini
from crate_mini.cli.common import card_of
from crate_mini.results import require_clean
from crate_mini.weights import list_pretrained

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "maskcut"
SETS = ("pets", "horses")
CHOSEN_ON = {"split": "train", "n": 60}
"""Of the pets; every other image of the set is left alone."""
SIZE, SIZE_OF_ABLATIONS = 192, 128
LAST = 7
ABLATIONS = (
    "crate_mini_animals_s0", "crate_mlp_mini_animals_s0", "crate_mhsa_mini_animals_s0", "vit_wide_mini_animals_s0",
    "vit_mini_animals_s0", "crate_mini_animals_s0_at02", "crate_mini_animals_s0_at20", "crate_mini_animals_s0_at50",
)  # fmt: skip
"""Those of chapter 11: the square of operators, the narrow ViT, and CRATE on its way."""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ablations", action="store_true", help="the networks of chapter 11 instead")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="weights, instead of all that are here")
    parser.add_argument("--root", type=Path, help="folder of the data sets; by default CRATE_MINI_DATA")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="trainings that are not shipped")
    a = parser.parse_args()
    require_clean()
    every = ABLATIONS if a.ablations else tuple(name for names in trainings().values() for name in names)
    if unknown := sorted(set(a.only or ()) - set(every)):
        parser.error(f"--only wants names of {', '.join(every)}; got {', '.join(unknown)}")
    for name in a.only or every:
        weights = find(name, a.runs)
        if weights is None:
            print(f"{name}: its weights are neither in the package nor in {a.runs}")
        elif a.ablations:
            ablation(name, a.root, weights)
        else:
            member(name, a.root)


def find(name: str, runs: Path) -> str | None:
    """Weights as ``--weights`` takes them: a name of the package, or a file of a training; ``_at02`` is one, too."""
    if name in list_pretrained():
        return name
    training, _, share = name.rpartition("_at")
    file = runs / training / f"at{share}.safetensors" if training else runs / name / "model.safetensors"
    return str(file) if file.is_file() else None


def member(name: str, root: Path | None) -> None:
    """A network of the family; with the shown one of its kind, the untrained twin."""
    chosen = choose(cut(name, "pets", size=SIZE, root=root, **CHOSEN_ON))
    for where in SETS:
        for untrained in (False, True)[: 1 + (name in SHOWN.values())]:
            cut(name, where, size=SIZE, layers={chosen, LAST}, untrained=untrained, root=root)


def ablation(name: str, root: Path | None, weights: str | None = None) -> None:
    """A network of chapter 11; with the first of them, the untrained twin."""
    for where in SETS:
        for untrained in (False, True)[: 1 + (name == ABLATIONS[0])]:
            how = {"size": SIZE_OF_ABLATIONS, "layers": {LAST}, "untrained": untrained, "weights": weights}
            cut(name, where, root=root, **how)


def choose(found: Mapping[str, Any]) -> int:
    """The layer whose first masks overlap the object most, mean over images."""
    return int(max(found["by_layer"], key=lambda layer: found["by_layer"][layer]["first_iou"][0]))


def cut(
    name: str,
    where: str,
    *,
    size: int,
    root: Path | None,
    split: str = "test",
    n: int | None = None,
    layers: set[int] | None = None,
    untrained: bool = False,
    weights: str | None = None,
) -> dict[str, Any]:
    """What ``crate-mini evaluate maskcut`` finds, from the file where it says the same; all layers if None.

    ``weights`` are those of the package by this name, if None.
    """
    label = f"{name.rpartition('_s')[0]}_untrained" if untrained else name
    out = RESULTS / f"{label}_{where}_{split}.json"
    asked = {"image_size": size, "untrained": untrained, "layers": sorted(layers or range(LAST + 1))}
    asked["sha256"] = None if untrained else card_of(weights or name)["sha256"]
    there = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    if any(there.get(key) != value for key, value in asked.items()) or n not in (None, there.get("images")):
        line = ["evaluate", "maskcut", "--weights", weights or name, "--data", where, "--split", split]
        line += ["--size", size]
        line += [
            "--layers",
            *asked["layers"],
            *(["--n", n] if n else []),
            *(["--untrained"] if untrained else []),
        ]
        line += [*(["--root", root] if root else []), "--out", out]
        if code := crate_mini([str(word) for word in line]):
            raise SystemExit(code)
        there = json.loads(out.read_text(encoding="utf-8"))
    return there


if __name__ == "__main__":
    main()
