"""What became of every frame of a clip, kept beside what is being made: a resumed run counts and goes on from there."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np

from livepaste.clip_run import Made
from livepaste.types import Face, Mark

EYES = (33, 263)  # of the 478 points: their outer corners
_FORGOTTEN = Fraction(1)  # seconds: who was not seen for so long is looked for anew
_LATELY = 4 * _FORGOTTEN  # what is remembered: that, before a point that lies back by less than three seconds


@dataclass
class Summary:
    """What happened, for the user."""

    frames: int = 0
    marks: dict[str, int] = field(default_factory=lambda: {m.value: 0 for m in Mark})
    # covered: from, to (when the next frame is shown, or the last one of all), why
    spans: list[tuple[Fraction, Fraction, str]] = field(default_factory=list)
    others: list[Fraction] = field(default_factory=list)  # from when on another face was the chosen one

    def add(self, mark: Mark, time: Fraction, why: str, other: bool = False) -> None:
        """Count a frame that left; ``why`` it was not swapped, and whether another face than before is the chosen one."""
        if other:
            self.others.append(time)
        self.frames += 1
        self.marks[mark.value] += 1
        covered = mark is Mark.COVER
        if self._last_covered:
            self.spans[-1] = (self.spans[-1][0], time, self.spans[-1][2])
        if covered and not (self._last_covered and self.spans[-1][2] == why):
            self.spans.append((time, time, why))
        self._last_covered = covered

    _last_covered: bool = False


@dataclass(frozen=True)
class _Line:
    mark: Mark
    time: Fraction
    place: tuple[float, ...]  # of the chosen face, see _place; empty when there was none
    why: str
    other: bool

    def __str__(self) -> str:
        place = " ".join(f"{v:.1f}" for v in self.place)
        return "\t".join((self.mark.value, str(self.time), place, self.why, str(int(self.other))))

    @classmethod
    def read(cls, text: str) -> _Line:
        mark, time, place, why, other = text.split("\t")
        return cls(Mark(mark), Fraction(time), tuple(float(v) for v in place.split()), why, other == "1")


class Diary:
    """A summary that outlives a kill: a line in ``path`` for every frame.

    ``done``: how many of an earlier run's frames are kept; those are counted again, and lines after them forgotten. A
    diary that was damaged (power cut) is worth what can be read of it: ``summary`` then counts fewer frames.
    """

    def __init__(self, path: Path, done: int) -> None:
        self.summary = Summary()
        self._lately: deque[tuple[int, _Line]] = deque()  # of the kept frames, with their numbers
        new = path.with_name(path.name + ".new")
        with new.open("w", encoding="utf-8") as kept:
            for number, line in enumerate(_readable(path, done)):
                kept.write(f"{line}\n")
                self._take(number, line)
        os.replace(new, path)
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def _take(self, number: int, line: _Line) -> None:
        self.summary.add(line.mark, line.time, line.why, line.other)
        self._lately.append((number, line))
        while line.time - self._lately[0][1].time > _LATELY:
            self._lately.popleft()

    def add(self, made: Made) -> None:
        """The next frame; to be called before the frame is handed to whoever keeps it."""
        self._file.write(f"{_Line(made.mark, made.frame.time, _place(made.face), made.why, made.other)}\n")
        self.summary.add(made.mark, made.frame.time, made.why, made.other)

    def last_face(self, before: int) -> tuple[np.ndarray, Fraction] | None:
        """Of the kept frames up to number ``before``, one of the last three seconds: where the chosen face was last, roughly, as 478
        points, and when."""
        lines = [line for number, line in self._lately if number <= before]
        for line in reversed(lines):
            if lines[-1].time - line.time > _FORGOTTEN:
                return None
            if len(line.place) == _PLACE:
                return _points(line.place), line.time
        return None

    def close(self) -> None:
        self._file.close()


def _readable(path: Path, most: int) -> Iterator[_Line]:
    """The lines of a diary from its beginning, as far as they can be read."""
    with suppress(OSError, ValueError, ZeroDivisionError), path.open(encoding="utf-8") as file:
        for text in islice(file, most):
            yield _Line.read(text.rstrip("\n"))


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
