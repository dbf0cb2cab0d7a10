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
from livepaste_train.models.layers import Dense, Downscale, PlainConv, ResidualBlock, Upscale
from livepaste_train.ops import JAX_OPS
from livepaste_train.recipe import check_resolution

SURE = 20.0  # logits of a mask that is the whole crop


@dataclass(frozen=True)
class OriginalOptions:
    """``code``: numbers of the bottleneck. ``width``: channels of the first map. ``masks``: whether there is a branch for them.

    ``residual``: a residual block after each of the encoder's and the decoders' maps, which the one of 2017 had not.
    """

    resolution: int = 64
    code: int = 1024
    width: int = 128
    masks: bool = True
    residual: bool = False

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
        self.blocks = _blocks(o, o.decoder[1:], rngs)
        self.head = PlainConv(o.decoder[-1], channels, 5, rngs)

    def up(self, number: int, x: Any, ops: Any) -> Any:
        """The map after one of the upscales; after the last one, logits."""
        x = self.ups[number](x, ops)
        if self.blocks is not None:
            x = self.blocks[number](x, ops)
        return x if number < len(self.ups) - 1 else self.head(x, ops)

    def __call__(self, x: Any, ops: Any) -> Any:
        for number in range(len(self.ups)):
            x = self.up(number, x, ops)
        return x


def _blocks(o: OriginalOptions, widths: tuple[int, ...], rngs: nnx.Rngs) -> Any:
    return nnx.List(ResidualBlock(c, rngs) for c in widths) if o.residual else None


class Decoder(nnx.Module):
    """What a side has for itself."""

    def __init__(self, o: OriginalOptions, rngs: nnx.Rngs) -> None:
        self.picture = Branch(o, 3, rngs)
        self.mask = Branch(o, 1, rngs) if o.masks else None


class OriginalAutoencoder(Autoencoder):
    """One shared encoder, which goes on to a map of an eighth of the side; two decoders from there."""

    Options = OriginalOptions
    LEVELS = (
        ("convs/0/*", "blocks/0/*", "*/picture/ups/2/*", "*/picture/blocks/2/*", "*/picture/head/*"),
        ("convs/1/*", "blocks/1/*", "*/picture/ups/1/*", "*/picture/blocks/1/*"),
        ("convs/2/*", "blocks/2/*", "*/picture/ups/0/*", "*/picture/blocks/0/*"),
        ("convs/3/*", "blocks/3/*", "up/*"),
        ("code/*", "open/*"),
    )

    def __init__(self, o: OriginalOptions, rngs: nnx.Rngs) -> None:
        self.masks = o.masks
        self.low = o.resolution // 16
        self.convs = nnx.List(Downscale(a, b, rngs) for a, b in pairwise(o.encoder))
        self.blocks = _blocks(o, o.encoder[1:], rngs)
        last = o.encoder[-1]
        self.code = Dense(self.low**2 * last, o.code, rngs)
        self.open = Dense(o.code, self.low**2 * last, rngs)
        self.up = Upscale(last, o.decoder[0], rngs)
        self.persona = Decoder(o, rngs)
        self.wearer = Decoder(o, rngs)

    def down_from(self, level: int, x: Any, ops: Any) -> Any:
        if level == len(self.convs):
            return self.code(ops.flatten(x), ops)
        x = self.convs[level](x, ops)
        return x if self.blocks is None else self.blocks[level](x, ops)

    def up_to(self, level: int, side: str, x: Any, ops: Any) -> Any:
        if level == len(self.convs):
            return ops.unflatten(self.open(x, ops), self.low)
        if level == len(self.convs) - 1:
            return self.up(x, ops)
        x = self.of(side).picture.up(len(self.convs) - 2 - level, x, ops)
        return x if level else ops.sigmoid(x)

    def mask_logits(self, side: str, code: Any, ops: Any = JAX_OPS) -> Any:
        mask = self.of(side).mask
        if mask is None:  # of whatever picture a swap draws anyway
            return ops.scale(ops.part(self.picture(PERSONA, code, ops), 0, 1), 0.0, SURE)
        for level in (4, 3):
            code = self.up_to(level, side, code, ops)
        return mask(code, ops)
