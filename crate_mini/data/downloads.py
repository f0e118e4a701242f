"""Archives from the network: resumed where they broke off, checked, and unpacked whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tarfile
import time
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from crate_mini.errors import DataError
from crate_mini.lock import locked
from crate_mini.progress import bar

_ATTEMPTS = 4  # in a row, without a byte between them
_PAUSE = 1.0  # seconds before the second attempt; twice as long before every further one


@dataclass(frozen=True)
class Download:
    """How a data set is fetched.

    Attributes:
        archives: addresses with checksums, as ``(url, "md5:...")``.
        folder: what appears in the folder of the data sets, and is taken for the whole set.
        into: folder to unpack into, where the archives do not bring it along.
        nested: the archives hold archives.
    """

    archives: tuple[tuple[str, str], ...]
    folder: str
    into: str = ""
    nested: bool = False

    def fetch(self, root: Path, *, progress: bool | None = None) -> bool:
        """Fetch, check and unpack, so that ``folder`` appears in ``root`` whole or not at all.

        What has come when a download breaks off is kept in a hidden folder of ``root``; the next call goes on from
        there. One process fetches a set; others that ask for it wait until it is there.

        Returns:
            Whether it was fetched: False if it was there already, or came while this process waited.

        Raises:
            DataError: no network, a wrong checksum, no room, or an archive without the folder.
        """
        hidden = f".{self.folder.replace('/', '-')}"
        waiting = root / f"{hidden}.download"
        if self._here(root):
            shutil.rmtree(waiting, ignore_errors=True)  # of one that was stopped when all was done
            return False
        try:
            root.mkdir(parents=True, exist_ok=True)
            with locked(root / f"{hidden}.lock", wait=True, tell=partial(print, file=sys.stderr, flush=True)):
                if fetched := not self._here(root):
                    self._fetch(root, waiting, root / f"{hidden}.unpacking", progress)
                return fetched
        except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
            kept = f" {waiting} keeps what has come; try again to go on from there." if _any(waiting) else ""
            raise DataError(
                f"could not download {self.folder} from {', '.join(u for u, _ in self.archives)} ({error}).{kept} Or "
                f"get it by other means and unpack it to {root / self.folder}; the set 'embedded' needs no network"
            ) from error

    def _here(self, root: Path) -> bool:
        """Whether the set is there; an empty folder, which somebody made to put it into, is not the set."""
        return _any(root / self.folder)

    def _fetch(self, root: Path, waiting: Path, unpacking: Path, progress: bool | None) -> None:
        try:
            waiting.mkdir(exist_ok=True)
            files = [
                fetch(url, known_hash, waiting / url.rsplit("/", 1)[1], progress=progress)
                for url, known_hash in self.archives
            ]
            shutil.rmtree(unpacking, ignore_errors=True)  # of one that was killed
            inside = unpacking / self.into
            for file in files:
                _unpack(file, inside)
            if self.nested:
                for file in [f for f in sorted(inside.rglob("*")) if f.is_file()]:
                    if file.name.endswith((".tar", ".tar.gz", ".tgz", ".zip")) and file.name[0] != ".":
                        _unpack(file, inside)
            if not (unpacking / self.folder).is_dir():
                raise DataError(f"{', '.join(u for u, _ in self.archives)} holds no folder {self.folder}")
            target = root / self.folder
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir():
                target.rmdir()  # it is empty, or this fails and nothing is touched
            (unpacking / self.folder).rename(target)
            shutil.rmtree(
                waiting, ignore_errors=True
            )  # from now on whoever finds the set here clears it away, too
        finally:
            shutil.rmtree(unpacking, ignore_errors=True)
            with suppress(OSError):  # it holds something, or is gone
                waiting.rmdir()


def fetch(url: str, known_hash: str, target: Path, *, progress: bool | None = None) -> Path:
    """Download a file, going on from ``target`` + ``.part`` if that is there, and check it.

    Connections that break are taken up again at once, as long as each brings something; after some that bring
    nothing the error is raised, and the part is kept.

    Args:
        url: where the file is.
        known_hash: ``"md5:..."`` or another algorithm of :mod:`hashlib`.
        target: file to write; it appears when it is whole and checked. One that is there is checked, too, and
            fetched again if it is damaged.
        progress: show a progress bar.

    Raises:
        OSError: no connection, no such page, no room on the disk.
        DataError: a wrong checksum; the file is thrown away.
    """
    import requests  # here and below: most who import this module never fetch anything

    if target.exists():
        if _checksum(target, known_hash) == known_hash.lower():
            return target
        target.unlink()
    part = target.with_name(target.name + ".part")
    vain = 0
    while True:
        before = _size(part)
        try:
            _continue(url, part, progress)
            break
        except requests.RequestException as error:
            refused = isinstance(error, requests.HTTPError) and error.response.status_code < 500
            vain = vain + 1 if _size(part) <= before else 1
            if refused or vain >= _ATTEMPTS:
                raise
            time.sleep(_PAUSE * 2 ** (vain - 1))
    if (found := _checksum(part, known_hash)) != known_hash.lower():
        part.unlink()
        raise DataError(
            f"could not download {url}: its checksum is {found}, expected {known_hash}. What came was thrown "
            f"away; try again, or get {target.name} by other means. The set 'embedded' needs no network"
        )
    return part.replace(target)


def _continue(url: str, part: Path, progress: bool | None) -> None:
    """One connection: append what is missing to ``part``, or start over where the server cannot go on."""
    import requests

    start = _size(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(url, headers=headers, stream=True, timeout=30) as answer:
        if start and answer.status_code == 416:  # nothing beyond what is here; the checksum will tell
            return
        answer.raise_for_status()
        if not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else None
        told = {"unit": "B", "unit_scale": True, "desc": part.stem, "progress": progress}
        with bar(total=total, initial=start, **told) as done, open(part, "ab" if start else "wb") as f:
            for chunk in answer.iter_content(1 << 14):
                f.write(chunk)
                done.update(len(chunk))
    if total is not None and _size(part) < total:
        raise requests.ConnectionError(f"the connection broke off after {_size(part):,} of {total:,} bytes")


def _checksum(file: Path, known_hash: str) -> str:
    """Of a file, by the algorithm of ``known_hash`` and written as that is."""
    algorithm = known_hash.partition(":")[0]
    with open(file, "rb") as content:
        return f"{algorithm}:{hashlib.file_digest(content, algorithm).hexdigest()}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _any(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as z:
            z.extractall(folder)
    else:
        with tarfile.open(archive) as t:
            if hasattr(tarfile, "data_filter"):
                t.extractall(folder, filter="data")
            else:  # Python before 3.11.4
                for member in t:
                    _require_inside(member, folder.resolve())
                    t.extract(member, folder)


def _require_inside(member: tarfile.TarInfo, folder: Path) -> None:
    """Refuse what is no file, folder or link, and what would lie or lead outside, by the links that are there now.

    Raises:
        tarfile.ReadError: with the member's name.
    """
    places = [folder / member.name]
    if member.issym():
        places.append(places[0].parent / member.linkname)
    if member.islnk():
        places.append(folder / member.linkname)
    known = member.isreg() or member.isdir() or member.issym() or member.islnk()
    if not known or not all(place.resolve().is_relative_to(folder) for place in places):
        raise tarfile.ReadError(f"{member.name!r} would lie outside of {folder}, or is no file")
