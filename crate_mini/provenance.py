"""How a number or a weights file came about, in a form that can be written beside it, and finding it again."""

from __future__ import annotations

import json
import platform
import re
import shlex
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

RESULTS_URL = "https://raw.githubusercontent.com/crate-mini/crate-mini/main/results"


def read_result(name: str) -> str:
    """Text of a file under ``results/``, from this checkout or, where there is none (on Colab), from the repository.

    Raises:
        FileNotFoundError: neither has it.
    """
    results = Path(__file__).resolve().parent.parent / "results"
    if results.is_dir():  # a checkout has all there is
        return (results / name).read_text(encoding="utf-8")
    try:
        with urllib.request.urlopen(f"{RESULTS_URL}/{name}", timeout=20) as answer:
            return answer.read().decode()
    except OSError as error:
        raise FileNotFoundError(
            f"no results/{name} beside the package, and {RESULTS_URL} did not answer with it ({error}); "
            "work in a clone of the repository"
        ) from error


def result_text(content: dict[str, Any]) -> str:
    """JSON as it lies under ``results/``: indented, every innermost list on one line."""
    return re.sub(r"\[[^\[\]{}]*\]", lambda m: " ".join(m[0].split()), json.dumps(content, indent=1)) + "\n"


def provenance(device: torch.device | str = "cpu", **facts: Any) -> dict[str, Any]:
    """Command, commit, device, versions and date, with any further ``facts`` in front.

    ``commit`` is None outside a git checkout and ends in ``+`` where tracked files of the package were changed.
    """
    return facts | {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": _commit(),
        "device": _device_name(torch.device(device)),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def _commit() -> str | None:
    package = Path(__file__).parent

    def git(*args: str) -> str:
        done = subprocess.run(
            ["git", "-C", package, *args], capture_output=True, text=True, check=True, timeout=10
        )
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", str(package))
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"
