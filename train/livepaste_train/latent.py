"""``livepaste latent``: a checkpoint's codes of faces, what excites its layers, and what its decoders draw along a code."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from livepaste.align import CENTER, TEMPLATE
from livepaste.checkpoint import Generation, newest_generation
from livepaste.coverage import tables
from livepaste.errors import CheckpointError, OptionError
from livepaste.faceset import FaceRow
from livepaste_train.augment import Geometry
from livepaste_train.compiling import compiled
from livepaste_train.data import open_faceset, packed_face, stored_side
from livepaste_train.evaluate import means, spread, undistorted
from livepaste_train.maps import Directions, principal
from livepaste_train.models import make_model
from livepaste_train.models.autoencoder import PERSONA, WEARER
from livepaste_train.options import FEWEST_SEEN, LatentOptions
from livepaste_train.recipe import Recipe, of_record
from livepaste_train.responses import Excited, Layer, encoded, first_weights, in_chunks, layers_of, name_of
from livepaste_train.start import CONTOUR, is_own, kind_of, rests, shipped_base, starting_weights
from livepaste_train.state import named, with_weights

DIRECTIONS, UNITS = 5, 6  # shown: of the code's main directions, and of a layer's units
AMOUNTS = -2.0, -1.0, 0.0, 1.0, 2.0  # standard deviations along a direction
LOW, HIGH = 2, 98  # percentiles between which a single number is moved
IN_UNITS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "none": (-np.inf, np.inf)}  # what a code's numbers can be


@dataclass(frozen=True, eq=False)
class People:
    """The faces that are looked at, of all face sets one after the other."""

    names: list[str]  # of the persons, one for each face set
    sides: list[str]  # which side each face set is of
    who: np.ndarray  # int (n,): the face set of each face
    rows: list[FaceRow]
    pictures: np.ndarray  # float32 (n, s, s, 3) in [0, 1], as the model gets them
    masks: np.ndarray  # float32 (n, s, s, 1)
    yaw: np.ndarray  # degrees, float32 (n,)
    pitch: np.ndarray
    mouth: np.ndarray  # its opening, template units

    def of(self, side: str) -> np.ndarray:
        """Which faces are of a side, bool (n,)."""
        return np.isin(self.who, [i for i, of in enumerate(self.sides) if of == side])

    @property
    def plays(self) -> dict[str, np.ndarray]:
        """What may be seen in a code, by name, (n,) each: what faces do, and who they are."""
        same = (
            {f"being {name}": (self.who == i).astype(float) for i, name in enumerate(self.names)}
            if len(self.names) > 1
            else {}
        )
        return {"yaw": self.yaw, "pitch": self.pitch, "the mouth's opening": self.mouth, **same}


@dataclass(frozen=True, eq=False)
class Drawn:
    """What a side's decoder draws around its people's mean code, pictures (…, s, s, 3) in [0, 1]."""

    mean: np.ndarray
    along: np.ndarray  # (directions, amounts, …): at AMOUNTS along each direction
    single: np.ndarray  # (units, 2, …): one number at its LOW and its HIGH


@dataclass(frozen=True, eq=False)
class Shown:
    """All that the page tells."""

    generation: Generation
    recipe: Recipe
    people: People
    codes: np.ndarray  # float32 (n, k)
    directions: Directions
    layers: list[tuple[str, Layer, Excited]]
    first: tuple[list[int], np.ndarray]  # units of the first layer, and their weights (units, h, w, 3)
    numbers: list[int]  # the code's that vary most
    drawn: dict[str, Drawn]  # by side
    notes: list[str]


def look(options: LatentOptions) -> Shown:
    """Raises CheckpointError for a checkpoint without weights or of another kind, FaceSetError for a face set that is none or too small."""
    generation, recipe, alone = _opened(options.checkpoint)
    model = make_model(recipe, 0, alone=alone)
    people = _people(options, recipe)
    graph, params, from_base = _loaded(model, people, options.checkpoint, recipe, alone)
    codes, excited = encoded(graph, params, people.pictures)
    if not np.isfinite(codes).all():
        raise CheckpointError(f"{generation.path}: its codes are not finite; go back to an older generation")
    layers = layers_of(model, recipe.resolution)
    told = [(name_of(layer, params), layer, how) for layer, how in zip(layers, excited, strict=True)]
    units = excited[0].telling(UNITS)
    weights = first_weights(graph, params, layers[0], units, people.pictures.mean(0))
    directions = principal(codes, DIRECTIONS)
    numbers = Excited(codes, np.zeros(codes.shape, int)).telling(UNITS)
    # while the encoder rests, what draws the wearers' pictures is not learned
    sides = [PERSONA] if alone or rests(from_base, recipe.encoder_lr) else [PERSONA, WEARER]
    drawn = {
        side: _drawn(graph, params, side, codes[people.of(side)], directions, numbers, recipe.unit)
        for side in sides
        if people.of(side).any()
    }
    return Shown(generation, recipe, people, codes, directions, told, (units, weights), numbers, drawn,
                 _notes(generation.model, people, drawn))  # fmt: skip


def _opened(checkpoint: str) -> tuple[Generation, Recipe, bool]:
    """The newest generation, how it was trained, and whether of one person alone."""
    base = shipped_base() if checkpoint == "base" else None
    generation = newest_generation(base or Path(checkpoint))
    model = generation.model
    if not (generation.path / "weights.npz").exists():
        raise CheckpointError(
            f"{checkpoint}: holds no weights.npz, only what is run of it, so its layers cannot be looked at; "
            "name a checkpoint that `livepaste train` wrote, or base"
        )
    if model.get("template") != TEMPLATE or model.get("center") != list(CENTER):
        raise CheckpointError(
            f"{checkpoint}: aligned to template {model.get('template')!r}, this version uses {TEMPLATE!r}; train again"
        )
    try:
        recipe = of_record("its recipe in model.json", model.get("recipe"))
    except OptionError as error:
        raise CheckpointError(f"{checkpoint}: {error}; update livepaste, or copy it again") from error
    return generation, recipe, bool(model.get("alone"))


def _people(options: LatentOptions, recipe: Recipe) -> People:
    """Read up to ``options.faces`` faces of each set, spread over it."""
    shown = [(PERSONA, path) for path in (options.only, options.persona) if path is not None]
    sides = [*shown, *[(WEARER, path) for path in options.wearer]]
    facesets = [open_faceset(path, FEWEST_SEEN, "a map of codes") for _, path in sides]
    stored = stored_side(recipe.resolution, recipe.coverage)
    packed, rows, who, poses, played = [], [], [], [], []
    for number, faceset in enumerate(facesets):
        chosen = [faceset.rows[i] for i in spread(len(faceset), options.faces)]
        with ThreadPoolExecutor() as pool:
            packed += pool.map(lambda row, faceset=faceset: packed_face(faceset, row, stored), chosen)
        rows += chosen
        who += [number] * len(chosen)
        turned, expressions = tables(chosen, faceset.info.size)
        poses.append(turned)
        played.append(expressions[:, 0])
    pictures, masks = undistorted(np.array(packed), Geometry(stored, recipe.resolution, recipe.coverage))
    turned = np.concatenate(poses)
    return People([faceset.info.person for faceset in facesets], [side for side, _ in sides], np.array(who), rows,
                  np.asarray(pictures), np.asarray(masks), turned[:, 0], turned[:, 1], np.concatenate(played))  # fmt: skip


def _loaded(model: Any, people: People, checkpoint: str, recipe: Recipe, alone: bool) -> tuple[Any, Any, bool]:
    """Puts the checkpoint's weights into ``model``: its graph, its parameters, and whether its encoder is a base's.

    What a base does not know of anybody, mean faces and usual colours, is that of the faces that are looked at.
    """
    everybody = np.ones(len(people.who), bool)
    known = [of if (of := people.of(side)).any() else everybody for side in (PERSONA, WEARER)]
    model.start_from(*[means(people.pictures[of], people.masks[of]) for of in known])
    start = starting_weights(checkpoint, kind_of(recipe), alone=alone)
    graph, params = nnx.split(model, nnx.Param)
    # a checkpoint of before has no contour, which encodes and draws nothing
    own = {name: leaf for name, leaf in named(params).items() if is_own(name) or name.startswith(CONTOUR)}
    params = with_weights(params, {**own, **(start.weights or {})})
    nnx.update(model, params)
    return graph, params, start.from_base


def _drawn(
    graph: Any, params: Any, side: str, codes: np.ndarray, directions: Directions, numbers: list[int], unit: str
) -> Drawn:
    """Codes are moved from the mean of the side's own, as far as the side's own lie apart; never to where no unit can be."""
    mean = codes.mean(0)
    apart = ((codes - mean) @ directions.axes.T).std(0)
    moved = [mean + amount * std * axis for axis, std in zip(directions.axes, apart) for amount in AMOUNTS]
    single = np.repeat(mean[None], 2 * len(numbers), 0)
    for i, number in enumerate(numbers):
        single[2 * i : 2 * i + 2, number] = np.percentile(codes[:, number], (LOW, HIGH))
    wanted = np.clip(np.array([mean, *moved, *single], np.float32), *IN_UNITS[unit])

    def run(params: Any, codes: jax.Array) -> jax.Array:
        return nnx.merge(graph, params).picture(side, codes)

    made = np.clip(in_chunks(compiled(run), params, wanted), 0, 1)
    shape, after = made.shape[1:], 1 + len(moved)
    along = made[1:after].reshape(len(directions.axes), len(AMOUNTS), *shape)
    return Drawn(made[0], along, made[after:].reshape(len(numbers), 2, *shape))


def _notes(model: dict[str, Any], people: People, drawn: dict[str, Drawn]) -> list[str]:
    """What whoever reads the page should know of whom it shows."""
    notes = []
    if "persona" not in model:
        notes.append("A base: it knows nobody in particular. Its decoder draws the mean of the people that it learned from, here around the "
                     "mean face of those shown.")  # fmt: skip
    else:
        trained = {PERSONA: [model["persona"]], WEARER: model.get("wearers", [])}
        for name, side in zip(people.names, people.sides):
            known = [person.get("person") for person in trained[side] if isinstance(person, dict)]
            if name not in known:
                notes.append(f"{name} is looked at as {side}; trained on were {', '.join(map(str, known)) or 'none'}.")
    if WEARER in people.sides and WEARER not in drawn:
        notes.append("The wearers' own pictures were not learned, so none are drawn.")
    return notes
