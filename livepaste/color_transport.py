"""Colour matches that carry a whole distribution over, not only each channel's mean and deviation; as the others in Oklab, under the mask."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np

from livepaste.color import LEAST_GAIN, MOST_GAIN, SMALL, followed, from_oklab, recolored, small, to_oklab

LEAST = 32  # pixels under the mask, of SMALL², below which there is nothing to go by
STEPS = np.linspace(0.01, 0.99, 25)  # quantiles that a histogram is told by
SLICES = 24  # directions along which the sliced transport sorts


def _samples(
    patch: np.ndarray, target: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Oklab colours of both (n, 3) where small pixels are mostly under the mask, float64, and where these are; None of hardly any."""
    *images, weight = small(patch, target, mask)
    here = weight > 0.5
    a, b = (to_oklab(image)[here].astype(np.float64) for image in images)
    return None if len(a) < LEAST else (a, b, here)


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def mkl(patch: np.ndarray, target: np.ndarray, mask: np.ndarray, kept: np.ndarray,
        memory: dict[str, Any] | None = None) -> np.ndarray:  # fmt: skip
    """``mkl``: mean and full covariance, by the linear map that moves colours least (Monge-Kantorovich, Pitié and Kokaram 2007), within bounds."""
    samples = _samples(patch, target, mask)
    if samples is None:
        return patch
    a, b, _ = samples
    root = _root(np.cov(a.T) + 1e-6 * np.eye(3))
    inverse = np.linalg.inv(root)
    gain = inverse @ _root(root @ np.cov(b.T) @ root) @ inverse
    values, vectors = np.linalg.eigh(gain)
    gain = (vectors * np.clip(values, LEAST_GAIN, MOST_GAIN.max())) @ vectors.T
    now = followed(memory, "mkl", np.column_stack([gain, b.mean(0) - gain @ a.mean(0)]))
    return recolored(patch, now[:, :3], now[:, 3])


def histogram(patch: np.ndarray, target: np.ndarray, mask: np.ndarray, kept: np.ndarray,
              memory: dict[str, Any] | None = None) -> np.ndarray:  # fmt: skip
    """``histogram``: each channel's quantiles on the wearer's, linear between them and shifted beyond them.

    Within the bounds of ``mean-std`` between every two: without them a channel in which one face varies and the other does not is all noise.
    """
    samples = _samples(patch, target, mask)
    if samples is None:
        return patch
    now = np.stack([np.quantile(of, STEPS, axis=0) for of in samples[:2]])  # (2, quantiles, 3)
    (a, b), lab = followed(memory, "histogram", now), to_oklab(patch)
    a = a + 1e-6 * np.arange(len(a))[:, None]
    apart = np.diff(a, axis=0)
    to = np.concatenate(
        [np.zeros((1, 3)), np.cumsum(np.clip(np.diff(b, axis=0), LEAST_GAIN * apart, MOST_GAIN * apart), 0)]
    )
    to += b.mean(0) - to.mean(0)
    for i in range(3):
        x = lab[..., i]
        beyond = np.minimum(x - a[0, i], 0) + np.maximum(x - a[-1, i], 0)
        lab[..., i] = np.interp(x, a[:, i], to[:, i]) + beyond
    return from_oklab(lab)


@cache
def _directions() -> np.ndarray:
    """(slices, 3) unit vectors, the same every time."""
    drawn = np.random.default_rng(17).normal(size=(SLICES, 3))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def sot(patch: np.ndarray, target: np.ndarray, mask: np.ndarray, kept: np.ndarray,
        memory: dict[str, Any] | None = None) -> np.ndarray:  # fmt: skip
    """``sot``: the whole distribution by sliced optimal transport (Pitié, Kokaram and Dahyot 2007; Rabin et al. 2011): sorted along one direction
    after the other. What small pixels are moved by is carried to the others smoothly."""
    samples = _samples(patch, target, mask)
    if samples is None:
        return patch
    a, b, here = samples
    moved = a.copy()
    for direction in _directions():
        along_a, along_b = moved @ direction, np.sort(b @ direction)
        order = np.argsort(along_a, kind="stable")
        moved[order] += np.outer(along_b - along_a[order], direction)
    by = np.zeros((SMALL, SMALL, 4), np.float32)
    by[here] = np.column_stack([moved - a, np.ones(len(a))])
    by = cv2.GaussianBlur(by, (0, 0), 1.5)
    by = followed(memory, "sot", by[..., :3] / np.maximum(by[..., 3:], 1e-3)).astype(np.float32)
    full = cv2.resize(by, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return from_oklab(to_oklab(patch) + full)
