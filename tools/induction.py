"""Whether two layers learn to look back: ``results/text/induction.json``.

    python tools/induction.py            what is not there yet

Different symbols, then the same again, after a number of them that is drawn (``crate_mini.training.Repetitions``). Of
the repetition all but the first symbol can be known, by whoever finds the same symbol before and looks at what came
after it. Networks of two layers that differ in their attention or their feed learn it in as many steps; loss and share
of right guesses as they go, on sequences that are always the same, and who looks at whom in the end.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from crate_mini.language import LanguageConfig, LanguageModel
from crate_mini.model import count_parameters
from crate_mini.results import add_dirty, plain, provenance, require_clean, write
from crate_mini.text_reading import looking_back, looks
from crate_mini.training import Recipe, Repetition, Repetitions, train

RESULT = Path(__file__).resolve().parent.parent / "results" / "text" / "induction.json"
SYMBOLS = "".join(chr(48 + i) for i in range(32))
SHAPE = {"dim": 64, "heads": 4, "depth": 2, "alphabet": SYMBOLS, "length": 32}
SEQUENCES = {"symbols": 32, "shortest": 6, "longest": 16, "length": 32}
KINDS: Mapping[str, Mapping[str, Any]] = {
    "GPT": {"attention": "mhsa", "feed": "mlp"},
    "CRATE": {"attention": "mssa", "feed": "ista"},
    "MSSA, MLP": {"attention": "mssa", "feed": "mlp"},
    "MSSA with a query, MLP": {"attention": "mssa_query", "feed": "mlp"},
    "MSSA with a query, ISTA": {"attention": "mssa_query", "feed": "ista"},
}
RECIPE = Recipe(epochs=7, batch_size=64, lr=4e-3, warmup_epochs=1, clip_norm=1.0, precision="float32")
STEPS = 50  # of an epoch


def measure(kind: str, seed: int) -> dict[str, Any]:
    """One training."""
    recipe = Recipe(**asdict(RECIPE) | {"seed": seed})
    torch.manual_seed(seed)
    model = LanguageModel(LanguageConfig(**SHAPE, **KINDS[kind]))
    some, others = (Repetitions(count, **SEQUENCES) for count in (STEPS * recipe.batch_size, 256))
    run = train(model, some, others, recipe, task=Repetition(recipe), device="cpu", progress=False)
    drawn, _ = others.draw(torch.rand(256, others.symbols + 1, generator=torch.Generator().manual_seed(17)))
    curves = {k: plain(run[f"val_{k}"], 4) for k in Repetition.metrics}
    back = {k: plain(v, 3) for k, v in looking_back(looks(model, drawn)).items()}
    about = {"kind": kind, "seed": seed, "parameters": count_parameters(model)}
    return {**about, **curves, "attention": back, "minutes": round(run.minutes, 2), **provenance()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each kind")
    parser.add_argument("--some", type=int, help="stop after so many")
    add_dirty(parser)
    a = parser.parse_args()
    require_clean(a.dirty)
    torch.set_num_threads(1)
    known = json.loads(RESULT.read_text(encoding="utf-8"))["networks"] if RESULT.is_file() else []
    for seed in range(a.seeds):
        for kind in KINDS:
            if any((r["kind"], r["seed"]) == (kind, seed) for r in known) or a.some == 0:
                continue
            a.some = None if a.some is None else a.some - 1
            known.append(measure(kind, seed))
            print(
                f"{kind}, seed {seed}: {known[-1]['loss'][-1]} nats, {known[-1]['top1'][-1]:.0%}", flush=True
            )
            told = {"recipe": asdict(RECIPE), "steps_an_epoch": STEPS, "shape": SHAPE, "sequences": SEQUENCES}
            write(RESULT, {"networks": known, **told, **provenance()}, allow_dirty=a.dirty)


if __name__ == "__main__":
    main()
