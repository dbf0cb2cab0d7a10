"""Finds faces in frames and follows them: frame -> tuple of faces with 478 points each.

A face that was there in the last frame is looked for where it was (mesh only, 4 to 7 ms each). When one is lost, or
more may appear, the full-range detector looks at the whole frame and, in turn, at overlapping squares of it, so that
faces from 60 px upward are found; the mesh is then put on what it saw. A face that comes back near where it was lost
keeps its track number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from types import TracebackType

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from livepaste.align import distance, width
from livepaste.mediapipe_graphs import Detection, DetectionGraph, MeshGraph, Square
from livepaste.options import FACE_CHOICES, one_of
from livepaste.types import Face, Frame

_RIGHT_EYE, _LEFT_EYE = 33, 263  # outer corners
_ROOM = 1.5  # side of the square the mesh looks at, in units of the face's longer side: what the model was trained with
_NEEDED = 320  # pixels: side of a picture in which the detector sees as much as in a larger one
_TILE = 640  # pixels; a 60 px face is 18 of the detector's 192 input pixels in such a square
# Frames between two looks for newcomers while somebody is followed: 7.5 a second at 30 fps, by turns at the whole frame and at a square
# of it. Both at once made every eighth frame 20 ms late.
_DISCOVER_EVERY = 4
_REMEMBER = Fraction(1)  # seconds a lost track may still be taken up again
# seconds until somebody who was there beside the chosen one, so is somebody else, may be chosen instead
_WAIT = Fraction(10)
_CLEARLY = 1.2  # times wider: who is the largest does not change with every breath
_MAX_FACES = 8  # never more than this many meshes a frame: crowds are not what this is for
_MIN_PRESENCE = 0.5


@dataclass(eq=False)
class _Track:
    number: int
    points: np.ndarray  # float32 (478, 3), the last seen
    seen: Fraction  # time of the frame it was last seen in
    score: float = 1.0


@dataclass
class Finder:
    """Call it with each frame in order; ``face`` says which one comes first in the answer.

    auto: the one that continues, at first the largest. largest, left, right: by size or place in this frame, as seen in the picture.
    all: largest first. When the chosen one is lost nobody else is chosen for a second, nor for ten whoever stood beside it: the mesh
    loses everybody who turns away. With ``max_faces`` = 1 the answer holds the chosen one only. One finder belongs to one clip or
    camera and one thread. ``seen``: who looks for newcomers beside it, and what was seen lately; without it the finder looks itself
    while it follows others.
    """

    max_faces: int = 1
    face: str = "auto"
    seen: Callable[[], list[Detection]] | None = None
    _tracks: list[_Track] = field(default_factory=list, init=False)
    _lost: list[_Track] = field(default_factory=list, init=False)
    _numbers: int = field(default=0, init=False)
    _calls: int = field(default=0, init=False)
    _looks: int = field(default=0, init=False)  # at squares of frames, each in its turn
    _main: int | None = field(default=None, init=False)  # track of the chosen one
    _main_seen: Fraction = field(default=Fraction(0), init=False)
    _main_points: np.ndarray = field(default_factory=lambda: np.zeros((478, 3), np.float32), init=False)
    # tracks seen together with it, so other people, and where last
    _beside: dict[int, np.ndarray] = field(default_factory=dict, init=False)
    _asked: str = field(default="", init=False)  # which face was

    def __post_init__(self) -> None:
        one_of("face", self.face, FACE_CHOICES)
        self._asked = self.face
        if self.max_faces < 1:
            raise ValueError(f"max_faces must be at least 1, got {self.max_faces}")
        self._mesh, self._detect = MeshGraph(), DetectionGraph()
        # To say which is largest or leftmost, all must be known; `auto` needs only the one it follows.
        self._wanted = 1 if self.face == "auto" and self.max_faces == 1 else max(4, self.max_faces)

    def __call__(self, frame: Frame) -> tuple[Face, ...]:
        """The faces in this frame, the chosen one first. None is chosen while the one that was is waited for."""
        image, time = frame.image, frame.time
        before = len(self._tracks)
        self._follow(image, time)
        self._lost = [t for t in self._lost if abs(time - t.seen) <= _REMEMBER]
        lost = len(self._tracks) < before
        if not self._tracks or lost:
            self._discover(image, time, whole=True, square=True)
        elif len(self._tracks) < self._wanted and self._calls % _DISCOVER_EVERY == 0:
            turn = self._calls // _DISCOVER_EVERY % 2
            if self.seen is not None:
                self._take_up(mesh_on(self._mesh, image, self._new(self.seen())), time)
            else:
                self._discover(image, time, whole=turn == 0, square=turn == 1)
        self._calls += 1
        faces = [Face(t.points, t.score, t.number, chosen=False) for t in self._tracks]
        return tuple(self._in_order(faces, time)[: self.max_faces])

    @property
    def gone(self) -> tuple[Face, ...]:
        """Where those were last seen that the last frame lost, or one within the second before it."""
        return tuple(Face(t.points, t.score, t.number, chosen=False) for t in self._lost)

    def expect(self, points: np.ndarray, time: Fraction) -> None:
        """Go on with a face that was there, at ``time``, before this finder was: it is looked for where it was."""
        track = _Track(self._numbers, points, time)
        self._numbers += 1
        self._tracks, self._main, self._main_seen, self._main_points = [track], track.number, time, points

    def reset(self) -> None:
        """Forget every track: the next frame has nothing to do with the last."""
        self._tracks, self._lost, self._main = [], [], None
        self._beside.clear()

    def close(self) -> None:
        self._mesh.close()
        self._detect.close()

    def __enter__(self) -> Finder:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _follow(self, image: np.ndarray, time: Fraction) -> None:
        kept: list[_Track] = []
        for track, result in zip(self._tracks, self._mesh(image, [square_around(t.points) for t in self._tracks])):
            if _is_face(result, image) and not any(_same_place(result[0], other.points) for other in kept):
                track.points, track.score, track.seen = result[0], result[1], time
                kept.append(track)
            else:
                self._lost.append(track)
        self._tracks = kept

    def _discover(self, image: np.ndarray, time: Fraction, *, whole: bool, square: bool) -> None:
        """Look for faces that are not followed: the whole frame, and if it shows none, one square of it.

        What counts is a mesh, not a detection: of a small face the whole frame often gives a box too rough for one.
        """
        tiles = tile_boxes(image.shape[1], image.shape[0])
        found = mesh_on(self._mesh, image, self._new(self._detect(image))) if whole or not tiles else []
        if not found and tiles and square:
            box = tiles[self._looks % len(tiles)]
            self._looks += 1
            found = mesh_on(self._mesh, image, self._new(detect_in_tile(self._detect, image, box)))
        self._take_up(found, time)

    def _take_up(self, found: list[tuple[np.ndarray, float]], time: Fraction) -> None:
        """Follow those that may be followed, as far as there is room."""
        for points, score in self._admitted(found):
            if len(self._tracks) < min(self._wanted, _MAX_FACES) and not any(
                _same_place(points, t.points) for t in self._tracks
            ):
                self._tracks.append(_Track(self._number(points), points, time, score))

    def _new(self, detections: list[Detection]) -> list[Detection]:
        """Those away from the followed faces, surest first for the sake of a bound on work."""
        fresh = [d for d in detections if not any(_holds(t.points, d) for t in self._tracks)]
        return sorted(fresh, key=lambda d: -d.box_xywh[2] * d.score)[:_MAX_FACES]

    def _admitted(self, found: list[tuple[np.ndarray, float]]) -> list[tuple[np.ndarray, float]]:
        """Those that may be followed: when only one is wanted and it was lost within the last second, that one only.

        Somebody else who is there meanwhile, alone or not, waits: a face set is one person's. After a cut, ``reset``.
        """
        if self._wanted > 1 or not self._lost:
            return found
        last = self._lost[-1].points
        near = [r for r in found if distance(r[0], last) <= 1.0]
        return [min(near, key=lambda r: distance(r[0], last))] if near else []

    def _number(self, points: np.ndarray) -> int:
        """The number of the lost track that was nearest, if within a face's width; else a new one."""
        near = [(distance(points, t.points), t) for t in self._lost]
        best = min(near, key=lambda pair: pair[0], default=None)
        if best is not None and best[0] <= 1.0:
            self._lost.remove(best[1])
            return best[1].number
        self._numbers += 1
        return self._numbers - 1

    def _in_order(self, faces: list[Face], time: Fraction) -> list[Face]:
        """The chosen one first, then by size."""
        faces.sort(key=lambda f: -width(f.points_xyz))
        chosen = self._choose(faces, time)
        if chosen is None:
            return faces if self.max_faces > 1 else []
        if chosen.track != self._main:
            self._main = chosen.track
            self._beside.clear()
        self._main_seen, self._main_points = time, chosen.points_xyz
        self._beside |= {f.track: f.points_xyz for f in faces if f is not chosen}
        return [replace(chosen, chosen=True), *(f for f in faces if f is not chosen)]

    def _choose(self, faces: list[Face], time: Fraction) -> Face | None:
        """Of faces by size, the one that is asked for; None while the one that was chosen may come back."""
        if self.face != self._asked:  # another wish, in a settings file: nobody waits for whom the last one chose
            self._asked = self.face
            self._beside.clear()
            self._main = self._main if self.face == "auto" else None
        main = next((f for f in faces if f.track == self._main), None)
        if main is None and self.face != "all":
            # who alone is wanted and was lost is waited for before anybody is followed, see _admitted
            if self._wanted > 1 and any(t.number == self._main for t in self._lost):
                return None
            if abs(time - self._main_seen) <= _WAIT:
                faces = self._strange(faces)
        if not faces:
            return None
        if self.face in ("left", "right"):
            side = 1 if self.face == "left" else -1
            return min(faces, key=lambda f: side * float(f.points_xyz[:, 0].mean()))
        if main is None or self.face == "all":
            return faces[0]
        if self.face == "largest" and width(faces[0].points_xyz) > _CLEARLY * width(main.points_xyz):
            return faces[0]
        return main

    def _strange(self, faces: list[Face]) -> list[Face]:
        """Those who are not known to be somebody else than the chosen one. Who was beside it, was lost and comes back under another
        number is known by where that was, if it was nearer than the chosen one."""
        followed = {f.track for f in faces}
        for face in faces:
            if face.track in self._beside:
                self._beside[face.track] = face.points_xyz
                continue
            away = {t: distance(face.points_xyz, points) for t, points in self._beside.items() if t not in followed}
            nearest = min(away, key=away.__getitem__, default=None)
            if nearest is not None and away[nearest] < distance(face.points_xyz, self._main_points):
                del self._beside[nearest]
                self._beside[face.track] = face.points_xyz
        return [f for f in faces if f.track not in self._beside]


def choose(faces: tuple[Face, ...], face: str) -> tuple[Face, ...]:
    """Of a still picture's faces, those that ``face`` asks for: one, or with "all" every one, largest first."""
    one_of("face", face, FACE_CHOICES)
    if face == "all" or len(faces) < 2:
        return faces
    if face in ("left", "right"):
        side = 1 if face == "left" else -1
        return (min(faces, key=lambda f: side * float(f.points_xyz[:, 0].mean())),)
    return (max(faces, key=lambda f: width(f.points_xyz)),)


class PhotoFinder:
    """Finds every face of a still picture, largest first, the small ones in a large picture included."""

    def __init__(self) -> None:
        self._mesh, self._detect = MeshGraph(), DetectionGraph()

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> tuple[Face, ...]:
        detections = self._detect(image)
        for box in tile_boxes(image.shape[1], image.shape[0]):
            detections += detect_in_tile(self._detect, image, box)
        kept: list[Face] = []
        for points, score in mesh_on(self._mesh, image, detections):
            if not any(_same_place(points, other.points_xyz) for other in kept):
                kept.append(Face(points, score, len(kept)))
        return tuple(sorted(kept, key=lambda f: -width(f.points_xyz)))

    def close(self) -> None:
        self._mesh.close()
        self._detect.close()


def find_in_photo(image: UInt8[np.ndarray, "h w 3"]) -> tuple[Face, ...]:
    """The faces of one still picture; for many, a PhotoFinder of their own is built once."""
    with closing(PhotoFinder()) as find:
        return find(image)


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
    first = [r for r in mesh(image, [square_of(d) for d in detections]) if _is_face(r, image)]
    return [r for r in mesh(image, [square_around(points) for points, _ in first]) if _is_face(r, image)]


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


def _same_place(a: np.ndarray, b: np.ndarray) -> bool:
    return distance(a, b) < 0.35


def _holds(points: np.ndarray, detection: Detection) -> bool:
    """Whether the middle of a detection lies on a followed face."""
    x, y, w, h = detection.box_xywh
    return lies_on((x + w / 2, y + h / 2), points)


def lies_on(xy: tuple[float, float], points: np.ndarray) -> bool:
    """Whether a place lies on the face with these points: in the ellipse of their bounding box, so not beside its cheek."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    return bool(np.square((np.array(xy) - (low + high) / 2) / np.maximum((high - low) / 2, 1e-6)).sum() <= 1)


def _is_face(result: tuple[np.ndarray, float] | None, image: np.ndarray) -> bool:
    """Present, of a size that can be a face, and more than half inside the frame."""
    if result is None or result[1] < _MIN_PRESENCE:
        return False
    points, (h, w) = result[0][:, :2], image.shape[:2]
    inside = ((points >= 0) & (points < (w, h))).all(1).mean()
    return bool(np.isfinite(points).all() and width(points) >= 12 and inside > 0.5)
