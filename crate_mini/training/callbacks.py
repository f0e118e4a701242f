"""What a training tells on its way: named methods, to be overridden by whoever wants to hear."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from crate_mini.training.run import Run

Row = Mapping[str, int | float | None]


class Callback:
    """Hears of a training, on rank 0 alone, in this order; every method does nothing until it is overridden."""

    def on_start(self, model: nn.Module, run: Run) -> None:
        """Before the first step; ``run`` holds the epochs of before where a training goes on."""

    def on_step(self, row: Row) -> None:
        """About twice a second, and after the last step.

        ``row`` has ``step`` (steps done, of the whole training), ``epoch`` (from 1), ``lr``, and the mean
        ``train_loss`` and ``images_per_second`` since the call before.
        """

    def on_mark(self, share: float, model: nn.Module) -> None:
        """A share of the training, asked for by ``save_at``, is done and its weights are written."""

    def on_epoch_end(self, epoch: int, model: nn.Module, row: Row) -> None:
        """After an epoch (1 for the first), before it is saved; ``row`` is what the run's history gets.

        Its ``val_*`` are None after an epoch that was not evaluated.
        """

    def on_end(self, model: nn.Module, run: Run) -> None:
        """After the last epoch."""


class Callbacks(Callback):
    """Several callbacks as one, told one after the other."""

    def __init__(self, *callbacks: Callback) -> None:
        self.callbacks = callbacks

    def on_start(self, model: nn.Module, run: Run) -> None:
        """Tell each."""
        for callback in self.callbacks:
            callback.on_start(model, run)

    def on_step(self, row: Row) -> None:
        """Tell each."""
        for callback in self.callbacks:
            callback.on_step(row)

    def on_mark(self, share: float, model: nn.Module) -> None:
        """Tell each."""
        for callback in self.callbacks:
            callback.on_mark(share, model)

    def on_epoch_end(self, epoch: int, model: nn.Module, row: Row) -> None:
        """Tell each."""
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, model, row)

    def on_end(self, model: nn.Module, run: Run) -> None:
        """Tell each."""
        for callback in self.callbacks:
            callback.on_end(model, run)


class Functions(Callback):
    """Two plain functions as a callback: ``on_step(row)``, ``on_epoch(epoch, model)``."""

    def __init__(
        self,
        on_step: Callable[[Row], None] | None = None,
        on_epoch: Callable[[int, nn.Module], None] | None = None,
    ) -> None:
        self._on_step, self._on_epoch = on_step, on_epoch

    def on_step(self, row: Row) -> None:
        """Call the function of steps, if there is one."""
        if self._on_step is not None:
            self._on_step(row)

    def on_epoch_end(self, epoch: int, model: nn.Module, row: Row) -> None:
        """Call the function of epochs, if there is one."""
        if self._on_epoch is not None:
            self._on_epoch(epoch, model)


class Pace:
    """Tells ``on_step`` how the training goes, about twice a second: only then is a GPU waited for."""

    SECONDS = 0.5

    def __init__(self, on_step: Callable[[Row], None] | None, batch_size: int, device: torch.device) -> None:
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
