"""``linear``: one linear layer each way. Under a squared error it finds the subspace of principal component analysis (Bourlard & Kamp 1988)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flax import nnx

from livepaste.options import within
from livepaste_train.compiling import put
from livepaste_train.models.autoencoder import SIDES, Autoencoder
from livepaste_train.models.layers import constant, logits_of
from livepaste_train.models.style import style_of
from livepaste_train.ops import JAX_OPS
from livepaste_train.recipe import check_resolution


@dataclass(frozen=True)
class LinearOptions:
    """``code``: numbers of the bottleneck."""

    resolution: int = 64
    code: int = 64

    def __post_init__(self) -> None:
        check_resolution(self.resolution)
        within("code", self.code, 1, 4096)


class Drawn(nnx.Module):
    """A code to a map of ``channels``. What is drawn of the code 0, the canvas, begins as the side's mean."""

    def __init__(self, o: LinearOptions, channels: int, rngs: nnx.Rngs) -> None:
        self.side, pixels = o.resolution, channels * o.resolution**2
        self.canvas = nnx.Param(constant(0.0, (pixels,)))
        # hardly anything, so that only what faces do is learned into it
        self.kernel = nnx.Param(style_of(rngs).kernel(rngs.params(), (o.code, pixels), gain=1e-3))

    def __call__(self, code: Any, ops: Any) -> Any:
        return ops.unflatten(ops.dense(code, self.kernel[...], self.canvas[...]), self.side)


class Decoder(nnx.Module):
    """A side's picture and mask."""

    def __init__(self, o: LinearOptions, rngs: nnx.Rngs) -> None:
        self.picture = Drawn(o, 3, rngs)
        self.mask = Drawn(o, 1, rngs)


class LinearAutoencoder(Autoencoder):
    """Faces are centred by the mean of both sides' before they are encoded. What is drawn may leave [0, 1], except in a swap."""

    Options = LinearOptions

    def __init__(self, o: LinearOptions, rngs: nnx.Rngs) -> None:
        self.center = nnx.Param(constant(0.5, (o.resolution, o.resolution, 3)))  # never trained
        self.kernel = nnx.Param(style_of(rngs).kernel(rngs.params(), (3 * o.resolution**2, o.code), gain=0.7))
        self.persona = Decoder(o, rngs)
        self.wearer = Decoder(o, rngs)

    def start_from(self, persona: tuple[Any, Any, Any], wearer: tuple[Any, Any, Any], wearers: int = 1) -> None:
        """Set the centre and the canvases."""
        self.center[...] = put((persona[0] + wearer[0]) / 2)
        for side, (picture, mask, _) in zip(SIDES, (persona, wearer), strict=True):
            decoder = self.of(side)
            decoder.picture.canvas[...] = put(picture).reshape(-1)
            decoder.mask.canvas[...] = put(logits_of(mask)).reshape(-1)

    def numbers(self, crops: Any, ops: Any) -> Any:
        x = ops.flatten(ops.shift(crops, -self.center[...]))
        return ops.dense(x, self.kernel[...], None)

    def picture(self, side: str, code: Any, ops: Any = JAX_OPS) -> Any:
        return self.of(side).picture(code, ops)

    def mask_logits(self, side: str, code: Any, ops: Any = JAX_OPS) -> Any:
        return self.of(side).mask(code, ops)

    def swap(self, crops: Any, ops: Any = JAX_OPS) -> dict[str, Any]:
        """The persona in the wearer's pose and expression."""
        made = super().swap(crops, ops)
        return {**made, "image": ops.clipped(made["image"])}
