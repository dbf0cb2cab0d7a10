"""Which of several faces is the one that is asked for: in a still picture, and from frame to frame."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from livepaste.align import distance, width
from livepaste.likeness import FAMILIAR
from livepaste.options import FACE_CHOICES, SWAPPED_CHOICES, one_of
from livepaste.types import Face

# seconds until somebody who was there beside the chosen one, so is somebody else, may be chosen instead
_WAIT = Fraction(10)
_CLEARLY = 1.2  # times wider: who is the largest does not change with every breath
# Cosines of likenesses: under the first, who was the enrolled one is it no more; by the second another must be more alike.
_STILL_FAMILIAR, _MORE_FAMILIAR = 0.66, 0.15


@dataclass
class Choice:
    """``face`` says who is wanted, and may be set anew at any time.

    auto: the one that continues, at first the largest. largest, left, right: by size or place in this frame, as seen in the picture.
    all: largest first. enrolled: who is most like the wearers a model was trained on, and alike enough; else nobody. When the chosen one is lost nobody else is chosen while it may come back, nor for ten seconds whoever stood
    beside it: the mesh loses everybody who turns away.
    """

    face: str = "auto"
    track: int | None = field(default=None, init=False)  # of the chosen one
    _seen: Fraction = field(default=Fraction(0), init=False)
    _points: np.ndarray = field(default_factory=lambda: np.zeros((478, 3), np.float32), init=False)
    # tracks seen together with it, so other people, and where last
    _beside: dict[int, np.ndarray] = field(default_factory=dict, init=False)
    _asked: str = field(default="", init=False)  # which face was

    def __post_init__(self) -> None:
        one_of("face", self.face, SWAPPED_CHOICES)
        self._asked = self.face

    def __call__(
        self,
        faces: Collection[Face],
        time: Fraction,
        lost: Collection[int] = (),
        familiar: Mapping[int, float] | None = None,
    ) -> list[Face]:
        """``faces`` with the chosen one first and marked, then by size; nobody is marked while ``lost`` holds the chosen one's track.

        ``familiar``: by track, how alike those are to an enrolled wearer that were looked at.
        """
        ordered = sorted(faces, key=lambda f: -width(f.points_xyz))
        if self.face == "enrolled":
            chosen = self._most_familiar(ordered, familiar or {})
        else:
            chosen = self._choose(ordered, time, lost)
        if chosen is None:
            return ordered
        if chosen.track != self.track:
            self.track = chosen.track
            self._beside.clear()
        self._seen, self._points = time, chosen.points_xyz
        self._beside |= {f.track: f.points_xyz for f in ordered if f is not chosen}
        return [replace(chosen, chosen=True), *(f for f in ordered if f is not chosen)]

    def expect(self, track: int, points: np.ndarray, time: Fraction) -> None:
        """It was that one, there, at ``time``."""
        self.track, self._points, self._seen = track, points, time

    def reset(self) -> None:
        """Nobody was chosen yet."""
        self.track = None
        self._beside.clear()

    def _choose(self, faces: list[Face], time: Fraction, lost: Collection[int]) -> Face | None:
        """Of faces by size, the one that is asked for; None while the one that was chosen may come back."""
        if self.face != self._asked:  # another wish, in a settings file: nobody waits for whom the last one chose
            self._asked = self.face
            self._beside.clear()
            self.track = self.track if self.face == "auto" else None
        main = next((f for f in faces if f.track == self.track), None)
        if main is None and self.face != "all":
            if self.track in lost:
                return None
            if abs(time - self._seen) <= _WAIT:
                faces = self._strange(faces)
        if not faces:
            return None
        if self.face in ("left", "right"):
            return _outermost(faces, self.face)
        if main is None or self.face == "all":
            return faces[0]
        if self.face == "largest" and width(faces[0].points_xyz) > _CLEARLY * width(main.points_xyz):
            return faces[0]
        return main

    def _most_familiar(self, faces: list[Face], familiar: Mapping[int, float]) -> Face | None:
        """Nobody waits for the one that was lost: who it is shows."""
        known = {f.track: familiar[f.track] for f in faces if f.track in familiar}
        best = max(known, key=known.__getitem__, default=None)
        mine = known.get(self.track, 0.0) if self.track is not None and self._asked == self.face else 0.0
        self._asked = self.face
        if mine >= _STILL_FAMILIAR and (best is None or known[best] < mine + _MORE_FAMILIAR):
            best = self.track
        elif best is not None and known[best] < FAMILIAR:
            best = None
        return next((f for f in faces if f.track == best), None)

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
            if nearest is not None and away[nearest] < distance(face.points_xyz, self._points):
                del self._beside[nearest]
                self._beside[face.track] = face.points_xyz
        return [f for f in faces if f.track not in self._beside]


def _outermost(faces: Collection[Face], side: str) -> Face:
    sign = 1 if side == "left" else -1
    return min(faces, key=lambda f: sign * float(f.points_xyz[:, 0].mean()))


def choose(faces: tuple[Face, ...], face: str) -> tuple[Face, ...]:
    """Of a still picture's faces, those that ``face`` asks for: one, or with "all" every one, largest first."""
    one_of("face", face, FACE_CHOICES)
    if face == "all" or len(faces) < 2:
        return faces
    if face in ("left", "right"):
        return (_outermost(faces, face),)
    return (max(faces, key=lambda f: width(f.points_xyz)),)
