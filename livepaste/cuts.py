"""Hard cuts of a clip: where one frame has nothing to do with the last."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

DIFFERENCE = 28.0  # mean absolute difference of two neighbouring frames' thumbnails, of 255


class Cuts:
    """Call it with each picture in order: whether the clip was cut before this one."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> bool:
        last, self._last = self._last, image[::24, ::24].astype(np.int16)
        if last is None:
            return False
        return last.shape != self._last.shape or float(np.abs(self._last - last).mean()) > DIFFERENCE
