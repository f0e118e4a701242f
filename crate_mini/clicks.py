r"""From clicks to a mask: how many does it take, whatever says which places belong together?

A *guide* answers a click with a map: one number a place, higher where the place is more like the one clicked. All
guides are played by one rule. With :math:`s_c(x)` the answer to click :math:`c`, positive clicks :math:`P` inside the
object and negative ones :math:`N` outside,

.. math:: x \in M \iff J_{c \in P}\, s_c(x) \ge \tau \quad\text{and}\quad J_{c \in P}\, s_c(x) > J_{c \in N}\, s_c(x) ,

where :math:`J` joins the answers: their maximum or their mean.

The script that clicks knows the object: first a random pixel of it, then a random pixel of the larger of what is missed
(a positive click) and what is wrongly taken (a negative one), until the mask's IoU is high enough.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped, UInt8
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2lab
from skimage.morphology import reconstruction
from torch import Tensor

from crate_mini.model import CRATE
from crate_mini.passes import evaluating
from crate_mini.recorder import record

JOINS = ("max", "mean")
GOAL, MOST = 0.7, 20
"""The IoU at which the script is content, and the clicks after which it gives up."""
Guide = Callable[[float, float], Tensor]
"""From a click, as shares of height and width in [0, 1), to a map of any resolution, highest where it was clicked."""

# ---- the rule -------------------------------------------------------------------------------------------------------


def joined(answers: Sequence[np.ndarray] | np.ndarray, join: str = "max") -> Float[np.ndarray, "H W"]:
    """Several answers as one map: :math:`J` of the rule.

    Raises:
        ValueError: an unknown ``join``.
    """
    if join not in JOINS:
        raise ValueError(f"join must be one of {JOINS}, got {join!r}")
    return np.max(answers, 0) if join == "max" else np.mean(answers, 0)


def clicked_mask(
    positive: Sequence[np.ndarray] | np.ndarray,
    negative: Sequence[np.ndarray] | np.ndarray,
    threshold: float,
    join: str = "max",
) -> Bool[np.ndarray, "H W"]:
    """The mask of some clicks, by their answers, ``(H, W)`` each.

    Raises:
        ValueError: no positive click, or an unknown ``join``.
    """
    if not len(positive):
        raise ValueError("a mask begins with a positive click, inside the object")
    inside = joined(positive, join)
    mask = inside >= threshold
    return mask & (inside > joined(negative, join)) if len(negative) else mask


@dataclass(frozen=True)
class Game:
    """What the script did.

    Attributes:
        clicks: ``(row, column, positive)`` in pixels, one after the other.
        ious: of the mask after each.
    """

    clicks: tuple[tuple[int, int, bool], ...]
    ious: tuple[float, ...]

    def number(self, goal: float = GOAL, most: int = MOST) -> int:
        """Clicks until the goal; ``most`` where it was not reached, as is the custom."""
        return next((k for k, iou in enumerate(self.ious, 1) if iou >= goal), most)

    def reached(self, goal: float = GOAL) -> bool:
        """Whether the goal was reached at all."""
        return max(self.ious) >= goal


def at_size(answer: Float[Tensor, "h w"], size: Sequence[int]) -> Float[Tensor, "H W"]:
    """A map of patches, bilinearly brought to pixels; a map of pixels as it is."""
    if answer.shape == tuple(size):
        return answer
    return F.interpolate(answer[None, None], tuple(size), mode="bilinear", align_corners=False)[0, 0]


def play_out(
    guide: Guide,
    truth: UInt8[Tensor, "H W"],
    threshold: float,
    rng: np.random.Generator,
    *,
    join: str = "max",
    goal: float = GOAL,
    most: int = MOST,
) -> Game:
    """Click until the mask is good enough.

    Args:
        guide: answers clicks.
        truth: 1 on the object, 0 elsewhere, anything else is not counted and never clicked.
        threshold: of the rule.
        rng: of the clicks. The first one depends on it and on the truth alone, so that every guide gets the same.
        join: one of :data:`JOINS`.
        goal: IoU at which to stop.
        most: clicks at which to stop.

    Raises:
        ValueError: no object.
    """
    (H, W), seen = truth.shape, truth.numpy()
    thing, counted = seen == 1, seen <= 1
    if not thing.any():
        raise ValueError("there is no object to click at: no pixel of the truth is 1")
    wanted, sign = thing, True
    answers: dict[bool, list[np.ndarray]] = {True: [], False: []}
    clicks: list[tuple[int, int, bool]] = []
    ious: list[float] = []
    while len(clicks) < most:
        places = np.flatnonzero(wanted)
        y, x = divmod(int(places[int(rng.random() * len(places))]), W)
        clicks.append((y, x, sign))
        answers[sign].append(at_size(guide((y + 0.5) / H, (x + 0.5) / W), (H, W)).numpy())
        mask = clicked_mask(answers[True], answers[False], threshold, join) & counted
        missed, wrong = thing & ~mask, mask & ~thing
        both, miss, extra = (int(np.count_nonzero(part)) for part in (mask & thing, missed, wrong))
        ious.append(both / (both + miss + extra))
        if ious[-1] >= goal or not miss + extra:
            break
        sign = miss >= extra
        wanted = missed if sign else wrong
    return Game(tuple(clicks), tuple(ious))


# ---- guides without a network ---------------------------------------------------------------------------------------


def disc_guide(size: tuple[int, int]) -> Guide:
    """Near is alike: minus the distance, in widths of the picture. It does not look at the picture."""
    return colour_guide(torch.zeros(3, *size, dtype=torch.uint8), place=1.0)


def colour_guide(image: UInt8[Tensor, "3 H W"], *, blur: float = 0.0, place: float = 0.0) -> Guide:
    """Minus the distance of colours in CIELAB, a hundredth of it, and, weighted with ``place``, of places in widths.

    Args:
        image: the picture.
        blur: standard deviation, in pixels, of the Gaussian that the colours are smoothed with.
        place: how much a distance of one width of the picture counts.
    """
    lab, (H, W) = smoothed_lab(image, blur), image.shape[1:]
    # all that is compared, one plane a coordinate
    planes = np.concatenate([np.moveaxis(lab, -1, 0), place * np.mgrid[:H, :W] / W]).astype(np.float32)

    def answer(y: float, x: float) -> Tensor:
        here = planes[:, int(y * H), int(x * W)]
        return torch.from_numpy(-np.sqrt(np.square(planes - here[:, None, None]).sum(0)))

    return answer


def growing_guide(image: UInt8[Tensor, "3 H W"], *, blur: float = 0.0) -> Guide:
    """Colour growing, the magic wand: a pixel is as alike as the least alike one on the best way to it.

    The pixels above a threshold are those that are connected with the click through colours near the clicked one.
    """
    alike = colour_guide(image, blur=blur)
    four = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])

    def answer(y: float, x: float) -> Tensor:
        near = alike(y, x).numpy()
        seed = np.full_like(near, near.min())
        i, j = int(y * near.shape[0]), int(x * near.shape[1])
        seed[i, j] = near[i, j]
        return torch.from_numpy(reconstruction(seed, near, "dilation", footprint=four)).float()

    return answer


def smoothed_lab(image: UInt8[Tensor, "3 H W"], blur: float) -> np.ndarray:
    """Colours ``(H, W, 3)`` in CIELAB, a hundredth of them, smoothed with a Gaussian of ``blur`` pixels."""
    lab = rgb2lab(image.permute(1, 2, 0).numpy()) / 100
    return gaussian_filter(lab, (blur, blur, 0)) if blur else lab


# ---- guides of a network --------------------------------------------------------------------------------------------


def patch_guide(alike: Callable[[int], Float[Tensor, " n"]], grid: tuple[int, int]) -> Guide:
    """Every patch answers for itself: how alike the others are to it; it is itself never behind."""
    h, w = grid

    def answer(y: float, x: float) -> Tensor:
        i = int(y * h) * w + int(x * w)
        row = alike(i).clone()
        row[i] = row.max()
        return row.view(h, w)

    return answer


def patch_attention(
    queries: Float[Tensor, "K n p"], keys: Float[Tensor, "K n p"], patch: int, head: int | None = None
) -> Float[Tensor, " n"]:
    """The logarithm of a patch's attention on the others, over the highest.

    Args:
        queries: of one layer and picture, the patches alone.
        keys: of the same.
        patch: whose attention.
        head: of the layer; None for the mean of all heads' attention.
    """
    chosen = slice(None) if head is None else slice(head, head + 1)
    scores = (keys[chosen] @ queries[chosen, patch, :, None])[..., 0] / queries.shape[-1] ** 0.5
    row = scores.softmax(-1).mean(0).log() if head is None else scores[0]
    return row - row.max()


def network_guides(model: CRATE, image: Shaped[Tensor, "3 H W"]) -> dict[str, dict[str, Guide]]:
    """All ways in which a network can answer a click on a picture.

    Returns:
        ``"attention"``: of the patch that was clicked, by ``"layer, head"``, and ``"layer, mean"`` of all heads;
        ``"tokens"``: cosine similarity of the tokens that leave a layer, by ``"layer"`` and ``"layer, centred"``, less
        their mean; ``"embedding"``: the same of the patches before any layer and without their places.
    """
    found: dict[str, dict[str, Guide]] = {"attention": {}, "tokens": {}, "embedding": {}}
    with evaluating(model) as device:
        pixels = image[None].to(device)
        kept = record(model, pixels, ("attention_in", "tokens_out"))
        raw = (model.tokens(pixels) - model.embedding.positions(*kept.grid))[0, kept.prefix :]
        for layer, block in enumerate(model.blocks):
            pair = block.attention.queries_keys(block.attention.project(kept["attention_in"][layer]))
            queries, keys = (t[0, :, kept.prefix :].cpu() for t in pair)
            for head in (*range(len(keys)), None):
                alike = partial(patch_attention, queries, keys, head=head)
                found["attention"][f"{layer}, {'mean' if head is None else head}"] = patch_guide(
                    alike, kept.grid
                )
            found["tokens"] |= _by_cosine(f"{layer}", kept.patches("tokens_out", layer)[0].cpu(), kept.grid)
    found["embedding"] = _by_cosine("patches", raw.cpu(), kept.grid)
    return found


def _by_cosine(name: str, tokens: Float[Tensor, "n d"], grid: tuple[int, int]) -> dict[str, Guide]:
    found = {}
    for option, rows in ((name, tokens), (f"{name}, centred", tokens - tokens.mean(0))):
        unit = F.normalize(rows, dim=-1)
        found[option] = patch_guide(lambda i, unit=unit: unit @ unit[i], grid)
    return found


def with_colour(guide: Guide, image: UInt8[Tensor, "3 H W"], *, blur: float, weight: float) -> Guide:
    """A guide beside the colour: minus the root of both squared distances, that of the guide ``weight`` times as long.

    The guide's distance is how far an answer lies below its highest.
    """
    colour = colour_guide(image, blur=blur)

    def answer(y: float, x: float) -> Tensor:
        near, more = colour(y, x), guide(y, x)
        return -(near.square() + (weight * at_size(more - more.max(), near.shape)).square()).sqrt()

    return answer


def known_patches(truth: UInt8[Tensor, "H W"], grid: tuple[int, int]) -> Guide:
    """What no guide of patches can do better: it knows how much of each patch is the object."""
    share = F.adaptive_avg_pool2d((truth == 1).float()[None], grid)[0]

    def answer(y: float, x: float) -> Tensor:
        inside = truth[int(y * truth.shape[0]), int(x * truth.shape[1])] == 1
        return share if inside else 1 - share

    return answer


# ---- choosing and measuring -----------------------------------------------------------------------------------------


def first_click(truth: UInt8[Tensor, "H W"], rng: np.random.Generator) -> tuple[float, float]:
    """Where :func:`play_out` begins with this random number generator."""
    H, W = truth.shape
    places = (truth == 1).flatten().nonzero()[:, 0]
    y, x = divmod(int(places[int(rng.random() * len(places))]), W)
    return (y + 0.5) / H, (x + 0.5) / W


def clicking(seed: int, image: int, draw: int) -> np.random.Generator:
    """The generator of a picture's clicks."""
    return np.random.default_rng([seed, image, draw])


def choose(
    guides: Callable[[int], Mapping[str, Guide]],
    truths: Sequence[UInt8[Tensor, "H W"]],
    *,
    seed: int = 0,
    candidates: int = 24,
) -> dict[str, Any]:
    """The option and the threshold with which a kind of guide does best, on pictures that are not scored.

    First the option, with the threshold that suits it, whose mask of one click has the highest mean IoU; thresholds are
    quantiles of its answers to first clicks. Then, for this option, the threshold and the ``join`` with the
    fewest clicks.

    Args:
        guides: of picture ``i``, by option; every picture has the same options.
        truths: as of :func:`play_out`.
        seed: of the clicks.
        candidates: thresholds tried.

    Returns:
        ``option``, ``threshold``, ``join``, ``first_iou`` and ``clicks`` on these pictures.
    """
    answers: dict[str, list[Tensor]] = {}
    for i, truth in enumerate(truths):
        at = first_click(truth, clicking(seed, i, 0))
        for option, guide in guides(i).items():
            answers.setdefault(option, []).append(guide(*at))
    shares = torch.linspace(0.02, 0.98, candidates)
    best = ("", -1.0, torch.empty(0))
    for option, maps in answers.items():
        thresholds = torch.cat([a.flatten()[:: max(1, a.numel() // 256)] for a in maps]).quantile(shares)
        ious = [_first_ious(a, truth, thresholds) for a, truth in zip(maps, truths, strict=True)]
        mean = torch.stack(ious).mean(0)
        if float(mean.max()) > best[1]:
            best = (option, float(mean.max()), thresholds)
    option, first, thresholds = best
    chosen = [guides(i)[option] for i in range(len(truths))]
    fewest = (MOST * len(truths) + 1, 0.0, "")
    for join, threshold in itertools.product(JOINS, thresholds[2::5].tolist()):
        total = 0
        for i, (guide, truth) in enumerate(zip(chosen, truths, strict=True)):
            total += play_out(guide, truth, threshold, clicking(seed, i, 0), join=join).number()
            if total + len(truths) - 1 - i > fewest[0]:  # not even one click each would do
                break
        fewest = min(fewest, (total, threshold, join)) if i == len(truths) - 1 else fewest
    total, threshold, join = fewest
    clicks = total / len(truths)
    return {"option": option, "threshold": threshold, "join": join, "first_iou": first, "clicks": clicks}


def _first_ious(answer: Tensor, truth: Tensor, thresholds: Tensor) -> Float[Tensor, " t"]:
    """IoU of the mask of one click by every threshold."""
    values, thing = at_size(answer, truth.shape)[truth <= 1], (truth == 1)[truth <= 1]
    masks = values >= thresholds[:, None]
    return (masks & thing).sum(1) / (masks | thing).sum(1).clamp(min=1)


def games(
    guides: Callable[[int], Mapping[str, Guide]],
    truths: Sequence[UInt8[Tensor, "H W"]],
    option: str,
    threshold: float,
    join: str,
    *,
    draws: int = 2,
    seed: int = 0,
) -> list[list[Game]]:
    """For every picture its games, each from other clicks; arguments as of :func:`choose`."""
    found = []
    for i, truth in enumerate(truths):
        guide = guides(i)[option]
        found.append(
            [play_out(guide, truth, threshold, clicking(seed, i, draw), join=join) for draw in range(draws)]
        )
    return found
