"""Execute notebooks: each in a process and a kernel of its own, on one thread, as many at once as there are cores.

Each runs in an empty folder, as on Colab: one that needs what lies beside it would fail there, so it fails here.

One thread for each, whatever the machine: sums of floating point numbers depend on how they are split, and a page
shall not. What a notebook cost is measured as seconds of the clock, which other programs on the machine lengthen, as
seconds of processor time, which they hardly do, and as the most memory that its kernel held.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import nbformat

CELL_MINUTES = 120  # for one cell: against hanging for ever, not against a machine that is busy
GIB_EACH = 3  # memory that must be there for each notebook at work
MOST = 8  # more kernels than this gain nothing: the longest notebook decides
KERNEL = {
    "CRATE_MINI_BOOK": "1",  # the package turns progress bars off
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JUPYTER_PREFER_ENV_PATH": "1",  # the kernel of this environment, not one in the home folder
    "JUPYTER_PLATFORM_DIRS": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # of a terminal, which a file is not
NOT_FOR_KERNELS = ("MPLBACKEND", "PYTHONPATH", "PYTHONSTARTUP")


@dataclass(frozen=True)
class Executed:
    """What came of one notebook.

    Attributes:
        path: where it lies.
        notebook: with its outputs.
        failure: what went wrong, with its traceback; empty if nothing did.
        seconds: by the clock.
        cpu_seconds: of processor time, the kernel's and its children's.
        peak_mib: most memory that a process of it held, in MiB.
    """

    path: Path
    notebook: nbformat.NotebookNode
    failure: str
    seconds: float
    cpu_seconds: float
    peak_mib: float


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers() -> int:
    """How many notebooks are executed at once."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return max(1, min(cores(), MOST, int(memory / GIB_EACH)))


def execute(path: Path, surroundings: dict[str, str]) -> Executed:
    """Execute one notebook, in an empty folder; in a process that does nothing else, whose children are all its own.

    ``surroundings`` are the variables that the process which asked for it sees now.
    """
    from nbclient import NotebookClient

    os.environ.clear()
    os.environ.update(surroundings | KERNEL)
    for name in NOT_FOR_KERNELS:
        os.environ.pop(name, None)
    notebook = nbformat.read(path, as_version=4)
    began, failure = time.perf_counter(), ""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as empty:
        client = NotebookClient(
            notebook,
            timeout=60 * CELL_MINUTES,
            startup_timeout=60 * CELL_MINUTES,
            coalesce_streams=True,  # a busy kernel may send in two pieces what a cell prints at once
            record_timing=False,  # it would be written into the cells, and the cache knows a notebook by them
            resources={"metadata": {"path": empty}},
        )
        manager = client.create_kernel_manager()
        if os.name == "posix":  # not through ports, to which others can listen; every kernel warns of that
            manager.transport, manager.ip = "ipc", os.path.join(folder, "kernel")
        try:
            client.execute()
        except Exception:  # of a cell or of the kernel: all are for the log, and other notebooks go on
            failure = COLOURS.sub("", traceback.format_exc(limit=0))
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1 if os.uname().sysname == "Darwin" else 1024  # bytes there, KiB elsewhere
    return Executed(
        path=path,
        notebook=notebook,
        failure=failure,
        seconds=seconds,
        cpu_seconds=used.ru_utime + used.ru_stime,
        peak_mib=used.ru_maxrss * unit / 2**20,
    )


def execute_all(paths: Iterable[Path]) -> Iterator[Executed]:
    """Execute notebooks, the first ones first; yields each as soon as it has ended.

    Matplotlib finds neither settings of the reader, which would change a page, nor a list of fonts that a stopped
    program has left half written: a folder of their own is made for all of them, and removed.
    """
    # Each process is a copy of one that has imported what all need, where the system can do that.
    can = multiprocessing.get_all_start_methods()
    start = multiprocessing.get_context("forkserver" if "forkserver" in can else "spawn")
    if "forkserver" in can:
        start.set_forkserver_preload(["__main__", "nbclient"])
    with (
        tempfile.TemporaryDirectory() as fonts,
        ProcessPoolExecutor(workers(), mp_context=start, max_tasks_per_child=1) as pool,
    ):
        surroundings = os.environ | {"MPLCONFIGDIR": fonts}
        for done in as_completed([pool.submit(execute, path, surroundings) for path in paths]):
            yield done.result()
