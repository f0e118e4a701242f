"""A Sphinx extension with one directive, ``{run-times}``: what each notebook cost when it was executed."""

from __future__ import annotations

import json
from typing import ClassVar

import build_book
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

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
        self.env.note_dependency(str(build_book.TIMES))
        if not build_book.TIMES.exists():
            return [nodes.paragraph(text="No notebook has been executed yet.")]
        costs = json.loads(build_book.TIMES.read_text(encoding="utf-8"))
        rows = [
            (c["notebook"], f"{c['seconds']:.0f}", f"{c['cpu_seconds']:.0f}", str(c["peak_mib"]))
            for c in costs
        ]
        total = ("all", "", f"{sum(c['cpu_seconds'] for c in costs):.0f}", "")
        return [table([HEAD, *rows, total], ("", "text-right", "text-right", "text-right"))]


def setup(app: Sphinx) -> dict[str, object]:
    """Sphinx calls this when it loads the extension."""
    app.add_directive("run-times", RunTimes)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
