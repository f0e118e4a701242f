"""Calibration: of the images that a model is 70 % sure of, is it right on 70 %?

Confidence is the probability of the class a model names. The images are sorted into bins by it; in each bin the mean
confidence is held against the share that is right.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from crate_mini.data.imageset import ImageSet
from crate_mini.passes import run
from crate_mini.stats import refuse_nan

SCHEMES = {
    "width": "bins of equal width between 0 and 1; some may hold few images, or none",
    "mass": "bins of equally many images, whatever their width",
}
"""How confidences are put into bins: name -> what that is."""

Logits = Float[Tensor, "n c"]
Labels = Int[Tensor, " n"]


def logits_of(model: nn.Module, data: ImageSet, *, batch_size: int = 256) -> tuple[Logits, Labels]:
    """Logits of every image, and the labels, in order and on the CPU. The model's mode is restored."""
    return run(model, data, lambda batch: model(batch).float(), batch_size=batch_size), data.labels.cpu()


def reliability(
    logits: Logits, labels: Labels, *, bins: int = 15, scheme: str = "width"
) -> dict[str, Tensor]:
    """The reliability table: for each bin its bounds, images, mean confidence and share that is right.

    Args:
        logits: ``(n, c)``.
        labels: ``(n,)``, the right classes.
        bins: how many.
        scheme: a key of :data:`SCHEMES`. A bin of equal width holds its lower bound and not its upper one; the last
            holds both.

    Returns:
        ``{"low", "high", "count", "confidence", "accuracy"}``, a tensor of one number for each bin that holds an
        image, confidences rising.

    Raises:
        ValueError: an unknown scheme, no images, shapes that do not fit, or fewer images than bins of equal mass.
    """
    confidence, right = _confidence(logits, labels)
    return _table(confidence, right, bins, scheme)


def calibration_error(logits: Logits, labels: Labels, *, bins: int = 15, scheme: str = "width") -> float:
    r"""Expected calibration error: the gap between confidence and accuracy, averaged over the images.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{n}\, \lvert \mathrm{accuracy}_b - \mathrm{confidence}_b \rvert

    (arXiv 1706.04599, eq. 3.) Arguments and errors as :func:`reliability`.
    """
    confidence, right = _confidence(logits, labels)
    return _error(confidence, right, bins, scheme)


def calibration_floor(
    logits: Logits, *, bins: int = 15, scheme: str = "width", draws: int = 50, seed: int = 0
) -> float:
    """The mean error that as many images give a model which is calibrated perfectly: chance alone, not zero.

    Every image is drawn right with the probability that its confidence states, ``draws`` times.
    """
    confidence, _ = _confidence(logits, torch.zeros(len(logits), dtype=torch.long))
    generator = torch.Generator().manual_seed(seed)
    drawn = (torch.rand(draws, len(confidence), generator=generator).double() < confidence).double()
    return sum(_error(confidence, right, bins, scheme) for right in drawn) / draws


def fit_temperature(logits: Logits, labels: Labels) -> float:
    r"""The temperature ``T`` at which :math:`\mathrm{softmax}(\text{logits}/T)` has the least cross-entropy.

    Above 1 the model was too sure of itself, below 1 not sure enough; what it names does not change
    (arXiv 1706.04599, section 4.2). The loss is convex in :math:`\beta = 1/T`, so its slope

    .. math:: \frac1n \sum_i \Big( \sum_c \mathrm{softmax}(\beta z_i)_c\, z_{ic} - z_{i y_i} \Big)

    has one zero at most, which is found by halving.

    Raises:
        ValueError: shapes that do not fit, or no best temperature between 1/1000 and 1000, as when every image
            is right.
    """
    _confidence(logits, labels)
    z = logits.double()
    of_label = z.gather(1, labels[:, None])[:, 0].mean()

    def slope(log_beta: float) -> float:
        return (((math.exp(log_beta) * z).softmax(-1) * z).sum(-1).mean() - of_label).item()

    low, high = -math.log(1000), math.log(1000)
    if not slope(low) < 0 < slope(high):
        raise ValueError(
            "no temperature between 1/1000 and 1000 is best for these logits: "
            "every image is right, or the model does no better than chance"
        )
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return math.exp(-(low + high) / 2)


def report(logits: Logits, labels: Labels, *, bins: int = 15, seed: int = 0) -> dict[str, Any]:
    """Everything about calibration that a results file holds.

    The temperature is fitted on one half of the images, drawn by ``seed``, and judged on the other.

    Returns:
        ``{"images", "bins", "top1", "confidence", "nll", "ece_width", "ece_mass", "floor_width", "floor_mass",
        "temperature", "other_half": {"images", "before": {...}, "after": {...}}}``, errors in shares of 1, ``nll``
        in nats. Where no temperature is best (:func:`fit_temperature`), it and ``after`` are None.

    Raises:
        ValueError: fewer images than two for every bin, or shapes that do not fit.
    """
    if len(labels) < 2 * bins:
        raise ValueError(f"{len(labels)} images are too few for {bins} bins in each half")
    fitted, other = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).tensor_split(2)
    try:
        temperature = fit_temperature(logits[fitted], labels[fitted])
    except ValueError:
        temperature = None
    judged, truth = logits[other], labels[other]
    floors = {f"floor_{s}": calibration_floor(logits, bins=bins, scheme=s, seed=seed) for s in SCHEMES}
    return {
        "images": len(labels),
        "bins": bins,
        **_scores(logits, labels, bins),
        **floors,
        "temperature": temperature,
        "other_half": {
            "images": len(truth),
            "before": _scores(judged, truth, bins),
            "after": None if temperature is None else _scores(judged / temperature, truth, bins),
        },
    }


def summary(r: dict[str, Any]) -> str:
    """A report in a line or two of words."""
    sure = "too sure" if r["confidence"] > r["top1"] else "not sure enough"
    line = (
        f"calibration error {r['ece_mass']:.1%} in {r['bins']} bins of equal mass, {r['ece_width']:.1%} of equal "
        f"width (a perfect model: {r['floor_mass']:.1%}, {r['floor_width']:.1%}); confidence {r['confidence']:.1%}, "
        f"{sure}"
    )
    after = r["other_half"]["after"]
    if after is None:
        return line
    before = r["other_half"]["before"]
    return (
        f"{line}\ntemperature {r['temperature']:.2f}, fitted on half of the images, takes the error of the other "
        f"half from {before['ece_mass']:.1%} to {after['ece_mass']:.1%}"
    )


def _scores(logits: Logits, labels: Labels, bins: int) -> dict[str, float]:
    confidence, right = _confidence(logits, labels)
    errors = {f"ece_{s}": _error(confidence, right, bins, s) for s in SCHEMES}
    nll = F.cross_entropy(logits.double(), labels).item()
    return {"top1": right.mean().item(), "confidence": confidence.mean().item(), "nll": nll} | errors


def _confidence(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Confidence of each image, and 1 where the model is right; both float64."""
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not logits.numel():
        raise ValueError(
            f"logits must be (n, c) and labels (n,), got {tuple(logits.shape)} and {tuple(labels.shape)}"
        )
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(
            f"labels must lie in 0 to {logits.shape[1] - 1}; images without a label cannot count"
        )
    refuse_nan(logits, "logits")
    confidence, named = logits.double().softmax(-1).max(-1)
    return confidence, (named == labels).double()


def _table(confidence: Tensor, right: Tensor, bins: int, scheme: str) -> dict[str, Tensor]:
    if scheme not in SCHEMES:
        raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}")
    if bins < 1 or (scheme == "mass" and bins > len(confidence)):
        raise ValueError(f"{len(confidence)} images do not fill {bins} bins")
    if scheme == "width":
        bounds = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
        index = torch.bucketize(confidence, bounds[1:-1], right=True)
        low, high = bounds[:-1], bounds[1:]
    else:
        order = confidence.argsort(stable=True)
        groups = order.tensor_split(bins)
        index = torch.empty_like(order)
        for i, group in enumerate(groups):
            index[group] = i
        low = torch.stack([confidence[group[0]] for group in groups])
        high = torch.stack([confidence[group[-1]] for group in groups])

    def total(values: Tensor) -> Tensor:
        return torch.zeros(bins, dtype=torch.float64).index_add_(0, index, values)

    count = total(torch.ones_like(confidence))
    some = count > 0
    means = {k: (total(v) / count)[some] for k, v in (("confidence", confidence), ("accuracy", right))}
    return {"low": low[some], "high": high[some], "count": count[some].long()} | means


def _error(confidence: Tensor, right: Tensor, bins: int, scheme: str) -> float:
    table = _table(confidence, right, bins, scheme)
    gap = (table["accuracy"] - table["confidence"]).abs()
    return ((table["count"] * gap).sum() / len(confidence)).item()
