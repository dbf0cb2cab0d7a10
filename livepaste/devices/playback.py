"""A clip played like a camera, and a sink that records one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from livepaste.devices.memory import MemorySource
from livepaste.devices.video import ClipReader, write_video
from livepaste.errors import OptionError
from livepaste.guard import fit
from livepaste.types import Frame, Mark


class PlaybackSource:
    """A clip file at its own pace."""

    def __init__(self, path: str) -> None:
        self._reader = ClipReader(path)
        self.size_wh, self.fps = self._reader.size_wh, float(self._reader.rate)

    def __iter__(self) -> Iterator[Frame]:
        with self._reader:
            yield from MemorySource(self._reader.frames())


class ClipSink:
    """``clip:OUT.mp4``: records what was sent at a constant rate; a late picture fills the frames it stood for."""

    def __init__(self, argument: str, size_wh: tuple[int, int], fps: float) -> None:
        if not argument:
            raise OptionError("sink clip needs a file: clip:OUT.mp4")
        self._size_wh, self._fps = size_wh, Fraction(fps).limit_denominator(1001)
        self._queue: list[np.ndarray] = []
        self._changed = threading.Condition()
        self._ended = False
        self._began: float | None = None
        self._count = 0
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._write, args=(argument,), daemon=True)
        self._thread.start()

    def send(self, image: np.ndarray, mark: Mark) -> None:
        if self._error:
            raise self._error
        now = time.monotonic()
        self._began = now if self._began is None else self._began
        due = int((now - self._began) * self._fps) + 1
        with self._changed:
            for _ in range(max(1 if self._count == 0 else 0, due - self._count)):
                self._queue.append(fit(image, self._size_wh))
                self._count += 1
            self._changed.notify()
            self._changed.wait_for(lambda: len(self._queue) < 8 or self._error, timeout=5)

    def _frames(self) -> Iterator[np.ndarray]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._ended)
                if not self._queue:
                    return
                image = self._queue.pop(0)
                self._changed.notify()
            yield image

    def _write(self, path: str) -> None:
        try:
            write_video(path, self._frames(), self._fps, self._size_wh, crf=20)
        except Exception as error:
            self._error = error

    def close(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()
        if self._error:
            raise self._error
