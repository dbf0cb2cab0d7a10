"""Convolutions that are fast on CPUs, with their gradients. Pictures are NHWC, kernels HWIO."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import lax

_NHWC = ("NHWC", "HWIO", "NHWC")


def convolved(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Stride-1, same-size convolution (b, h, w, c) -> (b, h, w, d), as fast as this machine does it.

    By a kernel (k, k, 1, c) each of several channels by itself.
    """
    if kernel.shape[2] < x.shape[-1]:
        return _channel_by_channel(x, kernel)
    if kernel.shape[0] == 1:
        return x @ kernel[0, 0]
    return _conv3(x, kernel) if kernel.shape[0] == 3 and multiplies_bfloat16() else _lax_conv(x, kernel)


def halved(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Stride-2 convolution (b, h, w, c) -> (b, h/2, w/2, d) by a kernel of odd side, padded one pixel more at the end.

    On CPUs as a dot of the kernel's strided slices: XLA's input gradient of a strided convolution of many channels on a small map is
    a hundred and sixty times slower (0.9 GFLOP/s and 148; 512 to 1,024 channels, 8 px to 4 px, two cores, AVX2, jax 0.10.2).
    """
    k = kernel.shape[0]
    pad = ((k - 2) // 2, (k - 1) // 2)
    if jax.default_backend() != "cpu":
        return lax.conv_general_dilated(x, kernel, (2, 2), [pad, pad], dimension_numbers=_NHWC)
    _, h, w, c = x.shape
    padded = jnp.pad(x, ((0, 0), pad, pad, (0, 0)))
    taps = [padded[:, i : i + h : 2, j : j + w : 2] for i in range(k) for j in range(k)]
    return jnp.concatenate(taps, -1) @ kernel.reshape(k * k * c, -1)


def _channel_by_channel(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A depthwise convolution; on CPUs as a sum of shifted maps, which with its gradients takes a quarter of the time of XLA's grouped
    convolution (28 px of 256 channels, 14 px of 512; two cores, jax 0.10.2)."""
    if jax.default_backend() != "cpu":
        grouped = x.shape[-1]
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_NHWC, feature_group_count=grouped)
    k, (_, h, w, _) = kernel.shape[0], x.shape
    padded = jnp.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    return sum(padded[:, i : i + h, j : j + w] * kernel[i, j, 0] for i in range(k) for j in range(k))


def _lax_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_NHWC)


@jax.custom_vjp
def _conv3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Stride-1 3×3 convolution whose gradients are dots of bfloat16 with float32 sums.

    XLA's CPU weight gradient of such a convolution on a map of 28 px runs at a quarter of the forward pass's rate
    (20 ms for 16 maps of 64 channels; 7 ms as here with AMX or AVX-512 BF16). Without those it is slower than XLA's own:
    a whole training step takes 0.7 s instead of 0.53 on an AVX2 machine. So ``convolved`` asks :func:`multiplies_bfloat16` first.
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
