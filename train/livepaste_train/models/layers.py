"""Blocks that architectures share. Each holds its parameters and runs on any ``ops`` (see ``livepaste_train.ops``)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from livepaste_train.compiling import put
from livepaste_train.models.style import Norm, style_of


def constant(value: float, shape: tuple[int, ...]) -> jax.Array:
    """A float32 array of one value; ``jnp.full``'s dtype would be a weak one."""
    return put(np.full(shape, value, np.float32))


def logits_of(mean: Any) -> jax.Array:
    """A mean picture or mask in [0, 1] as logits."""
    share = jnp.clip(mean, 0.02, 0.98)
    return jnp.log(share / (1 - share))


class Conv(nnx.Module):
    """Convolution with a gain and a bias per channel, one row of them for each identity.

    With one identity it is an ordinary convolution. With several (the base), the rows are what tells people
    apart: feature-wise modulation (Perez et al. 2018), everything else is shared.
    """

    def __init__(
        self, c_in: int, c_out: int, k: int, rngs: nnx.Rngs, *, identities: int = 1, gain: float = 1.0
    ) -> None:
        self.kernel = nnx.Param(style_of(rngs).kernel(rngs.params(), (k, k, c_in, c_out)))
        self.gain = nnx.Param(constant(gain, (identities, c_out)))
        self.bias = nnx.Param(constant(0.0, (identities, c_out)))

    def __call__(self, x: Any, ops: Any, who: Any = 0) -> Any:
        return ops.conv(x, self.kernel[...], self.gain[...][who], self.bias[...][who])


class Residual(nnx.Module):
    """x + conv(leaky(conv(leaky(norm(x))))), norm and leaky as the style has them; the second gain starts small, so the block starts
    near the identity."""

    def __init__(self, c: int, rngs: nnx.Rngs, *, identities: int = 1) -> None:
        self.style = style_of(rngs)
        self.norm = Norm(c, self.style, own="pixel")
        self.first = Conv(c, c, 3, rngs, identities=identities)
        self.second = Conv(c, c, 3, rngs, identities=identities, gain=0.2)

    def __call__(self, x: Any, ops: Any, who: Any = 0) -> Any:
        y = self.first(self.style.active(self.norm(x, ops), ops), ops, who)
        return ops.add(x, self.second(self.style.active(y, ops), ops, who))


def evened(crops: Any, ops: Any) -> Any:
    """What networks see of crops (b, s, s, 3) in [0, 1]: neither the room's light nor the skin's colour; about zero."""
    return ops.scale(ops.even(crops, ops.tone(crops)), 3.0, -1.35)


class Down(nnx.Module):
    """Halve the map: space-to-depth and a 1×1 convolution (a strided convolution's input gradient is slow on CPUs)."""

    def __init__(self, c_in: int, c_out: int, rngs: nnx.Rngs) -> None:
        self.conv = Conv(4 * c_in, c_out, 1, rngs)

    def __call__(self, x: Any, ops: Any) -> Any:
        return self.conv(ops.space_to_depth(x, 2), ops)


class Up(nnx.Module):
    """Double the map: 1×1 convolution and pixel shuffle."""

    def __init__(self, c_in: int, c_out: int, rngs: nnx.Rngs, *, identities: int = 1) -> None:
        self.conv = Conv(c_in, 4 * c_out, 1, rngs, identities=identities)

    def __call__(self, x: Any, ops: Any, who: Any = 0) -> Any:
        return ops.depth_to_space(self.conv(x, ops, who), 2)


class Dense(nnx.Module):
    """Fully connected, one bias row for each identity."""

    def __init__(self, c_in: int, c_out: int, rngs: nnx.Rngs, *, identities: int = 1) -> None:
        self.kernel = nnx.Param(style_of(rngs).kernel(rngs.params(), (c_in, c_out), gain=0.7))
        self.bias = nnx.Param(constant(0.0, (identities, c_out)))

    def __call__(self, x: Any, ops: Any, who: Any = 0) -> Any:
        return ops.dense(x, self.kernel[...], self.bias[...][who])


class PlainConv(nnx.Module):
    """Convolution and bias, nothing else: as the architectures of others have it. ``halving`` with stride 2."""

    def __init__(self, c_in: int, c_out: int, k: int, rngs: nnx.Rngs, *, halving: bool = False) -> None:
        self.kernel = nnx.Param(style_of(rngs).kernel(rngs.params(), (k, k, c_in, c_out)))
        self.bias = nnx.Param(constant(0.0, (c_out,)))
        self.halving = halving

    def __call__(self, x: Any, ops: Any) -> Any:
        if self.halving:
            return ops.halving_conv(x, self.kernel[...], self.bias[...])
        return ops.conv(x, self.kernel[...], None, self.bias[...])


class Downscale(nnx.Module):
    """Halve the map: 5×5 convolution with stride 2 and leaky rectifier, as the 2018 family does."""

    def __init__(self, c_in: int, c_out: int, rngs: nnx.Rngs) -> None:
        self.style = style_of(rngs)
        self.conv = PlainConv(c_in, c_out, 5, rngs, halving=True)
        self.norm = Norm(c_out, self.style)

    def __call__(self, x: Any, ops: Any) -> Any:
        return self.style.active(self.norm(self.conv(x, ops), ops), ops)


class Upscale(nnx.Module):
    """Double the map: 3×3 convolution, leaky rectifier and pixel shuffle, as the 2018 family does."""

    def __init__(self, c_in: int, c_out: int, rngs: nnx.Rngs) -> None:
        self.style = style_of(rngs)
        self.conv = PlainConv(c_in, 4 * c_out, 3, rngs)
        self.norm = Norm(4 * c_out, self.style)

    def __call__(self, x: Any, ops: Any) -> Any:
        return ops.depth_to_space(self.style.active(self.norm(self.conv(x, ops), ops), ops), 2)


class ResidualBlock(nnx.Module):
    """leaky(x + conv(leaky(conv(x)))), slope 0.2, as the 2020 family does."""

    def __init__(self, c: int, rngs: nnx.Rngs) -> None:
        self.style = style_of(rngs)
        self.first = PlainConv(c, c, 3, rngs)
        self.second = PlainConv(c, c, 3, rngs)
        self.norms = nnx.List(Norm(c, self.style) for _ in range(2))

    def __call__(self, x: Any, ops: Any) -> Any:
        y = self.style.active(self.norms[0](self.first(x, ops), ops), ops, 0.2)
        return self.style.active(ops.add(x, self.norms[1](self.second(y, ops), ops)), ops, 0.2)
