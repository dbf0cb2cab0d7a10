"""What keeps weights small or apart, by name: functions of a kernel (…, in, out), whose sum over all kernels is added to the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from livepaste_train.recipe import Recipe
from livepaste_train.state import name_of


def l1(kernel: jax.Array) -> jax.Array:
    """Sum of magnitudes: most weights end near zero (Tibshirani 1996)."""
    return jnp.abs(kernel).sum()


def l2(kernel: jax.Array) -> jax.Array:
    """Half the sum of squares, whose gradient is the weight itself (Krogh & Hertz 1991).

    Under an optimizer that adapts its rates it is not the decay of ``adamw``, which leaves the gradient alone (Loshchilov & Hutter 2019).
    """
    return 0.5 * jnp.square(kernel).sum()


def orthogonal(kernel: jax.Array) -> jax.Array:
    """Squared distance of the units' products from those of orthonormal ones: ‖WᵀW − I‖² (Brock et al. 2017, section 3)."""
    rows = kernel.reshape(-1, kernel.shape[-1])
    rows = rows if rows.shape[0] >= rows.shape[1] else rows.T
    return jnp.square(rows.T @ rows - jnp.eye(rows.shape[1], dtype=rows.dtype)).sum()


REGULARISERS: dict[str, Callable[[jax.Array], jax.Array]] = {"l1": l1, "l2": l2, "orthogonal": orthogonal}


def regularised(params: Any, recipe: Recipe) -> jax.Array | None:
    """The recipe's regulariser of all kernels in ``params`` (biases, gains and facts have none), float32; None without one."""
    asked = recipe.restraint()
    if asked is None:
        return None
    kind, weight = asked
    named = jax.tree_util.tree_leaves_with_path(params)
    kernels = [leaf for path, leaf in named if name_of(path).rpartition("/")[2] == "kernel"]
    return weight * sum((REGULARISERS[kind](kernel.astype(jnp.float32)) for kernel in kernels), jnp.float32(0.0))
