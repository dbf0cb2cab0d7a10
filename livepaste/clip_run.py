"""A recorded clip through the same engine, with the future known: gaps between two found faces are bridged."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np

from livepaste.align import distance, width
from livepaste.cuts import Cuts
from livepaste.errors import LivepasteError
from livepaste.guard import Guard
from livepaste.hide import hide_faces
from livepaste.pipeline import Swapped
from livepaste.trouble import Trouble
from livepaste.types import Face, Frame, Mark

BRIDGE = Fraction(1, 2)  # seconds: longer gaps are a face that is gone
_STEP = 0.4  # of a face's size: nobody goes further from frame to frame
T = TypeVar("T")
_END = object()


def threaded(items: Iterable[T], depth: int = 2) -> Generator[T, None, None]:
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
    gone: tuple[Face, ...] = ()  # who was followed until a moment ago, where they were


def find(
    frames: Iterable[Frame],
    finder: Callable[[Frame], tuple[Face, ...]],
    reset: Callable[[], None],
    gone: Callable[[], tuple[Face, ...]] = tuple,
) -> Iterator[Found]:
    """Find faces in every frame; a hard cut resets the finder. ``gone`` says who was lost lately, and where."""
    is_cut, trouble = Cuts(), Trouble()
    for frame in frames:
        cut = is_cut(frame.image)
        if cut:
            reset()
        try:
            item = Found(frame, finder(frame), cut, gone=gone())
        except LivepasteError:
            raise
        except Exception as error:  # this frame's own: the guard answers it
            trouble.say(f"looking for faces failed at {float(frame.time):.2f} s, which is covered", error)
            item = Found(frame, (), cut, failed=True)
        yield item


def foresee(found: Iterable[Found], within: Fraction = BRIDGE) -> Iterator[Found]:
    """Mark who is chosen in the frames before, too, in which they were there and nobody was: who somebody is takes a few looks.

    Only as far back as the face is where it was, from frame to frame: a number alone may have been another's.
    """
    waiting: deque[Found] = deque()
    for item in found:
        chosen = next((face for face in item.faces if face.chosen), None)
        if item.cut or chosen is not None:
            yield from waiting if item.cut else _marked(waiting, chosen)
            waiting.clear()
        if chosen is not None:
            yield item
            continue
        waiting.append(item)
        while item.frame.time - waiting[0].frame.time > within:
            yield waiting.popleft()
    yield from waiting


def _marked(waiting: Iterable[Found], chosen: Face) -> list[Found]:
    """The same frames, with ``chosen``, who is there after them, marked back to where they came or jumped."""
    items = list(waiting)
    for i in reversed(range(len(items))):
        here = next((f for f in items[i].faces if f.track == chosen.track), None)
        if here is None or distance(here.points_xyz, chosen.points_xyz) > _STEP:
            break
        chosen = replace(here, chosen=True)
        others = (face for face in items[i].faces if face is not here)
        items[i] = replace(items[i], faces=(chosen, *others))
    return items


@dataclass(frozen=True, eq=False)
class _Seen:
    """Where a face was last seen."""

    number: int  # of the item
    time: Fraction
    face: Face


def bridge(found: Iterable[Found], gap: Fraction = BRIDGE) -> Iterator[Found]:
    """Give every frame between two with the same face, at most ``gap`` apart and with no cut, that face by interpolated landmarks."""
    seen: dict[int, _Seen] = {}  # by track
    waiting: deque[Found] = deque()
    for number, item in enumerate(found):
        if item.cut:
            yield from waiting
            waiting.clear()
            seen.clear()
        now = item.frame.time
        seen = {track: s for track, s in seen.items() if now - s.time <= gap}
        waiting.append(item)
        first = number + 1 - len(waiting)
        for face in item.faces:
            before = seen.pop(face.track, None)
            if before is None and len(item.faces) == len(seen) == 1:  # one, and one again, under another number
                (other, left), *_ = seen.items()
                before = seen.pop(other) if _may_be(left.face, face) else None
            if before is not None:
                for i in range(before.number + 1 - first, number - first):
                    waiting[i] = _between(before, waiting[i], face, now)
            seen[face.track] = _Seen(number, now, face)
        missing = min((s.number for s in seen.values() if s.number < number), default=number)
        while waiting and first <= missing:
            yield waiting.popleft()
            first += 1
    yield from waiting


def _between(before: _Seen, item: Found, after: Face, after_time: Fraction) -> Found:
    """``item`` with the face that was seen before and after it."""
    share = float((item.frame.time - before.time) / (after_time - before.time))
    points = ((1 - share) * before.face.points_xyz + share * after.points_xyz).astype(np.float32)
    face = replace(after, points_xyz=points, score=min(before.face.score, after.score))
    if any(_near(face, other) for other in item.faces):  # seen there, under another number: not twice
        return item
    faces = [*item.faces, face]
    return replace(item, faces=tuple(sorted(faces, key=lambda f: not f.chosen)), failed=False)


@dataclass(frozen=True, eq=False)
class Made:
    """A frame that leaves."""

    frame: Frame
    image: np.ndarray
    mark: Mark
    mask: np.ndarray | None  # that ``image`` was blended with, when wanted
    why: str = ""  # it was not swapped
    face: Face | None = None  # the chosen one
    other: bool = False  # and not the one that was chosen before


NO_FACE, HIDDEN, FAILED = "no face found", "hardly any of the face shows", "a step failed there"
BEYOND = "the face is turned further than the model was trained (see --max-turn), or leaves the picture"
OTHERS = "only faces that do not continue the chosen one"


@dataclass(frozen=True, eq=False)
class Half:
    """A frame between drawing and blending; ``drawn`` is None when there is nothing to blend."""

    found: Found
    drawn: Any
    why: str


def draw(found: Iterable[Found], pipeline: Callable[[Frame, tuple[Face, ...]], Any], reset: Callable[[], None],
         hide: Callable[[Found], tuple[Face, ...]]) -> Iterator[Half]:  # fmt: skip
    """Draw the chosen face of every frame. ``hide`` names the faces that must not be seen."""
    trouble = Trouble()
    for item in found:
        if item.cut:
            reset()
        frame, drawn, why = item.frame, None, FAILED if item.failed else _unfound(item)
        if not item.failed and item.faces:
            try:
                hidden = hide(item)
                clean = Frame(hide_faces(frame.image, hidden), frame.time, frame.index) if hidden else frame
                drawn = pipeline(clean, item.faces)
            except LivepasteError:
                raise
            except Exception as error:  # a failed frame is the guard's to answer, whatever failed
                why = _failed(trouble, frame, error)
        yield Half(item, drawn, why)


def _unfound(item: Found) -> str:
    """Why nobody is swapped in a frame in which nothing failed."""
    return OTHERS if item.faces and not any(face.chosen for face in item.faces) else NO_FACE


def still_gone(faces: tuple[Face, ...], gone: tuple[Face, ...]) -> tuple[Face, ...]:
    """Who of ``gone`` was lost and is not known by now, another face in the same place included: bridging puts some back."""
    tracks = {face.track for face in faces}
    return tuple(lost for lost in gone if lost.track not in tracks and not any(_near(lost, face) for face in faces))


def _may_be(before: Face, after: Face) -> bool:
    """Whether somebody may have moved so within a gap, and not left while another person came."""
    sizes = sorted((width(before.points_xyz), width(after.points_xyz)))
    return distance(before.points_xyz, after.points_xyz) < 1.5 and sizes[1] < 1.5 * sizes[0]


def _near(lost: Face, face: Face) -> bool:
    """Whether a face is where one was lost, and of its size: not a child beside a large head."""
    sizes = sorted((width(lost.points_xyz), width(face.points_xyz)))
    return distance(lost.points_xyz, face.points_xyz) * sizes[1] < 0.7 * sizes[0] and sizes[1] < 2 * sizes[0]


def blend(halves: Iterable[Half], pipeline: Callable[[Any], Swapped], guard: Guard) -> Iterator[Made]:
    """Finish every frame and let the guard decide what leaves."""
    trouble = Trouble()
    mask: np.ndarray | None = None  # of the last swapped frame: a held picture is that frame
    track: int | None = None  # of the last chosen face
    for half in halves:
        item, why, result = half.found, half.why, None
        frame = item.frame
        if item.cut:
            guard.forget()
        if half.drawn is not None:
            try:
                result = pipeline(half.drawn)
                why = BEYOND if result.beyond else HIDDEN if result.missed else _unfound(item)
            except LivepasteError:
                raise
            except Exception as error:
                why = _failed(trouble, frame, error)
        now = float(frame.time)
        safe = result is not None and result.safe
        guard.offer(result.image if result else None, now, safe=safe, raw=frame.image)
        image, mark = guard.answer(now)
        if result is not None and mark is Mark.SWAPPED:
            mask = result.mask
        face = next((face for face in item.faces if face.chosen), None)
        other = face is not None and track not in (None, face.track)
        track = face.track if face is not None else track
        yield Made(frame, image, mark, mask if mark in (Mark.SWAPPED, Mark.HELD) else None, why, face, other)


def _failed(trouble: Trouble, frame: Frame, error: Exception) -> str:
    trouble.say(f"swapping failed at {float(frame.time):.2f} s, which is covered", error)
    return FAILED
