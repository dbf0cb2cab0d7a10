"""Faces of actors in their exact places, and where mediapipe finds them: what the alignment network is trained on.

``python benchmarks/found.py --stills DIR --to FOUND [--drawn 1400 --varied 1000 --frames 8]``: ``faces.npy`` (packed crops, n x side x side),
``points.npy`` (n x 478 x 3, pixels of these; NaN where nothing is found) and ``people.npy`` (n). ``DIR`` is a folder of ``benchmarks/stills.py``.
Each face is enlarged and set into a margin to be found in, half of them blurred before, all with a camera's noise after. The training itself
never looks for faces: it also runs where there is no mediapipe.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from livepaste_train.casts import Cast, Meshes, casting, perform_cast
from livepaste_train.data import stored_side
from livepaste_train.recipe import read_recipe

SHOWN, MARGIN = 300, 100  # pixels: side that a crop is enlarged to, and what is set around it
BLURRED = 110  # pixels: side that every other one is made smaller to before
NOISE = 2.5  # grey levels, standard deviation

Job = tuple[list[Cast], int, Meshes]


def enlarged(packed: np.ndarray, seed: int) -> np.ndarray:
    """A packed crop as it is looked at, uint8 (500, 500, 3)."""
    image = np.stack([(packed >> shift) & 255 for shift in (0, 8, 16)], -1).astype(np.uint8)
    if seed % 2:
        image = cv2.resize(image, (BLURRED, BLURRED), interpolation=cv2.INTER_AREA)
    image = cv2.resize(image, (SHOWN, SHOWN), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng([31, seed]).normal(0, NOISE, image.shape)
    image = np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
    return cv2.copyMakeBorder(image, *[MARGIN] * 4, cv2.BORDER_REPLICATE)


def found(job: Job) -> tuple[np.ndarray, np.ndarray]:
    """Each identity's faces, packed (n, side, side), and their points (n, 478, 3)."""
    from livepaste.mediapipe_graphs import DetectionGraph, MeshGraph
    from livepaste.squares import mesh_on

    casts, side, meshes = job
    # not the finder: that wants the network which is to be trained
    mesh, detect, scale = MeshGraph(), DetectionGraph(), side / SHOWN
    faces = np.concatenate([perform_cast((cast, side, meshes)).reshape(-1, side, side) for cast in casts])
    points = np.full((len(faces), 478, 3), np.nan, np.float32)
    for i, packed in enumerate(faces):
        image = enlarged(packed, casts[0].seed + i)
        if seen := mesh_on(mesh, image, detect(image)):
            points[i] = seen[0][0] * scale
            points[i, :, :2] += (0.5 - MARGIN) * scale - 0.5
    mesh.close()
    detect.close()
    return faces, points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stills", type=Path, required=True, help="folder with a meshes.npz: file name -> (478, 3)")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--drawn", type=int, default=1400)
    parser.add_argument("--varied", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=8, help="of each identity")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    recipe = read_recipe("light")
    side = stored_side(recipe.resolution, recipe.coverage, margin=1.0)
    with np.load(args.stills / "meshes.npz") as arrays:
        meshes = {str(args.stills / name): arrays[name] for name in arrays.files}
    casts = casting([Path(path) for path in sorted(meshes)], drawn=args.drawn, morphs=0, varied=args.varied, group=1,
                    frames=args.frames, seed=args.seed)  # fmt: skip
    jobs = [(casts[i : i + 40], side, meshes) for i in range(0, len(casts), 40)]
    began, parts = time.monotonic(), []
    with ProcessPoolExecutor(args.processes) as pool:
        for part in pool.map(found, jobs):
            parts.append(part)
            print(f"found {len(parts)}/{len(jobs)}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    faces, points = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    args.to.mkdir(parents=True, exist_ok=True)
    people = np.repeat(np.arange(len(casts), dtype=np.int32), args.frames)
    for name, array in (("faces", faces), ("points", points), ("people", people)):
        np.save(args.to / f"{name}.npy", array)
    print(f"{args.to}: {len(faces)} faces of {len(casts)} people, {np.isnan(points).any((1, 2)).sum()} not found")


if __name__ == "__main__":
    main()
