"""What somebody's face is at rest: the pose and the expression of the moment it was photographed in, taken off its mesh."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64

from livepaste.actors.motion import LEFT_IRIS, RIGHT_IRIS, lip_shares, mouth_corners
from livepaste.align import RIGID, fit_similarity, mean_mesh, pose_rotation, transform

CORNER, CORNER_LEFT, UPPER, LOWER = 61, 291, 13, 14  # of the lips; upper and lower lip's inner edge
EYE_CORNERS = (33, 133), (362, 263)
SHARE = 0.8  # of the way to the mean face's mouth: people differ at rest too


def frontal(points_xyz: Float32[np.ndarray, "478 3"]) -> Float64[np.ndarray, "478 3"]:
    """The mesh with its pose taken off, template units: what the person's face is when it looks into the camera.

    Without it, a still that looks aside would look that much further aside than everybody else in the same performance.
    """
    mean, rigid = mean_mesh().points_xyz.astype(np.float64), list(RIGID)
    turned = (points_xyz - points_xyz[rigid].mean(0)).astype(np.float64) @ pose_rotation(points_xyz)
    made = transform(turned, fit_similarity(turned[rigid, :2], mean[rigid, :2]))
    # depth: the mesh's own, blended with the mean face's, whose scale is sure
    made[:, 2] = 0.5 * (made[:, 2] - made[1, 2]) + 0.5 * mean[:, 2]
    return made


def relaxed(points: Float64[np.ndarray, "478 3"]) -> Float64[np.ndarray, "478 3"]:
    """A frontal face (template units) with its mouth closed, its smile let go and its eyes looking straight ahead.

    Without it, whoever smiles on the still plays the others' rest with a smile, and what a face does could not be told
    from how it looks.
    """
    p, mean = points.copy(), mean_mesh().points_xyz.astype(np.float64)
    upper, lower = lip_shares()
    gap = max(p[LOWER, 1] - p[UPPER, 1], 0.0)
    p[:, 1] += 0.5 * gap * (upper - lower)
    right, left = mouth_corners()
    let_go = right + left
    let_go -= 0.5 * let_go[UPPER] * (upper + lower)  # of the lips' middle, that goes with the corners, half stays
    lift = SHARE * (_corner_height(p) - _corner_height(mean))
    p[:, 1] += lift / (let_go[CORNER] - let_go[UPPER]) * let_go
    broad = SHARE * (np.ptp(p[[CORNER, CORNER_LEFT], 0]) - np.ptp(mean[[CORNER, CORNER_LEFT], 0]))
    p[:, 0] += 0.5 * broad * (right - left)
    aside = np.mean(
        [_aside(p, *eye) - _aside(mean, *eye) for eye in zip((RIGHT_IRIS, LEFT_IRIS), EYE_CORNERS, strict=True)]
    )
    p[[*RIGHT_IRIS, *LEFT_IRIS], 0] -= aside
    return p


def _corner_height(p: np.ndarray) -> float:
    """How far the corners of the mouth lie above the line where the lips meet."""
    return float(p[[UPPER, LOWER], 1].mean() - p[[CORNER, CORNER_LEFT], 1].mean())


def _aside(p: np.ndarray, iris: tuple[int, ...], corners: tuple[int, int]) -> float:
    """How far an iris lies to the right of its eye's middle, in the picture."""
    return float(p[iris[0], 0] - p[list(corners), 0].mean())
