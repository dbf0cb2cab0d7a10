"""A person made of one near-frontal photograph, put on its own mesh and moved. It looks like a person."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from livepaste.actors.head import Head
from livepaste.actors.matte import person
from livepaste.actors.motion import smoothstep
from livepaste.actors.rest import frontal, relaxed
from livepaste.actors.visible import visible_face
from livepaste.align import CENTER, align, pose_degrees, transform

CANVAS = 384  # side of the texture, pixels
CANVAS_COVERAGE = 3.4  # template units


class PhotoActor(Head):
    """``image`` uint8 (h, w, 3) RGB with one near-frontal face; ``points_xyz`` its mesh (478, 3) in picture pixels."""

    def __init__(
        self, image: UInt8[np.ndarray, "h w 3"], points_xyz: Float32[np.ndarray, "478 3"], *, name: str = ""
    ) -> None:
        self.name = name
        alignment = align(points_xyz, CANVAS, CANVAS_COVERAGE)
        flags = cv2.INTER_CUBIC if alignment.scale > 1 else cv2.INTER_AREA
        canvas = cv2.warpAffine(
            image, alignment.frame_to_crop, (CANVAS, CANVAS), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        xyz = transform(points_xyz, alignment.frame_to_crop).astype(np.float64)
        neutral = relaxed(frontal(points_xyz))
        self.pose = pose_degrees(points_xyz)
        h, w = image.shape[:2]
        corners = transform(np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float64), alignment.frame_to_crop)
        # the upright rectangle inside the picture, which lies a little turned in the canvas
        (left, top), (right, bottom) = np.sort(corners, 0)[1], np.sort(corners, 0)[2]
        rows, columns = (
            slice(int(np.clip(a + 1, 0, CANVAS // 3)), int(np.clip(b - 1, CANVAS * 2 // 3, CANVAS)))
            for a, b in ((top, bottom), (left, right))
        )
        alpha = person(canvas, xyz[:, :2], (rows, columns))
        face = visible_face(canvas, alpha, xyz[:, :2])
        canvas, alpha = _body(canvas, alpha, rows.stop)
        super().__init__(np.dstack([canvas, face]), alpha, neutral, xyz[:, :2])


def _body(canvas: np.ndarray, alpha: np.ndarray, bottom: int) -> tuple[np.ndarray, np.ndarray]:
    """Neck and shoulders below the picture, whose last row was carried on as streaks; canvas and alpha.

    The shirt has the colour of what the picture shows at the neck's sides, or a dark one.
    """
    pixels = CANVAS / CANVAS_COVERAGE
    y, x = (np.mgrid[0:CANVAS, 0:CANVAS] - (CANVAS - 1) / 2) / pixels
    beside, y = np.abs(x + CENTER[0] - 0.5), y + CENTER[1]
    below = np.arange(CANVAS)[:, None] >= bottom
    last = slice(max(0, bottom - 12), bottom)
    shown = canvas[last][(beside[last] > 0.55) & (alpha[last] > 200)]
    shirt = np.median(shown, axis=0) if len(shown) > 30 else np.array([58, 60, 68])
    shoulders = smoothstep(y - 1.50 - 0.13 * np.maximum(beside - 0.30, 0) ** 1.2, -0.02, 0.02)
    shoulders *= smoothstep(beside, 1.58, 1.50) * below
    calm = np.where(below[..., None], cv2.GaussianBlur(canvas, (0, 0), sigmaX=7, sigmaY=3), canvas).astype(np.float64)
    shade = 1 - 0.15 * smoothstep(beside, 0.2, 1.4)
    made = calm + shoulders[..., None] * (shirt * shade[..., None] - calm)
    cover = np.maximum(alpha / 255, shoulders)
    return np.rint(made).astype(np.uint8), np.rint(cover * 255).astype(np.uint8)


def morph(a: PhotoActor, b: PhotoActor, t: float | Float32[np.ndarray, "side side"]) -> PhotoActor:
    """Somebody between two photo actors: geometry and colours mixed on the common mesh, 0 = a, 1 = b.

    ``t`` may be a field over the texture: then each part of the face is more like the one or like the other.
    """
    from livepaste.actors.head import topology

    t = np.broadcast_to(np.asarray(t, np.float64), (CANVAS, CANVAS))
    x, y = np.clip(np.rint((a.texture_xy + b.texture_xy) / 2).astype(int), 0, CANVAS - 1).T
    t_points = t[y, x][:, None]
    target = (1 - t_points) * a.texture_xy + t_points * b.texture_xy
    eyes, skin = topology()
    mouth = np.array([(78, 81, 178), (81, 13, 178), (178, 13, 14), (13, 311, 14), (14, 311, 402), (311, 308, 402)])
    triangles = np.concatenate([eyes, mouth, skin])
    number = np.full((CANVAS, CANVAS), -1, np.int32)
    for k, corners in enumerate(np.rint(target[triangles] * 16).astype(np.int32)):
        cv2.fillConvexPoly(number, corners, k, shift=4)
    system = np.concatenate([target[triangles], np.ones((len(triangles), 3, 1))], 2)
    flat = np.abs(np.linalg.det(system)) < 1e-3
    system[flat] = np.eye(3)
    y, x = np.mgrid[0:CANVAS, 0:CANVAS]
    here = np.stack([x, y, np.ones_like(x)], -1).astype(np.float64)
    parts = []
    for actor in (a, b):
        affine = np.linalg.solve(system, actor.texture_xy[triangles])
        mapped = np.einsum("yxi,yxij->yxj", here, affine[number]).astype(np.float32)
        mapped[number < 0] = here[number < 0][:, :2]
        parts.append(
            cv2.remap(
                actor.texture, mapped[..., 0], mapped[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
            )
        )
    made = object.__new__(PhotoActor)
    made.name = f"{a.name}+{b.name}"
    made.pose = a.pose
    texture = np.rint((1 - t[..., None]) * parts[0].astype(np.float32) + t[..., None] * parts[1]).astype(np.uint8)
    t_points = t_points[:478]
    Head.__init__(made, texture, a.alpha, (1 - t_points) * a.points + t_points * b.points, target[:478])
    return made
