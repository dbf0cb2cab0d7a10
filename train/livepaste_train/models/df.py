"""``df``: one bottleneck, a decoder for each side."""

from __future__ import annotations

from typing import Any

from flax import nnx

from livepaste_train.models.autoencoder import Autoencoder
from livepaste_train.models.saehd import Decoder, Encoder, Inter, SaehdOptions
from livepaste_train.ops import JAX_OPS


class DfAutoencoder(Autoencoder):
    """Like the persona in shape too: its decoder has never drawn anybody else."""

    Options = SaehdOptions

    def __init__(self, o: SaehdOptions, rngs: nnx.Rngs) -> None:
        self.encoder = Encoder(o, rngs)
        self.inter = Inter(o, self.encoder.size, o.code, rngs)
        self.persona = Decoder(o, o.code, rngs)
        self.wearer = Decoder(o, o.code, rngs)

    def numbers(self, crops: Any, ops: Any) -> Any:
        return self.inter.encode(self.encoder(crops, ops), ops)

    def picture(self, side: str, code: Any, ops: Any = JAX_OPS) -> Any:
        return self.of(side).picture(self.inter.opened(code, ops), ops)

    def mask_logits(self, side: str, code: Any, ops: Any = JAX_OPS) -> Any:
        return self.of(side).mask(self.inter.opened(code, ops), ops)
