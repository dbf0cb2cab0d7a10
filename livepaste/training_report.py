"""The page about a training: what its folder tells of curves, previews over time, people, settings, time and machine.

Everything in a checkpoint may have been written by an earlier livepaste, damaged or edited by hand: what is missing or of another kind
is left out.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from livepaste import previews
from livepaste.charts import clock, number, said
from livepaste.checkpoint import Generation, has_begun, newest_generation, read_history
from livepaste.errors import CheckpointError
from livepaste.identity import CONTROL, TAKEN, TOP, why_not
from livepaste.pages import picture_uri, write_page
from livepaste.picture_files import take_apart
from livepaste.pictures import read_picture
from livepaste.training_curves import CHART_WH, MEASURED, curves

SHEET_PX = 960  # width at most of a preview that is the only one
MOST_SIDE = 4096  # pixels of a preview: a file of 30 kB may claim any number
_WORDS = 300  # characters at most of anything that a file says
_ROWS = {5: ("wearer", "swapped", "laid over", "persona", "drawn again"), 3: ("face", "drawn again", "laid over")}


@dataclass(frozen=True)
class Training:
    """What there is of one."""

    checkpoint: Path
    model: dict[str, Any]  # model.json of the newest whole generation; empty before the first
    generation: Generation | None
    history: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)

    @property
    def recipe(self) -> dict[str, Any]:
        return _table(self.model.get("recipe"))

    @property
    def steps(self) -> int:
        """Of the newest generation, or without one of the history."""
        told = number(self.model.get("steps"))
        return int(told) if math.isfinite(told) else max((line["step"] for line in self.history), default=0)


def gather(checkpoint: Path) -> Training:
    """Read a checkpoint's folder, also while it is being trained. Raises CheckpointError when there is neither a model nor a history.

    Of its history that is left out which the classifier's control figures of the same line do not let it judge.
    """
    history = sorted(map(_judged, read_history(checkpoint)), key=lambda line: line["step"])
    try:
        generation = newest_generation(checkpoint)
    except CheckpointError as error:
        if not history:
            raise
        note = f"No generation can be read: {error}." if has_begun(checkpoint) else "No generation is saved yet."
        return Training(checkpoint, {}, None, history, [note])
    made = Training(checkpoint, generation.model, generation, history)
    if not history:
        made.notes.append("No history came with it, so there are no curves.")
    elif history[-1]["step"] > made.steps:
        made.notes.append(
            f"The newest generation is of step {made.steps}, the history goes on to step {history[-1]['step']}."
        )
    if made.model.get("wearers") == []:
        made.notes.append(
            "Trained without a wearer's faces: the wearers shown here are drawn, and nothing was learned from them."
        )
    if reason := _why_not(_table(made.model.get("validation"))):
        made.notes.append(f"Who the swaps are taken for: {reason}.")
    return made


def _why_not(numbers: Mapping[str, Any]) -> str:
    """Why the identity errors among ``numbers`` may not be believed; empty where they may, or where there are none."""
    if not any(name in numbers for name in TOP):
        return ""
    return why_not(
        {name: number(numbers.get(name)) for name in (CONTROL, TAKEN) if math.isfinite(number(numbers.get(name)))}
    )


def _judged(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in TOP} if _why_not(line) else line


def strips(training: Training) -> dict[str, Any]:
    """The previews over time: each one's picture, words, and place in the curves; ``rows``: what the rows of faces are."""
    found = previews.listed(training.checkpoint)
    gone = set(previews.surplus([step for step, _ in found]))
    told = {line["step"]: line for line in training.history}
    most = {name: max((_finite(line.get(name)) for line in training.history), default=0.0) for name in ("step", "seconds")}  # fmt: skip
    made, heights = [], set()
    for step, path in found:
        picture = None if step in gone else _jpeg(path)
        if picture is None:
            continue
        line = told.get(step, {})
        heights.add(picture[1])
        places = {
            name: round(_finite(line.get(name, step if name == "step" else None)) / most[name], 4) if most[name] else 0
            for name in most
        }
        measures = [f"{name} {said(line[name])}" for name in line if name.endswith(MEASURED)]
        at = [f"step {step:,}", *([clock(_finite(line["seconds"]))] if "seconds" in line else [])]
        made.append({"uri": picture[0], "words": " · ".join([*at, *measures])[:_WORDS], "places": places})
    rows = _ROWS.get(heights.pop() // previews.TILE_PX, ()) if len(heights) == 1 else ()
    return {"pictures": made or _only(training), "rows": rows if made else ()}


def _jpeg(path: Path) -> tuple[str, int] | None:
    """A strip as part of the page, and its height; None for what is gone meanwhile, damaged, or none of ours."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if not 0 < len(data) <= 2 * previews.LARGEST:
        return None
    try:
        file = take_apart(data)
        if file.kind != "jpeg" or max(file.size_wh) > MOST_SIDE:
            return None
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (ValueError, cv2.error):
        return None
    return None if picture is None else (f"data:image/jpeg;base64,{b64encode(data).decode('ascii')}", picture.shape[0])


def _only(training: Training) -> list[dict[str, Any]]:
    """The one preview of a training that kept none over time."""
    of_generation = [training.generation.path] if training.generation else []
    for folder in (training.checkpoint, *of_generation):
        picture = read_picture(folder / "preview.png")
        if picture is not None:
            scale = min(1.0, SHEET_PX / picture.shape[1])
            picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            uri = picture_uri(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
            return [{"uri": uri, "words": "the newest preview", "places": {}}]
    return []


def measures(training: Training) -> list[dict[str, str]]:
    """Each measure of the newest generation, and its best so far: name, value, best, step. Control figures of a classifier have no best."""
    lines, validation = [], _table(training.model.get("validation"))
    reason = _why_not(validation)
    for name, value in validation.items():
        told = [(number(line.get(name)), line["step"]) for line in training.history]
        told = [(v, step) for v, step in told if math.isfinite(v)]
        best, step = "", ""
        if told and name not in (CONTROL, TAKEN):
            of = min if "error" in name else max
            at = of(told, key=lambda pair: pair[0])
            best, step = said(at[0]), f"{at[1]:,}"
        shown = "cannot judge" if reason and name in TOP else said(number(value))
        lines.append({"name": _text(name), "value": shown, "best": best, "step": step})
    return lines


def people(training: Training) -> list[dict[str, str]]:
    """Whose faces, on what basis, and what is known of the face sets."""
    model = training.model
    known = [entry for entry in _list(model.get("face_sets")) if isinstance(entry, dict)]
    if not known:  # of an earlier livepaste
        alone = bool(model.get("alone"))
        wearers = [] if alone else [("wearer", person) for person in _list(model.get("wearers"))]
        sides = ("person" if alone else "persona", model.get("persona")), *wearers
        known = [{"side": side, **_table(person)} for side, person in sides if person]

    def pair(value: object) -> str:
        low, high = (*_list(value), None, None)[:2]
        return f"{_finite(low):+.0f}° to {_finite(high):+.0f}°" if isinstance(value, list) else ""

    return [
        {
            "who": f"{_text(entry.get('side'))}: {_text(entry.get('person', '?'))}",
            "consent": _text(entry.get("consent", "?")),
            "faces": f"{said(entry['faces'])} of {said(entry.get('size', '?'))} px" if "faces" in entry else "",
            "held out": _text(entry.get("held_out", "")),
            "files": _text(entry.get("sources", "")),
            "yaw": pair(entry.get("yaw_deg")),
            "pitch": pair(entry.get("pitch_deg")),
            "sharpness": _text(entry.get("sharpness", "")),
            "width there": f"{_text(entry['width_px'])} px" if "width_px" in entry else "",
        }
        for entry in known
    ]


def settings(recipe: Mapping[str, Any], usual: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every setting: name, value, what is usual, and whether it differs. A setting that an older record lacks had the usual value."""

    def flat(values: Mapping[str, Any]) -> dict[str, str]:
        own = {f"model.{name}": value for name, value in _table(values.get("architecture")).items()}
        return {_text(name): _text(v) or "–" for name, v in ({**values, **own}).items() if name != "architecture"}

    mine, theirs = flat(recipe), flat(usual)
    names = [*theirs, *(name for name in mine if name not in theirs)] if mine else []
    return [
        {"name": name, "value": mine.get(name, theirs.get(name, "")), "usual": theirs.get(name, "–"),
         "differs": name != "name" and name in mine and mine[name] != theirs.get(name)}
        for name in names
    ]  # fmt: skip


def work(training: Training) -> dict[str, str]:
    """Time, size and machine, in words by name."""
    model, machine = training.model, _table(training.model.get("environment"))
    seconds, batch = number(model.get("seconds")), number(training.recipe.get("batch"))
    if not math.isfinite(seconds):
        seconds = max((_finite(line.get("seconds")) for line in training.history), default=0.0)
    faces, planned = number(model.get("faces")), number(model.get("planned_steps"))
    told = {"steps": f"{training.steps:,}" + (f" of {planned:,.0f} planned" if planned > 0 else "")}
    if seconds > 0:
        told["time of the steps"] = clock(seconds)
    if batch > 0:
        images = batch * training.steps
        told["images shown"] = f"{images:,.0f}" + (f", each face {images / faces:.1f} times" if faces > 0 else "")
        if seconds > 0:
            told["images a second"] = f"{images / seconds:.3g} in the mean, compiling included"
    counts = (("parameters", 1e6, "M"), ("multiply_adds", 1e6, "M a swap"))
    told |= {name.replace("_", "-"): f"{value / unit:,.1f} {words}" for name, unit, words in counts if (value := _finite(model.get(name)))}  # fmt: skip
    if "from_base" in model:
        told["began"] = "from the base" if model["from_base"] is True else "not from the base"
    if turned := _finite(model.get("turned_deg")):
        told["heads turn up to"] = f"{turned:.1f}°"
    told |= {name: _text(model[name]) for name in ("seed", "identities", "consent", "maker") if name in model}
    if machine:
        told["machine"] = f"{_text(machine.get('processor', '?'))}, {_text(machine.get('cores', '?'))} cores"
        told["computed on"] = f"{_text(machine.get('devices', 1))} × {_text(machine.get('device', '?'))}"
        versions = [f"{name} {_text(machine[name])}" for name in ("jax", "flax", "optax", "python") if name in machine]
        told["versions"] = ", ".join(versions)
    return told


def write_training_report(path: Path, training: Training, usual: Mapping[str, Any], usual_name: str) -> None:
    """Write the page. ``usual``: the settings that the training's are compared with, of a recipe of ``usual_name``."""
    model, recipe = training.model, training.recipe
    known = people(training)
    facts = [entry["who"] + f" ({entry['consent']})" for entry in known]
    if "model" in model:
        facts.append(f"{_text(model['model'])} at {_text(model.get('resolution', '?'))} px")
    facts.append(f"{training.steps:,} steps")
    write_page(
        path,
        "training.html",
        title=f"Training of {training.checkpoint.name}",
        facts=facts,
        notes=training.notes,
        strip=strips(training),
        charts=curves(training.history, _table(model.get("validation")), number(recipe.get("batch"))),
        chart_wh=CHART_WH,
        measures=measures(training),
        people=known,
        settings=settings(recipe, usual),
        usual_name=usual_name,
        work=work(training),
    )


def _finite(value: object) -> float:
    told = number(value)
    return told if math.isfinite(told) else 0.0


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return said(value)[:_WORDS]
