"""Makes ``livepaste/likeness.npz`` (see :mod:`livepaste.likeness`) from actors, and says how well it tells people apart.

``python benchmarks/likeness.py STILLS --to livepaste/likeness.npz [--without PATTERN …] [--person NAME=CLIP,CLIP …]``. People of
``--without`` are kept out, and the figures are theirs: how alike frames of one person are to the mean of others of that person and of
other people, and the rate at which as many are mistaken one way as the other. With ``--person`` the same on real clips, each frame
against the mean of *another* clip; a clip's first face counts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from stills import each_with_one_face

from livepaste.actors.drawn import DrawnActor
from livepaste.actors.head import Head
from livepaste.actors.motion import perform
from livepaste.actors.photo import PhotoActor
from livepaste.devices.video_read import ClipReader
from livepaste.finder import Finder
from livepaste.likeness import samples, unit
from livepaste.mediapipe_graphs import MeshGraph
from livepaste.squares import is_face, square_around

MOMENTS, EVERY, SIZE_WH = 14, 40, (480, 360)
KEPT, DIRECTIONS, SHRINK = 100, 30, 0.5  # principal components; discriminants; of the mean variance, added to each


def moments(actor: Head, seed: int, mesh: MeshGraph) -> Iterator[np.ndarray]:
    """Samples of an actor in many poses and lights, before rooms of many kinds, as the finder sees them."""
    performance = perform(7000 + seed, MOMENTS * EVERY)
    for k in range(MOMENTS):
        shot = actor.render(performance, k * EVERY, SIZE_WH, background_seed=seed * 20 + k)
        found = mesh(shot.image, [square_around(shot.points_xyz)])[0]
        if is_face(found, shot.image):
            yield samples(shot.image, found[0])
            yield samples(worn(shot.image, np.random.default_rng([seed, k])), found[0])


def worn(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture of a poor camera: fewer pixels, another tone curve, light from one side, noise."""
    h, w = image.shape[:2]
    few = rng.uniform(0.25, 0.8)
    small = cv2.resize(image, None, fx=few, fy=few, interpolation=cv2.INTER_AREA)
    small = np.clip(small + rng.normal(0, rng.uniform(1, 6), small.shape), 0, 255)
    out = cv2.resize(small.astype(np.float32), (w, h), interpolation=cv2.INTER_LINEAR) / 255
    across = np.linspace(-1, 1, w)[:, None] * rng.uniform(-0.5, 0.5) + np.zeros((h, 1, 1))
    out = out ** rng.uniform(0.6, 1.6) * np.exp(across)
    return np.rint(np.clip(out, 0, 1) * 255).astype(np.uint8)


def analysed(x: np.ndarray, who: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n,) and directions (n, k) of the discriminant analysis of samples (m, n) of people ``who`` (m,)."""
    mean = x.mean(0)
    components = np.linalg.svd(x - mean, full_matrices=False)[2][:KEPT]
    z = (x - mean) @ components.T
    middles = {person: z[who == person].mean(0) for person in np.unique(who)}
    within = np.cov((z - np.stack([middles[person] for person in who])).T)
    within += SHRINK * np.trace(within) / len(within) * np.eye(len(within))
    values, vectors = np.linalg.eigh(within)
    white = vectors / np.sqrt(values)
    between = (np.stack(list(middles.values())) - z.mean(0)) @ white
    discriminants = np.linalg.svd(between, full_matrices=False)[2][:DIRECTIONS]
    return mean, components.T @ white @ discriminants.T


def said(label: str, same: np.ndarray, other: np.ndarray) -> str:
    """The figures of one test: cosines of the same person and of others."""
    limits = np.sort(np.concatenate([same, other]))
    rates = [(max((same < t).mean(), (other >= t).mean()), t) for t in limits[:: max(1, len(limits) // 1000)]]
    rate, limit = min(rates)
    return (
        f"{label}: same person {np.percentile(same, 1):.2f} {np.percentile(same, 5):.2f} {np.median(same):.2f} (1 %, 5 %, median), "
        f"others {np.median(other):.2f} {np.percentile(other, 95):.2f} {np.percentile(other, 99):.2f} (median, 95 %, 99 %), "
        f"mistaken {rate:.1%} at {limit:.2f}"
    )


def check(label: str, vectors: dict[str, np.ndarray], person: dict[str, str], together: int) -> str:
    """Every group of ``together`` vectors against the mean of every other set, by whether both are of one person."""
    same: list[float] = []
    other: list[float] = []
    for name, mine in vectors.items():
        template = unit(mine.mean(0))
        for shown, theirs in vectors.items():
            if shown != name:
                groups = [unit(theirs[i : i + together].mean(0)) for i in range(0, len(theirs), together)]
                (same if person[name] == person[shown] else other).extend(float(g @ template) for g in groups)
    return said(label, np.array(same), np.array(other))


def filmed(path: Path) -> np.ndarray:
    """Samples of every fourth frame's first face."""
    with ClipReader(path) as reader, Finder(max_faces=1) as find:
        found = ((frame, find(frame)) for frame in reader)
        return np.stack(
            [samples(frame.image, faces[0].points_xyz) for frame, faces in islice(found, 0, None, 4) if faces]
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stills", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--without", nargs="*", default=[], help="file names that are kept out, with * and ?")
    parser.add_argument("--drawn", type=int, default=100, help="drawn actors beside the stills")
    parser.add_argument("--person", nargs="*", default=[], metavar="NAME=CLIP,CLIP", help="real clips to try it on")
    args = parser.parse_args()
    mesh = MeshGraph()
    made: dict[str, list[np.ndarray]] = {}
    for number, (path, image, face) in enumerate(each_with_one_face(args.stills, [])):
        made[path.name] = list(moments(PhotoActor(image, face.points_xyz), number, mesh))
        print(path.name, len(made[path.name]), file=sys.stderr)
    for number in range(args.drawn):
        made[f"drawn {1000 + number}"] = list(moments(DrawnActor(1000 + number), 1000 + number, mesh))
    out = {name for name in made if any(fnmatch(name, pattern) for pattern in args.without)}
    used = {name: rows for name, rows in made.items() if rows and name not in out}
    x = np.concatenate([np.stack(rows) for rows in used.values()])
    mean, directions = analysed(x, np.repeat(list(used), [len(rows) for rows in used.values()]))
    np.savez(args.to, mean=mean.astype(np.float16), directions=directions.astype(np.float16))
    print(f"{args.to}: {len(used)} people, {len(x)} pictures, {directions.shape[1]} directions")

    def vectors(rows: np.ndarray) -> np.ndarray:
        return np.stack([unit(row) for row in (rows - mean) @ directions])

    halves = {f"{name} {i}": vectors(np.stack(made[name][i::2])) for name in sorted(out) for i in range(2)}
    if halves:
        print(check("people kept out, frame by frame", halves, {name: name[:-2] for name in halves}, 1))
    clips = {path: name for name, _, paths in (p.partition("=") for p in args.person) for path in paths.split(",")}
    if clips:
        seen = {path: vectors(filmed(Path(path))) for path in clips}
        for together in (1, 8):
            print(check(f"real clips, {together} frames together", seen, clips, together))


if __name__ == "__main__":
    main()
