"""The same frames swapped in several ways at once, each as ``clip`` would: the network runs once, masks, colours and guards are each way's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import tee
from typing import Any

from livepaste.clip_run import Found, Half, Made, blend, bridge, draw
from livepaste.guard import Guard
from livepaste.pipeline import Drawn, Parts, Pipeline, Swapped


@dataclass(frozen=True)
class Ways:
    """``steadied`` lays what ``pipeline`` draws; ``unsteadied``, if given, has a pipeline of its own that filters no landmarks."""

    pipeline: Pipeline
    parts: Mapping[str, Parts]
    unsteadied: Pipeline | None = None
    unsteadied_parts: Parts | None = None
    spent_s: dict[str, list[float]] = field(default_factory=dict)  # by step, of the first way


UNSTEADIED = "unsteadied"


def swapped(found: Iterable[Found], ways: Ways, guard: Callable[[], Guard]) -> Iterator[dict[str, Made]]:
    """Every frame as each of ``ways.parts`` makes it, by its name, and under ``UNSTEADIED`` if that is asked for."""
    bridged, again = tee(bridge(found))
    halves = tee(_drawn(bridged, ways.pipeline, ways.spent_s), len(ways.parts))
    made = {}
    for number, ((name, parts), mine) in enumerate(zip(ways.parts.items(), halves)):
        lay = partial(_laid, name, parts, ways.pipeline)
        made[name] = blend(mine, _timed(lay, ways.spent_s, "blend") if number == 0 else lay, guard())
    if ways.unsteadied is not None and ways.unsteadied_parts is not None:
        lay = partial(_laid, UNSTEADIED, ways.unsteadied_parts, ways.unsteadied)
        made[UNSTEADIED] = blend(_drawn(again, ways.unsteadied, {}), lay, guard())
    del again
    for each in zip(*made.values(), strict=True):
        yield dict(zip(made, each))


def _drawn(found: Iterable[Found], pipeline: Pipeline, spent_s: dict[str, list[float]]) -> Iterator[Half]:
    return draw(found, _timed(pipeline.draw, spent_s, "draw"), pipeline.reset, lambda item: ())


def _laid(name: str, parts: Parts, pipeline: Pipeline, drawn: Drawn) -> Swapped:
    """``drawn`` laid with other parts than those it was drawn for; what they remember of a face is theirs."""
    faces = tuple(
        replace(face, seen=replace(face.seen, memory=face.seen.memory.setdefault(name, {})), parts=parts)
        for face in drawn.faces
    )
    return pipeline.blend(replace(drawn, faces=faces))


def _timed(work: Callable[..., Any], spent_s: dict[str, list[float]], name: str) -> Callable[..., Any]:
    def timed(*args: Any) -> Any:
        began = time.perf_counter()
        done = work(*args)
        spent_s.setdefault(name, []).append(time.perf_counter() - began)
        return done

    return timed
