"""Colour match by name: make the persona's skin answer the light that falls on the wearer.

Statistics are those of the masked pixels alone (left out, not zeroed: zeros drag the mean and are a known cause of drift),
in Oklab (Ottosson 2020), where the same step looks the same in every hue.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32

from livepaste.edge import spread, weighted
from livepaste.registry import resolve

COLOR_MATCHES = {
    "none": "livepaste.color:keep",
    "mean-std": "livepaste.color:mean_std",
    "skin": "livepaste.color:skin",
    "mkl": "livepaste.color_transport:mkl",
    "histogram": "livepaste.color_transport:histogram",
    "sot": "livepaste.color_transport:sot",
}
SMALL = 48  # side at which statistics are taken: means and deviations of a face do not need more
# Two lights on the wearer's face are no reason to paint the persona's shadows orange: colours are spread less, never more.
LEAST_GAIN, MOST_GAIN = 0.6, np.array([1.2, 1.0, 1.0])
_TO_LMS = np.array([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
                    [0.0883024619, 0.2817188376, 0.6299787005]], np.float32)  # fmt: skip
_TO_LAB = np.array([[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
                    [0.0259040371, 0.7827717662, -0.8086757660]], np.float32)  # fmt: skip
_FROM_LAB, _FROM_LMS = np.linalg.inv(_TO_LAB).astype(np.float32), np.linalg.inv(_TO_LMS).astype(np.float32)
FOLLOW = 0.25  # what a frame counts of what is remembered: a lamp is followed in a few, sensor noise is not
GAMMA = 2.2  # sRGB's curve, near enough for statistics that are undone with the same curve


def to_oklab(rgb: Float32[np.ndarray, "*s 3"]) -> Float32[np.ndarray, "*s 3"]:
    """RGB in [0, 1] to Oklab."""
    return cv2.transform(_cone_roots(rgb), _TO_LAB).reshape(rgb.shape)


def from_oklab(lab: Float32[np.ndarray, "*s 3"]) -> Float32[np.ndarray, "*s 3"]:
    """Oklab to RGB, clipped to [0, 1]."""
    return _from_cone_roots(cv2.transform(_pixels(lab), _FROM_LAB)).reshape(lab.shape)


def _cone_roots(rgb: np.ndarray) -> np.ndarray:
    """RGB in [0, 1] to the cube roots of cone responses, of which Oklab is a linear function; (n, 1, 3)."""
    # cv2's powers are several times as fast as numpy's
    linear = cv2.pow(np.maximum(_pixels(rgb), np.float32(0)), GAMMA)
    return cv2.pow(cv2.transform(linear, _TO_LMS), 1 / 3)


def _from_cone_roots(roots: np.ndarray) -> np.ndarray:
    linear = cv2.transform(roots * roots * roots, _FROM_LMS)
    return cv2.pow(np.clip(linear, 0, 1), 1 / GAMMA)


def _pixels(colors: np.ndarray) -> np.ndarray:
    """Any shape of colours as a picture, which is what cv2 takes."""
    return np.ascontiguousarray(colors, np.float32).reshape(-1, 1, 3)


def masked_mean_std(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean and deviation of each channel under ``mask``, or None when hardly anything is under it."""
    weight = mask.astype(np.float64).ravel()
    total = weight.sum()
    if total < 8:
        return None
    values = image.reshape(-1, 3).astype(np.float64)
    mean = weight @ values / total
    return mean, np.sqrt(weight @ np.square(values - mean) / total)


def small(*images: np.ndarray) -> list[np.ndarray]:
    """Crops and masks at the size at which statistics are taken."""
    return [cv2.resize(image, (SMALL, SMALL), interpolation=cv2.INTER_AREA) for image in images]


def followed(memory: dict[str, Any] | None, name: str, now: np.ndarray) -> np.ndarray:
    """What was found of this frame, filtered over time where there is a ``memory``."""
    if memory is not None:
        if name in memory:
            now = memory[name] + FOLLOW * (now - memory[name])
        memory[name] = now
    return now


def keep(
    patch: np.ndarray,
    target: np.ndarray,
    mask: np.ndarray,
    kept: np.ndarray,
    memory: dict[str, Any] | None = None,
) -> np.ndarray:
    """``none``: the persona's own colours."""
    return patch


def mean_std(
    patch: np.ndarray,
    target: np.ndarray,
    mask: np.ndarray,
    kept: np.ndarray,
    memory: dict[str, Any] | None = None,
) -> np.ndarray:
    """``mean-std``: mean and deviation of each Oklab channel as in the wearer's crop (Reinhard et al. 2001), within bounds.

    ``memory`` filters the two statistics over time.
    """
    *images, weight = small(patch, target, mask)
    stats = [masked_mean_std(to_oklab(image), weight) for image in images]
    if stats[0] is None or stats[1] is None:
        return patch
    (mean_a, std_a), (mean_b, std_b) = stats
    gain = np.clip(std_b / np.maximum(std_a, 1e-4), LEAST_GAIN, MOST_GAIN)
    gain, shift = followed(memory, "mean-std", np.stack([gain, mean_b - mean_a * gain]))
    return recolored(patch, np.diag(gain), shift)


def recolored(rgb: np.ndarray, gain: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """RGB with its Oklab colours times ``gain`` (3, 3) plus ``shift`` (3,)."""
    through_lab = _FROM_LAB @ np.column_stack([gain @ _TO_LAB, shift])  # one step on the cube roots
    return _from_cone_roots(cv2.transform(_cone_roots(rgb), through_lab)).reshape(rgb.shape)


CARRIED = 0.1  # share of the crop's side: sigma of the difference that is carried inwards
SURE = 0.05  # share of kept skin around a pixel at which half of the difference is believed


def skin(
    patch: np.ndarray,
    target: np.ndarray,
    mask: np.ndarray,
    kept: np.ndarray,
    memory: dict[str, Any] | None = None,
) -> np.ndarray:
    """``skin``: ``mean-std``, then the difference to the wearer's skin that stays beside it, carried inwards and fading.

    What the membrane of Pérez et al. (2003) does, but from skin alone: hair and room at the edge pull at nothing.
    """
    patch = mean_std(patch, target, mask, kept, memory)
    h, w = kept.shape
    half = (w // 2, h // 2)
    weight = cv2.resize(kept, half, interpolation=cv2.INTER_AREA)
    if not weight.any():
        return patch
    differs = cv2.resize(weighted(target - patch, kept), half, interpolation=cv2.INTER_AREA)
    planes, near = spread(differs, weight, CARRIED * w / 2, cv2.BORDER_CONSTANT)
    near += np.float32(SURE)
    carried = cv2.merge([plane / near for plane in planes])
    return np.clip(patch + cv2.resize(carried, (w, h), interpolation=cv2.INTER_LINEAR), 0, 1)


def match_color(kind: str, patch: Float32[np.ndarray, "s s 3"], target: Float32[np.ndarray, "s s 3"],
                mask: Float32[np.ndarray, "s s"], kept: Float32[np.ndarray, "s s"],
                memory: dict[str, Any] | None = None) -> Float32[np.ndarray, "s s 3"]:  # fmt: skip
    """``patch`` with the colours of ``target`` under ``mask``, by the named way; ``kept``: where the target's skin stays visible."""
    return resolve("color", kind, COLOR_MATCHES)(patch, target, mask, kept, memory).astype(np.float32)
