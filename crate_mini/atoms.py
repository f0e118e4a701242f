r"""Units of a layer's feed block: where they fire, and what the network says when one is held at a value.

In ISTA the code takes the token's place, so that number ``a`` of a token that leaves the layer says how much of atom
``a`` of the dictionary is in it. In an MLP the hidden units stand where the code stands, and each adds its column of
the second map to the token. A *direction* is a unit vector in the space of the tokens, and *fires* by its inner product
with them: what an atom is held against.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from crate_mini.data.imageset import ImageSet
from crate_mini.embeddings import Tokens
from crate_mini.model import CRATE
from crate_mini.operators import Feed
from crate_mini.passes import run


def fired(
    model: CRATE, layer: int, Z: Float[Tensor, "b n d"], *, batch_size: int = 50
) -> tuple[Float[Tensor, "b n m"], Float[Tensor, "b n d"]]:
    """How much every unit of a layer fires at every token, and the tokens that leave it, from those that enter."""
    units: list[Tensor] = []
    hook = model.blocks[layer].feed.neurons.register_forward_hook(
        lambda _, args, output: units.append(output)
    )
    try:
        with torch.no_grad():
            leaving = [model.blocks[layer](part) for part in Z.split(batch_size)]
    finally:
        hook.remove()
    return torch.cat(units), torch.cat(leaving)


@contextmanager
def changed(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within the ``with`` block, what leaves a module is ``change`` of it. The module is restored whatever happens."""
    hook = module.register_forward_hook(lambda _, args, output: change(output))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def clamped(feed: Feed, unit: int, value: float) -> Iterator[None]:
    """Within the ``with`` block, a unit of a layer's feed has this value at every token.

    Raises:
        CannotAnswer: the feed has no module whose output are units.
        ValueError: no such unit.
    """
    if not 0 <= unit < (count := len(feed.writes)):
        raise ValueError(f"the layer has units 0 to {count - 1}; got {unit}")

    def hold(units: Tensor) -> Tensor:
        units = units.clone()
        units[..., unit] = value
        return units

    with changed(feed.neurons, hold):
        yield


def explained(
    values: Float[Tensor, "n m"],
    groups: Int[Tensor, " n"] | None = None,
    features: Float[Tensor, "n f"] | None = None,
) -> Float[Tensor, " m"]:
    r"""The share of each column's variance that groups explain, or a linear fit to features.

    .. math:: \mathrm{groups:}\; \frac{\sum_g n_g (\bar x_g - \bar x)^2}{\sum_i (x_i - \bar x)^2} , \qquad
        \mathrm{fit:}\; 1 - \frac{\lVert x - \hat x \rVert^2}{\lVert x - \bar x \rVert^2}

    Columns that do not vary are NaN.

    Raises:
        ValueError: neither or both of ``groups`` and ``features``.
    """
    if (groups is None) == (features is None):
        raise ValueError("say either groups or features")
    x = values.double()
    x = x - x.mean(0)
    total = x.square().sum(0)
    if groups is not None:
        counts = groups.bincount().double()
        sums = torch.zeros(len(counts), x.shape[1], dtype=x.dtype).index_add_(0, groups, x)
        within = (sums.square() / counts.clamp(min=1)[:, None]).sum(0)
    else:
        f = features.double()
        q = torch.linalg.qr(f - f.mean(0))[0]
        within = (q.T @ x).square().sum(0)
    return torch.where(total > 0, within / total.clamp(min=1e-30), torch.nan)


def agreement(
    values: Float[Tensor, "b n m"], labels: Int[Tensor, "b n"], count: int = 20
) -> Float[Tensor, " m"]:
    """How often two of the places where a unit fires most have the same label, one place a picture.

    Of every picture the strongest place, of these the ``count`` strongest: the share of their pairs that agree.
    """
    top, where = values.max(1)  # (b, m)
    chosen = top.topk(count, dim=0).indices
    names = labels.gather(1, where).gather(0, chosen)
    same = (names[:, None] == names[None]).double().sum((0, 1)) - count
    return same / (count * (count - 1))


def tokens_before(
    model: CRATE, images: ImageSet | Tensor, *, batch_size: int = 50
) -> Float[Tensor, "L b n d"]:
    """The tokens that enter every layer."""

    def look(batch: Tensor) -> Tensor:
        Z, kept = model.tokens(batch), []
        for block in model.blocks:
            kept.append(Z)
            Z = block(Z)
        return torch.stack(kept, 1)

    return run(model, images, look, batch_size=batch_size).transpose(0, 1)


def onward(model: CRATE, Z: Float[Tensor, "b n d"], layer: int) -> Float[Tensor, "b c"]:
    """Log-probabilities of the classes, from the tokens that enter a layer."""
    with torch.no_grad():
        for block in model.blocks[layer:]:
            Z = block(Z)
        return model.forward_head(Tokens(model.norm(Z), model.embedding.prefix)).log_softmax(-1)


def moved(before: Float[Tensor, "b c"], after: Float[Tensor, "b c"]) -> dict[str, float]:
    """What a change did to log-probabilities: total variation, the answer's own probability, and new answers."""
    p, q, answer = before.exp(), after.exp(), before.argmax(1)
    own = [t.gather(1, answer[:, None]).mean().item() for t in (p, q)]
    return {
        "variation": (p - q).abs().sum(1).mean().item() / 2,
        "own": own[1] - own[0],
        "answers": (after.argmax(1) != answer).double().mean().item(),
    }


def random_directions(count: int, dim: int, *, seed: int = 0) -> Float[Tensor, "count dim"]:
    """Unit vectors, drawn evenly."""
    return F.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)
