"""What is learned: classification."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from crate_mini import distributed
from crate_mini.data.imageset import ImageSet
from crate_mini.data.streaming import Feed, ImageStream
from crate_mini.model import CRATE


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
