"""What a training needs to go on exactly: weights, the task's state, optimiser, draws, history."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crate_mini import distributed
from crate_mini.data.images import DataError
from crate_mini.outputs import write_atomically, writing
from crate_mini.training.precision import Update
from crate_mini.training.run import Run
from crate_mini.training.tasks import Learner
from crate_mini.weights import CheckpointError, load_tensors, save_tensors

FORMAT = 2
_NEEDED = ("recipe", "config", "data", "task", "history", "step", "seconds", "scaler", "extra", "tensors")


class MeanLoss:
    """The mean of an epoch's losses, summed where they lie, so that no GPU is waited for.

    In float16 a loss that overflowed is left out, as its step was.
    """

    def __init__(self, device: torch.device, *, overflows: bool = False) -> None:
        self.overflows = overflows
        self.total = torch.zeros((), device=device)
        self.steps = torch.zeros((), dtype=torch.long, device=device)

    def add(self, loss: Tensor) -> None:
        """Count a step."""
        if self.overflows:
            finite = loss.isfinite()
            self.steps += finite
            self.total += loss.where(finite, 0.0)
        else:
            self.steps += 1
            self.total += loss

    def mean(self) -> float:
        """Over the steps so far; NaN where there was none."""
        steps = self.steps.item()
        return self.total.item() / steps if steps else math.nan

    def clear(self) -> None:
        """Start anew."""
        self.total.zero_()
        self.steps.zero_()


class State:
    """All that changes while a training goes on, and the file that holds it."""

    def __init__(
        self,
        learner: Learner,
        update: Update,
        identity: Mapping[str, dict[str, Any]],
        out: Path | None,
        device: torch.device,
    ) -> None:
        self.learner, self.update, self.identity = learner, update, json.loads(json.dumps(identity))
        self.out, self.device = out, device
        self.run = Run()
        self.saved = False
        self.step, self.seconds = 0, 0.0  # of the epoch at hand
        self.loss = MeanLoss(device, overflows=update.scaler.is_enabled())
        self.generator: torch.Generator | None = None
        self._drawn: Tensor | None = None  # where the generator was when the state was saved
        self._saved_at = time.perf_counter()
        names = {id(p): name for name, p in learner.named_parameters()}
        self._names = [names[id(p)] for group in update.optimizer.param_groups for p in group["params"]]

    def begin_epoch(self, generator: torch.Generator) -> None:
        """Draw from ``generator`` from now on; where the epoch had begun before, from where it was."""
        self.generator = generator
        if self._drawn is not None:
            generator.set_state(self._drawn)
            self._drawn = None

    def end_epoch(self, row: dict[str, int | float | None]) -> None:
        """Enter the epoch's numbers; no step of the next one is done yet."""
        self.run.history.append(row)
        self.step, self.seconds = 0, 0.0
        self.loss.clear()

    @property
    def minutes_unsaved(self) -> float:
        """Since the last save, or the start; nothing to save where there is no folder."""
        return 0.0 if self.out is None else (time.perf_counter() - self._saved_at) / 60

    def go_on(self) -> str:
        """How to go on, the end of a message."""
        if not self.saved:
            return (
                "; nothing was saved, for no folder was given" if self.out is None else "; nothing was saved"
            )
        return f"; what was done is saved in {self.out}, run the same again to go on"

    def check_finite(self, epoch: int, *, ended: bool = False) -> None:
        """Stop at a loss or a weight that is NaN or infinite, before it overwrites good ones.

        Raises:
            FloatingPointError: with what to do.
        """
        loss = self.loss.mean() if ended else self.loss.total.item()
        where = None if math.isfinite(loss) else f"the training loss is {loss}"
        if where is None and (name := not_finite(self.learner.state_dict())):
            where = f"the weights {name!r} are no longer finite"
        if where is None:
            return
        kept = f" What was saved before is kept in {self.out}." if self.saved else ""
        lr = self.update.optimizer.param_groups[0]["lr"]
        raise FloatingPointError(
            f"{where} in epoch {epoch + 1} at learning rate {lr:.2e}; "
            f"lower the learning rate, warm up for longer or set clip_norm.{kept}"
        )

    def save(self) -> None:
        """Write state and log, each whole or not at all; rank 0 does it for all."""
        if self.out is None:
            return
        if distributed.rank() == 0:
            self._write(self.out)
        self.saved, self._saved_at = True, time.perf_counter()

    def _write(self, out: Path) -> None:
        held = self.learner.state_dict()
        tensors = {k: v for k, v in held.items() if isinstance(v, Tensor)}
        for i, slots in self.update.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{slot}.{self._names[i]}": v for slot, v in slots.items()}
        tensors |= {"loss.total": self.loss.total, "loss.steps": self.loss.steps}
        if self.step:
            tensors["generator"] = self.generator.get_state() if self._drawn is None else self._drawn
        metadata = self.identity | {
            "format": FORMAT,
            "history": self.run.history,
            "step": self.step,
            "seconds": self.seconds,
            "scaler": self.update.scaler.state_dict(),
            "extra": {k: v for k, v in held.items() if not isinstance(v, Tensor)},
            "tensors": sorted(tensors),
        }
        with writing(out / "state.safetensors") as path:
            save_tensors(path, tensors, metadata)

        def write_log(temporary: Path) -> None:
            with open(temporary, "w", newline="", encoding="utf-8") as f:
                writer = csv.DictWriter(f, fieldnames=list(self.run.history[0]))
                writer.writeheader()
                writer.writerows(self.run.history)

        if self.run.history:
            with writing(out / "log.csv") as path:
                write_atomically(path, write_log)

    @contextmanager
    def kept_for_later(self) -> Iterator[None]:
        """A file that cannot be read ends the training; what was done until then is saved first."""
        try:
            yield
        except DataError as error:
            if math.isfinite(self.loss.total.item()):
                self.save()
            raise DataError(f"{error}{self.go_on()}") from error

    def resume(self) -> None:
        """Load what was saved, if anything was.

        Raises:
            CheckpointError: of another training, of an earlier version, or not as it was written.
        """
        path = self.out / "state.safetensors" if self.out is not None else None
        found = path is not None and path.exists()
        if not distributed.agree(int(found), self.device):
            raise CheckpointError(f"some processes see {path} and some do not: give them one shared folder")
        if not found:
            return
        tensors, metadata = load_tensors(path)
        _check_whole(path, tensors, metadata)
        self._check_identity(path, metadata)
        try:
            self._load(tensors, metadata)
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path} does not fit this training, though it says so: {error}") from error
        self.saved = True

    def _check_identity(self, path: Path, metadata: Mapping[str, Any]) -> None:
        for what, ours in self.identity.items():
            theirs = metadata[what]
            changed = {k: (theirs.get(k), ours.get(k)) for k in ours | theirs if theirs.get(k) != ours.get(k)}
            if set(changed) == {"epochs"}:
                there, here = changed["epochs"]
                raise CheckpointError(
                    f"the training in {self.out} has epochs={there}; its learning rate falls to zero along them, so it "
                    f"cannot go on to epochs={here}. Train anew in another folder, or start there from its weights"
                )
            if changed:
                raise CheckpointError(
                    f"{path} was written with another {what} (there, here): {changed}. "
                    "Use the same one to go on, or another folder to start anew."
                )

    def _load(self, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        ours = {k: v for k, v in tensors.items() if k.startswith(("model.", "task."))}
        self.learner.load_state_dict(ours | metadata["extra"])
        number = {name: i for i, name in enumerate(self._names)}
        slots: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            if key.startswith("optimizer."):
                _, slot, name = key.split(".", 2)
                slots.setdefault(number[name], {})[slot] = tensor
        optimizer = self.update.optimizer
        optimizer.load_state_dict(optimizer.state_dict() | {"state": slots})
        if self.update.scaler.is_enabled():
            self.update.scaler.load_state_dict(metadata["scaler"])
        self.run = Run(metadata["history"])
        self.step, self.seconds = metadata["step"], metadata["seconds"]
        self.loss.total.copy_(tensors["loss.total"])
        self.loss.steps.copy_(tensors["loss.steps"])
        self._drawn = tensors.get("generator")


def not_finite(tensors: Mapping[str, Any]) -> str | None:
    """The name of the first tensor that holds NaN or an infinite number, if any does."""
    for name, tensor in tensors.items():
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not tensor.isfinite().all():
            return name
    return None


def _check_whole(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Refuse a state of an earlier version, and one from which something was taken."""
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is the state of a training by another version of this package, which this one cannot go on with "
            "exactly: end it with that version, or train anew in another folder"
        )
    listed = set(metadata.get("tensors", ()))
    lost = [k for k in _NEEDED if k not in metadata] or sorted(listed - set(tensors))
    if lost or set(tensors) - listed:
        what = f"lacks {lost[0]!r}" if lost else f"holds {min(set(tensors) - listed)!r}, which nobody saved"
        raise CheckpointError(f"{path} is not as it was written: it {what}. Train anew in another folder")
    if name := not_finite(tensors):
        raise CheckpointError(
            f"{path} holds NaN or an infinite number in {name!r}. Train anew in another folder"
        )
