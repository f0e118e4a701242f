"""What never saw a network, scored by the same function and under the same rule as the row it stands beside."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from crate_mini.attention_maps import patch_mask, upsample
from crate_mini.data.imageset import ImageSet
from crate_mini.segmentation.masks import iou
from crate_mini.segmentation.objects import find_objects
from crate_mini.segmentation.ranking import score_maps

CENTRE_WIDTH = 0.25
"""Standard deviation of the bell of :func:`centre_map`, in sides of the image. Fixed beforehand, for all sets."""


def centre_map(size: tuple[int, int]) -> Float[Tensor, "H W"]:
    """A bell in the middle of the image: what knows only that photographers aim.

    Its order, which is all that ranking and the patch rule look at, is that of the distance from the centre, measured
    in sides: every mask cut from it is a centred ellipse.
    """
    y, x = ((torch.arange(side, dtype=torch.float64) + 0.5) / side - 0.5 for side in size)
    return torch.exp(-(y[:, None].square() + x.square()) / (2 * CENTRE_WIDTH**2))


def blind_scores(
    truth: UInt8[Tensor, "m H W"], share: float = 0.6
) -> dict[str, dict[str, Float[Tensor, " m"]]]:
    """Scores, by every rule, of ``everything``, a flat map, and of ``centre``, :func:`centre_map`; pixel by pixel.

    Where all values are equal, all stand or fall together: as a mask, the flat map is the whole image under any rule.

    Args:
        truth: of every object: 1 object, 0 background, anything else not counted.
        share: of the attention (``mass``) or of the pixels (``patch``).
    """
    pixels = [(truth == value).flatten(1) for value in (1, 0)]
    shape = pixels[0].shape
    flat = score_maps(torch.ones(shape), *pixels, share=share)
    centre = score_maps(centre_map(truth.shape[-2:]).flatten().expand(shape), *pixels, share=share)
    return {"everything": flat | dict.fromkeys(("mass", "patch"), flat["best_iou"]), "centre": centre}


def score_baselines(
    data: ImageSet, *, rule: str = "mass", share: float = 0.6, seed: int = 0
) -> dict[str, Float[Tensor, " n"]]:
    """Scores of what never saw a network, image by image, by the rule of the row that they stand beside.

    ``everything`` marks the whole image, ``centre`` is a bell in the middle (:func:`centre_map`), ``random`` marks
    ``share`` of 8 x 8 cells at random, the same under either mask rule.

    Raises:
        ValueError: no masks, or an image whose mask cannot be scored, by name.
    """
    truth = find_objects(data, (1, 1), "mask", "pixel", leave_out=False).truth
    found = {name: scores[rule].float() for name, scores in blind_scores(truth, share).items()}
    noise = torch.rand(len(data), 8, 8, generator=torch.Generator().manual_seed(seed))
    return found | {"random": iou(upsample(patch_mask(noise, share), tuple(truth.shape[-2:])), truth)}
