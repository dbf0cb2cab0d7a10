"""Losses by name: unreduced pure functions of prediction and target (b, h, w, c), and their weighted sum."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from livepaste.align import CENTER, mean_mesh

Array = jax.Array


def mae(x: Array, y: Array) -> Array:
    """Absolute error."""
    return jnp.abs(x - y)


def mse(x: Array, y: Array) -> Array:
    """Squared error."""
    return jnp.square(x - y)


def gradient(x: Array, y: Array) -> Array:
    """Absolute error of the differences to the right and lower neighbour, mean of both; the last row and column are 0."""
    d = x - y
    dx = jnp.pad(jnp.abs(d[:, :, 1:] - d[:, :, :-1]), ((0, 0), (0, 0), (0, 1), (0, 0)))
    dy = jnp.pad(jnp.abs(d[:, 1:] - d[:, :-1]), ((0, 0), (0, 1), (0, 0), (0, 0)))
    return (dx + dy) / 2


LOSSES = {
    "mae": "livepaste_train.losses:mae",
    "mse": "livepaste_train.losses:mse",
    "gradient": "livepaste_train.losses:gradient",
}


def weighted_mean(error: Array, weight: Array) -> Array:
    """Mean of ``error`` (b, h, w, c) under ``weight`` (b, h, w, 1), so that small faces count like large ones."""
    return ((error * weight).sum((1, 2)) / jnp.maximum(weight.sum((1, 2)), 1e-6)).mean()


@cache
def features(side: int, coverage: float) -> np.ndarray:
    """1 at the eyes and the mouth of a frontal face in an aligned crop, falling to 0 beside them: float32 (side, side, 1).

    Wide enough for a head that turns. What people look at is a twentieth of a face's pixels, so a plain mean draws it last.
    """
    axis = (np.arange(side) + 0.5) / side - 0.5
    mesh = mean_mesh().points_xyz
    made = np.zeros((side, side))
    for points, (wide, high) in (
        ((33, 133), (0.15, 0.09)),
        ((362, 263), (0.15, 0.09)),
        ((61, 291, 13, 14), (0.2, 0.12)),
    ):
        x, y = mesh[list(points), :2].mean(0) - CENTER
        bell = np.exp(
            -0.5 * (((axis * coverage - x) / wide) ** 2)[None] - 0.5 * (((axis * coverage - y) / high) ** 2)[:, None]
        )
        made = np.maximum(made, bell)
    return made[..., None].astype(np.float32)
