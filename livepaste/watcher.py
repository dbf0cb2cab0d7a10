"""Looks for faces beside the live loop: the full-range detector on its own thread, always on the newest frame.

The mesh confirms no profile and no half-hidden face, so what follows faces in the loop can miss a person that stands in
the picture. The detector does see them; its boxes are hidden whether or not a mesh can be put on them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from livepaste.finder import detect_in_tile, tile_boxes, width
from livepaste.mediapipe_graphs import Detection, DetectionGraph
from livepaste.stream import Slot
from livepaste.types import Face, Frame

logger = logging.getLogger(__name__)
LOOK_EVERY_S = 1 / 16  # at one part of the picture: a burst of several would hold up the two stages on two cores
WHOLE_EVERY = 4  # looks; those between are at the squares in turn, so that of a 720p frame all 7 are seen within 0.6 s
KEEP_S = 1.2  # a box lasts for so long, and in large pictures until every part was looked at twice
ASLEEP_S = 2.0  # without a look for so long nobody knows who else is there


@dataclass(frozen=True)
class Box:
    """Where a face was seen: left, top, right, bottom in frame pixels."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def face(self) -> Face:
        """As a face whose points are the box's corners: what ``hide_faces`` takes."""
        return Face(np.float32([(self.x0, self.y0, 0), (self.x1, self.y1, 0)]))


class Watcher:
    """``show`` it every frame, ask it for ``strangers``. Starts and loads on its own thread."""

    def __init__(self) -> None:
        self._slot = Slot()
        self._seen: list[tuple[float, Box]] = []
        self._closed = threading.Event()
        self.looks = 0
        self._round_s = 0.0  # how long it takes to look at every part
        self._looked_s = float("-inf")
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watch")
        self._thread.start()

    def show(self, frame: Frame) -> None:
        self._slot.put(frame.image)

    def strangers(self, faces: Iterable[Face]) -> tuple[Face, ...]:
        """Faces that were seen lately and are none of ``faces``, which the loop follows itself."""
        oldest = time.monotonic() - self._keep_s
        followed = [(face.points_xyz[:, :2].mean(0), width(face.points_xyz)) for face in faces]
        return tuple(box.face for at, box in self._seen if at >= oldest and not _is_any(box, followed))

    @property
    def awake(self) -> bool:
        """Whether it looked lately. When it did not (still loading, failing, hanging), a stranger may be in the picture."""
        return time.monotonic() - self._looked_s < ASLEEP_S

    @property
    def _keep_s(self) -> float:
        return max(KEEP_S, 2 * self._round_s)

    def close(self) -> None:
        self._closed.set()
        self._slot.close()
        self._thread.join(timeout=2)

    def _watch(self) -> None:
        try:
            detect = DetectionGraph()
        except Exception:  # it stays asleep, and the cover is all that leaves
            logger.exception("looking for other faces cannot start; --others leave goes without")
            return
        while not self._closed.is_set():
            image = self._slot.take()
            if image is None:
                break
            began = time.monotonic()
            try:
                self._keep(self._look(detect, image), began)
                self._looked_s = began
                self.looks += 1
            except Exception:  # says so and tries again; while it lasts it is not awake
                logger.exception("looking for other faces failed")
            self._closed.wait(max(0.0, began + LOOK_EVERY_S - time.monotonic()))
        detect.close()

    def _look(self, detect: Callable[[np.ndarray], list[Detection]], image: np.ndarray) -> list[Detection]:
        """At the part whose turn it is; the first time at every part, since nobody is safe to show before."""
        tiles = tile_boxes(image.shape[1], image.shape[0])
        self._round_s = LOOK_EVERY_S * len(tiles) * WHOLE_EVERY / (WHOLE_EVERY - 1)
        whole, among = self.looks % WHOLE_EVERY == 0, self.looks - self.looks // WHOLE_EVERY - 1
        if not self.looks:
            return [*detect(image), *(d for tile in tiles for d in detect_in_tile(detect, image, tile))]
        if whole or not tiles:
            return detect(image)
        return detect_in_tile(detect, image, tiles[among % len(tiles)])

    def _keep(self, found: list[Detection], now: float) -> None:
        """Remember; a face seen again replaces its older boxes."""
        boxes = [Box(x, y, x + w, y + h) for x, y, w, h in (d.box_xywh for d in found)]
        places = [(np.array([(b.x0 + b.x1) / 2, (b.y0 + b.y1) / 2]), b.x1 - b.x0) for b in boxes]
        older = [(at, b) for at, b in self._seen if now - at <= self._keep_s and not _is_any(b, places)]
        self._seen = older + [(now, b) for b in boxes]


def _is_any(box: Box, places: list[tuple[np.ndarray, float]]) -> bool:
    """Whether a box's middle lies on one of the faces given by centre and width."""
    centre = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
    return any(float(np.hypot(*(centre - at))) < 0.6 * max(size, box.x1 - box.x0) for at, size in places)
