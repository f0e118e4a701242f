"""How attention's time and memory grow with tokens: MSSA, MHSA, TSSA and CBSA, one layer each, beside their peers.

One layer of width 192 with 6 heads, one image, float32: 65 tokens are an image of 64 pixels in patches of 8, 4,097
one of 512. *PyTorch* is its fused ``scaled_dot_product_attention`` inside our MSSA and MHSA; *plain formula* is MSSA
with every ``n x n`` matrix formed, as the released code does. CBSA has 64 representatives, as its own code.

*Time* is the processor's own (``time.process_time``) on one thread: sides take turns, each going first in turn, after a
round that warms up; medians and ranges. A busy machine lengthens it, so what is told is how many times as fast a side
is as fused MSSA *in the same round*, again as median and range. *Kept* is what autograd keeps for the way back, every
storage counted once, weights left out: a count, the same on every machine.

    python benchmarks/bench_operators.py                        the full measurement, a few minutes on one core
    python benchmarks/bench_operators.py --sizes 64 128 --rounds 2 --no-write       a quick look
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from crate_mini.compression import mssa
from crate_mini.operators import CBSA, MHSA, MSSA, TSSA, Layout
from crate_mini.results import add_dirty, plain, provenance, require_clean, write

RESULT = Path(__file__).resolve().parent.parent / "results" / "benchmarks" / "operators.json"
DIM, HEADS, PATCH = 192, 6, 8
PEER = "MSSA, PyTorch"
SIDES: dict[str, Callable[[], nn.Module]] = {
    "MSSA, PyTorch": lambda: MSSA(DIM, HEADS),
    "MHSA, PyTorch": lambda: MHSA(DIM, HEADS),
    "MSSA, plain formula": lambda: MSSA(DIM, HEADS),
    "TSSA": lambda: TSSA(DIM, HEADS, energy="mean", temperature=0.25),
    "CBSA": lambda: CBSA(DIM, HEADS),
}


def function(side: str, grid: int) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """A layer, and what it makes of tokens."""
    torch.manual_seed(0)
    layer = SIDES[side]()
    if side == "MSSA, plain formula":
        return layer, lambda Z: mssa(Z, layer.U, layer.out.weight, layer.out.bias)
    return layer, (lambda Z: layer(Z, None, Layout(1, (grid, grid)))) if side == "CBSA" else layer


def tokens(grid: int) -> Tensor:
    return torch.randn(1, 1 + grid**2, DIM, generator=torch.Generator().manual_seed(1))


def kept_bytes(side: str, grid: int) -> int:
    """What is kept for the way back, without the weights and the tokens themselves."""
    layer, run = function(side, grid)
    Z = tokens(grid).requires_grad_()
    given = {t.untyped_storage().data_ptr() for t in (Z, *layer.parameters())}
    seen: dict[int, Tensor] = {}  # kept alive, so that no address is given out twice

    def pack(tensor: Tensor) -> Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = run(Z)
    del out
    return sum(t.untyped_storage().nbytes() for place, t in seen.items() if place not in given)


def seconds(grid: int, most: int) -> dict[str, dict[str, list[float]]]:
    """Processor seconds of every round, forward alone and with the way back."""
    made = {side: function(side, grid)[1] for side in SIDES}
    found: dict[str, dict[str, list[float]]] = {side: {"forward": [], "both": []} for side in SIDES}
    for round_ in range(most + 1):
        order = list(SIDES)[round_ % len(SIDES) :] + list(SIDES)[: round_ % len(SIDES)]
        for side in order:
            Z = tokens(grid)
            start = time.process_time()
            with torch.no_grad():
                made[side](Z)
            forward = time.process_time() - start
            Z.requires_grad_()
            start = time.process_time()
            made[side](Z).square().mean().backward()
            both = time.process_time() - start
            if round_:  # the first warms up
                found[side]["forward"].append(forward)
                found[side]["both"].append(both)
    return found


def spread(values: list[float]) -> list[float]:
    """Median, lowest and highest."""
    return [plain(v, 4) for v in (median(values), min(values), max(values))]


def row(grid: int, most: int) -> dict:
    """One point: every side's milliseconds, how many times as fast it is as the peer, and what it keeps."""
    times = seconds(grid, most)
    return {
        "tokens": 1 + grid**2,
        "rounds": most,
        "sides": {
            side: {
                **{part: spread([1000 * v for v in times[side][part]]) for part in ("forward", "both")},
                **{
                    f"faster_{part}": spread(
                        [peer / own for peer, own in zip(times[PEER][part], times[side][part], strict=True)]
                    )
                    for part in ("forward", "both")
                },
                "kept_bytes": kept_bytes(side, grid),
            }
            for side in SIDES
        },
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512], help="pixels of a side")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-write", action="store_true", help="print only")
    add_dirty(parser)
    a = parser.parse_args()
    if not a.no_write:
        require_clean(a.dirty)
    torch.set_num_threads(1)
    rows = []
    for size in a.sizes:
        rows.append(row(size // PATCH, a.rounds))
        for side, seen in rows[-1]["sides"].items():
            kept = seen["kept_bytes"] / 2**20
            print(
                f"{rows[-1]['tokens']:5d} {side:20} {seen['forward'][0]:8.2f} ms, {seen['both'][0]:8.2f} ms with the "
                f"way back, {' '.join(f'{v:.2f}' for v in seen['faster_both'])} times as fast, {kept:8.1f} MiB kept",
                flush=True,
            )
    result = {
        "setting": {
            "dim": DIM,
            "heads": HEADS,
            "batch": 1,
            "precision": "float32",
            "clock": "processor time",
            "peer": PEER,
        },
        "rows": rows,
    } | provenance("cpu")
    if not a.no_write:
        write(RESULT, result, allow_dirty=a.dirty)


if __name__ == "__main__":
    main()
