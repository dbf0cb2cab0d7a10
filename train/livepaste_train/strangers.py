"""People who do not exist, to look at where a training is given no wearer's faces: drawn for it, held out, never trained on."""

from __future__ import annotations

import numpy as np

from livepaste.actors.drawn import DrawnActor
from livepaste.actors.motion import perform
from livepaste.align import pose_degrees
from livepaste_train.data import Faces, join, pack, pose_weights

SEEDS = 9601, 9602, 9603, 9604  # neither the base nor the gallery that comes along knows these
MOMENTS, EVERY = 12, 10  # of each, and frames between two: as many as a validation looks at


def names() -> list[str]:
    """What they are called."""
    return [f"stranger {seed}" for seed in SEEDS]


def drawn(side: int) -> Faces:
    """Their faces, at ``side`` pixels: exact masks and meshes."""
    return join([_of(seed, side) for seed in SEEDS])


def _of(seed: int, side: int) -> Faces:
    actor, performance = DrawnActor(seed), perform(seed, MOMENTS * EVERY)
    shots = [actor.render_crop(performance, moment * EVERY, side, background_seed=seed) for moment in range(MOMENTS)]
    points = np.stack([shot.points_xyz for shot in shots])
    yaw, pitch = np.array([pose_degrees(of)[:2] for of in points]).T
    return Faces(
        pack(np.stack([shot.image for shot in shots]), np.stack([shot.mask for shot in shots])),
        pose_weights(yaw, pitch),
        # is asked where codes are brought together, which is not done for strangers
        np.zeros((MOMENTS, 6), np.float32),
        ((points[..., :2] + 0.5) / side).astype(np.float16),
        np.zeros(MOMENTS, np.int32),
    )
