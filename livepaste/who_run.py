"""Who is taken for whom in a film that is swapped frame by frame: the material of :mod:`livepaste.identity`, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from livepaste.faceset import FaceSet
from livepaste.heldout import held_out
from livepaste.identity import (
    FEWEST_PICTURES,
    Known,
    best,
    controls,
    errors,
    fit,
    gallery,
    hidden,
    known,
    others,
    seen,
)
from livepaste.likeness import samples
from livepaste.measure_run import Row

EVERY_S = 0.1  # seconds between frames that are looked at
MOST = 400  # frames of a film that are kept: then every other one, and so on
# Learned from is a film's first half, asked about the second; moments beside each other are near copies, so that so many seconds are left
# out between them, where the film is as long as LEAST_S
GAP_S, LEAST_S = 1.0, 3.0
FACES = 60  # of a face set


@dataclass
class Film:
    """What was seen of one wearer: moments that are spread over the film, however long it is."""

    fps: float
    moments: list[dict[str, Any]] = field(default_factory=list)
    _step: int = 0  # frames between two that are looked at

    def see(self, row: Row, index: int) -> None:
        """Look at one more frame, the ``index``-th of this film, which somebody was swapped in."""
        self._step = self._step or max(1, round(EVERY_S * self.fps))
        worn, swapped = row.pictures.get("input"), row.pictures.get("swapped")
        if (
            index % self._step
            or row.points_xyz is None
            or worn is None
            or swapped is None
            or "mask" not in row.pictures
        ):
            return
        visible = row.pictures["mask"] > 127
        # What is in front of a face is in front of it in all three. A swap in which no face is found any more is looked at where the wearer's is
        moment = {"index": index, "wearer": seen(worn, row.points_xyz, visible),
                  "swapped": samples(swapped, row.found.get("swapped", row.points_xyz), visible)}  # fmt: skip
        if "truth" in row.found:
            moment["truth"] = seen(row.pictures["truth"], row.found["truth"], visible)
        self.moments.append(moment)
        if len(self.moments) > MOST:
            self._step *= 2
            self.moments = [m for m in self.moments if m["index"] % self._step == 0]

    def known(self, what: str) -> Known | None:
        """``wearer`` or ``truth`` in the part to learn from, and in the other; None for too few."""
        fitted, tried = ([m[what] for m in part if what in m] for part in self._parts())
        if len(fitted) < FEWEST_PICTURES or not tried:
            return None
        return Known(np.concatenate(fitted), np.stack(tried)[:, 0])

    def swapped(self) -> list[np.ndarray]:
        """Swaps of the moments that are not learned from."""
        return [m["swapped"] for m in self._parts()[1]]

    @property
    def is_short(self) -> bool:
        """Whether there is no room for a gap between the two parts."""
        return not self.moments or self.moments[-1]["index"] - self.moments[0]["index"] < LEAST_S * self.fps

    def _parts(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        if not self.moments:
            return [], []
        middle = (self.moments[0]["index"] + self.moments[-1]["index"]) / 2
        half = 0 if self.is_short else GAP_S * self.fps / 2
        return (
            [m for m in self.moments if m["index"] < middle - half],
            [m for m in self.moments if m["index"] >= middle + half],
        )


def known_of(faceset: FaceSet, share: float | None) -> Known:
    """A face set's people: ``share`` is how much a training of it held out, and only that is looked at; None: all."""
    which = np.ones(len(faceset), bool) if share is None else held_out(faceset.rows, share)
    rows = sorted(
        (row for row, out in zip(faceset.rows, which, strict=True) if out), key=lambda r: (r.source, r.time_s)
    )
    every = max(1, -(-len(rows) // FACES))
    return known((faceset.image(row), row.crop_points()) for row in rows[::every])


def judged(
    films: Mapping[str, Film], persona: str, named: Mapping[str, Known], tell: Callable[[str], None]
) -> dict[str, Any]:
    """Every identity figure that these films and people allow; empty, with a reason told, where none can be had.

    ``films`` by the wearers' names. The persona is one of ``named``, or of the people that come along, or in the films' truth.
    """
    people = dict(named)
    truths = [of for film in films.values() if (of := film.known("truth"))]
    if persona not in people and truths:
        people[persona] = Known(*(np.concatenate(parts) for parts in zip(*truths, strict=True)))
    worn = {name: of for name, film in films.items() if (of := film.known("wearer"))}
    if persona in worn:
        tell("Who the swap is taken for was not measured: the wearer is the persona.")
        return {}
    if persona not in people | others():
        tell(
            "Who the swap is taken for was not measured: no other pictures of the persona are known; name its face set (--persona)."
        )
        return {}
    shown = [swap for name in worn for swap in films[name].swapped()]
    if not shown or (persona in people and len(people[persona].fit) < FEWEST_PICTURES):
        tell("Who the swap is taken for was not measured: too few faces of wearer or persona.")
        return {}
    if short := [name for name in worn if films[name].is_short]:
        tell(
            f"Who the swap is taken for: {', '.join(short)} is seen for less than {LEAST_S:g} s, so what is asked about may be nearly what was learned."
        )
    swaps = np.stack(shown)
    everybody = hidden(gallery(people | worn), swaps)
    classifier = fit(everybody)
    return {
        **errors(classifier, swaps, persona),
        **controls(classifier, everybody, persona, worn),
        "identity_people": len(everybody),
        "identity_frames": len(swaps),
        "identity_best": best(classifier, swaps),
    }
