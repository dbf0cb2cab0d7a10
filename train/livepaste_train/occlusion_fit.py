"""How an occlusion network learns and is measured, whoever's faces it is shown."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from livepaste.checkpoint import VISIBLE
from livepaste.errors import TrainingError
from livepaste.measures import mask_boundary_f, mask_iou
from livepaste_train.augment import Geometry, sample
from livepaste_train.clocked import Clock
from livepaste_train.compiling import compiled, kept
from livepaste_train.data import stored_side
from livepaste_train.evaluate import write_picture
from livepaste_train.export import export_visible
from livepaste_train.keeper import contract
from livepaste_train.models.visible import VisibleFace, VisibleOptions
from livepaste_train.occluded import SHEET_COVERAGE, sheets
from livepaste_train.occlusion_batch import Batch, Stock, after, batch, in_front, smeared, times_alpha, turned
from livepaste_train.recipe import Recipe, as_record
from livepaste_train.step import make_dispatch, new_state

Array = jax.Array
ELSEWHERE = 0.02  # what a pixel far from the face counts of one in it, when it is asked for something in front
EDGE = 4.0  # what a pixel of an edge weighs more than one amid face or background
FACE_UNITS = 1.25  # width of a face, template units: for the tolerance of the boundary measure
SEED_OUT = 2**31  # of things that only held-out faces have in front of them: no training can be given it


def sheet_geometry(geometry: Geometry, side: int) -> Geometry:
    """Sizes of the sheets that are laid over faces of ``geometry``."""
    return replace(geometry, stored=side, stored_coverage=SHEET_COVERAGE)


def drawn_things(kinds: tuple[str, ...], count: int, side: int) -> dict[str, np.ndarray]:
    """Things for :class:`HeldOut`, ``count`` sheets of each kind."""
    return {kind: sheets(kind, count, side, SEED_OUT) for kind in kinds}


def sides(recipe: Recipe) -> tuple[int, int]:
    """At how many pixels faces are kept for this recipe, and sheets."""
    of_faces = stored_side(recipe.resolution, recipe.coverage, margin=1.0)
    return of_faces, round(recipe.resolution * SHEET_COVERAGE / recipe.coverage)


@cache  # the same function for the same words, by which make_dispatch knows it again
def visible_loss(geometry: Geometry, sheet: Geometry, recipe: Recipe) -> Callable[..., Any]:
    """Binary cross-entropy of both masks, edges above all: what lies between is soon learned."""

    def edges(mask: Array) -> Array:
        near = smeared(mask, 2)
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
        here = ELSEWHERE + jnp.minimum(1.0, 4 * smeared(drawn.faces, 3))
        visible = mean(each[0], 1 + EDGE * edges(truths[0]))
        front = mean(each[1], here * (1 + EDGE * edges(truths[1])))
        return visible + front, {"edge": mean(each[0], edges(truths[0])), "front": front}

    return loss


@kept
def shower(graph: Any) -> Callable[..., dict[str, Array]]:
    """What makes both masks of crops (b, s, s, 3) with given parameters."""
    return compiled(lambda params, crops: nnx.merge(graph, params).masks(crops))


class HeldOut:
    """Faces that this training is not shown: how good masks are without and with each kind of thing.

    The things are others than the training's, and of two kinds more.
    """

    def __init__(self, faces: np.ndarray, things: dict[str, np.ndarray], geometry: Geometry, graph: Any) -> None:
        """``faces``, and by kind the sheets that are laid over them, one each: packed."""
        count = len(faces)
        still = jnp.tile(jnp.array([[[1.0, 0, 0], [0, 1.0, 0]]]), (count, 1, 1))
        face = sample(jnp.asarray(faces), jnp.arange(count), still, geometry)
        self.shown = {"none": Batch(face[..., :3], face[..., 3:], jnp.zeros_like(face[..., 3:]))}
        for i, (kind, laid_over) in enumerate(things.items()):
            key, sheet = jax.random.key(i), sheet_geometry(geometry, laid_over.shape[-1])
            laid = after(still, turned(key, count, 0.25, 0.2, 0.25))
            over = times_alpha(sample(jnp.asarray(laid_over), jnp.arange(count), laid, sheet))
            self.shown[kind] = Batch(in_front(key, face[..., :3], over), face[..., 3:], over[..., 3:])
        self.shown = {kind: Batch(*map(np.asarray, shown)) for kind, shown in self.shown.items()}
        self._face_px = geometry.resolution / geometry.coverage * FACE_UNITS
        self._show = shower(graph)

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


class Learner:
    """One network and what it learns from."""

    def __init__(
        self,
        model: VisibleFace,
        stock: Stock,
        held_out: np.ndarray,
        things: dict[str, np.ndarray],
        recipe: Recipe,
        seed: int,
    ) -> None:
        """``held_out``: packed faces to measure it by, with ``things`` (see :class:`HeldOut`)."""
        self._recipe, self._shape = recipe, VisibleOptions(resolution=recipe.resolution)
        geometry = Geometry(stock.faces.shape[-1], recipe.resolution, recipe.coverage)
        self._graph, params = nnx.split(model, nnx.Param)
        scale = jax.tree.map(lambda _: 1.0, params)
        compute = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
        loss = visible_loss(geometry, sheet_geometry(geometry, stock.sheets.shape[-1]), recipe)
        self._dispatch = make_dispatch(self._graph, loss, recipe, scale, compute)
        self._stock = Stock(*map(jnp.asarray, stock))
        self.state = new_state(params, recipe, seed, 0, scale)
        self.held_out = HeldOut(held_out, things, geometry, self._graph)

    def measure(self) -> tuple[dict[str, float], np.ndarray]:
        """What :meth:`HeldOut.measure` gives of the averaged weights."""
        return self.held_out.measure(self.state.ema)

    def take(self, clock: Clock) -> dict[str, float]:
        """One dispatch; the mean losses in it. Raises TrainingError when they are not finite."""
        self.state, losses = clock.take(self._dispatch, self.state, self._stock)
        if not all(map(math.isfinite, losses.values())):
            raise TrainingError(
                f"the loss is no number any more after {int(self.state.step)} steps; what was saved before is kept; try a lower --lr "
                f"({self._recipe.lr:g} was used)"
            )
        return losses

    def record(self, numbers: dict[str, float]) -> dict[str, Any]:
        """What ``model.json`` says of it, whoever's faces it was shown."""
        return {
            **contract(self._recipe),
            "steps": int(self.state.step),
            "validation": numbers,
            "front": "something in front, 1 = in front",
            "recipe": as_record(self._recipe),
            "options": asdict(self._shape),
        }

    def write(self, folder: Path, record: dict[str, Any], preview: np.ndarray) -> None:
        """The network and its preview."""
        shown = next(iter(self.held_out.shown.values())).crops[0]
        export_visible(folder / VISIBLE, nnx.merge(self._graph, self.state.ema), record, shown)
        write_picture(folder / "preview.png", preview)
