"""Runs that have a time instead of a number of steps: the plan follows the clock, so they do not repeat bit for bit."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from livepaste_train.step import TrainState

Dispatch = Callable[[TrainState, Any], tuple[TrainState, dict[str, Any]]]


class Clock:
    """Steps within ``budget_s`` seconds. Compiling is not counted."""

    def __init__(self, budget_s: float) -> None:
        self.budget_s = budget_s
        self.spent_s = self._per_step_s = 0.0
        self._last: Dispatch | None = None
        self._due: dict[str, float] = {}

    @property
    def over(self) -> bool:
        return self.spent_s >= self.budget_s

    def take(self, dispatch: Dispatch, state: TrainState, data: Any) -> tuple[TrainState, dict[str, float]]:
        """One dispatch, and the steps that are planned with what is left."""
        before, began = int(state.step), time.monotonic()
        state, metrics = dispatch(state, data)
        step = int(state.step)  # waits for it
        took_s = time.monotonic() - began
        if dispatch is self._last:
            self.spent_s += took_s
            each_s = took_s / (step - before)
            self._per_step_s = 0.95 * self._per_step_s + 0.05 * each_s if self._per_step_s else each_s
            left = max(0.0, self.budget_s - self.spent_s) / self._per_step_s
            state = state._replace(total=jnp.int32(step + left))
        self._last = dispatch
        return state, {name: round(float(value), 5) for name, value in metrics.items()}

    def due(self, what: str, every_s: float) -> bool:
        """True when ``every_s`` seconds of work have passed since it was True for ``what``; and at the end."""
        if self.over or self.spent_s >= self._due.get(what, every_s):
            self._due[what] = self.spent_s + every_s
            return True
        return False

    def say(self, state: TrainState, **numbers: Any) -> None:
        """A line of JSON on the error stream."""
        line = {"step": int(state.step), "total": int(state.total), "s": round(self.spent_s), **numbers}
        print(json.dumps(line), file=sys.stderr, flush=True)
