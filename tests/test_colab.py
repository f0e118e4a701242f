"""Colab's way, rehearsed: a wheel of this checkout, another folder, no network, a stand-in for ``google.colab``.

Here every notebook's set-up cell runs and everything that it imports is imported from the wheel. Whole executions are
the book's own, which run in an empty folder, too (``tools/execution.py``). Cells run twice, and pages whose training is
passed over or stopped: whole notebooks by ``make rehearse``, once a week; here what can be seen in their code.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import address
import nbformat
import notebook_form
import pytest
import rehearse
from packaging.requirements import Requirement

from crate_mini.inspector.viewer import new_id

ROOT = Path(__file__).resolve().parent.parent

REHEARSAL = """
import ast, importlib, json, socket, subprocess, sys, types
from pathlib import Path

absent = {"onnx", "onnxruntime", "onnxscript", "huggingface_hub", "pytest", "playwright", "sphinx"}
run = subprocess.run

def pip(line, **options):
    "Wheels are installed; what else is asked for is there from now on. Other programs are let run."
    if "pip" not in line:
        return run(line, **options)
    wanted = [word for word in line[line.index("--quiet") + 1:] if not word.endswith(".whl")]
    absent.difference_update(word.replace("-", "_") for word in wanted)
    return None if wanted else run(line, **options)

def refuse(*_):
    raise OSError("a notebook asked for the network before its reader did")

class Missing:
    '''What Colab need not bring and the package does not need.'''
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

socket.socket.connect, subprocess.run = refuse, pip
sys.meta_path.insert(0, Missing())
sys.modules["google"], sys.modules["google.colab"] = types.ModuleType("google"), types.ModuleType("google.colab")
for notebook in sys.argv[1:]:
    cells = [c for c in json.loads(Path(notebook).read_text("utf-8"))["cells"] if c["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in cells]
    setup = [source for source in sources if source.startswith("# @title Set-up")]
    for again in range(2):  # a reader presses twice
        kernel = {}
        for source in setup:
            exec(compile(source, "set-up", "exec"), kernel)
            importlib.invalidate_caches()
    for source in sources[len(setup):]:
        for node in ast.parse(source).body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                exec(compile(ast.Module([node], []), Path(notebook).name, "exec"), {})
import crate_mini
print(crate_mini.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """As a reader makes it, from a copy of what is under version control."""
    folder = tmp_path_factory.mktemp("wheel")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "*.toml", "*.in", "setup.py", "README.md", "LICENSE", "results", "crate_mini"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    )  # fmt: skip
    for name in filter(None, listing.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([*command, "-w", folder, folder / "source"], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def session(wheel, tmp_path_factory) -> Path:
    """A reader's folder with the wheel in it; the first set-up cell that runs in it installs it."""
    folder = tmp_path_factory.mktemp("content")
    (folder / wheel.name).write_bytes(wheel.read_bytes())
    return folder


def begin(folder: Path, notebooks: list[Path]) -> subprocess.CompletedProcess:
    """Run the rehearsal in a folder, whose ``installed`` takes the place of Colab's packages."""
    others = [p for p in sys.path if "site-packages" in p]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CRATE_MINI", "PYTHON"))} | {
        "PYTHONPATH": os.pathsep.join([str(folder / "installed"), *others]),
        "MPLBACKEND": "Agg",
        "PIP_TARGET": str(folder / "installed"),
        "PIP_NO_DEPS": "1",  # they are there, as on Colab
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    (folder / "installed").mkdir(exist_ok=True)
    return subprocess.run(
        # without site: it would bring the checkout, where the package is installed editable
        [sys.executable, "-S", "-c", REHEARSAL, *map(str, notebooks)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_every_notebook_begins_on_colab(session, wheel):
    done = begin(session, notebook_form.all_notebooks())
    assert done.returncode == 0, done.stderr[-2000:]
    assert Path(done.stdout.split()[-1]).is_relative_to(session / "installed")
    left = {path.name for path in session.iterdir()}
    assert left == {wheel.name, "installed"}, "a notebook left something in the reader's folder"


def test_without_a_wheel_it_says_what_to_do(tmp_path):
    done = begin(tmp_path, notebook_form.all_notebooks()[:1])
    assert done.returncode == 1
    if not address.written():
        assert "upload it to this session's files, then run this cell again" in done.stderr


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("import pytest", "No module named 'pytest'"),
        ("from crate_mini import no_such_name", "no_such_name"),
        ("from crate_mini.notebook import say", ""),
    ],
)
def test_what_it_would_notice(session, tmp_path, cell, words):
    one = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(notebook_form.SETUP_CELL), nbformat.v4.new_code_cell(cell)]
    )
    (tmp_path / "one.ipynb").write_text(nbformat.writes(one))
    done = begin(session, [tmp_path / "one.ipynb"])
    assert (done.returncode == 0) == (not words)
    assert words in done.stderr


def test_the_wheel_carries_what_pages_show(wheel):
    """Scripts, styles, pictures and weights of the package, all of them."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    listing = subprocess.run(
        ["git", "ls-files", "crate_mini"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    ours = {name for name in listing.stdout.split() if (ROOT / name).is_file()}
    assert ours <= names


def test_what_is_installed_for_one_notebook_is_what_its_extras_name():
    """The list in the notebook is that of pyproject.toml."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    names = [Requirement(line).name for line in [*extras["export"], *extras["hub"]]]
    cells = nbformat.read(ROOT / "notebooks" / "your_own_data.ipynb", as_version=4).cells
    assert f"needed = {json.dumps(names)}" in cells[2].source


# ---- cells run twice, and training passed over -----------------------------------------------------------


@pytest.mark.parametrize("path", notebook_form.all_notebooks(), ids=lambda path: path.stem)
def test_cells_can_be_passed_over_stopped_and_run_twice(path):
    book = nbformat.read(path, as_version=4)
    for cell in book.cells:
        assert rehearse.is_training(cell) == rehearse.trains(cell), f"the tag `training`: {cell.source[:60]}"
    assert rehearse.missing(book, rehearse.passed_over(book)) == set()
    assert rehearse.missing(book, rehearse.stopped(book)) == set()
    assert rehearse.changed_by_running_again(book) == []


def notebook(*sources: str, training: int = -1) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    for cell in cells[training:] if training >= 0 else ():
        cell.metadata["tags"] = ["training"]
        break
    return nbformat.v4.new_notebook(cells=cells)


def test_a_page_that_needs_its_training_is_noticed():
    book = notebook("model = 1", "film = model\nrun = train(model)", "print(film, run, model)", training=1)
    assert rehearse.missing(book, rehearse.passed_over(book)) == {"film", "run"}
    assert rehearse.missing(book, rehearse.stopped(book)) == {"run"}
    held = notebook(
        "model = 1", "run = train(model)", "if 'run' not in globals():\n    run = 2", "run", training=1
    )
    assert rehearse.missing(held, rehearse.passed_over(held)) == set()


def test_a_function_that_trains_is_stopped_where_it_is_called():
    book = notebook("def fit(x):\n    return train(x)\nx = 1\nrun = fit(x)\nrun.history", training=0)
    (cell,) = rehearse.stopped(book).cells
    assert cell.source == "def fit(x):\n    return train(x)\nx = 1"


@pytest.mark.parametrize(
    ("source", "noticed"),
    [
        ("x = x + 1", True),
        ("x += 1", True),
        ("x = [y for y in range(3)]", False),
        ("x = 1\nx = x + 1", False),
        ("y = x\ny = y + 1", False),
    ],
)
def test_what_a_second_run_would_change(source, noticed):
    assert bool(rehearse.changed_by_running_again(notebook("x = 0", source))) == noticed


def test_what_is_said_twice_is_compared():
    book = rehearse.twice(notebook("first", "second"))
    for cell, text in zip(book.cells, ["3 seconds", "4 seconds", "3 %", "4 %"], strict=True):
        cell.outputs = [nbformat.v4.new_output("display_data", {"text/plain": text})]
    assert [line.rpartition(" ")[2] for line in rehearse.changed(book)] == ["second"]


@pytest.mark.parametrize("kind", ["crate-play", "crate-heads", "crate-glance", "crate-acting"])
def test_a_live_part_may_have_another_name_the_second_time(kind):
    book = rehearse.twice(notebook("shown"))
    for cell in book.cells:
        cell.outputs = [nbformat.v4.new_output("display_data", {"text/html": f'<p id="{new_id(kind, "")}">'})]
    assert book.cells[0].outputs != book.cells[1].outputs
    assert list(rehearse.changed(book)) == []
