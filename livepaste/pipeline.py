"""One frame's work: crop, swap, mask, colour, blend. ``swap_frame`` is pure; Pipeline holds what lasts between frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from livepaste.align import Alignment, align, crop, transform
from livepaste.blend import blend, bounding_box, soften, to_frame
from livepaste.color import match_color
from livepaste.edge import carry_on, kept_skin
from livepaste.masks import Context, Mask, build_mask
from livepaste.options import BlendOptions
from livepaste.smooth import OneEuro
from livepaste.types import Face, Frame, Swap


@runtime_checkable
class SwapsCrops(Protocol):
    """What a swapper is to the pipeline."""

    size: int
    coverage: float

    def __call__(self, crop: Float32[np.ndarray, "s s 3"]) -> Swap: ...


@dataclass(frozen=True, eq=False)
class Parts:
    """What ``swap_frame`` needs besides the frame."""

    swapper: SwapsCrops
    mask: Mask
    options: BlendOptions


@dataclass(frozen=True, eq=False)
class Swapped:
    """A frame after its work. ``mask`` is what was blended with, in frame pixels; None when nothing was swapped."""

    image: UInt8[np.ndarray, "h w 3"]
    swapped: int  # faces
    others: int  # faces found but not swapped
    mask: Float32[np.ndarray, "h w"] | None = None


def feather_px(options: BlendOptions, points_xy: np.ndarray) -> float:
    """The soft edge's width in the points' pixels: a share of the face's width."""
    return options.feather * float(np.linalg.norm(points_xy[454] - points_xy[234]))


def placed(alignment: Alignment, options: BlendOptions) -> Alignment:
    """Where the persona is laid: the crop's place, shifted and scaled as the user asked."""
    if options.offset == (0.0, 0.0) and options.scale == 1.0:
        return alignment
    centre = (alignment.size - 1) / 2
    inverse = alignment.crop_to_frame.astype(np.float64)
    at = inverse @ (centre, centre, 1)
    face_px = alignment.size / alignment.scale / 2
    linear = inverse[:, :2] * options.scale
    shift = at + np.array(options.offset) * face_px - linear @ (centre, centre)
    moved = cv2.invertAffineTransform(np.column_stack([linear, shift]))
    return Alignment(moved.astype(np.float32), alignment.size)


def swap_face(image: UInt8[np.ndarray, "h w 3"], points_xyz: np.ndarray, parts: Parts, memory: dict[str, np.ndarray] | None = None,
              *, want_mask: bool = False) -> tuple[np.ndarray, np.ndarray | None]:  # fmt: skip
    """Swap one face; returns the new frame and, if wanted, the blend mask in frame pixels."""
    alignment = align(points_xyz, parts.swapper.size, parts.swapper.coverage)
    wearer = crop(image, alignment).astype(np.float32) / 255
    swap = parts.swapper(wearer)
    points_xy = transform(points_xyz[:, :2].astype(np.float32), alignment.frame_to_crop)
    mask = parts.mask(Context(wearer, points_xy, swap))
    patch = swap.image
    if parts.options.mask != "rectangle":  # the baseline pastes what the network draws, hard edge and all
        patch = carry_on(swap)
    patch = match_color(parts.options.color, patch, wearer, mask, kept_skin(swap), memory)
    if parts.options.mask != "rectangle":
        mask = soften(mask, feather_px(parts.options, points_xy))
    mask = mask * np.float32(parts.options.opacity)
    where = placed(alignment, parts.options)
    out = blend(image, patch, mask, where)
    if not want_mask:
        return out, None
    h, w = image.shape[:2]
    full = np.zeros((h, w), np.float32)
    x0, y0, x1, y1 = box = bounding_box(where, (w, h))
    if x1 > x0 and y1 > y0:
        full[y0:y1, x0:x1] = to_frame(mask, where, box)
    return out, full


def swap_frame(frame: Frame, faces: tuple[Face, ...], parts: Parts, *, want_mask: bool = False) -> Swapped:
    """Swap every face given; pure."""
    image, total = frame.image, None
    for face in faces:
        image, mask = swap_face(image, face.points_xyz, parts, want_mask=want_mask)
        if mask is not None:
            total = mask if total is None else np.maximum(total, mask)
    return Swapped(image, len(faces), 0, total)


@dataclass
class _Track:
    smooth: OneEuro = field(default_factory=OneEuro)
    memory: dict[str, np.ndarray] = field(default_factory=dict)


class Pipeline:
    """Swaps frames in order, each face with its own steadied landmarks and colour memory."""

    def __init__(self, swapper: SwapsCrops, options: BlendOptions, *, choose: Callable[[tuple[Face, ...]], tuple[Face, ...]] | None = None,
                 smooth: bool = True, want_mask: bool = False) -> None:  # fmt: skip
        self.choose = choose or (lambda faces: faces)
        self.smooth, self.want_mask = smooth, want_mask
        self._tracks: dict[int, _Track] = {}
        self.swapper = swapper
        self.options = options

    @property
    def options(self) -> BlendOptions:
        return self._options

    @options.setter
    def options(self, options: BlendOptions) -> None:
        """New settings take effect with the next frame; a wrong one raises and changes nothing."""
        self._parts = Parts(self.swapper, build_mask(options.mask), options)
        self._options = options

    def exchange(self, swapper: SwapsCrops) -> None:
        """Another model from the next frame on."""
        self.swapper = swapper
        self._parts = Parts(swapper, self._parts.mask, self._options)

    def reset(self) -> None:
        """Forget what was seen: after a cut, nothing carries over."""
        self._tracks.clear()

    def __call__(self, frame: Frame, faces: tuple[Face, ...]) -> Swapped:
        """Swap the chosen faces of one frame."""
        chosen = self.choose(faces)
        image, total, alive = frame.image, None, {}
        for face in chosen:
            track = alive[face.track] = self._tracks.get(face.track) or _Track()
            points = face.points_xyz
            if self.smooth:
                width = float(np.linalg.norm(points[454, :2] - points[234, :2]))
                points = track.smooth(points, frame.time, width)
            image, mask = swap_face(image, points, self._parts, track.memory, want_mask=self.want_mask)
            if mask is not None:
                total = mask if total is None else np.maximum(total, mask)
        self._tracks = alive
        return Swapped(image, len(chosen), len(faces) - len(chosen), total)
