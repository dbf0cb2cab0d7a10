"""What the camera does to the rest of the picture, done to the persona: its sharpness and its grain. ``--match-texture``.

Both are read off the wearer's own face where the persona will be, in the frame's pixels, and are numbers alone: no pixel of the camera comes
through.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from livepaste.color import followed

FINE = 1 / 160  # share of the width of what is laid: about sigma of the blur that parts fine detail from coarse
LEAST_GAIN, MOST_GAIN = 0.5, 1.6  # of fine detail: a persona's beard is not to be blurred away, nor made up of noise
MOST_GRAIN = 12.0  # sigma, of 255
SURE = 230  # of the share, 255 = all: where the persona alone is seen
LEAST_PIXELS = 400  # fewer tell nothing
LOOKED_AT = 160  # pixels, the most on a side from which both are told
GRAIN_SIDE = 512
_NOISE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)  # answers to no plane: Immerkær 1996


def match_texture(below: UInt8[np.ndarray, "h w 3"], over: UInt8[np.ndarray, "h w 3"], share: UInt8[np.ndarray, "h w"],
                  memory: dict[str, Any], seed: int) -> UInt8[np.ndarray, "h w 3"]:  # fmt: skip
    """``over`` with the sharpness and the grain that ``below`` has where ``share`` lets it be hidden.

    ``memory`` filters both numbers over time; ``seed``: of this frame's grain, the frame's number.
    """
    sure = share >= SURE
    if np.count_nonzero(sure) < LEAST_PIXELS:
        return over
    sigma = round(max(0.8, FINE * share.shape[1]), 1)  # few values: what noise they pass is remembered
    part = _middle(sure)
    if np.count_nonzero(sure[part]) < LEAST_PIXELS:  # something is before the middle
        return over
    now = np.array([n for image in (below, over) for n in _fine_and_grain(image[part], sure[part], sigma)])
    worn_fine, worn_grain, laid_fine, laid_grain = followed(memory, "texture", now)
    gain = float(np.clip(worn_fine / max(laid_fine, 1e-3), LEAST_GAIN, MOST_GAIN))
    out = cv2.addWeighted(over, gain, _coarse(over, sigma), 1 - gain, 0)
    missing = float(np.sqrt(max(0.0, min(worn_grain, MOST_GRAIN) ** 2 - (gain * laid_grain) ** 2)))
    if missing < 0.3:
        return out
    return cv2.add(out, cv2.merge([_grain(seed, share.shape) * np.float32(missing)] * 3), dtype=cv2.CV_8U)


def _middle(sure: np.ndarray) -> tuple[slice, slice]:
    """Of what is sure, the part in the middle that tells as much as all of it."""
    x, y, w, h = cv2.boundingRect(sure.astype(np.uint8))
    left, top = x + max(0, w - LOOKED_AT) // 2, y + max(0, h - LOOKED_AT) // 2
    return np.s_[top : top + min(h, LOOKED_AT), left : left + min(w, LOOKED_AT)]


def _fine_and_grain(image: np.ndarray, sure: np.ndarray, sigma: float) -> tuple[float, float]:
    """Deviations of the luma's detail finer than ``sigma`` pixels, without the noise in it, and of the noise."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    noise = float(np.median(np.abs(cv2.filter2D(luma, -1, _NOISE)[sure]))) / (0.6745 * 6)
    fine = (luma - _coarse(luma, sigma))[sure]
    return float(np.sqrt(max(0.0, float(fine.var()) - (noise * _passed(sigma)) ** 2))), noise


def _coarse(image: np.ndarray, sigma: float) -> np.ndarray:
    """Two box blurs, together about as wide as a Gaussian of ``sigma`` and a fraction of its work."""
    side = 2 * round((np.sqrt(6 * sigma**2 + 1) - 1) / 2) + 1
    return cv2.blur(cv2.blur(image, (side, side)), (side, side))


@cache
def _passed(sigma: float) -> float:
    """How much of white noise's deviation is finer than ``sigma``."""
    point = np.zeros((129, 129), np.float32)
    point[64, 64] = 1
    return float(np.linalg.norm(point - _coarse(point, sigma)))


@cache
def _sheet() -> np.ndarray:
    return np.random.default_rng(17).standard_normal((GRAIN_SIDE, GRAIN_SIDE), np.float32)


def _grain(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Normal noise of deviation 1 that differs from frame to frame: another place of one sheet."""
    y, x, turned = np.random.default_rng([19, seed]).integers(0, GRAIN_SIDE, 3)
    sheet = np.roll(_sheet() if turned % 2 else _sheet().T, (-int(y), -int(x)), (0, 1))
    times = [-(-n // GRAIN_SIDE) for n in shape]
    return np.tile(sheet, times)[: shape[0], : shape[1]]
