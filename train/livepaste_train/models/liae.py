"""``liae``: two bottlenecks, one for both sides and one for the wearers alone; one decoder, which sees whose they are by what it is given."""

from __future__ import annotations

from typing import Any

from flax import nnx

from livepaste_train.models.autoencoder import PERSONA, Autoencoder
from livepaste_train.models.saehd import Decoder, Encoder, Inter, SaehdOptions
from livepaste_train.ops import JAX_OPS


class LiaeAutoencoder(Autoencoder):
    """The wearer's light and manner carry over more than with ``df``, and so does a little of the wearer's shape.

    A code is both bottlenecks' side by side. The decoder gets the common map twice for the persona, the wearers' and the common one for
    the wearers.
    """

    Options = SaehdOptions

    def __init__(self, o: SaehdOptions, rngs: nnx.Rngs) -> None:
        self.size, self.one = o.code, False
        self.encoder = Encoder(o, rngs)
        self.common = Inter(o, self.encoder.size, 2 * o.code, rngs)
        self.wearers = Inter(o, self.encoder.size, 2 * o.code, rngs)
        self.decoder = Decoder(o, 4 * o.code, rngs)

    def alone(self) -> None:
        self.wearers, self.one = self.common, True

    def numbers(self, crops: Any, ops: Any) -> Any:
        x = self.encoder(crops, ops)
        if self.one:
            return self.common.encode(x, ops)
        return ops.join(self.common.encode(x, ops), self.wearers.encode(x, ops))

    def _opened(self, side: str, code: Any, ops: Any) -> Any:
        common = self.common.opened(ops.part(code, 0, self.size), ops)
        own = (
            common
            if side == PERSONA or self.one
            else self.wearers.opened(ops.part(code, self.size, 2 * self.size), ops)
        )
        return ops.join(own, common)

    def picture(self, side: str, code: Any, ops: Any = JAX_OPS) -> Any:
        return self.decoder.picture(self._opened(side, code, ops), ops)

    def mask_logits(self, side: str, code: Any, ops: Any = JAX_OPS) -> Any:
        return self.decoder.mask(self._opened(side, code, ops), ops)
