"""How far a swap can be trusted: a head turned further than the model was trained, or a face that leaves the picture, comes out torn."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float32

from livepaste.align import turned_degrees

# By eye on real profiles, with a persona trained on heads turned up to 35 degrees: 37 is fine, from 46 on two noses show.
ROOM_DEG, USUAL_DEG = 10.0, 45.0  # beyond what was trained; the limit where that is not known
BOUNDS_DEG = 35.0, 80.0  # no limit is lower, and further nothing is found that could be swapped
BACK_DEG = 4.0  # under the limit it is trusted again: no flutter there
LEAST_INSIDE, BACK_INSIDE = (
    0.9,
    0.93,
)  # of the mesh's points: with fewer in the picture the smear of its border is swapped


def limit_of(model: dict[str, Any]) -> float:
    """How far a wearer may turn from the camera, in degrees; ``model`` is ``model.json``."""
    trained = model.get("turned_deg")
    if not isinstance(trained, (int, float)) or not np.isfinite(trained):
        return USUAL_DEG
    return float(np.clip(trained + ROOM_DEG, *BOUNDS_DEG))


class Limits:
    """Of one face, from frame to frame."""

    def __init__(self) -> None:
        self._beyond = False

    def __call__(self, points_xyz: Float32[np.ndarray, "n 3"], size_wh: tuple[int, int], most_deg: float) -> bool:
        """Whether the face is beyond what can be trusted; ``points_xyz`` in frame pixels."""
        inside = float(((points_xyz[:, :2] >= 0) & (points_xyz[:, :2] < size_wh)).all(1).mean())
        turned = turned_degrees(points_xyz)
        if self._beyond:
            self._beyond = turned > most_deg - BACK_DEG or inside < BACK_INSIDE
        else:
            self._beyond = turned > most_deg or inside < LEAST_INSIDE
        return self._beyond
