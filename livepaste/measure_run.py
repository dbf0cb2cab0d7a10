"""Compare an output with its truth folder, whoever drew it, frame by frame in constant memory: a row of numbers of each frame, and what
they come to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from livepaste import measures
from livepaste.align import pose_degrees
from livepaste.baselines import Find, ceiling, pasted_mean, rectangle, through_crop
from livepaste.errors import TruthError
from livepaste.truth_folder import Truth, read_picture
from livepaste.types import Frame

AT_REST = 0.003  # of the face's width: by less than that a resting face's landmarks move from one frame to the next, on average
OWN = ""  # among masks by name, the one that the output was blended with


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What is compared. ``colored`` is the same swap with the default colour, for the seam; without it ``out`` is used."""

    truth: Truth
    out: Iterable[Frame]
    wearer: Iterable[Frame]
    colored: Iterable[Frame] | None = None
    unsteadied: Iterable[Frame] | None = None  # the same swap by the landmarks as they were found, for its flicker
    masks: Iterable[Mapping[str, np.ndarray]] | None = (
        None  # of each frame, bool (h, w): OWN, and others to compare with it
    )
    mean: np.ndarray | None  # the persona's mean aligned face
    resolution: int
    coverage: float
    feather: float


@dataclass(frozen=True, eq=False)
class Row:
    """One frame's numbers. One that is left out, or not finite, was not measured."""

    index: int
    numbers: dict[str, float]
    in_front: tuple[str, ...] = ()  # kinds of what hides some of the face
    points_xyz: np.ndarray | None = None  # of the wearer
    pictures: dict[str, np.ndarray] = field(default_factory=dict)  # to look at
    found: dict[str, np.ndarray] = field(default_factory=dict)  # mesh points in some of them, by their names


def masks_in(folder: Path, truth: Truth) -> Iterator[dict[str, np.ndarray]]:
    """The masks that ``clip --masks-to`` wrote."""
    for i in range(truth.frames):
        yield {OWN: read_picture(folder / f"{i:06d}.png", cv2.IMREAD_GRAYSCALE) > 127}


def compare(
    inputs: Inputs, find: tuple[Find, Find, Find], tell: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Any]:
    """:func:`summary` of all :func:`rows`; ``tell(done, total)`` after each."""
    kept = []
    for row in rows(inputs, find):
        kept.append(Row(row.index, row.numbers, row.in_front))  # without the pictures
        tell(row.index + 1, inputs.truth.frames)
    return summary(kept, inputs.truth)


def rows(inputs: Inputs, find: tuple[Find, Find, Find]) -> Iterator[Row]:
    """Every measure of the design that the inputs allow, frame by frame.

    ``find`` are three finders of their own, for wearer, output and truth pictures. Raises TruthError when the output
    has another number or size of frames than the truth.
    """
    last: dict[str, np.ndarray] = {}
    for i, now in enumerate(_together(inputs)):
        worn, out = now["wearer.mp4"].image, now["the output"].image
        truth, true_mask, hidden = _truth(inputs.truth, i)
        pictures = {name: now[name].image for name in _CLIPS if now[name] is not None}
        masks: Mapping[str, np.ndarray] = now["the masks"] or {}
        named = {f"the mask of frame {i}": mask for mask in masks.values()}
        for what, picture in {**pictures, "masks": true_mask, **named}.items():
            if picture.shape[:2] != truth.shape[:2]:
                raise TruthError(
                    f"{what} is {picture.shape[1]}x{picture.shape[0]}, the truth {truth.shape[1]}x{truth.shape[0]}"
                )
        faces = find[0](worn)
        points = faces[0].points_xyz if faces else None
        numbers = {"faceless": float(points is None)}
        face_px = _width_of(true_mask) if points is None else float(np.linalg.norm(points[454, :2] - points[234, :2]))
        region = measures.erode_px(true_mask, inputs.feather * face_px)
        # Where no face is found, the swap is what it is, and whatever is laid by the face stays undone.
        laid = {"swap": out, "unswapped": worn, "ceiling": worn}
        if points is not None:
            laid["ceiling"] = ceiling(worn, truth, points, true_mask, inputs.resolution, inputs.coverage)
        if inputs.mean is not None:
            laid["mean_face"] = worn if points is None else pasted_mean(worn, inputs.mean, points, true_mask)
        shown = pictures.get("--colored", out)
        if inputs.colored is not None:
            laid["colored"] = shown
        for name, picture in laid.items():
            numbers[f"{name}_mse"] = measures.squared_error(picture, truth, region)
            if name != "colored":
                numbers[f"{name}_ssim"] = measures.swap_ssim(picture, truth, region)
        found = {
            name: faces[0].points_xyz
            for name, look, image in (("swapped", find[1], out), ("truth", find[2], truth))
            if (faces := look(image))
        }
        numbers |= _landmarks(found)
        for name, mask in masks.items():
            numbers |= _of_mask(f"_{name}" if name else "", mask, true_mask, hidden, face_px)
        if points is not None:
            through = through_crop(true_mask, points, inputs.resolution, inputs.coverage)
            for name, value in _of_mask("", through, true_mask, None, face_px).items():
                numbers[f"ceiling_{name}"] = value
        if OWN in masks:
            numbers["seam"], numbers["band_sharpness"] = measures.seam(shown, worn, masks[OWN], face_px)
            if points is not None:
                box, pasted = rectangle(worn, truth, points)
                numbers["seam_rectangle"] = measures.seam(pasted, worn, box, face_px)[0]
        change = measures.noise_change(inputs.truth.noise_sigma)
        moving = {"flicker": out, "flicker_unswapped": worn}
        if points is not None:
            moving["flicker_ceiling"] = laid["ceiling"]
        if inputs.unsteadied is not None:
            moving["flicker_unsteadied"] = pictures["the output without a filter"]
        if last and change:
            both = region & last["mask"]
            for name, picture in moving.items():
                if name in last:
                    numbers[name] = measures.flicker((last[name], picture), (last["truth"], truth), both) / change
            if points is not None and "points" in last:
                moved = float(np.abs(points[:, :2] - last["points"][:, :2]).mean()) / face_px
                numbers["flicker_at_rest" if moved < AT_REST else "flicker_in_motion"] = numbers["flicker"]
        last = {**moving, "truth": truth, "mask": true_mask, **({} if points is None else {"points": points})}
        view = {"input": worn, "swapped": shown, "truth": truth}
        if OWN in masks:
            view["mask"] = masks[OWN].astype(np.uint8) * 255
        yield Row(i, numbers, inputs.truth.in_front(i), points, view, found)


def _truth(truth: Truth, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The picture, where both faces are visible, and which part of the wearer's something hides (None: that is not known)."""
    picture = read_picture(truth.path / "truth" / f"{i:06d}.png", cv2.IMREAD_COLOR)
    mask, other = (
        read_picture(truth.path / name / f"{i:06d}.png", cv2.IMREAD_GRAYSCALE) for name in ("mask", "truth_mask")
    )
    if mask.shape != other.shape:
        raise TruthError(f"{truth.path}: mask and truth_mask of frame {i} differ in size")
    hidden = None
    if truth.knows_hidden:
        clear = read_picture(truth.path / "clear_mask" / f"{i:06d}.png", cv2.IMREAD_GRAYSCALE)
        if clear.shape != mask.shape:
            raise TruthError(f"{truth.path}: mask and clear_mask of frame {i} differ in size")
        hidden = (clear > 127) & (mask <= 127)
    return picture, np.minimum(mask, other) > 127, hidden


_CLIPS = ("wearer.mp4", "the output", "--colored", "the output without a filter")  # as errors name them


def _together(inputs: Inputs) -> Iterator[dict[str, Any]]:
    """What is compared, by name, frame by frame. Raises TruthError when one is not as long as the truth."""
    named = dict(zip(_CLIPS, (inputs.wearer, inputs.out, inputs.colored, inputs.unsteadied))) | {
        "the masks": inputs.masks
    }
    streams = {name: iter(stream) for name, stream in named.items() if stream is not None}
    for i in range(inputs.truth.frames + 1):
        now = {name: next(stream, None) for name, stream in streams.items()}
        for name, item in now.items():
            if (item is None) != (i == inputs.truth.frames):
                what = "the coloured output" if name == "--colored" else name
                raise TruthError(
                    f"{what} has {i if item is None else f'more than {inputs.truth.frames}'} frames, the truth {inputs.truth.frames}; "
                    "measure the clip made from its wearer.mp4"
                )
        if i < inputs.truth.frames:
            yield dict.fromkeys(named) | now


def _of_mask(
    name: str, mask: np.ndarray, true_mask: np.ndarray, hidden: np.ndarray | None, face_px: float
) -> dict[str, float]:
    numbers = {
        f"mask_iou{name}": measures.mask_iou(mask, true_mask),
        f"mask_boundary_f{name}": measures.mask_boundary_f(mask, true_mask, face_px),
    }
    if hidden is not None:
        numbers[f"hidden_painted{name}"] = measures.share_of(mask, hidden)
    return numbers


def summary(table: Iterable[Row], truth: Truth) -> dict[str, Any]:
    """What the rows come to, by the measure's name; None stands for 'not measured'."""
    sums: dict[str, list[float]] = defaultdict(list)
    others: dict[str, None] = {}  # masks beside the own one, in order
    count = 0
    for row in table:
        count += 1
        for name, value in row.numbers.items():
            sums[name].append(value)
            measure = next((m for m in _BY_KIND if name.startswith(m)), None)
            if measure is not None:
                others[name[len(measure) :]] = None
                for part in [f"with_{kind}" for kind in row.in_front] + [
                    "with_occluders" if row.in_front else "without_occluders"
                ]:
                    sums[f"{name}_{part}"].append(value)

    def mean(name: str) -> float | None:
        values = np.array(sums[name])
        values = values[np.isfinite(values)]
        return round(float(values.mean()), 4) if len(values) else None

    def db(name: str) -> float | None:
        value = mean(f"{name}_mse")
        return None if value is None else round(measures.psnr_db(value), 2)

    parts = ("with_occluders", "without_occluders", *(f"with_{kind}" for kind in truth.occluders))
    return {
        "frames": count,
        "faceless_frames": int(sum(sums["faceless"])),
        "lost_faces": int(sum(sums["lost"])),
        "swap_psnr_db": db("swap"),
        "swap_psnr_db_unswapped": db("unswapped"),
        "swap_psnr_db_mean_face": db("mean_face"),
        "swap_psnr_db_ceiling": db("ceiling"),
        "swap_psnr_db_default_color": db("colored"),
        "swap_ssim": mean("swap_ssim"),
        "swap_ssim_unswapped": mean("unswapped_ssim"),
        "swap_ssim_mean_face": mean("mean_face_ssim"),
        **{
            f"{measure}{name}": mean(f"{measure}{name}")
            for name in others or ("",)
            for measure in _BY_KIND
            if measure != "hidden_painted" or truth.knows_hidden
        },
        **{
            f"{measure}{name}_{part}": mean(f"{measure}{name}_{part}")
            for part in parts
            if truth.occluders
            for name in others
            for measure in _BY_KIND
            if f"{measure}{name}" in sums
        },
        "mask_iou_ceiling": mean("ceiling_mask_iou"),
        "mask_boundary_f_ceiling": mean("ceiling_mask_boundary_f"),
        "seam": mean("seam"),
        "seam_rectangle": mean("seam_rectangle"),
        "band_sharpness": mean("band_sharpness"),
        "flicker": mean("flicker"),
        "flicker_at_rest": mean("flicker_at_rest"),
        "flicker_in_motion": mean("flicker_in_motion"),
        "flicker_unswapped": mean("flicker_unswapped"),
        "flicker_ceiling": mean("flicker_ceiling"),
        **({"flicker_unsteadied": mean("flicker_unsteadied")} if "flicker_unsteadied" in sums else {}),
        "expression_error": mean("expression_error"),
        "pose_error_deg": mean("pose_error_deg"),
        "made_by": truth.made_by,
    }


_BY_KIND = ("mask_iou", "mask_boundary_f", "hidden_painted")  # told apart by what is in front


def _landmarks(found: Mapping[str, np.ndarray]) -> dict[str, float]:
    seen, wanted = found.get("swapped"), found.get("truth")
    # a face that the swap destroyed has no expression to compare
    numbers = {"lost": float(wanted is not None and seen is None)}
    if seen is not None and wanted is not None:
        numbers["expression_error"] = measures.expression_error(seen, wanted)
        numbers["pose_error_deg"] = measures.pose_error_deg(pose_degrees(seen), pose_degrees(wanted))
    return numbers


def _width_of(mask: np.ndarray) -> float:
    """Pixels across a mask; 1 when it is empty."""
    columns = np.flatnonzero(mask.any(0))
    return float(np.ptp(columns) + 1) if len(columns) else 1.0
