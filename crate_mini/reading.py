"""Where the class token reads: which layers' attention the answer needs.

An attention map of the class token says where it looks. Whether anything comes of it is another question, and has an
experiment: let one layer's attention leave the class token as it is, and count the right answers that are lost. All
other tokens go on as before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from crate_mini.data.imageset import ImageSet
from crate_mini.model import CRATE
from crate_mini.operators import Layout
from crate_mini.passes import run
from crate_mini.recorder import layer_numbers
from crate_mini.stats import refuse_nan


@contextmanager
def not_reading(model: CRATE, layers: Sequence[int]) -> Iterator[CRATE]:
    """Within the ``with`` block the class token takes nothing from attention in these layers.

    What attention would add to it, the row of its output before the patches, is set to zero; the residual and all other
    tokens stay.
    The model is restored whatever happens inside.

    Args:
        model: any model of :mod:`crate_mini.model`.
        layers: numbers of layers, negative ones counted from the end.

    Raises:
        ValueError: no such layer.
    """
    prefix = model.embedding.prefix

    def silence(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(output[:, :prefix]), output[:, prefix:]], dim=1)

    with ExitStack() as stack:
        for layer in layer_numbers(model, layers):
            stack.callback(model.blocks[layer].attention.register_forward_hook(silence).remove)
        yield model


def right_without_reading(
    model: CRATE,
    images: ImageSet,
    *,
    layers: Sequence[int] | None = None,
    onwards: bool = False,
    batch_size: int = 128,
) -> Bool[Tensor, "n L"]:
    """Which images it still gives their label when the class token does not read in one layer, a column for each.

    Args:
        model: any model of :mod:`crate_mini.model`, on any device.
        images: with labels.
        layers: layer numbers, negative ones counted from the end; all if None.
        onwards: nor in any layer after it.
        batch_size: images a forward pass.

    Raises:
        ValueError: images without labels, labels that the model has no class for, or no such layer.
    """
    L, classes = len(model.blocks), model.config.num_classes
    if not len(images) or not 0 <= int(images.labels.min()) <= int(images.labels.max()) < classes:
        raise ValueError(
            f"{images.name!r} must have labels from 0 to {classes - 1}, the classes of the model"
        )
    numbers = layer_numbers(model, layers)

    def answers(batch: Tensor) -> Float[Tensor, "b l c"]:
        """Before a layer that is not read nothing changes, so all layers share the tokens that come to them."""
        tokens, found = model.embedding(batch), {}
        Z, layout = tokens.values, Layout(tokens.prefix, tokens.grid)
        for layer in range(max(numbers) + 1):
            if layer in numbers:
                left = Z
                with not_reading(model, range(layer, L) if onwards else [layer]):
                    for block in model.blocks[layer:]:
                        left = block(left, None, layout)
                found[layer] = model.forward_head(tokens._replace(values=model.encoder.norm(left)))
            Z = model.blocks[layer](Z, None, layout)
        return torch.stack([found[layer] for layer in numbers], 1).float()

    logits = run(model, images, answers, batch_size=batch_size, desc="without reading")
    refuse_nan(logits, "logits")
    return logits.argmax(-1) == images.labels.cpu()[:, None]
