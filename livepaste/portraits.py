"""Tells a picture of a face from a person: on a wall or a poster nothing moves but with the background.

Two things are watched over two seconds, in coordinates of the background (:mod:`livepaste.backdrop`) and smoothed over
a third of one: where the face is, and its shape after the best similarity, which every turn, blink and word changes.
Measured, in shares of the face's width: in their first two seconds 33 people of 28 real clips moved by 1.5 % and more,
and in any two seconds their shape by 1.8 %; pictures of 100 px under noise and compression, with a panning or shaking
camera, seem to by up to 0.5 and 1.1 %, of 190 px and more by 0.2 and 0.5 %. Of 470 moments of
those clips at which somebody might have been seen first, none made a picture of a person. Who has moved once is a person
for as long as they are followed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from jaxtyping import UInt8

from livepaste.align import OUTLINE, RIGID, width
from livepaste.backdrop import Backdrop

STILL_S = 2.0  # for so long nothing may have moved
_SMOOTH_S = 0.3
# What is no motion yet, in face widths and, since landmarks jitter by as much while a small face slides over pixels, in pixels.
_SHIFT, _SHIFT_PX = 0.003, 0.2
_SHAPE, _SHAPE_PX = 0.004, 0.8
_CLEARLY = 2.5  # times that is motion for sure
_LIDS_AND_LIPS = (159, 145, 386, 374, 13, 14, 61, 291, 0, 17)
_WATCHED = [*RIGID, *OUTLINE, *_LIDS_AND_LIPS]


@dataclass(eq=False)
class _Watch:
    """One followed face."""

    # seconds, complex (n,) in the background's pixels
    past: deque[tuple[float, np.ndarray]] = field(default_factory=deque)
    moved: bool = False  # it has, ever: a person
    still: bool = False

    def add(self, time_s: float, points: np.ndarray) -> None:
        self.past.append((time_s, points))
        while time_s - self.past[0][0] > STILL_S + _SMOOTH_S:
            self.past.popleft()

    def judge(self, width_px: float) -> None:
        times = np.array([time for time, _ in self.past])
        smooth = _smoothed(times, np.stack([points for _, points in self.past]))
        if len(smooth) < 2:
            return
        shift, shape = (moved / width_px for moved in _ranges(smooth))
        most = max(shift / (_SHIFT + _SHIFT_PX / width_px), shape / (_SHAPE + _SHAPE_PX / width_px))
        if most > _CLEARLY:
            self.moved, self.still = True, False
        elif times[-1] - times[0] >= STILL_S and most < 1:
            self.still = True


def _smoothed(times: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Means over ``_SMOOTH_S`` up to each time that has so much before it, (m, n)."""
    sums = np.concatenate([np.zeros_like(points[:1]), np.cumsum(points, axis=0)])
    first = np.searchsorted(times, times - _SMOOTH_S)
    last = np.arange(1, len(times) + 1)
    means = (sums[last] - sums[first]) / (last - first)[:, None]
    return means[times - times[0] >= _SMOOTH_S]


def _ranges(points: np.ndarray) -> tuple[float, float]:
    """How far complex (m, n) points went in m moments, in their unit: all together, and those quarter of them
    that changed their place among the others the most."""
    middles = points[:, : len(RIGID)].mean(1)
    shift = max(np.ptp(middles.real), np.ptp(middles.imag))
    flat = points - points.mean(1, keepdims=True)
    mean = flat.mean(0)
    # the best similarity is one complex factor: Umeyama as in align.fit_similarity
    factor = (flat.conj() @ mean) / np.maximum((np.abs(flat) ** 2).sum(1), 1e-12)
    rest = flat * factor[:, None]
    went = np.sort(np.hypot(np.ptp(rest.real, axis=0), np.ptp(rest.imag, axis=0)))
    return float(shift), float(went[-(len(went) // 4) :].mean())


class Portraits:
    """Call it with every frame in order: which of the followed faces are pictures.

    Only beside somebody who moves is anybody a picture: a still face alone stays a person, and so does everybody when a camera hangs.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Nothing carries over: after a cut."""
        self._backdrop, self._watched, self._begun = Backdrop(), dict[int, _Watch](), 0

    def __call__(
        self, image: UInt8[np.ndarray, "h w 3"], time: Fraction, faces: Mapping[int, np.ndarray | None]
    ) -> frozenset[int]:
        """``faces``: mesh points (478, 3) in frame pixels by track, of all that are followed; None of those that may come back."""
        self._watched = {track: watch for track, watch in self._watched.items() if track in faces}
        here = {track: points for track, points in faces.items() if points is not None}
        for track in here:
            self._watched.setdefault(track, _Watch())
        if len(self._watched) > 1 and not all(watch.moved for watch in self._watched.values()):
            self._watch(image, float(time), here)
        if not any(watch.moved for watch in self._watched.values()):
            return frozenset()
        return frozenset(track for track, watch in self._watched.items() if watch.still and not watch.moved)

    def _watch(self, image: np.ndarray, time_s: float, faces: Mapping[int, np.ndarray]) -> None:
        back = self._backdrop(image, faces.values())
        if back is None:
            return
        if self._backdrop.begun != self._begun:
            self._begun = self._backdrop.begun
            for watch in self._watched.values():
                watch.past.clear()
        for track, points in faces.items():
            watch = self._watched[track]
            if not watch.moved:
                watch.add(time_s, _complex(points[_WATCHED, :2], back))
                watch.judge(width(points))


def _complex(points_xy: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    moved = points_xy.astype(np.float64) @ matrix[:, :2].T + matrix[:, 2]
    return moved @ (1, 1j)
