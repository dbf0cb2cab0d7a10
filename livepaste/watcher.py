"""Looks for faces beside the live loop: the full-range detector on its own thread, always on the newest frame.

The mesh confirms no profile and no half-hidden face, so what follows faces in the loop can miss a person that stands in
the picture. The detector does see them; its boxes are hidden whether or not a mesh can be put on them.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from livepaste.mediapipe_graphs import Detection, DetectionGraph
from livepaste.squares import detect_in_tile, lies_on, tile_boxes
from livepaste.stream import Slot
from livepaste.trouble import Trouble
from livepaste.types import Face, Frame

LOOK_EVERY_S = 1 / 16  # at one part of the picture: a burst of several would hold up the stages on two cores
WHOLE_EVERY = 4  # looks; those between are at the squares in turn, of a 720p frame each of the 7 every 0.63 s
KEEP_S = 1.2  # a box lasts for so long, and in large pictures until every part was looked at twice
NEW_S = 0.4  # a face has hardly moved since: more than the time between two looks at the whole
REMEMBERED = 64  # frames: longer than a look takes
# How two boxes tell that somebody walks: so many seconds apart at least, so many sides at most from where they were expected, and what
# they are apart beyond the detector's own scatter, which is up to a quarter of a side between a part of the picture and the whole.
APART_S, NEAR_SIDES, SCATTER_SIDES = 0.2, 2.0, 0.25
GROWS = 0.5  # of its side a second: what a face that was seen once may have moved, or moves otherwise than before
MOVES_S = 0.6  # after which who was not seen again has turned, stopped or left rather than gone on
ASLEEP_S = 2.0  # without a look for so long nobody knows who else is there


@dataclass(frozen=True)
class Box:
    """Where a face was seen: left, top, right, bottom in frame pixels."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def middle(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    @property
    def side(self) -> float:
        return max(self.x1 - self.x0, self.y1 - self.y0)

    def reach(self, velocity: tuple[float, float], age_s: float) -> Box:
        """Everywhere a face can be by now that was here ``age_s`` ago and moved with ``velocity``, in pixels a second."""
        age_s = min(age_s, MOVES_S)
        (dx, dy), grown = (v * age_s for v in velocity), GROWS * age_s * self.side
        return Box(
            self.x0 + min(0.0, dx) - grown,
            self.y0 + min(0.0, dy) - grown,
            self.x1 + max(0.0, dx) + grown,
            self.y1 + max(0.0, dy) + grown,
        )

    def is_same(self, other: Box) -> bool:
        """Whether both are likely the same face: near each other and of a size."""
        sides = sorted((self.x1 - self.x0, other.x1 - other.x0))
        return math.dist(self.middle, other.middle) < 0.6 * sides[0] and sides[1] < 2 * sides[0]

    def is_on(self, face: Face) -> bool:
        return lies_on(self.middle, face.points_xyz)

    @property
    def face(self) -> Face:
        """As a face whose points are the box's corners: what ``hide_faces`` takes."""
        return Face(np.float32([(self.x0, self.y0, 0), (self.x1, self.y1, 0)]))


@dataclass
class Seen:
    """A detected face, and once the loop has finished that frame, the track that it belongs to."""

    at_s: float  # when the look ended
    index: int  # of the frame
    shown_s: float  # when the frame was new
    box: Box
    detection: Detection
    velocity: tuple[float, float]  # pixels a second
    judged: bool = False
    track: int | None = None

    def box_at(self, time_s: float) -> Box:
        """Where it is at a later time, if it goes on as before."""
        dx, dy = (v * (time_s - self.shown_s) for v in self.velocity)
        return Box(self.box.x0 + dx, self.box.y0 + dy, self.box.x1 + dx, self.box.y1 + dy)


class Watcher:
    """``show`` it every frame, ask it for ``strangers``. Starts and loads on its own thread."""

    def __init__(self) -> None:
        self._slot = Slot()
        self._seen: list[Seen] = []
        self._history: list[Seen] = []  # those that were replaced, too: by which it is known who moves
        self._faces: deque[tuple[int, tuple[Face, ...]]] = deque(maxlen=REMEMBERED)  # by frame index
        self._closed = threading.Event()
        self.looks = 0
        self._starts: deque[float] = deque()  # of the looks at the last round of parts
        self._looked_s = float("-inf")
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watch")
        self._thread.start()

    def show(self, frame: Frame) -> None:
        self._slot.put((frame, time.monotonic()))

    def strangers(self, index: int, faces: Iterable[Face]) -> tuple[Face, ...]:
        """Faces that were seen lately and are none of ``faces``, which the loop follows itself in frame ``index``.

        A box belongs to who was there when it was seen: nobody who moves on leaves a blurred ghost behind, and whoever is
        followed no more is hidden at once. Who walks is hidden ahead of where they were seen.
        """
        now, time_s = tuple(faces), time.monotonic()
        tracks = {face.track for face in now}
        self._faces.append((index, now))
        # Counted from the last look: while one takes long, what was seen stays hidden until nobody is awake and the cover comes.
        oldest = self._looked_s - self._keep_s
        found = []
        for seen in self._seen:
            if not seen.judged and seen.index <= index:
                then = min(self._faces, key=lambda entry: abs(entry[0] - seen.index))[1]
                seen.judged, seen.track = True, next((f.track for f in then if seen.box.is_on(f)), None)
            if seen.at_s >= oldest and seen.track not in tracks and not any(seen.box.is_on(face) for face in now):
                found.append(seen.box.reach(seen.velocity, time_s - seen.shown_s).face)
        return tuple(found)

    def newest(self) -> list[Detection]:
        """What was seen in the last moment, for the finder to put a mesh on."""
        oldest = time.monotonic() - NEW_S
        return [seen.detection for seen in self._seen if seen.at_s >= oldest]

    @property
    def awake(self) -> bool:
        """Whether it looked lately. When it did not (still loading, failing, hanging), a stranger may be in the picture."""
        return time.monotonic() - self._looked_s < ASLEEP_S

    @property
    def _keep_s(self) -> float:
        """Twice what a round takes, which with a slow camera or on a busy machine is more than planned."""
        starts = tuple(self._starts)
        return max(KEEP_S, 2 * (starts[-1] - starts[0])) if starts else KEEP_S

    def close(self) -> None:
        self._closed.set()
        self._slot.close()
        self._thread.join(timeout=2)

    def _watch(self) -> None:
        trouble = Trouble()
        try:
            detect = DetectionGraph()
        except Exception as error:  # it stays asleep, and the cover is all that leaves
            trouble.say("looking for other faces cannot start; --others leave goes without", error)
            return
        while not self._closed.is_set():
            shown = self._slot.take()
            if shown is None:
                break
            frame, shown_s = shown
            began = time.monotonic()
            try:
                found = self._look(detect, frame.image)
                # by its end: a first look at a large picture can take longer than boxes last
                looked_s = time.monotonic()
                self._keep(found, looked_s, frame.index, shown_s)
                self._looked_s = looked_s  # only now: what was seen before lasts until it was seen anew
                self.looks += 1
            except Exception as error:  # says so and tries again; while it lasts it is not awake
                trouble.say("looking for other faces failed", error)
            self._closed.wait(max(0.0, began + LOOK_EVERY_S - time.monotonic()))
        detect.close()

    def _look(self, detect: Callable[[np.ndarray], list[Detection]], image: np.ndarray) -> list[Detection]:
        """At the part whose turn it is; after sleep at every part, since nobody is safe to show before."""
        tiles = tile_boxes(image.shape[1], image.shape[0])
        asleep = not self.awake
        if asleep:
            self._starts.clear()
        self._starts.append(time.monotonic())
        while len(self._starts) > 1 + len(tiles) * WHOLE_EVERY / (WHOLE_EVERY - 1):
            self._starts.popleft()
        whole, among = self.looks % WHOLE_EVERY == 0, self.looks - self.looks // WHOLE_EVERY - 1
        if asleep:
            return [*detect(image), *(d for tile in tiles for d in detect_in_tile(detect, image, tile))]
        if whole or not tiles:
            return detect(image)
        return detect_in_tile(detect, image, tiles[among % len(tiles)])

    def _keep(self, found: list[Detection], now_s: float, index: int, shown_s: float) -> None:
        """Remember; a face seen again replaces its older boxes."""
        boxes = [Box(x, y, x + w, y + h) for x, y, w, h in (d.box_xywh for d in found)]
        new = [
            Seen(now_s, index, shown_s, box, d, self._velocity(box, shown_s))
            for box, d in zip(boxes, found, strict=True)
        ]
        older = [
            seen
            for seen in self._seen
            if now_s - seen.at_s <= self._keep_s
            and not any(box.is_same(seen.box) or box.is_same(seen.box_at(shown_s)) for box in boxes)
        ]
        self._history = [seen for seen in self._history if shown_s - seen.shown_s <= KEEP_S] + new
        self._seen = older + new

    def _velocity(self, box: Box, shown_s: float) -> tuple[float, float]:
        """How a face moves that is here now, by the box before it that it most likely was."""
        before = [
            (off, seen)
            for seen in self._history
            if shown_s - seen.shown_s >= APART_S
            and max(seen.box.side, box.side) < 2 * min(seen.box.side, box.side)
            and (off := math.dist(box.middle, seen.box_at(shown_s).middle)) < NEAR_SIDES * box.side
        ]
        if not before:
            return 0.0, 0.0
        was = min(before, key=lambda pair: pair[0])[1]
        (x, y), (x0, y0) = box.middle, was.box.middle
        far = math.dist((x, y), (x0, y0))
        share = max(0.0, far - SCATTER_SIDES * box.side) / max(far, 1e-6) / (shown_s - was.shown_s)
        return (x - x0) * share, (y - y0) * share
