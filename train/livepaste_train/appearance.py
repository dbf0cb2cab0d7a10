"""Measures how the persona's face looks and moves: what ``models.appearance`` holds.

Each face is brought to the mean places of its mesh's points by a thin-plate spline (Bookstein 1989). The mean of what is seen there, the
principal components of what differs from it, and those of the way back to each picture are an active appearance model (Cootes et al.
2001). Its numbers are read off the codes by a small network, fitted in seconds, for they are few.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from livepaste_train.augment import Geometry, in_light
from livepaste_train.compiling import compiled, kept
from livepaste_train.data import Faces
from livepaste_train.evaluate import codes_of, crops, spread
from livepaste_train.models.appearance import FLOWS, HIDDEN, LOOKS, SEVERAL
from livepaste_train.models.layers import logits_of
from livepaste_train.recipe import Recipe
from livepaste_train.start import APPEARANCE
from livepaste_train.state import named, with_weights

COUNT = 600  # faces that are measured
# points of the mesh that the spline goes through: all of them say hardly more and take nine times as long
SKIN = np.arange(0, 468, 3)
STIFF = 300.0  # of the spline, in squared pixels: the far side of a turned head lies folded upon itself
ROUNDS, DAMPED = 8, 0.7  # of turning a flow round
UNSEEN = 20.0  # faces that the plain mean counts for where hardly any shows its skin
MOST = 2.5  # of a logit's difference from the mean: a hair, a hand, a glint
STEPS, PARTS, BATCH, RATE, DECAY = 1500, 10, 128, 2e-3, 1e-2
# Of a standard deviation of each number. Beside 0.3, 0.15 costs 0.1 dB (drawn 8401) and 0.4 dB (photo 148/161) in the swap
SHAKEN = 0.3
ROUNDING = 1e-8  # of a sum of squared pixels or shares of light: less is no component
LEAST = 1e-3  # of light a pixel: a face without any feature
# Of the way to the wearer's codes. Swaps with 0, 0.25, 0.5 and all of it, dB: drawn 8401 27.0, 26.5, 26.1; 8402 29.2, -, 29.2, 29.2;
# photo 159/142 23.5, 24.7, 25.0, 25.0
PLACED = 0.25
MOVES = ("flip", "warp", "rotate", "zoom", "shift")


def fits(recipe: Recipe, persona: Faces, *, resting: bool) -> bool:
    """Whether it can be measured: the codes stay where they are, crops are trained on as they were cut, and meshes are known."""
    return recipe.appearance and resting and persona.points is not None and not any(getattr(recipe, m) for m in MOVES)


def without(recipe: Recipe, model: Any) -> Recipe:
    """The recipe of a ``model`` that has none from here on."""
    if recipe.appearance:
        del model.appearance
    return replace(recipe, appearance=False)


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
    basis: Float[np.ndarray, "k d"]  # orthonormal
    numbers: Float[np.ndarray, "n k"]  # of the rows that they were made from


def components(rows: Float[np.ndarray, "n d"], count: int) -> Components:
    """By the eigenvectors of the rows' products, for there are fewer rows than columns."""
    mean = rows.mean(0)
    about = rows - mean
    values, vectors = np.linalg.eigh(about @ about.T)
    known = min(count, int((values > max(1e-6 * values[-1], ROUNDING)).sum()), len(rows) - 1)
    basis = np.zeros((count, rows.shape[1]), np.float32)
    basis[:known] = (vectors[:, ::-1][:, :known] / np.sqrt(values[::-1][:known])).T @ about
    return Components(mean, basis, (about @ basis.T).astype(np.float32))


class Seen(NamedTuple):
    """What is measured, before it is read off codes."""

    flow: Components  # from a pixel to its usual place, pixels
    looks: Components  # logits, each times ``worth``
    worth: Float[np.ndarray, " d"]  # of a logit, in light
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
    to_face = np.einsum("mp,npc->nmc", weights, apart, optimize=True).reshape(n, side, side, 2)
    to_usual = np.stack([sample.turned(flow) for flow in to_face])
    shown = np.stack([sample(*pair) for pair in zip(pictures, to_face, strict=True)])
    face = np.clip(np.stack([sample(*pair) for pair in zip(masks[..., 0], to_face, strict=True)]), 0, 1)[..., None]
    # where no mesh reaches, what is usual at that place of the picture
    logits, plain = np.asarray(logits_of(shown)), np.asarray(logits_of(pictures.mean(0)))
    usual = ((logits * face).sum(0) + UNSEEN * plain) / (face.sum(0) + UNSEEN)
    light = 1 / (1 + np.exp(-usual))
    worth = (light * (1 - light)).ravel() + 0.02
    differs = (np.clip(logits - usual, -MOST, MOST) * face).reshape(n, -1) * worth
    steep = np.hypot(*np.gradient(light.mean(-1)))
    often = face.mean(0)[..., 0]
    gradient = max(LEAST, float((steep * often).sum() / np.maximum(often.sum(), LEAST)))
    return Seen(components(to_usual.reshape(n, -1), FLOWS), components(differs, LOOKS), worth, usual.ravel(), gradient)


def _bent(q: dict[str, Any], x: Any) -> Any:
    hidden = jax.nn.silu(jax.nn.silu(x @ q["first"] + q["first_bias"]) @ q["second"] + q["second_bias"])
    return hidden @ q["third"] + q["bias"] + x @ q["straight"]


@kept
def _descent(steps: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """How the fit of several networks in so many steps begins, and a part of it."""
    optimizer = optax.adamw(optax.cosine_decay_schedule(RATE, steps), weight_decay=DECAY)

    def step(q: Any, state: Any, key: Any, x: Any, wanted: Any, offset: Any) -> Any:
        pick, shake, way = jax.random.split(key, 3)
        index = jax.random.randint(pick, (BATCH,), 0, len(x))
        shown = x[index] + SHAKEN * jax.random.normal(shake, (BATCH, x.shape[1]))
        away = jnp.maximum(0.0, jax.random.uniform(way, (BATCH, 1), minval=-1 / 3)) * offset
        flows = jnp.arange(wanted.shape[1]) < FLOWS

        def error(q: Any) -> Any:
            return jnp.square(
                jnp.where(flows, _bent(q, shown - PLACED * away), _bent(q, shown - away)) - wanted[index]
            ).mean()

        update, state = optimizer.update(jax.grad(error)(q), state, q)
        return optax.apply_updates(q, update), state

    def run(q: Any, state: Any, keys: Any, *known: Any) -> Any:
        each = jax.vmap(step, (0, 0, 0, None, None, None))
        return jax.lax.scan(lambda carry, keys: (each(*carry, keys, *known), None), (q, state), keys)[0]

    return jax.vmap(optimizer.init), compiled(run)


def told(
    codes: Float[np.ndarray, "n c"],
    numbers: Float[np.ndarray, "n k"],
    weight: Float[np.ndarray, " k"],
    offset: Float[np.ndarray, " c"],
) -> dict[str, np.ndarray]:
    """The weights of ``models.appearance.Told`` that read ``numbers`` off ``codes``, errors weighed by ``weight``.

    They are also read off codes moved against ``offset``, as a decoder has to (``step.pair_loss``); where the face is, a part of the way
    only: how far apart two people's codes lie is measured by their meshes, which do not agree on where a face looks.
    """
    mean, scale = codes.mean(0), codes.std(0)
    # a number that hardly varies says nothing, and its weights would be larger than float16 holds
    scale = np.maximum(scale, 0.05 * np.sqrt(np.square(scale).mean()) + 1e-3)
    usual = numbers.mean(0)
    wanted = (numbers - usual) * weight
    size = float(np.sqrt(np.square(wanted).mean())) + 1e-12
    rng, (c, k), n = np.random.default_rng(0), (codes.shape[1], numbers.shape[1]), SEVERAL
    drawn = {
        "first": (c, HIDDEN, 2 / c),
        "second": (HIDDEN, HIDDEN, 2 / HIDDEN),
        "third": (HIDDEN, k, 4e-4),
        "straight": (c, k, 0.0),
    }
    q = {name: np.float32(np.sqrt(v)) * rng.standard_normal((n, i, o), np.float32) for name, (i, o, v) in drawn.items()}
    q |= {
        name: np.zeros((n, o), np.float32) for name, o in (("first_bias", HIDDEN), ("second_bias", HIDDEN), ("bias", k))
    }
    begin, run = _descent(STEPS)
    state = begin(q)
    x = jnp.asarray((codes - mean) / scale, jnp.float32)
    known = x, jnp.asarray(wanted / size, jnp.float32), jnp.asarray(offset / scale, jnp.float32)
    for keys in jnp.split(jax.random.split(jax.random.key(0), (STEPS, n)), PARTS):
        q, state = run(q, state, keys, *known)
    q = {name: np.asarray(value, np.float64) for name, value in q.items()}
    first, straight, out = (
        np.concatenate(list(q["first"]), 1) / scale[:, None],
        q["straight"].mean(0) / scale[:, None],
        size / weight,
    )
    return {
        "first": first,
        "first_bias": q["first_bias"].ravel() - mean @ first,
        "second": np.asarray(jax.scipy.linalg.block_diag(*q["second"])),
        "second_bias": q["second_bias"].ravel(),
        "third": np.concatenate(list(q["third"])) / n * out,
        "straight": straight * out,
        "bias": (q["bias"].mean(0) - mean @ straight) * out + usual,
    }


def measured(graph: Any, params: Any, persona: Faces, geometry: Geometry, offset: Any) -> Any:
    """``params`` with the persona's appearance, and a decoder that adds nothing to it yet.

    ``offset`` (code,): the persona's codes minus the wearers'; None where nothing is known of them.
    """
    assert persona.points is not None
    now, which, side = named(params), spread(len(persona), COUNT), geometry.resolution
    pictures, masks = crops(persona, geometry, COUNT)
    codes = codes_of(graph, params, pictures)
    # from the stored crop's shares to the model's pixels: both have the same middle
    points = (persona.points[which][:, SKIN].astype(float) * geometry.stored - geometry.stored / 2) / geometry.step
    lit = np.asarray(in_light(pictures, masks, now["persona/usual"]))
    of = seen(lit, np.asarray(masks), points + (side - 1) / 2)
    weight = np.repeat([3**0.5 * of.gradient, 1.0], [FLOWS, LOOKS])  # three channels see each pixel of flow
    numbers = np.concatenate([of.flow.numbers, of.looks.numbers], 1)
    read = told(codes, numbers, weight, np.zeros(codes.shape[1]) if offset is None else np.asarray(offset))
    share = 2 / (side - 1)  # of half a side, in which flows are told
    own = {f"told/{name}": value for name, value in read.items()}
    own |= {"flow": of.flow.basis * share, "usual_flow": of.flow.mean * share}
    own |= {"looks": of.looks.basis / of.worth, "usual_looks": of.usual + of.looks.mean / of.worth}
    own = {f"{APPEARANCE}{name}": value.astype(np.float32) for name, value in own.items()}
    head = {
        f"persona/picture_head/{part}": np.zeros_like(now[f"persona/picture_head/{part}"])
        for part in ("kernel", "bias")
    }
    return with_weights(params, {**now, **own, **head})
