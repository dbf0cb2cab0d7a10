"""Face sets put in order, together and apart."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from livepaste.align import LEVEL, turned_of
from livepaste.errors import FaceSetError
from livepaste.faceset import FaceRow, FaceSet, FaceSetInfo, append_row, picture_path, write_info
from livepaste.likeness import alike, describe, unit
from livepaste.pages import picture_uri

TURN_STEP = 15.0  # degrees, of `split --by turn`


def ordered(faceset: FaceSet, by: str) -> list[tuple[FaceRow, str]]:
    """Faces in order, each with its value in words. Likeness: to the set's own mean, the least alike first."""
    rows = faceset.rows
    if by == "likeness":
        vectors = np.stack([describe(faceset.image(row), row.crop_points()) for row in rows])
        mean = unit(vectors.sum(0))
        values = {row.name: alike(vector, mean) for row, vector in zip(rows, vectors, strict=True)}
        return [(row, f"{values[row.name]:.2f}") for row in sorted(rows, key=lambda row: values[row.name])]
    of = {
        "yaw": lambda row: (row.pose[0], f"{row.pose[0]:+.0f}°"),
        "pitch": lambda row: (row.pose[1], f"{row.pose[1] - LEVEL:+.0f}°"),
        "sharpness": lambda row: (row.sharpness, f"{row.sharpness:.0f}"),
        "exposure": lambda row: (row.exposure, f"{row.exposure:.2f}"),
        "width": lambda row: (row.width_px, f"{row.width_px:.0f} px"),
        "time": lambda row: ((row.source, row.time_s), f"{row.source} {row.time_s:.1f} s"),
    }[by]
    return [(row, of(row)[1]) for row in sorted(rows, key=lambda row: of(row)[0])]


def summary(faceset: FaceSet) -> dict[str, str]:
    """What a face set holds, in words by name."""
    rows, info = faceset.rows, faceset.info
    poses = np.array([row.pose for row in rows]).reshape(-1, 3) - (0.0, LEVEL, 0.0)

    def spread(values: np.ndarray, form: str) -> str:
        low, middle, high = np.percentile(values, [2, 50, 98])
        return f"{low:{form}} to {high:{form}}, half of them below {middle:{form}}"

    by_network = sum(row.mask_by == "network" for row in rows)
    masked = sum(map(faceset.has_mask, rows))
    told = {
        "person": f"{info.person} ({info.consent})",
        "faces": f"{len(rows)} of {info.size} px, coverage {info.coverage:g}",
        "sources": ", ".join(f"{name} {count}" for name, count in sorted(Counter(row.source for row in rows).items())),
    }
    if rows:
        told |= {
            "width in the source": spread(np.array([row.width_px for row in rows]), ".0f") + " px",
            "yaw": spread(poses[:, 0], "+.0f") + "°",
            "pitch": spread(poses[:, 1], "+.0f") + "°",
            "sharpness": spread(np.array([row.sharpness for row in rows]), ".0f"),
            "exposure": spread(np.array([row.exposure for row in rows]), ".2f"),
            "masks": f"{masked} faces: {masked - by_network} came with the picture, {by_network} by livepaste's network",
        }
    if faceset.deleted:
        told["aside or deleted"] = str(len(faceset.deleted))
    return told


def merge(facesets: list[FaceSet], to: Path) -> int:
    """All faces in one new set; how many. Raises FaceSetError unless they are of one person, basis and size, and ``to`` is new."""
    first = facesets[0].info
    for other in facesets[1:]:
        for what in ("person", "consent", "size", "coverage", "center"):
            mine, theirs = getattr(first, what), getattr(other.info, what)
            if mine != theirs:
                raise FaceSetError(
                    f"{other.path}: {what} is {theirs!r}, that of {facesets[0].path} is {mine!r}; only sets that agree are merged: extract one of them again, or train on both with two --wearer"
                )
    _begin(
        to, replace(first, sources={name: what for faceset in facesets for name, what in faceset.info.sources.items()})
    )
    names: set[str] = set()
    for faceset in facesets:
        for row in faceset.rows:
            _copy(faceset, row, to, names)
    return len(names)


def split(faceset: FaceSet, to: Path, by: str) -> dict[str, int]:
    """A new set in ``to`` for each source, or each 15 degrees of turn; faces by the set's name."""
    parts: dict[str, list[FaceRow]] = {}
    for row in faceset.rows:
        if by == "source":
            name = Path(row.source).stem
        else:
            step = int(turned_of(*row.pose[:2]) // TURN_STEP)
            name = f"turned_{step * TURN_STEP:.0f}_to_{(step + 1) * TURN_STEP:.0f}"
        parts.setdefault(name, []).append(row)
    if to.exists() and any(to.iterdir()):
        raise FaceSetError(f"{to}: is not empty; name a new folder")
    for name, rows in parts.items():
        kept = {row.source for row in rows}
        _begin(to / name, replace(faceset.info, sources={k: v for k, v in faceset.info.sources.items() if k in kept}))
        names: set[str] = set()
        for row in rows:
            _copy(faceset, row, to / name, names)
    return {name: len(rows) for name, rows in sorted(parts.items())}


def _begin(to: Path, info: FaceSetInfo) -> None:
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise FaceSetError(f"{to}: is not empty; name a new folder")
    write_info(to, info)
    (to / "faces").mkdir()


def _copy(faceset: FaceSet, row: FaceRow, to: Path, names: set[str]) -> None:
    """Copy one face; under another name where its own is taken."""
    picture, mask = picture_path(faceset.path, row.name), faceset.mask_path(row)
    if picture is None:  # moved or deleted meanwhile
        return
    name, number = row.name, 1
    while name in names:
        name, number = f"{row.name}_{number}", number + 1
    names.add(name)
    shutil.copyfile(picture, to / "faces" / f"{name}{picture.suffix}")
    if mask.exists():
        (to / "masks").mkdir(exist_ok=True)
        shutil.copyfile(mask, to / "masks" / f"{name}.png")
    append_row(to, replace(row, name=name))


def entry(faceset: FaceSet, row: FaceRow, words: str, side: int = 112) -> dict[str, str]:
    """A face as ``faces.html`` shows it."""
    small = cv2.resize(faceset.image(row), (side, side), interpolation=cv2.INTER_AREA)
    return {"picture": picture_uri(small), "name": row.name, "words": words}
