"""How bright a person's face looks by how the head is turned, which is no change of the light."""

from __future__ import annotations

from typing import Any

import numpy as np
from flax import nnx

from livepaste_train.models.layers import constant

TURN = 2  # yaw and pitch, in twenties of degrees
TERMS = 6  # 1, yaw, pitch, yaw², yaw · pitch, pitch²
# (turn · LEFT) · (turn · RIGHT): the last three
LEFT, RIGHT = np.array([[1, 1, 0], [0, 0, 1]], np.float32), np.array([[1, 0, 0], [0, 1, 1]], np.float32)


class Shade(nnx.Module):
    """A person's usual tone at each turn of the head: its usual tone times exp of a polynomial.

    A cheek's shadow, a dark jaw or a shining forehead comes into the middle of the crop as the head turns. Taken for the room's light it
    would be laid over another's face. Measured from the faces, see ``livepaste_train.shading``, and never learned; of a person of whom
    nothing was measured the tone is the same at every turn.
    """

    def __init__(self) -> None:
        self.terms = nnx.Param(constant(0.0, (TERMS, 3)))
        self.lowest = nnx.Param(constant(0.0, (TURN,)))  # beyond which turns the polynomial is not asked
        self.highest = nnx.Param(constant(0.0, (TURN,)))

    def __call__(self, usual: Any, turn: Any, ops: Any) -> Any:
        """The usual tone (3,) and turns (b, 2) in twenties of degrees -> tones (b, 1, 1, 3)."""
        turn = ops.bounded(turn, self.lowest[...], self.highest[...])
        squares = ops.times(ops.dense(turn, LEFT, None), ops.dense(turn, RIGHT, None))
        terms = self.terms[...]
        exponent = ops.add(ops.dense(turn, terms[1:3], terms[0]), ops.dense(squares, terms[3:], None))
        return ops.toned(usual, exponent)


class Turn(nnx.Module):
    """How a head is turned, straight from the code; measured, never learned."""

    def __init__(self, code: int) -> None:
        self.kernel = nnx.Param(constant(0.0, (code, TURN)))
        self.bias = nnx.Param(constant(0.0, (TURN,)))

    def __call__(self, code: Any, ops: Any) -> Any:
        return ops.dense(code, self.kernel[...], self.bias[...])


class Shading(nnx.Module):
    """The shades of both sides, by one reading of the turn."""

    def __init__(self, code: int) -> None:
        self.turn, self.persona, self.wearer = Turn(code), Shade(), Shade()
