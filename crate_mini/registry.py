"""Models by name: every name and every size, in one table.

A name is a family and a size: ``crate_mini``, ``vit_small_8``. The families differ in their operators, and the ViT has
sizes of its own. Further models are entered with :func:`register_model`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from crate_mini.model import CRATE, CRATEConfig


@dataclass(frozen=True)
class Size:
    """A size with a name.

    Attributes:
        dim, heads, depth: as in :class:`~crate_mini.model.CRATEConfig`.
        patch_size, image_size: in pixels.
        published: what the CRATE of this size is called in which paper; empty for our own.
    """

    dim: int
    heads: int
    depth: int
    patch_size: int
    image_size: int = 224
    published: str = ""


# The papers use the word "small" for two widths: 576 in arXiv 2306.01129 (patch 16) and 384 in arXiv 2308.16271
# (patch 8). Ours are mini and nano.
CRATE_SIZES = {
    "nano": Size(96, 4, 4, 8, 64),
    "mini": Size(192, 6, 8, 8, 64),
    "mini_depth2": Size(192, 6, 2, 8, 64),
    "mini_depth4": Size(192, 6, 4, 8, 64),
    "mini_depth6": Size(192, 6, 6, 8, 64),
    "tiny": Size(384, 6, 12, 16, published="CRATE-T of arXiv 2306.01129"),
    "small": Size(576, 12, 12, 16, published="CRATE-S of arXiv 2306.01129"),
    "base": Size(768, 12, 12, 16, published="CRATE-B of arXiv 2306.01129"),
    "large": Size(1024, 16, 24, 16, published="CRATE-L of arXiv 2306.01129"),
    "tiny_8": Size(192, 3, 12, 8, published="CRATE-T/8 of arXiv 2308.16271"),
    "small_8": Size(384, 6, 12, 8, published="CRATE-S/8 of arXiv 2308.16271"),
    "base_8": Size(768, 12, 12, 8, published="CRATE-B/8 of arXiv 2308.16271"),
}
# vit_nano and vit_mini have about the parameters of crate_nano and crate_mini; vit_mini_6 also has the six heads of
# crate_mini. A vit_wide has the width and the heads of the CRATE of its size, and several times the parameters.
VIT_SIZES = {
    "nano": Size(48, 2, 4, 8, 64),
    "mini": Size(96, 3, 8, 8, 64),
    "mini_6": Size(96, 6, 8, 8, 64),
    "tiny": Size(192, 3, 12, 16),
    "small": Size(384, 6, 12, 16),
    "base": Size(768, 12, 12, 16),
    "tiny_8": Size(192, 3, 12, 8),
    "small_8": Size(384, 6, 12, 8),
    "base_8": Size(768, 12, 12, 8),
}
FAMILIES = {
    "crate": (CRATE_SIZES, {"attention": "mssa", "feed": "ista"}),
    "crate_mhsa": (CRATE_SIZES, {"attention": "mhsa", "feed": "ista"}),
    "crate_mlp": (CRATE_SIZES, {"attention": "mssa", "feed": "mlp"}),
    "vit_wide": (CRATE_SIZES, {"attention": "mhsa", "feed": "mlp"}),
    "vit": (VIT_SIZES, {"attention": "mhsa", "feed": "mlp"}),
}

_MODELS: dict[str, dict[str, Any]] = {}


def register_model(name: str, **settings: Any) -> None:
    """Let :func:`create_model` know a model by name.

    Args:
        name: a name that is not taken.
        settings: fields of :class:`~crate_mini.model.CRATEConfig`; ``dim``, ``heads`` and ``depth`` at least.

    Raises:
        ValueError: a name that is taken by other settings, or settings that do not fit.
    """
    CRATEConfig.from_dict(settings)
    if _MODELS.get(name, settings) != settings:
        raise ValueError(f"there is a model {name!r} already, with other settings")
    _MODELS[name] = settings


def list_models(pattern: str = "*") -> list[str]:
    """Every name that :func:`create_model` knows and that fits a pattern, such as ``"crate_*_8"``."""
    return [name for name in _MODELS if fnmatchcase(name, pattern)]


def model_names() -> list[str]:
    """Every name that :func:`create_model` knows."""
    return list_models()


def create_model(
    name: str,
    *,
    image_size: int | None = None,
    patch_size: int | None = None,
    num_classes: int | None = None,
    **overrides: Any,
) -> CRATE:
    """A freshly initialised model by name.

    Args:
        name: ``crate_tiny``, ``crate_small``, ``crate_base``, ``crate_large`` (arXiv 2306.01129, patch 16);
            ``crate_tiny_8``, ``crate_small_8``, ``crate_base_8`` (arXiv 2308.16271, patch 8);
            ``crate_nano``, ``crate_mini`` (this book's, patch 8, 64-pixel images, the latter also as
            ``crate_mini_depth2`` to ``6``); ``vit_*``; ``crate_mhsa_*``, ``crate_mlp_*`` and ``vit_wide_*``, at
            CRATE's width, for the ablations. :func:`list_models` has them all.
        image_size: pixels; 64 for nano and mini, otherwise 224.
        patch_size: pixels; the name's own if not given.
        num_classes: width of the classifier; 1000 if the name has none of its own.
        overrides: any other field of :class:`~crate_mini.model.CRATEConfig`.

    Raises:
        ValueError: unknown name or setting, or sizes that do not fit.
    """
    if name not in _MODELS:
        raise ValueError(f"unknown model {name!r}; known are {', '.join(model_names())}")
    sizes = {"image_size": image_size, "patch_size": patch_size, "num_classes": num_classes}
    given = {k: v for k, v in sizes.items() if v is not None} | overrides
    return CRATE(CRATEConfig.from_dict(_MODELS[name] | given))


for _family, (_sizes, _operators) in FAMILIES.items():
    for _name, _size in _sizes.items():
        _shape = {k: v for k, v in vars(_size).items() if k != "published"}
        register_model(f"{_family}_{_name}", **_shape, **_operators)
