"""What readers do to notebooks besides running them once from top to bottom, rehearsed on whole notebooks.

    python tools/rehearse.py                       both, all notebooks: about as long as two builds of the book
    python tools/rehearse.py twice 06_training     every cell twice: neither run fails, and both say the same
    python tools/rehearse.py untrained             as if training cells were passed over, and as if they were stopped

Cells that train carry the tag ``training``. Who passes over one, or stops it, gets the rest of the page from a network
that comes with the package.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from execution import execute_all
from notebook_form import SETUP_TITLE, all_notebooks
from quick_nbformat import nbformat

TRAINING = "training"
"""The tag of cells that a reader may pass over or stop."""

CLOCK = re.compile(r"\d+(?:\.\d+)?(?= (?:s|ms|seconds|minutes|milliseconds)\b)")
NAMED_ANEW = re.compile(r"(?<=crate-)[a-z]+-[0-9a-f]{8}-\d+|(?<=0x)[0-9a-f]+")


def trainers(cell: nbformat.NotebookNode) -> set[str]:
    """Names of functions that train when a cell calls them: the package's, and those that the cell makes with it."""
    made = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.FunctionDef)]
    return {"train"} | {function.name for function in made if calls(function, {"train"})}


def calls(node: ast.AST, names: set[str]) -> bool:
    """Whether one of these functions is called in a piece of code."""
    called = [found.func for found in ast.walk(node) if isinstance(found, ast.Call)]
    return any(isinstance(func, ast.Name) and func.id in names for func in called)


def trains(cell: nbformat.NotebookNode) -> bool:
    """Whether a cell trains by the package's loop."""
    return cell.cell_type == "code" and calls(ast.parse(cell.source), {"train"})


def is_training(cell: nbformat.NotebookNode) -> bool:
    """Whether a cell carries the tag."""
    return TRAINING in cell.metadata.get("tags", ())


def twice(book: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Every cell of code, and behind it the same once more."""
    cells = []
    for cell in book.cells:
        if cell.cell_type == "code":
            cells += [nbformat.v4.new_code_cell(cell.source, metadata=cell.metadata) for _ in range(2)]
    return new_book(book, cells)


def passed_over(book: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without the cells that train."""
    return new_book(book, [c for c in book.cells if c.cell_type == "code" and not is_training(c)])


def stopped(book: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Cells that train end where they call it: what stands before has happened, and nothing of what comes after."""
    cells = []
    for cell in book.cells:
        if is_training(cell):
            statements = ast.parse(cell.source).body
            definitions = (ast.FunctionDef, ast.ClassDef)
            names = trainers(cell)
            after = next(
                i
                for i, node in enumerate(statements)
                if not isinstance(node, definitions) and calls(node, names)
            )
            source = "\n".join(ast.get_source_segment(cell.source, node) for node in statements[:after])
            cells.append(nbformat.v4.new_code_cell(source))
        elif cell.cell_type == "code":
            cells.append(cell)
    return new_book(book, cells)


def new_book(book: nbformat.NotebookNode, cells: list[nbformat.NotebookNode]) -> nbformat.NotebookNode:
    """A notebook with other cells."""
    return nbformat.v4.new_notebook(cells=cells, metadata=book.metadata)


def said(cell: nbformat.NotebookNode) -> list[Any]:
    """What a cell shows, less the clock and names that are given anew each time."""

    def plain(value: Any) -> Any:
        if isinstance(value, str):
            return NAMED_ANEW.sub("", CLOCK.sub("", value))
        return value

    told = []
    for output in cell.get("outputs", ()):
        if output.output_type == "stream":
            told.append((output.name, plain(output.text)))
        else:
            told.append({kind: plain(value) for kind, value in output.get("data", {}).items()})
    return told


def changed(book: nbformat.NotebookNode) -> Iterator[str]:
    """Cells of an executed :func:`twice` that did not say the same again, by their first lines."""
    for first, second in zip(book.cells[::2], book.cells[1::2], strict=True):
        if is_training(first) or first.source.startswith(SETUP_TITLE):
            continue
        if said(first) != said(second):
            line = next((x for x in first.source.splitlines() if x and not x.startswith("#")), "")
            yield f"says something else the second time: {line[:90]}"


# ---- what can be seen without running anything -----------------------------------------------------------

OWN_NAMES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def given(code: ast.AST) -> set[str]:
    """Names that a piece of code gives; those inside of functions, classes and comprehensions are their own."""
    if isinstance(code, (ast.FunctionDef, ast.ClassDef)):
        return {code.name}
    if isinstance(code, OWN_NAMES):
        return set()
    if isinstance(code, ast.alias):
        return {(code.asname or code.name).split(".")[0]}
    if isinstance(code, ast.Name):
        return {code.id} if isinstance(code.ctx, ast.Store) else set()
    return set().union(*map(given, ast.iter_child_nodes(code)))


def read(code: ast.AST) -> set[str]:
    """Names that a piece of code reads."""
    return {n.id for n in ast.walk(code) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def missing(book: nbformat.NotebookNode, cut: nbformat.NotebookNode) -> set[str]:
    """Names that cells of the cut notebook read, and that only the whole one gives."""
    whole, left = (
        ast.parse("\n".join(cell.source for cell in one.cells if cell.cell_type == "code"))
        for one in (book, cut)
    )
    return (given(whole) - given(left)) & read(left)


def changed_by_running_again(book: nbformat.NotebookNode) -> list[str]:
    """Statements that give a name of an earlier cell anew, made of itself: run twice, they make something else."""
    found, before = [], set()
    for cell in book.cells:
        if cell.cell_type != "code":
            continue
        here = set()
        for statement in ast.parse(cell.source).body:
            anew = given(statement) if isinstance(statement, (ast.Assign, ast.AugAssign)) else set()
            if not isinstance(statement, ast.AugAssign):
                anew &= read(statement)
            if (anew & before) - here:
                found.append(ast.unparse(statement)[:80])
            here |= given(statement)
        before |= here
    return found


# ---- whole notebooks -------------------------------------------------------------------------------------

WAYS: dict[str, tuple[Callable[[nbformat.NotebookNode], nbformat.NotebookNode], ...]] = {
    "twice": (twice,),
    "untrained": (passed_over, stopped),
}


def rehearse(ways: list[str], notebooks: list[Path]) -> int:
    """Run them; returns how many did not do what they should."""
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for make in (make for way in ways for make in WAYS[way]):
            for notebook in notebooks:
                book = nbformat.read(notebook, as_version=4)
                if make is not twice and not any(map(is_training, book.cells)):
                    continue
                (Path(folder) / make.__name__).mkdir(exist_ok=True)
                path = Path(folder) / make.__name__ / notebook.name
                nbformat.write(make(book), path)
                paths.append(path)
        for done in execute_all(paths):
            how = done.path.parent.name
            faults = [done.failure] if done.failure else []
            if how == "twice" and not faults:
                faults = list(changed(done.notebook))
            print(f"{done.path.name}, {how.replace('_', ' ')}: {'; '.join(faults) or 'well'}", flush=True)
            failed += bool(faults)
    return failed


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("way", nargs="?", choices=WAYS, help="both if none is named")
    parser.add_argument("notebooks", nargs="*", help="such as 06_training; all if none is named")
    a = parser.parse_args()
    known = {path.stem: path for path in all_notebooks()}
    if unknown := [name for name in a.notebooks if name.removesuffix(".ipynb") not in known]:
        print(f"There is no notebook {unknown[0]!r}; there are {', '.join(known)}.", file=sys.stderr)
        return 2
    chosen = [known[name.removesuffix(".ipynb")] for name in a.notebooks] or list(known.values())
    return min(1, rehearse([a.way] if a.way else list(WAYS), chosen))


if __name__ == "__main__":
    sys.exit(main())
