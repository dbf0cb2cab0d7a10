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
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from flax import nnx

from livepaste.actors import MAKER_VERSION
from livepaste_train.casts import Cast, Meshes, casting
from livepaste_train.clocked import Clock
from livepaste_train.models.visible import VisibleFace, VisibleOptions
from livepaste_train.occluded import HELD, KEPT_OUT, WORN, Job, perform_occluded, sheets
from livepaste_train.occlusion_batch import Stock
from livepaste_train.occlusion_fit import Learner, drawn_things, sides
from livepaste_train.options import seconds
from livepaste_train.recipe import read_recipe
from livepaste_train.ship import ship

SHEETS = 400  # of each kind


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
    parser.add_argument("--batch", type=int, help="faces a step (default: the recipe's)")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--for", dest="time", default="20m")
    args = parser.parse_args()
    recipe = read_recipe("occlusion")
    recipe = replace(recipe, batch=args.batch or recipe.batch)
    side, sheet_side = sides(recipe)
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
    model = VisibleFace(VisibleOptions(resolution=recipe.resolution), nnx.Rngs(args.seed))
    laid = drawn_things((*HELD, *WORN, *KEPT_OUT), len(out), sheet_side)
    learner = Learner(model, Stock(faces, worn, things), out, laid, recipe, args.seed)
    clock = Clock(seconds(args.time))
    while not clock.over:
        losses = learner.take(clock)
        if clock.due("measure", 60):
            numbers, preview = learner.measure()
            clock.say(learner.state, **losses, **numbers)
            record = {**learner.record(numbers), "consent": "synthetic", "maker": MAKER_VERSION}
            fill = partial(learner.write, record=record, preview=preview)
            size = ship(args.to, {**record, "seconds": round(clock.spent_s)}, fill)
    print(f"{args.to}: {size / 1e6:.1f} MB, {json.dumps(numbers)}")


if __name__ == "__main__":
    main()
