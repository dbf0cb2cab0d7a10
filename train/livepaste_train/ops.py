"""The few operations that models are written in, here executed by jax; ``export.py`` writes the same ones as ONNX nodes.

A model's forward pass takes ``ops`` as an argument, so what is exported is what was trained, by construction.
Pictures are NHWC here. Kernels are HWIO.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

_NHWC = ("NHWC", "HWIO", "NHWC")


def _lax_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_NHWC)


@jax.custom_vjp
def _conv_large_map(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Stride-1 convolution whose weight gradient is k·k shifted dots.

    XLA's CPU weight gradient of a 3×3 convolution on a map of 28 px and more runs at a quarter of the forward
    pass's rate; as shifted dots it takes about 0.7 of that time.
    """
    return _lax_conv(x, kernel)


def _conv_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _lax_conv(x, kernel), (x, kernel)


def _conv_backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    k, (_, h, w, c) = kernel.shape[0], x.shape
    dx = _lax_conv(g, jnp.flip(kernel, (0, 1)).transpose(0, 1, 3, 2))
    p = k // 2
    padded = jnp.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))
    flat = g.reshape(-1, g.shape[-1])
    shifts = [padded[:, i : i + h, j : j + w].reshape(-1, c).T @ flat for i in range(k) for j in range(k)]
    return dx, jnp.stack(shifts).reshape(kernel.shape)


_conv_large_map.defvjp(_conv_forward, _conv_backward)


class JaxOps:
    """Executes the operations with jax."""

    def conv(self, x: jax.Array, kernel: jax.Array, gain: jax.Array, bias: jax.Array) -> jax.Array:
        """Stride-1, same-size convolution, times ``gain``, plus ``bias``; both (c,) or, per example, (b, c)."""
        if kernel.shape[0] == 1:
            y = x @ kernel[0, 0]
        else:
            y = (_conv_large_map if x.shape[1] >= 28 else _lax_conv)(x, kernel)
        if gain.ndim == 2:
            gain, bias = gain[:, None, None], bias[:, None, None]
        return y * gain + bias

    def dense(self, x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        """(b, i) @ (i, o) + bias (o,) or (b, o)."""
        return x @ kernel + bias

    def flatten(self, x: jax.Array) -> jax.Array:
        """(b, h, w, c) -> (b, h·w·c)."""
        return x.reshape(x.shape[0], -1)

    def unflatten(self, x: jax.Array, side: int) -> jax.Array:
        """(b, side·side·c) -> (b, side, side, c)."""
        return x.reshape(x.shape[0], side, side, -1)

    def space_to_depth(self, x: jax.Array, n: int) -> jax.Array:
        """(b, h, w, c) -> (b, h/n, w/n, n·n·c), row of the block first, then column, then channel."""
        b, h, w, c = x.shape
        x = x.reshape(b, h // n, n, w // n, n, c).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(b, h // n, w // n, n * n * c)

    def depth_to_space(self, x: jax.Array, n: int) -> jax.Array:
        """The inverse of :meth:`space_to_depth`."""
        b, h, w, c = x.shape
        x = x.reshape(b, h, w, n, n, c // (n * n)).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(b, h * n, w * n, c // (n * n))

    def leaky(self, x: jax.Array) -> jax.Array:
        """Leaky rectifier, slope 0.1."""
        return jnp.where(x > 0, x, 0.1 * x)

    def norm(self, x: jax.Array) -> jax.Array:
        """Unit mean square over the channels of each pixel (pixel norm, Karras et al. 2018)."""
        return x * lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-6)

    def sigmoid(self, x: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(x)

    def scale(self, x: jax.Array, by: float, plus: float) -> jax.Array:
        """by · x + plus."""
        return x * by + plus

    def shift(self, x: jax.Array, by: jax.Array) -> jax.Array:
        """Add a constant picture (h, w, c), or one for each example."""
        return x + by

    def add(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return x + y


JAX_OPS = JaxOps()
