"""What a training needs to go on exactly: weights, optimiser, history, and how far the epoch has come."""

from __future__ import annotations

import csv
import json
import math
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from crate_mini import distributed
from crate_mini.checkpoints import CheckpointError, load_tensors, save_tensors, write_atomically
from crate_mini.data.images import DataError
from crate_mini.data.imageset import ImageSet
from crate_mini.data.streaming import ImageStream
from crate_mini.model import CRATE


@dataclass
class Run:
    """What a training leaves behind: one row of numbers for each epoch."""

    history: list[dict[str, int | float]] = field(default_factory=list)

    @property
    def minutes(self) -> float:
        """Wall-clock minutes spent in finished epochs, evaluation included."""
        return sum(row["seconds"] for row in self.history) / 60

    def __getitem__(self, column: str) -> list[int] | list[float]:
        return [row[column] for row in self.history]


@contextmanager
def _writing(path: Path) -> Iterator[Path]:
    """A disk that is full gives one kind of error, whatever writes; the file that was there is still whole."""
    try:
        yield path
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"could not write {path} ({error}); is the disk full? What was saved before is whole: make room, and run "
            "the same again to go on from there"
        ) from error


def _fingerprint(data: ImageSet | ImageStream) -> dict[str, Any]:
    """What tells one training set from another, cheaply: its name, size and labels in order."""
    labels = data.labels.cpu().numpy().tobytes()
    return {"name": data.name, "shape": list(data.shape), "labels_crc32": zlib.crc32(labels)}


class _State:
    """What a training needs to go on exactly: weights, optimiser, history, and how far the epoch has come."""

    def __init__(
        self,
        model: CRATE,
        optimizer: torch.optim.Optimizer,
        identity: dict[str, dict],
        out: Path | None,
        device: torch.device,
    ) -> None:
        self.model, self.optimizer, self.identity, self.out, self.device = (
            model,
            optimizer,
            identity,
            out,
            device,
        )
        self.saved = False
        self.start_epoch()
        self._saved_at = time.perf_counter()

    def start_epoch(self) -> None:
        """No step of the epoch is done yet."""
        self.step, self.seconds = 0, 0.0
        self.total = torch.zeros((), device=self.device)  # of the loss, over the steps

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

    def check_finite(self, epoch: int) -> None:
        """Stop at a loss that is NaN or infinite, before the weights that gave it overwrite good ones."""
        if math.isfinite(loss := self.total.item()):
            return
        kept = f" What was saved before is kept in {self.out}." if self.saved else ""
        lr = self.optimizer.param_groups[0]["lr"]
        raise FloatingPointError(
            f"the training loss is {loss} in epoch {epoch + 1} at learning rate {lr:.2e}; "
            f"lower the learning rate, warm up for longer or set clip_norm.{kept}"
        )

    def save(self, run: Run) -> None:
        """Write state and log, each whole or not at all; rank 0 does it for all."""
        if self.out is None:
            return
        if distributed.rank() == 0:
            self._write(self.out, run)
        self.saved, self._saved_at = True, time.perf_counter()

    def _write(self, out: Path, run: Run) -> None:
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()} | {"total": self.total}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{k}": v for k, v in state.items()}
        metadata = self.identity | {"history": run.history, "step": self.step, "seconds": self.seconds}
        with _writing(out / "state.safetensors") as path:
            save_tensors(path, tensors, metadata)

        def write_log(temporary: Path) -> None:
            with open(temporary, "w", newline="", encoding="utf-8") as f:
                writer = csv.DictWriter(f, fieldnames=list(run.history[0]))
                writer.writeheader()
                writer.writerows(run.history)

        if run.history:
            with _writing(out / "log.csv") as path:
                write_atomically(path, write_log)

    @contextmanager
    def kept_for_later(self, run: Run) -> Iterator[None]:
        """A file that cannot be read ends the training; what was done until then is saved first."""
        try:
            yield
        except DataError as error:
            if math.isfinite(self.total.item()):
                self.save(run)
            raise DataError(f"{error}{self.go_on()}") from error

    def resume(self) -> Run:
        """Load what was saved, if anything was, and return its history."""
        path = self.out / "state.safetensors" if self.out is not None else None
        found = path is not None and path.exists()
        if not distributed.agree(int(found), self.device):
            raise CheckpointError(f"some processes see {path} and some do not: give them one shared folder")
        if not found:
            return Run()
        tensors, metadata = load_tensors(path)
        for what, ours in self.identity.items():
            theirs, ours = metadata.get(what, {}), json.loads(json.dumps(ours))
            if theirs != ours:
                changed = {k: (theirs.get(k), v) for k, v in ours.items() if theirs.get(k) != v}
                raise CheckpointError(
                    f"{path} was written with another {what} (there, here): {changed}. "
                    "Use the same one to go on, or another folder to start anew."
                )
        self.model.load_state_dict(
            {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        )
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, i, key = name.split(".", 2)
                slots.setdefault(int(i), {})[key] = tensor
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": slots})
        self.step, self.seconds = metadata.get("step", 0), metadata.get("seconds", 0.0)
        self.total = tensors.get("total", self.total.cpu()).to(self.device)
        self.saved = True
        return Run(metadata["history"])
