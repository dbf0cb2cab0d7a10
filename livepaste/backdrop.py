"""How the camera moved: where the background of an earlier frame is in this one."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

_SIDE = 320  # pixels of the longer side that is looked at
_CORNERS, _FEWEST = 120, 12  # that are followed; with fewer nothing can be said
_NEAR = 0.5  # pixels of the small picture within which a corner agrees with the rest
_ROOM = 1.6  # of a face's box, in which nothing counts as background: hair and neck go with the face


class Backdrop:
    """Call it with each frame in order.

    Corners outside all faces are followed from a first frame on (Lucas and Kanade, pyramids as in Bouguet 2001), always from that one, so
    that nothing adds up; the similarity that most of them agree on (RANSAC) is the camera's motion. When half of them are lost, a new
    first frame is taken.
    """

    def __init__(self) -> None:
        self._first: np.ndarray | None = None
        self._from = self._to = np.zeros((0, 1, 2), np.float32)
        self.begun = 0  # first frames so far: places of different ones cannot be compared

    def __call__(
        self, image: UInt8[np.ndarray, "h w 3"], faces: Iterable[np.ndarray]
    ) -> Float64[np.ndarray, "2 3"] | None:
        """From this frame's pixels to the first one's; None where that cannot be said. ``faces``: each one's points in frame pixels."""
        step = max(1, round(max(image.shape[:2]) / _SIDE))
        size_wh = image.shape[1] // step, image.shape[0] // step
        small = cv2.cvtColor(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        if self._first is None or self._first.shape != small.shape:
            return self._begin(small, faces, step)
        to, found, _ = cv2.calcOpticalFlowPyrLK(
            self._first, small, self._from, self._to.copy(),
            winSize=(15, 15), maxLevel=3, flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        )  # fmt: skip
        seen = found[:, 0] > 0
        moved = None
        if seen.sum() >= _FEWEST:
            moved, agree = cv2.estimateAffinePartial2D(
                to[seen], self._from[seen], method=cv2.RANSAC, ransacReprojThreshold=_NEAR
            )
        if moved is None or agree.sum() < max(_FEWEST, len(self._from) / 2):
            self._first = None
            return None
        self._to[seen] = to[seen]
        moved[:, 2] *= step
        return moved

    def _begin(self, small: np.ndarray, faces: Iterable[np.ndarray], step: int) -> np.ndarray | None:
        free = np.full(small.shape, 255, np.uint8)
        for points in faces:
            low, high = points[:, :2].min(0) / step, points[:, :2].max(0) / step
            middle, radii = (low + high) / 2, (high - low) / 2 * _ROOM
            cv2.ellipse(
                free, np.rint(middle).astype(int).tolist(), np.rint(radii).astype(int).tolist(), 0, 0, 360, 0, -1
            )
        corners = cv2.goodFeaturesToTrack(small, _CORNERS, 0.01, 6, mask=free)
        if corners is None or len(corners) < _FEWEST:
            return None
        self._first, self._from, self._to = small, corners, corners.copy()
        self.begun += 1
        return np.eye(2, 3)
