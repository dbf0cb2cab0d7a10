"""Cut a person out of the picture's background: GrabCut (Rother, Kolmogorov, Blake 2004) told where a head has to be."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from livepaste.align import OUTLINE

_SIDE = 192  # of the canvas as worked at; 0.05 s
_ROUNDS = 4
BODY = ((0.45, 0.4), (0.55, 1.25), (1.20, 1.55), (1.40, 4.0))  # half of it: distance from the middle, y
NECK = ((0.20, 0.6), (0.25, 4.0))


def person(
    canvas: UInt8[np.ndarray, "s s 3"], xy: Float[np.ndarray, "n 2"], filmed: tuple[slice, slice]
) -> UInt8[np.ndarray, "s s"]:
    """Alpha of the person, one connected shape with a soft edge.

    ``xy``: mesh points in canvas pixels, the face upright; ``filmed``: rows and columns of the canvas that show the
    picture itself, around which its border was carried on.
    """
    side = canvas.shape[0]
    share = _SIDE / side
    small = cv2.resize(canvas, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    outline = xy[list(OUTLINE)] * share
    unit = float(np.linalg.norm(xy[263] - xy[33])) / 0.746 * share
    origin = xy[168] * share - np.array([0.5, 0.20]) * unit  # of template units; point 168 lies between the eyes

    def ellipse(on: np.ndarray, centre: tuple[float, float], radii: tuple[float, float], value: int) -> None:
        x, y = (int(v) for v in np.rint(origin + np.array(centre) * unit))
        cv2.ellipse(on, (x, y), (round(radii[0] * unit), round(radii[1] * unit)), 0, 0, 360, value, -1)

    def polygon(on: np.ndarray, half: tuple[tuple[float, float], ...], value: int) -> None:
        """A symmetric one by its half, as (distance from the middle, y)."""
        points = [(0.5 - x, y) for x, y in half] + [(0.5 + x, y) for x, y in reversed(half)]
        cv2.fillPoly(on, [np.rint(origin + np.array(points) * unit).astype(np.int32)], value)

    rows, columns = (slice(round(s.start * share), round(s.stop * share)) for s in filmed)
    y, x = np.mgrid[0:_SIDE, 0:_SIDE]
    beside, y = np.abs(x - origin[0] - 0.5 * unit) / unit, (y - origin[1]) / unit
    known = np.where((beside > 1.05) & (y < 0.75), cv2.GC_BGD, cv2.GC_PR_BGD).astype(np.uint8)
    ellipse(known, (0.5, 0.30), (0.80, 1.08), cv2.GC_PR_FGD)
    polygon(known, BODY, cv2.GC_PR_FGD)
    ellipse(known, (0.5, 0.10), (0.48, 0.62), cv2.GC_FGD)
    polygon(known, NECK, cv2.GC_FGD)
    cv2.fillPoly(known, [np.rint(outline.mean(0) + (outline - outline.mean(0)) * 0.97).astype(np.int32)], cv2.GC_FGD)
    # above the picture, hair carried on would count as background: what is beside the head goes on there instead
    left, right = (int(np.clip(origin[0] + (0.5 + d) * unit, 0, _SIDE - 1)) for d in (-0.85, 0.85))
    t = np.linspace(0, 1, right - left)[:, None]
    small[: rows.start, left:right] = (
        small[: rows.start, left : left + 1] * (1 - t) + small[: rows.start, right : right + 1] * t
    )
    mixtures = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)  # the mixtures of colors start from k-means
    cv2.grabCut(small, known, None, *mixtures, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    shape = np.isin(known, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    # beyond the picture it goes on as at the border
    around = ((rows.start, _SIDE - rows.stop), (columns.start, _SIDE - columns.stop))
    shape = np.pad(shape[rows, columns], around, mode="edge")
    shoulders = np.zeros_like(shape)
    polygon(shoulders, BODY, 1)
    shape[:, : columns.start] &= shoulders[:, : columns.start]
    shape[:, columns.stop :] &= shoulders[:, columns.stop :]
    if rows.start and shape[rows.start].any():  # the picture cuts off the crown: close it with an arc
        hair = np.flatnonzero(shape[rows.start])
        half = (hair[-1] - hair[0]) / 2
        crown = np.zeros_like(shape)
        middle = (round((hair[0] + hair[-1]) / 2), rows.start)
        cv2.ellipse(crown, middle, (round(half), round(min(0.25 * half, 0.12 * unit))), 0, 0, 360, 1, -1)
        shape[: rows.start] = crown[: rows.start]
    shape = cv2.morphologyEx(shape, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, parts = cv2.connectedComponents(shape)
    shape = np.where(parts == parts[tuple(int(v) for v in outline.mean(0)[::-1])], 255, 0).astype(np.uint8)
    # a little inside the edge, whose pixels are half background
    soft = cv2.GaussianBlur(cv2.erode(shape, np.ones((2, 2), np.uint8)), (0, 0), 0.9)
    return cv2.resize(soft, (side, side), interpolation=cv2.INTER_LINEAR)
