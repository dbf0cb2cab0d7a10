"""Face sets of an actor as users' are: as many faces as wanted are blurred, badly exposed, somebody else's, hidden, misaligned, or one again.

What is spoiled lies on disk as ``livepaste extract`` would have left it: landmarks, sharpness and exposure in its row are those of the spoiled picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from livepaste.actors.head import Shot, light_color
from livepaste.actors.motion import Performance
from livepaste.actors.staging import Layer, Stage
from livepaste.align import align, pose_degrees, transform
from livepaste.cleaning import REASONS, flags, look, move_aside
from livepaste.extract import performed_row
from livepaste.faceset import FaceRow, FaceSetInfo, append_face, read_faceset, write_info

SOURCE = "film.mp4"
VISIT = 8  # moments that somebody else stays
THINGS = "hand", "cup", "microphone"
NOISE = 2.5  # of 255: what is new in a moment that is stored once more


@dataclass(frozen=True, eq=False)
class Stored:
    """A face as a set holds it: the picture's landmarks in the pixels of the actor's own crop, and where that was cut."""

    shot: Shot  # picture and mask as stored; points in pixels of the crop as drawn
    frame_to_crop: np.ndarray = field(default_factory=lambda: np.eye(2, 3, dtype=np.float32))


Spoil = Callable[[np.random.Generator, Shot], Stored]


def blurred(rng: np.random.Generator, shot: Shot) -> Stored:
    """Out of focus, by 1 to 3 hundredths of the side."""
    return Stored(replace(shot, image=cv2.GaussianBlur(shot.image, (0, 0), rng.uniform(0.01, 0.03) * len(shot.image))))


def exposed(rng: np.random.Generator, shot: Shot) -> Stored:
    """Dark, or washed out."""
    left, image = rng.uniform(0.05, 0.3), shot.image / 255.0
    made = image * left if rng.random() < 0.5 else 1 - (1 - np.minimum(1.4 * image, 1)) * left
    return Stored(replace(shot, image=np.rint(255 * made).astype(np.uint8)))


def moved(rng: np.random.Generator, shot: Shot) -> Stored:
    """Cut aside of its landmarks: by 3 to 10 hundredths of the side, turned by 12 degrees and scaled by an eighth at most."""
    side = len(shot.image)
    middle, (x, y) = (side - 1) / 2, rng.normal(size=2)
    matrix = cv2.getRotationMatrix2D((middle, middle), rng.uniform(-12, 12), rng.uniform(0.875, 1.125))
    matrix[:, 2] += rng.uniform(0.03, 0.10) * side * np.array([x, y]) / np.hypot(x, y)
    return _cut(shot, shot.points_xyz, matrix.astype(np.float32))


def torn(rng: np.random.Generator, shot: Shot) -> Stored:
    """Cut by landmarks that are not the face's: drawn out along one direction and pushed aside."""
    side, angle = len(shot.image), rng.uniform(0, np.pi)
    along = np.array([np.cos(angle), np.sin(angle)])
    stretch = np.eye(2) + (rng.choice([0.6, 1.6]) - 1) * np.outer(along, along)
    xy = shot.points_xyz[:, :2]
    points = shot.points_xyz.copy()
    points[:, :2] = (xy - xy.mean(0)) @ stretch + xy.mean(0) + rng.normal(0, 0.05 * side, 2)
    return _cut(shot, points, align(points, side).frame_to_crop)


def misaligned(rng: np.random.Generator, shot: Shot) -> Stored:
    return (moved if rng.random() < 0.5 else torn)(rng, shot)


def again(rng: np.random.Generator, shot: Shot) -> Stored:
    """The same but for a camera's noise."""
    noisy = shot.image + rng.normal(0, NOISE, shot.image.shape)
    return Stored(replace(shot, image=np.rint(np.clip(noisy, 0, 255)).astype(np.uint8)))


def _cut(shot: Shot, points: np.ndarray, matrix: np.ndarray) -> Stored:
    size = shot.image.shape[:2]
    image = cv2.warpAffine(shot.image, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    return Stored(Shot(image, cv2.warpAffine(shot.mask, matrix, size), points), matrix)


# What goes wrong with a picture, by the reason for which `livepaste clean` should find it; "person" and "occlusion" need an actor for it.
SPOILS: dict[str, Spoil] = {"blur": blurred, "exposure": exposed, "alignment": misaligned, "twin": again}
KINDS = (*SPOILS, "occlusion", "person")


class Plan(NamedTuple):
    """What is wrong with which of a set's faces."""

    kinds: dict[int, str]
    mates: dict[int, int]  # of a twin: whose


def plan(rng: np.random.Generator, count: int, share: float) -> Plan:
    """``share`` of ``count`` faces are spoiled each way, somebody else's in visits of ``VISIT``; no face is two twins'."""
    each = round(share * count)
    starts = rng.permutation(count // VISIT)[: round(each / VISIT)] * VISIT
    kinds = {int(start) + k: "person" for start in starts for k in range(VISIT)}
    left = [int(i) for i in rng.permutation(count) if i not in kinds]
    for number, kind in enumerate(kind for kind in KINDS if kind != "person"):
        kinds |= dict.fromkeys(left[number * each : (number + 1) * each], kind)
    usual = [k for k in left if k not in kinds]
    return Plan(kinds, dict(zip((k for k, kind in kinds.items() if kind == "twin"), usual)))


@dataclass(frozen=True, eq=False)
class Film:
    """Somebody's performance, of which ``count`` moments are stored; ``stranger`` walks into it."""

    who: Any
    stranger: Any
    performance: Performance
    count: int
    side: int  # pixels of a crop
    room: int

    def faces(self, spoils: Plan, seed: int) -> Iterator[tuple[int, Stored]]:
        """Each moment's frame and face, spoiled as planned."""
        rng = np.random.default_rng([43, seed])
        frames = np.linspace(0, len(self.performance) - 1, self.count).astype(int)
        for k, kind in ((k, spoils.kinds.get(k)) for k in range(self.count)):
            i = int(frames[spoils.mates.get(k, k)])
            who = self.stranger if kind == "person" else self.who
            shot = who.render_crop(self.performance, i, self.side, background_seed=self.room)
            if kind == "occlusion":
                yield i, Stored(self._hidden(shot, i, rng))
            else:
                yield i, SPOILS[kind](rng, shot) if kind in SPOILS else Stored(shot)

    def _hidden(self, shot: Shot, i: int, rng: np.random.Generator) -> Shot:
        """Behind a thing; the mask is of what is seen."""
        image, mask = shot.image.astype(np.float32), shot.mask.copy()
        for layer in self._before(shot, i, rng):
            layer.lay(image)
            layer.hide(mask)
        return replace(shot, image=np.rint(np.clip(image, 0, 255)).astype(np.uint8), mask=mask)

    def _before(self, shot: Shot, i: int, rng: np.random.Generator) -> list[Layer]:
        """What is before the face, where it covers some of it."""
        look = {"skin": self.who.skin_color, "hair": self.who.hair_color, "fps": Fraction(25)}
        for _ in range(20):
            stage = Stage([rng.choice(THINGS)], seed=int(rng.integers(1 << 30)), frames=30, **look)
            at = stage.layers(
                shot.points_xyz, int(rng.integers(30)), (self.side,) * 2, light_color(self.performance, i)
            )
            if any(layer.hide(shot.mask.copy()) for _, layer in at):
                return [layer for _, layer in at]
        raise ValueError("nothing comes before the face")


def write_film(path: Path, film: Film, share: float, seed: int, person: str) -> dict[str, str]:
    """A face set of it, ``share`` of its faces spoiled each way; what is wrong by the face's name, twins of both."""
    spoils = plan(np.random.default_rng([47, seed]), film.count, share)
    kinds = spoils.kinds | dict.fromkeys(spoils.mates.values(), "twin")
    write_info(path, FaceSetInfo(person=person, consent="synthetic", size=film.side))
    named = {}
    for k, (i, face) in enumerate(film.faces(spoils, seed)):
        row = row_of(k, i / 25, face)
        append_face(path, row, face.shot.image, face.shot.mask)
        if k in kinds:
            named[row.name] = kinds[k]
    return named


def row_of(index: int, time_s: float, face: Stored) -> FaceRow:
    shot = face.shot
    in_crop = replace(shot, points_xyz=transform(shot.points_xyz, face.frame_to_crop))
    row = performed_row(SOURCE, index, time_s, in_crop)
    return replace(
        row, points_xyz=shot.points_xyz, frame_to_crop=face.frame_to_crop, pose=pose_degrees(shot.points_xyz)
    )


def clean(path: Path, spoiled: dict[str, str]) -> dict[str, tuple[int, int]]:
    """What ``livepaste clean`` does. Of each kind, and of the faces that are as filmed: how many went aside, of how many."""
    faceset = read_faceset(path)
    found = flags(look(faceset)[0], REASONS)
    move_aside(faceset, found)
    all_of = Counter(spoiled.get(row.name, "as filmed") for row in faceset.rows)
    gone = Counter(spoiled.get(flag.row.name, "as filmed") for flag in found)
    return {kind: (gone[kind], count) for kind, count in all_of.items()}
