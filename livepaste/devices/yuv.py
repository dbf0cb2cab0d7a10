"""What nearly every clip holds, 8-bit 4:2:0 pictures, to RGB and back without swscale.

To RGB it takes a third of the time of swscale's exact way, back three fifths. Read pictures differ by 0.4 grey levels on average where there
is every colour, by 2 at most, from rounding twice. Chroma lies between two lines and on every second pixel of a line, from the first one on
(ITU-T H.264, chroma location 0, "left"); swscale writes it half a pixel further right.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
from av.video.reformatter import Colorspace
from jaxtyping import UInt8

FORMATS = ("yuv420p", "yuvj420p")
CODECS = ("h264", "hevc", "mpeg4")  # in which chroma lies so where nothing else is said
# Matrix as swscale numbers it to the shares of red and blue in luma (ISO/IEC 23091-2, table 4)
_SHARES = {Colorspace.ITU709: (0.2126, 0.0722), Colorspace.FCC: (0.30, 0.11), Colorspace.ITU601: (0.299, 0.114),
           Colorspace.SMPTE240M: (0.212, 0.087), Colorspace.BT2020: (0.2627, 0.0593)}  # fmt: skip


def known(codec: str, pixel_format: str, size_wh: tuple[int, int]) -> bool:
    """Whether this module converts such pictures."""
    return codec in CODECS and pixel_format in FORMATS and size_wh[0] % 2 == size_wh[1] % 2 == 0


@cache
def _from_rgb(matrix: int, full_range: bool) -> np.ndarray:
    """RGB to Y'CbCr, all in 0 to 255, float64 affine (3, 4)."""
    red, blue = _SHARES[Colorspace(matrix)]
    luma = np.array([red, 1 - red - blue, blue])
    rows = [luma, (np.eye(3)[2] - luma) / (2 * (1 - blue)), (np.eye(3)[0] - luma) / (2 * (1 - red))]
    spans, offsets = ((255, 255, 255), (0, 128, 128)) if full_range else ((219, 224, 224), (16, 128, 128))
    return np.column_stack([np.array(rows) * np.array(spans)[:, None] / 255, offsets])


@cache
def _to_rgb(matrix: int, full_range: bool) -> np.ndarray:
    """The inverse of :func:`_from_rgb`."""
    forth = _from_rgb(matrix, full_range)
    back = np.linalg.inv(forth[:, :3])
    return np.column_stack([back, -back @ forth[:, 3]])


def to_rgb(frame: Any, matrix: int, *, full_range: bool) -> UInt8[np.ndarray, "h w 3"]:
    """A decoded frame of one of ``FORMATS`` as RGB; ``matrix`` is swscale's number (:meth:`Color.swscale_matrix`)."""
    luma, *chroma = (
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in frame.planes
    )
    return cv2.transform(cv2.merge([luma, *map(_doubled, chroma)]), _to_rgb(matrix, full_range))


def from_rgb(image: UInt8[np.ndarray, "h w 3"], matrix: int, *, full_range: bool) -> UInt8[np.ndarray, "h3 w"]:
    """Luma and below it both chroma planes, h * 3 / 2 rows, as PyAV takes ``yuv420p``."""
    h, w = image.shape[:2]
    luma, *chroma = cv2.split(cv2.transform(image, _from_rgb(matrix, full_range)))
    planes = np.empty((h // 2 * 3, w), np.uint8)
    planes[:h] = luma
    halves = planes[h:].reshape(2, h // 2, w // 2)
    for half, plane in zip(halves, chroma, strict=True):
        half[...] = _halved(plane)
    return planes


def _mean(a: np.ndarray, b: np.ndarray, share: float = 0.5, into: np.ndarray | None = None) -> np.ndarray:
    """``share`` of ``a``, the rest of ``b``. Halves are rounded to even: cv2's resize rounds them up, and pictures get redder."""
    return cv2.addWeighted(a, share, b, 1 - share, 0, dst=into)


def _doubled(chroma: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h2 w2"]:
    """Linearly between the places at which chroma lies."""
    h, w = chroma.shape
    lines = np.empty((h, 2, w), np.uint8)
    above, below = (chroma[np.clip(np.arange(h) + step, 0, h - 1)] for step in (-1, 1))
    _mean(chroma, above, 0.75, into=lines[:, 0])
    _mean(chroma, below, 0.75, into=lines[:, 1])
    own = lines.reshape(2 * h, w)
    between = own.copy()  # right of the last one there is none
    if w > 1:
        _mean(own[:, :-1], own[:, 1:], into=between[:, :-1])
    return cv2.merge([own, between]).reshape(2 * h, 2 * w)


def _halved(chroma: UInt8[np.ndarray, "h2 w2"]) -> UInt8[np.ndarray, "h w"]:
    """Weights 1, 2, 1 along the line and 1, 1 across it, around each place at which chroma lies."""
    lines = _mean(chroma[::2], chroma[1::2])
    own, right = cv2.split(lines.reshape(len(lines), -1, 2))
    left = np.concatenate([own[:, :1], right[:, :-1]], 1)
    return _mean(own, _mean(left, right))
