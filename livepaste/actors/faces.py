"""A face set straight from an actor's crops: no camera, no detector, no clip in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from livepaste.actors.motion import perform
from livepaste.align import pose_degrees
from livepaste.faceset import FaceRow, FaceSetInfo, append_face, write_info


def write_faces(
    path: Path, actor: Any, seed: int, count: int, *, person: str, every: int = 6, side: int = 256, masks: bool = True
) -> Path:
    """Every ``every``-th of the frames that ``actor`` plays by ``seed``, ``count`` faces of ``side`` pixels."""
    performance = perform(seed, count * every)
    write_info(path, FaceSetInfo(person=person, consent="synthetic", size=side))
    for i in range(count):
        shot = actor.render_crop(performance, every * i, side)
        row = FaceRow(
            name=f"{i:06d}", source="actor", time_s=i / 25, points_xyz=shot.points_xyz,
            frame_to_crop=np.eye(2, 3, dtype=np.float32), pose=pose_degrees(shot.points_xyz), sharpness=100.0,
            exposure=0.5, width_px=side / 2,
        )  # fmt: skip
        append_face(path, row, shot.image, shot.mask if masks else None)
    return path
