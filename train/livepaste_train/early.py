"""The end of a training before its plan's: when it is due, and how the schedules then come to their own ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from livepaste_train.forecast import FIFTH, gain, measures
from livepaste_train.recipe import Recipe
from livepaste_train.until import MEASURES, Until

TWICE = 2  # measures in a row that must say it: one may be luck


class Plan(NamedTuple):
    """A plan that ends early."""

    total: int
    origin: int  # see ``TrainState.origin``
    note: str


def reason(until: Until, records: Sequence[Mapping[str, Any]], since: int = 0) -> tuple[str, bool]:
    """Why a training should end, or nothing, and whether at once. ``records`` are the lines of its history, ``since`` the step of its plan's first."""
    for name, wanted in until.reached:
        steps, values = measures(records, name)
        last = values[steps > since][-TWICE:]
        if len(last) == TWICE and last.min() >= wanted:
            return f"{name} has reached {last[-1]:.4g}, {wanted:g} was asked for", True
    if until.plateau_db is None:
        return "", False
    steps, values = measures(records, MEASURES["psnr"][0])
    steps, values = steps[steps > since], values[steps > since]
    found = [gain(steps[: len(steps) - k], values[: len(steps) - k], since) for k in range(TWICE)]
    if any(rise is None or rise.db + rise.sd_db >= until.plateau_db for rise in found):
        return "", False
    assert found[0] is not None
    return f"a plateau: a fifth more steps would bring {found[0].db:.2f} ± {found[0].sd_db:.2f} dB", False


def falls(recipe: Recipe) -> bool:
    """Whether the end of a plan is another than its middle: the rate falls, or the warp does, or a judge has its phase."""
    return (
        (recipe.schedule in ("cosine", "linear") and recipe.lr_floor < 1) or recipe.warp > 0 or recipe.adversarial > 0
    )


def ending(
    until: Until, records: Sequence[Mapping[str, Any]], recipe: Recipe, step: int, total: int, since: int = 0
) -> Plan | None:
    """The plan that ends early, or None while it is to be kept: nothing but whole numbers and the history says so, no clock.

    At a plateau the schedules take a fifth of the steps so far: they go on from where they are, faster, and end with the steps: a rate that has not fallen yet leaves the noise of
    its steps in the weights, and to stop at once would give that away. ``total`` is 0 while there is no plan; ``since`` is where the plan began.
    """
    why, at_once = reason(until, records, since)
    if not why:
        return None
    if at_once or not falls(recipe):
        return Plan(step, 0, f"{why}; it ends here")
    per = recipe.steps_per_dispatch
    new = step + math.ceil(max(step * FIFTH, per) / per) * per
    if total and new >= total:
        return None  # it ends as soon anyway
    # without a plan the rate is at its highest, where a warm-up ends
    share = min(max(step / total if total else 0.0, recipe.warmup), 1 - FIFTH / 2)
    # so that progress is ``share`` now; rounded down, as before it would be in the warm-up
    origin = max(1, math.floor((step - share * new) / (1 - share)))
    return Plan(new, origin, f"{why}; the rate falls from here to step {new}, where it ends")
