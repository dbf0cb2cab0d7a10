"""``parts:-mouth``: the persona but for parts that stay the wearer's own, ``parts:-eyes,-brows`` several of them."""

from __future__ import annotations

import cv2
import numpy as np

from livepaste.errors import OptionError
from livepaste.masks import Context
from livepaste.masks.hull import filled

# Outlines in the mesh, in order; the lips' outer edge, so that teeth and tongue are inside.
_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
_EYES = ((33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
         (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466))  # fmt: skip
_BROWS = ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (300, 293, 334, 296, 336, 285, 295, 282, 283, 276))
# name: its outlines, and what lies around them that goes with it, as a share of the face's width: lashes, lids, the shade below a lip
PARTS = {"eyes": (_EYES, 0.05), "brows": (_BROWS, 0.03), "mouth": ((_LIPS,), 0.05)}


class Parts:
    """The mask as ``--mask hull+learned+parts:-mouth``; ``argument`` is what stands behind the colon."""

    def __init__(self, argument: str = "") -> None:
        self._kept = [part.strip() for part in argument.split(",")]
        for part in self._kept:
            if part.removeprefix("-") not in PARTS or not part.startswith("-"):
                known = ", ".join(f"-{name}" for name in PARTS)
                raise OptionError(f"parts:{argument}: what the wearer keeps must be some of {known}, joined by commas")

    def __call__(self, context: Context) -> np.ndarray:
        """0 on what the wearer keeps, float32 (s, s) in [0, 1]."""
        points, mask = context.points_xy, np.ones((context.size, context.size), np.float32)
        width = float(np.linalg.norm(points[454] - points[234]))
        for part in self._kept:
            outlines, margin = PARTS[part.removeprefix("-")]
            reach = max(1, round(margin * width))
            disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
            for outline in outlines:
                mask *= 1 - cv2.dilate(filled(points[list(outline)].astype(np.float64), context.size), disc)
        return mask
