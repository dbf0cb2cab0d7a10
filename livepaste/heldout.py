"""Which faces of a face set a training never sees: what it is measured by, there and afterwards."""

from __future__ import annotations

import hashlib

import numpy as np

from livepaste.faceset import FaceRow


def held_out(rows: list[FaceRow], share: float) -> np.ndarray:
    """Which faces are never trained on, bool (n,): whole seconds of a source, because neighbours in time are near copies.

    Which seconds is told by a hash of source and second: a picture deleted or a clip added moves hardly any face from one side to
    the other.
    """
    seconds = [f"{row.source} {int(row.time_s)}" for row in rows]
    order = sorted(set(seconds), key=lambda second: hashlib.sha256(second.encode()).digest())
    least = max(1, min(3, len(order) // 8))  # of one second, the number would be that of a pose or two
    chosen = set(order[: min(max(least, round(share * len(order))), len(order) - 1)])
    if not chosen:  # all within one second
        period = min(max(2, round(1 / share)), len(rows))
        return np.arange(len(rows)) % period == period // 2
    return np.array([second in chosen for second in seconds])
