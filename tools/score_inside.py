"""Look inside the trainings of the sweep ``operators``: how sparse codes come out, and what memberships are worth.

    crate-mini train --sweep operators --out runs
    python tools/score_inside.py runs

*Codes*, of every training whose feed finds one, on drawings of the test set, and how far apart its tokens are, beside
the same in the network at its start. *Memberships*, of every training of CRATE itself: the map that TSSA would make of
its heads, beside random subspaces, the class token's attention and the network at its start. A head is chosen on
validation drawings and scored on test drawings (``crate_mini.chapters.chapter_14``).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from crate_mini import data
from crate_mini.chapters import chapter_14 as chapter
from crate_mini.recipes import get_recipe
from crate_mini.results import add_dirty, plain, provenance, require_clean, write
from crate_mini.weights import load_model

RESULT = Path(__file__).resolve().parent.parent / "results" / "training" / "operators_inside.json"
IMAGES = 8  # of 65 tokens each


def rounded(found: Any) -> Any:
    """Numbers as results keep them, in lists and tables of any depth."""
    if isinstance(found, dict):
        return {key: rounded(value) for key, value in found.items()}
    if isinstance(found, list):
        return [rounded(value) for value in found]
    return plain(found) if isinstance(found, float) else found


def main() -> None:
    """Score every training, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="folder of the sweep")
    add_dirty(parser)
    a = parser.parse_args()
    require_clean(a.dirty)
    images = data.load("embedded", "test", n=IMAGES, seed=1).images
    drawn = [data.load("embedded", split, n=100, seed=1, image_size=128) for split in ("val", "test")]
    found: dict[str, Any] = {"codes": {}, "untrained": {}, "memberships": {}}
    for arm in chapter.WITH_CODE:
        for seed in range(chapter.SEEDS):
            name = f"operators_{arm}_s{seed}"
            model, start = (
                load_model(a.runs / name / "model.safetensors"),
                get_recipe(name).create_model(10).eval(),
            )
            found["codes"][name] = rounded(chapter.codes(model, images))
            found["untrained"][name] = rounded(chapter.apart(start, images))
            if arm == "ista":
                rows = chapter.map_scores({"trained": model, "untrained": start}, *drawn, seed=seed)
                found["memberships"][name] = rounded(rows)
            print(name, *(f"{v:.2f}" for v in found["codes"][name]["apart"]), flush=True)
    setting = {"images": IMAGES, "drawings": len(drawn[1]), "steps": list(chapter.STEPS)}
    write(RESULT, setting | found | provenance("cpu"), allow_dirty=a.dirty)


if __name__ == "__main__":
    main()
