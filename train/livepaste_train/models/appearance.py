"""The persona's picture, carried with its head: an active appearance model (Cootes et al. 2001) that the code tells."""

from __future__ import annotations

from typing import Any

from flax import nnx

from livepaste_train.models.layers import constant

FLOWS, LOOKS = 24, 60  # principal components of where the face's points are, and of what is seen at them
SEVERAL, HIDDEN = 4, 128  # networks, whose mean is taken; units of a layer of each


class Told(nnx.Module):
    """Numbers of both kinds from a code: the mean of several networks of two layers, each beside a linear map.

    They were fitted apart and err apart; as one network each has its own part of the layers.
    """

    def __init__(self, code: int) -> None:
        numbers, units = FLOWS + LOOKS, SEVERAL * HIDDEN
        self.straight = nnx.Param(constant(0.0, (code, numbers)))
        self.first, self.first_bias = nnx.Param(constant(0.0, (code, units))), nnx.Param(constant(0.0, (units,)))
        self.second, self.second_bias = nnx.Param(constant(0.0, (units, units))), nnx.Param(constant(0.0, (units,)))
        self.third, self.bias = nnx.Param(constant(0.0, (units, numbers))), nnx.Param(constant(0.0, (numbers,)))

    def __call__(self, code: Any, ops: Any) -> Any:
        """(b, code) -> (b, FLOWS + LOOKS)."""
        x = ops.active(ops.dense(code, self.first[...], self.first_bias[...]), "silu")
        x = ops.active(ops.dense(x, self.second[...], self.second_bias[...]), "silu")
        return ops.add(ops.dense(x, self.third[...], self.bias[...]), ops.dense(code, self.straight[...], None))


class Appearance(nnx.Module):
    """A face as it is seen with its points at their usual places, and from where there each pixel of the picture comes.

    A decoder that adds to a mean face has to wipe out every feature where it usually is and draw it where it is now, and blurs what it is
    not sure of; skin and lashes that are moved stay as sharp as they were seen. Measured from the faces, see
    ``livepaste_train.appearance``, and never learned: what it cannot say, the decoder adds.
    """

    def __init__(self, code: int, side: int) -> None:
        self.side = side
        self.told = Told(code)
        for name, numbers, width in (("flow", FLOWS, 2), ("looks", LOOKS, 3)):
            setattr(self, name, nnx.Param(constant(0.0, (numbers, side * side * width))))
            setattr(self, f"usual_{name}", nnx.Param(constant(0.0, (side * side * width,))))

    def __call__(self, code: Any, ops: Any) -> Any:
        """(b, code) -> a canvas (b, s, s, 3), logits."""
        told = self.told(code, ops)
        flow = ops.dense(ops.part(told, 0, FLOWS), self.flow[...], self.usual_flow[...])
        looks = ops.dense(ops.part(told, FLOWS, FLOWS + LOOKS), self.looks[...], self.usual_looks[...])
        return ops.warp(ops.unflatten(looks, self.side), ops.unflatten(flow, self.side))
