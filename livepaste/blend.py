"""Laying a patch over a frame, on the mask's bounding box only: at 720p several times cheaper than the whole frame."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from livepaste.align import Alignment, transform
from livepaste.blends import BLENDS
from livepaste.registry import resolve

Box = tuple[int, int, int, int]  # x0, y0, x1, y1; the last two are one further
_FINER = 3  # odd, so that the crop's pixels are among the layer's


def bounding_box(alignment: Alignment, size_wh: tuple[int, int], part: Box | None = None) -> Box:
    """The crop's bounding box in the frame, or that of a ``part`` of it in crop pixels, clipped; empty when it lies outside."""
    left, top, right, bottom = (v - 0.5 for v in part or (0, 0, alignment.size, alignment.size))
    corners = np.array([[left, top], [right, top], [left, bottom], [right, bottom]], np.float32)
    xy = transform(corners, alignment.crop_to_frame)
    x0, y0 = np.clip(np.floor(xy.min(0)), 0, size_wh).astype(int)
    x1, y1 = np.clip(np.ceil(xy.max(0)) + 1, 0, size_wh).astype(int)
    return int(x0), int(y0), int(x1), int(y1)


def _covered(mask: np.ndarray) -> Box:
    """Where a mask is above 0, and a pixel around it, which interpolation reaches."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return 0, 0, 0, 0
    h, w = mask.shape
    return (
        max(0, int(columns[0]) - 1),
        max(0, int(rows[0]) - 1),
        min(w, int(columns[-1]) + 2),
        min(h, int(rows[-1]) + 2),
    )


def to_frame(crop: np.ndarray, alignment: Alignment, box: Box) -> np.ndarray:
    """A mask in crop pixels brought into the frame's pixels of ``box``; 0 outside the crop."""
    x0, y0, x1, y1 = box
    return cv2.warpAffine(crop, _into(alignment, box), (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)


def _into(alignment: Alignment, box: Box) -> np.ndarray:
    matrix = alignment.crop_to_frame.copy()
    matrix[:, 2] -= box[:2]
    return matrix


def soften(mask: Float32[np.ndarray, "h w"], width_px: float) -> Float32[np.ndarray, "h w"]:
    """A soft edge over ``width_px``, one half where the mask's own edge is.

    An edge laid wholly inside the mask would leave a ring of the wearer's skin: at the default width that ring alone
    costs 0.06 to 0.11 of intersection over union, the centred one 0.01. Outside the array the mask is 0, so a face
    that is cut by its crop fades out there.
    """
    if width_px < 0.5:
        return mask
    return cv2.GaussianBlur(mask, (0, 0), width_px / 3, borderType=cv2.BORDER_CONSTANT)


def _layer(patch: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Patch and mask as RGBA bytes, ``_FINER`` times as fine, with a border of one crop pixel in which the mask ends.

    Cubic here, on the small patch, leaves linear sampling for the frame: within 2 of 255 grey levels of sampling the
    frame itself cubically, in a fifth of the time. Four channels, because cv2 warps them twice as fast as three.
    """
    border = 1, 1, 1, 1
    rgb = cv2.copyMakeBorder(cv2.convertScaleAbs(np.clip(patch, 0, 1), alpha=255), *border, cv2.BORDER_REPLICATE)
    alpha = cv2.copyMakeBorder(cv2.convertScaleAbs(mask, alpha=255), *border, cv2.BORDER_CONSTANT)
    size = alpha.shape[1] * _FINER, alpha.shape[0] * _FINER
    return cv2.merge(
        [cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC), cv2.resize(alpha, size, interpolation=cv2.INTER_LINEAR)]
    )


def _from_layer(matrix: np.ndarray) -> np.ndarray:
    """``matrix`` takes crop pixels; this one takes the layer's, which sit at ``(u + 0.5) / _FINER - 1.5`` in the crop."""
    at = 0.5 / _FINER - 1.5
    return np.column_stack([matrix[:, :2] / _FINER, matrix @ (at, at, 1)])


def blend(
    frame: UInt8[np.ndarray, "h w 3"],
    patch: Float32[np.ndarray, "s s 3"],
    mask: Float32[np.ndarray, "_ _"],
    alignment: Alignment,
    kind: str = "alpha",
    texture: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None,
    opacity: float = 1.0,
) -> UInt8[np.ndarray, "h w 3"]:
    """Paste ``patch`` back where the crop came from, in the way of ``kind``; pixels outside the mask keep their exact value.

    ``texture``: (what is there, what is laid over it, its share), uint8, to what is laid instead. ``opacity`` is of what comes out, so that no way
    of blending takes a half seen persona for the edge of its mask. ``frame`` is not modified.
    """
    if mask.shape != patch.shape[:2]:
        raise ValueError(f"mask must be {patch.shape[:2]}, got {mask.shape}")
    merge = resolve("blend", kind, BLENDS)
    h, w = frame.shape[:2]
    out = frame.copy()
    part = _covered(mask)
    if part[2] <= part[0]:
        return out
    x0, y0, x1, y1 = box = bounding_box(alignment, (w, h), part)
    if x1 <= x0 or y1 <= y0:
        return out
    layer = cv2.warpAffine(
        _layer(patch, mask), _from_layer(_into(alignment, box)), (x1 - x0, y1 - y0),
        flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    over, share = cv2.cvtColor(layer, cv2.COLOR_RGBA2RGB), cv2.extractChannel(layer, 3)
    region = out[y0:y1, x0:x1]
    if texture is not None:
        over = texture(region, over, share)
    merged = merge(region, over, share)
    region[...] = merged if opacity == 1 else cv2.addWeighted(merged, opacity, region, 1 - opacity, 0)
    return out
