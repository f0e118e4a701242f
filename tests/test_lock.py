"""The lock of one writer: held by one, named to the others, free again however its process ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from crate_mini import lock
from crate_mini.lock import LockedError, locked


def test_second_is_told_who_holds_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/crate-mini", "train", "--out", "my run"])
    with locked(tmp_path / "lock"):
        with pytest.raises(LockedError) as caught, locked(tmp_path / "lock"):
            pytest.fail("two hold it")
        assert f"{tmp_path} is being written by process {os.getpid()} on " in str(caught.value)
        assert "(crate-mini train --out 'my run')" in str(caught.value)
        assert isinstance(caught.value, OSError)
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "lock"):
        pass


def test_released_after_an_error(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path / "lock"):
        raise KeyError
    with locked(tmp_path / "lock"):
        pass


def test_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_PAUSE", 0.001)
    inside, most, told = [], [], []

    def work(i):
        with locked(tmp_path / "lock", wait=True, tell=told.append):
            inside.append(i)
            most.append(len(inside))
            threading.Event().wait(0.01)
            inside.remove(i)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert most == [1] * 8
    assert told
    # who has just taken it may not have signed yet
    assert all(line.startswith("waiting for ") for line in told)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the test kills a process")
def test_a_killed_holder_holds_nothing(tmp_path):
    code = (
        f"from crate_mini.lock import locked\nwith locked({str(tmp_path / 'lock')!r}):\n"
        "    print('holding', flush=True)\n    input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "holding\n"
    with pytest.raises(LockedError, match=f"process {holder.pid} on "), locked(tmp_path / "lock"):
        pass
    holder.kill()
    holder.communicate()
    assert (tmp_path / "lock").exists(), "what a killed process leaves behind"
    with locked(tmp_path / "lock"):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks there")
def test_a_fork_holds_nothing(tmp_path):
    """Neither while it lives, nor when it leaves the block that it was born in."""
    with locked(tmp_path / "lock"):
        child = os.fork()
        if child == 0:
            try:
                with locked(tmp_path / "lock"):
                    os._exit(1)
            except LockedError:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0, "the parent still holds it"
        inner, outer = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            os.write(inner[1], b".")
            os.read(outer[0], 1)  # lives on until it is told to end
            os._exit(0)
        os.read(inner[0], 1)
    with locked(tmp_path / "lock"):
        pass
    os.write(outer[1], b".")
    os.waitpid(child, 0)
    for end in (*inner, *outer):
        os.close(end)


def test_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError), locked(tmp_path / "none" / "lock"):
        pass
