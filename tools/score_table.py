"""All scores of the family in one table: ``results/scores.csv``, a row for each network, set and rule.

    python tools/score_table.py

Nothing is measured here. The rows are read from ``results/family``, ``results/flagship``, ``results/masks`` and
``results/maskcut``, which say more; each row names the commit that it was measured at. Scores are shares of 1 with
their 95 % interval over images, and beside them stands the score of a map, or of a box, that only knows where the
middle of the image is. ``tuned_on`` says whether recipe and settings were chosen while looking at these images.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from crate_mini.outputs import write_atomically

RESULTS = Path(__file__).resolve().parent.parent / "results"
TABLE = RESULTS / "scores.csv"
COLUMNS = (
    "network", "kind", "set", "images", "tuned_on", "rule", "map",
    "score", "low", "high", "middle", "middle_low", "middle_high", "command", "commit",
)  # fmt: skip
SIZE, LAST = "128", "7"
"""Pixels that photographs were scored at, and the last layer."""
ONCE = {
    "voc_paper": ("VOC 2012 val", "top 60 % of the patches, IoU", "last layer, best head of each object"),
    "voc_auroc": ("VOC 2012 val", "AUROC", "mean of the heads of one layer"),
    "voc_auroc_smooth": ("VOC 2012 val", "AUROC", "the same, enlarged"),
    "voc_auroc_shifts": ("VOC 2012 val", "AUROC", "the same, enlarged, 2 x 2 shifts"),
    "coco_auroc": ("COCO val2017", "AUROC by object", "one layer, best head of each object"),
    "coco_maskcut": ("COCO val2017", "MaskCut, AP50 of boxes", "tokens of the last layer"),
}
"""Scores of the lists that were written beforehand: set, rule, map."""
AT_WIDTH = {
    f"{where}_paper": (told, "top 60 % of the patches, IoU", "last layer, best head of each image")
    for where, told in (("pets", "cats and dogs"), ("horses", "horses"))
}
"""What the list of the wide networks asks besides."""
RULES = {
    "auroc": "AUROC",
    "best_iou": "best IoU over thresholds",
    "ap": "average precision",
    "mass": "mass inside",
    "patch": "top 60 % of the patches, IoU",
}
PHOTOGRAPHS = {"pets": "cats and dogs", "horses": "horses"}


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _kind(network: str) -> str:
    """Of what was scored without a list, which says the kind itself."""
    kind = "CRATE" if network.startswith("crate") else "ViT"
    return f"{kind}, untrained" if "untrained" in network else kind


def _triple(value: Sequence[float] | None) -> tuple[float | str, ...]:
    return ("", "", "") if value is None else tuple(value)


def rows() -> Iterator[Mapping[str, Any]]:
    """Every row, sets that nobody had looked at first."""
    for path in [
        *sorted((RESULTS / "family").glob("*.json")),
        *sorted((RESULTS / "flagship").glob("*.json")),
    ]:
        found = _read(path)
        if "network" in found and "scores" in found:
            asked = ONCE | AT_WIDTH if path.parent.name == "flagship" else ONCE
            for score, about in asked.items():
                one = found["scores"][score]
                seen = "yes" if score in AT_WIDTH else "no"
                yield _row(
                    found["network"], one["images"], seen, about, one["score"], one.get("centre"), found
                )
    for path in sorted((RESULTS / "masks").glob("*.json")):
        if not _of_the_family(path.stem):
            continue
        found = _read(path)
        for where, shown in PHOTOGRAPHS.items():
            scored = found["scores"][f"{where}/test"][SIZE]
            for rule, told in RULES.items():
                of = scored["rules"][rule]
                fixed = of["fixed"]
                for map_, value in (
                    ("last layer, best head of each image", of["last_layer"]["score"]),
                    ("last layer, mean of heads", of["mean_of_heads"]["last"]),
                    (f"layer {fixed['layer']}, head {fixed['head']}, chosen on other pets", fixed["score"]),
                ):
                    about, middle = (shown, told, map_), of["baselines"]["centre"]
                    yield _row(path.stem, scored["images"], "yes", about, value, middle, found)
    for path in sorted((RESULTS / "maskcut").glob("*_test.json")):
        network, where, _ = path.stem.rsplit("_", 2)
        if _of_the_family(network):
            found = _read(path)
            for of, told in (("box", "MaskCut, AP50 of boxes"), ("mask", "MaskCut, AP50 of masks")):
                about = (PHOTOGRAPHS[where], told, "tokens of the last layer")
                value, middle = (
                    part[of]["AP50"] for part in (found["by_layer"][LAST], found["baselines"]["centre"])
                )
                yield _row(network, found["images"], "yes", about, value, middle, found)


def _of_the_family(network: str) -> bool:
    return "_all_lion_" in network or network in ("crate_mini_untrained", "vit_mini_6_untrained")


def _row(
    network: str,
    images: int,
    tuned_on: str,
    about: Sequence[str],
    score: Any,
    middle: Any,
    found: Mapping[str, Any],
) -> dict[str, Any]:
    where, rule, map_ = about
    cells = (
        network, found.get("kind") or _kind(network), where, images, tuned_on, rule, map_,
        *_triple(score), *_triple(middle), found["command"], found["commit"],
    )  # fmt: skip
    return dict(zip(COLUMNS, cells, strict=True))


def table() -> str:
    """The file's text."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows())
    return text.getvalue()


if __name__ == "__main__":
    write_atomically(TABLE, lambda temporary: temporary.write_text(table(), encoding="utf-8"))
    print(f"wrote {TABLE.relative_to(RESULTS.parent)}")
