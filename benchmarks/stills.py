"""A folder of stills as training the shipped models wants it: the photographs that are used, and ``meshes.npz`` of their faces.

``python benchmarks/stills.py PHOTOS --to ANOTHER_FOLDER [--without PATTERN …] [--most-yaw 15]``. A photo without exactly one face, or
with one that looks further aside, is left out and named. The training itself never looks for faces: it also runs where there is no
mediapipe.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from livepaste.align import pose_degrees
from livepaste.extract import read_photo
from livepaste.finder import PhotoFinder
from livepaste.options import PHOTOS
from livepaste.types import Face


def each_with_one_face(folder: Path, without: list[str]) -> Iterator[tuple[Path, np.ndarray, Face]]:
    """Each photo of a folder with its one face; names the others, and says nothing of those that match ``without``."""
    with closing(PhotoFinder()) as find:
        for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in PHOTOS):
            if any(fnmatch(path.name, pattern) for pattern in without):
                continue
            image = read_photo(path).image
            found = find(image)
            if len(found) == 1:
                yield path, image, found[0]
            else:
                print(f"{path.name}: {len(found)} faces", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--without", nargs="*", default=[], help="file names that are kept out, with * and ?")
    parser.add_argument("--most-yaw", type=float, default=15.0, help="degrees")
    args = parser.parse_args()
    args.to.mkdir(parents=True, exist_ok=True)
    meshes: dict[str, np.ndarray] = {}
    for path, _, face in each_with_one_face(args.photos, args.without):
        yaw = pose_degrees(face.points_xyz)[0]
        if abs(yaw) > args.most_yaw:
            print(f"{path.name}: turned {yaw:.0f} degrees aside", file=sys.stderr)
            continue
        shutil.copyfile(path, args.to / path.name)
        meshes[path.name] = face.points_xyz
    np.savez(args.to / "meshes.npz", **meshes)
    print(f"{args.to}: {len(meshes)} stills")


if __name__ == "__main__":
    main()
