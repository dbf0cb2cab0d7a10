"""A base of which one part goes on learning from casts, the rest as it is: what ``contour`` and ``agree`` have in common."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from livepaste.checkpoint import read_generation
from livepaste_train.augment import Geometry
from livepaste_train.casts import Sizes, read_casts
from livepaste_train.clocked import Clock, Dispatch
from livepaste_train.models.light import LightAutoencoder, LightOptions
from livepaste_train.options import seconds
from livepaste_train.recipe import Recipe
from livepaste_train.ship import ship
from livepaste_train.start import apply, starting_weights
from livepaste_train.state import load_weights, name_of, named, save_weights
from livepaste_train.step import TrainState

MEASURE_S = 60  # of work between two measures


class Reopened(NamedTuple):
    """The base, and the groups' faces; the last group is held out."""

    packed: np.ndarray  # (groups, members, frames, side, side), with the one held out
    sizes: Sizes  # of those to learn from
    geometry: Geometry
    graph: Any
    params: Any

    def faces(self) -> jax.Array:
        """Those to learn from, on the device: (groups · members · frames, side, side)."""
        side = self.packed.shape[-1]
        return jnp.asarray(np.asarray(self.packed[: self.sizes.groups]).reshape(-1, side, side))

    def rates(self, part: str, rate: float) -> Any:
        """Factor on the learning rate of each parameter: of those whose names begin with ``part``, and 0."""
        return jax.tree_util.tree_map_with_path(
            lambda path, _: rate if name_of(path).startswith(part) else 0.0, self.params
        )


def add_base_arguments(parser: argparse.ArgumentParser) -> None:
    """Which base, and how long."""
    parser.add_argument("--base", type=Path, required=True, help="whose part learns, and what it is written into")
    parser.add_argument("--for", dest="time", default="10m")


def reopened(args: argparse.Namespace, recipe: Recipe) -> Reopened:
    """``--base``, with the faces that ``casts.add_arguments`` name."""
    facts = {"model": recipe.model, "resolution": recipe.resolution, "coverage": recipe.coverage}
    packed = read_casts(args, recipe)[2]
    model = LightAutoencoder(LightOptions(resolution=recipe.resolution), nnx.Rngs(args.seed))
    graph, params = nnx.split(model, nnx.Param)
    params = apply(params, starting_weights(str(args.base), facts).weights)
    geometry = Geometry(packed.shape[-1], recipe.resolution, recipe.coverage)
    return Reopened(packed, Sizes(len(packed) - 1, *packed.shape[1:3]), geometry, graph, params)


def learned(time: str, state: TrainState, dispatch: Dispatch, data: Any,
            measure: Callable[[Any], dict[str, float]]) -> tuple[Any, dict[str, Any], dict[str, float]]:  # fmt: skip
    """Averaged weights after that time, steps and seconds, and what ``measure`` says of them at last."""
    clock, numbers = Clock(seconds(time)), {}
    while not clock.over:
        state, losses = clock.take(dispatch, state, data)
        if clock.due("measure", MEASURE_S):
            numbers = measure(state.ema)
            clock.say(state, **losses, **numbers)
    return state.ema, {"steps": int(state.step), "seconds": round(clock.spent_s)}, numbers


def part_of(params: Any, part: str) -> dict[str, np.ndarray]:
    """Weights by name of those that begin with ``part``."""
    return {name: np.asarray(leaf) for name, leaf in named(params).items() if name.startswith(part)}


def write(base: Path, weights: dict[str, np.ndarray], record: dict[str, Any], said: str) -> None:
    """Put ``weights`` in place of the base's of the same names, and ``record`` into its ``model.json``."""
    before = {key: value for key, value in read_generation(base).model.items() if key != "files"}
    everything = {**load_weights(base / "weights.npz"), **weights}
    size = ship(base, {**before, **record}, lambda folder: save_weights(folder / "weights.npz", everything))
    print(f"{base}: {size / 1e6:.1f} MB, {said}", file=sys.stderr)
