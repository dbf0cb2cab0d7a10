"""Greedy layer by layer, before the training itself (Bengio et al. 2007): each level of encoder and decoders learns to give back what it
is given, the ones outside of it left as they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from livepaste.errors import OptionError, TrainingError
from livepaste_train.augment import Geometry, batch, choose
from livepaste_train.models.autoencoder import PERSONA, WEARER
from livepaste_train.ops import LEARNING_OPS
from livepaste_train.parallel import divided
from livepaste_train.recipe import Recipe
from livepaste_train.start import is_learned
from livepaste_train.state import name_of
from livepaste_train.step import Sides, make_dispatch, new_state

Array = jax.Array


def check_levels(recipe: Recipe, model: Any) -> None:
    """Raise OptionError for levels to be trained one by one in a model that has none."""
    if recipe.pretrain and not model.LEVELS:
        raise OptionError(
            f"--pretrain {recipe.pretrain}: {recipe.model} has no levels that mirror each other; light and original have"
        )


def of_level(model: Any, level: int, scale: Any) -> Any:
    """``scale`` (a factor on each parameter's rate) with 0 for all but the parameters of one level."""

    def rate(path: tuple[Any, ...], factor: float) -> float:
        name = name_of(path)
        mine = any(fnmatchcase(name, pattern) for pattern in model.LEVELS[level])
        return factor if mine and is_learned(name) else 0.0

    return jax.tree_util.tree_map_with_path(rate, scale)


def level_error(model: Any, level: int, side: str, crops: Array, target: Array) -> Array:
    """Mean squared error of a level's input given back, as a share of that input's variance. At level 0 ``target`` is to be given back.

    So a rate means as much at every level.
    """
    x = crops
    for below in range(level):
        x = jax.lax.stop_gradient(model.down_from(below, x, LEARNING_OPS))
    y = model.down_from(level, x, LEARNING_OPS)
    if level == len(model.LEVELS) - 1:
        y = model.through_unit(y)
    back = model.up_to(level, side, y, LEARNING_OPS).astype(jnp.float32)
    wanted = (x if level else target).astype(jnp.float32)
    return jnp.square(back - wanted).mean() / (jnp.square(wanted - wanted.mean()).mean() + 1e-6)


@cache
def level_loss(
    geometry: Geometry, recipe: Recipe, compute: Any, level: int, *, alone: bool
) -> Callable[..., tuple[Array, dict[str, Array]]]:
    """Loss of one level on one batch of both sides' faces."""

    def loss(model: Any, sides: Sides, key: Array, strength: Array, _: Array) -> tuple[Array, dict[str, Array]]:
        keys, half = jax.random.split(key, 3), recipe.batch if alone else recipe.batch // 2
        mine = choose(keys[0], sides.persona, half)
        others = mine if alone else len(sides.persona) + choose(keys[1], sides.wearers, half)
        index = divided(mine if alone else jnp.concatenate([mine, others]))
        shown = divided(batch(keys[2], sides.packed, sides.packed, index, index, geometry, recipe, strength))
        inputs = shown.inputs.astype(compute)
        parts = [(PERSONA, slice(None, half))] + ([] if alone else [(WEARER, slice(half, None))])
        errors = [
            level_error(model, level, side, inputs[part], model.wanted(side, shown.targets[part], shown.masks[part]))
            for side, part in parts
        ]
        error = sum(errors) / len(errors)
        return error, {"error": error}

    return loss


def pretrained(graph: Any, params: Any, data: Sides, geometry: Geometry, recipe: Recipe, scale: Any, compute: Any, *, alone: bool,
               seed: int, tell: Callable[[int, int, float], None], stop: Callable[[], bool] = lambda: False) -> Any:  # fmt: skip
    """``params`` after each level was trained for ``recipe.levels_first()`` steps, from the crop to the code.

    ``tell(level, levels, error)`` after each, ``error`` as in :func:`level_error`; ``stop`` is asked before every dispatch. ``scale`` as
    for :func:`~livepaste_train.step.make_dispatch`.
    """
    model, steps = nnx.merge(graph, params), recipe.levels_first()
    # the same program whatever the steps
    own = replace(recipe, schedule="constant", ema=0.0, regulariser="", pretrain="")
    for level in range(len(model.LEVELS)):
        rates = of_level(model, level, scale)
        loss = level_loss(geometry, own, compute, level, alone=alone)
        dispatch = make_dispatch(graph, loss, own, rates, compute)
        state, metrics = new_state(params, own, seed + level, steps, rates), None
        while int(state.step) < steps and not stop():
            state, metrics = dispatch(state, data)
        params = state.params
        if metrics is None or stop():
            break
        error = float(metrics["error"])
        if not math.isfinite(error):
            raise TrainingError(
                f"--pretrain: the error of level {level + 1} is not finite; lower --lr (now {recipe.lr:g}), or look for broken pictures"
            )
        tell(level + 1, len(model.LEVELS), error)
    return params
