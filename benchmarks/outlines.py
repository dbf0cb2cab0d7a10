"""How much of what lies before a real face is painted over, by outlines drawn by hand.

A clip's outlines are a JSON file, ``{"122": [[[x, y], …], …], …}``: for each frame that was looked at (its number from 0) the polygons around what is in
front, in the frame's pixels. Only what of them lies inside the face's landmarks counts. The masks are those that ``livepaste clip
CLIP OUT --masks-to DIR`` wrote.

``python benchmarks/outlines.py CLIP --outlines FILE.json --masks DIR``
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from livepaste.build import make_finder
from livepaste.devices.video import ClipReader
from livepaste.pictures import read_picture

FINER = 4  # times as fine as the frame: where polygons are filled


def filled(polygons: list[np.ndarray], size_wh: tuple[int, int]) -> np.ndarray:
    """Pixels of which more than half lies in the polygons (n, 2), bool (h, w)."""
    w, h = size_wh
    fine = np.zeros((h * FINER, w * FINER), np.uint8)
    for polygon in polygons:
        xy = (np.asarray(polygon, np.float64) + 0.5) * FINER - 0.5
        cv2.fillPoly(fine, [np.rint(xy).astype(np.int32)], 255)
    return cv2.resize(fine, (w, h), interpolation=cv2.INTER_AREA) > 127


def painted(outline: list[np.ndarray], points_xy: np.ndarray, mask: np.ndarray) -> tuple[int, int]:
    """Pixels of what is outlined inside the face, painted over and altogether. ``mask`` uint8 (h, w)."""
    size = mask.shape[::-1]
    inside = filled(outline, size) & filled([cv2.convexHull(points_xy.astype(np.float32))[:, 0]], size)
    return int((inside & (mask > 127)).sum()), int(inside.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--outlines", type=Path, required=True)
    parser.add_argument("--masks", type=Path, required=True)
    args = parser.parse_args()
    outlines = {int(index): polygons for index, polygons in json.loads(args.outlines.read_text()).items()}
    finder, counts, left_out = make_finder("auto"), [], 0
    with ClipReader(args.clip) as reader:
        for frame in reader.frames():
            faces = finder(frame)
            if frame.index not in outlines:
                continue
            if not faces:
                print(f"frame {frame.index}: no face is found")
                continue
            mask = read_picture(args.masks / f"{frame.index:06d}.png", cv2.IMREAD_GRAYSCALE)
            if mask is None or mask.shape != frame.image.shape[:2]:
                raise SystemExit(f"{args.masks}: holds no mask of frame {frame.index} of the clip's size")
            if not mask.any():  # covered or passed: nothing was painted there, and nothing decided
                left_out += 1
                continue
            over, whole = painted(outlines[frame.index], faces[0].points_xyz[:, :2], mask)
            if whole:
                counts.append((over, whole))
                print(f"frame {frame.index}: {over} of {whole} pixels, {over / whole:.2f}")
    over, whole = np.array(counts).reshape(-1, 2).T
    if not len(over):
        raise SystemExit(f"{args.outlines}: nothing that is outlined lies inside a face of {args.clip}")
    print(
        f"{len(over)} frames: {over.sum() / whole.sum():.3f} of what is in front is painted over, {(over / whole).mean():.3f} in the mean of frames"
    )


if __name__ == "__main__":
    main()
