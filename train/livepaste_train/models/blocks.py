"""What ``light`` is made of between its changes of size, by name: maps (b, h, w, c) to maps of the same shape.

Each adds to its map what two layers make of it, begins near the identity, and has one row of gains and biases for each identity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flax import nnx

from livepaste_train.models.layers import Conv, Residual
from livepaste_train.models.style import Norm, style_of

WIDER = 4  # channels in the middle of an inverted residual ÷ those around it


class Separable(nnx.Module):
    """x + two depthwise-separable convolutions (Howard et al. 2017): each channel by itself, 3×3, then all of them, 1×1."""

    def __init__(self, c: int, rngs: nnx.Rngs, *, identities: int = 1) -> None:
        n = {"identities": identities}
        self.style = style_of(rngs)
        self.norm = Norm(c, self.style, own="pixel")
        self.first_apart, self.first = Conv(1, c, 3, rngs, **n), Conv(c, c, 1, rngs, **n)
        self.second_apart, self.second = Conv(1, c, 3, rngs, **n), Conv(c, c, 1, rngs, gain=0.2, **n)

    def __call__(self, x: Any, ops: Any, who: Any = 0) -> Any:
        y = self.style.active(self.norm(x, ops), ops)
        y = self.style.active(self.first(self.first_apart(y, ops, who), ops, who), ops)
        return ops.add(x, self.second(self.second_apart(y, ops, who), ops, who))


class Inverted(nnx.Module):
    """x + an inverted residual (Sandler et al. 2018): 1×1 to four times as many channels, 3×3 each by itself, 1×1 back."""

    def __init__(self, c: int, rngs: nnx.Rngs, *, identities: int = 1) -> None:
        n = {"identities": identities}
        self.style = style_of(rngs)
        self.norm = Norm(c, self.style, own="pixel")
        self.first = Conv(c, WIDER * c, 1, rngs, **n)
        self.apart = Conv(1, WIDER * c, 3, rngs, **n)
        self.second = Conv(WIDER * c, c, 1, rngs, gain=0.2, **n)

    def __call__(self, x: Any, ops: Any, who: Any = 0) -> Any:
        y = self.style.active(self.first(self.norm(x, ops), ops, who), ops)
        return ops.add(x, self.second(self.style.active(self.apart(y, ops, who), ops), ops, who))


BLOCKS: dict[str, Callable[..., Any]] = {"dense": Residual, "separable": Separable, "inverted": Inverted}
