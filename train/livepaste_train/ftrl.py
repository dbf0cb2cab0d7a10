"""FTRL-Proximal with per-coordinate rates (McMahan et al. 2013, "Ad click prediction: a view from the trenches", algorithm 1)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Tree = Any


class FtrlState(NamedTuple):
    """Per coordinate: z, the sum of squared gradients n, and 1/rate of the last step (0 before the first)."""

    z: Tree
    n: Tree
    inverse_rate: Tree


def ftrl(beta: float = 1.0, l1: float = 0.0, l2: float = 0.0) -> optax.GradientTransformationExtraArgs:
    """The direction by which ``p - lr · scale · direction`` is where FTRL-Proximal puts p.

    ``update`` must be told the params, ``lr`` > 0, and ``scale`` where parameters have rates of their own: arrays > 0, or none for 1.

    The rate of a coordinate is lr · scale / (β + √n). The paper's lr is constant and its weights begin at 0; here σ is written as the difference of
    1/rate, which is the same then, allows schedules, and takes weights as they begin. With l1 = l2 = 0 it steps like Adagrad; l1 makes
    weights exactly 0.
    """

    def init(params: Tree) -> FtrlState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return FtrlState(zeros, zeros, zeros)

    def update(
        updates: Tree, state: FtrlState, params: Tree = None, *, lr: Any = None, scale: Tree = None, **_: Any
    ) -> tuple[Tree, Any]:
        if params is None or lr is None:
            raise ValueError("ftrl needs the parameters and the learning rate")
        rate = (
            jax.tree.map(lambda p: jnp.float32(lr), params) if scale is None else jax.tree.map(lambda s: lr * s, scale)
        )
        n = jax.tree.map(lambda n, g: n + jnp.square(g), state.n, updates)
        inverse_rate = jax.tree.map(lambda n, r: (beta + jnp.sqrt(n)) / r, n, rate)
        z = jax.tree.map(
            lambda z, g, now, last, w: z + g - (now - last) * w,
            state.z,
            updates,
            inverse_rate,
            state.inverse_rate,
            params,
        )

        def direction(z: jax.Array, inverse: jax.Array, w: jax.Array, rate: jax.Array) -> jax.Array:
            after = -jnp.sign(z) * jnp.maximum(jnp.abs(z) - l1, 0.0) / (inverse + l2)
            return (w - after) / rate

        return jax.tree.map(direction, z, inverse_rate, params, rate), FtrlState(z, n, inverse_rate)

    return optax.GradientTransformationExtraArgs(init, update)
