"""Losses by name: unreduced pure functions of prediction and target (b, h, w, c), and their weighted sum."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from livepaste.align import CENTER, mean_mesh
from livepaste.registry import resolve
from livepaste_train.compiling import compiled
from livepaste_train.recipe import Recipe

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


def frequency(x: Array, y: Array) -> Array:
    """Focal frequency loss (Jiang et al. 2021, α = 1): squared error of the orthonormal spectrum, hard frequencies weighing up to 1. (b, h, w, c).

    Of frequencies and not of places: what is not to count must be the same in both.
    """
    error = jnp.square(jnp.abs(jnp.fft.fft2(x - y, axes=(1, 2), norm="ortho")))
    hard = jnp.sqrt(jax.lax.stop_gradient(error))
    return error * hard / jnp.maximum(hard.max((1, 2), keepdims=True), 1e-8)


LOSSES = {
    "mae": "livepaste_train.losses:mae",
    "mse": "livepaste_train.losses:mse",
    "gradient": "livepaste_train.losses:gradient",
    "ssim": "livepaste_train.similarity:ssim",
    "dssim": "livepaste_train.similarity:dssim",
    "ms_ssim": "livepaste_train.similarity:ms_ssim",
    "frequency": "livepaste_train.losses:frequency",
}
GUESSED = 48  # faces
DROWNS = 0.97
PLACELESS = ("frequency",)  # told of pictures that are the same wherever nothing counts


def picture_losses(picture: Array, target: Array, target_mask: Array, recipe: Recipe) -> dict[str, Array]:
    """Each loss that the recipe weighs, unweighted: means under the visible face, eyes and mouth above all. Scalars by name.

    ``picture`` and ``target`` (b, s, s, 3), ``target_mask`` (b, s, s, 1), float32.
    """
    weight = recipe.outside + (1 - recipe.outside) * target_mask
    weight *= 1 + recipe.features * features(target.shape[1], recipe.coverage)
    made = {}
    for name in LOSSES:
        if getattr(recipe, name):
            function = resolve("loss", name, LOSSES, trusted=False)
            if name in PLACELESS:
                share = weight / weight.max()
                value = function(picture * jnp.sqrt(share), target * jnp.sqrt(share))  # which squares it
                made[name] = (value.sum((1, 2)) / jnp.maximum(share.sum((1, 2)), 1e-6)).mean()
            else:
                made[name] = weighted_mean(function(picture, target), weight)
    return made


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


def sparsity(code: Array, recipe: Recipe) -> Array | None:
    """What a code (b, n) costs for not being at rest, if the recipe says so.

    kl: β times the sum over units of the Kullback-Leibler divergence between ρ and the unit's mean activation in the batch (Ng 2011);
    tanh units rest at -1, so their activation is (1 + a)/2. l1: λ times the sum of the numbers' sizes, mean over the batch.
    """
    if (how := recipe.penalty()) is None:
        return None
    kind, rho, weight = how
    code = code.astype(jnp.float32)
    if kind == "l1":
        return weight * jnp.abs(code).sum(-1).mean()
    active = jnp.clip((1 + code) / 2 if recipe.unit == "tanh" else code, 0.0, 1.0).mean(0)
    active = jnp.clip(active, 1e-6, 1 - 1e-6)
    return weight * (rho * jnp.log(rho / active) + (1 - rho) * jnp.log((1 - rho) / (1 - active))).sum()


def guessed(mean: Array, pictures: Array, masks: Array, recipe: Recipe) -> dict[str, Array]:
    """What each of the recipe's losses is for ``pictures`` (n, s, s, 3) if all of them are taken for their ``mean`` (s, s, 3)."""
    pictures, masks = pictures[:GUESSED], masks[:GUESSED]
    made = compiled(lambda mean, *of: picture_losses(jnp.broadcast_to(mean, of[0].shape), *of, recipe))
    return {name: jnp.maximum(value, 1e-6) for name, value in made(mean, pictures, masks).items()}


def drowned(terms: Mapping[str, float]) -> str:
    """A sentence about the loss of pictures beside which the others hardly count, if there is one; ``terms`` as weighted."""
    of_pictures = {name: value for name, value in terms.items() if name in LOSSES}
    name = max(of_pictures, key=lambda name: of_pictures[name], default="")
    if len(of_pictures) < 2 or of_pictures[name] < DROWNS * sum(of_pictures.values()):
        return ""
    share = of_pictures[name] / sum(of_pictures.values())
    return f"{name} is {share:.0%} of what pictures are learned by, the other losses hardly count; weigh it less, or say balanced = true"
