"""What a training tells on its way."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor


class _Pace:
    """Tells ``on_step`` how the training goes, about twice a second: only then is a GPU waited for."""

    SECONDS = 0.5

    def __init__(self, on_step: Callable[[dict], None] | None, batch_size: int, device: torch.device) -> None:
        self.on_step, self.batch_size, self.total = on_step, batch_size, torch.zeros((), device=device)
        self.steps, self.began = 0, time.perf_counter()

    def add(self, loss: Tensor, step: int, epoch: int, lr: float, *, last: bool) -> None:
        """Count a step; its loss is summed on the device."""
        if self.on_step is None:
            return
        self.total += loss.detach()
        self.steps += 1
        if not last and time.perf_counter() - self.began < self.SECONDS:
            return
        mean = self.total.item() / self.steps  # waits for the device, so the clock is read after it
        seconds = max(time.perf_counter() - self.began, 1e-9)
        images = self.steps * self.batch_size / seconds
        row = {"step": step, "epoch": epoch, "lr": lr, "train_loss": mean, "images_per_second": images}
        self.on_step(row)
        self.total.zero_()
        self.steps, self.began = 0, time.perf_counter()
