"""How far apart the two sides' codes lie for the same thing played: whose face it is, as the encoder still tells it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from livepaste_train.augment import Geometry
from livepaste_train.data import Faces
from livepaste_train.evaluate import codes_of, crops, spread

EVERY = 50  # steps: the encoder moves slowly
COUNT = 96  # faces of each side


class Offset:
    """``measure(params)``: the persona's codes minus the wearers' with pose and mouth accounted for, float32 (code,).

    The sides' means alone would count as identity that one of them was filmed looking left. So codes are regressed on
    what is played, by ordinary least squares with one constant for each side; the constants' difference is the offset.
    """

    def __init__(self, graph: Any, persona: Faces, wearers: Faces, geometry: Geometry) -> None:
        sides = persona, wearers
        played = [side.played[spread(len(side), COUNT)] for side in sides]
        is_persona = np.repeat([1.0, 0.0], [len(rows) for rows in played])
        known = np.column_stack([is_persona, np.ones(len(is_persona)), np.concatenate(played)])
        # of each code in the first coefficient
        self._weight = np.linalg.pinv(known, rcond=1e-6)[0].astype(np.float32)
        self._shown = jnp.concatenate([crops(side, geometry, COUNT)[0] for side in sides])
        self._graph = graph

    def measure(self, params: Any) -> jax.Array:
        return jnp.asarray(self._weight @ codes_of(self._graph, params, self._shown))
