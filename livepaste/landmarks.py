"""The 68 landmarks that other programs store, beside the 478 points of the mesh."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Float64

from livepaste.align import fit_similarity, width

COUNT = 68  # of the 300-W annotation (Sagonas et al. 2013): jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, mouth 48-67
# landmark -> mesh point at the same place of a face: what of it can be told apart to a pixel, and by any program
CORNERS = {36: 33, 39: 133, 42: 362, 45: 263, 30: 4, 48: 61, 54: 291}
_LIDS_AND_LIPS = {37: 160, 38: 158, 40: 153, 41: 144, 43: 385, 44: 387, 46: 373, 47: 380, 27: 168, 33: 2, 51: 0, 57: 17}
_PAIRS = {**CORNERS, **_LIDS_AND_LIPS}
# Of the unit square that faceswap lays faces into: outer and inner corners of the eyes, corners of the mouth
_SQUARE = {
    36: (0.132, 0.216),
    39: (0.344, 0.232),
    42: (0.656, 0.232),
    45: (0.868, 0.216),
    48: (0.264, 0.780),
    54: (0.736, 0.780),
}
_HEAD = 2.667  # side of its pictures in that unit
# How far a face may be from that: its middle, as a share of the picture's side (the square follows the head's pose, not the face), tilt, size
_SHIFT, _TILT_DEG, _SIZES = 0.2, 25.0, (0.6, 1.7)
_FAR = 1e5  # pixels: no picture has such a place


def checked(values: object) -> Float64[np.ndarray, "68 2"]:
    """Landmarks from a file. Raises ValueError unless they are 68 finite places in reach."""
    if isinstance(values, list | tuple):
        rows = [row if isinstance(row, list | tuple) and len(row) == 2 else () for row in values[: COUNT + 1]]
        if not all(row and all(type(v) in (int, float) and abs(v) < _FAR for v in row) for row in rows):
            raise ValueError("landmarks are no list of places")
        values = np.array(rows, np.float64)
    if not (isinstance(values, np.ndarray) and values.shape == (COUNT, 2) and values.dtype.kind in "fiu"):
        raise ValueError("landmarks are not 68 places")
    points = values.astype(np.float64)
    if not (np.isfinite(points).all() and np.abs(points).max() < _FAR and np.ptp(points, axis=0).min() > 1):
        raise ValueError("landmarks are not 68 places in a picture")
    return points


def apart(points_xyz: Float32[np.ndarray, "478 c"], landmarks_xy: Float[np.ndarray, "68 2"]) -> float:
    """How far the mesh is from the landmarks at the corners of eyes and mouth and the nose's tip: the median, as a share of the face's size.

    The median, because of a face turned far the hidden corners are anybody's guess.
    """
    ours, theirs = points_xyz[list(CORNERS.values()), :2], landmarks_xy[list(CORNERS)]
    return float(np.median(np.linalg.norm(ours - theirs, axis=1)) / max(width(points_xyz), 1e-6))


def is_stored_so(points_xyz: Float32[np.ndarray, "478 c"], size_wh: tuple[int, int]) -> bool:
    """Whether a face lies in a picture as faceswap stores it: about the middle, upright, with all of the head around it."""
    side, middle = max(size_wh), (np.array(size_wh) - 1) / 2
    there = points_xyz[[CORNERS[i] for i in _SQUARE], :2].astype(np.float64)
    usual = (np.array(list(_SQUARE.values())) - 0.5) * side / _HEAD + middle
    moved = fit_similarity(usual, there)
    size, tilt_deg = np.hypot(*moved[0, :2]), np.degrees(np.arctan2(moved[1, 0], moved[0, 0]))
    shift = np.linalg.norm(there.mean(0) - usual.mean(0)) / side
    return bool(shift <= _SHIFT and abs(tilt_deg) <= _TILT_DEG and _SIZES[0] <= size <= _SIZES[1])


def onto(
    points_xyz: Float32[np.ndarray, "478 c"], landmarks_xy: Float[np.ndarray, "68 2"]
) -> Float64[np.ndarray, "2 3"]:
    """The similarity that lays the mesh of a picture onto the landmarks of another that shows the same face."""
    return fit_similarity(points_xyz[list(_PAIRS.values()), :2].astype(np.float64), landmarks_xy[list(_PAIRS)])
