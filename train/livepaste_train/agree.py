"""The base's encoder learns to say the same of everybody who does the same. The base that comes along is not made so: see train/README.md.

Pairs teach a code that does not need to say whose face it is, not one that cannot: a decoder of many can look past what is left of the
identity, a persona's own decoder, which only ever sees one, cannot. So the encoder goes on alone, without a decoder and therefore
fast, with many more people than pairs can hold: each face's code is drawn to the mean of all codes of the moment, as the
base had them before, and moved as that moves its own when the crop is: found landmarks lie a pixel aside, and the persona has to
follow. How much a difference counts is what the base's decoder makes of it in the picture.

``python -m livepaste_train.agree --stills DIR --base checkpoints/base --cache FACES.npy --drawn 240 --varied 1065 --morphs 0 --group 30
--frames 40 --seed 2 --for 6m`` changes that base's encoder.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from livepaste_train.augment import Geometry, batch
from livepaste_train.base import mirrored_faces
from livepaste_train.casts import MOVED, Sizes, add_arguments
from livepaste_train.compiling import compiled
from livepaste_train.evaluate import codes_of, means, undistorted
from livepaste_train.models.autoencoder import PERSONA
from livepaste_train.recipe import Recipe, read_recipe
from livepaste_train.reopened import add_base_arguments, learned, part_of, reopened, write
from livepaste_train.step import make_dispatch, new_state

ENCODER = "encoder/"
ASKED = 3  # every so many of a group are asked what a moment is called
STEP = 0.3  # of a code, where its effect on the picture is measured: a third of what a number of it varies by
OTHERWISE = 0.1  # of the mean effect, that a difference counts for which the decoder does not show
SHOWN, MOMENTS = 6, 6  # people and moments that the effect is measured with


class Stage(NamedTuple):
    """What the encoder learns from, on the device."""

    packed: jax.Array  # (groups · members · frames, side, side)
    wanted: jax.Array  # (2, groups, frames, code): the mean code of each moment, and of its mirror image
    before: Any  # the weights that the base had
    counts: jax.Array  # (code, code): ‖difference @ counts‖² is how much a difference of two codes matters


class Codes:
    """What the encoder says of faces that are not disturbed."""

    def __init__(self, graph: Any, geometry: Geometry) -> None:
        self._graph, self._geometry = graph, geometry

    def of(self, params: Any, packed: np.ndarray, *, mirrored: bool = False) -> np.ndarray:
        """``packed`` (n, side, side) -> float32 (n, code)."""
        shown = undistorted(np.asarray(packed), self._geometry)[0]
        return codes_of(self._graph, params, shown[:, :, ::-1] if mirrored else shown)

    def mean_of(self, params: Any, group: np.ndarray) -> np.ndarray:
        """The group's (members, frames, side, side) mean codes, and those of its mirror image: float32 (2, frames, code)."""
        asked = group[::ASKED]
        return np.stack([np.mean([self.of(params, faces, mirrored=m) for faces in asked], 0) for m in (False, True)])


def effect(graph: Any, params: Any, packed: np.ndarray, codes: Codes, geometry: Geometry) -> np.ndarray:
    """(code, code) E, so that d E d is the mean square that a small difference d of the code makes under the face's mask.

    By central differences of the base's decoder, on the mean faces of some of ``packed`` (groups, members, frames, side, side).
    """
    of_each = compiled(lambda own, codes, weight: nnx.merge(graph, own).picture(PERSONA, codes) * weight)
    total: Any = 0
    for group in np.linspace(0, len(packed) - 1, SHOWN).astype(int):
        faces = packed[group, 0]
        picture, mask, usual = means(*undistorted(np.asarray(faces), geometry))
        model = nnx.merge(graph, jax.tree.map(jnp.copy, params))  # a merged model writes into the arrays' holders
        model.start_from((picture, mask, usual), (picture, mask, usual))
        own = nnx.split(model, nnx.Param)[1]
        weight = jnp.sqrt(jnp.asarray(mask) / (3 * jnp.asarray(mask).sum()))
        said = codes.of(params, faces[np.linspace(0, len(faces) - 1, MOMENTS).astype(int)])
        around = STEP * np.eye(said.shape[1], dtype=np.float32)
        for code in said:
            ahead, behind = (of_each(own, jnp.asarray(code + way * around), weight) for way in (1, -1))
            slope = np.asarray((ahead - behind) / (2 * STEP), np.float64).reshape(len(around), -1)
            total = total + slope @ slope.T
    return total / (SHOWN * MOMENTS)


def root_of(effect: np.ndarray) -> np.ndarray:
    """``Stage.counts``: Cholesky factor of the effect, its mean brought to one, and ``OTHERWISE`` of each number."""
    size = len(effect)
    return np.linalg.cholesky(effect * (size / np.trace(effect)) + OTHERWISE * np.eye(size)).astype(np.float32)


def agreeing_loss(graph: Any, geometry: Geometry, recipe: Recipe, sizes: Sizes) -> Callable[..., Any]:
    """Anybody's face, and what everybody's mean says of the moment; as a share of what moments differ by."""
    unmoved = replace(recipe, rotate=0.0, zoom=0.0, shift=0.0)

    def loss(
        model: Any, stage: Stage, key: jax.Array, strength: jax.Array, _: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        k_pick, k_batch = jax.random.split(key)
        group, frame, (member,) = sizes.pick(k_pick, recipe.batch, 1)
        index = sizes.index(group, member, frame)
        shown, _, moved, _ = batch(k_batch, stage.packed, stage.packed, index, index, geometry, recipe, strength)
        still = batch(k_batch, stage.packed, stage.packed, index, index, geometry, unmoved, strength).targets
        before = nnx.merge(graph, stage.before)
        mirrored = mirrored_faces(k_batch, recipe.batch, recipe)[:, None]
        wanted = jnp.where(mirrored, stage.wanted[1, group, frame], stage.wanted[0, group, frame])
        wanted += before.encode(moved) - before.encode(still)
        error = jnp.square((model.encode(shown) - wanted) @ stage.counts).sum(-1).mean()
        return error, {"apart": error}

    return loss


class HeldOut:
    """The last group, which the encoder is not shown: how far apart its people are for it, as pictures."""

    def __init__(self, group: np.ndarray, effect: np.ndarray, codes: Codes) -> None:
        self._group, self._effect, self._codes = group, effect, codes

    def measure(self, params: Any) -> dict[str, float]:
        """PSNR in dB that people at one moment (``people``), and moments of everybody's mean (``moments``), have among each other."""
        said = np.stack([self._codes.of(params, faces) for faces in self._group]).astype(np.float64)
        moments = said.mean(0)
        people = (said - moments) * np.sqrt(len(said) / (len(said) - 1))
        return {"people": self._db(people), "moments": self._db(moments - moments.mean(0))}

    def _db(self, apart: np.ndarray) -> float:
        error = np.einsum("...i,ij,...j->...", apart, self._effect, apart).mean()
        return round(float(-10 * np.log10(error)), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    add_base_arguments(parser)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    args = parser.parse_args()
    recipe = replace(read_recipe(args.recipe), batch=args.batch, lr=args.lr, ema=0.998, flip=0.5, **MOVED)
    base = reopened(args, recipe)
    packed, sizes, geometry, graph, params = base
    scale = base.rates(ENCODER, 1.0)
    codes = Codes(graph, geometry)
    wanted = np.stack([codes.mean_of(params, group) for group in packed[: sizes.groups]], 1)
    seen = effect(graph, params, packed[: sizes.groups], codes, geometry)
    counts = root_of(seen)
    differ = np.square((wanted - wanted.mean((1, 2), keepdims=True)) @ counts).sum(-1).mean()
    data = Stage(base.faces(), jnp.asarray(wanted), jax.tree.map(jnp.copy, params), jnp.asarray(counts / np.sqrt(differ)))  # fmt: skip
    held_out = HeldOut(np.asarray(packed[-1]), seen, codes)
    before = held_out.measure(params)
    print(json.dumps({"before": before}), file=sys.stderr, flush=True)
    dispatch = make_dispatch(graph, agreeing_loss(graph, geometry, recipe, sizes), recipe, scale)
    state = new_state(params, recipe, args.seed, 0, scale)
    averaged, spent, after = learned(args.time, state, dispatch, data, held_out.measure)
    told = {**spent, "identities": sizes.groups * sizes.members, "faces": len(data.packed), "before": before, "after": after}  # fmt: skip
    write(args.base, part_of(averaged, ENCODER), {"agreed": told}, json.dumps(told))


if __name__ == "__main__":
    main()
