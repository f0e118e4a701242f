"""The loop: steps, devices, ranks, saving, resuming, interrupts."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from crate_mini import distributed
from crate_mini.checkpoints import save_model
from crate_mini.data.imageset import ImageSet
from crate_mini.data.streaming import Feed, ImageStream
from crate_mini.memory import keep_freed_memory
from crate_mini.model import CRATE
from crate_mini.training.augmentation import _draw, augment, draw_patches
from crate_mini.training.callbacks import _Pace
from crate_mini.training.interrupts import _StopRequest
from crate_mini.training.optimizers import learning_rate, make_optimizer
from crate_mini.training.recipe import Recipe
from crate_mini.training.state import Run, _fingerprint, _State, _writing
from crate_mini.training.tasks import _check_labels, _evaluate


def default_device() -> torch.device:
    """CUDA if there is one, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def show_progress(progress: bool | None = None) -> bool:
    """Whether to draw progress bars: as told, and otherwise everywhere but in the built book."""
    return os.environ.get("CRATE_MINI_BOOK") != "1" if progress is None else progress


def train(
    model: CRATE,
    train_set: ImageSet | ImageStream,
    val_set: ImageSet | ImageStream,
    recipe: Recipe | None = None,
    *,
    out: str | os.PathLike | None = None,
    device: torch.device | str | None = None,
    progress: bool | None = None,
    on_epoch: Callable[[int, CRATE], None] | None = None,
    on_step: Callable[[dict[str, int | float]], None] | None = None,
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
        train_set: held on the device as uint8, or streamed to it; augmented there either way, and the batches are
            the same bit for bit.
        val_set: what accuracy is measured on after every epoch, in the recipe's precision; held on the device too,
            or streamed.
        recipe: how; the defaults of :class:`Recipe` if None.
        out: folder for ``state.safetensors`` (to resume from), ``log.csv`` and, at the end,
            ``model.safetensors``. If it holds a state of the same recipe, model
            and data, training goes on from there. Several machines must see the same folder.
        device: by default the best there is.
        progress: draw a progress bar; by default yes, except while the book is built.
        on_epoch: called after every epoch with its number (1 for the first) and the model; on rank 0 only.
        on_step: called about twice a second, and after the last step, with ``step`` (steps done, of the whole
            training), ``epoch`` (from 1), ``lr``, and the mean ``train_loss`` and ``images_per_second`` since the
            call before; on rank 0 only.
        save_at: shares of the training, in whole percent and below 1. When 0.05 of the steps are done the model is
            written to ``at05.safetensors`` in ``out``, with a card; ``at00.safetensors`` is the start.
        save_minutes: the state is saved after every epoch, and in between when so many minutes have passed.
        card: what the cards of ``save_at`` shall say besides share, step and recipe.

    Returns:
        The run's history: ``epoch, lr, train_loss, val_loss, val_top1, val_top5, seconds`` for each epoch.

    Raises:
        ValueError: labels outside the model's classes, a set without images, a batch that the processes
            cannot share equally, or ``save_at`` without a folder or with other shares.
        CheckpointError: ``out`` holds the state of another recipe, model or training set.
        DataError: an image of a stream that cannot be read, by name; what was done is saved in ``out``.
        FloatingPointError: the loss became NaN or infinite; what was saved before is kept in ``out``.
        OSError: a file in ``out`` cannot be written; what was saved before is whole.
        KeyboardInterrupt: after an interrupt; what was done is saved in ``out``.
    """
    recipe = recipe or Recipe()
    device = torch.device(device) if device is not None else default_device()
    _check_labels(model, train_set, val_set)
    rank, world = distributed.rank(), distributed.world_size()
    batch_size = min(recipe.batch_size, len(train_set))
    if batch_size % world:
        raise ValueError(f"{world} processes cannot share a batch of {batch_size} images equally; change one")
    steps = len(train_set) // batch_size
    marks = _marks(save_at, recipe.epochs * steps, out)
    if device.type == "cpu":
        keep_freed_memory()
    model.to(device)
    optimizer = make_optimizer(model, recipe)
    identity = {"recipe": asdict(recipe), "config": model.config.to_dict(), "data": _fingerprint(train_set)}
    state = _State(model, optimizer, identity, Path(out) if out is not None else None, device)
    run = state.resume()
    forward = DistributedDataParallel(model) if world > 1 else model
    forward = torch.compile(forward) if recipe.compile else forward
    autocast = _autocast(device, recipe.precision)
    patches = math.prod(side // model.config.patch_size for side in train_set.shape[-2:])
    pace = _Pace(on_step if rank == 0 else None, batch_size, device)

    def save_mark(step: int) -> None:
        if step in marks and rank == 0:
            about = {
                "share": marks[step],
                "step": step,
                "steps": recipe.epochs * steps,
                "recipe": asdict(recipe),
            }
            with _writing(_mark_path(out, marks[step])) as path:
                save_model(model, path, {**(card or {}), **about}, classes=train_set.classes)

    share_of_rank = {"rank": rank, "world_size": world}
    together = distributed.SharedRequest()
    done = len(run.history) * steps + state.step
    if done == 0:
        save_mark(0)
    elif lost := [s for step, s in marks.items() if step <= done and not _mark_path(out, s).exists()]:
        warnings.warn(
            f"the training in {out} is past {', '.join(f'{s:.0%}' for s in lost)}: "
            "to have the weights of then, train anew in another folder",
            stacklevel=2,
        )
    bar = tqdm(
        total=recipe.epochs * steps,
        initial=done,
        unit="step",
        disable=rank > 0 or not show_progress(progress),
    )
    with (
        bar,
        _StopRequest() as stop,
        state.kept_for_later(run),
        Feed(train_set, device) as feed,
        Feed(val_set, device) as val_feed,
    ):
        for epoch in range(len(run.history), recipe.epochs):
            began = time.perf_counter() - state.seconds
            model.train()
            order, generator = _order(len(train_set), batch_size, recipe.seed, epoch)
            for _ in range(state.step):  # done before the run was stopped: only its random numbers are drawn
                _draw(batch_size, generator)
                draw_patches(batch_size, patches, recipe.keep_patches, generator)
            ahead = feed.batches(order[state.step :, rank::world])
            for i, (images, labels) in enumerate(ahead, start=state.step):
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(recipe, epoch * steps + i, steps)
                batch = augment(images, recipe, generator, **share_of_rank)
                kept = draw_patches(
                    batch_size, patches, recipe.keep_patches, generator, **share_of_rank, device=device
                )
                with autocast():
                    logits = forward(batch, *(() if kept is None else (kept,)))
                    loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                if recipe.clip_norm is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
                optimizer.step()
                loss = distributed.sum_over_ranks(loss.detach().clone()) / world
                state.total += loss
                state.step, state.seconds = i + 1, time.perf_counter() - began
                bar.update()
                step = epoch * steps + i + 1
                pace.add(
                    loss, step, epoch + 1, optimizer.param_groups[0]["lr"], last=step == recipe.epochs * steps
                )
                if step in marks:
                    state.check_finite(epoch)
                    save_mark(step)
                stopping = together.made(stop.asked)
                if stopping or state.minutes_unsaved > save_minutes:
                    state.check_finite(epoch)
                    state.save(run)
                if stopping:
                    raise KeyboardInterrupt(
                        f"stopped in epoch {epoch + 1}, after step {i + 1}{state.go_on()}"
                    )
            state.check_finite(epoch)
            train_loss = state.total.item() / steps
            with autocast():
                metrics = _evaluate(model, val_feed)
            lr = learning_rate(recipe, (epoch + 1) * steps - 1, steps)
            row = {"epoch": epoch + 1, "lr": lr, "train_loss": train_loss}
            row |= {f"val_{k}": v for k, v in metrics.items()} | {"seconds": time.perf_counter() - began}
            run.history.append(row)
            bar.set_postfix(loss=f"{train_loss:.3f}", top1=f"{metrics['top1']:.1%}")
            if on_epoch is not None and rank == 0:
                on_epoch(epoch + 1, model)
            state.start_epoch()
            state.save(run)
            if together.made(stop.asked):
                raise KeyboardInterrupt(f"stopped after epoch {epoch + 1}{state.go_on()}")
    model.eval()
    if out is not None and rank == 0:
        with _writing(Path(out) / "model.safetensors") as path:
            save_model(model, path, classes=train_set.classes)
    return run


def _order(n: int, batch_size: int, seed: int, epoch: int) -> tuple[Int[Tensor, "steps b"], torch.Generator]:
    """Shuffled full batches of one epoch, with the generator that its augmentation draws from."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(n, generator=generator)
    return order[: n - n % batch_size].view(-1, batch_size), generator


def _marks(save_at: Sequence[float], steps: int, out: str | os.PathLike | None) -> dict[int, float]:
    """Number of steps done -> share of the training, for the weights to be kept on the way."""
    if save_at and out is None:
        raise ValueError("save_at needs a folder to write to: out=...")
    if bad := [s for s in save_at if not 0 <= s < 0.995 or abs(100 * s - round(100 * s)) > 1e-6]:
        raise ValueError(f"save_at takes shares from 0 to 0.99 in whole percent, such as 0.05; got {bad[0]}")
    marks = {round(share * steps): share for share in sorted(set(save_at))}
    if len(marks) < len(set(save_at)):
        raise ValueError(f"{steps} steps are too few to tell the shares {sorted(set(save_at))} apart")
    return marks


def _mark_path(out: str | os.PathLike, share: float) -> Path:
    return Path(out) / f"at{round(100 * share):02d}.safetensors"


def _autocast(device: torch.device, precision: str) -> Callable:
    bf16 = precision == "bfloat16" or (
        precision == "auto"
        and device.type == "cuda"
        and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)
