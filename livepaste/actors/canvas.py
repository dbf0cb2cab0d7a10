"""What a drawn person is painted on. Whatever is small is worked on around its own place only."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from livepaste.actors.motion import smoothstep
from livepaste.align import CENTER

SIDE = 512  # of the texture, pixels
COVERAGE = 4.2  # template units
SUPER = 2  # painted this much larger, then reduced: smooth edges
UNIT = SIDE * SUPER / COVERAGE


class Canvas:
    """Template units to supersampled pixels, and shapes painted with a soft edge."""

    def __init__(self, points: np.ndarray) -> None:
        self.points = points
        self.side = SIDE * SUPER
        self.image = np.zeros((self.side, self.side, 3), np.float32)

    def px(self, xy: np.ndarray) -> np.ndarray:
        return (np.atleast_2d(xy)[:, :2] - CENTER) * UNIT + (self.side - 1) / 2

    def mask(self, polygon: np.ndarray, soft: float = 0.006) -> np.ndarray:
        """Coverage of a polygon in template units, its edge ``soft`` units wide, float32 in [0, 1]."""
        points = self.px(polygon)
        made = np.zeros((self.side, self.side), np.uint8)
        cv2.fillPoly(made, [np.rint(points * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
        return self._soft(made, points, max(0.6, soft * UNIT))

    def _soft(self, drawn: np.ndarray, points: np.ndarray, sigma: float, width: float = 0.0) -> np.ndarray:
        """``drawn`` uint8 blurred, float32 in [0, 1]. Works around ``points`` (pixels), where alone something is."""
        box = self.box(points, 3 * sigma + width + 4)
        out = np.zeros(drawn.shape, np.float32)
        np.divide(cv2.GaussianBlur(drawn[box], (0, 0), sigma), np.float32(255), out=out[box])
        return out

    def box(self, points: np.ndarray, margin: Any) -> tuple[slice, slice]:
        """Rows and columns of the canvas that hold ``points`` (n, 2; pixels) and ``margin`` (one, or of x and of y)."""
        x0, y0 = np.clip(np.floor(points.min(0) - margin), 0, self.side).astype(int)
        x1, y1 = np.clip(np.ceil(points.max(0) + margin) + 1, 0, self.side).astype(int)
        return np.s_[y0:y1, x0:x1]

    def above(self, low: float, high: float) -> np.ndarray:
        """1 above ``low``, 0 below ``high`` (template units), a column (side, 1)."""
        y = (np.arange(self.side, dtype=np.float32) - (self.side - 1) / 2) / UNIT + CENTER[1]
        return (1 - smoothstep(y, low, high))[:, None]

    def lay(self, mask: np.ndarray, color: Any) -> None:
        """Lay a colour (3,) or picture over what is there."""
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            return
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # elsewhere nothing changes
        color, image = np.asarray(color), self.image[box]
        color = color[box] if color.ndim == 3 else color
        image += mask[box][..., None] * (color.astype(np.float32) - image)

    def shade(self, xy: Any, radii: Any, factor: float) -> None:
        """Darken or lighten softly around a place."""
        at, (rx, ry) = self.px(np.asarray(xy)), np.asarray(radii) * UNIT
        box = self.box(at, (4.5 * rx, 4.5 * ry))  # further away it is less than float32 can tell
        ys, xs = np.mgrid[box].astype(np.float32)
        weight = np.exp(-(((xs - at[0, 0]) / rx) ** 2) - ((ys - at[0, 1]) / ry) ** 2)
        self.image[box] *= (1 + (factor - 1) * weight)[..., None]

    def line(self, xy: np.ndarray, width: float, color: Any, strength: float) -> None:
        """Lay a soft line through points in template units."""
        made, points, thick = np.zeros((self.side, self.side), np.uint8), self.px(xy), max(1, round(width * UNIT))
        cv2.polylines(made, [np.rint(points * 16).astype(np.int32)], False, 255, thick, cv2.LINE_AA, shift=4)
        self.lay(strength * self._soft(made, points, 1.2, thick), color)

    def square(self, xy: Any, radii: Any) -> np.ndarray:
        """Squared distance from a place, in radii: float (side, side)."""
        (x, y), (rx, ry) = self.px(np.asarray(xy))[0], np.asarray(radii) * UNIT
        ys, xs = np.mgrid[0 : self.side, 0 : self.side].astype(np.float32)
        return ((xs - x) / rx) ** 2 + ((ys - y) / ry) ** 2
