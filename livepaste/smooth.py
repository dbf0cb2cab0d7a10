"""Steadying landmarks: the One-Euro filter (Casiez et al. 2012), low jitter at rest and low lag in motion."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np

from livepaste.align import mean_mesh


@dataclass
class OneEuro:
    """A low-pass filter whose cut-off rises with speed. Units: ``values`` as given per face width, time in seconds."""

    min_cutoff_hz: float = 1.0
    beta: float = 20.0  # cut-off gained per face width per second
    speed_cutoff_hz: float = 4.0
    _last: np.ndarray | None = None
    _speed: np.ndarray | None = None
    _time: Fraction | None = None

    def __call__(self, values: np.ndarray, time: Fraction, scale: float) -> np.ndarray:
        """Filtered ``values`` (n, d). ``scale`` is the face's width in the values' unit, so that near and far faces act alike."""
        gap = None if self._time is None else float(time - self._time)
        if self._last is None or gap is None or not 0 < gap < 0.5 or self._last.shape != values.shape:
            self._last, self._speed, self._time = values.astype(np.float64), np.zeros(values.shape), time
            return values
        assert self._speed is not None
        speed = (values - self._last) / gap
        self._speed += _share(self.speed_cutoff_hz, gap) * (speed - self._speed)
        # One cut-off for all points: they must not slide over each other. Speed is taken over regions of the face, in
        # which the points' own noise averages out and a turn, a nod or speech does not.
        regions = _regions(len(values))
        pace = float(np.linalg.norm(regions @ self._speed, axis=-1).max()) / max(scale, 1e-6)
        share = _share(self.min_cutoff_hz + self.beta * pace, gap)
        self._last = self._last + share * (values - self._last)
        self._time = time
        return self._last.astype(values.dtype)


@cache
def _regions(count: int) -> np.ndarray:
    """Means over six regions of the mesh (two sides, three heights), (6, n); over everything for other points."""
    points = mean_mesh().points_xyz
    if count != len(points):
        return np.full((1, count), 1 / count)
    height = np.digitize(points[:, 1], (0.25, 0.65))
    region = 2 * height + (points[:, 0] > 0.5)
    member = (region == np.arange(6)[:, None]).astype(np.float64)
    return member / member.sum(1, keepdims=True)


def _share(cutoff_hz: float, gap_s: float) -> float:
    """How far a first-order low-pass goes towards a new value after ``gap_s``."""
    return 1 - math.exp(-2 * math.pi * cutoff_hz * gap_s)
