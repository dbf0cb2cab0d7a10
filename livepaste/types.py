"""What flows between the stages: frames, faces and swaps.

Inside, everything is RGB: frames ``uint8 (h, w, 3)``, crops ``float32 (s, s, 3)`` in [0, 1], masks
``float32 (s, s)`` in [0, 1] with 1 = persona shows, points ``float32 (n, 2 or 3)`` in frame pixels with
pixel centres at integers. Devices convert at their edge and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

import numpy as np
from jaxtyping import Float32, UInt8


@dataclass(frozen=True, eq=False)  # eq=False: comparing arrays has no single truth value
class Frame:
    """One picture and when it was taken."""

    image: UInt8[np.ndarray, "h w 3"]  # RGB
    time: Fraction  # exact seconds since the source's own zero
    index: int  # 0, 1, 2 … in the source's order; gaps where frames were dropped


@dataclass(frozen=True, eq=False)
class Face:
    """One face found in a frame."""

    points_xyz: Float32[np.ndarray, "n 3"]  # 478 mesh points; x, y in frame pixels, z in the same scale, < 0 nearer
    score: float = 1.0  # confidence in [0, 1]
    track: int = 0  # stays the same while the same face is followed
    chosen: bool = True  # whether it is the one that was asked for; of several, one at most is


@dataclass(frozen=True, eq=False)
class Swap:
    """What the network makes of one crop."""

    image: Float32[np.ndarray, "s s 3"]  # the persona, RGB in [0, 1]
    persona_mask: Float32[np.ndarray, "s s"]  # visible face of the persona as drawn
    wearer_mask: Float32[np.ndarray, "s s"]  # visible face of the wearer in the input crop


class Mark(Enum):
    """What a frame that leaves is; every frame that leaves has one."""

    SWAPPED = "swapped"
    HELD = "held"  # an earlier swapped frame, shown again
    COVER = "cover"
    PASSED = "passed"  # the raw frame; only with --on-lost pass
