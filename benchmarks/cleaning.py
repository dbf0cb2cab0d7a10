"""What cleaning a face set is worth, with augmentation and without: the swap from faces as filmed, spoiled as users' are, and cleaned again.

Both people's sets are spoiled alike (``spoiled.py``) and cleaned as ``livepaste clean`` does; each training takes as many steps, and is judged
crop by crop as in ``recipes.py``. ``make bench-clean``.

``python benchmarks/cleaning.py PAIR [--steps 240] [--batch 8] [--share 0.07] [--recipe light] [--base base|none] [--to bench/clean]``, PAIR as for swaps.py; prints
tables and writes them with the curves, spoiled faces and swaps to ``bench/clean/index.html``. ``--recipe scratch --base none`` starts from nothing.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from livepaste_train.data import Faces, load_faces
from livepaste_train.evaluate import spread
from livepaste_train.recipe import Recipe, read_recipe
from recipes import FACES, Moment, films, geometry_of, people_of, tested, trained
from spoiled import KINDS, Film, clean, write_film

from livepaste.charts import paths, place_up, ticks
from livepaste.faceset import read_faceset
from livepaste.pages import picture_uri, write_page

SETS = "as filmed", "spoiled", "cleaned"
# By name, what is done to the input beside what the recipe says; "recipe" is the recipe's own.
NOTHING = dict.fromkeys(("warp", "rotate", "zoom", "shift", "flip", "surroundings", "jitter", "soften", "noise", "light", "jpeg", "standardise"), 0.0)  # fmt: skip
EVERYTHING = {"warp": 1.0, "rotate": 8.0, "zoom": 0.08, "shift": 0.04, "flip": 0.5, "surroundings": 0.5, "jitter": 0.08, "soften": 0.35, "noise": 0.02,
              "light": 0.3, "jpeg": 0.3}  # fmt: skip
AUGMENTED: dict[str, dict[str, float]] = {"none": NOTHING, "recipe": {}, "all": EVERYTHING}
COLUMNS = "swap", "fitted", "truth again", "sharpness", "mask IoU"
SHOWN = 6  # spoiled faces of each kind
CHART_WH = (920, 200)


@dataclass(frozen=True, eq=False)
class Prepared:
    """Both people's faces in each of ``SETS``, persona first."""

    faces: dict[str, tuple[Faces, Faces]]
    found: list[tuple[str, str]]  # of each kind: went aside of how many, both people's
    examples: list[tuple[str, str]]  # kind, picture


def prepared(people: tuple[Any, Any], strangers: tuple[Any, Any], recipe: Recipe, share: float, count: int) -> Prepared:
    side = geometry_of(recipe).stored
    sets: dict[str, list[Faces]] = {name: [] for name in SETS}
    found: dict[str, np.ndarray] = {}
    examples: dict[str, list[np.ndarray]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (who, stranger, played) in enumerate(zip(people, strangers, films(), strict=True)):
            film = Film(who, stranger, played, count, side, 11 + number)
            good, bad = Path(folder) / f"good{number}", Path(folder) / f"bad{number}"
            write_film(good, film, 0.0, number, "who")
            spoiled = write_film(bad, film, share, number, "who")
            sets["as filmed"].append(_faces(good, side, recipe))
            sets["spoiled"].append(_faces(bad, side, recipe))
            faceset = read_faceset(bad)
            for row in faceset.rows if number == 0 else []:
                if row.name in spoiled:
                    examples.setdefault(spoiled[row.name], []).append(faceset.image(row))
            for kind, counts in clean(bad, spoiled).items():
                found[kind] = found.get(kind, 0) + np.array(counts)
            sets["cleaned"].append(_faces(bad, side, recipe))
    return Prepared(
        {name: (persona, wearer) for name, (persona, wearer) in sets.items()},
        [(kind, f"{found[kind][0]} of {found[kind][1]}") for kind in (*KINDS, "as filmed") if kind in found],
        [(kind, picture_uri(np.concatenate(list(np.array(of)[spread(len(of), SHOWN)]), 1))) for kind, of in examples.items()],
    )  # fmt: skip


def _faces(path: Path, side: int, recipe: Recipe) -> Faces:
    faceset = read_faceset(path)
    return load_faces(faceset, side, np.ones(len(faceset), bool), recipe.poses)


@dataclass(frozen=True, eq=False)
class Run:
    """One training."""

    augmented: str
    faces: str
    count: tuple[int, int]
    moments: list[Moment]

    def row(self) -> list[str]:
        numbers = self.moments[-1].numbers
        values = [f"{numbers[name]:.{3 if name == 'mask IoU' else 2}f}" for name in COLUMNS]
        return [f"{self.faces}, augmented: {self.augmented}", "{} + {}".format(*self.count), *values]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pair", help="drawn:SEED or PERSONA.jpg,WEARER.jpg")
    parser.add_argument(
        "--strangers", default="drawn:8390", help="another pair: who is in the sets of the two by mistake"
    )
    parser.add_argument("--recipe", default="light")
    parser.add_argument("--base", default="base", help="what is started from: base, none or a checkpoint")
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--faces", type=int, default=FACES, help="of each person")
    parser.add_argument("--share", type=float, default=0.07, help="of the faces that is spoiled, each way")
    parser.add_argument("--augmented", default=",".join(AUGMENTED), help=f"some of {', '.join(AUGMENTED)}")
    parser.add_argument("--to", type=Path, default=Path("bench/clean"))
    args = parser.parse_args()
    wanted = args.augmented.split(",")
    if unknown := set(wanted) - set(AUGMENTED):
        parser.error(f"unknown augmentation {', '.join(sorted(unknown))}; known: {', '.join(AUGMENTED)}")
    recipe = replace(read_recipe(args.recipe), batch=args.batch)
    name, people = people_of(args.pair)
    made = prepared(people, people_of(args.strangers)[1], recipe, args.share, args.faces)
    print(f"{name}, {args.share:.0%} spoiled each way; went aside:\n\n| | |\n| --- | --- |")
    print("\n".join(f"| {kind} | {words} |" for kind, words in made.found), flush=True)
    judged_by, runs = tested(people, geometry_of(recipe).stored), []
    print(f"\n| from {args.base}, {args.steps} steps of {args.batch} | faces | {' | '.join(COLUMNS)} |")
    print("| --- " * (len(COLUMNS) + 2) + "|")
    for augmented in wanted:
        for of, faces in made.faces.items():
            changed = replace(recipe, **AUGMENTED[augmented])
            moments = trained(changed, faces, judged_by, args.steps, max(1, args.steps // 4), args.base)
            runs.append(Run(augmented, of, (len(faces[0]), len(faces[1])), list(moments)))
            print(f"| {' | '.join(runs[-1].row())} |", flush=True)
    args.to.mkdir(parents=True, exist_ok=True)
    draw(
        args.to / "index.html",
        f"{name}, recipe {recipe.name} from {args.base}, {args.steps} steps of {args.batch}",
        runs,
        made,
    )


def draw(page: Path, told: str, runs: list[Run], made: Prepared) -> None:
    """The tables, the curves of each augmentation, spoiled faces, and the swaps after the last step."""
    values = [moment.numbers["fitted"] for run in runs for moment in run.moments[1:]]
    low, high = math.floor(min(values)), math.ceil(max(values) + 1e-6)
    w, h = CHART_WH
    last = runs[0].moments[-1].step

    def line(run: Run) -> dict[str, Any]:
        seen = run.moments[1:]  # before the first step all stand far below
        across = np.array([moment.step / last for moment in seen])
        shown = np.array([moment.numbers["fitted"] for moment in seen])
        return {"name": run.faces, "number": SETS.index(run.faces), "paths": paths(shown, low, high, CHART_WH, across)}

    def of(augmented: str) -> Iterable[Run]:
        return (run for run in runs if run.augmented == augmented)

    write_page(
        page, "cleaning.html", beside=Path(__file__).parent, title="What cleaning a face set is worth",
        summary=f"{told}: PSNR of the swap of a performance that nobody was filmed in, colour fitted, over steps.", size=CHART_WH,
        figures=[(name, [line(run) for run in of(name)]) for name in dict.fromkeys(run.augmented for run in runs)],
        across=[(f"{tick / last * w:.1f}", f"{tick:g}") for tick in ticks(0, last)],
        up=[(f"{place_up(tick, low, high, h):.1f}", f"{tick:g}") for tick in ticks(low, high)],
        columns=["", "faces", *COLUMNS], rows=[run.row() for run in runs], found=made.found, examples=made.examples,
        sheets=[(run.row()[0], picture_uri(run.moments[-1].sheet)) for run in runs],
    )  # fmt: skip
    print(f"look at {page}")


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
