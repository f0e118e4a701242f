"""The networks that chapters 00 and 08 to 10 speak of: one recipe, two architectures, three trainings of each.

Beside them the same two architectures at the segmentation paper's width.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..weights import list_pretrained

FAMILY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "CRATE": tuple(f"crate_mini_all_lion_s{seed}" for seed in range(3)),
        "ViT": tuple(f"vit_mini_6_all_lion_s{seed}" for seed in range(3)),
    }
)
"""Weights by kind of network, in the order of their seeds: recipe ``all_classes``, as many heads and parameters."""

WIDE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "CRATE": tuple(f"flagship_crate_s{seed}" for seed in range(3)),
        "ViT": tuple(f"flagship_vit_s{seed}" for seed in range(3)),
    }
)
"""Trainings of the segmentation paper's width by kind, recipe ``flagship``; a page takes those that there are."""

WIDE_MHSA = tuple(f"flagship_crate_mhsa_s{seed}" for seed in range(3))
"""The same width and recipe: CRATE with the ViT's attention."""

SHOWN: Mapping[str, str] = MappingProxyType({kind: names[0] for kind, names in FAMILY.items()})
"""The training of each kind that pictures are made with: the first, whatever the others say."""

SHOWN_WIDE: Mapping[str, str] = MappingProxyType({kind: names[0] for kind, names in WIDE.items()})
"""The same at the paper's width; these two come with the package."""


def trainings() -> dict[str, list[str]]:
    """The weights of the family that are in the package, by kind."""
    shipped = list_pretrained()
    return {kind: [name for name in names if name in shipped] for kind, names in FAMILY.items()}
