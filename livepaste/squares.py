"""Where a picture is looked at: the squares that the detector is shown in turn, and those that the mesh is put on."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float32

from livepaste.align import distance, width
from livepaste.mediapipe_graphs import Detection, MeshGraph, Square

_RIGHT_EYE, _LEFT_EYE = 33, 263  # outer corners
_ROOM = 1.5  # side of the square the mesh looks at, in units of the face's longer side: what the model was trained with
_NEEDED = 320  # pixels: side of a picture in which the detector sees as much as in a larger one
_TILE = 640  # pixels; a 60 px face is 18 of the detector's 192 input pixels in such a square
_MIN_PRESENCE = 0.5


def tile_boxes(width_px: int, height_px: int) -> list[tuple[int, int, int]]:
    """Squares x, y, side to look at when the whole frame shows no face.

    A large frame is covered with overlapping squares, in which small faces are larger. Around every frame there is
    one with a margin, unless the frame is very long: the detector misses a face that fills much of its input.
    """
    longer, shorter = max(width_px, height_px), min(width_px, height_px)
    side, around = min(_TILE, shorter), 2 * shorter
    boxes = []
    if around > longer:
        boxes.append(((width_px - around) // 2, (height_px - around) // 2, around))
    if longer > side * 1.1:
        boxes += [(x, y, side) for y in _starts(height_px, side) for x in _starts(width_px, side)]
    return boxes


def _starts(length: int, side: int) -> list[int]:
    """Evenly spread beginnings, each square overlapping the next by at least a quarter."""
    count = 1 + -(-(length - side) // (side * 3 // 4))
    return [round(i * (length - side) / max(1, count - 1)) for i in range(count)]


def detect_in_tile(
    detect: Callable[[np.ndarray], list[Detection]], image: np.ndarray, box: tuple[int, int, int]
) -> list[Detection]:
    """The detector on one square, its answers in frame pixels; grey where it reaches beyond the frame."""
    x, y, side = box
    h, w = image.shape[:2]
    part = image[max(0, y) : y + side, max(0, x) : x + side]
    step = 1
    if x < 0 or y < 0:
        beyond = np.array((max(0, -y), max(0, y + side - h), max(0, -x), max(0, x + side - w)))
        # averaged down to what the detector needs: a border around a 720p frame and its way into the graph cost 14 ms
        step = math.gcd(*part.shape[:2], *beyond.tolist(), 2 ** int(math.log2(max(1, side / _NEEDED))))
        part = cv2.resize(part, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_AREA)
        part = cv2.copyMakeBorder(part, *(beyond // step).tolist(), cv2.BORDER_CONSTANT, value=(110, 110, 110))
    found = []
    for d in detect(part):
        bx, by, bw, bh = d.box_xywh
        box_xywh = ((bx + 0.5) * step - 0.5 + x, (by + 0.5) * step - 0.5 + y, bw * step, bh * step)
        eyes = (d.eyes_xy + np.float32(0.5)) * np.float32(step) - np.float32(0.5) + np.float32([x, y])
        found.append(Detection(box_xywh, eyes, d.score))
    return found


def mesh_on(mesh: MeshGraph, image: np.ndarray, detections: list[Detection]) -> list[tuple[np.ndarray, float]]:
    """The mesh on detected faces, twice: a detector's box is rough, the first mesh says where to look exactly."""
    first = [r for r in mesh(image, [square_of(d) for d in detections]) if is_face(r, image)]
    return [r for r in mesh(image, [square_around(points) for points, _ in first]) if is_face(r, image)]


def square_of(detection: Detection) -> Square:
    """Where the mesh should look for a detected face."""
    x, y, w, h = detection.box_xywh
    dx, dy = detection.eyes_xy[1] - detection.eyes_xy[0]
    return Square(x + w / 2, y + h / 2, _ROOM * max(w, h), float(np.arctan2(dy, dx)))


def square_around(points: Float32[np.ndarray, "478 3"]) -> Square:
    """Where to look for a face that was here: a square turned with its eyes, around all of its points."""
    dx, dy = points[_LEFT_EYE, :2] - points[_RIGHT_EYE, :2]
    angle = float(np.arctan2(dy, dx))
    c, s = np.cos(angle), np.sin(angle)
    turned = points[:, :2].astype(np.float64) @ np.array([[c, -s], [s, c]])  # the face made upright
    low, high = turned.min(0), turned.max(0)
    x, y = np.array([[c, -s], [s, c]]) @ ((low + high) / 2)
    return Square(float(x), float(y), _ROOM * float((high - low).max()), angle)


def same_place(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two meshes lie on one face."""
    return distance(a, b) < 0.35


def lies_on(xy: tuple[float, float], points: np.ndarray) -> bool:
    """Whether a place lies on the face with these points: in the ellipse of their bounding box, so not beside its cheek."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    return bool(np.square((np.array(xy) - (low + high) / 2) / np.maximum((high - low) / 2, 1e-6)).sum() <= 1)


def is_face(result: tuple[np.ndarray, float] | None, image: np.ndarray) -> bool:
    """Present, of a size that can be a face, and more than half inside the frame."""
    if result is None or result[1] < _MIN_PRESENCE:
        return False
    points, (h, w) = result[0][:, :2], image.shape[:2]
    inside = ((points >= 0) & (points < (w, h))).all(1).mean()
    return bool(np.isfinite(points).all() and width(points) >= 12 and inside > 0.5)
