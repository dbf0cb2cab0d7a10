"""The virtual camera, through pyvirtualcam."""

from __future__ import annotations

import logging
import os
import sys
import time

import numpy as np
import pyvirtualcam

from livepaste.errors import DeviceError
from livepaste.guard import fit
from livepaste.types import Mark

logger = logging.getLogger(__name__)
RETRY_S = 1.0
REMEDY = {
    "linux": "load the module: sudo modprobe v4l2loopback exclusive_caps=1 card_label=livepaste",
    "win32": "install OBS and start its virtual camera once, or install Unity Capture",
    "darwin": "install OBS 30 or later and start its virtual camera once",
}


class VirtualCameraSink:
    """``virtualcam`` or ``virtualcam:DEVICE``: pictures are fitted (letterbox) to what the device reports."""

    def __init__(self, argument: str, size_wh: tuple[int, int], fps: float) -> None:
        self._device, self._size_wh, self._fps = argument or None, size_wh, fps
        self._retry_at = 0.0
        self._camera = self._open()
        self.name = self._camera.device

    def _open(self) -> pyvirtualcam.Camera:
        try:
            w, h = self._size_wh
            return pyvirtualcam.Camera(w, h, self._fps, device=self._device, fmt=pyvirtualcam.PixelFormat.RGB)
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise DeviceError(
                f"no virtual camera can be used ({reason}); {REMEDY.get(sys.platform, REMEDY['linux'])}"
            ) from error

    def _alive(self) -> bool:
        """pyvirtualcam does not report a failed write: look at the device itself where it is a file."""
        return not self.name.startswith("/dev/") or os.path.exists(self.name)

    def send(self, image: np.ndarray, mark: Mark) -> None:
        if self._camera is None or not self._alive():
            if time.monotonic() < self._retry_at:
                return
            self._retry_at = time.monotonic() + RETRY_S
            self.close()
            logger.warning("virtual camera %s is gone; trying again", self.name)
            self._camera = self._open()
        camera = self._camera
        camera.send(np.ascontiguousarray(fit(image, (camera.width, camera.height))))

    def close(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.close()
