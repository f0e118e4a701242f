"""What a training step sees of an image: a random crop, mirrored or not, and some of its patches."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from crate_mini.data.streaming import to_device
from crate_mini.training.recipe import Recipe


def augment(
    images: Shaped[Tensor, "b 3 h w"],
    recipe: Recipe,
    generator: torch.Generator,
    *,
    rank: int = 0,
    world_size: int = 1,
    crop_area: tuple[float, float] | None = None,
    size: int | None = None,
) -> Float[Tensor, "b 3 H W"]:
    """Random resized crop and flip of a whole batch at once, on the device it lies on; float in [0, 1].

    Every image has its own box: area uniform in ``crop_area``, aspect ratio log-uniform in 3/4 to 4/3, position
    uniform. Random numbers are drawn on the CPU, so a seed means the same boxes on every device; and for the
    whole batch where ``images`` are every ``world_size``-th of it from ``rank`` on, so it means the same boxes
    whatever the number of processes.

    ``crop_area`` and ``size`` stand in for the recipe's areas and for the size of the images: small views.
    """
    b = len(images)
    u = to_device(_draw(b * world_size, generator)[:, rank::world_size], images.device)
    low, high = crop_area or recipe.crop_area
    area = low + (high - low) * u[0]
    ratio = torch.exp((2 * u[1] - 1) * math.log(4 / 3)).sqrt() if low < 1 else torch.ones_like(area)
    width, height = (area.sqrt() * ratio).clamp(max=1), (area.sqrt() / ratio).clamp(max=1)
    mirror = torch.where((u[4] < 0.5) & recipe.flip, -1.0, 1.0)
    theta = torch.zeros(b, 2, 3, device=images.device)
    theta[:, 0, 0], theta[:, 0, 2] = width * mirror, (2 * u[2] - 1) * (1 - width)
    theta[:, 1, 1], theta[:, 1, 2] = height, (2 * u[3] - 1) * (1 - height)
    shape = [b, 3, size, size] if size else list(images.shape)
    grid = F.affine_grid(theta, shape, align_corners=False)
    pixels = images.float() / 255 if images.dtype == torch.uint8 else images
    return F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False).clamp(0, 1)


def _draw(n: int, generator: torch.Generator) -> Tensor:
    """The random numbers behind the augmentation of ``n`` images."""
    return torch.rand(5, n, generator=generator)


def draw_patches(
    images: int,
    patches: int,
    share: float,
    generator: torch.Generator,
    *,
    rank: int = 0,
    world_size: int = 1,
    device: torch.device | str = "cpu",
) -> Int[Tensor, "b kept"] | None:
    """Which patches each image keeps in this step, at least one; None where all stay and no number is drawn.

    Drawn on the CPU for the whole batch, like the boxes of :func:`augment`, and sorted where the images lie: a CPU
    sorts long enough for a GPU to wait.
    """
    if share == 1:
        return None
    u = torch.rand(images, patches, generator=generator)[rank::world_size]
    return to_device(u, torch.device(device)).argsort(dim=1, stable=True)[:, : max(1, round(share * patches))]
