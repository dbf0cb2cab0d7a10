"""The curves of a training, from its history: losses, measures, learning rate and speed, each over steps and over time."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from livepaste.charts import clock, clock_ticks, columns, log_ticks, number, paths, place_up, said, ticks

CHART_WH = (420, 170)
# how measures' names end: what else is in a history is a loss
MEASURED = "_db", "_iou", "_error", "_deg", "_as_persona"
LOSSES = "losses, as they are weighed"
_OWN = {"gradient_norm": "the gradient's length", "lr": "learning rate", "images_per_s": "images a second"}
_TITLES = {"psnr_db": "held-out faces drawn again: likeness, dB", "mask_iou": "held-out faces: overlap of the mask"}


def numbers(history: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """A history by name, float64 (n,) with NaN where a line has no such number."""
    names = dict.fromkeys(name for line in history for name in line)
    found = {name: np.array([number(line.get(name)) for line in history]) for name in names}
    return {name: values for name, values in found.items() if np.isfinite(values).any()}


def curves(history: Sequence[Mapping[str, Any]], measured: Collection[str], batch: float) -> list[dict[str, Any]]:
    """Charts for the template; ``measured`` are the measures' names, as far as they are known, and ``batch`` the faces of a step.

    Each has a title, log, up (places and words of its axis), views (kind, lines, across) over steps and over time, and names with what
    each came to.
    """
    found = numbers([line for line in history if np.isfinite(number(line.get("step")))])
    step, seconds = found.pop("step", np.empty(0)), found.pop("seconds", None)
    if len(step) < 2:
        return []
    if "images_per_s" not in found and seconds is not None:
        found |= _speed(step, seconds, batch)
    groups: dict[str, dict[str, np.ndarray]] = {LOSSES: {"loss": np.full(len(step), np.nan)}}  # their sum is the first
    for name, values in found.items():
        if name in _OWN:
            group = _OWN[name]
        elif name in measured or name.endswith(MEASURED):
            kind = re.sub(r"\d+", "N", re.sub(r"^(persona|wearer|swap)_", "", name))
            group = _TITLES.get(kind, kind.replace("_", " "))
        else:
            group = LOSSES
        groups.setdefault(group, {})[name] = values
    order = [*(title for title in groups if title not in _OWN.values()), *_OWN.values()]
    return [made for title in order if title in groups and (made := _chart(title, groups[title], step, seconds))]


def _speed(step: np.ndarray, seconds: np.ndarray, batch: float) -> dict[str, np.ndarray]:
    """Images a second between each two lines of a history that does not say it."""
    took = np.diff(seconds, prepend=np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        speed = np.where(took > 0, batch * np.diff(step, prepend=np.nan) / took, np.nan)
    return {"images_per_s": speed} if np.isfinite(speed).any() else {}


def _chart(
    title: str, series: Mapping[str, np.ndarray], step: np.ndarray, seconds: np.ndarray | None
) -> dict[str, Any]:
    """One chart, or nothing without a number to draw. Losses are of very different sizes: on a logarithmic axis, if they can be."""
    series = {name: values for name, values in series.items() if np.isfinite(values).any()}
    if not series:
        return {}
    finite = np.concatenate([values[np.isfinite(values)] for values in series.values()])
    low, high = float(finite.min()), float(finite.max())
    log = title == LOSSES and low > 0 and high > 10 * low
    if not log and 0 < low < high / 2:
        low = 0.0
    if not high > low:
        low, high = (low - abs(low) / 2, high + abs(high) / 2) if low else (0.0, 0.01)
    up = log_ticks(low, high) if log else ticks(low, high)
    scaled = (lambda value: np.log10(value)) if log else (lambda value: value)
    bottom, top = float(scaled(low)), float(scaled(high))
    views = []
    for kind, along in (("step", step), ("time", seconds)):
        last = float(np.nanmax(along)) if along is not None and np.isfinite(along).any() else 0.0
        if along is None or last <= 0:
            continue
        lines = []
        for place, values in enumerate(series.values()):
            seen = np.isfinite(values) & np.isfinite(along)
            x, y = (columns(v[seen], CHART_WH[0]) for v in (along / last, scaled(values)))
            lines.append({"number": place, "paths": paths(y, bottom, top, CHART_WH, np.clip(x, 0, 1))})
        marks = clock_ticks(last) if kind == "time" else ticks(0.0, last, 7)
        words = clock if kind == "time" else lambda value: f"{value:,.0f}"
        across = [(round(mark / last * CHART_WH[0], 1), words(mark)) for mark in marks]
        views.append({"kind": kind, "lines": lines, "across": across})
    return {
        "title": title,
        "log": log,
        "up": [(round(place_up(float(scaled(v)), bottom, top, CHART_WH[1]), 1), f"{v:.3g}") for v in up],
        "views": views,
        "names": [{"name": name, "last": said(float(v[np.isfinite(v)][-1]))} for name, v in series.items()],
    }
