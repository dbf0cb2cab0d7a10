"""``person``: what mediapipe's selfie model takes for a person, so that nothing is painted on a wall, or on what is no person's in front."""

from __future__ import annotations

import atexit
import threading
from functools import cache

import cv2
import numpy as np

from livepaste.masks import Context
from livepaste.mediapipe_people import PersonGraph

EVERY = 3  # frames; between them what was found goes with the face, in whose crop it is kept
AROUND = 2.0  # crops wide: what it looks at, a head with its shoulders
SIDE = 256  # pixels, of what it looks at
LOW, HIGH = 0.2, 0.6  # between these a pixel becomes surely a person


@cache
def _graph() -> tuple[PersonGraph, threading.Lock]:
    graph = PersonGraph()
    atexit.register(graph.close)
    return graph, threading.Lock()


class Person:
    """The mask as ``--mask hull+learned+person``. Loaded when built, once a process."""

    def __init__(self) -> None:
        self._graph, self._lock = _graph()

    def __call__(self, context: Context) -> np.ndarray:
        """In crop pixels, float32 (s, s) in [0, 1]."""
        turn = context.frame.index // EVERY
        kept = context.memory.get("person")
        if kept is None or kept[0] != turn:
            kept = context.memory["person"] = turn, self._look(context)
        return kept[1]

    def _look(self, context: Context) -> np.ndarray:
        from_seen = upright_square(context, AROUND, SIDE)
        seen = cv2.warpAffine(context.frame.image, from_seen, (SIDE, SIDE), flags=cv2.INTER_AREA | cv2.WARP_INVERSE_MAP,
                              borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
        with self._lock:
            found = np.clip((self._graph(seen) - LOW) / (HIGH - LOW), 0, 1).astype(np.float32)
        back = np.vstack([from_seen, [0, 0, 1]])
        to_frame = np.vstack([context.alignment.crop_to_frame, [0, 0, 1]])
        matrix = (np.linalg.inv(back) @ to_frame)[:2]  # crop pixels to those of what was looked at
        size = (context.size, context.size)
        return cv2.warpAffine(found, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)  # fmt: skip


def upright_square(context: Context, around: float, side_px: int) -> np.ndarray:
    """Pixels of a square ``side_px`` wide to the frame's, (2, 3): ``around`` crops wide about the crop's middle, not turned with it."""
    alignment = context.alignment
    middle = alignment.crop_to_frame.astype(np.float64) @ np.array([(alignment.size - 1) / 2] * 2 + [1])
    scale = around * alignment.size / alignment.scale / side_px
    return np.column_stack([np.eye(2) * scale, middle - scale * (side_px - 1) / 2])
