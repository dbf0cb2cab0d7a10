"""Picture files, by any name: OpenCV's own functions cannot open every path on Windows, nor say that a disk is full."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8


def read_picture(path: Path | str, flags: int = cv2.IMREAD_COLOR) -> UInt8[np.ndarray, "h w ..."] | None:
    """A picture in OpenCV's order of colours, or grey, by ``flags``; None when it is missing or cannot be read.

    Raises OSError when it may not be read. What claims to be larger than OpenCV reads (2^30 pixels) cannot be read.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    try:
        return cv2.imdecode(data, flags) if data.size else None
    except cv2.error:
        return None


def write_png(path: Path, image: UInt8[np.ndarray, "h w ..."], compression: int = 2) -> None:
    """Write a picture, OpenCV's order of colours; it appears when it is complete. Raises OSError, on a full disk too."""
    ok, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, compression])
    if not ok:
        raise ValueError(f"cannot encode {path.name}")
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(data.tobytes())
    os.replace(temporary, path)
