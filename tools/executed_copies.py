"""Executed copies of the notebooks, for those who read them on a code host: ``_build/executed/``.

``make book`` writes them. GitHub and nbviewer show what a copy holds, run none of it, and stumble over the state of
widgets. So a copy has every output, but no scripts, no weights and no widget state: where something is to be played
with there is its picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from quick_nbformat import nbformat

SCRIPT = re.compile(r"<script\b.*?</script\s*>", re.DOTALL | re.IGNORECASE)
WIDGET = "application/vnd.jupyter.widget-view+json"


def readable(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook as a code host can show it; its sources and other outputs are untouched."""
    notebook = nbformat.from_dict(notebook)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        kept = []
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            data.pop(WIDGET, None)
            if "text/html" in data:
                data["text/html"] = SCRIPT.sub("", "".join(data["text/html"]))
            if data or "data" not in output:
                kept.append(output)
        if cell.cell_type == "code":
            cell.outputs = kept
    return notebook


def write_all(paths: Iterable[Path], cache: Path, folder: Path) -> list[Path]:
    """Write a copy of each notebook, with the outputs that are in the cache; returns the copies."""
    from jupyter_cache import get_cache

    store = get_cache(str(cache))
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for path in paths:
        _, executed = store.merge_match_into_notebook(nbformat.read(path, as_version=4))
        written.append(folder / path.name)
        written[-1].write_text(nbformat.writes(readable(executed)) + "\n", encoding="utf-8")
    return written
