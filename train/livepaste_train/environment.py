"""The machine and the versions that a training runs on."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import cv2
import jax

from livepaste.actors.processes import cores
from livepaste_train.compiling import compiler_options
from livepaste_train.convolutions import multiplies_bfloat16


def environment() -> dict[str, str | int | bool]:
    """What bit-exact resuming depends on."""
    device = jax.devices()[0]
    return {
        **{name: version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy")},
        "opencv": cv2.__version__,
        "processor": _processor(),
        "cores": cores(),
        "platform": device.platform,
        "device": device.device_kind,
        "machine": platform.machine(),
        "devices": jax.device_count(),
        "python": platform.python_version(),
        "bfloat16_dots": multiplies_bfloat16(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "compiler": " ".join(f"{name}={value}" for name, value in compiler_options().items()),
    }


def _processor() -> str:
    """The CPU's model: of one architecture, each rounds sums in its own order."""
    with suppress(OSError):  # platform.processor() says nothing on most Linux systems
        for line in Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
