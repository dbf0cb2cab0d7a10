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
from livepaste.masks.person import SIDE
from livepaste.mediapipe_people import HandsGraph, PersonGraph

SEEN = 640  # side of the picture in which hands are looked for
EVERY_S = 0.4  # between two looks into a clip: a hand that stays is one cut-out, not twenty
MOST_LOOKS, MOST = 600, 300  # into a clip, spread over it; and hands of one
LARGEST = 2000  # pixels: a larger picture is made smaller first


class Cutter:
    """Finds the hands in pictures and cuts them out; ``refused`` counts why some were not."""

    def __init__(self) -> None:
        self._hands, self._person, self._faces = HandsGraph(), PersonGraph(), PhotoFinder()
        self.refused: Counter[str] = Counter()

    def find(self, image: UInt8[np.ndarray, "h w 3"]) -> list[Float32[np.ndarray, "21 2"]]:
        """The points of every hand, in the picture's pixels."""
        small, scale = _smaller(image, SEEN)
        if (w := small.shape[1]) != (h := small.shape[0]):  # the models want it square
            small = cv2.copyMakeBorder(small, 0, max(0, w - h), 0, max(0, h - w), cv2.BORDER_CONSTANT)
        return [((points[:, :2] + 0.5) / scale - 0.5).astype(np.float32) for points in self._hands(small)]

    def cut(
        self, image: UInt8[np.ndarray, "h w 3"], hands: list[Float32[np.ndarray, "21 2"]], finer: float = 1.0
    ) -> list[UInt8[np.ndarray, "s s 4"]]:
        """Those of ``hands``, found in ``image``, that can be cut out; see :func:`livepaste.cutouts.cut_out`."""
        image, scale = _smaller(image, LARGEST)
        seen = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        person = cv2.resize(self._person(seen), image.shape[1::-1])
        faces = [face.points_xyz[:, :2] for face in self._faces(image)]
        made = []
        for points in hands:
            hand = cut_out(image, ((points + 0.5) * scale - 0.5).astype(np.float32), person, faces, finer)
            if isinstance(hand, str):
                self.refused[hand] += 1
            else:
                made.append(hand)
        return made

    def close(self) -> None:
        for graph in (self._hands, self._person, self._faces):
            graph.close()


def _smaller(image: np.ndarray, longest: int) -> tuple[np.ndarray, float]:
    """The picture no longer than that, and how much smaller it is."""
    scale = min(1.0, longest / max(image.shape[:2]))
    if scale == 1:
        return image, scale
    size_wh = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), scale


def hands_in_photo(path: Path, cutter: Cutter) -> list[UInt8[np.ndarray, "s s 4"]]:
    """The hands in a photo. Raises ClipError when it cannot be read."""
    image = read_photo(path).image
    hands = cutter.find(image)
    return cutter.cut(image, hands) if hands else []


def hands_in_clip(path: Path, cutter: Cutter) -> Iterator[tuple[float, UInt8[np.ndarray, "s s 4"]]]:
    """The hands in a clip, with the time of each in seconds. Raises ClipError when it cannot be read."""
    with ClipReader(path) as reader:
        due, made, every_s = 0.0, 0, max(EVERY_S, reader.duration_s / MOST_LOOKS)
        for frame in reader.frames():
            if (now := float(frame.time)) < due:
                continue
            due = now + every_s
            if hands := cutter.find(frame.image):
                for hand in cutter.cut(frame.image, hands):
                    made += 1
                    yield now, hand
            if made >= MOST:
                return
