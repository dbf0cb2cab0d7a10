"""A face set: a folder of aligned faces of one person.

``NAME/faces/*.png|jpg`` (crops one may look at and delete by hand), optional ``NAME/masks/*.png`` (visible
face, same stem), ``NAME/faceset.json`` (whose face, on what basis, how it is aligned) and ``NAME/rows.jsonl``
(one row per face, appended as faces are found). A row whose picture was deleted is skipped: deleting a picture is
a supported edit. Nothing in it is executable.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from livepaste.align import CENTER, STORED_COVERAGE, TEMPLATE, transform
from livepaste.errors import FaceSetError
from livepaste.jsons import parse
from livepaste.options import CONSENT
from livepaste.pictures import read_picture, write_png

FORMAT = 1
DELETED = "picture deleted"  # how a reason for leaving out a row ends when its user wanted it so


@dataclass(frozen=True, kw_only=True)
class FaceSetInfo:
    """What ``faceset.json`` says."""

    person: str
    consent: str  # one of CONSENT: on what basis this face is used
    size: int = 256  # side of a stored crop, pixels
    coverage: float = STORED_COVERAGE  # template units
    center: tuple[float, float] = CENTER
    template: str = TEMPLATE
    format: int = FORMAT
    sources: dict[str, Any] = field(default_factory=dict)  # source name -> what was taken and skipped, and why

    def __post_init__(self) -> None:
        if self.consent not in CONSENT:
            raise FaceSetError(f"unknown consent basis {self.consent!r}; known: {', '.join(CONSENT)}")


@dataclass(frozen=True, eq=False, kw_only=True)
class FaceRow:
    """One stored face."""

    name: str  # stem of its picture in faces/
    source: str  # file it came from, name only
    time_s: float
    points_xyz: np.ndarray  # float32 (478, 3), frame pixels
    frame_to_crop: np.ndarray  # float32 (2, 3)
    pose: tuple[float, float, float]  # yaw, pitch, roll in degrees
    sharpness: float  # variance of the Laplacian of the luma of the crop's inner face at its stored size
    exposure: float  # mean luma of the face, 0 to 1
    width_px: float  # of the face in its source
    # "network" where livepaste itself said where the face is visible; "" where the mask came with the picture, or there is none
    mask_by: str = ""

    def crop_points(self) -> np.ndarray:
        """The landmarks in crop pixels, float32 (478, 3)."""
        return transform(self.points_xyz, self.frame_to_crop)

    def to_json(self) -> str:
        record = asdict(self)
        record["points_xyz"] = [[round(v, 2) for v in point] for point in self.points_xyz.astype(float).tolist()]
        record["frame_to_crop"] = np.round(self.frame_to_crop.astype(float), 6).tolist()
        return json.dumps(record, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> FaceRow:
        record = parse(line)
        points = np.asarray(record["points_xyz"], np.float32)
        matrix = np.asarray(record["frame_to_crop"], np.float32)
        if points.ndim != 2 or points.shape[1] != 3 or len(points) != 478 or matrix.shape != (2, 3):
            raise ValueError("landmarks must be (478, 3) and frame_to_crop (2, 3)")
        if not (np.isfinite(points).all() and np.isfinite(matrix).all()):
            raise ValueError("landmarks are not finite")
        name, source = record["name"], record["source"]
        if not (isinstance(name, str) and isinstance(source, str) and Path(name).name == name):
            raise ValueError(f"name {name!r} or source {source!r} is not a file's name")
        mask_by = record.get("mask_by", "")
        if not isinstance(mask_by, str):
            raise ValueError(f"mask_by {mask_by!r} is no name")
        yaw, pitch, roll = (_number(value) for value in record["pose"])
        numbers = {key: _number(record[key]) for key in ("time_s", "sharpness", "exposure", "width_px")}
        return cls(
            name=name,
            source=source,
            points_xyz=points,
            frame_to_crop=matrix,
            pose=(yaw, pitch, roll),
            mask_by=mask_by,
            **numbers,
        )


def _number(value: Any) -> float:
    if not (isinstance(value, (int, float)) and math.isfinite(value)):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)


class FaceSet:
    """A face set on disk, opened for reading."""

    def __init__(
        self, path: Path, info: FaceSetInfo, rows: list[FaceRow], skipped: list[str], deleted: list[str] | None = None
    ) -> None:
        self.path, self.info, self.rows, self.skipped, self.deleted = path, info, rows, skipped, deleted or []

    def __len__(self) -> int:
        return len(self.rows)

    def image(self, row: FaceRow) -> np.ndarray:
        """The stored crop, uint8 (size, size, 3) RGB."""
        path = picture_path(self.path, row.name)
        image = None if path is None else read_picture(path)
        if image is None or image.shape[:2] != (self.info.size, self.info.size):
            raise FaceSetError(
                f"{self.path / 'faces' / row.name}: not a {self.info.size} px picture; delete it or extract again"
            )
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def mask(self, row: FaceRow) -> np.ndarray | None:
        """The stored visible-face mask, uint8 (size, size), or None when the set has none for this face."""
        path = self.mask_path(row)
        if not path.exists():
            return None
        mask = read_picture(path, cv2.IMREAD_GRAYSCALE)
        if mask is None or mask.shape != (self.info.size, self.info.size):
            raise FaceSetError(f"{path}: not a {self.info.size} px mask; delete it or extract again")
        return mask

    def has_mask(self, row: FaceRow) -> bool:
        """Whether there is a mask of this face, readable or not."""
        return self.mask_path(row).exists()

    def mask_path(self, row: FaceRow) -> Path:
        """Where the mask is, if there is one."""
        return self.path / "masks" / f"{row.name}.png"


def picture_path(path: Path, name: str) -> Path | None:
    """The picture of a face, whatever of the known kinds it is; None when it was deleted."""
    return next((p for ext in ("png", "jpg", "jpeg") if (p := path / "faces" / f"{name}.{ext}").exists()), None)


def read_faceset(path: Path | str) -> FaceSet:
    """Open a face set. Rows that are damaged, or whose picture was deleted, are left out and named in ``skipped``.

    Raises FaceSetError when the folder is no face set, or of a newer format.
    """
    path = Path(path)
    info = read_info(path)
    rows, skipped, deleted = [], [], []
    for number, line in enumerate(_lines(path / "rows.jsonl"), 1):
        try:
            row = FaceRow.from_json(line)
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            skipped.append(f"rows.jsonl line {number}: {error}")
            continue
        if picture_path(path, row.name) is None:
            skipped.append(f"{row.name}: {DELETED}")
            deleted.append(row.name)
        else:
            rows.append(row)
    return FaceSet(path, info, rows, skipped, deleted)


def read_info(path: Path) -> FaceSetInfo:
    """Read and check ``faceset.json``."""
    file = path / "faceset.json"
    try:
        record = parse(file.read_text("utf-8"))
        if not isinstance(record, dict):
            raise ValueError("not an object")
        if record["format"] > FORMAT:
            raise FaceSetError(f"{path}: face set format {record['format']} is newer than {FORMAT}; update livepaste")
        if record["template"] != TEMPLATE:
            raise FaceSetError(
                f"{path}: aligned to template {record['template']!r}, this version uses {TEMPLATE!r}; extract again"
            )
        known = {key: record[key] for key in FaceSetInfo.__dataclass_fields__ if key in record}
        known["center"] = tuple(known.get("center", CENTER))
        info = FaceSetInfo(**known)
        if not (isinstance(info.size, int) and 16 <= info.size <= 2048 and 0.5 <= info.coverage <= 8):
            raise ValueError("size or coverage out of range")
        if not (isinstance(info.sources, dict) and all(isinstance(source, dict) for source in info.sources.values())):
            raise ValueError("sources must be what was read of each")
        return info
    except FileNotFoundError as error:
        raise FaceSetError(
            f"{path}: no face set here (no faceset.json); make one with `livepaste extract … --to {path}`"
        ) from error
    except FaceSetError:
        raise
    except (ValueError, KeyError, TypeError, OverflowError, OSError) as error:
        raise FaceSetError(f"{file}: damaged ({error}); extract again") from error


def write_info(path: Path, info: FaceSetInfo) -> None:
    """Write ``faceset.json`` in one step."""
    path.mkdir(parents=True, exist_ok=True)
    temporary = path / ".faceset.json.tmp"
    temporary.write_text(json.dumps(asdict(info), indent=1, ensure_ascii=False) + "\n", "utf-8")
    os.replace(temporary, path / "faceset.json")


def append_face(path: Path, row: FaceRow, image: np.ndarray, mask: np.ndarray | None = None) -> None:
    """Store one face: picture first, row last, so that a row always has its picture."""
    (path / "faces").mkdir(parents=True, exist_ok=True)
    write_png(path / "faces" / f"{row.name}.png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if mask is not None:
        (path / "masks").mkdir(exist_ok=True)
        write_png(path / "masks" / f"{row.name}.png", mask)
    append_row(path, row)


def append_row(path: Path, row: FaceRow) -> None:
    """Store the row of a face whose picture is there."""
    with (path / "rows.jsonl").open("ab+") as file:
        if file.seek(0, os.SEEK_END) and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
            file.write(b"\n")  # a kill cut the last line short: only that one is lost
        file.write(row.to_json().encode() + b"\n")


def _lines(path: Path) -> Iterator[str]:
    if path.exists():
        yield from (line for line in path.read_text("utf-8", errors="replace").splitlines() if line.strip())
