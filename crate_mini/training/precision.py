"""Numbers of half the size in a step's products, and the update that goes with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

PRECISIONS = ("auto", "float32", "bfloat16", "float16")

_LEAST_SCALE = 2.0**-14


def dtype_of(precision: str, device: torch.device) -> torch.dtype:
    """What ``"auto"`` means on a device: bfloat16 on GPUs that have it, float16 on others, else float32."""
    if precision != "auto":
        return getattr(torch, precision)
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def autocast(dtype: torch.dtype, device: torch.device) -> Callable[[], AbstractContextManager]:
    """Makes the context of one step, or of one evaluation; within it each weight is cast once and kept."""
    if dtype == torch.float32:
        return lambda: torch.autocast(device.type, enabled=False)
    return lambda: torch.autocast(device.type, dtype=dtype, cache_enabled=True)


class Update:
    """From a loss to the next weights: backwards, clip, step.

    In float16 the loss is scaled up, so that small gradients stay above its least number, and gradients are scaled
    back before they are clipped. A step whose gradients overflow is left out, and the scale halved; after 2,000 good
    ones it is doubled (arXiv 1710.03740).
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: Sequence[nn.Parameter],
        clip_norm: float | None,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.optimizer, self.parameters, self.clip_norm = optimizer, parameters, clip_norm
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)

    def __call__(self, loss: Tensor) -> bool:
        """Whether the weights moved: always, but for an overflow in float16.

        Raises:
            FloatingPointError: nothing but overflows, however small the scale.
        """
        optimizer, scaler = self.optimizer, self.scaler
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        if self.clip_norm is not None:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        scale = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        if scaler.get_scale() >= scale:
            return True
        if scale < _LEAST_SCALE:
            raise FloatingPointError(
                f"the gradients overflow float16 even with the loss scaled by {scale:.0e}, or they are NaN; "
                "lower the learning rate, warm up for longer, set clip_norm, or train in float32"
            )
        return False
