"""Every model of the package for ``torch.hub``; nothing is downloaded but this repository.

    model = torch.hub.load("FOLDER", "crate_mini", source="local", pretrained=True)

FOLDER is a clone. Arguments are those of ``crate_mini.create_model``, which each entry is under its own name.
"""

from __future__ import annotations

import os
from collections.abc import Callable as _Callable
from typing import Any as _Any

from crate_mini.model import CRATE as _CRATE
from crate_mini.registry import create_model as _create_model
from crate_mini.registry import list_models as _list_models

dependencies = ["torch", "einops", "jaxtyping", "safetensors"]


def _entry(name: str) -> _Callable[..., _CRATE]:
    def entry(pretrained: bool | str | os.PathLike[str] = False, **settings: _Any) -> _CRATE:
        return _create_model(name, pretrained=pretrained, **settings)

    entry.__name__ = entry.__qualname__ = name
    entry.__doc__ = f'``create_model("{name}", pretrained=..., ...)``. {_create_model.__doc__}'
    return entry


# names without an underscore are what torch.hub offers
globals().update({name: _entry(name) for name in _list_models()})
