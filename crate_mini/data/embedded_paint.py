"""Paint for the embedded images: noise, surface textures, colours, and a renderer of capsules with light.

Everything is defined in the unit square and evaluated at pixel centres, so a picture of any size shows the
same scene.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .embedded_geometry import COAT, DARK, FAR, MAIN, NEAR, WHITE, Capsule, Dice, bounds

Array = np.ndarray
Colour = tuple[float, float, float]

TILE = 512
"""Side of the periodic noise tile, in samples."""


@lru_cache(maxsize=8)
def noise_tile(kind: str, cutoff: int) -> Array:
    """A periodic field of unit variance: ``"cloud"`` has a 1/f spectrum up to ``cutoff`` cycles a tile
    (several octaves of detail), ``"band"`` has all its energy near 20 cycles a tile (evenly spaced blobs).

    The field is a fixed texture of the world, the same for every seed; images look at it through random
    windows.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((2023, 8, 16271, kind == "band"))))
    phase = rng.random((TILE, TILE // 2 + 1)) * 2 * np.pi
    f = np.hypot(np.fft.fftfreq(TILE, 1 / TILE)[:, None], np.fft.rfftfreq(TILE, 1 / TILE)[None])
    f[0, 0] = 1
    amplitude = f**-1.45 * (f < cutoff) if kind == "cloud" else np.exp(-0.5 * ((f - 20) / 4.5) ** 2)
    if kind == "cloud":
        amplitude *= 1 - np.exp(-((f / 3) ** 2))  # no trend across the whole tile
    field = np.fft.irfft2(amplitude * np.exp(1j * phase), s=(TILE, TILE))
    return np.ascontiguousarray((field - field.mean()) / field.std(), dtype=np.float32)


def sample(tile: Array, x: Array, y: Array) -> Array:
    """Bilinear, periodic look-up; ``x`` and ``y`` in tiles."""
    x, y = x * TILE, y * TILE
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = x - x0, y - y0
    ix, iy = x0.astype(np.int32) & (TILE - 1), y0.astype(np.int32) & (TILE - 1)
    right = (ix + 1) & (TILE - 1)
    top, bottom = iy * TILE, ((iy + 1) & (TILE - 1)) * TILE
    flat = tile.ravel()
    a, b = flat.take(top + ix), flat.take(bottom + ix)
    a += fx * (flat.take(top + right) - a)
    b += fx * (flat.take(bottom + right) - b)
    return a + fy * (b - a)


def step(x: Array, low: float, high: float) -> Array:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


TEXTURES = ("plain", "clouds", "stripes", "spots", "rings", "patches", "net")


@dataclass
class Surface:
    """How a surface looks: two colours, the pattern that mixes them, and fine grain."""

    base: Colour
    second: Colour
    texture: str
    scale: float
    contrast: float
    grain: float
    shift: tuple[float, float]
    belly: float = 0.0

    def colours(self, u: Array, v: Array, cutoff: int) -> Array:
        """(3, h, w) colour at surface coordinates ``u``, ``v``; one unit is about the length of an animal."""
        s, (du, dv) = self.scale, self.shift
        cloud = noise_tile("cloud", cutoff)
        fine = sample(cloud, 0.42 * u + dv, 0.42 * v + du)
        if self.texture == "plain":
            m = 0.12 * fine
        elif self.texture == "clouds":
            m = 0.5 + 0.3 * fine
        elif self.texture == "stripes":
            m = step(np.sin((11 + 17 * s) * u + 1.1 * fine + 20 * du), -0.35, 0.35)
        elif self.texture == "patches":
            m = step(sample(cloud, (0.18 + 0.2 * s) * u + du, (0.18 + 0.2 * s) * v + dv), -0.05, 0.25)
        else:
            band = sample(noise_tile("band", 0), (0.16 + 0.16 * s) * u + du, (0.16 + 0.16 * s) * v + dv)
            if self.texture == "spots":
                m = step(band, 0.35, 0.85)
            elif self.texture == "rings":
                m = step(0.55 - np.abs(band - 0.75), 0.0, 0.35)
            else:
                m = step(np.abs(band), 0.18, 0.5)
        m = self.contrast * m
        gain = 1 + self.grain * fine
        a, b = self.base, self.second
        return np.stack([(a[i] + (b[i] - a[i]) * m) * gain for i in range(3)])


@dataclass
class Light:
    """Direction towards the light (y down), share of ambient light, colour, outline and shadow."""

    direction: tuple[float, float, float]
    ambient: float
    colour: Colour
    outline: float
    shadow: float


@dataclass
class Canvas:
    """A picture in the making and the part that owns each pixel."""

    size: int
    rgb: Array
    parts: Array
    light: Light

    @property
    def centres(self) -> Array:
        """Pixel centres along one axis."""
        return (np.arange(self.size, dtype=np.float32) + 0.5) / self.size

    @property
    def cutoff(self) -> int:
        """Finest noise the picture can show, in cycles a tile."""
        return min(self.size, TILE // 2)


def hsv(h: float, s: float, v: float) -> Colour:
    """RGB of a hue, saturation and value in [0, 1]."""
    out = []
    for n in (5, 3, 1):
        k = (n + 6 * h) % 6
        out.append(v - v * s * max(0.0, min(k, 4 - k, 1.0)))
    return out[0], out[1], out[2]


FUR = (0.42, 0.2, 0.03, 0.04, 0.21, 0.1)
LAND = (0.1, 0.17, 0.36, 0.25, 0.04, 0.08)
"""How often brown, grey, green, blue, warm and pastel tones occur on animals and in landscapes. As outdoors,
fur is more often warm and land more often cool, but either may have any colour, and clutter wears both."""


def draw_colour(d: Dice, tones: tuple[float, ...] = LAND) -> Colour:
    """A colour, its kind drawn with the weights ``tones``."""
    kind = d.pick(("brown", "grey", "green", "blue", "warm", "pastel"), tones)
    if kind == "brown":
        return hsv(d.u(0.04, 0.12), d.u(0.25, 0.7), d.u(0.35, 0.95))
    if kind == "grey":
        return hsv(d.u(), d.u(0, 0.12), d.u(0.2, 1.0))
    if kind == "green":
        return hsv(d.u(0.18, 0.42), d.u(0.25, 0.65), d.u(0.35, 0.88))
    if kind == "blue":
        return hsv(d.u(0.5, 0.68), d.u(0.2, 0.65), d.u(0.4, 0.97))
    if kind == "warm":
        return hsv(d.u(0.96, 1.13) % 1, d.u(0.5, 0.85), d.u(0.5, 0.95))
    return hsv(d.u(), d.u(0.15, 0.4), d.u(0.65, 0.97))


def mix(a: Colour, b: Colour, m: float) -> Colour:
    """``a`` at m = 0, ``b`` at m = 1."""
    return a[0] + (b[0] - a[0]) * m, a[1] + (b[1] - a[1]) * m, a[2] + (b[2] - a[2]) * m


def colour_distance(a: Colour, b: Colour) -> float:
    """Euclidean distance in RGB."""
    return math.dist(a, b)


def draw_surface(d: Dice, tones: tuple[float, ...] = LAND) -> Surface:
    """A random surface in the given tones; animals, clutter and ground share the law of the patterns."""
    base = draw_colour(d, tones)
    shade = d.u(0.25, 1.7)
    tone = (
        mix(base, draw_colour(d, tones), d.u(0.3, 1))
        if d.coin(0.6)
        else tuple(min(1.0, c * shade) for c in base)
    )
    return Surface(
        base,
        tone,
        d.pick(TEXTURES, (0.2, 0.14, 0.16, 0.14, 0.1, 0.14, 0.12)),
        d.u(),
        d.u(0.35, 0.95),
        d.u(0.04, 0.16),
        (d.u(), d.u()),
        d.u(0.2, 0.75) if d.coin(0.5) else 0.0,
    )


@dataclass
class Field:
    """What a set of smoothly joined capsules is at each pixel of a window of the canvas."""

    rows: slice
    cols: slice
    distance: Array
    normal: tuple[Array, Array, Array]
    u: Array
    v: Array
    label: Array
    material: dict[int, Array]


def rasterise(canvas: Canvas, capsules: Sequence[Capsule], blend: float, unit: float) -> Field | None:
    """Smooth union of capsules at the pixel centres, or None where all of it lies outside the canvas.

    Signed distance d = -b log Σ exp(-d_i / b) with b = ``blend``; weights exp(-d_i / b) also blend the
    normals and the surface coordinates, and the largest names the owner. Each capsule is evaluated only where
    it can matter.
    """
    n = canvas.size
    reach = 6 * blend + 1.5 / n
    left, top, right, bottom = bounds(capsules)
    x0, x1 = max(0, int((left - reach) * n)), min(n, int((right + reach) * n) + 1)
    y0, y1 = max(0, int((top - reach) * n)), min(n, int((bottom + reach) * n) + 1)
    if x0 >= x1 or y0 >= y1:
        return None
    shape = (y1 - y0, x1 - x0)
    total, nx, ny, su, sv, best = (np.zeros(shape, np.float32) for _ in range(6))
    total += 1e-12
    label = np.zeros(shape, np.uint8)
    material: dict[int, Array] = {}
    centres = canvas.centres
    for i, (ax, ay, bx, by, ra, rb, part, _, kind) in enumerate(capsules):
        r = max(ra, rb) + reach
        c0, c1 = max(x0, int((min(ax, bx) - r) * n)), min(x1, int((max(ax, bx) + r) * n) + 1)
        r0, r1 = max(y0, int((min(ay, by) - r) * n)), min(y1, int((max(ay, by) + r) * n) + 1)
        if c0 >= c1 or r0 >= r1:
            continue
        view = (slice(r0 - y0, r1 - y0), slice(c0 - x0, c1 - x0))
        px, py = centres[c0:c1] - ax, (centres[r0:r1] - ay)[:, None]
        dx, dy = bx - ax, by - ay
        square = dx * dx + dy * dy + 1e-12
        length = math.sqrt(square)
        along = px * (dx / square) + py * (dy / square)
        t = np.clip(along, 0, 1)
        qx, qy = px - t * dx, py - t * dy
        radius = ra + t * (rb - ra)
        far = np.sqrt(qx * qx + qy * qy)
        e = np.exp(np.minimum((radius - far) / blend, 60.0))
        total[view] += e
        w = e / np.maximum(far, radius)
        nx[view] += w * qx
        ny[view] += w * qy
        along *= length / unit
        along += 0.37 * i
        su[view] += e * along
        sv[view] += e * (px * (-dy / length / unit) + py * (dx / length / unit))
        if kind != COAT:
            if kind not in material:
                material[kind] = np.zeros(shape, np.float32)
            material[kind][view] += e
        wins = e > best[view]
        best[view][wins] = e[wins]
        label[view][wins] = part
    inverse = 1 / total
    nx *= inverse
    ny *= inverse
    nz = np.sqrt(np.maximum(1 - nx * nx - ny * ny, 0.0))
    return Field(
        slice(y0, y1),
        slice(x0, x1),
        -blend * np.log(total),
        (nx, ny, nz),
        su * inverse,
        sv * inverse,
        label,
        {k: m * inverse for k, m in material.items()},
    )


def paint(
    canvas: Canvas,
    capsules: Sequence[Capsule],
    surface: Surface,
    palette: dict[int, Colour],
    *,
    blend: float,
    unit: float,
    decals: Sequence[Capsule] = (),
) -> None:
    """Draws capsules layer by layer: texture, light, soft shade on what lies behind, outline, anti-aliased
    edge.

    ``palette`` colours the materials other than the coat. Pixels whose centre lies inside become owned by the
    capsule's part; clutter has part 0 and so takes pixels away from an animal behind it.
    """
    for layer in (FAR, MAIN, NEAR):
        members = [c for c in capsules if c.layer == layer]
        field = rasterise(canvas, members, blend, unit) if members else None
        if field is None:
            continue
        _paint_field(canvas, field, surface, palette, unit, dim=0.74 if layer == FAR else 1.0)
        for decal in decals:
            if decal.layer == layer:
                _paint_decal(canvas, field, decal, palette)


def _paint_field(
    canvas: Canvas, f: Field, surface: Surface, palette: dict[int, Colour], unit: float, dim: float
) -> None:
    light, pixel = canvas.light, 1 / canvas.size
    rgb = surface.colours(f.u, f.v, canvas.cutoff)
    nx, ny, nz = f.normal
    if surface.belly:
        lighter = surface.belly * step(ny, 0.1, 0.85)
        rgb += lighter * (1 - rgb) * 0.7
    for kind, weight in f.material.items():
        tint = palette[kind]
        streak = 1 + 0.12 * np.sin(60 * f.v)
        for i in range(3):
            rgb[i] += weight * (tint[i] * streak - rgb[i])
    lx, ly, lz = light.direction
    lit = light.ambient + (1 - light.ambient) * 1.35 * np.maximum(nx * lx + ny * ly + nz * lz, 0)
    lit *= 1 - light.outline * np.exp(np.minimum(f.distance, 0) / (0.022 * unit))
    lit *= dim
    rgb *= lit
    target = canvas.rgb[:, f.rows, f.cols]
    target *= 1 - 0.3 * np.exp(-np.maximum(f.distance, 0) / (0.025 * unit))
    alpha = np.clip(0.5 - f.distance / pixel, 0, 1)
    target += alpha * (rgb - target)
    inside = f.distance < 0
    canvas.parts[f.rows, f.cols][inside] = f.label[inside]


def _paint_decal(canvas: Canvas, f: Field, c: Capsule, palette: dict[int, Colour]) -> None:
    n = canvas.size
    r = max(c.ra, c.rb) + 1.5 / n
    c0, c1 = (
        max(f.cols.start, int((min(c.ax, c.bx) - r) * n)),
        min(f.cols.stop, int((max(c.ax, c.bx) + r) * n) + 1),
    )
    r0, r1 = (
        max(f.rows.start, int((min(c.ay, c.by) - r) * n)),
        min(f.rows.stop, int((max(c.ay, c.by) + r) * n) + 1),
    )
    if c0 >= c1 or r0 >= r1:
        return
    px, py = canvas.centres[c0:c1] - c.ax, (canvas.centres[r0:r1] - c.ay)[:, None]
    dx, dy = c.bx - c.ax, c.by - c.ay
    t = np.clip((px * dx + py * dy) / (dx * dx + dy * dy + 1e-12), 0, 1)
    edge = np.sqrt((px - t * dx) ** 2 + (py - t * dy) ** 2) - c.ra
    skin = f.distance[r0 - f.rows.start : r1 - f.rows.start, c0 - f.cols.start : c1 - f.cols.start]
    alpha = np.clip(0.5 - np.maximum(edge, skin) * n, 0, 1)
    target = canvas.rgb[:, r0:r1, c0:c1]
    target += alpha * (np.asarray(palette[c.material], np.float32)[:, None, None] - target)


FACE: dict[int, Colour] = {DARK: (0.06, 0.05, 0.06), WHITE: (0.95, 0.94, 0.9)}
"""Colours of eyes and noses, the same for every animal."""
