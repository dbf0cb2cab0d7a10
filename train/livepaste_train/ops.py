"""The few operations that models are written in, here executed by jax; ``export.py`` writes the same ones as ONNX nodes.

A model's forward pass takes ``ops`` as an argument, so what is exported is what was trained, by construction.
Pictures are NHWC here. Kernels are HWIO.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

LOWEST_TONE = 0.02  # of 1; a darker picture is not made brighter without end
HARDLY = 1e-3  # of the middle of a face under its mask: where less of it shows, the tone is that of the crop
EVEN = 0.45
GAINS = 0.3, 3.0  # at most so much darker or brighter than usual
_NHWC = ("NHWC", "HWIO", "NHWC")


@cache
def window(side: int) -> np.ndarray:
    """Weights of the middle of a face, float32 (side, side), of sum 1: cheeks and nose, which light falls on alike with everybody."""
    x = (np.arange(side) + 0.5) / side - 0.5
    bell = np.exp(-0.5 * ((x / 0.15) ** 2)[None] - 0.5 * ((x / 0.17) ** 2)[:, None])
    return (bell / bell.sum()).astype(np.float32)


def _lax_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_NHWC)


@jax.custom_vjp
def _conv3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Stride-1 3×3 convolution whose gradients are dots of bfloat16 with float32 sums.

    XLA's CPU weight gradient of such a convolution on a map of 28 px runs at a quarter of the forward pass's rate
    (20 ms for 16 maps of 64 channels; 7 ms as here with AMX or AVX-512 BF16). Without those it is slower than XLA's own:
    a whole training step takes 0.7 s instead of 0.53 on an AVX2 machine. So ``conv`` asks :func:`multiplies_bfloat16` first.
    """
    return _lax_conv(x, kernel)


def _conv3_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _lax_conv(x, kernel), (x, kernel)


def _columns(x: jax.Array) -> jax.Array:
    """Each pixel beside its left and right neighbour, bfloat16 ((b·(h + 2) + 2)·w, 3c): rows padded, one after the other.

    So a shift by one row of the map is a contiguous slice.
    """
    b, h, w, c = x.shape
    rows = jnp.pad(x.astype(jnp.bfloat16), ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(b * (h + 2), w + 2, c)
    rows = jnp.pad(rows, ((0, 2), (0, 0), (0, 0)))
    return jnp.concatenate([rows[:, j : j + w] for j in range(3)], -1).reshape(-1, 3 * c)


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return lax.dot(a, b, preferred_element_type=jnp.float32)


def _conv3_backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    b, h, w, c = x.shape
    d, rows = g.shape[-1], b * (h + 2) * w
    columns = _columns(g)
    shifted = [columns[i * w : i * w + rows] for i in range(3)]
    turned = jnp.flip(kernel, (0, 1)).transpose(0, 1, 3, 2)
    if h > 28:  # there the convolution is faster
        dx = _lax_conv(g, turned)
    else:
        taps = turned.astype(jnp.bfloat16).reshape(3, 3 * d, c)
        dx = sum(_dot(s, k) for s, k in zip(shifted, taps, strict=True)).reshape(b, h + 2, w, c)[:, :h]
    # padded after it is transposed: XLA would fold a last transpose into the dots, which are then float32 ones
    across = jnp.pad(x.astype(jnp.bfloat16).transpose(3, 0, 1, 2), ((0, 0), (0, 0), (0, 2), (0, 0))).reshape(c, rows)
    dk = jnp.stack([_dot(across, s) for s in reversed(shifted)]).reshape(3, c, 3, d)
    return dx.astype(x.dtype), dk[:, :, ::-1].transpose(0, 2, 1, 3).astype(kernel.dtype)


_conv3.defvjp(_conv3_forward, _conv3_backward)


@cache
def multiplies_bfloat16() -> bool:
    """Whether jax runs on a CPU that has instructions for dots of bfloat16 (as Linux tells on x86; elsewhere False)."""
    if jax.default_backend() != "cpu":
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text("ascii", errors="replace")
    except OSError:
        return False
    return re.search(r"\b(amx_bf16|avx512_bf16)\b", flags) is not None


class JaxOps:
    """Executes the operations with jax."""

    def conv(self, x: jax.Array, kernel: jax.Array, gain: jax.Array, bias: jax.Array) -> jax.Array:
        """Stride-1, same-size convolution, times ``gain``, plus ``bias``; both (c,) or, per example, (b, c)."""
        conv = _conv3 if multiplies_bfloat16() else _lax_conv
        y = x @ kernel[0, 0] if kernel.shape[0] == 1 else conv(x, kernel)
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

    def relight(self, x: jax.Array, tone: jax.Array, usual: jax.Array, share: jax.Array, own: jax.Array) -> jax.Array:
        """A picture of tone ``EVEN`` in its ``own`` (3,), under a light that gives ``tone`` to what is ``usual`` (3,); in [0, 1].

        ``share`` (1,) of that light: 0 leaves the picture in its own tone.
        """
        return jnp.clip(x * (jnp.clip(tone / usual, *GAINS) ** share * (own / EVEN)), 0.0, 1.0)

    def add(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return x + y


JAX_OPS = JaxOps()
