"""The repository agrees with itself: versions, addresses, environments, notebooks, links."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import tomllib
from pathlib import Path

import build_book
import make_logo
import nbformat
import notebook_form
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
CONDA_NAMES = {"pytorch": "torch"}
MIB = 2**20


def declared() -> dict[str, Requirement]:
    """All requirements of pyproject.toml, extras included, by canonical name."""
    lines = list(PYPROJECT["project"]["dependencies"])
    for extra in PYPROJECT["project"]["optional-dependencies"].values():
        lines += extra
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def locked() -> dict[str, list[Version]]:
    """Versions in requirements.lock; a package may have one for each platform."""
    versions: dict[str, list[Version]] = {}
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith((" ", "#")):
            requirement = Requirement(line)
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", f"the lock must pin exactly: {line}"
            versions.setdefault(canonicalize_name(requirement.name), []).append(Version(specifier.version))
    return versions


def tracked() -> list[Path]:
    """Files under version control that are there."""
    try:
        listing = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


# ---- environments ----------------------------------------------------------------------------------------


def test_requirements_have_lower_bounds_only():
    """An upper bound would make Colab replace what it has. Jupyter Book 2 cannot build this book: one pin."""
    for name, requirement in declared().items():
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators == ({"=="} if name == "jupyter-book" else {">="}), str(requirement)


def test_lock_satisfies_pyproject():
    versions = locked()
    for name, requirement in declared().items():
        assert name in versions, f"{name} is not in requirements.lock: run `make lock`"
        for version in versions[name]:
            assert version in requirement.specifier, (
                f"requirements.lock has {name} {version}: run `make lock`"
            )


def test_lock_names_no_host():
    assert "://" not in (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_conda_environment_equals_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == PYPROJECT["project"]["name"]
    lines = [line for line in environment["dependencies"] if isinstance(line, str)]
    (from_pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    conda = {}
    for line in [*lines, *from_pip]:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        conda[CONDA_NAMES.get(name, name)] = requirement.specifier
    assert conda.pop("python") == Requirement(f"python{PYPROJECT['project']['requires-python']}").specifier
    conda.pop("pip")
    assert conda == {name: requirement.specifier for name, requirement in declared().items()}


# ---- version and addresses -------------------------------------------------------------------------------


def test_one_version_everywhere():
    version = PYPROJECT["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == version
    assert importlib.metadata.version("crate-mini") == version, (
        "installed from another version: run `make setup`"
    )


def test_one_address_everywhere():
    url = CONFIG["repository"]["url"]
    owner, name = url.removeprefix("https://github.com/").split("/")
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["repository-code"] == url
    assert PYPROJECT["project"]["urls"]["Repository"] == url
    assert PYPROJECT["project"]["urls"]["Book"] == CONFIG["html"]["baseurl"]
    assert CONFIG["html"]["baseurl"] == f"https://{owner}.github.io/{name}/"
    assert f"git+{url}@{CONFIG['repository']['branch']}" in notebook_form.SETUP_CELL
    for page in (ROOT / "README.md", ROOT / "book" / "how_to_run.md"):
        links = re.findall(
            rf"https://github\.com/[\w.-]+/{re.escape(name)}\b", page.read_text(encoding="utf-8")
        )
        assert set(links) == {url}, page.name


def test_citation_names_both_papers():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    titles = {reference["title"] for reference in yaml.safe_load(text)["references"]}
    assert titles == {
        "White-Box Transformers via Sparse Rate Reduction",
        "Emergence of Segmentation with Minimalistic White-Box Transformers",
    }


# ---- what is committed -----------------------------------------------------------------------------------


def test_no_large_file_is_tracked():
    large = [
        f"{path.name}: {path.stat().st_size / MIB:.1f} MiB"
        for path in tracked()
        if path.stat().st_size > 12 * MIB
    ]
    assert not large


def test_nothing_built_is_tracked():
    built = {"_build", ".venv", "__pycache__", ".ipynb_checkpoints", ".pytest_cache"}
    assert not [str(path) for path in tracked() if built.intersection(path.relative_to(ROOT).parts)]


def test_no_path_of_a_machine_in_the_sources():
    """An absolute path in a committed text works on one machine only."""
    pattern = re.compile(r"""(?<![\w.~>/-])/(?:work|home|Users|root|tmp)/\w""")
    suffixes = {".py", ".md", ".ipynb", ".yml", ".toml", ".json", ".js", ".css", ".cff", ".lock", ""}
    for path in tracked():
        if path.suffix in suffixes and path != Path(__file__).resolve():
            found = pattern.search(path.read_text(encoding="utf-8"))
            assert found is None, f"{path.relative_to(ROOT)} holds {found[0]!r}"


def test_logo_is_what_its_script_draws():
    assert make_logo.TARGET.read_text(encoding="utf-8") == make_logo.svg()


# ---- notebooks -------------------------------------------------------------------------------------------


def test_toc_and_notebooks_folder_agree():
    listed = {path.relative_to(ROOT) for path in build_book.notebooks()}
    assert listed == {path.relative_to(ROOT) for path in notebook_form.all_notebooks()}


def test_every_entry_of_the_toc_exists():
    entries = build_book.toc_entries()
    assert len(entries) == len(set(entries))
    for entry in entries:
        assert any((ROOT / f"{entry}{suffix}").exists() for suffix in (".md", ".ipynb")), entry


@pytest.mark.parametrize("path", notebook_form.all_notebooks(), ids=lambda path: path.stem)
def test_notebook_has_the_common_form_and_no_outputs(path):
    assert notebook_form.faults(path) == []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs"), "outputs are committed: run `make format`"
        assert cell.get("execution_count") is None


def write_notebook(path: Path, *cells: dict) -> Path:
    nbformat.write(
        nbformat.v4.new_notebook(cells=list(cells), metadata={"kernelspec": notebook_form.KERNEL}), path
    )
    return path


def test_faults_are_found_and_mended(tmp_path):
    title, code = nbformat.v4.new_markdown_cell("# A title"), nbformat.v4.new_code_cell("1 + 1")
    path = write_notebook(tmp_path / "a.ipynb", title, code)
    assert notebook_form.faults(path) == ["its second cell must be the set-up cell"]
    notebook_form.mend(path)
    assert notebook_form.faults(path) == []
    cells = nbformat.read(path, as_version=4).cells
    assert [cell.source for cell in cells] == ["# A title", notebook_form.SETUP_CELL, "1 + 1"]
    notebook_form.mend(path)
    assert len(nbformat.read(path, as_version=4).cells) == 3
    assert notebook_form.faults(write_notebook(tmp_path / "b.ipynb", code)) != []


@pytest.mark.parametrize(
    ("on_colab", "installed", "expected"), [(True, False, 1), (True, True, 0), (False, False, 0)]
)
def test_setup_cell_installs_on_colab_only(monkeypatch, on_colab, installed, expected):
    calls = []
    monkeypatch.setattr("subprocess.run", lambda *args, **options: calls.append(args[0]))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    if on_colab:
        monkeypatch.setitem(__import__("sys").modules, "google.colab", object())
    exec(compile(notebook_form.SETUP_CELL, "setup", "exec"), {})
    assert len(calls) == expected
    assert all("torch" not in word for call in calls for word in call)


# ---- links between the Markdown files --------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "book").glob("*.md"))], ids=lambda p: p.name
)
def test_relative_links_resolve(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(
        r"""(?:src|href)=["']([^"']+)["']""", text
    ):
        if not re.match(r"[a-z]+:|#", target):
            assert (path.parent / target.split("#")[0]).exists(), target


# ---- the keys that decide whether a result may be shown again --------------------------------------------


@pytest.fixture
def small_tree(tmp_path, monkeypatch):
    for name in (
        "crate_mini/model.py",
        "crate_mini/weights/a.safetensors",
        "requirements.lock",
        "notebooks/a.ipynb",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(build_book, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "name", ["crate_mini/model.py", "crate_mini/weights/a.safetensors", "requirements.lock"]
)
def test_execution_key_follows_package_and_lock(small_tree, name):
    before = build_book.execution_key()
    assert build_book.execution_key() == before
    (small_tree / name).write_text("changed")
    assert build_book.execution_key() != before


def test_execution_key_follows_new_files_and_data_but_not_bytecode(small_tree, monkeypatch):
    before = build_book.execution_key()
    (small_tree / "crate_mini" / "__pycache__").mkdir()
    (small_tree / "crate_mini" / "__pycache__" / "model.pyc").write_text("bytecode")
    assert build_book.execution_key() == before
    (small_tree / "crate_mini" / "new.js").write_text("")
    with_new_file = build_book.execution_key()
    assert with_new_file != before
    monkeypatch.setenv("CRATE_MINI_DATA", str(small_tree))
    assert build_book.execution_key() != with_new_file


def test_page_key_follows_notebooks_while_execution_key_does_not(small_tree):
    execution = build_book.execution_key()
    pages = build_book.page_key(execution)
    (small_tree / "notebooks" / "a.ipynb").write_text("changed")
    assert build_book.execution_key() == execution
    assert build_book.page_key(execution) != pages
