"""A Sphinx extension with the directives of the status page, all of it generated.

``{run-times}``: what each notebook cost when it was executed. ``{kept-weights}``: the weights that come with the
package, by their cards. ``{kept-results}``: every file of measured numbers and where it comes from.
``{count-of-tests}``: how many functions there are that try something. ``{page-costs}``: weight, shift and first
picture of every page.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import build_book
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parent.parent

COSTS = ROOT / "results" / "benchmarks" / "pages.json"
HEAD = ("notebook", "seconds by the clock", "seconds of a core", "memory, MiB")


def table(rows: list[tuple[str, ...]], classes: tuple[str, ...]) -> nodes.table:
    """A table with a head; ``classes`` are those of each column's cells."""
    group = nodes.tgroup(cols=len(classes))
    group += [nodes.colspec(colwidth=1) for _ in classes]
    parts = nodes.thead(), nodes.tbody()
    for i, row in enumerate(rows):
        line = nodes.row()
        for text, class_ in zip(row, classes, strict=True):
            line += nodes.entry("", nodes.paragraph(text=text), classes=[class_])
        parts[i > 0].append(line)
    group += parts
    return nodes.table("", group)


class RunTimes(SphinxDirective):
    """The table, from what ``build_book.py`` wrote before it called Sphinx; a sentence where there is none."""

    has_content = False
    required_arguments = 0
    option_spec: ClassVar[dict] = {}

    def run(self) -> list[nodes.Node]:
        """Docutils calls this."""
        from crate_mini.results import provenance  # with PyTorch: only for a page that asks for it

        self.env.note_dependency(str(build_book.TIMES))
        if not build_book.TIMES.exists():
            return [nodes.paragraph(text="No notebook has been executed yet.")]
        costs = json.loads(build_book.TIMES.read_text(encoding="utf-8"))
        rows = [
            (c["notebook"], f"{c['seconds']:.0f}", f"{c['cpu_seconds']:.0f}", str(c["peak_mib"]))
            for c in costs
        ]
        total = ("all", "", f"{sum(c['cpu_seconds'] for c in costs):.0f}", "")
        machine = provenance()
        where = (
            f"On {machine['device']}, Python {machine['versions']['python']}, PyTorch {machine['versions']['torch']}; "
            f"commit {machine['commit'] or 'unknown'}."
        )
        costs = table([HEAD, *rows, total], ("", "text-right", "text-right", "text-right"))
        return [nodes.paragraph(text=where), costs]


class KeptWeights(SphinxDirective):
    """A row for each of the weights that are shipped."""

    has_content = False
    option_spec: ClassVar[dict] = {}

    def run(self) -> list[nodes.Node]:
        """Docutils calls this."""
        from crate_mini import weights

        right = "text-right"
        return [table([*weights_rows(weights.list_pretrained())], ("", right, "", right, ""))]


def weights_rows(cards: dict[str, dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """The head, then what the card of each says."""
    yield "weights", "million", "trained on", "top 1, %", "commit"
    for name, card in cards.items():
        top1 = card.get("held_out", {}).get("top1")
        yield (
            name, f"{card['parameters'] / 1e6:.2f}", card["data"]["train"].removesuffix("/train"),
            "–" if top1 is None else f"{100 * top1:.1f}", card["commit"],
        )  # fmt: skip


class KeptResults(SphinxDirective):
    """A table for each folder of results, folded."""

    has_content = False
    option_spec: ClassVar[dict] = {}

    def run(self) -> list[nodes.Node]:
        """Docutils calls this."""
        found = []
        for folder in sorted(path for path in (ROOT / "results").glob("*") if path.is_dir()):
            rows = list(results_rows(folder))
            name = f"results/{folder.name}: {len(rows)} files"
            found.append(nodes.raw("", f"<details><summary>{name}</summary>", format="html"))
            found.append(table([("file", "made by", "commit", "date", "on"), *rows], ("",) * 5))
            found.append(nodes.raw("", "</details>", format="html"))
        return found


def results_rows(folder: Path) -> Iterator[tuple[str, ...]]:
    """File, command, commit, date and device of each; of a file with many trainings, how many each of them names."""
    for path in sorted(folder.rglob("*.*")):
        facts = json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else {}
        told = [facts.get(key) or "" for key in ("command", "commit", "date", "device")]
        if not told[0]:
            told[0] = (
                "each entry says it" if path.suffix == ".json" else "log of a training; its card says it"
            )
        yield path.relative_to(folder).as_posix(), *told


class CountOfTests(SphinxDirective):
    """A sentence."""

    has_content = False
    option_spec: ClassVar[dict] = {}

    def run(self) -> list[nodes.Node]:
        """Docutils calls this."""
        counts = tests_by_file(ROOT / "tests")
        text = f"{sum(counts.values()):,} test functions in {len(counts)} files, many of them run with several inputs."
        return [nodes.paragraph(text=text)]


class PageCosts(SphinxDirective):
    """A row for each page, from what ``page_costs.py`` measured; a sentence where nobody has."""

    has_content = False
    option_spec: ClassVar[dict] = {}

    def run(self) -> list[nodes.Node]:
        """Docutils calls this."""
        self.env.note_dependency(str(COSTS))
        if not COSTS.exists():
            return [nodes.paragraph(text="No page has been measured yet.")]
        found = json.loads(COSTS.read_text(encoding="utf-8"))
        text = f"Measured on pages built from commit {found['built_from']}, in {found['browser']}."
        right = ("",) + ("text-right",) * 4
        return [nodes.paragraph(text=text), table([*cost_rows(found["pages"])], right)]


def cost_rows(pages: dict[str, dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """The head, then what each page costs."""
    yield "page", "kB", "shift, wide", "shift, narrow", "first picture, times"
    for page, cost in pages.items():
        first = cost["first_picture"]
        yield (
            page, f"{cost['kB']:,}", f"{cost['shift_wide']:.3f}", f"{cost['shift_narrow']:.3f}",
            "–" if first is None else f"{first:.1f}",
        )  # fmt: skip


def tests_by_file(folder: Path) -> dict[Path, int]:
    """How many functions that begin with ``test_`` each file of tests has."""
    found = {}
    for path in sorted(folder.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found[path] = sum(
            isinstance(node, ast.FunctionDef) and node.name.startswith("test_") for node in ast.walk(tree)
        )
    return found


def setup(app: Sphinx) -> dict[str, object]:
    """Sphinx calls this when it loads the extension."""
    app.add_directive("run-times", RunTimes)
    app.add_directive("kept-weights", KeptWeights)
    app.add_directive("kept-results", KeptResults)
    app.add_directive("count-of-tests", CountOfTests)
    app.add_directive("page-costs", PageCosts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
