"""The occlusion network that comes with livepaste: which pixels of a crop are visible face, whatever is in front.

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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from livepaste.actors import MAKER_VERSION
from livepaste.measures import mask_boundary_f, mask_iou
from livepaste_train.augment import (
    Geometry,
    box,
    disturb_color,
    exchange_surroundings,
    hat_weights,
    random_affine,
    sample,
)
from livepaste_train.casts import Cast, Meshes, casting
from livepaste_train.clocked import Clock
from livepaste_train.compiling import compiled
from livepaste_train.data import stored_side
from livepaste_train.evaluate import write_picture
from livepaste_train.export import export_visible
from livepaste_train.fit import contract
from livepaste_train.models.visible import VisibleFace, VisibleOptions
from livepaste_train.occluded import HELD, SHEET_COVERAGE, Job, perform_occluded, sheets
from livepaste_train.options import Recipe, as_record, read_recipe, seconds
from livepaste_train.ship import ship
from livepaste_train.step import TrainState, make_dispatch, new_state

Array = jax.Array
RECIPE = {"name": "occlusion", "model": "visible", "resolution": 128, "coverage": 2.0, "batch": 32, "lr": 2e-3, "ema": 0.998,
          "rotate": 15.0, "zoom": 0.2, "shift": 0.05, "flip": 0.5, "surroundings": 0.4, "jitter": 0.3, "soften": 0.4, "noise": 0.05}  # fmt: skip
LAYERS = 0.62, 0.25  # how often there is one thing in front, and another before it
EDGE = 4.0  # what a pixel of an edge weighs more than one amid face or background
SHEETS = 400  # of each kind
CHEEK = (
    0.27,
    0.25,
    0.12,
)  # where a cheek is beside the middle of a crop and below it, and how far it reaches, half sides
FACE_UNITS = 1.25  # width of a face, template units: for the tolerance of the boundary measure


class Stage(NamedTuple):
    """What a step draws from, packed."""

    faces: Array  # (n, side, side)
    sheets: Array  # (m, side, side)


def _turned(key: Array, count: int, most: float, zoom: float, shift: float) -> Array:
    """Where a sheet is laid, (count, 2, 3) in half sides of the crop: any flip, angles up to ``most`` radians."""
    u = jax.random.uniform(key, (5, count))
    angle, scale = most * (2 * u[0] - 1), jnp.exp(zoom * (2 * u[1] - 1))
    flip = jnp.where(u[4] < 0.5, -1.0, 1.0)
    c, s = jnp.cos(angle) * scale, jnp.sin(angle) * scale
    move = shift * (2 * u[2:4].T - 1)
    return jnp.stack([jnp.stack([c * flip, -s, move[:, 0]], -1), jnp.stack([s * flip, c, move[:, 1]], -1)], 1)


def _after(first: Array, then: Array) -> Array:
    """Two affine maps in turn, (b, 2, 3)."""
    linear = jnp.einsum("bij,bjk->bik", then[:, :, :2], first[:, :, :2])
    moved = jnp.einsum("bij,bj->bi", then[:, :, :2], first[:, :, 2]) + then[:, :, 2]
    return jnp.concatenate([linear, moved[:, :, None]], 2)


def thing(key: Array, stage: Stage, face_affine: Array, geometry: Geometry, sheet: Geometry) -> Array:
    """Something in front of each face: colour times alpha, and alpha, float32 (b, s, s, 4)."""
    b = len(face_affine)
    k = jax.random.split(key, 6)
    index = jax.random.randint(k[0], (b,), 0, len(stage.sheets))
    over = sample(stage.sheets, index, _after(face_affine, _turned(k[1], b, 0.8, 0.4, 0.5)), sheet)
    color, alpha = over[..., :3], over[..., 3:]
    # some with the skin of a cheek, left or right, of somebody else: to a colour alone nothing should be betrayed
    other = jax.random.randint(k[2], (b,), 0, len(stage.faces))
    cheek = _turned(k[3], b, 3.1, 0.3, 0.04) * jnp.array([CHEEK[2], CHEEK[2], 1.0])
    left = jnp.where(jax.random.bernoulli(k[5], 0.5, (b,)), -1.0, 1.0)
    cheek = cheek.at[:, :, 2].add(jnp.stack([left * CHEEK[0], jnp.full(b, CHEEK[1])], -1))
    skin = sample(stage.faces, other, cheek, geometry)[..., :3]
    light = color.mean(-1, keepdims=True)
    usual = (light * alpha).sum((1, 2), keepdims=True) / (alpha.sum((1, 2), keepdims=True) + 1e-3)
    u = jax.random.uniform(k[4], (8, b))[:, :, None, None, None]
    color = jnp.where(u[0] < 0.4, skin * (0.3 + 0.7 * light / (usual + 1e-3)), color)
    color = color * (0.5 + 1.0 * u[1]) * (0.8 + 0.4 * jnp.concatenate(list(u[2:5]), -1))
    over = jnp.concatenate([jnp.clip(color, 0, 1) * alpha, alpha], -1)
    # out of focus, or moving to the side or up and down
    wide, high = over, over
    for _ in range(4):
        wide, high = box(wide, 2), box(high, 1)
    return jnp.select([u[5] < 0.15, u[5] < 0.3, u[5] < 0.5], [wide, high, box(box(over, 1), 2)], over)


def shaded(key: Array, pictures: Array, alpha: Array) -> Array:
    """Faces (b, s, s, 3) in uneven light: brighter to one side, cloudy, and in the shadow of ``alpha`` (b, s, s, 1). All of it is still face.

    Without it whatever is dark beside something bright would be taken for something in front.
    """
    b, s = pictures.shape[:2]
    k = jax.random.split(key, 3)
    u = jax.random.uniform(k[0], (4, b))[:, :, None, None, None]
    clouds = jnp.zeros((b, s, s))
    for nodes, part in ((2, 0.8), (4, 0.5), (9, 0.3)):
        hat = hat_weights(s, nodes)
        drawn = part * jax.random.normal(jax.random.fold_in(k[1], nodes), (b, nodes, nodes))
        clouds = clouds + jnp.einsum("yi,bij,xj->byx", hat, drawn, hat)
    pictures = pictures * jnp.exp(jnp.maximum(0.0, 0.9 * u[0] - 0.25) * clouds[..., None])
    soft = box(box(alpha, 1), 2)
    softer = soft
    for _ in range(4):
        softer = box(box(softer, 1), 2)
    shadow = jnp.where(u[1] < 0.5, soft, softer)
    return pictures * (1 - jnp.maximum(0.0, 1.6 * u[2] - 0.9) * shadow)


def coarser(key: Array, x: Array) -> Array:
    """Some of the pictures (b, s, s, c) from half or a quarter of their pixels: faces far from the camera."""
    b, s = x.shape[:2]
    u = jax.random.uniform(key, (b, 1, 1, 1))
    out = x
    for less, low, high in ((2, 0.0, 0.22), (4, 0.22, 0.3)):
        small = x.reshape(b, s // less, less, s // less, less, -1).mean((2, 4))
        at = jnp.clip((jnp.arange(s) + 0.5) / less - 0.5, 0, s // less - 1)
        hat = jnp.maximum(0.0, 1.0 - jnp.abs(at[:, None] - jnp.arange(s // less)))
        out = jnp.where((u >= low) & (u < high), jnp.einsum("yi,bijc,xj->byxc", hat, small, hat), out)
    return out


def in_front(key: Array, pictures: Array, masks: Array, over: Array) -> tuple[Array, Array]:
    """Faces (b, s, s, 3) and their masks (b, s, s, 1) with ``over`` laid upon them, and its shadow."""
    color, alpha = over[..., :3], over[..., 3:]
    shadow = alpha
    for _ in range(3):
        shadow = box(box(shadow, 1), 2)
    u = jax.random.uniform(key, (1, len(over)))[:, :, None, None, None]
    shadow = jnp.pad(shadow, ((0, 0), (3, 0), (1, 0), (0, 0)))[:, :-3, :-1]
    pictures = pictures * (1 - jnp.maximum(0.0, 1.2 * u[0] - 0.5) * shadow)
    return pictures * (1 - alpha) + color, masks * (1 - alpha)


def batch(key: Array, stage: Stage, geometry: Geometry, sheet: Geometry, recipe: Recipe) -> tuple[Array, Array]:
    """Crops (b, s, s, 3) as a camera would see them and the masks (b, s, s, 1) of what is visible of their faces."""
    b = recipe.batch
    k = jax.random.split(key, 12)
    index = jax.random.randint(k[0], (b,), 0, len(stage.faces))
    affine = random_affine(k[1], b, recipe)
    face = sample(stage.faces, index, affine, geometry)
    pictures, masks = exchange_surroundings(k[2], face[..., :3], face[..., 3:], recipe), face[..., 3:]
    pictures = shaded(k[9], pictures, thing(k[10], stage, affine, geometry, sheet)[..., 3:])
    for i, often in enumerate(LAYERS):
        there = jax.random.uniform(k[3 + i], (b, 1, 1, 1)) < often
        over = jnp.where(there, thing(k[5 + i], stage, affine, geometry, sheet), 0.0)
        pictures, masks = in_front(jax.random.fold_in(k[7], i), pictures, masks, over)
    return disturb_color(k[8], coarser(k[11], pictures), recipe), masks


def visible_loss(geometry: Geometry, sheet: Geometry, recipe: Recipe) -> Callable[..., Any]:
    """Binary cross-entropy, edges above all: what lies between is soon learned."""

    def loss(model: Any, stage: Stage, key: Array, strength: Array, _: Array) -> tuple[Array, dict[str, Array]]:
        crops, masks = batch(key, stage, geometry, sheet, recipe)
        logits = model.logits(crops.astype(model.stem.kernel[...].dtype)).astype(jnp.float32)
        near = box(box(box(box(masks, 1), 2), 1), 2)
        weight = 1 + EDGE * 4 * near * (1 - near)
        each = optax.sigmoid_binary_cross_entropy(logits, masks)
        value = (each * weight).sum() / weight.sum()
        return value, {"edge": (each * near * (1 - near)).sum() / (near * (1 - near)).sum()}

    return loss


class HeldOut:
    """The first identities, whose faces this training is not shown: how good masks are without and with each kind of thing.

    Not all of them unseen people: morphs in the rest may have half of one's face. The things are of another seed.
    """

    def __init__(
        self, faces: np.ndarray, sheet_side: int, kinds: tuple[str, ...], geometry: Geometry, graph: Any
    ) -> None:
        sheet = replace(geometry, stored=sheet_side, stored_coverage=SHEET_COVERAGE)
        count = len(faces)
        still = jnp.tile(jnp.array([[[1.0, 0, 0], [0, 1.0, 0]]]), (count, 1, 1))
        face = sample(jnp.asarray(faces), jnp.arange(count), still, geometry)
        self.crops, self.masks = {"none": np.asarray(face[..., :3])}, {"none": np.asarray(face[..., 3:])}
        for i, kind in enumerate(kinds):
            key = jax.random.key(i)
            things = jnp.asarray(sheets(kind, count, sheet_side, 4711))
            laid = _after(still, _turned(key, count, 0.25, 0.2, 0.25))
            over = sample(things, jnp.arange(count), laid, sheet)
            over = jnp.concatenate([over[..., :3] * over[..., 3:], over[..., 3:]], -1)
            pictures, masks = in_front(key, face[..., :3], face[..., 3:], over)
            self.crops[kind], self.masks[kind] = np.asarray(pictures), np.asarray(masks)
        self._face_px = geometry.resolution / geometry.coverage * FACE_UNITS
        self._show = compiled(lambda params, crops: nnx.merge(graph, params).visible(crops))

    def measure(self, params: Any) -> tuple[dict[str, float], np.ndarray]:
        """Numbers, and the preview: crops, what is found, the truth; uint8 (h, w, 3)."""
        numbers, columns = {}, []
        for kind, crops in self.crops.items():
            made, truth = np.asarray(self._show(params, crops)), self.masks[kind]
            pairs = [(a[..., 0] > 0.5, b[..., 0] > 0.5) for a, b in zip(made, truth, strict=True)]
            numbers[f"mask_iou_{kind}"] = float(np.mean([mask_iou(a, b) for a, b in pairs]))
            numbers[f"mask_boundary_f_{kind}"] = float(
                np.mean([mask_boundary_f(a, b, self._face_px) for a, b in pairs])
            )
            for i in range(0, len(crops), max(1, len(crops) // 3)):
                shades = [crops[i], crops[i] * (0.25 + 0.75 * made[i]), crops[i] * (0.25 + 0.75 * truth[i])]
                columns.append(np.concatenate(shades))
        sheet = np.rint(np.clip(np.concatenate(columns, 1), 0, 1) * 255).astype(np.uint8)
        return {name: round(value, 4) for name, value in numbers.items()}, sheet


def render(casts: list[Cast], side: int, meshes: Meshes) -> list[np.ndarray]:
    """Every identity's faces, packed."""
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
    told = f"maker {MAKER_VERSION}, {side} px, sheets {sheet_side} px, {args.held_out} held out: {casts}"
    if args.cache and args.cache.exists():
        with np.load(args.cache) as arrays:
            if str(arrays["of"]) != told:
                raise SystemExit(f"{args.cache}: other faces than these options ask for; name another file")
            faces, out, things = arrays["faces"], arrays["out"], arrays["sheets"]
    else:
        parts = render(casts, side, meshes)
        faces = np.concatenate(parts[args.held_out :])
        out = np.concatenate([part[:: max(1, args.frames // 6)] for part in parts[: args.held_out]])
        things = make_sheets(sheet_side, args.seed)
        if args.cache:
            np.savez(args.cache, faces=faces, out=out, sheets=things, of=told)
    print(f"{len(faces)} faces, {len(things)} things, {len(out)} held out", file=sys.stderr, flush=True)
    geometry = Geometry(side, recipe.resolution, recipe.coverage)
    sheet = replace(geometry, stored=sheet_side, stored_coverage=SHEET_COVERAGE)
    shape = VisibleOptions(resolution=recipe.resolution)
    model = VisibleFace(shape, nnx.Rngs(args.seed))
    graph, params = nnx.split(model, nnx.Param)
    scale = jax.tree.map(lambda _: 1.0, params)
    compute = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    dispatch = make_dispatch(graph, visible_loss(geometry, sheet, recipe), recipe, scale, compute)
    stage = Stage(jnp.asarray(faces), jnp.asarray(things))
    state = new_state(params, recipe, args.seed, 0, scale)
    held_out = HeldOut(out, sheet_side, (*HELD, "glasses", "microphone"), geometry, graph)
    clock = Clock(seconds(args.time))
    while not clock.over:
        state, losses = clock.take(dispatch, state, stage)
        if clock.due("measure", 60):
            numbers, preview = held_out.measure(state.ema)
            clock.say(state, loss=losses["loss"], edge=losses["edge"], **numbers)
            record = {**contract(recipe), "steps": int(state.step), "validation": numbers, "consent": "synthetic",
                      "maker": MAKER_VERSION, "recipe": as_record(recipe), "options": asdict(shape)}  # fmt: skip

            def fill(
                folder: Path, state: TrainState = state, record: dict[str, Any] = record, preview: np.ndarray = preview
            ) -> None:
                export_visible(folder / "visible.onnx", nnx.merge(graph, state.ema), record, held_out.crops["hand"][0])
                write_picture(folder / "preview.png", preview)

            size = ship(args.to, {**record, "seconds": round(clock.spent_s)}, fill)
    print(f"{args.to}: {size / 1e6:.1f} MB, {json.dumps(numbers)}")


if __name__ == "__main__":
    main()
