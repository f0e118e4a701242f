"""Score what never saw an image under the rules of arXiv 2308.16271, and write ``results/floors``.

    python tools/floors.py                                 about two minutes on one core
    python tools/floors.py --only voc2012 --root /data

Masks: a centred disc, random masks, the best of 6 and of 12 of them (heads of the paper's S/8 and B/8), everything, and
the ceiling, on the class masks of all official val images of PASCAL VOC 2012, under every reading of the rule. Boxes:
one or three centred boxes, the same in every image, under COCO's AP without classes. Only annotations are read.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from crate_mini import data
from crate_mini.results import add_dirty, provenance, require_clean, write
from crate_mini.segmentation import floors

OUT = Path(__file__).resolve().parent.parent / "results" / "floors"
BOXES = {
    "one box, 80 % of each side": (0.8,),
    "three nested boxes, 100, 80 and 60 %": (1.0, 0.8, 0.6),
    "the whole image": (1.0,),
}
"""Name -> sides, in those of the image; scored 1, 1/2, 1/3 as the masks that MaskCut finds one after another."""


def masks(root: Path | None, random: int, draws: int) -> dict:
    """All readings of the rule for masks."""
    rows = []
    by_mask = sorted(floors.READINGS, key=lambda r: (r.truth != "patch", r.crop))
    for (truth, crop), readings in groupby(by_mask, key=lambda r: (r.truth, r.crop)):
        names, pictures = data.voc2012_val_masks(root)
        objects = floors.score_classes(pictures, crop=crop, truth=truth, random=random)
        for reading in readings:
            counted = objects.label >= (0 if reading.background else 1)
            rows.append(
                asdict(reading)
                | {
                    "images": len(objects.image[counted].unique()),
                    "objects": int(counted.sum()),
                    "scores": {
                        name: [round(value, 5) for value in interval]
                        for name, interval in floors.read_as(
                            objects, reading, len(names), draws=draws
                        ).items()
                    },
                }
            )
    facts = {"data": "voc2012/val", "masks": len(names), "grid": floors.GRID, "share": floors.SHARE}
    order = {reading: place for place, reading in enumerate(floors.READINGS)}
    rows.sort(key=lambda row: order[floors.Reading(**{k: row[k] for k in asdict(floors.READINGS[0])})])
    return facts | {"random": random, "draws": draws, "seed": 0, "readings": rows}


def boxes(root: Path | None, draws: int) -> dict:
    """The boxes on COCO val2017, as much of it as is there."""
    truths = data.coco_boxes(root=root)
    rows = {}
    for name, shares in BOXES.items():
        scores = floors.score_boxes(truths, shares, draws=draws)
        rows[name] = {"sides": list(shares)} | {k: [round(x, 5) for x in v] for k, v in scores.items()}
    facts = {"data": "coco/val", "images": len(truths), "objects": sum(len(t.things) for t in truths)}
    facts["crowds"] = sum(len(t.crowds) for t in truths)
    return facts | {"draws": draws, "seed": 0, "boxes": rows}


def show(found: dict) -> None:
    """In per cent."""
    if "readings" in found:
        print(
            f"{found['masks']} masks of {found['data']}: IoU of {found['share']:.0%} of the patches, in per cent"
        )
        print(f"{'':50}" + "".join(f"{name:>17}" for name in found["readings"][0]["scores"]))
        for row in found["readings"]:
            told = "cropped" if row["crop"] else "whole"
            told += ", background too" if row["background"] else ", objects"
            told += f", mean over {row['over']}, {row['truth']}es" if row["truth"] == "patch" else ""
            told += f", mean over {row['over']}, pixels" if row["truth"] == "pixel" else ""
            print(f"{told:50}" + "".join(f"{100 * v[0]:17.1f}" for v in row["scores"].values()))
        return
    print(f"{found['images']} images of {found['data']}, {found['objects']} objects: AP in per cent")
    for name, row in found["boxes"].items():
        told = "  ".join(
            "{} {:.1f} ({:.1f} to {:.1f})".format(k, *(100 * v for v in row[k]))
            for k in ("AP50", "AP75", "AP")
        )
        print(f"  {name:38} {told}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--root", type=Path, help="folder of the data sets; by default CRATE_MINI_DATA")
    parser.add_argument("--only", choices=("voc2012", "coco"), help="one of the two")
    parser.add_argument("--random", type=int, default=60, help="random masks drawn for an image")
    parser.add_argument("--draws", type=int, default=1000, help="of the bootstrap over images")
    parser.add_argument("--out", type=Path, default=OUT, help="folder to write to")
    add_dirty(parser)
    a = parser.parse_args()
    require_clean(a.dirty)
    for name, measure in (
        ("voc2012", lambda: masks(a.root, a.random, a.draws)),
        ("coco", lambda: boxes(a.root, a.draws)),
    ):
        if a.only in (None, name):
            found = measure()
            show(found)
            write(a.out / f"{name}.json", provenance() | found, allow_dirty=a.dirty)


if __name__ == "__main__":
    main()
