"""What stands behind a person, and what the sensor adds: an out-of-focus room, noise."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float32

NOISE_SIGMA = 2.5  # of 255: the sensor noise of every actor's frame
_SLACK = 128  # pixels by which the sheet of noise is larger than a frame


@lru_cache(maxsize=8)
def room(seed: int, size_wh: tuple[int, int]) -> Float32[np.ndarray, "h w 3"]:
    """A wall, a few upright and flat shapes, a lamp's glow; in [0, 255]."""
    w, h = size_wh
    rng = np.random.default_rng([11, seed])
    wall = rng.uniform(70, 190, 3)
    image = np.ones((h, w, 3), np.float32) * wall
    image *= np.linspace(1.1, 0.8, h)[:, None, None]
    for _ in range(rng.integers(4, 9)):
        x, y = rng.uniform(0, w), rng.uniform(0, h)
        dx, dy = rng.uniform(0.05, 0.2) * w, rng.uniform(0.1, 0.6) * h
        color = np.clip(wall + rng.normal(0, 45, 3), 10, 245)
        cv2.rectangle(image, (int(x), int(y)), (int(x + dx), int(y + dy)), color.tolist(), -1)
    blur = h / 60
    small = cv2.GaussianBlur(cv2.resize(image, (w // 4, h // 4), interpolation=cv2.INTER_AREA), (0, 0), blur / 2)
    image = cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR)
    texture = cv2.resize(rng.normal(0, 1, (h // 6, w // 6)).astype(np.float32), (w, h), interpolation=cv2.INTER_CUBIC)
    return (image + 3 * texture[..., None]).astype(np.float32)


@lru_cache(maxsize=2)
def _sheet(seed: int, size_wh: tuple[int, int]) -> np.ndarray:
    """Unit noise, somewhat larger than the frame, of mean 0 and deviation 1 to the last digit."""
    w, h = size_wh
    made = np.random.default_rng([17, seed]).standard_normal((h + _SLACK, w + _SLACK, 3), np.float32)
    made -= made.mean(dtype=np.float64)
    made /= made.std(dtype=np.float64)
    return made


def add_noise(image: np.ndarray, sigma: float, seed: int, index: int) -> np.ndarray:
    """``image`` float32 (h, w, 3) as a sensor gives it: with the noise of frame ``index``, rounded to uint8.

    One sheet of independent noise is drawn for a seed; each frame looks at it from a place, and with a sign, of its own.
    Frames that look from different places share no noise in any pixel, and 16,384 frames go by before a place comes
    again: what a measure of flicker divides by is that of frames drawn afresh.
    """
    h, w = image.shape[:2]
    sheet = _sheet(seed, (w, h))
    # A walk with odd steps visits every place once before it repeats one: neighbours always differ.
    way = int(np.random.default_rng([19, seed]).integers(_SLACK * _SLACK)) + index * 40_503
    y, x = divmod(way % (_SLACK * _SLACK), _SLACK)
    sign = 1 if np.random.default_rng([seed, index, 99]).random() < 0.5 else -1
    return cv2.addWeighted(image, 1.0, sheet[y : y + h, x : x + w], sign * sigma, 0.0, dtype=cv2.CV_8U)
