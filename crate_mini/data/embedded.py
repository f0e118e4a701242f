"""The embedded data set: a generator of animals made of parts, with exact object and part masks.

Ten species on cluttered backgrounds, drawn by arithmetic: no file, no download, no licence. The parts decide
the class and nothing else does. A unicorn is a horse with a horn, a pegasus a horse with wings, a giraffe a
horse with a long neck, a rabbit and a cat differ in ears and tail. Colour, coat pattern, size, place, pose,
light, background, clutter and camera are drawn without looking at the class. Fur is more often warm, land
more often cool and a little darker, as outdoors; clutter wears both, so colour alone finds no animal.

How an image comes about (each step draws from a random stream of its own):

1. *Skeleton.* The species gives a list of tapered capsules with random proportions and joint angles, each
   owned by a part; the list is mirrored for half of the images, foreshortened, seen in slight perspective and
   rotated in the plane (:mod:`crate_mini.data.embedded_anatomy`).
2. *Frame.* The animal is scaled until its silhouette covers a share of the image drawn from the same law for
   every class, and moved to a random place where its bounding box nearly fits.
3. *Scene.* Ground, sky, patches with the pattern of a coat, and up to four objects that are no animals but
   may wear the animal's own coat (:mod:`crate_mini.data.embedded_scene`).
4. *Paint.* Coat pattern along the bones, light from the normals of the signed distance, cast shadow, outline
   (:mod:`crate_mini.data.embedded_paint`).
5. *Occlusion.* Grass, a branch or a bush in front, which the masks leave out.
6. *Camera.* Light colour, contrast, vignette, blur, noise.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

import numpy as np
import torch

from .embedded_anatomy import SPECIES
from .embedded_geometry import (
    BLUSH,
    EAR,
    FIN,
    HAIR,
    HORN,
    KERATIN,
    NECK,
    PART_NAMES,
    TAIL,
    TRUNK,
    WING,
    Animal,
    Dice,
    area,
    bounds,
    place,
    pose,
)
from .embedded_paint import (
    FACE,
    FUR,
    Canvas,
    Colour,
    Surface,
    colour_distance,
    draw_colour,
    draw_surface,
    mix,
    paint,
)
from .embedded_scene import background, camera, clutter, draw_light, foreground, shadow
from .imageset import ImageSet

__all__ = ["CLASSES", "PART_NAMES", "SPLITS", "crossed", "describe", "generate", "kinds", "pairs"]

CLASSES = tuple(SPECIES)
"""Names of the ten species, in label order."""

SPLITS = ("train", "val", "test")
"""Names of the splits; each has a random stream of its own."""

MIN_SIZE = 16
"""Smallest image side; below it the parts are no longer visible."""

_TELLING = {
    "horse": (NECK,),
    "unicorn": (HORN,),
    "pegasus": (WING,),
    "giraffe": (NECK,),
    "ibex": (HORN,),
    "elephant": (TRUNK,),
    "rabbit": (EAR,),
    "cat": (EAR, TAIL),
    "bird": (WING,),
    "fish": (FIN,),
}
_LABELS, _SHAPE, _STYLE, _SCENE, _CAMERA = range(5)
_ELSEWHERE = 2**40
"""How far the scenes of the second pictures lie behind those of the first, where no set reaches."""


def describe() -> dict[str, tuple[str, ...]]:
    """Class -> names of the parts it is made of, in the order of :data:`PART_NAMES`.

    A class shows these parts and never another. Horse and giraffe have the same parts and differ in the
    length of the neck; rabbit and cat in the length of ears and tail; unicorn and ibex in number and bend of
    the horns.
    """
    return {name: tuple(PART_NAMES[p] for p in sorted(parts)) for name, (_, parts) in SPECIES.items()}


def generate(
    n: int,
    *,
    seed: int = 0,
    image_size: int = 64,
    split: str = "train",
    start: int = 0,
    only: Collection[str] = CLASSES,
) -> ImageSet:
    """Images ``start`` to ``start + n - 1`` of an endless, deterministic sequence of animals.

    Image i depends on ``(seed, split, i)`` and its size alone, so a longer set begins with the shorter one,
    and pieces may be drawn apart with ``start``. The scene does not depend on ``image_size``: a larger size
    shows the same image with more detail (only sensor noise and the finest texture are drawn per pixel).
    Splits come from separate random streams and share no image. No global random state is read or written.

    Classes are balanced: every ten images from a multiple of ten contain each class once, in random order.

    Masks are exact: a pixel belongs to the animal if its centre lies inside the visible outline, which is
    where the picture's anti-aliased edge is half covered; ``masks == (parts > 0)`` always. Whatever stands in
    front of the animal, and animal outside the frame, is not counted.

    Args:
        n: number of images, at least 1.
        seed: non-negative; another seed is another data set.
        image_size: side in pixels, at least 16.
        split: ``"train"``, ``"val"`` or ``"test"``.
        start: index of the first image.
        only: classes to be drawn; of the ``n`` images those of others are left out, and cost nothing.

    Returns:
        ImageSet with ``images`` (n, 3, S, S) uint8, ``labels`` (n,), ``masks`` and ``parts`` (n, S, S) uint8.

    Raises:
        ValueError: for any argument outside its range; the message says what was expected.
    """
    key = _checked(n, seed, image_size, split, start)
    if unknown := sorted(set(only) - set(CLASSES)):
        raise ValueError(f"only names no class: {', '.join(unknown)}; there are {', '.join(CLASSES)}")
    labels = [(index, _label(key, index)) for index in range(start, start + n)]
    return _drawn(key, [(index, label) for index, label in labels if CLASSES[label] in only], image_size)


def crossed(n: int, *, seed: int = 0, image_size: int = 64, split: str = "test", start: int = 0) -> ImageSet:
    """Every animal in each of ``n`` scenes: what a network says of the animal, told from what it says of the scene.

    Scene i has the ground, sky, clutter, light, camera and coat of image i of :func:`generate`, and shows the ten
    animals one after the other, with the same size and place within what their shapes allow.

    Args:
        n: number of scenes, at least 1.
        seed: as for :func:`generate`, and so are the others.
        image_size: side in pixels of a drawing.
        split: ``"train"``, ``"val"`` or ``"test"``.
        start: index of the first.

    Returns:
        ImageSet of ``10 n`` images, scene by scene, with labels 0 to 9 in each; masks and parts as of :func:`generate`.

    Raises:
        ValueError: for any argument outside its range; the message says what was expected.
    """
    key = _checked(n, seed, image_size, split, start)
    which = [(start + i, label) for i in range(n) for label in range(len(CLASSES))]
    return _drawn(key, which, image_size)


def pairs(n: int, *, seed: int = 0, image_size: int = 64, split: str = "train", start: int = 0) -> ImageSet:
    """Two drawings of one animal side by side: same pose, size and place, another coat in another scene.

    The left one is that of :func:`generate`; scene, coat, light and camera of the right one are drawn anew.

    Args:
        n: number of pairs, at least 1.
        seed: as for :func:`generate`, and so are the others.
        image_size: side in pixels of a drawing.
        split: ``"train"``, ``"val"`` or ``"test"``.
        start: index of the first.

    Returns:
        ImageSet of ``n`` images, ``image_size`` pixels high and twice as wide; masks and parts of both.

    Raises:
        ValueError: for any argument outside its range; the message says what was expected.
    """
    return _side_by_side(n, seed, image_size, split, start, "embedded-pairs", 0)


def kinds(n: int, *, seed: int = 0, image_size: int = 64, split: str = "train", start: int = 0) -> ImageSet:
    """Two drawings of one species side by side: the right one with another pose, size and place, too.

    Args:
        n: number of pairs, at least 1.
        seed: as for :func:`generate`, and so are the others.
        image_size: side in pixels of a drawing.
        split: ``"train"``, ``"val"`` or ``"test"``.
        start: index of the first.

    Returns:
        As :func:`pairs`.

    Raises:
        ValueError: for any argument outside its range; the message says what was expected.
    """
    return _side_by_side(n, seed, image_size, split, start, "embedded-kinds", _ELSEWHERE)


def _side_by_side(
    n: int, seed: int, image_size: int, split: str, start: int, name: str, shape: int
) -> ImageSet:
    """Images and, beside them, what is drawn with the scene, and ``shape`` further on the shape, of other ones."""
    key = _checked(n, seed, image_size, split, start)
    which = [(start + i, _label(key, start + i)) for i in range(n)]
    left = _drawn(key, which, image_size)
    right = _drawn(key, which, image_size, around=_ELSEWHERE, shape=shape)
    both = {k: torch.cat([getattr(left, k), getattr(right, k)], -1) for k in ("images", "masks", "parts")}
    return replace(left, name=name, **both)


def _checked(n: int, seed: int, image_size: int, split: str, start: int) -> tuple[int, int]:
    """The key of the random streams, if all arguments are in range."""
    for name, value, least in (
        ("n", n, 1),
        ("seed", seed, 0),
        ("start", start, 0),
        ("image_size", image_size, MIN_SIZE),
    ):
        if value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    return seed, SPLITS.index(split)


def _drawn(
    key: tuple[int, int], which: list[tuple[int, int]], image_size: int, around: int = 0, shape: int = 0
) -> ImageSet:
    """One image for each index and label.

    ``around`` is added to the index where all but the animal is drawn, ``shape`` where its pose, size and place are.
    """
    images = np.empty((len(which), 3, image_size, image_size), np.uint8)
    parts = np.empty((len(which), image_size, image_size), np.uint8)
    for at, (index, label) in enumerate(which):
        images[at], parts[at] = _render(key, label, image_size, index + shape, index + around)
    return ImageSet(
        images=torch.from_numpy(images),
        labels=torch.tensor([label for _, label in which]),
        classes=CLASSES,
        masks=torch.from_numpy((parts > 0).astype(np.uint8)),
        parts=torch.from_numpy(parts),
        part_names=PART_NAMES,
        name="embedded",
        tier="embedded",
    )


def _label(key: tuple[int, int], index: int) -> int:
    block, offset = divmod(index, len(CLASSES))
    order = np.argsort(Dice(*key, _LABELS, block).rng.random(len(CLASSES)), kind="stable")
    return int(order[offset])


def _render(
    key: tuple[int, int], label: int, size: int, drawn: int, around: int
) -> tuple[np.ndarray, np.ndarray]:
    shape, style = Dice(*key, _SHAPE, drawn), Dice(*key, _STYLE, around)
    scene, lens = Dice(*key, _SCENE, around), Dice(*key, _CAMERA, around)
    share = _share(shape)
    fx, fy = shape.bell(0.5, 0.5), shape.bell(0.5, 0.5)
    unit = 1.25 * math.sqrt(share)  # measure of all that must not know the class: clutter, grass, patterns
    species = CLASSES[label]
    animal, scale = _frame(pose(SPECIES[species][0](shape), shape), share, fx, fy)

    canvas = Canvas(
        size,
        np.zeros((3, size, size), np.float32),
        np.zeros((size, size), np.uint8),
        draw_light(style),
    )
    coat = draw_surface(style, FUR)
    around = background(canvas, scene, coat, unit)
    coat, palette = _dress(style, coat, around)
    clutter(canvas, scene, coat, unit)
    shadow(canvas, animal.capsules, canvas.light.shadow)
    paint(canvas, animal.capsules, coat, palette, blend=0.022 * scale, unit=unit, decals=animal.decals)
    keys = [c for c in animal.capsules if c.part in _TELLING[species]]
    foreground(canvas, scene, coat, unit, animal.capsules, keys)
    return camera(canvas, lens), canvas.parts


def _share(d: Dice) -> float:
    """Share of the image that the silhouette covers: 12 to 40 %, small ones more often."""
    return 0.12 + 0.28 * d.u() ** 1.3


def _frame(animal: Animal, share: float, fx: float, fy: float) -> tuple[Animal, float]:
    """Scales to a share of the image's area (less where the bounding box would outgrow the frame) and moves.

    Returns the animal and its scale; ``fx`` and ``fy`` in [0, 1] are the place within the free play.
    """
    left, top, right, bottom = bounds(animal.capsules)
    width, height = right - left, bottom - top
    scale = min(math.sqrt(share / area(animal)), 1.1 / max(width, height))
    # Free play of the box in the frame; when there is none, it may stand out by 5 % on either side.
    play_x, play_y = max(1 - scale * width, 0) + 0.06, max(1 - scale * height, 0) + 0.06
    dx = 0.5 + (fx - 0.5) * play_x - scale * (left + right) / 2
    dy = 0.5 + (fy - 0.5) * play_y - scale * (top + bottom) / 2
    return place(animal, scale, dx, dy), scale


def _dress(d: Dice, coat: Surface, around: Colour) -> tuple[Surface, dict[int, Colour]]:
    """Coat at a contrast to its surroundings that varies from clear to weak, and colours of hair and horn."""
    least = d.u(0.2, 0.65)
    base = coat.base
    for _ in range(8):
        if colour_distance(mix(base, coat.second, 0.4 * coat.contrast), around) >= least:
            break
        base = draw_colour(d, FUR)
    coat = Surface(**{**vars(coat), "base": base})
    dark = tuple(0.35 * c for c in base)
    hair = d.pick((coat.second, dark, draw_colour(d, FUR)))
    keratin = d.pick(((0.85, 0.78, 0.6), (0.35, 0.3, 0.26), draw_colour(d, FUR)))
    return coat, {**FACE, HAIR: hair, KERATIN: keratin, BLUSH: mix(base, (0.9, 0.5, 0.5), 0.55)}
