"""What a training is shown, for one's own eyes: faces as they are stored, and as inputs and targets of a few steps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from livepaste_train.augment import batch
from livepaste_train.compiling import compiled
from livepaste_train.evaluate import spread, undistorted
from livepaste_train.fit import Trainer

ROWS, TIMES = 10, 4  # faces, half of them the persona's; times each is shown
GAP = 6  # pixels between two times


def show(trainer: Trainer) -> np.ndarray:
    """A row for each face: as it is, then input and target of four steps side by side. uint8 (h, w, 3) RGB.

    The warp is at its full strength, as in the first four fifths of a training.
    """
    geometry, recipe, data = trainer.geometry, trainer.recipe, trainer.data
    persona = len(data.persona)
    sides = [(0, persona), (persona, len(data.packed) - persona)]
    index = np.concatenate([first + spread(count, ROWS // 2) for first, count in sides if count])
    index = jnp.asarray(index)

    def shown(key: jax.Array, packed: jax.Array) -> tuple[jax.Array, jax.Array]:
        made = batch(key, packed, packed, index, index, geometry, recipe, jnp.float32(1.0))
        return made.inputs, made.targets

    made = [undistorted(np.asarray(data.packed)[np.asarray(index)], geometry)[0]]
    program = compiled(shown)
    for key in jax.random.split(jax.random.key(trainer.options.seed), TIMES):
        gap = jnp.ones((len(index), geometry.resolution, GAP, 3))
        made += [gap, *program(key, data.packed)]
    sheet = np.concatenate(list(np.concatenate([np.asarray(part) for part in made], axis=2)))
    return np.rint(np.clip(sheet, 0, 1) * 255).astype(np.uint8)
