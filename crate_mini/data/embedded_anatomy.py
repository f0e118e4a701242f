"""Skeletons of the embedded animals: each is a short list of tapered capsules, every one owned by a part.

Species share body plans, so that neighbours differ in the part that names them and in nothing else.
Coordinates and angles are those of :mod:`crate_mini.data.embedded_geometry`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .embedded_geometry import (
    BLUSH,
    BODY,
    DARK,
    EAR,
    FAR,
    FIN,
    HAIR,
    HEAD,
    HORN,
    KERATIN,
    LEG,
    MAIN,
    NEAR,
    NECK,
    TAIL,
    TRUNK,
    WING,
    Animal,
    Dice,
    Point,
    Real,
    ahead,
)


def _legs(
    animal: Animal,
    d: Dice,
    hip: Point,
    shoulder: Point,
    length: float,
    top: float,
    foot: float,
    hoof: bool = True,
) -> None:
    """Four legs of two segments in a random phase of a random gait."""
    swing, phase = d.u(4, 26), d.u(0, 2 * math.pi)
    lag = d.pick((math.pi, math.pi / 2, 0.3))  # trot, walk, bound
    depth = d.u(0.05, 0.1)
    legs = (
        (hip, FAR, 0.0, -1),
        (shoulder, FAR, lag, 1),
        (hip, MAIN, math.pi, -1),
        (shoulder, MAIN, lag + math.pi, 1),
    )
    for (x, y), layer, offset, knee in legs:
        s = math.sin(phase + offset)
        lift = max(0.0, math.cos(phase + offset)) * swing
        if layer == FAR:
            x, y = x + depth, y - 0.4 * depth
        upper = -90 + swing * s + (8 if knee < 0 else -2)
        lower = -90 + swing * s - (0.9 * lift + (9 if knee < 0 else 0))
        ankle = animal.limb(
            LEG,
            (x, y),
            (upper, lower),
            (0.52 * length, 0.48 * length),
            (top, 0.62 * top + 0.38 * foot, foot),
            layer,
        )
        animal.limb(LEG, ankle, (lower + 55,), (0.6 * foot,), (foot * 1.05, foot * 0.95), layer)
        if hoof:
            toe = ahead(ankle, lower, 0.9 * foot)
            animal.decal(toe, 0.75 * foot, KERATIN, ahead(toe, 0, 0.6 * foot), layer)


def _equine(
    d: Dice,
    *,
    neck: float = 0.5,
    leg: float = 0.62,
    torso: float = 0.66,
    girth: float = 0.235,
    slope: Real = 0.0,
    head: float = 0.27,
    maned: bool = True,
    tail: str = "hair",
) -> tuple[Animal, Point, float]:
    """Body plan shared by horse, unicorn, pegasus, giraffe and ibex; returns the skull and the head's angle
    too.
    """
    animal = Animal()
    torso, girth = torso * d.u(0.92, 1.1), girth * d.u(0.92, 1.1)
    hip, chest = (-torso / 2, 0.0), (torso / 2, -slope)
    animal.limb(
        BODY,
        hip,
        (math.degrees(math.atan2(slope, torso)),),
        (math.hypot(torso, slope),),
        (girth, girth * 1.04),
    )
    _legs(
        animal,
        d,
        (hip[0] - 0.04, girth * 0.35),
        (chest[0] + 0.02, girth * 0.35 - slope),
        leg * d.u(0.93, 1.07),
        0.125,
        0.06,
    )
    # Neck: two segments with a little bend, wide at the root.
    rise = d.bell(56, 20) if neck < 0.8 else d.bell(66, 16)
    bend = d.u(-8, 14)
    root = (chest[0] + 0.05, chest[1] - girth * 0.35)
    neck *= d.u(0.93, 1.07)
    slim = 0.105 if neck < 0.8 else 0.09
    skull = animal.limb(
        NECK, root, (rise + bend, rise - bend), (neck / 2, neck / 2), (0.19, slim * 1.25, slim)
    )
    # Head: skull to muzzle, with eye, nostril and two ears.
    tilt = d.bell(-28, 24) if neck < 0.8 else d.bell(-20, 20)
    skull = ahead(skull, rise, 0.02)
    muzzle = animal.limb(HEAD, skull, (tilt,), (head,), (0.118, 0.078))
    animal.eye(ahead(ahead(skull, tilt, 0.05), tilt + 90, 0.035), 0.036)
    animal.decal(ahead(ahead(muzzle, tilt, 0.045), tilt + 90, 0.02), 0.02, DARK)
    crown = ahead(ahead(skull, tilt + 100, 0.085), tilt, -0.03)
    prick = d.u(-18, 14)
    size = 0.155 if neck < 0.8 else 0.17
    animal.limb(EAR, crown, (tilt + 112 + prick,), (size,), (0.052, 0.022), NEAR)
    animal.limb(EAR, ahead(crown, tilt, 0.07), (tilt + 96 + prick,), (size,), (0.05, 0.022), FAR)
    if maned:
        back = rise + 90
        animal.limb(
            NECK,
            ahead(crown, tilt, 0.07),
            (tilt + 185, rise + 178),
            (0.12, neck * 0.55),
            (0.05, 0.06, 0.06),
            MAIN,
            HAIR,
        )
        animal.limb(
            NECK,
            ahead(ahead(root, rise, neck * 0.1), back, 0.14),
            (rise + 4,),
            (neck * 0.75,),
            (0.07, 0.06),
            MAIN,
            HAIR,
        )
    rump = (hip[0] - girth * 0.82, hip[1] - girth * 0.45)
    _equine_tail(animal, d, rump, tail)
    return animal, skull, tilt


def _equine_tail(animal: Animal, d: Dice, rump: Point, tail: str) -> None:
    """Long hair, a tuft at the end, or a short one that stands up."""
    if tail == "hair":
        lift = d.u(-30, 35)
        animal.limb(
            TAIL,
            rump,
            (180 + lift * -1, 225 - lift, 262 - lift),
            (0.14, 0.24, 0.26),
            (0.05, 0.075, 0.09, 0.03),
            MAIN,
            HAIR,
        )
    elif tail == "tuft":
        sway = d.u(-18, 18)
        end = animal.limb(TAIL, rump, (222 + sway, 262 + sway), (0.2, 0.3), (0.045, 0.036, 0.036))
        animal.limb(TAIL, end, (265 + sway,), (0.13,), (0.045, 0.065), MAIN, HAIR)
    else:
        animal.limb(TAIL, (rump[0] + 0.02, rump[1]), (d.u(110, 160),), (0.19,), (0.065, 0.035))


def _horse(d: Dice) -> Animal:
    return _equine(d)[0]


def _unicorn(d: Dice) -> Animal:
    animal, skull, tilt = _equine(d)
    brow = ahead(ahead(skull, tilt, 0.06), tilt + 90, 0.09)
    animal.limb(HORN, brow, (tilt + d.u(62, 84),), (d.u(0.45, 0.56),), (0.074, 0.016), NEAR, KERATIN)
    return animal


def _fan(
    animal: Animal,
    part: int,
    root: Point,
    angles: tuple[float, float],
    reach: tuple[float, float],
    layer: int,
    n: int = 5,
) -> None:
    """Feathers from one root, from the first angle and length to the last."""
    for i in range(n):
        s = i / (n - 1)
        angle = angles[0] + s * (angles[1] - angles[0])
        length = reach[0] + s * (reach[1] - reach[0])
        animal.limb(part, root, (angle,), (length,), (0.062, 0.058), layer)


def _pegasus(d: Dice) -> Animal:
    animal = _equine(d)[0]
    root = (0.1, -0.16)
    raise_, spread = d.u(84, 128), d.u(44, 62)
    reach = d.u(0.62, 0.76)
    _fan(
        animal,
        WING,
        (root[0] + 0.07, root[1]),
        (raise_ - 14, raise_ - 14 + 0.7 * spread),
        (reach, reach * 0.75),
        FAR,
        4,
    )
    _fan(animal, WING, root, (raise_, raise_ + spread), (reach, reach * 0.55), NEAR)
    return animal


def _giraffe(d: Dice) -> Animal:
    return _equine(
        d, neck=1.02, leg=0.78, torso=0.52, girth=0.22, slope=0.08, head=0.23, maned=d.coin(0.5), tail="tuft"
    )[0]


def _ibex(d: Dice) -> Animal:
    animal, skull, tilt = _equine(
        d, neck=0.36, leg=0.5, torso=0.6, girth=0.23, head=0.22, maned=False, tail="short"
    )
    brow = ahead(ahead(skull, tilt, 0.02), tilt + 90, 0.08)
    rise, curl = tilt + d.u(92, 112), d.u(30, 46)
    size = d.u(0.9, 1.12)
    for layer, dx, turn in ((FAR, 0.07, -9), (NEAR, 0.0, 0)):
        animal.limb(
            HORN,
            (brow[0] + dx, brow[1]),
            (rise + turn, rise + curl + turn, rise + 2 * curl + turn),
            (0.2 * size, 0.19 * size, 0.17 * size),
            (0.06, 0.056, 0.044, 0.018),
            layer,
            KERATIN,
        )
    chin = ahead(ahead(skull, tilt, 0.17), tilt - 90, 0.06)
    animal.limb(HEAD, chin, (-95,), (0.11,), (0.04, 0.015), FAR, HAIR)
    return animal


def _elephant(d: Dice) -> Animal:
    animal = Animal()
    torso, girth = 0.5 * d.u(0.92, 1.1), 0.335 * d.u(0.94, 1.06)
    hip, chest = (-torso / 2, 0.0), (torso / 2, 0.0)
    animal.limb(BODY, hip, (d.u(-3, 6),), (torso,), (girth, girth))
    _legs(animal, d, (hip[0] - 0.08, 0.16), (chest[0] + 0.07, 0.16), 0.5 * d.u(0.93, 1.07), 0.15, 0.115)
    skull = (chest[0] + 0.36, d.bell(-0.17, 0.05))
    animal.limb(BODY, chest, (20,), (0.25,), (girth * 0.75, 0.2))
    tilt = d.bell(-38, 12)
    brow = animal.limb(HEAD, skull, (tilt,), (0.12,), (0.225, 0.165))
    animal.eye(ahead(ahead(skull, tilt, 0.12), tilt + 90, 0.07), 0.038)
    # Trunk: hangs and curls forwards or backwards, sometimes lifted.
    start = ahead(brow, tilt, 0.07)
    if d.coin(0.3):
        turn, angle = d.u(26, 42), d.u(-45, -20)
    else:
        turn, angle = d.u(-6, 24), d.u(-84, -62)
    angles = [angle + i * turn for i in range(4)]
    animal.limb(TRUNK, start, angles, (0.17, 0.16, 0.15, 0.13), (0.115, 0.095, 0.08, 0.068, 0.058))
    # Near ear: a broad flap hanging from behind the eye.
    hinge = ahead(skull, 160, 0.11)
    flap = d.u(-22, 26)
    for angle, length, r in ((170, 0.2, 0.13), (215, 0.24, 0.13), (258, 0.26, 0.1)):
        animal.limb(EAR, hinge, (angle + flap,), (length,), (0.12, r), NEAR)
    animal.limb(EAR, ahead(skull, 95, 0.12), (120 - flap,), (0.14,), (0.1, 0.1), FAR)
    rump = (hip[0] - girth * 0.93, -0.1)
    sway = d.u(-12, 22)
    end = animal.limb(TAIL, rump, (225 + sway, 258 + sway), (0.17, 0.2), (0.05, 0.038, 0.036))
    animal.limb(TAIL, end, (262 + sway,), (0.09,), (0.045, 0.055), MAIN, HAIR)
    return animal


def _round_head(animal: Animal, skull: Point, tilt: float, r: float) -> None:
    """Face shared by rabbit and cat: round skull, short muzzle, eye, nose, blush."""
    muzzle = animal.limb(HEAD, skull, (tilt,), (0.13,), (r, r * 0.62))
    animal.eye(ahead(ahead(skull, tilt, 0.09), tilt + 90, 0.055), 0.042)
    animal.decal(ahead(ahead(muzzle, tilt, r * 0.58), tilt + 90, 0.02), 0.03, DARK)
    animal.decal(ahead(ahead(skull, tilt, 0.07), tilt - 90, 0.075), 0.045, BLUSH)


def _small(d: Dice) -> tuple[Animal, Point, Point, float]:
    """Body plan shared by rabbit and cat: two postures, standing and sitting; returns rump, skull and head
    angle.
    """
    animal = Animal()
    if d.coin(0.45):  # sitting upright
        lean = d.u(48, 66)
        hip = (-0.16, 0.1)
        chest = animal.limb(BODY, hip, (lean,), (0.44,), (0.27, 0.185))
        paw_y = 0.36
        for layer, dx in ((FAR, 0.09), (MAIN, 0.0)):
            top = (chest[0] + dx + 0.02, chest[1] + 0.1)
            animal.limb(LEG, top, (-86 + d.u(-4, 4),), (paw_y - top[1],), (0.095, 0.068), layer)
            animal.limb(LEG, (top[0] + 0.03, paw_y), (0,), (0.07,), (0.062, 0.055), layer)
        animal.limb(LEG, (hip[0] + 0.06, 0.17), (-35, -118), (0.14, 0.14), (0.16, 0.1, 0.07), NEAR)
        animal.limb(LEG, (hip[0] + 0.04, 0.36), (0,), (0.2,), (0.068, 0.06), NEAR)
        rump = (hip[0] - 0.22, 0.22)
        skull = (chest[0] + 0.12, chest[1] - 0.25)
    else:
        torso = d.u(0.42, 0.52)
        arch = d.u(-4, 14)
        hip = (-torso / 2, 0.0)
        chest = animal.limb(BODY, hip, (-arch,), (torso,), (0.235, 0.195))
        _legs(
            animal,
            d,
            (hip[0] - 0.04, 0.06),
            (chest[0] + 0.02, chest[1] + 0.04),
            0.4 * d.u(0.93, 1.07),
            0.12,
            0.068,
            False,
        )
        rump = (hip[0] - 0.2, -0.06)
        skull = (chest[0] + 0.21, chest[1] - d.u(0.18, 0.28))
    animal.limb(
        BODY,
        chest,
        (math.degrees(math.atan2(chest[1] - skull[1], skull[0] - chest[0])),),
        (0.18,),
        (0.17, 0.14),
    )
    return animal, rump, skull, d.bell(-10, 16)


def _rabbit(d: Dice) -> Animal:
    animal, rump, skull, tilt = _small(d)
    _round_head(animal, skull, tilt, 0.185)
    back, length = d.u(96, 138), d.u(0.46, 0.56)
    crown = ahead(skull, tilt + 112, 0.13)
    flop = d.pick((0, 0, 55))
    for layer, dx, turn in ((FAR, 0.08, -16), (NEAR, 0.0, 0)):
        root = (crown[0] + dx, crown[1])
        animal.limb(
            EAR,
            root,
            (back + turn, back + turn + flop),
            (length / 2, length / 2),
            (0.062, 0.082, 0.05),
            layer,
        )
        if layer == NEAR:
            animal.decal(ahead(root, back, 0.08), 0.036, BLUSH, ahead(root, back, 0.2), NEAR)
    animal.limb(TAIL, (rump[0] - 0.03, rump[1]), (150,), (0.05,), (0.11, 0.105), MAIN, HAIR)
    return animal


def _cat(d: Dice) -> Animal:
    animal, rump, skull, tilt = _small(d)
    _round_head(animal, skull, tilt, 0.19)
    for layer, angle, size in ((FAR, 74, 0.2), (NEAR, 122, 0.21)):
        root = ahead(skull, tilt + angle, 0.12)
        animal.limb(EAR, root, (tilt + angle - 12,), (size,), (0.095, 0.012), layer)
        if layer == NEAR:
            animal.decal(
                ahead(root, tilt + angle - 12, 0.03),
                0.035,
                BLUSH,
                ahead(root, tilt + angle - 12, 0.09),
                NEAR,
            )
    angle, turn = d.pick(((150, -28), (170, -34), (200, -42), (125, 12)))
    angle, turn = angle + d.u(-12, 12), turn + d.u(-8, 8)
    animal.limb(
        TAIL,
        rump,
        [angle + i * turn for i in range(4)],
        (0.2, 0.2, 0.18, 0.16),
        (0.07, 0.062, 0.06, 0.06, 0.055),
    )
    return animal


def _bird(d: Dice) -> Animal:
    animal = Animal()
    pitch = d.bell(22, 18)
    rump = (-0.22, 0.06)
    breast = animal.limb(BODY, rump, (pitch,), (0.42,), (0.17, 0.265))
    stretch = d.u(0.2, 0.42)
    lift = d.bell(62, 18)
    skull = ahead(ahead(breast, lift, 0.16), lift, stretch)
    animal.limb(NECK, ahead(breast, lift, 0.08), (lift,), (stretch + 0.06,), (0.19, 0.12))
    tilt = d.bell(-6, 18)
    animal.limb(HEAD, skull, (tilt,), (0.05,), (0.165, 0.14))
    animal.limb(HEAD, ahead(skull, tilt - 8, 0.15), (tilt - 8,), (0.2,), (0.07, 0.02), MAIN, KERATIN)
    animal.eye(ahead(ahead(skull, tilt, 0.07), tilt + 90, 0.045), 0.04)
    fan = d.u(12, 26)
    for turn in (-fan, 0, fan):
        animal.limb(TAIL, (rump[0] - 0.08, rump[1] + 0.02), (180 + pitch + turn,), (0.36,), (0.075, 0.06))
    stride = d.u(-22, 22)
    for layer, x, turn in ((FAR, 0.08, -stride), (MAIN, 0.0, stride)):
        hip = (x, 0.16)
        ankle = animal.limb(
            LEG, hip, (-95 + turn, -80 + turn), (0.2, 0.24), (0.075, 0.042, 0.042), layer, KERATIN
        )
        animal.limb(LEG, ankle, (-6,), (0.13,), (0.042, 0.036), layer, KERATIN)
        animal.limb(LEG, ankle, (186,), (0.06,), (0.04, 0.034), layer, KERATIN)
    shoulder = ahead(ahead(breast, 180 + pitch, 0.02), 90, 0.05)
    if d.coin(0.5):  # folded
        for i, angle in enumerate((176, 188, 200)):
            animal.limb(WING, shoulder, (angle + pitch,), (0.46 - 0.07 * i,), (0.1, 0.045), NEAR)
    else:
        lift = d.u(92, 130)
        _fan(animal, WING, (shoulder[0] + 0.05, shoulder[1]), (lift - 20, lift + 14), (0.55, 0.45), FAR, 3)
        _fan(animal, WING, shoulder, (lift, lift + 52), (0.6, 0.38), NEAR)
    return animal


def _fish(d: Dice) -> Animal:
    animal = Animal()
    bend = d.u(-16, 16)
    height = d.u(0.21, 0.27)
    animal.limb(
        BODY,
        (0.12, 0.0),
        (180, 180 + bend, 180 + 2 * bend),
        (0.2, 0.22, 0.2),
        (height, height * 0.92, 0.15, 0.07),
    )
    animal.limb(HEAD, (0.24, 0.0), (d.u(-4, 4),), (0.24,), (height * 0.95, height * 0.5))
    animal.eye((0.4, -0.06), 0.045)
    animal.decal((0.5, 0.06), 0.018, DARK, (0.56, 0.05))
    a = math.radians(bend)
    root = (-0.08 - 0.22 * math.cos(a) - 0.2 * math.cos(2 * a), 0.22 * math.sin(a) + 0.2 * math.sin(2 * a))
    fork = d.u(32, 50)
    for turn in (-fork, fork):
        animal.limb(
            TAIL,
            root,
            (180 + 2 * bend + turn, 180 + 2 * bend + 0.6 * turn),
            (0.19, 0.16),
            (0.06, 0.085, 0.03),
        )
    animal.limb(TAIL, root, (180 + 2 * bend,), (0.16,), (0.06, 0.07))
    sweep = d.u(-8, 18)
    for i, (x, length) in enumerate(((0.2, 0.16), (0.1, 0.24), (0.0, 0.2), (-0.1, 0.13))):
        animal.limb(
            FIN, (x, -height * 0.8 + 0.02 * i), (118 + sweep + 6 * i,), (length + 0.06,), (0.06, 0.05), FAR
        )
    for x, length in ((0.08, 0.19), (0.0, 0.14)):
        animal.limb(FIN, (x, height * 0.75), (-128 - sweep,), (length,), (0.06, 0.045), FAR)
    flap = d.u(-30, 25)
    for turn in (-18, 6, 30):
        animal.limb(FIN, (0.13, 0.06), (208 + flap + turn,), (0.21,), (0.045, 0.05), NEAR)
    return animal


SPECIES: dict[str, tuple[Callable[[Dice], Animal], tuple[int, ...]]] = {
    "horse": (_horse, (BODY, NECK, HEAD, EAR, LEG, TAIL)),
    "unicorn": (_unicorn, (BODY, NECK, HEAD, EAR, HORN, LEG, TAIL)),
    "pegasus": (_pegasus, (BODY, NECK, HEAD, EAR, LEG, TAIL, WING)),
    "giraffe": (_giraffe, (BODY, NECK, HEAD, EAR, LEG, TAIL)),
    "ibex": (_ibex, (BODY, NECK, HEAD, EAR, HORN, LEG, TAIL)),
    "elephant": (_elephant, (BODY, HEAD, EAR, TRUNK, LEG, TAIL)),
    "rabbit": (_rabbit, (BODY, HEAD, EAR, LEG, TAIL)),
    "cat": (_cat, (BODY, HEAD, EAR, LEG, TAIL)),
    "bird": (_bird, (BODY, NECK, HEAD, LEG, TAIL, WING)),
    "fish": (_fish, (BODY, HEAD, TAIL, FIN)),
}
"""Class name -> (skeleton, parts it is made of)."""
