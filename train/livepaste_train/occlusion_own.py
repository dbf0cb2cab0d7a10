"""The occlusion network taught its user's own faces and hands: `livepaste train-occlusion`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from livepaste.checkpoint import (
    VISIBLE,
    foreign,
    has_begun,
    held,
    occlusion_network,
    write_generation,
)
from livepaste.errors import CheckpointError, OptionError
from livepaste_train.augment import Geometry
from livepaste_train.casts import Cast
from livepaste_train.clocked import Clock
from livepaste_train.data import open_faceset
from livepaste_train.export import read_visible
from livepaste_train.keeper import contract
from livepaste_train.models.visible import VisibleFace, VisibleOptions
from livepaste_train.occluded import HELD, KEPT_OUT, WORN, Job, hand_sheets, perform_occluded, sheets
from livepaste_train.occlusion_batch import Stock
from livepaste_train.occlusion_fit import SEED_OUT, Learner, drawn_things, sides
from livepaste_train.options import OcclusionOptions, seconds
from livepaste_train.own_faces import Cutouts, Hands, OwnFaces, read_own
from livepaste_train.recipe import Recipe

# identities that were never at a camera, moments of each and what they wear in turn: so that what was learned of others stays
DRAWN, FRAMES, THINGS = 12, 24, 3
SHEETS = 60  # of each kind that is drawn
OWN = "own hands"  # their kind
EVERY_S = 120.0  # between two generations
SEES = "resolution", "coverage", "center", "template"  # of a network's contract: in what size and where it sees a face


@dataclass(frozen=True)
class Told:
    """How far a training is."""

    step: int
    seconds_left: float
    losses: dict[str, float]
    saved: bool  # measured and written just now


class OwnTraining:
    """What was asked for is looked at when it is made, without reading much; then :meth:`read`, then :meth:`run`, both while it is :meth:`held`."""

    def __init__(self, options: OcclusionOptions) -> None:
        """Raises OptionError, FaceSetError or CheckpointError."""
        self._options, self._recipe = options, options.resolved_recipe()
        self._to = Path(options.to)
        self._refuse_what_is_there()
        self._facesets = [open_faceset(path) for path in options.facesets]
        self._model, self._known = starting_model(options, self._recipe)
        self.spent_s = 0.0

    def _refuse_what_is_there(self) -> None:
        if self._to.exists() and not self._to.is_dir():
            raise CheckpointError(f"{self._to}: is a file; name a new folder")
        if other := foreign(self._to):
            raise CheckpointError(f"{self._to}: holds something else ({other}); name a new or empty folder")
        if has_begun(self._to):
            raise CheckpointError(
                f"{self._to}: holds a network; name a new folder, and --from {self._to} to go on from it"
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps others from writing there. Raises CheckpointError when one is at it or has been meanwhile."""
        with held(self._to):
            self._refuse_what_is_there()
            yield

    def read(self, cutouts: Cutouts, hands: Hands, named: frozenset[str], say: Callable[[str], None]) -> None:
        """Faces and what is laid before them: ``cutouts``, of sources with the file names ``named``, and what ``hands`` finds beside faces.

        ``say`` is told in words what is done. Raises FaceSetError when too few faces are left.
        """
        side, sheet_side = sides(self._recipe)
        geometry, seed = Geometry(side, self._recipe.resolution, self._recipe.coverage), self._options.seed
        self.own = read_own(self._facesets, self._known, geometry, hands, self._recipe.held_out, named, say)
        cutouts.learned += self.own.hands
        cutouts.thin_out()
        self.cutouts = cutouts
        say("drawing actors, and things to lay before faces")
        stock = stock_of(self.own, drawn_faces(side, seed), cutouts, sheet_side, seed)
        count = len(self.own.out)
        things = drawn_things((*HELD, *WORN, *KEPT_OUT), count, sheet_side)
        if cutouts.out:
            things = {OWN: hand_sheets(cutouts.out, count, sheet_side, SEED_OUT), **things}
        self._learner = Learner(self._model, stock, self.own.out, things, self._recipe, seed)
        say("measuring what is known before")
        self.before, _ = self._learner.measure()
        self.after = self.before

    @property
    def kinds(self) -> list[str]:
        """What there is a measure of."""
        return list(self._learner.held_out.shown)

    def run(self, tell: Callable[[Told], None], stop: Callable[[], bool]) -> None:
        """Train until the time is over or ``stop`` says so, and write a generation every two minutes and at the end.

        Raises TrainingError when the loss is no number any more.
        """
        clock = Clock(seconds(self._options.for_))
        saved = False
        while not clock.over and not stop():
            losses = self._learner.take(clock)
            self.spent_s = clock.spent_s
            if saved := clock.due("measure", EVERY_S):
                self._save()
            left_s = max(0.0, clock.budget_s - clock.spent_s)
            tell(Told(int(self._learner.state.step), left_s, losses, saved))
        if not saved:
            self._save()

    def _save(self) -> None:
        self.after, preview = self._learner.measure()
        record: dict[str, Any] = {
            **self._learner.record(self.after),
            "before": self.before,
            "from": self._options.from_,
            "people": [{"person": f.info.person, "consent": f.info.consent} for f in self._facesets],
            "hands": len(self.cutouts.learned),
            "seconds": round(self.spent_s),
        }
        write_generation(self._to, record["steps"], record, lambda folder: self._learner.write(folder, record, preview))


def starting_model(options: OcclusionOptions, recipe: Recipe) -> tuple[VisibleFace, VisibleFace]:
    """What is trained, and what says where real faces end: the same, or with ``--from none`` the network that comes with livepaste.

    Raises CheckpointError when there is none, OptionError when it sees faces in another size than the recipe's.
    """
    started = occlusion_network("" if options.from_ in ("shipped", "none") else options.from_)
    for name in SEES:
        if started.model.get(name) != (asked := contract(recipe)[name]):
            raise OptionError(
                f"recipe {options.recipe}: {name} {asked}, {started.path} {started.model.get(name)}, and by that it is told where faces end; name a "
                f"recipe with {name} {started.model.get(name)}"
            )
    known = VisibleFace(VisibleOptions(resolution=recipe.resolution), nnx.Rngs(options.seed))
    read_visible(started.path / VISIBLE, known)
    if options.from_ != "none":
        return known, known
    return VisibleFace(VisibleOptions(resolution=recipe.resolution), nnx.Rngs(options.seed)), known


def drawn_faces(side: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Actors, and what they may wear, packed."""
    jobs = [Job(Cast((f"drawn:{5000 + DRAWN * seed + i}",), seed + i, FRAMES), side, {}, THINGS) for i in range(DRAWN)]
    faces, worn = zip(*map(perform_occluded, jobs), strict=True)
    return np.concatenate(faces), np.concatenate(worn)


def stock_of(
    own: OwnFaces, drawn: tuple[np.ndarray, np.ndarray], cutouts: Cutouts, sheet_side: int, seed: int
) -> Stock:
    """What steps draw from: at least as many own faces as drawn ones, and as many own hands as things that are drawn."""
    things = [sheets(kind, SHEETS, sheet_side, seed) for kind in HELD]
    if cutouts.learned:
        things.append(hand_sheets(cutouts.learned, max(len(HELD) * SHEETS, len(cutouts.learned)), sheet_side, seed))
    again = np.arange(max(len(own.faces), len(drawn[0]))) % len(own.faces)
    return Stock(
        np.concatenate([own.faces[again], drawn[0]]),
        np.concatenate([own.worn[again], drawn[1]]),
        np.concatenate(things),
    )
