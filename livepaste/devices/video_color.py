"""Colour tags of clips, and pictures to and from RGB by them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from jaxtyping import UInt8

from livepaste.devices import yuv

# swscale's default is off by 1 to 2 levels there and back; so it is off by 0.02 and 2 ms slower at 720p.
_EXACT_IN = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_EXACT_OUT = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP
_ALIKE = 1.0  # grey levels on average: rounding makes 0.4 at most, chroma that lies elsewhere up to 4
_UNSPECIFIED = 2  # of colour matrix, primaries and transfer (ISO/IEC 23091-2)
# Colour matrix (ISO/IEC 23091-2, table 4) to swscale's constant
_MATRICES = {1: Colorspace.ITU709, 4: Colorspace.FCC, 5: Colorspace.ITU601, 6: Colorspace.ITU601,
             7: Colorspace.SMPTE240M, 9: Colorspace.BT2020, 10: Colorspace.BT2020}  # fmt: skip


@dataclass(frozen=True)
class Color:
    """A clip's colour tags as numbered in ISO/IEC 23091-2; 2 = not stated."""

    matrix: int = _UNSPECIFIED
    primaries: int = _UNSPECIFIED
    transfer: int = _UNSPECIFIED
    full_range: bool = False

    @classmethod
    def of(cls, frame: Any) -> Color:
        """The tags of a decoded frame; a frame that is RGB already has none to carry."""
        if frame.format.is_rgb:
            return cls()
        full = frame.color_range == int(ColorRange.JPEG) or frame.format.name.startswith("yuvj")
        return cls(int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc), full)

    def swscale_matrix(self, height: int) -> int:
        """What to convert with. Not stated: BT.709 from 720 lines upward, else BT.601, as players do."""
        fallback = Colorspace.ITU709 if height >= 720 else Colorspace.ITU601
        return int(_MATRICES.get(self.matrix, fallback))

    @property
    def swscale_range(self) -> int:
        return int(ColorRange.JPEG if self.full_range else ColorRange.MPEG)


class Developer:
    """Decoded frames to RGB arrays, by the colour tags and in the size of the first one.

    PyAV does not tell where chroma lies in a frame; swscale knows. So its exact way is compared with the quick one now and then
    (frames 1, 2, 4, 8, …), and used from the first frame on that shows them to differ.
    """

    def __init__(self, first: Any, codec: str) -> None:
        self.color, self.size_wh = Color.of(first), (first.width, first.height)
        self._quick = yuv.known(codec, first.format.name, self.size_wh)
        self._format = first.format.name
        self._count = 0  # of frames gone the quick way
        self._reformatter = VideoReformatter()

    def __call__(self, frame: Any) -> UInt8[np.ndarray, "h w 3"]:
        if not self._quick or (frame.width, frame.height, frame.format.name) != (*self.size_wh, self._format):
            return self._exactly(frame)
        image = yuv.to_rgb(frame, self.color.swscale_matrix(frame.height), full_range=self.color.full_range)
        self._count += 1
        if self._count & (self._count - 1) == 0:
            exact = self._exactly(frame)
            self._quick = cv2.norm(image, exact, cv2.NORM_L1) <= _ALIKE * image.size
            return image if self._quick else exact
        return image

    def _exactly(self, frame: Any) -> UInt8[np.ndarray, "h w 3"]:
        w, h = self.size_wh
        matrix = self.color.swscale_matrix(frame.height)
        converted = self._reformatter.reformat(
            frame, width=w, height=h, format="rgb24", src_colorspace=matrix, src_color_range=self.color.swscale_range,
            interpolation=_EXACT_IN, threads=1,
        )  # fmt: skip
        return converted.to_ndarray()


class Painter:
    """RGB arrays to the encoder's pixel format, by the same matrix and range that reading would use."""

    def __init__(self, color: Color, codec: str, size_wh: tuple[int, int], pixel_format: str) -> None:
        self._color, self._format = color, pixel_format
        self._matrix = color.swscale_matrix(size_wh[1])
        self._quick = yuv.known(codec, pixel_format, size_wh)
        self._reformatter = VideoReformatter()

    def __call__(self, image: np.ndarray, pts: int, time_base: Fraction) -> Any:
        if self._quick:
            planes = yuv.from_rgb(image, self._matrix, full_range=self._color.full_range)
            frame = av.VideoFrame.from_ndarray(planes, self._format)
        else:
            frame = self._reformatter.reformat(
                av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24"),
                format=self._format,
                dst_colorspace=self._matrix,
                dst_color_range=self._color.swscale_range,
                interpolation=_EXACT_OUT,
                threads=1,
            )
        frame.color_range = self._color.swscale_range
        frame.colorspace = self._color.matrix  # the tag; the conversion is done
        frame.pts, frame.time_base = pts, time_base
        return frame
