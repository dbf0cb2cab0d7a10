"""The training loop: dispatches, progress, previews, generations, roll-back and resume."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from livepaste.align import CENTER, TEMPLATE
from livepaste.checkpoint import (
    Generation,
    append_history,
    cut_history,
    foreign,
    generation_folders,
    has_begun,
    held,
    newest_generation,
    write_generation,
)
from livepaste.errors import CheckpointError, TrainingError
from livepaste_train.compiling import put
from livepaste_train.data import FEWEST
from livepaste_train.environment import environment
from livepaste_train.evaluate import Validator, crops, means, write_picture
from livepaste_train.export import export, multiply_adds
from livepaste_train.losses import drowned, guessed
from livepaste_train.models import make_model
from livepaste_train.offset import EVERY as OFFSET_EVERY
from livepaste_train.offset import Offset
from livepaste_train.optimizers import make_optimizer
from livepaste_train.options import MOST_STEPS, TrainOptions
from livepaste_train.pace import Pace
from livepaste_train.people import People
from livepaste_train.recipe import Recipe, as_record, changes
from livepaste_train.start import apply, check_learning, is_fact, kind_of, rate_scale, rests, starting_weights
from livepaste_train.state import load_state, name_of, save_state, save_weights
from livepaste_train.step import TrainState, lone_loss, make_dispatch, new_state, pair_loss

logger = logging.getLogger(__name__)
MEAN_OF = 200  # faces of each side: its canvas and usual colour
ROLL_BACKS = 3


@dataclass(frozen=True)
class Progress:
    """What a dispatch has to tell."""

    step: int
    total: int  # 0 = until it is stopped
    images_per_s: float
    seconds_left: float | None
    losses: dict[str, float]
    validation: dict[str, float]
    note: str = ""  # something that the user should know once


def contract(recipe: Recipe) -> dict[str, Any]:
    """What whoever runs a model must know about its crops, pictures and masks."""
    return {
        **kind_of(recipe),
        "center": list(CENTER),
        "template": TEMPLATE,
        "color_order": "RGB",
        "range": [0, 1],
        "mask": "visible face, 1 = face",
    }


def _named(people: Any) -> str:
    """Who, as said in an error."""
    people = people if isinstance(people, list) else [people]
    return ", ".join(str(p.get("person")) if isinstance(p, dict) else str(p) for p in people)


def _with_facts(params: Any, of: Any) -> Any:
    """``params`` with copies of the facts of another tree: a buffer is donated once only."""
    return jax.tree_util.tree_map_with_path(lambda path, p, q: put(q) if is_fact(name_of(path)) else p, params, of)


def _generations(checkpoint: Path) -> list[str]:
    return [path.name for path in generation_folders(checkpoint)]


class Trainer:
    """One training of one checkpoint. ``tell`` gets a Progress after each dispatch; ``stop`` is asked before each."""

    def __init__(
        self, options: TrainOptions, tell: Callable[[Progress], None], stop: Callable[[], bool] = lambda: False
    ) -> None:
        began = time.monotonic()  # ``--for`` counts from here: reading faces and compiling are the user's time too
        self.options, self.tell, self.stop = options, tell, stop
        self.recipe: Recipe = options.resolved_recipe()
        self.pace = Pace(options, self.recipe.steps_per_dispatch, began)
        self.checkpoint = Path(options.to)
        self._found = _generations(self.checkpoint)
        # Killed before its first generation, a training has nothing to go on from, and starts again.
        self.resumed = self._newest() if options.resume and has_begun(self.checkpoint) else None
        self._check_folder()
        self.alone = alone = options.only is not None
        # both of which a recipe may describe wrongly: before faces are read
        model = make_model(self.recipe, options.seed, alone=alone)
        make_optimizer(self.recipe)
        people = People(options)
        self.people = people.record
        if self.resumed:
            self._check_people(self.resumed)
        faces = people.read(self.recipe, 1 if self.resumed else FEWEST)  # what was begun may be gone on with
        self.geometry, self.data = faces.geometry, faces.data
        self.faces, self.fingerprint = faces.count, faces.fingerprint
        self.turned_deg, self.likeness = people.turned_deg, people.likeness
        self.multiply_adds = multiply_adds(model, self.recipe.resolution)
        seen = [crops(side[0], self.geometry, MEAN_OF) for side in (faces.persona, faces.wearers)]
        shown = [means(*of_side) for of_side in seen]
        model.start_from(*shown, wearers=len(people.wearers))
        if self.recipe.balanced:
            self.data = self.data._replace(usual=guessed(shown[0][0], *seen[0], self.recipe))
        self.graph, params = nnx.split(model, nnx.Param)
        self.parameters = sum(p.size for p in jax.tree.leaves(params))
        if self.resumed:
            self.start_note, from_base = "", bool(self.resumed.model.get("from_base"))
        else:
            weights, self.start_note, from_base = starting_weights(
                options.from_, kind_of(self.recipe), self.people, alone=alone
            )
            params = apply(params, weights)
            nothing = f"{self.checkpoint} holds no generation to resume: from the start" if options.resume else ""
            notes = [self._size(), nothing, self.start_note, people.damaged]
            self.start_note = "; ".join(filter(None, notes))
        self.from_base = from_base
        self.compute = compute = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
        check_learning(self.recipe, from_base)
        self.scale = scale = rate_scale(params, from_base, self.recipe)
        resting = rests(from_base, self.recipe.encoder_lr)
        drawn = {"wearer_picture": not (resting or alone)}
        self.validator = Validator(self.graph, faces.persona[1], faces.wearers[1], self.geometry, **drawn)
        if alone:
            self.loss = lone_loss(self.geometry, self.recipe, compute)
        else:
            self.loss = pair_loss(self.geometry, self.recipe, compute, **drawn)
        self.dispatch = make_dispatch(self.graph, self.loss, self.recipe, scale, compute)
        self.offset = (
            Offset(self.graph, faces.persona[0], faces.wearers[0], self.geometry)
            if self.recipe.meet and not alone
            else None
        )
        offset = self.offset.measure(params) if self.offset else None
        if resting:
            self.offset = None  # codes stay where they are
        self.state = new_state(params, self.recipe, options.seed, self._planned(), scale, offset)
        self.validation: dict[str, float] = {}
        self.spent_s = 0.0
        self._noted = -1  # the last step in the history
        self._unseen = False  # the preview could not be written
        if self.resumed:
            self._restore(self.resumed)

    def _check_folder(self) -> None:
        """A new training takes a new folder: what lies in another one is not its to overwrite."""
        if has_begun(self.checkpoint):
            if not self.options.resume:
                raise CheckpointError(
                    f"{self.checkpoint}: holds a training already; go on with --resume or name another folder"
                )
        elif name := foreign(self.checkpoint):
            raise CheckpointError(
                f"{self.checkpoint}: holds {name}, which no training wrote; name an empty or new folder"
            )

    def _size(self) -> str:
        """The model's size in words."""
        return (
            f"{self.recipe.model} at {self.recipe.resolution} px: {self.parameters / 1e6:.1f} M parameters, "
            f"{self.multiply_adds / 1e6:,.0f} M multiply-adds a swap"
        )

    def _newest(self) -> Generation:
        generation = newest_generation(self.checkpoint)
        if generation.state is None:
            raise CheckpointError(
                f"{self.checkpoint}: holds no training state, so it cannot be resumed; start a new one with --from"
            )
        if changed := changes(self.recipe, generation.model.get("recipe")):
            raise CheckpointError(
                f"{self.checkpoint}: was trained with another {', '.join(changed)}; resume with the same recipe"
            )
        return generation

    def _check_people(self, generation: Generation) -> None:
        """Other people would be drawn by decoders, and named in a model, that are somebody else's."""
        if bool(generation.model.get("alone")) != self.alone:
            was, asked = ("--only", "--persona and --wearer")[:: -1 if self.alone else 1]
            raise CheckpointError(
                f"{self.checkpoint}: was trained with {was}, asked to resume with {asked}; resume as it was begun"
            )
        for side, mine in self.people.items():
            theirs = generation.model.get(side)
            if theirs != mine:
                raise CheckpointError(
                    f"{self.checkpoint}: was trained with {side} {_named(theirs)}, asked to resume with {_named(mine)}; "
                    "resume with the same face sets, or start a new one with --from"
                )

    def _planned(self) -> int:
        """Steps, rounded up to whole dispatches; 0 = not known yet."""
        if self.options.steps:
            wanted = self.options.steps
        elif self.options.epochs:
            wanted = min(MOST_STEPS, math.ceil(self.options.epochs * self.faces / self.recipe.batch))
        else:
            return 0
        return math.ceil(wanted / self.recipe.steps_per_dispatch) * self.recipe.steps_per_dispatch

    def _restore(self, generation: Generation) -> None:
        assert generation.state is not None
        fresh, self.state = self.state, load_state(generation.state, self.state)
        # known of the faces, and measured otherwise by an earlier livepaste
        self.state = self.state._replace(
            params=_with_facts(self.state.params, fresh.params), ema=_with_facts(self.state.ema, fresh.params)
        )
        step, total = int(self.state.step), int(self.state.total)
        self.start_note = f"resumed at step {step}"
        if planned := self._planned():
            self.state = self.state._replace(total=jnp.int32(planned))
        elif self.options.for_ and 0 < total <= step:  # done: that much more
            self.state = self.state._replace(total=jnp.int32(0))
        elif self.options.for_ and total:
            self.start_note += f"; going on with the plan of {total} steps"
        if 0 < int(self.state.total) <= step:
            self.start_note += (
                f"; the plan of {int(self.state.total)} steps is done: --for, --steps or --epochs say how far to go on"
            )
        self.spent_s = float(generation.model.get("seconds", 0.0))
        self.validation = dict(generation.model.get("validation", {}))
        if generation.model.get("environment") != environment():
            self.start_note += "; another machine or version than before, so not bit-exact"
        if generation.model.get("faces_hash") != self.fingerprint:
            self.start_note += (
                "; the faces are not the same as before, so not bit-exact, and some held-out ones may be new"
            )

    def _save(self, losses: dict[str, float]) -> None:
        """Write a generation: training state, averaged weights, swap.onnx checked against Flax, preview.

        Its line in the history comes first: a kill in between leaves a line too many, which a resume cuts off.
        """
        made = self.validator.run(self.state.ema)
        self.validation = self.validator.measure(made)
        step = int(self.state.step)
        facts = {
            **contract(self.recipe),
            **self.people,
            "turned_deg": self.turned_deg,
            "steps": step,
            "planned_steps": int(self.state.total),
            "validation": self.validation,
        }
        record = {
            **facts,
            "recipe": as_record(self.recipe),
            "alone": self.alone,
            "likeness": self.likeness,  # by which `--face enrolled` knows the wearers again
            "from_base": self.from_base,
            "seed": self.options.seed,
            "faces": self.faces,
            "faces_hash": self.fingerprint,
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,  # of one swap
            "seconds": round(self.spent_s, 1),
            "environment": environment(),
        }

        refused: list[TrainingError] = []

        def fill(folder: Path) -> None:
            save_state(folder / "state", self.state)
            save_weights(folder / "weights.npz", self.state.ema)
            model = nnx.merge(self.graph, self.state.ema)
            try:
                export(folder / "swap.onnx", model, facts, *self.validator.first(made))
            except TrainingError as error:  # no reason to lose the steps that led here
                (folder / "swap.onnx").unlink(missing_ok=True)
                refused.append(error)
            write_picture(folder / "preview.png", self.validator.preview(made))

        self._note(losses)
        written = write_generation(self.checkpoint, step, record, fill)
        if refused:
            raise TrainingError(f"{refused[0]}; the training itself is kept in {written.path}") from refused[0]
        self._picture(made)

    def _picture(self, made: dict[str, np.ndarray]) -> None:
        """Renew the preview that is looked at meanwhile. A viewer that holds it open (Windows) is no reason to end a training."""
        try:
            write_picture(self.checkpoint / "preview.png", self.validator.preview(made))
        except PermissionError as error:
            if not self._unseen:
                logger.warning("preview.png cannot be written (%s); training goes on", error.strerror or error)
            self._unseen = True

    def _note(self, losses: dict[str, float]) -> None:
        if self._noted == int(self.state.step):
            return
        self._noted = int(self.state.step)
        record = {"step": int(self.state.step), "seconds": round(self.spent_s, 1), **losses, **self.validation}
        append_history(self.checkpoint, record)

    def _show(self, losses: dict[str, float]) -> None:
        made = self.validator.run(self.state.ema)
        self.validation = self.validator.measure(made)
        self._picture(made)
        self._note(losses)

    def run(self) -> TrainState:
        """Train until the plan is done or ``stop`` says so; the last generation is saved in any case."""
        with held(self.checkpoint):
            if _generations(self.checkpoint) != self._found:  # written while this one read its faces
                raise CheckpointError(
                    f"{self.checkpoint}: another training has just been saved here; go on with --resume"
                )
            return self._run()

    def _run(self) -> TrainState:
        good, roll_backs = jax.tree.map(np.asarray, self.state), 0
        full_rate = float(self.state.rate)
        done = int(self.state.step)
        cut_history(self.checkpoint, done if self.resumed else -1)  # of a killed run
        losses: dict[str, float] = {}
        saved = done if self.resumed else -1
        pace, per, note = self.pace, self.recipe.steps_per_dispatch, ""
        planned = False  # by this run's clock
        # said before the first dispatch, which compiles for a while
        self.tell(Progress(done, int(self.state.total), 0.0, None, {}, self.validation, self.start_note))
        while not (self.stop() or 0 < int(self.state.total) <= done):
            started = time.monotonic()
            if self.offset and done and done % OFFSET_EVERY < per:
                self.state = self.state._replace(offset=self.offset.measure(self.state.params))
            self.state, metrics = self.dispatch(self.state, self.data)
            losses = {name: float(value) for name, value in metrics.items()}
            took = time.monotonic() - started
            pace.dispatched(took)
            self.spent_s += took
            if not all(math.isfinite(value) for value in losses.values()):
                roll_backs += 1
                if roll_backs > ROLL_BACKS:
                    raise TrainingError(
                        f"the loss was not finite {roll_backs} times; go on in another folder with --from {self.checkpoint} and a lower "
                        f"--lr (now {self.recipe.lr:g}), or look for broken pictures"
                    )
                self.state = jax.tree.map(put, good)
                self.state = self.state._replace(rate=jnp.float32(full_rate * 0.5**roll_backs))
                note = f"loss not finite: back to step {int(self.state.step)} with rate × {float(self.state.rate):g}"
                done = int(self.state.step)
                self._noted = -1
                cut_history(self.checkpoint, done)
                self.tell(Progress(done, int(self.state.total), 0.0, None, losses, self.validation, note))
                note, losses = "", {}
                continue
            if done == 0:
                note = "; ".join(filter(None, [note, drowned(losses)]))
            done = int(self.state.step)
            replan = planned
            if not int(self.state.total) and pace.can_plan:
                note, planned = "; ".join(filter(None, [note, self._plan()])), True
            # whatever the clock says of generations: where it rolls back to is the same in every run
            if done % pace.save.every == 0:
                good = jax.tree.map(np.asarray, self.state)
            if pace.save.at(done):
                with pace.making(pace.save):
                    self._save(losses)
                saved = done
            elif pace.show.at(done) and done != int(self.state.total):  # at the end a generation follows
                with pace.making(pace.show):
                    self._show(losses)
            else:
                replan = False
            if replan:
                self._plan()
            total = int(self.state.total)
            rate, left = self.recipe.batch * pace.steps_per_s, pace.seconds_left(total - done) if total else None
            self.tell(Progress(done, total, rate, left, losses, self.validation, note))
            note = ""
        if done != saved and done:
            self._save(losses)
        return self.state

    def _plan(self) -> str:
        """How many steps fit into the time asked for; the schedules follow the step count from here on."""
        steps, note = self.pace.plan(int(self.state.step), first=not int(self.state.total))
        self.state = self.state._replace(total=jnp.int32(steps))
        return note
