"""``judge``: tells patches of real pictures from patches of drawn ones, for the last phase of a training (Isola et al. 2017, "PatchGAN")."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import jax.numpy as jnp
from flax import nnx

from livepaste_train.models.layers import Downscale, PlainConv
from livepaste_train.ops import LEARNING_OPS

WIDTHS = 3, 32, 64
FIELD = 21  # pixels of a side that each of its answers has seen: 5, then 4·2 and 2·4 more


class Judge(nnx.Module):
    """Pictures (b, s, s, 3) -> (b, s/4, s/4, 1): towards 1 for real patches, towards 0 for drawn ones."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.downs = nnx.List(Downscale(a, b, rngs) for a, b in pairwise(WIDTHS))
        self.answer = PlainConv(WIDTHS[-1], 1, 3, rngs)

    def __call__(self, pictures: Any, ops: Any = LEARNING_OPS) -> Any:
        x = ops.scale(pictures.astype(self.answer.kernel[...].dtype), 2.0, -1.0)
        for down in self.downs:
            x = down(x, ops)
        return self.answer(x, ops).astype(jnp.float32)
