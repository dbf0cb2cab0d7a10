"""``hands``: hands as mediapipe's hand model sees them are left out: the palm, and a capsule along each finger."""

from __future__ import annotations

import atexit
import threading
from fractions import Fraction
from functools import cache

import cv2
import numpy as np

from livepaste.align import transform
from livepaste.masks import Context
from livepaste.masks.hand_shape import hand_mask
from livepaste.masks.person import upright_square
from livepaste.mediapipe_people import HandsGraph
from livepaste.trouble import Trouble

EVERY = 3  # frames, while no hand is at the face; with one there, each
# frames, a multiple of the above: beside ``occlusion`` it looks at one of so many though nothing is seen there. A clip that is gone on with
# has then looked before it begins, and what only this model sees is found.
UNASKED = 15
FOUND = -1  # no turn: the last look found one
# seconds, in live: between two looks while something is there and while nothing is, and how long what was found holds without another
LIVE_EVERY_S, LIVE_UNASKED_S, HOLDS_S, MOST_HOLDS_S = Fraction(1, 8), Fraction(1, 2), Fraction(1, 4), Fraction(1)
BLINK_S = Fraction(1, 12)  # for so long ``occlusion`` may see nothing of what is there
AROUND, SIDE = 2.6, 512  # crops wide, and pixels, of what it looks at: a hand at the face with its wrist


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
        # all of it: whoever ends the program waits here for a look that is under way, which would else come back into an interpreter that is no more
        with self._lock:
            from_seen = upright_square(context, AROUND, SIDE)
            seen = cv2.warpAffine(
                context.frame.image, from_seen, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            )
            drawn = np.zeros((context.size, context.size), np.float32)
            for points in self._graph(seen):
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

    def __init__(self, hands: Hands, context: Context, seen: bool) -> None:
        self.begun, self.seen = context.frame.time, seen  # whether something was in front
        self.took = Fraction(0)  # from that frame to the one at which it was done
        self.left: np.ndarray | None = None  # None, too, when it failed
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(hands, context), daemon=True, name="hands")
        self._thread.start()

    def _run(self, hands: Hands, context: Context) -> None:
        try:
            self.left = hands.look(context)
        except Exception as error:
            self.error = error

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def shows(self, now: Fraction, last_seen: Fraction) -> bool:
        """Whether the hand that it found may still be where it was; ``last_seen``: when something was in front."""
        if self.left is None or self.left.min() == 1 or (self.seen and abs(now - last_seen) > BLINK_S):
            return False
        # where one takes long, until the next, which began when this was done, can be done too
        return abs(now - self.begun) <= min(HOLDS_S + 2 * self.took, MOST_HOLDS_S)


class AskedLive:
    """The same while no frame may wait for it: what was found goes with the face, in whose crop it is kept, until it has looked again, or
    ``occlusion``, which saw something then, sees nothing any more.

    In 60 outlined frames of two real clips two to four frames' delay left 10.2 % of the hands painted over instead of 9.9, and took 3.5 %
    of the face off instead of 3.3.
    """

    def __init__(self) -> None:
        self._hands, self._trouble = Hands(), Trouble()

    def __call__(self, context: Context, mask: np.ndarray, seen: bool) -> np.ndarray:
        """What is left of ``mask``; ``seen``: whether something is in front."""
        memory, now = context.memory, context.frame.time
        looking: Look | None = memory.get("looking for hands")
        if looking and looking.done:
            memory["looked for hands"] = memory.pop("looking for hands")
            looking.took = abs(now - looking.begun)
            if looking.error is not None:
                self._trouble.say("hands are not looked for", looking.error)
        last_seen = memory["something in front"] = now if seen else memory.get("something in front", now)
        looked: Look | None = memory.get("looked for hands")
        found = looked is not None and looked.shows(now, last_seen)
        rest = LIVE_EVERY_S if seen or found else LIVE_UNASKED_S
        if "looking for hands" not in memory and (looked is None or abs(now - looked.begun) >= rest):
            memory["looking for hands"] = Look(self._hands, context, seen)
        return mask * looked.left if found else mask
