"""Execute notebooks: each in a process and a kernel of its own, on one thread, as many at once as there are cores.

Each runs in an empty folder, as on Colab: one that needs what lies beside it would fail there, so it fails here.

One thread for each, whatever the machine: sums of floating point numbers depend on how they are split, and a page
shall not. What a notebook cost is measured as seconds of the clock, which other programs on the machine lengthen, as
seconds of processor time, which they hardly do, and as the most memory that its kernel held.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import resource
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path

from quick_nbformat import nbformat

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
IMPORTED_ONCE = (
    "torch", "torch._dynamo", "torchvision", "pandas", "scipy.stats", "scipy.cluster.hierarchy", "seaborn",
    "ipykernel.kernelapp", "ipywidgets", "einops",
)  # fmt: skip
"""What nearly every notebook imports: once for all kernels. Who forks them must not have worked with it."""
INLINE = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
"""What a kernel tells Matplotlib, which reads it while it is imported: without it no figure would be shown."""
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


def for_kernels(surroundings: Mapping[str, str]) -> dict[str, str]:
    """The variables that a kernel sees: those of who asked for it, less what would leak into a page."""
    return {k: v for k, v in (surroundings | KERNEL).items() if k not in NOT_FOR_KERNELS}


def execute(path: Path, surroundings: dict[str, str], *, forks: bool = False) -> Executed:
    """Execute one notebook, in an empty folder; in a process that does nothing else, whose children are all its own.

    Args:
        path: where it lies.
        surroundings: the variables that the process which asked for it sees now.
        forks: the kernel is a copy of this process, which has imported what notebooks need.
    """
    unseen = surroundings.get("PYTHONPATH", "").split(os.pathsep)
    os.environ.clear()
    os.environ.update(for_kernels(surroundings))
    waiting = None
    if forks:
        from forked_kernel import ForkedProvisioner, InWaiting

        waiting = InWaiting(unseen)  # before there is a loop or a thread here
    from nbclient import NotebookClient

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
        if waiting:
            kernel = {"kernel_id": str(uuid.uuid4()), "kernel_spec": manager.kernel_spec, "parent": manager}
            manager.provisioner = ForkedProvisioner(**kernel)
            manager.provisioner.waiting = waiting
        try:
            client.execute()
        except Exception:  # of a cell or of the kernel: all are for the log, and other notebooks go on
            failure = COLOURS.sub("", traceback.format_exc(limit=0))
        finally:
            if waiting:
                waiting.dismiss()
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
    paths = list(paths)
    # Each process is a copy of one that has imported what all need, where the system can do that, and so is its
    # kernel, where a copy of PyTorch works and where there are several to be made.
    can = "forkserver" in multiprocessing.get_all_start_methods()
    forks = can and sys.platform == "linux" and len(paths) > 1
    start = multiprocessing.get_context("forkserver" if can else "spawn")
    with tempfile.TemporaryDirectory() as fonts:
        surroundings = os.environ | {"MPLCONFIGDIR": fonts}
        if can:
            start.set_forkserver_preload(["__main__", "nbclient", *(IMPORTED_ONCE if forks else ())])
            read = for_kernels(surroundings) | INLINE  # by libraries, while they are imported
            with variables(read):
                forkserver.ensure_running()
        with ProcessPoolExecutor(workers(), mp_context=start, max_tasks_per_child=1) as pool:
            asked = [pool.submit(execute, path, surroundings, forks=forks) for path in paths]
            for done in as_completed(asked):
                yield done.result()


@contextlib.contextmanager
def variables(wanted: Mapping[str, str]) -> Iterator[None]:
    """These environment variables and no others, for as long as this lasts."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
