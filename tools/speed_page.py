"""Numbers and figures of book/speed.md, from the results of ``benchmarks/bench_training.py`` and ``bench_scaling.py``.

python tools/speed_page.py           print what the page should hold
python tools/speed_page.py --write   put it there, and draw the figures
"""

from __future__ import annotations

import argparse
import hashlib
import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import page_blocks
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from crate_mini import figures, results

BOOK = Path(__file__).resolve().parent.parent / "book"
PAGE = BOOK / "speed.md"
FILES = {"seconds": "benchmarks/scaling.json", "bytes": "benchmarks/scaling_memory.json"}
TRAINING = "benchmarks/training.json"
AXES = {"tokens": "tokens", "depth": "layers", "batch": "images"}
CUT_AXES = AXES | {"tokens": "patches"}
LABELS = {"seconds": "seconds", "bytes": "MiB"}
MIB = 2**20
SPACE, JOIN = "\u00a0", "\u2060"  # within a quantity, where no line is broken
STYLES: dict[str, tuple[str, str, str]] = {
    "CRATE, float32": ("crate", "-", "o"),
    "CRATE, bfloat16": ("crate", "--", "o"),
    "plain formula, float32": ("baseline", "-", "s"),
    "ViT, float32": ("vit", "-", "^"),
    "ViT, bfloat16": ("vit", "--", "^"),
    "all readings": ("crate", "--", "o"),
    "one reading": ("crate", "-", "o"),
    "one reading, n x n": ("baseline", "-", "s"),
    "iterative": ("crate", "-", "o"),
    "SciPy, dense": ("baseline", "-", "s"),
}
"""Colour, line and marker of every side: solid and dashed tell two ways of one thing apart."""

Rows = list[dict[str, Any]]


def rows(quantity: str, what: str) -> Rows:
    """The points of a measurement: ``"seconds"`` or ``"bytes"``, of ``"training"``, ``"meter"``, ..."""
    return [row for row in results.read(FILES[quantity])["rows"] if row["what"] == what]


def curve(points: Rows, axis: str, side: str, quantity: str) -> tuple[list[int], list[float]]:
    """One line: places along an axis, and what was measured there, from the smallest place on."""
    found = sorted((row[axis], row["sides"][side][quantity]) for row in points if axis in row["axes"])
    return [place for place, _ in found], [value for _, value in found]


def slope(places: list[int], values: list[float]) -> float:
    """Exponent of growth between the last two places: 1 in proportion, 2 with the square."""
    return math.log(values[-1] / values[-2]) / math.log(places[-1] / places[-2])


# ---- numbers as words ---------------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """Two digits, in seconds or milliseconds."""
    return f"{number(seconds)}{SPACE}s" if seconds >= 1 else f"{number(1e3 * seconds)}{SPACE}ms"


def size(bytes_: float) -> str:
    """Two digits, in GiB or MiB."""
    large = bytes_ >= 1024 * MIB
    return f"{number(bytes_ / MIB / 1024)}{SPACE}GiB" if large else f"{number(bytes_ / MIB)}{SPACE}MiB"


def number(value: float) -> str:
    """Two digits, more only in front of the point."""
    return f"{value:,.0f}" if value >= 9.95 else f"{value:#.2g}"


def span(values: Mapping[str, float], form: str = ".0f") -> str:
    """Median, and the range of the rounds."""
    return f"{values['median']:{form}}{SPACE}({values['lowest']:{form}}–{JOIN}{values['highest']:{form}})"


# ---- blocks ---------------------------------------------------------------------------------------------------------


def share() -> str:
    """The training step of the flagship: images a second, share of the products' rate, ratio to the published way."""
    found = results.read(TRAINING)
    lines = [
        "| the flagship's training | images a second | the published way | times as fast | share of the products |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in found["rows"]:
        rate, use = row["images_per_second"], row["utilisation"]["ours"]
        percent = {key: 100 * value for key, value in use.items()}
        lines.append(
            f"| {row['precision']}{', compiled' if row['compile'] else ''} | {span(rate['ours'])} "
            f"| {span(rate['published'])} | {span(row['ratio'], '.1f')} | {span(percent)}{SPACE}% |"
        )
    return "\n".join(lines)


def share_note() -> str:
    """What the share is a share of."""
    found = results.read(TRAINING)
    setting, product = found["setting"], found["rows"][0]["product"]
    shape = " × ".join(f"{side:,}" for side in product["shape"])
    best = max(row["product"]["multiply_adds_per_second"] for row in found["rows"])
    return (
        f"Batches of {setting['batch']} images, {100 * setting['keep_patches']:.0f} % of the patches on both sides. "
        f"*Share of the products* is counted multiply-adds a second over those of one {found['rows'][0]['precision']} "
        f"product of the step's own shape, {shape}: {number(best / 1e9)} · 10⁹ on this core. "
        f"In brackets the range of {setting['rounds']} rounds."
    )


def peers() -> str:
    """At the largest number of tokens: what it takes, what the peer takes, and the ratio."""
    lines = [
        "| at the most tokens | time | its peer | times as fast | memory | its peer | times less |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for label, what, ours, peer in (
        ("a training step, {n} tokens", "training", "CRATE, float32", "plain formula, float32"),
        ("an evaluation, {n} tokens", "evaluation", "CRATE, float32", "plain formula, float32"),
        ("one reading of the meter, {n} tokens", "meter", "one reading", "one reading, n x n"),
        ("MaskCut, {n} patches", "maskcut", "iterative", "SciPy, dense"),
    ):
        cells = []
        for quantity, form in (("seconds", duration), ("bytes", size)):
            places, values = curve(rows(quantity, what), "tokens", ours, quantity)
            _, others = curve(rows(quantity, what), "tokens", peer, quantity)
            cells += [form(values[-1]), form(others[-1]), number(others[-1] / values[-1])]
        lines.append(f"| {label.format(n=f'{places[-1]:,}')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def growth() -> str:
    """By which factor time and memory grow along each axis."""
    head = []
    for axis, words in AXES.items():
        places, _ = curve(rows("seconds", "training"), axis, "CRATE, float32", "seconds")
        head.append(f"{places[0]} to {places[-1]:,} {words} (× {places[-1] / places[0]:.0f})")
    lines = [f"| time, memory | {' | '.join(head)} |", "|---|" + "---:|" * len(head)]
    for what in ("training", "evaluation"):
        for side in (s for s in STYLES if s in rows("seconds", what)[0]["sides"]):
            cells = []
            for axis in AXES:
                both = [curve(rows(quantity, what), axis, side, quantity)[1] for quantity in FILES]
                cells.append(", ".join(f"× {number(values[-1] / values[0])}" for values in both))
            lines.append(f"| {what}: {side} | {' | '.join(cells)} |")
    return "\n".join(lines)


def origin() -> str:
    """How the numbers came about: devices, versions, commits, dates, commands."""
    lines = []
    for name in (TRAINING, *FILES.values()):
        found = results.read(name)
        lines.append(
            f"- `results/{name}`: `python benchmarks/{found['command']}`, {found['device']}, "
            f"torch {found['versions']['torch']}, commit `{found['commit']}`, {found['date']}"
        )
    return "\n".join(lines)


BLOCKS = {"share": share, "note": share_note, "peers": peers, "growth": growth, "origin": origin}


def fill(text: str) -> str:
    """The page's text with every block as it should be. Raises ValueError where one has no place in it."""
    return page_blocks.fill(text, BLOCKS)


# ---- figures --------------------------------------------------------------------------------------------------------


def draw(what: str) -> Figure:
    """Time above, memory below; a column for each axis along which there is a curve."""
    names = CUT_AXES if what == "maskcut" else AXES
    axes = [axis for axis in names if any(axis in row["axes"] for row in rows("seconds", what))]
    fig, panels = plt.subplots(
        len(FILES), len(axes), figsize=(figures.WIDTH, 4.6), sharex="col", sharey="row", squeeze=False
    )
    for line, quantity in zip(panels, FILES, strict=True):
        points = rows(quantity, what)
        for panel, axis in zip(line, axes, strict=True):
            for side in (s for s in STYLES if s in points[0]["sides"]):
                colour, dashes, marker = STYLES[side]
                places, values = curve(points, axis, side, quantity)
                values = [v / MIB for v in values] if quantity == "bytes" else values
                panel.plot(
                    places,
                    values,
                    color=figures.COLOURS[colour],
                    ls=dashes,
                    marker=marker,
                    ms=4,
                    lw=1.4,
                    label=side,
                )
            panel.set(xscale="log", yscale="log")
            panel.set_xticks(places, named(places))
            panel.minorticks_off()
            panel.grid(color="0.9", lw=0.6)
            plain_numbers(panel)
            if quantity == "bytes":
                panel.set_xlabel(names[axis])
        line[0].set_ylabel(LABELS[quantity])
        for panel, axis in zip(line, axes, strict=True):
            guide(panel, (1, 2) if axis == "tokens" else (1,))
    for panel in panels.flat:
        panel.tick_params(labelsize=8)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=min(3, len(labels)), fontsize=8)
    plt.close(fig)
    return fig


def named(places: list[int]) -> list[str]:
    """Labels of ticks, without those that the next one would run into."""
    room = [math.log(b / a) / math.log(places[-1] / places[0]) for a, b in pairwise(places)]
    return [f"{place:,}" if gap > 0.15 else "" for place, gap in zip(places, [*room, 1.0], strict=True)]


def guide(panel: Axes, powers: tuple[int, ...]) -> None:
    """Thin lines of growth in proportion, and with the square, from the panel's lower left."""
    (left, right), (low, high) = panel.get_xlim(), panel.get_ylim()
    for power in powers:
        end = min(right, left * (high / low) ** (1 / power))
        panel.plot(
            [left, end], [low, low * (end / left) ** power], color="0.6", lw=0.8, ls=":", zorder=0, scalex=False,
            scaley=False,
        )  # fmt: skip


def plain_numbers(panel: Axes) -> None:
    """0.01, 1, 1,000 in place of powers of ten."""
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())


def digest() -> str:
    """Of the results that the figures are drawn from; it is stored in every one of them."""
    texts = "".join(results.read_result(name) for name in FILES.values())
    return hashlib.sha256(texts.encode()).hexdigest()


def pictures() -> Iterator[tuple[str, Path]]:
    """Every measurement that has a figure, and its file."""
    for what in ("training", "evaluation", "meter", "maskcut"):
        yield what, BOOK / "_assets" / f"speed_{what}.svg"


def save_figures() -> None:
    """Draw all of them, from the same results to the same bytes."""
    figures.use_style()
    with plt.rc_context({"svg.hashsalt": "speed"}):
        for what, path in pictures():
            about = {"Date": None, "Creator": None, "Description": f"results {digest()}"}
            draw(what).savefig(path, transparent=True, metadata=about)


def main() -> None:
    """Print, or write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        PAGE.write_text(fill(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        save_figures()
    else:
        print("\n\n".join(block() for block in BLOCKS.values()))


if __name__ == "__main__":
    main()
