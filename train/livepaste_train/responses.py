"""What excites the layers of an encoder: their responses while it encodes, and which part of a crop each of them sees.

Models are written in ``ops``, so both are read off the forward pass itself, of any architecture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from flax import nnx

from livepaste_train.compiling import compiled
from livepaste_train.evaluate import CHUNK
from livepaste_train.ops import JaxOps
from livepaste_train.state import named

ALIKE = 0.9  # correlation over faces from which on two units tell the same


class Recorder(JaxOps):
    """Computes what :class:`JaxOps` does and keeps what each convolution and dense layer gives, in the order in which they are asked."""

    def __init__(self) -> None:
        self.responses: list[jax.Array] = []  # (b, h, w, c) of convolutions, (b, c) of dense layers

    def _kept(self, response: jax.Array) -> jax.Array:
        self.responses.append(response)
        return response

    def conv(self, x: jax.Array, kernel: jax.Array, gain: jax.Array | None, bias: jax.Array) -> jax.Array:
        return self._kept(super().conv(x, kernel, gain, bias))

    def halving_conv(self, x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        return self._kept(super().halving_conv(x, kernel, bias))

    def dense(self, x: jax.Array, kernel: jax.Array, bias: jax.Array | None) -> jax.Array:
        return self._kept(super().dense(x, kernel, bias))


@dataclass(frozen=True)
class Field:
    """Where a map of ``side`` by ``side`` places looks: place i of a row at ``size`` pixels of the crop from ``start + i · step`` on."""

    side: int
    start: int
    step: int
    size: int

    def window(self, place: int) -> tuple[int, int]:
        """Left and top, in the crop's pixels, of what a place sees; places are numbered row by row."""
        y, x = divmod(place, self.side)
        return self.start + x * self.step, self.start + y * self.step


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution or dense layer of an encoder."""

    kernel: Any  # (k, k, c, units) or (c, units)
    field: Field

    @property
    def units(self) -> int:
        return self.kernel.shape[-1]

    @property
    def kind(self) -> str:
        k = self.kernel.shape[0]
        return f"{k}×{k} convolution" if self.kernel.ndim == 4 else "dense"


class Fields:
    """Operations on fields in place of pictures: executed, a forward pass tells what its layers see (Araujo et al. 2019).

    An operation that is not named here moves nothing.
    """

    def __init__(self, resolution: int) -> None:
        self.crop = Field(resolution, 0, 1, 1)
        self.layers: list[Layer] = []

    def _kept(self, kernel: Any, field: Field) -> Field:
        self.layers.append(Layer(kernel, field))
        return field

    def conv(self, x: Field, kernel: Any, gain: Any, bias: Any) -> Field:
        k = kernel.shape[0]
        return self._kept(kernel, replace(x, start=x.start - k // 2 * x.step, size=x.size + (k - 1) * x.step))

    def halving_conv(self, x: Field, kernel: Any, bias: Any) -> Field:
        k = kernel.shape[0]
        start, size = x.start - (k - 2) // 2 * x.step, x.size + (k - 1) * x.step
        return self._kept(kernel, Field(x.side // 2, start, 2 * x.step, size))

    def dense(self, x: Field, kernel: Any, bias: Any) -> Field:
        return self._kept(kernel, x)

    def flatten(self, x: Field) -> Field:
        return Field(1, 0, self.crop.side, self.crop.side)

    def space_to_depth(self, x: Field, n: int) -> Field:
        return Field(x.side // n, x.start, n * x.step, x.size + (n - 1) * x.step)

    def add(self, x: Field, y: Field) -> Field:
        return max(x, y, key=lambda field: field.size)

    join = add

    def __getattr__(self, name: str) -> Callable[..., Field]:
        return lambda x, *rest: x


def layers_of(model: Any, resolution: int) -> list[Layer]:
    """The encoder's layers in the order in which a crop goes through them."""
    fields = Fields(resolution)
    model.encode(fields.crop, fields)
    return fields.layers


def name_of(layer: Layer, params: Any) -> str:
    """By the parameter that is its kernel: 'stem', 'quarter second'."""
    kernel = np.asarray(layer.kernel)
    for name, leaf in named(params).items():
        if leaf.shape == kernel.shape and np.array_equal(leaf, kernel):
            words = [word for word in name.split("/")[:-1] if word != "encoder"]
            return " ".join(words) or "code"
    return layer.kind


@dataclass(frozen=True, eq=False)
class Excited:
    """How strongly a layer's units respond to each of n crops, before the rectifier, and where most."""

    strongest: np.ndarray  # float32 (n, units): the greatest response anywhere in the crop
    place: np.ndarray  # int (n, units): its place in the layer's map, row by row

    def top(self, unit: int, count: int) -> np.ndarray:
        """The ``count`` crops that excite a unit most, the most exciting first."""
        return np.argsort(-self.strongest[:, unit], kind="stable")[:count]

    def telling(self, count: int) -> list[int]:
        """Up to ``count`` units whose responses vary most from face to face, leaving out those that tell what another one tells."""
        spread = self.strongest.std(0)
        chosen: list[int] = []
        for unit in np.argsort(-spread, kind="stable"):
            if len(chosen) == count or spread[unit] <= 1e-6:
                break
            mine = self.strongest[:, unit]
            if all(abs(np.corrcoef(mine, self.strongest[:, other])[0, 1]) < ALIKE for other in chosen):
                chosen.append(int(unit))
        return chosen


def encoded(graph: Any, params: Any, crops: np.ndarray) -> tuple[np.ndarray, list[Excited]]:
    """Crops (n, s, s, 3) in [0, 1]: their codes, float32 (n, k), and what excites each layer."""

    def run(params: Any, crops: jax.Array) -> tuple[jax.Array, list[tuple[jax.Array, jax.Array]]]:
        ops = Recorder()
        code = nnx.merge(graph, params).encode(crops, ops)
        flat = [r.reshape(len(crops), -1, r.shape[-1]) for r in ops.responses]
        return code, [(f.max(1), f.argmax(1)) for f in flat]

    made = in_chunks(compiled(run), params, crops)
    return made[0], [Excited(strongest, place) for strongest, place in made[1]]


def in_chunks(run: Callable[[Any, Any], Any], params: Any, values: np.ndarray) -> Any:
    """``run(params, values)`` for a few of ``values`` at a time, put together: one program, however many there are."""
    parts = []
    with jax.default_matmul_precision("highest"):
        for i in range(0, len(values), CHUNK):
            part = values[i : i + CHUNK]
            parts.append(jax.tree.map(np.asarray, run(params, np.resize(part, (CHUNK, *part.shape[1:])))))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(values)], *parts)


def first_weights(graph: Any, params: Any, layer: Layer, units: list[int], crop: np.ndarray) -> np.ndarray:
    """What the first layer's units respond to, float32 (n, h, w, 3): how each pixel of the window that they see at the middle of the map
    changes their response, at ``crop`` (s, s, 3)."""
    middle = layer.field.side // 2

    def response(params: Any, crop: jax.Array) -> jax.Array:
        ops = Recorder()
        nnx.merge(graph, params).encode(crop[None], ops)
        first = ops.responses[0][0]
        return (first if first.ndim == 1 else first[middle, middle])[np.array(units)]

    slopes = np.asarray(compiled(jax.jacrev(response, argnums=1))(params, crop))
    left, top = layer.field.window(middle * layer.field.side + middle)
    x, y, size = max(0, left), max(0, top), layer.field.size
    return slopes[:, y : top + size, x : left + size]
