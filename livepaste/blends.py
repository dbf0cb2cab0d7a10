"""Ways to lay a patch over a frame, by name. Each takes what is there, what is laid over it and how much of it shows, all uint8 of one size,
and returns what comes out; where nothing shows that is what was there, bit for bit."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from livepaste.edge import spread, weighted

BLENDS = {
    "alpha": "livepaste.blends:alpha",
    "multiband": "livepaste.blends:multiband",
    "seamless": "livepaste.blends:seamless",
}
Picture = UInt8[np.ndarray, "h w 3"]
Share = UInt8[np.ndarray, "h w"]  # 255 = all of it
MOST_BANDS, LEAST_SIDE = 5, 8  # of multiband: halvings, and the side at which there are no more
SHARP = 0.5, 0.75  # of the share: between these the finest band changes over
SURE = 200  # of the share, 255 = all: so far inside it is a face that both are
COARSER = 4  # times: where that is worked out
REACH = 0.04  # share of the width: sigma of what is carried on outwards
FADE = 0.2  # of the share: below it a wide band's reach is taken back, so that it ends where the mask does


def alpha(below: Picture, over: Picture, share: Share) -> Picture:
    """``alpha``: the mean of both, weighted."""
    weight = cv2.cvtColor(share, cv2.COLOR_GRAY2RGB)
    # Two products, each rounded: where the share is 0 or 255 the one is exact and the other 0
    return cv2.add(
        cv2.multiply(over, weight, scale=1 / 255), cv2.multiply(below, cv2.bitwise_not(weight), scale=1 / 255)
    )


def multiband(below: Picture, over: Picture, share: Share) -> Picture:
    """``multiband``: coarse differences change over widely, fine ones at the edge (Burt and Adelson 1983).

    By linearity it is the difference's Laplacian pyramid that is weighted.
    """
    bands = int(np.clip(np.log2(max(1, min(share.shape)) / LEAST_SIDE), 0, MOST_BANDS))
    shown = share.astype(np.float32) / 255
    level = _carried_on(over.astype(np.float32) - below, shown >= SHARP[0])
    weight = np.clip((shown - SHARP[0]) / (SHARP[1] - SHARP[0]), 0, 1)
    weighed = []
    for _ in range(bands):
        coarse = cv2.pyrDown(level)
        weighed.append((level - cv2.pyrUp(coarse, dstsize=level.shape[1::-1])) * cv2.merge([_inner(weight)] * 3))
        level, weight = coarse, cv2.pyrDown(weight)
    total = level * cv2.merge([_inner(weight)] * 3)
    for band in reversed(weighed):
        total = cv2.pyrUp(total, dstsize=band.shape[1::-1]) + band
    total *= cv2.merge([np.minimum(shown / FADE, 1)] * 3)
    return np.clip(np.rint(below + total), 0, 255).astype(np.uint8)


def certain(kind: str, mask: Float32[np.ndarray, "s s"]) -> Float32[np.ndarray, "s s"]:
    """How much of what is laid shows at least, of a mask in crop pixels: what the guard goes by."""
    if kind != "multiband":
        return mask
    fine = np.clip((mask - SHARP[0]) / (SHARP[1] - SHARP[0]), 0, 1).astype(np.float32)
    return _inner(cv2.GaussianBlur(fine, (0, 0), REACH * mask.shape[1], borderType=cv2.BORDER_CONSTANT))


def _inner(weight: np.ndarray) -> np.ndarray:
    """A blurred weight that is 0 at its edge, where it was one half: a wide band is to end there, not to be cut there."""
    return np.maximum(2 * weight - 1, 0)


def seamless(below: Picture, over: Picture, share: Share) -> Picture:
    """``seamless``: what is laid over keeps its gradients and takes the colours at the mask's edge (Pérez et al. 2003), then ``alpha``.

    Some tens of milliseconds: for clips.
    """
    inside = np.zeros_like(share)
    inside[2:-2, 2:-2] = (share[2:-2, 2:-2] >= SURE) * np.uint8(255)  # the colours beside it are what is met
    x, y, w, h = cv2.boundingRect(inside)
    if min(w, h) < 3:
        return alpha(below, over, share)
    # OpenCV puts the middle of what is inside there, halves rounded down: so it does not move. It writes into the mask that it is given
    met = cv2.seamlessClone(over, below, inside.copy(), (x + w // 2, y + h // 2), cv2.NORMAL_CLONE)
    change = _carried_on(met.astype(np.float32) - over, inside > 0)
    return alpha(below, np.clip(np.rint(over + change), 0, 255).astype(np.uint8), share)


def _carried_on(image: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """What is ``sure``, spread over what lies beside it: there it is a face and a wall that differ, and their colours are no matter of light."""
    size = sure.shape[1::-1]
    small = tuple(max(1, n // COARSER) for n in size)
    weight = sure.astype(np.float32)
    known = cv2.resize(weighted(image, weight), small, interpolation=cv2.INTER_AREA)  # what is carried on is smooth
    part = cv2.resize(weight, small, interpolation=cv2.INTER_AREA)
    planes, near = spread(known, part, REACH * small[0])
    least = np.maximum(near, 1e-3)
    beside = cv2.resize(cv2.merge([plane / least for plane in planes]), size, interpolation=cv2.INTER_LINEAR)
    return np.where(sure[..., None], image, beside)
