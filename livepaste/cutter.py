"""Finds the hands in clips and photos, and cuts them out (see :mod:`livepaste.cutouts`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from livepaste.cutouts import cut_out
from livepaste.devices.video import ClipReader
from livepaste.extract import read_photo
from livepaste.finder import PhotoFinder
from livepaste.mediapipe_people import HandsGraph, PersonGraph
from livepaste.options import PHOTOS

SEEN = 640  # side of the picture in which hands are looked for
EVERY_S = 0.4  # between two looks into a clip: a hand that stays is one cut-out, not twenty
MOST = 300  # of one source


class Cutter:
    """Finds the hands in pictures and cuts them out; ``refused`` counts why some were not."""

    def __init__(self) -> None:
        self._hands, self._person, self._faces = HandsGraph(), PersonGraph(), PhotoFinder()
        self.refused: Counter[str] = Counter()

    def find(self, image: UInt8[np.ndarray, "h w 3"]) -> list[Float32[np.ndarray, "21 2"]]:
        """The points of every hand, in the picture's pixels."""
        square = _squared(image)
        side = len(square)
        small = cv2.resize(square, (SEEN, SEEN), interpolation=cv2.INTER_AREA if side > SEEN else cv2.INTER_LINEAR)
        return [((points[:, :2] + 0.5) * (side / SEEN) - 0.5).astype(np.float32) for points in self._hands(small)]

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> list[UInt8[np.ndarray, "s s 4"]]:
        """Its hands, colour and alpha, as :func:`livepaste.cutouts.cut_out` gives them."""
        hands, made = self.find(image), []
        if not hands:
            return []
        (h, w), square = image.shape[:2], _squared(image)
        seen = self._person(cv2.resize(square, (256, 256), interpolation=cv2.INTER_AREA))
        person = np.ascontiguousarray(cv2.resize(seen, square.shape[:2])[:h, :w])
        faces = [face.points_xyz[:, :2] for face in self._faces(image)]
        for points in hands:
            hand = cut_out(image, points, person, faces)
            if isinstance(hand, str):
                self.refused[hand] += 1
            else:
                made.append(hand)
        return made

    def close(self) -> None:
        for graph in (self._hands, self._person, self._faces):
            graph.close()


def _squared(image: np.ndarray) -> np.ndarray:
    """With black below it or beside it, as square as the models want it."""
    h, w = image.shape[:2]
    return cv2.copyMakeBorder(image, 0, max(0, w - h), 0, max(0, h - w), cv2.BORDER_CONSTANT)


def hands_of(path: Path, cutter: Cutter) -> Iterator[tuple[float, UInt8[np.ndarray, "s s 4"]]]:
    """The hands in a clip or a photo, with the time of each in seconds. Raises ClipError when it cannot be read."""
    if path.suffix.lower() in PHOTOS:
        yield from ((0.0, hand) for hand in cutter(read_photo(path).image))
        return
    with ClipReader(path) as reader:
        due, made = 0.0, 0
        for frame in reader.frames():
            if (now := float(frame.time)) < due or made >= MOST:
                continue
            due = now + EVERY_S
            for hand in cutter(frame.image):
                made += 1
                yield now, hand
