"""What a face does, frame by frame: pose, expression and light, by seed; and how it moves a mesh."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np
from jaxtyping import Float32

from livepaste.align import CENTER, mean_mesh

UPPER_LID = (246, 161, 160, 159, 158, 157, 173)  # the wearer's right eye, outer to inner corner
LOWER_LID = (7, 163, 144, 145, 153, 154, 155)
LID_CREASE = (247, 30, 29, 27, 28, 56, 190)
LOWER_LIP = (146, 91, 181, 84, 17, 314, 405, 321, 375, 95, 88, 178, 87, 14, 317, 402, 318, 324,
             77, 90, 180, 85, 16, 315, 404, 320, 307, 96, 89, 179, 86, 15, 316, 403, 319, 325)  # fmt: skip
UPPER_LIP = (185, 40, 39, 37, 0, 267, 269, 270, 409, 191, 80, 81, 82, 13, 312, 311, 310, 415,
             184, 74, 73, 72, 11, 302, 303, 304, 408, 183, 42, 41, 38, 12, 268, 271, 272, 407)  # fmt: skip
LIP_CORNERS = (61, 291, 78, 308, 76, 306, 62, 292)
RIGHT_IRIS, LEFT_IRIS = (468, 469, 470, 471, 472), (473, 474, 475, 476, 477)
PIVOT = np.array([0.5, 0.45, 1.0])  # template units: where the neck turns
JAW_HINGE = np.array([0.5, 0.42, 0.75])
JAW_OPEN_DEGREES = 15.0  # at mouth = 1
GRIN = 0.06  # template units between the lips at smile = 1, jaw closed


@dataclass(frozen=True, eq=False, kw_only=True)
class Performance:
    """One entry per frame; signs of the angles as in ``align.pose_degrees``."""

    fps: Fraction
    yaw: Float32[np.ndarray, n]  # degrees
    pitch: Float32[np.ndarray, n]
    roll: Float32[np.ndarray, n]
    x: Float32[np.ndarray, n]  # face centre, share of the frame's width
    y: Float32[np.ndarray, n]  # share of the frame's height
    size: Float32[np.ndarray, n]  # template unit, share of the frame's height
    mouth: Float32[np.ndarray, n]  # 0 closed to 1 wide open
    smile: Float32[np.ndarray, n]  # -1 to 1
    wide: Float32[np.ndarray, n]  # -1 pucker to 1 wide
    blink_right: Float32[np.ndarray, n]  # 0 open to 1 closed, the wearer's right eye
    blink_left: Float32[np.ndarray, n]
    brow: Float32[np.ndarray, n]  # -1 frown to 1 raised
    gaze_x: Float32[np.ndarray, n]  # -1 to 1, picture's left to right
    gaze_y: Float32[np.ndarray, n]
    light_dir: Float32[np.ndarray, "n 3"]  # towards the light, unit length; (0, 0, -1) is the camera
    light: Float32[np.ndarray, n]  # brightness, 1 = as painted
    warmth: Float32[np.ndarray, n]  # -1 blue to 1 orange

    def __len__(self) -> int:
        return len(self.yaw)


def _smooth_noise(rng: np.random.Generator, n: int, period: float) -> np.ndarray:
    """Smooth noise of about unit variance that changes over ``period`` frames (cosine-interpolated knots, two octaves)."""
    out = np.zeros(n)
    for octave, gain in ((1.0, 0.85), (2.3, 0.45)):
        step = max(period / octave, 1.0)
        knots = rng.normal(size=int(n / step) + 3)
        at = np.arange(n) / step + rng.uniform()
        i = at.astype(int)
        f = (1 - np.cos((at - i) * np.pi)) / 2
        out += gain * (knots[i] * (1 - f) + knots[i + 1] * f)
    return out


def perform(seed: int, frames: int, fps: Fraction = Fraction(25), *, amount: float = 1.0) -> Performance:
    """A talking head's motion, the same for the same arguments. ``amount`` scales pose and expression."""
    rng = np.random.default_rng([7, seed])
    rate = float(fps)
    n = frames

    def noise(seconds: float) -> np.ndarray:
        return _smooth_noise(rng, n, seconds * rate)

    speech = np.clip(_smooth_noise(rng, n, 0.16 * rate) * 0.30 + 0.22, 0, 1) * (noise(1.5) > -0.5)
    speech = np.convolve(np.pad(speech, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    yawn = np.clip(noise(2.5) - 1.3, 0, 1)

    def blinks(base: np.ndarray | None = None) -> np.ndarray:
        track = np.zeros(n) if base is None else base.copy()
        at = rng.uniform(0, 2.5) * rate
        while at < n:
            length = rng.uniform(0.2, 0.32) * rate
            t = (np.arange(n) - at) / length
            track = np.maximum(track, np.clip(1.25 * np.sin(np.pi * np.clip(t, 0, 1)), 0, 1))
            at += rng.uniform(1.0, 4.0) * rate * (1 if base is None else 5)
        return track

    both = blinks()
    side = noise(3.0) * 0.5
    up = noise(3.0) * 0.3 - 0.5
    light_dir = np.stack([side, up, -np.ones(n)], 1)
    light_dir /= np.linalg.norm(light_dir, axis=1, keepdims=True)
    arrays = {
        "yaw": np.clip(amount * 17 * noise(1.3), -40, 40),
        "pitch": np.clip(amount * 8 * noise(1.2), -24, 24),
        "roll": np.clip(amount * 6 * noise(1.6), -20, 20),
        "x": 0.5 + 0.04 * amount * noise(2.0),
        "y": 0.47 + 0.03 * amount * noise(2.0),
        "size": 0.30 * np.exp(0.06 * amount * noise(3.0)),
        "mouth": np.clip(amount * np.maximum(speech, yawn), 0, 1),
        "smile": np.clip(amount * (0.45 * noise(1.4) + 0.1), -1, 1),
        "wide": np.clip(amount * 0.4 * noise(0.5), -1, 1),
        "blink_right": blinks(both),
        "blink_left": blinks(both),
        "brow": np.clip(amount * 0.5 * noise(1.0), -1, 1),
        "gaze_x": np.clip(amount * 0.5 * noise(0.7), -1, 1),
        "gaze_y": np.clip(amount * 0.35 * noise(0.8), -1, 1),
        "light_dir": light_dir,
        "light": np.exp(0.10 * noise(4.0)),
        "warmth": np.clip(0.35 * noise(5.0), -1, 1),
    }
    return Performance(fps=fps, **{k: v.astype(np.float32) for k, v in arrays.items()})


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


@cache
def lip_shares() -> tuple[np.ndarray, np.ndarray]:
    """How much each of the 478 points follows the middle of the upper and of the lower lip, (478,) each."""
    x = mean_mesh().points_xyz[:, 0].astype(np.float64) - 0.5
    along = 1.0 - smoothstep(np.abs(x), 0.06, 0.21)
    shares = np.zeros((2, 478))
    for share, lip in zip(shares, (UPPER_LIP, LOWER_LIP), strict=True):
        share[list(lip)] = along[list(lip)]
    return shares[0], shares[1]


@cache
def mouth_corners() -> tuple[np.ndarray, np.ndarray]:
    """How much each of the 478 points follows the right and the left corner of the mouth, (478,) each."""
    p = mean_mesh().points_xyz[:, :2].astype(np.float64)
    right, left = (np.exp(-((p - p[corner]) ** 2).sum(1) / (2 * 0.13**2)) for corner in (61, 291))
    return right, left


@cache
def _weights() -> dict[str, np.ndarray]:
    """How much each of the 478 points follows jaw, lips and brows; from the mean mesh."""
    p = mean_mesh().points_xyz
    x, y = p[:, 0] - 0.5, p[:, 1]
    jaw = smoothstep(y, 0.70, 0.95)
    jaw *= 1 - 0.6 * smoothstep(np.abs(x), 0.30, 0.60)
    jaw[list(UPPER_LIP)] = 0.0
    jaw[list(LOWER_LIP)] = 1.0 - 0.75 * smoothstep(np.abs(x[list(LOWER_LIP)]), 0.08, 0.21)
    jaw[list(LIP_CORNERS)] = 0.25
    lips = np.exp(-(((x / 0.26) ** 2 + ((y - 0.78) / 0.14) ** 2) ** 2))
    brow = np.exp(-(((y - 0.02) / 0.13) ** 2)) * (1 - smoothstep(np.abs(x), 0.50, 0.62)) * (y < 0.16)
    return {"jaw": jaw, "lips": lips, "brow": brow}


def deform(points: np.ndarray, performance: Performance, i: int) -> np.ndarray:
    """Move a neutral face's points (478, 3; template units, not yet turned) by the expression of frame ``i``."""
    w, p = _weights(), points.astype(np.float64).copy()
    smile, wide = float(performance.smile[i]), float(performance.wide[i])
    (right, left), (upper_lip, lower_lip) = mouth_corners(), lip_shares()
    p[:, 0] += (left - right) * (0.05 * smile + 0.035 * wide)
    p[:, 1] -= (left + right) * 0.065 * smile
    p[:, 1] += GRIN * smoothstep(performance.smile[i : i + 1], 0.15, 1.0) * (0.6 * lower_lip - 0.4 * upper_lip)
    p[:, 2] += w["lips"] * (0.03 * wide + 0.02 * smile)
    p[:, 1] -= w["brow"] * 0.07 * float(performance.brow[i])
    mirror = mean_mesh().mirror
    for side, amount in ((False, performance.blink_right[i]), (True, performance.blink_left[i])):
        upper, lower, crease = (
            mirror[list(ids)] if side else np.array(ids) for ids in (UPPER_LID, LOWER_LID, LID_CREASE)
        )
        # lids meet a little above the lower lid
        p[upper] += float(amount) * (p[lower] + 0.12 * (p[upper] - p[lower]) - p[upper])
        p[crease, 1] += float(amount) * 0.35 * (points[lower, 1] - points[upper, 1])
        p[lower, 1] -= 0.012 * max(smile, 0.0)
    for ids in (RIGHT_IRIS, LEFT_IRIS):
        p[list(ids), 0] += 0.06 * float(performance.gaze_x[i])
        p[list(ids), 1] += 0.028 * float(performance.gaze_y[i])
    # the jaw turns about its hinge
    angle = np.radians(JAW_OPEN_DEGREES) * float(performance.mouth[i]) * w["jaw"]
    dy, dz = p[:, 1] - JAW_HINGE[1], p[:, 2] - JAW_HINGE[2]
    c, s = np.cos(angle), np.sin(angle)
    p[:, 1], p[:, 2] = JAW_HINGE[1] + c * dy - s * dz, JAW_HINGE[2] + s * dy + c * dz
    return p


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Rotation matrix (3, 3) of a pose in degrees, signs as in ``align.pose_degrees``."""
    (cy, cp, cr), (sy, sp, sr) = np.cos(np.radians([yaw, pitch, roll])), np.sin(np.radians([yaw, pitch, roll]))
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return tilt @ turn @ nod


PERSPECTIVE = 0.07  # size lost per template unit of depth


def pose(points: np.ndarray, performance: Performance, i: int, weight: np.ndarray | float = 1.0) -> np.ndarray:
    """Turn deformed points about the neck: template units in, template units out, seen from the camera.

    ``weight`` (n,) < 1 lets outer points follow the head only partly.
    """
    r = rotation(float(performance.yaw[i]), float(performance.pitch[i]), float(performance.roll[i]))
    turned = (points - PIVOT) @ r.T + PIVOT
    turned = points + np.reshape(weight, (-1, 1)) * (turned - points)
    nearer = 1 / (1 + PERSPECTIVE * (turned[:, 2:] - 0.3))
    xy = (turned[:, :2] - CENTER) * nearer + CENTER
    return np.concatenate([xy, turned[:, 2:]], 1)
