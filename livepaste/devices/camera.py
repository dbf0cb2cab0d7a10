"""A camera through OpenCV: MJPG and a buffer of one asked for, settings read back, retried when it disappears."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2

from livepaste.errors import DeviceError
from livepaste.types import Frame

logger = logging.getLogger(__name__)
RETRY_S = 0.5
BACKEND = {"linux": cv2.CAP_V4L2, "win32": cv2.CAP_DSHOW, "darwin": cv2.CAP_AVFOUNDATION}


def camera_index(name: str) -> int:
    """An index as it is; a name, or a part of one, looked up among the cameras that the system names (Linux)."""
    if name.isdigit():
        return int(name)
    known = {
        path.parent.name: path.read_text().strip()
        for path in sorted(Path("/sys/class/video4linux").glob("video*/name"))
    }
    for node, title in known.items():
        if name.lower() in title.lower():
            return int(node.removeprefix("video"))
    found = ", ".join(sorted(set(known.values()))) or "none"
    raise DeviceError(f"no camera is called {name!r}; found: {found}; `livepaste devices` lists them by number")


class CameraSource:
    """Frames until the program ends. The first open must work; a camera lost later is waited for."""

    def __init__(self, name: str, size_wh: tuple[int, int], fps: float) -> None:
        self.index, self.size_wh, self.fps = camera_index(name), size_wh, fps
        self._capture = self._open()
        if self._capture is None:
            raise DeviceError(f"cannot open camera {name}: in use or absent; `livepaste devices` lists those found")

    def _open(self) -> cv2.VideoCapture | None:
        capture = cv2.VideoCapture(self.index, BACKEND.get(sys.platform, cv2.CAP_ANY))
        if not capture.isOpened():
            capture.release()
            return None
        w, h = self.size_wh
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, w)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, h)
        capture.set(cv2.CAP_PROP_FPS, self.fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        got = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        rate = capture.get(cv2.CAP_PROP_FPS)
        if got != self.size_wh or abs(rate - self.fps) > 0.5:
            logger.warning("camera %d gives %dx%d at %g, asked for %dx%d at %g", self.index, *got, rate, w, h, self.fps)
        return capture

    def __iter__(self) -> Iterator[Frame]:
        began, index = time.monotonic_ns(), 0
        while True:
            ok, bgr = self._capture.read() if self._capture is not None else (False, None)
            if ok and bgr is not None:
                yield Frame(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), Fraction(time.monotonic_ns() - began, 10**9), index)
                index += 1
                continue
            if self._capture is not None:
                logger.warning("camera %d is gone; waiting for it", self.index)
                self._capture.release()
            time.sleep(RETRY_S)
            self._capture = self._open()
