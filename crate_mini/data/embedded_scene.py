"""Backgrounds, clutter and camera of the embedded images. Nothing here knows the class."""

from __future__ import annotations

import math

import numpy as np

from .embedded_geometry import FAR, MAIN, Capsule, Dice, bounds, distance
from .embedded_paint import (
    FACE,
    FUR,
    LAND,
    Array,
    Canvas,
    Colour,
    Light,
    Surface,
    draw_colour,
    draw_surface,
    mix,
    noise_tile,
    paint,
    sample,
    step,
)


def draw_light(d: Dice) -> Light:
    """Light mostly from above, from hard sun to overcast, warm to cold."""
    azimuth, height = math.radians(d.bell(90, 75)), math.radians(d.u(20, 70))
    warmth = d.bell(0, 0.16)
    gain = d.u(0.85, 1.12)
    return Light(
        (math.cos(azimuth) * math.cos(height), -math.sin(azimuth) * math.cos(height), math.sin(height)),
        d.u(0.4, 0.75),
        (gain * (1 + warmth), gain, gain * (1 - warmth)),
        d.u(0.05, 0.5),
        d.u(0.1, 0.6),
    )


def background(canvas: Canvas, d: Dice, coat: Surface, unit: float) -> Colour:
    """Ground and sky (or ground alone) with noise, a gradient and patches of animal-like pattern.

    Returns the mean colour around the middle, against which the animal's contrast is chosen.
    """
    c = canvas.centres
    turn, zoom = math.radians(d.u(0, 360)), d.u(0.2, 0.6)
    cos, sin = zoom * math.cos(turn), zoom * math.sin(turn)
    ox, oy = d.u(), d.u()
    cloud = noise_tile("cloud", canvas.cutoff)
    rough = sample(cloud, c * cos - c[:, None] * sin + ox, c * sin + c[:, None] * cos + oy)

    ground, other = draw_colour(d), draw_colour(d)
    other = mix(ground, other, d.u(0.25, 0.8))
    m = np.clip(0.5 + d.u(0.06, 0.25) * rough + d.u(-0.7, 0.7) * (c[:, None] - 0.5), 0, 1)
    rgb = np.stack([ground[i] + (other[i] - ground[i]) * m for i in range(3)])
    rgb *= 1 + d.u(0.03, 0.11) * rough

    if d.coin(0.45):  # a region with the statistics of a coat
        pattern = coat if d.coin(0.4) else draw_surface(d)
        pattern = Surface(**{**vars(pattern), "shift": (d.u(), d.u())})
        if pattern is not coat:
            pattern.base = mix(ground, pattern.base, d.u(0.2, 0.7))
            pattern.second = mix(other, pattern.second, d.u(0.2, 0.7))
        angle = math.radians(d.u(0, 180))
        u = (c * math.cos(angle) + c[:, None] * math.sin(angle)) / unit
        v = (c[:, None] * math.cos(angle) - c * math.sin(angle)) / unit
        where = step(
            sample(cloud, 0.3 * c + oy + 0 * c[:, None], 0.3 * c[:, None] + ox + 0 * c), -0.2, 0.3
        ) * d.u(0.4, 1)
        rgb += where * (pattern.colours(u, v, canvas.cutoff) - rgb)

    if d.coin(0.65):  # sky, water or wall above a horizon
        level, tilt = d.u(0.12, 0.7), d.u(-0.12, 0.12)
        sky, high = draw_colour(d), draw_colour(d)
        high = mix(sky, high, d.u(0.1, 0.6))
        soft, wave = d.u(0.008, 0.06), d.u(0.0, 0.035)
        edge = c[:, None] - level - tilt * (c - 0.5) + wave * rough
        above = 1 - step(edge, -soft, soft)
        up = np.clip((c[:, None] - level) / (level + 0.05) + 1 + d.u(0.02, 0.2) * rough, 0, 1)
        for i in range(3):
            rgb[i] += above * (high[i] + (sky[i] - high[i]) * up - rgb[i])
    # As in most photographs of animals the ground is a little darker than its subject, but not always.
    rgb *= d.u(0.45, 0.8) if d.coin(0.8) else d.u(0.9, 1.2)
    canvas.rgb[:] = rgb
    q = canvas.size // 4
    mean = canvas.rgb[:, q:-q, q:-q].mean(axis=(1, 2))
    return float(mean[0]), float(mean[1]), float(mean[2])


def _boulder(d: Dice, x: float, y: float, s: float) -> list[Capsule]:
    out = []
    for _ in range(2 + d.coin(0.5)):
        a, length, r = math.radians(d.u(-30, 30)), d.u(0.1, 0.5) * s, d.u(0.16, 0.34) * s
        cx, cy = x + d.u(-0.2, 0.2) * s, y + d.u(-0.12, 0.12) * s
        out.append(
            Capsule(cx, cy, cx + length * math.cos(a), cy + length * math.sin(a), r, r * d.u(0.6, 1.1), 0)
        )
    return out


def _tree(d: Dice, x: float, y: float, s: float) -> list[Capsule]:
    lean, r = d.u(-0.2, 0.2), d.u(0.06, 0.14) * s
    top = (x + lean * 1.3, y - 1.3)
    out = [Capsule(x, y, *top, r * 1.25, r * 0.7, 0), Capsule(x, y, x, y + 0.02, r * 1.5, r * 1.6, 0)]
    for _ in range(2):
        t, side = d.u(0.15, 0.6), d.pick((-1, 1))
        bx, by = x + t * (top[0] - x), y + t * (top[1] - y)
        out.append(
            Capsule(bx, by, bx + side * d.u(0.2, 0.5) * s, by - d.u(0.1, 0.4) * s, r * 0.55, r * 0.3, 0)
        )
    return out


def _bush(d: Dice, x: float, y: float, s: float) -> list[Capsule]:
    out = []
    for _ in range(5):
        cx, cy, r = x + d.u(-0.36, 0.36) * s, y - d.u(-0.05, 0.3) * s, d.u(0.1, 0.22) * s
        out.append(Capsule(cx, cy, cx, cy + 0.05 * s, r, r, 0))
    return out


def _log(d: Dice, x: float, y: float, s: float) -> list[Capsule]:
    """A fallen log with stumps: nearly as limbed as an animal, but none."""
    a, length, r = math.radians(d.u(-35, 35)), d.u(0.5, 0.9) * s, d.u(0.08, 0.17) * s
    cos, sin = math.cos(a), math.sin(a)
    x, y = x - length * cos / 2, y - length * sin / 2
    out = [Capsule(x, y, x + length * cos, y + length * sin, r, r * d.u(0.6, 1), 0)]
    for _ in range(3):
        t, side, reach = d.u(0.1, 0.95) * length, d.pick((-1, 1)), d.u(0.15, 0.36) * s
        bx, by = x + t * cos, y + t * sin
        out.append(
            Capsule(bx, by, bx + 0.3 * reach, by + side * reach, r * 0.5, r * 0.4, 0, d.pick((FAR, MAIN)))
        )
    return out


def _mushroom(d: Dice, x: float, y: float, s: float) -> list[Capsule]:
    h, w = d.u(0.25, 0.5) * s, d.u(0.14, 0.26) * s
    return [
        Capsule(x, y, x + d.u(-0.05, 0.05) * s, y - h, 0.08 * s, 0.065 * s, 0),
        Capsule(x - w, y - h, x + w, y - h, 0.11 * s, 0.11 * s, 0),
        Capsule(x - 0.5 * w, y - h - 0.08 * s, x + 0.5 * w, y - h - 0.08 * s, 0.1 * s, 0.1 * s, 0),
    ]


CLUTTER = (_boulder, _tree, _bush, _log, _mushroom)


def draw_clutter_surface(d: Dice, coat: Surface) -> Surface:
    """The animal's own coat, its pattern in other colours, or something else."""
    kind = d.pick(("coat", "pattern", "other"), (0.25, 0.25, 0.5))
    if kind == "other":
        return draw_surface(d, d.pick((FUR, LAND)))
    values = {**vars(coat), "shift": (d.u(), d.u())}
    if kind == "pattern":
        values["base"], values["second"] = draw_colour(d, FUR), draw_colour(d)
    return Surface(**values)


def clutter(canvas: Canvas, d: Dice, coat: Surface, unit: float) -> None:
    """Zero to four things that are not animals, behind the animal, in coats like its own."""
    for _ in range(d.pick((0, 1, 2, 3, 4), (0.2, 0.3, 0.25, 0.15, 0.1))):
        s = unit * d.u(0.45, 1.15)
        thing = d.pick(CLUTTER)(d, d.u(-0.05, 1.05), d.u(0.15, 1.0), s)
        shadow(canvas, thing, canvas.light.shadow * 0.8)
        paint(canvas, thing, draw_clutter_surface(d, coat), FACE, blend=0.025 * unit, unit=unit)


def shadow(canvas: Canvas, capsules: list[Capsule], strength: float) -> None:
    """A soft cast shadow on the ground below, pushed away from the light."""
    left, _, right, bottom = bounds(capsules)
    lx, _, lz = canvas.light.direction
    half = 0.5 * (right - left)
    cx, cy = 0.5 * (left + right) - 0.35 * lx * half, bottom - 0.02
    tall = 0.1 * half + 0.02 + 0.08 * lz * half
    c = canvas.centres
    r = ((c - cx) / (0.85 * half)) ** 2 + ((c[:, None] - cy) / tall) ** 2
    canvas.rgb *= 1 - strength * np.exp(-0.9 * r)


def foreground(
    canvas: Canvas, d: Dice, coat: Surface, unit: float, capsules: list[Capsule], keys: list[Capsule]
) -> None:
    """Grass, a branch or a bush in front of the animal, kept from hiding much of it or the parts that name
    it.

    ``keys`` are the capsules that tell this animal from its neighbours: at least two thirds of them stay in
    sight.
    """
    kind = d.pick(("none", "grass", "branch", "bush"), (0.4, 0.32, 0.14, 0.14))
    if kind == "none":
        return
    left, top, right, bottom = bounds(capsules)
    x, y = _midpoints(capsules)
    kx, ky = _midpoints(keys)
    surface = draw_clutter_surface(d, coat) if d.coin(0.4) else draw_surface(d)
    for attempt in range(4):
        if kind == "grass":
            blades = _Grass(d, bottom - d.u(0.0, 0.2 - 0.05 * attempt) * (bottom - top), bottom + 0.02, unit)
            hidden, lost = blades.covers(x, y), blades.covers(kx, ky)
        else:
            if kind == "branch":
                a, r = math.radians(d.pick((0, 90)) + d.u(-30, 30)), d.u(0.035, 0.065) * unit
                cx, cy = left + d.u(0.1, 0.9) * (right - left), top + d.u(0.2, 0.9) * (bottom - top)
                dx, dy = 1.5 * math.cos(a), 1.5 * math.sin(a)
                twig = math.radians(d.u(20, 60)) + a
                thing = [
                    Capsule(cx - dx, cy - dy, cx + dx, cy + dy, r * 1.15, r * 0.85, 0),
                    Capsule(
                        cx,
                        cy,
                        cx + 0.4 * unit * math.cos(twig),
                        cy + 0.4 * unit * math.sin(twig),
                        r * 0.8,
                        r * 0.4,
                        0,
                    ),
                ]
            else:
                thing = _bush(d, d.pick((left, right)) + d.u(-0.05, 0.05), bottom, unit * d.u(0.4, 0.8))
            hidden = (distance(thing, x, y) < 0).any(axis=0)
            lost = (distance(thing, kx, ky) < 0).any(axis=0)
        if hidden.mean() <= 0.3 and lost.mean() <= 0.34:
            break
    else:
        return
    if kind == "grass":
        blades.paint(canvas, surface)
    else:
        paint(canvas, thing, surface, FACE, blend=0.02 * unit, unit=unit)


def _midpoints(capsules: list[Capsule]) -> tuple[Array, Array]:
    a = np.asarray([c[:4] for c in capsules], dtype=np.float32)
    x, y = np.concatenate([a[:, 0], a[:, 2]]), np.concatenate([a[:, 1], a[:, 3]])
    return 0.5 * np.concatenate([x, a[:, 0] + a[:, 2]]), 0.5 * np.concatenate([y, a[:, 1] + a[:, 3]])


class _Grass:
    """Rows of blades; each is the region between a jagged profile and its own ground, bent by the wind."""

    def __init__(self, d: Dice, top: float, ground: float, unit: float) -> None:
        self.ground, self.lean, self.slope = ground, d.u(-0.5, 0.5), d.u(-0.08, 0.08)
        self.width = d.u(0.05, 0.1) * unit
        self.count = int(2.4 / self.width)
        rows = 3
        self.rows = [ground - (ground - top) * (1 - k / rows) for k in range(rows)]
        self.gap = max((ground - top) / rows, 0.02)
        self.heights = d.u(0.1, 0.26) * unit * (0.2 + d.rng.random((rows, self.count))).astype(np.float32)
        self.tones = (0.78 + 0.4 * d.rng.random((rows, self.count))).astype(np.float32)
        self.shift = [d.u(0.6, 0.8) for _ in range(rows)]

    def locate(self, row: int, x: Array, y: Array) -> tuple[Array, Array]:
        """Blade index, and the height of the region's edge above each point (positive: inside)."""
        level = self.rows[row] + self.slope * (x - 0.5)
        s = (x - self.lean * (level - y) + self.shift[row]) / self.width
        i = np.clip(s.astype(np.int32), 0, self.count - 1)
        off = np.abs(s - i - 0.5) * 2  # 0 on the blade's midrib, 1 between two blades
        edge = y - level + self.heights[row, i] * (1 - off)
        return i, np.minimum(edge, level + 1.5 * self.gap - y)

    def covers(self, x: Array, y: Array) -> Array:
        return np.any([self.locate(row, x, y)[1] > 0 for row in range(len(self.rows))], axis=0)

    def paint(self, canvas: Canvas, surface: Surface) -> None:
        n, c = canvas.size, canvas.centres
        a, b = surface.base, surface.second
        for row, level in enumerate(self.rows):
            r0 = min(n, max(0, int((level - self.heights[row].max() - 0.05) * n)))
            r1 = min(n, max(0, int((level + 1.5 * self.gap + 0.05) * n) + 1))
            if r0 >= r1:
                continue
            x, y = np.broadcast_arrays(c, c[r0:r1, None])
            i, inside = self.locate(row, x, y)
            tone = self.tones[row, i] * (1.05 - 0.3 * np.clip((y - level) / self.gap, -0.5, 1))
            alpha = np.clip(0.5 + inside * n * 0.6, 0, 1)
            target = canvas.rgb[:, r0:r1]
            for k in range(3):
                target[k] += alpha * ((a[k] + (0.15 + 0.25 * row) * (b[k] - a[k])) * tone - target[k])
            canvas.parts[r0:r1][inside > 0] = 0


def camera(canvas: Canvas, d: Dice) -> Array:
    """Light colour, contrast, vignette, blur and sensor noise; returns uint8 (3, H, W)."""
    n = canvas.size
    rgb = canvas.rgb * np.asarray(canvas.light.colour, np.float32)[:, None, None]
    contrast, lift, fall = d.u(0.8, 1.25), d.bell(0.04, 0.1), d.u(0, 0.3)
    rgb = np.clip((rgb - 0.45) * contrast + 0.45 + lift, 0, 1.2)
    c = (canvas.centres - 0.5) ** 2
    rgb *= 1 - fall * 2 * (c + c[:, None])
    sigma = d.u(0.0, 0.009) * n  # in pixels; the share of the image's width is what stays the same
    if sigma > 0.25:
        i = np.arange(n, dtype=np.float32)
        kernel = np.exp(-0.5 * ((i - i[:, None]) / sigma) ** 2)
        kernel /= kernel.sum(axis=1, keepdims=True)
        rgb = kernel @ rgb @ kernel.T
    noise = d.u(0.002, 0.025)
    rgb = rgb + noise * d.rng.standard_normal(rgb.shape, dtype=np.float32)
    return (np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8)
