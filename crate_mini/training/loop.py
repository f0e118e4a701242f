"""The loop: steps, devices, processes, saving, resuming, interrupts. What is learned is the task's business."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from crate_mini import distributed
from crate_mini.lock import locked
from crate_mini.memory import keep_freed_memory
from crate_mini.outputs import try_folder, writing
from crate_mini.progress import bar
from crate_mini.training.callbacks import Callback, Callbacks, Functions, Pace
from crate_mini.training.interrupts import StopRequest
from crate_mini.training.marks import Marks
from crate_mini.training.optimizers import learning_rate, make_optimizer
from crate_mini.training.precision import Update, autocast, dtype_of
from crate_mini.training.recipe import Recipe
from crate_mini.training.rng import Draws, callers_generators_kept, order_of_epoch, seed_modules
from crate_mini.training.run import Run
from crate_mini.training.state import State, not_finite
from crate_mini.training.tasks import Classification, Learner, Task
from crate_mini.weights import save_model

LOCK = "training.lock"


def default_device() -> torch.device:
    """CUDA if there is one, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def show_progress(progress: bool | None = None) -> bool:
    """Whether to draw progress bars: as told, and otherwise everywhere but in the built book."""
    return os.environ.get("CRATE_MINI_BOOK") != "1" if progress is None else progress


def train(
    model: nn.Module,
    train_set: Any,
    val_set: Any,
    recipe: Recipe | None = None,
    *,
    task: Task | None = None,
    out: str | os.PathLike | None = None,
    device: torch.device | str | None = None,
    progress: bool | None = None,
    callbacks: Sequence[Callback] = (),
    on_epoch: Callable[[int, nn.Module], None] | None = None,
    on_step: Callable[[Mapping[str, Any]], None] | None = None,
    save_at: Sequence[float] = (),
    save_minutes: float = 10.0,
    card: Mapping[str, Any] | None = None,
) -> Run:
    """Train a model in place.

    An interrupt (Ctrl-C, or the SIGTERM of a job that runs out of time) lets the step at hand finish, saves, and
    raises KeyboardInterrupt; a second one is immediate. With several processes (:mod:`crate_mini.distributed`)
    each takes its share of every batch, and the result is that of one process but for the order of summation.

    Args:
        model: moved to the device and trained; left there, in evaluation mode.
        train_set: an :class:`ImageSet`, held on the device as uint8, or an :class:`ImageStream`; the batches are the
            same bit for bit. Other tasks may take other sets.
        val_set: what the task measures after an epoch, in the recipe's precision.
        recipe: how; the defaults of :class:`Recipe` if None.
        task: what; :class:`Classification` if None.
        out: folder for ``state.safetensors`` (to resume from), ``log.csv`` and, at the end, ``model.safetensors``: the
            task's :meth:`~crate_mini.training.Task.outcome`. If it holds a state of the same recipe, model, task and
            data, training goes on from there. Several machines must see the same folder; only one training at a time
            may write there.
        device: by default the best there is.
        progress: draw a progress bar; by default yes, except while the book is built.
        callbacks: who hears of it.
        on_epoch: a function of epoch (1 for the first) and model, called as :meth:`Callback.on_epoch_end` is.
        on_step: a function of a row, called as :meth:`Callback.on_step` is.
        save_at: shares of the training, in whole percent and below 1. When 0.05 of the steps are done the model is
            written to ``at05.safetensors`` in ``out``, with a card; ``at00.safetensors`` is the start.
        save_minutes: the state is saved after every epoch, and in between when so many minutes have passed.
        card: what the cards of ``save_at`` shall say besides share, step and recipe.

    Raises:
        ValueError: sets that the task or the processes cannot take, weights that are not finite, ``save_at`` without a
            folder or with other shares.
        CheckpointError: ``out`` holds the state of another recipe, model, task or training set, or an unusable one.
        DataError: an image of a stream that cannot be read, by name; what was done is saved in ``out``.
        FloatingPointError: loss or weights became NaN or infinite; what was saved before is kept in ``out``.
        OSError: ``out`` is in use, or cannot be written, and why; what was saved before is whole.
        KeyboardInterrupt: after an interrupt; what was done is saved in ``out``.
    """
    recipe = recipe or Recipe()
    device = torch.device(device) if device is not None else default_device()
    folder = Path(out) if out is not None else None
    functions = [Functions(on_step, on_epoch)] if on_step or on_epoch else []
    training = _Training(model, task or Classification(recipe), train_set, val_set, recipe, folder, device)
    training.tell([*callbacks, *functions])
    training.keep(save_at, save_minutes, card or {})
    with _held(folder, device), callers_generators_kept(device):
        training.start()
        return training.run(show_progress(progress))


@contextmanager
def _held(out: Path | None, device: torch.device) -> Iterator[None]:
    """Let this training alone write to its folder, and refuse before any work what cannot be written to."""
    with ExitStack() as stack:
        error = None
        if out is not None and distributed.rank() == 0:
            try:
                stack.enter_context(locked(try_folder(out) / LOCK))
            except OSError as caught:
                error = caught
        together = distributed.agree(int(error is None), device)
        if error is not None:
            raise error
        if not together:
            raise OSError(f"the first process cannot write to {out}; it says why")
        yield


class _Training:
    """One training: what it works with, and its steps."""

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        train_set: Any,
        val_set: Any,
        recipe: Recipe,
        out: Path | None,
        device: torch.device,
    ) -> None:
        self.rank, self.world = distributed.rank(), distributed.world_size()
        for data in (train_set, val_set):
            if not len(data):
                raise ValueError(f"the set {data.name!r} is empty")
        self.batch_size = min(recipe.batch_size, len(train_set))
        if self.batch_size % self.world:
            raise ValueError(
                f"{self.world} processes cannot share a batch of {self.batch_size} images equally; change one"
            )
        task.setup(model, train_set, val_set)
        self.model, self.task, self.recipe = model, task, recipe
        self.train_set, self.val_set, self.out, self.device = train_set, val_set, out, device
        self.steps = len(train_set) // self.batch_size  # of an epoch
        self.classes = tuple(getattr(train_set, "classes", ())) if task.classifies else ()
        self.dtype = dtype_of(recipe.precision, device)
        self.autocast = autocast(self.dtype, device)

    def tell(self, callbacks: Sequence[Callback]) -> None:
        """Who hears of the training: what rank 0 has to say."""
        heard = callbacks if self.rank == 0 else ()
        self.told = Callbacks(*heard)
        self.pace = Pace(self.told.on_step if heard else None, self.batch_size, self.device)

    def keep(self, save_at: Sequence[float], save_minutes: float, card: Mapping[str, Any]) -> None:
        """What is written, and when, besides the state after every epoch."""
        card = {**card, "recipe": asdict(self.recipe)}
        self.marks = Marks(save_at, self.recipe.epochs * self.steps, self.out, card, self.classes)
        self.save_minutes = save_minutes

    def start(self) -> None:
        """Bring everything onto the device, and to where it was when it was saved."""
        recipe = self.recipe
        if self.device.type == "cpu":
            keep_freed_memory()
        learner = Learner(self.model, self.task, compiled=recipe.compile).to(self.device)
        optimizer = make_optimizer(learner, recipe)
        self.update = Update(optimizer, list(learner.parameters()), recipe.clip_norm, self.dtype, self.device)
        identity = {
            "recipe": asdict(recipe),
            "config": self.model.config.to_dict(),
            "data": self.task.fingerprint(self.train_set),
            "task": {"name": type(self.task).__name__, **self.task.settings()},
        }
        self.state = State(learner, self.update, identity, self.out, self.device)
        self.state.resume()
        if name := not_finite(learner.state_dict()):
            raise ValueError(f"the weights to start from hold NaN or an infinite number, first in {name!r}")
        self.learner, self.forward = learner, learner
        if self.world > 1:
            self.forward = DistributedDataParallel(learner, find_unused_parameters=self.task.leaves_out)

    def run(self, progress: bool) -> Run:
        """All steps that are left to do."""
        state, recipe = self.state, self.recipe
        done, total = len(state.run.history) * self.steps + state.step, recipe.epochs * self.steps
        self.told.on_start(self.model, state.run)
        if done:
            self.marks.warn_of_lost(done)
        else:
            self._mark(0)
        self.together = distributed.SharedRequest()
        self.bar = bar(
            total=total, initial=done, unit="step", desc="training", progress=progress and self.rank == 0
        )
        with (
            self.bar,
            StopRequest() as self.stop,
            state.kept_for_later(),
            self.task.feed(self.train_set, self.device) as feed,
            self.task.feed(self.val_set, self.device) as val_feed,
        ):
            for epoch in range(len(state.run.history), recipe.epochs):
                self._epoch(epoch, feed)
                self._end_epoch(epoch, val_feed)
        self.learner.eval()
        if self.out is not None and self.rank == 0:
            with writing(self.out / "model.safetensors") as path:
                save_model(self.task.outcome(self.model), path, classes=self.classes)
        self.told.on_end(self.model, state.run)
        return state.run

    def _epoch(self, epoch: int, feed: Any) -> None:
        """The steps of an epoch that are left to do."""
        state = self.state
        began = time.perf_counter() - state.seconds
        self.learner.train()
        order, generator = order_of_epoch(len(self.train_set), self.batch_size, self.recipe.seed, epoch)
        state.begin_epoch(generator)
        draws = Draws(generator, self.rank, self.world)
        for batch in feed.batches(order[state.step :, self.rank :: self.world]):
            lr = learning_rate(self.recipe, epoch * self.steps + state.step, self.steps)
            loss = self._step(batch, epoch, lr, draws)
            state.step, state.seconds = state.step + 1, time.perf_counter() - began
            self._after_step(epoch, lr, loss)

    def _step(self, batch: Any, epoch: int, lr: float, draws: Draws) -> Tensor:
        """One step of the optimiser; the mean loss over all processes."""
        for group in self.update.optimizer.param_groups:
            group["lr"] = lr
        seed_modules(self.device, self.recipe.seed, epoch, self.state.step, self.rank)
        drawn = self.task.draw(batch, draws)
        with self.autocast():
            loss = self.forward(drawn)
        if self.update(loss):
            with torch.no_grad():
                self.task.after_step(self.model)
        loss = distributed.sum_over_ranks(loss.detach().clone()) / self.world
        self.state.loss.add(loss)
        return loss

    def _after_step(self, epoch: int, lr: float, loss: Tensor) -> None:
        """Tell, save, stop."""
        state, done = self.state, epoch * self.steps + self.state.step
        self.bar.update()
        self.pace.add(loss, done, epoch + 1, lr, last=done == self.recipe.epochs * self.steps)
        if done in self.marks.at:
            state.check_finite(epoch)
            self._mark(done)
        stopping = self.together.made(self.stop.asked)
        if stopping or state.minutes_unsaved > self.save_minutes:
            state.check_finite(epoch)
            state.save()
        if stopping:
            raise KeyboardInterrupt(f"stopped in epoch {epoch + 1}, after step {state.step}{state.go_on()}")

    def _end_epoch(self, epoch: int, val_feed: Any) -> None:
        """Measure, tell, save, stop."""
        state, recipe = self.state, self.recipe
        began = time.perf_counter() - state.seconds
        state.check_finite(epoch, ended=True)
        due = (epoch + 1) % recipe.evaluate_every == 0 or epoch + 1 == recipe.epochs
        measured = self._measure(val_feed) if due else dict.fromkeys(self.task.metrics)
        lr = learning_rate(recipe, (epoch + 1) * self.steps - 1, self.steps)
        row = {"epoch": epoch + 1, "lr": lr, "train_loss": state.loss.mean()}
        row |= {f"val_{k}": v for k, v in measured.items()} | {"seconds": time.perf_counter() - began}
        shown = {k: f"{v:.3f}" for k, v in measured.items() if k != "loss" and v is not None}
        self.bar.set_postfix(loss=f"{row['train_loss']:.3f}", **shown)
        self.told.on_epoch_end(epoch + 1, self.model, row)
        state.end_epoch(row)
        state.save()
        if self.together.made(self.stop.asked):
            raise KeyboardInterrupt(f"stopped after epoch {epoch + 1}{state.go_on()}")

    def _measure(self, val_feed: Any) -> dict[str, float]:
        """What the task measures, in evaluation mode, without gradients, in the recipe's precision."""
        self.learner.eval()
        with torch.no_grad(), self.autocast():
            measured = self.task.evaluate(self.model, val_feed)
        self.learner.train()
        if set(measured) != set(self.task.metrics):
            name = type(self.task).__name__
            raise ValueError(
                f"{name}.evaluate gave {sorted(measured)}, but {name}.metrics has {self.task.metrics}"
            )
        return {k: measured[k] for k in self.task.metrics}

    def _mark(self, done: int) -> None:
        """Write the weights, if this is a step at which they shall be kept."""
        if done in self.marks.at and self.rank == 0:
            outcome = self.task.outcome(self.model)
            self.marks.save(done, outcome)
            self.told.on_mark(self.marks.at[done], outcome)
