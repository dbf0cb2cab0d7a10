"""Measures how bright each side's people look by how their heads are turned: what ``models.shading`` holds.

A film is in a light that changes too, and with two dozen turns of a head in it one looks like the other. But light falls on every point of
a face, so it is told by each point of the mesh beside itself, wherever the head is turned. What the tone in the middle of the crop
does beyond that is the turn's: fitted by a polynomial of second order in what is read off the codes, both by ridge regression.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float

from livepaste_train.data import Faces
from livepaste_train.evaluate import Crops, codes_of, spread
from livepaste_train.models.autoencoder import SIDES
from livepaste_train.models.shading import TERMS, TURN
from livepaste_train.ops import JAX_OPS
from livepaste_train.start import SHADING
from livepaste_train.state import named, with_weights

# Of the mean variance of a code's numbers; of squared twenties of degrees. The light that a wearer's face says beside the truth's, root mean
# square of logarithms over 16 pairs of films of eight pairs of actors: 0.026 without shading (worst 0.053), 0.018 with (0.030); with
# the tone fitted as it is, light and all, 0.033 (0.054), and beside the light that the maker knows 0.024, since that also comes from a side
CODE_RIDGE, TERM_RIDGE = 0.1, 0.03
ALIKE = 1e-6  # beside it: where all codes are one, no turn can be read off them
SEEN = 2.0, 98.0  # percentiles of the turns, between which the polynomial holds
SKIN = 468  # points of the mesh; the rest are the irises'
BLUR_PX, RIM_PX = 1.5, 5  # of a stored crop: what a point sees around it, and how far from the mask's edge it counts
OFTEN = 0.3  # share of the faces that a point is seen in
ODD = 0.1  # of a logarithm: what is further off is a shadow, a lip or hair rather than the light (Cauchy's weight)
ROUNDS = 20
DARK = 0.02  # of 1


def ridge(
    x: Float[np.ndarray, "n i"], y: Float[np.ndarray, "n o"], strength: float
) -> tuple[Float[np.ndarray, "i o"], Float[np.ndarray, " o"]]:
    """Slopes and constants of the linear fit of least squared error plus ``strength`` times the squared slopes."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    about = x - mean_x
    slopes = np.linalg.solve(about.T @ about / len(x) + strength * np.eye(x.shape[1]), about.T @ (y - mean_y) / len(x))
    return slopes, mean_y - mean_x @ slopes


def skin(faces: Faces, which: np.ndarray) -> tuple[Float[np.ndarray, "n p 3"], Bool[np.ndarray, "n p"]]:
    """Logarithms of the colours at the points of chosen faces' meshes, and which of them are well inside the visible face."""
    assert faces.points is not None
    side, colors, visible = faces.packed.shape[1], [], []
    for i in which:
        rgbm = np.ascontiguousarray(faces.packed[i]).view(np.uint8).reshape(side, side, 4)
        x, y = np.rint(faces.points[i, :SKIN].astype(np.float32) * side - 0.5).astype(int).clip(0, side - 1).T
        colors.append(cv2.GaussianBlur(rgbm[..., :3], (0, 0), BLUR_PX)[y, x])
        inside = cv2.erode(np.ascontiguousarray(rgbm[..., 3]), np.ones((RIM_PX, RIM_PX), np.uint8))
        visible.append(inside[y, x] > 127)
    return np.log(np.maximum(np.array(colors) / 255, DARK)), np.array(visible)


def lights(colors: Float[np.ndarray, "n p 3"], visible: Bool[np.ndarray, "n p"]) -> Float[np.ndarray, "n 3"]:
    """The light on each face as a logarithm, 0 in the mean: the sum of a face's light and a point's colour that is nearest to ``colors``.

    By turns the mean over faces and the mean over points, which counts less what is far off (iteratively reweighted least squares).
    """
    often = visible.mean(0) > OFTEN
    colors, seen = colors[:, often], visible[:, often].astype(float)
    light = np.zeros((len(colors), 1, 3))
    for _ in range(ROUNDS):
        of_points = (seen[..., None] * (colors - light)).sum(0) / np.maximum(seen.sum(0), 1.0)[:, None]
        off = colors - of_points - light
        weight = seen / (1 + np.square(np.abs(off).mean(-1) / ODD))
        light += (weight[..., None] * off).sum(1, keepdims=True) / np.maximum(weight.sum(1), 1e-6)[:, None, None]
    return light[:, 0] - light.mean((0, 1))


def shade(
    turn: Float[np.ndarray, "n 2"], tone: Float[np.ndarray, "n 3"], light: Float[np.ndarray, "n 3"]
) -> dict[str, np.ndarray]:
    """What ``models.shading.Shade`` holds of a person, from faces' turns, tones and lights."""
    lowest, highest = np.percentile(turn, SEEN, axis=0)
    yaw, pitch = np.clip(turn, lowest, highest).T
    terms = np.column_stack([yaw, pitch, yaw * yaw, yaw * pitch, pitch * pitch])
    slopes, constant = ridge(terms, np.log(tone) - light - np.log(tone.mean(0)), TERM_RIDGE)
    held = np.concatenate([constant[None], slopes])
    assert held.shape == (TERMS, 3)
    return {"terms": held, "lowest": lowest, "highest": highest}


class Shader:
    """``shaded(params)``: the same with each side's shading measured by them. Nothing is done where a model has none."""

    def __init__(
        self, graph: Any, params: Any, sides: tuple[Faces, Faces], seen: list[Crops], *, resting: bool
    ) -> None:
        """``seen``: crops of faces spread over each side, which have meshes. ``resting``: codes stay where they are, and are measured once."""
        self._graph, self._resting = graph, resting
        self._known: dict[str, np.ndarray] | None = None
        shades = any(name.startswith(SHADING) for name in named(params))
        self._looks = [_Looked(*side) for side in zip(sides, seen, strict=True)] if shades else []

    def shaded(self, params: Any) -> Any:
        if self._looks and (self._known is None or not self._resting):
            self._known = self._measured(params)
        if self._resting:
            self._looks = []  # tens of megabytes of crops
        return with_weights(params, named(params) | self._known) if self._known else params

    def _measured(self, params: Any) -> dict[str, np.ndarray]:
        codes = [codes_of(self._graph, params, of.pictures) for of in self._looks]
        every, turns = np.concatenate(codes), np.concatenate([of.turn for of in self._looks])
        slopes, constant = ridge(every, turns, CODE_RIDGE * float(every.var(0).mean()) + ALIKE)
        known = {f"{SHADING}turn/kernel": slopes, f"{SHADING}turn/bias": constant}
        for side, of, code in zip(SIDES, self._looks, codes, strict=True):
            held = shade(code @ slopes + constant, *of.tone_and_light)
            known |= {f"{SHADING}{side}/{name}": value for name, value in held.items()}
        return {name: value.astype(np.float32) for name, value in known.items()}


class _Looked:
    """One side's faces that are looked at; what no weight changes is found out once."""

    def __init__(self, faces: Faces, crops: Crops) -> None:
        self.pictures, self._masks = crops
        self._faces, self._which = faces, spread(len(faces), len(self.pictures))
        self.turn = faces.played[self._which, :TURN]

    @cached_property
    def tone_and_light(self) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
        tone = np.asarray(JAX_OPS.tone_under(self.pictures, self._masks))[:, 0, 0]
        return tone, lights(*skin(self._faces, self._which))
