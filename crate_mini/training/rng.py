"""Where the random numbers of a training come from: the seed, the epoch, the step; never the number of processes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """Random numbers for a step, the same whatever the number of processes that share its batch.

    Every process draws for the whole batch, from generators in the same state, and takes its share: every
    ``world_size``-th row from ``rank`` on, as it does of the images. Drawn on the CPU, so that a seed means the same
    on every device.
    """

    generator: torch.Generator
    rank: int = 0
    world_size: int = 1

    def rand(self, n: int, *shape: int) -> Tensor:
        """Uniform in [0, 1), ``(n, *shape)``: a row for each of the ``n`` images of this process."""
        return self.share(torch.rand(n * self.world_size, *shape, generator=self.generator))

    def share(self, whole: Tensor) -> Tensor:
        """The rows of this process, of what was drawn for the whole batch."""
        return whole[self.rank :: self.world_size]


def order_of_epoch(
    n: int, batch_size: int, seed: int, epoch: int
) -> tuple[Int[Tensor, "steps b"], torch.Generator]:
    """Shuffled full batches of one epoch, with the generator that its steps draw from."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(n, generator=generator)
    return order[: n - n % batch_size].view(-1, batch_size), generator


def seed_modules(device: torch.device, seed: int, epoch: int, step: int, rank: int) -> None:
    """Seed what modules draw from by themselves (dropout), anew for each step and process.

    So there is nothing to save: a training that goes on seeds its next step as it would have.
    """
    digest = hashlib.blake2b(f"{seed} {epoch} {step} {rank}".encode(), digest_size=8).digest()
    number = int.from_bytes(digest, "big") >> 1
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(number)
    elif device.type == "mps":
        torch.mps.manual_seed(number)


@contextmanager
def callers_generators_kept(device: torch.device) -> Iterator[None]:
    """Whatever is seeded inside: afterwards PyTorch's global generators are where the caller had left them."""
    host = torch.get_rng_state()
    on_device = None
    if device.type == "cuda":
        on_device = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        on_device = torch.mps.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(host)
        if device.type == "cuda":
            torch.cuda.set_rng_state(on_device, device)
        elif device.type == "mps":
            torch.mps.set_rng_state(on_device)
