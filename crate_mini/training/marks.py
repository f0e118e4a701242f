"""Weights to be kept on the way, at given shares of a training."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from crate_mini.outputs import writing
from crate_mini.weights import save_model


class Marks:
    """Shares of a training at which the model is written to ``atNN.safetensors``, with a card.

    Args:
        shares: from 0 to 0.99, in whole percent.
        steps: of the whole training.
        out: folder to write to.
        card: what the cards shall say besides share, step and steps.
        classes: names of the model's classes.

    Raises:
        ValueError: other shares, too few steps to tell them apart, or no folder.
    """

    def __init__(
        self,
        shares: Sequence[float],
        steps: int,
        out: Path | None,
        card: Mapping[str, Any],
        classes: tuple[str, ...],
    ) -> None:
        if shares and out is None:
            raise ValueError("save_at needs a folder to write to: out=...")
        if bad := [s for s in shares if not 0 <= s < 0.995 or abs(100 * s - round(100 * s)) > 1e-6]:
            raise ValueError(
                f"save_at takes shares from 0 to 0.99 in whole percent, such as 0.05; got {bad[0]}"
            )
        distinct = sorted(set(shares))
        self.at = {round(share * steps): share for share in distinct}  # steps done -> share
        if len(self.at) < len(distinct):
            raise ValueError(f"{steps} steps are too few to tell the shares {distinct} apart")
        self.steps, self.out, self.card, self.classes = steps, out, card, classes

    def _path(self, share: float) -> Path:
        return self.out / f"at{round(100 * share):02d}.safetensors"

    def save(self, step: int, model: nn.Module) -> None:
        """Write the model after so many steps."""
        share = self.at[step]
        about = {"share": share, "step": step, "steps": self.steps}
        with writing(self._path(share)) as path:
            save_model(model, path, {**self.card, **about}, classes=self.classes)

    def warn_of_lost(self, done: int) -> None:
        """Say which marks a training that goes on has passed without writing them."""
        if lost := [
            share for step, share in self.at.items() if step <= done and not self._path(share).exists()
        ]:
            warnings.warn(
                f"the training in {self.out} is past {', '.join(f'{s:.0%}' for s in lost)}: "
                "to have the weights of then, train anew in another folder",
                stacklevel=4,
            )
