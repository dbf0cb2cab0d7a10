"""The occlusion network taught its user's own faces and hands: `livepaste train-occlusion`.

Real faces have no exact masks. What is in front of them need none: it is laid there. Where they end is said by the network that is started
from, or by the masks that a face set has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from flax import nnx
from jaxtyping import Float32, UInt8, UInt32

from livepaste.checkpoint import VISIBLE, occlusion_network, write_generation
from livepaste.errors import CheckpointError, FaceSetError, OptionError
from livepaste.faceset import FaceRow, FaceSet
from livepaste.masks.hand_shape import hand_mask
from livepaste.masks.hull import hull_mask
from livepaste_train.augment import Geometry
from livepaste_train.casts import Cast
from livepaste_train.clocked import Clock
from livepaste_train.data import FEWEST, held_out, open_faceset, pack
from livepaste_train.evaluate import undistorted
from livepaste_train.export import read_visible
from livepaste_train.models.visible import VisibleFace, VisibleOptions
from livepaste_train.occluded import HELD, KEPT_OUT, WORN, Job, hand_sheets, perform_occluded, sheets, worn_by
from livepaste_train.occlusion_batch import Stock
from livepaste_train.occlusion_fit import SEED_OUT, Learner, drawn_things, shower, sides
from livepaste_train.options import OcclusionOptions, seconds

MOST_FACES = 1200  # of all face sets together
OUT = 48  # faces to measure by
DRAWN, FRAMES = (
    12,
    16,
)  # identities that were never at a camera, and moments of each: so that what was learned of others stays
SHEETS = 60  # of each kind that is drawn
# share of a face that is called something in front: from the first on a hand is looked for; above the second, and so many times what is
# usual in the set, something else was there
LOOK, MOST_FRONT, TIMES = 1.5e-3, 0.04, 3.0
HAND_OVER = 0.01  # share of a face under a hand from which on it is left out
OF_HANDS = 0.2  # of a source's cut-outs, the last, to measure by
OWN = "own hands"  # their kind


class Hands(Protocol):
    """What finds hands: :class:`livepaste.cutter.Cutter`."""

    def find(self, image: UInt8[np.ndarray, "h w 3"]) -> list[Float32[np.ndarray, "21 2"]]: ...

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> list[UInt8[np.ndarray, "s s 4"]]: ...


@dataclass
class OwnFaces:
    """What face sets give."""

    faces: UInt32[np.ndarray, "n s s"]
    worn: UInt32[np.ndarray, "n s s"]
    out: UInt32[np.ndarray, "m s s"]  # to measure by
    hands: list[UInt8[np.ndarray, "t t 4"]]
    left_out: Counter[str]


@dataclass
class Cutouts:
    """Hands, one source's in the order in which they were seen."""

    learned: list[UInt8[np.ndarray, "t t 4"]] = field(default_factory=list)
    out: list[UInt8[np.ndarray, "t t 4"]] = field(default_factory=list)

    def add(self, hands: list[np.ndarray]) -> None:
        """One source's: the last of them, seconds after the others, are to measure by."""
        few = round(OF_HANDS * len(hands))
        self.learned += hands[: len(hands) - few]
        self.out += hands[len(hands) - few :]


@dataclass(frozen=True)
class Said:
    """A network's masks of crops."""

    visible: np.ndarray  # (n, s, s)
    front: np.ndarray


def starting_model(options: OcclusionOptions, resolution: int) -> tuple[VisibleFace, VisibleFace]:
    """What is trained, and what says where real faces end: the same, or the one that comes with livepaste."""
    known = VisibleFace(VisibleOptions(resolution=resolution), nnx.Rngs(options.seed))
    folder = "" if options.from_ in ("shipped", "none") else options.from_
    started = occlusion_network(folder)
    if started.model.get("resolution") != resolution:
        raise OptionError(
            f"{started.path}: an occlusion network of {started.model.get('resolution')} px, the recipe is for {resolution}; it would see other "
            "things in other sizes, so name a recipe of its resolution"
        )
    read_visible(started.path / VISIBLE, known)
    if options.from_ != "none":
        return known, known
    return VisibleFace(VisibleOptions(resolution=resolution), nnx.Rngs(options.seed)), known


def masks_of(model: VisibleFace, packed: np.ndarray, geometry: Geometry) -> Said:
    """What ``model`` says of packed faces."""
    graph, params = nnx.split(model, nnx.Param)
    run = shower(graph)
    crops, each = np.asarray(undistorted(packed, geometry)[0]), 32
    made: dict[str, list[np.ndarray]] = {"visible": [], "front": []}
    for start in range(0, len(crops), each):
        part = crops[start : start + each]
        masks = run(params, np.resize(part, (each, *part.shape[1:])))
        for name, values in made.items():
            values.append(np.asarray(masks[name])[: len(part), ..., 0])
    return Said(*(np.concatenate(made[name]) for name in ("visible", "front")))


def read_own(facesets: list[FaceSet], model: VisibleFace, geometry: Geometry, hands: Hands, share: float) -> OwnFaces:
    """The faces with nothing in front, packed with masks of where they end; and hands beside them."""
    parts = [_read(faceset, MOST_FACES // len(facesets), model, geometry, hands, share) for faceset in facesets]
    out = [part.out for part in parts]
    many = np.concatenate(out)
    return OwnFaces(
        np.concatenate([part.faces for part in parts]),
        np.concatenate([part.worn for part in parts]),
        many[np.linspace(0, len(many) - 1, min(OUT, len(many))).round().astype(int)],
        [hand for part in parts for hand in part.hands],
        sum((part.left_out for part in parts), Counter()),
    )


def _read(faceset: FaceSet, most: int, model: VisibleFace, geometry: Geometry, hands: Hands, share: float) -> OwnFaces:
    side = geometry.stored
    rows = faceset.rows[:: -(-len(faceset) // most)]
    masks, packed = [], np.empty((len(rows), side, side), np.uint32)
    for i, row in enumerate(rows):
        image, mask = faceset.image(row), faceset.mask(row)
        masks.append(None if mask is None else cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA))
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        packed[i] = pack(small[None], np.zeros((1, side, side), np.uint8))[0]
    said = masks_of(model, packed, geometry)
    to_crop = _to_crop(geometry)
    hulls = np.stack([hull_mask(_points(row, faceset, side, to_crop), geometry.resolution) for row in rows]) > 0.5
    fronts = ((said.front > 0.5) & hulls).sum((1, 2)) / hulls.sum((1, 2)).clip(1)
    usual = float(np.median(fronts))
    left_out: Counter[str] = Counter()
    found: list[np.ndarray] = []
    kept = []
    for i, row in enumerate(rows):
        if why := _in_front(faceset, row, float(fronts[i]), usual, hands, found):
            left_out[why] += 1
        else:
            kept.append(i)
    if len(kept) < FEWEST:
        raise FaceSetError(
            f"{faceset.path}: {len(kept)} of {len(rows)} faces have nothing in front, at least {FEWEST} are needed; film yourself with free "
            "hands for a minute, and extract that clip too"
        )
    for i in kept:
        mask = masks[i]
        if mask is None:
            back = cv2.warpAffine(said.visible[i], to_crop, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                                  borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
            mask = np.rint(np.clip(back, 0, 1) * 255).astype(np.uint8)
        packed[i] |= mask.astype(np.uint32) << 24
    out = held_out([rows[i] for i in kept], share)
    learned = [i for i, held in zip(kept, out, strict=True) if not held]
    worn = np.stack([_worn(faceset, rows[i], packed[i], side, i) for i in learned])
    return OwnFaces(
        packed[learned], worn, packed[[i for i, held in zip(kept, out, strict=True) if held]], found, left_out
    )


def _to_crop(geometry: Geometry) -> np.ndarray:
    """Stored pixels to the model's, (2, 3)."""
    scale = 1 / geometry.step
    shift = (geometry.resolution - 1) / 2 - scale * (geometry.stored - 1) / 2
    return np.array([[scale, 0, shift], [0, scale, shift]])


def _points(row: FaceRow, faceset: FaceSet, side: int, to_crop: np.ndarray) -> np.ndarray:
    """Its landmarks in the model's pixels, float32 (478, 2)."""
    stored = (row.crop_points()[:, :2] + 0.5) * (side / faceset.info.size) - 0.5
    return (stored @ to_crop[:, :2].T + to_crop[:, 2]).astype(np.float32)


def _in_front(faceset: FaceSet, row: FaceRow, front: float, usual: float, hands: Hands, found: list[np.ndarray]) -> str:
    """What hides some of a face, or nothing; hands in its picture are added to ``found``."""
    if front < LOOK:
        return ""
    image = faceset.image(row)
    seen = hands.find(image)
    if seen:
        found += hands(image)
        face = hull_mask(row.crop_points()[:, :2], faceset.info.size) > 0.5
        under = np.max([hand_mask(points, faceset.info.size) for points in seen], axis=0) > 0.5
        if (face & under).sum() > HAND_OVER * face.sum():
            return "a hand in front"
    return "something in front" if front > max(MOST_FRONT, TIMES * usual) else ""


def _worn(faceset: FaceSet, row: FaceRow, packed: np.ndarray, side: int, seed: int) -> np.ndarray:
    points = row.crop_points()
    points = np.column_stack(
        [(points[:, :2] + 0.5) * (side / faceset.info.size) - 0.5, points[:, 2] * (side / faceset.info.size)]
    )
    rgba = packed.view(np.uint8).reshape(side, side, 4)
    face = rgba[..., 3] > 127
    skin = rgba[face][:, :3].astype(np.float64).mean(0) if face.any() else np.array([200.0, 150.0, 130.0])
    return worn_by(points, side, skin=skin, seed=seed)


def drawn_faces(side: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Actors, and what they may wear, packed."""
    jobs = [Job(Cast((f"drawn:{5000 + 100 * seed + i}",), seed + i, FRAMES), side, {}) for i in range(DRAWN)]
    faces, worn = zip(*map(perform_occluded, jobs), strict=True)
    return np.concatenate(faces), np.concatenate(worn)


def stock_of(
    own: OwnFaces, drawn: tuple[np.ndarray, np.ndarray], cutouts: Cutouts, sheet_side: int, seed: int
) -> Stock:
    """What steps draw from: at least as many own faces as drawn ones, and as many own hands as things that are drawn."""
    count = max(len(own.faces), len(drawn[0]))
    things = [sheets(kind, SHEETS, sheet_side, seed) for kind in HELD]
    if cutouts.learned:
        things.append(hand_sheets(cutouts.learned, max(len(HELD) * SHEETS, len(cutouts.learned)), sheet_side, seed))
    again = np.arange(count) % len(own.faces)
    return Stock(
        np.concatenate([own.faces[again], drawn[0]]),
        np.concatenate([own.worn[again], drawn[1]]),
        np.concatenate(things),
    )


@dataclass(frozen=True)
class Told:
    """How far a training is."""

    step: int
    seconds_left: float
    losses: dict[str, float]
    numbers: dict[str, float]  # measured just now, or nothing


class OwnTraining:
    """Everything read, then steps until the time is over."""

    def __init__(
        self, options: OcclusionOptions, cutouts: Cutouts, hands: Hands, say: Callable[[str], None] = lambda words: None
    ) -> None:
        """``cutouts`` of the sources that were named; ``say`` is told in words what is done. Raises FaceSetError, CheckpointError, OptionError."""
        self._options, self._recipe = options, options.resolved_recipe()
        self._to = Path(options.to)
        if self._to.exists() and (not self._to.is_dir() or any(self._to.iterdir())):
            raise CheckpointError(
                f"{self._to}: is there already and not empty; name a new folder, and --from {self._to} to go on from it"
            )
        facesets = [open_faceset(path) for path in options.facesets]
        side, sheet_side = sides(self._recipe)
        geometry = Geometry(side, self._recipe.resolution, self._recipe.coverage)
        model, known = starting_model(options, self._recipe.resolution)
        self.own = read_own(facesets, known, geometry, hands, self._recipe.held_out)
        cutouts.add(self.own.hands)
        self.cutouts = cutouts
        say("drawing actors and things to lay before faces")
        stock = stock_of(self.own, drawn_faces(side, options.seed), cutouts, sheet_side, options.seed)
        count = len(self.own.out)
        things = drawn_things((*HELD, *WORN, *KEPT_OUT), count, sheet_side)
        if cutouts.out:
            things = {OWN: hand_sheets(cutouts.out, count, sheet_side, SEED_OUT), **things}
        self._people = [{"person": f.info.person, "consent": f.info.consent} for f in facesets]
        self._learner = Learner(model, stock, self.own.out, things, self._recipe, options.seed)
        self.before, _ = self._learner.measure()
        self.after = self.before
        self.spent_s = 0.0

    @property
    def kinds(self) -> list[str]:
        """What there is a measure of."""
        return list(self._learner.held_out.shown)

    def run(self, tell: Callable[[Told], None], stop: Callable[[], bool], every_s: float = 120.0) -> None:
        """Train, and write a generation every so often and at the end."""
        clock = Clock(seconds(self._options.for_))
        while not clock.over and not stop():
            losses = self._learner.take(clock)
            self.spent_s = clock.spent_s
            due = clock.due("measure", every_s)
            if due:
                self._save()
            step = int(self._learner.state.step)
            tell(Told(step, max(0.0, clock.budget_s - clock.spent_s), losses, self.after if due else {}))
        if not clock.over:
            self._save()

    def _save(self) -> None:
        self.after, preview = self._learner.measure()
        record: dict[str, Any] = {
            **self._learner.record(self.after),
            "before": self.before,
            "from": self._options.from_,
            "people": self._people,
            "hands": len(self.cutouts.learned),
            "seconds": round(self.spent_s),
        }
        write_generation(self._to, record["steps"], record, lambda folder: self._learner.write(folder, record, preview))
