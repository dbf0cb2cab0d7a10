"""Where a face crop sits in a frame: a similarity fitted on rigid points only.

Units: the *template* is the field's unit square of inner-face landmarks (eye corners at y ≈ 0.2, mouth at
y ≈ 0.78). A crop is ``coverage`` template units wide around ``CENTER``; 2.2 is what face sets store.
``mesh.npz`` holds the mean of 150 generated faces' meshes in template units: made by fitting the mesh to each
still, aligning (Procrustes), taking the median and making it symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import cv2
import numpy as np
from jaxtyping import Float32

TEMPLATE = "livepaste-1"  # changes when the points, the template or the centre change
STORED_COVERAGE = 2.2  # template units; face sets are stored this wide
CENTER = (0.5, 0.36)  # template units; a little above the inner face, so hairline and chin are equally far in

# Brows, eye corners, nose bridge and wings; no lips, no jaw, no eyelids: speech and blinks must not move the crop.
_BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
_EYES = (33, 133, 362, 263)
_NOSE = (168, 6, 197, 195, 5, 4, 1, 129, 358, 98, 327)
RIGID = _BROWS + _EYES + _NOSE

# The face's outline in order, the wearer's right temple over the forehead to the left and round the chin.
OUTLINE = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
UPPER_OUTLINE = (*range(29, 36), *range(0, 8))  # positions in OUTLINE: the forehead's edge, from temple to temple


@dataclass(frozen=True)
class Mesh:
    """The mean face: 478 points in template units (z < 0 nearer), 852 triangles, and each point's mirror image."""

    points_xyz: np.ndarray  # float32 (478, 3)
    triangles: np.ndarray  # int16 (852, 3); eye and mouth openings are left out
    mirror: np.ndarray  # int16 (478,)


@cache
def mean_mesh() -> Mesh:
    """The mean face mesh (read once)."""
    with (files("livepaste") / "mesh.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return Mesh(arrays["points"], arrays["triangles"], arrays["mirror"])


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where a square face crop sits in a frame."""

    frame_to_crop: Float32[np.ndarray, "2 3"]  # affine, pixels to pixels, centres at integers
    size: int  # side of the crop, pixels

    @property
    def crop_to_frame(self) -> Float32[np.ndarray, "2 3"]:
        return cv2.invertAffineTransform(self.frame_to_crop).astype(np.float32)

    @property
    def scale(self) -> float:
        """Crop pixels per frame pixel."""
        a, b = self.frame_to_crop[0, :2]
        return float(np.hypot(a, b))


def fit_similarity(from_xy: np.ndarray, to_xy: np.ndarray) -> np.ndarray:
    """Least-squares similarity (Umeyama 1991, without reflection), float64 (2, 3), that maps ``from_xy`` to ``to_xy``.

    Closed form in two dimensions: with centred points as complex numbers, scale·rotation = Σ conj(a)·b ÷ Σ|a|².
    """
    mean_a, mean_b = from_xy.mean(0), to_xy.mean(0)
    a = (from_xy - mean_a).astype(np.float64) @ (1, 1j)
    b = (to_xy - mean_b).astype(np.float64) @ (1, 1j)
    r = np.vdot(a, b) / max(np.vdot(a, a).real, 1e-12)
    linear = np.array([[r.real, -r.imag], [r.imag, r.real]])
    return np.column_stack([linear, mean_b - linear @ mean_a])


def to_template(points_xyz: np.ndarray) -> np.ndarray:
    """The similarity, float64 (2, 3), that brings a face's rigid points nearest to the template's: its pixels to template units."""
    rigid = list(RIGID)
    return fit_similarity(points_xyz[rigid, :2], mean_mesh().points_xyz[rigid, :2])


def align(points_xyz: np.ndarray, size: int, coverage: float = STORED_COVERAGE) -> Alignment:
    """The alignment of a ``size``-pixel crop, ``coverage`` template units wide, on a face's mesh points in frame pixels."""
    pixels = size / coverage
    frame_to_crop = to_template(points_xyz) * pixels
    # Template point CENTER falls on the crop's centre, (size - 1) / 2 because pixel centres are integers.
    frame_to_crop[:, 2] += (size - 1) / 2 - np.array(CENTER) * pixels
    return Alignment(frame_to_crop.astype(np.float32), size)


def crop(image: np.ndarray, alignment: Alignment, *, interpolation: int | None = None) -> np.ndarray:
    """Cut the crop out of ``image`` (any channels, dtype kept). Area-like filtering when it shrinks a lot."""
    side = (alignment.size, alignment.size)
    if interpolation is None:
        interpolation = cv2.INTER_LINEAR
        if alignment.scale < 0.6:  # linear sampling would alias: shrink the surrounding region first
            return _crop_shrunk(image, alignment)
    return cv2.warpAffine(image, alignment.frame_to_crop, side, flags=interpolation, borderMode=cv2.BORDER_REPLICATE)


def _crop_shrunk(image: np.ndarray, alignment: Alignment) -> np.ndarray:
    """Average down by a whole factor around the crop, then sample linearly."""
    step = max(2, round(1 / alignment.scale))
    s = alignment.size
    corners = transform(np.array([[0, 0], [s, 0], [0, s], [s, s]], np.float32), alignment.crop_to_frame)
    low, high = np.floor(corners.min(0)).astype(int) - 2 * step, np.ceil(corners.max(0)).astype(int) + 2 * step
    (x0, x1), (y0, y1) = (_whole_steps(int(low[i]), int(high[i]), image.shape[1 - i], step) for i in (0, 1))
    region = image[y0:y1, x0:x1]
    size_wh = (max(1, (x1 - x0) // step), max(1, (y1 - y0) // step))
    small = cv2.resize(region, size_wh, interpolation=cv2.INTER_AREA)
    gx, gy = region.shape[1] / size_wh[0], region.shape[0] / size_wh[1]
    # small pixel u sits at frame pixel x0 + (u + 0.5) * g - 0.5
    small_to_frame = np.array([[gx, 0, x0 + 0.5 * gx - 0.5], [0, gy, y0 + 0.5 * gy - 0.5], [0, 0, 1]])
    matrix = alignment.frame_to_crop.astype(np.float64) @ small_to_frame
    return cv2.warpAffine(small, matrix, (s, s), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _whole_steps(low: int, high: int, length: int, step: int) -> tuple[int, int]:
    """``low`` to ``high`` inside 0 to ``length``, less what is over a multiple of ``step``: cv2 averages whole ones in a third of the time.

    It is taken off an end that has room to spare; only of a range as long as the picture are up to ``step`` - 1 pixels lost.
    """
    low = min(max(low, 0), length - 1)
    end = min(max(high, low + 1), length)
    over = (end - low) % step
    if end - low <= step:
        return low, end
    return (low + over, end) if end == length and low > 0 else (low, end - over)


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply an affine (2, 3) to points (n, 2 or 3); z, if any, is scaled with the picture."""
    xy = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    if points.shape[1] == 2:
        return xy.astype(points.dtype)
    z = points[:, 2:] * np.hypot(matrix[0, 0], matrix[0, 1])
    return np.concatenate([xy, z], axis=1).astype(points.dtype)


def width(points: np.ndarray) -> float:
    """Longer side of the points' bounding box, pixels: a turned head is narrow but not small."""
    return float(np.ptp(points[:, :2], axis=0).max())


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Between two faces' centres, in units of the larger one's size."""
    return float(np.linalg.norm(a[:, :2].mean(0) - b[:, :2].mean(0))) / max(width(a), width(b), 1e-6)


def pose_rotation(points_xyz: np.ndarray) -> np.ndarray:
    """How the mesh is turned against the mean face by its own depth, float64 (3, 3): mean to mesh.

    Orthogonal Procrustes on the rigid points (Kabsch 1976).
    """
    rigid = list(RIGID)
    a = mean_mesh().points_xyz[rigid].astype(np.float64)
    b = points_xyz[rigid].astype(np.float64)
    u, _, vt = np.linalg.svd((a - a.mean(0)).T @ (b - b.mean(0)))
    sign = np.sign(np.linalg.det(u @ vt))
    return (u @ np.diag([1.0, 1.0, sign]) @ vt).T


def pose_degrees(points_xyz: np.ndarray) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees from the mesh's own depth, relative to the mean face.

    Yaw > 0: nose towards the picture's left. Pitch > 0: looking down. Roll > 0: clockwise in the picture.
    """
    r = pose_rotation(points_xyz)
    x, y, z = r[:, 2]  # where the face's back axis points (the nose points along -z)
    yaw = np.degrees(np.arctan2(x, z))
    pitch = np.degrees(np.arctan2(-y, np.hypot(x, z)))
    roll = np.degrees(np.arctan2(r[1, 0], r[0, 0]))
    return float(yaw), float(pitch), float(roll)


LEVEL = -9.0  # degrees of pitch that `pose_degrees` gives to frontal photographs (median of 44)


def turned_degrees(points_xyz: np.ndarray) -> float:
    """How far a face looks past the camera, whichever way: the angle between where it looks and where a frontal photograph's does."""
    return turned_of(*pose_degrees(points_xyz)[:2])


def turned_of(yaw: float, pitch: float) -> float:
    """The same from degrees as :func:`pose_degrees` gives them."""
    return float(np.degrees(np.arccos(np.cos(np.radians(yaw)) * np.cos(np.radians(pitch - LEVEL)))))
