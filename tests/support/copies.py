"""Scripts that run in processes of their own, which have PyTorch from the start.

A new Python imports it for three seconds. Here a process that has imported it, and has done nothing else, divides.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

can = "forkserver" in multiprocessing.get_all_start_methods()
context = multiprocessing.get_context("forkserver" if can else "spawn")


def start(script: str, log: Path, *arguments: str, **variables: str) -> BaseProcess:
    """Begin a script with its command line and its variables; what it writes goes to ``log``."""
    if can:
        context.set_forkserver_preload(["torch._dynamo", "crate_mini.training", "crate_mini.model"])
    process = context.Process(target=_be, args=(script, log, arguments, variables))
    process.start()
    return process


def run(script: str, log: Path, *arguments: str) -> int:
    """Run a script to its end; returns its exit status, which is minus a signal's number if that ended it."""
    process = start(script, log, *arguments)
    process.join()
    return process.exitcode


def together(count: int, script: str, log: Path, *arguments: str) -> int:
    """Run a script as several processes that know of each other; if one fails, the others are ended.

    Returns:
        The exit status of the first that failed, 0 if none did.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    shared |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    if sys.platform == "linux":
        shared["GLOO_SOCKET_IFNAME"] = "lo"
    ranks = [
        start(script, log.with_name(f"{log.name}{i}"), *arguments, **shared, RANK=str(i), LOCAL_RANK=str(i))
        for i in range(count)
    ]
    while any(rank.is_alive() for rank in ranks):
        time.sleep(0.05)
        if any(rank.exitcode for rank in ranks):
            for rank in ranks:
                rank.terminate()
    return next((rank.exitcode for rank in ranks if rank.exitcode), 0)


def _be(script: str, log: Path, arguments: tuple[str, ...], variables: dict[str, str]) -> None:
    """In the copy."""
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(variables)
    sys.argv[:] = ["script", *arguments]
    exec(compile(script, "script", "exec"), {"__name__": "__main__"})
