"""Which way to a base is worth its time: three of them on one budget, and nothing. ``make bench-bases``

``pairs``: as ``checkpoints/base`` is made, its encoder at rest in the training that follows. ``plain``: an ordinary autoencoder over the same
faces, at rest or learning on. ``reset``: that one with everything between the encoder's maps and the decoders' begun anew, as
DeepFaceLab does after pretraining. ``nothing``: no base. Each is trained for as long, and judged by short trainings as ``recipes.py`` does.

``python benchmarks/bases.py PAIR… --stills DIR --cache faces.npy [--for 8m] [--steps 240] [--to bench/bases]``, PAIR as for swaps.py.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from livepaste_train.augment import Geometry, batch, in_light
from livepaste_train.base import Stage, as_shipped, canvases, recipe_of
from livepaste_train.casts import Sizes, add_arguments, read_casts
from livepaste_train.clocked import Clock
from livepaste_train.keeper import contract
from livepaste_train.models.layers import constant
from livepaste_train.models.light import LightBase, LightOptions
from livepaste_train.ops import EVEN, JAX_OPS
from livepaste_train.options import seconds
from livepaste_train.recipe import Recipe, as_record, read_recipe
from livepaste_train.ship import ship
from livepaste_train.state import save_weights
from livepaste_train.step import losses_of, make_dispatch, mask_loss, new_state
from recipes import FACES, films, geometry_of, people_of, shoot, tested, trained

INTER = ("encoder/neck/", "encoder/code/", "/spread/", "/widen/")  # between the encoder's maps and the decoders'
# way: (which base, what is begun anew, the encoder's rate)
WAYS: dict[str, tuple[str, tuple[str, ...], float]] = {
    "pairs": ("pairs", (), 0.0),
    "plain, at rest": ("plain", (), 0.0),
    "plain, learning": ("plain", (), 1.0),
    "reset": ("plain", INTER, 1.0),
    "nothing": ("none", (), 1.0),
}


def plain_loss(recipe: Recipe, sizes: Sizes, geometry: Geometry) -> Callable[..., Any]:
    """Show a face and draw it, whoever it is: in the same tone for everybody, since the encoder sees none."""

    def loss(
        model: Any, stage: Stage, key: jax.Array, strength: jax.Array, _: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        k_pick, k_batch = jax.random.split(key)
        group, frame, (who,) = sizes.pick(k_pick, recipe.batch, 1)
        index = sizes.index(group, who, frame)
        source, _, target, mask = batch(k_batch, stage.packed, stage.packed, index, index, geometry, recipe, strength)  # fmt: skip
        code = model.encoder(source, JAX_OPS)
        target = in_light(target, mask, jnp.full((1, 1, 1, 3), EVEN))
        made = model.decoder.mask_logits(code, JAX_OPS)
        terms = {**losses_of(model.decoder.picture(code), target, mask, recipe), "mask": mask_loss(made, mask, recipe)}
        return sum(terms.values()), terms

    return loss


def train_plain(args: argparse.Namespace, to: Path) -> None:
    """The base of ``plain``, with what else ``livepaste_train.base`` does the same."""
    recipe = recipe_of(args.recipe)
    _, _, packed = read_casts(args, recipe)
    sizes, side = Sizes(*packed.shape[:3]), packed.shape[-1]
    geometry = replace(geometry_of(recipe), stored=side)  # rendered at the side that they are used at
    model = LightBase(LightOptions(resolution=recipe.resolution), 1, 1, nnx.Rngs(args.seed))
    picture, mask, _ = (logits.mean(0, keepdims=True) for logits in canvases(packed[:, :, ::4], geometry))
    model.decoder.canvas[...], model.decoder.mask_canvas[...] = jnp.asarray(picture), jnp.asarray(mask)
    model.decoder.usual[...] = constant(EVEN, (3,))
    data = Stage(jnp.asarray(np.asarray(packed).reshape(-1, side, side)), *[jnp.zeros(())] * 4)
    graph, params = nnx.split(model, nnx.Param)
    scale = jax.tree.map(lambda _: 1.0, params)
    state, clock = new_state(params, recipe, args.seed, 0, scale), Clock(seconds(args.time))
    dispatch = make_dispatch(graph, plain_loss(recipe, sizes, geometry), recipe, scale)
    while not clock.over:
        state, metrics = clock.take(dispatch, state, data)
        if clock.due("say", 60):
            clock.say(state, **metrics)
    facts = {**contract(recipe), "consent": "synthetic", "recipe": as_record(recipe), "steps": int(state.step)}
    weights = as_shipped(state.ema)
    ship(to, facts, lambda folder: save_weights(folder / "weights.npz", weights))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="+", metavar="PAIR")
    add_arguments(parser)
    parser.add_argument("--for", dest="time", default="8m")
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--to", type=Path, default=Path("bench/bases"))
    args = parser.parse_args()
    args.to.mkdir(parents=True, exist_ok=True)
    if not (args.to / "plain").exists():
        train_plain(args, args.to / "plain")
    if not (args.to / "pairs").exists():
        given = [f"--{name}={getattr(args, name)}" for name in ("stills", "cache", "recipe", "drawn", "morphs", "varied", "group", "frames", "seed")
                 if getattr(args, name) is not None]  # fmt: skip
        whole = [sys.executable, "-m", "livepaste_train.base", *given, "--to", str(args.to / "pairs"), "--for", args.time, "--read", "1s"]  # fmt: skip
        subprocess.run(whole, check=True)
    print(
        "| way | pair | steps | seconds | swap | fitted | truth again | mask IoU |\n" + "| --- " * 8 + "|", flush=True
    )
    for pair in args.pairs:
        name, people = people_of(pair)
        recipe = replace(read_recipe(args.recipe), batch=8)
        side = geometry_of(recipe).stored
        sides = tuple(shoot(*of, FACES, side, 11 + k) for k, of in enumerate(zip(people, films(), strict=True)))
        of = tested(people, side)
        for way, (base, anew, rate) in WAYS.items():
            start = base if base == "none" else str(args.to / base)
            own = replace(recipe, encoder_lr=rate)
            for at in trained(own, sides, of, args.steps, args.steps // 4, start, anew=anew):
                if at.step:  # which comes in whole dispatches
                    told = (f"{at.numbers[key]:.1f}" for key in ("swap", "fitted", "truth again"))
                    print(f"| {way} | {name} | {at.step} | {at.spent_s:.0f} | {' | '.join(told)} | {at.numbers['mask IoU']:.3f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
