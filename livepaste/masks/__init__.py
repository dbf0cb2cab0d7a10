"""Masks by name, joined by ``+`` and multiplied: the persona shows where every one of them says so.

Each is a function of a :class:`Context` that returns float32 (s, s) in [0, 1] in crop pixels; or a class of such functions, for what has
to be loaded first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from livepaste.align import Alignment
from livepaste.registry import resolve
from livepaste.types import Swap

MASKS = {
    "hull": "livepaste.masks.hull:hull",
    "learned": "livepaste.masks.learned:learned",
    "occlusion": "livepaste.masks.occlusion:Occlusion",
    "rectangle": "livepaste.masks.rectangle:rectangle",
}
GROUP = "livepaste.masks"  # entry points


@dataclass(frozen=True, eq=False)
class Context:
    """What a mask may look at."""

    image: UInt8[np.ndarray, "h w 3"]  # the whole frame
    alignment: Alignment  # where the crop sits in it
    crop: Float32[np.ndarray, "s s 3"]  # the wearer
    points_xy: Float32[np.ndarray, "n 2"]  # landmarks in crop pixels
    swap: Swap

    @property
    def size(self) -> int:
        return self.crop.shape[0]


Mask = Callable[[Context], np.ndarray]


def build_mask(spec: str) -> Mask:
    """The product of the masks that ``spec`` names. Raises OptionError for an unknown one, CheckpointError when one cannot be loaded.

    Beside ``learned`` or ``occlusion`` the ``hull`` is only a bound, wider than a face: two tight masks would each take off an edge.
    """
    names = [name.strip() for name in spec.split("+")]
    parts: list[Mask] = [resolve("mask", name, MASKS, group=GROUP) for name in names]
    if {"learned", "occlusion"} & {*names}:
        bound: Mask = resolve("mask", "livepaste.masks.hull:around", MASKS)
        parts = [bound if name == "hull" else part for name, part in zip(names, parts, strict=True)]
    parts = [part() if isinstance(part, type) else part for part in parts]

    def product(context: Context) -> np.ndarray:
        mask = parts[0](context)
        for part in parts[1:]:
            mask = mask * part(context)
        return np.clip(mask, 0, 1).astype(np.float32)

    return product
