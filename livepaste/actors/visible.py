"""Which pixels of a photograph are visible face: the mesh's outline, up to the hairline and without what hair falls over it.

Hair and skin are told apart by their colours (GrabCut: Rother, Kolmogorov, Blake 2004), between what is surely skin, the middle of the
face, and what surely is not, all that lies beyond any forehead or outside the person.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from livepaste.align import OUTLINE, UPPER_OUTLINE

FURTHEST = 0.42  # template units above the mesh's upper edge: no forehead goes on further
USUAL = 0.20  # the same of a bald head, whose picture shows no hairline
_SIDE = 192  # of the canvas as worked at
_ROUNDS = 4
_TEMPLE = 0.26  # template units from the outline inwards: so far hair may fall over the sides of a face
_RIM = 0.06  # template units: nearer to the outline nothing is taken for face for its colour alone
_LIKE = 20.0  # in Lab, lightness weighing less than half: nearer to the cheeks' colour than this is skin
_SMOOTH = 7  # pixels: a lock thinner than this is no edge
# Brows, eyes and mouth: as dark as hair, and no hair.
_DARK = (
    (70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (300, 293, 334, 296, 336, 285, 295, 282, 283, 276),
    (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146),
)  # fmt: skip
_CHEEKS = ((50, 101, 36, 205, 187, 147, 123), (280, 330, 266, 425, 411, 376, 352))
_BROWS = (105, 334, 66, 296)


def face_polygon(xy: np.ndarray, height: float) -> np.ndarray:
    """The outline with its upper points raised by up to ``height`` (template units) along the face's up axis, (n, 2)."""
    up, unit = xy[168] - xy[164], _unit(xy)
    up = up / (np.linalg.norm(up) + 1e-9)
    outline = xy[list(OUTLINE)].astype(np.float64)
    taper = np.sin(np.linspace(0, np.pi, len(UPPER_OUTLINE) + 2)[1:-1]) ** 0.5
    outline[list(UPPER_OUTLINE)] += np.outer(height * taper * unit, up)
    return outline


def _unit(xy: np.ndarray) -> float:
    """Pixels of a template unit."""
    return float(np.linalg.norm(xy[263] - xy[33])) / 0.746


def visible_face(
    canvas: UInt8[np.ndarray, "s s 3"], alpha: UInt8[np.ndarray, "s s"], xy: Float[np.ndarray, "n 2"]
) -> UInt8[np.ndarray, "s s"]:
    """The mask, 255 = face, with a soft edge. ``alpha``: of the person; ``xy``: mesh points in canvas pixels, the face upright."""
    large_xy, share = xy, _SIDE / canvas.shape[0]
    xy, small_alpha = (xy + 0.5) * share - 0.5, cv2.resize(alpha, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(cv2.resize(canvas, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
    cheeks = np.logical_or(*(_filled(xy[list(ring)]) for ring in _CHEEKS))
    skin = np.median(lab[cheeks], axis=0)
    known = _known(lab, small_alpha, xy, cheeks, skin)
    mixtures = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)  # the mixtures of colours start from k-means
    cv2.grabCut(_weighed(lab, xy, skin), known, None, *mixtures, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    shape = np.isin(known, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    last = _filled(face_polygon(xy, FURTHEST)) & ~_filled(face_polygon(xy, FURTHEST - 0.05))
    if shape[last].mean() > 0.5:
        shape[~_filled(face_polygon(xy, USUAL))] = 0
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_SMOOTH, _SMOOTH))
    for way in (cv2.MORPH_CLOSE, cv2.MORPH_OPEN):
        shape = cv2.morphologyEx(shape, way, disc)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(shape)
    if count < 2:
        return np.zeros(canvas.shape[:2], np.uint8)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    soft = cv2.GaussianBlur(np.where(parts == largest, 255, 0).astype(np.uint8), (0, 0), 1.2)
    soft = cv2.resize(soft, canvas.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.minimum(soft, _outlined(face_polygon(large_xy, FURTHEST), canvas.shape[0]))


def _outlined(polygon: np.ndarray, side: int) -> np.ndarray:
    """A polygon's cover of each pixel, uint8 (side, side): jaw and cheeks end where the mesh does."""
    big = np.zeros((side * 4, side * 4), np.uint8)
    cv2.fillPoly(big, [np.rint(((polygon + 0.5) * 4 - 0.5) * 16).astype(np.int32)], 255, shift=4)
    return cv2.resize(big, (side, side), interpolation=cv2.INTER_AREA)


def _filled(polygon: np.ndarray) -> np.ndarray:
    made = np.zeros((_SIDE, _SIDE), np.uint8)
    return cv2.fillPoly(made, [np.rint(polygon * 16).astype(np.int32)], 1, shift=4) > 0


def _shrunk(mask: np.ndarray, by_px: float) -> np.ndarray:
    return cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=max(1, round(by_px))) > 0


def _known(lab: np.ndarray, alpha: np.ndarray, xy: np.ndarray, cheeks: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """What is surely face or not, and what each other pixel rather is."""
    unit, y = _unit(xy), np.arange(_SIDE)[:, None]
    mesh, any_forehead = _filled(xy[list(OUTLINE)]), _filled(face_polygon(xy, FURTHEST))
    temple = _TEMPLE * unit
    known = np.where(any_forehead, cv2.GC_PR_BGD, cv2.GC_BGD).astype(np.uint8)
    known[any_forehead & mesh] = cv2.GC_PR_FGD
    brows, nose = xy[list(_BROWS), 1].min() - 0.02 * unit, xy[[1, 2], 1].mean()
    known[_shrunk(mesh, temple) & (y > brows)] = cv2.GC_FGD
    known[mesh & (y > nose)] = cv2.GC_FGD  # beards are face
    known[cheeks] = cv2.GC_FGD
    smooth = cv2.GaussianBlur(lab, (3, 3), 0).astype(np.float32)
    like = np.linalg.norm((smooth - skin) * [0.4, 1, 1], axis=2) < _LIKE  # also a forehead in another light
    known[like & (known == cv2.GC_PR_FGD) & _shrunk(mesh, _RIM * unit)] = cv2.GC_FGD
    known[alpha < 60] = cv2.GC_BGD
    return known


def _weighed(lab: np.ndarray, xy: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """The picture as it is compared: brows, eyes and mouth in the cheeks' colour, lightness less and colour more than they are."""
    made, around = lab.copy(), np.zeros((_SIDE, _SIDE), np.uint8)
    for ring in _DARK:
        around |= _filled(cv2.convexHull(xy[list(ring)].astype(np.float32))[:, 0]).astype(np.uint8)
    around = cv2.dilate(around, np.ones((3, 3), np.uint8), iterations=max(1, round(0.05 * _unit(xy))))
    around &= _shrunk(_filled(xy[list(OUTLINE)]), 2 * _RIM * _unit(xy))  # a brow's end may lie under hair
    made[around > 0] = skin
    made = cv2.GaussianBlur(made, (3, 3), 0).astype(np.float32)
    return np.clip((made - 128) * [0.7, 1.5, 1.5] + 128, 0, 255).astype(np.uint8)
