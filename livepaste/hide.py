"""Hides faces that are not to be seen: a few blurred cells where the face is, and a soft edge around it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from livepaste.masks.hull import AROUND_FOREHEAD, hull_polygon
from livepaste.types import Face

_CELLS_WH = (5, 6)
_LARGER = 1.25  # than the outline of the mesh, which loses the far brow and cheek of a profile
_EDGE = 0.06  # of its width, outside of what is hidden: where the picture begins again
_SHIFT = 4  # sub-pixel bits of the outline


def hide_faces(image: UInt8[np.ndarray, "h w 3"], faces: Iterable[Face]) -> UInt8[np.ndarray, "h w 3"]:
    """A copy in which nobody of ``faces`` is to be known: by their outline, hairline to chin, or, of a face that is no more than the two
    corners of a detector's box, an ellipse that holds all of it."""
    out = image.copy()
    h, w = image.shape[:2]
    for face in faces:
        outline = _outline(face.points_xyz)
        edge = 1 + _EDGE * float(np.ptp(outline[:, 0]))
        (x0, y0), (x1, y1) = outline.min(0) - edge - 1, outline.max(0) + edge + 2
        x0, y0, x1, y1 = (int(np.clip(v, 0, most)) for v, most in ((x0, w), (y0, h), (x1, w), (y1, h)))
        if x1 <= x0 or y1 <= y0:
            continue
        region = out[y0:y1, x0:x1]
        cells = cv2.resize(region, _CELLS_WH, interpolation=cv2.INTER_AREA)
        blurred = cv2.resize(cells, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
        outside = np.full(region.shape[:2], 255, np.uint8)
        corners = np.rint((outline - (x0, y0)) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(outside, [corners], 0, shift=_SHIFT)
        # 0 inside, rising outside only
        shown = np.minimum(cv2.distanceTransform(outside, cv2.DIST_L2, 3) * np.float32(1 / edge), 1)
        region[:] = cv2.blendLinear(region, blurred, shown, 1 - shown)
    return out


def grown(face: Face, by: float = 1.4) -> Face:
    """The face, larger: of who was lost and may have moved since."""
    middle = (face.points_xyz.min(0) + face.points_xyz.max(0)) / 2
    return replace(face, points_xyz=(middle + (face.points_xyz - middle) * by).astype(np.float32))


def _outline(points_xyz: np.ndarray) -> Float64[np.ndarray, "n 2"]:
    """What is hidden entirely, in frame pixels."""
    points_xy = points_xyz[:, :2].astype(np.float64)
    if len(points_xy) > 2:
        outline = hull_polygon(points_xyz[:, :2], AROUND_FOREHEAD)
        outline = cv2.convexHull(outline.astype(np.float32))[:, 0].astype(np.float64)
        middle = (outline.min(0) + outline.max(0)) / 2
        return middle + (outline - middle) * _LARGER
    low, high = points_xy.min(0), points_xy.max(0)
    middle, radii = (low + high) / 2 - (0, 0.08 * (high - low)[1]), 0.72 * (high - low) + 2
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return middle + radii * np.column_stack([np.cos(turn), np.sin(turn)])
