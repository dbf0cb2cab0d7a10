"""What is around and behind a face: rings of points that carry hair, ears, neck and shoulders, and the back of the head.

The rings go on from the face's outline: over the forehead they follow the skull, beside and below it they lie behind the
face. The skull is an ellipsoid behind all of it, which turns into view when the head does; it takes its looks from the
hair (or bald skin) that the picture shows between hairline and crown. Lengths are template units.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from livepaste.actors.motion import smoothstep
from livepaste.align import OUTLINE, mean_mesh

RINGS = ((1.28, 0.07, 0.10), (1.65, 0.20, 0.25))  # share of the outline, more above, depth behind its furthest point
EDGE = (1.8, 1.75, 2.5)  # the last ring is a frame around the person: to either side, up, down
EDGE_DEPTH = 0.4
MIDDLE = np.array([0.5, 0.40])
SKULL = np.array([0.5, 0.10, 0.80])  # its centre; a head is about 1.26 wide and 1.6 long
SKULL_DEPTH = 0.80
ABOUT, ALONG = 24, 9  # points of the skull: about the line of sight, along it
_LOOK_UP = 65.0  # degrees from the crown: further down are ears, which are no hair


def rings(points: np.ndarray) -> np.ndarray:
    """Three rings around the outline of ``points`` (478, 3), in its order: (108, 3)."""
    outline = points[list(OUTLINE)]
    away = outline[:, :2] - MIDDLE
    side, up, down = EDGE
    to_edge = np.minimum(side / np.abs(away[:, 0]).clip(1e-6), np.where(away[:, 1] < 0, up, down) / np.abs(away[:, 1]))
    over = 1 - smoothstep(outline[:, 1], -0.05, 0.35)  # 1 above the forehead, 0 below the ears
    made = []
    for share, more, depth in (*RINGS, (to_edge, 0.0, EDGE_DEPTH)):
        xy = MIDDLE + away * (share + more * over)[:, None]
        x, y = (xy - SKULL[:2]).T
        dome = SKULL[2] - SKULL_DEPTH * np.sqrt(np.clip(1 - (x / 0.72) ** 2 - (y / 0.86) ** 2, 0, 1))
        dome = np.maximum(dome, outline[:, 2] + 0.5 * depth)
        made.append(np.column_stack([xy, over * dome + (1 - over) * (outline[:, 2].max() + depth)]))
    return np.concatenate(made)


@cache
def follow() -> np.ndarray:
    """How far face, rings and skull go with the head, (478 + 108 + skull,): the shoulders stay."""
    low = smoothstep(mean_mesh().points_xyz[list(OUTLINE), 1], 0.3, 0.8)
    return np.concatenate([np.ones(478 + len(OUTLINE)), 1 - 0.2 * low, 1 - low, np.ones(ABOUT * ALONG)])


@cache
def ring_triangles() -> np.ndarray:
    """(t, 3) indices into face and rings."""
    n, made = len(OUTLINE), []
    previous = list(OUTLINE)
    for ring in range(3):
        current = list(range(478 + ring * n, 478 + (ring + 1) * n))
        for k in range(n):
            j = (k + 1) % n
            made += [(previous[k], previous[j], current[k]), (current[k], previous[j], current[j])]
        previous = current
    return np.array(made)


@cache
def skull_triangles() -> np.ndarray:
    """(t, 3) indices into face, rings and skull."""
    first = 478 + 3 * len(OUTLINE)
    made = []
    for row in range(ALONG - 1):
        for k in range(ABOUT):
            a, b = (first + row * ABOUT + j for j in (k, (k + 1) % ABOUT))
            made += [(a, b, a + ABOUT), (a + ABOUT, b, b + ABOUT)]
    return np.array(made)


@cache
def _sphere() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit sphere from the front to the back: points (n, 3), angle from the crown in degrees (n,), and depth (n,)."""
    along, about = np.meshgrid(np.linspace(0, np.pi, ALONG), np.arange(ABOUT) * 2 * np.pi / ABOUT, indexing="ij")
    angle = (about + np.pi) % (2 * np.pi) - np.pi
    xyz = np.stack([np.sin(along) * np.sin(angle), -np.sin(along) * np.cos(angle), -np.cos(along)], -1)
    return xyz.reshape(-1, 3), np.degrees(angle).ravel(), np.abs(np.cos(along)).ravel()


def crown() -> np.ndarray:
    """Which of the skull's points are on the crown, seen from the front."""
    _, angle, depth = _sphere()
    return np.flatnonzero((np.abs(angle) < 40) & (depth < 0.1))


def skull(face: np.ndarray, alpha: np.ndarray, to_texture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The skull of a person: points (n, 3), where they look in the texture (n, 2), normals (n, 3).

    ``face``, ``alpha`` uint8 (h, w): visible face and person in the texture; ``to_texture`` (3, 2): template to texture.
    """
    xyz, angle, depth = _sphere()
    # from the crown's side, 50 degrees are taken as they are; the rest of the head looks like the temples
    seen = np.sign(angle) * np.interp(np.abs(angle), [0, 50, 180], [0, 50, _LOOK_UP])
    angles = np.arange(-_LOOK_UP, _LOOK_UP + 1, 5)
    inner, outer = _hair(face, alpha, to_texture, angles)
    r = np.interp(seen, angles, outer - 0.06) * (1 - depth) + np.interp(seen, angles, inner + 0.04) * depth
    away = np.column_stack([np.sin(np.radians(seen)), -np.cos(np.radians(seen))])
    looks = np.column_stack([SKULL[:2] + away * r[:, None], np.ones(len(r))]) @ to_texture
    # nowhere wider than the person in the picture: seen from the front, the skull does not show
    crown = float(outer[np.abs(angles) <= 10].min())
    x, y = np.sin(np.radians(angles)) * outer, np.cos(np.radians(angles)) * outer
    room = np.sqrt(np.clip(1 - (y / (0.97 * crown)) ** 2, 0.05, 1))
    wide = float(np.min(np.abs(x / room)[np.abs(angles) >= 40]))
    radii = np.array([np.clip(0.97 * wide, 0.50, 0.66), np.clip(0.97 * crown, 0.55, 0.95), SKULL_DEPTH])
    normals = xyz / radii
    return SKULL + xyz * radii, looks, normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _hair(
    face: np.ndarray, alpha: np.ndarray, to_texture: np.ndarray, angles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the skull's centre to hairline and to the person's edge, in directions from the crown (degrees)."""
    reach = np.arange(0.30, 1.10, 0.01)
    away = np.stack([np.sin(np.radians(angles)), -np.cos(np.radians(angles))], 1)
    xy = SKULL[:2] + away[:, None] * reach[:, None]
    at = np.concatenate([xy, np.ones((*xy.shape[:2], 1))], 2) @ to_texture
    h, w = alpha.shape
    at = np.clip(np.rint(at).astype(int), 0, (w - 1, h - 1))
    skin, person = face[at[..., 1], at[..., 0]] > 127, alpha[at[..., 1], at[..., 0]] > 200
    inner = reach[0] + 0.01 * (len(reach) - 1 - np.argmax(skin[:, ::-1], 1)) * skin.any(1)
    outer = reach[0] + 0.01 * np.where(person.all(1), len(reach) - 1, np.argmin(person, 1))
    return np.minimum(inner, outer - 0.02), outer
