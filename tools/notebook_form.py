"""What every notebook of the book has in common, checked and mended.

``notebook_form.py check`` fails if a notebook holds outputs, lacks its title or its set-up cell, or shows in JupyterLab
and Colab what the page hides.
``notebook_form.py mend`` strips the outputs, writes the set-up cell and folds what is hidden; the rest it leaves alone.

What a cell's tags hide in the page is folded wherever a notebook is opened: JupyterLab folds what carries
``jupyter.source_hidden``, Colab what carries ``cellView: form``, and there the line ``# @title ...`` stays to be seen.
"""

from __future__ import annotations

import argparse
import ast
import copy
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import address
from quick_nbformat import nbformat

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"

TITLE_LENGTH = 90
TITLE_LINE = re.compile(r"# @title \S")
SETUP_TAG = "remove-cell"
SETUP_ID = "colab-setup"
SETUP_TITLE = "# @title Set-up"
# Lower bounds in pyproject.toml are what keeps this from replacing the torch that Colab came with.
SETUP_CELL = f"""\
# @title Set-up
# On Google Colab this installs the book's package beside what is there; anywhere else it does nothing.
import glob
import importlib.util
import subprocess
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("crate_mini") is None:
    address = "{address.written() or ""}"
    wheels = sorted(glob.glob("crate_mini-*.whl"))
    if not (wheels or address):
        raise RuntimeError(
            "The package is not here. In a copy of the book's repository `pip wheel . --no-deps` makes a file "
            "crate_mini-*.whl: upload it to this session's files, then run this cell again."
        )
    package = wheels[-1] if wheels else f"git+{{address}}@{address.BRANCH}"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", package], check=True)"""

HIDING_TAGS = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
"""Tags by which the page folds the code of a cell, or leaves it out."""

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def all_notebooks(folder: Path = NOTEBOOKS) -> list[Path]:
    """Every notebook of the book, in reading order."""
    return sorted(path for path in folder.glob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)


def is_hidden(cell: nbformat.NotebookNode) -> bool:
    """Whether the page folds this cell's code or leaves it out."""
    return cell.cell_type == "code" and not HIDING_TAGS.isdisjoint(cell.metadata.get("tags", ()))


def lines_of_code(source: str) -> list[str]:
    """Lines of a cell, less titles and the text that ``say`` puts on the page: that is prose and nobody's code."""
    prose: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "say"
            and node.args
        ):
            prose.update(range(node.args[0].lineno, node.args[0].end_lineno + 1))
    numbered = enumerate(source.splitlines(), 1)
    return [line for number, line in numbered if number not in prose and not TITLE_LINE.match(line)]


def hidden_lines(path: Path) -> int:
    """Lines of code that the page does not show at once, less set-up cells and the solutions of exercises."""
    cells = nbformat.read(path, as_version=4).cells
    counted = [c for c in cells if is_hidden(c) and not c.source.startswith(SETUP_TITLE)]
    return sum(len(lines_of_code(c.source)) for c in counted if "solution" not in c.metadata.get("tags", ()))


def fold_title(cell: nbformat.NotebookNode) -> str:
    """What stands for a folded cell where it is folded: what its figure shows, or what it is."""
    mystnb = cell.metadata.get("mystnb", {})
    if "solution" in cell.metadata.get("tags", ()):
        return "Solution"
    if caption := mystnb.get("figure", {}).get("caption"):
        first = re.split(r"(?<=\.)\s", re.sub(r"[*`$]|\{\w+\}", "", caption))[0]
        return "Figure: " + textwrap.shorten(first, TITLE_LENGTH, placeholder=" …")
    return mystnb.get("code_prompt_show") or "Code of this page"


def fold(cell: nbformat.NotebookNode) -> None:
    """Fold a cell for JupyterLab and Colab if the page hides it; open it if not."""
    if cell.cell_type != "code":
        return
    jupyter = cell.metadata.get("jupyter", {})
    if is_hidden(cell):
        jupyter["source_hidden"] = True
        cell.metadata["cellView"] = "form"
        if not TITLE_LINE.match(cell.source):
            cell.source = f"# @title {fold_title(cell)}\n{cell.source}"
    else:
        jupyter.pop("source_hidden", None)
        cell.metadata.pop("cellView", None)
    if jupyter:
        cell.metadata["jupyter"] = jupyter
    else:
        cell.metadata.pop("jupyter", None)


def unfolded(book: nbformat.NotebookNode) -> list[str]:
    """Cells that are folded and should not be, or the other way round, by their first lines."""
    found = []
    for cell in book.cells:
        folded = copy.deepcopy(cell)
        fold(folded)
        if folded != cell:
            found.append(next(iter(cell.source.splitlines()), "")[:60])
    return found


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
    for line in unfolded(book):
        found.append(
            f"what the page hides must be folded in JupyterLab and Colab too, and nothing else: {line!r}"
        )
    return found


def is_setup(cell: nbformat.NotebookNode) -> bool:
    """Whether this is a set-up cell, of today or of an earlier book."""
    return 'importlib.util.find_spec("crate_mini") is None' in cell.source


def mend(path: Path) -> None:
    """Put the set-up cell in second place, fold what the page hides, name the kernel."""
    book = nbformat.read(path, as_version=4)
    cells = [cell for cell in book.cells if cell.get("id") != SETUP_ID and not is_setup(cell)]
    if not cells or cells[0].cell_type != "markdown":
        raise SystemExit(f"{path.name}: begin the notebook with a Markdown cell that holds its title")
    setup = nbformat.v4.new_code_cell(SETUP_CELL, id=SETUP_ID, metadata={"tags": [SETUP_TAG]})
    book.cells = [cells[0], setup, *cells[1:]]
    for cell in book.cells:
        fold(cell)
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
            print(
                f"{path.name}: {fault}; `make format` mends the set-up cell and what is folded.",
                file=sys.stderr,
            )
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
