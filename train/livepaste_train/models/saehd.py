"""Blocks of the 2020 family (``df`` and ``liae``), with its options as flags.

u: the encoder's map, flat, to unit mean square. d: decoders work at half the side, and their last four convolutions together give four
pixels each. t: one halving more, a residual block before the first and after the last, and no upscale before the decoders.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from flax import nnx

from livepaste.errors import OptionError
from livepaste.options import within
from livepaste_train.models.layers import Dense, Downscale, PlainConv, ResidualBlock, Upscale
from livepaste_train.recipe import check_resolution

FLAGS = "udt"


@dataclass(frozen=True)
class SaehdOptions:
    """``code``: numbers of a bottleneck. ``encoder``, ``decoder`` and ``mask``: channels of their widest map at the full side."""

    resolution: int = 128
    flags: str = "ud"
    code: int = 256
    encoder: int = 64
    decoder: int = 64
    mask: int = 22

    def __post_init__(self) -> None:
        check_resolution(self.resolution, 32 if "d" in self.flags or "t" in self.flags else 16)
        if set(self.flags) - set(FLAGS) or len(set(self.flags)) < len(self.flags):
            raise OptionError(f"flags must be of the letters {FLAGS}, each once, got {self.flags!r}")
        for name in ("code", "encoder", "decoder", "mask"):
            within(name, getattr(self, name), 1, 2048)

    @property
    def low(self) -> int:
        """Side of the map that a code is opened to."""
        return self.resolution // (32 if "d" in self.flags else 16)

    @property
    def last(self) -> int:
        """Side of the encoder's last map."""
        return self.resolution // (32 if "t" in self.flags else 16)


class Encoder(nnx.Module):
    """Crop to a flat map."""

    def __init__(self, o: SaehdOptions, rngs: nnx.Rngs) -> None:
        e, self.normed = o.encoder, "u" in o.flags
        widths = (3, e, 2 * e, 4 * e, 8 * e, 8 * e) if "t" in o.flags else (3, e, 2 * e, 4 * e, 8 * e)
        self.convs = nnx.List(Downscale(a, b, rngs) for a, b in pairwise(widths))
        self.first, self.last = (ResidualBlock(e, rngs), ResidualBlock(8 * e, rngs)) if "t" in o.flags else (None, None)
        self.size = o.last**2 * widths[-1]

    def __call__(self, x: Any, ops: Any) -> Any:
        for number, conv in enumerate(self.convs):
            x = conv(x, ops)
            if number == 0 and self.first is not None:
                x = self.first(x, ops)
        x = ops.flatten(x if self.last is None else self.last(x, ops))
        return ops.norm(x) if self.normed else x


class Inter(nnx.Module):
    """A bottleneck: the encoder's map to a code, and the code opened to a map of ``channels``."""

    def __init__(self, o: SaehdOptions, size: int, channels: int, rngs: nnx.Rngs) -> None:
        self.low = o.low
        self.code = Dense(size, o.code, rngs)
        self.open = Dense(o.code, o.low**2 * channels, rngs)
        self.up = None if "t" in o.flags else Upscale(channels, channels, rngs)

    def encode(self, x: Any, ops: Any) -> Any:
        return self.code(x, ops)

    def opened(self, code: Any, ops: Any) -> Any:
        x = ops.unflatten(self.open(code, ops), self.low)
        return x if self.up is None else self.up(x, ops)


class Decoder(nnx.Module):
    """A bottleneck's map of ``channels`` to picture and mask, as logits; the mask has a thinner branch of its own, without residual blocks."""

    def __init__(self, o: SaehdOptions, channels: int, rngs: nnx.Rngs) -> None:
        d, m, t = o.decoder, o.mask, "t" in o.flags
        widths = (channels, 8 * d, 8 * d, 4 * d, 2 * d) if t else (channels, 8 * d, 4 * d, 2 * d)
        self.ups = nnx.List(Upscale(a, b, rngs) for a, b in pairwise(widths))
        self.blocks = nnx.List(ResidualBlock(c, rngs) for c in widths[1:])
        sides = (1, 3, 3, 3) if "d" in o.flags else (1,)
        self.heads = nnx.List(PlainConv(widths[-1], 3, k, rngs) for k in sides)
        masks = (channels, 8 * m, 8 * m, 4 * m, 2 * m) if t else (channels, 8 * m, 4 * m, 2 * m)
        masks = (*masks, m) if "d" in o.flags else masks
        self.mask_ups = nnx.List(Upscale(a, b, rngs) for a, b in pairwise(masks))
        self.mask_head = PlainConv(masks[-1], 1, 1, rngs)

    def picture(self, x: Any, ops: Any) -> Any:
        for up, block in zip(self.ups, self.blocks, strict=True):
            x = block(up(x, ops), ops)
        made = [head(x, ops) for head in self.heads]
        return ops.sigmoid(made[0] if len(made) == 1 else ops.depth_to_space(ops.join(*made), 2))

    def mask(self, x: Any, ops: Any) -> Any:
        for up in self.mask_ups:
            x = up(x, ops)
        return self.mask_head(x, ops)
