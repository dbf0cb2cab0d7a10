"""Wiring of a live run: source, stages, sinks and what may change while it runs."""

from __future__ import annotations

import logging
import time
import tomllib
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from livepaste import build
from livepaste.checkpoint import newest_generation
from livepaste.devices import SINKS, SOURCES
from livepaste.errors import LivepasteError, OptionError
from livepaste.guard import hide_faces
from livepaste.options import BlendOptions, LiveOptions, size_wh
from livepaste.pipeline import Pipeline, Swapped
from livepaste.registry import resolve
from livepaste.stream import Sink, Stage
from livepaste.swapper import Swapper
from livepaste.types import Face, Frame

logger = logging.getLogger(__name__)
LOOK_EVERY_S = 1.0  # for a changed settings file or a new generation


def open_source(options: LiveOptions) -> Iterable[Frame]:
    """The source that ``--camera`` names. Raises DeviceError or ClipError when it cannot be opened."""
    size = size_wh("size", options.size)
    if options.camera == "pipe:-":
        return resolve("source", "pipe", SOURCES)(size, options.fps)
    if Path(options.camera).is_file() or "://" in options.camera:
        return resolve("source", "clip", SOURCES)(options.camera)
    return resolve("source", "camera", SOURCES)(options.camera, size, options.fps)


def open_sinks(options: LiveOptions, size: tuple[int, int], fps: float) -> tuple[Sink, ...]:
    """Every sink that ``--sink`` names; those opened already are closed again when one fails."""
    sinks: list[Sink] = []
    try:
        for spec in options.sink:
            name, _, argument = spec.partition(":")
            known = name if name in SINKS else spec
            sinks.append(resolve("sink", known, SINKS, group="livepaste.sinks")(argument, size, fps))
    except BaseException:
        for sink in sinks:
            sink.close()
        raise
    return tuple(sinks)


def read_settings(path: Path, base: BlendOptions) -> BlendOptions:
    """``base`` with what a settings file says. Raises OptionError, naming the key, for anything unknown."""
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"settings {path}: {error}") from error
    known = {f.name: f for f in fields(BlendOptions)}
    for key, value in values.items():
        if key not in known:
            raise OptionError(f"settings {path}: unknown setting {key!r}; known: {', '.join(known)}")
        if key == "offset":
            if not (isinstance(value, list) and len(value) == 2 and all(isinstance(v, (int, float)) for v in value)):
                raise OptionError(f"settings {path}: offset must be two numbers, got {value!r}")
            values[key] = (float(value[0]), float(value[1]))
        elif known[key].type == "float" and isinstance(value, int):
            values[key] = float(value)
        elif known[key].type != type(value).__name__:
            raise OptionError(f"settings {path}: {key} must be a {known[key].type}, got {value!r}")
    return replace(base, **values)


class LiveStages:
    """Finder and swapper as stages. Both load on their own threads, so the cover is out before the model is warm."""

    def __init__(self, options: LiveOptions) -> None:
        self._options = options
        self.chosen, self.others = build.chooser(options.face)
        self._finder: Any = None
        self._pipeline: Pipeline | None = None
        self._looked_s = 0.0
        self._settings_changed: float | None = None
        self._checkpoint = Path(options.model) if options.model else build.shipped("persona")
        self._number = -1

    def stages(self) -> tuple[Stage, ...]:
        return (("find", self.find), ("swap", self.swap))

    def find(self, frame: Frame, _: Any) -> tuple[Face, ...]:
        if self._finder is None:
            self._finder = build.make_finder(self._options.face)
        return self._finder(frame)

    def swap(self, frame: Frame, faces: tuple[Face, ...]) -> Swapped:
        if self._pipeline is None:
            self._start()
        assert self._pipeline is not None
        if time.monotonic() - self._looked_s > LOOK_EVERY_S:
            self._look()
        hidden = self.others(faces) if self._options.guard.others == "blur" else ()
        if hidden:
            frame = Frame(hide_faces(frame.image, hidden), frame.time, frame.index)
        return self._pipeline(frame, faces)

    def _start(self) -> None:
        generation = newest_generation(self._checkpoint)
        self._number = generation.number
        swapper = self._swapper = Swapper(generation, threads=self._options.threads)
        options = self._options.blend
        if self._options.settings:
            options = read_settings(Path(self._options.settings), options)
        self._blend = options
        self._pipeline = Pipeline(swapper, build.usable(options, swapper), choose=self.chosen)

    def _look(self) -> None:
        """Take up changed settings and, with ``--follow``, a newer generation; a bad one is said and the old one kept."""
        self._looked_s = time.monotonic()
        assert self._pipeline is not None
        try:
            if self._options.settings:
                changed = Path(self._options.settings).stat().st_mtime
                if self._settings_changed not in (None, changed):
                    self._blend = read_settings(Path(self._options.settings), self._options.blend)
                    self._pipeline.options = build.usable(self._blend, self._swapper)
                    logger.info("settings read again")
                self._settings_changed = changed
            if self._options.follow:
                generation = newest_generation(self._checkpoint)
                if generation.number != self._number:
                    self._swapper = Swapper(generation, threads=self._options.threads)
                    self._pipeline.exchange(self._swapper)
                    self._pipeline.options = build.usable(self._blend, self._swapper)
                    self._number = generation.number
                    logger.info("generation %d taken up", self._number)
        except (LivepasteError, OSError) as error:
            logger.warning("%s; going on as before", error)

    def close(self) -> None:
        if self._finder is not None:
            self._finder.close()


def safe(value: Any) -> bool:
    """Whether what the last stage made may leave: somebody was swapped. Others were hidden before the swap."""
    return isinstance(value, Swapped) and value.swapped > 0


def picture(value: Swapped) -> np.ndarray:
    return value.image
