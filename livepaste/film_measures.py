"""What can be told of a swap without its truth: against the wearer's own film, frame by frame, and over all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from livepaste import measures
from livepaste.align import distance, pose_degrees, width
from livepaste.baselines import Find
from livepaste.measure_run import Row
from livepaste.types import Face, Mark

ROOM = 0.15  # around the swapped face, as a share of its width, in which it is looked at
LARGEST_PX = 320  # of what motion is looked for in: a larger face is made smaller
NEAR = 0.5  # of a face's size: a face found further off is somebody else's
RECTANGLE = "_rectangle"
LEAST_CHANGE = 0.3  # of 255: a film that repeats a frame changes by nothing, and no share of nothing is told


@dataclass(frozen=True, eq=False)
class Pair:
    """One frame as it came and as it left."""

    index: int
    worn: np.ndarray
    out: np.ndarray
    mark: Mark
    mask: np.ndarray | None  # float (h, w), that ``out`` was blended with
    points_xyz: np.ndarray | None  # of the wearer
    rectangle: np.ndarray | None = None  # the same swap pasted as the predecessor does
    rectangle_mask: np.ndarray | None = None
    visible: np.ndarray | None = None  # bool (h, w): where the wearer's face is visible, if that is known
    hidden: np.ndarray | None = None  # bool (h, w): which part of it something hides
    in_front: tuple[str, ...] = ()


def rows(pairs: Iterable[Pair], find: tuple[Find, Find, Find], is_cut: Callable[[np.ndarray], bool]) -> Iterator[Row]:
    """``find`` are three finders of their own: for the wearer, the output and the rectangle's output."""
    last: Pair | None = None
    for pair in pairs:
        if is_cut(pair.worn):
            last = None
        numbers = {f"mark_{pair.mark.value}": 1.0, "faceless": float(pair.points_xyz is None)}
        found: dict[str, np.ndarray] = {}
        if pair.mark is Mark.SWAPPED and pair.mask is not None and pair.points_xyz is not None:
            mask, face_px = pair.mask > 0.5, width(pair.points_xyz)
            numbers["seam"], numbers["band_sharpness"] = measures.seam(pair.out, pair.worn, mask, face_px)
            if pair.rectangle is not None and pair.rectangle_mask is not None:
                numbers["seam_rectangle"] = measures.seam(
                    pair.rectangle, pair.worn, pair.rectangle_mask > 0.5, face_px
                )[0]
            if pair.visible is not None:
                numbers["painted_beside"] = measures.share_of(~pair.visible, mask)
            if pair.hidden is not None:
                numbers["hidden_painted"] = measures.share_of(mask, pair.hidden)
                numbers["_hidden_px"] = float(np.count_nonzero(pair.hidden))
            inside = measures.erode_px(mask, 0.05 * face_px)
            numbers["sharpness"] = measures.sharpness(pair.out, pair.worn, inside)
            seen, found = _seen(pair, find)
            numbers |= seen
            if last is not None and last.mask is not None and last.mark is Mark.SWAPPED:
                moved, own = _changes(pair, last, inside)
                numbers |= {"_moved": moved, "_own": own, "flicker": moved / max(own, LEAST_CHANGE)}
        view = {"input": pair.worn, "swapped": pair.out}
        if pair.mask is not None:
            view["mask"] = np.rint(pair.mask * 255).astype(np.uint8)
        if pair.rectangle is not None:
            view["rectangle"] = pair.rectangle
        yield Row(pair.index, numbers, pair.in_front, pair.points_xyz, view, found)
        last = pair


def _seen(pair: Pair, find: tuple[Find, Find, Find]) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Expression and pose of the wearer, and of what the finder sees in the outputs; and where it sees it in the own one."""
    numbers: dict[str, float] = {}
    found: dict[str, np.ndarray] = {}
    worn = _same(find[0](pair.worn), pair)
    if worn is None:
        return numbers, found
    points = worn.points_xyz
    numbers |= _expressed("worn", points)
    for name, image, look in (("", pair.out, find[1]), (RECTANGLE, pair.rectangle, find[2])):
        if image is None:
            continue
        face = _same(look(image), pair)
        numbers[f"lost{name}"] = float(face is None)
        if face is not None:
            if not name:
                found["swapped"] = face.points_xyz
            numbers |= _expressed(f"out{name}", face.points_xyz)
            numbers[f"pose_error_deg{name}"] = measures.pose_error_deg(
                pose_degrees(face.points_xyz), pose_degrees(points)
            )
    return numbers, found


def _same(faces: tuple[Face, ...], pair: Pair) -> Face | None:
    """Of several people, the one who was swapped: other faces are larger at times."""
    assert pair.points_xyz is not None
    near = [face for face in faces if distance(face.points_xyz, pair.points_xyz) < NEAR]
    return min(near, key=lambda face: distance(face.points_xyz, pair.points_xyz), default=None)


def _expressed(who: str, points: np.ndarray) -> dict[str, float]:
    return dict(zip((f"{who}_{part}" for part in measures.EXPRESSION), map(float, measures.expression(points))))


def _changes(pair: Pair, last: Pair, region: np.ndarray) -> tuple[float, float]:
    """How much output and input change from the last frame to this one besides moving as the wearer does; of 255."""
    ys, xs = np.nonzero(region)
    if not len(ys) or last.mask is None:
        return float("nan"), float("nan")
    room = int(ROOM * np.ptp(xs)) + 8
    box = np.s_[max(0, ys.min() - room) : ys.max() + room, max(0, xs.min() - room) : xs.max() + room]
    scale = min(1.0, LARGEST_PX / max(region[box].shape))

    def cut(image: np.ndarray) -> np.ndarray:
        return cv2.resize(image[box], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)

    worn, out, worn_before, out_before = (cut(image) for image in (pair.worn, pair.out, last.worn, last.out))
    flow = measures.motion(worn, worn_before)
    both = (cut((region & (last.mask > 0.5)).astype(np.uint8) * 255) > 127) & (
        np.abs(flow).max(-1) < max(worn.shape) / 4
    )
    moved, own = (
        measures.change(new, measures.carried(old, flow), both) for new, old in ((out, out_before), (worn, worn_before))
    )
    return moved, own


def summary(table: Iterable[Row]) -> dict[str, float | int | None]:
    """What the rows come to, by the measure's name; None stands for 'not measured'."""
    table = list(table)

    def mean(name: str, kind: str | None = None) -> float | None:
        values = np.array(
            [r.numbers[name] for r in table if name in r.numbers and (kind is None or kind in r.in_front)]
        )
        values = values[np.isfinite(values)] if len(values) else values
        return round(float(values.mean()), 4) if len(values) else None

    def painted(kind: str | None = None) -> float | None:
        """Of all pixels that something hides: a frame in which a finger's tip is seen is no whole frame."""
        seen = [
            (r.numbers["hidden_painted"], px)
            for r in table
            if (px := r.numbers.get("_hidden_px", 0.0)) and (kind is None or kind in r.in_front)
        ]
        return round(sum(share * px for share, px in seen) / sum(px for _, px in seen), 4) if seen else None

    def counted(name: str) -> int:
        return int(sum(row.numbers.get(name, 0) for row in table))

    kinds = dict.fromkeys(kind for row in table for kind in row.in_front)
    rectangle = any(f"lost{RECTANGLE}" in row.numbers for row in table)
    return {
        "frames": len(table),
        **{mark.value: counted(f"mark_{mark.value}") for mark in Mark},
        "faceless_frames": counted("faceless"),
        "lost_faces": counted("lost"),
        **_expression(table, ""),
        "pose_error_deg": mean("pose_error_deg"),
        **(
            {
                "lost_faces_rectangle": counted(f"lost{RECTANGLE}"),
                **_expression(table, RECTANGLE),
                "pose_error_deg_rectangle": mean(f"pose_error_deg{RECTANGLE}"),
            }
            if rectangle
            else {}
        ),
        "seam": mean("seam"),
        "seam_rectangle": mean("seam_rectangle"),
        "band_sharpness": mean("band_sharpness"),
        "flicker": _ratio(mean("_moved"), mean("_own")),
        "sharpness": mean("sharpness"),
        **({"painted_beside": beside} if (beside := mean("painted_beside")) is not None else {}),
        **({"hidden_painted": hidden} if (hidden := painted()) is not None else {}),
        **{f"hidden_painted_with_{kind}": painted(kind) for kind in kinds},
        **{f"painted_beside_with_{kind}": mean("painted_beside", kind) for kind in kinds},
    }


def _ratio(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else round(a / max(b, LEAST_CHANGE), 4)


def _expression(table: list[Row], name: str) -> dict[str, float | None]:
    """How a film follows the wearer's expression: all of it, and each part."""
    both = [r.numbers for r in table if "worn_mouth" in r.numbers and f"out{name}_mouth" in r.numbers]
    out, worn = (
        np.array([[n[f"{who}_{part}"] for part in measures.EXPRESSION] for n in both]).reshape(-1, 3)
        for who in (f"out{name}", "worn")
    )
    made = {f"expression_error{name}": measures.expression_error_of_film(out, worn)}
    for part, error, share in zip(measures.EXPRESSION, *measures.followed(out, worn), strict=True):
        made |= {f"{part}_error{name}": error, f"{part}_range{name}": share}
    return {key: round(float(value), 4) if np.isfinite(value) else None for key, value in made.items()}
