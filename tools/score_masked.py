"""What masked autoencoders fill in, beside what no network needs to: ``results/masked/scores.json``.

python tools/score_masked.py --list         the trainings, as command lines
python tools/score_masked.py --runs runs    all that are there
"""

from __future__ import annotations

import argparse
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "results" / "masked" / "scores.json"
ARMS = {
    "tied_minus": ("crate_nano", "decoder=minus output=tied"),
    "tied_plus": ("crate_nano", "decoder=plus output=tied"),
    "minus": ("crate_nano", "decoder=minus"),
    "none": ("crate_nano", "decoder=none"),
    "mae": ("crate_nano", "decoder=minus mask_tokens=decoder"),
    "vit_mae": ("vit_nano", "decoder=blocks mask_tokens=decoder"),
}
"""Model and settings of the task, by the name of the arm."""
SEEDS = 2
DRAWN = {"drawn": ("minus", "data=embedded,epochs=48")}
"""The training on drawn animals whose reconstructions the page shows."""


def trainings() -> dict[str, tuple[str, int, str]]:
    """Every training by its name: arm, seed, and the flags that do it."""

    def flags(arm: str, seed: int, changes: str) -> str:
        model, settings = ARMS[arm]
        told = " ".join(f"--task-set {setting}" for setting in settings.split())
        return f"--recipe masked/{model}/s{seed}/{changes} {told}"

    listed = {
        f"masked_{arm}_s{seed}": (arm, seed, flags(arm, seed, "depth=2"))
        for arm in ARMS
        for seed in range(SEEDS)
    }
    return listed | {
        f"masked_{name}_s0": (arm, 0, flags(arm, 0, f"{changes},depth=2"))
        for name, (arm, changes) in DRAWN.items()
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="say how they are trained, and score nothing")
    a = parser.parse_args()
    if a.list:
        for name, (*_, flags) in trainings().items():
            print(f"crate-mini train {flags} --out runs/{name}")


if __name__ == "__main__":
    main()
