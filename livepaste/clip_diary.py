"""What became of every frame of a clip, kept beside what is being made: a resumed run counts and goes on from there."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from livepaste.clip_run import Made
from livepaste.types import Face, Mark

EYES = (33, 263)  # of the 478 points: their outer corners
_FORGOTTEN = Fraction(1)  # seconds: who was not seen for so long is looked for anew


@dataclass
class Summary:
    """What happened, for the user."""

    frames: int = 0
    marks: dict[str, int] = field(default_factory=lambda: {m.value: 0 for m in Mark})
    spans: list[tuple[Fraction, Fraction, str]] = field(default_factory=list)  # covered: from, to, why

    def add(self, mark: Mark, time: Fraction, why: str) -> None:
        """Count a frame that left; ``why`` it was not swapped."""
        self.frames += 1
        self.marks[mark.value] += 1
        covered = mark is Mark.COVER
        if covered and self._last_covered and self.spans[-1][2] == why:
            self.spans[-1] = (self.spans[-1][0], time, why)
        elif covered:
            self.spans.append((time, time, why))
        self._last_covered = covered

    _last_covered: bool = False


@dataclass(frozen=True)
class _Line:
    mark: Mark
    time: Fraction
    place: tuple[float, ...]  # of the chosen face, see _place; empty when there was none
    why: str

    def __str__(self) -> str:
        return "\t".join((self.mark.value, str(self.time), " ".join(f"{v:.1f}" for v in self.place), self.why))

    @classmethod
    def read(cls, text: str) -> _Line:
        mark, time, place, why = text.split("\t")
        return cls(Mark(mark), Fraction(time), tuple(float(v) for v in place.split()), why)


class Diary:
    """A summary that outlives a kill: a line in ``path`` for every frame.

    ``done``: how many of an earlier run's frames are kept; those are counted again, and lines after them forgotten. A
    diary that was damaged (power cut) is worth what can be read of it: ``summary`` then counts fewer frames.
    """

    def __init__(self, path: Path, done: int) -> None:
        self.summary = Summary()
        self._before: list[_Line] = []
        try:
            for text in path.read_text("utf-8").splitlines()[:done]:
                self._before.append(_Line.read(text))
        except (OSError, ValueError, ZeroDivisionError):
            pass
        new = path.with_name(path.name + ".new")
        new.write_text("".join(f"{line}\n" for line in self._before), "utf-8")
        os.replace(new, path)
        for line in self._before:
            self.summary.add(line.mark, line.time, line.why)
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def add(self, made: Made) -> None:
        """The next frame; to be called before the frame is handed to whoever keeps it."""
        self._file.write(f"{_Line(made.mark, made.frame.time, _place(made.face), made.why)}\n")
        self.summary.add(made.mark, made.frame.time, made.why)

    def last_face(self, before: int) -> tuple[np.ndarray, Fraction] | None:
        """Of the kept frames up to number ``before``: where the chosen face was last, roughly, as 478 points, and when."""
        lines = self._before[: before + 1]
        for line in reversed(lines):
            if lines[-1].time - line.time > _FORGOTTEN:
                return None
            if len(line.place) == _PLACE:
                return _points(line.place), line.time
        return None

    def close(self) -> None:
        self._file.close()


_PLACE = 8


def _place(face: Face | None) -> tuple[float, ...]:
    """Both eyes, then the corners of the box around the face."""
    if face is None:
        return ()
    points = face.points_xyz[:, :2]
    return tuple(float(v) for v in np.concatenate([*points[list(EYES)], points.min(0), points.max(0)]))


def _points(place: tuple[float, ...]) -> np.ndarray:
    eyes, (low, high) = np.reshape(place[:4], (2, 2)), np.reshape(place[4:], (2, 2))
    points = np.zeros((478, 3), np.float32)
    points[0::2, :2], points[1::2, :2] = low, high
    points[list(EYES), :2] = eyes
    return points
