"""A trained model as ``swap.onnx``: the graph written directly, NCHW, checked on the spot against Flax.

The forward pass that trained runs once more, with :class:`OnnxOps` in place of jax: what it calls becomes nodes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np
import onnx
from flax import nnx
from onnx import helper, numpy_helper

from livepaste.errors import TrainingError
from livepaste_train.compiling import put
from livepaste_train.models.layers import Conv
from livepaste_train.onnx_ops import OnnxOps, Value, graph_of

PARITY_LIMIT = 1e-4
HALF_LIMIT = 0.004  # with float16 weights: a grey level
VISIBLE_LIMIT = 0.02  # of a mask with float16 weights, at a steep edge


def write_graph(model: Any, resolution: int, *, half: bool) -> onnx.ModelProto:
    """The swap as one graph: crop -> image, persona_mask, wearer_mask, and the code beside them."""
    ops = OnnxOps(half=half)
    return graph_of(ops, model.swap(Value("crop", resolution, 3), ops), resolution)


def multiply_adds(model: Any, resolution: int) -> int:
    """Of one swap: its convolutions and dense layers. For a model whose two decoders are not yet the same (what is the same is counted
    once, and computed once)."""
    ops = OnnxOps(half=False)
    model.swap(Value("crop", resolution, 3), ops)
    return sum(ops.multiplied.values())


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
    load. Raises TrainingError when the difference is above 1e-4, with ``half`` 0.004; no file is then left.
    """
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
    told = {"livepaste": facts, "parity": parity}
    return _write_checked(path, proto, told, crop, expected, HALF_LIMIT if half else PARITY_LIMIT)


def _write_checked(path: Path, proto: onnx.ModelProto, told: dict[str, Any], crop: np.ndarray, expected: Mapping[str, Any],
                   limit: float) -> float:  # fmt: skip
    """Write a graph with what is ``told`` of it, run it on ``crop`` (s, s, 3), and return its largest difference from what Flax made of
    that, pictures (1, s, s, c) by name.

    Raises TrainingError when that is above ``limit``; the file is then gone.
    """
    from livepaste.runtime import Session

    helper.set_model_props(proto, {name: json.dumps(value, ensure_ascii=False) for name, value in told.items()})
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())
    got = Session(path, provider="cpu").run({"crop": crop.transpose(2, 0, 1)[None]})
    difference = max(
        float(np.abs(got[name] - np.asarray(value).transpose(0, 3, 1, 2)).max()) for name, value in expected.items()
    )
    if not difference <= limit:
        path.unlink()
        raise TrainingError(
            f"export differs from the model by {difference:.2g} (at most {limit:g}); {path.name} was not kept"
        )
    return difference


def export_visible(path: Path, model: Any, facts: dict[str, Any], parity_crop: np.ndarray) -> None:
    """Write an occlusion network, crop -> visible and front, with float16 weights. Raises TrainingError when it differs from Flax."""
    crop, ops = eight_bits(parity_crop), OnnxOps(half=True)
    with jax.default_matmul_precision("highest"):
        expected = _masks(model, crop[None])
    proto = graph_of(ops, model.masks(Value("crop", len(crop), 3), ops), len(crop))
    _write_checked(path, proto, {"livepaste": facts}, crop, expected, VISIBLE_LIMIT)


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
