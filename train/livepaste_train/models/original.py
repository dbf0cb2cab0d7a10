"""``original``: the autoencoder that face swaps began with in 2017, exactly as it was (64 px): the yardstick for the others.

Its mask is optional, a branch of the same widths beside each decoder's picture. Without, masks are the whole crop: the rectangle that its
swaps were pasted as.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from flax import nnx

from livepaste.options import within
from livepaste_train.models.autoencoder import PERSONA, Autoencoder
from livepaste_train.models.layers import Dense, PlainConv, Upscale
from livepaste_train.ops import JAX_OPS
from livepaste_train.recipe import check_resolution

SURE = 20.0  # logits of a mask that is the whole crop


@dataclass(frozen=True)
class OriginalOptions:
    """``code``: numbers of the bottleneck. ``width``: channels of the first map. ``masks``: whether there is a branch for them."""

    resolution: int = 64
    code: int = 1024
    width: int = 128
    masks: bool = True

    def __post_init__(self) -> None:
        check_resolution(self.resolution)
        within("width", self.width, 2, 1024)
        within("code", self.code, 1, 8192)

    @property
    def encoder(self) -> tuple[int, ...]:
        """Channels from the crop to the map that becomes a code."""
        return 3, self.width, 2 * self.width, 4 * self.width, 8 * self.width

    @property
    def decoder(self) -> tuple[int, ...]:
        """Channels from the common map to the last one before a picture."""
        return 4 * self.width, 2 * self.width, self.width, self.width // 2


class Branch(nnx.Module):
    """Three upscales and a 5×5 convolution: a picture or a mask, as logits."""

    def __init__(self, o: OriginalOptions, channels: int, rngs: nnx.Rngs) -> None:
        self.ups = nnx.List(Upscale(a, b, rngs) for a, b in pairwise(o.decoder))
        self.head = PlainConv(o.decoder[-1], channels, 5, rngs)

    def __call__(self, x: Any, ops: Any) -> Any:
        for up in self.ups:
            x = up(x, ops)
        return self.head(x, ops)


class Decoder(nnx.Module):
    """What a side has for itself."""

    def __init__(self, o: OriginalOptions, rngs: nnx.Rngs) -> None:
        self.picture = Branch(o, 3, rngs)
        self.mask = Branch(o, 1, rngs) if o.masks else None


class OriginalAutoencoder(Autoencoder):
    """One shared encoder, which goes on to a map of an eighth of the side; two decoders from there."""

    Options = OriginalOptions

    def __init__(self, o: OriginalOptions, rngs: nnx.Rngs) -> None:
        self.masks = o.masks
        self.low = o.resolution // 16
        self.convs = nnx.List(PlainConv(a, b, 5, rngs, halving=True) for a, b in pairwise(o.encoder))
        last = o.encoder[-1]
        self.code = Dense(self.low**2 * last, o.code, rngs)
        self.open = Dense(o.code, self.low**2 * last, rngs)
        self.up = Upscale(last, o.decoder[0], rngs)
        self.persona = Decoder(o, rngs)
        self.wearer = Decoder(o, rngs)

    def numbers(self, crops: Any, ops: Any) -> Any:
        x = crops
        for conv in self.convs:
            x = ops.leaky(conv(x, ops))
        return self.code(ops.flatten(x), ops)

    def _opened(self, code: Any, ops: Any) -> Any:
        return self.up(ops.unflatten(self.open(code, ops), self.low), ops)

    def picture(self, side: str, code: Any, ops: Any = JAX_OPS) -> Any:
        return ops.sigmoid(self.of(side).picture(self._opened(code, ops), ops))

    def mask_logits(self, side: str, code: Any, ops: Any = JAX_OPS) -> Any:
        mask = self.of(side).mask
        if mask is None:  # of whatever picture a swap draws anyway
            return ops.scale(ops.part(self.picture(PERSONA, code, ops), 0, 1), 0.0, SURE)
        return mask(self._opened(code, ops), ops)
