"""Run the theorem of the attention-only transformer (chapter 13) with any sizes, print its table, and write it.

python tools/theorem.py                                     the page's sizes, to results/denoising/theorem.json
python tools/theorem.py --n 128 --K 5 --p 32 --d 200 --seeds 10 --out elsewhere.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from crate_mini.chapters.denoising import LENGTHS, Runs, Setting, rate_over, theorem_runs, theorem_table
from crate_mini.results import add_dirty, provenance, require_clean, write

OUT = Path(__file__).resolve().parent.parent / "results" / "denoising" / "theorem.json"


def as_numbers(runs: Runs, setting: Setting, deltas: Sequence[float]) -> list[dict]:
    """One row a noise; lists hold one number a draw."""
    rows = []
    for delta in deltas:
        row = {"delta": delta, "layers_expected": setting.layers_held(delta)}
        for length in ("grow", "kept", "inside"):
            seen = runs[delta, length]
            row[length] = {
                "start": [round(float(r.snr[0]), 5) for r in seen],
                "first_growth": [round(float(r.growth[0]), 6) for r in seen],
                "layers_on_the_rate": [r.layers_on(setting.rate) for r in seen],
                "highest": [round(float(r.snr.max()), 5) for r in seen],
                "end": [round(float(r.snr[-1]), 5) for r in seen],
                "rate_over_all": [round(rate_over(r), 6) for r in seen],
            }
        rows.append(row)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    for field in fields(Setting):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    parser.add_argument("--deltas", type=float, nargs="+", default=[0.1, 0.2, 0.3, 0.5], help="noises")
    parser.add_argument("--seeds", type=int, default=5, help="how many draws")
    parser.add_argument("--out", type=Path, default=OUT, help="file to write")
    add_dirty(parser)
    a = parser.parse_args(arguments)
    if a.seeds < 1:
        parser.error(f"--seeds is a number of draws, 1 or more; got {a.seeds}")
    require_clean(a.dirty)
    setting = Setting(**{field.name: getattr(a, field.name) for field in fields(Setting)})
    runs = theorem_runs(setting, a.deltas, ("grow", "kept", "inside"), range(a.seeds))
    print(f"the law: times {setting.rate:.4g} a layer; largest tau of the theorem {setting.largest_tau:.4g}")
    print(theorem_table(runs, setting).data)
    facts = {"setting": asdict(setting), "rate": setting.rate, "seeds": a.seeds}
    lengths = {name: LENGTHS[name] for name in ("grow", "kept", "inside")}
    found = facts | {"lengths": lengths, "rows": as_numbers(runs, setting, a.deltas)}
    write(a.out, provenance() | found, allow_dirty=a.dirty)


if __name__ == "__main__":
    main()
