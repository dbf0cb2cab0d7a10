"""The base that trainings start from: its code holds what a face does, not whose face it is.

Trained on *pairs*, which actors give for nothing: the input is one identity, the target another in the same
performance, and the decoder is told by a row of gains and biases whose face to draw. An ordinary autoencoder over many
identities would let the code carry the identity; a training started from it then shows the wearer in the persona's
colours. Identities are drawn actors and photo actors of generated stills; no real person.

``python -m livepaste_train.base --stills DIR --to checkpoints/base --for 60m``
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from livepaste.actors.motion import Performance, perform
from livepaste.align import STORED_COVERAGE
from livepaste_train.augment import Geometry, batch, random_affine, sample
from livepaste_train.data import pack
from livepaste_train.fit import contract
from livepaste_train.models.light import LightBase, LightOptions
from livepaste_train.ops import JAX_OPS as _OPS
from livepaste_train.options import Recipe, as_record, read_recipe, seconds
from livepaste_train.ship import ship
from livepaste_train.state import named, save_weights
from livepaste_train.step import losses_of, make_dispatch, new_state

EVERY = 8
MAKER = 1  # version of what is made here, kept in the model card


@dataclass(frozen=True)
class Cast:
    """A group of identities that play the same performance."""

    identities: tuple[str, ...]  # "photo:FILE", "morph:FILE:FILE:T", "drawn:SEED"
    seed: int  # of the performance
    frames: int


def casting(stills: list[Path], *, drawn: int, morphs: int, group: int, frames: int, seed: int) -> list[Cast]:
    """Identities shuffled into groups; a last group that is too small is left out."""
    rng = np.random.default_rng(seed)
    names = [f"photo:{path}" for path in stills] + [f"drawn:{1000 + i}" for i in range(drawn)]
    for _ in range(morphs):
        a, b = rng.choice(len(stills), 2, replace=False)
        names.append(f"morph:{stills[a]}:{stills[b]}:{rng.uniform(0.35, 0.65):.3f}")
    rng.shuffle(names)
    groups = [tuple(names[i : i + group]) for i in range(0, len(names), group)]
    return [Cast(g, seed * 1000 + i, frames) for i, g in enumerate(groups) if len(g) >= 2]


def played(cast: Cast) -> Performance:
    """What a group plays. Every ``EVERY``-th frame is rendered: neighbours are near copies."""
    return perform(cast.seed, cast.frames * EVERY, amount=1.15)


# What the code is asked to tell, and its sign in a mirror; blinks change sides.
READ = {"yaw": -1, "pitch": 1, "mouth": 1, "smile": 1, "wide": 1, "blink_right": 1, "blink_left": 1, "brow": 1,
        "gaze_x": -1, "gaze_y": 1, "light": 1, "warmth": 1}  # fmt: skip


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


def perform_cast(job: tuple[Cast, int, dict[str, np.ndarray]]) -> np.ndarray:
    """Render one group: uint32 (identities, frames, side, side), packed."""
    import cv2

    from livepaste.actors.photo import PhotoActor, morph

    cv2.setNumThreads(1)
    cast, side, meshes = job

    def photo(path: str) -> Any:
        image = cv2.cvtColor(cv2.imread(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        return PhotoActor(image, meshes[path], name=Path(path).stem)

    performance = played(cast)
    made = np.empty((len(cast.identities), cast.frames, side, side), np.uint32)
    for i, name in enumerate(cast.identities):
        kind, *rest = name.split(":")
        if kind == "drawn":
            from livepaste.actors.drawn import DrawnActor

            actor: Any = DrawnActor(int(rest[0]))
        elif kind == "photo":
            actor = photo(rest[0])
        else:
            actor = morph(photo(rest[0]), photo(rest[1]), float(rest[2]))
        for j in range(cast.frames):
            shot = actor.render_crop(performance, EVERY * j, side, STORED_COVERAGE)
            made[i, j] = pack(shot.image[None], shot.mask[None])[0]
    return made


class Stage(NamedTuple):
    """What the base learns from, on the device."""

    packed: jax.Array  # (groups · members · frames, side, side)
    canvas: jax.Array  # (groups · members, s, s, 3): logits of each identity's mean face
    mask_canvas: jax.Array  # (groups · members, s, s, 1)
    numbers: jax.Array  # (2, groups, frames, n): performances, and their mirror images


def base_loss(geometry: Geometry, recipe: Recipe, groups: int, members: int, frames: int) -> Callable[..., Any]:
    """Two identities of one group in one performance: show the first, draw the second, and say what is played."""
    count = recipe.batch

    def loss(model: Any, stage: Stage, key: jax.Array, strength: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        k = jax.random.split(key, 5)
        group = jax.random.randint(k[0], (count,), 0, groups)
        frame = jax.random.randint(k[1], (count,), 0, frames)
        shown = jax.random.randint(k[2], (count,), 0, members)
        drawn = jax.random.randint(k[3], (count,), 0, members)
        index_in = (group * members + shown) * frames + frame
        index_out = (group * members + drawn) * frames + frame
        source, target, mask = batch(k[4], stage.packed, stage.packed, index_in, index_out, geometry, recipe, strength)
        mirrored = _mirrored(k[4], count, recipe)
        code = model.encoder(source, _OPS)
        # a flipped face is another identity's mirror image; the rows need not know, faces are nearly symmetric
        who = group * members + drawn
        picture = model.decoder.picture(code, _OPS, who, _mirror(stage.canvas[who], mirrored))
        made = model.decoder.mask(code, _OPS, who, _mirror(stage.mask_canvas[who], mirrored))
        terms = losses_of(picture, made, target, mask, recipe)
        told = _told(stage, k[4], count, recipe, group, frame)
        terms["read"] = READ_WEIGHT * jnp.square(model.reader(code, _OPS) - told).mean()
        return sum(terms.values()), terms

    return loss


def _mirror(pictures: jax.Array, mirrored: jax.Array) -> jax.Array:
    return jnp.where(mirrored[:, None, None, None], pictures[:, :, ::-1], pictures)


def reading_loss(geometry: Geometry, recipe: Recipe, groups: int, members: int, frames: int) -> Callable[..., Any]:
    """The encoder alone learns to say what is played: a third of the time a step, and a clear gradient."""
    count = recipe.batch

    def loss(model: Any, stage: Stage, key: jax.Array, strength: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        k = jax.random.split(key, 2)
        pick = jax.random.randint(k[0], (count,), 0, groups * members * frames)
        source, _, _ = batch(k[1], stage.packed, stage.packed, pick, pick, geometry, recipe, strength)
        told = _told(stage, k[1], count, recipe, pick // (members * frames), pick % frames)
        error = jnp.square(model.reader(model.encoder(source, _OPS), _OPS) - told).mean()
        return error, {"read": error}

    return loss


def _told(stage: Stage, key: jax.Array, count: int, recipe: Recipe, group: jax.Array, frame: jax.Array) -> jax.Array:
    mirrored = _mirrored(key, count, recipe)
    return jnp.where(mirrored[:, None], stage.numbers[1, group, frame], stage.numbers[0, group, frame])


def _mirrored(key: jax.Array, count: int, recipe: Recipe) -> jax.Array:
    """Which faces ``batch(key, …)`` flips."""
    a = random_affine(jax.random.split(key, 3)[0], count, recipe)
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
        if "canvas" in name or name.startswith("reader"):
            continue
        rows = name.startswith("decoder") and "kernel" not in name
        made[name] = np.asarray(value.mean(0, keepdims=True) if rows else value)
    return made


def canvases(packed: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Each identity's mean face and mask as logits, from every fourth of its faces."""
    groups, members, frames, *_ = packed.shape
    still = jnp.repeat(jnp.array([[[1.0, 0, 0], [0, 1.0, 0]]]), len(range(0, frames, 4)), 0)
    made = []
    for group in range(groups):
        for member in range(members):
            faces = jnp.asarray(np.asarray(packed[group, member, ::4]))
            mean = jnp.clip(sample(faces, jnp.arange(len(faces)), still, geometry).mean(0), 0.02, 0.98)
            made.append(np.asarray(jnp.log(mean / (1 - mean))))
    logits = np.stack(made)
    return logits[..., :3], logits[..., 3:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--stills", type=Path, required=True, help="folder of stills with a meshes.npz: name -> (478, 3)"
    )
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--for", dest="time", default="60m")
    parser.add_argument("--read", default="15m", help="how long of it the encoder learns alone")
    parser.add_argument("--recipe", default="light")
    parser.add_argument("--drawn", type=int, default=60)
    parser.add_argument("--morphs", type=int, default=60)
    parser.add_argument("--group", type=int, default=15)
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--cache", type=Path, help="keep the rendered faces here (.npy)")
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    started = time.monotonic()
    from dataclasses import replace

    recipe = replace(read_recipe(args.recipe), batch=args.batch, lr=args.lr, ema=0.999, optimizer="muon", warp=0.3)
    side = round(recipe.resolution * STORED_COVERAGE / recipe.coverage / 2) * 2
    with np.load(args.stills / "meshes.npz") as arrays:
        meshes = {str(args.stills / name): arrays[name] for name in arrays.files}
    casts = casting([Path(p) for p in sorted(meshes)], drawn=args.drawn, morphs=args.morphs, group=args.group,
                    frames=args.frames, seed=args.seed)  # fmt: skip
    casts = [c for c in casts if len(c.identities) == args.group]
    if args.cache and args.cache.exists():
        packed = np.load(args.cache, mmap_mode="r")
    else:
        with ProcessPoolExecutor(2) as pool:
            parts = []
            for part in pool.map(perform_cast, [(c, side, meshes) for c in casts]):
                parts.append(part)
                print(
                    f"rendered {len(parts)}/{len(casts)} groups, {time.monotonic() - started:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
        packed = np.stack(parts)
        if args.cache:
            np.save(args.cache, packed)
    geometry = Geometry(side, recipe.resolution, recipe.coverage)
    model = LightBase(
        LightOptions(resolution=recipe.resolution), len(casts) * args.group, len(READ) + 2, nnx.Rngs(args.seed)
    )
    canvas, mask_canvas = canvases(packed, geometry)
    graph, params = nnx.split(model, nnx.Param)
    state = new_state(params, recipe, args.seed, 0)
    scale = identity_rate(params)
    sizes = geometry, recipe, len(casts), args.group, args.frames
    dispatch = make_dispatch(graph, reading_loss(*sizes), recipe, scale)
    faces = jnp.asarray(np.asarray(packed).reshape(-1, side, side))
    del packed
    data = Stage(faces, jnp.asarray(canvas), jnp.asarray(mask_canvas), jnp.asarray(numbers(casts)))
    print(f"{len(casts)} groups of {args.group}, {len(faces)} faces of {side} px", file=sys.stderr, flush=True)
    budget, began, saved = seconds(args.time), time.monotonic(), 0.0
    state = state._replace(total=jnp.int32(10 * budget))
    first = reading = True
    before = per_step = 0.0
    while True:
        if reading and time.monotonic() - began > seconds(args.read):
            reading, first = False, False
            dispatch = make_dispatch(graph, base_loss(*sizes), recipe, scale)
        state, metrics = dispatch(state, data)
        step = int(state.step)
        now = time.monotonic()
        if first:  # compiled
            first, began = False, now
            continue
        spent = now - began
        per_step = 0.9 * per_step + 0.1 * (now - before) / recipe.steps_per_dispatch if before else 0.4
        before = now
        if step % 100 < recipe.steps_per_dispatch:
            # the plan follows the clock: this run is not meant to be repeated bit for bit
            state = state._replace(total=jnp.int32(step + max(0.0, budget - spent) / per_step))
            line = {"step": step, "total": int(state.total), "s": round(spent), "images_per_s": round(recipe.batch / per_step, 1),
                    **{k: round(float(v), 5) for k, v in metrics.items()}}  # fmt: skip
            print(json.dumps(line), file=sys.stderr, flush=True)
        if now - saved > 300 or spent > budget:
            saved = now
            record = {
                **contract(recipe),
                "maker": MAKER,
                "identities": len(casts) * args.group,
                "faces": len(faces),
                "consent": "synthetic",
                "seed": args.seed,
                "steps": step,
                "seconds": round(spent),
                "recipe": as_record(recipe),
            }
            weights = as_shipped(state.ema)
            ship(args.to, record, lambda folder, weights=weights: save_weights(folder / "weights.npz", weights))
        if spent > budget:
            break
    print(f"{int(state.step)} steps in {spent:.0f} s; {sum(v.size for v in as_shipped(state.ema).values())} parameters")


if __name__ == "__main__":
    main()
