"""What a recipe's setting is worth, in minutes: a short training on one pair of actors, judged crop by crop as it goes.

No clip, no detector: the actors' exact crops go straight into the training, and the swap of a performance that neither was trained on is
compared with the persona's crops of the same moments. ``fitted`` is the PSNR with each picture's colour fitted to the truth: what
is left is shape; ``truth again`` draws the persona's own crops, so that nothing depends on the wearer; ``sharpness`` is the mean gradient inside the
face ÷ the truth's. Settings of the recipe come as ``key=value``; each run starts anew.

``python benchmarks/recipes.py PAIR [--steps 240] [--every 60] [--base DIR] [--strangers] [--picture FILE.png] [key=value …]``, PAIR as for
swaps.py; with ``--strangers`` nothing is known of the wearer.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from livepaste_train import appearance
from livepaste_train.augment import Geometry
from livepaste_train.data import Faces, pack, pose_weights, stored_side
from livepaste_train.data import played as played_in
from livepaste_train.evaluate import crops, mask_iou, means, psnr_db, spread, undistorted, write_picture
from livepaste_train.models import make_model
from livepaste_train.models.autoencoder import PERSONA
from livepaste_train.offset import EVERY, Offset
from livepaste_train.recipe import Recipe, read_recipe
from livepaste_train.shading import Shader
from livepaste_train.start import apply, check_wearers, kind_of, rate_scale, rests, starting_weights
from livepaste_train.state import named
from livepaste_train.step import Sides, lone_loss, make_dispatch, new_state, pair_loss

from livepaste import measures
from livepaste.actors.drawn import DrawnActor
from livepaste.actors.motion import Performance, perform
from livepaste.actors.photo import PhotoActor
from livepaste.actors.truth import well_lit
from livepaste.align import pose_degrees
from livepaste.extract import read_photo
from livepaste.faceset import FaceRow
from livepaste.finder import find_in_photo

FACES, TESTED = 500, 100  # of each side, of the performance that is swapped
RIM = 0.025  # of the crop's side, about a twentieth of a face's width: no part of the inside


def actor(name: str) -> Any:
    """``drawn:SEED`` or a photo's path."""
    if name.startswith("drawn:"):
        return DrawnActor(int(name.removeprefix("drawn:")))
    image = read_photo(Path(name)).image
    return PhotoActor(image, find_in_photo(image)[0].points_xyz)


def shoot(who: Any, performance: Performance, count: int, side: int, room: int) -> Faces:
    """``count`` moments of a performance as packed faces."""
    packed, rows = [], []
    for i in np.linspace(0, len(performance) - 1, count).astype(int):
        shot = who.render_crop(performance, int(i), side, background_seed=room)
        packed.append(pack(shot.image[None], shot.mask[None])[0])
        rows.append(FaceRow(name=str(i), source="actor", time_s=0.0, points_xyz=shot.points_xyz, frame_to_crop=np.eye(2, 3, dtype=np.float32),
                            pose=pose_degrees(shot.points_xyz), sharpness=1.0, exposure=0.5, width_px=side / 2))  # fmt: skip
    yaw, pitch = np.array([row.pose[:2] for row in rows]).T
    points = np.array([(row.points_xyz[:, :2] + 0.5) / side for row in rows], np.float16)
    return Faces(np.array(packed), pose_weights(yaw, pitch), np.array([played_in(row) for row in rows]), points)


def changed(recipe: Recipe, settings: list[str]) -> Recipe:
    """The recipe with ``key=value`` settings over it."""
    known = {f.name: type(f.default) for f in fields(Recipe)}
    given = dict(setting.split("=", 1) for setting in settings)
    if unknown := set(given) - set(known):
        raise SystemExit(f"unknown setting {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    if ignored := {"poses", "pretrain", "balanced", "normalisation"} & set(given):
        raise SystemExit(f"{', '.join(sorted(ignored))}: is not looked at here")
    return replace(recipe, **{key: known[key](value) for key, value in given.items()})


def people_of(pair: str) -> tuple[str, tuple[Any, Any]]:
    """``drawn:SEED`` or ``PERSONA.jpg,WEARER.jpg``: what to call them, persona and wearer."""
    first, _, second = pair.partition(",")
    names = (first, second) if second else (first, f"drawn:{int(first.removeprefix('drawn:')) + 1}")
    return " over ".join(Path(name).stem for name in names), (actor(names[0]), actor(names[1]))


def films() -> tuple[Performance, Performance]:
    """What persona and wearer are filmed in."""
    one, other = (well_lit(perform(seed, 1500, amount=1.15)) for seed in (9101, 9202))
    return one, other


def geometry_of(recipe: Recipe) -> Geometry:
    """Of the recipe's crops, out of faces at the side they are kept at."""
    return Geometry(stored_side(recipe.resolution, recipe.coverage), recipe.resolution, recipe.coverage)


class Tested(NamedTuple):
    """A performance that neither was filmed in, by both."""

    worn: Faces
    truth: Faces


def tested(people: tuple[Any, Any], side: int) -> Tested:
    persona, wearer = people
    film = perform(9303, 400)
    return Tested(shoot(wearer, film, TESTED, side, 13), shoot(persona, film, TESTED, side, 13))


class Judged:
    """The swapped performance beside the truth."""

    def __init__(self, graph: Any, of: Tested, geometry: Geometry) -> None:
        self.worn, self.worn_mask = map(np.asarray, undistorted(of.worn.packed, geometry))
        self.truth, self.truth_mask = map(np.asarray, undistorted(of.truth.packed, geometry))
        self.both = self.worn_mask * self.truth_mask > 0.5
        rim = RIM * geometry.resolution
        self.inside = [measures.erode_px(both[..., 0], rim) for both in self.both]
        self._show = jax.jit(lambda params, crops: nnx.merge(graph, params).swap(crops))
        self._again = jax.jit(
            lambda params, crops: nnx.merge(graph, params).picture(PERSONA, nnx.merge(graph, params).encode(crops))
        )

    def fitted(self, pictures: np.ndarray) -> np.ndarray:
        """Each with the truth's mean colour under both masks."""
        gain = (self.truth * self.both).sum((1, 2)) / np.maximum((pictures * self.both).sum((1, 2)), 1e-6)
        return np.clip(pictures * gain[:, None, None], 0, 1)

    def sharpness(self, pictures: np.ndarray) -> float:
        """Median over pictures of the mean gradient ÷ the truth's."""
        faces = zip(pictures, self.truth, self.inside, strict=True)
        return float(np.nanmedian([measures.sharpness(picture, truth, inside) for picture, truth, inside in faces]))

    def numbers(self, params: Any, mean: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
        """Numbers, and the sheet: wearer, swapped, laid over, truth."""
        made = {name: np.asarray(value) for name, value in self._show(params, self.worn).items()}
        image, mask = made["image"], made["persona_mask"] * made["wearer_mask"]
        mean = np.broadcast_to(mean, image.shape)
        fitted = self.fitted(image)
        numbers = {
            "swap": psnr_db(image, self.truth, self.both),
            "fitted": psnr_db(fitted, self.truth, self.both),
            # the code of the persona's own crop: what is lost without changing anybody
            "truth again": psnr_db(self.fitted(np.asarray(self._again(params, self.truth))), self.truth, self.both),
            "mean face fitted": psnr_db(self.fitted(mean), self.truth, self.both),
            "unswapped": psnr_db(self.worn, self.truth, self.both),
            "sharpness": self.sharpness(fitted),
            "mask IoU": mask_iou(mask, self.worn_mask * self.truth_mask),
            "wearer's mask IoU": mask_iou(made["wearer_mask"], self.worn_mask),
        }
        pick = spread(len(image), 8)
        rows = (self.worn, image, image * mask + self.worn * (1 - mask), self.truth)
        sheet = np.concatenate([np.concatenate(list(pictures[pick]), 1) for pictures in rows])
        return numbers, np.rint(np.clip(sheet, 0, 1) * 255).astype(np.uint8)


def in_words(numbers: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.{4 if 'IoU' in name else 2}f}" for name, value in numbers.items())


@dataclass(frozen=True, eq=False)
class Moment:
    """A training at one of the steps at which it is judged."""

    step: int
    spent_s: float  # of its steps alone, the first with what had to be compiled
    numbers: dict[str, float]
    sheet: np.ndarray
    note: str  # what it began with


def trained(
    recipe: Recipe,
    sides: tuple[Faces, Faces],
    of: Tested,
    steps: int,
    every: int,
    base: str = "base",
    *,
    strangers: bool = False,
    anew: tuple[str, ...] = (),
) -> Iterator[Moment]:
    """A training on the persona's and the wearer's faces, judged before its first step, every so many, and after its last.

    With ``strangers`` on the persona's alone: nothing is known of the wearer. Of the base, what has one of ``anew`` in its name is not taken.
    """
    persona, wearer = sides
    geometry = geometry_of(recipe)
    model = make_model(recipe, 0)
    known = sides[:1] if strangers else sides
    seen = [crops(faces, geometry, 200) for faces in known]
    own = [means(*of_side) for of_side in seen]
    model.start_from(own[0], own[-1], wearers=len(known) - 1)
    people = {"persona": "somebody", "wearers": [] if strangers else ["somebody else"]}
    start = starting_weights(base, kind_of(recipe), people)
    from_base, resting = start.from_base, rests(start.from_base, recipe.encoder_lr)
    carried = appearance.chosen(recipe, model, persona, start, resting=resting)
    recipe, weights = carried.recipe, carried.weights
    note = "; ".join(filter(None, [start.note, carried.note]))
    graph, params = nnx.split(model, nnx.Param)
    if weights is not None:
        begun = {name: value for name, value in named(params).items() if any(part in name for part in anew)}
        weights = {**weights, **begun}
    params = apply(params, weights)
    scale = rate_scale(params, from_base, recipe, strangers=strangers)
    offset = None if strangers or not recipe.meet else Offset(graph, persona, wearer, geometry)
    if strangers:
        check_wearers(recipe, from_base)
        loss = lone_loss(geometry, recipe, jnp.float32, strangers=True)
    else:
        loss = pair_loss(geometry, recipe, jnp.float32, wearer_picture=not resting)
    dispatch = make_dispatch(graph, loss, recipe, scale)
    apart = offset.measure(params) if offset else None
    if carried.measures:
        params = appearance.measured(graph, params, params, persona, geometry, apart)
    state = new_state(params, recipe, 0, steps, scale, apart)
    cumulative = (jnp.asarray(np.cumsum(faces.weight)) for faces in (known[0], known[-1]))
    data = Sides(jnp.asarray(np.concatenate([faces.packed for faces in known])), *cumulative)
    judged = Judged(graph, of, geometry)
    shader = Shader(graph, params, (known[0], known[-1]), [seen[0], seen[-1]], resting=resting)
    spent_s = 0.0
    while True:
        step = int(state.step)
        if step % every == 0 or step >= steps:
            yield Moment(step, spent_s, *judged.numbers(shader.shaded(state.ema), np.asarray(own[0][0])), note)
        if step >= steps:
            return
        began = time.monotonic()
        state, _ = jax.block_until_ready(dispatch(state, data))
        if offset and not resting and int(state.step) % EVERY < recipe.steps_per_dispatch:
            state = state._replace(offset=offset.measure(state.params))
        spent_s += time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pair", help="drawn:SEED or PERSONA.jpg,WEARER.jpg")
    parser.add_argument("settings", nargs="*", metavar="key=value")
    parser.add_argument("--recipe", default="light")
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--every", type=int, default=60)
    parser.add_argument("--base", default="base")
    parser.add_argument("--strangers", action="store_true", help="without the wearer's faces")
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    recipe = changed(read_recipe(args.recipe), args.settings)
    name, people = people_of(args.pair)
    side = geometry_of(recipe).stored
    persona, wearer = (shoot(*of, FACES, side, 11 + k) for k, of in enumerate(zip(people, films(), strict=True)))
    print(f"{name}, from {args.base}, {' '.join(args.settings) or 'as it is'}", flush=True)
    of = tested(people, side)
    for at in trained(recipe, (persona, wearer), of, args.steps, args.every, args.base, strangers=args.strangers):
        note = f" ({at.note})" if at.step == 0 else ""
        print(f"{at.step:5d} steps {at.spent_s:5.0f} s  {in_words(at.numbers)}{note}", flush=True)
    if args.picture:
        write_picture(args.picture, at.sheet)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
