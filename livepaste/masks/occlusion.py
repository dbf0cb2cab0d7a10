"""``occlusion``: visible face by a network of its own, which has seen hands, cups, hair and paper in front of all kinds of people."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from livepaste.align import CENTER, TEMPLATE, Alignment, align, crop
from livepaste.checkpoint import read_generation, shipped
from livepaste.edge import ramp
from livepaste.errors import CheckpointError
from livepaste.masks import Context
from livepaste.runtime import Session

FILE = "visible.onnx"
EDGE = 0.25, 0.75  # between these a pixel becomes surely face: a small network's edge is blurred


class OcclusionNetwork:
    """A loaded one. Raises CheckpointError for what is altered, aligned in another way, or no such network."""

    def __init__(self, name: str = "occlusion") -> None:
        generation = read_generation(shipped(name))
        self._session = Session(generation.path / FILE)
        shape, model = self._session.inputs.get("crop"), generation.model
        if shape is None or len(shape) != 4 or not isinstance(shape[2], int) or "visible" not in self._session.outputs:
            raise CheckpointError(
                f"{generation.path}: {FILE} has inputs {self._session.inputs} and outputs {self._session.outputs}, not an occlusion network's"
            )
        if model.get("template") != TEMPLATE or model.get("center") != list(CENTER):
            raise CheckpointError(
                f"{generation.path}: aligned to template {model.get('template')!r}, this version uses {TEMPLATE!r}"
            )
        self._side, self._coverage = shape[2], float(model["coverage"])

    def __call__(self, context: Context) -> np.ndarray:
        """Visible face in crop pixels, float32 (s, s) in [0, 1]. What it sees is cut from the frame anew, at its own size."""
        from_crop = align(context.points_xy, self._side, self._coverage).frame_to_crop.astype(np.float64)
        to_crop = np.vstack([context.alignment.frame_to_crop, [0, 0, 1]])
        seen = crop(context.image, Alignment((from_crop @ to_crop).astype(np.float32), self._side))
        batch = np.ascontiguousarray(seen.transpose(2, 0, 1)[None].astype(np.float32) / 255)
        visible = ramp(self._session.run({"crop": batch}, ["visible"])["visible"][0, 0], *EDGE)
        size = (context.size, context.size)
        return cv2.warpAffine(visible, from_crop, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


@cache
def _network() -> OcclusionNetwork:
    return OcclusionNetwork()


def occlusion(context: Context) -> np.ndarray:
    """The mask as ``--mask occlusion``, by the network that comes with livepaste."""
    return _network()(context)
