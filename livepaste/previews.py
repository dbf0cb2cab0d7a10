"""Previews over time: ``CHECKPOINT/previews/000050.jpg``, small sheets of the same held-out faces at one step after another.

A bounded number of them: where more would lie there, those go whose neighbours are nearest, so that what is left stays spread over
the whole training however long it gets.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

FOLDER = "previews"
MOST = 60
TILE_PX = 80  # side of a face
LARGEST = 30_000  # bytes
_QUALITIES = 85, 75, 65, 50, 35, 20, 10  # of JPEG: the first that is small enough


def small(sheet: UInt8[np.ndarray, "h w 3"], rows: int) -> tuple[bytes, tuple[int, int]]:
    """A sheet with so many rows of square faces, RGB, as a JPEG of faces of ``TILE_PX``, and its width and height."""
    height = rows * TILE_PX
    width = max(1, round(sheet.shape[1] * height / sheet.shape[0]))
    way = cv2.INTER_AREA if sheet.shape[0] > height else cv2.INTER_CUBIC
    bgr = cv2.cvtColor(cv2.resize(sheet, (width, height), interpolation=way), cv2.COLOR_RGB2BGR)
    data = b""
    for quality in _QUALITIES:
        data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(data) <= LARGEST:
            break
    return data, (width, height)


def listed(checkpoint: Path) -> list[tuple[int, Path]]:
    """Step and file of each, in order."""
    found = ((path.stem, path) for path in (checkpoint / FOLDER).glob("*.jpg"))
    return sorted((int(stem), path) for stem, path in found if stem.isascii() and stem.isdecimal())


def surplus(steps: Sequence[int], most: int = MOST) -> list[int]:
    """Which of these steps, in order, to give up so that ``most`` (2 or more) are left: never the first and the last."""
    kept, gone = list(steps), []
    while len(kept) > most:
        room = [after - before for before, after in zip(kept, kept[2:])]
        gone.append(kept.pop(1 + room.index(min(room))))
    return gone


def keep(checkpoint: Path, step: int, jpeg: bytes, most: int = MOST) -> None:
    """Write one, which appears when it is complete, and remove what is more than ``most``. Raises OSError."""
    folder = checkpoint / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".preview.tmp"
    temporary.write_bytes(jpeg)
    os.replace(temporary, folder / f"{step:06d}.jpg")
    there = dict(listed(checkpoint))
    for gone in surplus(list(there), most):
        there[gone].unlink(missing_ok=True)


def cut(checkpoint: Path, step: int) -> None:
    """Drop those of later steps than the one that a resume starts from. Raises OSError."""
    for later, path in listed(checkpoint):
        if later > step:
            path.unlink(missing_ok=True)
