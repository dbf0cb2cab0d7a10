"""Real hands, cut out of pictures to be laid over faces.

By GrabCut (Rother, Kolmogorov & Blake 2004), which is told by a hand's points where to begin. Many attempts fail: skin lies on skin, or a hand
moves too fast. What does not look like a hand's outline afterwards is left out, and why is said.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from livepaste.align import Alignment, crop, transform
from livepaste.edge import carried, disc
from livepaste.masks.hand_shape import KNUCKLES, hand_mask
from livepaste.masks.hull import filled, hull_polygon

HAND = 64  # pixels from the wrist to the middle knuckle, in the window that is cut from
SIDE = 320  # of the window
LEAST = 20.0  # pixels of the camera from wrist to knuckle: of less there is no outline to be seen
OVER_FACE, OUTSIDE = 0.25, 0.15  # share of a hand that may lie over a face, and outside of the picture
NOBODY = 0.02  # below this the selfie model is sure of background; hands it often takes for such
# area of what was cut out, of what a hand with these points has; how much of that is in it; how much of the outline lies on edges
AREA, COVERED, ON_EDGES = (0.75, 1.4), 0.85, 0.6
EDGE = 12.0  # grey levels, in any channel of Lab, across what counts as an edge
HOLE = 60.0  # pixels: smaller ones are specks, larger ones may be seen between fingers
ARM = 2.6  # hands long: how far an arm is followed


def window(points_xy: Float32[np.ndarray, "21 2"]) -> tuple[np.ndarray, float]:
    """Where a hand is cut from: frame pixels to those of a square, float32 (2, 3), upright, with room for an arm; and the hand's size in the
    frame's pixels. A palm seen from its side is short or narrow, never both."""
    size = float(
        max(np.linalg.norm(points_xy[9] - points_xy[0]), 1.25 * np.linalg.norm(points_xy[5] - points_xy[17]), 1e-3)
    )
    scale = HAND / size
    arm = points_xy[0] + 0.8 * _down(points_xy) * size
    middle = (np.minimum(points_xy.min(0), arm) + np.maximum(points_xy.max(0), arm)) / 2
    shift = (SIDE - 1) / 2 - scale * middle
    return np.float32([[scale, 0, shift[0]], [0, scale, shift[1]]]), size


def _down(points_xy: np.ndarray) -> np.ndarray:
    """Which way the arm goes on, a unit vector."""
    way = points_xy[0] - points_xy[list(KNUCKLES)].mean(0)
    return way / max(float(np.linalg.norm(way)), 1e-6)


def cut_out(
    image: UInt8[np.ndarray, "h w 3"],
    points_xy: Float32[np.ndarray, "21 2"],
    person: Float32[np.ndarray, "h w"],
    faces_xy: list[np.ndarray],
    finer: float = 1.0,
) -> UInt8[np.ndarray, "s s 4"] | str:
    """One hand with what is seen of its arm, colour and alpha, ``HAND`` pixels from wrist to knuckle; or why there is none.

    ``person``: how surely each pixel is one; ``faces_xy``: each face's mesh points (478, 2) in the picture's pixels;
    ``finer``: pixels of the picture for one of the camera's, where it was made larger.
    """
    matrix, size = window(points_xy)
    if size < LEAST * max(1.0, finer):
        return "too small"
    p, square = transform(points_xy, matrix), (SIDE, SIDE)
    drawn, arm = hand_mask(p, SIDE) > 0.5, _arm(p)
    inside = cv2.warpAffine(np.full(image.shape[:2], 255, np.uint8), matrix, square) > 127
    if (drawn & ~inside).sum() > OUTSIDE * drawn.sum():
        return "partly outside of the picture"
    face = np.zeros(square, bool)
    for xy in faces_xy:
        face |= filled(hull_polygon(transform(xy.astype(np.float32), matrix)), SIDE) > 0.5
    if (drawn & face).sum() > OVER_FACE * drawn.sum():
        return "over a face"
    seen = crop(image, Alignment(matrix, SIDE))
    body = cv2.warpAffine(person, matrix, square, borderMode=cv2.BORDER_REPLICATE)
    nowhere = ~inside | (face & ~_grown(drawn, 5)) | ((body < NOBODY) & ~_grown(drawn, 12))
    found = _grabbed(seen, drawn, arm, nowhere)
    share = (found & ~(arm & ~_grown(drawn, 6))).sum() / drawn.sum()
    if not AREA[0] <= share <= AREA[1]:
        return "not a hand's size"
    if (found & drawn).sum() < COVERED * (drawn & inside).sum():
        return "not a hand's shape"
    if _on_edges(seen, found, inside) < ON_EDGES:
        return "no clear edge"
    return _soft(seen, found)


def _arm(p: np.ndarray) -> np.ndarray:
    """Where its arm may be, bool (SIDE, SIDE)."""
    way = _down(p)
    across = np.array([-way[1], way[0]])
    start, end = p[0] - 0.3 * HAND * way, p[0] + ARM * HAND * way
    corners = [
        start - 0.45 * HAND * across,
        start + 0.45 * HAND * across,
        end + 0.75 * HAND * across,
        end - 0.75 * HAND * across,
    ]
    return filled(np.array(corners), SIDE) > 0.5


def _grown(mask: np.ndarray, by: int) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), disc(by)) > 0


def _shrunk(mask: np.ndarray, by: int) -> np.ndarray:
    return ~_grown(~mask, by)


def _grabbed(seen: np.ndarray, drawn: np.ndarray, arm: np.ndarray, nowhere: np.ndarray) -> np.ndarray:
    """The pixels that are the hand and its arm, in one piece."""
    label = np.full(drawn.shape, cv2.GC_BGD, np.uint8)
    label[_grown(drawn, 14) | arm] = cv2.GC_PR_BGD
    label[drawn] = cv2.GC_PR_FGD
    label[_shrunk(drawn, 6)] = cv2.GC_FGD
    label[nowhere] = cv2.GC_BGD
    if not (label == cv2.GC_FGD).any():
        return np.zeros_like(drawn)
    # what is farther away than the hand is wide says nothing of what is behind it
    near = _grown(drawn, 40) | _grown(arm, 16)
    ys, xs = np.where(near)
    box = slice(ys.min(), ys.max() + 1), slice(xs.min(), xs.max() + 1)
    part = np.ascontiguousarray(label[box])
    cv2.setRNGSeed(1)
    # skin differs from skin in what Lab keeps apart
    lab = np.ascontiguousarray(cv2.cvtColor(seen, cv2.COLOR_RGB2LAB)[box])
    cv2.grabCut(lab, part, None, np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_MASK)
    found = np.zeros_like(drawn)
    found[box] = (part == cv2.GC_FGD) | (part == cv2.GC_PR_FGD)
    found = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, parts = cv2.connectedComponents(found)
    inside = np.bincount(parts[drawn], minlength=2)
    inside[0] = 0
    found = (parts == int(inside.argmax())) & (inside.max() > 0)
    whole = found.astype(np.uint8)
    for outline in cv2.findContours(whole, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]:
        if cv2.contourArea(outline) < HOLE:
            cv2.drawContours(whole, [outline], -1, 1, cv2.FILLED)
    return whole > 0


def _on_edges(seen: np.ndarray, found: np.ndarray, inside: np.ndarray) -> float:
    """The share of an outline at which the picture changes."""
    lab = cv2.cvtColor(seen, cv2.COLOR_RGB2LAB).astype(np.float32)
    high = cv2.dilate(lab, np.ones((5, 5), np.uint8)) - cv2.erode(lab, np.ones((5, 5), np.uint8))
    rim = found & ~_shrunk(found, 1) & _shrunk(inside, 3)
    return float((high.max(-1)[rim] > EDGE).mean()) if rim.any() else 0.0


def _soft(seen: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Colour and alpha; at its rim the colour of what is further in, for there some of the background is mixed in."""
    alpha = cv2.GaussianBlur(found.astype(np.float32), (0, 0), 1.2)
    core = _shrunk(found, 2).astype(np.float32)
    near, _ = carried(seen, core, 2.5)
    color = np.where(core[..., None] > 0, seen, near)
    return np.dstack([np.clip(color, 0, 255), alpha * 255]).round().astype(np.uint8)
