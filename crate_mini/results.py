"""Measured numbers: how they came about, writing them so that they can be trusted, finding them again.

Stands on the ground. A result is JSON with its *provenance*: the command, the commit, the device, versions and the
date. It is written by :func:`write` alone, which refuses numbers of code that no commit holds, and NaN, which JSON does
not have. What lies under ``results/`` ships with the package, so that :func:`read` needs neither a clone nor a network.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from crate_mini.outputs import write_atomically

PACKAGE = Path(__file__).resolve().parent
CODE = ("crate_mini", "tools", "benchmarks", "recipes")
"""Folders of a checkout whose files decide what is measured."""
SUFFIXES = ("py", "js", "sh")
DIRTY = "CRATE_MINI_DIRTY"
"""Set to 1, this environment variable says the same as ``--dirty``, for a whole session."""

# ---- reading --------------------------------------------------------------------------------------------------------


def folder() -> Traversable:
    """Where the results are: ``results/`` of a checkout, or the copy that an installed package brings along."""
    checkout = PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "results").is_dir():
        return checkout / "results"
    return resources.files("crate_mini") / "results_data"


def read(name: str) -> Any:
    """A result by name: ``read("masks/comparisons")``.

    Raises:
        FileNotFoundError: there is none, with what there is.
    """
    return json.loads(read_result(name if name.endswith(".json") else f"{name}.json"))


def read_result(name: str) -> str:
    """Text of a file under ``results/``, such as ``"training/crate_mini.csv"``; no network is asked.

    Raises:
        FileNotFoundError: there is none, with what there is.
    """
    place = folder()
    for part in name.split("/"):
        if not place.is_dir():
            break
        inside, place = place, place / part
    if place.is_file():
        return place.read_text(encoding="utf-8")
    if not folder().is_dir():
        raise FileNotFoundError(
            f"no {name}: this copy of crate-mini was installed without results; install it anew"
        )
    there = sorted(f.name for f in inside.iterdir() if not f.name.startswith("."))
    raise FileNotFoundError(f"no results/{name}; there are {', '.join(there) or 'none'}")


# ---- how a number came about ----------------------------------------------------------------------------------------


def provenance(device: Any = "cpu", **facts: Any) -> dict[str, Any]:
    """Command, commit, device, versions and date, with any further ``facts`` in front.

    ``device`` is one of PyTorch, or its name; ``commit`` is :func:`commit`.
    """
    import torch  # who only reads results does not wait for it

    return facts | {
        "command": shlex.join([_program(Path(sys.argv[0])), *sys.argv[1:]]),
        "commit": commit(),
        "device": _device_name(torch.device(device)),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


@cache
def commit() -> str | None:
    """The commit that this process runs, as it was when first asked for: what is edited later does not run any more.

    Ends in ``+`` where code (:data:`CODE`) was changed or added since; None outside a git checkout, and where the
    package merely lies in a folder of somebody else's repository.
    """

    def git(*args: str) -> str:
        done = subprocess.run(
            ["git", "-C", PACKAGE.parent, *args], capture_output=True, text=True, check=True, timeout=10
        )
        return done.stdout.strip()

    paths = [f"{folder}/*.{suffix}" for folder in CODE for suffix in SUFFIXES]
    try:
        git("ls-files", "--error-unmatch", "crate_mini/__init__.py")
        changed = git("status", "--porcelain", "--untracked-files=all", "--", *paths)
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _program(started: Path) -> str:
    """Its name, without a path of this machine; ``python -m crate_mini`` is ``crate-mini``."""
    ours = started.name == "__main__.py" and "crate_mini" in started.parts
    return "crate-mini" if ours else started.name


def _device_name(device: Any) -> str:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"


# ---- writing --------------------------------------------------------------------------------------------------------


def add_dirty(parser: argparse.ArgumentParser) -> None:
    """The flag by which a command is told to write results of code that no commit holds."""
    parser.add_argument(
        "--dirty",
        action="store_true",
        help="write the result although code was changed since the last commit",
    )


def require_clean(allow_dirty: bool = False) -> None:
    """Refuse, before the work, what :func:`write` would refuse after it.

    Raises:
        ValueError: code was changed since the last commit, and nobody allowed that.
    """
    if (commit() or "").endswith("+"):
        _refuse_dirty([commit()], allow_dirty)


def write(path: str | os.PathLike, content: Mapping[str, Any], *, allow_dirty: bool = False) -> Path:
    """Write a result as :func:`result_text` has it, whole or not at all.

    Args:
        path: of the file; folders are made.
        content: JSON types, with :func:`provenance` in it.
        allow_dirty: write it although a commit in it ends in ``+``. Otherwise only those pass that the file names
            already: rows of an earlier run.

    Raises:
        ValueError: a number of code that no commit holds, or one that is not finite.
    """
    path = Path(path)
    text = result_text(content)
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    _refuse_dirty(sorted(set(dirty_commits(content)) - set(dirty_commits(earlier))), allow_dirty)
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def result_text(content: Mapping[str, Any]) -> str:
    """JSON as it lies under ``results/``: indented, every innermost list on one line.

    Raises:
        ValueError: a number that is not finite, by its place.
    """
    for place, value in _leaves(content):
        if isinstance(value, float) and not math.isfinite(value):
            where = "".join(f"[{key!r}]" for key in place)
            raise ValueError(
                f"result{where} = {value} is not a finite number, which JSON cannot hold: write None where there is no "
                "number"
            )
    text = json.dumps(content, indent=1, allow_nan=False)
    return re.sub(r"\[[^\[\]{}]*\]", lambda m: " ".join(m[0].split()), text) + "\n"


def plain(value: Any, digits: int = 6) -> Any:
    """Numbers, or lists of them in any depth, as JSON can hold them: so many significant digits, NaN as None."""
    if hasattr(value, "tolist"):  # a tensor or an array
        value = value.tolist()
    if isinstance(value, list):
        return [plain(v, digits) for v in value]
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def dirty_commits(content: Any) -> list[str]:
    """Every commit in a result, at any depth, that ends in ``+``."""
    return [
        value
        for place, value in _leaves(content)
        if place and place[-1] == "commit" and isinstance(value, str) and value.endswith("+")
    ]


def _refuse_dirty(commits: list[str], allow_dirty: bool) -> None:
    if commits and not (allow_dirty or os.environ.get(DIRTY) == "1"):
        raise ValueError(
            f"code was changed since the last commit ({', '.join(commits)}), so nobody could make these numbers again: "
            f"commit first, or say --dirty (allow_dirty=True, or {DIRTY}=1)"
        )


def _leaves(content: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every value that holds no others, with the keys that lead to it, in order."""
    waiting = [((), content)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [((*place, key), inner) for key, inner in reversed(value.items())]
        elif isinstance(value, list | tuple):
            waiting += [((*place, i), inner) for i, inner in reversed(list(enumerate(value)))]
        else:
            yield place, value
