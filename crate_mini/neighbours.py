"""Which class the nearest neighbours of an image have: what a set of features knows without anything being fitted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

NEIGHBOURS = 20
TEMPERATURE = 0.07


def neighbour_votes(
    bank: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    features: Float[Tensor, "m d"],
    num_classes: int,
    *,
    k: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> Float[Tensor, "m c"]:
    r"""Votes of the ``k`` nearest by cosine, each with its weight (arXiv 2104.14294, after 1805.01978).

    .. math:: v_c(x) = \sum_{i \in N_k(x)} \mathbf 1[y_i = c]\, e^{\cos(x, x_i) / \tau}

    Args:
        bank: features of images whose classes are known.
        labels: these classes, from 0 to ``num_classes - 1``.
        features: of the images that are asked about.
        num_classes: how many classes there are.
        k: neighbours that vote; all where the bank holds fewer.
        temperature: :math:`\tau`.

    Returns:
        The votes, scaled so that those of an image sum to one.

    Raises:
        ValueError: sizes or labels that do not fit.
    """
    if bank.ndim != 2 or features.ndim != 2 or bank.shape[1] != features.shape[1] or not len(bank):
        raise ValueError(
            f"features must be (n, d) and (m, d) with n above 0, got {tuple(bank.shape)} and {tuple(features.shape)}"
        )
    if labels.shape != bank.shape[:1] or labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"labels must be ({len(bank)},) and lie in 0 to {num_classes - 1}, got shape {tuple(labels.shape)}"
        )
    if k < 1 or not temperature > 0:
        raise ValueError(f"k must be at least 1 and temperature positive, got {k} and {temperature}")
    known, votes = F.normalize(bank, dim=1), []
    for part in F.normalize(features, dim=1).split(1024):
        near = (part @ known.mT).topk(min(k, len(bank)), dim=1)
        weight = ((near.values - near.values[:, :1]) / temperature).exp()
        found = torch.zeros(len(part), num_classes, dtype=weight.dtype, device=weight.device)
        votes.append(found.scatter_add_(1, labels[near.indices], weight))
    found = torch.cat(votes)
    return found / found.sum(1, keepdim=True)
