"""What every notebook of the book has in common, checked and mended.

``notebook_form.py check`` fails if a notebook holds outputs, or lacks its title or its set-up cell.
``notebook_form.py mend`` strips the outputs and writes the set-up cell, and leaves the rest alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"

SETUP_TAG = "remove-cell"
SETUP_ID = "colab-setup"
# Lower bounds in pyproject.toml are what keeps this from replacing the torch that Colab came with.
SETUP_CELL = """\
# On Google Colab this installs the book's package beside what is there; anywhere else it does nothing.
import importlib.util
import subprocess
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("crate_mini") is None:
    package = "git+https://github.com/crate-mini/crate-mini@main"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", package], check=True)"""

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def all_notebooks(folder: Path = NOTEBOOKS) -> list[Path]:
    """Every notebook of the book, in reading order."""
    return sorted(path for path in folder.glob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)


def faults(path: Path) -> list[str]:
    """What is wrong with the form of one notebook; empty if nothing is."""
    book = nbformat.read(path, as_version=4)
    found = []
    if not book.cells or book.cells[0].cell_type != "markdown" or not book.cells[0].source.startswith("# "):
        found.append("its first cell must be Markdown and begin with the title, '# …'")
    second = book.cells[1] if len(book.cells) > 1 else None
    if second is None or second.cell_type != "code" or second.source != SETUP_CELL:
        found.append("its second cell must be the set-up cell")
    elif SETUP_TAG not in second.metadata.get("tags", ()):
        found.append(f"its set-up cell must carry the tag {SETUP_TAG!r}")
    if book.metadata.get("kernelspec", {}).get("name") != KERNEL["name"]:
        found.append(f"its kernel must be {KERNEL['name']!r}")
    return found


def mend(path: Path) -> None:
    """Put the set-up cell in second place and name the kernel."""
    book = nbformat.read(path, as_version=4)
    cells = [cell for cell in book.cells if cell.get("id") != SETUP_ID and cell.source != SETUP_CELL]
    if not cells or cells[0].cell_type != "markdown":
        raise SystemExit(f"{path.name}: begin the notebook with a Markdown cell that holds its title")
    setup = nbformat.v4.new_code_cell(SETUP_CELL, id=SETUP_ID, metadata={"tags": [SETUP_TAG]})
    book.cells = [cells[0], setup, *cells[1:]]
    book.metadata["kernelspec"] = dict(KERNEL)
    book.nbformat, book.nbformat_minor = 4, 5
    nbformat.write(book, path)


def strip(*options: str) -> int:
    """Run nbstripout on every notebook; returns its exit status."""
    paths = [str(path) for path in all_notebooks()]
    if not paths:
        return 0
    return subprocess.call([sys.executable, "-m", "nbstripout", *options, *paths])


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["check", "mend"])
    if parser.parse_args().action == "mend":
        for path in all_notebooks():
            mend(path)
        return strip()

    status = strip("--verify")
    if status != 0:
        print("Committed notebooks carry no outputs: run `make format`.", file=sys.stderr)
    for path in all_notebooks():
        for fault in faults(path):
            print(f"{path.name}: {fault}; `make format` writes the set-up cell.", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
