"""``hands``: hands as mediapipe's hand model sees them are left out: the palm, and a capsule along each finger."""

from __future__ import annotations

import atexit
import threading
from functools import cache

import cv2
import numpy as np
from jaxtyping import Float, Float32

from livepaste.align import transform
from livepaste.masks import Context
from livepaste.masks.person import upright_square
from livepaste.mediapipe_people import HandsGraph

EVERY = 3  # frames, while no hand is at the face; with one there, each
# frames, a multiple of the above: beside ``occlusion`` it looks at one of so many though nothing is seen there. A clip that is gone on with
# has then looked before it begins, and what only this model sees is found.
UNASKED = 15
FOUND = -1  # no turn: the last look found one
AROUND, SIDE = 2.6, 512  # crops wide, and pixels, of what it looks at: a hand at the face with its wrist
PALM = (0, 1, 2, 5, 9, 13, 17)
FINGERS = ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20))
KNUCKLES = (5, 9, 13, 17)
# a finger's half width: of the distance from knuckle to knuckle, and at least of that from the wrist to the middle knuckle, which a hand
# seen from its side keeps
HALF, LEAST_HALF = 0.58, 0.12
FINER = 4  # times as fine as the crop: where it is drawn


@cache
def _graph() -> tuple[HandsGraph, threading.Lock]:
    graph = HandsGraph()
    atexit.register(graph.close)
    return graph, threading.Lock()


class Hands:
    """The mask as ``--mask hull+learned+hands``. Loaded when built, once a process."""

    def __init__(self) -> None:
        self._graph, self._lock = _graph()

    def __call__(self, context: Context) -> np.ndarray:
        """In crop pixels, float32 (s, s) in [0, 1]; 0 on hands."""
        turn = context.frame.index // EVERY
        if context.memory.get("hands") == turn:
            return np.ones((context.size, context.size), np.float32)
        from_seen = upright_square(context, AROUND, SIDE)
        seen = cv2.warpAffine(
            context.frame.image, from_seen, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        with self._lock:
            hands = self._graph(seen)
        drawn = np.zeros((context.size, context.size), np.float32)
        for points in hands:
            in_frame = transform(points[:, :2], from_seen.astype(np.float32))
            drawn = np.maximum(drawn, hand_mask(transform(in_frame, context.alignment.frame_to_crop), context.size))
        context.memory["hands"] = FOUND if drawn.any() else turn
        return 1 - drawn


class Asked:
    """Beside ``occlusion``: it looks while that sees something, and as long as it finds a hand itself."""

    def __init__(self) -> None:
        self._hands = Hands()

    def __call__(self, context: Context, mask: np.ndarray, seen: bool) -> np.ndarray:
        """What is left of ``mask``; ``seen``: whether something is in front."""
        if seen or context.memory.get("hands") == FOUND or context.frame.index % UNASKED == 0:
            return mask * self._hands(context)
        return mask


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
