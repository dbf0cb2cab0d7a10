"""What another camera, room or call does to an input picture: light from one side, JPEG, another brightness and contrast. All on the device."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
STANDARD = 0.45, 0.22  # mean and standard deviation of a standardised picture
QUALITY = 20.0, 90.0  # of JPEG, as libjpeg counts
BLOCK = 8  # pixels
# ITU-T T.81 (1992), tables K.1 and K.2: steps of luma and chroma at quality 50
LUMA = np.array([
    [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55], [14, 13, 16, 24, 40, 57, 69, 56], [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92], [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
], np.float32)  # fmt: skip
CHROMA = np.full((BLOCK, BLOCK), 99, np.float32)
CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
# ITU-R BT.601, as JFIF has it: Y, Cb, Cr of R, G, B
TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)
_K = np.arange(BLOCK)
COSINES = (
    np.sqrt(np.where(_K == 0, 1, 2) / BLOCK)[:, None] * np.cos(np.pi * (_K + 0.5)[None] * _K[:, None] / BLOCK)
).astype(np.float32)


def lit_from_a_side(key: Array, x: Array, most: float) -> Array:
    """Pictures (b, s, s, 3) with light that rises across them, in any direction, by up to ``most`` of a logarithm from side to side."""
    b, s = x.shape[:2]
    u = jax.random.uniform(key, (2, b, 1, 1))
    angle, amount = 2 * jnp.pi * u[0], most * u[1]
    axis = (jnp.arange(s) + 0.5) / s - 0.5
    across = jnp.cos(angle) * axis[None, None, :] + jnp.sin(angle) * axis[None, :, None]
    return jnp.clip(x * jnp.exp(amount * across)[..., None], 0.0, 1.0)


def standardised(x: Array) -> Array:
    """Pictures (b, s, s, 3) of one mean and one standard deviation, over pixels and channels."""
    mean = x.mean((1, 2, 3), keepdims=True)
    spread = jnp.sqrt(jnp.square(x - mean).mean((1, 2, 3), keepdims=True))
    return jnp.clip(STANDARD[0] + (x - mean) * (STANDARD[1] / jnp.maximum(spread, 0.02)), 0.0, 1.0)


def jpeg_again(x: Array, quality: Array) -> Array:
    """Pictures (b, s, s, 3) in [0, 1] as JPEG of ``quality`` (b,) gives them back: steps scaled as libjpeg does, chroma at half the side."""
    scale = jnp.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None]
    luma, chroma = (jnp.clip(jnp.floor((table * scale + 50) / 100), 1, 255) for table in (LUMA, CHROMA))
    ycc = jnp.einsum("byxc,dc->dbyx", 255 * x, TO_YCC)
    y = _quantised(ycc[0] - 128, luma)
    colors = [jnp.repeat(jnp.repeat(_quantised(_halved(c), chroma), 2, 1), 2, 2) for c in ycc[1:]]
    rgb = jnp.einsum("dbyx,cd->byxc", jnp.stack([y + 128, *colors]), np.linalg.inv(TO_YCC))
    return jnp.clip(rgb / 255, 0.0, 1.0)


def _halved(x: Array) -> Array:
    b, h, w = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2).mean((2, 4))


def _quantised(x: Array, steps: Array) -> Array:
    """(b, h, w) through the cosines of 8×8 blocks in ``steps`` (b, 8, 8); beyond the border the last row and column go on."""
    b, h, w = x.shape
    more = [(0, 0), (0, -h % BLOCK), (0, -w % BLOCK)]
    x = jnp.pad(x, more, mode="edge")
    rows, columns = x.shape[1] // BLOCK, x.shape[2] // BLOCK
    blocks = x.reshape(b, rows, BLOCK, columns, BLOCK)
    waves = jnp.einsum("ui,brich,vh->brucv", COSINES, blocks, COSINES)
    steps = steps[:, None, :, None, :]
    waves = jnp.round(waves / steps) * steps
    back = jnp.einsum("ui,brucv,vh->brich", COSINES, waves, COSINES)
    return back.reshape(x.shape)[:, :h, :w]


def other_camera(key: Array, x: Array, recipe: Any) -> Array:
    """The recipe's ``light`` (strength), ``standardise`` and ``jpeg`` (probabilities) of pictures (b, s, s, 3), in this order."""
    k, b = jax.random.split(key, 3), x.shape[0]
    u = jax.random.uniform(k[0], (3, b))
    if recipe.light:
        x = lit_from_a_side(k[1], x, recipe.light)
    if recipe.standardise:
        x = jnp.where((u[0] < recipe.standardise)[:, None, None, None], standardised(x), x)
    if recipe.jpeg:
        low, high = QUALITY
        x = jnp.where((u[1] < recipe.jpeg)[:, None, None, None], jpeg_again(x, low + (high - low) * u[2]), x)
    return x
