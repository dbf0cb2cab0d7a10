"""The one composition root: options in, finder, swapper, pipeline and guard out. Used by the verbs and by ``load``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from livepaste.checkpoint import Generation, newest_generation, occlusion_network, shipped
from livepaste.clip_run import Found, still_gone
from livepaste.errors import CheckpointError
from livepaste.finder import Finder
from livepaste.hide import grown
from livepaste.likeness import enrolled
from livepaste.limits import limit_of
from livepaste.masks import ONLY_OFF, kind_of, names_in, occlusion_folders
from livepaste.mediapipe_graphs import Detection
from livepaste.options import BlendOptions
from livepaste.pipeline import Pipeline, Swapped
from livepaste.runtime import accelerated
from livepaste.swapper import Swapper
from livepaste.types import Face, Frame

logger = logging.getLogger(__name__)
# Intersection over union on held-out faces, from which on a model's own masks are used. At 0.94 (the shipped persona's on wearers
# it has never seen) they have no holes on 28 real clips, and edge profiles better than the hull. At 0.90 to 0.93, after 15 to 45 steps,
# the masks of three pairs of actors come out at 0.935 to 0.955 of the truth, their hulls at 0.80 to 0.82.
MASK_LEARNED = 0.88

Choose = Callable[[tuple[Face, ...]], tuple[Face, ...]]


def load_swapper(model: str | Path | None, *, threads: int = 1, provider: str = "auto") -> Swapper:
    """The newest whole generation of a checkpoint, or the persona that comes with livepaste."""
    path = Path(model) if model is not None else shipped("persona")
    return swapper_of(newest_generation(path, run=True), threads=threads, provider=provider)


def swapper_of(generation: Generation, *, threads: int = 1, provider: str = "auto") -> Swapper:
    """A generation's swapper. Where an accelerator computes something else, the processor does it (``auto``)."""
    try:
        return Swapper(generation, threads=threads, provider=provider)
    except CheckpointError as error:
        if provider != "auto" or not accelerated():
            raise
        swapper = Swapper(generation, threads=threads, provider="cpu")
        logger.warning("%s; going on without that", error)
        return swapper


def make_finder(
    face: str, seen: Callable[[], list[Detection]] | None = None, enrolled: np.ndarray | None = None
) -> Finder:
    """A finder that follows the chosen face, or all. ``seen`` and ``enrolled``: see Finder."""
    return Finder(max_faces=8, face="auto" if face == "all" else face, seen=seen, enrolled=enrolled)


def enrolled_in(model: dict[str, Any], face: str) -> np.ndarray | None:
    """The wearers a model knows by sight, needed only where ``face`` asks for them; ``model`` is ``model.json``. Raises CheckpointError where it
    knows none."""
    if face != "enrolled":
        return None
    known = enrolled(model)
    if known is None:
        raise CheckpointError(
            "--face enrolled: the model does not say what its wearer looks like (it comes with livepaste, or was trained without --wearer, or by "
            "another version); train one with --wearer, or give --face auto"
        )
    return known


def chooser(face: str) -> tuple[Choose, Choose]:
    """Which of the found faces are swapped, and which are the others."""
    if face == "all":
        return (lambda faces: faces), (lambda faces: ())
    return (lambda faces: tuple(f for f in faces if f.chosen)), (lambda faces: tuple(f for f in faces if not f.chosen))


def hidden(face: str, others: str) -> Callable[[Found], tuple[Face, ...]]:
    """Which faces of a clip's frame must not be seen: with ``all``, nobody's is left bare who was lost for a moment."""
    rest = chooser(face)[1] if others == "blur" else (lambda faces: ())
    lost = still_gone if face == "all" or others == "blur" else (lambda faces, gone: ())
    return lambda item: (*rest(item.faces), *(grown(face) for face in lost(item.faces, item.gone)))


def usable(options: BlendOptions, model: dict[str, Any]) -> BlendOptions:
    """The options with ``max_turn`` as the model allows, and without ``learned`` while its masks are not learned yet: they would show
    nothing, or holes.

    ``learned`` alone is nobody's default: who asks for it gets it. ``model`` is ``model.json``, which says how good the masks are on
    faces held out from training.
    """
    options = replace(options, max_turn=options.max_turn or limit_of(model))
    names = names_in(options.mask)
    learned = model.get("validation", {})
    quality = min(learned.get(f"{side}_mask_iou", 1.0) for side in ("persona", "wearer"))
    if "learned" not in names or quality >= MASK_LEARNED:
        return options
    others = [name for name in names if name != "learned"]
    if others and all(kind_of(name) in ONLY_OFF for name in others):
        others = ["hull", *others]
    left = "+".join(others)
    done = "left out of --mask" if left else "there may be holes"
    logger.warning("the model's own masks are not learned yet (%.2f on held-out faces); %s", quality, done)
    return replace(options, mask=left) if left else options


def mask_made_of(spec: str) -> tuple[str, list[dict[str, str]]]:
    """The masks of that name wherever their networks lie, and the hashes of these: what is made with them depends on both."""
    names = ["occlusion" if kind_of(name) == "occlusion" else name for name in names_in(spec)]
    return "+".join(names), [occlusion_network(folder).model["files"] for folder in occlusion_folders(spec)]


class FrameSwapper:
    """What ``livepaste.load`` returns: call it with frames in order."""

    def __init__(self, swapper: Swapper, options: BlendOptions, face: str = "auto", *, live: bool = False) -> None:
        self.swapper = swapper
        self._finder = make_finder(face, enrolled=enrolled_in(swapper.model, face))
        self._pipeline = Pipeline(swapper, usable(options, swapper.model), choose=chooser(face)[0], live=live)
        self._index = 0

    def __call__(
        self, frame_rgb: UInt8[np.ndarray, "h w 3"], time: Fraction | None = None
    ) -> UInt8[np.ndarray, "h w 3"]:
        """The frame with the persona over the face; the same pixels when no face is found or it is turned too far. ``time`` in seconds, default 30 a second."""
        return self.swap(frame_rgb, time).image

    def swap(self, frame_rgb: UInt8[np.ndarray, "h w 3"], time: Fraction | None = None) -> Swapped:
        """The same with what became of it: ``safe`` says whether the command line would let it leave."""
        frame = Frame(frame_rgb, Fraction(self._index, 30) if time is None else time, self._index)
        self._index += 1
        return self._pipeline(frame, self._finder(frame))

    def crop_of(self, face: UInt8[np.ndarray, "n n 3"]) -> Float32[np.ndarray, "s s 3"]:
        """A face set's picture as the model's crop, in [0, 1]."""
        return self.swapper.crop_of(face)

    def encode(self, crop: Float32[np.ndarray, "s s 3"]) -> Float32[np.ndarray, k]:
        """The code of an aligned crop in [0, 1]: see :meth:`livepaste.swapper.Swapper.encode`."""
        return self.swapper.encode(crop)

    def close(self) -> None:
        """Give the finder's graphs back."""
        self._finder.close()


def load(
    checkpoint: str | Path | None = None,
    *,
    options: BlendOptions | None = None,
    face: str = "auto",
    threads: int = 1,
    live: bool = False,
) -> FrameSwapper:
    """A swapper for frames from a checkpoint folder (default: the persona that comes with livepaste), with the options of ``live``.

    ``live``: no frame waits while hands are looked for; without it each does that has something in front, as in ``clip``.

    Note for calls: unlike the command line, this hands frames without a face back as they are, and
    faces that are turned too far or leave the picture.
    """
    return FrameSwapper(load_swapper(checkpoint, threads=threads), options or BlendOptions(), face, live=live)
