"""What the occlusion network is shown: faces in any light with things laid over them, others in every step, and what is to be said of them."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from livepaste_train.augment import (
    Geometry,
    disturb_color,
    exchange_surroundings,
    hat_weights,
    random_affine,
    sample,
)
from livepaste_train.recipe import Recipe

Array = jax.Array

WEARS = 0.3  # of the faces have one of the worn things
LAYERS = 0.62, 0.25  # how often there is one thing in front, and another before it
# of things that have a cheek's skin, and of those and others that have its colour; of whose cheeks are those of the face behind; and how much
# of the usual disorder of colours is left to these
SKIN, OWN_SKIN, MATCHED = (0.4, 0.7), 0.6, 0.3
# where a cheek is beside the middle of a crop and below it, and how far it reaches, half sides
CHEEK = 0.27, 0.25, 0.12


class Stock(NamedTuple):
    """What a step draws from, packed; all but the last are of the same faces."""

    faces: Array  # (n, side, side)
    worn: Array  # (n, side, side), what each of them may wear
    sheets: Array  # (m, side, side)


@cache
def _smearing(side: int, times: int) -> np.ndarray:
    """What makes of a row of pixels, the border replicated, the mean of three neighbours, so many times: (side, side)."""
    once = sum(np.eye(side)[np.clip(np.arange(side) + by, 0, side - 1)] for by in (-1, 0, 1)) / 3
    return np.linalg.matrix_power(once, times).astype(np.float32)


def smeared(x: Array, times: int = 1, *, down: bool = True, across: bool = True) -> Array:
    """:func:`livepaste_train.augment.blurred` (b, s, s, c), or in one direction only, as products of matrices: on a processor the passes take
    ten times as long."""
    by = _smearing(x.shape[1], times)
    x = jnp.einsum("yi,bixc->byxc", by, x) if down else x
    return jnp.einsum("xj,byjc->byxc", by, x) if across else x


def times_alpha(straight: Array) -> Array:
    """Colour and alpha (b, s, s, 4) as they are laid: colour times alpha."""
    alpha = straight[..., 3:]
    return jnp.concatenate([straight[..., :3] * alpha, alpha], -1)


def turned(key: Array, count: int, most: float, zoom: float, shift: float) -> Array:
    """Where a sheet is laid, (count, 2, 3) in half sides of the crop: any flip, angles up to ``most`` radians."""
    u = jax.random.uniform(key, (5, count))
    angle, scale = most * (2 * u[0] - 1), jnp.exp(zoom * (2 * u[1] - 1))
    flip = jnp.where(u[4] < 0.5, -1.0, 1.0)
    c, s = jnp.cos(angle) * scale, jnp.sin(angle) * scale
    move = shift * (2 * u[2:4].T - 1)
    return jnp.stack([jnp.stack([c * flip, -s, move[:, 0]], -1), jnp.stack([s * flip, c, move[:, 1]], -1)], 1)


def after(first: Array, then: Array) -> Array:
    """Two affine maps in turn, (b, 2, 3)."""
    linear = jnp.einsum("bij,bjk->bik", then[:, :, :2], first[:, :, :2])
    moved = jnp.einsum("bij,bj->bi", then[:, :, :2], first[:, :, 2]) + then[:, :, 2]
    return jnp.concatenate([linear, moved[:, :, None]], 2)


def thing(key: Array, stage: Stock, face: Array, face_affine: Array, geometry: Geometry, sheet: Geometry) -> Array:
    """Something in front of each ``face`` (its number): colour times alpha, and alpha, float32 (b, s, s, 4)."""
    b = len(face)
    k = jax.random.split(key, 6)
    index = jax.random.randint(k[0], (b,), 0, len(stage.sheets))
    over = sample(stage.sheets, index, after(face_affine, turned(k[1], b, 0.8, 0.4, 0.5)), sheet)
    color, alpha = over[..., :3], over[..., 3:]
    # some with the skin of a cheek, left or right, of somebody else or of this face, or of a colour like it: a wearer's hand is lit as the
    # face that it hides, and to a colour alone nothing should be betrayed
    u = jax.random.uniform(k[4], (7, b))[:, :, None, None, None]
    own = u[6] < OWN_SKIN
    other = jnp.where(own[:, 0, 0, 0], face, jax.random.randint(k[2], (b,), 0, len(stage.faces)))
    cheek = turned(k[3], b, 3.1, 0.3, 0.04) * jnp.array([CHEEK[2], CHEEK[2], 1.0])
    left = jnp.where(jax.random.bernoulli(k[5], 0.5, (b,)), -1.0, 1.0)
    cheek = cheek.at[:, :, 2].add(jnp.stack([left * CHEEK[0], jnp.full(b, CHEEK[1])], -1))
    skin = sample(stage.faces, other, cheek, geometry)[..., :3]
    mean = (color * alpha).sum((1, 2), keepdims=True) / (alpha.sum((1, 2), keepdims=True) + 1e-3)
    light = color.mean(-1, keepdims=True) / (mean.mean(-1, keepdims=True) + 1e-3)
    covered, tinted = u[0] < SKIN[0], u[0] < SKIN[1]
    tint = skin.mean((1, 2), keepdims=True) / (mean + 1e-2)
    color = jnp.select([covered, tinted], [skin * (0.3 + 0.7 * light), color * jnp.minimum(tint, 8.0)], color)
    jitter = jnp.where(own & tinted, MATCHED, 1.0)  # what matches is not brought out of tune
    color = color * (1 + jitter * (u[1] - 0.5)) * (1 + jitter * 0.4 * (jnp.concatenate(list(u[2:5]), -1) - 0.5))
    over = jnp.concatenate([jnp.clip(color, 0, 1) * alpha, alpha], -1)
    # out of focus, or moving to the side or up and down
    wide, high = smeared(over, 4, down=False), smeared(over, 4, across=False)
    return jnp.clip(jnp.select([u[5] < 0.15, u[5] < 0.3, u[5] < 0.5], [wide, high, smeared(over)], over), 0, 1)


def shaded(key: Array, pictures: Array, alpha: Array) -> Array:
    """Faces (b, s, s, 3) in uneven light: brighter to one side, cloudy, and in the shadow of ``alpha`` (b, s, s, 1). All of it is still face.

    Without it whatever is dark beside something bright would be taken for something in front.
    """
    b, s = pictures.shape[:2]
    k = jax.random.split(key, 3)
    u = jax.random.uniform(k[0], (4, b))[:, :, None, None, None]
    clouds = jnp.zeros((b, s, s))
    for nodes, part in ((2, 0.8), (4, 0.5), (9, 0.3)):
        hat = hat_weights(s, nodes)
        drawn = part * jax.random.normal(jax.random.fold_in(k[1], nodes), (b, nodes, nodes))
        clouds = clouds + jnp.einsum("yi,bij,xj->byx", hat, drawn, hat)
    pictures = pictures * jnp.exp(jnp.maximum(0.0, 0.9 * u[0] - 0.25) * clouds[..., None])
    soft = smeared(alpha)
    shadow = jnp.where(u[1] < 0.5, soft, smeared(soft, 4))
    return pictures * (1 - jnp.maximum(0.0, 1.6 * u[2] - 0.9) * shadow)


def coarser(key: Array, x: Array) -> Array:
    """Some of the pictures (b, s, s, c) from half or a quarter of their pixels: faces far from the camera."""
    b, s = x.shape[:2]
    u = jax.random.uniform(key, (b, 1, 1, 1))
    out = x
    for less, low, high in ((2, 0.0, 0.22), (4, 0.22, 0.3)):
        small = x.reshape(b, s // less, less, s // less, less, -1).mean((2, 4))
        at = jnp.clip((jnp.arange(s) + 0.5) / less - 0.5, 0, s // less - 1)
        hat = jnp.maximum(0.0, 1.0 - jnp.abs(at[:, None] - jnp.arange(s // less)))
        out = jnp.where((u >= low) & (u < high), jnp.einsum("yi,bijc,xj->byxc", hat, small, hat), out)
    return out


def in_front(key: Array, pictures: Array, over: Array) -> Array:
    """Faces (b, s, s, 3) with ``over`` laid upon them, and its shadow."""
    color, alpha = over[..., :3], over[..., 3:]
    shadow = jnp.clip(smeared(alpha, 3), 0, 1)
    u = jax.random.uniform(key, (1, len(over)))[:, :, None, None, None]
    shadow = jnp.pad(shadow, ((0, 0), (3, 0), (1, 0), (0, 0)))[:, :-3, :-1]
    pictures = pictures * (1 - jnp.maximum(0.0, 1.2 * u[0] - 0.5) * shadow)
    return pictures * (1 - alpha) + color


class Batch(NamedTuple):
    """Crops (b, s, s, 3) as a camera would see them, and what is to be said of them (b, s, s, 1)."""

    crops: Array
    faces: Array  # the face, also where something hides it
    front: Array  # what is in front

    @property
    def visible(self) -> Array:
        return self.faces * (1 - self.front)


def batch(key: Array, stage: Stock, geometry: Geometry, sheet: Geometry, recipe: Recipe) -> Batch:
    """Any faces, in any light, with up to three things in front."""
    b = recipe.batch
    k = jax.random.split(key, 12)
    index = jax.random.randint(k[0], (b,), 0, len(stage.faces))
    affine = random_affine(k[1], b, recipe)
    face = sample(stage.faces, index, affine, geometry)
    pictures = exchange_surroundings(k[2], face[..., :3], face[..., 3:], recipe)
    pictures = shaded(k[9], pictures, thing(k[10], stage, index, affine, geometry, sheet)[..., 3:])
    layers = [(WEARS, times_alpha(sample(stage.worn, index, affine, geometry)))]
    layers += [(often, thing(k[5 + i], stage, index, affine, geometry, sheet)) for i, often in enumerate(LAYERS)]
    clear = jnp.ones_like(face[..., 3:])
    for i, (often, over) in enumerate(layers):
        there = jax.random.uniform(jax.random.fold_in(k[3], i), (b, 1, 1, 1)) < often
        over = jnp.where(there, over, 0.0)
        pictures = in_front(jax.random.fold_in(k[7], i), pictures, over)
        clear = clear * (1 - over[..., 3:])
    return Batch(disturb_color(k[8], coarser(k[11], pictures), recipe), face[..., 3:], 1 - clear)
