"""The meter's small-side Gram against the determinant over all tokens, as the released code takes it.

785 tokens (224 pixels, patch 8), 6 heads of 64 dimensions, one set for each image. The one side is
:func:`crate_mini.layerwise.released_rate`: a 64 x 64 Gram matrix and its Cholesky factor, in float64. The other is the
785 x 785 determinant, in float32 as released, and in float64, which is what the accuracy is held against. Runs
alternate, so that a busy machine slows both; the medians are compared. What is freed is kept by the process, for both:
getting pages anew takes longer than the small matrix does.

    python benchmarks/bench_layerwise.py                        the full measurement
    python benchmarks/bench_layerwise.py --rounds 3 --images 1 --no-write    a quick look
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

import torch
from torch import Tensor

from crate_mini.layerwise import released_rate
from crate_mini.memory import keep_freed_memory
from crate_mini.results import add_dirty, provenance, require_clean, write

RESULT = Path(__file__).resolve().parent.parent / "results" / "benchmarks" / "layerwise.json"
TOKENS, HEADS, HEAD_DIM, EPS_SQ = 785, 6, 64, 0.01


def large_determinant(projections: Tensor) -> Tensor:
    """The same number through the n x n determinant, in the precision of the tensor."""
    n, p = projections.shape[-2:]
    X = projections / projections.norm(dim=-1, keepdim=True)
    eye = torch.eye(n, dtype=X.dtype, device=X.device)
    return torch.logdet(eye + p / (n * EPS_SQ) * X @ X.mT).sum(-1) / 2


def tokens(images: int, device: torch.device) -> Tensor:
    """Coordinates as a trained layer has them: energy that falls off over the directions."""
    generator = torch.Generator().manual_seed(0)
    falling = 0.9 ** torch.arange(HEAD_DIM)
    return (torch.randn(images, HEADS, TOKENS, HEAD_DIM, generator=generator) * falling).to(device)


def seconds(run: Callable[[], Tensor], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def measure(device: torch.device, images: int, rounds: int) -> list[dict]:
    X = tokens(images, device)
    truth = large_determinant(X.double())
    sides = {
        "meter": lambda: released_rate(X, EPS_SQ),
        "float32": lambda: large_determinant(X),
        "float64": lambda: large_determinant(X.double()),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for i in range(rounds + 1):
        for name in list(sides)[:: 1 if i % 2 else -1]:
            spent = seconds(sides[name], device)
            if i:
                times[name].append(spent)
    rows = []
    for name in ("float32", "float64"):
        ratios = [b / a for a, b in zip(times["meter"], times[name], strict=True)]
        low, _, high = quantiles(ratios, n=4) if rounds > 1 else ratios * 3
        rows.append(
            {
                "device": device.type,
                "determinant": f"{TOKENS} x {TOKENS}, {name}",
                "meter_ms": round(1e3 * median(times["meter"]) / images, 3),
                "determinant_ms": round(1e3 * median(times[name]) / images, 3),
                "ratio": round(median(times[name]) / median(times["meter"]), 1),
                "ratio_quartiles": [round(low, 1), round(high, 1)],
                "relative_error_of_meter": float(f"{_error(released_rate(X, EPS_SQ), truth):.1e}"),
                "relative_error_of_determinant": float(f"{_error(sides[name](), truth):.1e}"),
            }
        )
    return rows


def _error(got: Tensor, truth: Tensor) -> float:
    return ((got - truth) / truth).abs().max().item()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds of each side")
    parser.add_argument("--threads", type=int, help="CPU threads; torch's choice if not given")
    parser.add_argument("--no-write", action="store_true", help=f"do not write {RESULT.name}")
    add_dirty(parser)
    a = parser.parse_args()
    if not a.no_write:
        require_clean(a.dirty)
    if a.threads:
        torch.set_num_threads(a.threads)
    keep_freed_memory()
    devices = [torch.device("cpu")] + [torch.device("cuda")] * torch.cuda.is_available()
    rows = []
    for device in devices:
        for row in measure(device, a.images, a.rounds):
            low, high = row["ratio_quartiles"]
            print(
                f"{row['device']:5} {row['determinant']:19} {row['determinant_ms']:8.2f} ms an image, "
                f"meter {row['meter_ms']:6.2f} ms: {row['ratio']:.1f} times ({low:.1f} to {high:.1f}); "
                f"errors {row['relative_error_of_determinant']:.0e} and {row['relative_error_of_meter']:.0e}",
                flush=True,
            )
            rows.append(row)
    if not a.no_write:
        setting = {"tokens": TOKENS, "heads": HEADS, "head_dim": HEAD_DIM, "eps_sq": EPS_SQ}
        facts = provenance(
            devices[-1],
            setting=setting | {"images": a.images, "rounds": a.rounds},
            devices={d.type: provenance(d)["device"] for d in devices},
            rows=rows,
        )
        write(RESULT, facts, allow_dirty=a.dirty)


if __name__ == "__main__":
    main()
