"""What a judge of patches adds to the loss in the last fifth of a training, and what the judge itself learns by.

Both are of least squares (Mao et al. 2017), whose gradient does not fade where the judge is sure. They are one sum with one gradient: the
judge's weights are held while pictures learn to convince it, and the pictures while it learns to tell them.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from livepaste_train.models.judge import Judge
from livepaste_train.recipe import Recipe

Array = jax.Array
GREY = 0.5  # around the visible face, where nobody draws anything that counts


def convinced(answers: Array) -> Array:
    """By how much drawn patches are not taken for real ones: (d − 1)², unreduced."""
    return jnp.square(answers - 1)


def told_apart(real: Array, drawn: Array) -> Array:
    """By how much real and drawn patches are confused: ½ (d − 1)² + ½ d², unreduced."""
    return 0.5 * jnp.square(real - 1) + 0.5 * jnp.square(drawn)


def held_judge(judge: Judge) -> Judge:
    """The judge as it is, out of which no gradient comes."""
    graph, params = nnx.split(judge)
    return nnx.merge(graph, jax.tree.map(jax.lax.stop_gradient, params))


def adversarial_losses(
    model: Any, picture: Array, target: Array, mask: Array, recipe: Recipe, strength: Array
) -> dict[str, Array]:
    """``adversarial``, weighted by the recipe and by how far the last fifth is gone, and ``judge``; both 0 before it. Empty without a judge.

    ``picture`` and ``target`` (b, s, s, 3), ``mask`` (b, s, s, 1), float32. ``strength`` as the warp has it: 1, falling to 0 in the last fifth.
    """
    if not recipe.adversarial:
        return {}

    def last() -> tuple[Array, Array]:
        real, drawn = (x * mask + GREY * (1 - mask) for x in (target, picture))
        answers = held_judge(model.judge)(drawn)
        judging = told_apart(model.judge(real), model.judge(jax.lax.stop_gradient(drawn)))
        return recipe.adversarial * (1 - strength) * convinced(answers).mean(), judging.mean()

    nothing = jnp.float32(0.0), jnp.float32(0.0)
    adversarial, judging = jax.lax.cond(strength < 1, last, lambda: nothing)
    return {"adversarial": adversarial, "judge": judging}
