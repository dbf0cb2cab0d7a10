"""``linear``: one linear layer each way. Under a squared error it finds the subspace of principal component analysis (Bourlard & Kamp 1988)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flax import nnx

from livepaste.options import within
from livepaste_train.compiling import put
from livepaste_train.models.autoencoder import PERSONA, SIDES, WEARER, Autoencoder
from livepaste_train.models.layers import constant, he_normal, logits_of
from livepaste_train.ops import JAX_OPS
from livepaste_train.recipe import check_resolution


@dataclass(frozen=True)
class LinearOptions:
    """``code``: numbers of the bottleneck."""

    resolution: int = 64
    code: int = 64

    def __post_init__(self) -> None:
        check_resolution(self.resolution)
        within("code", self.code, 1, 3 * self.resolution**2)


class Decoder(nnx.Module):
    """A code to picture and mask. What is drawn of the code 0, the canvas, begins as the side's mean face."""

    def __init__(self, o: LinearOptions) -> None:
        self.side, pixels = o.resolution, o.resolution**2
        self.canvas = nnx.Param(constant(0.5, (3 * pixels,)))
        self.mask_canvas = nnx.Param(constant(0.0, (pixels,)))
        self.kernel = nnx.Param(constant(0.0, (o.code, 3 * pixels)))  # so that only what faces do is learned into it
        self.mask_kernel = nnx.Param(constant(0.0, (o.code, pixels)))

    def picture(self, code: Any, ops: Any) -> Any:
        return ops.unflatten(ops.dense(code, self.kernel[...], self.canvas[...]), self.side)

    def mask_logits(self, code: Any, ops: Any) -> Any:
        return ops.unflatten(ops.dense(code, self.mask_kernel[...], self.mask_canvas[...]), self.side)


class LinearAutoencoder(Autoencoder):
    """Faces are centred by the mean of both sides' before they are encoded. What is drawn may leave [0, 1], except in a swap."""

    Options = LinearOptions

    def __init__(self, o: LinearOptions, rngs: nnx.Rngs) -> None:
        self.center = nnx.Param(constant(0.5, (o.resolution, o.resolution, 3)))  # never trained
        self.kernel = nnx.Param(he_normal(rngs.params(), (3 * o.resolution**2, o.code), gain=0.7))
        self.persona = Decoder(o)
        self.wearer = Decoder(o)

    def start_from(self, persona: tuple[Any, Any, Any], wearer: tuple[Any, Any, Any], wearers: int = 1) -> None:
        """Set the centre and the canvases."""
        self.center[...] = put((persona[0] + wearer[0]) / 2)
        for side, (picture, mask, _) in zip(SIDES, (persona, wearer), strict=True):
            decoder = self._of(side)
            decoder.canvas[...] = put(picture).reshape(-1)
            decoder.mask_canvas[...] = put(logits_of(mask)).reshape(-1)

    def _of(self, side: str) -> Decoder:
        return {PERSONA: self.persona, WEARER: self.wearer}[side]

    def numbers(self, crops: Any, ops: Any) -> Any:
        x = ops.flatten(ops.shift(crops, -self.center[...]))
        return ops.dense(x, self.kernel[...], constant(0.0, (1,)))

    def picture(self, side: str, code: Any, ops: Any = JAX_OPS) -> Any:
        return self._of(side).picture(code, ops)

    def mask_logits(self, side: str, code: Any, ops: Any = JAX_OPS) -> Any:
        return self._of(side).mask_logits(code, ops)

    def swap(self, crops: Any, ops: Any = JAX_OPS) -> dict[str, Any]:
        """The persona in the wearer's pose and expression."""
        made = super().swap(crops, ops)
        return {**made, "image": ops.clipped(made["image"])}
