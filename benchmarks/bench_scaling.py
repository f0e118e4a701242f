"""How time and memory grow with tokens, depth and batch: training, evaluation, the meter, MaskCut, beside their peers.

Training and evaluation: ``crate_mini`` (dim 192, 6 heads, depth 8, patch 8) in float32 and under bfloat16 autocast,
beside the released code's formula written plainly over the same weights, and the ViT of as many parameters and heads.
A training step is forward pass, backward pass and AdamW; an evaluation is a forward pass without a graph. Larger
images have more tokens: 65 at 64 pixels, 4,097 at 512.

Meter: all readings of :func:`crate_mini.layerwise.measure`, six places by three normalisations, and the one reading
of the released code, :func:`~crate_mini.layerwise.released_rate`, beside the ``n x n`` determinants that the released
code takes for it. All start from images. Against tokens, the network has one layer.

MaskCut: :func:`crate_mini.maskcut.maskcut`, three masks at most, beside SciPy's dense solver for every cut, from
features that are at hand, on square grids of 8 to 60 patches a side.

*Time*: sides take turns in one process, each going first in turn, after a round that warms up; medians and ranges.
What is freed is kept by the process, for all sides, as in our training. *Memory*: a process of its own for every side
and point, which gives back at once what it frees; its largest resident set (``ru_maxrss``) beyond what that was after
the imports and the same work at its very smallest. Weights, gradients and the workspace of libraries count; features
that MaskCut is given do not. A busy machine disturbs the one and not the other, so they can be measured apart.

    python benchmarks/bench_scaling.py                       the full measurement: a quarter of an hour on one core
    python benchmarks/bench_scaling.py --quick               a look: the small points, few rounds, nothing written
    python benchmarks/bench_scaling.py --measure memory      one of the two, into a file of its own
    python benchmarks/bench_scaling.py --what maskcut        one of the four; a file holds all four, so none is written
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from bench_blocks import PlainCRATE
from bench_layerwise import EPS_SQ, large_determinant
from torch import Tensor

from crate_mini import data
from crate_mini.layerwise import measure, released_rate
from crate_mini.maskcut import maskcut_batch, maskcut_rounds
from crate_mini.memory import keep_freed_memory
from crate_mini.model import CRATE, create_model
from crate_mini.recorder import record
from crate_mini.results import add_dirty, provenance, require_clean, write
from crate_mini.token_pca import patch_features
from crate_mini.weights import load_pretrained

FOLDER = Path(__file__).resolve().parent.parent / "results" / "benchmarks"
RESULTS = {"time": FOLDER / "scaling.json", "memory": FOLDER / "scaling_memory.json"}
NETWORKS = {"CRATE": "crate_mini", "plain formula": "crate_mini", "ViT": "vit_mini_6"}
PATCH, CLASSES, DEPTH = 8, 200, 8
SIZES, DEPTHS, BATCHES, GRIDS = (64, 128, 256, 512), (2, 4, 8, 12), (1, 4, 16, 64), (8, 16, 32, 48, 60)
WEIGHTS, LAYER = "crate_mini_all_lion_s0", -2  # whose features MaskCut is given
FEWEST, MOST, SECONDS = 3, 15, 1.5  # rounds of a point: as many as fit into so many seconds
WARM = 5.0  # a first round that takes longer in seconds counts, too

Run = Callable[[], object]
Given = np.ndarray | None
Prepare = Callable[["Point", Given], Run]


@dataclass(frozen=True)
class Point:
    """Where something is measured.

    Attributes:
        what: a key of :data:`SIDES`.
        axes: the curves that it lies on.
        size: pixels along a side of the images.
        depth: layers; 0 where there are none.
        batch: images.
    """

    what: str
    axes: tuple[str, ...]
    size: int
    depth: int
    batch: int

    @property
    def tokens(self) -> int:
        """Of an image, with the class token; MaskCut cuts patches alone."""
        return (self.size // PATCH) ** 2 + (self.what != "maskcut")


_OF_NETWORKS = {
    "tokens": [(size, DEPTH, 1) for size in SIZES],
    "depth": [(SIZES[0], depth, 16) for depth in DEPTHS],
    "batch": [(SIZES[0], DEPTH, batch) for batch in BATCHES],
}
AXES: dict[str, dict[str, list[tuple[int, int, int]]]] = {
    "training": _OF_NETWORKS,
    "evaluation": _OF_NETWORKS,
    "meter": {
        "tokens": [(size, 1, 1) for size in SIZES],
        "depth": [(SIZES[0], depth, 1) for depth in DEPTHS],
        "batch": [(SIZES[0], DEPTH, batch) for batch in BATCHES],
    },
    "maskcut": {
        "tokens": [(PATCH * grid, 0, 1) for grid in GRIDS],
        "batch": [(PATCH * GRIDS[1], 0, batch) for batch in BATCHES],
    },
}
"""Size, depth and batch along each curve; one of them varies."""


def points(what: str) -> list[Point]:
    """All points of a measurement, each once, however many of its curves meet there."""
    curves = AXES[what]
    places = dict.fromkeys(place for curve in curves.values() for place in curve)
    return [Point(what, tuple(axis for axis in curves if p in curves[axis]), *p) for p in places]


# ---- the sides: from a point to what is run there --------------------------------------------------------


def network(name: str, depth: int) -> CRATE:
    torch.manual_seed(0)
    return create_model(NETWORKS[name], num_classes=CLASSES, depth=depth)


def pictures(point: Point) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (point.batch, 3, point.size, point.size)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def training_step(name: str, precision: str) -> Prepare:
    """Forward pass, backward pass, a step of AdamW."""

    def prepare(point: Point, given: Given = None) -> Run:
        model, images = network(name, point.depth).train(), pictures(point)
        labels = torch.arange(point.batch) % CLASSES
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        function = PlainCRATE(model) if name == "plain formula" else model

        def run() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                loss = F.cross_entropy(function(images), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        return run

    return prepare


def evaluation(name: str, precision: str) -> Prepare:
    """A forward pass without a graph."""

    def prepare(point: Point, given: Given = None) -> Run:
        model, images = network(name, point.depth).eval(), pictures(point)
        function = PlainCRATE(model).eval() if name == "plain formula" else model

        @torch.no_grad()
        def run() -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                return function(images)

        return run

    return prepare


def all_readings(point: Point, given: Given = None) -> Run:
    model, images = network("CRATE", point.depth).eval(), pictures(point)
    return lambda: measure(model, images, eps_sq=EPS_SQ, batch_size=point.batch)


def one_reading(rate: Callable[[Tensor], Tensor]) -> Prepare:
    """The released code's reading, layer by layer, by either way to the determinant."""

    def prepare(point: Point, given: Given = None) -> Run:
        model, images = network("CRATE", point.depth).eval(), pictures(point)
        return lambda: [rate(p) for p in record(model, images, "projections")["projections"].values()]

    return prepare


def features(point: Point) -> Given:
    """What MaskCut is given: features of drawn animals, patch by patch, by shipped weights."""
    if point.what != "maskcut":
        return None
    images = data.load("embedded", "test", image_size=point.size, n=point.batch)
    (found,) = patch_features(load_pretrained(WEIGHTS), images.images, [LAYER]).values()
    return found.numpy()


def iterative(point: Point, given: np.ndarray) -> Run:
    found, grid = torch.from_numpy(given), (point.size // PATCH,) * 2
    return lambda: maskcut_batch(found, grid)


def dense(point: Point, given: np.ndarray) -> Run:
    found, grid = torch.from_numpy(given), (point.size // PATCH,) * 2
    return lambda: [maskcut_rounds(one, grid, solver="dense") for one in found]


def five_networks(make: Callable[[str, str], Prepare]) -> dict[str, Prepare]:
    pairs = [("CRATE", "float32"), ("CRATE", "bfloat16"), ("plain formula", "float32")]
    pairs += [("ViT", "float32"), ("ViT", "bfloat16")]
    return {f"{name}, {precision}": make(name, precision) for name, precision in pairs}


SIDES: dict[str, dict[str, Prepare]] = {
    "training": five_networks(training_step),
    "evaluation": five_networks(evaluation),
    "meter": {
        "all readings": all_readings,
        "one reading": one_reading(lambda projections: released_rate(projections, EPS_SQ)),
        "one reading, n x n": one_reading(large_determinant),
    },
    "maskcut": {"iterative": iterative, "SciPy, dense": dense},
}


# ---- time and memory -------------------------------------------------------------------------------------


def take_turns(sides: dict[str, Run], most: int, clock: Callable[[], float] = time.perf_counter) -> dict:
    """Seconds of every side, round by round: each goes first in turn.

    There are as many rounds as fit into :data:`SECONDS`, reckoned from a first one, but at least :data:`FEWEST`. The
    first warms up and does not count, unless it took so long (:data:`WARM`) that there is nothing to warm up.
    """
    names, spent = list(sides), {name: [] for name in sides}
    rounds, done = most, 0
    while done < rounds:
        for name in names[done % len(names) :] + names[: done % len(names)]:
            began = clock()
            sides[name]()
            spent[name].append(clock() - began)
        if not done:
            once = sum(times[0] for times in spent.values())
            warmed = once < WARM
            rounds = warmed + max(min(FEWEST, most), min(most, int(SECONDS / once)))
        done += 1
    return {name: times[warmed:] for name, times in spent.items()}


def seconds(point: Point, given: Given, most: int, threads: int) -> dict[str, list[float]]:
    """Of all sides."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    return take_turns({name: prepare(point, given) for name, prepare in SIDES[point.what].items()}, most)


def peak(point: Point, given: Given, side: str, threads: int) -> int:
    """Bytes that one side occupies at most, beyond the imports and its smallest work."""
    torch.set_num_threads(threads)
    give_back_freed_memory()
    prepare = SIDES[point.what][side]
    smallest = Point(point.what, (), 4 * PATCH, min(point.depth, 1), 1)
    prepare(smallest, None if given is None else given[:1, : smallest.tokens])()
    before = largest_resident_set()
    run = prepare(point, given)
    for _ in range(
        2 if point.what == "training" else 1
    ):  # the optimiser has its moments from the second step on
        run()
    return largest_resident_set() - before


def largest_resident_set() -> int:
    """Bytes; the system counts them in kilobytes, on macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def give_back_freed_memory() -> None:
    """With glibc: every block of 128 KiB and more is the system's again once it is freed, however many there were."""
    if platform.libc_ver()[0] == "glibc":
        threshold_of_mmap = -3  # <malloc.h>; set by hand, it no longer grows
        ctypes.CDLL(None).mallopt(threshold_of_mmap, 128 * 1024)


def apart(function: Callable, *arguments: object) -> object:
    """The function's value, from a process that is forked from this one, which has imported and run nothing.

    Raises:
        RuntimeError: the process ended without a value.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, function, *arguments))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(
            f"{function.__name__}{arguments} ended with exit code {process.exitcode}; "
            "if it was killed, there was not enough memory"
        ) from None
    finally:
        process.join()


def _answer(sender: Connection, function: Callable, *arguments: object) -> None:
    sender.send(function(*arguments))


def row_of_times(point: Point, most: int, threads: int) -> dict:
    """Seconds of all sides at one point: median and range."""
    spent = apart(seconds, point, apart(features, point), most, threads)
    sides = {
        name: {
            "seconds": float(f"{median(t):.4g}"),
            "fastest": float(f"{min(t):.4g}"),
            "slowest": float(f"{max(t):.4g}"),
        }
        for name, t in spent.items()
    }
    return described(point) | {"rounds": len(next(iter(spent.values()))), "sides": sides}


def row_of_memory(point: Point, most: int, threads: int) -> dict:
    """Bytes of all sides at one point."""
    given = apart(features, point)
    sides = {name: {"bytes": apart(peak, point, given, name, threads)} for name in SIDES[point.what]}
    return described(point) | {"sides": sides}


def origin(threads: int) -> dict:
    """How the numbers came about, as a process says that computes with so many threads."""
    torch.set_num_threads(threads)
    return provenance("cpu")


def described(point: Point) -> dict:
    """The point in plain JSON types."""
    return asdict(point) | {"axes": list(point.axes), "tokens": point.tokens}


def show(row: dict) -> str:
    """A line for the point, and one for each side."""
    lines = [f"{row['what']}: {row['tokens']} tokens, depth {row['depth']}, batch {row['batch']}"]
    for name, side in row["sides"].items():
        if "bytes" in side:
            value = f"{side['bytes'] / 2**20:10.1f} MiB"
        else:
            middle, low, high = (1e3 * side[which] for which in ("seconds", "fastest", "slowest"))
            value = f"{middle:10.2f} ms ({low:.2f} to {high:.2f})"
        lines.append(f"    {name:24} {value}")
    return "\n".join(lines)


def chosen(what: list[str], quick: bool) -> Iterator[Point]:
    """The points to measure; of a quick look the small ones alone."""
    for name in what:
        yield from (p for p in points(name) if not quick or p.tokens * p.batch <= 300)


ROWS = {"time": row_of_times, "memory": row_of_memory}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--what", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--rounds", type=int, default=MOST, help="of a point, at most")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--quick", action="store_true", help="small points, three rounds, nothing written")
    parser.add_argument("--no-write", action="store_true", help="print only")
    add_dirty(parser)
    a = parser.parse_args()
    writing = not (a.quick or a.no_write) and set(a.what) == set(SIDES)
    if writing:
        require_clean(a.dirty)
    rounds = FEWEST if a.quick else a.rounds
    for quantity in a.measure:
        print(f"---- {quantity} ----")
        rows = []
        for point in chosen(a.what, a.quick):
            rows.append(ROWS[quantity](point, rounds, a.threads))
            print(show(rows[-1]), flush=True)
        if writing:
            facts = {"setting": setting(a), "rows": rows} | apart(origin, a.threads)
            write(RESULTS[quantity], facts, allow_dirty=a.dirty)


def setting(a: argparse.Namespace) -> dict:
    """What was measured, and how."""
    return {
        "networks": NETWORKS, "patch": PATCH, "threads": a.threads, "rounds": a.rounds, "seconds": SECONDS,
        "eps_sq": EPS_SQ, "weights": WEIGHTS, "layer": LAYER,
    }  # fmt: skip


if __name__ == "__main__":
    main()
