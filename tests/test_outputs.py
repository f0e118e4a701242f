"""Folders are tried before the work, and an error says why a file could not be written."""

from __future__ import annotations

import errno
import os
import stat
import sys

import pytest
import torch

from crate_mini import outputs
from crate_mini.outputs import try_folder, why, write_atomically, writing
from crate_mini.weights import save_tensors


class TestFolder:
    def test_is_made_and_left_empty(self, tmp_path):
        assert try_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
        assert list((tmp_path / "a" / "b").iterdir()) == []
        assert try_folder(str(tmp_path)) == tmp_path

    def test_a_file_in_the_way(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(
            OSError, match=r"cannot write to .*file: it is a file, not a folder\. Name another"
        ):
            try_folder(tmp_path / "file")
        with pytest.raises(OSError, match="a part of this path is a file, not a folder"):
            try_folder(tmp_path / "file" / "run")
        with pytest.raises(OSError, match="the name is too long"):
            try_folder(tmp_path / ("x" * 300))

    @pytest.mark.parametrize(
        ("number", "reason"),
        [
            (errno.EROFS, "the file system is read-only"),
            (errno.EACCES, "this account may not write there"),
            (errno.ENOSPC, "the disk is full"),
        ],
    )
    def test_where_nothing_can_be_written(self, tmp_path, monkeypatch, number, reason):
        """Not as it really comes: whoever runs the tests may be allowed everything."""

        def refuse(**options):
            raise OSError(number, os.strerror(number), options["dir"])

        monkeypatch.setattr(outputs.tempfile, "TemporaryFile", refuse)
        with pytest.raises(OSError, match=f"cannot write to {tmp_path}: {reason}"):
            try_folder(tmp_path)

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
    def test_a_folder_of_others(self, tmp_path):
        tmp_path.chmod(0o500)
        with pytest.raises(OSError, match="this account may not write there"):
            try_folder(tmp_path / "run")
        tmp_path.chmod(0o700)


class TestWriting:
    @pytest.mark.parametrize(
        ("number", "message"),
        [
            (
                errno.ENOSPC,
                r"could not write a: the disk is full\. .*whole: make room, and run the same again",
            ),
            (
                errno.EACCES,
                r"could not write a: this account may not write there\. .*whole: mend that, and run",
            ),
        ],
    )
    def test_says_what_it_was(self, number, message):
        with pytest.raises(OSError, match=message), writing("a"):
            raise OSError(number, os.strerror(number))

    def test_lets_through_what_went_well(self, tmp_path):
        with writing(tmp_path / "b") as path:
            path.touch()

    @pytest.mark.skipif(sys.platform == "win32", reason="no limit to the size of files there")
    def test_what_safetensors_says(self, tmp_path):
        import resource

        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large") as caught:
                save_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(10_000)}, {})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert caught.value.errno == errno.EFBIG
        assert why(caught.value) == "files may not grow that large here"
        assert list(tmp_path.iterdir()) == []

    def test_other_reasons_are_given_as_they_are(self):
        assert why(OSError(errno.EIO, "")) == os.strerror(errno.EIO)
        assert why(ValueError("odd")) == "odd"


@pytest.mark.skipif(os.name != "posix", reason="files have no such modes there")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_are_as_open_as_the_umask_lets_them(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "a.txt", lambda path: path.write_text("a"))
        save_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(1)}, {})
    finally:
        os.umask(before)
    for name in ("a.txt", "a.safetensors"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~umask


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name on this system")
def test_no_file_takes_the_place_of_a_device_or_a_pipe(tmp_path):
    """As root, ``--out /dev/null`` would leave a machine without one."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe: it is a device or a pipe, and no file"):
        write_atomically(tmp_path / "pipe", lambda temporary: temporary.write_text("x"))
    assert (tmp_path / "pipe").is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
