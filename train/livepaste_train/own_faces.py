"""A user's own face sets and hands, as the occlusion network is taught them.

Real faces have no exact masks. What is in front of them need none: it is laid there. Where they end is said by a network that knows, or by
the masks that a face set was given (those of ``livepaste extract --masks network`` are a network's too).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np
from flax import nnx
from jaxtyping import Bool, Float32, UInt8, UInt32

from livepaste.align import Alignment
from livepaste.errors import FaceSetError
from livepaste.faceset import FaceRow, FaceSet
from livepaste.heldout import held_out
from livepaste.masks.hand_shape import hand_mask
from livepaste.masks.hull import hull_mask
from livepaste_train.augment import Geometry
from livepaste_train.data import FEWEST, empty, pack, points_at, read_face
from livepaste_train.evaluate import spread, undistorted
from livepaste_train.models.visible import VisibleFace
from livepaste_train.occluded import laid_on, worn
from livepaste_train.occlusion_fit import shower

MOST_FACES = 1200  # of all face sets together, or so
OUT = 48  # faces to measure by
# share of a face that is called something in front, and so many times what is usual in the set, from which on something is taken to be there.
# Below it are the network's errors, an eye of a head turned aside, brows in shade: just those faces teach it
MOST_FRONT, TIMES = 0.1, 3.0
HAND_OVER = 0.01  # share of a face under a hand from which on it is left out
MOST_HANDS = 600  # that are learned
# of a clip's cut-outs, the last, to measure by; so many seconds after those that are learned
OF_HANDS, APART_S = 0.2, 1.0
THINGS = 24  # glasses and strands that a person wears, in turn
EACH = 32  # crops that a network looks at at once


class Hands(Protocol):
    """What finds hands: :class:`livepaste.cutter.Cutter`."""

    def find(self, image: UInt8[np.ndarray, "h w 3"]) -> list[Float32[np.ndarray, "21 2"]]: ...

    def cut(
        self, image: UInt8[np.ndarray, "h w 3"], hands: list[Float32[np.ndarray, "21 2"]], finer: float = 1.0
    ) -> list[UInt8[np.ndarray, "s s 4"]]: ...


@dataclass
class Cutouts:
    """Hands that were cut out."""

    learned: list[UInt8[np.ndarray, "t t 4"]] = field(default_factory=list)
    out: list[UInt8[np.ndarray, "t t 4"]] = field(default_factory=list)  # to measure by

    def add(self, hands: list[tuple[float, np.ndarray]]) -> None:
        """One clip's, with their times in seconds: the last of them are to measure by."""
        times = sorted(time_s for time_s, _ in hands)
        ends = times[len(times) - max(1, round(OF_HANDS * len(times)))] if len(times) > 2 else np.inf
        self.learned += [hand for time_s, hand in hands if time_s < ends - APART_S]
        self.out += [hand for time_s, hand in hands if time_s >= ends]

    def thin_out(self) -> None:
        """No more than are needed, spread over all."""
        self.learned = [self.learned[i] for i in spread(len(self.learned), MOST_HANDS)] if self.learned else []
        self.out = [self.out[i] for i in spread(len(self.out), OUT)] if self.out else []


@dataclass
class OwnFaces:
    """What face sets give."""

    faces: UInt32[np.ndarray, "n s s"]
    worn: UInt32[np.ndarray, "n s s"]
    out: UInt32[np.ndarray, "m s s"]  # to measure by
    hands: list[UInt8[np.ndarray, "t t 4"]]  # beside faces that are learned
    left_out: Counter[str]


@dataclass(frozen=True)
class Said:
    """A network's masks of crops, float32 (n, s, s) in [0, 1]."""

    visible: np.ndarray
    front: np.ndarray


def masks_of(model: VisibleFace, packed: UInt32[np.ndarray, "n s s"], geometry: Geometry) -> Said:
    """What ``model`` says of packed faces."""
    graph, params = nnx.split(model, nnx.Param)
    run, crops = shower(graph), np.asarray(undistorted(packed, geometry)[0])
    made: dict[str, list[np.ndarray]] = {"visible": [], "front": []}
    for start in range(0, len(crops), EACH):
        part = crops[start : start + EACH]
        masks = run(params, np.resize(part, (EACH, *part.shape[1:])))
        for name, values in made.items():
            values.append(np.asarray(masks[name])[: len(part), ..., 0])
    return Said(*(np.concatenate(made[name]) for name in ("visible", "front")))


def read_own(
    facesets: list[FaceSet],
    model: VisibleFace,
    geometry: Geometry,
    hands: Hands,
    share: float,
    named: frozenset[str] = frozenset(),
    say: Callable[[str], None] = lambda words: None,
) -> OwnFaces:
    """The faces with nothing in front, packed with masks of where they end; and the hands beside them.

    ``model`` says where faces end that were given no mask; a ``share`` of the seconds is to measure by; of the sources that are
    ``named`` hands are known already. Raises FaceSetError when too few faces are left of a set.
    """
    parts = []
    for faceset in facesets:
        most = max(MOST_FACES // len(facesets), 2 * FEWEST)
        rows = [faceset.rows[i] for i in spread(len(faceset), most)]
        say(f"{faceset.path}: looking at {len(rows)} of {len(faceset)} faces")
        parts.append(_Reading(faceset, rows, model, geometry, hands).result(share, named))
    out = np.concatenate([part.out for part in parts])
    return OwnFaces(
        np.concatenate([part.faces for part in parts]),
        np.concatenate([part.worn for part in parts]),
        out[spread(len(out), OUT)],
        [hand for part in parts for hand in part.hands],
        sum((part.left_out for part in parts), Counter()),
    )


class _Reading:
    """One face set."""

    def __init__(
        self, faceset: FaceSet, rows: list[FaceRow], model: VisibleFace, geometry: Geometry, hands: Hands
    ) -> None:
        self._faceset, self._rows, self._hands, self._geometry = faceset, rows, hands, geometry
        side = geometry.stored
        self._own_masks, self._packed = [], np.empty((len(rows), side, side), np.uint32)
        for i, row in enumerate(rows):
            image, mask = read_face(faceset, row, side)
            # one that a network gave is said again, by the network that goes on learning
            self._own_masks.append(None if row.mask_by == "network" else mask)
            self._packed[i] = pack(image[None], np.zeros((1, side, side), np.uint8))[0]
        self._said = masks_of(model, self._packed, geometry)
        hulls = np.stack([hull_mask(self._points(row)[:, :2], side) for row in rows])
        inside = np.stack([self._in_model(hull) for hull in hulls]) > 0.5
        self._fronts = ((self._said.front > 0.5) & inside).sum((1, 2)) / inside.sum((1, 2)).clip(1)
        self._most_front = max(MOST_FRONT, TIMES * float(np.median(self._fronts)))

    def result(self, share: float, named: frozenset[str]) -> OwnFaces:
        left_out: Counter[str] = Counter()
        kept, beside = [], {}
        for i, row in enumerate(self._rows):
            image = self._faceset.image(row)
            if points := self._hands.find(image):
                beside[i] = image, points
            if why := self._in_front(i, points):
                left_out[why] += 1
            else:
                kept.append(i)
        masks = np.stack([self._mask(i) for i in range(len(self._rows))])
        shows = ~empty(masks)
        left_out["a mask that shows no face"] += sum(not shows[i] for i in kept)
        kept = [i for i in kept if shows[i]]
        if len(kept) < FEWEST:
            why = ", ".join(f"{count} {reason}" for reason, count in left_out.most_common() if count)
            raise FaceSetError(
                f"{self._faceset.path}: {len(kept)} of {len(self._rows)} faces are left (with {why}), at least {FEWEST} are needed; film a "
                "minute with nothing in front of the face, and extract that clip too"
            )
        self._packed |= masks.astype(np.uint32) << 24
        held = held_out([self._rows[i] for i in kept], share)
        out = [i for i, is_out in zip(kept, held, strict=True) if is_out]
        learned = sorted(set(kept) - set(out))
        # what is seen in pictures of the seconds that are held out is not learned
        seconds = {(self._rows[i].source, int(self._rows[i].time_s)) for i in out}
        found = []
        for i, (image, points) in beside.items():
            row = self._rows[i]
            if row.source not in named and (row.source, int(row.time_s)) not in seconds:
                found += self._hands.cut(image, points, Alignment(row.frame_to_crop, self._faceset.info.size).scale)
        return OwnFaces(self._packed[learned], self._worn(learned), self._packed[out], found, +left_out)

    def _points(self, row: FaceRow) -> np.ndarray:
        """Its mesh in stored pixels, float32 (478, 3)."""
        return points_at(self._faceset, row, self._geometry.stored)

    def _to_model(self) -> np.ndarray:
        """Stored pixels to the model's, (2, 3): what :func:`livepaste_train.augment.sample` does where nothing is turned."""
        scale = 1 / self._geometry.step
        shift = (self._geometry.resolution - 1) / 2 - scale * (self._geometry.stored - 1) / 2
        return np.array([[scale, 0, shift], [0, scale, shift]])

    def _in_model(self, stored: np.ndarray) -> np.ndarray:
        return cv2.warpAffine(stored, self._to_model(), (self._geometry.resolution,) * 2)

    def _mask(self, i: int) -> UInt8[np.ndarray, "s s"]:
        """Where a face ends, in stored pixels."""
        own = self._own_masks[i]
        if own is not None:
            return own
        side = self._geometry.stored
        mask = cv2.warpAffine(self._said.visible[i], self._to_model(), (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                              borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
        return np.rint(np.clip(mask, 0, 1) * 255).astype(np.uint8)

    def _in_front(self, i: int, hands: list[np.ndarray]) -> str:
        """What hides some of a face, or nothing."""
        size = self._faceset.info.size
        if hands:
            face: Bool[np.ndarray, "s s"] = hull_mask(self._rows[i].crop_points()[:, :2], size) > 0.5
            under = np.max([hand_mask(points, size) for points in hands], axis=0) > 0.5
            if (face & under).sum() > HAND_OVER * face.sum():
                return "a hand in front"
        return "something in front" if self._fronts[i] > self._most_front else ""

    def _worn(self, which: list[int]) -> UInt32[np.ndarray, "n s s"]:
        """What each of these faces may wear."""
        side = self._geometry.stored
        rgba: Any = self._packed[which[0]].view(np.uint8).reshape(side, side, 4)
        skin = rgba[rgba[..., 3] > 127][:, :3].astype(np.float64).mean(0)
        things = [worn(skin, seed) for seed in range(THINGS)]
        return np.stack(
            [laid_on(things[i % THINGS], self._points(self._rows[face]), side) for i, face in enumerate(which)]
        )
