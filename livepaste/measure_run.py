"""Compare a finished output with its truth folder, whoever drew it, frame by frame in constant memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from livepaste import measures, pictures
from livepaste.align import Alignment, align, crop, pose_degrees
from livepaste.blend import blend
from livepaste.errors import TruthError
from livepaste.faceset import FaceSet
from livepaste.jsons import parse
from livepaste.types import Face, Frame

MOST_FRAMES = 10_000_000
Find = Callable[[np.ndarray], tuple[Face, ...]]


@dataclass(frozen=True)
class Truth:
    """What ``truth.json`` says."""

    path: Path
    frames: int
    fps: Fraction
    noise_sigma: float  # of its pictures' noise, on the scale of 0 to 255
    made_by: str
    occluded: tuple[tuple[int, int], ...] = ()  # first and last frames of every time that something is before the face

    def is_occluded(self, frame: int) -> bool:
        return any(first <= frame <= last for first, last in self.occluded)


def _ranges(record: dict[str, Any]) -> tuple[tuple[int, int], ...]:
    """The frame ranges of all ``occluders``, each inclusive."""
    named = record.get("occluders", {})
    return tuple((int(first), int(last)) for ranges in named.values() for first, last in ranges)


def open_truth(path: Path) -> Truth:
    """Read ``truth.json``; raises TruthError when something is missing."""
    try:
        record = parse((path / "truth.json").read_text("utf-8"))
        if record["format"] > 1:
            raise TruthError(f"{path}: truth format {record['format']} is newer than 1; update livepaste")
        if not (0 < record["frames"] <= MOST_FRAMES and 0 < Fraction(record["fps"]) <= 1000):
            raise ValueError(f"{record['frames']} frames at {record['fps']} a second")
        if not 0 <= float(record.get("noise_sigma", 0)) <= 255:
            raise ValueError(f"noise_sigma {record['noise_sigma']}")
        truth = Truth(
            path,
            int(record["frames"]),
            Fraction(record["fps"]),
            float(record.get("noise_sigma", 2.5)),
            str(record.get("made_by", "?")),
            _ranges(record),
        )
    except FileNotFoundError as error:
        raise TruthError(f"{path}: no truth.json; make a truth folder with `livepaste actors --to {path}`") from error
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise TruthError(f"{path / 'truth.json'}: damaged ({error})") from error
    for name in ("wearer.mp4", "truth", "mask", "truth_mask"):
        if not (path / name).exists():
            raise TruthError(f"{path}: {name} is missing from the truth folder")
    return truth


def read_picture(path: Path, flags: int) -> np.ndarray:
    """A picture of the truth folder, RGB or grey."""
    image = pictures.read_picture(path, flags)
    if image is None:
        raise TruthError(f"{path}: missing or damaged")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if flags == cv2.IMREAD_COLOR else image


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


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What is compared. ``colored`` is the same swap with the default colour, for the seam; without it ``out`` is used."""

    truth: Truth
    out: Iterable[Frame]
    wearer: Iterable[Frame]
    colored: Iterable[Frame] | None
    masks: Path | None
    mean: np.ndarray | None  # the persona's mean aligned face
    resolution: int
    coverage: float
    feather: float


def compare(
    inputs: Inputs, find: tuple[Find, Find, Find], tell: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Any]:
    """Every measure of the design that the inputs allow, by its name; None stands for 'not measured'.

    ``find`` are three finders of their own, for wearer, output and truth pictures. Raises TruthError when the output
    has another number or size of frames than the truth.
    """
    sums: dict[str, list[float]] = defaultdict(list)
    last: dict[str, np.ndarray] = {}
    count = 0
    for i, (worn, out, colored) in enumerate(_together(inputs)):
        count += 1
        folder = inputs.truth.path
        truth = read_picture(folder / "truth" / f"{i:06d}.png", cv2.IMREAD_COLOR)
        mask, other = (read_picture(folder / n / f"{i:06d}.png", cv2.IMREAD_GRAYSCALE) for n in ("mask", "truth_mask"))
        if mask.shape != other.shape:
            raise TruthError(f"{folder}: mask and truth_mask of frame {i} differ in size")
        true_mask = np.minimum(mask, other) > 127
        for what, picture in (
            ("the output", out.image),
            ("masks", true_mask),
            ("wearer.mp4", worn.image),
            ("--colored", None if colored is None else colored.image),
        ):
            if picture is not None and picture.shape[:2] != truth.shape[:2]:
                raise TruthError(
                    f"{what} is {picture.shape[1]}x{picture.shape[0]}, the truth {truth.shape[1]}x{truth.shape[0]}"
                )
        faces = find[0](worn.image)
        tell(i + 1, inputs.truth.frames)
        points = faces[0].points_xyz if faces else None
        sums["_faceless"].append(points is None)
        face_px = _width_of(true_mask) if points is None else float(np.linalg.norm(points[454, :2] - points[234, :2]))
        region = measures.erode_px(true_mask, inputs.feather * face_px)
        # Where no face is found, the swap is what it is, and whatever is laid by the face stays undone.
        pictures = {"swap": out.image, "unswapped": worn.image, "ceiling": worn.image}
        if points is not None:
            pictures["ceiling"] = _ceiling(worn.image, truth, points, true_mask, inputs)
        if inputs.mean is not None:
            pictures["mean_face"] = (
                worn.image if points is None else _pasted_mean(worn.image, inputs.mean, points, true_mask)
            )
        if colored is not None:
            pictures["colored"] = colored.image
        for name, picture in pictures.items():
            sums[f"{name}_mse"].append(measures.squared_error(picture, truth, region))
            if name != "colored":
                sums[f"{name}_ssim"].append(measures.swap_ssim(picture, truth, region))
        _landmarks(sums, find, out.image, truth)
        used = _mask(inputs.masks, i, truth.shape[:2])
        if used is not None:
            found = measures.mask_iou(used, true_mask), measures.mask_boundary_f(used, true_mask, face_px)
            part = "with" if inputs.truth.is_occluded(i) else "without"
            for name, value in zip(("mask_iou", "mask_boundary_f"), found):
                sums[name].append(value)
                sums[f"{name}_{part}_occluders"].append(value)
            shown = colored.image if colored is not None else out.image
            added, sharp = measures.seam(shown, worn.image, used, face_px)
            sums["seam"].append(added)
            sums["band_sharpness"].append(sharp)
            if points is not None:
                box, pasted = _rectangle(worn.image, truth, points)
                sums["seam_rectangle"].append(measures.seam(pasted, worn.image, box, face_px)[0])
        change = measures.noise_change(inputs.truth.noise_sigma)
        pictured = {"flicker": out.image, "flicker_unswapped": worn.image}
        if last and change:
            both = region & last["mask"]
            for name, now in pictured.items():
                sums[name].append(measures.flicker((last[name], now), (last["truth"], truth), both) / change)
        last = {**pictured, "truth": truth, "mask": true_mask}
    return _summary(sums, inputs, count)


def _together(inputs: Inputs) -> Iterator[tuple[Frame, Frame, Frame | None]]:
    """Wearer, output and coloured output, frame by frame. Raises TruthError when one is not as long as the truth."""
    named = {"the output": inputs.out, "wearer.mp4": inputs.wearer, "the coloured output": inputs.colored}
    streams = {name: iter(stream) for name, stream in named.items() if stream is not None}
    for i in range(inputs.truth.frames + 1):
        now = {name: next(stream, None) for name, stream in streams.items()}
        for name, frame in now.items():
            if (frame is None) != (i == inputs.truth.frames):
                raise TruthError(
                    f"{name} has {i if frame is None else f'more than {inputs.truth.frames}'} frames, the truth {inputs.truth.frames}; "
                    "measure the clip made from its wearer.mp4"
                )
        worn, out = now["wearer.mp4"], now["the output"]
        if worn is not None and out is not None:
            yield worn, out, now.get("the coloured output")


def _summary(sums: dict[str, list[float]], inputs: Inputs, count: int) -> dict[str, Any]:
    def mean(name: str) -> float | None:
        values = np.array(sums[name])
        values = values[np.isfinite(values)]
        return round(float(values.mean()), 4) if len(values) else None

    def db(name: str) -> float | None:
        value = mean(f"{name}_mse")
        return None if value is None else round(measures.psnr_db(value), 2)

    return {
        "frames": count,
        "faceless_frames": int(sum(sums["_faceless"])),
        "lost_faces": int(sum(sums["_lost"])),
        "swap_psnr_db": db("swap"),
        "swap_psnr_db_unswapped": db("unswapped"),
        "swap_psnr_db_mean_face": db("mean_face"),
        "swap_psnr_db_ceiling": db("ceiling"),
        "swap_psnr_db_default_color": db("colored"),
        "swap_ssim": mean("swap_ssim"),
        "swap_ssim_unswapped": mean("unswapped_ssim"),
        "swap_ssim_mean_face": mean("mean_face_ssim"),
        "mask_iou": mean("mask_iou"),
        "mask_boundary_f": mean("mask_boundary_f"),
        **{
            f"{name}_{part}_occluders": mean(f"{name}_{part}_occluders")
            for part in ("with", "without")
            if inputs.truth.occluded
            for name in ("mask_iou", "mask_boundary_f")
        },
        "seam": mean("seam"),
        "seam_rectangle": mean("seam_rectangle"),
        "band_sharpness": mean("band_sharpness"),
        "flicker": mean("flicker"),
        "flicker_unswapped": mean("flicker_unswapped"),
        "expression_error": mean("expression_error"),
        "pose_error_deg": mean("pose_error_deg"),
        "made_by": inputs.truth.made_by,
    }


def _landmarks(sums: dict[str, list[float]], find: tuple[Find, Find, Find], out: np.ndarray, truth: np.ndarray) -> None:
    seen, wanted = find[1](out), find[2](truth)
    sums["_lost"].append(bool(wanted and not seen))  # a face that the swap destroyed has no expression to compare
    if seen and wanted:
        sums["expression_error"].append(measures.expression_error(seen[0].points_xyz, wanted[0].points_xyz))
        sums["pose_error_deg"].append(
            measures.pose_error_deg(pose_degrees(seen[0].points_xyz), pose_degrees(wanted[0].points_xyz))
        )


def _width_of(mask: np.ndarray) -> float:
    """Pixels across a mask; 1 when it is empty."""
    columns = np.flatnonzero(mask.any(0))
    return float(np.ptp(columns) + 1) if len(columns) else 1.0


def _mask(folder: Path | None, i: int, shape: tuple[int, ...]) -> np.ndarray | None:
    if folder is None:
        return None
    mask = read_picture(folder / f"{i:06d}.png", cv2.IMREAD_GRAYSCALE)
    if mask.shape != shape:
        raise TruthError(
            f"{folder / f'{i:06d}.png'}: {mask.shape[1]}x{mask.shape[0]}, the frames are {shape[1]}x{shape[0]}"
        )
    return mask > 127


def _laid(worn: np.ndarray, patch: np.ndarray, alignment: Alignment, mask: np.ndarray) -> np.ndarray:
    """A crop laid over the frame inside the true mask: baselines and ceiling are not charged for a mask of their own."""
    whole = blend(worn, patch.astype(np.float32), np.ones(patch.shape[:2], np.float32), alignment)
    return np.where(mask[..., None], whole, worn)


def _pasted_mean(worn: np.ndarray, mean: np.ndarray, points: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The persona's mean aligned face, put onto the frame by its alignment."""
    return _laid(worn, mean, align(points, mean.shape[0]), mask)


def _ceiling(worn: np.ndarray, truth: np.ndarray, points: np.ndarray, mask: np.ndarray, inputs: Inputs) -> np.ndarray:
    """The truth itself, down to the model's resolution and back."""
    alignment = align(points, inputs.resolution, inputs.coverage)
    return _laid(worn, crop(truth, alignment).astype(np.float32) / 255, alignment, mask)


def _rectangle(worn: np.ndarray, truth: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The predecessor's way with the best picture it could have: the truth's own rectangle around the face."""
    h, w = worn.shape[:2]
    x0, y0 = np.clip(points[:, :2].min(0), 0, (w - 1, h - 1)).astype(int)
    x1, y1 = np.clip(points[:, :2].max(0) + 1, 1, (w, h)).astype(int)
    box = np.zeros((h, w), bool)
    box[y0:y1, x0:x1] = True
    return box, np.where(box[..., None], truth, worn)
