"""A person painted by formula: a frontal portrait on a mesh of its own. Needs no picture at all."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from livepaste.actors.canvas import COVERAGE, SIDE, UNIT, Canvas
from livepaste.actors.head import Head
from livepaste.actors.motion import LOWER_LID, LOWER_LIP, UPPER_LID, UPPER_LIP
from livepaste.align import CENTER, OUTLINE, RIGID, fit_similarity, mean_mesh

SKINS = (
    (241, 205, 182),
    (232, 188, 158),
    (222, 172, 138),
    (204, 150, 112),
    (174, 120, 84),
    (138, 92, 64),
    (104, 68, 48),
    (80, 52, 38),
)
HAIRS = (
    (34, 26, 22),
    (58, 40, 28),
    (92, 62, 38),
    (140, 98, 56),
    (198, 160, 96),
    (122, 52, 28),
    (128, 128, 130),
    (210, 208, 204),
)
IRISES = ((82, 52, 30), (104, 74, 42), (70, 96, 66), (74, 104, 136), (96, 112, 122))
_OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
_BROW_UPPER, _BROW_LOWER = (70, 63, 105, 66, 107), (46, 53, 52, 65, 55)


class DrawnActor(Head):
    """Identity number ``seed``: shape of the face, skin, hair, brows and eyes."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([5, seed])
        self.name = f"drawn-{seed}"
        points = _shape(rng)
        canvas = Canvas(points)
        look = _Look(rng)
        picture, alpha, face = _paint(canvas, look, rng)
        xy = (points[:, :2] - CENTER) * (SIDE / COVERAGE) + (SIDE - 1) / 2
        super().__init__(np.dstack([picture, face]), alpha, points, xy)


class _Look:
    """Colours and hair of one identity."""

    def __init__(self, rng: np.random.Generator) -> None:
        skin = np.array(SKINS[rng.integers(len(SKINS))], float)
        self.skin = np.clip(skin + rng.normal(0, 6, 3), 20, 250)
        self.hair = np.clip(np.array(HAIRS[rng.integers(len(HAIRS))], float) * rng.uniform(0.85, 1.15), 8, 240)
        self.iris = np.array(IRISES[rng.integers(len(IRISES))], float)
        self.lip = np.clip(self.skin * [0.86, 0.58, 0.58] + rng.normal(0, 6, 3), 10, 230)
        self.shirt = rng.uniform(20, 220, 3)
        self.hair_style = rng.integers(4)  # bald, short, side parting, long
        self.stubble = rng.uniform(0, 0.35) if rng.random() < 0.4 else 0.0
        self.beard = rng.random() < 0.2
        self.forehead = rng.uniform(0.02, 0.20)  # height above the mesh, template units
        self.freckles = rng.uniform(0, 1) ** 3


def _shape(rng: np.random.Generator) -> np.ndarray:
    """The mean mesh bent by a handful of smooth, symmetric changes; its rigid points fitted to the template again."""
    p = mean_mesh().points_xyz.astype(np.float64).copy()
    x, y = p[:, 0] - 0.5, p[:, 1]

    def near(cx: float, cy: float, s: float) -> np.ndarray:
        return np.exp(-(((np.abs(x) - cx) ** 2 + (y - cy) ** 2) / (2 * s * s)))

    def step(low: float, high: float) -> np.ndarray:
        return np.clip((y - low) / (high - low), 0, 1)

    u = rng.uniform(-1, 1, 12)
    out = np.abs(x) / 0.57  # 0 in the middle, 1 at the side
    p[:, 0] += x * (0.10 * u[0] * out**2 + 0.16 * u[1] * step(0.45, 1.0) * out)  # width of the face, of the jaw
    p[:, 1] += 0.10 * u[2] * step(0.85, 1.12)  # chin
    p[:, 0] += np.sign(x) * 0.035 * u[3] * near(0.08, 0.58, 0.07)  # nose width
    p[:, 1] += 0.045 * u[4] * near(0.0, 0.60, 0.09)  # nose length
    p[:, 2] -= 0.08 * u[5] * near(0.0, 0.55, 0.10)  # how far it stands out
    p[:, 0] += np.sign(x) * 0.035 * u[6] * near(0.20, 0.78, 0.10)  # mouth width
    lips = near(0.0, 0.78, 0.10)
    p[list(UPPER_LIP), 1] -= 0.02 * u[7] * lips[list(UPPER_LIP)]
    p[list(LOWER_LIP), 1] += 0.025 * u[7] * lips[list(LOWER_LIP)]
    p[:, 1] += 0.03 * u[8] * near(0.27, 0.03, 0.12)  # brows
    lid = near(0.26, 0.20, 0.09)
    p[:, 1] += (y - 0.205) * 0.35 * u[9] * lid  # eye opening
    p[:, 1] += 0.03 * u[10] * near(0.36, 0.20, 0.06)  # slant
    p[:, 1] += 0.05 * u[11] * (y < -0.1) * step(-0.1, -0.21)
    rigid = list(RIGID)
    fit = fit_similarity(p[rigid, :2], mean_mesh().points_xyz[rigid, :2])
    scale = float(np.hypot(fit[0, 0], fit[0, 1]))
    p[:, :2] = p[:, :2] @ fit[:, :2].T + fit[:, 2]
    p[:, 2] *= scale
    return p


def _skin_texture(rng: np.random.Generator, side: int, freckles: float) -> np.ndarray:
    """A factor on the skin's colour: blotches, pores and freckles, (side, side, 3)."""
    out = np.ones((side, side, 3), np.float32)
    for cells, amount in ((10, 0.035), (40, 0.022), (260, 0.035)):
        noise = rng.normal(0, 1, (cells, cells, 1)).astype(np.float32) * [1.0, 1.15, 1.2] * amount
        out *= 1 + cv2.resize(noise.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    spots = (rng.random((150, 150)) > 0.97).astype(np.float32)
    spots = cv2.GaussianBlur(cv2.resize(spots, (side, side)), (0, 0), 2)
    return out * (1 - 0.35 * freckles * spots[..., None] * np.array([0.6, 1, 1.2], np.float32))


def _paint(c: Canvas, look: _Look, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Portrait uint8 RGB, person's alpha, visible face."""
    p = c.points
    outline = p[list(OUTLINE), :2].copy()
    upper = [*range(29, 36), *range(0, 8)]
    taper = np.sin(np.linspace(0, np.pi, len(upper) + 2)[1:-1]) ** 0.5
    outline[upper, 1] -= look.forehead * taper
    strands = _strands(rng, c.side)
    long_hair, some_hair = look.hair_style == 3, look.hair_style > 0
    # from the back: hair, shoulders, neck, ears, head, face, hair over the forehead
    skull = _rounded((0.5, 0.10), ((0.63, 0.77), (0.66, 0.84), (0.67, 0.86), (0.70, 0.87))[look.hair_style])
    back = np.concatenate([skull, [[1.25, 1.9], [-0.25, 1.9]]]) if long_hair else skull
    layers = []
    if some_hair:
        layers.append(c.mask(_hull(back), 0.02) * (1.0 if long_hair else c.above(0.12, 0.42)))
        c.lay(layers[-1], look.hair * 0.8 * strands)
    body = np.array(
        [(-1.3, 2.6), (-1.1, 1.95), (-0.5, 1.66), (0.2, 1.50), (0.8, 1.50), (1.5, 1.66), (2.1, 1.95), (2.3, 2.6)]
    )
    layers.append(c.mask(body, 0.02))
    c.lay(layers[-1], look.shirt * (0.9 + 0.1 * strands))
    texture = _skin_texture(rng, c.side, look.freckles)
    skin = look.skin * texture
    neck = np.array([(0.12, 0.8), (0.10, 1.45), (-0.02, 1.60), (0.5, 1.75), (1.02, 1.60), (0.90, 1.45), (0.88, 0.8)])
    layers.append(c.mask(neck, 0.015))
    c.lay(layers[-1], skin * 0.78)
    for side in (-1, 1):
        ear = _ellipse((0.5 + side * 0.635, 0.33), (0.085, 0.19))
        layers.append(c.mask(ear, 0.008))
        c.lay(layers[-1], skin * [0.95, 0.86, 0.86])
        c.shade((0.5 + side * 0.62, 0.33), (0.04, 0.10), 0.75)
    if not some_hair:
        layers.append(c.mask(skull, 0.01))
        c.lay(layers[-1], skin)
    face = c.mask(outline, 0.004)
    layers.append(face)
    c.lay(face, skin)
    _features(c, look, rng, skin, strands)
    if some_hair:
        # short hair ends before the ear, long hair beside the cheek
        cap = c.mask(skull, 0.02) * (c.above(0.35, 0.75) if long_hair else c.above(0.02, 0.24))
        cap = np.clip(cap - c.mask(outline, 0.010), 0, 1)
        layers.append(cap)
        c.lay(cap, look.hair * _combed(c, strands, parted=bool(look.hair_style == 2)))
    alpha = np.max(layers, axis=0)
    # soft edges were laid over black: their own colour again
    c.image /= np.clip(alpha, 0.05, 1)[..., None]
    picture = cv2.resize(np.clip(c.image, 0, 255), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    small = [cv2.resize(m, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for m in (alpha, face)]
    return np.rint(picture).astype(np.uint8), *(np.rint(np.clip(m, 0, 1) * 255).astype(np.uint8) for m in small)


def _features(c: Canvas, look: _Look, rng: np.random.Generator, skin: np.ndarray, strands: np.ndarray) -> None:
    """Shadows, eyes, brows, nose, lips and beard."""
    p, mirror = c.points, mean_mesh().mirror
    for x in (0.2, 0.8):  # sockets, cheeks
        c.shade((x + 0.03 * np.sign(0.5 - x), 0.17), (0.19, 0.13), 0.84)
        c.shade((x - 0.06 * np.sign(0.5 - x), 0.58), (0.17, 0.15), 1.07)
        c.lay(0.12 * np.exp(-c.square((x, 0.60), (0.16, 0.13))), look.lip)
    c.shade((0.5, 0.42), (0.05, 0.26), 1.08)
    for x in (0.40, 0.60):
        c.shade((x, 0.50), (0.05, 0.18), 0.93)
    c.shade((0.5, 0.685), (0.13, 0.05), 0.80)  # under the nose, under the lip, under the chin
    c.shade((0.5, 0.925), (0.15, 0.05), 0.86)
    c.shade((0.5, -0.05), (0.30, 0.16), 1.05)
    for x in (0.445, 0.555):
        nostril = _ellipse((x, p[2, 1] + 0.022), (0.030, 0.015))
        c.lay(0.85 * c.mask(nostril, 0.008), look.skin * 0.30)
    for ids in ((64, 102, 49), (294, 331, 279)):
        c.lay(0.25 * c.mask(p[list(ids), :2], 0.015), look.skin * 0.6)
    for flip in (False, True):
        pick = (lambda ids: mirror[list(ids)]) if flip else list
        eye = p[[*pick((33,)), *pick(UPPER_LID), *pick((133,)), *reversed(list(pick(LOWER_LID)))], :2]
        inside = c.mask(eye, 0.004)
        c.lay(inside, (232, 226, 220))
        centre = p[473 if flip else 468, :2]
        radius = 0.062
        iris = inside * c.mask(_ellipse(centre, (radius, radius)), 0.005)
        at = c.px(centre)
        box = c.box(at, radius * UNIT + 12)
        ys, xs = np.mgrid[box].astype(np.float32)
        angle = np.arctan2(ys - at[0, 1], xs - at[0, 0])
        rays = np.ones((c.side, c.side, 1))
        rays[box] = (0.85 + 0.15 * np.sin(angle * 23 + 3 * np.sin(angle * 7)))[..., None]
        c.lay(iris, look.iris * rays)
        c.lay(
            inside
            * np.clip(
                c.mask(_ellipse(centre, (radius, radius)), 0.01)
                - c.mask(_ellipse(centre, (radius - 0.012,) * 2), 0.01),
                0,
                1,
            )
            * 0.7,
            look.iris * 0.4,
        )
        c.lay(inside * c.mask(_ellipse(centre, (0.027, 0.027)), 0.004), (12, 10, 10))
        c.lay(inside * c.mask(_ellipse(centre + [-0.018, -0.022], (0.012, 0.012)), 0.004) * 0.9, (250, 250, 250))
        lid = p[[*pick((33,)), *pick(UPPER_LID), *pick((133,))], :2]
        c.lay(inside * c.mask(np.concatenate([lid, lid[::-1] + [0, 0.035]]), 0.012) * 0.45, (60, 40, 36))
        c.line(lid, 0.016, look.hair * 0.35, 0.9)
        c.line(p[list(pick(LOWER_LID)), :2], 0.006, look.skin * 0.55, 0.6)
        crease = p[list(pick((247, 30, 29, 27, 28, 56, 190))), :2] + [0, 0.012]
        c.line(crease, 0.009, look.skin * 0.62, 0.55)
        brow = np.concatenate([p[list(pick(_BROW_UPPER)), :2], p[list(pick(_BROW_LOWER[::-1])), :2] - [0, 0.012]])
        c.lay(0.85 * c.mask(brow, 0.010), look.hair * 0.65 * strands)
    lips = c.mask(p[list(_OUTER_LIPS), :2], 0.006)
    c.lay(lips * 0.9, look.lip * (0.94 + 0.06 * strands))
    lower = p[[61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95, 78], :2]
    c.lay(c.mask(lower, 0.01) * 0.35, np.clip(look.lip * 1.2, 0, 255))
    c.line(p[[61, 78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 291], :2], 0.010, look.lip * 0.35, 0.85)
    if look.stubble or look.beard:
        jaw = np.array([i for i in range(468) if p[i, 1] > 0.66])
        region = c.mask(_hull(p[jaw, :2]), 0.05) * (1 - lips)
        grain = rng.random((c.side // 3, c.side // 3)).astype(np.float32)
        grain = cv2.resize(grain, (c.side, c.side))
        c.lay(region * (0.8 if look.beard else look.stubble) * (0.6 + 0.4 * grain), look.hair * 0.7 * strands)


def _strands(rng: np.random.Generator, side: int) -> np.ndarray:
    """Hair-like streaks, a factor (side, side, 1)."""
    noise = cv2.resize(
        rng.normal(0, 1, (24, side // 4)).astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR
    )
    return np.clip(1 + 0.16 * noise, 0.5, 1.6)[..., None]


def _combed(c: Canvas, strands: np.ndarray, *, parted: bool) -> np.ndarray:
    """Hair brushed away from the crown or a parting, with a gloss around the head: a factor (side, side, 1)."""
    root = c.px(np.array([0.24, -0.62] if parted else [0.5, -0.35]))[0]
    ys, xs = np.mgrid[0 : c.side, 0 : c.side].astype(np.float32)
    dx, dy = xs - np.float32(root[0]), ys - np.float32(root[1])
    angle, far = np.arctan2(dx, dy), np.hypot(dx, dy)
    along = cv2.remap(
        strands[..., 0], (angle / np.float32(np.pi) + 1) * np.float32(c.side / 2 - 1), far, cv2.INTER_LINEAR
    )
    round_head = np.sqrt(c.square((0.5, 0.10), (0.66, 0.84)))
    gloss = 0.80 + 0.35 * np.exp(-(((round_head - 0.80) / 0.11) ** 2))
    return (along * gloss)[..., None]


def _rounded(centre: Any, radii: Any, n: int = 96) -> np.ndarray:
    """An ellipse with fuller shoulders (superellipse of power 2.4)."""
    unit = _ellipse((0, 0), (1, 1), n)
    return np.asarray(centre) + np.sign(unit) * np.abs(unit) ** (2 / 2.4) * np.asarray(radii)


def _ellipse(centre: Any, radii: Any, n: int = 48) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.asarray(centre) + np.column_stack([np.cos(angle) * radii[0], np.sin(angle) * radii[1]])


def _hull(points: np.ndarray) -> np.ndarray:
    return cv2.convexHull(points.astype(np.float32))[:, 0].astype(np.float64)
