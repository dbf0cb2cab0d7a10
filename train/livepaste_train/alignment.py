"""The alignment network that comes with livepaste: learned from actors, of whom the exact place is known, as a landmark finder finds them.

``python benchmarks/found.py --stills DIR --to FOUND`` and then ``python -m livepaste_train.alignment --found FOUND --to checkpoints/alignment``
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from livepaste.actors import MAKER_VERSION
from livepaste.align import STORED_COVERAGE, align, mean_mesh, transform
from livepaste.checkpoint import ASIDE
from livepaste_train.augment import Geometry, disturb_color, exchange_surroundings, sample
from livepaste_train.clocked import Clock
from livepaste_train.compiling import compiled
from livepaste_train.export import export_aligner
from livepaste_train.keeper import contract
from livepaste_train.models.aligner import POINTS, Aligner, AlignerOptions, squared_px
from livepaste_train.occlusion_batch import coarser
from livepaste_train.options import seconds
from livepaste_train.recipe import Recipe, as_record, read_recipe
from livepaste_train.ship import ship
from livepaste_train.step import make_dispatch, new_state

Array = jax.Array
MIRRORED = np.array([-1, 1, 1, -1], np.float32)  # what a mirror makes of an aside
FAR = 0.2  # half sides, logarithm, radians: what is found further aside is not this face
KNOWN = (
    0.9,
    0.4,
)  # share of faces shown with their landmarks, and what of it the warp's strength takes: in the last fifth none
STRANGE = 0.15  # standard deviation of what is added to a mesh's shape: a finder never errs the same way twice
HIDES = (
    0.15  # of the faces have a rectangle of another face before them, that wide at least and more, shares of the side
)
RECTANGLE = 0.05, 0.2


MEASURED = (
    "shape",
    "line",
)  # layers that are never learned: a step of the others' size would undo what least squares found


class Found(NamedTuple):
    """Faces as they are, in their exact places, and where a finder finds them."""

    faces: Array  # uint32 (n, side, side), packed
    meshes: Array  # float32 (n, 1434): in the crop by themselves, half sides from its middle
    asides: Array  # float32 (n, 4): how far that crop lies aside of the exact one


def as_found(points: np.ndarray, side: int, coverage: float) -> tuple[np.ndarray, np.ndarray]:
    """Meshes and asides of points (n, 478, 3) found in exact crops of ``side`` pixels, stored coverage; ``coverage`` of the network's crop."""
    meshes, asides = np.empty((len(points), 3 * POINTS), np.float32), np.empty((len(points), 4), np.float32)
    middle = np.array([(side - 1) / 2, (side - 1) / 2, 0])
    halves = STORED_COVERAGE / coverage / (side / 2)  # stored pixels to half sides of the network's crop
    for i, found in enumerate(points):
        by_them = align(found, side).frame_to_crop
        x, y = by_them @ [*middle[:2], 1] - middle[:2]
        (a, _), (b, _) = by_them[:, :2]
        asides[i] = x * halves, y * halves, np.log(np.hypot(a, b)), np.arctan2(b, a)
        meshes[i] = ((transform(found, by_them) - middle) * halves).reshape(-1)
    return meshes, asides


@cache
def _mirror() -> np.ndarray:
    return mean_mesh().mirror.astype(np.int32)


def mirrored(meshes: Array) -> Array:
    """Meshes (b, 1434) as a mirror shows them."""
    turned = meshes.reshape(-1, POINTS, 3)[:, _mirror()] * jnp.array([-1.0, 1.0, 1.0])
    return turned.reshape(meshes.shape)


def affine_of(asides: Array, flip: Array) -> Array:
    """From a crop that lies so far aside to the exact one, (b, 2, 3), half sides; ``flip`` (b,) where that is mirrored."""
    size, angle = jnp.exp(-asides[:, 2]), asides[:, 3]
    c, s = jnp.cos(angle) * size, jnp.sin(angle) * size
    back = jnp.stack([jnp.stack([c, s], -1), jnp.stack([-s, c], -1)], 1)
    shift = -jnp.einsum("bij,bj->bi", back, asides[:, :2])
    affine = jnp.concatenate([back, shift[:, :, None]], 2)
    return affine * jnp.where(flip[:, None, None], jnp.array([[-1.0], [1.0]]), 1.0)


def hidden(key: Array, x: Array) -> Array:
    """Some of the pictures (b, s, s, 3) with a rectangle of another one before them."""
    b, s = x.shape[:2]
    u = jax.random.uniform(key, (5, b))[:, :, None, None, None]
    at = (jnp.arange(s) + 0.5) / s
    least, more = RECTANGLE
    inside = (abs(at[None, None, :, None] - u[1]) < least + more * u[3]) & (
        abs(at[None, :, None, None] - u[2]) < least + more * u[4]
    )
    return jnp.where((u[0] < HIDES) & inside, jnp.roll(x, b // 2 - 1, 0)[:, :, ::-1], x)


def batch(
    key: Array, found: Found, known: Array, geometry: Geometry, recipe: Recipe
) -> tuple[Array, Array, Array, Array]:
    """Crops (b, s, s, 3), their meshes, which of these count (b, 1), and the asides to be told.

    ``known``: the share of faces that are shown as they were found; the others lie anywhere, and their landmarks do not count: so the
    picture alone has to tell it.
    """
    b = recipe.batch
    k = jax.random.split(key, 8)
    index = jax.random.randint(k[0], (b,), 0, len(found.faces))
    flip = jax.random.bernoulli(k[1], recipe.flip, (b,))
    counts = jax.random.bernoulli(k[2], known, (b, 1))
    anywhere = jax.random.uniform(k[3], (b, 4), minval=-1.0) * jnp.array(
        [2 * recipe.shift, 2 * recipe.shift, np.log1p(recipe.zoom), np.radians(recipe.rotate)]
    )
    asides = jnp.where(counts, found.asides[index] * jnp.where(flip[:, None], MIRRORED, 1.0), anywhere)
    face = sample(found.faces, index, affine_of(asides, flip), geometry)
    crops = exchange_surroundings(k[4], face[..., :3], face[..., 3:], recipe)
    crops = disturb_color(k[5], coarser(k[6], hidden(k[7], crops)), recipe)
    meshes = jnp.where(flip[:, None], mirrored(found.meshes[index]), found.meshes[index])
    return crops, meshes, counts.astype(jnp.float32), asides


@cache  # the same function for the same words, by which make_dispatch knows it again
def aside_loss(geometry: Geometry, recipe: Recipe) -> Any:
    """How many pixels of a crop of 112 a face's parts lie aside of where they are said to, with and without landmarks."""

    def loss(model: Aligner, found: Found, key: Array, strength: Array, _: Array) -> tuple[Array, dict[str, Array]]:
        most, less = KNOWN
        k_batch, k_shape = jax.random.split(key)
        crops, meshes, counts, asides = batch(k_batch, found, most - less * strength, geometry, recipe)
        shapes = model.shapes(meshes)
        shapes = (shapes + STRANGE * jax.random.normal(k_shape, shapes.shape)) * counts
        px = jnp.sqrt(squared_px(model.aside(crops, shapes) - asides) + 1e-2)
        return px.mean(), {"found": (px * counts[:, 0]).sum() / jnp.maximum(1.0, counts.sum())}

    return loss


def people_apart(people: np.ndarray, share: float) -> np.ndarray:
    """Which faces are of the people that are held out, bool: the last ones."""
    return people >= np.quantile(np.unique(people), 1 - share)


class Learner:
    """The network and what it learns from."""

    def __init__(self, faces: np.ndarray, points: np.ndarray, people: np.ndarray, recipe: Recipe, seed: int) -> None:
        """Exact crops, packed (n, side, side), the points found in each (n, 478, 3) or NaN, and whose face it is (n,)."""
        side = faces.shape[-1]
        there = np.flatnonzero(np.isfinite(points).all((1, 2)))
        meshes, asides = as_found(points[there], side, recipe.coverage)
        near = (np.abs(asides) < FAR).all(1)
        there, meshes, asides = there[near], meshes[near], asides[near]
        out = people_apart(people[there], recipe.held_out)
        self.recipe, self.shape = recipe, AlignerOptions(resolution=recipe.resolution)
        geometry = Geometry(side, recipe.resolution, recipe.coverage)
        model = Aligner(self.shape, nnx.Rngs(seed))
        of_mirror = np.asarray(mirrored(jnp.asarray(meshes[~out])))
        model.measure(
            np.concatenate([meshes[~out], of_mirror]), np.concatenate([asides[~out], asides[~out] * MIRRORED])
        )
        self._graph, params = nnx.split(model, nnx.Param)
        scale = jax.tree.map_with_path(lambda path, _: 0.0 if path[0].key in MEASURED else 1.0, params)
        self._dispatch = make_dispatch(self._graph, aside_loss(geometry, recipe), recipe, scale)
        self._found = Found(*map(jnp.asarray, (faces[there[~out]], meshes[~out], asides[~out])))
        self.state = new_state(params, recipe, seed, 0, scale)
        self.people, self.asides, self.meshes = people[there[out]], asides[out], meshes[out]
        still = affine_of(jnp.asarray(self.asides), jnp.zeros(len(self.asides), bool))
        self.crops = np.asarray(
            sample(jnp.asarray(faces[there[out]]), jnp.arange(len(still)), still, geometry)[..., :3]
        )
        self._tell = compiled(lambda params, crops, meshes: _told(nnx.merge(self._graph, params), crops, meshes))

    def take(self, clock: Clock) -> dict[str, float]:
        """One dispatch; the mean losses in it."""
        self.state, losses = clock.take(self._dispatch, self.state, self._found)
        return losses

    def measure(self) -> dict[str, float]:
        """How far held-out people's faces lie aside of their places, root mean squares in pixels of a crop of 112: by landmarks, by the
        network, and (``within``) each less its person's mean."""
        told = np.asarray(self._tell(self.state.ema, self.crops, self.meshes))
        numbers = {}
        for name, apart in (("landmarks", self.asides), ("network", self.asides - told)):
            _, who = np.unique(self.people, return_inverse=True)
            mean = np.stack([np.bincount(who, column) for column in apart.T], 1) / np.bincount(who)[:, None]
            for what, of in (("", apart), ("_within", apart - mean[who])):
                numbers[f"{name}{what}_px"] = round(float(np.sqrt(np.asarray(squared_px(of)).mean())), 3)
        return numbers

    def write(self, folder: Path, record: dict[str, Any]) -> None:
        model = nnx.merge(self._graph, self.state.ema)
        export_aligner(folder / ASIDE, model, record, self.crops[0], self.meshes[:1])


def _told(model: Aligner, crops: Array, meshes: Array) -> Array:
    return model.aside(crops, model.shapes(meshes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--found", type=Path, required=True, help="folder that benchmarks/found.py wrote")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--for", dest="time", default="8m")
    args = parser.parse_args()
    recipe = read_recipe("aligner")
    arrays = (np.load(args.found / f"{name}.npy", mmap_mode="r") for name in ("faces", "points", "people"))
    learner = Learner(*arrays, recipe, args.seed)
    clock = Clock(seconds(args.time))
    while not clock.over:
        losses = learner.take(clock)
        if clock.due("measure", 60):
            numbers = learner.measure()
            clock.say(learner.state, **losses, **numbers)
    record = {
        **contract(recipe),
        "steps": int(learner.state.step),
        "validation": numbers,
        "recipe": as_record(recipe),
        "options": asdict(learner.shape),
        "consent": "synthetic",
        "maker": MAKER_VERSION,
        "seconds": round(clock.spent_s),
    }
    size = ship(args.to, record, partial(learner.write, record=record))
    print(f"{args.to}: {size / 1e6:.1f} MB, {json.dumps(numbers)}", file=sys.stdout)


if __name__ == "__main__":
    main()
