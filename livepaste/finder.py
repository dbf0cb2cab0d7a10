"""Finds faces in frames and follows them: frame -> tuple of faces with 478 points each.

A face that was there in the last frame is looked for where it was (mesh only, 4 to 7 ms each). When one is lost, or
more may appear, the full-range detector looks at the whole frame and, in turn, at overlapping squares of it, so that
faces from 60 px upward are found; the mesh is then put on what it saw. A face that comes back near where it was lost
keeps its track number.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from types import TracebackType

import numpy as np
from jaxtyping import Float64, UInt8

from livepaste.align import distance, width
from livepaste.choice import Choice
from livepaste.likeness import alike
from livepaste.mediapipe_graphs import Detection, DetectionGraph, MeshGraph
from livepaste.portraits import Portraits
from livepaste.recognition import Recognition
from livepaste.squares import detect_in_tile, is_face, lies_on, mesh_on, same_place, square_around, tile_boxes
from livepaste.types import Face, Frame

logger = logging.getLogger(__name__)
# Frames between two looks for newcomers while somebody is followed: 7.5 a second at 30 fps, by turns at the whole frame and at a square
# of it. Both at once made every eighth frame 20 ms late.
_DISCOVER_EVERY = 4
_REMEMBER = Fraction(1)  # seconds a lost track may still be taken up again
_MAX_FACES = 8  # never more than this many meshes a frame: crowds are not what this is for


@dataclass(eq=False)
class _Track:
    number: int
    points: np.ndarray  # float32 (478, 3), the last seen
    seen: Fraction  # time of the frame it was last seen in
    score: float = 1.0

    @property
    def face(self) -> Face:
        return Face(self.points, self.score, self.number, chosen=False)


@dataclass
class Finder:
    """Call it with each frame in order; ``face`` says which one comes first in the answer, see :class:`~livepaste.choice.Choice`.

    When the chosen one is lost nobody else is chosen for a second. With ``max_faces`` = 1 the answer holds the chosen one only. One finder
    belongs to one clip or camera and one thread. Beside somebody who moves, a face that does not is a picture and nobody: it is not in the
    answer but in ``pictures``. ``seen``: who looks for newcomers beside it, and what was seen lately; without it the
    finder looks itself while it follows others.
    """

    max_faces: int = 1
    face: str = "auto"
    seen: Callable[[], list[Detection]] | None = None
    enrolled: np.ndarray | None = None  # float32 (wearers, k): likenesses of those that face="enrolled" asks for
    _tracks: list[_Track] = field(default_factory=list, init=False)
    _lost: list[_Track] = field(default_factory=list, init=False)
    _pictured: frozenset[int] = field(default=frozenset(), init=False)  # tracks that are pictures
    _told: bool = field(default=False, init=False)  # that there is one
    _numbers: int = field(default=0, init=False)
    _calls: int = field(default=0, init=False)
    _looks: int = field(default=0, init=False)  # at squares of frames, each in its turn

    def __post_init__(self) -> None:
        self._choice, self._portraits, self._recognition = Choice(self.face), Portraits(), Recognition()
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
        if not self._tracks or len(self._tracks) < before:
            self._discover(image, time, whole=True, square=True)
        elif len(self._tracks) < self._wanted and self._calls % _DISCOVER_EVERY == 0:
            turn = self._calls // _DISCOVER_EVERY % 2
            if self.seen is not None:
                self._take_up(mesh_on(self._mesh, image, self._new(self.seen())), time)
            else:
                self._discover(image, time, whole=turn == 0, square=turn == 1)
        self._calls += 1
        if self._wanted > 1:
            self._tell_apart(image)
            self._tell_pictures(image, time)
        faces = [t.face for t in self._tracks if t.number not in self._pictured]
        self._choice.face = self.face
        # who alone is wanted and was lost is waited for before anybody is followed, see _admitted
        lost = [t.number for t in self._lost] if self._wanted > 1 else []
        ordered = self._choice(faces, time, lost, self._familiar())
        if self.max_faces == 1:
            return tuple(face for face in ordered if face.chosen)
        return tuple(ordered[: self.max_faces])

    @property
    def pictures(self) -> tuple[Face, ...]:
        """Faces in the last frame that are pictures of one."""
        return tuple(t.face for t in self._tracks if t.number in self._pictured)

    @property
    def gone(self) -> tuple[Face, ...]:
        """Where people were last seen that the last frame lost, or one within the second before it."""
        return tuple(t.face for t in self._lost)

    def expect(self, points: np.ndarray, time: Fraction) -> None:
        """Go on with a face that was there, at ``time``, before this finder was: it is looked for where it was."""
        track = _Track(self._numbers, points, time)
        self._numbers += 1
        self._tracks = [track]
        self._choice.expect(track.number, points, time)

    def reset(self) -> None:
        """Forget every track: the next frame has nothing to do with the last."""
        self._tracks, self._lost, self._pictured = [], [], frozenset()
        self._choice.reset()
        self._portraits.reset()
        self._recognition.reset()

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
            if is_face(result, image) and not any(same_place(result[0], other.points) for other in kept):
                track.points, track.score, track.seen = result[0], result[1], time
                kept.append(track)
            else:
                self._lost.append(track)
        self._tracks = kept

    def _tell_apart(self, image: np.ndarray) -> None:
        """Give those back their numbers who changed them with somebody they crossed."""
        self._recognition.always = self.face == "enrolled"
        changed = self._recognition(
            image, {t.number: t.points for t in self._tracks}, {t.number: t.points for t in self._lost}
        )
        for track in (*self._tracks, *self._lost):
            track.number = changed.get(track.number, track.number)
        self._portraits.forget({*self._recognition.crowded, *changed, *changed.values()})

    def _familiar(self) -> dict[int, float]:
        """By track, how alike the enrolled wearers those are that were looked at."""
        if self.face != "enrolled" or self.enrolled is None:
            return {}
        seen = ((t.number, self._recognition.recent(t.number)) for t in self._tracks)
        return {number: max(alike(face, one) for one in self.enrolled) for number, face in seen if face is not None}

    def _tell_pictures(self, image: np.ndarray, time: Fraction) -> None:
        """Which tracks are pictures."""
        self._pictured = self._portraits(image, time, {t.number: t.points for t in self._tracks})
        if self._choice.track in self._pictured:
            self._choice.reset()
        if self._pictured and not self._told:
            self._told = True
            logger.warning(
                "a face that does not move, beside somebody who does, is taken for a picture and left as it is"
            )

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
                same_place(points, t.points) for t in self._tracks
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


def _holds(points: np.ndarray, detection: Detection) -> bool:
    """Whether the middle of a detection lies on a followed face."""
    x, y, w, h = detection.box_xywh
    return lies_on((x + w / 2, y + h / 2), points)


def _detection_of(landmarks_xy: np.ndarray) -> Detection:
    """What a detector would say of a face with these 68 landmarks, which end at the brows."""
    (left, top), (right, bottom) = landmarks_xy.min(0), landmarks_xy.max(0)
    forehead = 0.2 * (bottom - top)
    eyes = np.stack([landmarks_xy[36:42].mean(0), landmarks_xy[42:48].mean(0)]).astype(np.float32)
    return Detection((left, top - forehead, right - left, bottom - top + forehead), eyes, 1.0)


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
            if not any(same_place(points, other.points_xyz) for other in kept):
                kept.append(Face(points, score, len(kept)))
        return tuple(sorted(kept, key=lambda f: -width(f.points_xyz)))

    def at(
        self, image: UInt8[np.ndarray, "h w 3"], landmarks_xy: Float64[np.ndarray, "68 2"] | None = None
    ) -> Face | None:
        """The face whose 68 landmarks are known; without them, or where the mesh finds none there, the one nearest to them or to the middle."""
        middle = np.array(image.shape[1::-1]) / 2
        if landmarks_xy is not None:
            middle = landmarks_xy.mean(0)
            for points, score in mesh_on(self._mesh, image, [_detection_of(landmarks_xy)]):
                return Face(points, score)
        faces = self(image)
        return min(faces, key=lambda f: float(np.linalg.norm(f.points_xyz[:, :2].mean(0) - middle)), default=None)

    def close(self) -> None:
        self._mesh.close()
        self._detect.close()


def find_in_photo(image: UInt8[np.ndarray, "h w 3"]) -> tuple[Face, ...]:
    """The faces of one still picture; for many, a PhotoFinder of their own is built once."""
    with closing(PhotoFinder()) as find:
        return find(image)
