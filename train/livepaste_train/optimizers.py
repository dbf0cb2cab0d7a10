"""Optimizers by name, without the learning rate: the step scales their updates, so that rates can change while running."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from livepaste.registry import resolve

OPTIMIZERS = {
    "adam": "optax:scale_by_adam",
    "adabelief": "optax:scale_by_belief",
    "lion": "optax:scale_by_lion",
    "rmsprop": "optax:scale_by_rms",
    "muon": "livepaste_train.optimizers:muon",
}
# They see stacks and one vector (``grouped``): one with norms of each array would need them apart.
REST = "rest"
Groups = dict[str, jax.Array]


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

    def init(params: Any) -> Any:
        return inner.init(group(params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        groups, state = inner.update(group(updates), state, None if params is None else group(params))
        return ungroup(groups, updates), state

    return optax.GradientTransformation(init, update)


def make_optimizer(name: str, clip_norm: float) -> optax.GradientTransformation:
    """The named direction after clipping the gradient's global norm."""
    direction = resolve("optimizer", name, OPTIMIZERS, trusted=False)
    return grouped(optax.chain(optax.clip_by_global_norm(clip_norm), direction()))
