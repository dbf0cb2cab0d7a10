"""Optimizers by name, without the learning rate: the step scales their updates, so that rates can change while running."""

from __future__ import annotations

import optax

from livepaste.registry import resolve

OPTIMIZERS = {
    "adam": "optax:scale_by_adam",
    "adabelief": "optax:scale_by_belief",
    "lion": "optax:scale_by_lion",
    "rmsprop": "optax:scale_by_rms",
}


def make_optimizer(name: str, clip_norm: float) -> optax.GradientTransformation:
    """The named direction after clipping the gradient's global norm."""
    direction = resolve("optimizer", name, OPTIMIZERS, trusted=False)
    return optax.chain(optax.clip_by_global_norm(clip_norm), direction())
