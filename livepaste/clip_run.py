"""A recorded clip through the same engine, with the future known: gaps between two found faces are bridged."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np

from livepaste.guard import Guard, hide_faces
from livepaste.pipeline import Swapped
from livepaste.types import Face, Frame, Mark

BRIDGE = Fraction(1, 2)  # seconds: longer gaps are a face that is gone
CUT_DIFFERENCE = 28.0  # mean absolute difference of two neighbouring frames' thumbnails, of 255
T = TypeVar("T")
_END = object()


def threaded(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """The same items in the same order, made on a thread of their own at most ``depth`` ahead; errors come through."""
    box: queue.Queue[Any] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Any) -> bool:
        while not stopped.is_set():
            try:
                box.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((_END, None))
        except BaseException as error:  # handed to whoever takes the items
            put((_END, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = box.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stopped.set()
        thread.join(timeout=10)


@dataclass(frozen=True, eq=False)
class Found:
    """A frame with its faces; ``failed`` when looking for them went wrong."""

    frame: Frame
    faces: tuple[Face, ...]
    cut: bool = False  # nothing carries over from the frame before
    failed: bool = False


def find(
    frames: Iterable[Frame], finder: Callable[[Frame], tuple[Face, ...]], reset: Callable[[], None]
) -> Iterator[Found]:
    """Find faces in every frame; a hard cut resets the finder."""
    last: np.ndarray | None = None
    for frame in frames:
        thumbnail = frame.image[::24, ::24].astype(np.int16)
        cut = last is not None and (
            last.shape != thumbnail.shape or float(np.abs(thumbnail - last).mean()) > CUT_DIFFERENCE
        )
        last = thumbnail
        if cut:
            reset()
        try:
            yield Found(frame, finder(frame), cut)
        except Exception:
            yield Found(frame, (), cut, failed=True)


def bridge(found: Iterable[Found], gap: Fraction = BRIDGE) -> Iterator[Found]:
    """Fill frames without a face between two with one, at most ``gap`` apart and with no cut, by interpolated landmarks."""
    before: Found | None = None
    waiting: deque[Found] = deque()
    for item in found:
        if item.faces and not item.cut and before is not None and waiting and not any(w.cut for w in waiting):
            if item.frame.time - before.frame.time <= gap:
                yield from _between(before, waiting, item)
            else:
                yield from waiting
            waiting.clear()
        elif item.faces or item.cut:
            yield from waiting
            waiting.clear()
        if item.faces:
            before = item
            yield item
        else:
            waiting.append(item)
            if before is None or item.frame.time - before.frame.time > gap:
                yield from waiting
                waiting.clear()
                before = None
    yield from waiting


def _between(before: Found, gap: Iterable[Found], after: Found) -> Iterator[Found]:
    whole = after.frame.time - before.frame.time
    for item in gap:
        share = float((item.frame.time - before.frame.time) / whole)
        faces = []
        for a in before.faces:
            b = next(
                (f for f in after.faces if f.track == a.track),
                after.faces[0] if len(after.faces) == len(before.faces) == 1 else None,
            )
            if b is not None:
                points = ((1 - share) * a.points_xyz + share * b.points_xyz).astype(np.float32)
                faces.append(Face(points, min(a.score, b.score), a.track))
        yield Found(item.frame, tuple(faces), item.cut)


@dataclass(frozen=True, eq=False)
class Made:
    """A frame that leaves."""

    frame: Frame
    image: np.ndarray
    mark: Mark
    mask: np.ndarray | None


@dataclass
class Summary:
    """What happened, for the user."""

    frames: int = 0
    marks: dict[str, int] = field(default_factory=lambda: {m.value: 0 for m in Mark})
    spans: list[tuple[Fraction, Fraction]] = field(default_factory=list)  # covered, from and to
    bridged: int = 0

    def add(self, made: Made) -> None:
        self.frames += 1
        self.marks[made.mark.value] += 1
        if made.mark is Mark.COVER:
            if self.spans and self._last_covered:
                self.spans[-1] = (self.spans[-1][0], made.frame.time)
            else:
                self.spans.append((made.frame.time, made.frame.time))
        self._last_covered = made.mark is Mark.COVER

    _last_covered: bool = False


def swap(found: Iterable[Found], pipeline: Callable[[Frame, tuple[Face, ...]], Swapped], reset: Callable[[], None], guard: Guard,
         others: Callable[[tuple[Face, ...]], tuple[Face, ...]]) -> Iterator[Made]:  # fmt: skip
    """Swap every frame and let the guard decide what leaves. ``others`` names the faces to hide."""
    for item in found:
        if item.cut:
            reset()
            guard.forget()
        frame, result = item.frame, None
        if not item.failed and item.faces:
            try:
                hidden = others(item.faces)
                clean = Frame(hide_faces(frame.image, hidden), frame.time, frame.index) if hidden else frame
                result = pipeline(clean, item.faces)
            except Exception:  # a failed frame is the guard's to answer, whatever failed
                result = None
        now = float(frame.time)
        safe = result is not None and result.swapped > 0
        guard.offer(result.image if result else None, now, safe=safe, raw=frame.image)
        image, mark = guard.answer(now)
        yield Made(frame, image, mark, result.mask if result and mark is Mark.SWAPPED else None)
