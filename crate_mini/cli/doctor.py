"""``crate-mini doctor``: what this machine has, and what is wrong with it, in plain words.

Nothing but the standard library is imported before it is asked for: where PyTorch, or another package, is missing or
broken, that is what this command is for.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING

import crate_mini

if TYPE_CHECKING:
    import torch

FREE = 5  # gigabytes that should be free: data sets and trainings
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
COMPILERS = ("c++", "g++", "clang++", "cl")
SIGNS = {"good": "ok  ", "note": "note", "bad": "BAD "}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: ``state`` is good, note (something is missing that not everybody needs) or bad."""

    what: str
    state: str
    said: str


def fill(p: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    p.description = (
        "Look at Python, PyTorch, devices, half precision, packages, data sets, disk and browser. Ends with 1 where "
        "something is wrong."
    )
    p.add_argument("--root", type=Path, metavar="FOLDER", help="of the data sets; by default CRATE_MINI_DATA")
    p.add_argument("--json", action="store_true", help="print JSON in place of lines")
    p.set_defaults(run=_doctor)


def _doctor(a: argparse.Namespace) -> int:
    found = list(examine(a.root))
    if a.json:
        print(json.dumps([asdict(f) for f in found], indent=1))
    else:
        width = max(len(f.what) for f in found)
        print("\n".join(f"{SIGNS[f.state]}  {f.what:<{width}}  {f.said}" for f in found))
    return int(any(f.state == "bad" for f in found))


def examine(root: Path | None = None) -> Iterator[Finding]:
    """Everything in turn."""
    yield python()
    yield from packages()
    broken = import_fails()
    if broken:
        yield broken
    else:
        yield from devices()
        yield half_precision()
        yield from data_sets(root)
    yield compiler()
    yield disk(Path.cwd(), "disk here")
    yield browser()


def python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Whether Python is new enough, by what the package asks for."""
    told = ".".join(map(str, version))
    try:
        least = re.search(r">=\s*([\d.]+)", metadata.metadata("crate-mini")["Requires-Python"] or "")
    except metadata.PackageNotFoundError:
        least = None
    if least and version < _numbers(least[1]):
        return Finding("Python", "bad", f"{told}; crate-mini needs {least[1]} or newer")
    return Finding("Python", "good", f"{told} on {platform.system()} {platform.machine()}, {sys.executable}")


def packages() -> Iterator[Finding]:
    """Packages that are missing or older than the lowest version that crate-mini works with."""
    try:
        required = metadata.requires("crate-mini") or []
        yield Finding(
            "crate-mini", "good", f"{metadata.version('crate-mini')}, {Path(crate_mini.__file__).parents[1]}"
        )
    except metadata.PackageNotFoundError:
        yield Finding("crate-mini", "note", "run from a folder, not installed: pip install -e .")
        return
    yield from versions(required)


def versions(required: list[str]) -> Iterator[Finding]:
    """Requirements such as ``torch>=2.4`` that are not met; those of extras (``; extra == ...``) are left out."""
    met, wrong = [], []
    for line in required:
        requirement, _, condition = line.partition(";")
        if "extra" in condition:
            continue
        name, least = re.match(r"([\w.-]+)\s*(?:>=\s*([\d.]+))?", requirement.strip()).groups()
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            wrong.append(Finding(name, "bad", f"is missing: pip install '{requirement.strip()}'"))
            continue
        if least and _numbers(found) < _numbers(least):
            wrong.append(Finding(name, "bad", f"{found} is older than {least}: pip install -U {name}"))
        else:
            met.append(f"{name} {found}")
    yield from wrong
    yield Finding("packages", "good", ", ".join(met))


def import_fails(modules: tuple[str, ...] = ("torch", "crate_mini.cli.train")) -> Finding | None:
    """What keeps the package from being imported, if anything does: a package that is missing, or broken."""
    for name in modules:
        try:
            import_module(name)
        except Exception as error:  # whatever a broken package raises
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            package = (getattr(error, "name", None) or name).partition(".")[0]
            way = f"pip install --force-reinstall {package.replace('_', '-')}"
            return Finding("import", "bad", f"{name} cannot be imported: {why}; {way}")
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """``2.4.1+cpu`` as ``(2, 4, 1)``, trailing zeros away."""
    numbers = [int(n) for n in re.match(r"[\d.]*", version)[0].split(".") if n]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def devices() -> Iterator[Finding]:
    """What PyTorch can compute on."""
    import torch

    from crate_mini.training import default_device

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("CPU", "good", f"{cores} cores at hand, {torch.get_num_threads()} threads in PyTorch")
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(i)
            yield Finding(f"cuda:{i}", "good", f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB")
    elif torch.version.cuda:
        there = shutil.which("nvidia-smi")
        why = "its driver does not answer: see nvidia-smi" if there else "there is no NVIDIA driver"
        yield Finding("GPU", "bad" if there else "note", f"none that PyTorch can use; {why}")
    elif torch.backends.mps.is_available():
        yield Finding("mps", "good", "an Apple GPU")
    else:
        yield Finding(
            "GPU", "note", "none that PyTorch can use; everything runs on the CPU, trainings take longer"
        )
    yield Finding("device", "good", f"{default_device()} is what commands take without --device")


def half_precision(side: int = 512) -> Finding:
    """How fast products of matrices are in half precision beside float32, measured for a moment."""
    import torch

    from crate_mini.training import default_device

    device = default_device()
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return Finding(
            "bfloat16", "note", f"the {torch.cuda.get_device_name()} has none; --precision auto takes float16"
        )
    try:
        full, half = (_seconds(device, dtype, side) for dtype in (torch.float32, torch.bfloat16))
    except RuntimeError as error:
        return Finding("bfloat16", "note", f"does not work on {device}: {error}")
    told = f"products of matrices take {half / full:.2f} times as long as in float32 on {device}"
    return Finding(
        "bfloat16", "good" if half < full else "note", told + ("" if half < full else "; train in float32")
    )


def _seconds(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """The shortest of a few products."""
    import torch

    a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        began = time.perf_counter()
        (a @ b).sum().item()  # waits for a GPU
        best = min(best, time.perf_counter() - began)
    return best


def compiler() -> Finding:
    """What ``--compile`` needs on a CPU."""
    found = next(filter(None, map(shutil.which, (os.environ.get("CXX", ""), *COMPILERS))), None)
    if found:
        return Finding("compiler", "good", f"{found}, for --compile")
    return Finding("compiler", "note", "no C++ compiler: --compile will not work, all else does")


def data_sets(root: Path | None) -> Iterator[Finding]:
    """Where data sets are looked for, which lie there, and whether there is room."""
    from crate_mini import data

    folder = data.data_root(root)
    of = (
        "--root"
        if root
        else "CRATE_MINI_DATA"
        if os.environ.get("CRATE_MINI_DATA")
        else "CRATE_MINI_DATA is not set"
    )
    if not folder.is_dir():
        state = "bad" if root or os.environ.get("CRATE_MINI_DATA") else "note"
        yield Finding("data folder", state, f"{folder} does not exist ({of}); the embedded set needs none")
        return
    yield Finding("data folder", "good", f"{folder} ({of})")
    here = [name for name in data.SETS if data.whereabouts(name, folder) == "here"]
    drawn = [name for name in data.SETS if data.whereabouts(name, folder) == "embedded"]
    yield Finding("data sets", "good" if here else "note", ", ".join([*drawn, *here]))
    yield disk(folder, "disk of data")


def disk(folder: Path, what: str) -> Finding:
    """Whether there is room for data sets and trainings."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    told = f"{free:.0f} GB free at {folder}"
    return Finding(what, "good", told) if free >= FREE else Finding(what, "bad", f"{told}; make room")


def browser() -> Finding:
    """What the tests of pages need, and nothing else."""
    named = os.environ.get("CHROMIUM")
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, BROWSERS)), None)
    if named and not found:
        return Finding("browser", "bad", f"CHROMIUM names {named}, which cannot be run")
    told = found or "no Chromium or Chrome found; make test needs one, nothing else does"
    return Finding("browser", "good" if found else "note", told)
