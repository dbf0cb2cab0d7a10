"""``hull``: the outline of the mesh, with a forehead that goes on to the hairline."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from livepaste.align import OUTLINE, UPPER_OUTLINE
from livepaste.masks import Context

# How far the usual forehead goes on above the mesh's upper edge, as a share of the distance from chin to that edge:
# the median of the hairlines found on 150 generated stills.
FOREHEAD = 0.08
# Beside a learned mask the hull only says where a face can be: hairlines are where the model saw them.
AROUND_FOREHEAD, AROUND_SCALE = 0.30, 1.25
_SHIFT = 4  # sub-pixel bits of the polygon


def hull_polygon(points_xy: Float32[np.ndarray, "n 2"], forehead: float = FOREHEAD) -> np.ndarray:
    """The visible face's outline, float64 (36, 2), in the points' own pixels."""
    outline = points_xy[list(OUTLINE)].astype(np.float64)
    up = points_xy[10].astype(np.float64) - points_xy[152]
    taper = np.sin(np.linspace(0, np.pi, len(UPPER_OUTLINE) + 2)[1:-1]) ** 0.5
    outline[list(UPPER_OUTLINE)] += np.outer(taper * forehead, up)
    return outline


def hull_mask(points_xy: Float32[np.ndarray, "n 2"], size: int) -> Float32[np.ndarray, "s s"]:
    """Visible face by landmarks alone, in [0, 1], antialiased; ``points_xy`` in crop pixels."""
    return filled(hull_polygon(points_xy), size)


def shown_of_hull(mask: UInt8[np.ndarray, "s s"], points_xy: Float32[np.ndarray, "n 2"]) -> float:
    """Share of the face by its landmarks that ``mask`` (255 = visible) shows."""
    whole = hull_mask(points_xy, len(mask))
    return float(np.minimum(mask / 255, whole).sum()) / max(float(whole.sum()), 1.0)


def filled(polygon: np.ndarray, size: int) -> np.ndarray:
    """A polygon (n, 2) in pixels, antialiased: float32 (size, size) in [0, 1]."""
    big = np.zeros((size * 2, size * 2), np.uint8)
    corners = np.rint(((polygon + 0.5) * 2 - 0.5) * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(big, [corners], 255, cv2.LINE_AA, shift=_SHIFT)
    return cv2.resize(big, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def hull(context: Context) -> np.ndarray:
    """The mask as ``--mask hull``."""
    return hull_mask(context.points_xy, context.size)


def around(context: Context) -> np.ndarray:
    """Where a face can be: the hull with the highest forehead, a little larger all round."""
    return around_mask(context.points_xy, context.size)


def around_mask(points_xy: Float32[np.ndarray, "n 2"], size: int) -> Float32[np.ndarray, "s s"]:
    """The same of landmarks in crop pixels."""
    polygon = hull_polygon(points_xy, AROUND_FOREHEAD)
    middle = polygon.mean(0)
    return filled(middle + (polygon - middle) * AROUND_SCALE, size)
