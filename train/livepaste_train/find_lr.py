"""Which learning rate to begin with: the range test (Smith 2017), on the very model and faces of a training, without keeping a step of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from livepaste.pages import write_page
from livepaste_train.compiling import put
from livepaste_train.fit import Trainer
from livepaste_train.step import WARM_STEPS, make_dispatch

LOWEST, HIGHEST = 1e-6, 1.0
STEPS = 100
MEMORY = 0.9  # of the smoothed loss
LOST = 3.0  # times the least smoothed loss: further up nothing is learned any more
WIDTH, HEIGHT, LEFT, BOTTOM = 900, 360, 70, 40  # of the drawing, px


@dataclass(frozen=True)
class Curve:
    """Rates, the loss of each step, smoothed, and the rate at which it falls fastest."""

    rates: np.ndarray  # float64 (n,), rising by a constant factor
    losses: np.ndarray  # float64 (n,), smoothed
    picked: float


def smoothed(losses: np.ndarray) -> np.ndarray:
    """Exponential mean with the beginning's bias taken off."""
    made, mean = np.empty(len(losses)), 0.0
    for i, loss in enumerate(losses):
        mean = MEMORY * mean + (1 - MEMORY) * loss
        made[i] = mean / (1 - MEMORY ** (i + 1))
    return made


def pick(rates: np.ndarray, losses: np.ndarray) -> float:
    """Where the smoothed loss falls fastest per factor of the rate, before its least value. A tenth of the least's rate if it never falls."""
    least = int(np.argmin(losses))
    if least < 2:
        return float(rates[least] / 10)
    slope = np.gradient(losses, np.log(rates))
    return float(rates[int(np.argmin(slope[: least + 1]))])


def find_rate(trainer: Trainer, stop: Callable[[], bool] = lambda: False) -> Curve:
    """One step at each of up to 100 rates from 1e-6 to 1, until the loss is three times its least, or no number.

    Of the same faces each time, augmented the same: from batch to batch a loss differs by more than a step brings.
    """
    recipe = replace(trainer.recipe, steps_per_dispatch=1)
    dispatch = make_dispatch(trainer.graph, trainer.loss, recipe, trainer.scale, trainer.compute)
    # past the warm-up, without a plan: the rate is the recipe's times what is said here
    state = jax.tree.map(put, trainer.state)._replace(step=jnp.int32(WARM_STEPS), total=jnp.int32(0))
    every = np.geomspace(LOWEST, HIGHEST, STEPS)
    losses: list[float] = []
    for rate in every:
        if stop():
            break
        key = put(trainer.state.key)  # which is donated with the rest
        state, metrics = dispatch(state._replace(rate=jnp.float32(rate / recipe.lr), key=key), trainer.data)
        losses.append(float(metrics["loss"]))
        if not math.isfinite(losses[-1]) or smoothed(np.array(losses))[-1] > LOST * smoothed(np.array(losses)).min():
            break
    whole = np.array(losses)[np.isfinite(losses)]
    made = smoothed(whole)
    return Curve(every[: len(made)], made, pick(every[: len(made)], made))


def write_curve(path: Path, curve: Curve, title: str) -> None:
    """The curve as a page, the picked rate marked."""
    low, high = math.log10(LOWEST), math.log10(HIGHEST)
    least = float(curve.losses.min())
    top = min(float(curve.losses.max()), 2 * float(curve.losses[0]) - least)  # how it explodes says nothing
    span = max(top - least, 1e-9)

    def x(rate: float) -> float:
        return LEFT + (math.log10(rate) - low) / (high - low) * (WIDTH - LEFT - 20)

    def y(loss: float) -> float:
        return 10 + (top - min(loss, top)) / span * (HEIGHT - BOTTOM - 20)

    line = " ".join(f"{x(r):.1f},{y(v):.1f}" for r, v in zip(curve.rates, curve.losses, strict=True))
    decades = range(round(low), round(high) + 1)
    write_page(
        path,
        "curve.html",
        title=title,
        summary=f"Loss of one step at each rate, smoothed. It falls fastest at {curve.picked:.1e}.",
        size=(WIDTH, HEIGHT, LEFT, HEIGHT - BOTTOM),
        line=line,
        mark=f"{x(curve.picked):.1f}",
        across=[(f"{x(10.0**d):.1f}", f"1e{d}") for d in decades],
        up=[(f"{y(v):.1f}", f"{v:.3g}") for v in (least, (least + top) / 2, top)],
    )
