"""What every layer of a model is made of, where a recipe may choose: how its weights begin, what normalises a map, what bends it.

Layers take the choice from what they draw their weights with, so that each works for every architecture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from livepaste_train.compiling import put
from livepaste_train.models.initialisers import INITIALISERS

OWN = "own"  # as the architecture has it


@dataclass(frozen=True)
class Style:
    """Names of the recipe's tables."""

    initialiser: str = "he_normal"
    activation: str = "leaky"
    normalisation: str = OWN

    def kernel(self, key: jax.Array, shape: tuple[int, ...], gain: float = 1.0) -> jax.Array:
        """Weights of a layer, (…, in, out), float32, times ``gain``.

        Drawn by numpy from the key's numbers: jax would compile one program for each shape, 13 s for ``light`` on two cores.
        """
        if isinstance(key, jax.core.Tracer):  # asked for shapes only
            return jnp.zeros(shape, jnp.float32)
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        return put(np.float32(gain) * INITIALISERS[self.initialiser](rng, shape))

    def active(self, x: Any, ops: Any, slope: float = 0.1) -> Any:
        """``x`` bent; ``slope`` is the layer's own, of a leaky rectifier."""
        return ops.leaky(x, slope) if self.activation == "leaky" else ops.active(x, self.activation)


class StyledRngs(nnx.Rngs):
    """The keys that a model's weights are drawn with, and the style of its layers."""

    def __init__(self, seed: int, style: Style) -> None:
        super().__init__(seed)
        self.style = style


def style_of(rngs: nnx.Rngs) -> Style:
    """The style that comes with the keys; the usual one with plain keys."""
    return rngs.style if isinstance(rngs, StyledRngs) else Style()


class Norm(nnx.Module):
    """A map (b, h, w, c) brought to one scale, by name:

    ``none``; ``pixel``: unit mean square over the channels of each pixel (Karras et al. 2018), without parameters; ``layer``: mean 0
    and variance 1 over the same (Ba et al. 2016); ``instance``: over the pixels of each channel (Ulyanov et al. 2016); ``batch``: over
    the pixels of all pictures (Ioffe & Szegedy 2015). The last three end in a learned scale and shift for each channel.

    Statistics of a batch are those of the step's own batch while it learns; for everything else they are measured on some of the
    training's faces with the weights that are kept ("precise" ones, Wu & Johnson 2021), see ``livepaste_train.settled``.
    """

    def __init__(self, c: int, style: Style, own: str = "none") -> None:
        self.kind = own if style.normalisation == OWN else style.normalisation
        if self.kind in ("layer", "instance", "batch"):
            self.scale = nnx.Param(put(np.ones(c, np.float32)))
            self.shift = nnx.Param(put(np.zeros(c, np.float32)))
        if self.kind == "batch":
            self.batch_mean = nnx.Param(put(np.zeros(c, np.float32)))
            self.batch_variance = nnx.Param(put(np.ones(c, np.float32)))

    def __call__(self, x: Any, ops: Any) -> Any:
        if self.kind == "none":
            return x
        if self.kind == "pixel":
            return ops.norm(x)
        if self.kind == "batch":
            y = ops.batch_norm(x, self.batch_mean, self.batch_variance)
        else:
            y = ops.layer_norm(x) if self.kind == "layer" else ops.instance_norm(x)
        return ops.affine(y, self.scale[...], self.shift[...])
