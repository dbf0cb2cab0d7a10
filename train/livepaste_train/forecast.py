"""How good a training will be, and how long it takes to be better: a curve laid through what held-out faces have measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

MEASURE = "persona_psnr_db"
MORE_DB = 0.5
FIFTH = 0.2  # more steps
FEWEST, IN_HALF = 5, 8  # measures: for a curve, and in the later half of the steps for its slope
MOST_TIMES = 6.0  # as many steps, beyond which nobody waits for half a decibel
# times the steps of the first one looked at that the last one has: below, a curve is no more than its tangent
SPAN = 2.2
SEEN = 3.0  # measures before this part of the steps say nothing of the end: there the face comes out of the mean
EXPONENTS = np.geomspace(0.1, 2.0, 25)
LEAST_DB = 0.02  # standard deviation of a measure: no fit is believed to be closer
ROUGH_DB = 0.3  # of measures about the curve: above, it is not one
VAGUE_DB = 0.7  # of the forecast: above, nothing is said
# The curve's own error: it was never meant for a rate that falls. Of what it sees still to come, as a standard deviation.
SHAPE = 0.4
FALL_DB = 0.15  # what a falling rate may bring besides, as a standard deviation; less in the last quarter, where it has fallen


class Curve(NamedTuple):
    """``a − b·step^−c`` for each of some c, by least squares, and how far each is to be believed."""

    a: Float64[np.ndarray, k]  # dB, what it saturates at
    b: Float64[np.ndarray, k]
    c: Float64[np.ndarray, k]
    weight: Float64[np.ndarray, k]  # sums to 1
    covariance: Float64[np.ndarray, "k 2 2"]  # of a and b
    noise_db: float  # standard deviation of a measure about it
    last: float  # step of the last measure


class Forecast(NamedTuple):
    """A measure to come."""

    db: float
    sd_db: float


def measures(records: Iterable[Mapping[str, Any]], name: str = MEASURE) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values, float64 (n,), of one measure in the lines of a history; lines without it are passed over."""
    found = [(r["step"], r[name]) for r in records if isinstance(r.get(name), (int, float))]
    made = np.array(found, np.float64).reshape(-1, 2)
    kept = np.isfinite(made).all(1)
    return made[kept, 0], made[kept, 1]


def laid(steps: np.ndarray, values: np.ndarray) -> Curve | None:
    """A saturating power law through measures at rising steps; None where they do not bear one.

    The exponent is not picked but averaged over (Bayesian model averaging, Hoeting et al. 1999, with Gaussian errors and no preference among
    exponents): a few measures fit many exponents, which part further on, and by how far they part is what can be known.
    """
    if not len(steps):
        return None
    late = steps >= steps[-1] / SEEN
    t, q = steps[late], values[late]
    if len(t) < FEWEST or t[-1] < SPAN * t[0]:
        return None
    fits = []
    for c in EXPONENTS:
        x = np.stack([np.ones_like(t), -((t / t[-1]) ** -c)], 1)
        inverse = np.linalg.inv(x.T @ x)
        a, b = inverse @ (x.T @ q)
        fits.append((a, b, inverse, float(np.square(q - x @ (a, b)).sum())))
    a, b = (np.array([fit[i] for fit in fits]) for i in (0, 1))
    error = np.array([fit[3] for fit in fits])
    variance = max(LEAST_DB**2, float(error.min()) / max(1, len(t) - 3))
    weight = np.exp(-(error - error.min()) / (2 * variance)) * (b > 0)  # one that falls is none
    if np.sqrt(variance) > ROUGH_DB or weight.sum() < 1e-3:
        return None
    covariance = np.array([fit[2] for fit in fits]) * variance
    return Curve(a, b, EXPONENTS, weight / weight.sum(), covariance, float(np.sqrt(variance)), float(t[-1]))


def at(curve: Curve, step: float) -> Forecast:
    """What will be measured at a later step."""
    power = (step / curve.last) ** -curve.c
    each = curve.a - curve.b * power
    x = np.stack([np.ones_like(power), -power], 1)
    of_each = np.einsum("ki,kij,kj->k", x, curve.covariance, x)
    mean = float(curve.weight @ each)
    gain = mean - float(curve.weight @ (curve.a - curve.b))
    falls_db = FALL_DB * min(1.0, 4 * (1 - curve.last / step))
    variance = (
        float(curve.weight @ (of_each + np.square(each - mean))) + curve.noise_db**2 + (SHAPE * gain) ** 2 + falls_db**2
    )
    return Forecast(mean, float(np.sqrt(variance)))


def steps_for(curve: Curve, more_db: float = MORE_DB) -> float | None:
    """Further steps until so much more is measured; None if that cannot be said, or is never."""
    with np.errstate(divide="ignore", over="ignore"):
        left = np.maximum(curve.b - more_db, 0.0) / curve.b  # what is then left of b
        when = curve.last * np.where(left > 0, left, np.nan) ** (-1 / curve.c)
    when = np.where(np.isfinite(when), when, np.inf)
    order = np.argsort(when)
    passed = np.cumsum(curve.weight[order])
    low, middle, high = (
        when[order][min(int(np.searchsorted(passed, share)), len(when) - 1)] for share in (0.16, 0.5, 0.84)
    )
    further = high - curve.last
    if not np.isfinite(further) or further > 3 * (low - curve.last):
        return None
    return float(middle - curve.last)


def gain(steps: np.ndarray, values: np.ndarray, since: int = 0) -> Forecast | None:
    """What ``FIFTH`` more steps bring if it goes on as in the later half of those since ``since``, dB; None of fewer than ``IN_HALF`` measures.

    A measure rises with the logarithm of the steps, or more slowly: a straight line over that, by least squares, errs upwards if at all.
    """
    if not len(steps):
        return None
    late = steps >= since + (steps[-1] - since) / 2
    t, q = np.log(steps[late]), values[late]
    if len(t) < IN_HALF:
        return None
    x = t - t.mean()
    slope = float(x @ q / (x @ x))
    noise = float(np.square(q - q.mean() - slope * x).sum()) / (len(t) - 2)
    return Forecast(slope * math.log1p(FIFTH), math.sqrt(noise / float(x @ x)) * math.log1p(FIFTH))


def told(records: Iterable[Mapping[str, Any]], total: int, takes_s: Callable[[int], float | None]) -> str:
    """What is to come, in a short phrase: how good at the end of a plan of ``total`` steps, or without one, how long for ``MORE_DB``.
    Nothing where the measures do not say. ``takes_s(steps)`` is how long so many more take."""
    curve = laid(*measures(records))
    if curve is None or 0 < total <= curve.last:
        return ""
    if total:
        end = at(curve, total)
        return f"about {end.db:.1f} ± {max(0.1, end.sd_db):.1f} dB at the end" if end.sd_db <= VAGUE_DB else ""
    further = steps_for(curve)
    needed_s = None if further is None else takes_s(round(further))
    return "" if needed_s is None else f"{MORE_DB:g} dB more in about {duration(needed_s)}"


def longer(records: Iterable[Mapping[str, Any]]) -> str:
    """How much longer a training would have had to be for ``MORE_DB``, once its plan is done; nothing where the measures do not say.

    Its own curve has come to rest with its rate, and would say never; a longer plan's falls later. So not the curve but its mean slope over
    the later half of the steps is carried on.
    """
    rise = gain(*measures(records))
    if rise is None or rise.sd_db > max(rise.db, 0.05):
        return ""
    times = math.exp(min(MORE_DB * math.log1p(FIFTH) / max(rise.db, 1e-6), 10.0))
    if times > MOST_TIMES:
        return (
            f"twice as many steps would bring about {max(0.0, rise.db) * math.log(2) / math.log1p(FIFTH):.1f} dB more"
        )
    return f"{MORE_DB:g} dB more would take about {times:.1f} times as many steps"


def duration(time_s: float) -> str:
    """A rough time in words."""
    for unit, length in (("h", 3600), ("min", 60)):
        if time_s >= 0.95 * length:
            count = time_s / length
            return f"{count:.1f} {unit}" if count < 3 else f"{count:.0f} {unit}"
    return f"{time_s:.0f} s"
