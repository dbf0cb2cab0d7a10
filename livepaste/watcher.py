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

from livepaste.finder import detect_in_tile, lies_on, tile_boxes
from livepaste.mediapipe_graphs import Detection, DetectionGraph
from livepaste.stream import Slot
from livepaste.trouble import Trouble
from livepaste.types import Face, Frame

LOOK_EVERY_S = 1 / 16  # at one part of the picture: a burst of several would hold up the stages on two cores
WHOLE_EVERY = 4  # looks; those between are at the squares in turn, of a 720p frame each of the 7 every 0.63 s
KEEP_S = 1.2  # a box lasts for so long, and in large pictures until every part was looked at twice
NEW_S = 0.4  # a face has hardly moved since: more than the time between two looks at the whole
REMEMBERED = 64  # frames: longer than a look takes
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

    at_s: float
    index: int  # of the frame
    box: Box
    detection: Detection
    judged: bool = False
    track: int | None = None


class Watcher:
    """``show`` it every frame, ask it for ``strangers``. Starts and loads on its own thread."""

    def __init__(self) -> None:
        self._slot = Slot()
        self._seen: list[Seen] = []
        self._faces: deque[tuple[int, tuple[Face, ...]]] = deque(maxlen=REMEMBERED)  # by frame index
        self._closed = threading.Event()
        self.looks = 0
        self._starts: deque[float] = deque()  # of the looks at the last round of parts
        self._looked_s = float("-inf")
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watch")
        self._thread.start()

    def show(self, frame: Frame) -> None:
        self._slot.put(frame)

    def strangers(self, index: int, faces: Iterable[Face]) -> tuple[Face, ...]:
        """Faces that were seen lately and are none of ``faces``, which the loop follows itself in frame ``index``.

        A box belongs to who was there when it was seen: nobody who moves on leaves a blurred ghost behind, and whoever is
        followed no more is hidden at once.
        """
        now = tuple(faces)
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
                found.append(seen.box.face)
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
            frame = self._slot.take()
            if frame is None:
                break
            began = time.monotonic()
            try:
                found = self._look(detect, frame.image)
                # by its end: a first look at a large picture can take longer than boxes last
                looked_s = time.monotonic()
                self._keep(found, looked_s, frame.index)
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

    def _keep(self, found: list[Detection], now_s: float, index: int) -> None:
        """Remember; a face seen again replaces its older boxes."""
        boxes = [Box(x, y, x + w, y + h) for x, y, w, h in (d.box_xywh for d in found)]
        older = [
            seen
            for seen in self._seen
            if now_s - seen.at_s <= self._keep_s and not any(seen.box.is_same(box) for box in boxes)
        ]
        self._seen = older + [Seen(now_s, index, box, d) for box, d in zip(boxes, found, strict=True)]
