"""The base that trainings start from: its code holds what a face does, not whose face it is.

Trained on *pairs*, which actors give for nothing: the input is one identity, the target another in the same
performance, and the decoder is told by a row of gains and biases whose face to draw. An ordinary autoencoder over many
identities would let the code carry the identity; a training started from it then shows the wearer in the persona's
colours. Identities are drawn actors and photo actors of generated stills; no real person.

``python -m livepaste_train.base --stills DIR --to checkpoints/base --for 60m``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from livepaste_train.augment import Geometry, batch, in_light, random_affine
from livepaste_train.casts import EVERY, MOVED, Cast, Sizes, add_arguments, played, read_casts
from livepaste_train.clocked import Clock
from livepaste_train.evaluate import means, undistorted
from livepaste_train.keeper import contract
from livepaste_train.models.layers import logits_of
from livepaste_train.models.light import LightBase, LightOptions
from livepaste_train.ops import JAX_OPS as _OPS
from livepaste_train.options import seconds
from livepaste_train.recipe import Recipe, as_record, read_recipe
from livepaste_train.ship import ship
from livepaste_train.start import is_own
from livepaste_train.state import named, save_weights
from livepaste_train.step import losses_of, make_dispatch, mask_loss, new_state

MAKER = 2  # version of what is made here, kept in the model card

# What the code is asked to tell, and its sign in a mirror; blinks change sides.
READ = {"yaw": -1, "pitch": 1, "mouth": 1, "smile": 1, "wide": 1, "blink_right": 1, "blink_left": 1, "brow": 1,
        "gaze_x": -1, "gaze_y": 1}  # fmt: skip


def numbers(casts: list[Cast]) -> tuple[np.ndarray, np.ndarray]:
    """The performances as numbers of zero mean and unit variance, float32 (2, groups, frames, n): as played, mirrored."""
    sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for cast in casts:
        p = played(cast)
        for mirrored, side in enumerate(sides):
            columns = []
            for name, sign in READ.items():
                name = {"blink_right": "blink_left", "blink_left": "blink_right"}.get(name, name) if mirrored else name
                columns.append(getattr(p, name)[::EVERY] * (sign if mirrored else 1))
            columns += [p.light_dir[::EVERY, 0] * (-1 if mirrored else 1), p.light_dir[::EVERY, 1]]
            side.append(np.stack(columns, 1))
    both = np.array(sides, np.float32)
    flat = both.reshape(-1, both.shape[-1])
    return (both - flat.mean(0)) / flat.std(0)


class Stage(NamedTuple):
    """What the base learns from, on the device."""

    packed: jax.Array  # (groups · members · frames, side, side)
    canvas: jax.Array  # (groups · members, s, s, 3): logits of each identity's mean face
    mask_canvas: jax.Array  # (groups · members, s, s, 1)
    usual: jax.Array  # (groups · members, 1, 1, 3): their tones
    numbers: jax.Array  # (2, groups, frames, n): performances, and their mirror images


def base_loss(geometry: Geometry, recipe: Recipe, sizes: Sizes) -> Callable[..., Any]:
    """Two identities of one group in one performance: show the first, draw the second, and say what is played."""
    count = recipe.batch

    def loss(
        model: Any, stage: Stage, key: jax.Array, strength: jax.Array, _: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        k_pick, k_batch = jax.random.split(key)
        group, frame, (shown, drawn) = sizes.pick(k_pick, count, 2)
        index_in, index_out = sizes.index(group, shown, frame), sizes.index(group, drawn, frame)
        source, _, target, mask = batch(
            k_batch, stage.packed, stage.packed, index_in, index_out, geometry, recipe, strength
        )
        mirrored = mirrored_faces(k_batch, count, recipe)
        code = model.encoder(source, _OPS)
        # a flipped face is another identity's mirror image; the rows need not know, faces are nearly symmetric
        who = group * sizes.members + drawn
        picture = model.decoder.picture(code, _OPS, who, mirror(stage.canvas[who], mirrored))
        made = model.decoder.mask_logits(code, _OPS, who, mirror(stage.mask_canvas[who], mirrored))
        target = in_light(target, mask, stage.usual[who])
        terms = {**losses_of(picture, target, mask, recipe), "mask": mask_loss(made, mask, recipe)}
        told = _told(stage, mirrored, group, frame)
        terms["read"] = READ_WEIGHT * jnp.square(model.reader(code, _OPS) - told).mean()
        return sum(terms.values()), terms

    return loss


def mirror(pictures: jax.Array, mirrored: jax.Array) -> jax.Array:
    return jnp.where(mirrored[:, None, None, None], pictures[:, :, ::-1], pictures)


def reading_loss(geometry: Geometry, recipe: Recipe, sizes: Sizes) -> Callable[..., Any]:
    """The encoder alone learns to say what is played: a third of the time a step, and a clear gradient."""
    count = recipe.batch

    def loss(
        model: Any, stage: Stage, key: jax.Array, strength: jax.Array, _: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        k_pick, k_batch = jax.random.split(key)
        group, frame, (shown,) = sizes.pick(k_pick, count, 1)
        index = sizes.index(group, shown, frame)
        source = batch(k_batch, stage.packed, stage.packed, index, index, geometry, recipe, strength).inputs
        told = _told(stage, mirrored_faces(k_batch, count, recipe), group, frame)
        error = jnp.square(model.reader(model.encoder(source, _OPS), _OPS) - told).mean()
        return error, {"read": error}

    return loss


def _told(stage: Stage, mirrored: jax.Array, group: jax.Array, frame: jax.Array) -> jax.Array:
    return jnp.where(mirrored[:, None], stage.numbers[1, group, frame], stage.numbers[0, group, frame])


def mirrored_faces(key: jax.Array, count: int, recipe: Recipe) -> jax.Array:
    """Which faces ``batch(key, …)`` flips."""
    a = random_affine(jax.random.split(key, 4)[0], count, recipe)
    return a[:, 0, 0] * a[:, 1, 1] < a[:, 0, 1] * a[:, 1, 0]


READ_WEIGHT = 0.1
ROW_RATE = 4.0


def identity_rate(params: Any) -> Any:
    """Factor on the learning rate: an identity's rows see one batch in many, so they take larger steps."""

    def scale(path: tuple[Any, ...], leaf: jax.Array) -> float:
        names = [str(getattr(p, "key", getattr(p, "name", p))) for p in path]
        return ROW_RATE if "decoder" in names and ("gain" in names or "bias" in names) else 1.0

    return jax.tree_util.tree_map_with_path(scale, params)


def as_shipped(params: Any) -> dict[str, np.ndarray]:
    """Weights by name: the encoder, and the decoder with the mean of all identities' rows, without canvases."""
    made = {}
    for name, value in named(params).items():
        if is_own(name) or name.startswith("reader"):
            continue
        rows = name.startswith("decoder") and "kernel" not in name
        made[name] = np.asarray(value.mean(0, keepdims=True) if rows else value)
    return made


def canvases(packed: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each identity's mean face and mask as logits and its tone, from every fourth of its faces."""
    pictures, masks, tones = [], [], []
    for faces in packed.reshape(-1, *packed.shape[2:]):
        picture, mask, usual = means(*undistorted(faces[::4], geometry))
        pictures.append(np.asarray(logits_of(picture)))
        masks.append(np.asarray(logits_of(mask)))
        tones.append(np.asarray(usual)[None, None])
    return np.stack(pictures), np.stack(masks), np.stack(tones)


def recipe_of(name: str, batch: int = 16, lr: float = 2.5e-3) -> Recipe:
    """A recipe as a base is learned by: mirrored too, because each identity's canvas is mirrored with it."""
    return replace(read_recipe(name), batch=batch, lr=lr, ema=0.999, optimizer="muon", warp=0.2, flip=0.5, **MOVED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--for", dest="time", default="60m")
    parser.add_argument("--read", default="15m", help="how long of it the encoder learns alone")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2.5e-3)
    args = parser.parse_args()
    recipe = recipe_of(args.recipe, args.batch, args.lr)
    casts, _, packed = read_casts(args, recipe)
    sizes = Sizes(*packed.shape[:3])
    side = packed.shape[-1]
    identities = sizes.groups * sizes.members
    geometry = Geometry(side, recipe.resolution, recipe.coverage)
    data = Stage(jnp.asarray(np.asarray(packed).reshape(-1, side, side)),
                 *(jnp.asarray(logits) for logits in canvases(packed, geometry)), jnp.asarray(numbers(casts)))  # fmt: skip
    print(
        f"{sizes.groups} groups of {sizes.members}, {len(data.packed)} faces of {side} px", file=sys.stderr, flush=True
    )
    model = LightBase(LightOptions(resolution=recipe.resolution), identities, len(READ) + 2, nnx.Rngs(args.seed))
    graph, params = nnx.split(model, nnx.Param)
    scale = identity_rate(params)
    state = new_state(params, recipe, args.seed, 0, scale)
    read, pairs = (
        make_dispatch(graph, loss(geometry, recipe, sizes), recipe, scale) for loss in (reading_loss, base_loss)
    )
    facts = {**contract(recipe), "maker": MAKER, "identities": identities, "faces": len(data.packed),
             "consent": "synthetic", "seed": args.seed, "recipe": as_record(recipe)}  # fmt: skip
    clock = Clock(seconds(args.time))
    while not clock.over:
        state, metrics = clock.take(read if clock.spent_s < seconds(args.read) else pairs, state, data)
        if clock.due("say", 40):
            clock.say(state, **metrics)
        if clock.due("save", 300):
            weights = as_shipped(state.ema)
            ship(args.to, {**facts, "steps": int(state.step), "seconds": round(clock.spent_s)},
                 lambda folder, weights=weights: save_weights(folder / "weights.npz", weights))  # fmt: skip
    print(f"{int(state.step)} steps in {clock.spent_s:.0f} s; {sum(v.size for v in weights.values())} parameters")


if __name__ == "__main__":
    main()
