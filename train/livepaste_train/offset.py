"""How far apart the two sides' codes lie for the same thing played, as meshes tell it: whose face it is, as the encoder still tells it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from livepaste_train.augment import Geometry
from livepaste_train.data import Faces, posed
from livepaste_train.evaluate import codes_of, crops, spread

EVERY = 50  # steps: the encoder moves slowly
COUNT = 96  # faces of each side
# Of where a side looked on the mean, so much is counted as how its mesh is measured, not as where it looked: two people's meshes do not
# agree on that. Beside none of it, half brings swaps 0.6 (photo 159/142) and 0.8 dB (drawn 8401), see train/README.md.
SHARED = 0.5


def nearer(played: Float32[np.ndarray, "n k"]) -> Float32[np.ndarray, "n k"]:
    """What was played, see ``data.played``, by yaw and pitch less a part of their means."""
    angles = played[:, :2]
    return np.column_stack([posed(*(angles - SHARED * angles.mean(0)).T), played[:, 5:]])


class Offset:
    """``measure(params)``: the persona's codes minus the wearers' with pose and mouth accounted for, float32 (code,).

    The sides' means alone would count as identity that one of them was filmed looking left. So codes are regressed on
    what is played, see ``nearer``, by ordinary least squares with one constant for each side; the constants' difference is
    the offset.
    """

    def __init__(self, graph: Any, persona: Faces, wearers: Faces, geometry: Geometry) -> None:
        sides = persona, wearers
        played = [nearer(side.played[spread(len(side), COUNT)]) for side in sides]
        is_persona = np.repeat([1.0, 0.0], [len(rows) for rows in played])
        known = np.column_stack([is_persona, np.ones(len(is_persona)), np.concatenate(played)])
        # of each code in the first coefficient
        self._weight = np.linalg.pinv(known, rcond=1e-6)[0].astype(np.float32)
        self._shown = jnp.concatenate([crops(side, geometry, COUNT)[0] for side in sides])
        self._graph = graph

    def measure(self, params: Any) -> jax.Array:
        return jnp.asarray(self._weight @ codes_of(self._graph, params, self._shown))
