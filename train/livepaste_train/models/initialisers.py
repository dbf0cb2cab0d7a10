"""How weights begin, by name: functions of numpy's generator and a kernel's shape (…, in, out), float32."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many numbers a unit of a kernel takes in, and how many units a number goes to."""
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def _normal(variance: Callable[[int, int], float]) -> Draw:
    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return np.float32(math.sqrt(variance(*fans(shape)))) * rng.standard_normal(shape, np.float32)

    return draw


def _uniform(variance: Callable[[int, int], float]) -> Draw:
    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        most = math.sqrt(3.0 * variance(*fans(shape)))
        return rng.uniform(-most, most, shape).astype(np.float32)

    return draw


def orthogonal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Rows or columns, whichever are fewer, at right angles and of length 1 (Saxe et al. 2014)."""
    inputs, units = math.prod(shape[:-1]), shape[-1]
    drawn = rng.standard_normal((max(inputs, units), min(inputs, units)))
    q, r = np.linalg.qr(drawn)
    q = q * np.sign(np.diagonal(r))  # else not every rotation is as likely
    return (q if inputs >= units else q.T).reshape(shape).astype(np.float32)


def _he(fan_in: int, _: int) -> float:
    """He et al. 2015: rectifiers lose half of the variance."""
    return 2.0 / fan_in


def _glorot(fan_in: int, fan_out: int) -> float:
    """Glorot & Bengio 2010: between what keeps activations and what keeps gradients at their size."""
    return 2.0 / (fan_in + fan_out)


def _lecun(fan_in: int, _: int) -> float:
    """LeCun et al. 1998."""
    return 1.0 / fan_in


INITIALISERS: dict[str, Draw] = {
    "he_normal": _normal(_he),
    "he_uniform": _uniform(_he),
    "glorot_normal": _normal(_glorot),
    "glorot_uniform": _uniform(_glorot),
    "lecun_normal": _normal(_lecun),
    "lecun_uniform": _uniform(_lecun),
    "orthogonal": orthogonal,
}
