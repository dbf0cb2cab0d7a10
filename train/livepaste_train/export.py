"""A trained model as ``swap.onnx``: the graph written directly, NCHW, checked on the spot against Flax.

The forward pass that trained runs once more, with :class:`OnnxOps` in place of jax: what it calls becomes nodes.
Weights may be stored as float16 (half the file); they are cast to float32 at load, inputs and outputs are float32.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np
import onnx
from flax import nnx
from onnx import TensorProto, helper, numpy_helper

from livepaste.errors import TrainingError
from livepaste_train.compiling import put
from livepaste_train.models.layers import Conv
from livepaste_train.ops import EVEN, GAINS, HARDLY, LOWEST_TONE, window

OPSET = 17
PARITY_LIMIT = 1e-4
HALF_LIMIT = 0.004  # with float16 weights: a grey level
VISIBLE_LIMIT = 0.02  # of a mask with float16 weights, at a steep edge


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
        self._known: dict[tuple[Any, ...], str] = {}  # a layer that is used twice is stored once

    def _node(self, kind: str, inputs: list[str], side: int = 0, channels: int = 0, **attributes: Any) -> Value:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return Value(name, side, channels)

    def _weight(self, array: Any) -> str:
        name = f"w_{len(self.initializers)}"
        array = np.asarray(array, np.float16 if self.half else np.float32)
        key = (array.shape, array.tobytes())
        if key not in self._known:
            self.initializers.append(numpy_helper.from_array(array, name))
            self._known[key] = self._node("Cast", [name], to=TensorProto.FLOAT).name if self.half else name
        return self._known[key]

    def _shape(self, *shape: int) -> str:
        name = f"w_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.array(shape, np.int64), name))
        return name

    def _constant(self, value: float) -> str:
        return self._tensor(np.array(value))

    def _tensor(self, array: np.ndarray) -> str:
        """Kept as float32 in any case."""
        name = f"w_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def conv(self, x: Value, kernel: Any, gain: Any, bias: Any) -> Value:
        kernel = np.asarray(kernel) * np.asarray(gain)  # the gain is the kernel's last axis: folded
        p = kernel.shape[0] // 2
        weight = self._weight(kernel.transpose(3, 2, 0, 1))
        return self._node("Conv", [x.name, weight, self._weight(bias)], x.side, kernel.shape[-1], pads=[p] * 4)

    def dense(self, x: Value, kernel: Any, bias: Any) -> Value:
        kernel = np.asarray(kernel)
        if x.side:  # flattened as channel, row, column here, as row, column, channel in training
            kernel = kernel.reshape(x.side, x.side, x.channels, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
        return self._node("Gemm", [x.name, self._weight(kernel), self._weight(bias)], channels=kernel.shape[1])

    def flatten(self, x: Value) -> Value:
        return self._node("Flatten", [x.name], x.side, x.channels, axis=1)

    def unflatten(self, x: Value, side: int) -> Value:
        rows = self._node("Reshape", [x.name, self._shape(1, side, side, -1)])
        return self._node("Transpose", [rows.name], side, perm=[0, 3, 1, 2])

    def space_to_depth(self, x: Value, n: int) -> Value:
        return self._node("SpaceToDepth", [x.name], x.side // n, x.channels * n * n, blocksize=n)

    def depth_to_space(self, x: Value, n: int) -> Value:
        return self._node("DepthToSpace", [x.name], x.side * n, x.channels // (n * n), blocksize=n, mode="DCR")

    def leaky(self, x: Value) -> Value:
        return self._node("LeakyRelu", [x.name], x.side, x.channels, alpha=0.1)

    def norm(self, x: Value) -> Value:
        square = self._node("Mul", [x.name, x.name])
        mean = self._node("ReduceMean", [square.name], axes=[1], keepdims=1)
        root = self._node("Sqrt", [self._node("Add", [mean.name, self._constant(1e-6)]).name])
        return self._node("Div", [x.name, root.name], x.side, x.channels)

    def sigmoid(self, x: Value) -> Value:
        return self._node("Sigmoid", [x.name], x.side, x.channels)

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

    def relight(self, x: Value, tone: Value, usual: Any, share: Any, own: Any) -> Value:
        gain = self._node("Div", [tone.name, self._tensor(np.asarray(usual).reshape(1, 3, 1, 1))])
        gain = self._node("Clip", [gain.name, *map(self._constant, GAINS)])
        gain = self._node("Pow", [gain.name, self._tensor(np.asarray(share))])
        gain = self._node("Mul", [gain.name, self._tensor(np.asarray(own).reshape(1, 3, 1, 1) / EVEN)])
        lit = self._node("Mul", [x.name, gain.name])
        return self._node("Clip", [lit.name, self._constant(0.0), self._constant(1.0)], x.side, x.channels)

    def add(self, x: Value, y: Value) -> Value:
        return self._node("Add", [x.name, y.name], x.side, x.channels)


def write_graph(model: Any, resolution: int, *, half: bool) -> onnx.ModelProto:
    """The swap as one graph: crop -> image, persona_mask, wearer_mask, and the code beside them."""
    ops = OnnxOps(half=half)
    return _graph(ops, model.swap(Value("crop", resolution, 3), ops), resolution)


def _graph(ops: OnnxOps, made: dict[str, Value], side: int) -> onnx.ModelProto:
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


def _png(image: np.ndarray) -> str:
    rgb8 = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return base64.b64encode(cv2.imencode(".png", cv2.cvtColor(rgb8, cv2.COLOR_RGB2BGR))[1].tobytes()).decode()


@nnx.jit
def _swap(model: Any, crops: Any) -> dict[str, Any]:
    """One program for all saves of a run; operation by operation, the first would take ten seconds to compile."""
    return model.swap(crops)


def eight_bits(pictures: Any) -> Any:
    """Pictures in [0, 1] with the values that a PNG can hold, float32."""
    return np.rint(np.asarray(pictures) * 255).astype(np.float32) / 255


def export(path: Path, model: Any, facts: dict[str, Any], parity_crop: np.ndarray, expected: Mapping[str, Any] | None = None, *,
           half: bool = False) -> float:  # fmt: skip
    """Write ``swap.onnx`` and return its largest difference from Flax on ``parity_crop`` (s, s, 3).

    ``expected``: what Flax makes of exactly that crop, where the caller has it: ``image`` (1, s, s, 3), ``persona_mask`` and
    ``wearer_mask`` (1, s, s, 1). It saves a program that would have to be compiled.
    ``facts`` go into ``metadata_props`` with the parity picture and its expected output, which the runtime checks at
    load. Raises TrainingError when the difference is above 1e-4, with ``half`` 0.004: then the file must not be used.
    """
    from livepaste.runtime import Session

    resolution = parity_crop.shape[0]
    crop = eight_bits(parity_crop)  # as the PNG in the metadata will hold it
    if expected is None:
        with jax.default_matmul_precision("highest"):  # accelerators round float32 to ten bits by default
            expected = {name: value for name, value in _swap(model, crop[None]).items() if name != "code"}
    elif not np.array_equal(crop, parity_crop):
        raise ValueError("expected is of another crop than a PNG holds")
    proto = write_graph(model, resolution, half=half)
    image = np.asarray(expected["image"][0])
    parity = {"input": _png(crop), "image": _png(image), "tolerance": 0.02}
    helper.set_model_props(proto, {"livepaste": json.dumps(facts, ensure_ascii=False), "parity": json.dumps(parity)})
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())
    got = Session(path, provider="cpu").run({"crop": crop.transpose(2, 0, 1)[None]})
    difference = max(
        float(np.abs(got[name] - np.asarray(value).transpose(0, 3, 1, 2)).max()) for name, value in expected.items()
    )
    limit = HALF_LIMIT if half else PARITY_LIMIT
    if not difference <= limit:
        raise TrainingError(
            f"export differs from the model by {difference:.2g} (at most {limit:g}); swap.onnx was not kept"
        )
    return difference


def export_visible(path: Path, model: Any, facts: dict[str, Any], parity_crop: np.ndarray) -> None:
    """Write an occlusion network, crop -> visible and front, with float16 weights. Raises TrainingError when it differs from Flax."""
    from livepaste.runtime import Session

    crop, ops = eight_bits(parity_crop), OnnxOps(half=True)
    with jax.default_matmul_precision("highest"):
        expected = _masks(model, crop[None])
    proto = _graph(ops, model.masks(Value("crop", len(crop), 3), ops), len(crop))
    helper.set_model_props(proto, {"livepaste": json.dumps(facts, ensure_ascii=False)})
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())
    got = Session(path, provider="cpu").run({"crop": crop.transpose(2, 0, 1)[None]})
    difference = max(
        float(np.abs(got[name] - np.asarray(value).transpose(0, 3, 1, 2)).max()) for name, value in expected.items()
    )
    if not difference <= VISIBLE_LIMIT:
        raise TrainingError(
            f"export differs from the model by {difference:.2g} (at most {VISIBLE_LIMIT:g}); it was not kept"
        )


class _Places(OnnxOps):
    """Which layer each convolution of the graph is, told by a gain that is its number."""

    def __init__(self) -> None:
        super().__init__(half=False)
        self.order: list[int] = []

    def conv(self, x: Value, kernel: Any, gain: Any, bias: Any) -> Value:
        self.order.append(int(np.asarray(gain).reshape(-1)[0]))
        return super().conv(x, kernel, gain, bias)


def _convolutions(graph: onnx.GraphProto) -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernel and bias of each convolution, in their order, float32."""
    stored = {tensor.name: numpy_helper.to_array(tensor).astype(np.float32) for tensor in graph.initializer}
    stored |= {node.output[0]: stored[node.input[0]] for node in graph.node if node.op_type == "Cast"}
    found = [[stored[name] for name in node.input[1:]] for node in graph.node if node.op_type == "Conv"]
    return [(kernel, bias.reshape(-1)) for kernel, bias in found]


def read_visible(path: Path, model: Any) -> None:
    """Put the weights of an occlusion network's file into ``model``. Raises TrainingError when they are not of its shape, or damaged.

    Kernels were stored times their gains; they are told apart again so that kernels have the size that training begins with.
    """
    layers = [layer for _, layer in nnx.iter_modules(model) if isinstance(layer, Conv)]
    for number, layer in enumerate(layers):
        layer.gain[...] = np.full(layer.gain[...].shape, number, np.float32)
    places = _Places()
    model.masks(Value("crop", model.resolution, 3), places)
    try:
        weights = _convolutions(onnx.load(path).graph)
    except Exception as error:  # of protobuf, onnx or numpy, as it is damaged
        raise TrainingError(f"{path}: damaged ({type(error).__name__}); copy its folder again") from error
    shapes = [layers[number].kernel[...].transpose(3, 2, 0, 1).shape for number in places.order]
    if [kernel.shape for kernel, _ in weights] != shapes or any(len(bias) != len(kernel) for kernel, bias in weights):
        raise TrainingError(
            f"{path}: not a network of the shape that is trained here; start from another one, or from none"
        )
    if not all(np.isfinite(array).all() for pair in weights for array in pair):
        raise TrainingError(f"{path}: its weights are not finite; start from another one, or from none")
    for number, (kernel, bias) in zip(places.order, weights, strict=True):
        kernel, layer = kernel.transpose(2, 3, 1, 0), layers[number]
        gain = float(np.sqrt((kernel**2).mean() * np.prod(kernel.shape[:-1]) / 2)) or 1.0
        layer.kernel[...] = put(kernel / gain)
        layer.gain[...] = put(np.full(layer.gain[...].shape, gain, np.float32))
        layer.bias[...] = put(bias.reshape(layer.bias[...].shape))


@nnx.jit
def _masks(model: Any, crops: Any) -> dict[str, Any]:
    return model.masks(crops)
