"""When previews and generations are due, and how many steps fit into the time that was asked for."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from livepaste_train.options import MOST_STEPS, TrainOptions, seconds

SHOW_EVERY, SAVE_EVERY = 20, 250  # steps, where the user names none
# Then a preview or generation comes no sooner than so many times what the last one took after it: on an accelerator 20 steps take
# less time than a preview.
APART = 5


class Due:
    """One of the two: every so many steps, whole dispatches."""

    def __init__(self, asked: int | None, usual: int, per_dispatch: int) -> None:
        self.every = math.ceil((asked or usual) / per_dispatch) * per_dispatch
        self.asked = asked is not None
        self._times, self._ended, self.took_s = 0, 0.0, 0.0

    def at(self, step: int) -> bool:
        apart = self.asked or self._times < 2 or time.monotonic() - self._ended >= APART * self.took_s
        return step % self.every == 0 and apart

    def was_made(self, took_s: float) -> bool:
        """To be told after each; whether it was the first, which compiles."""
        self._times, self._ended, self.took_s = self._times + 1, time.monotonic(), took_s
        return self._times == 1


class Pace:
    """The clock of a training; nothing in a step reads it."""

    def __init__(self, options: TrainOptions, per_dispatch: int, began: float) -> None:
        """``began``: when the time of ``--for`` began, ``time.monotonic``."""
        self._for_s = seconds(options.for_) if options.for_ else 0.0
        self._for, self._per, self._began = options.for_, per_dispatch, began
        self.show = Due(options.show_every, SHOW_EVERY, per_dispatch)
        self.save = Due(options.save_every, SAVE_EVERY, per_dispatch)
        # what the last generation takes; until one was written, with the previews before it
        self._ending_s = 0.05 * self._for_s
        self._timed_s, self._steps, self._since = 0.0, 0, 0.0
        self._dispatches = 0
        self._asked = 0.0, 0  # seconds and steps when it was last asked how fast it goes

    def dispatched(self, took_s: float) -> None:
        """After every dispatch; the first one compiles, and does not count."""
        self._dispatches += 1
        if self._dispatches > 1:
            self._timed_s, self._steps = self._timed_s + took_s, self._steps + self._per
        else:
            self._since = time.monotonic()

    @contextmanager
    def making(self, due: Due) -> Iterator[None]:
        """Around every preview and generation."""
        began = time.monotonic()
        yield
        took_s = time.monotonic() - began
        if due.was_made(took_s):
            self._since += took_s  # no other will take as long
        if due is self.save:
            self._ending_s = took_s

    @property
    def steps_per_s(self) -> float:
        """Of dispatches alone; 0 until one is timed."""
        return self._steps / self._timed_s if self._timed_s else 0.0

    def lately(self) -> float:
        """Steps a second, of dispatches alone, since this was last asked; 0 before one is timed."""
        took_s, steps = self._timed_s - self._asked[0], self._steps - self._asked[1]
        self._asked = self._timed_s, self._steps
        return steps / took_s if took_s else 0.0

    def _step_s(self) -> float:
        """With previews and generations between, which take their part of the time that is left too.

        No more than ``APART`` leaves them, where it does: the first two previews follow each other sooner.
        """
        seldom = not (self.show.asked or self.save.asked)
        most = self._timed_s * (1 + 2 / APART) if seldom else math.inf
        return max(self._timed_s, min(most, time.monotonic() - self._since)) / self._steps

    def seconds_left(self, steps: int) -> float | None:
        """For so many more steps; None until a dispatch is timed."""
        return steps * self._step_s() if self._steps else None

    @property
    def can_plan(self) -> bool:
        return bool(self._for and self._steps)

    def plan(self, done: int, *, first: bool) -> tuple[int, str]:
        """Steps altogether, and the sentence about them. ``first``: at least one more dispatch."""
        left = max(0.0, self._for_s - self._ending_s - (time.monotonic() - self._began))
        step_s = self._step_s()
        steps = done + max(self._per * first, int(min(left / step_s, MOST_STEPS)) // self._per * self._per)
        used = "" if left else "; reading the faces and compiling took all of it, give it more"
        return steps, f"{steps} steps fit into {self._for} at {step_s:.2g} s a step{used}"
