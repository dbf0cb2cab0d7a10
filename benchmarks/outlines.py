"""How much of what lies before a real face is painted over, by outlines drawn by hand.

A clip's outlines are a JSON file, ``{"122": [[[x, y], …], …], …}``: for each frame that was looked at (its number from 0) the polygons around what is in
front, in the frame's pixels. Only what of them lies inside the face's landmarks counts. The masks are those that ``livepaste clip
CLIP OUT --masks-to DIR`` wrote; or, with ``--live``, those of frames that got through ``live``'s stages while the clip was played some times at
its own pace as a camera, the first time to get warm; a frame that came several times counts once, by its mean.

``python benchmarks/outlines.py CLIP --outlines FILE.json (--masks DIR | --live [--mask NAMES] [--rounds 3])``
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from livepaste import build_live
from livepaste.build import make_finder
from livepaste.devices.memory import NullSink
from livepaste.devices.video import ClipReader
from livepaste.guard import Guard
from livepaste.options import BlendOptions, LiveOptions
from livepaste.pictures import read_picture
from livepaste.stream import Sent, stream
from livepaste.types import Frame

FINER = 4  # times as fine as the frame: where polygons are filled
APART = 10**6  # between the numbers of a frame's showings


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


class Rounds:
    """A clip as a camera, again and again."""

    def __init__(self, options: LiveOptions, rounds: int) -> None:
        self._options, self._rounds = options, rounds
        self._source: Any = build_live.open_source(options)
        self.size_wh, self.fps = self._source.size_wh, float(self._source.fps)

    @property
    def taken_s(self) -> float:
        return self._source.taken_s

    def __iter__(self) -> Iterator[Frame]:
        for turn in range(self._rounds):
            if turn:
                self._source = build_live.open_source(self._options)
            for frame in self._source:
                yield Frame(frame.image, frame.time + turn * APART, frame.index + turn * APART)


def played(clip: Path, mask: str, wanted: set[int], rounds: int) -> dict[int, list[np.ndarray]]:
    """Masks, uint8 (h, w), of the wanted frames that got through ``live``; prints how late they were and how many did."""
    # a window has its masks made; none is opened
    options = LiveOptions(camera=str(clip), sink=["window"], blend=BlendOptions(mask=mask))
    masks: dict[int, list[np.ndarray]] = {}
    late_ms: list[float] = []
    cv2.setNumThreads(1)

    def sent(what: Sent) -> None:
        if what.mark.value != "swapped" or what.item is None or what.item.frame.index < APART:
            return
        late_ms.append(1000 * (what.now_s - what.item.captured_s))
        index = what.item.frame.index % APART
        if index in wanted:
            masks.setdefault(index, []).append(np.rint(what.item.value.mask * 255).astype(np.uint8))

    source = Rounds(options, rounds)
    with closing(build_live.LiveStages(options)) as stages:
        stages.check()
        live = stream(source, stages.stages(), (NullSink(),), Guard(options.guard, source.size_wh), fps=source.fps,
                      safe=build_live.safe, picture=build_live.picture, on_sent=sent)  # fmt: skip
    p50, p95 = np.percentile(late_ms, [50, 95])
    print(f"live: {len(late_ms)} of {round(live.captured * (rounds - 1) / rounds)} frames swapped, p50 {p50:.0f} p95 {p95:.0f} ms")  # fmt: skip
    return masks


def read(folder: Path, wanted: set[int], size_wh: tuple[int, int]) -> dict[int, list[np.ndarray]]:
    """The masks that ``clip`` wrote."""
    masks = {}
    for index in wanted:
        mask = read_picture(folder / f"{index:06d}.png", cv2.IMREAD_GRAYSCALE)
        if mask is None or mask.shape != size_wh[::-1]:
            raise SystemExit(f"{folder}: holds no mask of frame {index} of the clip's size")
        masks[index] = [mask]
    return masks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--outlines", type=Path, required=True)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--masks", type=Path)
    how.add_argument("--live", action="store_true")
    parser.add_argument("--mask", default=BlendOptions().mask, help="of live")
    parser.add_argument("--rounds", type=int, default=3, help="of live, at least 2")
    args = parser.parse_args()
    outlines = {int(index): polygons for index, polygons in json.loads(args.outlines.read_text()).items()}
    finder, counts = make_finder("auto"), []
    with ClipReader(args.clip) as reader:
        wanted = set(outlines)
        masks = (
            played(args.clip, args.mask, wanted, max(2, args.rounds))
            if args.live
            else read(args.masks, wanted, reader.size_wh)
        )
        for frame in reader.frames():
            faces = finder(frame)
            if frame.index not in outlines:
                continue
            if not faces:
                print(f"frame {frame.index}: no face is found")
                continue
            # covered or passed: nothing was painted there, and nothing decided
            shown = [mask for mask in masks.get(frame.index, []) if mask.any()]
            found = [painted(outlines[frame.index], faces[0].points_xyz[:, :2], mask) for mask in shown]
            if found and found[0][1]:
                over, whole = np.mean(found, axis=0)
                counts.append((over, whole))
                print(f"frame {frame.index}: {over:.0f} of {whole:.0f} pixels, {over / whole:.2f}")
    over, whole = np.array(counts).reshape(-1, 2).T
    if not len(over):
        raise SystemExit(f"{args.outlines}: nothing that is outlined lies inside a face of {args.clip}")
    print(
        f"{len(over)} frames: {over.sum():.0f} of {whole.sum():.0f} pixels, {over.sum() / whole.sum():.3f} of what is in front, is painted over, "
        f"{(over / whole).mean():.3f} in the mean of frames"
    )


if __name__ == "__main__":
    main()
