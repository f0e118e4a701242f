"""Watching a training: a chart that grows in a notebook, and TensorBoard; the CSV is always written.

Both are callbacks of :func:`~crate_mini.training.train`::

    chart = LiveChart(held_out=val_set.subset(range(256)))
    train(model, train_set, val_set, recipe, callbacks=[chart])
    chart.figure()
"""

from __future__ import annotations

import io
import os
import time
from typing import Any

from matplotlib.figure import Figure

from crate_mini import figures
from crate_mini.data.imageset import ImageSet
from crate_mini.model import CRATE
from crate_mini.training import Callback, evaluate, show_progress
from crate_mini.training.callbacks import Row


class Hook(Callback):
    """A callback that ``train`` can also be given as ``on_step`` and as ``on_epoch``: how it is called tells which."""

    def __call__(self, first: Row | int, model: CRATE | None = None) -> None:
        """``hook(row)`` after some steps, ``hook(epoch, model)`` after an epoch."""
        if model is None:
            self.on_step(first)
        else:
            self.on_epoch(first, model)

    def on_step(self, row: Row) -> None:
        """Take a row of numbers: ``step``, ``epoch``, ``lr``, ``train_loss``, ``images_per_second``."""

    def on_epoch(self, epoch: int, model: CRATE) -> None:
        """An epoch is over."""

    def on_epoch_end(self, epoch: int, model: CRATE, row: Row) -> None:
        """An epoch is over, as a callback hears it."""
        self.on_epoch(epoch, model)


class Hooks(Hook):
    """Several hooks as one."""

    def __init__(self, *hooks: Hook) -> None:
        self.hooks = hooks

    def on_step(self, row: Row) -> None:
        """Hand the row to each."""
        for hook in self.hooks:
            hook(row)

    def on_epoch(self, epoch: int, model: CRATE) -> None:
        """Tell each."""
        for hook in self.hooks:
            hook(epoch, model)


class _Accuracy(Hook):
    """Measures some held-out images after every epoch, and enters them as a row."""

    def __init__(self, held_out: ImageSet | None) -> None:
        self.held_out = held_out
        self.steps_per_epoch = 0.0

    def on_step(self, row: Row) -> None:
        """Learn how long an epoch is: step ``s`` of epoch ``e`` says at least ``s / e``, and the last one exactly."""
        if "step" in row and "epoch" in row:
            self.steps_per_epoch = max(self.steps_per_epoch, row["step"] / row["epoch"])

    def on_epoch(self, epoch: int, model: CRATE) -> None:
        """Measure what the epoch has brought."""
        if self.held_out is None:
            return
        found = evaluate(model, self.held_out.to(next(model.parameters()).device))
        self.on_step({"epoch": epoch, "val_loss": found["loss"], "val_top1": found["top1"]})


class LiveChart(_Accuracy):
    """Loss, accuracy, learning rate and throughput, drawn while a training runs.

    In a notebook the picture stands below the cell and is replaced, every few seconds at most and never so often that
    drawing takes more than a twentieth of the time. While the book is built, and outside of a notebook, nothing is
    shown; :meth:`figure` gives the picture as it stands.

    Args:
        held_out: images that accuracy is measured on after each epoch, some hundred; without them there is no
            accuracy to draw.
        seconds: least time between two pictures.
        live: whether to show pictures; by default in a notebook, except while the book is built.
    """

    SHARE = 0.05  # of the time, for drawing

    def __init__(
        self, held_out: ImageSet | None = None, *, seconds: float | int = 2.0, live: bool | None = None
    ) -> None:
        super().__init__(held_out)
        self.seconds = seconds
        self.live = show_progress() and in_notebook() if live is None else live
        self.rows: list[Row] = []
        self._handle: Any = None
        self._next = 0.0

    def on_step(self, row: Row) -> None:
        """Keep the row, and redraw if it is time."""
        super().on_step(row)
        self.rows.append(dict(row))
        if self.live and time.perf_counter() >= self._next:
            self._show()

    def series(self, name: str) -> tuple[list[float], list[float]]:
        """Steps, and the numbers of that name entered at them."""
        rows = [row for row in self.rows if name in row]
        steps = [float(row.get("step", row["epoch"] * self.steps_per_epoch)) for row in rows]
        return steps, [float(row[name]) for row in rows]

    def figure(self) -> Figure:
        """The picture as it stands; shown live for the last time, if it was."""
        if self._handle is not None:
            self._show()
        return self._draw()

    def _draw(self) -> Figure:
        kinds = [
            ("loss", [("train_loss", "training", "crate"), ("val_loss", "held out", "vit")]),
            ("top-1 accuracy", [("val_top1", "held out", "vit")]),
            ("learning rate", [("lr", "", "crate")]),
            ("images a second", [("images_per_second", "", "crate")]),
        ]
        waiting = not self.series("val_top1")[0]
        if waiting and self.held_out is None:
            del kinds[1]  # there will be none
        rows, columns = (2, 2) if len(kinds) == 4 else (1, 3)
        figure = Figure(figsize=(figures.WIDTH, 2.2 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, squeeze=False)
        for ax, (title, lines) in zip(panels.flat, kinds, strict=True):
            for name, label, colour in lines:
                steps, values = self.series(name)
                marker = "o" if len(values) < 40 else ""
                ax.plot(
                    steps, values, color=figures.COLOURS[colour], label=label, lw=1.4, marker=marker, ms=3
                )
            ax.set_title(title, fontsize=10)
            ax.spines[["top", "right"]].set_visible(False)
            ax.tick_params(labelsize=9)
            if title == "loss" and not waiting:
                ax.legend(frameon=False, fontsize=9)
            if title != "loss":
                ax.set_ylim(bottom=0)
            if title == "top-1 accuracy" and waiting:
                ax.text(
                    0.5, 0.5, "after the first epoch", ha="center", va="center", transform=ax.transAxes,
                    fontsize=9, color="0.45",
                )  # fmt: skip
        for ax in panels[-1]:
            ax.set_xlabel("step", fontsize=10)
        return figure

    def _show(self) -> None:
        from IPython.display import Image, display

        began = time.perf_counter()
        png = io.BytesIO()
        self._draw().savefig(png, format="png", dpi=100)
        picture = Image(data=png.getvalue(), format="png", alt="How the training goes: loss, accuracy, speed")
        if self._handle is None:
            self._handle = display(picture, display_id=True)
        else:
            self._handle.update(picture)
        spent = time.perf_counter() - began
        self._next = began + max(self.seconds, spent / self.SHARE)


class TensorBoardLog(_Accuracy):
    """The same numbers for TensorBoard: ``tensorboard --logdir FOLDER`` shows them in a browser.

    Args:
        folder: to write to, for example the ``out`` of the training; a training that goes on writes on.
        held_out: images that accuracy is measured on after each epoch; without them, as a callback, it writes what
            the task itself has measured.

    Raises:
        ImportError: TensorBoard is not installed.
    """

    def __init__(self, folder: str | os.PathLike, held_out: ImageSet | None = None) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError(
                "TensorBoardLog needs the package tensorboard: pip install tensorboard. Without it, the same numbers "
                f"are in log.csv, in the folder that a training is given as out. ({error})"
            ) from error
        super().__init__(held_out)
        self.writer = SummaryWriter(os.fspath(folder))

    def on_step(self, row: Row) -> None:
        """Write every number under its name."""
        super().on_step(row)
        step = row.get("step", round(row["epoch"] * self.steps_per_epoch))
        for name, value in row.items():
            if name not in ("step", "epoch"):
                part = "held_out" if name.startswith("val_") else "training"
                self.writer.add_scalar(f"{part}/{name.removeprefix('val_')}", value, step)
        self.writer.flush()

    def on_epoch_end(self, epoch: int, model: CRATE, row: Row) -> None:
        """Measure what the epoch has brought, or take what was measured."""
        super().on_epoch_end(epoch, model, row)
        if self.held_out is None:
            measured = {k: v for k, v in row.items() if k.startswith("val_") and v is not None}
            self.on_step({"epoch": epoch, **measured})

    def close(self) -> None:
        """Finish the file."""
        self.writer.close()

    def __enter__(self) -> TensorBoardLog:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def in_notebook() -> bool:
    """Whether this runs in a kernel that can show pictures below a cell."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")
