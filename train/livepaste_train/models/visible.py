"""``visible``: crop to two masks, the visible face and what is in front of it, whoever it is. A small U-Net (Ronneberger et al. 2015).

Its paths are added where U-Net's are joined, which saves a layer; like ``light`` it works on maps of half the side and less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flax import nnx

from livepaste_train.models.layers import Conv, Down, Residual, Up, evened
from livepaste_train.ops import JAX_OPS
from livepaste_train.recipe import check_resolution

OUTPUTS = "visible", "front"


@dataclass(frozen=True)
class VisibleOptions:
    """Widths at 1/2, 1/4, 1/8 and 1/16 of the side."""

    resolution: int = 128
    half: int = 16
    quarter: int = 24
    eighth: int = 48
    sixteenth: int = 80

    def __post_init__(self) -> None:
        check_resolution(self.resolution)


class VisibleFace(nnx.Module):
    """(b, s, s, 3) in [0, 1] -> two times (b, s, s, 1): how surely each pixel is visible face, and how surely something in front of one.

    The second is told beside the first because a face's own edge is none of its business: a mask that knows where a face ends
    can be multiplied with it and loses nothing there.
    """

    Options = VisibleOptions

    def __init__(self, o: VisibleOptions, rngs: nnx.Rngs) -> None:
        self.resolution = o.resolution
        self.stem = Conv(12, o.half, 3, rngs)
        self.down4 = Down(o.half, o.quarter, rngs)
        self.quarter = Residual(o.quarter, rngs)
        self.down8 = Down(o.quarter, o.eighth, rngs)
        self.eighth = Residual(o.eighth, rngs)
        self.down16 = Down(o.eighth, o.sixteenth, rngs)
        self.deep = Residual(o.sixteenth, rngs)
        self.deeper = Residual(o.sixteenth, rngs)
        self.up8 = Up(o.sixteenth, o.eighth, rngs)
        self.eighth_again = Residual(o.eighth, rngs)
        self.up4 = Up(o.eighth, o.quarter, rngs)
        self.quarter_again = Residual(o.quarter, rngs)
        self.up2 = Up(o.quarter, o.half, rngs)
        self.half_again = Conv(o.half, o.half, 3, rngs)
        self.visible_head = Conv(o.half, 4, 3, rngs, gain=0.2)
        self.front_head = Conv(o.half, 4, 3, rngs, gain=0.2)

    def logits(self, crops: Any, ops: Any = JAX_OPS) -> tuple[Any, Any]:
        """Both masks before their sigmoid: what they are learned by."""
        half = self.stem(ops.space_to_depth(evened(crops, ops), 2), ops)
        quarter = self.quarter(self.down4(ops.leaky(half), ops), ops)
        eighth = self.eighth(self.down8(ops.leaky(quarter), ops), ops)
        x = self.deeper(self.deep(self.down16(ops.leaky(eighth), ops), ops), ops)
        x = self.eighth_again(ops.add(self.up8(ops.leaky(x), ops), eighth), ops)
        x = self.quarter_again(ops.add(self.up4(ops.leaky(x), ops), quarter), ops)
        x = self.half_again(ops.leaky(ops.add(self.up2(ops.leaky(x), ops), half)), ops)
        x = ops.leaky(x)
        return tuple(ops.depth_to_space(head(x, ops), 2) for head in (self.visible_head, self.front_head))

    def masks(self, crops: Any, ops: Any = JAX_OPS) -> dict[str, Any]:
        """Both, in [0, 1], by name."""
        return {name: ops.sigmoid(mask) for name, mask in zip(OUTPUTS, self.logits(crops, ops), strict=True)}
