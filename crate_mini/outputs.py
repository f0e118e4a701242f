"""Writing what work has brought: the folder is tried before the work starts, and an error says what is wrong."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EFBIG: "files may not grow that large here",
    getattr(errno, "EDQUOT", errno.ENOSPC): "the quota of this account is used up",
}
_WHY = _FULL | {
    errno.EACCES: "this account may not write there",
    errno.EPERM: "this account may not write there",
    errno.EROFS: "the file system is read-only",
    errno.EEXIST: "it is a file, not a folder",
    errno.ENOTDIR: "a part of this path is a file, not a folder",
    errno.ENAMETOOLONG: "the name is too long",
}
_WHY[errno.ENOSPC] = "the disk is full"  # also where a system knows no quota


def why(error: BaseException) -> str:
    """What kept a file from being written, in words; where there are none for it, as the system says it."""
    number = _number(error)
    return _WHY.get(number) or (os.strerror(number) if number else str(error))


def _number(error: BaseException) -> int | None:
    """The system's number of an error; safetensors tells it in its text alone."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = re.search(r"(?:code: |os error )(\d+)", str(error))
    return int(found[1]) if found else None


def as_os_error(error: BaseException, path: str | os.PathLike) -> OSError:
    """What a library tells of a file that cannot be written, as Python tells it."""
    number = _number(error)
    return OSError(number, os.strerror(number), os.fspath(path)) if number else OSError(f"{path}: {error}")


def try_folder(folder: str | os.PathLike) -> Path:
    """Make the folder, if need be, and write a file in it that is gone at once: better now than after the work.

    Raises:
        OSError: it cannot be made or written to, and why.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        raise OSError(f"cannot write to {folder}: {why(error)}. Name another folder") from error
    return folder


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[Path]:
    """One kind of error, whatever writes; only for files that are written whole or not at all.

    Raises:
        OSError: the file cannot be written, and why; the one that was there is still whole.
    """
    try:
        yield Path(path)
    except OSError as error:
        first = "make room" if _number(error) in _FULL else "mend that"
        raise OSError(
            f"could not write {path}: {why(error)}. What was saved before is whole: {first}, and run the same again "
            "to go on from there"
        ) from error


def refuse_special(path: Path) -> None:
    """Raise OSError where something stands that is neither file nor folder, such as ``/dev/null``."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(f"cannot write to {path}: it is a device or a pipe, and no file. Name a file")


def write_atomically(path: str | os.PathLike, write: Callable[[Path], None]) -> Path:
    """Let ``write`` fill a temporary file beside ``path``, then move it into place: all of it or nothing.

    Raises:
        OSError: ``path`` is a device or a pipe, which a file may not take the place of; or what writing raises.
    """
    path = Path(path)
    refuse_special(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    file = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    mode = stat.S_IMODE(
        os.fstat(file).st_mode
    )  # less what the umask takes; some libraries write private files
    os.close(file)
    try:
        write(temporary)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
