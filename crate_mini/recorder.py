"""Run a model once and keep exactly the intermediates that were asked for.

Layer-wise rates, attention maps, token PCA and the inspector all read the same record, so none of them runs the
model its own way. The model itself is untouched: hooks are put on for one call and taken off again, and the
logits are those of the plain model, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from crate_mini.embeddings import Tokens
from crate_mini.model import CRATE, Block
from crate_mini.operators import Attention

RECORDABLE = {
    "tokens_in": "Z^l, tokens that enter the layer (b, n, d)",
    "attention_in": "LN(Z^l), what attention sees (b, n, d)",
    "projections": "U_k* LN(Z^l), coordinates in each subspace; of the ViT's attention, its keys (b, K, n, p)",
    "cls_scores": "what cls_attention is the softmax of: p^{-1/2} <q_cls, k_i> (b, K, n)",
    "cls_attention": "attention of the class token on all tokens, itself first; rows sum to 1 (b, K, n)",
    "tokens_mid": "Z^{l+1/2}, tokens between the operators (b, n, d)",
    "feed_in": "LN(Z^{l+1/2}), what ISTA (or the MLP) sees (b, n, d)",
    "tokens_out": "Z^{l+1}, tokens that leave the layer (b, n, d)",
}
"""What :func:`record` can keep of every model, with shapes; ``n`` counts the class token, which comes first."""

OF_SOME = {
    "memberships": "Pi, how much of each token belongs to each head, of TSSA; sums to 1 over heads (b, K, n)",
    "code": "the sparse code of ISTA and ODL, m atoms wide (b, n, m)",
}
"""What it can keep where the operators have it."""


class Record(dict):
    """``{"logits": (b, classes), name: {layer: tensor, ...}, ...}``, and what its tokens stand for.

    Attributes:
        prefix: how many tokens come before the patches: 1, the class token.
        grid: rows and columns of the patches; None if they are in no grid.
    """

    prefix: int
    grid: tuple[int, int] | None

    def patches(self, name: str, layer: int) -> Tensor:
        """What was kept under a name of a layer, for the patches alone, row by row, without the class token."""
        kept = self[name][layer]
        # scores and attention have one number a token, everything else a row
        return kept[..., self.prefix :] if name in _NUMBERS else kept[..., self.prefix :, :]


_OF_CLASS = ("cls_scores", "cls_attention")
_NUMBERS = (*_OF_CLASS, "memberships")


def record(
    model: CRATE,
    images: Shaped[Tensor, "b 3 h w"],
    names: Iterable[str] = ("cls_attention",),
    *,
    layers: Sequence[int] | None = None,
    grad: bool = False,
) -> Record:
    """One forward pass, and what was asked for along the way.

    Args:
        model: any model of :mod:`crate_mini.model`.
        images: uint8, or float in [0, 1]; moved to the model's device.
        names: keys of :data:`RECORDABLE` and :data:`OF_SOME`.
        layers: layer numbers from 0, negative ones counted from the end; all if None.
        grad: keep the graph, for gradients through the record.

    Returns:
        ``{"logits": (b, classes), name: {layer: tensor, ...}, ...}``, a :class:`Record`. Asking for ``cls_attention``
        forms one row of attention a head, never the ``n x n`` matrix.

    Raises:
        ValueError: unknown names or layers.
        CannotAnswer: an operator that does not have it, such as scores of an attention in which no token looks at
            another.
    """
    names = [names] if isinstance(names, str) else list(names)
    known = RECORDABLE | OF_SOME
    if unknown := [n for n in names if n not in known]:
        raise ValueError(f"cannot record {unknown}; known are {', '.join(known)}")
    chosen = layer_numbers(model, layers)
    if not model.embedding.prefix and (unasked := [name for name in names if name in _OF_CLASS]):
        raise ValueError(f"cannot record {unasked}: this model has no class token")
    kept = Record({name: {} for name in names})

    def keep(
        name: str, layer: int, compute: Callable[[Tensor], Tensor] = lambda t: t
    ) -> Callable[[Tensor], None]:
        return lambda tensor: kept[name].__setitem__(layer, compute(tensor))

    def lay_out(tokens: Tokens) -> None:
        kept.prefix, kept.grid = tokens.prefix, tokens.grid

    with ExitStack() as stack:
        stack.callback(_on_output(model.embedding, lay_out).remove)
        for layer in chosen:
            block: Block = model.blocks[layer]
            places = {
                "tokens_in": (block.norm1, _on_input),
                "attention_in": (block.norm1, _on_output),
                "tokens_mid": (block.norm2, _on_input),
                "feed_in": (block.norm2, _on_output),
                "tokens_out": (block, _on_output),
            }
            for name in names:
                if name == "code":
                    collect = keep(name, layer, block.feed.code)
                    stack.callback(_on_output(block.norm2, collect).remove)
                elif name in places:
                    module, hook = places[name]
                    stack.callback(hook(module, keep(name, layer)).remove)
                else:
                    compute = {
                        "projections": _keys,
                        "memberships": _memberships,
                        "cls_scores": _cls_scores,
                        "cls_attention": _cls_attention,
                    }[name]
                    collect = keep(name, layer, lambda t, a=block.attention, f=compute: f(a, t))
                    stack.callback(_on_output(block.attention.project, collect).remove)
        with torch.set_grad_enabled(grad):
            kept["logits"] = model(images.to(model.head.weight.device))
    return kept


def layer_numbers(model: CRATE, layers: Sequence[int] | None) -> list[int]:
    """Layer numbers counted from 0, checked; all of them for None.

    Raises:
        ValueError: a number outside the model's depth.
    """
    depth = len(model.blocks)
    layers = range(depth) if layers is None else layers
    if bad := [i for i in layers if not -depth <= i < depth]:
        raise ValueError(f"the model has layers 0 to {depth - 1}; got {bad}")
    return [i % depth for i in layers]


def _on_input(module: nn.Module, collect: Callable[[Tensor], None]):
    return module.register_forward_pre_hook(lambda _, args: collect(args[0]))


def _on_output(module: nn.Module, collect: Callable[[Any], None]):
    return module.register_forward_hook(lambda _, args, output: collect(output))


def _keys(attention: Attention, projected: Tensor) -> Float[Tensor, "b K n p"]:
    return attention.coordinates(projected)


def _memberships(attention: Attention, projected: Tensor) -> Float[Tensor, "b K n"]:
    return attention.memberships(projected)


def _cls_scores(attention: Attention, projected: Tensor) -> Float[Tensor, "b K n"]:
    return attention.scores(projected, slice(0, 1))[:, :, 0]


def _cls_attention(attention: Attention, projected: Tensor) -> Float[Tensor, "b K n"]:
    return _cls_scores(attention, projected).softmax(-1)
