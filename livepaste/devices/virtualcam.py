"""The virtual camera, through pyvirtualcam: pictures fitted to what it reports, watched, and opened again when it vanishes."""

from __future__ import annotations

import logging
import sys
import time

import numpy as np
import pyvirtualcam

from livepaste.devices.camera import OWN_LABEL, loopbacks
from livepaste.devices.v4l2 import node_identity, node_rate, node_size
from livepaste.errors import DeviceError
from livepaste.guard import fit
from livepaste.types import Mark

logger = logging.getLogger(__name__)
RETRY_S = 0.5
CHECK_S = 0.25  # how often the device is asked whether it is still there
_LOAD = f"sudo modprobe v4l2loopback exclusive_caps=1 card_label={OWN_LABEL}"
_REMEDY = {
    "win32": "install OBS and start its virtual camera once, or install Unity Capture",
    "darwin": "install OBS 30 or later and start its virtual camera once",
}


def remedy() -> str:
    """What to do on this machine when no virtual camera can be used."""
    if sys.platform in _REMEDY:
        return _REMEDY[sys.platform]
    there = loopbacks()
    if not there:
        return f"load the module: {_LOAD} (not found: install v4l2loopback, Debian and Ubuntu: sudo apt install v4l2loopback-dkms)"
    first = there[0]
    if first.trouble:
        return f"/dev/video{first.index} is {first.trouble}"
    return f"/dev/video{first.index} is there: end the program that writes to it, or load it anew: sudo modprobe -r v4l2loopback && {_LOAD}"


class VirtualCameraSink:
    """``virtualcam`` or ``virtualcam:DEVICE``: pictures are fitted (letterbox) to what the device reports, and so is their rate."""

    def __init__(self, argument: str, size_wh: tuple[int, int], fps: float) -> None:
        self._device, self._size_wh, self._fps = argument or None, size_wh, fps
        self._next_check_s = self._retry_at_s = self._due_s = 0.0
        self._camera: pyvirtualcam.Camera | None = None
        self._open()

    def _open(self) -> None:
        try:
            self._camera = self._opened(self._size_wh)
            # A loopback that a call has open, or that was given a fixed size, keeps it; pyvirtualcam does not look.
            has = node_size(self._camera.device) if self._camera.device.startswith("/dev/") else None
            if has not in (None, self._size_wh):
                self.close()
                self._camera = self._opened(has)
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise DeviceError(f"no virtual camera can be used ({reason}); {remedy()}") from error
        self.name = self._camera.device
        self._identity = node_identity(self.name) if self._is_node else None
        has_rate = node_rate(self.name, self._fps) if self._is_node else None
        # Faster than it is read, pictures would only replace each other unseen.
        self._interval_s = 1 / has_rate if has_rate and has_rate < 0.98 * self._fps else 0.0
        logger.info("virtual camera %s at %dx%d, %.4g frames a second",
                    self.name, self._camera.width, self._camera.height, min(has_rate or self._fps, self._fps))  # fmt: skip

    def _opened(self, size_wh: tuple[int, int]) -> pyvirtualcam.Camera:
        return pyvirtualcam.Camera(*size_wh, self._fps, device=self._device, fmt=pyvirtualcam.PixelFormat.RGB)

    @property
    def _is_node(self) -> bool:
        return self.name.startswith("/dev/")

    def send(self, image: np.ndarray, mark: Mark) -> None:
        """Show a picture. While the device is gone this does nothing but look for it."""
        now = time.monotonic()
        # pyvirtualcam does not report a failed write, so the device is asked itself where it is a file.
        if self._camera is not None and self._is_node and now >= self._next_check_s:
            self._next_check_s = now + CHECK_S
            if node_identity(self.name) != self._identity:
                logger.warning("virtual camera %s is gone; looking for it", self.name)
                self.close()
        if self._camera is None and not self._reopened(now):
            return
        if now < self._due_s:
            return
        self._due_s = max(self._due_s, now - self._interval_s) + self._interval_s
        camera = self._camera
        assert camera is not None
        try:
            camera.send(np.ascontiguousarray(fit(image, (camera.width, camera.height))))
        except (RuntimeError, ValueError) as error:  # what a backend of another system may raise
            logger.warning("virtual camera %s failed (%s); opening it again", self.name, error)
            self.close()

    def _reopened(self, now: float) -> bool:
        if now < self._retry_at_s:
            return False
        self._retry_at_s = now + RETRY_S
        try:
            self._open()
        except DeviceError as error:
            logger.debug("%s", error)
            return False
        logger.warning("virtual camera %s is back", self.name)
        return True

    def close(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.close()
