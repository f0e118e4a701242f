"""Results: enough to make a number again, writing that refuses what nobody could make again, and what ships."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from crate_mini import provenance as first_name
from crate_mini import results
from crate_mini.recipes import list_runs
from crate_mini.results import (
    add_dirty,
    dirty_commits,
    plain,
    provenance,
    read,
    read_result,
    require_clean,
    result_text,
    write,
)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def nobody_allows_what_is_dirty(monkeypatch):
    monkeypatch.delenv(results.DIRTY, raising=False)
    results.commit.cache_clear()
    yield
    results.commit.cache_clear()


# ---- provenance ----------------------------------------------------------------------------------------------


def test_what_it_says(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/crate-mini", "train", "--out", "a folder"])
    facts = provenance(seed=3, data={"train": "embedded"})
    assert list(facts)[:2] == ["seed", "data"]
    assert facts["command"] == "crate-mini train --out 'a folder'"  # no path of this machine
    assert facts["versions"] == {"python": platform.python_version(), "torch": torch.__version__}
    assert facts["device"].startswith("cpu (")
    assert abs(datetime.date.fromisoformat(facts["date"]) - datetime.date.today()).days <= 1
    assert json.loads(json.dumps(facts)) == facts


@pytest.mark.parametrize("module", ["crate_mini/__main__.py", "crate_mini/cli/__main__.py"])
def test_a_module_that_is_run_is_the_command(monkeypatch, module):
    monkeypatch.setattr(sys, "argv", [f"/somewhere/{module}", "train"])
    assert provenance()["command"] == "crate-mini train"
    monkeypatch.setattr(sys, "argv", ["/somewhere/mine/__main__.py", "train"])
    assert provenance()["command"] == "__main__.py train"


def git(folder: Path, *args: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *who, "-C", folder, *args], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A small checkout with one commit, taken for that of the package."""
    for name in ("crate_mini/__init__.py", "tools/score.py", "results/masks/a.json", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}" if name.endswith("json") else "")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    monkeypatch.setattr(results, "PACKAGE", tmp_path / "crate_mini")
    return tmp_path


def test_the_commit(checkout):
    assert results.commit() == git(checkout, "rev-parse", "--short=12", "HEAD")


@pytest.mark.parametrize(
    ("name", "dirty"),
    [
        ("crate_mini/__init__.py", True),
        ("crate_mini/new.py", True),
        ("tools/score.py", True),
        ("tools/new.py", True),
        ("results/masks/a.json", False),  # what is measured does not decide what will be
        ("notes.txt", False),
        ("crate_mini/weights/new.safetensors", False),  # weights are known by their checksum
    ],
)
def test_what_makes_a_commit_dirty(checkout, name, dirty):
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text("changed = 1")
    assert results.commit().endswith("+") == dirty


def test_the_commit_is_that_of_the_code_that_runs(checkout):
    """A long run is not of the commit that somebody made meanwhile, nor dirty by what somebody edits meanwhile."""
    before = results.commit()
    (checkout / "tools" / "score.py").write_text("changed = 1")
    assert provenance()["commit"] == before


def test_a_folder_of_somebody_elses_repository_has_no_commit_of_ours(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "mine")
    (tmp_path / "site-packages" / "crate_mini").mkdir(parents=True)
    (tmp_path / "site-packages" / "crate_mini" / "__init__.py").write_text("")
    monkeypatch.setattr(results, "PACKAGE", tmp_path / "site-packages" / "crate_mini")
    assert results.commit() is None


@pytest.mark.parametrize("error", [FileNotFoundError, subprocess.SubprocessError])
def test_outside_a_checkout(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(results.subprocess, "run", fail)
    assert provenance()["commit"] is None


def test_real_commit():
    commit = provenance()["commit"]
    assert commit is None or re.fullmatch(r"[0-9a-f]{12}\+?", commit)


# ---- writing -------------------------------------------------------------------------------------------------


def test_what_is_written_is_read(tmp_path):
    content = {"rows": [[0.1, 0.2], [0.3, 0.4]], "name": "a [b]", "commit": "0123456789ab", "none": None}
    path = write(tmp_path / "new" / "a.json", content)
    assert json.loads(path.read_text()) == content
    assert "[ 0.1, 0.2 ]" in path.read_text()
    assert path.read_text().endswith("}\n")


@pytest.mark.parametrize("commit", ["0123456789ab", None])
def test_a_result_of_clean_code_or_of_an_installed_package_is_written(tmp_path, commit):
    assert write(tmp_path / "a.json", {"commit": commit}).is_file()


def test_a_result_of_code_that_no_commit_holds_is_refused(tmp_path, monkeypatch):
    content = {"rows": [{"commit": "0123456789ab+"}]}
    with pytest.raises(ValueError, match=r"since the last commit \(0123456789ab\+\).* say --dirty"):
        write(tmp_path / "a.json", content)
    assert not list(tmp_path.iterdir())
    assert write(tmp_path / "a.json", content, allow_dirty=True).is_file()
    monkeypatch.setenv(results.DIRTY, "1")
    assert write(tmp_path / "b.json", content).is_file()


def test_rows_of_an_earlier_run_pass_and_new_ones_do_not(tmp_path):
    old, clean, new = ({"commit": c} for c in ("aaaaaaaaaaaa+", "bbbbbbbbbbbb", "cccccccccccc+"))
    path = write(tmp_path / "a.json", {"runs": [old]}, allow_dirty=True)
    write(path, {"runs": [old, clean]})
    with pytest.raises(ValueError, match=r"\(cccccccccccc\+\)"):
        write(path, {"runs": [old, clean, new]})
    assert json.loads(path.read_text()) == {"runs": [old, clean]}


def test_it_is_refused_before_the_work(checkout):
    require_clean()
    results.commit.cache_clear()
    (checkout / "tools" / "score.py").write_text("changed = 1")
    with pytest.raises(ValueError, match="commit first, or say --dirty"):
        require_clean()
    parser = argparse.ArgumentParser()
    add_dirty(parser)
    require_clean(parser.parse_args(["--dirty"]).dirty)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_no_result_holds_what_json_cannot(tmp_path, number):
    with pytest.raises(
        ValueError, match=r"result\['rules'\]\['auroc'\]\[1\] = (nan|-?inf) is not a finite number"
    ):
        write(tmp_path / "a.json", {"rules": {"auroc": [0.5, number]}})
    assert not list(tmp_path.iterdir())


def test_plain_numbers():
    values = torch.tensor([[1 / 3, float("nan")], [float("inf"), 1e-12 / 3]], dtype=torch.float64)
    assert plain(values, 4) == [[0.3333, None], [None, 3.333e-13]]
    assert plain(2 / 3) == 0.666667
    assert result_text({"values": plain(values)})


# ---- reading -------------------------------------------------------------------------------------------------


def test_results_by_name():
    assert "networks" in read("masks/comparisons")
    assert read("masks/comparisons") == read("masks/comparisons.json")
    assert read_result("training/crate_mini_animals_s0.csv").startswith("epoch")
    assert first_name.read_result is read_result


def test_a_result_that_is_not_there():
    with pytest.raises(
        FileNotFoundError, match=r"no results/masks/no_such.json; there are .*comparisons.json"
    ):
        read("masks/no_such")
    with pytest.raises(FileNotFoundError, match=r"there are .*benchmarks, .*, training"):
        read("no/such")


def test_installed_from_a_wheel_it_has_all_results(tmp_path):
    """Built and looked into without a network; read from where it was unpacked, with no checkout around."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    source = tmp_path / "source"  # a copy, so that nothing is built in the checkout
    listing = subprocess.run(
        ["git", "ls-files", "-z", "*.toml", "*.in", "setup.py", "README.md", "LICENSE", "results", "crate_mini/*.py"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    )  # fmt: skip
    for name in filter(None, listing.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([*command, "-w", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    ours = {p.relative_to(ROOT / "results").as_posix() for p in (ROOT / "results").rglob("*.*")}
    there = tmp_path / "installed" / "crate_mini" / "results_data"
    assert {p.relative_to(there).as_posix() for p in there.rglob("*.*")} == ours
    script = (
        "import crate_mini.results as r; print(r.__file__); print(len(r.read('masks/comparisons')['networks'])); "
        "print(r.commit())"
    )
    beside = os.pathsep.join([str(tmp_path / "installed"), *(p for p in sys.path if "site-packages" in p)])
    told = subprocess.run(
        [sys.executable, "-S", "-c", script],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": beside}, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert Path(told[0]).is_relative_to(tmp_path)
    assert told[1:] == [str(len(read("masks/comparisons")["networks"])), "None"]


# ---- what lies there -----------------------------------------------------------------------------------------


def test_no_new_result_is_of_code_that_no_commit_holds():
    """Results of the first edition that name such a commit are listed by name; the list only grows shorter."""
    known = json.loads((ROOT / "tests" / "dirty_results.json").read_text(encoding="utf-8"))
    files = [*(ROOT / "results").rglob("*.json"), *(ROOT / "crate_mini" / "weights").glob("*.json")]
    found = {}
    for path in files:
        if dirty := sorted(set(dirty_commits(json.loads(path.read_text(encoding="utf-8"))))):
            found[path.relative_to(ROOT).as_posix()] = dirty
    new = {name: dirty for name, dirty in found.items() if not set(dirty) <= set(known.get(name, ()))}
    assert not new, "measured with code that no commit holds: commit, and measure again"
    gone = [name for name in known if found.get(name) != known[name]]
    assert not gone, "clean by now: take them off tests/dirty_results.json"


def test_the_archive_holds_what_no_page_reads():
    """What lies in it is of no run that there is, or of a training that was made again under its name."""
    archive = read("archive")
    again = {"crate_mini_all_lion_s2", "vit_mini_6_all_lion_s2"}
    files = {name: path for path in archive["files"] if (name := Path(path).stem.removesuffix("_val"))}
    assert len(archive["files"]) > 30
    for name, path in files.items():
        if name in again:
            kept, now = archive["files"][path], ROOT / "results" / path
            assert now.is_file()
            assert path.endswith(".csv") or kept["date"] == "2026-11-28"
        elif name not in ("comparisons", "cards", "heads", "atoms", "embedded"):  # rows of them
            assert name not in list_runs(), name
            assert not (ROOT / "results" / path).exists(), path
    for path, part in (
        ("masks/comparisons", "networks"),
        ("acting/heads", "rows"),
        ("clicks/embedded", "rows"),
    ):
        gone, here = archive["files"][f"{path}.json"][part], read(path)[part]
        assert gone, path
        assert not set(gone) & set(here), path


def test_no_result_holds_nan():
    for path in [*(ROOT / "results").rglob("*.json"), *(ROOT / "crate_mini" / "weights").glob("*.json")]:
        assert result_text(json.loads(path.read_text(encoding="utf-8"))), path
