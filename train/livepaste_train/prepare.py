"""What a training begins or goes on with: its network, its faces, its steps and its state, checked and measured."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from livepaste.checkpoint import EVENTS
from livepaste_train import appearance
from livepaste_train.appearance import Choice
from livepaste_train.auto import resolved
from livepaste_train.data import FEWEST
from livepaste_train.diary import Diary
from livepaste_train.dispatch import Dispatch
from livepaste_train.evaluate import Validator, crops, means, spread
from livepaste_train.event_log import EventLog
from livepaste_train.export import multiply_adds
from livepaste_train.identity import Recogniser
from livepaste_train.keeper import Keeper, contract
from livepaste_train.losses import guessed
from livepaste_train.memory import Room
from livepaste_train.models import make_model
from livepaste_train.offset import Offset
from livepaste_train.optimizers import make_optimizer
from livepaste_train.options import MOST_STEPS, TrainOptions
from livepaste_train.pace import Pace
from livepaste_train.parallel import check_alike, check_batch, devices_said, everywhere, first_ones, leads, of_all
from livepaste_train.people import People, Read
from livepaste_train.recipe import Recipe, as_record
from livepaste_train.resume import begun, check_people, generations, inexact, planned, restored, with_appearance_of
from livepaste_train.settled import COUNT, Settler
from livepaste_train.shading import Shader
from livepaste_train.stacked import check_levels
from livepaste_train.start import (
    JUDGE,
    Start,
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
from livepaste_train.step import lone_loss, make_dispatch, new_state, pair_loss, persona_count

MEAN_OF = 200  # faces of each side: its canvas and usual colour
WITHOUT = "no wearer's faces: anybody can be at the camera, their masks stay as the base draws them, their light is not followed"


class Size(NamedTuple):
    """Of a model."""

    parameters: int
    multiply_adds: int  # of one swap

    def said(self, recipe: Recipe) -> str:
        return (
            f"{recipe.model} at {recipe.resolution} px: {self.parameters / 1e6:.1f} M parameters, "
            f"{self.multiply_adds / 1e6:,.0f} M multiply-adds a swap"
        )


class Prepared:
    """Everything of a training but its loop, see ``fit.Trainer``: what is wrong with it is said before a step is taken."""

    def __init__(self, options: TrainOptions) -> None:
        began = time.monotonic()  # ``--for`` counts from here: reading faces and compiling are the user's time too
        self.options, self.alone = options, options.only is not None
        self.recipe, chosen = resolved(options)
        self.pace = Pace(options, self.recipe.steps_per_dispatch, began)
        self.checkpoint = Path(options.to)
        self.found = generations(self.checkpoint)
        self.resumed = begun(self.checkpoint, self.recipe, resume=options.resume)
        log = EventLog(self.checkpoint / EVENTS) if options.tensorboard and leads() else None
        if self.resumed:
            self.recipe = with_appearance_of(self.resumed.model.get("recipe"), self.recipe)
        # both of which a recipe may describe wrongly: before faces are read
        model = make_model(self.recipe, options.seed, alone=self.alone)
        make_optimizer(self.recipe)
        check_levels(self.recipe, model)
        people = People(options)
        self.faces_a_step = persona_count(self.recipe) if people.strangers else self.recipe.batch
        share = self.recipe.persona_share if people.strangers else 1.0
        check_batch(self.recipe, share)
        start = self._start(people)
        self.from_base, self.resting = start.from_base, rests(start.from_base, self.recipe.encoder_lr)
        faces = people.read(self.recipe, 1 if self.resumed else FEWEST)  # what was begun may be gone on with
        self.geometry, self.data, self.faces = faces.geometry, faces.data, faces.count
        carried = self._carried(model, faces, start)
        self.recipe = carried.recipe
        multiplied = multiply_adds(model, self.recipe.resolution)
        seen = [crops(side[0], self.geometry, MEAN_OF) for side in (faces.persona, faces.wearers)]
        # each of the three by what the one before it set
        params = self._network(model, people, seen, carried)
        size = Size(sum(p.size for name, p in named(params).items() if not name.startswith(JUDGE)), multiplied)
        self._steps(params, people, faces, share)
        params, offset = self._measured(params, faces, seen, measures=carried.measures)
        self.state = new_state(params, self.recipe, options.seed, self._planned(), self.scale, offset)
        self.spent_s, before, self._plan_begun = 0.0, {}, 0
        if self.resumed:
            record = self.resumed.model
            self.state, on, self._plan_begun = planned(
                restored(self.resumed, self.state),
                self._planned(),
                timed=bool(options.for_),
                until=options.until,
                record=record,
            )
            self.start_note = "; ".join(filter(None, [chosen, on])) + inexact(record, faces.fingerprint)
            self.spent_s, before = float(record.get("seconds", 0.0)), dict(record.get("validation", {}))
        else:
            nothing = f"{self.checkpoint} holds no generation to resume: from the start" if options.resume else ""
            notes = [
                *(chosen, size.said(self.recipe), devices_said()),
                *(nothing, start.note, carried.note, WITHOUT if people.strangers else "", people.damaged),
            ]
            self.start_note = "; ".join(filter(None, notes))
        # not the note itself: after a resume it says what else this very machine is
        alike = {"start": (start.note, start.from_base), "generation in --to": self.resumed and self.resumed.number,
                 "number of people": (self.alone, len(people.wearers))}  # fmt: skip
        check_alike(recipe=self.recipe, faces=faces.fingerprint, **of_all(options), **alike)
        self.state, self.data = everywhere((first_ones(self.state), self.data))
        diary = Diary(self.checkpoint, self.recipe, self.pace, log, alone=self.alone, shown=self.faces_a_step)
        self.keeper = self._keeper(people, faces, size, diary, before if leads() else {})

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

    def _start(self, people: People) -> Start:
        """What the weights begin with; after a resume whence they came is all that is known of it."""
        if self.resumed:
            check_people(self.checkpoint, self.resumed.model, people.record, alone=self.alone)
            start = Start(None, "", bool(self.resumed.model.get("from_base")))
        else:
            start = starting_weights(self.options.from_, kind_of(self.recipe), people.record, alone=self.alone)
            check_pretrained(self.recipe, self.options.from_, start.weights)
        if people.strangers:
            check_wearers(self.recipe, start.from_base)
        return start

    def _carried(self, model: Any, faces: Read, start: Start) -> Choice:
        """Whether the persona's picture moves with its head, which a resume does not change."""
        if self.resumed:
            return Choice(self.recipe, None, "", False)
        return appearance.chosen(self.recipe, model, faces.persona[0], start, faces.fingerprint, resting=self.resting)

    def _network(self, model: Any, people: People, seen: Sequence[Any], carried: Choice) -> Any:
        """The parameters that the training begins with, on canvases of the faces that are ``seen``."""
        shown = [means(*of_side) for of_side in seen]
        model.start_from(*shown, wearers=len(people.wearers))
        if self.recipe.balanced:
            self.data = self.data._replace(usual=guessed(shown[0][0], *seen[0], self.recipe))
        self.graph, params = nnx.split(model, nnx.Param)
        return apply(params, carried.weights)

    def _steps(self, params: Any, people: People, faces: Read, share: float) -> None:
        """What a step does, and what its faces are held out for."""
        self.compute = compute = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
        check_learning(self.recipe, self.from_base)
        self.scale = scale = rate_scale(params, self.from_base, self.recipe, strangers=people.strangers)
        drawn = {"wearer_picture": not (self.resting or self.alone)}
        self.validator = Validator(self.graph, faces.persona[1], faces.wearers[1], self.geometry, **drawn)
        self.one_sided = self.alone or people.strangers  # whose faces are learned from
        loss_of = partial(lone_loss, strangers=people.strangers) if self.one_sided else partial(pair_loss, **drawn)
        self.loss = loss_of(self.geometry, self.recipe, compute)
        self.dispatch = make_dispatch(self.graph, self.loss, self.recipe, scale, compute)

        def with_batch(batch: int) -> Dispatch:
            other = replace(self.recipe, batch=batch)
            return make_dispatch(self.graph, loss_of(self.geometry, other, compute), other, scale, compute)

        self.room = Room(self.recipe.batch, with_batch, share)

    def _measured(self, params: Any, faces: Read, seen: Sequence[Any], *, measures: bool) -> tuple[Any, Any]:
        """The parameters with what is measured of the faces by them, and how far the two sides' codes lie apart."""
        sides = faces.persona[0], faces.wearers[0]
        self.offset = Offset(self.graph, *sides, self.geometry) if self.recipe.meet and not self.one_sided else None
        few = min(COUNT, *(len(side) for side, _ in seen))
        shown = [side[spread(len(side), few)] for side, _ in seen]
        self.settle = Settler(self.graph, params, *shown, alone=self.alone).settle
        shader = Shader(self.graph, params, sides, seen, resting=self.resting)
        self.kept = lambda params: shader.shaded(self.settle(params))  # weights as they are shown and written
        settled = self.settle(params)
        offset = self.offset.measure(settled) if self.offset else None
        if measures and not self.options.show_augment:
            params = appearance.measured(self.graph, params, settled, sides[0], self.geometry, offset)
        if self.resting:
            self.offset = None  # codes stay where they are
        return params, offset

    def _keeper(self, people: People, faces: Read, size: Size, diary: Diary, before: dict[str, float]) -> Keeper:
        """Who measures and writes, and what ``model.json`` says of the training."""
        record = {
            "recipe": as_record(self.recipe),
            "alone": self.alone,
            "likeness": people.likeness,  # by which `--face enrolled` knows the wearers again
            "from_base": self.from_base,
            "seed": self.options.seed,
            "faces": faces.count,
            "faces_hash": faces.fingerprint,
            "face_sets": people.told(self.recipe.held_out),
            "parameters": size.parameters,
            "multiply_adds": size.multiply_adds,
            "asked_steps": self._planned(),
            "until": self.options.until,
            "plan_begun": self._plan_begun,  # a step
        }
        facts = {**contract(self.recipe), **people.record, "turned_deg": people.turned_deg}
        taken_for = Recogniser(
            people.looked_at, faces.persona[1], faces.wearers[1], self.geometry, self.validator
        ).measure
        of = self.checkpoint, self.graph, self.validator
        return Keeper(*of, facts, record, before, settle=self.kept, taken_for=taken_for, diary=diary)
