"""What a build says when it is stopped, or when there is no room: what happened, and what to do."""

from __future__ import annotations

import errno
import shutil
import types

import build_book
import pytest


@pytest.fixture
def build(monkeypatch, tmp_path):
    """A build that ends as it is told, on a disk with so much room."""

    def build_(error: BaseException, free: int = 2**40) -> int:
        def stop(**_):
            raise error

        monkeypatch.setattr(build_book, "BUILD", tmp_path)
        monkeypatch.setattr(build_book, "build", stop)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=free))
        monkeypatch.setattr("sys.argv", ["build_book.py"])
        return build_book.main()

    return build_


def test_a_stopped_build_says_that_it_goes_on(build, capsys):
    assert build(KeyboardInterrupt()) == 130
    assert "Stopped. Run it again" in capsys.readouterr().err


def test_a_full_disk_is_called_full_whoever_noticed(build, capsys):
    assert build(RuntimeError("database or disk is full"), free=0) == 1
    said = capsys.readouterr().err
    assert "The disk is full (database or disk is full)" in said
    assert "Make room and run it again" in said


def test_a_full_disk_is_called_full_when_pages_could_not_be_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(build_book, "BUILD", tmp_path)
    for name in ("FINISHED", "DOCTREES", "HTML"):
        monkeypatch.setattr(build_book, name, tmp_path / name)
    for name in ("execute", "note_costs"):
        monkeypatch.setattr(build_book, name, lambda *_, **__: True)
    monkeypatch.setattr(build_book.executed_copies, "write_all", lambda *_: None)
    monkeypatch.setattr(build_book, "page_key", lambda: "key")
    monkeypatch.setattr(build_book, "render", lambda: 2)
    for free, told in [
        (0, "the disk is full.\nA build takes"),
        (2**40, "the first error or warning above says why"),
    ]:
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: types.SimpleNamespace(free=free))
        assert build_book.build() == 2
        assert f"The book was not built: {told}" in capsys.readouterr().err


def test_a_folder_that_is_not_ours_is_named(build, capsys):
    assert build(PermissionError(errno.EACCES, "Permission denied", "/there/_build/.lock")) == 1
    said = capsys.readouterr().err
    assert "/there/_build/.lock cannot be written (Permission denied)." in said
    assert "build in a copy of the book that is yours" in said


def test_other_errors_are_shown_as_they_are(build):
    with pytest.raises(RuntimeError, match="something else"):
        build(RuntimeError("something else"))
