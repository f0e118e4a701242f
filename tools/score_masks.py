"""Score the attention of all shipped weights against true masks: ``results/masks/``, in one command.

    python tools/score_masks.py                    all weights that are in the package, and their untrained twins
    python tools/score_masks.py --only crate_mini_animals vit_mini_animals

Heads and layers are chosen on the training split of the pets, at the same input size. Every network is scored on the
pets' test split, on the horses and on drawn animals; the networks of MAIN at all input sizes, the others at one. What
was scored before is kept in ``runs/masks`` and taken up again, so the command can be stopped and given again, and
costs nothing for weights that did not change. One network takes about two minutes of one core, others half of one.

Writes one file for each network, and ``comparisons.json``: networks held against each other on the same images.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from crate_mini import data
from crate_mini.checkpoints import list_pretrained, load_pretrained, write_atomically
from crate_mini.data import ImageSet
from crate_mini.model import CRATE
from crate_mini.provenance import provenance
from crate_mini.segmentation import RULES, Evaluation, Scores, choose, compare, score_images
from crate_mini.segmentation.evaluation import untrained_twin
from crate_mini.training import default_device

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "masks"
CHOSEN_ON = ("pets", "train")
SETS = (("pets", "test"), ("horses", "test"), ("embedded", "test"))
SIZES = (64, 128, 192)
MAIN_SIZE = 128
# At 192 pixels a network is slow; half of the images do. The embedded set is endless.
COUNTS = {"embedded": 60}
COUNTS_LARGE = {"pets": 150, "horses": 150, "embedded": 60}
MAIN = ("crate_mini_animals", "vit_mini_animals", "vit_mini_6_animals", "vit_wide_mini_animals")
FAMILY = "_animals"
PAIRS_WITH = "crate_mini_animals"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", help="names of weights; no comparisons then")
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=SIZES, choices=SIZES, help="input sizes of MAIN"
    )
    parser.add_argument("--root", type=Path, help="folder of the data sets; by default CRATE_MINI_DATA")
    parser.add_argument("--cache", type=Path, default=ROOT / "runs" / "masks", help="what was scored so far")
    a = parser.parse_args()

    shipped = list_pretrained()
    names = a.only or [name for name in shipped if FAMILY in name]
    if unknown := sorted(set(names) - set(shipped)):
        raise SystemExit(f"no weights named {', '.join(unknown)}; there are {', '.join(shipped)}")
    networks: dict[str, CRATE] = {}
    for name in names:
        networks[name] = load_pretrained(name)
    for name in names:  # one untrained twin for each architecture
        twin = f"{shipped[name]['model']}_untrained"
        if twin not in networks:
            networks[twin] = untrained_twin(networks[name])

    sets = _Sets(a.root)
    results: dict[str, dict[tuple[str, int], Evaluation]] = {}
    for name, network in networks.items():
        network.to(default_device())
        results[name] = {}
        for size in a.sizes if main_network(name) else (MAIN_SIZE,):
            chosen = _scored(network, name, sets.load(*CHOSEN_ON, size), size, a.cache)
            for where, split in SETS:
                scores = _scored(network, name, sets.load(where, split, size), size, a.cache)
                result = Evaluation(scores, choose(chosen), chosen.facts["data"])
                results[name][f"{where}/{split}", size] = result
        _write(name, shipped.get(name), results[name])
        print(_line(name, results[name]), flush=True)
    if a.only is None:
        _write_json(RESULTS / "comparisons.json", _comparisons(results))


def main_network(name: str) -> bool:
    """Whether a network is scored at all input sizes: the first of each of MAIN, and their untrained twins."""
    return name in MAIN or name in {m.replace("_animals", "_untrained") for m in MAIN}


class _Sets:
    """Images by set, split and size, loaded once."""

    def __init__(self, root: Path | None) -> None:
        self.root, self.loaded = root, {}

    def load(self, name: str, split: str, size: int) -> ImageSet:
        if (name, split, size) not in self.loaded:
            n = (COUNTS_LARGE if size > MAIN_SIZE else COUNTS).get(name)
            images = data.load(name, split, image_size=size, n=n, root=self.root)
            self.loaded[name, split, size] = images
        return self.loaded[name, split, size]


def _scored(network: CRATE, name: str, images: ImageSet, size: int, cache: Path) -> Scores:
    folder = cache / name / f"{images.name.replace('/', '_')}_{size}"
    return score_images(network, images, partial=folder, progress=True)


def _write(name: str, card: dict[str, Any] | None, found: dict[tuple[str, int], Evaluation]) -> None:
    scores: dict[str, dict[str, Any]] = {}
    for (where, size), result in found.items():
        scores.setdefault(where, {})[str(size)] = result.summary()
    facts = provenance(default_device(), weights=name, sha256=(card or {}).get("sha256"))
    _write_json(RESULTS / f"{name}.json", facts | {"scores": scores})


def _comparisons(results: dict[str, dict[tuple[str, int], Evaluation]]) -> dict[str, Any]:
    """The CRATE of each seed against every other trained network at the same place, and against its own twin."""
    rows = []
    firsts = [n for n in results if n == PAIRS_WITH or n.startswith(f"{PAIRS_WITH}_s")]
    for first in firsts:
        for second in results:
            if second == first:
                continue
            for place in results[first].keys() & results[second].keys():
                a, b = results[first][place], results[second][place]
                fewest = min(len(s.scores.facts["heads"]) for s in (a, b))
                for rule in RULES:
                    row = {"a": first, "b": second, "data": place[0], "size": place[1], "rule": rule}
                    row["fixed"] = _round(compare(a, b, rule))
                    row["per_image"] = {
                        str(k): _round(compare(a, b, rule, "per_image", heads=k)) for k in {1, fewest}
                    }
                    rows.append(row)
    order = lambda r: (r["a"], r["b"], r["data"], r["size"], list(RULES).index(r["rule"]))  # noqa: E731
    return provenance(default_device(), rows=sorted(rows, key=order))


def _round(values: tuple[float, float, float]) -> list[float]:
    return [round(v, 4) for v in values]


def _line(name: str, found: dict[tuple[str, int], Evaluation]) -> str:
    parts = [
        f"{where} AUROC {result.values('auroc').mean():.3f} IoU {result.values('best_iou').mean():.3f}"
        for (where, size), result in found.items()
        if size == MAIN_SIZE
    ]
    return f"{name}: " + "; ".join(parts)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """JSON with every innermost list on one line."""
    text = re.sub(r"\[[^\[\]{}]*\]", lambda m: " ".join(m[0].split()), json.dumps(content, indent=1))
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))


if __name__ == "__main__":
    main()
