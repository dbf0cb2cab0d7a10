"""Who the swaps of held-out faces are taken for: the measures of :mod:`livepaste.identity` at each generation.

Nobody looks for faces here: a swap is seen through the mesh of the wearer it was drawn for, which is where its features are, more or less: of
turned heads less than where ``livepaste eval`` finds them in the swap. And of a short film few seconds are held out, the last of which alone
are asked about: a pose or two. While a persona is half learned both can put this figure far from ``eval``'s, on either side.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from livepaste.identity import (
    FEWEST_PICTURES,
    Classifier,
    Known,
    controls,
    errors,
    fit,
    gallery,
    hidden,
    known,
)
from livepaste.likeness import samples
from livepaste_train.augment import Geometry
from livepaste_train.data import Faces
from livepaste_train.evaluate import Validator, spread

NO_Z = np.zeros((478, 1), np.float32)


class Recogniser:
    """Knows the held-out faces of everybody in a training, and of people who do not exist. Made when it is first asked."""

    def __init__(
        self, record: dict[str, Any], persona: Faces, wearers: Faces, geometry: Geometry, validator: Validator
    ) -> None:
        """``record``: ``persona`` and ``wearers`` as in ``model.json``; faces: the held-out ones that ``validator`` looks at."""
        self._persona: str = record["persona"]["person"]
        self._names: list[str] = [wearer["person"] for wearer in record["wearers"]]
        self._sides, self._geometry, self._validator = (persona, wearers), geometry, validator
        self._fitted: tuple[Classifier, dict[str, float]] | None = None

    def measure(self, made: dict[str, np.ndarray]) -> dict[str, float]:
        """The five errors and both control figures; nothing where the persona is the wearer, or too few faces are held out.

        Asked about are swaps of those wearers' faces that nothing is learned from.
        """
        worn = np.asarray(self._validator.wearer[0])
        points = self._points(self._sides[1], len(worn))
        if self._persona in self._names or points is None:
            return {}
        asked = self._asked(len(worn))
        mask = made["swapped_mask"] * made["wearer_mask"]
        laid = made["swapped"] * mask + worn * (1 - mask)
        if self._fitted is None:
            people = self._people()
            if len(people.get(self._persona, Known(points[:0], points[:0])).fit) < FEWEST_PICTURES:
                return {}
            everybody = hidden(gallery(people), self._masked(worn, np.asarray(self._validator.wearer[1]), asked))
            classifier = fit(everybody)
            self._fitted = classifier, controls(classifier, everybody, self._persona, self._names)
        classifier, told = self._fitted
        return {**errors(classifier, self._masked(laid, mask, asked), self._persona), **told}

    def _asked(self, count: int) -> np.ndarray:
        """Which of the wearers' ``count`` crops are asked about: of each person those that :func:`known` keeps to be tried on."""
        of = self._sides[1]
        if of.whose is None:
            return np.arange(count)
        names = np.array(self._names)[of.whose[spread(len(of), count)]]
        each = [np.flatnonzero(names == name) for name in dict.fromkeys(self._names)]
        return np.concatenate([which[len(which) * 2 // 3 :] for which in each])

    def _people(self) -> dict[str, Known]:
        """The persona's and the wearers' held-out faces, in the order of their films."""
        shown = (self._validator.persona[0], self._validator.wearer[0])
        faces: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for names, pictures, of in zip(([self._persona], self._names), shown, self._sides, strict=True):
            points = self._points(of, len(pictures))
            if points is not None and of.whose is not None:
                whose = of.whose[spread(len(of), len(pictures))]
                for picture, mesh, who in zip(_bytes(np.asarray(pictures)), points, whose, strict=True):
                    faces.setdefault(names[who], []).append((picture, mesh))
        return {name: known(of) for name, of in faces.items()}

    def _masked(self, pictures: np.ndarray, masks: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Samples of ``which`` of the wearers' crops, or of what is laid over them, under masks (n, s, s, 1)."""
        points = self._points(self._sides[1], len(pictures))
        assert points is not None
        faces = zip(_bytes(pictures[which]), points[which], masks[which][..., 0] > 0.5, strict=True)
        return np.stack([samples(picture, mesh, mask) for picture, mesh, mask in faces])

    def _points(self, faces: Faces, count: int) -> np.ndarray | None:
        """Meshes of the ``count`` faces that are looked at, float32 (count, 478, 3) in the model's crop."""
        if faces.points is None:
            return None
        g = self._geometry
        stored = faces.points[spread(len(faces), count)].astype(np.float32) * g.stored - 0.5
        xy = (stored - (g.stored - 1) / 2) / g.step + (g.resolution - 1) / 2
        return np.concatenate([xy, np.broadcast_to(NO_Z, (len(xy), 478, 1))], -1).astype(np.float32)


def _bytes(pictures: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(pictures, 0, 1) * 255).astype(np.uint8)
