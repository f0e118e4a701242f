"""The recipe's optimiser and its learning rate, step by step."""

from __future__ import annotations

import math

import torch
from torch import nn

from crate_mini.training.recipe import OPTIMIZERS, Recipe


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser. Weight decay acts on matrices; biases, norms, class token and positions go free.
    What requires no gradient is left alone.

    On a GPU the update of AdamW is one fused kernel; make the optimiser once the model is there.
    """
    matrices = [p for n, p in model.named_parameters() if p.requires_grad and p.ndim == 2]
    others = [p for n, p in model.named_parameters() if p.requires_grad and p.ndim != 2]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    on_gpu = all(p.device.type == "cuda" for p in (*matrices, *others))
    fused = {"fused": True} if on_gpu and recipe.optimizer == "adamw" else {}
    return OPTIMIZERS[recipe.optimizer](groups, lr=recipe.lr, **fused)


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Learning rate of step ``step`` (from 0): linear warm-up, then half a cosine down to zero."""
    warmup = recipe.warmup_epochs * steps_per_epoch
    total = recipe.epochs * steps_per_epoch
    if step < warmup:
        return recipe.lr * (step + 1) / math.ceil(warmup)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
