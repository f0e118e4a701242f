"""The top of the package: public names, imported when used, and one version."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import crate_mini

ROOT = Path(__file__).resolve().parent.parent
PUBLIC = {
    "CRATE", "HeadInspector", "__version__", "cls_attention_maps", "coding_rate", "compression_rate", "create_model",
    "evaluate_segmentation", "list_models", "list_pretrained", "load_pretrained", "maskcut", "record",
    "register_model", "sparse_rate_reduction",
}  # fmt: skip


def fresh(code: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_public_names_are_those_that_were_decided():
    assert set(crate_mini.__all__) == PUBLIC
    assert set(dir(crate_mini)) >= PUBLIC


def test_import_loads_the_standard_library_alone():
    code = "import sys, json; before = set(sys.modules); import crate_mini; crate_mini.__version__; dir(crate_mini)\n"
    loaded = json.loads(fresh(code + "print(json.dumps(sorted(set(sys.modules) - before)))"))
    foreign = {name.split(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert foreign == {"crate_mini"}
    assert "crate_mini.rates" not in loaded


FORGET = """
def forget():
    import sys
    for name in [n for n in sys.modules if n.split(".")[0] == "crate_mini"]:
        del sys.modules[name]
"""


@pytest.mark.parametrize("line", [["--version"], ["--help"], ["completion", "bash"], ["evluate"], []])
def test_commands_that_compute_nothing_wait_for_nothing(line):
    """A shell asks for the completion whenever it starts; ``--help`` is read before anything is tried."""
    code = (
        "import sys; from crate_mini.cli import main\n"
        f"try: main({line})\n"
        "except SystemExit: pass\n"
        "print({'torch', 'numpy', 'scipy', 'matplotlib', 'PIL', 'tqdm'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr.splitlines()[-1] == "set()"


def test_every_public_name_can_be_imported_first():
    """Nothing hangs on what was imported before it."""
    names = sorted(PUBLIC)
    code = "    forget(); exec(f'from crate_mini import {name}'); print(eval(name) is not None)"
    code = f"for name in {names}:\n{code}"
    assert fresh(f"{FORGET}\n{code}").split() == ["True"] * len(names)


def test_star_import_brings_the_public_names_and_nothing_else():
    code = "names = {}; exec('from crate_mini import *', names); print(sorted(set(names) - {'__builtins__'}))"
    assert set(ast.literal_eval(fresh(code))) == PUBLIC


def test_unknown_name_is_refused_by_name():
    with pytest.raises(AttributeError, match="'crate_mini' has no attribute 'coding_rates'"):
        crate_mini.coding_rates  # noqa: B018
    with pytest.raises(ImportError, match="coding_rates"):
        from crate_mini import coding_rates  # noqa: F401


def test_type_checkers_are_told_the_same_homes():
    """The imports that only a type checker follows say what the table says."""
    tree = ast.parse(inspect.getsource(crate_mini))
    (only_checked,) = [
        n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"
    ]
    told = {
        alias.asname: f"{node.module}:{alias.name}"
        for node in only_checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    # the function is all that a checker need know of the module that can be called
    homes = dict(crate_mini._HOMES) | {"maskcut": "crate_mini.maskcut:maskcut"}
    assert told == homes
    assert set(homes) == PUBLIC - {"__version__"}


def test_type_checker_accepts_every_public_name_and_reports_its_misuse():
    """What must be reported is marked in the sample; mypy complains of a mark without a fault, too."""
    sample = ROOT / "tests" / "typing_sample.py"
    tree = ast.parse(sample.read_text(encoding="utf-8"))
    written = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    written |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    assert written >= PUBLIC
    done = subprocess.run(
        [sys.executable, "-m", "mypy", str(sample)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# ---- maskcut: a function and a module -------------------------------------------------------------------------------

USE_OF_BOTH = """
f = torch.randn(36, 5, generator=torch.Generator().manual_seed(0))
print(torch.equal(maskcut(f, (6, 6), n_masks=2), maskcut.maskcut(f, (6, 6), n_masks=2)), maskcut.TAU)
"""
ORDERS = (
    "from crate_mini import maskcut",
    "import crate_mini; maskcut = crate_mini.maskcut",
    "import crate_mini.maskcut; maskcut = crate_mini.maskcut",
    "import crate_mini.maskcut as maskcut",
    "from crate_mini.maskcut import neighbours; from crate_mini import maskcut",
)


def test_maskcut_is_function_and_module_in_any_order_of_imports():
    code = f"import torch\nfor first in {ORDERS}:\n    forget(); exec(first + {USE_OF_BOTH!r}, {{'torch': torch}})"
    assert fresh(f"{FORGET}\n{code}").splitlines() == ["True 0.15"] * len(ORDERS)


def test_maskcut_shows_the_functions_signature():
    from crate_mini.maskcut import maskcut

    assert inspect.signature(crate_mini.maskcut) == inspect.signature(maskcut)
    assert inspect.ismodule(crate_mini.maskcut)
    with pytest.raises(TypeError, match="n_mask"):
        crate_mini.maskcut(torch.ones(4, 2), (2, 2), n_mask=1)


# ---- version --------------------------------------------------------------------------------------------------------


def test_version_is_pyprojects():
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert crate_mini.__version__ == stated


def test_version_of_a_checkout_wins_over_what_is_installed(tmp_path):
    """torch.hub runs a folder whose package is not the installed one."""
    package = tmp_path / "crate_mini"
    package.mkdir()
    (package / "__init__.py").write_text(inspect.getsource(crate_mini), encoding="utf-8")
    ask = [sys.executable, "-c", "import crate_mini; print(crate_mini.__version__)"]

    def told() -> str:
        return subprocess.run(ask, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    (tmp_path / "pyproject.toml").write_text('[project]\nname = "crate-mini"\nversion = "9.8.7"\n')
    assert told() == "9.8.7"
    # a project file of something else says nothing about this package
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\nversion = "9.8.7"\n')
    from importlib.metadata import version

    assert told() == version("crate-mini")


def test_package_runs_as_the_command():
    line = [sys.executable, "-m", "crate_mini", "--version"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"crate-mini {crate_mini.__version__}\n", "")
