"""``occlusion``: what is visible of a face and what is in front, by a network that has seen hands, hair, paper and any shapes before all kinds of people."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from livepaste.align import Alignment, align, crop
from livepaste.checkpoint import VISIBLE, occlusion_network
from livepaste.crop_model import CropModel
from livepaste.edge import ramp
from livepaste.masks import Context

EDGE = 0.25, 0.75  # between these a pixel becomes surely face: a small network's edge is blurred
# between these it is surely something in front: on real faces that have nothing there twice as much is taken off from a middle of 0.5 on
# as from 0.6, and of hands no more than a fortieth less
FRONT = 0.45, 0.75
# Side of the face's small picture in which something that comes is seen, and how much a cell of it then changes from frame to frame, in units of
# the face's brightness: of four real clips with nothing in front 1 % of frames do, of one with hands 23 %.
CELLS, CHANGED = 14, 0.12
FOLLOWED = -1  # no turn: something is there
EVERY = 3  # frames; by their number, so that a clip that is gone on with comes out as if it had not been interrupted
# share of the other masks' face that makes something in front, a finger's tip, and that goes on being it
THERE, STILL_THERE = 1.5e-3, 0.75e-3


_MODELS: dict[tuple[Path, str], CropModel] = {}


def _loaded(folder: str = "") -> CropModel:
    """Once a process, as long as what it says of itself, its files' hashes too, is the same."""
    found = occlusion_network(folder)
    key = found.path, json.dumps(found.model)
    if key not in _MODELS:
        # on the processor: there it takes 4 ms, and what it gives is what was measured
        _MODELS[key] = CropModel(found, VISIBLE, "an occlusion network", ["visible", "front"], provider="cpu")
    return _MODELS[key]


class Occlusion:
    """The mask as ``--mask occlusion`` or ``occlusion:FOLDER``: how surely each pixel is visible face. Loaded when built, once a process."""

    def __init__(self, folder: str = "") -> None:
        self._net = _loaded(folder)

    def __call__(self, context: Context) -> np.ndarray:
        """In crop pixels, float32 (s, s) in [0, 1]."""
        return self.look(context, "visible", EDGE)

    def look(self, context: Context, output: str, edge: tuple[float, float]) -> np.ndarray:
        """One of its masks, as far as it is sure."""
        return self.seen(context.frame.image, context.alignment, context.points_xy, output, edge)

    def seen(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        alignment: Alignment,
        points_xy: Float32[np.ndarray, "n 2"],
        output: str,
        edge: tuple[float, float],
    ) -> Float32[np.ndarray, "s s"]:
        """The same of a crop of ``image``, with its landmarks in crop pixels. What the network sees is cut from the image anew, at its own size.

        Raises ValueError when what comes of it is not finite.
        """
        side, size = self._net.size, alignment.size
        from_crop = align(points_xy, side, self._net.coverage).frame_to_crop.astype(np.float64)
        to_crop = np.vstack([alignment.frame_to_crop, [0, 0, 1]])
        seen = crop(image, Alignment((from_crop @ to_crop).astype(np.float32), side))
        batch = np.ascontiguousarray(seen.transpose(2, 0, 1)[None].astype(np.float32) / 255)
        said = self._net.session.run({"crop": batch}, [output])[output][0, 0]
        if not np.isfinite(said).all():
            # a failed frame: it would count as nothing in front
            raise ValueError("the occlusion network's mask is not finite")
        found = ramp(said, *edge)
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        # a crop that shows more than the network saw goes on as at its border
        return cv2.warpAffine(found, from_crop, (size, size), flags=how, borderMode=cv2.BORDER_REPLICATE)


class Clear:
    """Beside other masks: takes off what is in front. Where a face ends they know better, and two tight masks would each take off an edge.

    While nothing is there it looks at every ``EVERY``-th frame only and when something in the face changes at once, as soon as something
    is at each.
    """

    def __init__(self, folder: str = "") -> None:
        self._network = Occlusion(folder)

    def __call__(self, context: Context, mask: np.ndarray) -> np.ndarray:
        """What is left of ``mask``, the other masks' product."""
        turn, last = context.frame.index // EVERY, context.memory.get("occlusion")
        came = _changed(context, mask)
        if last == turn and not came:
            return mask
        left = mask * (1 - self._network.look(context, "front", FRONT))
        lost = 1 - float(left.sum()) / max(float(mask.sum()), 1e-3)
        there = lost > (STILL_THERE if last == FOLLOWED else THERE)
        context.memory["occlusion"] = FOLLOWED if there else turn
        return left if there else mask

    @staticmethod
    def sees(context: Context) -> bool:
        """Whether something was in front when it last looked."""
        return context.memory.get("occlusion") == FOLLOWED


def _changed(context: Context, mask: np.ndarray) -> bool:
    """Whether some of the face under ``mask`` looks so different from the last frame's that something may have come before it."""
    size = (CELLS, CELLS)
    luma = cv2.resize(cv2.cvtColor(context.crop, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    inside = cv2.resize(mask, size, interpolation=cv2.INTER_AREA) > 0.7
    if not inside.any():
        return False
    now = luma / max(float(luma[inside].mean()), 0.02)
    last = context.memory.get("occlusion seen")
    context.memory["occlusion seen"] = now
    return last is not None and float(np.abs(now - last)[inside].max()) > CHANGED
