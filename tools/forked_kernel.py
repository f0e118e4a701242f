"""A kernel that is a copy of a process in which what notebooks import is imported already.

A kernel starts as a new Python, and that imports PyTorch and Matplotlib: some seven seconds of a core, for each of the
book's notebooks. Here a process that has imported them divides, before it has begun with anything else; its copy
waits until it is told which kernel to be. It sees what a new Python in its place would see: an empty folder, its own
variables, no module that lies beside the tools.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from jupyter_client.provisioning import LocalProvisioner

MODULE = "ipykernel_launcher"  # what a new Python would run


class InWaiting:
    """A copy of this process, made at once, that becomes a kernel when it is told so.

    Nothing may have been computed before: threads are not copied, and a library would wait for its own. To
    :class:`~jupyter_client.provisioning.LocalProvisioner` it is what :class:`subprocess.Popen` returns.

    Args:
        unseen: folders from which the kernel imports nothing, though this process does.
    """

    stdin = stdout = stderr = None

    def __init__(self, unseen: Iterable[str] = ()) -> None:
        fork = multiprocessing.get_context("fork")
        orders, self._tell = fork.Pipe(duplex=False)
        self._process = fork.Process(target=wait_and_become, args=(orders, self._tell, tuple(unseen)))
        self._process.start()
        self.pid = self._process.pid
        orders.close()

    def begin(self, command: list[str], cwd: str, env: dict[str, str]) -> None:
        """Be the kernel that this command would start in this folder with these variables."""
        self._tell.send((command[command.index(MODULE) + 1 :], str(cwd), dict(env)))
        self._tell.close()

    def poll(self) -> int | None:
        """Exit status, None while it runs."""
        return self._process.exitcode

    def wait(self) -> int | None:
        """Exit status, when it has ended."""
        self._process.join()
        return self.poll()

    def send_signal(self, signum: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def dismiss(self) -> None:
        """End it, whether it has become a kernel or waits still."""
        self._tell.close()
        self.kill()
        self.wait()


def wait_and_become(orders: Connection, tell: Connection, unseen: Iterable[str]) -> None:
    """In the copy: wait for orders and be that kernel. ``tell`` is the caller's end, which is not for here."""
    tell.close()
    try:
        arguments, cwd, env = orders.recv()
    except EOFError:  # nobody needs a kernel
        return
    orders.close()
    os.setsid()  # as a new process would be, so that a signal reaches it with its children and nobody else
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    unseen = {"", str(Path(__file__).resolve().parent), *unseen}
    sys.path[:] = [place for place in sys.path if place not in unseen]
    sys.argv[:] = [MODULE, *arguments]
    from ipykernel.kernelapp import launch_new_instance

    # A new Python reads its parent from a variable, at an import that was long ago here.
    launch_new_instance([*arguments, f"--IPKernelApp.parent_handle={os.getppid()}"])


class ForkedProvisioner(LocalProvisioner):
    """Starts a kernel by telling the process that waits for it; all else is as for any local kernel."""

    waiting: InWaiting

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict[str, Any]:
        """Begin; the kernel's own session is its group of processes."""
        self.waiting.begin(cmd, kwargs["cwd"], kwargs["env"])
        self.process, self.cwd = self.waiting, kwargs["cwd"]
        self.pid = self.pgid = self.waiting.pid
        return self.connection_info
