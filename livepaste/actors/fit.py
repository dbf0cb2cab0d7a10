"""Where a head stands in its template, as a landmark finder sees it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64

from livepaste.actors.head import Head
from livepaste.actors.motion import perform
from livepaste.align import to_template

SEED, MOMENTS, EVERY = 6001, 24, 13  # the performance that is looked at, and how often
Find = Callable[[np.ndarray, int], np.ndarray | None]  # (picture, its number) -> mesh points (478, 3) in its pixels


def fit_as_found(head: Head, find: Find, size_wh: tuple[int, int]) -> None:
    """Move and scale ``head`` so that what ``find`` finds on it lies on the template, on average over a performance.

    A finder has its own idea of each face: it takes one for 3 % larger and another for 2 % smaller than the mesh they
    are drawn on. Without this, two heads on one template would be found in two places, and the truth of the one in the
    other's place would not be what a perfect swap paints.
    """
    performance = perform(SEED, MOMENTS * EVERY)
    off = []
    for number in range(MOMENTS):
        shot = head.render(performance, number * EVERY, size_wh)
        found = find(shot.image, number)
        if found is not None:
            off.append(_between(shot.points_xyz, found))
    if off:
        head.move(np.mean(off, axis=0)[:2])


def _between(drawn: np.ndarray, found: np.ndarray) -> Float64[np.ndarray, "3 3"]:
    """From where a face is drawn to where it is found, template units: similarities can be averaged number by number."""
    to_drawn, to_found = (np.vstack([to_template(points), [0, 0, 1]]) for points in (drawn, found))
    return to_found @ np.linalg.inv(to_drawn)
