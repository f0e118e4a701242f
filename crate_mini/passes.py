"""Running a model over a set of images: one way, whatever is looked at on the way.

The model is in evaluation mode inside and as it was before afterwards, whatever happens; no graph is kept; images go to
the model's device and what was found comes back to the CPU; weights that are not finite are refused before anything is
measured with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from crate_mini.data.imageset import ImageSet
from crate_mini.model import require_finite as require_finite
from crate_mini.progress import bar

Found = Tensor | Mapping[Any, Tensor]
"""What is kept of a batch: one row an image, one tensor or several by name."""


def run(
    model: nn.Module,
    images: ImageSet | Shaped[Tensor, "n 3 h w"],
    look: Callable[[Tensor], Found],
    *,
    batch_size: int = 64,
    progress: bool | None = None,
    desc: str = "images",
) -> Any:
    """One pass over images; what ``look`` finds in each batch, put together on the CPU.

    Args:
        model: what ``look`` runs, on any device, in any mode.
        images: uint8, or float in [0, 1].
        look: from a batch on the model's device to a tensor, one row an image, or several by name.
        batch_size: images a forward pass.
        progress: show a progress bar; None as :func:`crate_mini.progress.shown` says.
        desc: what stands before the bar.

    Raises:
        ValueError: no images, or a batch size below 1.
        FloatingPointError: a weight is not finite, by name.
    """
    found = []
    with evaluating(model) as device:
        for batch in batches(images, batch_size, progress=progress, desc=desc):
            seen = look(batch.to(device))
            found.append({k: v.cpu() for k, v in seen.items()} if isinstance(seen, Mapping) else seen.cpu())
    if isinstance(found[0], Mapping):
        return {k: torch.cat([part[k] for part in found]) for k in found[0]}
    return torch.cat(found)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[torch.device]:
    """Evaluation mode, no graph, finite weights; afterwards every module is in the mode it was in. Gives the device.

    No graph by ``no_grad`` and not by ``inference_mode``: a module may keep what it has formed here (ISTA does) for a
    later pass that has gradients.

    Raises:
        FloatingPointError: a weight is not finite, by name.
    """
    require_finite(model.state_dict())
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad():
            yield next(model.parameters()).device
    finally:
        for module, training in modes.items():
            module.training = training


def batches(
    images: ImageSet | Tensor | Iterable[Tensor],
    batch_size: int,
    *,
    progress: bool | None = None,
    desc: str = "images",
) -> Iterator[Tensor]:
    """Images batch by batch; what already comes in batches stays as it is, and need not fit in memory together.

    Raises:
        ValueError: no images, images that are not ``(n, 3, h, w)``, or a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if isinstance(images, ImageSet):
        images = images.images
    if isinstance(images, Tensor):
        if images.ndim != 4:
            raise ValueError(f"images must be (n, 3, h, w), got shape {tuple(images.shape)}")
        images = images.split(batch_size) if len(images) else ()
    batch = None
    for batch in bar(images, desc=desc, unit="batch", progress=progress):
        yield batch
    if batch is None:
        raise ValueError("there are no images to look at")
