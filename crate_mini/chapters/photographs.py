"""What chapters 10 and 11 share: photographs with one animal, what MaskCut found on them, and which picture to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crate_mini import results
from crate_mini.tables import PlusMinus

SETS: Mapping[str, str] = {"pets": "cats and dogs", "horses": "horses"}
"""Photographs with one animal, by their name in ``results/maskcut`` and in a text."""


def stored(label: str, where: str) -> dict[str, Any] | None:
    """What ``tools/score_maskcut.py`` wrote of a network on a set; None where it has not been scored."""
    try:
        found = results.read(f"maskcut/{label}_{where}_test")
    except FileNotFoundError:
        return None
    return found if "corloc_of_image" in found["baselines"]["centre"] else None


def percent(triple: Sequence[float]) -> PlusMinus:
    """Value and half an interval, in per cent."""
    value, low, high = (100 * v for v in triple)
    return PlusMinus(value, (high - low) / 2)


def middle_one(values: Sequence[float]) -> int:
    """The place of the value in the middle of all: a picture that is neither the best nor the worst."""
    return sorted(range(len(values)), key=values.__getitem__)[len(values) // 2]
