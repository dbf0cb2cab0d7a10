"""What happens along the edge of the persona's face: its skin carried on outwards, and where the wearer's skin goes on."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from jaxtyping import Float32

from livepaste.types import Swap

SKIN = 0.6, 0.95  # of the persona's mask: between these a pixel becomes surely its skin
REACH = 0.025  # share of the crop's side: sigma of what skin is carried on with
RIM = 0.05  # share of the crop's side: so far inside the mask's edge a network's blur mixes in what lies outside
DARK = 0.65, 0.85  # of the luma of the skin further inside: between these a pixel of the rim becomes surely skin
ABOVE = 0.38, 0.30  # of the crop's height, eyes to brows: from here on up a dark rim is hair, below it can be shade
LEFT = 0.25, 0.6  # of the persona's mask: between these a pixel leaves its face
KEPT = 0.5, 0.9  # of the wearer's mask: between these a pixel becomes surely the wearer's face


def ramp(mask: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 up to ``low``, 1 from ``high`` on."""
    return np.clip((mask - low) / (high - low), 0, 1)


def weighted(image: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Each channel of (h, w, 3) times (h, w); numpy's own way of stretching a weight over channels takes five times as long."""
    return image * cv2.merge([weight] * 3)


def spread(
    image: np.ndarray, weight: np.ndarray, sigma: float, border: int = cv2.BORDER_DEFAULT
) -> tuple[list[np.ndarray], np.ndarray]:
    """The blurred planes of a :func:`weighted` image, and its weight blurred with them: their quotient is the mean of what was weighed."""
    *planes, near = cv2.split(
        cv2.GaussianBlur(cv2.merge([*cv2.split(image), weight]), (0, 0), sigma, borderType=border)
    )
    return planes, near


def carried(image: np.ndarray, weight: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """What is under ``weight`` spread over what lies beside it, and how much of it came there (normalized convolution, Knutsson and Westin 1993)."""
    planes, near = spread(weighted(image, weight), weight, sigma)
    least = np.maximum(near, 1e-3)
    return cv2.merge([plane / least for plane in planes]), near


def carry_on(swap: Swap) -> Float32[np.ndarray, "s s 3"]:
    """The persona with its skin carried on over what surrounds its face.

    A soft edge mixes in what lies just outside, and a network's blur what lies just inside: the persona's own hair and room, a
    dark arc on the wearer's forehead and streaks at the temples.
    """
    side = len(swap.persona_mask)
    skin = ramp(swap.persona_mask, *SKIN)
    upper = slice(0, round((ABOVE[0] + 2 * RIM) * side))
    skin[upper] *= 1 - _hair(swap.image[upper], skin[upper], side)
    outwards, near = carried(swap.image, skin, REACH * side)
    # far from all skin there is nothing to carry on, and no mask either
    own = np.maximum(skin, 1 - np.minimum(near / 0.02, 1)).astype(np.float32)
    return outwards + weighted(swap.image - outwards, own)


def _hair(image: np.ndarray, skin: np.ndarray, side: int) -> np.ndarray:
    """1 where the rim of the ``skin`` in a crop's upper part is darker than the skin further inside; at half the resolution, all of it is smooth."""
    full_wh = skin.shape[::-1]
    image, skin = (
        cv2.resize(part, (full_wh[0] // 2, full_wh[1] // 2), interpolation=cv2.INTER_AREA) for part in (image, skin)
    )
    inner = cv2.erode(skin, disc(round(RIM * side / 2)), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    expected, near = carried(image, inner, RIM * side / 2)
    luma, usual = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (image, expected))
    bright = ramp(luma / np.maximum(usual, 1e-3), *DARK)
    # where nothing of the inner skin comes there is nothing to compare with
    hair = (1 - bright) * (1 - inner) * (near > 0.01) * ramp(_height(side // 2)[: len(skin)], *ABOVE)
    return cv2.resize(hair.astype(np.float32), full_wh)


@cache
def _height(side: int) -> np.ndarray:
    """Of each row's middle, as a share of the crop's height from its top."""
    return ((np.arange(side, dtype=np.float32) + 0.5) / side)[:, None]


@cache
def disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def kept_skin(swap: Swap) -> Float32[np.ndarray, "s s"]:
    """1 where the wearer's own face stays visible beside the persona's: a higher forehead, a broader cheek."""
    return ramp(swap.wearer_mask, *KEPT) * (1 - ramp(swap.persona_mask, *LEFT))
