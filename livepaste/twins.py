"""Near-duplicates: faces of one person that are alike in pose, expression and picture, of which one is enough."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from livepaste.coverage import expression

# What a face may differ by from a kept one and still be the same to training; each is about the mesh's own noise.
_SAME_POSE = 1.0  # degrees, yaw, pitch and roll each
_SAME_EXPRESSION = 0.012  # template units or eye widths, the largest of the measures
_SAME_PICTURE = 2.0  # mean difference of 16 × 16 luma thumbnails


def features(
    points: Float32[np.ndarray, "478 c"],
    pose: tuple[float, float, float],
    picture: UInt8[np.ndarray, "s s 3"],
    size: int,
) -> Float32[np.ndarray, 267]:
    """Pose, expression and a thumbnail, each divided by what may differ. ``points`` in pixels of ``picture``."""
    faces = expression(points, size)
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    quarter = size // 4  # the middle: the room around the face says nothing about it
    thumb = cv2.resize(
        luma[quarter // 2 : -quarter // 2, quarter // 2 : -quarter // 2], (16, 16), interpolation=cv2.INTER_AREA
    )
    return np.concatenate(
        [np.float32(pose) / _SAME_POSE, faces / _SAME_EXPRESSION, thumb.ravel().astype(np.float32) / _SAME_PICTURE]
    ).astype(np.float32)


class Kept:
    """Features of all kept faces, in an array that grows by doubling."""

    def __init__(self) -> None:
        self._array = np.zeros((256, 0), np.float32)
        self._count = 0

    def add(self, features: np.ndarray) -> None:
        if self._array.shape[1] == 0:
            self._array = np.zeros((256, len(features)), np.float32)
        if self._count == len(self._array):
            self._array = np.concatenate([self._array, np.zeros_like(self._array)])
        self._array[self._count] = features
        self._count += 1

    def has_alike(self, features: np.ndarray) -> bool:
        if not self._count:
            return False
        geometry = len(features) - 256
        kept = self._array[: self._count]
        near = (np.abs(kept[:, :geometry] - features[:geometry]) <= 1).all(1)
        pictures = kept[near][:, geometry:]
        return bool((np.abs(pictures - features[geometry:]).mean(1) <= 1).any())
