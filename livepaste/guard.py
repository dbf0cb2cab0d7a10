"""What may leave: swapped frames, for a moment the last one again, else the cover. One place, fail-closed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from livepaste.errors import ClipError, OptionError
from livepaste.options import GuardOptions
from livepaste.pictures import read_picture
from livepaste.types import Mark

HOLD_S = 0.3
RAW_S = 1.0  # for which a picture of the camera may stand, passed or as a cover: what is slower stands still
CELLS_WH = (24, 14)  # of `--cover blur`: too few to know anybody by
DARKER = 0.45
Picture = UInt8[np.ndarray, "h w 3"]
Cover = Callable[[Picture | None, tuple[int, int]], Picture]


def slate(raw: Picture | None, size_wh: tuple[int, int]) -> Picture:
    """The default cover: a still picture that holds no camera pixel."""
    w, h = size_wh
    image = np.empty((h, w, 3), np.uint8)
    image[:] = np.linspace((44, 50, 60), (24, 27, 33), h)[:, None]
    centre, r = (w // 2, int(h * 0.42)), int(h * 0.13)
    cv2.circle(image, centre, r, (98, 108, 124), -1, cv2.LINE_AA)
    cv2.ellipse(
        image, (w // 2, int(h * 0.86)), (int(h * 0.26), int(h * 0.26)), 0, 180, 360, (98, 108, 124), -1, cv2.LINE_AA
    )
    return image


def cells(raw: Picture | None, size_wh: tuple[int, int]) -> Picture:
    """``blur``: the frame as a few darkened cells; the slate while there is no frame."""
    if raw is None:
        return slate(None, size_wh)
    small = cv2.resize(raw, CELLS_WH, interpolation=cv2.INTER_AREA)
    small = (small * DARKER).astype(np.uint8)
    return cv2.resize(small, size_wh, interpolation=cv2.INTER_LINEAR)


def make_cover(name: str) -> Cover:
    """``slate``, ``blur``, or a picture file. Raises ClipError when the file is no picture, OptionError when there is none and the name
    is no path."""
    if name in ("slate", "blur"):
        return slate if name == "slate" else cells
    try:
        picture = read_picture(name)
    except OSError:
        picture = None
    if picture is None and not Path(name).suffix and not Path(name).exists():
        raise OptionError(f"cover {name!r} is not known; give slate, blur or a picture's path")
    if picture is None:
        raise ClipError(f"cover {name!r} is no picture that can be read; give slate, blur or a picture's path")
    rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return lambda raw, size_wh: fit(rgb, size_wh)


def fit(image: Picture, size_wh: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Letterbox: the whole picture in its own proportions, black beside it."""
    (w, h), (ih, iw) = size_wh, image.shape[:2]
    if (iw, ih) == (w, h):
        return image
    scale = min(w / iw, h / ih)
    inner = (max(1, round(iw * scale)), max(1, round(ih * scale)))
    resized = cv2.resize(image, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    out = np.zeros((h, w, 3), np.uint8)
    x, y = (w - inner[0]) // 2, (h - inner[1]) // 2
    out[y : y + inner[1], x : x + inner[0]] = resized
    return out


class Guard:
    """Asked for every frame that leaves. ``offer`` what was made, then take the ``answer``.

    Times are in seconds on any one clock. A frame counts as safe only when it is offered as safe; nothing else the
    camera saw is ever handed on, except with ``on_lost="pass"``.
    """

    def __init__(self, options: GuardOptions, size_wh: tuple[int, int], cover: Cover | None = None) -> None:
        self.options, self.size_wh = options, size_wh
        self.cover = cover or make_cover(options.cover)
        self.counts: Counter[Mark] = Counter()
        self.covered = False  # the user's own wish, by key
        self._good: Picture | None = None
        self._good_at = float("-inf")
        self._raw: Picture | None = None  # only for pass and for a cover that is made of it
        self._raw_at = float("-inf")
        self._fresh = False
        self._lost = True  # the newest finished frame was not safe

    def offer(
        self, image: Picture | None, now: float, *, safe: bool, raw: Picture | None = None, raw_at: float | None = None
    ) -> None:
        """A finished frame (``safe`` = swapped and nobody else bare), or a failed one (``image`` None); ``raw`` was taken at ``raw_at``."""
        self._raw, self._raw_at = raw, now if raw_at is None else raw_at
        self._fresh = safe and image is not None
        self._lost = not self._fresh
        if self._fresh:
            self._good, self._good_at = image, now

    def answer(self, now: float) -> tuple[Picture, Mark]:
        """The picture to send at ``now``, and what it is."""
        image, mark = self._decide(now)
        self._fresh = False
        self.counts[mark] += 1
        return image, mark

    def _decide(self, now: float) -> tuple[Picture, Mark]:
        recent = now - self._raw_at <= RAW_S
        if not self.covered:
            if self._fresh and self._good is not None:
                return self._good, Mark.SWAPPED
            # Between two good frames of a slow camera nothing is lost, whatever is asked for when it is.
            may_hold = self.options.on_lost == "hold" or not self._lost
            if may_hold and self._good is not None and now - self._good_at <= HOLD_S:
                return self._good, Mark.HELD
            if self.options.on_lost == "pass" and self._raw is not None and recent:
                return self._raw, Mark.PASSED
        return fit(self.cover(self._raw if recent else None, self.size_wh), self.size_wh), Mark.COVER

    def forget(self) -> None:
        """Drop what could be held: after a cut the last frame is another picture's."""
        self._good, self._good_at, self._fresh = None, float("-inf"), False
