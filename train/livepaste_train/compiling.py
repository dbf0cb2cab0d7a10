"""How XLA compiles a training's programs."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any

import jax

# As fast a step as with XLA's defaults (0.83 s against 0.85 on one machine) in two thirds of the time that they take to compile,
# or less. Level 0 takes half of it, and then a step is 1.45 s. jax 0.10.2, two cores, AVX2.
ON_CPU = {"xla_backend_optimization_level": 1, "xla_cpu_use_fusion_emitters": False}
# Without it two runs of the same steps end in different parameters: XLA tries several algorithms and takes what was fastest this time,
# some of which add in whatever order they come to it. It also compiles in two thirds of the time. jax 0.11.2, H200.
ON_GPU = {"xla_gpu_deterministic_ops": True}


def compiler_options() -> dict[str, int | bool]:
    """What XLA is asked for here; nothing that ``XLA_FLAGS`` names."""
    wanted = {"cpu": ON_CPU, "gpu": ON_GPU}.get(jax.default_backend(), {})
    asked = os.environ.get("XLA_FLAGS", "")
    return {name: value for name, value in wanted.items() if name not in asked and _known(name, value)}


@cache
def _known(name: str, value: int | bool) -> bool:
    """Whether this jaxlib has the option: nobody promises that the next one will."""
    try:
        jax.jit(lambda: 0, compiler_options={name: value})()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def compiled(function: Callable[..., Any], **how: Any) -> Callable[..., Any]:
    """``jax.jit(function, **how)`` with :func:`compiler_options`."""
    return jax.jit(function, compiler_options=compiler_options(), **how)
