"""ONNX Runtime sessions: provider, threads, checked inputs and outputs."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnxruntime as ort

from livepaste.errors import CheckpointError, OptionError

logger = logging.getLogger(__name__)
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}


class Session:
    """One model. ``threads`` is what it may use on the CPU; they do not spin while they wait: other stages need the core."""

    def __init__(self, path: Path | str, *, threads: int = 1, provider: str = "auto") -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=_providers(provider))
        except OptionError:
            raise
        except Exception as error:  # onnxruntime raises its own C++ classes, which share no base
            raise CheckpointError(f"{path}: not a model that can be run ({str(error).splitlines()[0]})") from error
        self.path = Path(path)
        self.provider = self._session.get_providers()[0]
        self.inputs = {i.name: list(i.shape) for i in self._session.get_inputs()}
        self.outputs = [o.name for o in self._session.get_outputs()]
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        logger.info("%s on %s, %d threads", path, self.provider, threads)

    def run(self, inputs: dict[str, np.ndarray], outputs: list[str] | None = None) -> dict[str, np.ndarray]:
        """Run once. Raises ValueError when an input is missing or has another shape."""
        for name, shape in self.inputs.items():
            if name not in inputs:
                raise ValueError(f"{self.path.name} needs input {name!r}, got {sorted(inputs)}")
            got = inputs[name].shape
            if len(got) != len(shape) or any(isinstance(n, int) and n != g for n, g in zip(shape, got, strict=True)):
                raise ValueError(f"input {name!r} must be {shape}, got {list(got)}")
        names = outputs or self.outputs
        return dict(zip(names, self._session.run(names, inputs), strict=True))


def accelerated() -> bool:
    """Whether ``auto`` takes something else than the processor."""
    return _providers("auto")[0] != PROVIDERS["cpu"]


def _providers(name: str) -> list[str]:
    available = ort.get_available_providers()
    if name == "auto":
        return [p for p in PROVIDERS.values() if p in available and p != PROVIDERS["cpu"]] + [PROVIDERS["cpu"]]
    if name not in PROVIDERS:
        raise OptionError(f"unknown provider {name!r}; known: auto, {', '.join(PROVIDERS)}")
    if PROVIDERS[name] not in available:
        found = ", ".join(k for k, v in PROVIDERS.items() if v in available)
        raise OptionError(f"provider {name!r} is not in this ONNX Runtime; it has {found}")
    return [PROVIDERS[name], PROVIDERS["cpu"]] if name != "cpu" else [PROVIDERS["cpu"]]
