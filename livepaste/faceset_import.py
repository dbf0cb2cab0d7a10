"""Faces that DeepFaceLab or faceswap stored, put into a face set of livepaste's own alignment.

They come with 68 landmarks, livepaste's faces have the mesh's 478 points: so the mesh is put on each stored picture where its landmarks are,
and counts only where it agrees with them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from livepaste.align import Alignment, align, fit_similarity, pose_degrees, transform
from livepaste.errors import HostileFileError
from livepaste.extract import Collector, MaskOf, Tally, content_of
from livepaste.faceset import FaceRow
from livepaste.foreign import ForeignFace, ForeignMask
from livepaste.foreign_sets import Entry
from livepaste.landmarks import apart, is_stored_so, onto
from livepaste.types import Face, Frame

# Share of the face's size by which mesh and landmarks may lie apart. Drawn actors' are 0.005 to 0.012 apart; programs differ by more in what
# they call a corner, and another face in the picture is half a face's size away.
AGREE = 0.06
FPS = 25  # frames a second that a frame's number counts as; none of the formats holds a rate. It says which faces are near copies in time
_NARROW = 0.06  # share of the crop's side that may reach beyond the stored picture without a word

# a face in a picture: near these landmarks, or the one nearest the picture's middle where there are none
FindAt = Callable[[UInt8[np.ndarray, "h w 3"], Float64[np.ndarray, "68 2"] | None], Face | None]


@dataclass(frozen=True, eq=False)
class Origin:
    """Where a picture that another program cut out came from."""

    source: str  # name of the file
    time_s: float
    picture_to_frame: Float64[np.ndarray, "2 3"]  # a similarity

    def of(self, row: FaceRow) -> FaceRow:
        """The row of a face in that picture as one of the frame."""
        points = transform(row.points_xyz.astype(np.float64), self.picture_to_frame).astype(np.float32)
        from_frame = np.vstack([cv2.invertAffineTransform(self.picture_to_frame), (0, 0, 1)])
        return replace(
            row,
            source=self.source,
            time_s=self.time_s,
            points_xyz=points,
            frame_to_crop=(row.frame_to_crop @ from_frame).astype(np.float32),
            pose=pose_degrees(points),
            width_px=row.width_px * float(np.hypot(*self.picture_to_frame[0, :2])),
        )


@dataclass
class Told:
    """What an import has to say beside its tally."""

    examples: dict[str, str] = field(default_factory=dict)  # reason -> the first file that was left out for it
    own_masks: int = 0  # taken over
    narrow: int = 0  # pictures that hold less than a stored face shows


def refuse_hostile(listed: list[Entry]) -> None:
    """Read what all of them say, before anything is written. Raises HostileFileError for the first that asks for more than to be read."""
    for entry in listed:
        try:
            entry.read()
        except HostileFileError:
            raise
        except (ValueError, OSError):  # said when its turn comes
            continue


def known_as(source: Path, listed: list[Entry], collector: Collector) -> tuple[str, Tally]:
    """The name a source goes by in the face set, noted there at once: a folder of the same name is another one even after a Ctrl-C.

    A folder is known by its first picture: more may be added to it. Without that picture it goes by another name, and so do frames whose
    files say no film's name; its faces are known by themselves, see :func:`take`.
    """
    name = os.fsencode(source.resolve().name).decode("utf-8", "replace") or "import"
    content = content_of(listed[0].path)
    key, tally = collector.source(name, 0, content)[0], Tally(content=content)
    collector.note(key, tally)
    return key, tally


def take(
    key: str, tally: Tally, listed: list[Entry], collector: Collector, find: FindAt, mask_of: MaskOf | None, told: Told
) -> Iterator[int]:
    """Add the faces of a source, under names made of their files' names and bytes, so that another run adds what is new; yields their
    number so far.

    ``mask_of`` makes the masks of faces that come without one that means visible face; None: they get none.
    """
    usual: list[float] = []
    for number, entry in enumerate(listed, 1):
        tally.frames = tally.looked = number
        try:
            data = entry.data()
            if collector.has(name := _name(entry.name, data)):
                tally.skipped["imported before, or deleted since"] += 1
            else:
                _take_one(key, tally, name, entry, entry.read(data), collector, find, mask_of, told, usual)
        except (ValueError, OSError) as error:
            if isinstance(error, HostileFileError):
                raise
            words = error.strerror or "cannot be read" if isinstance(error, OSError) else str(error)
            # in brackets is how it came to light, in each file another way
            tally.skipped[words.partition(" (")[0]] += 1
        for reason in tally.skipped:
            told.examples.setdefault(reason, entry.name)
        yield number
    tally.done = True
    collector.note(key, tally)


def _take_one(
    key: str,
    tally: Tally,
    name: str,
    entry: Entry,
    stored: ForeignFace,
    collector: Collector,
    find: FindAt,
    mask_of: MaskOf | None,
    told: Told,
    usual: list[float],
) -> None:
    image = stored.image()
    face = find(image, stored.landmarks_xy)
    if face is None:
        tally.skipped["no face found where its landmarks are"] += 1
        return
    if (
        stored.landmarks_xy is None
    ):  # faceswap's are the frame's: the similarity that lays the mesh onto them says where the picture lay
        assert stored.frame_landmarks_xy is not None
        to_frame = onto(face.points_xyz, stored.frame_landmarks_xy)
        seen, landmarks = transform(face.points_xyz, to_frame).astype(np.float32), stored.frame_landmarks_xy
    else:
        to_frame = _to_frame(stored)
        seen, landmarks = face.points_xyz, stored.landmarks_xy
    # A similarity lays most faces onto most landmarks: which of two faces in faceswap's picture is theirs, its place says
    if apart(seen, landmarks) > AGREE or (
        stored.landmarks_xy is None and not is_stored_so(face.points_xyz, image.shape[1::-1])
    ):
        tally.skipped["its landmarks are not those of the face found in it"] += 1
        return
    source, time_s = origin_of(stored.source or re.sub(r"_\d{1,2}(\.\w+)$", r"\1", entry.name), key)
    own = stored.mask is not None
    frame = Frame(image, Fraction(time_s).limit_denominator(1000), tally.frames - 1)
    kept = tally.kept
    collector.take_face(
        key,
        tally,
        name,
        frame,
        face,
        usual,
        mask_of=_laid(stored.mask, to_frame) if stored.mask is not None else mask_of,
        mask_by="" if own or mask_of is None else "network",
        as_of=Origin(source, time_s, to_frame).of,
    )
    if tally.kept > kept:
        told.own_masks += own
        told.narrow += _is_narrow(image, align(face.points_xyz, collector.info.size))


def _to_frame(stored: ForeignFace) -> Float64[np.ndarray, "2 3"]:
    """From the stored picture to the frame it was cut from, by both sets of landmarks; where that is not said the picture is the frame."""
    if stored.frame_landmarks_xy is None or stored.landmarks_xy is None:
        return np.eye(2, 3)
    return fit_similarity(stored.landmarks_xy, stored.frame_landmarks_xy)


def _laid(mask: ForeignMask, to_frame: Float64[np.ndarray, "2 3"]) -> MaskOf:
    """The mask in the pixels of the crop; what lies beyond it, or beyond the picture, is not seen."""

    def mask_of(frame: Frame, face: Face, alignment: Alignment) -> np.ndarray:
        h, w = frame.image.shape[:2]
        if mask.from_frame is None:  # pixel centres are integers, so a picture of half the side is not half the numbers
            by_x, by_y = mask.image.shape[1] / w, mask.image.shape[0] / h
            from_picture = np.array([[by_x, 0, (by_x - 1) / 2], [0, by_y, (by_y - 1) / 2]])
        else:
            from_picture = _after(mask.from_frame, to_frame)
        from_crop = _after(from_picture, cv2.invertAffineTransform(alignment.frame_to_crop.astype(np.float64)))
        side = (alignment.size, alignment.size)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        laid = cv2.warpAffine(mask.image, from_crop, side, flags=flags, borderMode=cv2.BORDER_CONSTANT)
        there = np.full((h, w), 255, np.uint8)
        return np.minimum(laid, cv2.warpAffine(there, alignment.frame_to_crop, side, borderMode=cv2.BORDER_CONSTANT))

    return mask_of


def _after(second: np.ndarray, first: np.ndarray) -> Float64[np.ndarray, "2 3"]:
    """One affine map after another."""
    return second @ np.vstack([first, (0.0, 0.0, 1.0)])


def _is_narrow(image: np.ndarray, alignment: Alignment) -> bool:
    """Whether the crop reaches beyond the picture: a narrower alignment of the other program."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64) * (alignment.size - 1)
    h, w = image.shape[:2]
    inside = transform(corners, alignment.crop_to_frame)
    beyond = max(-inside.min(), (inside - (w - 1, h - 1)).max()) * alignment.scale
    return bool(beyond > _NARROW * alignment.size)


def origin_of(name: str, key: str) -> tuple[str, float]:
    """The source and second of a file's name: ``clip_000123.png`` is second 4.92 of clip; a frame with no other name is one of ``key``."""
    base = re.split(r"[/\\]", name)[-1]
    stem = base.rpartition(".")[0] or base
    match = re.fullmatch(r"(.*?)[_\- ]*(\d{1,9})", stem)
    words, number = (match[1], int(match[2])) if match else (stem, 0)
    plain = re.sub(r"[^\w. -]+", "-", words)[:100].strip(". ")
    return plain or key, number / FPS


def _name(file: str, data: bytes) -> str:
    """A face's name: its file's in plain letters, and a hash of its bytes, which are the same in whatever folder they lie."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", file.rpartition(".")[0] or file)[:100]
    return f"{plain}-{hashlib.sha256(data).hexdigest()[:12]}"
