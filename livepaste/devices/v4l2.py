"""What Linux's video devices say of themselves (linux/videodev2.h, 64 bit): asked without a library, in a few ioctls."""

from __future__ import annotations

import os
import struct
from fractions import Fraction

_QUERYCAP, _CAPABILITY_BYTES = 0x80685600, 104  # struct v4l2_capability
_G_FMT, _FORMAT_BYTES = 0xC0D05604, 208  # struct v4l2_format
_S_PARM, _PARM_BYTES = 0xC0CC5616, 204  # struct v4l2_streamparm
_OUTPUT = 2  # V4L2_BUF_TYPE_VIDEO_OUTPUT
_OF_THIS_NODE = 0x80000000  # V4L2_CAP_DEVICE_CAPS
_CAPTURE = 0x1 | 0x1000  # V4L2_CAP_VIDEO_CAPTURE, …_MPLANE


def _asked(node: str, request: int, about: bytearray) -> os.stat_result:
    """Ask the device of this name, which writes its answer into ``about``. Raises OSError when none answers."""
    import fcntl

    fd = os.open(node, (os.O_RDONLY if request == _QUERYCAP else os.O_WRONLY) | os.O_NONBLOCK)
    try:
        fcntl.ioctl(fd, request, about)
        return os.fstat(fd)
    finally:
        os.close(fd)


def camera_trouble(node: str) -> str | None:
    """Why no picture can be had from a device: nothing when it can. None: it is no camera, but a webcam's second node, a codec …"""
    about = bytearray(_CAPABILITY_BYTES)
    try:
        _asked(node, _QUERYCAP, about)
    except PermissionError:
        return "not yours to open: sudo usermod -aG video $USER, then log in again"
    except OSError as error:
        return f"cannot be asked: {error.strerror}"
    (device,) = struct.unpack_from("I", about, 84)
    (here,) = struct.unpack_from("I", about, 88)
    return "" if (here if device & _OF_THIS_NODE else device) & _CAPTURE else None


def node_identity(node: str) -> tuple[int, int] | None:
    """Which device answers under this name now; None when none does. Another plugged in later is another one."""
    try:
        info = _asked(node, _QUERYCAP, bytearray(_CAPABILITY_BYTES))
    except OSError:
        return None
    return info.st_ino, info.st_rdev


def _output(node: str, request: int, asked: bytes, size: int) -> bytearray:
    """What an output answers to ``asked``, behind its kind in a structure of ``size`` bytes; zeros when it does not."""
    about = bytearray((struct.pack("I", _OUTPUT) + asked).ljust(size, b"\0"))
    try:
        _asked(node, request, about)
    except OSError:
        return bytearray(size)
    return about


def node_size(node: str) -> tuple[int, int] | None:
    """The picture's size that an output really has; None when it does not say."""
    w, h = struct.unpack_from("II", _output(node, _G_FMT, b"", _FORMAT_BYTES), 8)
    return (w, h) if w and h else None


def node_rate(node: str, fps: float) -> float | None:
    """Ask an output for so many frames a second, which calls are then told; returns its rate, None when it does not say."""
    a_second = Fraction(fps).limit_denominator(1001)
    asked = struct.pack("4I", 0, 0, a_second.denominator, a_second.numerator)
    seconds, frames = struct.unpack_from("II", _output(node, _S_PARM, asked, _PARM_BYTES), 12)
    return frames / seconds if seconds and frames else None
