"""Masks by name, joined by ``+`` and multiplied: the persona shows where every one of them says so.

Each is a function of a :class:`Context` that returns float32 (s, s) in [0, 1] in crop pixels; or a class of such functions, for what has
to be loaded or told first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import numpy as np
from jaxtyping import Float32

from livepaste.align import Alignment
from livepaste.errors import OptionError
from livepaste.registry import resolve
from livepaste.types import Frame, Swap

MASKS = {
    "hands": "livepaste.masks.hands:Hands",
    "hull": "livepaste.masks.hull:hull",
    "learned": "livepaste.masks.learned:learned",
    "occlusion": "livepaste.masks.occlusion:Occlusion",
    "parts": "livepaste.masks.parts:Parts",
    "person": "livepaste.masks.person:Person",
    "rectangle": "livepaste.masks.rectangle:rectangle",
}
GROUP = "livepaste.masks"  # entry points
ONLY_OFF = {"hands", "parts", "person"}  # they take something off another mask, and are none by themselves


@dataclass(frozen=True, eq=False)
class Context:
    """What a mask may look at."""

    frame: Frame  # the whole of it
    alignment: Alignment  # where the crop sits in it
    crop: Float32[np.ndarray, "s s 3"]  # the wearer
    points_xy: Float32[np.ndarray, "n 2"]  # landmarks in crop pixels
    swap: Swap
    memory: dict[str, Any] = field(default_factory=dict)  # of this face, from frame to frame

    @property
    def size(self) -> int:
        return self.crop.shape[0]


Mask = Callable[[Context], np.ndarray]


def names_in(spec: str) -> list[str]:
    """Each mask's name, with what stands behind its colon."""
    return [name.strip() for name in spec.split("+")]


def kind_of(name: str) -> str:
    """A mask's name without what stands behind its colon."""
    return name.partition(":")[0]


def occlusion_folders(spec: str) -> list[str]:
    """Where each occlusion network that ``spec`` names lies; "" for the one that comes with livepaste."""
    return [name.partition(":")[2] for name in names_in(spec) if kind_of(name) == "occlusion"]


def _made(name: str) -> Mask:
    """The mask of that name; what stands behind a colon goes to the class that a table's name stands for."""
    kind, colon, argument = name.partition(":")
    if not colon or kind not in MASKS:
        found = resolve("mask", name, MASKS, group=GROUP)
        return found() if isinstance(found, type) else found
    found = resolve("mask", kind, MASKS)
    if not (isinstance(found, type) and signature(found).parameters):
        raise OptionError(f"mask {name!r}: {kind} takes nothing behind a colon")
    return found(argument)


def build_mask(spec: str, *, live: bool = False) -> Mask:
    """The product of the masks that ``spec`` names; ``live``: no frame waits for
    ``hands`` beside ``occlusion`` and another mask. Raises OptionError for an unknown one, CheckpointError when one cannot be loaded.

    Two tight masks would each take off an edge: beside ``learned`` the ``hull`` is only a bound, wider than a face, and ``occlusion``
    beside another face only takes off what is in front. ``hands`` beside both looks while something is there, for what was not seen of
    it: it knows a hand's shape, and takes three times as long.
    """
    names = names_in(spec)
    off = hands = None
    folders = occlusion_folders(spec)
    if folders and any(kind_of(name) not in {*ONLY_OFF, "occlusion"} for name in names):
        if len(folders) > 1:
            raise OptionError(f"mask {spec!r}: occlusion beside other masks can stand there once")
        off = resolve("mask", "livepaste.masks.occlusion:Clear", MASKS)(*folders)
        if "hands" in names:
            asked = "AskedLive" if live else "Asked"
            hands = resolve("mask", f"livepaste.masks.hands:{asked}", MASKS)()
        names = [name for name in names if kind_of(name) != "occlusion" and name != "hands"]
    parts: list[Mask] = [_made(name) for name in names]
    if "learned" in names:
        bound = resolve("mask", "livepaste.masks.hull:around", MASKS)
        parts = [bound if name == "hull" else part for name, part in zip(names, parts, strict=True)]

    def product(context: Context) -> np.ndarray:
        mask = parts[0](context)
        for part in parts[1:]:
            mask = mask * part(context)
        if off is not None:
            mask = off(context, mask)
            if hands is not None:
                mask = hands(context, mask, off.sees(context))
        return np.clip(mask, 0, 1).astype(np.float32)

    return product
