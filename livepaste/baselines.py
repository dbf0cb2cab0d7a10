"""What a swap has to be better than, and what it cannot be better than: pictures laid by a frame's landmarks inside the true mask."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import cv2
import numpy as np
from jaxtyping import Bool

from livepaste.align import Alignment, align, crop
from livepaste.blend import blend, to_frame
from livepaste.faceset import FaceSet
from livepaste.types import Face, Frame

Find = Callable[[np.ndarray], tuple[Face, ...]]
MEAN_OF, MEAN_SIDE = 300, 256  # faces, and pixels, of a mean face


def mean_face(faces: FaceSet) -> np.ndarray | None:
    """The persona's mean aligned face, float32 (256, 256, 3) in [0, 1]: the baseline to beat."""
    rows = faces.rows[:: max(1, len(faces) // MEAN_OF)]
    size = (MEAN_SIDE, MEAN_SIDE)
    return _mean(cv2.resize(faces.image(row), size, interpolation=cv2.INTER_AREA) for row in rows)


def mean_face_of_film(frames: Iterable[Frame], find: Find) -> np.ndarray | None:
    """The same from the persona's film, or None when no face is found in it."""
    found = ((frame.image, faces[0]) for frame in frames if (faces := find(frame.image)))
    return _mean(crop(image, align(face.points_xyz, MEAN_SIDE)) for image, face in found)


def _mean(crops: Iterable[np.ndarray]) -> np.ndarray | None:
    total, count = np.zeros((MEAN_SIDE, MEAN_SIDE, 3), np.float64), 0
    for image in crops:
        total += image
        count += 1
    return (total / count / 255).astype(np.float32) if count else None


def _laid(worn: np.ndarray, patch: np.ndarray, alignment: Alignment, mask: np.ndarray) -> np.ndarray:
    """A crop laid over the frame inside the true mask: baselines and ceiling are not charged for a mask of their own."""
    whole = blend(worn, patch.astype(np.float32), np.ones(patch.shape[:2], np.float32), alignment)
    return np.where(mask[..., None], whole, worn)


def pasted_mean(worn: np.ndarray, mean: np.ndarray, points: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The persona's mean aligned face, put onto the frame by its alignment."""
    return _laid(worn, mean, align(points, mean.shape[0]), mask)


def ceiling(worn: np.ndarray, truth: np.ndarray, points: np.ndarray, mask: np.ndarray, resolution: int, coverage: float) -> np.ndarray:  # fmt: skip
    """The truth itself, down to the model's resolution and back."""
    alignment = align(points, resolution, coverage)
    return _laid(worn, crop(truth, alignment).astype(np.float32) / 255, alignment, mask)


def through_crop(
    mask: Bool[np.ndarray, "h w"], points: np.ndarray, resolution: int, coverage: float
) -> Bool[np.ndarray, "h w"]:
    """The true mask itself, down to the model's resolution and back: how well a mask of the crop can know the frame's edge."""
    alignment = align(points, resolution, coverage)
    h, w = mask.shape
    return to_frame(crop(mask.astype(np.uint8) * 255, alignment), alignment, (0, 0, w, h)) > 127


def rectangle(worn: np.ndarray, truth: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The predecessor's way with the best picture it could have: the truth's own rectangle around the face."""
    h, w = worn.shape[:2]
    x0, y0 = np.clip(points[:, :2].min(0), 0, (w - 1, h - 1)).astype(int)
    x1, y1 = np.clip(points[:, :2].max(0) + 1, 1, (w, h)).astype(int)
    box = np.zeros((h, w), bool)
    box[y0:y1, x0:x1] = True
    return box, np.where(box[..., None], truth, worn)
