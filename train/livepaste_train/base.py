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
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from livepaste.align import STORED_COVERAGE
from livepaste_train.augment import Geometry, batch, sample
from livepaste_train.data import pack
from livepaste_train.models.light import LightBase, LightOptions
from livepaste_train.ops import JAX_OPS as _OPS
from livepaste_train.options import Recipe, read_recipe, seconds
from livepaste_train.state import named, save_weights
from livepaste_train.step import losses_of, make_dispatch, new_state

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


def perform_cast(job: tuple[Cast, int, dict[str, np.ndarray]]) -> np.ndarray:
    """Render one group: uint32 (identities, frames, side, side), packed."""
    import cv2

    from livepaste.actors.motion import perform
    from livepaste.actors.photo import PhotoActor, morph

    cv2.setNumThreads(1)
    cast, side, meshes = job

    def photo(path: str) -> Any:
        image = cv2.cvtColor(cv2.imread(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        return PhotoActor(image, meshes[path], name=Path(path).stem)

    performance = perform(cast.seed, cast.frames * 8, amount=1.15)  # every 8th frame: neighbours are near copies
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
            shot = actor.render_crop(performance, 8 * j, side, STORED_COVERAGE)
            made[i, j] = pack(shot.image[None], shot.mask[None])[0]
    return made


def base_loss(geometry: Geometry, recipe: Recipe, groups: int, members: int, frames: int) -> Callable[..., Any]:
    """Two identities of one group in one performance: show the first, draw the second."""
    count = recipe.batch

    def loss(
        model: Any, packed: jax.Array, key: jax.Array, strength: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        k = jax.random.split(key, 5)
        group = jax.random.randint(k[0], (count,), 0, groups)
        frame = jax.random.randint(k[1], (count,), 0, frames)
        shown = jax.random.randint(k[2], (count,), 0, members)
        drawn = jax.random.randint(k[3], (count,), 0, members)
        index_in = (group * members + shown) * frames + frame
        index_out = (group * members + drawn) * frames + frame
        source, target, mask = batch(k[4], packed, packed, index_in, index_out, geometry, recipe, strength)
        # a flipped face is another identity's mirror image; the rows need not know, faces are nearly symmetric
        code = model.encoder(source, _OPS)
        who = group * members + drawn
        picture, made = model.decoder.picture(code, _OPS, who), model.decoder.mask(code, _OPS, who)
        terms = losses_of(picture, made, target, mask, recipe)
        return sum(terms.values()), terms

    return loss


ROW_RATE = 12.0


def identity_rate(params: Any) -> Any:
    """Factor on the learning rate: an identity's rows see one batch in many, so they take larger steps."""

    def scale(path: tuple[Any, ...], leaf: jax.Array) -> float:
        names = [str(getattr(p, "key", getattr(p, "name", p))) for p in path]
        return ROW_RATE if "decoder" in names and ("gain" in names or "bias" in names) else 1.0

    return jax.tree_util.tree_map_with_path(scale, params)


def mean_identity(params: Any) -> Any:
    """The base as it is shipped: encoder, and the decoder with the mean of all identities' rows."""

    def mean(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        names = [str(getattr(p, "key", getattr(p, "name", p))) for p in path]
        rows = "decoder" in names and "kernel" not in names
        return leaf.mean(0, keepdims=True) if rows else leaf

    return jax.tree_util.tree_map_with_path(mean, params)


def _set_canvases(model: LightBase, packed: np.ndarray, geometry: Geometry) -> None:
    """Each identity's mean face and mask, from every fourth of its faces."""
    groups, members, frames, *_ = packed.shape
    still = jnp.repeat(jnp.array([[[1.0, 0, 0], [0, 1.0, 0]]]), len(range(0, frames, 4)), 0)
    for group in range(groups):
        for member in range(members):
            faces = jnp.asarray(np.asarray(packed[group, member, ::4]))
            mean = jnp.clip(sample(faces, jnp.arange(len(faces)), still, geometry).mean(0), 0.02, 0.98)
            logit, who = jnp.log(mean / (1 - mean)), group * members + member
            model.decoder.canvas[...] = model.decoder.canvas[...].at[who].set(logit[..., :3])
            model.decoder.mask_canvas[...] = model.decoder.mask_canvas[...].at[who].set(logit[..., 3:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--stills", type=Path, required=True, help="folder of stills with a meshes.npz: name -> (478, 3)"
    )
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--for", dest="time", default="60m")
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

    recipe = replace(read_recipe(args.recipe), batch=args.batch, lr=args.lr, ema=0.999)
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
    model = LightBase(LightOptions(resolution=recipe.resolution), len(casts) * args.group, nnx.Rngs(args.seed))
    _set_canvases(model, packed, geometry)
    graph, params = nnx.split(model, nnx.Param)
    args.to.mkdir(parents=True, exist_ok=True)
    state = new_state(params, recipe, args.seed, 0)
    scale = identity_rate(params)
    loss = base_loss(geometry, recipe, len(casts), args.group, args.frames)
    dispatch = make_dispatch(graph, loss, recipe, scale)
    data = jnp.asarray(np.asarray(packed).reshape(-1, side, side))
    del packed
    print(f"{len(casts)} groups of {args.group}, {data.shape[0]} faces of {side} px", file=sys.stderr, flush=True)
    budget, began, saved = seconds(args.time), time.monotonic(), 0.0
    first = True
    while True:
        state, metrics = dispatch(state, data)
        step = int(state.step)
        now = time.monotonic()
        if first:  # compiled
            first, began = False, now
            continue
        spent = now - began
        per_step = spent / (step - recipe.steps_per_dispatch)
        if step % 100 < recipe.steps_per_dispatch:
            # the plan follows the clock: this run is not meant to be repeated bit for bit
            state = state._replace(total=jnp.int32(step + max(0.0, budget - spent) / per_step))
            line = {"step": step, "total": int(state.total), "s": round(spent), "images_per_s": round(recipe.batch / per_step, 1),
                    **{k: round(float(v), 5) for k, v in metrics.items()}}  # fmt: skip
            print(json.dumps(line), file=sys.stderr, flush=True)
        if now - saved > 300 or spent > budget:
            saved = now
            save_weights(args.to / "all.npz", state.ema)
            save_weights(args.to / "weights.npz", mean_identity(state.ema))
        if spent > budget:
            break
    print(
        f"{int(state.step)} steps in {spent:.0f} s; {sum(v.size for v in named(mean_identity(state.ema)).values())} parameters"
    )


if __name__ == "__main__":
    main()
