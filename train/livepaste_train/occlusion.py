"""The occlusion network that comes with livepaste: which pixels of a crop are visible face, and which are something in front of one.

Trained on actors of its own, drawn and photographed, with things laid over them by the thousand: other ones in every step.

``python -m livepaste_train.occlusion --stills DIR --cache FACES.npz --to checkpoints/occlusion --for 20m``
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from livepaste.actors import MAKER_VERSION
from livepaste.measures import mask_boundary_f, mask_iou
from livepaste_train.augment import Geometry, blurred, sample
from livepaste_train.casts import Cast, Meshes, casting
from livepaste_train.clocked import Clock
from livepaste_train.compiling import compiled
from livepaste_train.data import stored_side
from livepaste_train.evaluate import write_picture
from livepaste_train.export import export_visible
from livepaste_train.fit import contract
from livepaste_train.models.visible import VisibleFace, VisibleOptions
from livepaste_train.occluded import HELD, KEPT_OUT, SHEET_COVERAGE, WORN, Job, perform_occluded, sheets
from livepaste_train.occlusion_batch import Batch, Stock, after, batch, in_front, times_alpha, turned
from livepaste_train.options import Recipe, as_record, read_recipe, seconds
from livepaste_train.ship import ship
from livepaste_train.step import TrainState, make_dispatch, new_state

Array = jax.Array
RECIPE = {"name": "occlusion", "model": "visible", "resolution": 128, "coverage": 2.0, "batch": 32, "lr": 2e-3, "ema": 0.998,
          "rotate": 15.0, "zoom": 0.2, "shift": 0.05, "flip": 0.5, "surroundings": 0.4, "jitter": 0.3, "soften": 0.4, "noise": 0.05}  # fmt: skip
ELSEWHERE = 0.02  # what a pixel far from the face counts of one in it, when it is asked for something in front
EDGE = 4.0  # what a pixel of an edge weighs more than one amid face or background
SHEETS = 400  # of each kind
FACE_UNITS = 1.25  # width of a face, template units: for the tolerance of the boundary measure


def visible_loss(geometry: Geometry, sheet: Geometry, recipe: Recipe) -> Callable[..., Any]:
    """Binary cross-entropy of both masks, edges above all: what lies between is soon learned."""

    def edges(mask: Array) -> Array:
        near = blurred(mask, 2)
        return 4 * near * (1 - near)

    def mean(each: Array, weight: Array) -> Array:
        return (each * weight).sum() / weight.sum()

    def loss(model: Any, stage: Stock, key: Array, strength: Array, _: Array) -> tuple[Array, dict[str, Array]]:
        drawn = batch(key, stage, geometry, sheet, recipe)
        logits = model.logits(drawn.crops.astype(model.stem.kernel[...].dtype))
        truths = drawn.visible, drawn.front
        each = [
            optax.sigmoid_binary_cross_entropy(a.astype(jnp.float32), b) for a, b in zip(logits, truths, strict=True)
        ]
        here = ELSEWHERE + jnp.minimum(1.0, 4 * blurred(drawn.faces, 3))
        visible = mean(each[0], 1 + EDGE * edges(truths[0]))
        front = mean(each[1], here * (1 + EDGE * edges(truths[1])))
        return visible + front, {"edge": mean(each[0], edges(truths[0])), "front": front}

    return loss


class HeldOut:
    """The first identities, of whose stills this training is shown nothing: how good masks are without and with each kind of thing.

    The things are of another seed, and of two kinds more than the training has.
    """

    def __init__(
        self, faces: np.ndarray, sheet_side: int, kinds: tuple[str, ...], geometry: Geometry, graph: Any
    ) -> None:
        sheet = replace(geometry, stored=sheet_side, stored_coverage=SHEET_COVERAGE)
        count = len(faces)
        still = jnp.tile(jnp.array([[[1.0, 0, 0], [0, 1.0, 0]]]), (count, 1, 1))
        face = sample(jnp.asarray(faces), jnp.arange(count), still, geometry)
        self.shown = {"none": Batch(face[..., :3], face[..., 3:], jnp.zeros_like(face[..., 3:]))}
        for i, kind in enumerate(kinds):
            key = jax.random.key(i)
            things = jnp.asarray(sheets(kind, count, sheet_side, 4711))
            laid = after(still, turned(key, count, 0.25, 0.2, 0.25))
            over = times_alpha(sample(things, jnp.arange(count), laid, sheet))
            self.shown[kind] = Batch(in_front(key, face[..., :3], over), face[..., 3:], over[..., 3:])
        self.shown = {kind: Batch(*map(np.asarray, shown)) for kind, shown in self.shown.items()}
        self._face_px = geometry.resolution / geometry.coverage * FACE_UNITS
        self._show = compiled(lambda params, crops: nnx.merge(graph, params).masks(crops))

    def measure(self, params: Any) -> tuple[dict[str, float], np.ndarray]:
        """Numbers of what is found visible, and (``clear``) of the true face less what is found in front; and the preview: crops, both
        masks, the truth; uint8 (h, w, 3)."""
        numbers, columns = {}, []
        for kind, shown in self.shown.items():
            made = {name: np.asarray(mask) for name, mask in self._show(params, shown.crops).items()}
            clear = shown.faces * (1 - made["front"])
            for name, masks in (("", made["visible"]), ("clear_", clear)):
                pairs = [(a[..., 0] > 0.5, b[..., 0] > 0.5) for a, b in zip(masks, shown.visible, strict=True)]
                numbers[f"{name}mask_iou_{kind}"] = float(np.mean([mask_iou(a, b) for a, b in pairs]))
                numbers[f"{name}mask_boundary_f_{kind}"] = float(
                    np.mean([mask_boundary_f(a, b, self._face_px) for a, b in pairs])
                )
            crops = shown.crops
            for i in range(0, len(crops), max(1, len(crops) // 3)):
                masks = made["visible"][i], 1 - made["front"][i], shown.visible[i]
                columns.append(np.concatenate([crops[i], *(crops[i] * (0.25 + 0.75 * mask) for mask in masks)]))
        sheet = np.rint(np.clip(np.concatenate(columns, 1), 0, 1) * 255).astype(np.uint8)
        return {name: round(value, 4) for name, value in numbers.items()}, sheet


def strangers(held_out: list[Cast], casts: list[Cast]) -> list[Cast]:
    """Those of ``casts`` in whom there is nothing of the people in ``held_out``."""

    def people(cast: Cast) -> set[str]:
        return {part for name in cast.identities for part in name.split(":")[1:3]}

    kept_out = set().union(*map(people, held_out))
    return [cast for cast in casts if not people(cast) & kept_out]


def render(casts: list[Cast], side: int, meshes: Meshes) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every identity's faces and what they may wear, packed."""
    began, parts = time.monotonic(), []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for part in pool.map(perform_occluded, [Job(cast, side, meshes) for cast in casts]):
            parts.append(part)
            if len(parts) % 20 == 0 or len(parts) == len(casts):
                spent = time.monotonic() - began
                print(f"rendered {len(parts)}/{len(casts)} identities, {spent:.0f} s", file=sys.stderr, flush=True)
    return parts


def make_sheets(side: int, seed: int) -> np.ndarray:
    """All the things that are laid over faces, packed."""
    each = SHEETS // 8
    jobs = [(kind, each, side, 100 * seed + i) for kind in HELD for i in range(8)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(sheets, *zip(*jobs, strict=True))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stills", type=Path, required=True, help="folder with a meshes.npz: file name -> (478, 3)")
    parser.add_argument("--without", nargs="*", default=[], help="stills that are left out, with glasses say")
    parser.add_argument("--cache", type=Path, help="keep the rendered faces here (.npz)")
    parser.add_argument("--drawn", type=int, default=100)
    parser.add_argument("--morphs", type=int, default=60)
    parser.add_argument("--frames", type=int, default=40, help="of each identity")
    parser.add_argument("--held-out", type=int, default=12, help="identities")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--batch", type=int, default=RECIPE["batch"])
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--for", dest="time", default="20m")
    args = parser.parse_args()
    recipe = replace(read_recipe("light"), **{**RECIPE, "batch": args.batch})
    side = stored_side(recipe.resolution, recipe.coverage, margin=1.0)
    sheet_side = round(recipe.resolution * SHEET_COVERAGE / recipe.coverage)
    with np.load(args.stills / "meshes.npz") as arrays:
        meshes = {str(args.stills / name): arrays[name] for name in arrays.files if name not in args.without}
    casts = casting([Path(path) for path in sorted(meshes)], drawn=args.drawn, morphs=args.morphs, group=1,
                    frames=args.frames, seed=args.seed)  # fmt: skip
    held = casts[: args.held_out]
    casts = strangers(held, casts[args.held_out :])
    told = (
        f"maker {MAKER_VERSION}, {side} px, {WORN}, {SHEETS} each of {HELD}, {sheet_side} px, {held} held out: {casts}"
    )
    if args.cache and args.cache.exists():
        with np.load(args.cache) as arrays:
            if str(arrays["of"]) != told:
                raise SystemExit(f"{args.cache}: other faces than these options ask for; name another file")
            faces, worn, out, things = (arrays[name] for name in ("faces", "worn", "out", "sheets"))
    else:
        faces, worn = (np.concatenate(parts) for parts in zip(*render(casts, side, meshes), strict=True))
        out = np.concatenate([part[:: max(1, args.frames // 6)] for part, _ in render(held, side, meshes)])
        things = make_sheets(sheet_side, args.seed)
        if args.cache:
            np.savez(args.cache, faces=faces, worn=worn, out=out, sheets=things, of=told)
    print(f"{len(faces)} faces, {len(things)} things, {len(out)} held out", file=sys.stderr, flush=True)
    geometry = Geometry(side, recipe.resolution, recipe.coverage)
    sheet = replace(geometry, stored=sheet_side, stored_coverage=SHEET_COVERAGE)
    shape = VisibleOptions(resolution=recipe.resolution)
    model = VisibleFace(shape, nnx.Rngs(args.seed))
    graph, params = nnx.split(model, nnx.Param)
    scale = jax.tree.map(lambda _: 1.0, params)
    compute = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    dispatch = make_dispatch(graph, visible_loss(geometry, sheet, recipe), recipe, scale, compute)
    stage = Stock(*map(jnp.asarray, (faces, worn, things)))
    state = new_state(params, recipe, args.seed, 0, scale)
    held_out = HeldOut(out, sheet_side, (*HELD, *WORN, *KEPT_OUT), geometry, graph)
    clock = Clock(seconds(args.time))
    while not clock.over:
        state, losses = clock.take(dispatch, state, stage)
        if clock.due("measure", 60):
            numbers, preview = held_out.measure(state.ema)
            clock.say(state, loss=losses["loss"], edge=losses["edge"], front=losses["front"], **numbers)
            record = {**contract(recipe), "steps": int(state.step), "validation": numbers, "consent": "synthetic",
                      "maker": MAKER_VERSION, "front": "something in front, 1 = in front", "recipe": as_record(recipe), "options": asdict(shape)}  # fmt: skip

            def fill(
                folder: Path, state: TrainState = state, record: dict[str, Any] = record, preview: np.ndarray = preview
            ) -> None:
                export_visible(
                    folder / "visible.onnx", nnx.merge(graph, state.ema), record, held_out.shown["hand"].crops[0]
                )
                write_picture(folder / "preview.png", preview)

            size = ship(args.to, {**record, "seconds": round(clock.spent_s)}, fill)
    print(f"{args.to}: {size / 1e6:.1f} MB, {json.dumps(numbers)}")


if __name__ == "__main__":
    main()
