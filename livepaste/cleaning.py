"""Which faces of a set are better not trained on, and why; they are moved aside, and back, never deleted.

A face that is aside lies in ``aside/REASON/``; its row stays, and a row without its picture is not read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from livepaste.align import align, mean_mesh, turned_of
from livepaste.errors import FaceSetError
from livepaste.faceset import FaceRow, FaceSet, picture_path
from livepaste.faceset_options import CLEAN_REASONS
from livepaste.likeness import alike, describe, unit
from livepaste.masks.hull import shown_of_hull
from livepaste.twins import Kept, features

ASIDE = "aside"
DARK, BRIGHT = 0.12, 0.9  # mean luma of a face, of 1
BLURRED = 0.3  # of the median sharpness of the faces of its source
EXTREME_DEG = 55.0  # beyond that the far half of a face cannot be seen
HIDDEN, HIDDEN_TURNED, TURNED_DEG = (
    0.65,
    0.5,
    35.0,
)  # of the face by its landmarks that is seen; these overshoot on turned heads
# Cosine of a run's mean to the set's own likeness. Of the faces of three real people 0.58 at most to another's set (930 faces); their own
# single ones that look ahead have 0.67 and more, all but one in two hundred, where nobody pulls faces. In profiles the two overlap: not judged.
STRANGER, AHEAD_DEG = 0.6, 30.0
STRANGER_ALONE, ALONE = 0.5, 2  # for a run of so few faces, which have no mean to speak of
MISPLACED = (
    0.04  # of the crop's side, root mean square: where the stored crop shows landmarks, and where this alignment would
)
TORN = 0.09  # of the face's width, root mean square: landmarks beside the mean face's, turned, moved and scaled to them


@dataclass(frozen=True, eq=False)
class Seen:
    """What is measured of one face."""

    row: FaceRow
    likeness: np.ndarray
    looks: np.ndarray  # see twins.features
    shown: float | None  # share of the face by its landmarks that its mask shows; None without a mask
    misplaced: float
    torn: float

    @property
    def turned_deg(self) -> float:
        return turned_of(*self.row.pose[:2])


@dataclass(frozen=True, eq=False)
class Flag:
    """A face and what is wrong with it."""

    row: FaceRow
    reason: str
    words: str


Found = Iterator[tuple[Seen, str]]


def _blur(faces: list[Seen]) -> Found:
    by_source: dict[str, list[float]] = {}
    for face in faces:
        by_source.setdefault(face.row.source, []).append(face.row.sharpness)
    usual = {source: float(np.median(values)) for source, values in by_source.items()}
    for face in faces:
        if (share := face.row.sharpness / max(usual[face.row.source], 1e-6)) < BLURRED:
            yield face, f"{share:.0%} of the usual sharpness of {face.row.source}"


def _exposure(faces: list[Seen]) -> Found:
    for face in faces:
        if not DARK <= face.row.exposure <= BRIGHT:
            yield face, f"{'too dark' if face.row.exposure < DARK else 'too bright'}: {face.row.exposure:.0%} of white"


def _twin(faces: list[Seen]) -> Found:
    kept = Kept()
    for face in sorted(faces, key=lambda face: -face.row.sharpness):  # the sharpest of them stays
        if kept.has_alike(face.looks):
            yield face, "like one that is sharper"
        else:
            kept.add(face.looks)


def _person(faces: list[Seen]) -> Found:
    """Whole runs, see :func:`_runs`: a grimace is like nobody, but comes out of a face that is."""
    ahead = [face for face in faces if face.turned_deg <= AHEAD_DEG]
    if len(ahead) < FEWEST:
        return
    vectors = np.stack([face.likeness for face in ahead])
    mean = unit(vectors.sum(0))
    for _ in range(3):  # of those most alike, so that a few strangers have no say
        near = vectors @ mean
        mean = unit(vectors[near >= np.median(near)].sum(0))
    for run in _runs(ahead):
        cosine = alike(unit(np.sum([face.likeness for face in run], axis=0)), mean)
        limit = STRANGER if len(run) > ALONE else STRANGER_ALONE
        if cosine < limit:
            yield from (
                (face, f"likeness {cosine:.2f} to the others, one person's is {limit} and more") for face in run
            )


def _runs(faces: list[Seen]) -> Iterator[list[Seen]]:
    """Faces of one source that follow each other and are alike from one to the next: one person's."""
    run: list[Seen] = []
    for face in sorted(faces, key=lambda face: (face.row.source, face.row.time_s, face.row.name)):
        if run and (face.row.source != run[-1].row.source or alike(face.likeness, run[-1].likeness) < STRANGER):
            yield run
            run = []
        run.append(face)
    if run:
        yield run


def _occlusion(faces: list[Seen]) -> Found:
    for face in faces:
        limit = HIDDEN_TURNED if face.turned_deg > TURNED_DEG else HIDDEN
        if face.shown is not None and face.shown < limit:
            yield face, f"{face.shown:.0%} of the face is seen"


def _pose(faces: list[Seen]) -> Found:
    for face in faces:
        if face.turned_deg > EXTREME_DEG:
            yield face, f"turned {face.turned_deg:.0f} degrees away"


def _alignment(faces: list[Seen]) -> Found:
    for face in faces:
        if face.misplaced > MISPLACED:
            yield face, f"landmarks lie {face.misplaced:.0%} of the picture's side from where they belong"
        elif face.torn > TORN:
            yield face, f"landmarks are {face.torn:.0%} of the face's width from any face's"


FEWEST = 12  # faces looking ahead, of which a likeness can be told
# In the order in which a face is asked: it goes aside for the first of them.
REASONS: dict[str, Callable[[list[Seen]], Found]] = {
    "alignment": _alignment,
    "exposure": _exposure,
    "blur": _blur,
    "occlusion": _occlusion,
    "pose": _pose,
    "person": _person,
    "twin": _twin,
}
assert tuple(REASONS) == CLEAN_REASONS


def look(faceset: FaceSet, told: Callable[[int], None] = lambda done: None) -> tuple[list[Seen], list[str]]:
    """Measure every face. Those that cannot be read are named instead, a sentence each; ``told`` hears how many are done."""
    seen, unread, done = [], [], 0

    def one(row: FaceRow) -> Seen | str:
        try:
            picture, mask = faceset.image(row), faceset.mask(row)
        except FaceSetError as error:
            return str(error)
        points = row.crop_points()
        return Seen(
            row,
            describe(picture, points),
            features(points, row.pose, picture, faceset.info.size),
            None if mask is None else shown_of_hull(mask, points[:, :2]),
            _misplaced(row, faceset),
            _torn(points),
        )

    with ThreadPoolExecutor() as pool:
        for face in pool.map(one, faceset.rows):
            (unread if isinstance(face, str) else seen).append(face)
            done += 1
            told(done)
    return seen, unread


def _misplaced(row: FaceRow, faceset: FaceSet) -> float:
    """Root mean square distance, in shares of the crop's side, of the stored crop's landmarks from this version's alignment of them."""
    size = faceset.info.size
    wanted = align(row.points_xyz, size, faceset.info.coverage).frame_to_crop
    points = np.column_stack([row.points_xyz[:, :2], np.ones(len(row.points_xyz))])
    apart = points @ (row.frame_to_crop - wanted).T
    return float(np.sqrt(np.square(apart).sum(1).mean())) / size


def _torn(points: np.ndarray) -> float:
    """Root mean square distance, in widths of the face, of landmarks (478, 3) from the mean face's, rotated, scaled and moved to them (Umeyama 1991)."""
    mean = mean_mesh().points_xyz.astype(np.float64)
    a, b = mean - mean.mean(0), points - points.mean(0, dtype=np.float64)
    u, s, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    scale = (s * sign).sum() / np.square(a).sum()
    left = b - scale * a @ (u * sign @ vt).T
    return float(np.sqrt(np.square(left).sum(1).mean()) / (scale * np.ptp(mean[:, 0])))


def flags(faces: list[Seen], reasons: Iterable[str]) -> list[Flag]:
    """Each face once at most, for the first of ``reasons`` that applies; whoever is flagged has no say about the others."""
    found: list[Flag] = []
    for name, function in REASONS.items():
        if name in reasons:
            bad = list(function(faces))
            found += [Flag(face.row, name, words) for face, words in bad]
            gone = {face.row.name for face, _ in bad}
            faces = [face for face in faces if face.row.name not in gone]
    return found


def move_aside(faceset: FaceSet, found: Iterable[Flag]) -> None:
    """Move the flagged faces' pictures into ``aside/REASON/``."""
    for flag in found:
        source = picture_path(faceset.path, flag.row.name)
        if source is not None:
            folder = faceset.path / ASIDE / flag.reason
            folder.mkdir(parents=True, exist_ok=True)
            os.replace(source, folder / source.name)


def bring_back(path: Path, reasons: Iterable[str]) -> dict[str, int]:
    """Move pictures that lie aside back to the others; how many of each reason. One whose place is taken meanwhile stays where it is."""
    back = {}
    for reason in reasons:
        folder = path / ASIDE / reason
        for picture in sorted(folder.glob("*")) if folder.is_dir() else []:
            if picture_path(path, picture.stem) is None:
                os.replace(picture, path / "faces" / picture.name)
                back[reason] = back.get(reason, 0) + 1
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return back
