"""What a shape of ``light`` is worth: its widths, its code, what it is made of; by what it costs live and how good it gets in the same time.

Each is trained from nothing on one pair of actors for as long as the others, as ``recipes.py`` does it (exact crops, no clip, no detector), after
a few steps that tell its pace. ``again`` draws the persona's own crops of a performance that was not shown, ``swap`` the wearer's, both in dB
with each picture's colour fitted to the truth. A swap's time is ONNX Runtime's on one core, the median of fifty.

``python benchmarks/shapes.py PAIR [--for 180] [--only NAME …] [key=value …]``, PAIR as for swaps.py; settings are the recipe's.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any, NamedTuple

import cv2
import jax
import numpy as np
import onnxruntime
from bench import machine
from flax import nnx
from livepaste_train.export import multiply_adds, write_graph
from livepaste_train.models import make_model
from livepaste_train.recipe import Recipe, read_recipe
from recipes import FACES, changed, films, geometry_of, people_of, shoot, tested, trained

SHAPES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "three quarters as wide": {"quarter": 48, "eighth": 96, "sixteenth": 120, "half": 24},
    "half as wide again": {"quarter": 96, "eighth": 192, "sixteenth": 240, "half": 48},
    "a code of 64": {"code": 64},
    "a code of 320": {"code": 320},
    "separable": {"block": "separable"},
    "separable, half as wide again": {"block": "separable", "quarter": 96, "eighth": 192, "sixteenth": 240, "half": 48},
    "inverted": {"block": "inverted"},
}
RUNS = 50


class Cost(NamedTuple):
    """Of a swap."""

    parameters: int
    multiply_adds: int
    swap_ms: float


def cost_of(recipe: Recipe) -> Cost:
    model = make_model(recipe, 0)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    graph = write_graph(model, recipe.resolution, half=False).SerializeToString()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    crop = np.random.default_rng(0).random((1, 3, recipe.resolution, recipe.resolution), np.float32)
    took = []
    for _ in range(RUNS):
        began = time.perf_counter()
        session.run(None, {"crop": crop})
        took.append(time.perf_counter() - began)
    size = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    return Cost(size, multiply_adds(model, recipe.resolution), 1e3 * float(np.median(took)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pair", help="drawn:SEED or PERSONA.jpg,WEARER.jpg")
    parser.add_argument("settings", nargs="*", metavar="key=value")
    parser.add_argument("--for", dest="seconds", type=float, default=180, help="of steps, each shape")
    parser.add_argument("--only", nargs="+", choices=SHAPES, default=list(SHAPES), metavar="NAME")
    args = parser.parse_args()
    recipe = replace(changed(read_recipe("light"), args.settings), appearance=False)  # from nothing there is none
    name, people = people_of(args.pair)
    side = geometry_of(recipe).stored
    faces = tuple(shoot(*of, FACES, side, 11 + k) for k, of in enumerate(zip(people, films(), strict=True)))
    of = tested(people, side)
    print(f"{machine()}\n\n{name}, {args.seconds:.0f} s of steps each, batches of {recipe.batch}\n")
    print(
        "| shape | parameters | multiply-adds | a swap | steps | again, at half | at the end | swap, at half | at the end |"
    )
    print("| --- " * 9 + "|")
    for shape in args.only:
        own = replace(recipe, architecture=tuple(SHAPES[shape].items()))
        few = 3 * recipe.steps_per_dispatch
        *_, before, last = trained(own, faces, of, few, recipe.steps_per_dispatch, "none")
        pace_s = (last.spent_s - before.spent_s) / recipe.steps_per_dispatch
        half = max(1, round(args.seconds / pace_s / recipe.steps_per_dispatch / 2)) * recipe.steps_per_dispatch
        _, *moments = trained(own, faces, of, 2 * half, half, "none")
        cost = cost_of(own)
        parts = [f"{at.numbers[what]:.2f}" for what in ("truth again", "fitted") for at in moments]
        print(
            f"| {shape} | {cost.parameters / 1e6:.1f} M | {cost.multiply_adds / 1e9:.2f} G | {cost.swap_ms:.1f} ms | {2 * half} in {moments[-1].spent_s:.0f} s | {' | '.join(parts)} |",
            flush=True,
        )


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
