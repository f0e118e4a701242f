"""Unpack a folder of zipped data sets into a folder that CRATE_MINI_DATA can name.

    python tools/unpack_data.py archives/ _build/data

Every ``*.zip`` below the first folder is unpacked into the second. A stamp is written after each archive: an
interrupted run is simply run again, and an archive that changed is unpacked again.
"""

from __future__ import annotations

import argparse
import sys
import time
import zipfile
from pathlib import Path


def unpack(archive: Path, target: Path) -> int:
    """Unpack one archive unless its stamp says that it was done; returns the number of files written.

    Raises:
        zipfile.BadZipFile: the archive is damaged (every member's checksum is verified on the way).
    """
    stamps = target / ".unpacked"
    stamps.mkdir(parents=True, exist_ok=True)
    state = archive.stat()
    stamp = stamps / f"{archive.parent.name}-{archive.name}"
    mark = f"{state.st_size}"
    if stamp.exists() and stamp.read_text() == mark:
        return 0
    with zipfile.ZipFile(archive) as bundle:
        bundle.extractall(target)
        count = len(bundle.namelist())
    stamp.write_text(mark)
    return count


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archives", type=Path)
    parser.add_argument("target", type=Path)
    a = parser.parse_args()
    found = sorted(a.archives.rglob("*.zip"))
    if not found:
        print(f"no archives below {a.archives}", file=sys.stderr)
        return 1
    started = time.time()
    files = sum(unpack(archive, a.target) for archive in found)
    print(f"{len(found)} archives, {files} files unpacked into {a.target} in {time.time() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
