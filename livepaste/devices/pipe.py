"""Raw rgb24 frames through standard input and output.

Both go past Python's buffers: a thread that waits in one holds its lock, and a program that ends then aborts.
"""

from __future__ import annotations

import errno
import io
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
        with io.FileIO(sys.stdin.fileno(), closefd=False) as raw:
            while True:
                image = np.empty((h, w, 3), np.uint8)
                left = memoryview(image).cast("B")
                while left and (count := raw.readinto(left)):
                    left = left[count:]
                if left:
                    return
                yield Frame(image, index / rate, index)
                index += 1


class PipeSink:
    """``pipe:-``: frames of the asked size to standard output. Raises BrokenPipeError once nobody reads any more."""

    def __init__(self, argument: str, size_wh: tuple[int, int], fps: float) -> None:
        if argument != "-":
            raise OptionError(f"sink pipe writes to standard output only: pipe:-, got pipe:{argument}")
        self._size_wh = size_wh
        self._raw = io.FileIO(sys.stdout.fileno(), "w", closefd=False)

    def send(self, image: np.ndarray, mark: Mark) -> None:
        left = memoryview(np.ascontiguousarray(fit(image, self._size_wh))).cast("B")
        while left:
            try:
                left = left[self._raw.write(left) :]
            except OSError as error:
                if (
                    sys.platform == "win32" and error.errno == errno.EINVAL
                ):  # what Windows calls a pipe nobody reads any more
                    raise BrokenPipeError(errno.EPIPE, "nobody reads it any more") from error
                raise

    def close(self) -> None:
        """Nothing to close: standard output is the program's."""
