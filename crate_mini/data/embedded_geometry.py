"""Geometry under the embedded animals: tapered capsules, random draws, pose, placement, distance and area.

Coordinates are the animal's own: x points the way it faces, y points down, the torso is about one unit long.
Angles are degrees, 0 forward and 90 up. Nothing here knows a species, a colour or a background.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

PART_NAMES = ("background", "body", "neck", "head", "ear", "horn", "trunk", "leg", "tail", "wing", "fin")
"""Meaning of the values of a part map; 0 is background."""

BODY, NECK, HEAD, EAR, HORN, TRUNK, LEG, TAIL, WING, FIN = range(1, 11)
FAR, MAIN, NEAR = range(3)
"""Drawing order: limbs of the far side, the torso with all that grows out of it, what lies in front of it."""

COAT, HAIR, KERATIN, DARK, WHITE, BLUSH = range(6)
"""Materials: textured coat; mane and tail hair; horn, beak and hoof; eyes and noses; eye white; inner ear."""

Real = int | float
Point = tuple[Real, Real]


class Dice:
    """Random draws for one aspect of one image, a function of its key alone (no global state is touched)."""

    def __init__(self, *key: int) -> None:
        self.rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))

    def u(self, low: Real = 0, high: Real = 1) -> float:
        """Uniform on [low, high)."""
        return low + (high - low) * self.rng.random()

    def bell(self, centre: Real, spread: Real) -> float:
        """Bell-shaped on ``centre`` ± ``spread`` (mean of three uniforms, so never an outlier)."""
        return centre + spread * (2 * (self.rng.random() + self.rng.random() + self.rng.random()) / 3 - 1)

    def coin(self, p: float) -> bool:
        """True with probability ``p``."""
        return self.rng.random() < p

    def pick(self, options: Sequence, weights: Sequence[Real] | None = None):
        """One of ``options``, uniformly or by ``weights``."""
        if weights is None:
            return options[int(self.rng.random() * len(options))]
        x = self.rng.random() * sum(weights)
        for option, weight in zip(options, weights, strict=True):
            x -= weight
            if x < 0:
                return option
        return options[-1]


class Capsule(NamedTuple):
    """All points within a radius of the segment a-b; the radius goes linearly from ``ra`` to ``rb``."""

    ax: float
    ay: float
    bx: float
    by: float
    ra: float
    rb: float
    part: int = BODY
    layer: int = MAIN
    material: int = COAT


@dataclass
class Animal:
    """Capsules that make the silhouette, and decals (eye, nose, hoof) painted on it without changing any
    mask.
    """

    capsules: list[Capsule] = field(default_factory=list)
    decals: list[Capsule] = field(default_factory=list)

    def limb(
        self,
        part: int,
        start: Point,
        angles: Sequence[Real],
        lengths: Sequence[Real],
        radii: Sequence[Real],
        layer: int = MAIN,
        material: int = COAT,
    ) -> Point:
        """Adds a chain of capsules, ``radii`` one longer than ``angles``, and returns where it ends."""
        x, y = start
        for angle, length, ra, rb in zip(angles, lengths, radii[:-1], radii[1:], strict=True):
            a = math.radians(angle)
            bx, by = x + length * math.cos(a), y - length * math.sin(a)
            self.capsules.append(Capsule(x, y, bx, by, ra, rb, part, layer, material))
            x, y = bx, by
        return x, y

    def decal(
        self, centre: Point, radius: Real, material: int, end: Point | None = None, layer: int = MAIN
    ) -> None:
        """Adds paint: a disc, or a stroke from ``centre`` to ``end``."""
        end = end or centre
        self.decals.append(Capsule(*centre, *end, radius, radius, 0, layer, material))

    def eye(self, centre: Point, radius: Real) -> None:
        """A round eye with white rim and a light."""
        x, y = centre
        self.decal(centre, radius * 1.35, WHITE)
        self.decal((x + 0.15 * radius, y), radius, DARK)
        self.decal((x + 0.45 * radius, y - 0.4 * radius), radius * 0.3, WHITE)


def ahead(point: Point, angle: Real, distance: Real) -> Point:
    """The point at ``distance`` from ``point`` in direction ``angle``."""
    a = math.radians(angle)
    return point[0] + distance * math.cos(a), point[1] - distance * math.sin(a)


def pose(animal: Animal, d: Dice) -> Animal:
    """Turns the animal in space: facing side, foreshortening by yaw, slight perspective, in-plane rotation.

    Works on end points and radii, so parts stay capsules: masks and picture follow from the same numbers.
    """
    side = 1.0 if d.coin(0.5) else -1.0
    squeeze = math.cos(math.radians(d.u(0, 34)))
    near = d.u(-0.14, 0.14)  # > 0: the head end is nearer to the camera
    roll = math.radians(d.bell(0, 14))
    cos, sin = math.cos(roll), math.sin(roll)

    def turn(c: Capsule) -> Capsule:
        out = []
        for x, y, r in ((c.ax, c.ay, c.ra), (c.bx, c.by, c.rb)):
            zoom = 1 + near * x
            x, y, r = side * squeeze * x * zoom, y * zoom, r * zoom
            out.append((cos * x - sin * y, sin * x + cos * y, r))
        (ax, ay, ra), (bx, by, rb) = out
        return c._replace(ax=ax, ay=ay, bx=bx, by=by, ra=ra, rb=rb)

    return Animal([turn(c) for c in animal.capsules], [turn(c) for c in animal.decals])


def place(animal: Animal, scale: float, dx: float, dy: float) -> Animal:
    """The animal scaled about its origin, then moved."""

    def move(c: Capsule) -> Capsule:
        return c._replace(
            ax=c.ax * scale + dx,
            ay=c.ay * scale + dy,
            bx=c.bx * scale + dx,
            by=c.by * scale + dy,
            ra=c.ra * scale,
            rb=c.rb * scale,
        )

    return Animal([move(c) for c in animal.capsules], [move(c) for c in animal.decals])


def bounds(capsules: Sequence[Capsule]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the capsules together."""
    return (
        min(min(c.ax - c.ra, c.bx - c.rb) for c in capsules),
        min(min(c.ay - c.ra, c.by - c.rb) for c in capsules),
        max(max(c.ax + c.ra, c.bx + c.rb) for c in capsules),
        max(max(c.ay + c.ra, c.by + c.rb) for c in capsules),
    )


def distance(capsules: Sequence[Capsule], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance of points ``x``, ``y`` (n,) to each capsule: (capsules, n), negative inside."""
    a = np.asarray([c[:6] for c in capsules], dtype=np.float32)[:, :, None]
    bx, by = a[:, 2] - a[:, 0], a[:, 3] - a[:, 1]
    px, py = x - a[:, 0], y - a[:, 1]
    t = np.clip((px * bx + py * by) / (bx * bx + by * by + 1e-9), 0, 1)
    return np.sqrt((px - t * bx) ** 2 + (py - t * by) ** 2) - (a[:, 4] + t * (a[:, 5] - a[:, 4]))


def area(animal: Animal, cells: int = 28) -> float:
    """Area of the silhouette in the animal's own units, from a grid of ``cells`` x ``cells`` points."""
    left, top, right, bottom = bounds(animal.capsules)
    s = (np.arange(cells, dtype=np.float32) + 0.5) / cells
    x, y = np.meshgrid(left + s * (right - left), top + s * (bottom - top))
    inside = (distance(animal.capsules, x.ravel(), y.ravel()) < 0).any(axis=0)
    return float(inside.mean()) * (right - left) * (bottom - top)
