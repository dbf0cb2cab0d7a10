"""Fits the networks that tell a few numbers off a code: what ``models.appearance.Told`` holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from livepaste_train.compiling import compiled, kept
from livepaste_train.models.appearance import FLOWS, HIDDEN, SEVERAL

STEPS, PARTS, BATCH, RATE, DECAY = 1500, 10, 128, 2e-3, 1e-2
# Of a standard deviation of each number, as places are read and as what is seen is. More steadies and damps. With 0.15 for both, swaps
# lost 0.1 dB (drawn 8401) and 0.4 dB (photo 148/161); with it for what is seen alone, 0.06 dB at most, and mouths and brows of a real
# persona follow a little more closely, see train/README.md.
SHAKEN_PLACES, SHAKEN_LOOKS = 0.3, 0.15
# Of the way to the wearer's codes. Swaps with 0.5 and 0.75 of it: drawn 8401 26.7 dB both, photo 159/142 25.6 dB both
PLACED = 0.5


def _bent(q: dict[str, Any], x: Any) -> Any:
    hidden = jax.nn.silu(jax.nn.silu(x @ q["first"] + q["first_bias"]) @ q["second"] + q["second_bias"])
    return hidden @ q["third"] + q["bias"] + x @ q["straight"]


@kept
def _descent(steps: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """How the fit of several networks in so many steps begins, and a part of it."""
    optimizer = optax.adamw(optax.cosine_decay_schedule(RATE, steps), weight_decay=DECAY)

    def step(q: Any, state: Any, key: Any, x: Any, wanted: Any, offset: Any) -> Any:
        pick, shake, way = jax.random.split(key, 3)
        index = jax.random.randint(pick, (BATCH,), 0, len(x))
        shaken = jax.random.normal(shake, (BATCH, x.shape[1]))
        placed, looking = x[index] + SHAKEN_PLACES * shaken, x[index] + SHAKEN_LOOKS * shaken
        away = jnp.maximum(0.0, jax.random.uniform(way, (BATCH, 1), minval=-1 / 3)) * offset
        flows = jnp.arange(wanted.shape[1]) < FLOWS

        def error(q: Any) -> Any:
            return jnp.square(
                jnp.where(flows, _bent(q, placed - PLACED * away), _bent(q, looking - away)) - wanted[index]
            ).mean()

        update, state = optimizer.update(jax.grad(error)(q), state, q)
        return optax.apply_updates(q, update), state

    def run(q: Any, state: Any, keys: Any, *known: Any) -> Any:
        each = jax.vmap(step, (0, 0, 0, None, None, None))
        return jax.lax.scan(lambda carry, keys: (each(*carry, keys, *known), None), (q, state), keys)[0]

    return jax.vmap(optimizer.init), compiled(run)


def telling(
    codes: Float[np.ndarray, "n c"],
    numbers: Float[np.ndarray, "n k"],
    weight: Float[np.ndarray, " k"],
    offset: Float[np.ndarray, " c"],
) -> dict[str, np.ndarray]:
    """The weights of ``models.appearance.Told`` that read ``numbers`` off ``codes``, errors weighed by ``weight``.

    They are also read off codes moved against ``offset``, as a decoder has to (``step.pair_loss``); where the face is, a part of the way
    only: how far apart two people's codes lie is measured by their meshes, which do not agree on where a face looks.
    """
    mean, scale = codes.mean(0), codes.std(0)
    # a number that hardly varies says nothing, and its weights would be larger than float16 holds
    scale = np.maximum(scale, 0.05 * np.sqrt(np.square(scale).mean()) + 1e-3)
    usual = numbers.mean(0)
    wanted = (numbers - usual) * weight
    size = float(np.sqrt(np.square(wanted).mean())) + 1e-12
    rng, (c, k), n = np.random.default_rng(0), (codes.shape[1], numbers.shape[1]), SEVERAL
    drawn = {
        "first": (c, HIDDEN, 2 / c),
        "second": (HIDDEN, HIDDEN, 2 / HIDDEN),
        "third": (HIDDEN, k, 4e-4),
        "straight": (c, k, 0.0),
    }
    q = {name: np.float32(np.sqrt(v)) * rng.standard_normal((n, i, o), np.float32) for name, (i, o, v) in drawn.items()}
    q |= {
        name: np.zeros((n, o), np.float32) for name, o in (("first_bias", HIDDEN), ("second_bias", HIDDEN), ("bias", k))
    }
    begin, run = _descent(STEPS)
    state = begin(q)
    x = jnp.asarray((codes - mean) / scale, jnp.float32)
    known = x, jnp.asarray(wanted / size, jnp.float32), jnp.asarray(offset / scale, jnp.float32)
    for keys in jnp.split(jax.random.split(jax.random.key(0), (STEPS, n)), PARTS):
        q, state = run(q, state, keys, *known)
    q = {name: np.asarray(value, np.float64) for name, value in q.items()}
    first, straight, out = (
        np.concatenate(list(q["first"]), 1) / scale[:, None],
        q["straight"].mean(0) / scale[:, None],
        size / weight,
    )
    return {
        "first": first,
        "first_bias": q["first_bias"].ravel() - mean @ first,
        "second": np.asarray(jax.scipy.linalg.block_diag(*q["second"])),
        "second_bias": q["second_bias"].ravel(),
        "third": np.concatenate(list(q["third"])) / n * out,
        "straight": straight * out,
        "bias": (q["bias"].mean(0) - mean @ straight) * out + usual,
    }
