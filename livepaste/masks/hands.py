"""``hands``: hands as mediapipe's hand model sees them are left out: the palm, and a capsule along each finger."""

from __future__ import annotations

import atexit
import threading
from fractions import Fraction
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
# seconds, in live: between two looks while something is there and while nothing is, and how long what was found holds without another
LIVE_EVERY_S, LIVE_UNASKED_S, HOLDS_S = Fraction(1, 8), Fraction(1, 2), Fraction(1, 3)
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
    graph, lock = HandsGraph(), threading.Lock()

    def close() -> None:
        if lock.acquire(timeout=1):  # a look that hangs does not keep the program
            graph.close()

    atexit.register(close)
    return graph, lock


class Hands:
    """The mask as ``--mask hull+learned+hands``. Loaded when built, once a process."""

    def __init__(self) -> None:
        self._graph, self._lock = _graph()

    def __call__(self, context: Context) -> np.ndarray:
        """In crop pixels, float32 (s, s) in [0, 1]; 0 on hands."""
        turn = context.frame.index // EVERY
        if context.memory.get("hands") == turn:
            return np.ones((context.size, context.size), np.float32)
        left = self.look(context)
        context.memory["hands"] = FOUND if left.min() < 1 else turn
        return left

    def look(self, context: Context) -> np.ndarray:
        """The same, whenever it looked last."""
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


class Look:
    """One look, on a thread of its own."""

    def __init__(self, hands: Hands, context: Context) -> None:
        self.begun = context.frame.time
        self._left: np.ndarray | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(hands, context), daemon=True, name="hands")
        self._thread.start()

    def _run(self, hands: Hands, context: Context) -> None:
        try:
            self._left = hands.look(context)
        except Exception as error:
            self._error = error

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def left(self) -> np.ndarray:
        """What it found, once it is done. Raises what went wrong there."""
        if self._error is not None:
            raise self._error
        assert self._left is not None
        return self._left


class AskedLive:
    """The same while no frame may wait for it: what was found goes with the face, in whose crop it is kept, until it has looked again.

    On real clips two to four frames' delay, so carried, left 10.2 % of the hands painted over instead of 9.9.
    """

    def __init__(self) -> None:
        self._hands = Hands()

    def __call__(self, context: Context, mask: np.ndarray, seen: bool) -> np.ndarray:
        """What is left of ``mask``; ``seen``: whether something is in front."""
        memory, now = context.memory, context.frame.time
        looking: Look | None = memory.get("looking for hands")
        if looking and looking.done:
            del memory["looking for hands"]
            memory["looked for hands"] = looking.begun, looking.left()
        begun, left = memory.get("looked for hands", (now - LIVE_UNASKED_S, None))
        age = abs(now - begun)
        found = left is not None and age <= HOLDS_S and left.min() < 1
        if "looking for hands" not in memory and age >= (LIVE_EVERY_S if seen or found else LIVE_UNASKED_S):
            memory["looking for hands"] = Look(self._hands, context)
        return mask * left if found else mask


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
