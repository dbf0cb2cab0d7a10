"""A camera through OpenCV: MJPG and a buffer of one asked for, settings read back, opened again when it disappears."""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import cv2

from livepaste.devices.v4l2 import camera_trouble
from livepaste.errors import DeviceError
from livepaste.types import Frame

logger = logging.getLogger(__name__)
RETRY_S = 0.5
BACKEND = {"linux": cv2.CAP_V4L2, "win32": cv2.CAP_DSHOW, "darwin": cv2.CAP_AVFOUNDATION}
MOST = 9999  # more than any system numbers; OpenCV fails on what is no 32-bit integer
OWN_LABEL = "livepaste"  # that the virtual camera is loaded with
NAMES = Path("/sys/class/video4linux")


class NamedCamera(NamedTuple):
    """A camera that the system names."""

    index: int
    name: str
    trouble: str = ""  # why it cannot be used


def named_cameras() -> list[NamedCamera]:
    """Every camera that the system names (Linux); v4l2loopback devices are left out."""
    return _named(loopback=False)


def loopbacks() -> list[NamedCamera]:
    """v4l2loopback devices (Linux): virtual cameras, and what a phone's program writes its picture to."""
    return _named(loopback=True)


def _named(*, loopback: bool) -> list[NamedCamera]:
    found = []
    for file in NAMES.glob("video*/name"):
        node = file.parent.name
        if (file.parent / "device").exists() != loopback:  # a loopback hangs on no bus
            trouble = camera_trouble(f"/dev/{node}")
            if trouble is not None or loopback:  # a loopback that nobody writes to need not be a camera now
                name = file.read_text("utf-8", "replace").strip()
                found.append(NamedCamera(int(node.removeprefix("video")), name, trouble or ""))
    return sorted(found)


def camera_index(name: str) -> int:
    """An index as it is, and that of ``/dev/videoN``; a name, or a part of one, looked up among those the system names."""
    if (node := re.fullmatch(r"(?:/dev/video)?(\d+)", name, re.ASCII)) is not None:
        if int(node[1]) > MOST:
            raise DeviceError(f"no camera has the number {node[1]}; `livepaste devices` lists them by number")
        return int(node[1])
    known = named_cameras()
    phones = [camera for camera in loopbacks() if camera.name != OWN_LABEL]  # what is sent is no camera to take
    for camera in (*known, *phones):
        if name.lower() in camera.name.lower():
            return camera.index
    if sys.platform != "linux":
        raise DeviceError(
            f"no file is called {name!r}, and cameras go by number on this system; `livepaste devices` lists them"
        )
    found = ", ".join(dict.fromkeys(camera.name for camera in known)) or "none"
    raise DeviceError(
        f"no camera or file is called {name!r}; cameras: {found}; `livepaste devices` lists them by number"
    )


class CameraSource:
    """Frames until ``close``. The first open must work; a camera lost later is looked for twice a second.

    ``taken_s`` is the monotonic time at which the frame handed out last left the device, before it was decoded.
    """

    def __init__(self, name: str, size_wh: tuple[int, int], fps: float) -> None:
        self._name, self.index, self.size_wh, self.fps = name, camera_index(name), size_wh, fps
        self.taken_s = 0.0
        self._said: tuple[object, ...] | None = None
        self._closed = threading.Event()
        self._capture = self._open()
        if self._capture is None:
            trouble = next((c.trouble for c in named_cameras() if c.index == self.index), "") or "in use or absent"
            raise DeviceError(f"cannot open camera {name}: {trouble}; `livepaste devices` lists those found")

    def _open(self) -> cv2.VideoCapture | None:
        capture = cv2.VideoCapture(self.index, BACKEND.get(sys.platform, cv2.CAP_ANY))
        if not capture.isOpened():
            capture.release()
            return None
        asked = {cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"MJPG"), cv2.CAP_PROP_FRAME_WIDTH: self.size_wh[0],
                 cv2.CAP_PROP_FRAME_HEIGHT: self.size_wh[1], cv2.CAP_PROP_FPS: self.fps,
                 cv2.CAP_PROP_BUFFERSIZE: 1}  # fmt: skip
        for setting, value in asked.items():  # the pixel format first: it decides which sizes and rates there are
            capture.set(setting, value)
        self._say_what_it_gives(capture)
        return capture

    def _found_again(self) -> cv2.VideoCapture | None:
        try:
            self.index = camera_index(self._name)  # plugged in again, it may have another number
        except DeviceError:
            return None
        return self._open()

    def _say_what_it_gives(self, capture: cv2.VideoCapture) -> None:
        got = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        rate, code = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FOURCC))
        fourcc = "".join(chr(code >> shift & 255) for shift in (0, 8, 16, 24)).strip("\0") if code > 0 else "?"
        buffers = int(capture.get(cv2.CAP_PROP_BUFFERSIZE))
        if self._said == (got, rate, fourcc, buffers):
            return
        self._said = (got, rate, fourcc, buffers)
        w, h = self.size_wh
        # What a backend cannot tell (0, -1 or ?) is not taken for disobedience.
        obeyed = (
            got == (w, h) and (rate <= 0 or abs(rate - self.fps) <= 0.5) and fourcc in ("MJPG", "?") and buffers <= 1
        )
        text = "camera %d gives %dx%d at %g in %s with a buffer of %d, asked for %dx%d at %g in MJPG with a buffer of 1"
        level = logging.INFO if obeyed else logging.WARNING
        logger.log(level, text, self.index, *got, rate, fourcc, buffers, w, h, self.fps)

    def __iter__(self) -> Iterator[Frame]:
        began_ns, index = time.monotonic_ns(), 0
        try:
            while not self._closed.is_set():
                if self._capture is not None and self._capture.grab():
                    taken_ns = time.monotonic_ns()
                    ok, bgr = self._capture.retrieve()
                    if ok and bgr is not None:
                        self.taken_s = taken_ns / 1e9
                        yield Frame(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), Fraction(taken_ns - began_ns, 10**9), index)
                        index += 1
                    continue
                if self._capture is not None:
                    logger.warning("camera %d is gone; looking for it", self.index)
                    self._capture.release()
                self._closed.wait(RETRY_S)
                self._capture = self._found_again()
                if self._capture is not None:
                    logger.warning("camera %d is back", self.index)
        finally:  # here and not in close: releasing while another thread reads crashes OpenCV
            if self._capture is not None:
                self._capture.release()

    def close(self) -> None:
        """No frame after the one being read."""
        self._closed.set()
