"""Curves as points of SVG lines, and numbers as they are shown: what the pages that plot something share."""

from __future__ import annotations

import math

import numpy as np

from livepaste.actors.staging import runs

CHART_WH = (920, 150)


def number(value: object) -> float:
    """What a file says as a number that can be drawn, or NaN."""
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30
    return float(value) if usable else math.nan


def said(value: object) -> str:
    """A number as it is shown."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def columns(values: np.ndarray, most: int = CHART_WH[0]) -> np.ndarray:
    """One value for each column of the picture at most, the mean of what falls into it: a page of an hour is no larger."""
    if len(values) <= most:
        return values
    seen = np.isfinite(values)
    starts = np.linspace(0, len(values), most, endpoint=False).astype(int)
    sums, counts = (np.add.reduceat(v, starts) for v in (np.where(seen, values, 0.0), seen.astype(float)))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def paths(
    values: np.ndarray,
    low: float,
    high: float,
    size_wh: tuple[int, int] = CHART_WH,
    across: np.ndarray | None = None,
) -> list[str]:
    """Polylines' points, one for each run of finite values; what is outside of ``low`` to ``high`` stays at the border.

    ``across``: each value's place from 0 to 1, rising; without it they lie at equal distances. A value between two that are not finite
    is a dash: a line of one point is not drawn.
    """
    w, h = size_wh
    x = np.linspace(0, w, max(2, len(values)))[: len(values)] if across is None else across * w
    y = h - (np.clip(values, low, high) - low) / (high - low) * (h - 8) - 4
    return [
        " ".join(f"{x[i]:.1f},{y[i]:.1f}" for i in range(first, last + 1))
        + (f" {x[first] + 1:.1f},{y[first]:.1f}" if first == last else "")
        for first, last in runs(np.isfinite(values))
    ]


def place_up(value: float, low: float, high: float, height: int) -> float:
    """Where :func:`paths` draws a value."""
    return height - (value - low) / (high - low) * (height - 8) - 4


_CLOCK = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)  # seconds


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Up to ``most`` round numbers from ``low`` to ``high``: 1, 2 or 5 times a power of ten apart."""
    if not high > low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    return next(made for s in (1, 2, 5, 10, 20) if len(made := _multiples(low, high, s * power)) <= most)


def log_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers of a logarithmic axis, from ``low`` to ``high``, both above 0."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for of_each in ((1, 2, 5), (1, 3), (1,)):
        found = [m * 10.0**d for d in decades for m in of_each if low <= m * 10.0**d <= high]
        if len(found) <= most:
            return found
    return found[:: math.ceil(len(found) / most)]


def clock_ticks(high: float, most: int = 6) -> list[float]:
    """Up to ``most`` times from 0 to ``high`` seconds, apart as clocks divide it."""
    rough = high / max(1, most - 1)
    step = next((s for s in _CLOCK if s >= rough), math.ceil(rough / 86400) * 86400)
    return _multiples(0.0, high, float(step))


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def clock(seconds: float) -> str:
    """A time as clocks show it: 0:45, 12:30, 3:05:00."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
