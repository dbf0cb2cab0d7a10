"""Codes in a few dimensions: principal components, and neighbourhoods by t-SNE. The one module that loads scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

BEFORE = 50  # principal components that t-SNE is given (van der Maaten & Hinton 2008, section 4.2: 30)
PERPLEXITY = 30.0


@dataclass(frozen=True, eq=False)
class Directions:
    """The directions along which codes differ most: an orthonormal basis, the widest first."""

    axes: np.ndarray  # float64 (m, k)
    share: np.ndarray  # float64 (m,): of the codes' variance
    at: np.ndarray  # float64 (n, m): the codes along them, from their mean


def principal(codes: np.ndarray, count: int) -> Directions:
    """Up to ``count`` principal components of codes (n, k). Each axis points where its largest number is positive."""
    apart = codes.astype(np.float64) - codes.mean(0, dtype=np.float64)
    _, sizes, axes = np.linalg.svd(apart, full_matrices=False)
    axes, power = axes[:count], np.square(sizes)
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    return Directions(axes, power[:count] / max(power.sum(), 1e-12), apart @ axes.T)


def flat(directions: Directions) -> np.ndarray:
    """Codes on the first two directions, float64 (n, 2); where there is one only, on a line."""
    at = directions.at[:, :2]
    return np.pad(at, ((0, 0), (0, 2 - at.shape[1])))


def neighbours(codes: np.ndarray) -> np.ndarray:
    """Codes (n, k) on a plane so that near ones stay near, float64 (n, 2): t-SNE from the first two components on, the same each time."""
    from sklearn.manifold import TSNE

    at = principal(codes, BEFORE).at
    if at[:, 0].std() < 1e-9:  # all alike: nothing to tell them apart by
        return np.zeros((len(codes), 2))
    perplexity = min(PERPLEXITY, (len(codes) - 1) / 3)
    at = np.pad(at, ((0, 0), (0, max(0, 2 - at.shape[1]))))
    start = at[:, :2] / at[:, 0].std() * 1e-4  # as its authors begin (Kobak & Berens 2019)
    return TSNE(2, perplexity=perplexity, init=start, random_state=0).fit_transform(at).astype(np.float64)


def goes_with(values: np.ndarray, by: Mapping[str, np.ndarray]) -> tuple[str, float]:
    """Which of ``by`` (name: (n,)) these values follow most, and their correlation with it; of what does not vary it is 0."""

    def together(other: np.ndarray) -> float:
        return 0.0 if min(values.std(), other.std()) < 1e-9 else float(np.corrcoef(values, other)[0, 1])

    found = {name: together(other) for name, other in by.items()}
    name = max(found, key=lambda name: abs(found[name]))
    return name, found[name]
