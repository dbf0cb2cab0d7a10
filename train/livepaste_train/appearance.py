"""Measures how the persona's face looks and moves: what ``models.appearance`` holds.

Each face is brought to the mean places of its mesh's points by a thin-plate spline (Bookstein 1989). The mean of what is seen there, the
principal components of what differs from it, and those of the way back to each picture are an active appearance model (Cootes et al.
2001). Its numbers are read off the codes by small networks, see ``telling``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float

from livepaste_train.augment import Geometry, in_light
from livepaste_train.data import Faces
from livepaste_train.evaluate import codes_of, spread, undistorted
from livepaste_train.models.appearance import FLOWS, LOOKS
from livepaste_train.models.layers import logits_of
from livepaste_train.recipe import Recipe
from livepaste_train.start import APPEARANCE, Start
from livepaste_train.state import named, with_weights
from livepaste_train.telling import telling

COUNT, FEWEST, USUAL_SIDE = 600, 200, 112  # faces that are measured, of that many pixels
# points of the mesh that the spline goes through: all of them say hardly more and take nine times as long
SKIN = np.arange(0, 468, 3)
STIFF = 300.0  # of the spline, in squared pixels: the far side of a turned head lies folded upon itself
ROUNDS, DAMPED = 8, 0.7  # of turning a flow round
UNSEEN = 20.0  # faces that the plain mean counts for where hardly any shows its skin
AROUND = 0.02  # what a pixel counts for where no face is, or hardly any light
MOST = 2.5  # of a logit's difference from the mean: a hair, a hand, a glint
ROUNDING = 1e-8  # of a sum of squared pixels or shares of light: less is no component
LEAST = 1e-3  # of light a pixel: a face without any feature
HEAD = tuple(f"persona/picture_head/{part}" for part in ("kernel", "bias"))
MOVES = ("flip", "warp", "rotate", "zoom", "shift")


class Choice(NamedTuple):
    """How a training that begins goes about the persona's appearance."""

    recipe: Recipe  # which says whether there is one
    weights: dict[str, Any] | None  # that it starts from, with an appearance only if that one is gone on with
    note: str  # for the user
    measures: bool  # whether it is to be measured


def why_still(recipe: Recipe, persona: Faces, *, resting: bool) -> str:
    """Why it cannot be measured, or nothing: codes have to stay where they are, crops as they were cut, and meshes be known."""
    if not resting:
        return "its encoder learns"
    if persona.points is None:
        return "its faces have no meshes"
    moved = [move for move in MOVES if getattr(recipe, move)]
    return f"recipe {recipe.name} moves the faces it shows ({', '.join(moved)})" if moved else ""


def chosen(recipe: Recipe, model: Any, persona: Faces, start: Start, faces_hash: str = "", *, resting: bool) -> Choice:
    """What becomes of a ``model`` that the recipe may have given an appearance, which is taken out of it if it cannot have one.

    One that a checkpoint holds is gone on with if it learned from the same faces, see ``data.fingerprint``: it was read off their codes, the
    wearers' too, and its decoder learned to add to it. Otherwise that decoder adds nothing yet.
    """
    held = {name for name in start.weights or {} if name.startswith(APPEARANCE)}
    why = (
        why_still(recipe, persona, resting=resting) if recipe.appearance else f"recipe {recipe.name} has no appearance"
    )
    if held and not why and start.record.get("faces_hash") == faces_hash:
        return Choice(recipe, start.weights, "the persona's picture moves with its head, as before", False)
    weights = start.weights
    if weights is not None and held:
        weights = {name: np.zeros_like(v) if name in HEAD else v for name, v in weights.items() if name not in held}
    # a base's decoder has learned nobody's face
    lost = (
        "; what its decoder had learned to draw begins anew" if "persona" in start.record and (held or not why) else ""
    )
    if not why:
        count = len(spread(len(persona), _count(recipe.resolution)))
        return Choice(
            recipe,
            weights,
            f"the persona's picture moves with its head, as measured on {count} of its faces{lost}",
            True,
        )
    note = f"the persona's picture does not move with its head: {why}{lost}" if recipe.appearance or held else ""
    if recipe.appearance:
        del model.appearance
    return Choice(replace(recipe, appearance=False), weights, note, False)


def _count(side: int) -> int:
    """Of faces that are measured: of larger ones fewer, which take as much memory: by count 0.4 GB up to 194 px, 1 GB at 320."""
    return max(FEWEST, round(COUNT * min(1.0, (USUAL_SIDE / side) ** 2)))


def spline(at: Float[np.ndarray, "p 2"], to: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, "m p"]:
    """What each of ``p`` values at ``at`` counts for at ``to``, in the thin-plate spline that goes near them."""

    def bent(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        square = np.maximum(np.square(a[:, None] - b[None]).sum(-1), 1e-12)
        return 0.5 * square * np.log(square)

    plane = np.column_stack([np.ones(len(at)), at])
    rows = np.block([[bent(at, at) + STIFF * np.eye(len(at)), plane], [plane.T, np.zeros((3, 3))]])
    return (np.column_stack([bent(to, at), np.ones(len(to)), to]) @ np.linalg.inv(rows))[:, : len(at)]


class Sampler:
    """Pictures (s, s, …) moved by flows (s, s, 2) in pixels: each pixel from where its flow leads."""

    def __init__(self, side: int) -> None:
        y, x = np.mgrid[:side, :side].astype(np.float32)
        self.at = np.stack([x, y], -1)

    def __call__(self, picture: np.ndarray, flow: np.ndarray, how: int = cv2.INTER_CUBIC) -> np.ndarray:
        at = self.at + flow
        return cv2.remap(picture, at[..., 0], at[..., 1], how, borderMode=cv2.BORDER_REPLICATE)

    def turned(self, flow: Float[np.ndarray, "s s 2"]) -> Float[np.ndarray, "s s 2"]:
        """The flow that undoes one: by steps towards minus what ``flow`` is where it leads."""
        back = -flow
        for _ in range(ROUNDS):
            back = (1 - DAMPED) * back - DAMPED * self(flow, back, cv2.INTER_LINEAR)
        return back


class Components(NamedTuple):
    """Principal components; rows of zeros where there are fewer faces than components."""

    mean: Float[np.ndarray, " d"]
    basis: Float[np.ndarray, "k d"]
    numbers: Float[np.ndarray, "n k"]  # of the rows that they were made from: each the mean and so much of the basis


def components(rows: Float[np.ndarray, "n d"], count: int, worth: Float[np.ndarray, " d"]) -> Components:
    """Of ``rows``, which are overwritten, a column's errors counting ``worth`` times.

    By the eigenvectors of the rows' products, for there are fewer rows than columns.
    """
    mean = rows.mean(0)
    rows -= mean
    rows *= worth
    values, vectors = np.linalg.eigh(rows @ rows.T)
    known = min(count, int((values > max(1e-6 * values[-1], ROUNDING)).sum()), len(rows) - 1)
    basis = np.zeros((count, rows.shape[1]), np.float32)
    basis[:known] = (vectors[:, ::-1][:, :known] / np.sqrt(values[::-1][:known])).T @ rows
    return Components(mean, basis / worth, (rows @ basis.T).astype(np.float32))


class Seen(NamedTuple):
    """What is measured, before it is read off codes."""

    flow: Components  # from a pixel to its usual place, pixels
    looks: Components  # logits, beside what is usual
    usual: Float[np.ndarray, " d"]  # what is seen at usual places, logits
    gradient: float  # of light, in the mean of the face's pixels: what a pixel of flow is worth


def seen(
    pictures: Float[np.ndarray, "n s s 3"], masks: Float[np.ndarray, "n s s 1"], points_xy: Float[np.ndarray, "n p 2"]
) -> Seen:
    """Of faces in one light, in [0, 1], and the points of their meshes in pixels."""
    n, side = len(pictures), pictures.shape[1]
    usual_xy, sample = points_xy.mean(0), Sampler(side)
    weights = spline(usual_xy, sample.at.reshape(-1, 2).astype(float)).astype(np.float32)
    apart = (points_xy - usual_xy).astype(np.float32)
    flows, logits = np.empty((n, side, side, 2), np.float32), np.empty((n, side, side, 3), np.float32)
    face = np.empty((n, side, side, 1), np.float32)
    for i, (picture, mask) in enumerate(zip(pictures, masks, strict=True)):
        to_face = (weights @ apart[i]).reshape(side, side, 2)
        flows[i] = sample.turned(to_face)
        logits[i] = logits_of(sample(picture, to_face))
        face[i, ..., 0] = np.clip(sample(mask[..., 0], to_face), 0, 1)
    # where no mesh reaches, what is usual at that place of the picture
    plain = np.asarray(logits_of(pictures.mean(0)))
    usual = (np.einsum("nijc,nijo->ijc", logits, face) + UNSEEN * plain) / (face.sum(0) + UNSEEN)
    light = 1 / (1 + np.exp(-usual))
    differs = np.clip(np.subtract(logits, usual, out=logits), -MOST, MOST, out=logits)
    differs *= face
    steep = np.hypot(*np.gradient(light.mean(-1)))
    often = face.mean(0)[..., 0]
    gradient = max(LEAST, float((steep * often).sum() / np.maximum(often.sum(), LEAST)))
    # a flow counts where a face is, a logit as much as light changes by it
    shows = np.repeat(np.sqrt(masks.mean(0).ravel() + AROUND), 2)
    brightens = (light * (1 - light)).ravel() + AROUND
    return Seen(
        components(flows.reshape(n, -1), FLOWS, shows),
        components(differs.reshape(n, -1), LOOKS, brightens),
        usual.ravel(),
        gradient,
    )


def in_pixels(points: Float[np.ndarray, "n p 2"], geometry: Geometry) -> Float[np.ndarray, "n p 2"]:
    """Points in shares of stored crops as pixels of the model's: both have the same middle."""
    return (points.astype(float) - 0.5) * geometry.stored / geometry.step + (geometry.resolution - 1) / 2


def measured(graph: Any, params: Any, settled: Any, persona: Faces, geometry: Geometry, offset: Any) -> Any:
    """``params`` with the persona's appearance, and a decoder that adds nothing to it yet.

    ``settled``: parameters by which codes are read. ``offset`` (code,): the persona's codes minus the wearers'; None where nothing is known
    of them.
    """
    assert persona.points is not None
    now, side = named(params), geometry.resolution
    which = spread(len(persona), _count(side))
    pictures, masks = undistorted(persona.packed[which], geometry)
    codes = codes_of(graph, settled, pictures)
    lit = np.asarray(in_light(pictures, masks, now["persona/usual"]))
    of = seen(lit, np.asarray(masks), in_pixels(persona.points[which][:, SKIN], geometry))
    weight = np.repeat([3**0.5 * of.gradient, 1.0], [FLOWS, LOOKS])  # three channels see each pixel of flow
    numbers = np.concatenate([of.flow.numbers, of.looks.numbers], 1)
    read = telling(codes, numbers, weight, np.zeros(codes.shape[1]) if offset is None else np.asarray(offset))
    share = 2 / (side - 1)  # of half a side, in which flows are told
    own = {f"told/{name}": value for name, value in read.items()}
    own |= {"flow": of.flow.basis * share, "usual_flow": of.flow.mean * share}
    own |= {"looks": of.looks.basis, "usual_looks": of.usual + of.looks.mean}
    own = {f"{APPEARANCE}{name}": value.astype(np.float32) for name, value in own.items()}
    head = {name: np.zeros_like(now[name]) for name in HEAD}
    return with_weights(params, {**now, **own, **head})
