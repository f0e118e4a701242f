"""Training: a recipe, one loop, one device or many, exact resume.

The randomness of epoch ``e`` comes from the seed and ``e`` alone, however many processes share the work. A run that
was stopped, even killed, goes on from what it last saved and ends with the weights it would have had.
"""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from crate_mini import distributed
from crate_mini.checkpoints import CheckpointError, load_tensors, save_model, save_tensors, write_atomically
from crate_mini.data.images import DataError
from crate_mini.data.imageset import ImageSet
from crate_mini.data.streaming import Feed, ImageStream, to_device
from crate_mini.model import CRATE


@dataclass(frozen=True)
class Recipe:
    """Everything that, besides the model and the data, decides what a training ends with.

    Attributes:
        epochs, batch_size: passes over the data, images a step (over all processes together).
        optimizer: ``"adamw"`` or ``"lion"``. Lion wants a learning rate some 3 to 10 times smaller and a weight
            decay larger by as much.
        lr, weight_decay: peak learning rate; decoupled decay, applied to matrices only.
        warmup_epochs: linear warm-up; then a cosine down to zero. Both run step by step.
        label_smoothing: share of the target spread over all classes.
        crop_area: smallest and largest area of the random crop, as a share of the image. (1, 1): no crop.
        flip: mirror half of the images.
        keep_patches: share of the patches, another draw for each image and step, that a training step looks at;
            the class token always stays. At a half, a step costs less than half (arXiv 2208.07220).
        clip_norm: largest gradient norm, or None.
        precision: ``"auto"`` (bfloat16 on GPUs that have it, otherwise float32), ``"float32"``, ``"bfloat16"``.
        compile: run the model through ``torch.compile``; about twice as fast on a CPU with a C++ compiler.
        seed: of the order of images, the crops and the flips. The model's own initialisation comes before.
    """

    epochs: int = 30
    batch_size: int = 128
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup_epochs: float | int = 2.0
    label_smoothing: float = 0.1
    crop_area: tuple[float, float] = (0.45, 1.0)
    flip: bool = True
    keep_patches: float = 1.0
    clip_norm: float | None = None
    precision: str = "auto"
    compile: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {tuple(OPTIMIZERS)}, got {self.optimizer!r}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"precision must be 'auto', 'float32' or 'bfloat16', got {self.precision!r}")
        if self.epochs < 1 or self.batch_size < 1 or self.lr <= 0:
            raise ValueError("epochs, batch_size and lr must be positive")
        if not 0 < self.crop_area[0] <= self.crop_area[1] <= 1:
            raise ValueError(f"crop_area must be 0 < smallest <= largest <= 1, got {self.crop_area}")
        if not 0 < self.keep_patches <= 1:
            raise ValueError(f"keep_patches must lie in (0, 1], got {self.keep_patches}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must lie in [0, 1), got {self.label_smoothing}")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Rebuild from ``dataclasses.asdict``, after JSON too. Raises ValueError on unknown names."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(
                f"unknown settings {sorted(unknown)}; known are {sorted(f.name for f in fields(cls))}"
            )
        return cls(**values | ({"crop_area": tuple(values["crop_area"])} if "crop_area" in values else {}))


class Lion(torch.optim.Optimizer):
    r"""Evolved sign momentum (arXiv 2302.06675), with decoupled weight decay.

    .. math:: \theta \leftarrow (1 - \eta\omega)\theta - \eta\,\mathrm{sign}(\beta_1 m + (1-\beta_1) g),
        \qquad m \leftarrow \beta_2 m + (1-\beta_2) g
    """

    def __init__(
        self, params, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:
        """One update; returns what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            (b1, b2), lr = group["betas"], group["lr"]
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            grads = [p.grad for p in params]
            for p in params:
                if not self.state[p]:
                    self.state[p]["exp_avg"] = torch.zeros_like(p)
            momenta = [self.state[p]["exp_avg"] for p in params]
            direction = torch._foreach_lerp(grads, momenta, b1)
            torch._foreach_sign_(direction)
            torch._foreach_mul_(params, 1 - lr * group["weight_decay"])
            torch._foreach_add_(params, direction, alpha=-lr)
            torch._foreach_lerp_(momenta, grads, 1 - b2)
        return loss


OPTIMIZERS = {"adamw": torch.optim.AdamW, "lion": Lion}


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser. Weight decay acts on matrices; biases, norms, class token and positions go free.

    On a GPU the update of AdamW is one fused kernel; make the optimiser once the model is there.
    """
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2]
    others = [p for n, p in model.named_parameters() if p.ndim != 2]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    on_gpu = all(p.device.type == "cuda" for p in (*matrices, *others))
    fused = {"fused": True} if on_gpu and recipe.optimizer == "adamw" else {}
    return OPTIMIZERS[recipe.optimizer](groups, lr=recipe.lr, **fused)


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Learning rate of step ``step`` (from 0): linear warm-up, then half a cosine down to zero."""
    warmup = recipe.warmup_epochs * steps_per_epoch
    total = recipe.epochs * steps_per_epoch
    if step < warmup:
        return recipe.lr * (step + 1) / math.ceil(warmup)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def augment(
    images: Shaped[Tensor, "b 3 h w"],
    recipe: Recipe,
    generator: torch.Generator,
    *,
    rank: int = 0,
    world_size: int = 1,
) -> Float[Tensor, "b 3 h w"]:
    """Random resized crop and flip of a whole batch at once, on the device it lies on; float in [0, 1].

    Every image has its own box: area uniform in ``crop_area``, aspect ratio log-uniform in 3/4 to 4/3, position
    uniform. Random numbers are drawn on the CPU, so a seed means the same boxes on every device; and for the
    whole batch where ``images`` are every ``world_size``-th of it from ``rank`` on, so it means the same boxes
    whatever the number of processes.
    """
    b = len(images)
    u = to_device(_draw(b * world_size, generator)[:, rank::world_size], images.device)
    low, high = recipe.crop_area
    area = low + (high - low) * u[0]
    ratio = torch.exp((2 * u[1] - 1) * math.log(4 / 3)).sqrt() if low < 1 else torch.ones_like(area)
    width, height = (area.sqrt() * ratio).clamp(max=1), (area.sqrt() / ratio).clamp(max=1)
    mirror = torch.where((u[4] < 0.5) & recipe.flip, -1.0, 1.0)
    theta = torch.zeros(b, 2, 3, device=images.device)
    theta[:, 0, 0], theta[:, 0, 2] = width * mirror, (2 * u[2] - 1) * (1 - width)
    theta[:, 1, 1], theta[:, 1, 2] = height, (2 * u[3] - 1) * (1 - height)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    pixels = images.float() / 255 if images.dtype == torch.uint8 else images
    return F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False).clamp(0, 1)


def _draw(n: int, generator: torch.Generator) -> Tensor:
    """The random numbers behind the augmentation of ``n`` images."""
    return torch.rand(5, n, generator=generator)


def draw_patches(
    images: int,
    patches: int,
    share: float,
    generator: torch.Generator,
    *,
    rank: int = 0,
    world_size: int = 1,
    device: torch.device | str = "cpu",
) -> Int[Tensor, "b kept"] | None:
    """Which patches each image keeps in this step, at least one; None where all stay and no number is drawn.

    Drawn on the CPU for the whole batch, like the boxes of :func:`augment`, and sorted where the images lie: a CPU
    sorts long enough for a GPU to wait.
    """
    if share == 1:
        return None
    u = torch.rand(images, patches, generator=generator)[rank::world_size]
    return to_device(u, torch.device(device)).argsort(dim=1, stable=True)[:, : max(1, round(share * patches))]


def evaluate(
    model: nn.Module, data: ImageSet | ImageStream, *, batch_size: int = 256, top: tuple[int, ...] = (1, 5)
) -> dict[str, float]:
    """Mean cross-entropy and top-k accuracies: ``{"loss": ..., "top1": ..., "top5": ...}``. Restores the mode.

    Several processes (:mod:`crate_mini.distributed`) share the batches, and every one gets the result for all.
    """
    with Feed(data, next(model.parameters()).device, hold=False) as feed:
        return _evaluate(model, feed, batch_size, top)


@torch.no_grad()
def _evaluate(
    model: nn.Module, feed: Feed, batch_size: int = 256, top: tuple[int, ...] = (1, 5)
) -> dict[str, float]:
    """:func:`evaluate` with images that are at hand already, or workers that are."""
    device, was_training, n = feed.device, model.training, len(feed.data)
    model.eval()
    # summed on the device: a GPU is asked once, at the end
    loss = torch.zeros((), device=device)
    hits = torch.zeros(len(top), dtype=torch.long, device=device)
    starts = range(distributed.rank() * batch_size, n, distributed.world_size() * batch_size)
    for images, labels in feed.batches(torch.arange(i, min(i + batch_size, n)) for i in starts):
        logits = model(images).float()
        loss += F.cross_entropy(logits, labels, reduction="sum")
        ranked = logits.topk(min(max(top), logits.shape[1])).indices == labels[:, None]
        hits += torch.stack([ranked[:, :k].sum() for k in top])
    model.train(was_training)
    distributed.sum_over_ranks(loss)
    shares = [hit / n for hit in distributed.sum_over_ranks(hits).tolist()]
    return {"loss": loss.item() / n} | {f"top{k}": v for k, v in zip(top, shares, strict=True)}


def default_device() -> torch.device:
    """CUDA if there is one, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def show_progress(progress: bool | None = None) -> bool:
    """Whether to draw progress bars: as told, and otherwise everywhere but in the built book."""
    return os.environ.get("CRATE_MINI_BOOK") != "1" if progress is None else progress


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


def _autocast(device: torch.device, precision: str) -> Callable:
    bf16 = precision == "bfloat16" or (
        precision == "auto"
        and device.type == "cuda"
        and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)


def _check_labels(model: CRATE, train_set: ImageSet | ImageStream, val_set: ImageSet | ImageStream) -> None:
    for data in (train_set, val_set):
        if not len(data):
            raise ValueError(f"the set {data.name!r} holds no images")
        low, high = int(data.labels.min()), int(data.labels.max())
        if low < 0 or high >= model.config.num_classes:
            first = int(((data.labels < 0) | (data.labels >= model.config.num_classes)).nonzero()[0])
            where = f"; the first outside is {data.files[first] if data.files else f'image {first}'}"
            raise ValueError(
                f"labels of {data.name!r} run from {low} to {high}, but the model has classes 0 to "
                f"{model.config.num_classes - 1}{where}"
            )
    if train_set.classes and val_set.classes and train_set.classes != val_set.classes:
        ours, theirs = set(train_set.classes), set(val_set.classes)
        what = ", ".join(sorted(ours ^ theirs)[:5]) if ours != theirs else "their order"
        raise ValueError(
            f"{train_set.name!r} and {val_set.name!r} must have the same classes in the same order, or a label means "
            f"one thing in training and another in validation; they differ in {what}"
        )


def _fingerprint(data: ImageSet | ImageStream) -> dict[str, Any]:
    """What tells one training set from another, cheaply: its name, size and labels in order."""
    labels = data.labels.cpu().numpy().tobytes()
    return {"name": data.name, "shape": list(data.shape), "labels_crc32": zlib.crc32(labels)}


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


class _StopRequest:
    """Turns the first interrupt into a request, so that no step is cut in two; the second one is immediate."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _StopRequest:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python takes no signals
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


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
