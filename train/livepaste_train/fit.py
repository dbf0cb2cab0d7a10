"""The training loop: dispatches, progress, previews, generations, roll-back and resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from livepaste.checkpoint import EVENTS, read_history
from livepaste.errors import TrainingError
from livepaste_train import appearance
from livepaste_train.auto import resolved
from livepaste_train.compiling import put
from livepaste_train.data import FEWEST
from livepaste_train.diary import Diary
from livepaste_train.dispatch import Dispatch
from livepaste_train.early import ending
from livepaste_train.evaluate import Validator, crops, means, spread
from livepaste_train.event_log import EventLog
from livepaste_train.export import multiply_adds
from livepaste_train.forecast import longer, told
from livepaste_train.identity import Recogniser
from livepaste_train.keeper import Keeper, contract
from livepaste_train.losses import drowned, guessed
from livepaste_train.memory import Room
from livepaste_train.models import make_model
from livepaste_train.offset import EVERY as OFFSET_EVERY
from livepaste_train.offset import Offset
from livepaste_train.optimizers import make_optimizer
from livepaste_train.options import MOST_STEPS, TrainOptions
from livepaste_train.pace import Pace
from livepaste_train.parallel import (
    agreed,
    check_alike,
    check_batch,
    devices_said,
    everywhere,
    fails_together,
    first_ones,
    here,
    leads,
    of_all,
)
from livepaste_train.people import People
from livepaste_train.recipe import Recipe, as_record
from livepaste_train.resume import (
    begun,
    check_people,
    generations,
    inexact,
    planned,
    restored,
    taken,
    with_appearance_of,
)
from livepaste_train.settled import COUNT, Settler
from livepaste_train.shading import Shader
from livepaste_train.stacked import check_levels, pretrained
from livepaste_train.start import (
    JUDGE,
    apply,
    check_learning,
    check_pretrained,
    check_wearers,
    kind_of,
    rate_scale,
    rests,
    starting_weights,
)
from livepaste_train.state import named
from livepaste_train.step import TrainState, lone_loss, make_dispatch, new_state, pair_loss, persona_count
from livepaste_train.until import read_until

MEAN_OF = 200  # faces of each side: its canvas and usual colour
ROLL_BACKS = 3
WITHOUT = "no wearer's faces: anybody can be at the camera, their masks stay as the base draws them, their light is not followed"


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
    forecast: str = ""  # how good it is going to be, where the curve says


def size_of(recipe: Recipe, parameters: int, multiplied: int) -> str:
    """A model's size in words."""
    return (
        f"{recipe.model} at {recipe.resolution} px: {parameters / 1e6:.1f} M parameters, "
        f"{multiplied / 1e6:,.0f} M multiply-adds a swap"
    )


class Trainer:
    """One training of one checkpoint. ``tell`` gets a Progress after each dispatch; ``stop`` is asked before each."""

    def __init__(
        self, options: TrainOptions, tell: Callable[[Progress], None], stop: Callable[[], bool] = lambda: False
    ) -> None:
        began = time.monotonic()  # ``--for`` counts from here: reading faces and compiling are the user's time too
        self.options, self.tell, self.stop = options, tell, stop
        self.recipe, chosen = resolved(options)
        self.pace = Pace(options, self.recipe.steps_per_dispatch, began)
        self.checkpoint = Path(options.to)
        self._found = generations(self.checkpoint)
        resumed = begun(self.checkpoint, self.recipe, resume=options.resume)
        self.alone = alone = options.only is not None
        log = EventLog(self.checkpoint / EVENTS) if options.tensorboard and leads() else None
        if resumed:
            self.recipe = with_appearance_of(resumed.model.get("recipe"), self.recipe)
        # both of which a recipe may describe wrongly: before faces are read
        model = make_model(self.recipe, options.seed, alone=alone)
        make_optimizer(self.recipe)
        check_levels(self.recipe, model)
        people = People(options)
        self.faces_a_step = persona_count(self.recipe) if people.strangers else self.recipe.batch
        share = self.recipe.persona_share if people.strangers else 1.0
        check_batch(self.recipe, share)
        if resumed:
            check_people(self.checkpoint, resumed.model, people.record, alone=alone)
            start, from_base = "", bool(resumed.model.get("from_base"))
        else:
            begins = starting_weights(options.from_, kind_of(self.recipe), people.record, alone=alone)
            start, from_base = begins.note, begins.from_base
            check_pretrained(self.recipe, options.from_, begins.weights)
        if people.strangers:
            check_wearers(self.recipe, from_base)
        faces = people.read(self.recipe, 1 if resumed else FEWEST)  # what was begun may be gone on with
        self.geometry, self.data = faces.geometry, faces.data
        self.faces = faces.count
        resting = rests(from_base, self.recipe.encoder_lr)
        if not resumed:
            carried = appearance.chosen(
                self.recipe, model, faces.persona[0], begins, faces.fingerprint, resting=resting
            )
            self.recipe = carried.recipe
        multiplied = multiply_adds(model, self.recipe.resolution)
        seen = [crops(side[0], self.geometry, MEAN_OF) for side in (faces.persona, faces.wearers)]
        shown = [means(*of_side) for of_side in seen]
        model.start_from(*shown, wearers=len(people.wearers))
        if self.recipe.balanced:
            self.data = self.data._replace(usual=guessed(shown[0][0], *seen[0], self.recipe))
        self.graph, params = nnx.split(model, nnx.Param)
        parameters = sum(p.size for name, p in named(params).items() if not name.startswith(JUDGE))
        if not resumed:
            params = apply(params, carried.weights)
            nothing = f"{self.checkpoint} holds no generation to resume: from the start" if options.resume else ""
            notes = [
                *(chosen, size_of(self.recipe, parameters, multiplied), devices_said()),
                *(nothing, start, carried.note, WITHOUT if people.strangers else "", people.damaged),
            ]
            self.start_note = "; ".join(filter(None, notes))
        self.from_base = from_base
        self.compute = compute = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
        check_learning(self.recipe, from_base)
        self.scale = scale = rate_scale(params, from_base, self.recipe, strangers=people.strangers)
        drawn = {"wearer_picture": not (resting or alone)}
        self.validator = Validator(self.graph, faces.persona[1], faces.wearers[1], self.geometry, **drawn)
        one_sided = alone or people.strangers  # whose faces are learned from
        loss_of = partial(lone_loss, strangers=people.strangers) if one_sided else partial(pair_loss, **drawn)
        self.loss = loss_of(self.geometry, self.recipe, compute)
        self.dispatch = make_dispatch(self.graph, self.loss, self.recipe, scale, compute)

        def with_batch(batch: int) -> Dispatch:
            other = replace(self.recipe, batch=batch)
            return make_dispatch(self.graph, loss_of(self.geometry, other, compute), other, scale, compute)

        self.room = Room(self.recipe.batch, with_batch, share)
        self.offset = (
            Offset(self.graph, faces.persona[0], faces.wearers[0], self.geometry)
            if self.recipe.meet and not one_sided
            else None
        )
        few = min(COUNT, *(len(side) for side, _ in seen))
        shown = [side[spread(len(side), few)] for side, _ in seen]
        self.settle = Settler(self.graph, params, *shown, alone=alone).settle
        shader = Shader(self.graph, params, (faces.persona[0], faces.wearers[0]), seen, resting=resting)
        self.kept = lambda params: shader.shaded(self.settle(params))  # weights as they are shown and written
        settled = self.settle(params)
        offset = self.offset.measure(settled) if self.offset else None
        if not resumed and carried.measures and not options.show_augment:
            params = appearance.measured(self.graph, params, settled, faces.persona[0], self.geometry, offset)
        if resting:
            self.offset = None  # codes stay where they are
        self.state = new_state(params, self.recipe, options.seed, self._planned(), scale, offset)
        self.spent_s, before, self._plan_begun = 0.0, {}, 0
        if resumed:
            self.state, self.start_note, self._plan_begun = planned(
                restored(resumed, self.state),
                self._planned(),
                timed=bool(options.for_),
                until=options.until,
                record=resumed.model,
            )
            self.start_note = "; ".join(filter(None, [chosen, self.start_note]))
            self.start_note += inexact(resumed.model, faces.fingerprint)
            self.spent_s = float(resumed.model.get("seconds", 0.0))
            before = dict(resumed.model.get("validation", {}))
        # not the note itself: after a resume it says what else this very machine is
        alike = {"start": (start, from_base), "generation in --to": resumed and resumed.number, "number of people": (alone, len(people.wearers))}  # fmt: skip
        check_alike(recipe=self.recipe, faces=faces.fingerprint, **of_all(options), **alike)
        self.state, self.data = everywhere((first_ones(self.state), self.data))
        self._until, self.forecast, self.longer = read_until(options.until), "", ""
        self._went_on = resumed is not None
        facts = {**contract(self.recipe), **people.record, "turned_deg": people.turned_deg}
        record = {
            "recipe": as_record(self.recipe),
            "alone": alone,
            "likeness": people.likeness,  # by which `--face enrolled` knows the wearers again
            "from_base": from_base,
            "seed": options.seed,
            "faces": faces.count,
            "faces_hash": faces.fingerprint,
            "face_sets": people.told(self.recipe.held_out),
            "parameters": parameters,
            "multiply_adds": multiplied,  # of one swap
            "asked_steps": self._planned(),
            "until": options.until,
            "plan_begun": self._plan_begun,  # a step
        }
        recogniser = Recogniser(people.looked_at, faces.persona[1], faces.wearers[1], self.geometry, self.validator)
        self.keeper = Keeper(
            *(self.checkpoint, self.graph, self.validator, facts, record, before if leads() else {}),
            settle=self.kept,
            taken_for=recogniser.measure,
            diary=Diary(self.checkpoint, self.recipe, self.pace, log, alone=alone, shown=self.faces_a_step),
        )

    @property
    def validation(self) -> dict[str, float]:
        """The last measures of held-out faces, by name; empty before the first."""
        return self.keeper.validation

    def _planned(self) -> int:
        """Steps, rounded up to whole dispatches; 0 = not known yet."""
        if self.options.steps:
            wanted = self.options.steps
        elif self.options.epochs:
            wanted = min(MOST_STEPS, math.ceil(self.options.epochs * self.faces / self.faces_a_step))
        else:
            return 0
        return math.ceil(wanted / self.recipe.steps_per_dispatch) * self.recipe.steps_per_dispatch

    def run(self) -> TrainState:
        """Train until the plan is done or ``stop`` says so; the last generation is saved in any case."""
        with ExitStack() as stack, closing(self.keeper.diary):
            fails_together(taken(stack, self.checkpoint, self._found) if leads() else None)
            state = self._run()
            agreed(False)  # the others wait here for its last generation: at their ends they would for five minutes
            return state

    def _run(self) -> TrainState:
        done = int(self.state.step)
        # said before the first dispatch, which compiles for a while
        self.tell(Progress(done, int(self.state.total), 0.0, None, {}, self.validation, self.start_note))
        if self.recipe.pretrain and not done:
            self._pretrain()
        good, roll_backs, good_by_clock = jax.tree.map(np.asarray, self.state), 0, False
        full_rate = float(self.state.rate)
        self.keeper.cut(done if self._went_on else -1)  # of a killed run
        if self._went_on and (note := self._end_early()):  # as the run that was killed would have after its generation
            self.tell(Progress(done, int(self.state.total), 0.0, None, {}, self.validation, note))
        losses: dict[str, float] = {}
        saved = done if self._went_on else -1
        pace, per, note = self.pace, self.recipe.steps_per_dispatch, ""
        by_clock = False  # by this run's clock
        while True:
            plan = int(self.state.total), int(self.state.origin)
            stop, total, origin = agreed(self.stop(), *plan)
            if (total, origin) != plan:  # planned by the clock and the history of the process that leads
                self.state = self.state._replace(total=jnp.int32(total), origin=jnp.int32(origin))
            if stop or 0 < total <= done:
                break
            started = time.monotonic()
            if self.offset and done and done % OFFSET_EVERY < per:
                self.state = self.state._replace(offset=self._offset(self.state.params))
            with self.room.told(self.dispatch, self.state, self.data):
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
                done, by_clock = int(self.state.step), good_by_clock
                self.keeper.cut(done)
                self.tell(Progress(done, int(self.state.total), 0.0, None, losses, self.validation, note))
                note, losses = "", {}
                continue
            if done == 0:
                note = "; ".join(filter(None, [note, drowned(losses)]))
            done = int(self.state.step)
            replan, measured = by_clock, True
            if leads() and not int(self.state.total) and pace.can_plan:
                note, by_clock = "; ".join(filter(None, [note, self._plan()])), True
            # whatever the clock says of generations: where it rolls back to is the same in every run
            if done % pace.save.every == 0:
                good, good_by_clock = jax.tree.map(np.asarray, self.state), by_clock
            if pace.save.at(done):
                with pace.making(pace.save):
                    self.keeper.save(here(self.state), losses, self.spent_s)
                saved = done
            elif pace.show.at(done) and done != int(self.state.total):  # at the end a generation follows
                with pace.making(pace.show):
                    self.keeper.show(here(self.state), losses, self.spent_s)
            else:
                measured = False
            if measured and replan and leads():
                self._plan()
            if measured and (ends := self._end_early()):
                note, by_clock = "; ".join(filter(None, [note, ends])), False
            if measured:
                self._foresee()
            total = int(self.state.total)
            rate, left = self.faces_a_step * pace.steps_per_s, pace.seconds_left(total - done) if total else None
            self.tell(Progress(done, total, rate, left, losses, self.validation, note, self.forecast))
            note = ""
        if done != saved and done:
            self.keeper.save(here(self.state), losses, self.spent_s)
            self._foresee()
        return self.state

    def _pretrain(self) -> None:
        """Level by level; what was killed meanwhile begins again."""
        steps = self.recipe.levels_first()

        def tell(level: int, levels: int, error: float) -> None:
            note = f"level {level} of {levels}: {steps} steps, {error:.2f} of the variance not given back"
            self.tell(Progress(0, int(self.state.total), 0.0, None, {}, self.validation, note))

        started = time.monotonic()
        # looks at the training's own steps before minutes are spent
        with self.room.told(self.dispatch, self.state, self.data):
            params = pretrained(self.graph, self.state.params, self.data, self.geometry, self.recipe, self.scale, self.compute,
                                alone=self.alone, seed=self.options.seed, tell=tell, stop=lambda: agreed(self.stop())[0])  # fmt: skip
        self.spent_s += time.monotonic() - started
        offset = self._offset(params) if self.offset else None
        total = int(self.state.total)
        self.state = new_state(params, self.recipe, self.options.seed, total, self.scale, offset)

    def _offset(self, params: Any) -> jax.Array:
        """How far the sides' codes are apart by now, the same in every process."""
        assert self.offset is not None
        return first_ones(self.offset.measure(self.settle(here(params))))

    def _plan(self) -> str:
        """How many steps fit into the time asked for; the schedules follow the step count from here on."""
        steps, note = self.pace.plan(int(self.state.step), first=not int(self.state.total))
        self.state = self.state._replace(total=jnp.int32(steps))
        return note

    def _end_early(self) -> str:
        """Plan an earlier end if ``--until`` says so by now, and the sentence about it."""
        step, total, origin = (int(value) for value in (self.state.step, self.state.total, self.state.origin))
        until = replace(self._until, plateau_db=None) if origin else self._until  # an end that has begun goes on
        if not until or not leads() or 0 < total <= step:
            return ""
        plan = ending(until, read_history(self.checkpoint), self.recipe, step, total, self._plan_begun)
        if plan is None:
            return ""
        self.state = self.state._replace(total=jnp.int32(plan.total), origin=jnp.int32(plan.origin))
        return plan.note

    def _foresee(self) -> None:
        """Renew the forecast; of several processes the one that leads has the history."""
        if not leads():
            return
        records, total = read_history(self.checkpoint), int(self.state.total)
        self.forecast = told(records, total, self.pace.seconds_left)
        self.longer = longer(records) if 0 < total <= int(self.state.step) else ""
