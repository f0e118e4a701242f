"""A recipe: everything that, besides the model and the data, decides what a training ends with."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch

from crate_mini.training.lion import Lion

OPTIMIZERS = {"adamw": torch.optim.AdamW, "lion": Lion}


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
        precision: ``"auto"`` (bfloat16 on GPUs that have it, otherwise float32), ``"float32"``, ``"bfloat16"``.
        compile: run the model through ``torch.compile``; about twice as fast on a CPU with a C++ compiler.
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
    seed: int = 0

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {tuple(OPTIMIZERS)}, got {self.optimizer!r}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"precision must be 'auto', 'float32' or 'bfloat16', got {self.precision!r}")
        if self.epochs < 1 or self.batch_size < 1 or self.lr <= 0:
            raise ValueError("epochs, batch_size and lr must be positive")
        if not 0 < self.crop_area[0] <= self.crop_area[1] <= 1:
            raise ValueError(f"crop_area must be 0 < smallest <= largest <= 1, got {self.crop_area}")
        if not 0 < self.keep_patches <= 1:
            raise ValueError(f"keep_patches must lie in (0, 1], got {self.keep_patches}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must lie in [0, 1), got {self.label_smoothing}")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Rebuild from ``dataclasses.asdict``, after JSON too. Raises ValueError on unknown names."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(
                f"unknown settings {sorted(unknown)}; known are {sorted(f.name for f in fields(cls))}"
            )
        return cls(**values | ({"crop_area": tuple(values["crop_area"])} if "crop_area" in values else {}))
