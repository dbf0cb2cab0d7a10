"""``rectangle``: the predecessor's pasted square, kept as a baseline."""

from __future__ import annotations

import numpy as np

from livepaste.masks import Context


def rectangle(context: Context) -> np.ndarray:
    """1 in the bounding box of the landmarks, 0 outside, no soft edge."""
    s = context.size
    x0, y0 = np.clip(np.floor(context.points_xy.min(0)), 0, s).astype(int)
    x1, y1 = np.clip(np.ceil(context.points_xy.max(0)) + 1, 0, s).astype(int)
    mask = np.zeros((s, s), np.float32)
    mask[y0:y1, x0:x1] = 1
    return mask
