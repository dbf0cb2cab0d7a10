"""Devices that are none: frames from a list, pictures kept or thrown away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator

import numpy as np

from livepaste.types import Frame, Mark

KEPT = 300  # pictures at most: a memory sink must not grow with the call


class MemorySource:
    """Frames from memory at their own times, like a camera; ``pace`` False hands them out at once."""

    def __init__(self, frames: Iterable[Frame], *, pace: bool = True) -> None:
        self._frames, self._pace = frames, pace

    def __iter__(self) -> Iterator[Frame]:
        began = time.monotonic()
        first = None
        for frame in self._frames:
            first = frame.time if first is None else first
            if self._pace:
                time.sleep(max(0.0, began + float(frame.time - first) - time.monotonic()))
            yield frame


class MemorySink:
    """Keeps the newest pictures with their marks and the times they came at."""

    def __init__(self, argument: str = "", size_wh: tuple[int, int] = (1280, 720), fps: float = 30.0) -> None:
        self.sent: list[tuple[np.ndarray, Mark, float]] = []
        self.closed = threading.Event()

    def send(self, image: np.ndarray, mark: Mark) -> None:
        self.sent.append((image.copy(), mark, time.monotonic()))
        del self.sent[:-KEPT]

    def close(self) -> None:
        self.closed.set()


class NullSink:
    """Takes everything, keeps nothing."""

    def __init__(self, argument: str = "", size_wh: tuple[int, int] = (1280, 720), fps: float = 30.0) -> None:
        pass

    def send(self, image: np.ndarray, mark: Mark) -> None:
        pass

    def close(self) -> None:
        pass
