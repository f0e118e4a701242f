"""A recipe: everything that, besides the model and the data, decides what a training ends with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch

from crate_mini.training.lion import Lion
from crate_mini.training.precision import PRECISIONS

OPTIMIZERS = {"adamw": torch.optim.AdamW, "lion": Lion}

_LARGEST_SEED = 10**12  # so that the seeds of all epochs fit into 64 bits


@dataclass(frozen=True)
class Recipe:
    """Everything that, besides the model and the data, decides what a training ends with.

    Attributes:
        epochs, batch_size: passes over the data, images a step (over all processes together).
        optimizer: ``"adamw"`` or ``"lion"``. Lion wants a learning rate some 3 to 10 times smaller and a weight
            decay larger by as much.
        lr, weight_decay: peak learning rate; decoupled decay, applied to matrices only.
        warmup_epochs: linear warm-up; then a cosine down to zero. Both run step by step.
        label_smoothing: share of the target spread over all classes.
        crop_area: smallest and largest area of the random crop, as a share of the image. (1, 1): no crop.
        flip: mirror half of the images.
        keep_patches: share of the patches, another draw for each image and step, that a training step looks at;
            the class token always stays. At a half, a step costs less than half (arXiv 2208.07220).
        clip_norm: largest gradient norm, or None.
        precision: of a step's products: ``"float32"``, ``"bfloat16"``, ``"float16"`` (with the loss scaled), or
            ``"auto"``: bfloat16 on GPUs that have it, float16 on other NVIDIA GPUs, else float32.
        compile: run the model through ``torch.compile``; about twice as fast on a CPU with a C++ compiler.
        evaluate_every: measure on the held-out set after every so many epochs, and after the last.
        seed: of the order of images, the crops and the flips. The model's own initialisation comes before.
    """

    epochs: int = 30
    batch_size: int = 128
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup_epochs: float | int = 2.0
    label_smoothing: float = 0.1
    crop_area: tuple[float, float] = (0.45, 1.0)
    flip: bool = True
    keep_patches: float = 1.0
    clip_norm: float | None = None
    precision: str = "auto"
    compile: bool = False
    evaluate_every: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("optimizer", tuple(OPTIMIZERS)), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}")
        for name, least in (("epochs", 1), ("batch_size", 1), ("evaluate_every", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number, {least} or more; got {value!r}")
        if self.seed > _LARGEST_SEED:
            raise ValueError(f"seed must be at most {_LARGEST_SEED}; got {self.seed}")
        self._check("lr", lambda lr: lr > 0, "above 0")
        self._check("weight_decay", lambda decay: decay >= 0, "0 or above")
        self._check("warmup_epochs", lambda n: 0 <= n <= self.epochs, f"from 0 to epochs, {self.epochs}")
        self._check("label_smoothing", lambda s: 0 <= s < 1, "from 0 to below 1")
        self._check("keep_patches", lambda s: 0 < s <= 1, "above 0 and at most 1")
        if self.clip_norm is not None:
            self._check("clip_norm", lambda norm: norm > 0, "above 0, or None")
        if (
            len(self.crop_area) != 2
            or not all(map(_is_number, self.crop_area))
            or not (0 < self.crop_area[0] <= self.crop_area[1] <= 1)
        ):
            raise ValueError(f"crop_area must be 0 < smallest <= largest <= 1; got {self.crop_area}")
        for name in ("flip", "compile"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False; got {getattr(self, name)!r}")

    def _check(self, name: str, fits: Callable[[float], bool], wanted: str) -> None:
        value = getattr(self, name)
        if not _is_number(value) or not fits(value):
            raise ValueError(f"{name} must be a number {wanted}; got {value!r}")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Rebuild from ``dataclasses.asdict``, after JSON too. Raises ValueError on unknown names."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(
                f"unknown settings {sorted(unknown)}; known are {sorted(f.name for f in fields(cls))}"
            )
        return cls(**values | ({"crop_area": tuple(values["crop_area"])} if "crop_area" in values else {}))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
