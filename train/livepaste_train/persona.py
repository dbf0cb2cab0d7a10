"""The persona that comes with livepaste: a photo actor that anybody can wear.

An ordinary training knows a few wearers. This one is shown every identity of the base, in performances that the persona
plays too, so the decoder learns from codes of many faces and the swap needs no training with the one at the camera.

``python -m livepaste_train.persona --stills DIR --still NAME.jpg --base checkpoints/base --cache FACES.npy
--to checkpoints/persona --for 30m``
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from livepaste.align import STORED_COVERAGE
from livepaste_train.augment import Geometry, batch, sample
from livepaste_train.base import Cast, casting, perform_cast
from livepaste_train.evaluate import write_picture
from livepaste_train.export import export
from livepaste_train.fit import contract
from livepaste_train.losses import cross_entropy
from livepaste_train.models.light import LightAutoencoder, LightOptions
from livepaste_train.options import Recipe, as_record, read_recipe, seconds
from livepaste_train.ship import ship
from livepaste_train.start import apply, rate_scale, starting_weights
from livepaste_train.step import losses_of, make_dispatch, new_state


class Stage(NamedTuple):
    """Packed faces on the device."""

    wearers: jax.Array  # (groups · members · frames, side, side)
    persona: jax.Array  # (groups · frames, side, side): the same performances


def persona_loss(geometry: Geometry, recipe: Recipe, groups: int, members: int, frames: int) -> Callable[..., Any]:
    """Show a wearer, draw the persona; and the wearer's own mask."""
    count = recipe.batch

    def loss(model: Any, stage: Stage, key: jax.Array, strength: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        k = jax.random.split(key, 4)
        group = jax.random.randint(k[0], (count,), 0, groups)
        frame = jax.random.randint(k[1], (count,), 0, frames)
        worn = (group * members + jax.random.randint(k[2], (count,), 0, members)) * frames + frame
        source, target, mask = batch(
            k[3], stage.wearers, stage.persona, worn, group * frames + frame, geometry, recipe, strength
        )
        own_mask = batch(k[3], stage.wearers, stage.wearers, worn, worn, geometry, recipe, strength)[2]
        code = model.encode(source)
        terms = losses_of(model.persona.picture(code), model.persona.mask(code), target, mask, recipe)
        terms["wearer_mask"] = recipe.mask * cross_entropy(model.wearer.mask(code), own_mask).mean()
        return sum(terms.values()), terms

    return loss


def psnr_db(made: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Mean over pictures (n, s, s, 3) of the PSNR under ``mask`` (n, s, s, 1), dB."""
    error = (np.square(made - truth) * mask).sum((1, 2, 3)) / (3 * mask.sum((1, 2, 3)))
    return float(-10 * np.log10(np.maximum(error, 1e-10)).mean())


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Mean intersection over union at 0.5."""
    a, b = a > 0.5, b > 0.5
    return float(((a & b).sum((1, 2, 3)) / np.maximum((a | b).sum((1, 2, 3)), 1)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stills", type=Path, required=True)
    parser.add_argument("--still", required=True, help="the persona's file in --stills")
    parser.add_argument("--base", default="base")
    parser.add_argument("--cache", type=Path, required=True, help="the faces that livepaste_train.base rendered")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--for", dest="time", default="30m")
    parser.add_argument("--recipe", default="light")
    parser.add_argument("--drawn", type=int, default=60)
    parser.add_argument("--morphs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    recipe = replace(read_recipe(args.recipe), ema=0.998, warp=0.4)
    side = round(recipe.resolution * STORED_COVERAGE / recipe.coverage / 2) * 2
    with np.load(args.stills / "meshes.npz") as arrays:
        meshes = {str(args.stills / name): arrays[name] for name in arrays.files}
    cached = np.load(args.cache, mmap_mode="r")
    groups, members, frames, *_ = cached.shape
    casts = casting([Path(p) for p in sorted(meshes)], drawn=args.drawn, morphs=args.morphs, group=members,
                    frames=frames, seed=args.seed)[:groups]  # fmt: skip
    alone = [Cast((f"photo:{args.stills / args.still}",), cast.seed, cast.frames) for cast in casts]
    with ProcessPoolExecutor(2) as pool:
        persona = np.concatenate(list(pool.map(perform_cast, [(cast, side, meshes) for cast in alone])))
    out = groups - 1  # the last group is never trained on: what is measured and shown
    geometry = Geometry(side, recipe.resolution, recipe.coverage)

    def crops(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        still = jnp.repeat(jnp.array([[[1.0, 0, 0], [0, 1.0, 0]]]), len(packed), 0)
        made = np.asarray(sample(jnp.asarray(packed), jnp.arange(len(packed)), still, geometry))
        return made[..., :3], made[..., 3:]

    worn, worn_mask = crops(np.concatenate([cached[out, m, m % 12 :: 12] for m in range(members)]))
    truth, truth_mask = crops(np.concatenate([persona[out, m % 12 :: 12] for m in range(members)]))
    both = worn_mask * truth_mask > 0.5
    model = LightAutoencoder(LightOptions(resolution=recipe.resolution), nnx.Rngs(args.seed))
    shown = crops(persona[:out].reshape(-1, side, side)[::8])
    many = crops(np.asarray(cached[:out, :, ::40]).reshape(-1, side, side))
    model.start_from(*(tuple(values.mean(0) for values in pair) for pair in (shown, many)))
    graph, params = nnx.split(model, nnx.Param)
    facts = {"model": recipe.model, "resolution": recipe.resolution, "coverage": recipe.coverage}
    weights, note = starting_weights(args.base, facts)
    print(note, file=sys.stderr)
    params = apply(params, weights)
    dispatch = make_dispatch(
        graph,
        persona_loss(geometry, recipe, out, members, frames),
        recipe,
        rate_scale(params, weights is not None, recipe.encoder_lr),
    )
    data = Stage(jnp.asarray(np.asarray(cached[:out]).reshape(-1, side, side)),
                 jnp.asarray(persona[:out].reshape(-1, side, side)))  # fmt: skip
    state = new_state(params, recipe, args.seed, 0)

    @jax.jit
    def show(params: Any) -> tuple[jax.Array, ...]:
        made = nnx.merge(graph, params)
        code = made.encode(jnp.asarray(worn))
        return made.persona.picture(code), made.persona.mask(code), made.wearer.mask(code)

    def measure() -> tuple[dict[str, float], np.ndarray, np.ndarray]:
        picture, mask, own = (np.asarray(v) for v in show(state.ema))
        mean = np.repeat(shown[0].mean(0)[None], len(worn), 0)
        numbers = {
            "swap_psnr_db": psnr_db(picture, truth, both),
            "mean_face_db": psnr_db(mean, truth, both),
            "unswapped_db": psnr_db(worn, truth, both),
            "mask_iou": overlap(mask * own, worn_mask * truth_mask),
            "persona_mask_iou": overlap(mask, truth_mask),
            "wearer_mask_iou": overlap(own, worn_mask),
        }
        return {k: round(v, 4) for k, v in numbers.items()}, picture, mask * own

    state, _ = dispatch(state, data)  # compiles
    began, per_step, before = time.monotonic(), 0.4, time.monotonic()
    budget, said = seconds(args.time), 0.0
    while True:
        now = time.monotonic()
        if now - said > 120:
            said = now
            print(
                json.dumps({"step": int(state.step), "s": round(now - began), **measure()[0]}),
                file=sys.stderr,
                flush=True,
            )
        if now - began > budget:
            break
        if int(state.step) % 50 == 0:
            left = max(0.0, budget - (now - began))
            state = state._replace(total=jnp.int32(int(state.step) + left / per_step))
        before = time.monotonic()
        state, metrics = dispatch(state, data)
        jax.block_until_ready(metrics)
        per_step = 0.95 * per_step + 0.05 * (time.monotonic() - before) / recipe.steps_per_dispatch
    numbers, picture, mask = measure()
    record = {
        **contract(recipe),
        "persona": {"person": Path(args.still).stem, "consent": "synthetic"},
        "wearers": [{"person": "drawn and photo actors of the base", "consent": "synthetic"}],
        "steps": int(state.step),
        "validation": numbers,
    }

    def fill(folder: Path) -> None:
        export(folder / "swap.onnx", nnx.merge(graph, state.ema), record, worn[0], half=True)
        pick = np.linspace(0, len(worn) - 1, 8).round().astype(int)
        laid = picture * mask + worn * (1 - mask)
        rows = [np.concatenate(list(images[pick]), 1) for images in (worn, laid, truth)]
        write_picture(folder / "preview.png", np.rint(np.clip(np.concatenate(rows), 0, 1) * 255).astype(np.uint8))

    size = ship(args.to, {**record, "recipe": as_record(recipe), "seconds": round(time.monotonic() - began)}, fill)
    print(f"{args.to}: {size / 1e6:.1f} MB, {json.dumps(numbers)}")


if __name__ == "__main__":
    main()
