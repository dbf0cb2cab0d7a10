"""A clip played like a camera, and a sink that records one."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from livepaste.devices.memory import MemorySource
from livepaste.devices.video import ClipReader, write_video
from livepaste.devices.video_write import format_of
from livepaste.errors import DeviceError, OptionError
from livepaste.guard import fit
from livepaste.types import Frame, Mark

PENDING = 8  # pictures that wait for the encoder
CLOSING_S = 20.0  # to write those and the file's end


class PlaybackSource:
    """A clip file at its own pace."""

    def __init__(self, path: str) -> None:
        self._reader = ClipReader(path)
        self.size_wh, self.fps = self._reader.size_wh, float(self._reader.rate)

    def __iter__(self) -> Iterator[Frame]:
        with self._reader:
            yield from MemorySource(self._reader.frames())


class ClipSink:
    """``clip:OUT.mp4``: records what was sent at a constant rate; a picture stays until the next one comes.

    It holds nobody: where the encoder does not keep up, pictures are left out, and the rest keep their times. The clip says
    that it is synthetic.
    """

    def __init__(self, argument: str, size_wh: tuple[int, int], fps: float) -> None:
        if not argument:
            raise OptionError("sink clip needs a file: clip:OUT.mp4")
        format_of(Path(argument))
        if Path(argument).exists():  # it may be the clip that is played, or the only recording of a talk
            raise DeviceError(f"sink clip: {argument} exists; name another file")
        folder = Path(argument).parent
        if not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise DeviceError(
                f"sink clip: {argument} cannot be written; the folder {folder} does not exist or is not yours"
            )
        if Path(f"{argument}.part").exists():
            raise DeviceError(
                f"sink clip: {argument}.part is there, what a killed run recorded or is recording; rename or remove it (it can be "
                "played), or name another file"
            )
        self._path, self._size_wh, self._fps = argument, size_wh, Fraction(fps).limit_denominator(1001)
        self._queue: deque[tuple[int, np.ndarray]] = deque()  # frame number, picture
        self._changed = threading.Condition()
        self._ended = False
        self._began: float | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._write, args=(argument,), daemon=True)
        self._thread.start()

    def send(self, image: np.ndarray, mark: Mark) -> None:
        if self._error:
            raise self._error
        now = time.monotonic()
        self._began = now if self._began is None else self._began
        number = int((now - self._began) * self._fps)
        with self._changed:
            if len(self._queue) >= PENDING:
                self._queue.pop()
            self._queue.append((number, fit(image, self._size_wh)))
            self._changed.notify()

    def _taken(self) -> Iterator[tuple[int, np.ndarray]]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._ended)
                if not self._queue:
                    return
                item = self._queue.popleft()
            yield item

    def _frames(self, first: np.ndarray, rest: Iterator[tuple[int, np.ndarray]]) -> Iterator[np.ndarray]:
        shown, count = first, 0
        for number, image in rest:
            while count < number:
                yield shown
                count += 1
            shown = image
        yield shown

    def _write(self, path: str) -> None:
        taken = self._taken()
        first = next(taken, None)
        if first is None:  # nothing was sent: there is nothing to write
            return
        try:
            write_video(path, self._frames(first[1], taken), self._fps, self._size_wh, crf=20, mark=True, keep=True)
        except Exception as error:
            self._error = error

    def close(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(CLOSING_S)
        if self._thread.is_alive():
            raise DeviceError(
                f"sink clip: {self._path} is not written after {CLOSING_S:.0f} s; {self._path}.part can be played as far as it goes"
            )
        if self._error:
            raise self._error
