"""Many small triangles at once: each pixel knows its triangle's number, and the number leads to an affine.

So a picture, a mask and a light are sampled once each, without a loop over triangles. Planes are worked through a few rows
at a time, because what fits into the processor's cache is several times as fast as whole frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int, Int32

NOTHING = -1e4  # the value of every attribute where no triangle is
ROWS = 16  # worked on together
_FLAT = 1e-3  # pixels: a triangle of less area has no affine


def number_triangles(
    corners: Float[np.ndarray, "t 3 2"],
    order: Iterable[int],
    size_wh: tuple[int, int],
    special: Callable[[np.ndarray], None] = lambda number: None,
) -> Int32[np.ndarray, "h w"]:
    """Draw triangles in ``order`` as their numbers, -1 where none is; at number -1 in the order, ``special`` draws."""
    number = np.full(size_wh[::-1], -1, np.int32)
    fixed = np.rint(corners * 16).astype(np.int32)
    flat = np.abs(_area(corners)) <= _FLAT
    for t in order:
        if t < 0:
            special(number)
        elif not flat[t]:
            cv2.fillConvexPoly(number, fixed[t], int(t), shift=4)
    return number


def spread(
    number: Int[np.ndarray, "h w"], corners: Float[np.ndarray, "t 3 2"], values: Float[np.ndarray, "t 3 k"]
) -> Float32[np.ndarray, "k h w"]:
    """What the triangles' corners have, at each pixel: linear within a triangle, ``NOTHING`` where there is none.

    A sliver covers pixels that it does not contain: no value leaves the range of its own three corners.
    """
    count, kinds = len(corners), values.shape[2]
    system = np.concatenate([corners, np.ones((count, 3, 1))], 2)
    system[np.abs(_area(corners)) <= _FLAT] = np.eye(3)
    affine = np.linalg.solve(system, values)  # (t, 3, k): of x, of y, constant
    table = np.full((5, kinds, count + 2), NOTHING, np.float32)  # the last two: a special number, and nothing
    table[:3, :, :count] = affine.transpose(1, 2, 0)
    table[:3, :, count:] = 0
    table[3, :, :count], table[4, :, :count] = values.min(1).T, values.max(1).T
    h, w = number.shape
    out = np.empty((kinds, h, w), np.float32)
    xs, ys = np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32)[:, None]
    for y in range(0, h, ROWS):
        rows = slice(y, y + ROWS)
        which = number[rows].astype(np.intp)
        for k in range(kinds):
            of_x, of_y, constant, low, high = table[:, k]
            value = of_x.take(which)
            value *= xs
            part = of_y.take(which)
            part *= ys[rows]
            value += part
            value += constant.take(which)
            np.maximum(value, low.take(which), out=value)
            np.minimum(value, high.take(which), out=out[k, rows])
    return out


def _area(corners: np.ndarray) -> np.ndarray:
    """Twice the signed area of each triangle, (t,)."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
