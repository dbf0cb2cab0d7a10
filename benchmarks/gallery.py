"""Makes ``livepaste/gallery.npz`` (see :mod:`livepaste.identity`): samples of people who do not exist, to be mistaken for.

``python benchmarks/gallery.py STILLS --to livepaste/gallery.npz``. Each plays a performance of their own before
rooms of many kinds, seen as the finder sees them, every other picture as soft as a network draws.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from livepaste.actors import MAKER_VERSION
from livepaste.actors.drawn import DrawnActor
from livepaste.actors.head import Head
from livepaste.actors.motion import perform
from livepaste.actors.photo import PhotoActor
from livepaste.align import pose_degrees
from livepaste.extract import read_photo
from livepaste.finder import find_in_photo
from livepaste.identity import seen, stored
from livepaste.mediapipe_graphs import MeshGraph
from livepaste.squares import is_face, square_around

MOMENTS, EVERY, SIZE_WH, MOST_YAW = 20, 40, (480, 360), 15.0
DRAWN = range(5101, 5113)
# the persona that comes along first; none of those that figures are made from
PHOTOS = ("synth_099", *(f"synth_{number:03d}" for number in range(4, 140, 5)))
WANTED = 13


def moments(actor: Head, seed: int, mesh: MeshGraph) -> np.ndarray:
    """Samples (``MOMENTS``, n) of an actor."""
    performance, made = perform(9100 + seed, (MOMENTS + 20) * EVERY), []
    for i in range(0, len(performance), EVERY):
        shot = actor.render(performance, i, SIZE_WH, background_seed=seed * 50 + i // EVERY)
        found = mesh(shot.image, [square_around(shot.points_xyz)])[0]
        if is_face(found, shot.image):
            made.append(seen(shot.image, found[0])[len(made) % 2])
        if len(made) == MOMENTS:
            return np.stack(made)
    raise SystemExit(f"{len(made)} of {MOMENTS} faces found of actor {seed}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stills", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    args = parser.parse_args()
    mesh, people = MeshGraph(), {}
    for name in PHOTOS:
        if len(people) == WANTED or not (path := args.stills / f"{name}.jpg").exists():
            continue
        image = read_photo(path).image
        faces = find_in_photo(image)
        if len(faces) == 1 and abs(pose_degrees(faces[0].points_xyz)[0]) <= MOST_YAW:
            people[name] = moments(PhotoActor(image, faces[0].points_xyz, name=name), int(name[-3:]), mesh)
            print(name, file=sys.stderr)
    for seed in DRAWN:
        people[f"drawn {seed}"] = moments(DrawnActor(seed), seed, mesh)
        print(seed, file=sys.stderr)
    names, taken = np.array(list(people)), stored(np.stack(list(people.values())))
    np.savez_compressed(args.to, names=names, samples=taken, maker=MAKER_VERSION)
    print(f"{args.to}: {len(names)} people, {taken.shape[1]} pictures each, maker {MAKER_VERSION}")


if __name__ == "__main__":
    main()
