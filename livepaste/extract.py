"""Frames of a clip or a photo to faces of a face set: which are kept, which are not and why.

Knows frames and a finder by their shape only; where frames come from and who shows progress is up to the caller.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from livepaste.actors.head import Shot
from livepaste.align import OUTLINE, STORED_COVERAGE, Alignment, align, crop, mean_mesh, pose_degrees, transform
from livepaste.errors import ClipError, FaceSetError
from livepaste.faceset import FaceRow, FaceSetInfo, append_face, read_faceset, read_info, write_info
from livepaste.masks.hull import shown_of_hull
from livepaste.pictures import read_picture
from livepaste.twins import Kept, features
from livepaste.types import Face, Frame

_SAVE_EVERY = 100  # frames between two notes of how far a source has been read
_BLURRED = 0.25  # of the sharpness usual in the same source (median of the last faces looked at)
_DARK, _BRIGHT = 0.04, 0.97  # mean luma of a face of which nothing can be learnt
_CUT_OFF = 0.10  # share of the face's outline outside the picture
_VISIBLE = 0.4  # of the face by its landmarks; of less there is nothing to learn
_FACE_WIDTH = float(np.ptp(mean_mesh().points_xyz[:, 0]))  # template units


# where a face of a frame is visible: uint8 (s, s), 255 = visible face, in the pixels of the alignment's crop
MaskOf = Callable[[Frame, Face, Alignment], np.ndarray]


@dataclass
class Tally:
    """What became of one source."""

    frames: int = 0  # read so far
    looked: int = 0  # of those, looked at: with --every fewer
    faces: int = 0  # seen, whether kept or not
    kept: int = 0
    cuts: int = 0  # after which nobody continues, and the largest face is taken
    anew: int = 0  # times that a face was taken up which does not continue from the one before, without a cut
    skipped: Counter[str] = field(default_factory=Counter)  # reason -> frames or faces
    done: bool = False
    bytes: int = 0  # of the file
    content: str = ""  # hash of it: another one of the same name is another source

    def to_record(self) -> dict[str, Any]:
        return {**vars(self), "skipped": dict(self.skipped)}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Tally:
        known = {key: record[key] for key in cls.__dataclass_fields__ if key in record}
        counts = [value for key, value in known.items() if key not in ("skipped", "done", "content")]
        skipped = known.get("skipped", {})
        if (
            not isinstance(skipped, dict)
            or not isinstance(known.get("content", ""), str)
            or not all(type(n) is int and n >= 0 for n in (*counts, *skipped.values()))
        ):
            raise FaceSetError("faceset.json: what it says of a source is damaged; extract into another folder")
        return cls(**{**known, "skipped": Counter(skipped)})


@dataclass(frozen=True)
class Limits:
    """Which faces are wanted."""

    size: int = 256  # side of a stored crop, pixels
    min_width: int = 48  # pixels across the face in its source
    keep_alike: bool = False  # keep near-duplicates too


class Collector:
    """A face set that is being filled. Opening an existing one goes on with it, if it is the same person's."""

    def __init__(self, path: Path | str, person: str, consent: str, limits: Limits) -> None:
        self.path, self.limits = Path(path), limits
        self.info = self._open(person, consent)
        self._names: set[str] = set()
        self._deleted: set[str] = set()  # by hand: not wanted again
        self._kept = Kept()
        self._rows: list[FaceRow] = []  # of earlier runs
        if (self.path / "rows.jsonl").exists():
            known = read_faceset(self.path)
            self._rows, self._deleted = known.rows, set(known.deleted)
            for row in known.rows:
                self._names.add(row.name)
                self._kept.add(features(row.crop_points(), row.pose, known.image(row), self.info.size))

    def __len__(self) -> int:
        return len(self._names)

    def last_face(self, key: str, before: int) -> FaceRow | None:
        """The last face stored of a source, of those before frame ``before``."""
        mine = [row for row in self._rows if row.source == key and _index(row.name) < before]
        return max(mine, key=lambda row: row.time_s, default=None)

    def has(self, name: str) -> bool:
        """Whether a face of this name is stored, or was until its picture was deleted."""
        return name in self._names or name in self._deleted

    def _open(self, person: str, consent: str) -> FaceSetInfo:
        wanted = FaceSetInfo(person=person, consent=consent, size=self.limits.size)
        if not (self.path / "faceset.json").exists():
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise FaceSetError(f"{self.path}: exists and is no face set; name an empty or new folder")
            write_info(self.path, wanted)
            return wanted
        info = read_info(self.path)
        for what in ("person", "consent", "size", "coverage", "center"):
            was, asked = getattr(info, what), getattr(wanted, what)
            if was != asked:
                raise FaceSetError(f"{self.path}: holds {what} {was!r}, asked for {asked!r}; use another folder")
        return info

    def source(self, name: str, size_bytes: int, content: str = "") -> tuple[str, Tally]:
        """The name a file goes by in this set, and what is known of it from an earlier run.

        ``content``: ``content_of`` it; where the set does not know that of a file (it is of an earlier livepaste), name and size
        say which it is.
        """
        number, key = 1, name
        while key in self.info.sources:
            tally = Tally.from_record(self.info.sources[key])
            if tally.bytes == size_bytes and tally.content in ("", content):
                tally.content = content
                return key, tally
            number += 1
            key = f"{name} ({number})"
        return key, Tally(bytes=size_bytes, content=content)

    def note(self, key: str, tally: Tally) -> None:
        """Write down how far a source has been read."""
        self.info = replace(self.info, sources={**self.info.sources, key: tally.to_record()})
        write_info(self.path, self.info)

    def take(
        self,
        key: str,
        tally: Tally,
        frames: Iterable[Frame],
        find: Callable[[Frame], tuple[Face, ...]],
        *,
        every: int = 1,
        most: int | None = None,
        pace: int = 0,
        mask_of: MaskOf | None = None,
        mask_by: str = "",
    ) -> Iterator[Tally]:
        """Add the faces of a source; yields the running tally after each frame (which is what a progress bar needs).

        ``most`` faces at the most, those of earlier runs among them; with ``pace``, the number of the source's frames, they are
        spread over all of them. ``mask_by``: see :class:`~livepaste.faceset.FaceRow`.
        """
        if most is not None and tally.kept >= most:
            return
        usual: list[float] = []  # sharpness of the last faces
        for frame in frames:
            if frame.index % every == 0:
                room = None if most is None else most
                if most is not None and pace:
                    room = min(most, int(most * (frame.index + 1) / pace) + 1)
                self._take_frame(key, tally, frame, find(frame), usual, room, mask_of, mask_by)
            tally.frames = frame.index + 1
            if tally.frames % _SAVE_EVERY == 0:
                self.note(key, tally)
            yield tally
            if most is not None and tally.kept >= most:
                break

    def _take_frame(
        self,
        key: str,
        tally: Tally,
        frame: Frame,
        faces: tuple[Face, ...],
        usual: list[float],
        room: int | None,
        mask_of: MaskOf | None,
        mask_by: str,
    ) -> None:
        tally.looked += 1
        if not faces:
            tally.skipped["no face"] += 1
        for number, face in enumerate(faces):
            name = _name(key, frame.index) + (f"_{number}" if number else "")
            self.take_face(key, tally, name, frame, face, usual, room, mask_of, mask_by)

    def take_face(
        self,
        key: str,
        tally: Tally,
        name: str,
        frame: Frame,
        face: Face,
        usual: list[float],
        room: int | None = None,
        mask_of: MaskOf | None = None,
        mask_by: str = "",
        as_of: Callable[[FaceRow], FaceRow] | None = None,
    ) -> None:
        """Add one face of a frame by this name, or count why not. ``usual``: the sharpness of the last ones, which it joins.

        ``as_of``: makes the row of a frame that was cut out of another one that of the other.
        """
        tally.faces += 1
        if name in self._names:  # stored by a run that was killed before it could note how far it was
            tally.kept += 1
            return
        if name in self._deleted:
            tally.skipped["deleted before"] += 1
            return
        alignment = align(face.points_xyz, self.info.size)
        picture = crop(frame.image, alignment)
        row = _row(name, key, frame, face, alignment.frame_to_crop, alignment.scale, picture)
        if as_of is not None:
            row = as_of(row)
        reason = self._fault(row, face, frame, picture, usual)
        if reason is None and room is not None and tally.kept >= room:
            reason = "more than --max"
        if reason:
            tally.skipped[reason] += 1
            return
        mask = None
        if mask_of is not None:
            mask, row = mask_of(frame, face, alignment), replace(row, mask_by=mask_by)
            if shown_of_hull(mask, row.crop_points()[:, :2]) < _VISIBLE:
                tally.skipped["mostly hidden"] += 1
                return
        self.add(row, picture, mask)
        tally.kept += 1

    def add(self, row: FaceRow, picture: UInt8[np.ndarray, "s s 3"], mask: UInt8[np.ndarray, "s s"] | None) -> None:
        """Store one face."""
        append_face(self.path, row, picture, mask)
        self._names.add(row.name)
        self._kept.add(features(row.crop_points(), row.pose, picture, self.info.size))

    def _fault(self, row: FaceRow, face: Face, frame: Frame, picture: np.ndarray, usual: list[float]) -> str | None:
        """Why a face is not wanted; None when it is."""
        if row.width_px < self.limits.min_width:
            return "too small"
        h, w = frame.image.shape[:2]
        outline = face.points_xyz[list(OUTLINE), :2]
        if ((outline < 0) | (outline > (w - 1, h - 1))).any(1).mean() > _CUT_OFF:
            return "cut off by the picture's edge"
        if not _DARK <= row.exposure <= _BRIGHT:
            return "too dark" if row.exposure < _DARK else "too bright"
        usual.append(row.sharpness)
        del usual[:-151]
        if len(usual) >= 15 and row.sharpness < _BLURRED * float(np.median(usual)):
            return "blurred"
        looks = features(row.crop_points(), row.pose, picture, self.info.size)
        if not self.limits.keep_alike and self._kept.has_alike(looks):
            return "near-duplicate"
        return None


def _name(source: str, index: int) -> str:
    """A file name of plain letters; a source's name that had to be changed for it gets a hash, or two would be one."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", source)
    if not re.fullmatch(r"[A-Za-z0-9_-]+\.[A-Za-z0-9]+", source):
        plain += f"-{hashlib.sha256(source.encode()).hexdigest()[:8]}"
    return f"{plain}_{index:06d}"


def _index(name: str) -> int:
    """The number of the frame that a face's name was made of."""
    found = re.search(r"_(\d{6,})(?:_\d+)?$", name)
    return int(found[1]) if found else -1


def performed_row(source: str, index: int, time_s: float, shot: Shot) -> FaceRow:
    """The row of a face that an actor drew straight into the crop: its frame is the crop."""
    frame = Frame(shot.image, Fraction(time_s), index)
    matrix = np.eye(2, 3, dtype=np.float32)
    return _row(_name(source, index), source, frame, Face(shot.points_xyz), matrix, 1.0, shot.image)


def _row(
    name: str,
    source: str,
    frame: Frame,
    face: Face,
    frame_to_crop: Float32[np.ndarray, "2 3"],
    scale: float,
    picture: UInt8[np.ndarray, "s s 3"],
) -> FaceRow:
    size = len(picture)
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    points = transform(face.points_xyz, frame_to_crop)
    inner = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(inner, cv2.convexHull(points[:, :2].round().astype(np.int32)), 1)
    edges = cv2.Laplacian(luma, cv2.CV_32F)[cv2.erode(inner, np.ones((5, 5), np.uint8)) > 0]
    return FaceRow(
        name=name,
        source=source,
        time_s=float(frame.time),
        points_xyz=face.points_xyz,
        frame_to_crop=frame_to_crop,
        pose=pose_degrees(face.points_xyz),
        sharpness=float(edges.var()) if edges.size else 0.0,
        exposure=float(luma[inner > 0].mean()) / 255 if inner.any() else 0.0,
        width_px=_FACE_WIDTH * size / STORED_COVERAGE / scale,
    )


def content_of(path: Path) -> str:
    """A hash of a file's length, beginning, middle and end: tells files apart without reading gigabytes. "" when it cannot be read."""
    part = 1 << 20
    try:
        with path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            hashed = hashlib.sha256(str(length).encode())
            for start in sorted({0, max(0, length // 2 - part // 2), max(0, length - part)}):
                file.seek(start)
                hashed.update(file.read(part))
    except OSError:  # whoever opens it next says so
        return ""
    return hashed.hexdigest()[:16]


def masks_from(folder: Path | str) -> MaskOf:
    """Reads a frame's own mask, ``000000.png`` …, as drawn by whoever made the clip."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ClipError(f"{folder}: no such folder of masks")

    def mask_of(frame: Frame, face: Face, alignment: Alignment) -> np.ndarray:
        path = folder / f"{frame.index:06d}.png"
        mask = read_picture(path, cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise ClipError(f"{path}: no mask for frame {frame.index}; the masks must be of this clip, one a frame")
        if mask.shape != frame.image.shape[:2]:
            raise ClipError(f"{path}: mask is {mask.shape[::-1]}, the clip's frames {frame.image.shape[1::-1]}")
        return crop(mask, alignment)

    return mask_of


def read_photo(path: Path) -> Frame:
    """A photo as a frame, turned upright as its camera noted. Raises ClipError when it cannot be read."""
    if not path.exists():
        raise ClipError(f"{path}: no such file")
    image = read_picture(path)
    if image is None:
        raise ClipError(
            f"{path}: {'no picture of less than 2^30 pixels that can be read' if path.stat().st_size else 'empty file'}"
        )
    return Frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), Fraction(0), 0)
