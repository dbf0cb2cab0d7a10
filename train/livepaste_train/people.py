"""Who a training is of: its face sets, opened and read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from livepaste.errors import FaceSetError
from livepaste.faceset import FaceSet
from livepaste.likeness import VERSION as LIKENESS_VERSION
from livepaste_train.augment import Geometry
from livepaste_train.data import (
    Faces,
    damaged,
    fingerprint,
    likeness,
    load_side,
    open_faceset,
    stored_side,
    told,
    turned,
)
from livepaste_train.options import TrainOptions
from livepaste_train.recipe import Recipe
from livepaste_train.step import Sides
from livepaste_train.strangers import drawn, names


@dataclass(frozen=True)
class Read:
    """The faces in memory: those to train on, the persona's first, and the held-out ones."""

    geometry: Geometry
    persona: tuple[Faces, Faces]  # to train on, held out
    # Where there are no wearers: the persona's own to train on, which are not looked at, and strangers' held out.
    wearers: tuple[Faces, Faces]
    data: Sides
    count: int  # to train on
    fingerprint: str


class People:
    """The face sets that a command names, opened: who they show and on what basis."""

    def __init__(self, options: TrainOptions) -> None:
        """Raises FaceSetError for a folder that is none."""
        self.alone = options.only is not None
        self.strangers = not (self.alone or options.wearer)  # whether nobody at the camera is known
        self._persona = open_faceset(str(options.persona) if options.only is None else options.only)
        self._wearers = [open_faceset(path) for path in options.wearer]

    @property
    def wearers(self) -> list[FaceSet]:
        """Whoever is at the camera, as far as they are known; alone, the persona itself."""
        return [self._persona] if self.alone else self._wearers

    @property
    def record(self) -> dict[str, Any]:
        """``persona`` and ``wearers`` as they stand in ``model.json``."""
        persona, *wearers = (
            {"person": of.info.person, "consent": of.info.consent} for of in (self._persona, *self.wearers)
        )
        return {"persona": persona, "wearers": wearers}

    @property
    def looked_at(self) -> dict[str, Any]:
        """The same of whom held-out faces show: strangers where no wearer is known."""
        return {**self.record, "wearers": [{"person": name} for name in names()]} if self.strangers else self.record

    @property
    def damaged(self) -> str:
        """A sentence about faces that cannot be read, or nothing."""
        return damaged([self._persona, *self._wearers])

    @property
    def turned_deg(self) -> float:
        """How far both sides' heads turn."""
        return min(turned(side) for side in ([self._persona], self.wearers) if side)

    def told(self, share: float) -> list[dict[str, Any]]:
        """What each face set holds, as it stands in ``model.json``; ``share`` of the faces are held out."""
        of_sides = [
            ("person" if self.alone else "persona", self._persona),
            *(("wearer", faceset) for faceset in self._wearers),
        ]
        return [{"side": side, **told(faceset, share)} for side, faceset in of_sides]

    @property
    def likeness(self) -> dict[str, Any]:
        """By which the wearers are known again."""
        return {"version": LIKENESS_VERSION, "wearers": [likeness(faceset) for faceset in self.wearers]}

    def read(self, recipe: Recipe, fewest: int) -> Read:
        """Raises FaceSetError for fewer than ``fewest`` faces of a side, or more than can be numbered."""
        stored = stored_side(recipe.resolution, recipe.coverage)
        found = sum(map(len, (self._persona, *self._wearers)))
        if found * stored**2 >= 2**31:  # pixels are numbered with 32 bits
            raise FaceSetError(
                f"{found} faces of {stored} px are more than {2**31 // stored**2} that can be trained on at once; "
                "delete some, or train at a lower --resolution"
            )
        named = [side for side in ([self._persona], self._wearers) if side]
        sides = [load_side(facesets, stored, recipe.held_out, fewest, recipe.poses) for facesets in named]
        packed = np.concatenate([train.packed for train, _ in sides])
        sums = [jnp.asarray(np.cumsum(train.weight)) for train, _ in sides]
        return Read(
            Geometry(stored, recipe.resolution, recipe.coverage),
            sides[0],
            (sides[0][0], drawn(stored)) if self.strangers else sides[-1],
            Sides(jnp.asarray(packed), sums[0], sums[-1]),
            sum(len(train) for train, _ in sides),
            fingerprint(packed, [train.weight for train, _ in sides]),
        )
