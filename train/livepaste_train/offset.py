"""How far apart the two sides' codes lie for the same thing played: whose face it is, as the encoder still tells it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from livepaste_train.augment import Geometry
from livepaste_train.compiling import compiled, kept
from livepaste_train.data import Faces
from livepaste_train.evaluate import crops, spread

EVERY = 50  # steps: the encoder moves slowly
COUNT = 96  # faces of each side


@kept
def _measurer(graph: Any) -> Callable[[Any, jax.Array, jax.Array], jax.Array]:
    # pictures and weights as arguments: as constants, XLA would take seconds to fold them
    def measured(params: Any, weight: jax.Array, shown: jax.Array) -> jax.Array:
        return weight @ nnx.merge(graph, params).encode(shown)

    return compiled(measured)


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
        self._weight = jnp.asarray(np.linalg.pinv(known, rcond=1e-6)[0], jnp.float32)
        self._shown = jnp.concatenate([crops(side, geometry, COUNT)[0] for side in sides])
        self._measured = _measurer(graph)

    def measure(self, params: Any) -> jax.Array:
        return self._measured(params, self._weight, self._shown)
