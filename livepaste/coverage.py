"""What a face set covers, in pictures and words: poses, mouth and eyes; the contact sheet."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from livepaste.align import LEVEL, STORED_COVERAGE
from livepaste.faceset import FaceRow, FaceSet

_YAW, _PITCH, _STEP = 60, 45, 5  # degrees: range each way, width of a bin
_INK, _PAPER, _GREY = (30, 34, 40), (250, 250, 248), (150, 155, 160)
_FONT = cv2.FONT_HERSHEY_DUPLEX
MOUTH_OPEN, EYES_SHUT, EYES_OPEN = 0.15, 0.14, 0.22  # see `expression`


def expression(points: Float32[np.ndarray, "478 c"], size: int) -> Float32[np.ndarray, 8]:
    """Mouth opening, mouth width, right and left eye opening, right and left brow height, gaze x, y.

    From landmarks in crop pixels. Mouth and brows in template units; eyes as lid distance by eye width (0.3 is
    usual, below 0.14 shut); gaze as the irises' place between the corners of the eyes, 0 = middle.
    """
    p = points[:, :2].astype(np.float64) / (size / STORED_COVERAGE)

    def between(a: int, b: int) -> float:
        return float(np.linalg.norm(p[a] - p[b]))

    right, left = max(between(33, 133), 1e-6), max(between(362, 263), 1e-6)
    gaze = ((p[468] - (p[33] + p[133]) / 2) / right + (p[473] - (p[362] + p[263]) / 2) / left) / 2
    return np.array(
        [between(13, 14), between(61, 291), between(159, 145) / right, between(386, 374) / left,
         between(105, 159), between(334, 386), gaze[0], gaze[1]],
        np.float32,
    )  # fmt: skip


def missing(poses: Float32[np.ndarray, "n 3"], expressions: Float32[np.ndarray, "n 8"]) -> list[str]:
    """What to film in addition, as instructions to the person; empty when nothing is missing.

    A side is covered by one face in fifty, and at least five. Left and right are the person's own.
    """
    n = len(poses)
    enough = max(5, n // 50)
    yaw, pitch = poses[:, 0], poses[:, 1]
    eyes = expressions[:, 2:4].mean(1)
    wide = expressions[:, 1] > 1.12 * np.median(expressions[:, 1])
    wants = [
        (yaw < -20, "turn your head further to your left"),
        (yaw > 20, "turn your head further to your right"),
        (pitch < -10, "look further up"),
        (pitch > 10, "look further down"),
        (expressions[:, 0] > MOUTH_OPEN, "open your mouth wide, speak"),
        (wide, "smile broadly"),
        (eyes < EYES_SHUT, "close your eyes now and then"),
        ((np.abs(yaw) < 12) & (np.abs(pitch) < 10), "look straight into the camera"),
    ]
    words = [what for seen, what in wants if int(seen.sum()) < enough]
    return ([f"film more: only {n} faces, 500 and more are good"] if n < 300 else []) + words


def tables(rows: list[FaceRow], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Poses (n, 3), pitch from level, and expressions (n, 8) of a face set's rows, float32."""
    poses = np.array([row.pose for row in rows], np.float32).reshape(-1, 3) - np.float32([0, LEVEL, 0])
    found = np.array([expression(row.crop_points(), size) for row in rows], np.float32).reshape(-1, 8)
    return poses, found


def coverage_picture(faces: FaceSet) -> UInt8[np.ndarray, "h w 3"]:
    """Yaw × pitch histogram, mouth and eye histograms, and what is missing, RGB."""
    poses, found = tables(faces.rows, faces.info.size)
    image = np.full((860, 1240, 3), _PAPER, np.uint8)
    _text(image, f"{faces.info.person}: {len(faces)} faces", (60, 52), 0.9)
    _pose_map(image, poses, (110, 100), cell=28)
    _bars(image, found[:, 0], (900, 130), (0.0, 0.4), "mouth opening", ("shut", "wide open"))
    _bars(image, found[:, 2:4].mean(1), (900, 330), (0.0, 0.5), "eye opening", ("shut", "wide open"))
    _bars(image, found[:, 1], (900, 530), (0.3, 0.75), "mouth width", ("pursed", "smile"))
    wanted = missing(poses, found)
    words = "; ".join(wanted) if wanted else "poses, mouth and eyes are covered"
    for i, line in enumerate(_wrapped(("Missing: " if wanted else "Complete: ") + words, 100)[:3]):
        _text(image, line, (60, 760 + 32 * i), 0.6)
    return image


def _pose_map(image: np.ndarray, poses: np.ndarray, at: tuple[int, int], cell: int) -> None:
    columns, rows = 2 * _YAW // _STEP, 2 * _PITCH // _STEP
    yaw = np.clip(poses[:, 0], -_YAW + 0.1, _YAW - 0.1)
    pitch = np.clip(poses[:, 1], -_PITCH + 0.1, _PITCH - 0.1)
    counts, _, _ = np.histogram2d(pitch, yaw, bins=(rows, columns), range=((-_PITCH, _PITCH), (-_YAW, _YAW)))
    # As seen in the picture: nose towards the picture's left (yaw > 0) is drawn on the left.
    counts = counts[:, ::-1].astype(int)
    x0, y0 = at
    most = max(1, counts.max())
    for r in range(rows):
        for c in range(columns):
            x, y = x0 + c * cell, y0 + r * cell
            share = np.log1p(counts[r, c]) / np.log1p(most)
            color = np.array(_PAPER) * (1 - share) + np.array((20, 90, 170)) * share
            cv2.rectangle(image, (x, y), (x + cell - 2, y + cell - 2), color.tolist(), -1)
            cv2.rectangle(image, (x, y), (x + cell - 2, y + cell - 2), (225, 226, 228), 1)
            if counts[r, c]:
                ink = _PAPER if share > 0.5 else _INK
                label = str(counts[r, c])
                _text(image, label, (x + cell // 2 - 4 * len(label) - 1, y + cell // 2 + 4), 0.36, ink)
    for degrees in range(-_YAW, _YAW + 1, 20):
        x = x0 + (_YAW - degrees) * cell // _STEP
        _text(image, f"{degrees:+d}", (x - 14, y0 + rows * cell + 18), 0.42, _GREY)
    for degrees in range(-40, 41, 20):
        y = y0 + (degrees + _PITCH) * cell // _STEP
        _text(image, f"{degrees:+d}", (x0 - 38, y + 4), 0.42, _GREY)
    _text(image, "yaw, degrees: nose to the picture's left (your right)  <->  right (your left)",
          (x0 + 10, y0 + rows * cell + 44), 0.48)  # fmt: skip
    _text(image, "up", (x0 - 85, y0 + 16), 0.48)
    _text(image, "pitch", (x0 - 92, y0 + rows * cell // 2), 0.48)
    _text(image, "down", (x0 - 95, y0 + rows * cell - 6), 0.48)


def _bars(
    image: np.ndarray, values: np.ndarray, at: tuple[int, int], span: tuple[float, float], name: str,
    ends: tuple[str, str],
) -> None:  # fmt: skip
    x0, y0 = at
    width, height, bins = 280, 90, 20
    counts, _ = np.histogram(np.clip(values, span[0], span[1] - 1e-6), bins=bins, range=span)
    _text(image, name, (x0, y0 - 14), 0.55)
    for i, count in enumerate(counts):
        x, step = x0 + i * width // bins, width // bins
        bar = round(height * np.log1p(count) / max(np.log1p(counts.max()), 1e-6))
        cv2.rectangle(image, (x, y0 + height - bar), (x + step - 2, y0 + height), (20, 90, 170), -1)
    cv2.line(image, (x0, y0 + height), (x0 + width, y0 + height), _GREY, 1)
    _text(image, ends[0], (x0, y0 + height + 20), 0.42, _GREY)
    _text(image, ends[1], (x0 + width - 8 * len(ends[1]), y0 + height + 20), 0.42, _GREY)


def contact_sheet(faces: FaceSet, *, columns: int = 14, most: int = 126, cell: int = 110) -> UInt8[np.ndarray, "h w 3"]:
    """Faces spread evenly over the set, from nose left to nose right, each with its yaw and pitch, RGB."""
    order = sorted(faces.rows, key=lambda row: -row.pose[0])
    count = min(most, len(order))
    chosen = [order[round(i * (len(order) - 1) / max(1, count - 1))] for i in range(count)]
    lines = -(-count // columns)
    image = np.full((lines * cell + 50, columns * cell + 10, 3), _PAPER, np.uint8)
    _text(image, f"{faces.info.person}: {count} of {len(faces)} faces, by yaw", (12, 32), 0.7)
    for i, row in enumerate(chosen):
        x, y = 5 + i % columns * cell, 48 + i // columns * cell
        side = cell - 4
        image[y : y + side, x : x + side] = cv2.resize(faces.image(row), (side, side), interpolation=cv2.INTER_AREA)
        label = f"{row.pose[0]:+.0f} {row.pose[1] - LEVEL:+.0f}"
        (length, _), _ = cv2.getTextSize(label, _FONT, 0.32, 1)
        cv2.rectangle(image, (x, y + side - 13), (x + length + 3, y + side), _PAPER, -1)
        _text(image, label, (x + 2, y + side - 3), 0.32)
    return image


def _wrapped(words: str, length: int) -> list[str]:
    lines = [""]
    for word in words.split():
        if len(lines[-1]) + len(word) >= length:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return lines


def _text(image: np.ndarray, words: str, at: tuple[int, int], scale: float, ink: tuple[int, ...] = _INK) -> None:
    cv2.putText(image, words, at, _FONT, scale, ink, 1, cv2.LINE_AA)
