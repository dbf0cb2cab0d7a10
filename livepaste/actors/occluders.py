"""What may be in front of a face: hand, microphone, glasses, hair strands, cup; by seed, over the face in its place.

A new one is a function of a :class:`Person` that returns a :class:`Thing`, and a line in ``OCCLUDERS``. ``staging`` lets
them perform. Lengths are template units: eyes at (0.24, 0.2) and (0.76, 0.2), mouth at (0.5, 0.78), chin at (0.5, 1.12).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from livepaste.actors.relief import Relief

OCCLUDERS = {  # laid over a picture in this order
    "hair": "livepaste.actors.occluders:hair",
    "glasses": "livepaste.actors.occluders:glasses",
    "microphone": "livepaste.actors.occluders:microphone",
    "cup": "livepaste.actors.occluders:cup",
    "hand": "livepaste.actors.occluders:hand",
}
_FRONT = 0.10  # depth of the glasses' front
GROUP = "livepaste.occluders"  # entry points
BELOW = 4.2  # forearms go on to here: below every frame


@dataclass(frozen=True, eq=False)
class Person:
    """Whose things they are."""

    rng: np.random.Generator
    skin: np.ndarray  # RGB
    hair: np.ndarray


@dataclass(frozen=True, eq=False)
class Panel:
    """A flat picture in the face's space."""

    image: Float32[np.ndarray, "h w 4"]  # RGB in [0, 255] times cover, cover
    low: np.ndarray  # its upper left corner
    depth: float = 0.0  # z at x = 0, on the scale of the mesh: nose -0.03, eyes 0.15, ears 0.8
    slope: float = 0.0  # of z along x; a panel that is seen from behind does not show


@dataclass(frozen=True, eq=False)
class Thing:
    """What lies over the face where it rests."""

    panels: tuple[Panel, ...]  # back to front
    comes_from: tuple[float, float] | None  # way from its resting place to where it is out of sight; None: it is worn
    sway: float = 0.0  # how far it moves while it is there


def _along(degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors upwards and to the right, turned clockwise."""
    s, c = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    return np.array([s, -c]), np.array([c, s])


def hand(person: Person) -> Thing:
    """The back of an open hand over mouth and cheek, fingers up, with its forearm and sleeve."""
    rng, skin = person.rng, person.skin
    thumb = rng.choice([-1.0, 1.0])  # the side that the thumb is on
    up, right = _along(rng.uniform(-22, 22))
    wrist = np.array([0.5 + thumb * rng.uniform(-0.05, 0.28), 1.0 + rng.uniform(0.25, 0.50)])
    r = Relief((-0.9, -0.3), (1.9, BELOW))
    r.rod(wrist, wrist - 3.0 * up, (0.20, 0.34), skin)
    cuff = wrist - rng.uniform(0.35, 0.7) * up
    r.rod(cuff, cuff - 3.0 * up, (0.30, 0.44), rng.uniform(25, 215, 3), base=0.10, flat_ends=True)
    spread = rng.uniform(4, 10)
    for k, (reach, arc) in enumerate(((0.90, 0.06), (1.0, 0.0), (0.95, 0.02), (0.76, 0.10))):
        out = -thumb * (k - 1.5)
        knuckle = wrist + up * (0.64 - arc) + right * out * 0.155
        r.rod(wrist + right * out * 0.09, knuckle, (0.13, 0.105), skin, base=0.03)
        along = _along(np.degrees(np.arctan2(up[0], -up[1])) + spread * out)[0]
        joints = [knuckle, knuckle + 0.34 * reach * along, knuckle + 0.60 * reach * along]
        r.line(joints, (0.092, 0.080, 0.064), skin * [1.0, 0.97, 0.96], base=0.05)
        r.ball(joints[1], 0.083, skin * [0.97, 0.90, 0.88], base=0.05)
        nail = joints[2] + 0.010 * along
        r.rod(nail, nail + 0.035 * along, (0.036, 0.034), skin * 0.6 + [95, 80, 78], base=0.082)
    root = wrist + up * 0.14 + right * thumb * 0.15
    side = _along(np.degrees(np.arctan2(up[0], -up[1])) + thumb * 48)[0]
    tip = _along(np.degrees(np.arctan2(up[0], -up[1])) + thumb * 26)[0]
    r.line([root, root + 0.30 * side, root + 0.30 * side + 0.26 * tip], (0.125, 0.096, 0.076), skin, base=0.04)
    return Thing((Panel(r.lit(grain=0.05, seed=int(rng.integers(99))), r.low),), (thumb * 0.5, 2.4), sway=0.05)


def _grip(r: Relief, person: Person, at: np.ndarray, side: float, reach: float, lift: float) -> None:
    """A hand from ``side`` (-1 or 1) around something upright at ``at``: four fingers across it, and the forearm."""
    skin = person.skin
    wrist = at + np.array([side * (reach + 0.26), 0.22])
    r.rod(wrist, (wrist[0] + side * 0.5, BELOW), (0.20, 0.34), skin, base=lift - 0.1)
    r.rod(
        wrist + [side * 0.06, 0.5],
        (wrist[0] + side * 0.56, BELOW),
        (0.30, 0.44),
        (60, 66, 84),
        flat_ends=True,
        base=lift,
    )
    for k in range(4):
        start = at + np.array([side * reach, -0.20 + 0.145 * k])
        r.rod(wrist - [0, 0.10 - 0.05 * k], start, (0.13, 0.10), skin, base=lift)
        end = at + np.array([-side * (0.10 - 0.03 * k), -0.22 + 0.145 * k])
        r.line([start, end], (0.088, 0.072), skin * [1.0, 0.97, 0.96], base=lift + 0.02)


def microphone(person: Person) -> Thing:
    """A hand-held microphone in front of the chin and the lower lip."""
    rng = person.rng
    up, right = _along(rng.uniform(-14, 14))
    head = np.array([0.5 + rng.uniform(-0.08, 0.08), rng.uniform(0.90, 1.02)])
    metal = np.array([1.0, 1.0, 1.04]) * rng.uniform(60, 130)
    body = np.array([1.0, 1.0, 1.05]) * rng.uniform(22, 48)
    r = Relief((-1.3, 0.4), (2.3, BELOW))
    end = head - 0.95 * up
    r.rod(head - 0.16 * up, end, (0.150, 0.105), body, flat_ends=True)
    r.ball(head, 0.215, metal, base=0.02)
    y, x = np.mgrid[0 : r.height.shape[0], 0 : r.height.shape[1]]
    weave = 0.80 + 0.20 * np.sin(2 * np.pi * (x + y) / 5.5) * np.sin(2 * np.pi * (x - y) / 5.5)
    r.color *= np.where((np.abs(r.color - metal.astype(np.float32)).max(-1) < 1), weave, 1.0)[..., None]
    ring = head - 0.11 * up
    r.rod(ring - 0.175 * right, ring + 0.175 * right, (0.032, 0.032), metal * 1.5, base=0.22)
    side = rng.choice([-1.0, 1.0])
    _grip(r, person, head - 0.62 * up, side, 0.16, 0.12)
    return Thing((Panel(r.lit(gloss=0.25), r.low),), (side * 0.4, 2.0), sway=0.04)


def cup(person: Person) -> Thing:
    """A mug at the lips."""
    rng = person.rng
    up, right = _along(rng.uniform(-7, 7))
    rim = np.array([0.5 + rng.uniform(-0.06, 0.06), rng.uniform(0.70, 0.84)])
    glaze = rng.uniform(40, 235, 3)
    wide, narrow = rng.uniform(0.30, 0.37), rng.uniform(0.25, 0.30)
    foot = rim - rng.uniform(0.62, 0.80) * up
    r = Relief((-1.4, 0.4), (2.4, BELOW))
    side = rng.choice([-1.0, 1.0])
    middle = (rim + foot) / 2
    angle = np.linspace(-1.5, 1.5, 14)
    loop = (
        middle
        - side * right * (wide - 0.03)
        - side * np.outer(np.cos(angle), right) * 0.22
        + np.outer(np.sin(angle), up) * 0.2
    )
    r.line(loop, [0.045] * len(loop), glaze * 0.95)
    r.rod(rim, foot, (wide, narrow), glaze, flat_ends=True)
    stripe = rim - 0.12 * up
    r.rod(
        stripe,
        stripe - 0.07 * up,
        (wide - 0.01, wide - 0.014),
        np.clip(255 - glaze, 0, 255),
        flat_ends=True,
        base=0.012,
    )
    r.rod(
        rim - (wide - 0.02) * right,
        rim + (wide - 0.02) * right,
        (0.030, 0.030),
        np.clip(glaze * 1.15, 0, 255),
        base=0.34,
    )
    _grip(r, person, middle - 0.05 * up, side, wide - 0.02, 0.30)
    return Thing((Panel(r.lit(gloss=0.12), r.low),), (side * 0.3, 2.2), sway=0.03)


def glasses(person: Person) -> Thing:
    """Frames alone: what is behind a lens is seen."""
    rng = person.rng
    half_w, half_h = rng.uniform(0.185, 0.215), rng.uniform(0.125, 0.165)
    power = rng.choice([2.0, 2.6, 4.0])  # round to nearly rectangular
    thick = rng.choice([0.013, 0.022, 0.032])
    color = np.array(
        [(24, 22, 24), (84, 50, 30), (150, 122, 70), (120, 124, 130), (40, 52, 92)][rng.integers(5)], float
    )
    r = Relief((-0.35, -0.1), (1.35, 0.55))
    angle = np.linspace(0, 2 * np.pi, 49)
    shape = np.column_stack([np.sign(f) * np.abs(f) ** (2 / power) for f in (np.cos(angle), np.sin(angle))])
    temples = []
    for side in (-1.0, 1.0):
        eye = np.array([0.5 + side * 0.265, 0.205])
        r.line(eye + shape * [half_w, half_h], [thick] * len(angle), color)
        # from the hinge to the ear: short and steep, so that it is nearly unseen from the front
        hinge, ear = eye[0] + side * half_w, 0.5 + side * 0.60
        bar = Relief((min(hinge, ear), 0.05), (max(hinge, ear), 0.25))
        bar.rod((hinge, 0.16), (ear, 0.14), (thick * 1.1, thick * 0.9), color, flat_ends=True)
        slope = 0.65 / (ear - hinge)
        temples.append(Panel(bar.lit(gloss=0.3), bar.low, _FRONT - slope * hinge, slope))
    inner = 0.265 - half_w
    bridge = np.array([(-inner, 0.18), (-0.5 * inner, 0.158), (0.0, 0.15), (0.5 * inner, 0.158), (inner, 0.18)])
    r.line(bridge + [0.5, 0], [thick] * 5, color)
    return Thing((*temples, Panel(r.lit(gloss=0.3), r.low, _FRONT)), None)


def hair(person: Person) -> Thing:
    """Strands that fall from the hairline over forehead, eye and cheek."""
    rng = person.rng
    r = Relief((-0.4, -0.7), (1.4, 1.3))
    side = rng.choice([-1.0, 1.0])
    root = np.array([0.5 + side * rng.uniform(0.05, 0.25), -0.34])
    for _ in range(4):  # locks, each of many strands
        end = np.array([0.5 + side * rng.uniform(0.10, 0.50), rng.uniform(0.20, 0.90)])
        bow = np.array([0.5 + side * rng.uniform(0.25, 0.58), -0.05])
        for _ in range(rng.integers(7, 13)):
            first, last = root + rng.normal(0, (0.07, 0.03)), end + rng.normal(0, 0.06, 2)
            t = np.linspace(0, 1, 22)[:, None]
            curve = (1 - t) ** 2 * first + 2 * t * (1 - t) * (bow + rng.normal(0, 0.04, 2)) + t**2 * last
            thick = 0.004 + 0.009 * np.sin(np.pi * np.clip(t[:, 0] * 0.9 + 0.08, 0, 1)) ** 0.7
            r.line(curve, list(thick), np.clip(person.hair * rng.uniform(0.7, 1.3), 0, 255))
    return Thing((Panel(r.lit(gloss=0.08), r.low, 0.12),), None, sway=0.02)
