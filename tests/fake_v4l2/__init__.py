"""A fake webcam and a fake v4l2loopback for subprocesses: builds the preloaded library, reads back what was sent."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

CAMERA, OUTPUT = "/dev/video0", "/dev/video9"
SQUARE = 16  # pixels, of the clock that the fake camera paints


def build(folder: Path) -> Path:
    """The library, compiled; skips the test where that cannot be done."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if sys.platform != "linux":
        pytest.skip("the fake V4L2 devices are for Linux")
    if compiler is None:
        pytest.skip("no C compiler (cc): the fake V4L2 devices cannot be built")
    library = folder / "fake_v4l2.so"
    source = Path(__file__).with_name("fake_v4l2.c")
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl", "-lpthread"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "videodev2.h" in done.stderr:
        pytest.skip("linux/videodev2.h is missing (Debian: linux-libc-dev): the fake V4L2 devices cannot be built")
    assert done.returncode == 0, done.stderr
    return library


@dataclass(frozen=True, eq=False)
class Sent:
    """One frame that reached the fake loopback."""

    written_ms: float  # monotonic
    i420: np.ndarray  # uint8 (h * 3 / 2, w)

    @property
    def clock_ms(self) -> int | None:
        """When the fake camera took the picture that is shown; None when no clock can be read."""
        squares = self.i420[SQUARE // 2, SQUARE // 2 : 32 * SQUARE : SQUARE]
        if len(squares) < 32 or not ((squares < 70) | (squares > 180)).all() or np.ptp(squares.astype(int)) < 100:
            return None
        return int(sum(1 << i for i in range(32) if squares[i] > 127))

    @property
    def rgb(self) -> np.ndarray:
        return cv2.cvtColor(self.i420, cv2.COLOR_YUV2RGB_I420)


class FakeDevices:
    """Both devices in one folder; ``run`` and ``start`` give a Python process that sees them and no others."""

    def __init__(self, library: Path, folder: Path) -> None:
        self.library, self.folder = library, folder
        self.film, self.out = folder / "camera.yuyv", folder / "sent.bin"
        self._removed = 0

    def plug_camera(self, frames_rgb: Sequence[np.ndarray], fps: int = 30) -> None:
        h, w = frames_rgb[0].shape[:2]
        film = b"".join(_yuyv(frame) for frame in frames_rgb)
        temporary = self.film.with_suffix(".new")
        temporary.write_bytes(b"%d %d %d\n" % (w, h, fps) + film)
        temporary.replace(self.film)

    def unplug_camera(self) -> None:
        self.film.rename(self.film.with_suffix(".unplugged"))

    def replug_camera(self) -> None:
        """A copy: a device that comes back is another device."""
        shutil.copy(self.film.with_suffix(".unplugged"), self.film.with_suffix(".new"))
        self.film.with_suffix(".new").replace(self.film)

    def stall_camera(self, stalled: bool) -> None:
        flag = self.film.with_name(self.film.name + ".stall")
        flag.touch() if stalled else flag.unlink()

    def plug_loopback(self) -> None:
        self.out.touch()

    def unplug_loopback(self) -> Path:
        """Returns where what was sent so far lies."""
        self._removed += 1
        kept = self.folder / f"sent.{self._removed}.bin"
        return self.out.rename(kept)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "LD_PRELOAD": str(self.library), "FAKE_V4L2_CAMERA": f"{CAMERA}:{self.film}",
                "FAKE_V4L2_OUTPUT": f"{OUTPUT}:{self.out}"}  # fmt: skip

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, *words]
        return subprocess.Popen(
            command, env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *words: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *words]
        return subprocess.run(
            command, env=self.environment(), capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def sent(self, size_wh: tuple[int, int], path: Path | None = None) -> list[Sent]:
        """Every whole frame written so far."""
        data, (w, h) = (path or self.out).read_bytes(), size_wh
        frames, at = [], 0
        while at + 16 <= len(data):
            written_ns, length = struct.unpack_from("<qq", data, at)
            at += 16
            assert length == w * h * 3 // 2, "the device was given a frame of another size"
            if at + length > len(data):
                break
            i420 = np.frombuffer(data, np.uint8, length, at).reshape(h * 3 // 2, w)
            frames.append(Sent(written_ns / 1e6, i420))
            at += length
        return frames


def _yuyv(rgb: np.ndarray) -> bytes:
    """4:2:2 with limited range, colour averaged over two neighbours."""
    h, w = rgb.shape[:2]
    ycc = cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    chroma = ycc[..., 1:].reshape(h, w // 2, 2, 2).mean(2)
    packed = np.empty((h, w, 2), np.float32)
    packed[..., 0] = 16 + ycc[..., 0] * (219 / 255)
    packed[:, 0::2, 1] = 128 + (chroma[..., 1] - 128) * (224 / 255)  # Cb
    packed[:, 1::2, 1] = 128 + (chroma[..., 0] - 128) * (224 / 255)  # Cr
    return np.rint(packed).clip(0, 255).astype(np.uint8).tobytes()
