"""The training loop: dispatches, progress, previews, generations, roll-back and resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from livepaste.checkpoint import read_history
from livepaste.errors import TrainingError
from livepaste_train.compiling import put
from livepaste_train.early import ending
from livepaste_train.forecast import longer, told
from livepaste_train.losses import drowned
from livepaste_train.offset import EVERY as OFFSET_EVERY
from livepaste_train.options import TrainOptions
from livepaste_train.parallel import agreed, fails_together, first_ones, here, leads
from livepaste_train.prepare import Prepared
from livepaste_train.resume import taken
from livepaste_train.stacked import pretrained
from livepaste_train.step import TrainState, new_state
from livepaste_train.until import read_until

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
    forecast: str = ""  # how good it is going to be, where the curve says


class Trainer(Prepared):
    """One training of one checkpoint. ``tell`` gets a Progress after each dispatch; ``stop`` is asked before each."""

    def __init__(
        self, options: TrainOptions, tell: Callable[[Progress], None], stop: Callable[[], bool] = lambda: False
    ) -> None:
        super().__init__(options)
        self.tell, self.stop = tell, stop
        self._until, self.forecast, self.longer = read_until(options.until), "", ""

    def run(self) -> TrainState:
        """Train until the plan is done or ``stop`` says so; the last generation is saved in any case."""
        with ExitStack() as stack, closing(self.keeper.diary):
            fails_together(taken(stack, self.checkpoint, self.found) if leads() else None)
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
        self.keeper.cut(done if self.resumed else -1)  # of a killed run
        if self.resumed and (note := self._end_early()):  # as the run that was killed would have after its generation
            self.tell(Progress(done, int(self.state.total), 0.0, None, {}, self.validation, note))
        losses: dict[str, float] = {}
        saved = done if self.resumed else -1
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
