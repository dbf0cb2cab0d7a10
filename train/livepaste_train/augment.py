"""Sampling and augmentation on the device: from packed faces to inputs and targets of one batch, each with its masks.

Input and target share one affine and flip. On the input alone: the random warp, other surroundings, another camera's
colours, softness and noise. So the network must find the undistorted face, wherever it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from livepaste.align import STORED_COVERAGE
from livepaste_train.camera import other_camera
from livepaste_train.ops import JAX_OPS

Array = jax.Array
CELLS = 2, 4, 8  # of the warp, on a side
APART = (
    1 << 20
)  # folded into a key that is split elsewhere: none of its parts, which fold in small numbers, is the same


@dataclass(frozen=True)
class Geometry:
    """Sizes of stored and model crops."""

    stored: int  # side of a stored crop, pixels
    resolution: int  # side of the model's crop, pixels
    coverage: float  # side of the model's crop, template units
    stored_coverage: float = STORED_COVERAGE  # side of a stored crop, template units

    @property
    def step(self) -> float:
        """Stored pixels per model pixel."""
        return (self.stored / self.stored_coverage) / (self.resolution / self.coverage)


def choose(key: Array, cumulative: Array, count: int) -> Array:
    """``count`` indices drawn with the probabilities whose running sum is ``cumulative``."""
    u = jax.random.uniform(key, (count,))
    return jnp.minimum(jnp.searchsorted(cumulative, u * cumulative[-1]), len(cumulative) - 1)


def _columns(key: Array, count: int, numbers: int) -> Array:
    """``numbers`` uniform numbers for each of ``count`` faces, (numbers, count): one draw compiles and runs faster than many."""
    return jax.random.uniform(key, (numbers, count))


def hat_weights(n_out: int, n_nodes: int) -> Array:
    """Linear interpolation from ``n_nodes`` control points to ``n_out`` pixels, (n_out, n_nodes)."""
    at = jnp.linspace(0.0, n_nodes - 1.0, n_out)
    return jnp.maximum(0.0, 1.0 - jnp.abs(at[:, None] - jnp.arange(n_nodes)))


def random_warp(key: Array, count: int, side: int) -> Array:
    """Displacement in pixels, (count, side, side, 2).

    DeepFaceLab's distribution: cells of a half, a quarter or an eighth of the side, drawn per face; interior nodes get
    a normal truncated at ±2.5 σ, scaled to [-1, 1], times 0.24 of the cell.
    """
    which, k_nodes = jax.random.split(key)
    inner = [(cells - 1) ** 2 for cells in CELLS]
    drawn = jax.random.truncated_normal(k_nodes, -2.5, 2.5, (count, sum(inner), 2)) / 2.5
    fields, first = [], 0
    for cells, number in zip(CELLS, inner, strict=True):
        nodes = drawn[:, first : first + number].reshape(count, cells - 1, cells - 1, 2)
        first += number
        nodes = jnp.pad(nodes * (0.24 * side / cells), ((0, 0), (1, 1), (1, 1), (0, 0)))
        hat = hat_weights(side, cells + 1)
        fields.append(jnp.einsum("yi,bijc,xj->byxc", hat, nodes, hat))
    pick = jax.random.randint(which, (count, 1, 1, 1), 0, 3)
    return jnp.select([pick == 0, pick == 1], fields[:2], fields[2])


def random_affine(key: Array, count: int, recipe: Any) -> Array:
    """Linear part and shift, (count, 2, 3), in units of the crop's half side: rotation, zoom, shift, flip."""
    u = _columns(key, count, 5)
    angle = jnp.radians(recipe.rotate) * (2 * u[0] - 1)
    zoom = jnp.exp(jnp.log1p(recipe.zoom) * (2 * u[1] - 1))
    shift = 2 * recipe.shift * (2 * jnp.stack(u[2:4], -1) - 1)
    flip = jnp.where(u[4] < recipe.flip, -1.0, 1.0)
    c, s = jnp.cos(angle) * zoom, jnp.sin(angle) * zoom
    return jnp.stack([jnp.stack([c * flip, -s, shift[:, 0]], -1), jnp.stack([s * flip, c, shift[:, 1]], -1)], 1)


def sample(packed: Array, index: Array, affine: Array, geometry: Geometry, displacement: Array | None = None) -> Array:
    """Bilinear samples of stored faces, float32 (b, s, s, 4): RGB and mask in [0, 1]; the border is replicated."""
    s, stored = geometry.resolution, geometry.stored
    axis = jnp.arange(s, dtype=jnp.float32) - (s - 1) / 2
    grid = jnp.stack(jnp.meshgrid(axis, axis), -1)[None]  # x, y in model pixels from the centre
    if displacement is not None:
        grid = grid + displacement
    at = jnp.einsum("byxj,bij->byxi", jnp.broadcast_to(grid, (len(index), s, s, 2)), affine[:, :, :2])
    at = (at + affine[:, None, None, :, 2] * s / 2) * geometry.step + (stored - 1) / 2
    at = jnp.clip(at, 0.0, stored - 1.0)
    low = jnp.minimum(at.astype(jnp.int32), stored - 2)
    f = at - low
    flat = packed.reshape(-1)
    base = (index[:, None, None] * stored + low[..., 1]) * stored + low[..., 0]

    def tap(offset: int) -> Array:
        v = jnp.take(flat, base + offset, mode="clip")
        return jnp.stack([(v >> shift) & 255 for shift in (0, 8, 16, 24)], -1).astype(jnp.float32)

    fx, fy = f[..., :1], f[..., 1:]
    top = tap(0) * (1 - fx) + tap(1) * fx
    bottom = tap(stored) * (1 - fx) + tap(stored + 1) * fx
    return (top * (1 - fy) + bottom * fy) / 255.0


def box(x: Array, axis: int) -> Array:
    """Mean of three neighbours along an axis, the border replicated."""
    pad = [(0, 0)] * x.ndim
    pad[axis] = (1, 1)
    p = jnp.pad(x, pad, mode="edge")
    n = x.shape[axis]
    return (jax.lax.slice_in_dim(p, 0, n, axis=axis) + x + jax.lax.slice_in_dim(p, 2, n + 2, axis=axis)) / 3


def blurred(x: Array, times: int = 1) -> Array:
    """(b, s, s, …), each pixel the mean of its nine, so many times."""
    for _ in range(times):
        x = box(box(x, 1), 2)
    return x


def disturb_color(key: Array, x: Array, recipe: Any) -> Array:
    """Brightness, contrast, saturation and warmth of the input; then softness and noise. (b, s, s, 3) -> same."""
    b = x.shape[0]
    k_all, k_noise = jax.random.split(key)
    u = _columns(k_all, b, 9)[:, :, None, None, None]

    def around_one(u: Array, amount: float) -> Array:
        return 1 + amount * (2 * u - 1)

    grey = x.mean(-1, keepdims=True)
    x = grey + (x - grey) * around_one(u[0], 1.5 * recipe.jitter)
    mean = x.mean((1, 2, 3), keepdims=True)
    x = mean + (x - mean) * around_one(u[1], recipe.jitter)
    tint = jnp.concatenate(list(u[3:6]), -1)
    x = x * around_one(u[2], recipe.jitter) * around_one(tint, recipe.jitter / 3)
    soft = blurred(x)
    soft = jnp.where(u[6] < 0.5, soft, blurred(soft, 2))
    x = jnp.where(u[7] < recipe.soften, soft, x)
    x = x + recipe.noise * u[8] * jax.random.normal(k_noise, x.shape)
    return jnp.clip(x, 0.0, 1.0)


def in_light(pictures: Array, masks: Array, wanted: Array) -> Array:
    """Pictures (b, s, s, 3) as if the mean colour under their masks (b, s, s, 1) were ``wanted``: what a decoder is to draw.

    A target: no gradient reaches ``wanted``, which would otherwise drift to the colour that is easiest to draw.
    """
    gain = jax.lax.stop_gradient(wanted) / JAX_OPS.tone_under(pictures, masks)
    return jnp.clip(pictures * gain, 0.0, 1.0)


def exchange_surroundings(key: Array, x: Array, mask: Array, recipe: Any) -> Array:
    """Around some of the faces, from a random distance on, what is on another's picture, upside down and in other colours.

    ``x`` (b, s, s, 3) and the faces' ``mask`` (b, s, s, 1) -> like ``x``. A film shows one room and one haircut, which
    would be learned by heart instead of what the face does. From half a batch further on: there are the other side's faces, and their
    room and hair.
    """
    b, s = x.shape[:2]
    cells = s // 8
    u = _columns(key, b, 5)[:, :, None, None, None]
    coarse = mask[..., 0].reshape(b, cells, 8, cells, 8).mean((2, 4))
    coarse = blurred(coarse)
    hat = hat_weights(s, cells)
    near = jnp.einsum("yi,bij,xj->byx", hat, coarse, hat)[..., None]
    edge = 0.05 + 0.45 * u[0]
    keep = jnp.clip((near - edge) / 0.1 + 0.5, 0.0, 1.0)
    other = jnp.roll(x, b // 2, 0)[:, ::-1] * (0.3 + 1.2 * jnp.concatenate(list(u[1:4]), -1))
    there = u[4] < recipe.surroundings
    return jnp.where(there, keep * x + (1 - keep) * other, x)


def corrupted(key: Array, x: Array, recipe: Any) -> Array:
    """What a denoising autoencoder is given for ``x`` (b, s, s, 3): with Gaussian noise, or with a share of the pixels 0 (Vincent et al. 2010)."""
    if (how := recipe.corruption()) is None:
        return x
    kind, amount = how
    if kind == "gaussian":
        return x + amount * jax.random.normal(key, x.shape)
    return jnp.where(jax.random.bernoulli(key, amount, (*x.shape[:3], 1)), 0.0, x)


class Shown(NamedTuple):
    """What a step is shown and what it is to draw, float32 in [0, 1]."""

    inputs: Array  # (b, s, s, 3)
    input_masks: Array  # (b, s, s, 1), warped with their pictures
    targets: Array  # (b, s, s, 3)
    masks: Array  # (b, s, s, 1), the targets'


def batch(key: Array, inputs: Array, targets: Array, index_in: Array, index_out: Array, geometry: Geometry, recipe: Any,
          strength: Array) -> Shown:  # fmt: skip
    """Faces to learn by, disturbed at the input.

    ``strength`` in [0, 1] scales the warp. Inputs and targets are the same faces but for the base, where they are two
    identities in the same performance.
    """
    b = len(index_in)
    k = jax.random.split(key, 4)
    affine = random_affine(k[0], b, recipe)
    source = target = sample(targets, index_out, affine, geometry)
    if recipe.warp:
        warp = random_warp(k[1], b, geometry.resolution) * (recipe.warp * strength)
        source = sample(inputs, index_in, affine, geometry, warp)
    elif inputs is not targets or index_in is not index_out:
        source = sample(inputs, index_in, affine, geometry)
    shown = exchange_surroundings(k[3], source[..., :3], source[..., 3:], recipe)
    shown = disturb_color(k[2], shown, recipe)
    if recipe.light or recipe.standardise or recipe.jpeg:
        shown = other_camera(jax.random.fold_in(k[2], APART + 1), shown, recipe)
    shown = corrupted(jax.random.fold_in(k[2], APART), shown, recipe)
    return Shown(shown, source[..., 3:], target[..., :3], target[..., 3:])
