"""What is learned. The loop knows steps, devices and saving; a task knows what a step draws, its loss and its meter."""

from __future__ import annotations

import math
import zlib
from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crate_mini import distributed
from crate_mini.data.imageset import ImageSet
from crate_mini.data.streaming import Feed, ImageStream
from crate_mini.progress import bar
from crate_mini.training.augmentation import augment, draw_patches
from crate_mini.training.recipe import Recipe
from crate_mini.training.rng import Draws


class Task(nn.Module, ABC):
    """What a training learns.

    A task is a module: parameters that require gradients (a projection head) are trained beside the model's; all
    others, and buffers, are its state (a moving-average teacher, a centre). All of it is saved and resumed, with what
    :meth:`~torch.nn.Module.get_extra_state` returns, which must be JSON. With several processes every one of them must
    hold the same state after every step.

    A step is: :meth:`draw`, then :meth:`loss` in the recipe's precision, backwards, the optimiser,
    :meth:`after_step`.

    Attributes:
        metrics: what :meth:`evaluate` measures; the columns ``val_*`` of a run.
        leaves_out: whether a step may leave parameters without a gradient; several processes need to know.
        classifies: whether the model's classifier learns the classes of the set; their names are written with it.
    """

    metrics: tuple[str, ...] = ("loss",)
    leaves_out: bool = False
    classifies: bool = False

    def settings(self) -> dict[str, Any]:
        """What decides, besides recipe, model and data, what a training ends with; JSON. Another refuses the state."""
        return {}

    def fingerprint(self, data: Any) -> dict[str, Any]:
        """What tells one training set from another, cheaply, as JSON: its name, size and labels in order."""
        labels = data.labels.cpu().numpy().tobytes()
        return {"name": data.name, "shape": list(data.shape), "labels_crc32": zlib.crc32(labels)}

    def setup(self, model: nn.Module, train_set: Any, val_set: Any) -> None:
        """Once, before everything: refuse sets that do not fit, build what the task needs of model and sets.

        Raises:
            ValueError: sets that this model cannot learn.
        """

    def feed(self, data: Any, device: torch.device) -> Feed:
        """What gives batches of a set on a device: a context manager with ``batches(order)``."""
        return Feed(data, device)

    def draw(self, batch: Any, draws: Draws) -> Any:
        """What a step looks at. All randomness of a step is in here, and all of it comes from ``draws``.

        Args:
            batch: what the feed gives: for images, uint8 images and labels of this process.
            draws: random numbers for the whole batch, of which this process takes its share.
        """
        return batch

    @abstractmethod
    def loss(self, model: nn.Module, drawn: Any) -> Tensor:
        """The loss of a step, a mean over the images of this process; runs under the recipe's precision."""

    def after_step(self, model: nn.Module) -> None:
        """After the optimiser has moved the weights: a moving average, a count."""

    def outcome(self, model: nn.Module) -> nn.Module:
        """The network that a training is for, and that is written: the model itself, or a teacher that follows it."""
        return model

    @abstractmethod
    def evaluate(self, model: nn.Module, feed: Feed) -> dict[str, float]:
        """A number for each of :attr:`metrics`, the same on every process.

        Model and task are in evaluation mode, without gradients, in the recipe's precision.
        """


class Learner(nn.Module):
    """Model and task as one module whose forward pass is the loss: that is what several processes keep in step."""

    def __init__(self, model: nn.Module, task: Task, *, compiled: bool = False) -> None:
        super().__init__()
        self.model, self.task = model, task
        self._call = (torch.compile(model) if compiled else model,)  # in a tuple, for it is no second child

    def forward(self, drawn: Any) -> Tensor:
        """The task's loss of what it has drawn."""
        return self.task.loss(self._call[0], drawn)


class Classification(Task):
    """One label an image: cross-entropy with smoothed labels, of random crops and a part of the patches.

    Args:
        recipe: whose crops, flips, share of patches and label smoothing are used.
    """

    metrics = ("loss", "top1", "top5")
    classifies = True

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe, self.patches = recipe, 0

    def setup(self, model: nn.Module, train_set: Any, val_set: Any) -> None:
        """Refuse labels that the model has no class for, and sets whose labels mean different things."""
        _check_labels(model, train_set, val_set)
        self.patches = math.prod(side // model.config.patch_size for side in train_set.shape[-2:])

    def draw(self, batch: tuple[Tensor, Tensor], draws: Draws) -> tuple[Tensor, Tensor | None, Tensor]:
        """Cropped and mirrored images, the patches that each keeps (None: all), and the labels."""
        images, labels = batch
        share = {"rank": draws.rank, "world_size": draws.world_size}
        cropped = augment(images, self.recipe, draws.generator, **share)
        kept = draw_patches(
            len(images) * draws.world_size, self.patches, self.recipe.keep_patches, draws.generator,
            **share, device=images.device,
        )  # fmt: skip
        return cropped, kept, labels

    def loss(self, model: nn.Module, drawn: tuple[Tensor, Tensor | None, Tensor]) -> Tensor:
        """Cross-entropy with smoothed labels."""
        images, kept, labels = drawn
        logits = model(images) if kept is None else model(images, kept)
        return F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)

    def evaluate(self, model: nn.Module, feed: Feed) -> dict[str, float]:
        """Mean cross-entropy, and the shares of images whose label is the first, and among the first five."""
        return _accuracy(model, feed, evaluation_batch(feed.device), (1, 5))


def evaluation_batch(device: torch.device) -> int:
    """Images that are looked at together where there is no way back: on a CPU as many as its cache can hold."""
    return 64 if device.type == "cpu" else 256


def evaluate(
    model: nn.Module,
    data: ImageSet | ImageStream,
    *,
    batch_size: int | None = None,
    top: tuple[int, ...] = (1, 5),
) -> dict[str, float]:
    """Mean cross-entropy and top-k accuracies: ``{"loss": ..., "top1": ..., "top5": ...}``. Restores the mode.

    Several processes (:mod:`crate_mini.distributed`) share the batches, and every one gets the result for all.

    Args:
        model: a classifier.
        data: images with labels.
        batch_size: images at a time; by default what suits the device.
        top: which k.
    """
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        with Feed(data, device, hold=False) as feed, torch.no_grad():
            return _accuracy(model, feed, batch_size or evaluation_batch(device), top)
    finally:
        model.train(was_training)


def _accuracy(model: nn.Module, feed: Feed, batch_size: int, top: tuple[int, ...]) -> dict[str, float]:
    """:func:`evaluate` with images that are at hand already, or workers that are."""
    device, n = feed.device, len(feed.data)
    # summed on the device: a GPU is asked once, at the end
    loss = torch.zeros((), device=device)
    hits = torch.zeros(len(top), dtype=torch.long, device=device)
    starts = range(distributed.rank() * batch_size, n, distributed.world_size() * batch_size)
    starts = bar(starts, desc="accuracy", unit="batch", leave=False)
    for images, labels in feed.batches(torch.arange(i, min(i + batch_size, n)) for i in starts):
        logits = model(images).float()
        loss += F.cross_entropy(logits, labels, reduction="sum")
        ranked = logits.topk(min(max(top), logits.shape[1])).indices == labels[:, None]
        hits += torch.stack([ranked[:, :k].sum() for k in top])
    distributed.sum_over_ranks(loss)
    if math.isnan(loss.item()):  # where an order of NaN would look like an accuracy
        raise FloatingPointError(
            f"logits of {feed.data.name!r} are not finite: numbers overflow in this network"
        )
    shares = [hit / n for hit in distributed.sum_over_ranks(hits).tolist()]
    return {"loss": loss.item() / n} | {f"top{k}": v for k, v in zip(top, shares, strict=True)}


def _check_labels(
    model: nn.Module, train_set: ImageSet | ImageStream, val_set: ImageSet | ImageStream
) -> None:
    classes = model.config.num_classes
    if train_set.classes and val_set.classes and train_set.classes != val_set.classes:
        ours, theirs = set(train_set.classes), set(val_set.classes)
        what = ", ".join(sorted(ours ^ theirs)[:5]) if ours != theirs else "their order"
        raise ValueError(
            f"{train_set.name!r} and {val_set.name!r} must have the same classes in the same order, or a label means "
            f"one thing in training and another in validation; they differ in {what}"
        )
    if classes == 1:
        raise ValueError(
            f"{train_set.name!r} has one class, and nothing to tell it from; add another, or learn without labels "
            "(the tasks simdino and dino)"
        )
    for data in (train_set, val_set):
        low, high = int(data.labels.min()), int(data.labels.max())
        if low < 0 or high >= classes:
            first = int(((data.labels < 0) | (data.labels >= classes)).nonzero()[0])
            where = f"; the first outside is {data.files[first] if data.files else f'image {first}'}"
            raise ValueError(
                f"labels of {data.name!r} run from {low} to {high}, but the model has classes 0 to "
                f"{classes - 1}{where}"
            )
