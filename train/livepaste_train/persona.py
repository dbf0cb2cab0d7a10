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
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from livepaste_train.augment import Geometry, batch, in_light
from livepaste_train.casts import MOVED, Cast, Sizes, add_arguments, read_casts, render
from livepaste_train.clocked import Clock
from livepaste_train.compiling import compiled
from livepaste_train.evaluate import mask_iou, means, psnr_db, spread, undistorted, write_picture
from livepaste_train.export import export
from livepaste_train.keeper import contract
from livepaste_train.models.autoencoder import PERSONA, WEARER
from livepaste_train.models.light import LightAutoencoder, LightOptions
from livepaste_train.options import seconds
from livepaste_train.recipe import Recipe, as_record, read_recipe
from livepaste_train.ship import ship
from livepaste_train.start import apply, rate_scale, starting_weights
from livepaste_train.step import TrainState, contour_loss, losses_of, make_dispatch, mask_loss, new_state

COLUMNS = 3  # of the preview, which comes with the program


class Stage(NamedTuple):
    """Packed faces on the device."""

    wearers: jax.Array  # (groups · members · frames, side, side)
    persona: jax.Array  # (groups · frames, side, side): the same performances


def persona_loss(geometry: Geometry, recipe: Recipe, sizes: Sizes) -> Callable[..., Any]:
    """Show a wearer, draw the persona; and the wearer's own mask."""
    count = recipe.batch

    def loss(
        model: Any, stage: Stage, key: jax.Array, strength: jax.Array, _: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        k_pick, k_batch = jax.random.split(key)
        group, frame, (member,) = sizes.pick(k_pick, count, 1)
        worn, shown = sizes.index(group, member, frame), group * sizes.frames + frame
        source, source_mask, target, mask = batch(
            k_batch, stage.wearers, stage.persona, worn, shown, geometry, recipe, strength
        )
        own_mask = batch(k_batch, stage.wearers, stage.wearers, worn, worn, geometry, recipe, strength).masks
        code = model.encode(source)
        target = model.wanted(PERSONA, target, mask)
        terms = losses_of(model.picture(PERSONA, code), target, mask, recipe)
        terms["mask"] = mask_loss(model.mask_logits(PERSONA, code), mask, recipe)
        logits = model.mask_logits(WEARER, code)
        terms["wearer_mask"] = mask_loss(logits, own_mask, recipe)
        terms["contour"] = contour_loss(model, source, logits, source_mask, recipe)
        return sum(terms.values()), terms

    return loss


class HeldOut:
    """The last group, which this training is not shown: wearers, the persona in the same moments, what a model makes of it.

    Not unseen people: the base's encoder knows them, and morphs in other groups may have half of one's face.
    """

    def __init__(
        self, worn: np.ndarray, persona: np.ndarray, shown: tuple[Any, Any, Any], geometry: Geometry, graph: Any
    ) -> None:
        """``shown``: the persona's mean picture, mean mask and usual colour."""
        members = range(len(worn))
        self.worn, self.worn_mask = _crops(np.concatenate([worn[m, m % 12 :: 12] for m in members]), geometry)
        truth, self.truth_mask = _crops(np.concatenate([persona[m % 12 :: 12] for m in members]), geometry)
        # of many wearers nobody's usual light is known, so the persona is drawn in its own: so is the truth
        self.truth, self._mean = np.asarray(in_light(truth, self.truth_mask, shown[2])), np.asarray(shown[0])

        def show(params: Any, worn: jax.Array) -> tuple[jax.Array, ...]:
            made = nnx.merge(graph, params)
            swapped = made.swap(worn)
            return swapped["image"], swapped["persona_mask"], swapped["wearer_mask"]

        self._show = compiled(show)

    def measure(self, params: Any) -> tuple[dict[str, float], np.ndarray]:
        """Numbers, and the preview: wearers, swapped, truth; uint8 (h, w, 3)."""
        picture, mask, own = (np.asarray(value) for value in self._show(params, self.worn))
        both = self.worn_mask * self.truth_mask > 0.5
        numbers = {
            "swap_psnr_db": psnr_db(picture, self.truth, both),
            "mean_face_db": psnr_db(self._mean[None], self.truth, both),
            "unswapped_db": psnr_db(self.worn, self.truth, both),
            "mask_iou": mask_iou(mask * own, self.worn_mask * self.truth_mask),
            "persona_mask_iou": mask_iou(mask, self.truth_mask),
            "wearer_mask_iou": mask_iou(own, self.worn_mask),
        }
        pick = spread(len(picture), COLUMNS)
        laid = picture * mask * own + self.worn * (1 - mask * own)
        rows = [np.concatenate(list(images[pick]), 1) for images in (self.worn, laid, self.truth)]
        sheet = np.rint(np.clip(np.concatenate(rows), 0, 1) * 255).astype(np.uint8)
        return {name: round(value, 4) for name, value in numbers.items()}, sheet


def _crops(packed: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    picture, mask = undistorted(packed, geometry)
    return np.asarray(picture), np.asarray(mask)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--still", required=True, help="the persona's file in --stills")
    parser.add_argument("--base", default="base")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--for", dest="time", default="30m")
    args = parser.parse_args()
    # the encoder learns on: of pairs it can learn nothing but what is played
    recipe = replace(read_recipe(args.recipe), ema=0.998, warp=0.1, encoder_lr=0.5, **MOVED)
    casts, meshes, packed = read_casts(args, recipe)
    out = len(casts) - 1
    sizes = Sizes(out, *packed.shape[1:3])
    side = packed.shape[-1]
    alone = [Cast((f"photo:{args.stills / args.still}",), cast.seed, cast.frames) for cast in casts]
    persona = render(alone, side, meshes)[:, 0]
    geometry = Geometry(side, recipe.resolution, recipe.coverage)
    model = LightAutoencoder(LightOptions(resolution=recipe.resolution), nnx.Rngs(args.seed))
    shown = means(*undistorted(persona[:out].reshape(-1, side, side)[::8], geometry))
    many = means(*undistorted(np.asarray(packed[:out, :, ::40]).reshape(-1, side, side), geometry))
    model.start_from(shown, many, wearers=out * packed.shape[1])
    graph, params = nnx.split(model, nnx.Param)
    facts = {"model": recipe.model, "resolution": recipe.resolution, "coverage": recipe.coverage}
    weights, note, from_base, _ = starting_weights(args.base, facts)
    print(note, file=sys.stderr)
    params = apply(params, weights)
    scale = rate_scale(params, from_base, recipe)
    dispatch = make_dispatch(graph, persona_loss(geometry, recipe, sizes), recipe, scale)
    data = Stage(*(jnp.asarray(np.asarray(v[:out]).reshape(-1, side, side)) for v in (packed, persona)))
    state = new_state(params, recipe, args.seed, 0, scale)
    held_out = HeldOut(packed[out], persona[out], shown, geometry, graph)
    people = {
        "persona": {"person": Path(args.still).stem, "consent": "synthetic"},
        "wearers": [{"person": "drawn and photo actors of the base", "consent": "synthetic"}],
    }
    clock = Clock(seconds(args.time))
    while not clock.over:
        state, losses = clock.take(dispatch, state, data)
        if clock.due("measure", 240):
            numbers, sheet = held_out.measure(state.ema)
            clock.say(state, loss=losses["loss"], **numbers)
            record = {**contract(recipe), **people, "steps": int(state.step), "validation": numbers}

            def fill(
                folder: Path, state: TrainState = state, record: dict[str, Any] = record, sheet: np.ndarray = sheet
            ) -> None:
                export(folder / "swap.onnx", nnx.merge(graph, state.ema), record, held_out.worn[0], half=True)
                write_picture(folder / "preview.png", sheet)

            size = ship(args.to, {**record, "recipe": as_record(recipe), "seconds": round(clock.spent_s)}, fill)
    print(f"{args.to}: {size / 1e6:.1f} MB, {json.dumps(numbers)}")


if __name__ == "__main__":
    main()
