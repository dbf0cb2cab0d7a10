"""A model's forward pass as an ONNX graph: what it calls becomes nodes, NCHW.

Weights may be stored as float16 (half the file); they are cast to float32 at load, inputs and outputs are float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from livepaste_train.ops import EVEN, GAINS, HARDLY, LOWEST_TONE, TINY, window

OPSET = 17


@dataclass(frozen=True)
class Value:
    """A tensor in the graph; ``side`` and ``channels`` only where flattening needs them."""

    name: str
    side: int = 0
    channels: int = 0


class OnnxOps:
    """Writes the operations of ``livepaste_train.ops`` as ONNX nodes."""

    def __init__(self, *, half: bool) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.half = half
        self._made: dict[tuple[Any, ...], Value] = {}  # what is asked for twice is computed once
        self._stored: dict[tuple[Any, ...], str] = {}  # and a weight that is used twice is stored once
        self.multiplied: dict[str, int] = {}  # multiply-additions of the convolutions and dense layers, by node

    def _node(self, kind: str, inputs: list[str], side: int = 0, channels: int = 0, **attributes: Any) -> Value:
        key = kind, *inputs, repr(attributes)
        if key not in self._made:
            name = f"{kind.lower()}_{len(self.nodes)}"
            self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
            self._made[key] = Value(name, side, channels)
        return self._made[key]

    def _store(self, array: np.ndarray) -> str:
        key = array.dtype, array.shape, blake2b(np.ascontiguousarray(array).data).digest()
        if key not in self._stored:
            self._stored[key] = f"w_{len(self.initializers)}"
            self.initializers.append(numpy_helper.from_array(array, self._stored[key]))
        return self._stored[key]

    def _weight(self, array: Any) -> str:
        if not self.half:
            return self._tensor(np.asarray(array))
        return self._node("Cast", [self._store(np.asarray(array, np.float16))], to=TensorProto.FLOAT).name

    def _shape(self, *shape: int) -> str:
        return self._store(np.array(shape, np.int64))

    def _constant(self, value: float) -> str:
        return self._tensor(np.array(value))

    def _tensor(self, array: np.ndarray) -> str:
        """Kept as float32 in any case."""
        return self._store(array.astype(np.float32))

    def conv(self, x: Value, kernel: Any, gain: Any, bias: Any) -> Value:
        kernel = np.asarray(kernel) * (
            1 if gain is None else np.asarray(gain)
        )  # the gain is the kernel's last axis: folded
        apart = {"group": x.channels} if kernel.shape[2] < x.channels else {}
        return self._conv(x, kernel, bias, x.side, pads=[kernel.shape[0] // 2] * 4, **apart)

    def halving_conv(self, x: Value, kernel: Any, bias: Any) -> Value:
        k = np.asarray(kernel).shape[0]
        pads = [(k - 2) // 2] * 2 + [(k - 1) // 2] * 2
        return self._conv(x, np.asarray(kernel), bias, x.side // 2, strides=[2, 2], pads=pads)

    def _conv(self, x: Value, kernel: np.ndarray, bias: Any, side: int, **attributes: Any) -> Value:
        weight = self._weight(kernel.transpose(3, 2, 0, 1))
        made = self._node("Conv", [x.name, weight, self._weight(bias)], side, kernel.shape[-1], **attributes)
        self.multiplied[made.name] = side**2 * kernel.size
        return made

    def dense(self, x: Value, kernel: Any, bias: Any) -> Value:
        kernel = np.asarray(kernel)
        if x.side:  # flattened as channel, row, column here, as row, column, channel in training
            kernel = kernel.reshape(x.side, x.side, x.channels, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
        parts = [x.name, self._weight(kernel), *([] if bias is None else [self._weight(bias)])]
        made = self._node("Gemm", parts, channels=kernel.shape[1])
        self.multiplied[made.name] = kernel.size
        return made

    def flatten(self, x: Value) -> Value:
        return self._node("Flatten", [x.name], x.side, x.channels, axis=1)

    def unflatten(self, x: Value, side: int) -> Value:
        rows = self._node("Reshape", [x.name, self._shape(1, side, side, -1)])
        return self._node("Transpose", [rows.name], side, x.channels // side**2, perm=[0, 3, 1, 2])

    def space_to_depth(self, x: Value, n: int) -> Value:
        return self._node("SpaceToDepth", [x.name], x.side // n, x.channels * n * n, blocksize=n)

    def depth_to_space(self, x: Value, n: int) -> Value:
        return self._node("DepthToSpace", [x.name], x.side * n, x.channels // (n * n), blocksize=n, mode="DCR")

    def leaky(self, x: Value, slope: float = 0.1) -> Value:
        return self._node("LeakyRelu", [x.name], x.side, x.channels, alpha=slope)

    def active(self, x: Value, name: str) -> Value:
        if name == "linear":
            return x
        if name == "silu":
            return self._node("Mul", [x.name, self.sigmoid(x).name], x.side, x.channels)
        if name == "gelu":  # a node of its own only in later operator sets
            bent = self._node("Erf", [self._node("Mul", [x.name, self._constant(0.5**0.5)]).name])
            share = self._node("Mul", [self._node("Add", [bent.name, self._constant(1.0)]).name, self._constant(0.5)])
            return self._node("Mul", [x.name, share.name], x.side, x.channels)
        return self._node(name.capitalize(), [x.name], x.side, x.channels)

    def join(self, *parts: Value) -> Value:
        channels = sum(part.channels for part in parts)
        return self._node("Concat", [part.name for part in parts], parts[0].side, channels, axis=1)

    def part(self, x: Value, start: int, end: int) -> Value:
        bounds = [self._shape(start), self._shape(end), self._shape(1)]
        return self._node("Slice", [x.name, *bounds], x.side, end - start)

    def norm(self, x: Value) -> Value:
        square = self._node("Mul", [x.name, x.name])
        mean = self._node("ReduceMean", [square.name], axes=[1], keepdims=1)
        root = self._node("Sqrt", [self._node("Add", [mean.name, self._constant(1e-6)]).name])
        return self._node("Div", [x.name, root.name], x.side, x.channels)

    def _standard(self, x: Value, *axes: int) -> Value:
        mean = self._node("ReduceMean", [x.name], axes=axes, keepdims=1)
        off = self._node("Sub", [x.name, mean.name])
        variance = self._node("ReduceMean", [self._node("Mul", [off.name, off.name]).name], axes=axes, keepdims=1)
        root = self._node("Sqrt", [self._node("Add", [variance.name, self._constant(TINY)]).name])
        return self._node("Div", [off.name, root.name], x.side, x.channels)

    def layer_norm(self, x: Value) -> Value:
        return self._standard(x, 1)

    def instance_norm(self, x: Value) -> Value:
        return self._standard(x, 2, 3)

    def batch_norm(self, x: Value, mean: Any, variance: Any) -> Value:
        scale = 1 / np.sqrt(np.asarray(variance[...]) + TINY)
        return self.affine(x, scale, -np.asarray(mean[...]) * scale)

    def affine(self, x: Value, scale: Any, shift: Any) -> Value:
        by, plus = (self._tensor(np.asarray(values).reshape(1, -1, 1, 1)) for values in (scale, shift))
        return self._node("Add", [self._node("Mul", [x.name, by]).name, plus], x.side, x.channels)

    def sigmoid(self, x: Value) -> Value:
        return self._node("Sigmoid", [x.name], x.side, x.channels)

    def tanh(self, x: Value) -> Value:
        return self._node("Tanh", [x.name], x.side, x.channels)

    def clipped(self, x: Value) -> Value:
        return self._node("Clip", [x.name, self._constant(0.0), self._constant(1.0)], x.side, x.channels)

    def scale(self, x: Value, by: float, plus: float) -> Value:
        scaled = self._node("Mul", [x.name, self._constant(by)])
        return self._node("Add", [scaled.name, self._constant(plus)], x.side, x.channels)

    def shift(self, x: Value, by: Any) -> Value:
        constant = self._weight(np.asarray(by).transpose(2, 0, 1)[None])
        return self._node("Add", [x.name, constant], x.side, x.channels)

    def tone(self, x: Value) -> Value:
        under = self._node("Mul", [x.name, self._tensor(window(x.side)[None, None])])
        color = self._node("ReduceSum", [under.name, self._shape(2, 3)], keepdims=1)
        return self._node("Max", [color.name, self._constant(LOWEST_TONE)])

    def tone_under(self, x: Value, mask: Value) -> Value:
        mask = self._node("Mul", [mask.name, self._tensor(window(x.side)[None, None])])
        color = self._node("ReduceSum", [self._node("Mul", [x.name, mask.name]).name, self._shape(2, 3)], keepdims=1)
        weight = self._node("ReduceSum", [mask.name, self._shape(2, 3)], keepdims=1)
        rest = self._node("Mul", [self.tone(x).name, self._constant(HARDLY)])
        color, weight = (
            self._node("Add", pair) for pair in ([color.name, rest.name], [weight.name, self._constant(HARDLY)])
        )
        mean = self._node("Div", [color.name, weight.name])
        return self._node("Max", [mean.name, self._constant(LOWEST_TONE)])

    def even(self, x: Value, tone: Value) -> Value:
        gain = self._node("Div", [self._constant(EVEN), tone.name])
        return self._node("Mul", [x.name, gain.name], x.side, x.channels)

    def bounded(self, x: Value, lowest: Any, highest: Any) -> Value:
        above = self._node("Max", [x.name, self._tensor(np.asarray(lowest))])
        return self._node("Min", [above.name, self._tensor(np.asarray(highest))], channels=x.channels)

    def times(self, x: Value, y: Value) -> Value:
        return self._node("Mul", [x.name, y.name], x.side, x.channels)

    def toned(self, usual: Any, exponent: Value) -> Value:
        gain = self._node("Reshape", [self._node("Exp", [exponent.name]).name, self._shape(-1, 3, 1, 1)])
        return self._node("Mul", [gain.name, self._tensor(np.asarray(usual).reshape(1, 3, 1, 1))])

    def relight(self, x: Value, tone: Value, usual: Value, share: Any, own: Value) -> Value:
        gain = self._node("Div", [tone.name, usual.name])
        gain = self._node("Clip", [gain.name, *map(self._constant, GAINS)])
        gain = self._node("Pow", [gain.name, self._tensor(np.asarray(share))])
        gain = self._node("Mul", [gain.name, self._node("Div", [own.name, self._constant(EVEN)]).name])
        lit = self._node("Mul", [x.name, gain.name])
        return self._node("Clip", [lit.name, self._constant(0.0), self._constant(1.0)], x.side, x.channels)

    def add(self, x: Value, y: Value) -> Value:
        return self._node("Add", [x.name, y.name], x.side, x.channels)

    def warp(self, x: Value, flow: Value) -> Value:
        line = np.linspace(-1, 1, x.side)
        still = self._tensor(np.stack(np.meshgrid(line, line), -1)[None])
        pairs = self._node("Transpose", [flow.name], perm=[0, 2, 3, 1])
        grid = self._node("Add", [pairs.name, still])
        how = {"mode": "bilinear", "padding_mode": "border", "align_corners": 1}
        return self._node("GridSample", [x.name, grid.name], x.side, x.channels, **how)


def graph_of(ops: OnnxOps, made: dict[str, Value], side: int) -> onnx.ModelProto:
    """What ``ops`` wrote, from ``crop`` to the named values."""
    nodes = [*ops.nodes, *(helper.make_node("Identity", [value.name], [name]) for name, value in made.items())]
    shapes = {
        name: [1, value.channels, side, side] if value.side else [1, value.channels] for name, value in made.items()
    }
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    crop = helper.make_tensor_value_info("crop", TensorProto.FLOAT, [1, 3, side, side])
    graph = helper.make_graph(nodes, "livepaste", [crop], outputs, ops.initializers)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="livepaste")
    proto.ir_version = 9  # what ONNX Runtime from 1.16 on reads
    return proto
