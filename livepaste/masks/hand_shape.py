"""What a hand covers, by the 21 points of mediapipe's hand model: the palm, and a capsule along each finger."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Float32

PALM = (0, 1, 2, 5, 9, 13, 17)
FINGERS = ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20))
KNUCKLES = (5, 9, 13, 17)
# a finger's half width: of the distance from knuckle to knuckle, and at least of that from the wrist to the middle knuckle, which a hand
# seen from its side keeps
HALF, LEAST_HALF = 0.58, 0.12
FINER = 4  # times as fine as the crop: where it is drawn


def hand_mask(points_xy: Float[np.ndarray, "21 2"], size: int) -> Float32[np.ndarray, "s s"]:
    """Where a hand is, in [0, 1], antialiased; ``points_xy`` in pixels of a square ``size`` wide."""
    xy = (points_xy.astype(np.float64) + 0.5) * FINER - 0.5
    apart = np.linalg.norm(np.diff(xy[list(KNUCKLES)], axis=0), axis=1).mean()
    half = max(HALF * float(apart), LEAST_HALF * float(np.linalg.norm(xy[9] - xy[0])))
    big = np.zeros((size * FINER, size * FINER), np.uint8)
    wide = max(1, round(2 * half))
    palm = np.rint(xy[list(PALM)]).astype(np.int32)
    cv2.fillConvexPoly(big, cv2.convexHull(palm), 255)
    cv2.polylines(big, [palm], True, 255, wide)  # its rim is as thick as a finger
    for finger in FINGERS:
        cv2.polylines(big, [np.rint(xy[list(finger)]).astype(np.int32)], False, 255, wide)
    return cv2.resize(big, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
