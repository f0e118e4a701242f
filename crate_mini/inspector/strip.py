"""What a layer does to all tokens at once, for the strip that moves with the layer slider.

For every layer and image: the patches as colours (:mod:`crate_mini.token_pca`, axes fitted to all images of the
viewer together), the share of exact zeros among the tokens that leave the layer, and the coding rate of the tokens
that attention sees, in the layer's own subspaces.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from crate_mini.model import CRATE
from crate_mini.rates import coding_rate
from crate_mini.recorder import Record, layer_numbers, record
from crate_mini.token_pca import COMPONENTS, TokenPCA, border, fit_token_pca

EPS_SQ = 0.5
"""The rate's distortion, that of the derivation chapters."""
KEPT = ("projections", "tokens_out")
"""What of a pass a strip is made from."""


def layer_strip(
    model: CRATE,
    pictures: Sequence[Tensor],
    layers: Sequence[int] | None = None,
    *,
    axes: Sequence[Mapping[str, Any] | None] | None = None,
    records: Sequence[Record] | None = None,
) -> dict[str, Any]:
    """The ``strip`` entry of the contract (:mod:`crate_mini.inspector.contract`) for one model.

    Args:
        model: any model of :mod:`crate_mini.model`.
        pictures: ``(3, H, W)`` each, of any sizes, as the model takes them.
        layers: layer numbers; all if None.
        axes: colour by these, an earlier strip's, instead of fitting new ones.
        records: of passes over the pictures that kept :data:`KEPT` of these layers; made here if None.
    """
    numbers = layer_numbers(model, layers)
    grids = [tuple(side // model.config.patch_size for side in picture.shape[-2:]) for picture in pictures]
    if records is None:
        records = [record(model, p[None], KEPT, layers=numbers) for p in pictures]
    features = {
        i: [rearrange(r["projections"][i][0, :, 1:], "k n p -> n (k p)").cpu() for r in records]
        for i in numbers
    }
    if axes is None:
        fitted = {i: _fit(features[i], grids) for i in numbers}
    else:
        fitted = {i: entry and _decode_axes(entry) for i, entry in zip(numbers, axes, strict=True)}
    return {
        "eps_sq": EPS_SQ,
        "axes": [None if fitted[i] is None else _encode_axes(fitted[i]) for i in numbers],
        "images": [
            {
                "zeros": [_zeros(r["tokens_out"][i]) for i in numbers],
                "rates": [_rate(r["projections"][i][0]) for i in numbers],
                "colours": _text(np.concatenate([_bytes(fitted[i], features[i][j]) for i in numbers])),
            }
            for j, r in enumerate(records)
        ],
    }


def _fit(features: list[Tensor], grids: list[tuple[int, int]]) -> TokenPCA | None:
    good = [j for j, x in enumerate(features) if torch.isfinite(x).all()]
    tokens = sum(len(features[j]) for j in good)
    if tokens < 2:
        return None
    edge = torch.cat([border(*grids[j]).flatten() for j in good])
    return fit_token_pca(torch.cat([features[j] for j in good]), edge)


def _bytes(axes: TokenPCA | None, features: Tensor) -> np.ndarray:
    if axes is None or not torch.isfinite(features).all():
        return np.full(3 * len(features), 128, np.uint8)
    return (255 * axes.colours(features)).round().numpy().astype(np.uint8).ravel()


def _zeros(tokens: Tensor) -> float | None:
    return float((tokens == 0).double().mean()) if torch.isfinite(tokens).all() else None


def _rate(projections: Tensor) -> float | None:
    if not torch.isfinite(projections).all():
        return None
    rate = float(coding_rate(projections.cpu().double(), EPS_SQ).sum())
    return float(f"{rate:.6g}") if math.isfinite(rate) else None


def _encode_axes(axes: TokenPCA) -> dict[str, Any]:
    rows = torch.cat([axes.mean[None], axes.components]).numpy().astype("<f4")
    return {"low": axes.low.tolist(), "high": axes.high.tolist(), "values": _text(rows)}


def _decode_axes(entry: Mapping[str, Any]) -> TokenPCA:
    rows = np.frombuffer(base64.b64decode(entry["values"]), "<f4").reshape(1 + COMPONENTS, -1)
    mean, *components = torch.tensor(rows, dtype=torch.float64)
    low, high = (torch.tensor(entry[key], dtype=torch.float64) for key in ("low", "high"))
    return TokenPCA(mean, torch.stack(components), torch.zeros(COMPONENTS), low, high)


def _text(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()
