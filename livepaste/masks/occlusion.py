"""``occlusion``: visible face by a network of its own, which has seen hands, cups, hair and paper in front of all kinds of people."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from livepaste.align import Alignment, align, crop
from livepaste.checkpoint import Generation, read_generation, shipped
from livepaste.crop_model import CropModel
from livepaste.edge import ramp
from livepaste.masks import Context

FILE = "visible.onnx"
EDGE = 0.25, 0.75  # between these a pixel becomes surely face: a small network's edge is blurred


def network() -> Generation:
    """The one that comes with livepaste. Raises CheckpointError when it is missing or altered."""
    return read_generation(shipped("occlusion", "install livepaste again, or leave occlusion out of --mask"))


@cache
def _loaded() -> CropModel:
    # on the processor: there it takes 4 ms, and what it gives is what was measured
    return CropModel(network(), FILE, "an occlusion network", ["visible"], provider="cpu")


class Occlusion:
    """The mask as ``--mask occlusion``: how surely each pixel is visible face. Loaded when built, once a process."""

    def __init__(self) -> None:
        self._net = _loaded()

    def __call__(self, context: Context) -> np.ndarray:
        """Visible face in crop pixels, float32 (s, s) in [0, 1]. What it sees is cut from the frame anew, at its own size."""
        side = self._net.size
        from_crop = align(context.points_xy, side, self._net.coverage).frame_to_crop.astype(np.float64)
        to_crop = np.vstack([context.alignment.frame_to_crop, [0, 0, 1]])
        seen = crop(context.image, Alignment((from_crop @ to_crop).astype(np.float32), side))
        batch = np.ascontiguousarray(seen.transpose(2, 0, 1)[None].astype(np.float32) / 255)
        visible = ramp(self._net.session.run({"crop": batch}, ["visible"])["visible"][0, 0], *EDGE)
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        # a crop that shows more than the network saw goes on as at its border
        return cv2.warpAffine(
            visible, from_crop, (context.size, context.size), flags=how, borderMode=cv2.BORDER_REPLICATE
        )
