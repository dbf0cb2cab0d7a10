"""How XLA compiles a training's programs."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache, wraps
from typing import Any, TypeVar

import jax
import numpy as np

Made = TypeVar("Made")
_KEPT: list[Callable[[], None]] = []  # what empties each cache of ``kept``

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


def put(values: Any) -> jax.Array:
    """A jax array of a copy of ``values``, whose memory nobody else knows: it may be donated.

    ``jnp.asarray`` compiles a program for each shape (jax 0.10.2): a second and a half for a model.
    """
    return jax.device_put(np.array(values))


def compiled(function: Callable[..., Any], **how: Any) -> Callable[..., Any]:
    """``jax.jit(function, **how)`` with :func:`compiler_options`."""
    return jax.jit(function, compiler_options=compiler_options(), **how)


def kept(make: Callable[..., Made]) -> Callable[..., Made]:
    """``make``, which gives again what it gave for the same words (hashable ones), as long as XLA is asked for the same.

    So a further training in a process need not compile again what the one before it did, until :func:`forget`.
    """

    @lru_cache(8)  # levels trained one by one have a program each
    def made(_: tuple[Any, ...], *words: Any) -> Made:
        return make(*words)

    def asked() -> tuple[Any, ...]:
        return jax.default_backend(), jax.config.jax_default_matmul_precision, *compiler_options().items()

    _KEPT.append(made.cache_clear)
    return wraps(make)(lambda *words: made(asked(), *words))


def forget() -> None:
    """Let go of every program that is kept here or by jax, for a process that goes on to other work; tens of megabytes each."""
    for clear in _KEPT:
        clear()
    jax.clear_caches()


def compiled_side_by_side(
    *jobs: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]],
) -> list[Callable[..., Any]]:
    """The program of each ``(function, arguments, options of jax.jit)``, each compiled by a thread of its own.

    A program takes arguments of just these shapes and dtypes.
    """
    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(lambda job: compiled(job[0], **job[2]).lower(*job[1]).compile(), jobs))
