"""Structural similarity (Wang et al. 2004) and its multi-scale form (Wang et al. 2003), as losses for each pixel."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array

SIGMA, RADIUS = 1.5, 5  # of the 11×11 window
C1, C2 = 0.01**2, 0.03**2  # for values in [0, 1]
SCALES = 0.0448, 0.2856, 0.3001, 0.2363, 0.1333  # exponents, finest first
SMALLEST = 11  # side of a map that is a scale of its own: the window's
LEAST = 1e-4  # of a contrast term: a negative one has no power


@cache
def window(side: int) -> np.ndarray:
    """The window as a matrix (side, side) whose rows have the sum 1; at the border over what lies inside."""
    at = np.arange(side)
    apart = at[:, None] - at
    weight = np.exp(-0.5 * (apart / SIGMA) ** 2) * (np.abs(apart) <= RADIUS)
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


def _seen(x: Array) -> Array:
    """Weighted mean around each pixel (b, h, w, c): two products of matrices, which CPUs take faster than a convolution by channels."""
    # accelerators round float32 to ten bits by default, of which nothing is left in the difference of two means of squares
    return jnp.einsum(
        "yi,bijc,xj->byxc", window(x.shape[1]), x, window(x.shape[2]), precision=jax.lax.Precision.HIGHEST
    )


def _parts(x: Array, y: Array) -> tuple[Array, Array]:
    """Luminance, and contrast with structure, (b, h, w, c) each."""
    mx, my = _seen(x), _seen(y)
    vx, vy, cov = _seen(x * x) - mx * mx, _seen(y * y) - my * my, _seen(x * y) - mx * my
    return (2 * mx * my + C1) / (mx * mx + my * my + C1), (2 * cov + C2) / (vx + vy + C2)


def ssim(x: Array, y: Array) -> Array:
    """1 - SSIM, in [0, 2]."""
    luminance, contrast = _parts(x, y)
    return 1 - luminance * contrast


def dssim(x: Array, y: Array) -> Array:
    """(1 - SSIM) / 2."""
    return ssim(x, y) / 2


def _halved(x: Array) -> Array:
    b, h, w, c = x.shape
    return x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def ms_ssim(x: Array, y: Array) -> Array:
    """1 - MS-SSIM for each pixel, of as many of the five scales as have a map as large as the window, their exponents brought to the sum 1."""
    count = max(1, min(len(SCALES), 1 + int(np.log2(min(x.shape[1:3]) / SMALLEST))))
    exponents = np.array(SCALES[:count]) / sum(SCALES[:count])
    made, (h, w) = jnp.ones_like(x), x.shape[1:3]
    for number, exponent in enumerate(exponents):
        luminance, contrast = _parts(x, y)
        part = luminance * contrast if number == count - 1 else contrast
        n = 2**number
        whole = jnp.repeat(jnp.repeat(jnp.maximum(part, LEAST) ** exponent, n, 1), n, 2)
        made *= jnp.pad(whole, ((0, 0), (0, h - whole.shape[1]), (0, w - whole.shape[2]), (0, 0)), mode="edge")
        x, y = _halved(x), _halved(y)
    return 1 - made
