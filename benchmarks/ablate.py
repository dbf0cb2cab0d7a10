"""What parts of a training are worth: plain, batch norm, residual blocks, and levels trained one by one first, on the same budget.

The network is ``original`` at an eighth of its width, so that minutes suffice; people are drawn actors' exact crops. Three questions:

1. how well held-out faces are drawn after so many seconds of steps (compiling and measuring do not count, levels trained first do);
2. what a start level by level is worth after 100 steps of the training itself, and beside it at equal total time;
3. whether an encoder that learned without labels helps to tell people apart who are labelled a few times only.

``python benchmarks/ablate.py [--seconds 60] [--seeds 5] [--to ablate]`` prints a table and writes it with the curves to ``ablate/index.html``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from livepaste_train.augment import Geometry
from livepaste_train.data import Faces, join, stored_side
from livepaste_train.evaluate import crops, means, psnr_db, undistorted
from livepaste_train.models import make_model
from livepaste_train.models.autoencoder import PERSONA, WEARER
from livepaste_train.offset import Offset
from livepaste_train.recipe import Recipe, read_recipe
from livepaste_train.settled import Settler
from livepaste_train.stacked import pretrained
from livepaste_train.start import rate_scale
from livepaste_train.step import Sides, lone_loss, make_dispatch, new_state, pair_loss
from recipes import actor, shoot

from livepaste.actors.motion import perform
from livepaste.charts import clock, clock_ticks, paths, place_up, ticks
from livepaste.pages import write_page

WIDTH, CODE = 16, 128
SIZE_WH = 920, 320  # of the drawing
PLAIN = replace(
    read_recipe("original"), architecture=(("code", CODE), ("width", WIDTH)), batch=16, lr=1e-3, ema=0.99, steps_per_dispatch=10, warp=0.0,
    rotate=2.0, zoom=0.02, shift=0.01, flip=0.0, warmup=0.0, schedule="constant",
)  # fmt: skip
VARIANTS = {
    "plain": PLAIN,
    "batch norm": replace(PLAIN, normalisation="batch"),
    "residual": replace(PLAIN, architecture=(*PLAIN.architecture[:1], ("residual", True), *PLAIN.architecture[1:])),
    "stacked": replace(PLAIN, pretrain="stacked:100"),
}
FINE_TUNED = 100  # steps
PEOPLE, LABELLED, TESTED = 10, 4, 20  # identities; faces of each with a label; faces of each that are asked for
CLASSIFIED = 150  # steps


@dataclass(frozen=True)
class Pair:
    """Two actors, filmed apart, and what both play that neither was filmed in."""

    geometry: Geometry
    persona: Faces
    wearer: Faces
    held_out: tuple[Faces, Faces]

    @property
    def data(self) -> Sides:
        sums = (jnp.asarray(np.cumsum(faces.weight)) for faces in (self.persona, self.wearer))
        return Sides(jnp.asarray(np.concatenate([self.persona.packed, self.wearer.packed])), *sums)


def filmed(seed: int) -> Pair:
    side = stored_side(PLAIN.resolution, PLAIN.coverage)
    people = [actor(f"drawn:{seed + i}") for i in range(2)]
    films = [perform(number, 1500, amount=1.15) for number in (9101, 9202)]
    sets = [shoot(who, film, 300, side, 11 + k) for k, (who, film) in enumerate(zip(people, films, strict=True))]
    held_out = tuple(shoot(who, perform(9303, 400), 60, side, 13) for who in people)
    return Pair(Geometry(side, PLAIN.resolution, PLAIN.coverage), *sets, held_out)


class Training:
    """One network on one pair, whose steps are timed."""

    def __init__(self, pair: Pair, recipe: Recipe, seed: int) -> None:
        self.recipe, self.seed, self.geometry = recipe, seed, pair.geometry
        model = make_model(recipe, seed)
        shown = [crops(faces, pair.geometry, 200) for faces in (pair.persona, pair.wearer)]
        model.start_from(*[means(*side) for side in shown])
        self.graph, params = nnx.split(model, nnx.Param)
        self.scale = rate_scale(params, False, recipe)
        self.dispatch = make_dispatch(self.graph, pair_loss(pair.geometry, recipe, jnp.float32), recipe, self.scale)
        self.settle = Settler(self.graph, params, *[side[0][:64] for side in shown], alone=False).settle
        self.offset = Offset(self.graph, pair.persona, pair.wearer, pair.geometry) if recipe.meet else None
        self.data, self.truth = pair.data, [undistorted(faces.packed, pair.geometry) for faces in pair.held_out]
        self._again = jax.jit(lambda p, crops, side: nnx.merge(self.graph, p).picture(side, nnx.merge(self.graph, p).encode(crops)),
                              static_argnums=2)  # fmt: skip
        self.dispatch(self._state(jax.tree.map(jnp.array, params)), self.data)  # compiled, and forgotten
        self.spent_s = 0.0
        if recipe.pretrain:
            few = replace(recipe, pretrain="stacked:1")
            self._level_by_level(jax.tree.map(jnp.array, params), few)  # compiled
            began = time.monotonic()
            params = self._level_by_level(params, recipe)
            self.spent_s = time.monotonic() - began
        self.state = self._state(params)

    def _level_by_level(self, params: Any, recipe: Recipe) -> Any:
        return pretrained(self.graph, params, self.data, self.geometry, recipe, self.scale, jnp.float32, alone=False, seed=self.seed,
                          tell=lambda level, levels, error: None)  # fmt: skip

    def _state(self, params: Any) -> Any:
        return new_state(params, self.recipe, self.seed, 0, self.scale)

    def step(self) -> None:
        began = time.monotonic()
        self.state, _ = jax.block_until_ready(self.dispatch(self.state, self.data))
        self.spent_s += time.monotonic() - began

    def drawn_db(self) -> float:
        """Held-out faces drawn again, PSNR under their masks, mean of both sides."""
        params = self.settle(self.state.ema)
        made = [psnr_db(np.asarray(self._again(params, shown, side)), np.asarray(shown), np.asarray(mask))
                for side, (shown, mask) in zip((PERSONA, WEARER), self.truth, strict=True)]  # fmt: skip
        return sum(made) / 2


def curve(training: Training, seconds: float, marks: int = 12) -> Iterator[tuple[float, float]]:
    """Seconds of steps, and how well held-out faces are drawn by then."""
    for mark in np.linspace(seconds / marks, seconds, marks):
        while training.spent_s < mark:
            training.step()
        yield training.spent_s, training.drawn_db()


def told_apart(seconds: float, seed: int) -> tuple[float, float]:
    """Errors of a classifier of ``PEOPLE`` actors, ``LABELLED`` faces of each with a label, in a performance that it has not seen: with
    an encoder that was trained as an autoencoder of all faces for ``seconds``, and with one that begins at random."""
    recipe, side = replace(PLAIN, meet=0.0), stored_side(PLAIN.resolution, PLAIN.coverage)
    geometry = Geometry(side, recipe.resolution, recipe.coverage)
    people = [actor(f"drawn:{7000 + 100 * seed + i}") for i in range(PEOPLE)]
    films = [shoot(who, perform(9100 + i, 600), 60, side, 11 + i) for i, who in enumerate(people)]
    # everybody in one room, played otherwise: neither room nor pose says who it is
    test = [undistorted(shoot(who, perform(9303, 400), TESTED, side, 99).packed, geometry)[0] for who in people]
    everybody = join(films)
    model = make_model(recipe, seed, alone=True)
    model.start_from(*[means(*crops(everybody, geometry, 200))] * 2)
    graph, params = nnx.split(model, nnx.Param)
    scale = rate_scale(params, False, recipe)
    dispatch = make_dispatch(graph, lone_loss(geometry, recipe, jnp.float32), recipe, scale)
    sums = jnp.asarray(np.cumsum(everybody.weight))
    data, state = (
        Sides(jnp.asarray(everybody.packed), sums, sums),
        new_state(jax.tree.map(jnp.array, params), recipe, seed, 0, scale),
    )
    state, _ = dispatch(state, data)
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        state, _ = jax.block_until_ready(dispatch(state, data))
    rng = np.random.default_rng(seed)
    labelled = [undistorted(film.packed[rng.choice(len(film), LABELLED, replace=False)], geometry)[0] for film in films]
    pictures, labels = jnp.concatenate(labelled), jnp.repeat(jnp.arange(PEOPLE), LABELLED)
    asked, answers = jnp.concatenate(test), np.repeat(np.arange(PEOPLE), TESTED)
    return tuple(_classified(graph, start, pictures, labels, asked, answers) for start in (state.params, params))


def _classified(graph: Any, params: Any, pictures: Any, labels: Any, asked: Any, answers: np.ndarray) -> float:
    optimizer = optax.adam(1e-3)
    codes = nnx.merge(graph, params).encode(pictures)
    center, spread = codes.mean(0), codes.std(0) + 1e-6  # both begin with codes of one scale
    held = (params, jnp.zeros((CODE, PEOPLE)), jnp.zeros(PEOPLE))

    def logits(held: Any, x: Any) -> Any:
        encoder, kernel, bias = held
        return (nnx.merge(graph, encoder).encode(x) - center) / spread @ kernel + bias

    @jax.jit
    def step(held: Any, state: Any) -> Any:
        loss = lambda h: optax.softmax_cross_entropy_with_integer_labels(logits(h, pictures), labels).mean()  # noqa: E731
        updates, state = optimizer.update(jax.grad(loss)(held), state)
        return optax.apply_updates(held, updates), state

    state = optimizer.init(held)
    for _ in range(CLASSIFIED):
        held, state = step(held, state)
    return float((np.asarray(logits(held, asked)).argmax(1) != answers).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=8401, help="of the persona; the wearer has the next")
    parser.add_argument("--to", type=Path, default=Path("ablate"))
    args = parser.parse_args()
    pair = filmed(args.seed)
    curves: dict[str, list[list[tuple[float, float]]]] = {}
    tuned: dict[str, list[float]] = {}
    for name, recipe in VARIANTS.items():
        for seed in range(args.seeds):
            training = Training(pair, recipe, seed)
            first = training.spent_s
            if name in ("plain", "stacked"):
                other = Training(pair, recipe, seed)  # begun like the other
                for _ in range(FINE_TUNED // recipe.steps_per_dispatch):
                    other.step()
                tuned.setdefault(name, []).append(other.drawn_db())
            curves.setdefault(name, []).append(list(curve(training, args.seconds)))
            steps = int(training.state.step)
            print(f"{name:<11} seed {seed}: {curves[name][-1][-1][1]:.2f} dB after {args.seconds:g} s, {steps} steps"
                  + (f", {first:.1f} s of it level by level" if first else ""), flush=True)  # fmt: skip
    ends = {name: [run[-1][1] for run in runs] for name, runs in curves.items()}
    rows = [(name, *(f"{value:.2f}" for value in (median(of), min(of), max(of)))) for name, of in ends.items()]
    print(f"\n| {args.seeds} seeds | dB, median | least | most |\n| --- | --- | --- | --- |")
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))
    apart = [told_apart(args.seconds, seed) for seed in range(args.seeds)]
    said = [
        f"After {FINE_TUNED} steps of the training itself, median: "
        + ", ".join(f"{name} {median(of):.2f} dB" for name, of in tuned.items()),
        f"{PEOPLE} people told apart by {LABELLED} labelled faces of each, error, median: encoder of an autoencoder "
        f"{median(a for a, _ in apart):.1%}, from random {median(b for _, b in apart):.1%}",
    ]
    print("\n".join(said))
    args.to.mkdir(parents=True, exist_ok=True)
    draw(args.to / "index.html", curves, rows, said, args.seconds)


def draw(
    page: Path,
    curves: dict[str, list[list[tuple[float, float]]]],
    rows: list[tuple[str, ...]],
    said: list[str],
    seconds: float,
) -> None:
    """The medians over seeds as curves, and the table."""
    middle = {
        name: np.median(np.array([[db for _, db in run] for run in runs]), axis=0) for name, runs in curves.items()
    }
    low, high = (edge(value for of in middle.values() for value in of) for edge in (min, max))
    w, h = SIZE_WH

    def line(name: str, of: np.ndarray) -> dict[str, Any]:
        across = np.arange(1, len(of) + 1) / len(of)
        return {"name": name, "last": f"{of[-1]:.2f} dB", "paths": paths(of, low, high, SIZE_WH, across)}

    write_page(
        page, "ablate.html", beside=Path(__file__).parent, title="What parts of a training are worth",
        summary=f"Held-out faces drawn again, PSNR, over seconds of steps (levels trained first count): medians of {len(next(iter(curves.values())))} seeds.",
        size=SIZE_WH, lines=[line(name, of) for name, of in middle.items()], rows=rows, said=said,
        across=[(f"{tick / seconds * w:.1f}", clock(tick)) for tick in clock_ticks(seconds)],
        up=[(f"{place_up(tick, low, high, h):.1f}", f"{tick:g}") for tick in ticks(low, high)],
    )  # fmt: skip
    print(f"look at {page}")


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
