"""Statistics for batch normalisation that hold for any picture: measured on some of the training's faces, with the weights that are kept.

While it learns, a batch is normalised by its own statistics. Running means of those lag behind weights that are themselves averages; a
pass over some faces does not ("precise" statistics, Wu & Johnson 2021, section 3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from livepaste_train.compiling import compiled, kept
from livepaste_train.models.autoencoder import PERSONA, WEARER
from livepaste_train.ops import JaxOps, moments
from livepaste_train.state import named

COUNT = 64  # faces of each side


class MeasuringOps(JaxOps):
    """Normalises by the batch's own statistics, as a step does, and notes them with the parameters that are to hold them."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Any, Any, list[tuple[jax.Array, jax.Array]]]] = {}

    def batch_norm(self, x: jax.Array, mean: Any, variance: Any) -> jax.Array:
        of_batch, spread = moments(x, (0, 1, 2))
        self._seen.setdefault(id(mean), (mean, variance, []))[2].append((of_batch.ravel(), spread.ravel()))
        return super().batch_norm(x, of_batch, spread)

    def write(self) -> None:
        """Into the parameters. What draws both sides has seen two batches: the mean and the variance of them together."""
        for mean, variance, seen in self._seen.values():
            means, variances = (jnp.stack(values) for values in zip(*seen, strict=True))
            mean[...] = means.mean(0)
            variance[...] = variances.mean(0) + jnp.square(means - means.mean(0)).mean(0)


@kept
def _settler(graph: Any, alone: bool) -> Callable[..., Any]:
    def settled(params: Any, persona: jax.Array, wearers: jax.Array) -> Any:
        model, ops = nnx.merge(graph, params), MeasuringOps()
        sides = {PERSONA: persona} if alone else {PERSONA: persona, WEARER: wearers}
        codes = model.encode(jnp.concatenate(list(sides.values())), ops)
        for number, side in enumerate(sides):
            code = codes[number * len(persona) : (number + 1) * len(persona)]
            model.picture(side, code, ops)
            logits = model.mask_logits(side, code, ops)
        # as in a step and in a swap: of the wearers alone
        model.drawn_to_edges(sides[side], logits, ops)
        ops.write()
        return nnx.state(model, nnx.Param)

    return compiled(settled)


class Settler:
    """``settle(params)``: the same with statistics that were measured with them. Nothing is done where a model has no batch norms."""

    def __init__(self, graph: Any, params: Any, persona: jax.Array, wearers: jax.Array, *, alone: bool) -> None:
        """``persona`` and ``wearers``: as many crops of each, float32 (n, s, s, 3)."""

        self._faces = persona, wearers
        needed = any(name.endswith("/batch_mean") for name in named(params))
        self._settled = _settler(graph, alone) if needed else None

    def settle(self, params: Any) -> Any:
        return params if self._settled is None else self._settled(params, *self._faces)
