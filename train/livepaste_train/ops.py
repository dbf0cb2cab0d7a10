"""The few operations that models are written in, here executed by jax; ``onnx_ops.py`` writes the same ones as ONNX nodes.

A model's forward pass takes ``ops`` as an argument, so what is exported is what was trained, by construction.
Pictures are NHWC here. Kernels are HWIO.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from livepaste_train.convolutions import convolved, halved

LOWEST_TONE = 0.02  # of 1; a darker picture is not made brighter without end
HARDLY = 1e-3  # of the middle of a face under its mask: where less of it shows, the tone is that of the crop
EVEN = 0.45
TINY = 1e-5  # added to a variance
GAINS = 0.3, 3.0  # at most so much darker or brighter than usual


@cache
def window(side: int) -> np.ndarray:
    """Weights of the middle of a face, float32 (side, side), of sum 1: cheeks and nose, which light falls on alike with everybody."""
    x = (np.arange(side) + 0.5) / side - 0.5
    bell = np.exp(-0.5 * ((x / 0.15) ** 2)[None] - 0.5 * ((x / 0.17) ** 2)[:, None])
    return (bell / bell.sum()).astype(np.float32)


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "linear": lambda x: x,
}


def moments(x: jax.Array, axes: int | tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Mean and variance over ``axes``, which are kept, float32."""
    x = x.astype(jnp.float32)
    mean = x.mean(axes, keepdims=True)
    return mean, jnp.square(x - mean).mean(axes, keepdims=True)


def _standard(x: jax.Array, mean: jax.Array, variance: jax.Array) -> jax.Array:
    return ((x - mean) * lax.rsqrt(variance + TINY)).astype(x.dtype)


class JaxOps:
    """Executes the operations with jax."""

    def conv(self, x: jax.Array, kernel: jax.Array, gain: jax.Array | None, bias: jax.Array) -> jax.Array:
        """Stride-1, same-size convolution, times ``gain``, plus ``bias``; both (c,) or, per example, (b, c). ``gain`` None is 1.

        By a kernel (k, k, 1, c) each of several channels by itself (depthwise).
        """
        y = convolved(x, kernel)
        if gain is None:
            return y + bias
        if gain.ndim == 2:
            gain, bias = gain[:, None, None], bias[:, None, None]
        return y * gain + bias

    def halving_conv(self, x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        """Stride-2 convolution to a map of half the (even) side, padded as TensorFlow's SAME does: one pixel more at the end."""
        return halved(x, kernel) + bias

    def dense(self, x: jax.Array, kernel: jax.Array, bias: jax.Array | None) -> jax.Array:
        """(b, i) @ (i, o) + bias (o,) or (b, o); None is 0."""
        return x @ kernel if bias is None else x @ kernel + bias

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

    def leaky(self, x: jax.Array, slope: float = 0.1) -> jax.Array:
        """Leaky rectifier."""
        return jnp.where(x > 0, x, slope * x)

    def active(self, x: jax.Array, name: str) -> jax.Array:
        """Any of ``ACTIVATIONS``."""
        return ACTIVATIONS[name](x)

    def join(self, *parts: jax.Array) -> jax.Array:
        """Side by side on the channels (or a code's numbers), the last axis."""
        return jnp.concatenate(parts, -1)

    def part(self, x: jax.Array, start: int, end: int) -> jax.Array:
        """Channels (or a code's numbers) ``start`` to ``end``."""
        return x[..., start:end]

    def norm(self, x: jax.Array) -> jax.Array:
        """Unit mean square over the channels of each pixel, or over a code (pixel norm, Karras et al. 2018)."""
        return x * lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-6)

    def layer_norm(self, x: jax.Array) -> jax.Array:
        """Mean 0 and variance 1 over the channels of each pixel."""
        return _standard(x, *moments(x, -1))

    def instance_norm(self, x: jax.Array) -> jax.Array:
        """Mean 0 and variance 1 over the pixels of each channel of each picture."""
        return _standard(x, *moments(x, (1, 2)))

    def batch_norm(self, x: jax.Array, mean: Any, variance: Any) -> jax.Array:
        """By statistics that are known for each channel; both are parameters (c,)."""
        return _standard(x, mean[...], variance[...])

    def affine(self, x: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
        """x · scale + shift, both for each channel (c,)."""
        return x * scale + shift

    def sigmoid(self, x: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(x)

    def tanh(self, x: jax.Array) -> jax.Array:
        return jnp.tanh(x)

    def clipped(self, x: jax.Array) -> jax.Array:
        """To [0, 1]."""
        return jnp.clip(x, 0.0, 1.0)

    def scale(self, x: jax.Array, by: float, plus: float) -> jax.Array:
        """by · x + plus."""
        return x * by + plus

    def shift(self, x: jax.Array, by: jax.Array) -> jax.Array:
        """Add a constant picture (h, w, c), or one for each example."""
        return x + by

    def tone(self, x: jax.Array) -> jax.Array:
        """Colour in the middle of the crop, see ``window``: (b, s, s, 3) -> (b, 1, 1, 3), at least 0.02."""
        return jnp.maximum(jnp.einsum("byxc,yx->bc", x, window(x.shape[1])), LOWEST_TONE)[:, None, None]

    def tone_under(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Colour in the middle of the face under ``mask`` (b, s, s, 1): (b, s, s, 3) -> (b, 1, 1, 3), at least 0.02.

        Under the whole mask, shadows of hair, brows, beard and lips, which no two people share, would count as the room's light; in the
        middle of the crop without a mask, what is beside a turned head. Beside the truth of five pairs of photo actors, the light taken
        so is off by 0.008 to 0.060 (root mean square of logarithms), under the whole mask by 0.028 to 0.096.
        """
        mask = mask * window(x.shape[1])[:, :, None]
        weight = mask.sum((1, 2), keepdims=True) + HARDLY
        return jnp.maximum(((x * mask).sum((1, 2), keepdims=True) + HARDLY * self.tone(x)) / weight, LOWEST_TONE)

    def even(self, x: jax.Array, tone: jax.Array) -> jax.Array:
        """The picture as if its tone were ``EVEN`` in each channel; of its own dtype, which convolutions insist on."""
        return (x * (EVEN / tone)).astype(x.dtype)

    def bounded(self, x: jax.Array, lowest: jax.Array, highest: jax.Array) -> jax.Array:
        """Numbers (b, n), each between its bounds (n,)."""
        return jnp.clip(x, lowest, highest)

    def times(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return x * y

    def toned(self, usual: jax.Array, exponent: jax.Array) -> jax.Array:
        """A tone (3,) times exp of numbers (b, 3): (b, 1, 1, 3)."""
        return usual * jnp.exp(exponent)[:, None, None]

    def relight(self, x: jax.Array, tone: jax.Array, usual: jax.Array, share: jax.Array, own: jax.Array) -> jax.Array:
        """A picture of tone ``EVEN`` in its ``own``, under a light that gives ``tone`` to what is ``usual``, all (b, 1, 1, 3); in [0, 1].

        ``share`` (1,) of that light: 0 leaves the picture in its own tone.
        """
        return jnp.clip(x * (jnp.clip(tone / usual, *GAINS) ** share * (own / EVEN)), 0.0, 1.0)

    def add(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return x + y

    def warp(self, x: jax.Array, flow: jax.Array) -> jax.Array:
        """Maps (b, s, s, c), each pixel from where ``flow`` (b, s, s, 2) leads: right and down, in halves of the side from the first pixel's
        middle to the last one's. Between pixels linearly, beyond the edge from the edge."""
        b, s, _, c = x.shape
        at = jnp.arange(s, dtype=jnp.float32)
        across, down = (
            jnp.clip(flow[..., i] * ((s - 1) / 2) + line, 0, s - 1) for i, line in enumerate((at, at[:, None]))
        )
        left, top = (jnp.minimum(jnp.floor(where), s - 2) for where in (across, down))
        right_share, low_share = (across - left)[..., None], (down - top)[..., None]
        rows = x.reshape(b, s * s, c)

        def corner(y: int, x: int) -> jax.Array:
            index = ((top + y) * s + left + x).astype(jnp.int32).reshape(b, s * s, 1)
            return jnp.take_along_axis(rows, index, 1).reshape(b, s, s, c)

        upper = corner(0, 0) * (1 - right_share) + corner(0, 1) * right_share
        lower = corner(1, 0) * (1 - right_share) + corner(1, 1) * right_share
        return (upper * (1 - low_share) + lower * low_share).astype(x.dtype)


class LearningOps(JaxOps):
    """The same during a step, where a batch is normalised by its own statistics."""

    def batch_norm(self, x: jax.Array, mean: Any, variance: Any) -> jax.Array:
        return _standard(x, *moments(x, (0, 1, 2)))


JAX_OPS, LEARNING_OPS = JaxOps(), LearningOps()
