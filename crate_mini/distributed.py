"""Several processes as one: the little that training and evaluation need of ``torch.distributed``.

With one process everything here does nothing, so that no caller needs to ask. Several are started by ``torchrun``::

    torchrun --nproc-per-node 4 -m crate_mini.cli train --model crate_tiny --data tiny-imagenet --out runs/tiny

on one machine, or on each of several with ``--nnodes``, ``--node-rank`` and ``--rdzv-endpoint`` added.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes that work together; 1 outside of :func:`processes`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum over all processes, in place; every process gets it."""
    if world_size() > 1:
        dist.all_reduce(values)
    return values


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all processes, one process after the other; every process gets them, and its gradient.

    Each must hold as many. What is computed of the gathered rows is computed by every process; the gradient that
    reaches the rows here is the sum over all of them, so that the mean over processes, which training takes of
    gradients, is that of one process with all the rows.
    """
    return _GatherRows.apply(rows) if world_size() > 1 else rows


class _GatherRows(torch.autograd.Function):
    """:func:`gather_rows`: forwards everything from everyone, backwards the sum of what everyone says of our rows."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:
        return sum_over_ranks(grad.contiguous()).chunk(world_size())[rank()]


def agree(value: int, device: torch.device) -> bool:
    """Whether every process holds the same number."""
    ends = torch.tensor([value, -value], device=device)
    if world_size() > 1:
        dist.all_reduce(ends, op=dist.ReduceOp.MAX)
    return bool(ends[0] == -ends[1])


class SharedRequest:
    """A request that any process may make, and that all see after the same step.

    Signals reach processes at different moments. Were each to stop by itself, one would wait in a step for another
    that has left. So every process reports at every step, and what the step before has brought together counts: a
    message between hosts that goes on beside the step, and keeps no device waiting.
    """

    def __init__(self) -> None:
        self._group = dist.new_group(backend="gloo") if world_size() > 1 else None
        self._asked: tuple[dist.Work, Tensor] | None = None

    def made(self, here: bool) -> bool:
        """Report whether this process asks; true for all processes at once, at most one call later than here."""
        if self._group is None:
            return here
        before, asked = self._asked, torch.tensor([int(here)])
        work = dist.all_reduce(asked, op=dist.ReduceOp.MAX, group=self._group, async_op=True)
        self._asked = (work, asked)
        if before is None:
            return False
        before[0].wait()
        return bool(before[1].item())


@contextmanager
def processes(device: torch.device | str | None = None) -> Iterator[torch.device | None]:
    """Join the processes that ``torchrun`` has started; alone, do nothing.

    Args:
        device: what the caller was told to use. With several processes on GPUs each takes its own.

    Yields:
        The device of this process, or ``device`` as it was where there is one process.
    """
    device = torch.device(device) if device is not None else None
    if int(os.environ.get("WORLD_SIZE", 1)) < 2:
        yield device
        return
    if device is None or device.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", 0))
        device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


@contextmanager
def first_rank_first() -> Iterator[None]:
    """The body runs on rank 0 first, then on the others, who find what it has fetched or unpacked."""
    if rank() > 0:
        dist.barrier()
    yield
    if world_size() > 1 and rank() == 0:
        dist.barrier()
