"""Steadied landmarks: how much they still tremble at rest, how far they lag behind in motion, and the trade between both.

Actors whose every motion is known, seen by the program's own finder: at rest (nothing moves but the sensor's noise) and in
performance. ``python benchmarks/stillness.py [--seconds 6] [--plot FILE.png]``.
"""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from livepaste.actors.drawn import DrawnActor
from livepaste.actors.motion import Performance, perform
from livepaste.finder import Finder
from livepaste.smooth import OneEuro
from livepaste.types import Frame

FPS, SIZE_WH = 30, (1280, 720)
SEEDS = (8501, 8502)  # never trained on
CUTOFFS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
BETAS = (5.0, 10.0, 20.0, 40.0, 80.0)


def held(performance: Performance, at: int) -> Performance:
    """The same number of frames, all of them frame ``at``."""
    still = {
        f.name: np.repeat(value[at : at + 1], len(value), axis=0)
        for f in fields(performance)
        if isinstance(value := getattr(performance, f.name), np.ndarray)
    }
    return replace(performance, **still)


def found(actor: DrawnActor, performance: Performance) -> np.ndarray:
    """What the finder sees, (n, 478, 3)."""
    points = []
    with Finder() as finder:
        for i in range(len(performance)):
            # the noise is another in every frame, whether or not anything moves
            image = actor.render(performance, i, SIZE_WH, background_seed=3).image
            faces = finder(Frame(image, Fraction(i, FPS), i))
            if faces:
                points.append(faces[0].points_xyz)
    return np.stack(points[5:])  # it settles


def steadied(points: np.ndarray, **how: float) -> np.ndarray:
    smooth = OneEuro(**how)
    return np.stack([smooth(p, Fraction(i, FPS), _width(p)) for i, p in enumerate(points)])


def mean_of_5(points: np.ndarray) -> np.ndarray:
    """The fixed filter that is compared with."""
    return np.stack([points[max(0, i - 4) : i + 1].mean(0) for i in range(len(points))])


def jitter(points: np.ndarray) -> float:
    """Root mean square step from frame to frame at rest, in thousandths of the face's width."""
    steps = np.diff(points[10:, :, :2], axis=0)
    return float(np.sqrt(np.square(steps).sum(-1).mean())) / _width(points[0]) * 1e3


def lag(points: np.ndarray, filtered: np.ndarray) -> float:
    """Frames by which the filtered points are behind: what of their distance goes along the motion (least squares)."""
    speed = (points[2:] - points[:-2])[..., :2] / 2
    behind = (points - filtered)[1:-1, :, :2]
    return float((behind * speed).sum() / np.square(speed).sum())


def _width(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[454, :2] - points[234, :2]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--plot", type=Path, help="picture of the trade-off")
    args = parser.parse_args()
    count = round(args.seconds * FPS)
    films = []
    for seed in SEEDS:
        actor, performance = DrawnActor(seed), perform(seed, count, Fraction(FPS))
        films.append((found(actor, held(performance, count // 2)), found(actor, performance)))
    raw = float(np.mean([jitter(rest) for rest, _ in films]))
    print(f"unfiltered: {raw:.2f} thousandths of the face's width from frame to frame")

    def told(how) -> tuple[float, float]:
        rest, move = zip(*((jitter(how(rest)), lag(moving, how(moving))) for rest, moving in films))
        return float(np.mean(rest)) / raw, float(np.mean(move))

    dots = {"mean of 5": told(mean_of_5), "used": told(steadied)}
    for cutoff in CUTOFFS:
        for beta in BETAS:
            dots[f"{cutoff:g} Hz, {beta:g}"] = told(lambda p: steadied(p, min_cutoff_hz=cutoff, beta=beta))  # noqa: B023
    print(f"{'filter':<14} jitter (unfiltered = 1)   lag, frames")
    for name, (j, behind) in dots.items():
        print(f"{name:<14} {j:>8.3f} {behind:>24.2f}")
    if args.plot:
        cv2.imwrite(str(args.plot), plot(dots))


def plot(dots: dict[str, tuple[float, float]]) -> np.ndarray:
    """Lag over jitter, a dot for each filter."""
    w, h, left = 900, 560, 60
    image = np.full((h, w, 3), 255, np.uint8)
    most = max(2.2, *(behind for _, behind in dots.values()))

    def at(j: float, behind: float) -> tuple[int, int]:
        return round(left + j * (w - left - 140)), round(h - 40 - behind / most * (h - 70))

    cv2.rectangle(image, at(0, 1), at(0.4, 0), (225, 245, 225), -1)
    cv2.line(image, at(0, 0), at(1, 0), (90, 90, 90))
    cv2.line(image, at(0, 0), at(0, most), (90, 90, 90))
    words = cv2.FONT_HERSHEY_SIMPLEX, 0.4, (60, 60, 60), 1, cv2.LINE_AA
    for share in (0, 0.2, 0.4, 0.6, 0.8, 1.0):
        cv2.putText(image, f"{share:g}", (at(share, 0)[0] - 8, h - 20), *words)
    for frames in np.arange(0, most, 0.5):
        cv2.putText(image, f"{frames:g}", (left - 32, at(0, frames)[1] + 4), *words)
    cv2.putText(image, "jitter at rest, unfiltered = 1", (w // 2 - 110, h - 4), *words)
    cv2.putText(image, "lag in motion, frames (green: what is asked)", (left, 18), *words)
    for name, (j, behind) in dots.items():
        special = name in ("mean of 5", "used")
        cv2.circle(
            image, at(j, behind), 5 if special else 3, (30, 60, 210) if special else (170, 120, 60), -1, cv2.LINE_AA
        )
        if special or behind > 0.4 or j > 0.6:
            cv2.putText(image, name, (at(j, behind)[0] + 7, at(j, behind)[1] + 4), *words)
    return image


if __name__ == "__main__":
    main()
