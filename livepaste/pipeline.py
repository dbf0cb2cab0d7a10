"""One frame's work: crop and swap, then mask, colour and blend. Pipeline holds what lasts between frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from livepaste.align import Alignment, align, crop, transform
from livepaste.blend import blend, bounding_box, soften, to_frame
from livepaste.blends import certain
from livepaste.color import match_color
from livepaste.edge import carry_on, kept_skin
from livepaste.limits import Limits
from livepaste.masks import Context, Mask, build_mask
from livepaste.options import BlendOptions
from livepaste.smooth import OneEuro
from livepaste.texture import match_texture
from livepaste.types import Face, Frame, Swap

SHOWN = 0.3  # of a face's hull: where less of it is under the persona, it is the wearer that is seen


@runtime_checkable
class SwapsCrops(Protocol):
    """What a swapper is to the pipeline."""

    size: int
    coverage: float

    def __call__(self, crop: Float32[np.ndarray, "s s 3"]) -> Swap: ...


@dataclass(frozen=True, eq=False)
class Parts:
    """What a face's work needs besides the picture and its points."""

    swapper: SwapsCrops
    mask: Mask
    options: BlendOptions


@dataclass(frozen=True, eq=False)
class Swapped:
    """A frame after its work. ``mask`` is what was blended with, in frame pixels; None when nothing was swapped."""

    image: UInt8[np.ndarray, "h w 3"]
    swapped: int  # faces
    others: int = 0  # faces found but not swapped
    missed: int = 0  # faces that were to be swapped, and whose mask lets hardly any of the persona show
    mask: Float32[np.ndarray, "h w"] | None = None
    beyond: int = 0  # faces that were to be swapped, and are turned too far or leave the picture

    @property
    def safe(self) -> bool:
        """Whether it may leave: somebody was swapped, and nobody who should be was missed."""
        return self.swapped > 0 and self.missed == self.beyond == 0


@dataclass(frozen=True, eq=False)
class DrawnFace:
    """One face as the network draws it, and what it is laid with: settings and model of that moment."""

    seen: Context  # the crop, the points in it, and the swap
    parts: Parts


@dataclass(frozen=True, eq=False)
class Drawn:
    """A frame between the two halves of its work."""

    frame: Frame
    faces: tuple[DrawnFace, ...]
    others: int  # faces found but not swapped
    beyond: int = 0  # faces that are not drawn: nothing good would come of it


class Laid(NamedTuple):
    """One face's work."""

    image: np.ndarray  # the new frame
    share: float  # of the face's hull that the persona covers where it is laid, at its opacity
    mask: np.ndarray | None  # in frame pixels, when wanted


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


def _share(mask: np.ndarray, points_xy: np.ndarray, moved: tuple[Alignment, Alignment] | None) -> float:
    """How much of the hull of ``points_xy`` (crop pixels) is under ``mask``, which may be laid in the first of ``moved`` instead of the second."""
    if moved is not None:
        to, at = (np.vstack([a.frame_to_crop, [0, 0, 1]]) for a in moved)
        mask = cv2.warpAffine(mask, (at @ np.linalg.inv(to))[:2], mask.shape[::-1])
    hull = cv2.convexHull(points_xy)
    inside = cv2.fillConvexPoly(np.zeros(mask.shape, np.uint8), np.rint(hull).astype(np.int32), 1)
    return float((mask * inside).sum()) / max(1.0, cv2.contourArea(hull))


def draw_face(frame: Frame, points_xyz: np.ndarray, parts: Parts, memory: dict[str, Any]) -> DrawnFace:
    """Crop one face and run the network on it. ``memory``: what is remembered of this face. Raises ValueError when what comes of it is not finite."""
    alignment = align(points_xyz, parts.swapper.size, parts.swapper.coverage)
    wearer = crop(frame.image, alignment).astype(np.float32) / 255
    points_xy = transform(points_xyz[:, :2].astype(np.float32), alignment.frame_to_crop)
    swap = parts.swapper(wearer)
    if not all(np.isfinite(part).all() for part in (swap.image, swap.persona_mask, swap.wearer_mask)):
        raise ValueError("the network's picture or masks are not finite")  # a failed frame: as bytes it would be black
    return DrawnFace(Context(frame, alignment, wearer, points_xy, swap, memory), parts)


def lay_face(image: UInt8[np.ndarray, "h w 3"], face: DrawnFace, *, want_mask: bool = False) -> Laid:
    """Mask, colour and blend one drawn face into ``image``, which is not modified."""
    seen, options = face.seen, face.parts.options
    where = placed(seen.alignment, options)
    mask = face.parts.mask(seen)
    moved = None if where is seen.alignment else (where, seen.alignment)
    share = options.opacity * _share(certain(options.blend, mask), seen.points_xy, moved)
    patch = seen.swap.image
    if options.mask != "rectangle":  # the baseline pastes what the network draws, hard edge and all
        patch = carry_on(seen.swap)
    patch = match_color(options.color, patch, seen.crop, mask, kept_skin(seen.swap), seen.memory)
    if options.mask != "rectangle":
        mask = soften(mask, feather_px(options, seen.points_xy))
    texture = partial(match_texture, memory=seen.memory, seed=seen.frame.index) if options.match_texture else None
    out = blend(image, patch, mask, where, options.blend, texture, options.opacity)
    if not want_mask:
        return Laid(out, share, None)
    h, w = image.shape[:2]
    full = np.zeros((h, w), np.float32)
    x0, y0, x1, y1 = box = bounding_box(where, (w, h))
    if x1 > x0 and y1 > y0:
        full[y0:y1, x0:x1] = to_frame(mask * np.float32(options.opacity), where, box)
    return Laid(out, share, full)


@dataclass
class _Track:
    smooth: OneEuro = field(default_factory=OneEuro)
    limits: Limits = field(default_factory=Limits)
    memory: dict[str, Any] = field(default_factory=dict)


class Pipeline:
    """Swaps frames in order, each face with its own steadied landmarks and memory.

    ``draw`` and ``blend`` are the halves of the work: they may run on a thread each, one frame behind the other. Everything but ``blend``
    belongs to the thread that draws. Of several faces each is cropped from the frame as it came, whoever is laid first.
    """

    def __init__(self, swapper: SwapsCrops, options: BlendOptions, *, choose: Callable[[tuple[Face, ...]], tuple[Face, ...]] | None = None,
                 smooth: bool = True, want_mask: bool = False, live: bool = False) -> None:  # fmt: skip
        """``live``: no frame waits for ``hands``, see :func:`~livepaste.masks.build_mask`."""
        self.choose = choose or (lambda faces: faces)
        self.smooth, self.want_mask, self._live = smooth, want_mask, live
        self._tracks: dict[int, _Track] = {}
        self.swapper = swapper
        self.options = options

    @property
    def options(self) -> BlendOptions:
        return self._options

    @options.setter
    def options(self, options: BlendOptions) -> None:
        """New settings take effect with the next frame; a wrong one raises and changes nothing."""
        self._parts = Parts(self.swapper, build_mask(options.mask, live=self._live), options)
        self._options = options

    def exchange(self, swapper: SwapsCrops) -> None:
        """Another model from the next frame on."""
        self.swapper = swapper
        self._parts = Parts(swapper, self._parts.mask, self._options)
        for track in self._tracks.values():  # its colours and masks are not the last one's
            track.memory = {}  # a new one: the last may be in use

    def reset(self) -> None:
        """Forget what was seen: after a cut, nothing carries over."""
        self._tracks.clear()

    def draw(self, frame: Frame, faces: tuple[Face, ...]) -> Drawn:
        """The chosen faces of one frame through the network."""
        chosen = self.choose(faces)
        drawn, alive, beyond = [], {}, 0
        size_wh, most_deg = frame.image.shape[1::-1], self._options.max_turn
        for face in chosen:
            track = alive[face.track] = self._tracks.get(face.track) or _Track()
            points = face.points_xyz
            if self.smooth:
                width = float(np.linalg.norm(points[454, :2] - points[234, :2]))
                points = track.smooth(points, frame.time, width)
            if most_deg and track.limits(points, size_wh, most_deg):
                beyond += 1
            else:
                drawn.append(draw_face(frame, points, self._parts, track.memory))
        self._tracks = alive
        return Drawn(frame, tuple(drawn), len(faces) - len(chosen), beyond)

    def blend(self, drawn: Drawn) -> Swapped:
        """What was drawn, laid over its frame."""
        image, total, missed = drawn.frame.image, None, 0
        for face in drawn.faces:
            image, share, mask = lay_face(image, face, want_mask=self.want_mask)
            missed += not share >= SHOWN  # also when it is not a number
            if mask is not None:
                total = mask if total is None else np.maximum(total, mask)
        return Swapped(image, len(drawn.faces) - missed, drawn.others, missed, total, drawn.beyond)

    def __call__(self, frame: Frame, faces: tuple[Face, ...]) -> Swapped:
        """Swap the chosen faces of one frame."""
        return self.blend(self.draw(frame, faces))
