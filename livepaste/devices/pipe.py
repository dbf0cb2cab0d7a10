"""Raw rgb24 frames through standard input and output."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from livepaste.errors import OptionError
from livepaste.guard import fit
from livepaste.types import Frame, Mark


class PipeSource:
    """``pipe:-``: frames of a known size from standard input until it ends; a cut last frame is left out."""

    def __init__(self, size_wh: tuple[int, int], fps: float) -> None:
        self.size_wh, self.fps = size_wh, fps

    def __iter__(self) -> Iterator[Frame]:
        w, h = self.size_wh
        rate = Fraction(self.fps).limit_denominator(1001)
        index = 0
        while len(data := sys.stdin.buffer.read(w * h * 3)) == w * h * 3:
            yield Frame(np.frombuffer(data, np.uint8).reshape(h, w, 3), index / rate, index)
            index += 1


class PipeSink:
    """``pipe:-``: frames of the asked size to standard output."""

    def __init__(self, argument: str, size_wh: tuple[int, int], fps: float) -> None:
        if argument != "-":
            raise OptionError(f"sink pipe writes to standard output only: pipe:-, got pipe:{argument}")
        self._size_wh = size_wh

    def send(self, image: np.ndarray, mark: Mark) -> None:
        sys.stdout.buffer.write(np.ascontiguousarray(fit(image, self._size_wh)).data)
        sys.stdout.buffer.flush()

    def close(self) -> None:
        pass
