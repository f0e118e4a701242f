"""A model on its way into the page: its shape as JSON, its weights in half precision, all of it as text.

The page runs it with ``crate.js``, a forward pass written by hand for the models of :mod:`crate_mini.model`. What
the JSON holds is described in :mod:`crate_mini.inspector.contract`, with everything else that goes into a page.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from crate_mini.model import CRATE, Block, former_name

MAX_PARAMETERS = 4_000_000
"""Larger models are refused: a page with one would weigh more than 10 MB, and take long to answer."""


def fits_in_page(models: Iterable[nn.Module]) -> bool:
    """Whether these models can be put into a page and run there: small enough together, of operators known there."""
    models = list(models)
    try:
        for model in models:
            _settings(model)
    except (TypeError, ValueError):
        return False
    return sum(p.numel() for model in models for p in model.parameters()) <= MAX_PARAMETERS


def encode_network(model: nn.Module, name: str = "") -> tuple[dict[str, Any], str]:
    """What the page needs to run a model: the ``network`` entry of the contract, and the weights as text.

    Weights that are no half-precision numbers are rounded, by at most 2^-11 of their size. The shipped models'
    weights are such numbers, and pass unchanged.

    Raises:
        TypeError: not one of :mod:`crate_mini.model`'s models.
        ValueError: an operator that no page can run, too many parameters, or weights that are not finite in half
            precision.
    """
    who = f"{name}: " if name else ""
    settings = _settings(model, who)
    state = model.state_dict()
    size = sum(t.numel() for t in state.values())
    if size > MAX_PARAMETERS:
        raise ValueError(
            f"{who}{size / 1e6:.1f} million parameters are too many to put into a page (at most "
            f"{MAX_PARAMETERS / 1e6:.0f} million); leave out run_in_page=True"
        )
    half = {former_name(key): tensor.detach().cpu().to(torch.float16) for key, tensor in state.items()}
    if broken := [key for key, tensor in half.items() if not torch.isfinite(tensor).all()]:
        raise ValueError(f"{who}weights are not finite in half precision: {', '.join(broken[:3])}")
    c = model.config
    return {
        "config": {
            "dim": c.dim,
            "depth": c.depth,
            "num_classes": c.num_classes,
            "readout": c.readout,
            "patch": c.patch_size,
            "grid": c.grid,
            "mean": list(c.mean),
            "std": list(c.std),
        }
        | settings,
        "classes": list(getattr(model, "classes", ())),
        "tensors": [[key, list(tensor.shape)] for key, tensor in half.items()],
    }, pack_halves(list(half.values()))


def _settings(model: nn.Module, who: str = "") -> dict[str, Any]:
    """What every layer says of itself; all must say the same, for ``crate.js`` knows one kind of layer a model."""
    if type(model) is not CRATE:  # a subclass may compute something else
        raise TypeError(
            f"{who}a page can run the models of crate_mini.model only, got {type(model).__name__}"
        )
    if model.config.embedding != "normed":
        raise ValueError(
            f"{who}a page cannot run patches that enter by embedding={model.config.embedding!r}: crate.js knows "
            "'normed' alone; leave out run_in_page=True"
        )
    settings: dict[str, Any] = {}
    for layer, block in enumerate(model.blocks):
        operators = (block.attention, block.feed)
        told = [operator.page_settings() for operator in operators]
        strange = [type(o).__name__ for o, known in zip(operators, told, strict=True) if known is None]
        strange += [] if type(block) is Block else [type(block).__name__]
        if strange:
            raise ValueError(
                f"{who}a page cannot run {' and '.join(strange)}, in layer {layer}: crate.js has no forward pass for "
                "it; leave out run_in_page=True"
            )
        here = {"heads": block.attention.heads, "head_dim": block.attention.head_dim}
        here |= {"keep": block.keep, "move": block.move} | told[0] | told[1]
        settings = settings or here
        if settings != here:
            raise ValueError(
                f"{who}a page cannot run layers that differ: layer 0 has {settings}, layer {layer} has {here}; "
                "leave out run_in_page=True"
            )
    return settings


def pack_halves(tensors: list[Tensor]) -> str:
    """Numbers in half precision as text: zlib over all high bytes, then all low bytes, in base64."""
    # Signs and exponents of weights are much alike, fractions are noise: apart, the former shrink by a third.
    numbers = torch.cat([tensor.flatten() for tensor in tensors]).numpy().astype("<f2")
    low, high = numbers.view(np.uint8).reshape(-1, 2).T
    return base64.b64encode(zlib.compress(high.tobytes() + low.tobytes(), 9)).decode()
