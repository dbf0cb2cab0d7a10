"""Wiring of a live run: source, stages, sinks, and what may change while it runs."""

from __future__ import annotations

import logging
import threading
import time
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from livepaste import build
from livepaste.checkpoint import generation_folders, has_begun, newest_generation, shipped
from livepaste.clip_run import still_gone
from livepaste.devices import SINKS, SOURCES
from livepaste.errors import CheckpointError, LivepasteError, OptionError
from livepaste.guard import make_cover
from livepaste.hide import grown, hide_faces
from livepaste.masks import build_mask
from livepaste.options import SWAPPED_CHOICES, BlendOptions, LiveOptions, as_float, one_of, size_wh
from livepaste.pipeline import Drawn, Pipeline, Swapped
from livepaste.registry import plugged_in, resolve
from livepaste.stream import Sink, Stage
from livepaste.swapper import Swapper
from livepaste.trouble import AGAIN_S, Trouble
from livepaste.types import Face, Frame
from livepaste.watcher import Watcher

logger = logging.getLogger(__name__)
LOOK_EVERY_S = 1.0  # for a changed settings file or a new generation
TRIES = 5  # to load a new generation
AHEAD = 64  # frames that the finder may be ahead of the swap
BEING_WRITTEN_S = 0.1  # a file that was changed and still is after so long is being written
UNWATCHED_S = 5.0  # of the cover for want of looks: longer than any start takes


class Mirrored:
    """A source seen in a mirror: left and right are then those of the picture that leaves."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._source:
            yield Frame(cv2.flip(frame.image, 1), frame.time, frame.index)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


def open_source(options: LiveOptions) -> Iterable[Frame]:
    """The source that ``--camera`` names. Raises DeviceError or ClipError when it cannot be opened."""
    asked = (size_wh("size", options.size), options.fps)
    if options.camera == "pipe:-":
        source = resolve("source", "pipe", SOURCES)(*asked)
    elif "://" in options.camera:
        source = resolve("source", "url", SOURCES)(options.camera, *asked)
        _say_unless_obeyed(source, asked)
    elif Path(options.camera).is_file():
        source = resolve("source", "clip", SOURCES)(options.camera)
        _say_unless_obeyed(source, asked)
    else:
        source = resolve("source", "camera", SOURCES)(options.camera, *asked)
    return Mirrored(source) if options.mirror else source


def _say_unless_obeyed(source: Any, asked: tuple[tuple[int, int], float]) -> None:
    """Streams and clips are what they are; who asked for something else by an option is told."""
    default = (size_wh("size", LiveOptions().size), LiveOptions().fps)
    if asked not in (default, (source.size_wh, source.fps)):
        logger.warning(
            "--size and --fps can be asked of cameras only; this is %dx%d at %g", *source.size_wh, source.fps
        )


def open_sinks(options: LiveOptions, size: tuple[int, int], fps: float) -> tuple[Sink, ...]:
    """Every sink that ``--sink`` names; those opened already are closed again when one fails."""
    sinks: list[Sink] = []
    try:
        for spec in options.sink:
            name, argument = _sink(spec)
            sinks.append(resolve("sink", name, SINKS, group="livepaste.sinks")(argument, size, fps))
    except BaseException:
        for sink in sinks:
            with suppress(Exception):  # what is wrong is the sink that could not be opened
                sink.close()
        raise
    return tuple(sinks)


def _sink(spec: str) -> tuple[str, str]:
    """Name and argument of ``name:argument``, of which a name that is a class in a module, ``pkg.mod:Name``, holds a colon itself."""
    name, _, argument = spec.partition(":")
    if name in SINKS or name in plugged_in("livepaste.sinks"):
        return name, argument
    attribute, _, argument = argument.partition(":")
    return f"{name}:{attribute}" if attribute else name, argument


@dataclass(frozen=True)
class Settings:
    """What a settings file may change while live."""

    blend: BlendOptions
    face: str = "auto"


def read_settings(path: Path, base: Settings) -> Settings:
    """``base`` with what a settings file says. Raises OptionError, naming the key, for anything unknown."""
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text("utf-8-sig"))  # some editors begin with a mark
    except (OSError, ValueError) as error:
        raise OptionError(f"settings {path}: {error}") from error
    face = values.pop("face", base.face)
    if not isinstance(face, str):
        raise OptionError(f"settings {path}: face must be a str, got {face!r}")
    one_of("face", face, SWAPPED_CHOICES)
    known = {f.name: f for f in fields(BlendOptions)}
    for key, value in values.items():
        if key not in known:
            raise OptionError(f"settings {path}: unknown setting {key!r}; known: {', '.join(known)}, face")
        if key == "offset":
            if not (isinstance(value, list) and len(value) == 2 and all(isinstance(v, (int, float)) for v in value)):
                raise OptionError(f"settings {path}: offset must be two numbers, got {value!r}")
            x, y = (as_float(f"settings {path}: {key}", v) for v in value)
            values[key] = (x, y)
        elif known[key].type == "float" and type(value) is int:
            values[key] = as_float(f"settings {path}: {key}", value)
        elif known[key].type != type(value).__name__:
            raise OptionError(f"settings {path}: {key} must be a {known[key].type}, got {value!r}")
    return Settings(replace(base.blend, **values), face)


class Changes:
    """What changed outside while live, found and loaded on a thread of its own: the loop only takes it up.

    ``take()`` hands out what is new since the last time, (swapper or None, settings or None). A settings file or a
    generation that cannot be used is said once, and the run goes on as before.
    """

    def __init__(self, options: LiveOptions, checkpoint: Path, settings: Settings) -> None:
        self._options, self._checkpoint, self._base = options, checkpoint, settings
        self._generation, self._tries = self._newest_name(), 0
        self._settings = self._settings_time()
        self._lock = threading.Lock()
        self._swapper: Swapper | None = None
        self._read: Settings | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="changes")
        if options.follow or options.settings:
            self._thread.start()

    def take(self) -> tuple[Swapper | None, Settings | None]:
        with self._lock:
            new = self._swapper, self._read
            self._swapper = self._read = None
            return new

    def close(self) -> None:
        self._closed.set()

    def _newest_name(self) -> str:
        """The newest generation's folder: to look at names is cheap, to check hashes is not."""
        return max((path.name for path in generation_folders(self._checkpoint)), key=int, default="")

    def _settings_time(self) -> tuple[int, int] | None:
        """When the file was changed, and how long it is."""
        try:
            stat = Path(self._options.settings).stat() if self._options.settings else None
        except OSError:  # between two writes of an editor
            return None
        return (stat.st_mtime_ns, stat.st_size) if stat else None

    def _run(self) -> None:
        trouble = Trouble()
        while not self._closed.wait(LOOK_EVERY_S):
            try:
                self._look()
            except (LivepasteError, OSError) as error:
                logger.warning("%s; going on as before", error)
            except Exception as error:  # whatever it is, the next change is looked for
                trouble.say("a change could not be taken up; going on as before", error)

    def _look(self) -> None:
        changed = self._settings_time()
        if changed not in (None, self._settings):
            if self._closed.wait(BEING_WRITTEN_S) or self._settings_time() != changed:
                return  # half a file can be a valid one that says less
            self._settings = changed
            settings = read_settings(Path(str(self._options.settings)), self._base)
            with self._lock:
                self._read = settings
            logger.info("settings read again")
        newest = self._newest_name() if self._options.follow else self._generation
        if newest != self._generation:
            self._tries += 1
            last = self._tries == TRIES
            try:
                generation = newest_generation(self._checkpoint, run=True)
                # a network folder may need a moment, and no later one may come
                if generation.number != int(newest) and not last:
                    return
                swapper = build.swapper_of(generation, threads=self._options.threads)
            except Exception:
                if not last:
                    return
                self._generation, self._tries = newest, 0
                raise
            self._generation, self._tries = newest, 0
            with self._lock:
                self._swapper = swapper
            logger.info("generation %d taken up", swapper.generation.number)


class Aside(NamedTuple):
    """Faces of a frame that the finder does not hand on."""

    gone: tuple[Face, ...] = ()  # where people were lost lately
    pictures: tuple[Face, ...] = ()


class LiveStages:
    """Finder and swapper as stages. Both load on their own threads, so the cover is out before the model is warm."""

    def __init__(self, options: LiveOptions) -> None:
        self._options = options
        self._checkpoint = Path(options.model) if options.model else shipped("persona")
        self._settings = base = Settings(options.blend, options.face)
        self._changes = Changes(options, self._checkpoint, base)  # before the file is read: no change is missed
        if options.settings:
            self._settings = read_settings(Path(options.settings), base)
        self._finder: Any = None
        self._aside: dict[int, Aside] = {}  # by frame: the finder is ahead of the swap
        self._enrolled: np.ndarray | None = None  # the wearers that the model knows, while they are asked for
        self._pipeline: Pipeline | None = None
        self._watcher = Watcher() if options.guard.others == "blur" else None
        self._asleep_s: float | None = None  # since when, monotonic
        # of a training that is followed: times it could not be read, and when to try again
        self._starts, self._start_at = 0, 0.0

    def check(self) -> None:
        """Raises what is wrong with model, masks and cover, which are loaded later, beside the running stream."""
        if self._awaited():
            if self._options.guard.on_lost == "pass":
                raise CheckpointError(
                    f"{self._checkpoint}: holds no generation yet, and with --on-lost pass the raw camera would be shown until it does; "
                    "start when it does, or without --on-lost pass"
                )
            logger.warning(
                "%s holds no generation yet: the cover is shown until its training writes one", self._checkpoint
            )
        else:
            build.enrolled_in(newest_generation(self._checkpoint, run=True).model, self._settings.face)
        make_cover(self._options.guard.cover)
        build_mask(self._settings.blend.mask)

    def stages(self) -> tuple[Stage, ...]:
        return (("find", self.find), ("swap", self.swap), ("blend", self.blend))

    def find(self, frame: Frame, _: Any) -> tuple[Face, ...]:
        """Every face that is followed, the chosen one first."""
        if self._watcher is not None:
            self._watcher.show(frame)
        if self._finder is None:
            self._finder = build.make_finder(self._settings.face, self._watcher and self._watcher.newest)
        self._finder.face = self._settings.face if self._settings.face != "all" else "auto"
        self._finder.enrolled = self._enrolled
        found = self._finder(frame)
        self._aside[frame.index] = Aside(self._finder.gone, self._finder.pictures)
        if len(self._aside) > AHEAD:  # while nothing is swapped
            self._aside.pop(min(self._aside), None)
        return found

    def _aside_of(self, index: int) -> Aside:
        aside = self._aside.get(index, Aside())
        for old in list(self._aside):  # frames between were dropped
            if old <= index:
                self._aside.pop(old, None)
        return aside

    def swap(self, frame: Frame, faces: tuple[Face, ...]) -> Drawn | None:
        """Every other face hidden, and the chosen one drawn; None for a frame that may not leave."""
        pipeline = self._pipeline or (self._follow() if self._options.follow else self._start())
        if pipeline is None:
            return None
        self._take_up_changes(pipeline)
        _, others = build.chooser(self._settings.face)
        aside = self._aside_of(frame.index)
        # with `all`, who was lost lately: of those who are swapped nobody is left bare for it
        gone = still_gone(faces, aside.gone) if self._settings.face == "all" else ()
        if gone:
            frame = Frame(hide_faces(frame.image, map(grown, gone)), frame.time, frame.index)
        if self._watcher is not None:
            if not self._watched():  # nobody knows who else is there: no frame is safe
                return None
            hidden = (*others(faces), *self._watcher.strangers(frame.index, (*faces, *aside.pictures)))
            if hidden:
                frame = Frame(hide_faces(frame.image, hidden), frame.time, frame.index)
        return pipeline.draw(frame, faces)

    def blend(self, frame: Frame, drawn: Drawn | None) -> Swapped | None:
        """The drawn face laid over the frame."""
        return self._pipeline.blend(drawn) if self._pipeline and drawn else None

    def _watched(self) -> bool:
        """Whether somebody looks for other faces; says so when that lasts."""
        assert self._watcher is not None
        if self._watcher.awake:
            self._asleep_s = None
            return True
        now = time.monotonic()
        self._asleep_s = now if self._asleep_s is None else self._asleep_s
        if now - self._asleep_s > UNWATCHED_S:
            logger.warning(
                "the cover is shown: looking for other faces takes too long here; give a smaller --size, or --others leave"
            )
            self._asleep_s = now + AGAIN_S - UNWATCHED_S
        return False

    def _awaited(self) -> bool:
        """Whether the first generation of a training that is followed is still to come."""
        return self._options.follow and not has_begun(self._checkpoint)

    def _follow(self) -> Pipeline | None:
        """The pipeline of a training's first generation, or None while there is none or it cannot be read yet."""
        now = time.monotonic()
        if now < self._start_at or self._awaited():
            return None
        try:
            return self._start()
        except LivepasteError:
            self._starts += 1
            if self._starts == TRIES:
                raise
            self._start_at = now + LOOK_EVERY_S
            return None

    def _start(self) -> Pipeline:
        try:
            swapper = build.swapper_of(newest_generation(self._checkpoint, run=True), threads=self._options.threads)
            self._enrolled = build.enrolled_in(swapper.model, self._settings.face)
            pipeline = Pipeline(swapper, build.usable(self._settings.blend, swapper.model), choose=self._choose,
                                want_mask="window" in self._options.sink, live=True)  # fmt: skip
        except LivepasteError:
            raise
        except Exception as error:  # a second try, with the next frame, would end the same way
            raise LivepasteError(f"the model cannot be started ({type(error).__name__}: {error})") from error
        self._pipeline, self._swapper = pipeline, swapper
        return pipeline

    def _choose(self, faces: tuple[Face, ...]) -> tuple[Face, ...]:
        return build.chooser(self._settings.face)[0](faces)

    def _take_up_changes(self, pipeline: Pipeline) -> None:
        swapper, settings = self._changes.take()
        if swapper is None and settings is None:
            return
        if swapper is not None:
            self._swapper = swapper
            pipeline.exchange(swapper)
        before = self._settings
        self._settings = settings or before
        try:
            known = build.enrolled_in(self._swapper.model, self._settings.face)
            pipeline.options = build.usable(self._settings.blend, self._swapper.model)
            self._enrolled = known
        except LivepasteError as error:  # a mask that does not exist or cannot be loaded, or a model that knows nobody
            logger.warning("%s; going on as before", error)
            self._settings = before

    def close(self) -> None:
        for part in (self._changes, self._watcher, self._finder):
            if part is not None:
                part.close()


def safe(value: Any) -> bool:
    """Whether what the last stage made may leave. Others were hidden before the swap; of a frame in which they could not be, there is nothing."""
    return isinstance(value, Swapped) and value.safe


def picture(value: Swapped) -> np.ndarray:
    return value.image
