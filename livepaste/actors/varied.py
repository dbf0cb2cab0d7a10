"""People whom no photograph shows: photo actors mixed part by part, in another shape and with another skin.

What a face does has to be told apart from whose face it is by people of all kinds, and there are few photographs.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from livepaste.actors.head import Head
from livepaste.actors.photo import CANVAS, PhotoActor, morph

PARTS = 4  # knots a side of the field that mixes two people: as large as an eye with its brow
UNEVEN = (5, 9, 17)  # knots a side of what makes a skin uneven


def varied(people: Sequence[PhotoActor], seed: int) -> PhotoActor:
    """Somebody made of four photo actors; the same for the same arguments.

    Each part of the face is more like the first or like the second (one in five is the first alone), and the mesh is
    moved by up to 0.9 times the way from the fourth's to the third's: as real faces differ. Contrast, colourfulness, tint and the
    skin's evenness are changed at random. At rest it is as much at rest as they are.
    """
    a, b, c, d = people
    rng = np.random.default_rng([5, seed])
    field = np.clip(0.5 + 0.45 * _smooth(rng, PARTS), 0, 1)
    who = a if rng.uniform() < 0.2 else morph(a, b, field)
    points = who.points + rng.uniform(0, 0.9) * (c.points - d.points)
    texture = who.texture.copy()
    rgb = (texture[..., :3].astype(np.float32) / 255) ** np.float32(np.exp(0.15 * rng.normal()))
    grey = rgb.mean(-1, keepdims=True)
    rgb = grey + (rgb - grey) * np.float32(np.exp(0.2 * rng.normal()))
    skin = np.exp(sum(rng.uniform(0, 0.12) * _smooth(rng, knots) for knots in UNEVEN))
    tint = np.exp(0.06 * rng.normal(size=3)).astype(np.float32)
    texture[..., :3] = np.rint(np.clip(rgb * skin[..., None] * tint, 0, 1) * 255).astype(np.uint8)
    made = object.__new__(PhotoActor)
    made.name, made.pose = f"varied{seed}", who.pose
    Head.__init__(made, texture, who.alpha, points, who.texture_xy[:478])
    return made


def _smooth(rng: np.random.Generator, knots: int) -> np.ndarray:
    """Smooth noise over the texture, float32 (side, side)."""
    return cv2.resize(
        rng.normal(size=(knots, knots)).astype(np.float32), (CANVAS, CANVAS), interpolation=cv2.INTER_CUBIC
    )
