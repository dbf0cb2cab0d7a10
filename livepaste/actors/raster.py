"""Many small triangles at once: each pixel knows its triangle's number, and the number leads to an affine.

So a picture, a mask and a light are sampled once each, without a loop over triangles. Planes are worked through a few rows
at a time, because what fits into the processor's cache is several times as fast as whole frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int, Int32

ROWS = 64  # worked on together
_FLAT = 1e-3  # pixels: a triangle of less area has no affine


def number_triangles(
    corners: Float[np.ndarray, "t 3 2"],
    order: Iterable[int],
    size_wh: tuple[int, int],
    special: Callable[[np.ndarray], None] = lambda number: None,
) -> Int32[np.ndarray, "h w"]:
    """Draw triangles in ``order`` as their numbers, -1 where none is; at number -1 in the order, ``special`` draws."""
    number = np.full(size_wh[::-1], -1, np.int32)
    # lists: a thousand times the index of an array costs as much as the drawing
    fixed = list(np.rint(corners * 16).astype(np.int32))
    flat = (np.abs(_area(corners)) <= _FLAT).tolist()
    for t in order:
        if t < 0:
            special(number)
        elif not flat[t]:
            cv2.fillConvexPoly(number, fixed[t], t, cv2.LINE_8, 4)
    return number


def spread(
    number: Int[np.ndarray, "h w"],
    corners: Float[np.ndarray, "t 3 2"],
    values: Float[np.ndarray, "t 3 k"],
    nothing: Sequence[float],
) -> Float32[np.ndarray, "k h w"]:
    """What the triangles' corners have, at each pixel: linear within a triangle, ``nothing`` (k) where there is none.

    A sliver covers pixels that it does not contain: no value leaves the range of its own three corners.
    """
    count, kinds = len(corners), values.shape[2]
    system = np.concatenate([corners, np.ones((count, 3, 1))], 2)
    system[np.abs(_area(corners)) <= _FLAT] = np.eye(3)
    affine = np.linalg.solve(system, values)  # (t, 3, k): of x, of y, constant
    table = np.zeros((5, kinds, count + 2), np.float32)  # the first and the last: nothing, and a special number
    table[2:] = np.asarray(nothing)[:, None]
    table[:3, :, 1:-1] = affine.transpose(1, 2, 0)
    a, b, c = values.transpose(1, 2, 0)
    table[3, :, 1:-1], table[4, :, 1:-1] = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
    h, w = number.shape
    out = np.empty((kinds, h, w), np.float32)
    xs, ys = np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32)[:, None]
    which, part = np.empty((ROWS, w), np.intp), np.empty((ROWS, w), np.float32)  # used again: new memory costs
    for y in range(0, h, ROWS):
        rows = slice(y, y + ROWS)
        which, part = which[: h - y], part[: h - y]
        np.add(number[rows], 1, out=which)
        for k in range(kinds):
            value = out[k, rows]
            of_x, of_y, constant, low, high = table[:, k]
            np.multiply(of_x.take(which, out=part, mode="clip"), xs, out=value)
            part = of_y.take(which, out=part, mode="clip")
            part *= ys[rows]
            value += part
            value += constant.take(which, out=part, mode="clip")
            np.maximum(value, low.take(which, out=part, mode="clip"), out=value)
            np.minimum(value, high.take(which, out=part, mode="clip"), out=value)
    return out


def _area(corners: np.ndarray) -> np.ndarray:
    """Twice the signed area of each triangle, (t,)."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
