"""What a model costs, counted: multiply-adds from its shape alone, and the hours that they take.

Products of matrices are counted and nothing else, as :class:`torch.utils.flop_counter.FlopCounterMode` does, which
counts a multiply-add as two operations. Norms, activations and the optimiser are some per cent more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from crate_mini.embeddings import ImageEmbedding
from crate_mini.model import Block, CRATEConfig
from crate_mini.registry import model_config


@dataclass(frozen=True)
class Accelerator:
    """A device by the numbers of its maker's data sheet.

    Attributes:
        peak: multiply-adds a second of dense matrix products in ``precision``; half of the data sheet's operations.
        precision: what :class:`crate_mini.training.Recipe` runs in there by itself: bfloat16 where there is hardware
            for it, else float16.
        memory: gigabytes.
    """

    peak: float
    precision: str
    memory: int


ACCELERATORS = {
    "T4": Accelerator(65e12 / 2, "float16", 16),
    "L4": Accelerator(121e12 / 2, "bfloat16", 24),
    "A100": Accelerator(312e12 / 2, "bfloat16", 40),
    "H100": Accelerator(989e12 / 2, "bfloat16", 80),
}
"""Of NVIDIA's data sheets, without sparsity; the H100 is the SXM one."""


def multiply_adds(config: CRATEConfig, *, batch: int = 1, kept: int | None = None) -> dict[str, int]:
    r"""Multiply-adds of one forward pass, part by part.

    With :math:`B` images of :math:`N` tokens each, heads of dimension :math:`p` and :math:`m = Kp`, one layer costs

    .. math::
        \underbrace{2BNdm}_{\text{linear maps}} + \underbrace{2BN^2m}_{\text{attention}}
        + \underbrace{BNd^2 + d^3}_{\text{ISTA}}

    with MSSA; MHSA has four maps instead of two, and an MLP of ratio :math:`r` costs :math:`2rBNd^2` in ISTA's place.

    Operators count for themselves, :meth:`crate_mini.operators.Attention.multiply_adds`; so do those from elsewhere.

    Args:
        config: the model's shape, at its own image size.
        batch: images that pass together; ISTA forms the one matrix that it multiplies by, :math:`d^3`, for all of them
            once (and without gradients on a CPU once for a dictionary, which is not counted off).
        kept: patches of each image that become tokens, as ``keep_patches`` of a recipe has it; all if None.

    Returns:
        ``{"patches": ..., "linear maps": ..., "attention": ..., "feed": ..., "classifier": ...}`` for the batch.

    Raises:
        ValueError: ``batch`` or ``kept`` out of range.
    """
    patches = config.grid**2
    kept = patches if kept is None else kept
    if batch < 1 or not 1 <= kept <= patches:
        raise ValueError(f"need batch >= 1 and 1 <= kept <= {patches}, got {batch} and {kept}")
    tokens = kept + ImageEmbedding.prefix
    with torch.device("meta"):  # shapes without numbers
        block = Block(config)
    counts = {"patches": batch * kept * 3 * config.patch_size**2 * config.dim}
    for operator in (block.attention, block.feed):
        for part, count in operator.multiply_adds(tokens, batch).items():
            counts[part] = counts.get(part, 0) + config.depth * count
    return counts | {"classifier": batch * config.dim * config.num_classes}


def training_multiply_adds(
    config: CRATEConfig, *, batch: int = 128, keep_patches: int | float = 1.0
) -> float:
    """Multiply-adds that one image costs in a training step: three times its forward pass.

    Every product of the forward pass takes two in the backward pass, one for each factor's gradient. What a fused
    attention computes a second time, to save memory, is not counted: it is the implementation's, not the model's.

    Args:
        config: the model's shape.
        batch: images a step, on one device.
        keep_patches: share of the patches that a step looks at.
    """
    kept = max(1, round(keep_patches * config.grid**2))
    forward = multiply_adds(config, batch=batch, kept=kept)
    return 3 * sum(forward.values()) / batch


def training_seconds(
    config: CRATEConfig,
    images: int | float,
    *,
    peak: int | float,
    share: int | float,
    batch: int = 128,
    keep_patches: int | float = 1.0,
) -> float:
    r"""Seconds of a training on one device, :math:`t = n\,c / (\text{share} \cdot \text{peak})`.

    Args:
        config: the model's shape.
        images: :math:`n`, how often an image is looked at: images of the set times epochs.
        peak: multiply-adds that the device can do in a second, see :data:`ACCELERATORS`.
        share: how much of that the training reaches, in (0, 1].
        batch: images a step.
        keep_patches: share of the patches that a step looks at.

    Raises:
        ValueError: ``share`` or ``peak`` out of range.
    """
    if not 0 < share <= 1 or peak <= 0:
        raise ValueError(f"need 0 < share <= 1 and peak > 0, got {share} and {peak}")
    cost = training_multiply_adds(config, batch=batch, keep_patches=keep_patches)
    return images * cost / (share * peak)


def published_share() -> float:
    """Share of its GPUs' peak that the first paper's own training reached, as far as its text lets one work it out.

    arXiv 2306.01129, appendix B: an epoch of CRATE-B on ImageNet-1K takes about 240 seconds on sixteen A100 of 40 GB.
    Counted are the multiply-adds of this package; the released code forms more of them in ISTA.
    """
    done = training_multiply_adds(model_config("crate_base"), batch=2048 // 16) * 1_281_167
    return done / (240 * 16 * ACCELERATORS["A100"].peak)
