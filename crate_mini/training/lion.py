"""Lion, the evolved optimiser (arXiv 2302.06675)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Lion(torch.optim.Optimizer):
    r"""Evolved sign momentum (arXiv 2302.06675), with decoupled weight decay.

    .. math:: \theta \leftarrow (1 - \eta\omega)\theta - \eta\,\mathrm{sign}(\beta_1 m + (1-\beta_1) g),
        \qquad m \leftarrow \beta_2 m + (1-\beta_2) g
    """

    def __init__(
        self, params, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:
        """One update; returns what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            (b1, b2), lr = group["betas"], group["lr"]
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            grads = [p.grad for p in params]
            for p in params:
                if not self.state[p]:
                    self.state[p]["exp_avg"] = torch.zeros_like(p)
            momenta = [self.state[p]["exp_avg"] for p in params]
            direction = torch._foreach_lerp(grads, momenta, b1)
            torch._foreach_sign_(direction)
            torch._foreach_mul_(params, 1 - lr * group["weight_decay"])
            torch._foreach_add_(params, direction, alpha=-lr)
            torch._foreach_lerp_(momenta, grads, 1 - b2)
        return loss
