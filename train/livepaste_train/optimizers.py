"""Optimizers by name, without the learning rate: the step scales their updates, so that rates can change while running."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from optax.contrib import reduce_on_plateau

from livepaste.registry import resolve
from livepaste_train.recipe import Recipe

OPTIMIZERS = {
    "sgd": "optax:identity",  # batch or stochastic, by the recipe's batch
    "momentum": "livepaste_train.optimizers:momentum",
    "nesterov": "livepaste_train.optimizers:nesterov",
    "adagrad": "optax:scale_by_rss",
    "adadelta": "optax:scale_by_adadelta",
    "rmsprop": "optax:scale_by_rms",
    "adam": "optax:scale_by_adam",
    "adamw": "livepaste_train.optimizers:adamw",
    "nadam": "livepaste_train.optimizers:nadam",
    "adabelief": "optax:scale_by_belief",
    "lion": "optax:scale_by_lion",
    "muon": "livepaste_train.optimizers:muon",
    "ftrl": "livepaste_train.ftrl:ftrl",
}
PLATEAU_STEPS = 50  # whose mean loss is one value
PATIENCE = 4  # values without a better one
DECAY = 1e-2  # of adamw, as a share of the weight for each unit of the rate
# They see stacks and one vector (``grouped``): one with norms of each array would need them apart.
REST = "rest"
Groups = dict[str, jax.Array]


def momentum() -> optax.GradientTransformation:
    """Heavy ball (Polyak 1964), 0.9."""
    return optax.trace(0.9)


def nesterov() -> optax.GradientTransformation:
    """Nesterov's accelerated gradient (1983), 0.9."""
    return optax.trace(0.9, nesterov=True)


def nadam() -> optax.GradientTransformation:
    """Adam with Nesterov's momentum (Dozat 2016)."""
    return optax.scale_by_adam(nesterov=True)


def adamw() -> optax.GradientTransformation:
    """Adam with decoupled decay of the kernels (Loshchilov & Hutter 2019)."""
    return optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(DECAY, kernels_of))


def kernels_of(groups: Groups) -> dict[str, bool]:
    """Which of the groups are kernels, and not gains, biases and canvases."""
    return {name: name != REST for name in groups}


def muon() -> optax.GradientTransformation:
    """Orthogonalised momentum for kernels (Jordan et al. 2024), Adam for gains, biases and canvases; on ``grouped`` arrays.

    Scaled to Adam's usual step (root mean square 0.2), so that learning rates mean the same.
    """

    def kernels(groups: Groups) -> dict[str, optax.contrib.MuonDimensionNumbers | None]:
        return {name: None if name == REST else optax.contrib.MuonDimensionNumbers((1,), (2,)) for name in groups}

    # The AOL scaling (Boissin et al. 2025, Turbo-Muon) makes one of the five iterations needless.
    descent = optax.contrib.muon(1.0, ns_steps=4, preconditioning="aol", consistent_rms=0.2,
                                 muon_weight_dimension_numbers=kernels, adam_b2=0.99)  # fmt: skip
    return optax.chain(descent, optax.scale(-1.0))


def grouped(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """``inner`` on a few large arrays instead of many small ones.

    Kernels of one size lie in one stack (k, inputs, outputs), all else in one vector. An optimizer over a tree of 150 arrays
    becomes thousands of kernels in XLA, which take longer to compile than the model and its gradient.
    """

    def members(tree: Any) -> tuple[dict[str, list[int]], list[jax.Array], Any]:
        flat, structure = jax.tree_util.tree_flatten_with_path(tree)
        where: dict[str, list[int]] = {}
        for number, (path, leaf) in enumerate(flat):
            kernel = any(str(getattr(p, "key", getattr(p, "name", p))) == "kernel" for p in path)
            name = f"kernel_{math.prod(leaf.shape[:-1])}x{leaf.shape[-1]}" if kernel else REST
            where.setdefault(name, []).append(number)
        return where, [leaf for _, leaf in flat], structure

    def group(tree: Any) -> Groups:
        where, leaves, _ = members(tree)
        return {
            name: jnp.concatenate([leaves[i].ravel() for i in numbers])
            if name == REST
            else jnp.stack([leaves[i].reshape(-1, leaves[i].shape[-1]) for i in numbers])
            for name, numbers in where.items()
        }

    def ungroup(groups: Groups, like: Any) -> Any:
        where, leaves, structure = members(like)
        made: list[jax.Array] = list(leaves)
        for name, numbers in where.items():
            if name == REST:
                ends = accumulate(leaves[i].size for i in numbers)
                parts = [groups[REST][end - leaves[i].size : end] for i, end in zip(numbers, ends, strict=True)]
            else:
                parts = list(groups[name])
            for i, part in zip(numbers, parts, strict=True):
                made[i] = part.reshape(leaves[i].shape)
        return jax.tree.unflatten(structure, made)

    extended = optax.with_extra_args_support(inner)

    def init(params: Any) -> Any:
        return extended.init(group(params))

    def update(updates: Any, state: Any, params: Any = None, **more: Any) -> tuple[Any, Any]:
        if "scale" in more:
            more["scale"] = group(jax.tree.map(jnp.full_like, updates, more["scale"]))
        groups, state = extended.update(group(updates), state, None if params is None else group(params), **more)
        return ungroup(groups, updates), state

    return optax.GradientTransformationExtraArgs(init, update)


def make_optimizer(recipe: Recipe) -> optax.GradientTransformationExtraArgs:
    """The recipe's direction, ``update(gradient, state, params, lr=…, scale=…, value=…)``: gradients clipped first, on a plateau of ``value`` made smaller."""
    parts = []
    if recipe.clip_value:
        parts.append(optax.clip(recipe.clip_value))
    if recipe.clip_norm:
        parts.append(optax.clip_by_global_norm(recipe.clip_norm))
    parts.append(resolve("optimizer", recipe.optimizer, OPTIMIZERS, trusted=False)())
    if recipe.schedule == "plateau":
        parts.append(
            reduce_on_plateau(
                factor=0.5, patience=PATIENCE, accumulation_size=PLATEAU_STEPS, rtol=0.002, min_scale=recipe.lr_floor
            )
        )
    return grouped(optax.chain(*parts))
