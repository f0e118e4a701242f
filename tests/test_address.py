"""The repository's address: one place, said everywhere or nowhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import address
import nbformat
import notebook_form
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
URL = "https://github.com/Some-One/a-book"
SAID_IN = ("pyproject.toml", "CITATION.cff", *address.PAGES)


@pytest.fixture
def copy(tmp_path):
    """The files that say the address, with none."""
    for name in SAID_IN:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    address.set_everywhere(None, tmp_path)
    return tmp_path


def everything(root: Path) -> dict[str, str]:
    return {name: (root / name).read_text(encoding="utf-8") for name in SAID_IN}


def test_everything_here_says_the_one_address(tmp_path):
    for name in SAID_IN:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    assert address.set_everywhere(address.written(), tmp_path) == [], "run make set-repository URL=... again"
    assert f'address = "{address.written() or ""}"' in notebook_form.SETUP_CELL


def test_nothing_else_here_says_it():
    """No other file of the repository names where it might be published."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    own = re.compile(r"github\.com/[\w-]+/crate-mini|[\w-]+\.github\.io/crate-mini")
    for name in listed:
        path = ROOT / name
        if (
            path.suffix in (".md", ".py", ".toml", ".yml", ".cff", ".ipynb", ".sh", ".js", ".html")
            and path.is_file()
        ):
            found = set(own.findall(path.read_text(encoding="utf-8")))
            assert name in SAID_IN or path.suffix == ".ipynb" or not found, name


def test_written_everywhere_and_taken_out_again(copy):
    before = everything(copy)
    assert address.written(copy) is None
    assert not any("github.com/" in re.sub(r"<[^>]*>", "", text) and URL in text for text in before.values())
    changed = address.set_everywhere(URL, copy)
    assert {path.relative_to(copy).as_posix() for path in changed} == set(SAID_IN)
    assert address.written(copy) == URL
    texts = everything(copy)
    assert all(URL in text for text in texts.values())
    cited = yaml.safe_load(texts["CITATION.cff"])
    assert (cited["repository-code"], cited["url"]) == (URL, "https://some-one.github.io/a-book/")
    assert f"git clone {URL}\ncd a-book\n" in texts["README.md"]
    assert address.set_everywhere(URL, copy) == []
    address.set_everywhere("https://gitlab.com/x/y", copy)
    assert not any("Some-One" in text for text in everything(copy).values())
    assert "colab.research" not in everything(copy)["README.md"], "Colab opens what is on GitHub"
    address.set_everywhere(None, copy)
    assert everything(copy) == before


@pytest.mark.parametrize(
    "there",
    [
        "https://github.com/Some-One/a-book",
        "https://github.com/Some-One/a-book.git",
        "https://github.com/Some-One/a-book/",
        "https://someone:secret@github.com/Some-One/a-book.git",
        "git@github.com:Some-One/a-book.git",
        "ssh://git@github.com/Some-One/a-book",
    ],
)
def test_a_public_origin_however_it_is_written(there):
    assert address.normal(there) == URL


@pytest.mark.parametrize(
    "there",
    [
        "/srv/git/book",
        "../book",
        "https://git.local/a/b",
        "file:///a/b",
        "http://10.0.0.1/a/b",
        "",
        "github.com",
    ],
)
def test_an_origin_that_is_not_public_is_none(there):
    assert address.normal(there) is None


def test_pages_take_the_origin_where_nothing_is_written(copy):
    def git(*words):
        subprocess.run(["git", *words], cwd=copy, check=True, capture_output=True)

    git("init", "-q")
    assert address.of_book(copy) is None
    git("remote", "add", "origin", "git@github.com:other/fork.git")
    assert address.of_book(copy) == "https://github.com/other/fork"
    address.set_everywhere(URL, copy)
    assert address.of_book(copy) == URL
    page = address.with_blocks((copy / "book/how_to_run.md").read_text(encoding="utf-8"), None)
    assert "git clone" not in page
    assert "in a copy of this repository" in page


def test_a_block_without_a_rule_is_an_error():
    with pytest.raises(KeyError, match="nonsense"):
        address.with_blocks("<!-- address: nonsense -->\nx\n<!-- end -->", None)


def test_what_is_no_address_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["address.py", "example.org/book"])
    with pytest.raises(SystemExit, match=r"example\.org/book.* is no address like"):
        address.main()


class TestSetUpCell:
    """The cell, run as on Colab, with what pip is asked written down."""

    def run(self, monkeypatch, cell, *, colab=True, installed=False):
        asked = []
        if colab:
            monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
        monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
        monkeypatch.setattr(subprocess, "run", lambda line, check: asked.append(line[-1]))
        exec(compile(cell, "set-up", "exec"), {})
        return asked

    @pytest.fixture
    def cells(self):
        """The cell with no address, and with one."""
        bare = notebook_form.SETUP_CELL.replace(f'address = "{address.written() or ""}"', 'address = ""')
        return bare, bare.replace('address = ""', f'address = "{URL}"')

    def test_from_the_address(self, monkeypatch, tmp_path, cells):
        monkeypatch.chdir(tmp_path)
        assert self.run(monkeypatch, cells[1]) == [f"git+{URL}@main"]

    def test_a_wheel_that_lies_there_comes_first(self, monkeypatch, tmp_path, cells):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "crate_mini-0.1.0-py3-none-any.whl").touch()
        for cell in cells:
            assert self.run(monkeypatch, cell) == ["crate_mini-0.1.0-py3-none-any.whl"]

    def test_with_neither_it_says_what_to_do(self, monkeypatch, tmp_path, cells):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(
            RuntimeError, match=r"upload it to this session's files, then run this cell again"
        ):
            self.run(monkeypatch, cells[0])

    def test_elsewhere_and_where_it_is_installed_it_does_nothing(self, monkeypatch, cells):
        assert self.run(monkeypatch, cells[0], colab=False) == []
        assert self.run(monkeypatch, cells[0], installed=True) == []

    def test_every_notebook_has_it(self):
        for path in notebook_form.all_notebooks():
            assert nbformat.read(path, as_version=4).cells[1].source == notebook_form.SETUP_CELL
