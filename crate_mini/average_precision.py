"""Average precision of boxes and masks without classes, as COCO counts it, and CorLoc beside it.

Small enough to read: the overlaps of one image's predictions with its objects are a table, and everything else is
done on these tables. Held in the tests against pycocotools on the same predictions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from crate_mini.stats import bootstrap_interval, iou_from_counts

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Overlaps (IoU) from which a prediction may count as a hit; AP is the mean over them."""
RECALLS = np.linspace(0, 1, 101)
"""Shares of all objects found at which precision is read."""
MOST = 100
"""Predictions of one image that are looked at, the best first."""


def box_overlaps(predicted: Float[Tensor, "p 4"], truth: Float[Tensor, "g 4"]) -> Float[Tensor, "p g"]:
    """IoU of every predicted box with every true one; boxes are (left, top, right, bottom)."""
    p, g = predicted.double()[:, None], truth.double()[None]
    sides = (torch.minimum(p[..., 2:], g[..., 2:]) - torch.maximum(p[..., :2], g[..., :2])).clamp(min=0)
    return iou_from_counts(sides.prod(-1), *((b[..., 2:] - b[..., :2]).prod(-1) for b in (p, g)))


def mask_overlaps(
    predicted: Bool[Tensor, "p H W"], truth: Bool[Tensor, "g H W"], counted: Bool[Tensor, "H W"] | None = None
) -> Float[Tensor, "p g"]:
    """IoU of every predicted mask with every true one, over the pixels that are ``counted`` (all if None)."""
    p, g = (m.flatten(1).double() for m in (predicted, truth))
    if counted is not None:
        p, g = p * counted.flatten(), g * counted.flatten()
    both = p @ g.mT
    return iou_from_counts(both, p.sum(1)[:, None], g.sum(1)[None]).nan_to_num()


def box_shares(predicted: Float[Tensor, "p 4"], crowds: Float[Tensor, "c 4"]) -> Float[Tensor, "p c"]:
    """The share of every predicted box that lies in each box of a crowd."""
    p, c = predicted.double()[:, None], crowds.double()[None]
    sides = (torch.minimum(p[..., 2:], c[..., 2:]) - torch.maximum(p[..., :2], c[..., :2])).clamp(min=0)
    return sides.prod(-1) / (p[..., 2:] - p[..., :2]).prod(-1)


def matches(
    overlaps: Float[np.ndarray, "p g"],
    threshold: float,
) -> Bool[np.ndarray, " p"]:
    """Which predictions of one image, best first, are hits: each takes the free object that it overlaps most."""
    hits = np.zeros(len(overlaps), bool)
    free = np.ones(overlaps.shape[1], bool)
    for i, row in enumerate(overlaps):
        open_to = np.where(free, row, -1.0)
        if len(row) and open_to.max() >= min(threshold, 1 - 1e-10):
            # of equals the last, as pycocotools has it
            taken = len(row) - 1 - int(open_to[::-1].argmax())
            free[taken], hits[i] = False, True
    return hits


def precision_at_recalls(
    hits: Bool[np.ndarray, " p"],
    objects: int,
) -> Float[np.ndarray, " r"]:
    """Precision at :data:`RECALLS` of predictions sorted best first: the best at this recall or any larger one."""
    found = hits.cumsum()
    precision = found / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(found / objects, RECALLS, side="left")
    return np.append(precision, 0.0)[np.minimum(at, len(hits))]


def average_precision(
    overlaps: Sequence[Tensor], scores: Sequence[Tensor], crowds: Sequence[Tensor] | None = None
) -> dict[str, float]:
    """AP, AP50 and AP75 in [0, 1] of all images together.

    Args:
        overlaps: one table ``(p, g)`` an image, predictions by objects; either side may be empty.
        scores: of the predictions, one vector ``(p,)`` an image; equal scores keep the order in which they come.
        crowds: one table ``(p, c)`` an image, the share of a prediction that lies in each crowd region. Where it
            reaches the threshold, a prediction that hits no object counts neither as hit nor as miss.

    Returns:
        ``{"AP", "AP50", "AP75"}``; NaN where no image has an object.

    Raises:
        ValueError: lists or tables that do not fit each other, or entries that are not finite.
    """
    tables = _prepare(overlaps, scores, crowds)
    return _average(tables, range(len(tables)))


def average_precision_interval(
    overlaps: Sequence[Tensor],
    scores: Sequence[Tensor],
    crowds: Sequence[Tensor] | None = None,
    *,
    draws: int = 500,
    seed: int = 0,
) -> dict[str, tuple[float, float, float]]:
    """:func:`average_precision` with its 95 % bootstrap interval over images: name -> (value, low, high)."""
    tables = _prepare(overlaps, scores, crowds)
    intervals = bootstrap_interval(
        lambda images: _average(tables, images.tolist()).values(), len(tables), draws=draws, seed=seed
    )
    return dict(zip(("AP", "AP50", "AP75"), intervals, strict=True))


def correct_localisation(overlaps: Sequence[Tensor]) -> Bool[Tensor, " n"]:
    """CorLoc, image by image: whether the first predicted box overlaps some object by half or more (IoU)."""
    return torch.tensor([o.numel() > 0 and float(o[0].max()) >= 0.5 for o in overlaps], dtype=torch.bool)


def _prepare(
    overlaps: Sequence[Tensor], scores: Sequence[Tensor], crowds: Sequence[Tensor] | None
) -> list[tuple]:
    """Of every image: scores, hits at each threshold (10, p), what counts there (10, p), and the number of objects."""
    if crowds is None:
        crowds = [torch.zeros(len(table), 0) for table in overlaps]
    if len(overlaps) != len(scores) or not len(overlaps):
        raise ValueError(
            f"one table and one vector of scores an image, got {len(overlaps)} and {len(scores)}"
        )
    if len(crowds) != len(overlaps):
        raise ValueError(
            f"one table of crowds an image, or none: got {len(crowds)} for {len(overlaps)} images"
        )
    tables = []
    for i, image in enumerate(zip(overlaps, scores, crowds, strict=True)):
        table, score, crowd = (np.asarray(part, float) for part in image)
        if table.ndim != 2 or score.shape != table.shape[:1] or crowd.ndim != 2 or len(crowd) != len(table):
            raise ValueError(
                f"image {i}: a table (predictions, objects) and as many scores as predictions expected, "
                f"got {table.shape} and {score.shape}" + (f"; crowds {crowd.shape}" if crowd.size else "")
            )
        if not all(np.isfinite(part).all() for part in (table, score, crowd)):
            raise ValueError(f"image {i}: overlaps and scores must be finite")
        order = np.argsort(-score, kind="stable")[:MOST]
        hits = np.stack([matches(table[order], t) for t in THRESHOLDS])
        in_crowd = crowd[order].max(axis=1, initial=-1.0) >= np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
        tables.append((score[order], hits, hits | ~in_crowd, table.shape[1]))
    return tables


def _average(tables: list[tuple], images: Iterable[int]) -> dict[str, float]:
    chosen = [tables[i] for i in images]
    objects = sum(t[3] for t in chosen)
    if not objects:
        return dict.fromkeys(("AP", "AP50", "AP75"), float("nan"))
    order = np.argsort(-np.concatenate([t[0] for t in chosen]), kind="stable")
    hits, counts = (np.concatenate([t[k] for t in chosen], axis=1)[:, order] for k in (1, 2))
    by_threshold = [precision_at_recalls(h[c], objects).mean() for h, c in zip(hits, counts, strict=True)]
    return {
        "AP": float(np.mean(by_threshold)),
        "AP50": by_threshold[0].item(),
        "AP75": by_threshold[5].item(),
    }
