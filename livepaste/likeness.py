"""Who is who: a face as a short vector that says whose it is rather than what it does.

The picture is sampled through the face's own mesh at places of the mean mesh, so pose and expression move the samples
with the face; brightness and contrast are taken off locally; a linear discriminant analysis (Fisher 1936; "fisherfaces",
Belhumeur et al. 1997) keeps the directions in which people differ more than one person does. ``likeness.npz`` holds it,
made by ``benchmarks/likeness.py`` from actors, none of them a real person. It tells apart who stands in a picture; it is
no proof of identity.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from livepaste.align import OUTLINE, align, crop, mean_mesh, transform

VERSION = 1  # of `likeness.npz`: vectors of different ones cannot be compared
SIDE = 64  # pixels of the crop that is sampled
STEP = 0.045  # template units between samples
_BLUR, _LOCAL = 1.2, 5.0  # sigmas: of the crop, in its pixels; of what counts as local, in samples
SOFT = 2.0  # sigma of a crop as soft as a network draws it
_FLAT = 4.0  # variance, of 255 squared, that is added to every contrast: noise is no likeness
# Cosine from which on two are one person. Between the means of two real tracks: of the same person 0.66 and more, all but 3 of 48 pairs
# 0.74 and more (13 tracks of two people); of two people 0.64 at most (251 pairs).
FAMILIAR = 0.7
_SEEN = 0.75  # of a sample's surroundings: one of which less is visible counts as hidden
Likeness = Float32[np.ndarray, " k"]  # of unit length


class Grid(NamedTuple):
    """Where a face is sampled."""

    corners: np.ndarray  # int (n, 3): points of the mesh around each sample
    weights: np.ndarray  # float32 (n, 3), barycentric
    inside: np.ndarray  # int (n,): the sample's place in the flattened rectangle
    shape: tuple[int, int]  # rows and columns of the rectangle


@cache
def grid() -> Grid:
    """Samples ``STEP`` apart on the mean mesh, those in the openings of eyes and mouth left out."""
    mesh = mean_mesh()
    xy = mesh.points_xyz[:, :2].astype(np.float64)
    low, high = xy[list(OUTLINE)].min(0), xy[list(OUTLINE)].max(0)
    columns, rows = (np.arange(low[i] + STEP / 2, high[i], STEP) for i in (0, 1))
    places = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 1, 2)
    a, b, c = (xy[mesh.triangles[:, i].astype(int)] for i in range(3))

    def area(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> np.ndarray:
        return (q - p)[..., 0] * (r - p)[..., 1] - (q - p)[..., 1] * (r - p)[..., 0]

    shares = np.stack([area(places, b, c), area(a, places, c), area(a, b, places)], axis=-1) / area(a, b, c)[:, None]
    holds = (shares >= 0).all(-1)
    inside = np.flatnonzero(holds.any(1))
    first = holds[inside].argmax(1)
    corners = mesh.triangles[first].astype(int)
    return Grid(corners, shares[inside, first].astype(np.float32), inside, (len(rows), len(columns)))


def _locally(values: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(values, (0, 0), _LOCAL)


def samples(
    image: UInt8[np.ndarray, "h w 3"],
    points_xyz: Float32[np.ndarray, "478 c"],
    visible: Bool[np.ndarray, "h w"] | None = None,
    blur_px: float = _BLUR,
) -> Float32[np.ndarray, " n"]:
    """A face's luma where :func:`grid` says, each less the mean of its neighbourhood and by its contrast; points in image pixels.

    What is not ``visible`` is NaN, and no part of a neighbourhood.
    """
    at = grid()
    alignment = align(points_xyz, SIDE)
    luma = cv2.cvtColor(crop(image, alignment), cv2.COLOR_RGB2GRAY).astype(np.float32)
    points_xy = transform(points_xyz[:, :2].astype(np.float32), alignment.frame_to_crop)
    places = np.einsum("nk,nkc->nc", at.weights, points_xy[at.corners])[:, None]
    shown = None if visible is None else crop(visible.astype(np.float32), alignment)
    if shown is None:
        luma = cv2.GaussianBlur(luma, (0, 0), blur_px)
    else:  # what is hidden must not be smeared into what is seen
        luma, shown = (cv2.GaussianBlur(part, (0, 0), blur_px) for part in (luma * shown, shown))
        luma /= np.maximum(shown, 1e-6)
    taken = cv2.remap(luma, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    flat = np.zeros(at.shape, np.float32)
    known = np.zeros(at.shape, np.float32)
    flat.flat[at.inside], known.flat[at.inside] = taken[:, 0], 1
    if shown is not None:
        shown = cv2.remap(shown, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        known.flat[at.inside] = shown[:, 0] > _SEEN
        flat *= known
    there = _locally(known) + 1e-6
    off = (flat - _locally(flat) / there) * known
    made = (off / np.sqrt(_locally(off * off) / there + _FLAT)).flat[at.inside].astype(np.float32)
    if shown is not None:
        made[known.flat[at.inside] == 0] = np.nan
    return made


@cache
def _analysis() -> tuple[np.ndarray, np.ndarray]:
    """The mean of the samples, float32 (n,), and what they are multiplied with, (n, k)."""
    with (files("livepaste") / "likeness.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return arrays["mean"].astype(np.float32), arrays["directions"].astype(np.float32)


def describe(image: UInt8[np.ndarray, "h w 3"], points_xyz: Float32[np.ndarray, "478 c"]) -> Likeness:
    """Whose face it is, as a unit vector; ``points_xyz`` in pixels of ``image``."""
    mean, directions = _analysis()
    return unit((samples(image, points_xyz) - mean) @ directions)


def unit(vector: np.ndarray) -> np.ndarray:
    """The same direction at length 1, float32."""
    return (vector / max(float(np.linalg.norm(vector)), 1e-9)).astype(np.float32)


def alike(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of two likenesses: 1 for the same picture, about 0 for two people."""
    return float(a @ b)


def enrolled(model: dict[str, Any]) -> Float32[np.ndarray, "w k"] | None:
    """The likenesses of the wearers a model was trained on; None where ``model.json`` does not say, or not in this version's terms."""
    record = model.get("likeness")
    if not isinstance(record, dict) or record.get("version") != VERSION:
        return None
    try:
        wearers = np.asarray(record.get("wearers"), np.float32)
    except (TypeError, ValueError):
        return None
    count = _analysis()[1].shape[1]
    if wearers.ndim != 2 or wearers.shape[1] != count or not len(wearers) or not np.isfinite(wearers).all():
        return None
    return np.stack([unit(wearer) for wearer in wearers])
