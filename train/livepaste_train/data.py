"""Face sets as arrays that live on the device: packed uint8 pictures with their masks, and how to sample them."""

from __future__ import annotations

import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float16, Float32, Float64, Int32, UInt8, UInt32

from livepaste.align import CENTER, LEVEL, STORED_COVERAGE, Alignment, crop, transform, turned_of
from livepaste.errors import FaceSetError
from livepaste.faceset import DELETED, FaceRow, FaceSet, FaceSetInfo, read_faceset
from livepaste.heldout import held_out
from livepaste.likeness import describe, unit
from livepaste.masks.hull import hull_mask

logger = logging.getLogger(__name__)
EMPTY = 0.01  # share of the crop: a mask of less shows no face
FEWEST = 50  # faces; below, there is nothing to learn poses from
MARGIN = 1.2  # stored pixels per model pixel: resampling twice at 1:1 would blur
# of 5 degrees: yaw from -60 to 60, pitch from 30 above a frontal photograph's to 30 below
YAW_BINS, PITCH_BINS = 24, 12
SEEN, SEEN_DEG = 60, 35.0
BEYOND = 0.02  # template units that livepaste's crop may reach beyond a stored one


@dataclass(frozen=True, eq=False)
class Faces:
    """Faces of one side, packed: R | G << 8 | B << 16 | mask << 24 in one uint32 a pixel, so that a tap is one read."""

    packed: UInt32[np.ndarray, "n s s"]
    weight: Float32[np.ndarray, n]  # sampling probability, sums to 1: see ``pose_weights``
    played: Float32[np.ndarray, "n k"]  # what the face does, by its landmarks: see ``played``
    points: Float16[np.ndarray, "n 478 2"] | None = None  # its mesh, in shares of the crop's side
    whose: Int32[np.ndarray, n] | None = None  # number of its face set among those of its side

    def __len__(self) -> int:
        return len(self.packed)


def stored_side(resolution: int, coverage: float, margin: float = MARGIN) -> int:
    """Side in pixels at which faces are kept on the device, for a model's resolution and coverage."""
    return min(512, round(resolution * STORED_COVERAGE / coverage * margin / 2) * 2)


def pack(images: UInt8[np.ndarray, "n s s 3"], masks: UInt8[np.ndarray, "n s s"]) -> UInt32[np.ndarray, "n s s"]:
    """Picture and mask in one uint32 a pixel."""
    rgba = np.concatenate([images, masks[..., None]], axis=-1)
    return np.ascontiguousarray(rgba).view("<u4")[..., 0].astype(np.uint32)


def pose_weights(yaw: np.ndarray, pitch: np.ndarray, how: str = "half_yaw") -> Float32[np.ndarray, n]:
    """Sampling probabilities by pose, degrees (n,); ``how`` as the recipe's ``poses`` says it.

    ``uniform``: every bin of yaw and pitch that holds faces gets the same share, which repeats a handful of extreme faces until they are
    learned by heart; ``half``: the geometric mean of that and ``as_filmed``, which gives every face the same; ``half_yaw``: that by yaw alone.
    """
    bins = np.clip(((yaw + 60) / 120 * YAW_BINS).astype(int), 0, YAW_BINS - 1)
    if how in ("half", "uniform"):
        of_pitch = np.clip(((pitch - LEVEL + 30) / 60 * PITCH_BINS).astype(int), 0, PITCH_BINS - 1)
        bins = bins * PITCH_BINS + of_pitch
    count = np.bincount(bins, minlength=YAW_BINS)[bins]
    weight = {"as_filmed": np.ones(len(bins)), "uniform": 1 / count}.get(how, 1 / np.sqrt(count))
    return (weight / weight.sum()).astype(np.float32)


def fingerprint(packed: UInt32[np.ndarray, "n s s"], weights: list[np.ndarray]) -> str:
    """What changes when anything that is trained on does: a face, a mask, or how often it is shown."""
    made = hashlib.sha256(np.ascontiguousarray(packed))
    for weight in weights:
        made.update(weight.tobytes())
    return made.hexdigest()[:16]


def turned(facesets: list[FaceSet]) -> float:
    """How far from the camera all but one in fifty of these faces are turned at most, degrees: so far a swap can be trusted."""
    return round(float(np.percentile([turned_of(*row.pose[:2]) for f in facesets for row in f.rows], 98)), 1)


def told(faceset: FaceSet, share: float) -> dict[str, Any]:
    """A face set in numbers, of its rows alone: how many faces from how many files, how many of them are held out, and how they are.

    Degrees are those of the 2nd and the 98th in a hundred, the others medians.
    """
    rows, info = faceset.rows, faceset.info

    def range_deg(values: list[float]) -> list[float]:
        return np.percentile(values, [2, 98]).round(1).tolist()

    return {
        "person": info.person,
        "consent": info.consent,
        "faces": len(rows),
        "held_out": int(held_out(rows, share).sum()),
        "sources": len({row.source for row in rows}),
        "size": info.size,
        "yaw_deg": range_deg([row.pose[0] for row in rows]),
        "pitch_deg": range_deg([row.pose[1] - LEVEL for row in rows]),
        "sharpness": round(float(np.median([row.sharpness for row in rows])), 1),
        "exposure": round(float(np.median([row.exposure for row in rows])), 3),
        "width_px": round(float(np.median([row.width_px for row in rows]))),
    }


def likeness(faceset: FaceSet) -> list[float]:
    """What the person looks like, for ``--face enrolled``: the mean of up to ``SEEN`` faces spread over the set, those looking aside left out."""
    usual = [row for row in faceset.rows if turned_of(*row.pose[:2]) <= SEEN_DEG] or faceset.rows
    rows = usual[:: -(-len(usual) // SEEN)]
    with ThreadPoolExecutor() as pool:
        seen = list(pool.map(lambda row: describe(faceset.image(row), row.crop_points()), rows))
    return [round(float(value), 4) for value in unit(np.sum(seen, axis=0))]


def empty(masks: UInt8[np.ndarray, "n s s"]) -> np.ndarray:
    """Which of them show no face, bool (n,)."""
    return (masks > 127).mean((1, 2)) < EMPTY


def recrop(info: FaceSetInfo, side: int) -> Float64[np.ndarray, "2 3"] | None:
    """From a stored crop's pixels to those of livepaste's own crop of ``side`` pixels; None where both show the same.

    In template units both are upright squares, so it is a scale and a shift.
    """
    if abs(info.coverage - STORED_COVERAGE) < 1e-6 and np.allclose(info.center, CENTER, atol=1e-6):
        return None
    per_unit = side / STORED_COVERAGE
    scale = info.coverage / info.size * per_unit
    shift = (side - 1) / 2 - scale * (info.size - 1) / 2 + (np.array(info.center) - CENTER) * per_unit
    return np.column_stack([scale * np.eye(2), shift])


def at_side(image: UInt8[np.ndarray, "h w ..."], info: FaceSetInfo, side: int) -> UInt8[np.ndarray, "s s ..."]:
    """What a face set stores, a picture or a mask, as livepaste's own crop of ``side`` pixels."""
    matrix = recrop(info, side)
    if matrix is not None:
        return crop(image, Alignment(matrix.astype(np.float32), side))
    larger = cv2.INTER_CUBIC if image.ndim == 3 else cv2.INTER_AREA
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if info.size > side else larger)


def points_at(faceset: FaceSet, row: FaceRow, side: int) -> Float32[np.ndarray, "478 3"]:
    """A face's mesh in the pixels of that crop."""
    points, matrix = row.crop_points(), recrop(faceset.info, side)
    if matrix is not None:
        return transform(points, matrix.astype(np.float32))
    by = side / faceset.info.size
    return np.column_stack([(points[:, :2] + 0.5) * by - 0.5, points[:, 2] * by]).astype(np.float32)


def read_face(
    faceset: FaceSet, row: FaceRow, side: int
) -> tuple[UInt8[np.ndarray, "s s 3"], UInt8[np.ndarray, "s s"] | None]:
    """A stored face and its mask, if it has one, at ``side`` pixels."""
    image, mask = faceset.image(row), faceset.mask(row)
    return at_side(image, faceset.info, side), None if mask is None else at_side(mask, faceset.info, side)


def packed_face(faceset: FaceSet, row: FaceRow, side: int) -> UInt32[np.ndarray, "s s"]:
    """A stored face, packed at ``side`` pixels; without a mask it gets the hull of its landmarks."""
    image, mask = read_face(faceset, row, side)
    if mask is None:
        hull = np.rint(hull_mask(row.crop_points()[:, :2], faceset.info.size) * 255).astype(np.uint8)
        mask = at_side(hull, faceset.info, side)
    return pack(image[None], mask[None])[0]


def load_faces(faceset: FaceSet, side: int, which: np.ndarray, poses: str = "half_yaw") -> Faces:
    """Read the chosen faces at ``side`` pixels. A face without a mask gets the hull of its landmarks; one whose mask is empty
    is left out. Raises FaceSetError when nothing is left."""
    rows = [row for row, chosen in zip(faceset.rows, which, strict=True) if chosen]

    packed = np.empty((len(rows), side, side), np.uint32)

    def read(i: int) -> None:
        packed[i] = packed_face(faceset, rows[i], side)

    with ThreadPoolExecutor() as pool:
        list(pool.map(read, range(len(rows))))  # a list, so that errors are raised here
    shown = ~empty(packed.view(np.uint8)[..., 3::4])  # masks: bytes as ``pack`` lays them
    if not shown.all():
        logger.warning("%s: %d masks are empty; those faces are left out", faceset.path, (~shown).sum())
        packed, rows = packed[shown], [row for row, kept in zip(rows, shown, strict=True) if kept]
    if not rows:
        raise FaceSetError(
            f"{faceset.path}: masks are empty over whole seconds, so that nothing is left to train on or to check with; extract again, or "
            "delete the folder masks"
        )
    yaw, pitch = np.array([row.pose[:2] for row in rows]).T
    return Faces(
        packed,
        pose_weights(yaw, pitch, poses),
        np.array([played(row) for row in rows]),
        np.stack([(points_at(faceset, row, side)[:, :2] + 0.5) / side for row in rows]).astype(np.float16),
        np.zeros(len(rows), np.int32),
    )


def posed(yaw: Any, pitch: Any) -> np.ndarray:
    """Yaw and pitch, their squares and product, beside each other: (…, 5)."""
    return np.stack([yaw, pitch, yaw * yaw, pitch * pitch, yaw * pitch], -1)


def played(row: FaceRow) -> np.ndarray:
    """What is ``posed`` in twenties of degrees, and the mouth's opening: float32 (6,)."""
    yaw, pitch = row.pose[0] / 20, row.pose[1] / 20
    lips = row.points_xyz[[13, 14, 33, 263], :2]
    mouth = np.linalg.norm(lips[0] - lips[1]) / np.linalg.norm(lips[2] - lips[3])
    return np.append(posed(yaw, pitch), 4 * mouth).astype(np.float32)


def join(parts: list[Faces]) -> Faces:
    """Several wearers as one side; each gets the same share of the samples."""
    known = all(part.points is not None for part in parts)
    return Faces(
        np.concatenate([part.packed for part in parts]),
        np.concatenate([part.weight / len(parts) for part in parts]),
        np.concatenate([part.played for part in parts]),
        np.concatenate([part.points for part in parts if part.points is not None]) if known else None,
        np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts]),
    )


def open_faceset(path: str | Path, fewest: int = FEWEST, what: str = "training") -> FaceSet:
    """Open a face set for training, or ``what`` else. Raises FaceSetError when it is too small, saying what to film."""
    faceset = read_faceset(path)
    if len(faceset) < fewest:
        raise FaceSetError(
            f"{path}: {len(faceset)} faces{_damaged(faceset)}, {what} needs at least {fewest}; film a minute of talking while "
            "turning the head slowly left, right, up and down, and extract that clip too"
        )
    info = faceset.info
    beyond = np.abs(np.array(info.center) - CENTER).max() + (STORED_COVERAGE - info.coverage) / 2
    if beyond > BEYOND:  # what is wider is cut to size
        x, y = info.center
        raise FaceSetError(
            f"{path}: its faces are stored {info.coverage:g} template units wide around {x:g}, {y:g}, training takes {STORED_COVERAGE:g} around "
            f"{CENTER[0]:g}, {CENTER[1]:g}, which reaches beyond their edges; extract them again from the clips and photos they came from"
        )
    return faceset


def _damaged(faceset: FaceSet) -> str:
    """What could not be read, in brackets; pictures that were deleted were meant to be."""
    damaged = [reason for reason in faceset.skipped if not reason.endswith(DELETED)]
    return f" (and {len(damaged)} that are damaged: {damaged[0]})" if damaged else ""


def damaged(facesets: list[FaceSet]) -> str:
    """A line that says which face sets are not read whole, or nothing."""
    return "; ".join(f"{f.path}: {len(f)} faces{words}" for f in facesets if (words := _damaged(f)))


def load_side(
    facesets: list[FaceSet], side: int, share: float, fewest: int = FEWEST, poses: str = "half_yaw"
) -> tuple[Faces, Faces]:
    """Training and held-out faces of one side, sampled by pose as ``poses`` says. Raises FaceSetError when a set has fewer that show something."""
    train, held = [], []
    for faceset in facesets:
        out = held_out(faceset.rows, share)
        stored = faceset.info.size * STORED_COVERAGE / faceset.info.coverage  # pixels of it that the crop shows
        if stored < side / MARGIN - 1:
            logger.warning(
                "%s: its faces are stored at %d px, a model of this resolution sees %d: they are drawn larger, not sharper; extract with "
                "--size %d if the clips show more",
                faceset.path, stored, side / MARGIN, -(-side // 64) * 64,
            )  # fmt: skip
        train.append(load_faces(faceset, side, ~out, poses))
        held.append(load_faces(faceset, side, out, poses))
        if (left := len(train[-1]) + len(held[-1])) < fewest:
            raise FaceSetError(
                f"{faceset.path}: {left} of {len(faceset)} faces have a mask that shows a face, at least {fewest} are needed; extract "
                "again, or delete the folder masks"
            )
    return join(train), join(held)
