"""One writer at a time: a lock file that names who writes, and that frees itself when its process ends."""

from __future__ import annotations

import errno
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_PAUSE = 0.2  # seconds between two looks at a lock that another holds
_HELD: set[int] = set()  # files that this process holds locked
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}  # of the file system


def _let_go() -> None:
    """In a fork: a lock is its holder's alone, and shall not outlive it because a worker does."""
    for file in _HELD:
        os.close(file)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


class LockedError(BlockingIOError):
    """Another process writes here; the message says which."""


@contextmanager
def locked(
    path: str | os.PathLike, *, wait: bool = False, tell: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold the lock file ``path`` while the block runs, and take it away afterwards.

    The lock is the system's: it is gone when the process that holds it is, however that ended, and a file that was
    left behind stops nobody. Where a file system has no locks, all pass.

    Args:
        path: the lock file; its folder must exist.
        wait: wait until it is free instead of an error.
        tell: is told once by whom it is held, before waiting.

    Raises:
        LockedError: held by another, who is named.
        OSError: the file cannot be written.
    """
    path, told = Path(path), False
    while (file := _take(path)) is None:
        holder = _holder(path)
        if not wait:
            raise LockedError(
                f"{path.parent} is being written by {holder}; wait for it, or name another place"
            )
        if tell is not None and not told:
            tell(f"waiting for {holder}")
            told = True
        time.sleep(_PAUSE)
    _HELD.add(file)
    try:
        os.ftruncate(file, 0)
        os.write(file, _myself().encode("utf-8", "backslashreplace"))
        yield
    finally:
        if file in _HELD:  # a fork that comes here holds nothing
            if fcntl is not None:  # Windows lets nobody remove a file that is open
                path.unlink(missing_ok=True)
            _HELD.remove(file)
            os.close(file)


def _take(path: Path) -> int | None:
    """The open lock file, locked; None if another holds it."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                import msvcrt

                os.lseek(
                    file, 1 << 20, os.SEEK_SET
                )  # beyond what is written, for a locked byte cannot be read
                msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
                os.lseek(file, 0, os.SEEK_SET)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(file)
                if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                    return None
                raise
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        os.close(file)  # its last holder took it away between our opening and locking it


def _myself() -> str:
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return f"process {os.getpid()} on {platform.node()} since {datetime.now():%Y-%m-%d %H:%M:%S} ({command})"


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") or "another process"
    except OSError:
        return "another process"
