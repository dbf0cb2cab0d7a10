"""``make demo``: the whole main job without camera, data or download, each step timed.

``python -m livepaste.cli.demo [--quick] [--photos PERSONA WEARER] [--to DIR]``
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from livepaste.cli.walk import Walk
from livepaste.devices.video import ClipReader, write_video
from livepaste.errors import CheckpointError
from livepaste.pictures import read_picture, write_png

BUDGET_S, QUICK_S = 300.0, 60.0
MADE = ".made-by-livepaste-demo"
LABELS = ("before", "swapped", "truth", "mask", "shipped persona")


class Demo:
    """One run in one folder; a step is one command as the user would type it."""

    def __init__(self, folder: Path, quick: bool) -> None:
        self.folder, self.quick = folder, quick
        self.began = time.monotonic()
        self.steps: list[tuple[str, float]] = []

    def step(self, name: str, *words: str | Path) -> str:
        """Run ``livepaste …``; its result goes to the terminal, an error ends the demo."""
        print(f"\n$ livepaste {' '.join(map(str, words))}", flush=True)
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "livepaste", *map(str, words)], stdout=subprocess.PIPE, text=True
        )
        try:
            said = process.communicate()[0]
        except KeyboardInterrupt:  # the step was told as well, and may have something to save
            print(_rest(process), end="", flush=True)
            raise SystemExit(130) from None
        self.steps.append((name, time.monotonic() - began))
        print(said, end="", flush=True)
        if process.returncode:
            raise SystemExit(process.returncode)
        return said

    def left(self) -> float:
        """Seconds of the budget not used yet."""
        return (QUICK_S if self.quick else BUDGET_S) - (time.monotonic() - self.began)

    def run(self, photos: list[str] | None) -> None:
        f, quick = self.folder, self.quick
        walk = Walk(f, self.step)
        size = (
            ["--seconds", "2", "--train-seconds", "4", "--size", "480x270"]
            if quick
            else ["--seconds", "10", "--train-seconds", "24"]
        )
        walk.perform(*size, *(["--photos", *photos] if photos else []))
        walk.extract()
        reserve = 20 if quick else 85  # what the steps after training take
        walk.train(f, f"{max(8.0, self.left() - reserve):.0f}s")
        walk.swap(f)
        shipped = self._shipped(walk.clip)
        self._live(walk.clip, f / "model")
        numbers = walk.measure(f)
        self._pictures(walk.truth, shipped)
        self._table(numbers)

    def _shipped(self, clip: Path) -> Path | None:
        from livepaste.checkpoint import shipped

        try:
            shipped("persona")
        except CheckpointError:
            print("no finished persona is shipped with this version", flush=True)
            return None
        self.step("clip with the shipped persona", "clip", clip, self.folder / "shipped.mp4")
        return self.folder / "shipped.mp4"

    def _live(self, clip: Path, model: Path) -> None:
        stats = self.folder / "live.jsonl"
        self.step("live into memory", "live", "--camera", clip, "--model", model, "--sink", "memory", "--stats", stats)

    def _pictures(self, truth: Path, shipped: Path | None) -> None:
        """before | swapped | truth | mask (| shipped persona) as a clip and, of three moments, a picture."""
        began = time.monotonic()
        rows: list[np.ndarray] = []
        with ClipReader(truth / "wearer.mp4") as before, ClipReader(self.folder / "swapped.mp4") as after:
            fps, count = before.rate, before.frames_estimate
            keep = {count // 5, count // 2, (4 * count) // 5}
            other = ClipReader(shipped) if shipped else None

            def sheets():
                extra = iter(other.frames()) if other else None
                for i, (a, b) in enumerate(zip(before.frames(), after.frames(), strict=True)):
                    picture = read_picture(truth / "truth" / f"{i:06d}.png")[..., ::-1]
                    mask = cv2.cvtColor(
                        read_picture(self.folder / "masks" / f"{i:06d}.png", cv2.IMREAD_GRAYSCALE), cv2.COLOR_GRAY2RGB
                    )
                    tiles = [a.image, b.image, picture, mask] + ([next(extra).image] if extra else [])
                    sheet = np.hstack([_labelled(t, label) for t, label in zip(tiles, LABELS, strict=False)])
                    if i in keep:
                        rows.append(sheet)
                    yield sheet

            first = before.size_wh
            width = first[0] * (5 if other else 4)
            write_video(self.folder / "side_by_side.mp4", sheets(), Fraction(fps), (width, first[1]), crf=20)
            if other:
                other.close()
        write_png(self.folder / "side_by_side.png", np.vstack(rows)[..., ::-1])
        self.steps.append(("side by side", time.monotonic() - began))

    def _table(self, numbers: dict[str, float]) -> None:
        print("\nstep                              seconds")
        for name, seconds in self.steps:
            print(f"{name:<32} {seconds:8.1f}")
        print(f"{'together':<32} {time.monotonic() - self.began:8.1f}")
        better = max(v for k in ("unswapped", "mean_face") if (v := numbers[f"swap_psnr_db_{k}"]) is not None)
        print(f"\nswap {numbers['swap_psnr_db']} dB, the better baseline {better} dB, the ceiling {numbers['swap_psnr_db_ceiling']} dB; "
              f"mask IoU {numbers['mask_iou']}; seam {numbers['seam']} (rectangle {numbers['seam_rectangle']})")  # fmt: skip
        print(f"look at {self.folder / 'side_by_side.png'} and {self.folder / 'side_by_side.mp4'}")


def _rest(process: Any) -> str:
    """What a step that was interrupted still has to say, however often it is."""
    while True:
        try:
            return process.communicate()[0]
        except KeyboardInterrupt:
            continue
        except ValueError:  # it had said everything
            process.wait()
            return ""


def _labelled(image: np.ndarray, label: str) -> np.ndarray:
    out = image.copy()
    for color, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(out, label, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, width, cv2.LINE_AA)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="60 s instead of 5 minutes")
    parser.add_argument("--photos", nargs=2, metavar=("PERSONA", "WEARER"))
    parser.add_argument("--to", type=Path, default=Path("demo"))
    args = parser.parse_args()
    if args.to.exists() and not (args.to / MADE).exists() and (not args.to.is_dir() or any(args.to.iterdir())):
        raise SystemExit(f"{args.to}: exists and no demo made it; name an empty or new folder")
    shutil.rmtree(args.to, ignore_errors=True)  # its own folder, made anew by each demo
    args.to.mkdir(parents=True)
    (args.to / MADE).write_text("made by livepaste's demo, which makes this folder anew each time\n")
    Demo(args.to, args.quick).run(args.photos)


if __name__ == "__main__":
    main()
