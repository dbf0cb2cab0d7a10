"""The base's contour: how a mask is drawn to a picture's edges, learned from everybody before it becomes one wearer's.

The masks that it begins with are what a training from the base begins with: the mean identity's decoder, and each identity's mean mask.
Everybody's mean mask is written with it: what a training without a wearer's faces begins with, and stays at.

``python -m livepaste_train.contour --stills DIR --cache FACES.npy --base checkpoints/base --for 10m`` writes both into the base, with
``--mask-only`` that mean mask alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from livepaste_train.augment import Geometry, batch
from livepaste_train.base import canvases, mirror, mirrored_faces
from livepaste_train.casts import MOVED, Sizes, add_arguments
from livepaste_train.compiling import compiled
from livepaste_train.evaluate import mask_iou, undistorted
from livepaste_train.recipe import Recipe, read_recipe
from livepaste_train.reopened import add_base_arguments, learned, part_of, reopened, write
from livepaste_train.start import CONTOUR, EVERYBODYS
from livepaste_train.step import contour_loss, make_dispatch, new_state


class Stage(NamedTuple):
    """What it learns from, on the device."""

    packed: jax.Array  # (groups · members · frames, side, side)
    mask_canvas: jax.Array  # (groups · members, s, s, 1): logits of each identity's mean mask


def everybodys_loss(geometry: Geometry, recipe: Recipe, sizes: Sizes) -> Callable[..., Any]:
    """Anybody's face, and where it is visible."""

    def loss(
        model: Any, stage: Stage, key: jax.Array, strength: jax.Array, _: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        k_pick, k_batch = jax.random.split(key)
        group, frame, (member,) = sizes.pick(k_pick, recipe.batch, 1)
        index = sizes.index(group, member, frame)
        shown = batch(k_batch, stage.packed, stage.packed, index, index, geometry, recipe, strength)
        canvas = mirror(
            stage.mask_canvas[group * sizes.members + member], mirrored_faces(k_batch, recipe.batch, recipe)
        )
        logits = model.wearer.mask_logits(model.encode(shown.inputs), canvas=canvas)
        value = contour_loss(model, shown.inputs, logits, shown.input_masks, recipe)
        return value, {"contour": value}

    return loss


class HeldOut:
    """The last group, which this training is not shown: masks as the code says them, and as they are drawn to the edges."""

    def __init__(
        self, packed: np.ndarray, canvas: np.ndarray, everybodys: np.ndarray, geometry: Geometry, graph: Any
    ) -> None:
        """``packed`` (members, frames, side, side); ``canvas`` (members, s, s, 1); ``everybodys`` (s, s, 1): of those it is shown."""
        frames = packed.shape[1]
        moments = range(0, frames, max(1, frames // 8))
        pictures, masks = undistorted(np.concatenate([packed[:, moment] for moment in moments]), geometry)
        self._shown, self._masks = pictures, np.asarray(masks)
        own = np.concatenate([canvas] * len(moments))
        self._canvases = {"": own, "stranger_": np.broadcast_to(everybodys, own.shape)}

        def both(params: Any, shown: jax.Array, canvas: jax.Array) -> tuple[jax.Array, jax.Array]:
            model = nnx.merge(graph, params)
            logits = model.wearer.mask_logits(model.encode(shown), canvas=canvas)
            return jax.nn.sigmoid(logits), jax.nn.sigmoid(model.contour(shown, logits))

        self._both = compiled(both)

    def measure(self, params: Any) -> dict[str, float]:
        """Intersection over union, before and after; of each under its own mean mask, and as a stranger under everybody's."""
        return {
            f"{kind}{name}": round(mask_iou(np.asarray(mask), self._masks), 4)
            for kind, canvas in self._canvases.items()
            for name, mask in zip(
                ("code_mask_iou", "mask_iou"), self._both(params, self._shown, jnp.asarray(canvas)), strict=True
            )
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    add_base_arguments(parser)
    parser.add_argument("--mask-only", action="store_true", help="leave the contour as it is")
    args = parser.parse_args()
    recipe = read_recipe(args.recipe)
    # mirrored and warped: here the picture's edge is all that counts, whatever the code makes of it
    recipe = replace(recipe, flip=0.5, warp=0.2, jitter=0.2, ema=0.998, **MOVED)
    base = reopened(args, recipe)
    packed, sizes, geometry, graph, params = base
    canvas = canvases(packed, geometry)[1]
    theirs, others = np.split(canvas, [sizes.groups * sizes.members])
    everybodys = theirs.mean(0)
    held_out = HeldOut(np.asarray(packed[-1]), others, everybodys, geometry, graph)
    weights = {EVERYBODYS: everybodys[None]}
    if args.mask_only:
        said = f"everybody's mean mask of {len(theirs)}, {json.dumps(held_out.measure(params))}"
        write(args.base, weights, {}, said)
        return
    scale = base.rates(CONTOUR, recipe.contour_lr)
    data = Stage(base.faces(), jnp.asarray(theirs))
    dispatch = make_dispatch(graph, everybodys_loss(geometry, recipe, sizes), recipe, scale)
    state = new_state(params, recipe, args.seed, 0, scale)
    averaged, spent, numbers = learned(args.time, state, dispatch, data, held_out.measure)
    told = {**spent, "faces": len(data.packed), **numbers}
    write(args.base, {**weights, **part_of(averaged, CONTOUR)}, {"contour": told}, json.dumps(told))


if __name__ == "__main__":
    main()
