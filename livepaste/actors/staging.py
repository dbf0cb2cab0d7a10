"""Lets occluders perform: when each comes and goes, and where it is in a frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from jaxtyping import Float32

from livepaste.actors.motion import smoothstep
from livepaste.actors.occluders import GROUP, OCCLUDERS, Panel, Person, Thing
from livepaste.actors.relief import PIXELS
from livepaste.align import RIGID, fit_similarity, mean_mesh
from livepaste.registry import resolve

COMES_S = 0.5  # and goes in as much
PERIOD_S = 6.0  # each comes once in about so many seconds


@dataclass(frozen=True, eq=False)
class Layer:
    """Something in front, in one frame."""

    box: tuple[slice, slice]  # rows and columns of the frame
    image: Float32[np.ndarray, "h w 3"]  # in [0, 255], times alpha
    alpha: Float32[np.ndarray, "h w"]  # 1 hides all

    def lay(self, image: np.ndarray) -> None:
        """Over ``image`` float32 (h, w, 3), in place."""
        part = image[self.box]
        part *= cv2.merge([1 - self.alpha] * 3)
        part += self.image

    def hide(self, mask: np.ndarray) -> bool:
        """Out of a ``mask`` uint8 (h, w), in place. Whether that changed anything."""
        part = mask[self.box]
        left = np.rint(part * (1 - self.alpha)).astype(np.uint8)
        changed = bool((left != part).any())
        part[:] = left
        return changed


class Stage:
    """The occluders of one clip of ``frames`` frames, all the wearer's own: ``skin`` and ``hair`` are RGB colours."""

    def __init__(
        self, names: Iterable[str], *, seed: int, frames: int, fps: Fraction, skin: np.ndarray, hair: np.ndarray
    ) -> None:
        known = list(OCCLUDERS)
        ordered = sorted(dict.fromkeys(names), key=lambda name: known.index(name) if name in known else len(known))
        rngs = {name: np.random.default_rng([29, seed, *name.encode()]) for name in ordered}
        things = {n: resolve("occluder", n, OCCLUDERS, group=GROUP)(Person(rng, skin, hair)) for n, rng in rngs.items()}
        coming = [name for name, thing in things.items() if thing.comes_from is not None]
        self._actors = {}
        for name, thing in things.items():  # nobody has three hands: they take turns
            turn = (coming.index(name), len(coming)) if name in coming else None
            self._actors[name] = _Move(thing, rngs[name], frames, float(fps), turn)

    @property
    def names(self) -> tuple[str, ...]:
        """Back to front."""
        return tuple(self._actors)

    def layers(
        self, points_xyz: np.ndarray, i: int, size_wh: tuple[int, int], light: np.ndarray
    ) -> list[tuple[str, Layer]]:
        """What is in front in frame ``i``, back to front, of a face at ``points_xyz`` (478, 3; frame pixels).

        ``light`` (3,) multiplies red, green and blue as it does the person's.
        """
        made = []
        for name, move in self._actors.items():
            if move.there[i] > 0:
                for panel in move.thing.panels:
                    layer = warped(panel, fitted(move.thing, panel, points_xyz) @ move.shift(i), size_wh, light)
                    if layer is not None:
                        made.append((name, layer))
        return made


class _Move:
    """How one thing comes, sways and goes."""

    def __init__(
        self, thing: Thing, rng: np.random.Generator, frames: int, fps: float, turn: tuple[int, int] | None
    ) -> None:
        self.thing = thing
        worn = turn is None
        # 0 out of sight to 1 in its place
        self.there = np.ones(frames) if turn is None else _visits(rng, frames, fps, *turn)
        self.comes_from = np.array(thing.comes_from or (0.0, 0.0))
        self.about = np.array([0.5, -0.4 if worn else 0.9])  # strands turn at their roots
        self.phase, self.rate = rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.4, 1.0, 3) / fps

    def shift(self, i: int) -> np.ndarray:
        """From where it rests to where it is, template units, (3, 3)."""
        x, y, turn = self.thing.sway * np.sin(self.phase + 2 * np.pi * self.rate * i)
        c, s = np.cos(1.6 * turn), np.sin(1.6 * turn)
        spin = np.array([[c, -s], [s, c]])
        moved = self.about - spin @ self.about + [x, y] + (1 - self.there[i]) * self.comes_from
        return np.vstack([np.column_stack([spin, moved]), [0, 0, 1]])


def fitted(thing: Thing, panel: Panel, points_xyz: np.ndarray) -> np.ndarray:
    """Template units to frame pixels, (2, 3): with the face's similarity, or, worn, with its turn in space."""
    on = list(RIGID)
    mean = mean_mesh().points_xyz[on].astype(np.float64)
    if thing.comes_from is not None:
        return fit_similarity(mean[:, :2], points_xyz[on, :2])
    camera, *_ = np.linalg.lstsq(np.column_stack([mean, np.ones(len(on))]), points_xyz[on, :2], rcond=None)
    x, y, z, constant = camera
    return np.column_stack([x + panel.slope * z, y, constant + panel.depth * z])


def _visits(rng: np.random.Generator, frames: int, fps: float, turn: int, turns: int) -> np.ndarray:
    """Comes, stays, goes, as number ``turn`` of ``turns``: 0 to 1 for each frame. All come once in ``PERIOD_S``, or once."""
    rounds = max(1, round(frames / fps / PERIOD_S))
    slot = frames / (rounds * turns)
    at, out = np.arange(frames), np.zeros(frames)
    for k in range(rounds):
        stays = slot * rng.uniform(0.5, 0.7)
        first = (k * turns + turn) * slot + rng.uniform(0.2, 0.8) * (slot - stays)
        ramp = min(COMES_S * fps, 0.4 * stays)
        visit = np.minimum(smoothstep(at, first, first + ramp), 1 - smoothstep(at, first + stays - ramp, first + stays))
        out = np.maximum(out, visit)
    return out


def warped(panel: Panel, to_frame: np.ndarray, size_wh: tuple[int, int], light: np.ndarray) -> Layer | None:
    h, w = panel.image.shape[:2]
    # the sheet's pixel (x, y) shows the place low + (x, y) / PIXELS
    matrix = to_frame @ np.array([[1 / PIXELS, 0, panel.low[0]], [0, 1 / PIXELS, panel.low[1]], [0, 0, 1]])
    if np.linalg.det(matrix[:, :2]) <= 0:
        return None
    corners = np.array([[0, 0, 1], [w, 0, 1], [w, h, 1], [0, h, 1]]) @ matrix.T
    x0, y0 = (int(v) for v in np.clip(np.floor(corners.min(0)), 0, size_wh))
    x1, y1 = (int(v) for v in np.clip(np.ceil(corners.max(0)) + 1, 0, size_wh))
    if x1 <= x0 or y1 <= y0:
        return None
    drawn = cv2.warpAffine(panel.image, matrix - [[0, 0, x0], [0, 0, y0]], (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
    alpha = np.ascontiguousarray(drawn[..., 3])
    return Layer(np.s_[y0:y1, x0:x1], drawn[..., :3] * light.astype(np.float32), alpha)


def runs(frames: Sequence[bool] | np.ndarray) -> list[list[int]]:
    """First and last index of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(frames, int), [0]])))
    return [[int(a), int(b) - 1] for a, b in edges.reshape(-1, 2)]
