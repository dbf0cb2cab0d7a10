"""The truth folder on disk: two people, one performance, every pixel known; whoever drew it. ``livepaste actors`` writes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from livepaste import pictures
from livepaste.errors import TruthError
from livepaste.jsons import parse

MOST_FRAMES = 10_000_000
Ranges = tuple[tuple[int, int], ...]  # first and last frames, inclusive


@dataclass(frozen=True)
class Truth:
    """What ``truth.json`` says."""

    path: Path
    frames: int
    fps: Fraction
    noise_sigma: float  # of its pictures' noise, on the scale of 0 to 255
    made_by: str
    occluders: Mapping[str, Ranges] = field(default_factory=dict)  # by kind: when it is before the face

    knows_hidden: bool = (
        False  # whether it has clear_mask: the wearer's face as it would be visible with nothing in front
    )

    def in_front(self, frame: int) -> tuple[str, ...]:
        """The kinds of what hides some of the face."""
        return tuple(k for k, ranges in self.occluders.items() if any(first <= frame <= last for first, last in ranges))


def _occluders(record: dict[str, Any]) -> dict[str, Ranges]:
    named = record.get("occluders", {})
    return {str(k): tuple((int(first), int(last)) for first, last in ranges) for k, ranges in named.items()}


def open_truth(path: Path) -> Truth:
    """Read ``truth.json``; raises TruthError when something is missing."""
    try:
        record = parse((path / "truth.json").read_text("utf-8"))
        if record["format"] > 1:
            raise TruthError(f"{path}: truth format {record['format']} is newer than 1; update livepaste")
        if not (0 < record["frames"] <= MOST_FRAMES and 0 < Fraction(record["fps"]) <= 1000):
            raise ValueError(f"{record['frames']} frames at {record['fps']} a second")
        if not 0 <= float(record.get("noise_sigma", 0)) <= 255:
            raise ValueError(f"noise_sigma {record['noise_sigma']}")
        truth = Truth(
            path,
            int(record["frames"]),
            Fraction(record["fps"]),
            float(record.get("noise_sigma", 2.5)),
            str(record.get("made_by", "?")),
            _occluders(record),
            (path / "clear_mask").is_dir(),
        )
    except OSError as error:
        raise TruthError(f"{path}: no truth.json; make a truth folder with `livepaste actors --to {path}`") from error
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise TruthError(f"{path / 'truth.json'}: damaged ({error})") from error
    for name in ("wearer.mp4", "truth", "mask", "truth_mask"):
        if not (path / name).exists():
            raise TruthError(f"{path}: {name} is missing from the truth folder")
    return truth


def read_picture(path: Path, flags: int) -> np.ndarray:
    """A picture of the truth folder, RGB or grey."""
    image = pictures.read_picture(path, flags)
    if image is None:
        raise TruthError(f"{path}: missing or damaged")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if flags == cv2.IMREAD_COLOR else image
