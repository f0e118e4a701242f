"""Several views of an image: large and small crops of it, in other colours."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from crate_mini.data.streaming import to_device
from crate_mini.training.augmentation import augment, draw_patches
from crate_mini.training.recipe import Recipe
from crate_mini.training.rng import Draws

LARGE_VIEWS = 2
COLOURED, GREY = 0.8, 0.2  # shares of the views
BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.4, 0.4, 0.2, 0.1

_LUMA = (0.299, 0.587, 0.114)
# RGB to luma and two axes of colour, in which a change of hue is a rotation
_YIQ = (_LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


class Views(NamedTuple):
    """Views of a batch.

    Attributes:
        large: ``(2, b, 3, h, w)``, in [0, 1]: what a teacher sees, and a student too.
        small: ``(m, b, 3, s, s)``: what a student alone sees; None where there are none.
        kept: ``(2b, kept)``, the patches of the large views that the student looks at; None for all.
    """

    large: Float[Tensor, "g b 3 h w"]
    small: Float[Tensor, "m b 3 s s"] | None
    kept: Int[Tensor, "gb kept"] | None


def draw_views(
    pictures: Sequence[Shaped[Tensor, "b 3 h w"]],
    recipe: Recipe,
    draws: Draws,
    *,
    small: int,
    small_area: tuple[float, float],
    small_size: int,
    patches: int,
) -> Views:
    """Two large views of every image (or thing), and ``small`` small ones.

    Each is a crop with an area of its own (:func:`~crate_mini.training.augment`; of large views, the recipe's),
    mirrored or not, with other colours (:func:`jitter`). Unlike in DINO, nothing is blurred or solarised.

    Args:
        pictures: uint8, or float in [0, 1]: one batch of images, or several pictures of the same things. The first view
            is of the first, the next of the next, and round again.
        recipe: whose ``crop_area``, ``flip`` and ``keep_patches`` are used.
        draws: where all of it is drawn from, the same whatever the number of processes.
        small: how many small views.
        small_area: their smallest and largest area, as a share of the image.
        small_size: their side in pixels.
        patches: of an image, of which the student looks at a share of ``keep_patches``.
    """
    images, turn = pictures[0], itertools.cycle(pictures)

    def view(area: tuple[float, float] | None = None, size: int | None = None) -> Tensor:
        shown, share = next(turn), {"rank": draws.rank, "world_size": draws.world_size}
        crop = augment(shown, recipe, draws.generator, crop_area=area, size=size, **share)
        return jitter(crop, to_device(draws.rand(len(shown), 6), shown.device))

    large = torch.stack([view() for _ in range(LARGE_VIEWS)])
    little = torch.stack([view(small_area, small_size) for _ in range(small)]) if small else None
    kept = [
        draw_patches(
            len(images) * draws.world_size, patches, recipe.keep_patches, draws.generator,
            rank=draws.rank, world_size=draws.world_size, device=images.device,
        )
        for _ in range(LARGE_VIEWS)
    ]  # fmt: skip
    return Views(large, little, None if kept[0] is None else torch.cat(kept))


def jitter(images: Float[Tensor, "b 3 h w"], u: Float[Tensor, "b 6"]) -> Float[Tensor, "b 3 h w"]:
    """Other brightness, contrast, saturation and hue for four images in five, grey for one in five; in [0, 1].

    Args:
        images: in [0, 1].
        u: six numbers in [0, 1) for each image: the four changes, whether they are made, whether the image turns grey.
            A half changes nothing.
    """
    luma = torch.tensor(_LUMA, device=images.device)
    change = (2 * u - 1)[..., None, None, None]  # (b, 6, 1, 1, 1)
    x = images * (1 + BRIGHTNESS * change[:, 0])
    grey = torch.einsum("bchw,c->bhw", x, luma)[:, None]
    mean = grey.mean((-2, -1), keepdim=True)
    x = mean + (x - mean) * (1 + CONTRAST * change[:, 1])
    grey = mean + (grey - mean) * (1 + CONTRAST * change[:, 1])
    x = grey + (x - grey) * (1 + SATURATION * change[:, 2])
    x = torch.einsum("bchw,bdc->bdhw", x, _hue_rotation(2 * math.pi * HUE * (2 * u[:, 3] - 1)))
    x = torch.where((u[:, 4] < COLOURED)[:, None, None, None], x, images)
    grey = torch.einsum("bchw,c->bhw", x, luma)[:, None]
    return torch.where((u[:, 5] < GREY)[:, None, None, None], grey, x).clamp(0, 1)


def _hue_rotation(angle: Float[Tensor, " b"]) -> Float[Tensor, "b 3 3"]:
    """What turns the colours of an image by an angle about the grey axis."""
    to = torch.tensor(_YIQ, device=angle.device)
    turn = torch.zeros(len(angle), 3, 3, device=angle.device)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = angle.cos()
    turn[:, 1, 2], turn[:, 2, 1] = -angle.sin(), angle.sin()
    return to.inverse() @ turn @ to
