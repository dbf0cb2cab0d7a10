"""``aligner``: crop by found landmarks and those landmarks to how far aside it lies. A small convolutional network beside a linear map.

Much of what a landmark finder errs by is told by the shape of its own mesh, linearly; the picture tells as much again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from livepaste_train.compiling import put
from livepaste_train.models.layers import Dense
from livepaste_train.models.light import Encoder, LightOptions
from livepaste_train.ops import JAX_OPS
from livepaste_train.recipe import check_resolution

POINTS = 478
REACH = 0.45  # half sides of the crop: how far from its middle a face's parts lie, so what a turn or a size is worth in shift
USUAL = 4.0  # standard deviations: no mesh is taken for stranger than that
STEP = 0.02  # half sides: what the picture's part of the answer is drawn in
RIDGE = 3e-3  # of the linear map's least squares, in units of the shape's variance


@dataclass(frozen=True)
class AlignerOptions:
    """Widths at 1/4, 1/8 and 1/16 of the side, of the bottleneck's map, of what is made of it, and how many numbers describe a mesh."""

    resolution: int = 64
    quarter: int = 48
    eighth: int = 96
    sixteenth: int = 128
    neck: int = 32
    wide: int = 128
    shape: int = 150

    def __post_init__(self) -> None:
        check_resolution(self.resolution)


class Aligner(nnx.Module):
    """(b, s, s, 3) in [0, 1] and meshes (b, 1434), half sides from the crop's middle -> (b, 4): where the face's place is in the crop that
    should be in its middle: shift (half sides), logarithm of its size, angle (radians)."""

    Options = AlignerOptions

    def __init__(self, o: AlignerOptions, rngs: nnx.Rngs) -> None:
        self.resolution = o.resolution
        widths = {"quarter": o.quarter, "eighth": o.eighth, "sixteenth": o.sixteenth, "neck": o.neck, "code": o.wide}
        self.seen = Encoder(LightOptions(resolution=o.resolution, **widths), rngs)
        # A mesh's shape, its principal components with a variance of 1: measured, see `measure`, and never learned.
        self.shape = Dense(3 * POINTS, o.shape, rngs)
        self.told = Dense(o.shape, o.wide, rngs)
        self.both = Dense(2 * o.wide, o.wide, rngs)
        self.line = Dense(o.shape, 4, rngs)  # least squares, measured too: what is learned is what it leaves
        self.head = Dense(o.wide, 4, rngs)
        self.head.kernel[...] = put(np.asarray(self.head.kernel[...]) * np.float32(0.1))

    def measure(self, meshes: np.ndarray, asides: np.ndarray) -> None:
        """Describe meshes (n, 1434) by their principal components, and tell ``asides`` (n, 4) from these by ridge regression."""
        mean, count = meshes.mean(0), self.shape.kernel[...].shape[1]
        some = meshes[:: max(1, len(meshes) // 8000)]
        _, spread, axes = np.linalg.svd(some - mean, full_matrices=False)
        kernel = axes[:count].T / (spread[:count] / np.sqrt(len(some)))
        self.shape.kernel[...] = put(kernel.astype(np.float32))
        self.shape.bias[...] = put(-(mean @ kernel)[None].astype(np.float32))
        shapes = np.column_stack([np.clip((meshes - mean) @ kernel, -USUAL, USUAL), np.ones(len(meshes))])
        squares = shapes.T @ shapes + RIDGE * len(shapes) * np.eye(count + 1)
        line = np.linalg.solve(squares, shapes.T @ asides).astype(np.float32)
        self.line.kernel[...], self.line.bias[...] = put(line[:-1]), put(line[-1:])

    def shapes(self, meshes: Any, ops: Any = JAX_OPS) -> Any:
        """Meshes (b, 1434) as the numbers they are described by."""
        bound = np.full(self.shape.kernel[...].shape[1], USUAL, np.float32)
        return ops.bounded(self.shape(meshes, ops), -bound, bound)

    def aside(self, crops: Any, shapes: Any, ops: Any = JAX_OPS) -> Any:
        both = ops.join(ops.leaky(self.seen(crops, ops)), ops.leaky(self.told(shapes, ops)))
        more = ops.scale(self.head(ops.leaky(self.both(both, ops)), ops), STEP, 0.0)
        return ops.add(self.line(shapes, ops), more)


def squared_px(apart: Any, resolution: float = 112) -> Any:
    """What a difference (…, 4) moves a face's parts by, squared: pixels of a crop of this side."""
    return (jnp.square(apart) * jnp.array([1, 1, REACH**2, REACH**2])).sum(-1) * (resolution / 2) ** 2
