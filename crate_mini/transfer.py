"""What a network knows, asked with other labels: nearest neighbours, a linear probe on frozen features, fine-tuning."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from crate_mini.data.imageset import ImageSet
from crate_mini.model import CRATE, read_out
from crate_mini.model import adapt as adapt
from crate_mini.neighbours import NEIGHBOURS, TEMPERATURE, neighbour_votes
from crate_mini.passes import run
from crate_mini.progress import bar
from crate_mini.training import Recipe, Run, train

POOLS = {
    "class": "the class token, what the network's own classifier reads",
    "mean": "the mean of the patch tokens",
    "both": "the two side by side",
}
"""What a probe reads: name -> what that is."""
L2_GRID = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
"""Strengths among which :func:`choose_l2` chooses, strongest first."""

Features = Float[Tensor, "n d"]
Labels = Int[Tensor, " n"]


def features(
    model: CRATE, images: Shaped[Tensor, "n 3 h w"], *, pool: str = "class", batch_size: int = 256
) -> Features:
    """What the frozen network says of each image: tokens after the last LayerNorm, pooled; on the CPU.

    Args:
        model: left in the mode it was in.
        images: of any size that the patch divides; the position embedding is interpolated.
        pool: a key of :data:`POOLS`.
        batch_size: images a forward pass.

    Raises:
        ValueError: an unknown pool.
        FloatingPointError: features that are not finite.
    """
    if pool not in POOLS:
        raise ValueError(f"pool must be one of {', '.join(POOLS)}, got {pool!r}")
    readouts = ("class", "mean") if pool == "both" else (pool,)

    def look(batch: Tensor) -> Tensor:
        tokens = model.forward_features(batch)
        return torch.cat([read_out(tokens, one) for one in readouts], dim=-1).float()

    found = run(model, images, look, batch_size=batch_size)
    if wrong := int((~found.isfinite()).any(1).sum()):
        raise FloatingPointError(
            f"features of {wrong} of {len(found)} images are not finite: numbers overflow in this network"
        )
    return found


@dataclass(frozen=True)
class LinearProbe:
    """Multinomial logistic regression on standardised features; called with features, it gives logits.

    Attributes:
        weight, bias: ``(c, d)`` and ``(c,)``, float64.
        mean, std: of the features it was fitted on, ``(d,)`` each.
        l2: strength of the penalty.
    """

    weight: Float[Tensor, "c d"]
    bias: Float[Tensor, " c"]
    mean: Float[Tensor, " d"]
    std: Float[Tensor, " d"]
    l2: float

    def __call__(self, x: Features) -> Float[Tensor, "n c"]:
        """Logits."""
        return ((x.double() - self.mean) / self.std) @ self.weight.T + self.bias


def fit_probe(
    x: Features, labels: Labels, num_classes: int, *, l2: float = 1e-3, start: LinearProbe | None = None
) -> LinearProbe:
    r"""Fit a linear probe.

    It is the one minimum of

    .. math:: \frac1n \sum_i -\log \mathrm{softmax}(W \hat x_i + b)_{y_i} + \frac{\mu}{2} \lVert W \rVert_F^2

    with :math:`\hat x` the standardised features and ``l2`` for :math:`\mu`, by L-BFGS in float64. In scikit-learn's
    terms, ``C = 1 / (n l2)``. The bias goes free.

    Args:
        x: ``(n, d)``.
        labels: ``(n,)``, from 0 to ``num_classes - 1``.
        num_classes: how many classes there are, seen or not.
        l2: :math:`\mu > 0`.
        start: a probe on the same features to start from; the result is the same, sooner.

    Raises:
        ValueError: shapes or labels that do not fit, or ``l2`` not positive.
    """
    if x.ndim != 2 or labels.shape != x.shape[:1] or not len(x):
        raise ValueError(
            f"features must be (n, d) and labels (n,), got {tuple(x.shape)} and {tuple(labels.shape)}"
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"labels must lie in 0 to {num_classes - 1}, found {labels.min()} to {labels.max()}")
    if not l2 > 0:
        raise ValueError(f"l2 must be positive, got {l2}; without it separable classes have no best probe")
    x = x.double()
    mean, std = x.mean(0), x.std(0, correction=0)
    std = torch.where(std > 1e-12, std, 1.0)  # a feature that never varies tells nothing, and divides nothing
    x = (x - mean) / std
    weight = (
        torch.zeros(num_classes, x.shape[1], dtype=torch.float64) if start is None else start.weight.clone()
    )
    bias = torch.zeros(num_classes, dtype=torch.float64) if start is None else start.bias.clone()
    weight.requires_grad_(), bias.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=300, history_size=20, tolerance_grad=1e-7, tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(x @ weight.T + bias, labels) + 0.5 * l2 * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    return LinearProbe(weight.detach(), bias.detach(), mean, std, l2)


def choose_l2(
    x: Features, labels: Labels, num_classes: int, *, grid: Sequence[float] = L2_GRID, seed: int = 0
) -> float:
    """The strength under which a probe fitted on four fifths of the images names most of the last fifth right.

    On a tie the stronger one wins. The fifth is drawn by ``seed``.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    held_out, rest = order[: max(1, len(order) // 5)], order[max(1, len(order) // 5) :]
    best, best_right, probe = grid[0], -1, None
    for l2 in bar(sorted(grid, reverse=True), desc="penalties", unit="probe", leave=False):
        probe = fit_probe(x[rest], labels[rest], num_classes, l2=l2, start=probe)
        right = int((probe(x[held_out]).argmax(-1) == labels[held_out]).sum())
        if right > best_right:
            best, best_right = l2, right
    return best


def linear_probe(
    model: CRATE,
    train_set: ImageSet,
    test_set: ImageSet,
    *,
    pool: str = "class",
    l2: float | None = None,
    seed: int = 0,
) -> tuple[LinearProbe, dict[str, Any]]:
    """Fit a linear probe on frozen features and measure it on other images.

    Args:
        model: frozen.
        train_set: its images may have another size than the model's.
        test_set: of the same classes.
        pool: a key of :data:`POOLS`.
        l2: strength; chosen on a fifth of the training set if None.
        seed: of that fifth.

    Returns:
        The probe, and ``{"top1", "top5", "loss", "train_top1", "l2", "pool", "chance", "majority"}``: ``chance`` is
        one in the number of classes, ``majority`` what naming the commonest training class always would give.

    Raises:
        ValueError: sets of different classes, or an unknown pool.
    """
    _check_classes(train_set, test_set)
    classes = len(train_set.classes)
    x, y = features(model, train_set.images, pool=pool), train_set.labels.cpu()
    l2 = choose_l2(x, y, classes, seed=seed) if l2 is None else l2
    probe = fit_probe(x, y, classes, l2=l2)
    x_test, y_test = features(model, test_set.images, pool=pool), test_set.labels.cpu()
    commonest = y.bincount(minlength=classes).argmax()
    return probe, {
        **_accuracy(probe(x_test), y_test),
        "train_top1": _accuracy(probe(x), y)["top1"],
        "l2": l2,
        "pool": pool,
        "chance": 1 / classes,
        "majority": (y_test == commonest).double().mean().item(),
    }


def nearest_neighbours(
    model: CRATE,
    train_set: ImageSet,
    test_set: ImageSet,
    *,
    pool: str = "class",
    k: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> dict[str, Any]:
    """How often the nearest training images name the class of others: nothing is fitted, nothing chosen.

    Args:
        model: frozen.
        train_set: whose images vote (:func:`~crate_mini.neighbours.neighbour_votes`).
        test_set: of the same classes.
        pool: a key of :data:`POOLS`.
        k: neighbours that vote.
        temperature: of their weights.

    Returns:
        ``{"top1", "top5", "k", "temperature", "pool", "chance", "majority"}``.

    Raises:
        ValueError: sets of different classes, or an unknown pool.
    """
    _check_classes(train_set, test_set)
    classes, y, y_test = len(train_set.classes), train_set.labels.cpu(), test_set.labels.cpu()
    x, x_test = (features(model, part.images, pool=pool) for part in (train_set, test_set))
    votes = neighbour_votes(x, y, x_test, classes, k=k, temperature=temperature)
    commonest = y.bincount(minlength=classes).argmax()
    scores = _accuracy(votes, y_test)
    return {
        "top1": scores["top1"],
        "top5": scores["top5"],
        "k": min(k, len(y)),
        "temperature": temperature,
        "pool": pool,
        "chance": 1 / classes,
        "majority": (y_test == commonest).double().mean().item(),
    }


def fine_tune(
    model: CRATE,
    train_set: ImageSet,
    test_set: ImageSet,
    recipe: Recipe,
    *,
    out: str | os.PathLike | None = None,
    device: torch.device | str | None = None,
    **options: Any,
) -> tuple[CRATE, Run]:
    """Train all weights on, from those of ``model``, which itself stays as it is.

    The classifier is new, and the position embedding fits the size of the images (:func:`adapt`).

    Args:
        model: where to start from.
        train_set: square images of any size that the patch divides.
        test_set: of the same classes and size.
        recipe: how, for example ``get_recipe("finetune_mini").recipe``; its seed is the new classifier's too.
        out: folder to save in and to resume from, as in :func:`~crate_mini.training.train`.
        device: by default the best there is.
        options: further arguments of :func:`~crate_mini.training.train`, such as ``on_step``.

    Returns:
        The fine-tuned model, with ``classes``, and its run.

    Raises:
        ValueError: sets of different classes, or images that are not square.
    """
    _check_classes(train_set, test_set)
    height, width = train_set.images.shape[-2:]
    if height != width:
        raise ValueError(f"fine-tuning takes square images, got {height} x {width} pixels")
    tuned = adapt(model, num_classes=len(train_set.classes), image_size=height, seed=recipe.seed)
    run = train(tuned, train_set, test_set, recipe, out=out, device=device, **options)
    tuned.classes = train_set.classes
    return tuned, run


def _check_classes(train_set: ImageSet, test_set: ImageSet) -> None:
    if not train_set.classes or train_set.classes != test_set.classes:
        raise ValueError(
            f"{train_set.name!r} and {test_set.name!r} must have the same classes, "
            f"found {len(train_set.classes)} and {len(test_set.classes)}"
        )


def _accuracy(logits: Tensor, labels: Tensor) -> dict[str, float]:
    ranked = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
    return {
        "top1": ranked[:, 0].double().mean().item(),
        "top5": ranked.any(1).double().mean().item(),
        "loss": F.cross_entropy(logits, labels).item(),
    }
