"""The repository agrees with itself: versions, addresses, environments, notebooks, links."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import build_book
import executed_copies
import execution
import make_logo
import nbformat
import notebook_form
import pytest
import quick_nbformat
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from crate_mini.data.sources import SETS

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
CONDA_NAMES = {"pytorch": "torch"}
MIB = 2**20
HIDDEN_LINES = 1300  # of code, in all notebooks together; to fall below 1500
OPTIONAL = {"google"}  # Colab's own module, in its set-up cell


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


def imported(path: Path) -> set[str]:
    """Modules that a file of Python names in its imports, whole, wherever in it; of a notebook, in any cell."""
    if path.suffix == ".ipynb":
        lines = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        return set(re.findall(r"^\s*(?:from|import) ([\w.]+)", "\n".join(lines), re.MULTILINE))
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


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


def test_every_dependency_has_a_reason_in_the_book():
    """One row each, in the table of the page where it belongs, with the version that it is declared with."""
    text = (ROOT / "book" / "dependencies.md").read_text(encoding="utf-8")
    tables = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    extras = PYPROJECT["project"]["optional-dependencies"]
    groups = [PYPROJECT["project"]["dependencies"], *extras.values()]
    seen = set()
    for table, lines in zip(tables, groups, strict=True):
        rows = re.findall(r"^\| `([\w-]+)` \| (.+?) \| (.+?) \|$", table, re.MULTILINE)
        expected = {}
        for requirement in map(Requirement, lines):
            (specifier,) = requirement.specifier
            exactly = "exactly " if specifier.operator == "==" else ""
            expected[canonicalize_name(requirement.name)] = exactly + specifier.version
        assert dict(row[:2] for row in rows) == {k: v for k, v in expected.items() if k not in seen}
        assert all(len(reason) > 10 for *_, reason in rows)
        seen |= set(expected)


def test_everything_imported_is_declared():
    """The package needs no extra for what it imports at its top; all else is in one of the lists."""
    providers = importlib.metadata.packages_distributions()
    ours = {"crate_mini"} | {
        path.stem for folder in ("tools", "benchmarks", "tests") for path in (ROOT / folder).rglob("*.py")
    }
    known = set(declared())
    for folder in ("crate_mini", "notebooks", "tools", "tests", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix not in (".py", ".ipynb") or build_book.IGNORED_FOLDERS.intersection(path.parts):
                continue
            tops = {name.split(".")[0] for name in imported(path)} - ours - set(sys.stdlib_module_names)
            for top in tops - OPTIONAL:
                names = {canonicalize_name(name) for name in providers.get(top, ())}
                assert names & known, f"{path.relative_to(ROOT)} imports {top}, which is not declared"


def test_what_the_book_is_made_with_stays():
    """Readers know these from elsewhere; none of them is to be written anew here."""
    made_with = {"torch", "torchvision", "jupyter-book", "matplotlib", "seaborn", "einops", "ipywidgets"}
    assert made_with <= set(declared())


# ---- version and addresses -------------------------------------------------------------------------------


def test_one_version_everywhere():
    version = PYPROJECT["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == version
    assert importlib.metadata.version("crate-mini") == version, (
        "installed from another version: run `make setup`"
    )


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


def test_what_the_page_hides_is_folded_everywhere_and_nothing_else(tmp_path):
    def code(source: str, **metadata):
        return nbformat.v4.new_code_cell(source, metadata=metadata)

    figure = {"figure": {"caption": "**Three** clouds. The line is cheap.", "name": "fig-a"}}
    folded = {"jupyter": {"source_hidden": True}, "cellView": "form"}
    path = write_notebook(
        tmp_path / "a.ipynb",
        nbformat.v4.new_markdown_cell("# A title"),
        code("draw()", tags=["remove-input"], mystnb=figure),
        code("answer()", tags=["hide-cell", "solution"]),
        code("# @title Mine\nplot()", tags=["hide-input"]),
        code("teach()", **folded),
    )
    notebook_form.mend(path)
    assert notebook_form.faults(path) == []
    setup, *hidden, shown = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    assert [cell.source.splitlines()[0] for cell in (setup, *hidden)] == [
        "# @title Set-up", "# @title Figure: Three clouds.", "# @title Solution", "# @title Mine",
    ]  # fmt: skip
    assert all(folded.items() <= cell.metadata.items() for cell in hidden)
    assert not folded.keys() & shown.metadata.keys()
    assert notebook_form.hidden_lines(path) == 2, "set-up, solution and titles do not count"

    book = nbformat.read(path, as_version=4)
    del book.cells[2].metadata["jupyter"]
    nbformat.write(book, path)
    (fault,) = notebook_form.faults(path)
    assert "# @title Figure: Three clouds." in fault


def test_prose_that_a_cell_prints_is_no_line_of_code():
    source = '# @title A\nn = 3\nsay(\n    r"""\nThere are {n}.\nYes.\n""",\n    n=n,\n)\nprint(n)'
    assert notebook_form.lines_of_code(source) == ["n = 3", "say(", "    n=n,", ")", "print(n)"]
    assert len(notebook_form.lines_of_code('table = """a\nb"""')) == 2, "no other string is prose"


def test_hidden_code_becomes_less():
    """Drawing belongs into `crate_mini.chapters`, where it is tested. The ceiling is lowered with every chapter."""
    lines = {path.stem: notebook_form.hidden_lines(path) for path in notebook_form.all_notebooks()}
    assert sum(lines.values()) <= HIDDEN_LINES, lines


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
        "crate_mini/exercises/chapter_01.py",
        "crate_mini/weights/a.safetensors",
        "requirements.lock",
        "notebooks/01_a.ipynb",
        "notebooks/02_b.ipynb",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(build_book, "ROOT", tmp_path)
    return tmp_path


def keys(tree: Path) -> list[str]:
    """Of both notebooks."""
    return list(build_book.execution_keys(sorted((tree / "notebooks").glob("*.ipynb"))).values())


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("crate_mini/model.py", [True, True]),
        ("crate_mini/weights/a.safetensors", [True, True]),
        ("requirements.lock", [True, True]),
        ("crate_mini/new.js", [True, True]),
        ("crate_mini/exercises/chapter_01.py", [True, False]),
        ("crate_mini/chapters/chapter_02.py", [False, True]),
        ("crate_mini/chapters/figures.py", [True, True]),
        ("crate_mini/__pycache__/model.pyc", [False, False]),
        ("notebooks/01_a.ipynb", [False, False]),  # jupyter-cache keys on the cells
    ],
)
def test_execution_keys_follow_what_results_depend_on(small_tree, name, changed):
    before = keys(small_tree)
    assert keys(small_tree) == before
    (small_tree / name).parent.mkdir(exist_ok=True)
    (small_tree / name).write_text("changed")
    assert [a != b for a, b in zip(before, keys(small_tree), strict=True)] == changed


def test_execution_keys_follow_local_data(small_tree, monkeypatch):
    before = keys(small_tree)
    monkeypatch.setenv("CRATE_MINI_DATA", str(small_tree))
    assert all(a != b for a, b in zip(before, keys(small_tree), strict=True))


def test_every_python_that_is_promised_is_tried_once_a_week():
    """From the oldest of pyproject.toml on, none left out."""
    newest = yaml.safe_load((ROOT / ".github" / "workflows" / "newest.yml").read_text(encoding="utf-8"))
    tried = [int(p.split(".")[1]) for p in newest["jobs"]["newest"]["strategy"]["matrix"]["python"]]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = int(re.search(r">=3\.(\d+)", project["requires-python"])[1])
    assert tried == list(range(oldest, oldest + len(tried)))
    assert len(tried) >= 4


def test_workflows_ask_for_what_there_is():
    """Targets of the Makefile and scripts of the checkout; jobs that wait for jobs; every weekly failure is told."""
    targets = set(
        re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    files = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert len(files) >= 3
    for file in files:
        workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert True in workflow or "on" in workflow, "YAML reads `on` as a truth value"
        jobs = workflow["jobs"]
        for job in jobs.values():
            needs = job.get("needs", [])
            assert set([needs] if isinstance(needs, str) else needs) <= set(jobs)
            for step in job["steps"]:
                assert ("uses" in step) != ("run" in step)
                for line in re.findall(r"\bmake ([a-z -]+)", step.get("run", "")):
                    assert set(line.split()) <= targets, f"{file.name}: make {line}"
                for script in re.findall(r"python (tools/\S+)", step.get("run", "")):
                    assert (ROOT / script).is_file(), f"{file.name}: {script}"
    weekly = yaml.safe_load((ROOT / ".github" / "workflows" / "newest.yml").read_text(encoding="utf-8"))[
        "jobs"
    ]
    assert set(weekly["tell"]["needs"]) == set(weekly) - {"tell"}


@pytest.mark.parametrize("name", ["notebooks/01_a.ipynb", "crate_mini/exercises/chapter_01.py", "_toc.yml"])
def test_page_key_follows_everything_that_is_shown(small_tree, name):
    before = build_book.page_key()
    assert build_book.page_key() == before
    (small_tree / name).write_text("changed")
    assert build_book.page_key() != before


def test_what_serves_one_chapter_is_imported_by_it_alone():
    """Or a page would be kept although what it shows has changed."""
    for path in [*(ROOT / "crate_mini").rglob("*.py"), *notebook_form.all_notebooks()]:
        name = path.relative_to(ROOT).as_posix()
        own = build_book.OF_ONE_CHAPTER.match(name)
        chapter = own[1] if own else path.stem[:2] if path.suffix == ".ipynb" else ""
        of = [build_book.OF_ONE_CHAPTER.match(f"{module.replace('.', '/')}.py") for module in imported(path)]
        assert {found[1] for found in of if found} <= {chapter}, name


def test_every_data_set_has_a_reference():
    """Of those that others made; and every key that a page cites is in the bibliography."""
    page = (ROOT / "book" / "how_to_run.md").read_text(encoding="utf-8")
    table = page.partition("| name | made by |")[2].partition("\n\n")[0]
    cited = {}
    for names, makers in re.findall(r"^ *\| (`.*?) \| (.*) \|$", table, re.MULTILINE):
        for name in re.findall(r"`([\w-]+)`", names):
            cited[name] = re.findall(r"{cite:t}`(\w+)`", makers)
    drawn = {name for name in SETS if name.startswith("embedded")}
    assert set(cited) == set(SETS) - drawn - {"folder", "masks"}
    keys = set(re.findall(r"^@\w+{(\w+),", (ROOT / "book" / "references.bib").read_text(), re.MULTILINE))
    assert all(of and set(of) <= keys for of in cited.values())


def test_notebooks_are_read_without_parsers_for_addresses():
    """Two seconds of a core in each process that reads one; the first to import nbformat decides."""
    assert sys.modules[quick_nbformat.LEFT_OUT] is None
    for path in (ROOT / "tools").glob("*.py"):
        found = re.search(r"^\s*(?:import|from) (?:nbformat|jsonschema)\b", path.read_text(), re.MULTILINE)
        assert (found is not None) == (path.name == "quick_nbformat.py"), path.name


# ---- executing notebooks ---------------------------------------------------------------------------------


@pytest.fixture
def own_server() -> Iterator[None]:
    """The process that is copied is this test's own: other tests that found it would have its one thread."""
    forkserver._forkserver._stop()
    yield
    forkserver._forkserver._stop()


@pytest.fixture
def four_notebooks(tmp_path) -> list[Path]:
    """One that works on one thread and 64 MB, one that fails, one whose kernel ends, one that has nothing to do."""
    work = (
        "import sys\n"
        "print('torch' in sys.modules, [p for p in sys.path if p.endswith(('tools', 'elsewhere'))])\n"
        "import os, numpy, torch\n"
        "print(torch.get_num_threads(), __name__, os.getsid(0) == os.getpid())\n"
        "held = numpy.ones(2**23)\n"
        "print(os.environ['OMP_NUM_THREADS'], os.environ.get('PYTHONPATH'), os.listdir())\n"
        "print(os.environ['MPLCONFIGDIR'])"
    )
    draw = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    ends = "import os\nos._exit(3)"
    sources = {
        "works": (work, draw),
        "fails": ("print('so far')\n1 / 0",),
        "ends": (ends,),
        "quiet": ("pass",),
    }
    return [
        write_notebook(tmp_path / f"{name}.ipynb", *map(nbformat.v4.new_code_cell, cells))
        for name, cells in sources.items()
    ]


def test_notebooks_are_executed_whatever_becomes_of_others(
    own_server, four_notebooks, tmp_path, monkeypatch, capfd
):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "with a style of the reader's"))
    monkeypatch.setattr(execution, "workers", lambda: 2)
    done = {result.path.stem: result for result in execution.execute_all(four_notebooks)}
    assert set(done) == {"works", "fails", "ends", "quiet"}
    imports, kernel, surroundings, settings = done["works"].notebook.cells[0].outputs[0].text.splitlines()
    copied = sys.platform == "linux"  # of a process that has imported what all need
    assert imports == f"{copied} []", "a kernel sees nothing that lies beside the tools"
    assert kernel == "1 __main__ True"
    assert surroundings == "1 None []"
    assert "image/png" in done["works"].notebook.cells[1].outputs[0].data, "a figure is a picture"
    assert "reader" not in settings
    assert not Path(settings).exists(), "nothing is left of the folder that Matplotlib wrote to"
    assert "ZeroDivisionError: division by zero" in done["fails"].failure
    assert "Kernel died" in done["ends"].failure
    assert [result.failure for result in (done["works"], done["quiet"])] == ["", ""]
    for result in done.values():
        assert result.seconds > 0
        assert result.cpu_seconds > 0
    assert done["works"].peak_mib > done["quiet"].peak_mib + 40
    written = capfd.readouterr()
    assert written.out + written.err == "", "kernels that have nothing to say are silent"


@pytest.mark.parametrize(
    ("cores", "gigabytes", "expected"), [(1, 64, 1), (2, 24, 2), (64, 256, 8), (16, 8, 2)]
)
def test_as_many_at_once_as_cores_and_memory_allow(monkeypatch, cores, gigabytes, expected):
    monkeypatch.setattr(execution.os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": gigabytes * 2**18}
    monkeypatch.setattr(execution.os, "sysconf", sizes.get)
    assert execution.workers() == expected


def test_the_longest_comes_first(monkeypatch, tmp_path):
    monkeypatch.setattr(build_book, "TIMES", tmp_path / "times.json")
    paths = [Path(f"{name}.ipynb") for name in "abc"]
    assert build_book.longest_first(paths) == paths
    rows = [{"notebook": "a.ipynb", "cpu_seconds": 2.0}, {"notebook": "b.ipynb", "cpu_seconds": 9.0}]
    build_book.TIMES.write_text(json.dumps(rows))
    assert [path.stem for path in build_book.longest_first(paths)] == ["c", "b", "a"]


def test_an_executed_copy_has_its_outputs_and_nothing_to_run():
    v4 = nbformat.v4
    shown = {
        "text/html": "<p>a still</p><script type='text/plain'>weights</script><b>b</b><SCRIPT>x\n</SCRIPT >"
    }
    outputs = [
        v4.new_output("stream", text="said"),
        v4.new_output("display_data", shown),
        v4.new_output("display_data", {executed_copies.WIDGET: {}, "text/plain": "a slider"}),
        v4.new_output("display_data", {executed_copies.WIDGET: {}}),
    ]
    cells = [v4.new_markdown_cell("# One"), v4.new_code_cell("1 + 1", outputs=outputs)]
    given = v4.new_notebook(cells=cells, metadata={"widgets": {"state": {}}})
    copy = executed_copies.readable(given)
    said, html, slider = copy.cells[1].outputs
    assert said.text == "said"
    assert html.data == {"text/html": "<p>a still</p><b>b</b>"}
    assert slider.data == {"text/plain": "a slider"}
    assert "widgets" not in copy.metadata
    assert [cell.source for cell in copy.cells] == ["# One", "1 + 1"]
