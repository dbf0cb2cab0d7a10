"""Tells a picture of a face from a person: on a wall or a poster nothing moves but with the background.

Three things are watched over two seconds, in coordinates of the background (:mod:`livepaste.backdrop`): where the face
is and its shape after the best similarity, both smoothed over a third of one, and how far lids and lips are apart.
Measured, in shares of the face's width: in their first two seconds 33 people of 28 real clips moved by 1.5 % and more,
and in any two seconds their shape by 1.8 %; pictures of 100 px under noise and compression, with a panning or shaking
camera, seem to by up to 0.5 and 1.1 %, of 190 px and more by 0.2 and 0.5 %. Of 470 moments of those clips at which
somebody might have been seen first, none made a picture of a person. Whatever is not certain makes a person: a face
that was lost or near another, a background that was lost, a face of few pixels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from jaxtyping import UInt8

from livepaste.align import OUTLINE, RIGID, width
from livepaste.backdrop import Backdrop

STILL_S = 2.0  # for so long nothing may have moved
SMOOTH_S = 0.3
_LATELY_S = 0.6  # within so long somebody else must have moved, too
_EVERY_S = 0.06  # between two looks: a blink takes longer
_FEWEST = 20  # looks in two seconds
_LEAST_PX = 40.0  # narrower faces jitter as much as people move
# What is no motion yet, in face widths and, since landmarks jitter by as much while a small face slides over pixels, in pixels.
_SHIFT, _SHIFT_PX = 0.003, 0.2
_SHAPE, _SHAPE_PX = 0.004, 0.8
_OPENING, _OPENING_PX = 0.010, 0.8
_STAYS = 1.2  # times as much makes a person of a picture again
_CLEARLY = 2.5  # times as much is motion for sure
_OPENINGS = ((159, 145), (386, 374), (13, 14))  # lids and lips
_WATCHED = [*RIGID, *OUTLINE, *(point for pair in _OPENINGS for point in pair), 61, 291]
_PAIRS = np.array([[_WATCHED.index(a), _WATCHED.index(b)] for a, b in _OPENINGS])


@dataclass(eq=False)
class _Watch:
    """One followed face."""

    # seconds, complex (n,) in the background's pixels
    past: deque[tuple[float, np.ndarray]] = field(default_factory=deque)
    moved: bool = False  # it has, for sure: a person
    moved_s: float = float("-inf")  # when it last moved at all
    still: bool = False

    def restart(self) -> None:
        self.past.clear()
        self.still = False

    def add(self, time_s: float, points: np.ndarray) -> None:
        self.past.append((time_s, points))
        while time_s - self.past[0][0] > STILL_S + SMOOTH_S:
            self.past.popleft()

    def judge(self, width_px: float, *, another_moves: bool) -> None:
        times, points = np.array([time for time, _ in self.past]), np.stack([points for _, points in self.past])
        most = _motion(times, points, width_px)
        if most > _CLEARLY:
            self.moved = True
        lately = times >= times[-1] - _LATELY_S
        if _motion(times[lately], points[lately], width_px) > 1:
            self.moved_s = times[-1]
        if self.moved or width_px < _LEAST_PX:
            self.still = False
        elif self.still:
            self.still = most < _STAYS
        else:
            whole = times[-1] - times[0] >= STILL_S and len(times) >= _FEWEST
            self.still = whole and most < 1 and another_moves


def _motion(times: np.ndarray, points: np.ndarray, width_px: float) -> float:
    """What moved most in this time, as a multiple of what is no motion yet."""
    smooth = _smoothed(times, points)
    if len(smooth) < 2:
        return 0.0
    shift, shape = (moved / width_px for moved in _ranges(smooth))
    return max(
        shift / (_SHIFT + _SHIFT_PX / width_px),
        shape / (_SHAPE + _SHAPE_PX / width_px),
        _opening(points) / width_px / (_OPENING + _OPENING_PX / width_px),
    )


def _smoothed(times: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Means over ``SMOOTH_S`` up to each time that has so much before it, (m, n)."""
    sums = np.concatenate([np.zeros_like(points[:1]), np.cumsum(points, axis=0)])
    first = np.searchsorted(times, times - SMOOTH_S)
    last = np.arange(1, len(times) + 1)
    means = (sums[last] - sums[first]) / (last - first)[:, None]
    return means[times - times[0] >= SMOOTH_S]


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


def _opening(points: np.ndarray) -> float:
    """How far the distance of lids or lips changed, at least for two looks together: one alone may be noise."""
    gaps = np.abs(points[:, _PAIRS[:, 0]] - points[:, _PAIRS[:, 1]])
    pairs = (gaps[1:] + gaps[:-1]) / 2
    return float(np.ptp(pairs, axis=0).max()) if len(pairs) else 0.0


class Portraits:
    """Call it with every frame in order: which of the followed faces are pictures.

    Nobody becomes one but beside somebody who is moving: a still face alone stays a person, and so does everybody
    when a camera hangs. It stays one until it moves, is lost, or the background is.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Nothing carries over: after a cut."""
        self._backdrop, self._watched, self._begun = Backdrop(), dict[int, _Watch](), 0
        self._looked_s = float("-inf")

    def forget(self, tracks: Collection[int]) -> None:
        """Those may have been somebody else: they were near another, or had another's number."""
        for track in tracks:
            self._watched.pop(track, None)

    def __call__(
        self, image: UInt8[np.ndarray, "h w 3"], time: Fraction, faces: Mapping[int, np.ndarray]
    ) -> frozenset[int]:
        """``faces``: mesh points (478, 3) in frame pixels by track, of all that are followed."""
        self._watched = {track: self._watched.get(track) or _Watch() for track in faces}
        unsure = [watch for watch in self._watched.values() if not watch.moved]
        alone = len(faces) < 2 and not any(watch.still for watch in unsure)
        if unsure and not alone and not 0 <= float(time) - self._looked_s < _EVERY_S:
            self._looked_s = float(time)
            self._watch(image, float(time), faces)
        return frozenset(track for track, watch in self._watched.items() if watch.still)

    def _watch(self, image: np.ndarray, time_s: float, faces: Mapping[int, np.ndarray]) -> None:
        back = self._backdrop(image, faces.values())
        if back is None or self._backdrop.begun != self._begun:
            self._begun = self._backdrop.begun
            for watch in self._watched.values():
                watch.restart()
        if back is None:
            return
        for track, points in faces.items():
            watch = self._watched[track]
            watch.add(time_s, _complex(points[_WATCHED, :2], back))
            moving = [w for other, w in self._watched.items() if other != track and time_s - w.moved_s <= _LATELY_S]
            watch.judge(width(points), another_moves=bool(moving))


def _complex(points_xy: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    moved = points_xy.astype(np.float64) @ matrix[:, :2].T + matrix[:, 2]
    return moved @ (1, 1j)
