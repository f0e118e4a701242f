"""A model, images and recipes small enough to train in a test, and two tasks that differ in all that a task may."""

from __future__ import annotations

import copy
import math
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crate_mini import distributed
from crate_mini.data.imageset import ImageSet
from crate_mini.model import CRATE, create_model
from crate_mini.training import Classification, Draws, Recipe, Run, Task, augment, train


def tiny(seed: int = 0, **settings) -> CRATE:
    torch.manual_seed(seed)
    return create_model(
        "crate_nano", **{"dim": 32, "heads": 2, "depth": 2, "image_size": 16, "num_classes": 2} | settings
    )


def with_dropout(model: CRATE) -> CRATE:
    """The same model whose first layer drops a third of what it gives, from PyTorch's global generator."""
    model.blocks[0].register_forward_hook(lambda layer, _, given: F.dropout(given, 1 / 3, layer.training))
    return model


def stripes(n: int = 32, seed: int = 0) -> ImageSet:
    """Two classes: horizontal or vertical stripes of any phase, with noise. A flip or a crop changes no label."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    phase = torch.randint(0, 4, (n, 1, 1), generator=g)
    bars = ((torch.arange(16)[None, :, None] + phase) // 2 % 2 * 200).expand(n, 16, 16)
    pictures = torch.where(labels[:, None, None] == 1, bars.mT, bars)[:, None].expand(n, 3, 16, 16)
    noisy = pictures + torch.randint(0, 56, (n, 3, 16, 16), generator=g)
    return ImageSet(
        images=noisy.to(torch.uint8), labels=labels, classes=("horizontal", "vertical"), name="stripes"
    )


def recipe(**settings) -> Recipe:
    return Recipe(**{"epochs": 4, "batch_size": 8, "warmup_epochs": 1.0, "crop_area": (0.7, 1.0)} | settings)


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def run(model: nn.Module, r: Recipe | None = None, **kwargs) -> Run:
    return train(model, stripes(), stripes(16, seed=1), r or recipe(), device="cpu", progress=False, **kwargs)


class TwoViews(Task):
    """Two crops of an image, one with noise; model and projector shall say of one what is read off a moving average of
    the model, the teacher, that looks at the other.
    """  # fmt: skip

    metrics = ("distance",)

    def __init__(self, r: Recipe, decay: float = 0.9) -> None:
        super().__init__()
        self.recipe, self.decay = r, decay
        self.noisy: list[float] = []  # a little memory of its own

    def settings(self) -> dict[str, Any]:
        return {"decay": self.decay}

    def setup(self, model: nn.Module, train_set: ImageSet, val_set: ImageSet) -> None:
        self.project = nn.Linear(model.config.num_classes, 8)
        self.read = nn.Linear(model.config.num_classes, 8).requires_grad_(False)
        self.teacher = copy.deepcopy(model).requires_grad_(False)
        self.register_buffer("centre", torch.zeros(8))
        self.seen = torch.zeros(8)

    def draw(self, batch: tuple[Tensor, Tensor], draws: Draws) -> tuple[Tensor, Tensor]:
        images, _ = batch
        share = {"rank": draws.rank, "world_size": draws.world_size}
        first, second = (augment(images, self.recipe, draws.generator, **share) for _ in range(2))
        self.strength = draws.share(torch.randn(len(images) * draws.world_size, generator=draws.generator))
        noise = draws.rand(len(images), *images.shape[1:]) * self.strength.abs()[:, None, None, None]
        return (first + 0.1 * noise).clamp(0, 1), second

    def loss(self, model: nn.Module, drawn: tuple[Tensor, Tensor]) -> Tensor:
        first, second = drawn
        with torch.no_grad():
            target = self.read(self.teacher(second)).float()
        self.seen = target.mean(0)
        return F.mse_loss(self.project(model(first)).float(), target - self.centre)

    def after_step(self, model: nn.Module) -> None:
        torch._foreach_lerp_([*self.teacher.parameters()], [*model.parameters()], 1 - self.decay)
        mean = distributed.sum_over_ranks(self.seen.clone()) / distributed.world_size()
        self.centre.lerp_(mean, 0.1)
        strength = distributed.sum_over_ranks(self.strength.square().sum())
        self.noisy = [*self.noisy, strength.item()][-3:]

    def evaluate(self, model: nn.Module, feed: Any) -> dict[str, float]:
        total = 0.0
        for images, _ in feed.batches(torch.arange(len(feed.data)).split(8)):
            apart = self.project(model(images)) - self.read(self.teacher(images.flip(-1)))
            total += apart.float().square().sum().item()
        return {"distance": total / len(feed.data)}

    def get_extra_state(self) -> dict[str, Any]:
        return {"noisy": self.noisy}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.noisy = state["noisy"]


TASKS: dict[str, Callable[[Recipe], Task]] = {"classification": Classification, "two views": TwoViews}


def state_of(model: nn.Module, task: Task) -> dict[str, Any]:
    """All that model and task hold, to be compared."""
    held = model.state_dict() | {f"task.{k}": v for k, v in task.state_dict().items()}
    return {k: v.tolist() if isinstance(v, Tensor) else v for k, v in held.items()}


@contextmanager
def at_draw(task: type[Task], number: int, act: Callable[[], None]) -> Iterator[list[int]]:
    """Do something in the middle of a step, counted from 1; gives a list with an entry for each step begun."""
    steps, plain = [], task.draw

    def draw(self, batch, draws):
        steps.append(len(steps) + 1)
        if len(steps) == number:
            act()
        return plain(self, batch, draws)

    task.draw = draw
    try:
        yield steps
    finally:
        task.draw = plain


def send(number: int) -> Callable[[], None]:
    """Send this process a signal."""
    return lambda: os.kill(os.getpid(), number)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


class Bag(nn.Module):
    """A classifier that is no CRATE: the mean of linear patch features, started from numbers that nothing draws."""

    def __init__(self, classes: int = 2, patch: int = 8) -> None:
        super().__init__()
        self.config = SimpleNamespace(
            num_classes=classes, patch_size=patch, to_dict=lambda: {"classes": classes, "patch": patch}
        )
        self.features = nn.Linear(3 * patch * patch, 12)
        self.norm = nn.LayerNorm(12)
        self.head = nn.Linear(12, classes)
        with torch.no_grad():
            for p in (*self.features.parameters(), *self.head.parameters()):
                wave = torch.sin(torch.arange(1, p.numel() + 1, dtype=torch.float64) ** 1.5)
                p.copy_(wave.view_as(p) / math.sqrt(p.shape[-1]))

    def forward(self, images: Tensor, kept: Tensor | None = None) -> Tensor:
        p = self.config.patch_size
        scaled = images.float() / (255 if images.dtype == torch.uint8 else 1)
        patches = (
            scaled.unfold(2, p, p).unfold(3, p, p).flatten(4).permute(0, 2, 3, 1, 4).flatten(3).flatten(1, 2)
        )
        Z = self.norm(torch.relu(self.features(patches)))
        if kept is not None:
            Z = Z.gather(1, kept[..., None].expand(-1, -1, Z.shape[-1]))
        return self.head(Z.mean(1))
