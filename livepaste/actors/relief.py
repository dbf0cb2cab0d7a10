"""Small solid things painted from above: rods, cones and balls with a height, lit by their own slope.

Lengths are template units, so that a thing is painted where it rests over a face in its standard place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32

PIXELS = 150.0  # a template unit: finer than a face in a 720p frame
_LIGHT = np.array([-0.38, -0.62, 0.69])  # from the upper left, towards the viewer


class Relief:
    """A sheet from ``low`` to ``high`` (x, y) on which things are laid; the higher one hides the lower."""

    def __init__(self, low: tuple[float, float], high: tuple[float, float]) -> None:
        self.low = np.array(low)
        w, h = (int(n) for n in np.ceil((np.array(high) - self.low) * PIXELS))
        self.height = np.zeros((h, w), np.float32)
        self.cover = np.zeros((h, w), np.float32)
        self.color = np.zeros((h, w, 3), np.float32)

    def rod(self, a: Any, b: Any, radii: tuple[float, float], color: Any, *, base: float = 0.0,
            flat_ends: bool = False) -> None:  # fmt: skip
        """From ``a`` to ``b``, thick as ``radii`` there, with round ends; ``base`` lifts it over others."""
        a, b = np.asarray(a, float), np.asarray(b, float)
        margin = max(radii) + 2 / PIXELS
        x0, y0 = np.clip(((np.minimum(a, b) - margin - self.low) * PIXELS).astype(int), 0, None)
        x1, y1 = np.ceil((np.maximum(a, b) + margin - self.low) * PIXELS).astype(int).clip(0)
        box = np.s_[y0:y1, x0:x1]
        h, w = self.height[box].shape
        if not h or not w:
            return
        y, x = np.mgrid[y0 : y0 + h, x0 : x0 + w] / PIXELS
        px, py = x + self.low[0] - a[0], y + self.low[1] - a[1]
        dx, dy = b - a
        length = float(np.hypot(dx, dy)) + 1e-9
        along = (px * dx + py * dy) / length
        t = np.clip(along / length, 0, 1)
        radius = radii[0] + (radii[1] - radii[0]) * t
        away = np.hypot(px - t * dx, py - t * dy)
        cover = np.clip((radius - away) * PIXELS + 0.5, 0, 1)
        if flat_ends:
            cover *= np.clip(along * PIXELS + 0.5, 0, 1) * np.clip((length - along) * PIXELS + 0.5, 0, 1)
        height = base + np.sqrt(np.clip(radius**2 - away**2, 0, None))
        over = cover * (height >= self.height[box])
        self.color[box] += over[..., None] * (np.asarray(color, np.float32) - self.color[box])
        self.height[box] = np.where(cover > 0.5, np.maximum(self.height[box], height), self.height[box])
        self.cover[box] = np.maximum(self.cover[box], cover)

    def line(self, points: Any, radii: Sequence[float], color: Any, *, base: float = 0.0) -> None:
        """A bent rod through ``points`` (n, 2), as thick as ``radii`` (n) there."""
        points = np.asarray(points, float)
        for k in range(len(points) - 1):
            self.rod(points[k], points[k + 1], (radii[k], radii[k + 1]), color, base=base)

    def ball(self, at: Any, radius: float, color: Any, *, base: float = 0.0) -> None:
        self.rod(at, np.asarray(at, float) + 1e-6, (radius, radius), color, base=base)

    def lit(self, *, gloss: float = 0.0, grain: float = 0.0, seed: int = 0) -> Float32[np.ndarray, "h w 4"]:
        """RGB in [0, 255] times cover, and cover in [0, 1]: ready to be warped and laid over a picture."""
        height = cv2.GaussianBlur(self.height, (0, 0), 1.2) * PIXELS
        slope_x, slope_y = cv2.Sobel(height, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(height, cv2.CV_32F, 0, 1) / 8
        slope_x, slope_y = np.clip(slope_x, -2.5, 2.5), np.clip(slope_y, -2.5, 2.5)
        facing = (_LIGHT[2] - slope_x * _LIGHT[0] - slope_y * _LIGHT[1]) / np.sqrt(1 + slope_x**2 + slope_y**2)
        facing = np.maximum(facing, 0)
        shade = 0.52 + 0.58 * facing
        if grain:
            noise = np.random.default_rng([23, seed]).standard_normal(self.height.shape, np.float32)
            shade *= 1 + grain * cv2.GaussianBlur(noise, (0, 0), 1.0)
        color = self.color * shade[..., None] + (255 * gloss * facing**24)[..., None]
        soft = cv2.GaussianBlur(self.cover, (0, 0), 0.8)
        return np.dstack([np.clip(color, 0, 255) * soft[..., None], soft]).astype(np.float32)
