"""Where a face is to a fraction of a pixel: a network that sees the crop by found landmarks, and the landmarks, and says how far aside it lies.

A landmark finder takes one face for 2 % larger than another in the same place, and the same one for larger or turned when it looks aside.
Crops by its points move with that, and what is learned from them is blurred by it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float32, UInt8

from livepaste.align import align, crop, transform
from livepaste.checkpoint import ASIDE, read_generation, shipped
from livepaste.crop_model import CropModel
from livepaste.errors import CheckpointError

# No more is believed: template units, logarithm, radians. Landmarks err by 0.005, 0.014 and 0.017 (standard deviations, drawn actors).
MOST = np.array([0.06, 0.06, 0.08, 0.12], np.float32)


class Aligner:
    """The alignment network that comes with livepaste. Raises CheckpointError when it is missing or altered."""

    def __init__(self) -> None:
        found = read_generation(shipped("alignment", "install livepaste again"))
        # on the processor: there it takes a millisecond
        self._net = CropModel(found, ASIDE, "an alignment network", ["aside"], provider="cpu")
        if "points" not in self._net.session.inputs:
            raise CheckpointError(f"{found.path}: {ASIDE} takes no points; install livepaste again")

    def __call__(
        self, image: UInt8[np.ndarray, "h w 3"], points_xyz: Float32[np.ndarray, "478 3"]
    ) -> Float32[np.ndarray, " 4"] | None:
        """How far aside the crop by these points (frame pixels) lies, as :func:`livepaste.align.align` takes it; None when the network
        gives no numbers."""
        side = self._net.size
        alignment = align(points_xyz, side, self._net.coverage)
        seen = crop(image, alignment)
        said = self._net.session.run(
            {
                "crop": np.ascontiguousarray(seen.transpose(2, 0, 1)[None].astype(np.float32) / 255),
                "points": in_half_sides(transform(points_xyz, alignment.frame_to_crop), side),
            }
        )["aside"][0]
        if not np.isfinite(said).all():
            return None
        half = np.float32(self._net.coverage / 2)
        return np.clip(said * np.array([half, half, 1, 1], np.float32), -MOST, MOST)


def in_half_sides(points: Float32[np.ndarray, "478 3"], side: int) -> Float32[np.ndarray, "1 n"]:
    """A mesh in a crop's pixels as the network takes it: from the crop's middle, in half sides, one row."""
    middle = np.array([(side - 1) / 2, (side - 1) / 2, 0], np.float32)
    return ((points - middle) / np.float32(side / 2)).reshape(1, -1).astype(np.float32)


@cache
def aligner() -> Aligner:
    """Loaded once a process; it may be used by several threads."""
    return Aligner()
