"""A textured head that performs: a frontal picture on its own mesh, moved, lit, and drawn as one backward map.

Triangles are drawn far to near (``raster``); each pixel then knows where it comes from in the texture, and how it is lit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from livepaste.actors import shell
from livepaste.actors.motion import LOWER_LID, UPPER_LID, Performance, deform, pose, rotation
from livepaste.actors.raster import number_triangles, spread
from livepaste.actors.room import NOISE_SIGMA, add_noise, room
from livepaste.actors.staging import Layer
from livepaste.align import OUTLINE, STORED_COVERAGE, align, mean_mesh, transform

INNER_LIPS_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
INNER_LIPS_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
CHEEKS = [50, 205, 280, 425]
AMBIENT, DIFFUSE = 0.62, 0.5


@dataclass(frozen=True, eq=False)
class Shot:
    """One drawn frame with its exact truth."""

    image: UInt8[np.ndarray, "h w 3"]
    mask: UInt8[np.ndarray, "h w"]  # visible face, 255 = face
    points_xyz: Float32[np.ndarray, "478 3"]  # frame pixels
    hidden: tuple[bool, ...] = ()  # whether each layer in front took something from the mask
    clear: UInt8[np.ndarray, "h w"] | None = None  # the mask with nothing in front, where something may be


@dataclass(frozen=True, eq=False)
class Drawn:
    """A person before there is anything behind."""

    image: Float32[np.ndarray, "h w 3"]  # lit, in [0, 255]
    face: UInt8[np.ndarray, "h w"]  # visible face
    alpha: UInt8[np.ndarray, "h w"]  # the person

    def over(self, background: np.ndarray, tint: np.ndarray) -> np.ndarray:
        """The picture with ``background`` (h, w, 3) behind, which is tinted already."""
        alpha = self.alpha / np.float32(255)
        image = cv2.multiply(self.image, cv2.merge([alpha * t for t in tint]))
        image += cv2.multiply(background, cv2.merge([1 - alpha] * 3))
        return image

    def put_behind(self, back: Drawn, box: tuple[slice, slice]) -> None:
        """What is behind shows where this one does not, and is never visible face. Changes ``box`` of this one."""
        image, face, alpha = self.image[box], self.face[box], self.alpha[box]
        both = np.maximum(alpha, back.alpha)  # two soft edges of one head, not two panes of glass
        share = alpha / np.maximum(both, 1).astype(np.float32)
        image -= back.image
        image *= cv2.merge([share] * 3)
        image += back.image
        cv2.multiply(face, share, face, dtype=cv2.CV_8U)
        alpha[:] = both

    def mask(self) -> np.ndarray:
        """The visible face, where the person is."""
        return cv2.multiply(self.face, self.alpha, scale=1 / 255)


@cache
def topology() -> tuple[np.ndarray, np.ndarray]:
    """Triangles of eyeballs (drawn first) and of skin and rings, as indices into 478 mesh points + rings."""
    mesh = mean_mesh()
    eyes = []
    right = [33, *UPPER_LID, 133, *reversed(LOWER_LID)]
    for ids, centre in ((right, 468), (list(mesh.mirror[right]), 473)):
        eyes += [(int(ids[k]), int(ids[(k + 1) % len(ids)]), centre) for k in range(len(ids))]
    return np.array(eyes), np.concatenate([mesh.triangles, shell.ring_triangles()])


class Head:
    """A texture with the mesh that fits it.

    ``texture`` uint8 (h, w, 4): RGB and visible face; ``alpha`` uint8 (h, w): the person, 0 where the background shows.
    ``points`` (478, 3): neutral face in template units; ``texture_xy`` (478, 2): the same points in texture pixels.
    """

    def __init__(self, texture: np.ndarray, alpha: np.ndarray, points: np.ndarray, texture_xy: np.ndarray) -> None:
        self.texture, self.alpha, self.points = texture, alpha, points.astype(np.float64)
        to_texture, *_ = np.linalg.lstsq(np.column_stack([self.points[:, :2], np.ones(478)]), texture_xy, rcond=None)
        self.skull, looks, self._skull_normals = shell.skull(texture[..., 3], alpha, to_texture)
        around = shell.rings(self.points)
        in_texture = np.column_stack([around[:, :2], np.ones(len(around))]) @ to_texture
        self.texture_xy = np.concatenate([texture_xy, in_texture, looks])
        skin = topology()[1]
        self._skin = skin[_any_of(alpha, self.texture_xy[skin])]  # most of the outer rings shows nothing

    def move(self, by: Float64[np.ndarray, "2 3"]) -> None:
        """Change the neutral face by a similarity in template units."""
        Head.__init__(self, self.texture, self.alpha, transform(self.points, by), self.texture_xy[:478])
        self.__dict__.pop("_used", None)

    @cached_property
    def _used(self) -> np.ndarray:
        """Points that anything drawn hangs on, (n,)."""
        return np.unique(np.concatenate([self._skin, shell.skull_triangles()]))

    def place(self, performance: Performance, i: int) -> np.ndarray:
        """All points of frame ``i`` in template units, as seen from the camera: face, rings, skull."""
        deformed = deform(self.points, performance, i)
        everything = np.concatenate([deformed, shell.rings(deformed), self.skull])
        return pose(everything, performance, i, shell.follow())

    def draw(
        self, placed: np.ndarray, to_pixels: np.ndarray, size_wh: tuple[int, int], performance: Performance, i: int
    ) -> Drawn:
        """Everything of the person that falls into a picture of ``size_wh``."""
        points = transform(placed, to_pixels)
        shade = self._shade(points, performance, i)
        values = np.concatenate([self.texture_xy, shade[:, None]], 1)
        eyes, skin, mouth = topology()[0], self._skin, len(topology()[0]) + len(self._skin)
        # (t, 3, 2); eyeballs lie behind the mouth's hole, and that behind the skin
        corners = np.concatenate([self._open_eyes(performance, i, to_pixels)[eyes], points[skin]])[..., :2]
        number = number_triangles(
            corners,
            (*range(len(eyes)), -1, *_far_to_near(points[skin], len(eyes))),
            size_wh,
            lambda number: self._mouth_hole(number, points, mouth),
        )
        drawn = self._sample(number, corners, values[np.concatenate([eyes, skin])])
        self._paint_mouth(drawn, number, mouth, points, float(shade[13]))
        back = points[shell.skull_triangles()]
        (x0, y0), (x1, y1) = _bounds(points[-len(self.skull) :], size_wh)
        corners = back[..., :2] - [x0, y0]
        number = number_triangles(corners, _far_to_near(back), (x1 - x0, y1 - y0))
        skull = self._sample(number, corners, values[shell.skull_triangles()])
        drawn.put_behind(skull, np.s_[y0:y1, x0:x1])
        return drawn

    def _sample(self, number: np.ndarray, corners: np.ndarray, values: np.ndarray) -> Drawn:
        x, y, light = spread(number, corners, values, (0, 0, 0))  # outside of a picture remap is several times as slow
        rgba, alpha = (
            cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for picture in (self.texture, self.alpha)
        )
        alpha *= (number.view(np.uint32) < len(corners)).view(np.uint8)  # -1, nothing, is the largest of all
        image = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB).astype(np.float32)
        image *= cv2.merge([light, light, light])
        return Drawn(image, cv2.extractChannel(rgba, 3), alpha)

    def _open_eyes(self, performance: Performance, i: int, to_pixels: np.ndarray) -> np.ndarray:
        """Points with the lids open: the eyeball lies behind the lids, it is not squashed by a blink."""
        n = len(performance)
        still = replace(performance, blink_left=np.zeros(n, np.float32), blink_right=np.zeros(n, np.float32))
        return transform(pose(deform(self.points, still, i), performance, i), to_pixels)

    @staticmethod
    def _mouth_hole(number: np.ndarray, points: np.ndarray, mouth: int) -> None:
        ring = [*INNER_LIPS_UPPER, *reversed(INNER_LIPS_LOWER[1:-1])]
        cv2.fillPoly(number, [np.rint(points[ring, :2] * 16).astype(np.int32)], mouth, shift=4)

    def _paint_mouth(self, out: Drawn, number: np.ndarray, mouth: int, points: np.ndarray, shade: float) -> None:
        """Dark, a tongue, and teeth that hang from the upper jaw; the mouth's inside is visible face."""
        lips = points[[*INNER_LIPS_UPPER, *INNER_LIPS_LOWER]]
        (x0, y0), (x1, y1) = _bounds(lips, number.shape[::-1])
        ys, xs = np.nonzero(number[y0:y1, x0:x1] == mouth)
        if not len(ys):
            return
        xs, ys = xs + x0, ys + y0
        unit = np.linalg.norm(points[263, :2] - points[33, :2]) / 0.746
        top = np.interp(
            xs,
            np.sort(points[list(INNER_LIPS_UPPER), 0]),
            points[list(INNER_LIPS_UPPER), 1][np.argsort(points[list(INNER_LIPS_UPPER), 0])],
        )
        below = (ys - top) / unit  # template units under the upper lip
        middle = points[13, 0] + 0 * xs
        across = np.abs(xs - middle) / unit
        teeth = 1 / (1 + np.exp((below - 0.065) / 0.006)) / (1 + np.exp((across - 0.15) / 0.01))
        gaps = 0.94 + 0.06 * np.cos(2 * np.pi * across / 0.042) ** 2
        tongue = 1 / (1 + np.exp((0.15 - below) / 0.015)) / (1 + np.exp((across - 0.11) / 0.02))
        color = np.array([48, 20, 20]) * (1 - tongue[:, None]) + np.array([150, 72, 74]) * tongue[:, None]
        color = color * (1 - teeth[:, None]) + np.array([222, 214, 200]) * (teeth * gaps)[:, None]
        dim = np.clip(0.55 + 6 * below, 0.55, 1.0)  # the upper lip's shadow
        out.image[ys, xs] = color * dim[:, None] * shade
        out.face[ys, xs] = out.alpha[ys, xs] = 255

    def _shade(self, points: np.ndarray, performance: Performance, i: int) -> np.ndarray:
        """Light on each point relative to the texture's own: Lambert with an ambient part, from the turned normals."""
        triangles = self._skin
        p = points[triangles]
        normal = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
        normal *= np.where(normal[:, 2:] > 0, -1, 1)
        at = triangles.ravel()
        at_points = np.stack([np.bincount(at, np.repeat(part, 3), len(points)) for part in normal.T], 1)
        at_points /= np.linalg.norm(at_points, axis=1, keepdims=True) + 1e-9
        turn = rotation(*(float(angle[i]) for angle in (performance.yaw, performance.pitch, performance.roll)))
        at_points[-len(self.skull) :] = self._skull_normals @ turn.T
        lit = AMBIENT + DIFFUSE * np.maximum(at_points @ performance.light_dir[i].astype(np.float64), 0)
        lit[478 : -len(self.skull)] = lit[list(OUTLINE)].mean()
        return lit * float(performance.light[i])

    def render_crop(
        self,
        performance: Performance,
        i: int,
        size: int,
        coverage: float = STORED_COVERAGE,
        *,
        background_seed: int = 0,
    ) -> Shot:
        """The aligned crop drawn directly, as an extracted face would look."""
        placed = self.place(performance, i)
        alignment = align(placed[:478], size, coverage)
        drawn = self.draw(placed, alignment.frame_to_crop, (size, size), performance, i)
        tint = _tint(performance, i)
        image = drawn.over(room(background_seed, (size, size)) * tint, tint)
        points = transform(placed[:478], alignment.frame_to_crop)
        return Shot(cv2.convertScaleAbs(image), drawn.mask(), points.astype(np.float32))

    def points_in_frame(
        self, performance: Performance, i: int, size_wh: tuple[int, int]
    ) -> Float32[np.ndarray, "478 3"]:
        """Where ``render`` puts the mesh, frame pixels."""
        return transform(self.place(performance, i)[:478], _to_frame(performance, i, size_wh)).astype(np.float32)

    @property
    def skin_color(self) -> np.ndarray:
        """Of the cheeks, RGB (3,) float64."""
        return self._color(CHEEKS)

    @property
    def hair_color(self) -> np.ndarray:
        """Of what is on the crown, RGB (3,); of a bald head, something darker than its skin."""
        hair, skin = self._color(478 + 3 * len(OUTLINE) + shell.crown()), self.skin_color
        return hair if np.abs(hair - skin).max() > 0.2 * skin.max() else 0.3 * skin

    def _color(self, points: list[int] | np.ndarray) -> np.ndarray:
        x, y = np.clip(np.rint(self.texture_xy[points]).astype(int), 0, np.array(self.alpha.shape[::-1]) - 1).T
        return np.median(self.texture[y, x, :3], axis=0)

    def render(self, performance: Performance, i: int, size_wh: tuple[int, int], *, background_seed: int = 0,
               noise_sigma: float = NOISE_SIGMA, rng_seed: int = 0, front: Sequence[Layer] = ()) -> Shot:  # fmt: skip
        """The whole frame: person over a room, what is in ``front`` of both (back to front), and sensor noise."""
        w, h = size_wh
        to_pixels = _to_frame(performance, i, size_wh)
        placed = self.place(performance, i)
        points = transform(placed, to_pixels)
        # Everything happens on the person's own bounding box: most of a frame is room.
        (x0, y0), (x1, y1) = _bounds(points[self._used], size_wh)
        box = np.s_[y0:y1, x0:x1]
        drawn = self.draw(placed, to_pixels - [[0, 0, x0], [0, 0, y0]], (x1 - x0, y1 - y0), performance, i)
        # a colour times a picture: cv2 is several times as fast as numpy's broadcast over three channels
        image = cv2.multiply(room(background_seed, size_wh), (*light_color(performance, i).tolist(), 1.0))
        image[box] = drawn.over(image[box], _tint(performance, i))
        mask = np.zeros((h, w), np.uint8)
        mask[box] = drawn.mask()
        for layer in front:
            layer.lay(image)
        clear = mask.copy()
        hidden = tuple(layer.hide(mask) for layer in front)
        return Shot(add_noise(image, noise_sigma, rng_seed, i), mask, points[:478].astype(np.float32), hidden, clear)


def light_color(performance: Performance, i: int) -> np.ndarray:
    """What the light does to red, green and blue of things that do not turn, (3,)."""
    return float(performance.light[i]) * _tint(performance, i)


def _to_frame(performance: Performance, i: int, size_wh: tuple[int, int]) -> np.ndarray:
    """Template units to frame pixels, (2, 3)."""
    w, h = size_wh
    unit = float(performance.size[i]) * h
    x, y = np.array([performance.x[i] * w, performance.y[i] * h]) - unit * np.array([0.5, 0.4])
    return np.array([[unit, 0, x], [0, unit, y]])


def _far_to_near(corners: np.ndarray, first: int = 0) -> list[int]:
    """Numbers of the triangles, counted from ``first``."""
    return (first + np.argsort(-corners[..., 2].mean(1), kind="stable")).tolist()


def _bounds(points: np.ndarray, size_wh: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last + 1 pixel (x, y) that shapes with corners (n, 2 or more) can cover in a picture."""
    xy = points.T[:2]
    first = np.clip(np.floor(xy.min(1)).astype(int) - 1, 0, np.array(size_wh) - 1)
    last = np.clip(np.ceil(xy.max(1)).astype(int) + 2, first + 1, size_wh)
    return (int(first[0]), int(first[1])), (int(last[0]), int(last[1]))


def _any_of(alpha: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Which triangles, with corners (t, 3, 2) in its pixels, may show something of ``alpha``."""
    side = np.array(alpha.shape[::-1]) - 1
    low, high = np.clip(np.floor(corners.min(1)), 0, side), np.clip(np.ceil(corners.max(1)), 0, side)
    boxes = np.column_stack([low, high]).astype(int)
    return np.array([alpha[y0 : y1 + 1, x0 : x1 + 1].any() for x0, y0, x1, y1 in boxes])


def _tint(performance: Performance, i: int) -> np.ndarray:
    """What the light's colour does to red, green and blue."""
    warmth = float(performance.warmth[i])
    return np.array([1 + 0.07 * warmth, 1, 1 - 0.09 * warmth], np.float32)
