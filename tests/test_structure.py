"""The house plan, held: imports point down only, none comes back to where it began, no function is too long.

Modules stand on floors. An import may lead to the same floor or to one below, wherever in a file it is written: one
that is put into a function, to break a circle or to hide it, counts as much as one at the top. The one exception is
a module's own ``__getattr__``, with what it tells a type checker: by it a name can still be had where it once was.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "crate_mini"
LONGEST = 80  # lines of a function, its docstring not counted

# From the ground up. What stands on one floor may know each other, as long as there is no circle.
FLOORS = {
    "the ground": "errors progress stats outputs results provenance lock memory distributed tables notebook ngrams",
    "equations": "rates compression sparsification neighbours interpolation",
    "operators": "operators embeddings",
    "the model": "hub model noise autoencoder language",
    "weights and data": "weights data",
    "names and sizes": "registry",
    "what goes by them": "official checkpoints operations",
    "training": "training recipes",
    "running a model": "recorder passes",
    "measuring": "attention_maps token_pca segmentation average_precision layerwise maskcut heads reading clicks atoms"
    " calibration transfer export text_reading",
    "drawing": "figures logbook",
    "what people use": "cli chapters inspector playground exercises",
    "the door": "__main__",
}
# What the model inherits for sharing stands below it, and its methods, once they are called, need all of it.
LATE = {"crate_mini.hub": {"crate_mini.model", "crate_mini.weights"}}
HEIGHT = {module: height for height, names in enumerate(FLOORS.values()) for module in names.split()}


def modules(root: Path) -> dict[str, Path]:
    """All modules of the package by their dotted names; its own ``__init__``, a list of names for users, is none."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return {name: path for name, path in found.items() if name != PACKAGE}


def named(node: ast.AST, package: str, known: dict[str, Path]) -> set[str]:
    """Modules of ours that one import statement leads to: the file that holds what it names."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names} & set(known)
    if not isinstance(node, ast.ImportFrom):
        return set()
    source = resolve_name("." * node.level + (node.module or ""), package)
    found = {f"{source}.{alias.name}" for alias in node.names}
    if source == PACKAGE:
        assert found - set(known) <= {f"{PACKAGE}.__version__"}, f"name the module that holds them: {found}"
    return {module if module in known else source for module in found} & set(known)


class WithoutOldNames(ast.NodeTransformer):
    """Takes out a module's own ``__getattr__``, and ``import x as x`` where only type checkers read."""

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef | ast.Pass:
        return ast.Pass() if node.name == "__getattr__" else node

    def visit_If(self, node: ast.If) -> ast.If:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for statement in node.body:
                if isinstance(statement, ast.ImportFrom):
                    statement.names = [alias for alias in statement.names if alias.asname != alias.name]
        return self.generic_visit(node)


def imports(root: Path) -> dict[str, set[str]]:
    """For every module of the package, those that it imports."""
    known = modules(root)
    edges = {}
    for name, path in known.items():
        package = name if path.stem == "__init__" else name.rpartition(".")[0]
        tree = WithoutOldNames().visit(ast.parse(path.read_text(encoding="utf-8")))
        edges[name] = set().union(*(named(node, package, known) for node in ast.walk(tree))) - {name}
        if name in LATE:
            at_once = set().union(*(named(node, package, known) for node in tree.body))
            edges[name] -= LATE[name] - at_once
    return edges


def floor(module: str) -> int:
    """How high a module stands."""
    return HEIGHT[module.split(".")[1]]


def upward(edges: dict[str, set[str]]) -> list[str]:
    return [f"{a} imports {b}" for a, found in edges.items() for b in sorted(found) if floor(b) > floor(a)]


def circle(edges: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return error.args[1][::-1]
    return []


def lengths(path: Path) -> dict[str, int]:
    """Lines of every function of a file, decorators and docstrings not counted."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node, clean=False) is not None:
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            found[node.name] = max(lines, found.get(node.name, 0))
    return found


# ---- the package -----------------------------------------------------------------------------------------


def test_every_module_has_its_floor():
    there = {name.split(".")[1] for name in modules(ROOT)}
    assert there - set(HEIGHT) == set(), "say on which floor these stand"


def test_imports_point_down_only():
    assert upward(imports(ROOT)) == []


def test_no_import_comes_back_to_where_it_began():
    assert circle(imports(ROOT)) == []


@pytest.mark.parametrize("folder", [PACKAGE, "tools", "benchmarks", "tests"])
def test_no_function_is_longer_than_a_page(folder):
    long = {
        f"{path.relative_to(ROOT)}: {name}": lines
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name, lines in lengths(path).items()
        if lines > LONGEST
    }
    assert long == {}


# ---- the test itself can fail ----------------------------------------------------------------------------


@pytest.fixture
def small_house(tmp_path):
    """A package of four modules in which everything is well."""
    (tmp_path / PACKAGE / "training").mkdir(parents=True)
    for name, text in {
        "__init__": "",
        "rates": "import math\n",
        "model": "from crate_mini import rates\n",
        "training/__init__": "from crate_mini.training.loop import train\n",
        "training/loop": "from crate_mini.model import CRATE\n",
    }.items():
        (tmp_path / PACKAGE / f"{name}.py").write_text(text)
    return tmp_path


def test_a_good_house_passes(small_house):
    edges = imports(small_house)
    assert edges["crate_mini.model"] == {"crate_mini.rates"}
    kept = (
        "if TYPE_CHECKING:\n    from crate_mini.model import CRATE as CRATE\n"
        "else:\n    def __getattr__(name):\n        from crate_mini import model\n"
    )
    (small_house / PACKAGE / "rates.py").write_text(kept)
    edges = imports(small_house)
    assert edges["crate_mini.training"] == {"crate_mini.training.loop"}
    assert (upward(edges), circle(edges)) == ([], [])


@pytest.mark.parametrize(
    "text",
    [
        "import crate_mini.model\n",
        "from crate_mini import model\n",
        "from .model import CRATE\n",
        "if TYPE_CHECKING:\n    from crate_mini.model import CRATE\n",
        "def late():\n    from crate_mini.model import CRATE\n",
        "def late():\n    import crate_mini.model\n",
    ],
)
def test_an_import_that_points_up_is_found(small_house, text):
    (small_house / PACKAGE / "rates.py").write_text(text)
    edges = imports(small_house)
    assert upward(edges) == ["crate_mini.rates imports crate_mini.model"]
    assert set(circle(edges)) == {"crate_mini.rates", "crate_mini.model"}


def test_a_name_of_the_package_itself_hides_nothing(small_house):
    (small_house / PACKAGE / "rates.py").write_text("from crate_mini import __version__\n")
    assert imports(small_house)["crate_mini.rates"] == set()
    (small_house / PACKAGE / "rates.py").write_text("from crate_mini import create_model\n")
    with pytest.raises(AssertionError, match="name the module"):
        imports(small_house)


def test_what_may_be_imported_late_may_not_be_at_once(small_house, monkeypatch):
    monkeypatch.setitem(LATE, "crate_mini.rates", {"crate_mini.model"})
    for text, found in (
        ("def late():\n    from crate_mini.model import CRATE\n", []),
        ("from crate_mini.model import CRATE\n", ["crate_mini.rates imports crate_mini.model"]),
    ):
        (small_house / PACKAGE / "rates.py").write_text(text)
        assert upward(imports(small_house)) == found


def test_a_long_function_is_found(tmp_path):
    path = tmp_path / "long.py"
    lines = "\n".join("    x = 1" for _ in range(LONGEST))
    short = "class A:\n    def short(self):\n        pass\n"
    path.write_text(f'def long():\n    """Two\n\n    lines."""\n{lines}\n\n\n{short}')
    assert lengths(path) == {"long": LONGEST + 1, "short": 2}
