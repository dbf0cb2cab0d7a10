"""Who is who among several followed faces: everybody keeps one number, who crosses another and who was away for a moment.

Where faces meet, the mesh of the one behind jumps to the one in front; which number comes out on which side is chance.
So every track keeps what its face looks like (:mod:`livepaste.likeness`), which is not added to while another is near.
Once they are apart again, a few looks tell whether the numbers are still theirs, and whether a new one is somebody who
was there before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from jaxtyping import UInt8

from livepaste.align import distance, turned_degrees
from livepaste.likeness import FAMILIAR, alike, describe, unit

_NEAR = 1.0  # widths between centres at which meshes may be changed for each other
_LOOKS = 3  # after which something is said about a face
_EVERY = 3  # frames between two looks at a face that is known
_REMEMBERED, _RECENT = 30, 4  # looks that count: for what somebody looks like, and for who is there now
_CLEARLY = 0.15  # of the cosines' mean by which numbers must fit better the other way round
_TURNED_DEG = 45.0  # a face turned further shows too little of itself
_ANOTHER = 0.4  # cosine of a look to those just before it under which it is somebody else's face
_STALE = 30  # frames after which a look says nothing of who is there now
_AWAY = 300  # frames after which nobody is taken for who left


@dataclass(eq=False)
class _Known:
    """What a face looks like."""

    seen: deque[np.ndarray]  # the last looks
    at: int = 0  # number of the call with the last one

    @property
    def likeness(self) -> np.ndarray | None:
        """Of unit length; None before there were enough looks."""
        return unit(np.sum(self.seen, axis=0)) if len(self.seen) >= _LOOKS else None


@dataclass
class Recognition:
    """Call it with every frame in order. ``always``: look at somebody who is alone, too."""

    always: bool = False
    crowded: frozenset[int] = field(default=frozenset(), init=False)  # tracks that were near another in the last frame
    _known: dict[int, _Known] = field(default_factory=dict, init=False)
    _recent: dict[int, _Known] = field(default_factory=dict, init=False)  # since they last were near another
    _met: set[frozenset[int]] = field(default_factory=set, init=False)  # pairs whose numbers are in doubt
    # when those left who did, and what they look like
    _away: dict[int, tuple[int, np.ndarray]] = field(default_factory=dict, init=False)
    _calls: int = field(default=0, init=False)

    def reset(self) -> None:
        """Nothing carries over: after a cut."""
        self._known, self._recent, self._met, self._away = {}, {}, set(), {}

    def recent(self, track: int) -> np.ndarray | None:
        """What the face looked like lately; None before it was seen for a few looks, and when it was not for a second."""
        recent = self._recent.get(track)
        return recent.likeness if recent is not None and self._calls - recent.at <= _STALE else None

    def _remembered(self, track: int) -> np.ndarray | None:
        return self._known[track].likeness if track in self._known else None

    def __call__(
        self, image: UInt8[np.ndarray, "h w 3"], faces: Mapping[int, np.ndarray], lost: Mapping[int, np.ndarray]
    ) -> dict[int, int]:
        """Tracks under a wrong number, each with its own. ``faces``: mesh points (478, 3) in frame pixels by track; ``lost``: of
        those that may come back, where they were last."""
        everybody = {**lost, **faces}
        self._leave(everybody)
        self._met = {pair for pair in self._met if all(track in self._known for track in pair)}
        near = {frozenset(pair) for pair in combinations(everybody, 2)
                if any(track in faces for track in pair) and distance(*(everybody[track] for track in pair)) < _NEAR}  # fmt: skip
        for pair in near:
            if all(self._remembered(track) is not None for track in pair):
                self._met.add(pair)
        crowded = {track for pair in near if pair <= faces.keys() for track in pair}
        # who was lost or near another may be somebody else
        self._recent = {t: recent for t, recent in self._recent.items() if t in faces and t not in crowded}
        for track in crowded:
            if self._remembered(track) is None:  # what was begun would be of two people
                self._known.pop(track, None)
        self.crowded = frozenset(crowded)
        self._look(image, {track: points for track, points in faces.items() if track not in crowded})
        self._calls += 1
        changed = self._returned(faces)
        for pair in list(self._met):
            if not pair & (crowded | changed.keys()):
                changed |= self._judged(*pair, faces)
        self._recent = {changed.get(track, track): recent for track, recent in self._recent.items()}
        return changed

    def _leave(self, everybody: Collection[int]) -> None:
        """Remember those for a while who are followed no more."""
        self._away = {track: left for track, left in self._away.items() if self._calls - left[0] < _AWAY}
        for track in self._known.keys() - everybody:
            likeness = self._known.pop(track).likeness
            if likeness is not None:
                self._away[track] = self._calls, likeness

    def _returned(self, faces: Mapping[int, np.ndarray]) -> dict[int, int]:
        """Whoever of ``faces`` has a new number and is like somebody who left, with the old one."""
        new = {
            track: self._known[track].likeness
            for track in faces
            if track in self._known and len(self._known[track].seen) == _LOOKS
        }
        pairs = (
            (alike(likeness, self._away[old][1]), track, old) for track, likeness in new.items() for old in self._away
        )
        back: dict[int, int] = {}
        for cosine, track, old in sorted(pairs, reverse=True):
            if cosine >= FAMILIAR and track not in back and old in self._away:
                del self._away[old]
                back[track] = old
                self._known[old] = self._known.pop(track)
        return back

    def _look(self, image: np.ndarray, faces: Mapping[int, np.ndarray]) -> None:
        doubted = {track for pair in self._met for track in pair}
        for track, points in faces.items():
            known = self._known.setdefault(track, _Known(deque(maxlen=_REMEMBERED)))
            recent = self._recent.setdefault(track, _Known(deque(maxlen=_RECENT)))
            due = track in doubted or recent.likeness is None or self._calls % _EVERY == track % _EVERY
            if due and (self.always or len(faces) > 1 or doubted) and turned_degrees(points) <= _TURNED_DEG:
                likeness = describe(image, points)
                if recent.likeness is not None and alike(likeness, recent.likeness) < _ANOTHER:
                    recent = self._recent[track] = _Known(deque(maxlen=_RECENT))
                recent.seen.append(likeness)
                recent.at = self._calls
                if track not in doubted:
                    known.seen.append(likeness)

    def _judged(self, a: int, b: int, faces: Mapping[int, np.ndarray]) -> dict[int, int]:
        """Whether two that met have each other's numbers, as soon as those of them who are there were looked at."""
        here = [track for track in (a, b) if track in faces]
        seen = {track: likeness for track in here if (likeness := self.recent(track)) is not None}
        if not here or len(seen) < len(here):
            return {}
        other = {a: b, b: a}
        gained = [
            alike(seen[t], self._known[other[t]].likeness) - alike(seen[t], self._known[t].likeness) for t in here
        ]
        change = sum(gained) / len(gained) > _CLEARLY
        if len(here) == 2:  # settled; with one of them it is once the other is back
            self._met.discard(frozenset((a, b)))
        return other if change else {}
