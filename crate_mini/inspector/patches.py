"""Queries and keys on their way into the page: with them it answers for any patch, without the model.

A model of any size can go along in this way, for the pictures that were prepared. What a pair looks like is described
in :mod:`crate_mini.inspector.contract`.
"""

from __future__ import annotations

import base64
import heapq
from collections.abc import Mapping, Sequence

import torch
from einops import rearrange
from torch import Tensor

from crate_mini.inspector.contract import Key
from crate_mini.model import CRATE
from crate_mini.recorder import layer_numbers, record

MAX_PAGE = 6_000_000
"""Bytes of a page that queries and keys may fill up to."""


def tokens_seen(model: CRATE, picture: Tensor, layers: Sequence[int] | None = None) -> dict[int, Tensor]:
    """What attention sees of one picture ``(3, H, W)``: ``(1, n, d)`` by layer number, from one forward pass."""
    return record(model, picture[None], "attention_in", layers=layers)["attention_in"]


def encode_pair(model: CRATE, layer: int, tokens: Tensor) -> dict[str, str | None]:
    """One entry of ``pairs`` in the contract, from the tokens that attention sees in a layer."""
    attention = model.blocks[layer].attention
    with torch.no_grad():
        queries, keys = attention.queries_keys(attention.project(tokens))
    return {"keys": _text(keys), "queries": None if attention.symmetric else _text(queries)}


def pair_bytes(model: CRATE, picture: Tensor) -> int:
    """Characters that one layer's pair of a picture adds to a page."""
    h, w = model.embedding.grid(picture)
    attention = model.blocks[0].attention
    n = model.embedding.prefix + h * w
    numbers = n * attention.heads * attention.head_dim * (1 if attention.symmetric else 2)
    return 4 * -(-2 * numbers // 3) + 32  # base64, and the JSON around it


def prepare_pairs(
    models: Mapping[Key, CRATE],
    pictures: Sequence[Tensor],
    layers: Sequence[int] | None,
    first: Mapping[Key, int],
    room: int,
) -> dict[Key, list[list[dict[str, str | None] | None]]]:
    """Pairs of all pictures, for as many layers as fit.

    Layers are taken in the order of their distance to the one that is shown first, as a share of the depth, so that
    models of several depths stay together. A layer is there for all pictures or for none.

    Args:
        models: by name.
        pictures: ``(3, H, W)`` each, as the models take them.
        layers: layer numbers, as in ``inspect_images``.
        first: the position of the layer that is shown first, by name.
        room: bytes that may be filled.
    """
    chosen: dict[Key, set[int]] = {name: set() for name in models}
    numbers = {name: layer_numbers(model, layers) for name, model in models.items()}
    queue = [
        (abs(position - first[name]) / len(numbers[name]), -position, place, name)
        for place, name in enumerate(models)
        for position in range(len(numbers[name]))
    ]
    heapq.heapify(queue)
    while queue:
        _, position, _, name = heapq.heappop(queue)
        room -= sum(pair_bytes(models[name], picture) for picture in pictures)
        if room < 0:
            break
        chosen[name].add(-position)
    return {name: [_pairs(m, p, numbers[name], chosen[name]) for p in pictures] for name, m in models.items()}


def _pairs(model: CRATE, picture: Tensor, numbers: list[int], chosen: set[int]) -> list[dict | None]:
    if not chosen:
        return [None] * len(numbers)
    tokens = tokens_seen(model, picture, [numbers[position] for position in sorted(chosen)])
    return [
        encode_pair(model, number, tokens[number]) if position in chosen else None
        for position, number in enumerate(numbers)
    ]


def _text(x: Tensor) -> str:
    numbers = rearrange(x, "1 k n p -> n k p").detach().cpu().to(torch.float16).contiguous().numpy()
    return base64.b64encode(numbers.astype("<f2").tobytes()).decode()
